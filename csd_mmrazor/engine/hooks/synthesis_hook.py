# Copyright (c) csd_mmrazor developers. All rights reserved.
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.dist import (
    broadcast,
    broadcast_object_list,
    get_dist_info,
    get_rank,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed
from mmrazor.registry import HOOKS, MODELS
from torch import Tensor, nn

from ...busy_cores import BusyCores
from ...datasets import check_init_bank
from ...datasets.bank_folder import (
    IMPORTED,
    INITIAL,
    MOST_VIEWS,
    BankFolder,
)
from ...datasets.loose_rounds import read_notes
from ...models.synthesizers import Networks, teacher_logits
from ...models.utils import (
    contiguous,
    initial_values,
    reset_weights,
    unwrapped,
)
from ...utils import check_integer, derive_seed, seeded
from ...utils.arguments import check_value
from ...utils.run_clock import RunClock
from ..estimate import LEVERS, check_buffer, estimate, timed_steps
from ..rehearsal import rehearse
from ..run_plan import run_clock
from ..synthesis import (
    EPOCH,
    HEAD,
    TARGETS,
    RoundRunner,
    bank_of,
    complete_targets,
    describe,
    describe_plan,
    has_images,
    open_bank,
    origins_of,
    report_imported,
    report_round,
    targets_of,
)
from .loop_checks import (
    check_crops,
    check_format,
    check_held_out,
    check_images,
    check_labels,
    check_loop,
    check_no_gathering,
    check_optimizers_step,
    check_targets,
    check_teachers_stay,
    check_val_pictures,
)


class Planned(Exception):
    """A run has said what it would do, which was all it should."""


@HOOKS.register_module()
class SynthesisHook(Hook):
    """Decides when images are made: first many, then some every epoch.

    Before training it fills the image bank by ``init_rounds`` rounds without
    the terms that look at the student, so that the student does not overfit
    the first images (authors' code, scripts/csd/csd_cifar10_initBank_*.sh).
    Before each epoch every process makes ``rounds`` rounds for the student as
    it is then, all of which join the bank, and the auxiliary head is
    re-initialised.

    The bank is written to the work dir as it grows. Rounds, epochs and heads
    have random seeds of their own, derived from the run's, so a run that was
    killed continues with ``--resume`` where it was: rounds that the bank has
    are not made again. A round that diverges is tried again with another
    seed.

    In each epoch it logs how useful the images are: who recognises the new
    ones before they are trained on (teacher, student, auxiliary head), and
    how diverse the bank is.

    In a distributed run each process makes rounds of its own, and the bank is
    the same on all. After each epoch the first process's BN statistics, which
    are those of the checkpoint, are given to the others.

    Args:
        synthesizer (dict): An ``ImageSynthesizer``.
        rounds (int): Rounds of each process before an epoch. 0 trains on the
            initial bank alone. Defaults to 1.
        init_rounds (int): Rounds of all processes together before training.
            None are made where the bank starts with imported images.
            Defaults to 0.
        init_iters (int, optional): Steps of these rounds. Defaults to the
            synthesizer's.
        max_retries (int): How often a round that diverges is tried again,
            each time with another seed. Defaults to 2.
        reset_aux_head (bool): Whether the auxiliary head is re-initialised
            before each epoch (authors' code, reset_head). Defaults to True.
        bank_dir (str): Folder of the bank, below the work dir. Defaults to
            'bank'.
        progress_interval (float): Seconds between two lines of progress.
            Defaults to 10.
        grid_images (int): Images in the grid that is drawn each epoch; 0
            draws none. Defaults to 100.
        target_views (int): Views of each image of which the teacher's logits
            are kept with the bank; student steps draw among them and need no
            pass of the teacher. They take 2K + 3 bytes a view and image, for
            K classes. 0 keeps none. Defaults to 0.
        target_maps (bool): Whether what the student's losses look at of the
            teacher besides its logits, such as feature maps, is kept with
            them (by ``target_views``, or ``keep_targets`` of the
            synthesizer): 2 bytes a number, view and image. Defaults to False.
        rehearsal (bool): Whether the run is first tried on a small scale, so
            that what would stop it later does so immediately. Defaults to
            True.
    """

    # Before the timer, which is to measure training alone.
    priority = 'HIGH'

    def __init__(
        self,
        synthesizer: Dict[str, Any],
        rounds: int = 1,
        init_rounds: int = 0,
        init_iters: Optional[int] = None,
        max_retries: int = 2,
        reset_aux_head: bool = True,
        bank_dir: str = 'bank',
        progress_interval: float = 10,
        grid_images: int = 100,
        target_views: int = 0,
        target_maps: bool = False,
        rehearsal: bool = True,
    ) -> None:
        for name, value in dict(
            rounds=rounds,
            init_rounds=init_rounds,
            init_iters=1 if init_iters is None else init_iters,
            max_retries=max_retries,
            grid_images=grid_images,
            target_views=target_views,
        ).items():
            lowest = 1 if name == 'init_iters' else 0
            check_integer(f'{name} of SynthesisHook', value, lowest)
        # What images follow from, for rounds that another start has made.
        self.described = describe(synthesizer)
        self.synthesizer = MODELS.build({'_scope_': 'mmrazor', **synthesizer})
        if target_views > MOST_VIEWS:
            raise ValueError(
                'target_views of SynthesisHook should be at most '
                f'{MOST_VIEWS}, but got {target_views}.'
            )
        if target_views and self.synthesizer.keep_targets:
            raise ValueError(
                f'target_views={target_views} of SynthesisHook has the '
                'teacher look at the images again, and keep_targets=True of '
                'its synthesizer keeps what it said when they were made: '
                'leave out one of them.'
            )
        check_value('target_maps of SynthesisHook', target_maps, (bool,))
        if target_maps and not (target_views or self.synthesizer.keep_targets):
            raise ValueError(
                'target_maps=True of SynthesisHook keeps maps beside the '
                "teacher's logits, but these are not kept: set "
                'target_views, or keep_targets=True of the synthesizer.'
            )
        self.target_views = target_views
        self.target_maps = target_maps
        self.rounds = rounds
        self.init_rounds = init_rounds
        self.init_iters = init_iters or self.synthesizer.iters
        self.max_retries = max_retries
        self.reset_aux_head = reset_aux_head
        self.bank_dir = bank_dir
        self.progress_interval = progress_interval
        self.grid_images = grid_images
        self.rehearsal = rehearsal
        # The work dir of which a run is to say what it would do, and end.
        self.plan_for: Optional[str] = None
        self.round_runner: Optional[RoundRunner] = None
        self.import_seconds = 0.0  # that images to start with took
        self.initial_head: Dict[str, Tensor] = {}
        self.clock = RunClock()

    def before_run(self, runner: Runner) -> None:
        """Note what a head was built with, before a checkpoint is loaded.

        Raises:
            ValueError: If the run has another such hook, or replaces how
                teachers compute.
        """
        number = len(synthesis_hooks(runner))
        if number > 1:
            raise ValueError(
                f'A run has one SynthesisHook, but got {number}, each of '
                'which would open the image bank as its own: put all terms '
                'into the losses of one synthesizer, or make a bank by a run '
                'of its own first and set train_dataloader.dataset.init_bank '
                'to it.'
            )
        # Before MMEngine does so, which may fail without saying where.
        check_teachers_stay(runner.cfg)
        model = getattr(runner.model, 'module', runner.model)
        head = getattr(model, 'aux_head', None)
        if head is not None:
            self.initial_head = initial_values(unwrapped(head))

    def before_train(self, runner: Runner) -> None:
        """Check everything, open the bank and make the initial images."""
        bank = bank_of(runner)
        check_loop(runner)
        check_optimizers_step(runner)
        networks = Networks.from_algorithm(runner.model)
        num_classes, image_shape = self.synthesizer.check(
            networks, with_student=self.init_rounds == 0
        )
        check_images(runner.model, networks, image_shape)
        check_crops(runner.model, self.synthesizer, image_shape)
        check_labels(runner.model, self.synthesizer)
        check_no_gathering(self.synthesizer)
        kept_maps = check_targets(
            runner.model,
            self.synthesizer,
            self.target_views,
            self.target_maps,
        )
        networks = networks._replace(kept_maps=kept_maps)
        check_format(bank, image_shape, self.synthesizer, self.target_views)
        check_held_out(bank, self.synthesizer)
        check_buffer(runner, self, image_shape, num_classes)
        is_begun = has_images(runner.work_dir, self.bank_dir)
        if bank.init_bank is not None and not is_begun:
            check_init_bank(
                *(bank.init_bank, image_shape, num_classes),
                *(None, bank.init_labels),
            )
            check_val_pictures(runner, bank)
        seed = _shared_seed(runner)
        if self.rehearsal:
            busy = BusyCores()
            rehearse(runner)
            device = next(runner.model.parameters()).device
            threads = torch.get_num_threads()
            advice = busy.advice(threads) if device.type == 'cpu' else ''
            if advice:
                runner.logger.info(advice)
        if self.plan_for is not None:
            self._say_plan(runner, networks, image_shape, num_classes)
        made_from = origins_of(runner, self, networks, seed)
        begun = time.perf_counter()
        bank = open_bank(
            runner,
            self.bank_dir,
            image_shape,
            num_classes,
            self.rounds > 0,
            self.synthesizer.kept_together,
            lambda images: teacher_logits(networks, images).argmax(1),
            made_from,
        )
        targets = targets_of(
            getattr(runner.model, 'module', runner.model),
            networks,
            self.synthesizer,
            self.target_views,
            (seed, TARGETS),
        )
        complete_targets(bank, targets)
        if bank.init_bank is not None:
            self.import_seconds = time.perf_counter() - begun
        self.clock = run_clock(
            runner, self.synthesizer, networks, image_shape, targets is None
        )
        plan = estimate(
            runner,
            self,
            {kind: self.clock.pace(kind) for kind in LEVERS},
            self.clock.left,
            image_shape,
            num_classes,
            bank.opened,
        )
        bank.reserve(plan.images)
        for line in plan.lines():
            runner.logger.info(line)
        for kind in ('initial', 'synthesis'):
            self.clock.left[kind] = plan.units[kind]
        self.round_runner = RoundRunner(
            self.synthesizer,
            networks,
            bank,
            num_classes,
            seed,
            self.max_retries,
            self.progress_interval,
            self.clock,
            targets,
            made_from,
        )
        self.round_runner.resume()
        runner.logger.info(describe_plan(runner))
        if any(shard.epoch == IMPORTED for shard in bank.opened.shards):
            report_imported(runner, self.round_runner)
            return
        self._make(
            runner, 'initial', INITIAL, self.init_rounds, self.init_iters
        )

    def _say_plan(
        self,
        runner: Runner,
        networks: Networks,
        image_shape: Tuple[int, ...],
        num_classes: int,
    ) -> None:
        """Time some steps, say what the run would cost, and end."""
        model = getattr(runner.model, 'module', runner.model)
        targets = targets_of(
            model,
            networks,
            self.synthesizer,
            self.target_views,
            (0, TARGETS),
        )
        clock = run_clock(
            runner, self.synthesizer, networks, image_shape, targets is None
        )
        seconds = {kind: clock.pace(kind) for kind in LEVERS}
        seconds.update(
            timed_steps(
                runner,
                self.synthesizer,
                networks,
                num_classes,
                image_shape,
                targets,
                self.init_rounds > 0 and bank_of(runner).init_bank is None,
            )
        )
        folder, path = None, Path(str(self.plan_for), self.bank_dir)
        if path.is_dir():
            folder = BankFolder(path, image_shape, num_classes)
        is_used = folder is not None and (folder.shards or read_notes(path))
        if is_used and not runner._resume:
            runner.logger.warning(
                f'{path} holds images of an earlier run, so this one needs '
                'another --work-dir, which is what is estimated, or --resume.'
            )
            folder = None
        plan = estimate(
            runner,
            self,
            seconds,
            clock.left,
            image_shape,
            num_classes,
            folder,
        )
        if is_main_process():
            print('\n'.join(plan.lines(is_timed=True)))
        raise Planned

    def before_train_epoch(self, runner: Runner) -> None:
        """Make images for the student as it is, then re-initialise the head.

        All that the epoch draws comes from a seed of its own.
        """
        epoch = runner.epoch
        self._make(
            runner,
            'synthesis',
            epoch,
            self._rounds_of_epoch,
            self.synthesizer.iters,
        )
        assert self.round_runner is not None, 'before_train comes first'
        seed, head = (
            self.round_runner.seed,
            self.round_runner.networks.aux_head,
        )
        if head is not None and self.reset_aux_head:
            device = next(head.parameters()).device
            with seeded(derive_seed(seed, HEAD, epoch), device):
                reset_weights(head, self.initial_head)
        set_random_seed(derive_seed(seed, EPOCH, epoch, get_rank()))

    def after_train_epoch(self, runner: Runner) -> None:
        """Give the first process's BN statistics to all.

        DDP does so before each step; the last step's would stay different,
        and a run that is resumed has those of the checkpoint everywhere.
        """
        share_buffers(runner.model)

    def _steps_after(self, runner: Runner, epochs: int) -> int:
        """Steps of this process's rounds after so many epochs."""
        return (
            max(runner.max_epochs - epochs, 0)
            * self.rounds
            * self.synthesizer.iters
        )

    @property
    def _rounds_of_epoch(self) -> int:
        return self.rounds * get_dist_info()[1]

    def _make(
        self, runner: Runner, name: str, epoch: int, total: int, iters: int
    ) -> None:
        """Make rounds and report the last one."""
        assert self.round_runner is not None, 'before_train comes first'
        is_initial = epoch == INITIAL
        batch = self.round_runner.make(
            'initial bank' if is_initial else f'epoch {epoch + 1}',
            epoch,
            total,
            iters,
            0 if is_initial else self._steps_after(runner, epoch + 1),
        )
        if batch is not None:
            report_round(
                runner,
                self.round_runner,
                batch,
                name,
                max(epoch, 0),
                self.grid_images,
            )


def _shared_seed(runner: Runner) -> int:
    """The run's seed, the same on every process."""
    seeds = [runner.seed]
    broadcast_object_list(seeds)
    return seeds[0]


def share_buffers(model: nn.Module) -> None:
    """Give the first process's buffers to all; nothing with one process."""
    if get_dist_info()[1] == 1:
        return
    for buffer in model.buffers():
        plain = contiguous(buffer)
        broadcast(plain)
        buffer.copy_(plain)


def synthesis_hooks(runner: Runner) -> List[SynthesisHook]:
    """Those of a run, which has one at most once it has begun."""
    return [hook for hook in runner.hooks if isinstance(hook, SynthesisHook)]
