# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    all_reduce,
    barrier,
    broadcast,
    broadcast_object_list,
    get_dist_info,
    get_rank,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner, set_random_seed
from mmrazor.registry import HOOKS, MODELS
from torch import Tensor

from ...datasets import BankError, BankFolder, ImageBank
from ...datasets.bank_folder import IMPORTED, INITIAL
from ...models.preprocessors import check_preprocessor, check_scale
from ...models.synthesizers import (
    Networks,
    NonFiniteSynthesisError,
    SynthesisBatch,
    aux_answers,
    image_grid,
    recognition,
    variety,
)
from ...models.utils import contiguous, reset_weights
from ...utils import Progress, derive_seed, path_below, seeded
from ..rehearsal import rehearse
from .lasting_state import load_state, save_state, shared_state
from .loop_checks import check_loop

# What seeds are derived for.
_ROUND, _EPOCH, _HEAD, _LASTING, _MEMORY, _SAMPLE = range(6)
# Images of the bank that are looked at to tell how varied it is.
_SAMPLE_SIZE = 512


@HOOKS.register_module()
class SynthesisHook(Hook):
    """Decides when images are made: first many, then some every epoch.

    Before training it fills the image bank by ``init_rounds`` rounds without
    the terms that look at the student, so that the student does not overfit
    the first images (authors' code, scripts/csd/csd_cifar10_initBank_*.sh).
    Before each epoch every process makes ``rounds`` rounds for the student as
    it is then, all of which join the bank, and the auxiliary head is drawn
    anew.

    The bank is written to the work dir as it grows. Rounds, epochs and heads
    have random seeds of their own, derived from the run's, so a run that was
    killed continues with ``--resume`` where it was: rounds that the bank has
    are not made again. A round that diverges is tried again with another
    seed.

    Each epoch it logs what tells whether the images do what they are for:
    who recognises the new ones before they are trained on (teacher, student,
    auxiliary head), how varied the bank is, and, with each validation, how
    often the head is right on real images.

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
        reset_aux_head (bool): Whether the auxiliary head is drawn anew before
            each epoch (authors' code, reset_head). Defaults to True.
        bank_dir (str): Folder of the bank, below the work dir. Defaults to
            'bank'.
        progress_interval (float): Seconds between two lines of progress.
            Defaults to 10.
        grid_images (int): Images in the grid that is drawn each epoch; 0
            draws none. Defaults to 100.
        rehearsal (bool): Whether the run is first tried in small, so that
            what would stop it later does so at once. Defaults to True.
    """

    # Before the timer, which is to measure training alone.
    priority = 'HIGH'

    def __init__(
        self,
        synthesizer: Dict,
        rounds: int = 1,
        init_rounds: int = 0,
        init_iters: Optional[int] = None,
        max_retries: int = 2,
        reset_aux_head: bool = True,
        bank_dir: str = 'bank',
        progress_interval: float = 10,
        grid_images: int = 100,
        rehearsal: bool = True,
    ) -> None:
        for name, value in dict(
            rounds=rounds,
            init_rounds=init_rounds,
            init_iters=1 if init_iters is None else init_iters,
            max_retries=max_retries,
            grid_images=grid_images,
        ).items():
            lowest = 1 if name == 'init_iters' else 0
            if type(value) is not int or value < lowest:
                raise ValueError(
                    f'{name} of SynthesisHook should be an '
                    f'integer, {lowest} or more, but got '
                    f'{value!r}.'
                )
        self.synthesizer = MODELS.build({'_scope_': 'mmrazor', **synthesizer})
        self.rounds = rounds
        self.init_rounds = init_rounds
        self.init_iters = init_iters or self.synthesizer.iters
        self.max_retries = max_retries
        self.reset_aux_head = reset_aux_head
        self.bank_dir = bank_dir
        self.progress_interval = progress_interval
        self.grid_images = grid_images
        self.rehearsal = rehearsal
        self.networks: Optional[Networks] = None

    def before_train(self, runner: Runner) -> None:
        """Check everything, open the bank and make the initial images."""
        _bank_of(runner)
        check_loop(runner)
        self.networks = Networks.of(runner.model)
        self.num_classes, image_shape = self.synthesizer.check(
            self.networks, with_student=self.init_rounds == 0
        )
        model = getattr(runner.model, 'module', runner.model)
        wanted = getattr(model, 'image_shape', image_shape)
        if tuple(wanted) != image_shape:
            raise ValueError(
                f"The synthesizer's generator makes images of {image_shape}, "
                f'but model.image_shape is {tuple(wanted)}: set img_size and '
                'channels of the one, or the other.'
            )
        if hasattr(model, 'data_preprocessor'):
            teachers = enumerate(self.networks.each_teacher)
            check_preprocessor(
                model.data_preprocessor,
                image_shape,
                {f'teacher {index}': each for index, each in teachers},
            )
            check_scale(model.data_preprocessor)
        self.seed = _seed_of(runner)
        _bank_of(runner)
        if self.rehearsal:
            rehearse(runner)
        self.bank = self._open_bank(runner, image_shape)
        self._open_state()
        runner.logger.info(_plan(runner))
        if any(shard.epoch == IMPORTED for shard in self.bank.folder.shards):
            runner.logger.info(
                f'The image bank starts with {len(self.bank)} '
                'imported images: no initial ones are made.'
            )
            return
        batch = self._make_rounds(
            'initial bank', INITIAL, self.init_rounds, self.init_iters
        )
        self._report(runner, 'initial', batch, 0)

    def before_train_epoch(self, runner: Runner) -> None:
        """Make images for the student as it is, then start the head anew."""
        epoch = runner.epoch
        batch = self._make_rounds(
            f'epoch {epoch + 1}',
            epoch,
            self.rounds * get_dist_info()[1],
            self.synthesizer.iters,
        )
        self._report(runner, 'synthesis', batch, epoch)
        head = self.networks.aux_head
        if head is not None and self.reset_aux_head:
            device = next(head.parameters()).device
            with seeded(derive_seed(self.seed, _HEAD, epoch), device):
                reset_weights(head)
        set_random_seed(derive_seed(self.seed, _EPOCH, epoch, get_rank()))

    def after_train_epoch(self, runner: Runner) -> None:
        """Give the first process's BN statistics to all.

        DDP does so before each step; the last step's would stay different,
        and a run that is resumed has those of the checkpoint everywhere.
        """
        for buffer in runner.model.buffers():
            plain = contiguous(buffer)
            broadcast(plain)
            buffer.copy_(plain)

    def before_val_epoch(self, runner: Runner) -> None:
        self._aux_right: List[Tensor] = []

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict] = None,
        outputs: Optional[Sequence] = None,
    ) -> None:
        """Note which views of real images the auxiliary head tells right."""
        if not self._has_head:
            return
        model = getattr(runner.model, 'module', runner.model)
        inputs = model.data_preprocessor(data_batch, False)['inputs']
        labels = torch.cat([output.gt_label for output in outputs])
        aux_logits, joint = aux_answers(self.networks, inputs, labels)
        self._aux_right.append(aux_logits.argmax(1) == joint)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict] = None
    ) -> None:
        """Log how often it is right; LoggerHook writes it."""
        if not self._has_head:
            return
        device = next(self.networks.aux_head.parameters()).device
        right = torch.tensor(
            [
                sum(right.sum() for right in self._aux_right),
                sum(len(right) for right in self._aux_right),
            ],
            device=device,
        )
        all_reduce(right)
        share = (right[0] / right[1]).item() * 100
        runner.message_hub.update_scalar('val/aux/top1', share)

    @property
    def _has_head(self) -> bool:
        return self.networks is not None and self.networks.aux_head is not None

    def _open_bank(
        self, runner: Runner, image_shape: Sequence[int]
    ) -> ImageBank:
        bank = _bank_of(runner)
        path = path_below(
            runner.work_dir, self.bank_dir, 'bank_dir of SynthesisHook'
        )
        is_used = BankFolder.exists(path) and BankFolder(path).shards
        barrier()  # before the first process writes to it
        if is_used and not runner._resume:
            raise BankError(
                f'{path} holds images of an earlier run. Continue that run '
                'with --resume, choose another --work-dir, start another run '
                'from these images with --cfg-options train_dataloader.'
                f'dataset.init_bank={path}, or delete the folder.'
            )
        bank.open(path, image_shape, self.num_classes)
        digests = all_gather_object(bank.folder.digest())
        if len(set(digests)) > 1:
            raise BankError(
                f'The processes see different image banks in {path}: '
                'the work dir has to be on a disk that all nodes share.'
            )
        shards = bank.folder.shards
        lacking = set(range(runner.epoch)) - {s.epoch for s in shards}
        if self.rounds and lacking:
            raise BankError(
                f'The checkpoint is of epoch {runner.epoch}, but the image '
                f'bank in {path} lacks the images of {len(lacking)} epochs '
                'before it. Resume in the work dir of that run, or put its '
                'bank there.'
            )
        # Later epochs are there if an older checkpoint is resumed.
        bank.keep([s for s in shards if s.epoch <= runner.epoch])
        rounds = (
            self.init_rounds
            + self.rounds * get_dist_info()[1] * runner.max_epochs
        )
        bank.reserve(len(bank) + rounds * self.synthesizer.batch_size)
        return bank

    def _open_state(self) -> None:
        """Bring back what rounds leave to later ones, if they leave any."""
        seed = derive_seed(self.seed, _LASTING)
        self.synthesizer.prepare(self.networks, seed)
        initial = self.synthesizer.lasting_state()
        if initial:
            state = load_state(self.bank.folder, initial)
            if state is not None:
                try:
                    self.synthesizer.load_lasting_state(state)
                except (KeyError, RuntimeError) as error:
                    raise BankError(
                        'The state of the synthesizer beside the image bank '
                        f'in {self.bank.folder.path} is that of another '
                        'generator or loss. Resume with the synthesizer of '
                        f'that run. {error}'
                    ) from error

    def _share_state(self, took_part: bool, rounds: int) -> None:
        """Agree with the other processes on it, before images are added."""
        state = self.synthesizer.lasting_state()
        if state:
            state = shared_state(state, took_part)
            self.synthesizer.load_lasting_state(state)
            if is_main_process():
                save_state(state, self.bank.folder, rounds)

    def _memory(self, *keys: int) -> Optional[Tensor]:
        """Images of the bank for losses that compare with them."""
        number = min(self.synthesizer.memory_size, len(self.bank))
        if not number:
            return None
        return self._sample(number, _MEMORY, *keys)['inputs']

    def _sample(self, number: int, *keys: int) -> Dict[str, Tensor]:
        """Images of the bank, drawn without replacement."""
        generator = torch.Generator().manual_seed(
            derive_seed(self.seed, *keys)
        )
        chosen = torch.randperm(len(self.bank), generator=generator)[:number]
        return self.bank.__getitems__(chosen.tolist())

    def _make_rounds(
        self, what: str, epoch: int, total: int, iters: int
    ) -> Optional[SynthesisBatch]:
        """Make the rounds of an epoch that the bank lacks.

        The processes share them; each gets all their images.

        Returns:
            SynthesisBatch | None: The last one that this process made.
        """
        rank, world_size = get_dist_info()
        folder = self.bank.folder
        lacking = [i for i in range(total) if not folder.has(epoch, i)]
        progress = Progress(
            what, -(-len(lacking) // world_size), iters, self.progress_interval
        )
        batch = None
        for start in range(0, len(lacking), world_size):
            group = lacking[start : start + world_size]
            made = None
            if rank < len(group):
                made = batch = self._make_round(
                    f'{what}, round {group[rank] + 1}/{total}',
                    epoch,
                    group[rank],
                    iters,
                    progress,
                )
            self._share_state(made is not None, len(group))
            for index, (images, labels) in zip(group, self._gathered(made)):
                self.bank.append(images, labels, epoch, index)
            progress.end_round()
        return batch

    def _make_round(
        self,
        what: str,
        epoch: int,
        index: int,
        iters: int,
        progress: Progress,
    ) -> SynthesisBatch:
        """Make a round, again with another seed if it diverges."""
        for attempt in range(self.max_retries + 1):
            # The first attempt's seed is not told apart by its number.
            keys = (epoch + 1, index, attempt)[: 3 if attempt else 2]
            try:
                return self.synthesizer.synthesize(
                    self.networks,
                    self.num_classes,
                    seed=derive_seed(self.seed, _ROUND, *keys),
                    iters=iters,
                    with_student=epoch != INITIAL,
                    on_step=progress.step,
                    memory=self._memory(epoch + 1, index),
                )
            except NonFiniteSynthesisError as error:
                message = f'{what}: {error}'
            left = self.max_retries - attempt
            if left:
                # An error, since MMEngine shows no less of other processes.
                MMLogger.get_current_instance().error(
                    f'{message} It is tried again with another seed; '
                    f'attempts left: {left}.'
                )
        raise NonFiniteSynthesisError(
            f'{message} So it was in {self.max_retries + 1} attempts '
            f'(max_retries={self.max_retries}). The bank keeps its '
            f'{len(self.bank)} images; --resume starts with this round.'
        )

    def _gathered(
        self, batch: Optional[SynthesisBatch]
    ) -> List[Tuple[Tensor, Tensor]]:
        """The images and labels of all processes, in order of rank.

        NCCL sends memory as it lies, so what is sent has the plain layout.
        """
        if batch is None:  # this process had nothing to make
            size = self.synthesizer.batch_size
            images = torch.zeros(
                (size, *self.bank.folder.image_shape), dtype=torch.uint8
            )
            labels = torch.zeros(size, dtype=torch.int64)
            device = next(self.networks.teachers.parameters()).device
            images, labels = images.to(device), labels.to(device)
        else:
            images, labels = batch.images, batch.labels
        return list(
            zip(all_gather(contiguous(images)), all_gather(contiguous(labels)))
        )

    def _report(
        self,
        runner: Runner,
        name: str,
        batch: Optional[SynthesisBatch],
        step: int,
    ) -> None:
        """Log a batch's losses, who recognises it, and draw it."""
        if batch is None:
            return
        sample = self._sample(_SAMPLE_SIZE, _SAMPLE, step)
        scalars = {
            f'{name}/{key}': value
            for key, value in {
                **batch.terms,
                **recognition(self.networks, batch.images, batch.labels),
                **variety(
                    self.networks,
                    sample['inputs'],
                    sample['labels'],
                    self.num_classes,
                ),
                'images': len(self.bank),
            }.items()
        }
        runner.visualizer.add_scalars(scalars, step=step)
        runner.logger.info(
            f'{name}: '
            + ', '.join(
                f'{key.split("/")[1]}: {value:.4g}'
                for key, value in scalars.items()
            )
        )
        if self.grid_images:
            runner.visualizer.add_image(
                name, image_grid(batch.images, self.grid_images), step=step
            )


def _bank_of(runner: Runner) -> ImageBank:
    loader = runner.train_dataloader
    if not isinstance(loader.dataset, ImageBank):
        raise TypeError(
            'SynthesisHook puts its images into the data set that is trained '
            'on: set train_dataloader.dataset=dict(type="mmrazor.ImageBank")'
            f', but got {type(loader.dataset).__name__}.'
        )
    if loader.num_workers and (
        loader.persistent_workers or loader.dataset.storage == 'device'
    ):
        raise ValueError(
            'Workers of train_dataloader cannot see an image bank grow if '
            'they persist, nor reach one on the device: set num_workers=0 '
            '(images come from memory, in whole batches), but got '
            f'num_workers={loader.num_workers}, persistent_workers='
            f'{loader.persistent_workers}, storage='
            f'"{loader.dataset.storage}".'
        )
    return loader.dataset


def _plan(runner: Runner) -> str:
    """What the number of processes makes of batch, steps and rates."""
    loader, world_size = runner.train_dataloader, get_dist_info()[1]
    batch_size = loader.batch_sampler.batch_size
    rates = ', '.join(
        f'{name} {values[0]:g}'
        for name, values in runner.optim_wrapper.get_lr().items()
        if not name.endswith('base_lr')
    )
    scaled = (runner.auto_scale_lr or {}).get('enable')
    return (
        f'{world_size} processes x {batch_size} images: effective '
        f'batch {world_size * batch_size}, {len(loader)} student '
        f'steps an epoch, {runner.max_iters} in all. Rates: {rates}, '
        + (
            'scaled with the effective batch.'
            if scaled
            else 'whatever the number of processes; --auto-scale-lr scales '
            'them with the effective batch.'
        )
    )


def _seed_of(runner: Runner) -> int:
    """The run's seed, the same on every process."""
    seeds = [runner.seed]
    broadcast_object_list(seeds)
    return seeds[0]
