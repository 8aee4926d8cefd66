# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.nn as nn
from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner, save_checkpoint
from mmrazor.registry import HOOKS

from ...datasets import ImageBank
from ...export import quality_of, training_bank
from ...models.synthesizers import Networks, NonFiniteSynthesisError
from ...models.utils import load_state, renew_modes
from ...utils import check_integer, list_checkpoints, load_file, own_file
from ...utils.accuracy import FITS
from ...utils.agreement import Agreement, describe_agreement
from ...utils.arguments import check_value
from ...utils.checkpoints import set_apart
from ..agreement_images import (
    bank_images,
    bank_labels,
    bank_places,
    compare,
    fresh_images,
    known_biases,
)
from ..run_plan import is_training
from ..running_mean import RunningMean
from ..student_choice import (
    CANDIDATES,
    SETS,
    Choice,
    History,
    choose,
    is_stalled,
    parse_rule,
)
from .loop_checks import check_compared
from .synthesis_hook import SynthesisHook, synthesis_hooks

# Of a run's best student by agreement; the epoch goes between.
BEST = 'best_agreement_epoch_', '.pth'
# Updates of the running mean in an epoch, at most, and the share of all that
# it remembers.
_UPDATES, _REMEMBERED = 50, 0.1


@HOOKS.register_module()
class AgreementHook(Hook):
    """Chooses the student of a run without any real image.

    After each epoch it compares the student, and the running mean of its
    weights, with the first teacher on synthetic images, and logs how alike
    they are. A run without validation ends with one of them, by ``rule``: its
    weights are in ``best_agreement_epoch_*.pth``, they are exported, and the
    model has them in the end. Where there is validation, it does nothing
    unless ``always`` is set, and chooses nothing.

    At the end, the log says how good the chosen one is estimated to be, as
    far as its images tell (``agreement`` of the hook, None if they do not).

    What it knows is in each checkpoint. The student itself is trained as
    without this hook.

    Args:
        rule (str): What students are compared by: a set of images and a
            metric (``engine/student_choice.py`` lists them), or 'last' or
            'mean' for the last one of its kind. Defaults to 'mean', which was
            nearest to the truth over all runs that were measured: 1.06 points
            below the best student of a run in the mean, 3.45 at most. Where
            the learning rate falls to nothing, 'last' was a little nearer in
            the mean, by 0.39 to 1.00 (docs/label_free.md).
        sets (sequence[str]): Sets of images that are measured besides.
            Defaults to ('held_out', 'initial').
        images (int): Images of a set, at most. Defaults to 512.
        patience (int, optional): The run ends early when no student was
            better for so many epochs. Defaults to None, it does not.
        always (bool): Whether to measure where there is validation, too.
            Defaults to False.
    """

    # After weights were found to be finite, before the checkpoint.
    priority = 80

    def __init__(
        self,
        rule: str = 'mean',
        sets: Sequence[str] = ('held_out', 'initial'),
        images: int = 512,
        patience: Optional[int] = None,
        always: bool = False,
    ) -> None:
        self.rule = parse_rule(rule)
        sets = [sets] if isinstance(sets, str) else sets
        for name in sets:
            if name not in SETS:
                raise ValueError(
                    'sets of AgreementHook should be some of '
                    f'{", ".join(SETS)}, but got {name!r}.'
                )
        check_integer('images of AgreementHook', images)
        if patience is not None:
            check_integer('patience of AgreementHook', patience)
            if self.rule.images is None:
                raise ValueError(
                    f'patience={patience} of AgreementHook ends a run when '
                    f'students do not become better, but rule={rule!r} '
                    'compares none: set a rule such as "initial.kl".'
                )
        check_value('always of AgreementHook', always, (bool,))
        wanted = {self.rule.images, *sets} - {None}
        self.sets = [name for name in SETS if name in wanted]
        self.images, self.patience, self.always = images, patience, always
        self.history: History = {}
        # Of the student that the run ended with.
        self.agreement: Optional[Agreement] = None
        self._mean: Optional[nn.Module] = None
        self._loaded: Dict[str, Any] = {}
        self._is_active = self._chooses = False
        # Of what the last checkpoint knows as the best.
        self._saved: Optional[int] = None

    def before_run(self, runner: Runner) -> None:
        """Refuse to start with what cannot be, or where another student is.

        Raises:
            FileExistsError: If the best student of another run is there.
            ValueError: If images that are to tell will not be there.
        """
        if not is_training(runner):
            return
        self._check_images(runner)
        found = self._files(runner)
        if runner._resume:
            self._check_resumed(runner, found)
            return
        if found and runner.val_loop is None:
            raise FileExistsError(
                f'{found[0]} is the best student of another run: continue '
                'that run with --resume, choose another --work-dir, or delete '
                'the file.'
            )

    def _check_resumed(self, runner: Runner, found: Sequence[Path]) -> None:
        """Refuse to begin anew where a student may be all that is left."""
        if runner._load_from or list_checkpoints(runner.work_dir):
            return
        saving = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
        first = [
            max(hook.interval, hook.save_begin)
            for hook in saving
            if hook.by_epoch and hook.interval > 0
        ]
        last = max(found, key=_epoch_of, default=None)
        # One of the first epochs is of a run that was killed soon.
        if first and last and _epoch_of(last) > min(first):
            raise FileExistsError(
                f'{last} is the best student of a run whose checkpoints '
                'are gone. Choose another --work-dir, or move that file.'
            )

    def before_train(self, runner: Runner) -> None:
        """Find out what there is to do, and go on with it."""
        self._chooses = runner.val_loop is None
        bank = getattr(runner.train_dataloader, 'dataset', None)
        self._is_active = self._chooses or self.always
        if not self._is_active:
            return
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._is_active = self._chooses = False
            runner.logger.warning(
                'AgreementHook compares the students of epochs, but training '
                f'is run by {type(runner.train_loop).__name__}: it does '
                'nothing, and the run ends with its last student. Set '
                'train_cfg=dict(by_epoch=True, max_epochs=...).'
            )
            return
        if not self._has_images(bank):
            # The running mean needs none.
            is_mean = self.rule == parse_rule('mean')
            self._is_active = self._chooses = self._chooses and is_mean
            runner.logger.warning(_no_images(bank, is_mean))
            if not self._is_active:
                return
        self._start_mean(runner)
        if runner._resume:
            self._forget_others(runner)
        if self._is_over():
            runner.train_loop.stop_training = True

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Take the student into the running mean."""
        if isinstance(self._mean, RunningMean) and (
            batch_idx in updates_of(len(runner.train_dataloader))
        ):
            student = Networks.from_algorithm(runner.model).student
            self._mean.update_parameters(student)

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure the students, keep the best, and stop if none is better."""
        if not self._is_active:
            return
        epoch = runner.epoch + 1
        found: List[Any] = [None]
        if is_main_process():
            found = [self._measure(runner)]
        broadcast_object_list(found)
        self.history[epoch] = found[0]
        best = choose(self.history, self.rule)
        assert best is not None, 'this epoch is in it'
        self._warn(runner)
        if is_main_process():
            self._report(runner, best)
            if self._chooses and best.epoch == epoch:
                self._save(runner, best)
        barrier()
        if self._is_over():
            runner.logger.warning(
                f'No student was better than that of epoch {best.epoch} for '
                f'{self.patience} epochs: training ends early.'
            )
            runner.train_loop.stop_training = True

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: Dict[str, Any]
    ) -> None:
        """Note what the checkpoint will know as the best student."""
        best = choose(self.history, self.rule)
        if 'optimizer' in checkpoint and best is not None:
            self._saved = best.epoch

    def before_train_epoch(self, runner: Runner) -> None:
        """Remove students that no checkpoint knows as the best any more."""
        if self._is_active and self._chooses and is_main_process():
            best = choose(self.history, self.rule)
            kept = {self._saved, best and best.epoch}
            for path in self._files(runner):
                if _epoch_of(path) not in kept:
                    path.unlink()

    def after_train(self, runner: Runner) -> None:
        """Give the model the weights of the chosen student."""
        best = choose(self.history, self.rule)
        if not self._is_active or not self._chooses or best is None:
            return
        if is_main_process():
            for path in self._files(runner):
                if _epoch_of(path) != best.epoch:
                    path.unlink()
        barrier()
        path = self._file(runner, best.epoch)
        model = getattr(runner.model, 'module', runner.model)
        saved = load_file(path)
        load_state(model, saved['state_dict'], strict=False)
        renew_modes(Networks.from_algorithm(model).student)
        runner.logger.info(
            f'The run ends with {_describe(best, self.rule)}: {path}'
        )
        # As its model card does.
        quality = quality_of(runner.cfg, path, saved['meta'])
        if isinstance(quality, Agreement):
            self.agreement = quality
            bank = training_bank(runner.cfg, path.parent)
            real = bank.share_of_real if bank else ''
            runner.logger.info(describe_agreement(quality, real))

    def state_dict(self) -> Dict[str, Any]:
        """What a checkpoint has to know."""
        state: Dict[str, Any] = {}
        if self.history:
            state['history'] = self.history
        if isinstance(self._mean, RunningMean):
            state['mean'] = self._mean.state_dict()
        return state

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Take over what a checkpoint knows.

        Raises:
            ValueError: If it is something else.
        """
        self.history = _parse(state.get('history', {}))
        self._saved = None
        self._loaded = state.get('mean', {})

    def _check_images(self, runner: Runner) -> None:
        """Check that there will be images to choose by."""
        bank = getattr(runner.train_dataloader, 'dataset', None)
        if not isinstance(bank, ImageBank) or (
            runner.val_loop is not None and not self.always
        ):
            return
        synthesis = next(iter(synthesis_hooks(runner)), None)
        rounds = synthesis.rounds if synthesis else 0
        rounds *= get_world_size() * runner.max_epochs
        named = {name: f'sets={name}' for name in self.sets if name == 'fresh'}
        if self.rule.images is not None:
            named[self.rule.images] = f'rule={self.rule}'
        for images, name in named.items():
            name = f'{name} of AgreementHook'
            check_compared(images, name, bank, synthesis, rounds)

    def _has_images(self, bank: Any) -> bool:
        """Whether there are images to choose by, or to measure, or will be."""
        if not isinstance(bank, ImageBank):
            return False
        wanted = {*self.sets}
        if self.rule.images is not None:
            wanted = {self.rule.images}
        if not wanted or wanted & {'seen', 'fresh'}:
            return True
        if bank.data_root is None and bank.held_out is not None:
            return True  # a part of each round to come
        return any(len(bank_places(bank, name, 1)) for name in wanted)

    def _start_mean(self, runner: Runner) -> None:
        """Go on with the running mean, or with that of an ``EMAHook``."""
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                averaged = hook.ema_model.module
                self._mean = Networks.from_algorithm(averaged).student
                return
        student = Networks.from_algorithm(runner.model).student
        each = len(updates_of(len(runner.train_dataloader)))
        updates = runner.max_epochs * each
        share = min(1 / max(_REMEMBERED * updates, 2), 0.5)
        self._mean = RunningMean(student, share)
        if self._loaded:
            self._mean.load_state_dict(self._loaded)
            self._loaded = {}

    def _forget_others(self, runner: Runner) -> None:
        """Let the folder and what was measured tell of the same students."""
        best = choose(self.history, self.rule)
        if not self._chooses:
            return
        if best is not None and not self._is_there(runner, best):
            if best.epoch == runner.epoch:
                # The checkpoint that is resumed has both of its students.
                if is_main_process():
                    self._save(runner, best)
            else:
                runner.logger.warning(
                    f'The best student so far, '
                    f'{self._file(runner, best.epoch)}, is not in the work '
                    'dir: the best of the epochs from here on is taken.'
                )
                self.history, best = {}, None
        barrier()  # before a file goes that others look for
        if is_main_process():
            for path in self._files(runner):
                if _epoch_of(path) > runner.epoch:
                    # Of what came after an earlier epoch: another run.
                    set_apart(path)
                elif best is None or _epoch_of(path) != best.epoch:
                    path.unlink()
        self._saved = best and best.epoch

    def _is_there(self, runner: Runner, best: Choice) -> bool:
        """Whether a student is in the work dir, not one by another rule."""
        try:
            meta = load_file(self._file(runner, best.epoch))['meta']
            return bool(meta['student'] == best.candidate)
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return False

    def _is_over(self) -> bool:
        return self.patience is not None and is_stalled(
            self.history, self.rule, self.patience
        )

    def _warn(self, runner: Runner) -> None:
        """Say so where an epoch cannot be compared with others."""
        if self.rule.images is None:
            return
        students = self.history[runner.epoch + 1].values()
        if all(math.isnan(self.rule.score(each)) for each in students):
            runner.logger.warning(
                f'Epoch {runner.epoch + 1} has no finite value of '
                f'{self.rule}, the rule of '
                'AgreementHook: its students are not compared with others.'
            )

    def _measure(self, runner: Runner) -> Dict[str, Dict[str, Any]]:
        """What is measured of an epoch's students, by set and metric."""
        model = getattr(runner.model, 'module', runner.model)
        networks = Networks.from_algorithm(model)
        students = self.students(runner)
        augment = getattr(model.data_preprocessor, 'augment', None)
        found: Dict[str, Dict[str, Any]] = {name: {} for name in students}
        for name in self._measured(runner):
            if name == 'fresh':
                images = self._fresh(runner)
            else:
                images = bank_images(
                    runner.train_dataloader.dataset,
                    name,
                    self.images,
                    augment,
                )
            if not len(images):
                continue
            labels = None
            if name in FITS:
                bank = runner.train_dataloader.dataset
                labels = bank_labels(bank, name, self.images)
            compared = compare(networks, students, images, labels)
            for who, each in compared.items():
                found[who][name] = each
        return found

    def _measured(self, runner: Runner) -> List[str]:
        """The sets that students are compared on: other data has none."""
        is_bank = isinstance(runner.train_dataloader.dataset, ImageBank)
        return self.sets if is_bank else []

    def students(self, runner: Runner) -> Dict[str, Any]:
        """The candidates of an epoch, by name."""
        student = Networks.from_algorithm(runner.model).student
        return dict(zip(CANDIDATES, (student, self._averaged)))

    @property
    def _averaged(self) -> Any:
        """The student with the mean of its weights."""
        if isinstance(self._mean, RunningMean):
            return self._mean.module
        return self._mean

    def _fresh(self, runner: Runner) -> torch.Tensor:
        rounds = [
            hook.round_runner
            for hook in runner.hooks
            if isinstance(hook, SynthesisHook) and hook.round_runner
        ]
        try:
            if rounds:
                return fresh_images(rounds[0], self.images, runner.epoch)
        except NonFiniteSynthesisError as error:
            print_log(str(error), 'current', logging.WARNING)
        return torch.empty(0)

    def _report(self, runner: Runner, best: Choice) -> None:
        """Log what was measured, and which student is the best."""
        epoch = runner.epoch + 1
        scalars = {
            f'{dict(last="agreement", mean="agreement_mean")[who]}/'
            f'{name}_{metric}': value
            for who, sets in self.history[epoch].items()
            for name, metrics in sets.items()
            for metric, value in metrics.items()
        }
        # By how many an accuracy is estimated, or epochs are compared.
        bank = runner.train_dataloader.dataset
        measured = {*self.history[epoch]['last']}
        for name in sorted(measured & {*FITS, 'initial'}):
            number = len(bank_places(bank, name, self.images))
            scalars[f'agreement/{name}_images'] = number
        model = getattr(runner.model, 'module', runner.model)
        teacher = Networks.from_algorithm(model).each_teacher[0]
        student = runner.cfg.get('model', {}).get('architecture')
        for name in known_biases(student, teacher):
            scalars[f'agreement/{name}'] = 1
        if self._chooses:
            scalars['agreement/chosen_epoch'] = best.epoch
            scalars['agreement/chosen_mean'] = int(best.candidate == 'mean')
        runner.visualizer.add_scalars(scalars, step=epoch)
        listed = ', '.join(f'{k}: {v:.4g}' for k, v in scalars.items())
        runner.logger.info(f'Agreement of epoch {epoch}: {listed}')
        if 'held_out' in self.history[epoch]['last']:
            last, mean = (
                self.history[epoch][who]['held_out']['top1']
                for who in CANDIDATES
            )
            number = len(bank_places(bank, 'held_out', self.images))
            runner.logger.info(
                f'Epoch {epoch}: the student decides like the teacher for '
                f'{last:.1f} % of {number} synthetic images that are held out '
                f'from training, with the running mean of its weights for '
                f'{mean:.1f} %.'
            )

    def _save(self, runner: Runner, best: Choice) -> None:
        """Write the student of this epoch, atomically."""
        model = getattr(runner.model, 'module', runner.model)
        state = dict(model.state_dict())
        if best.candidate == 'mean':
            student = Networks.from_algorithm(model).student
            (prefix,) = (k for k, m in model.named_modules() if m is student)
            for name, value in self._averaged.state_dict().items():
                state[f'{prefix}.{name}'] = value
        data = runner.train_dataloader.dataset
        meta = dict(
            epoch=best.epoch,
            iter=runner.iter,
            cfg=runner.cfg.pretty_text,
            seed=runner.seed,
            experiment_name=runner.experiment_name,
            dataset_meta=dict(getattr(data, 'metainfo', {})),
            student=best.candidate,
        )
        save_checkpoint(
            dict(
                meta=meta,
                state_dict={k: v.detach().cpu() for k, v in state.items()},
            ),
            str(self._file(runner, best.epoch)),
        )

    def _file(self, runner: Runner, epoch: int) -> Path:
        return Path(runner.work_dir, f'{BEST[0]}{epoch}{BEST[1]}')

    def _files(self, runner: Runner) -> List[Path]:
        """Those of this kind in the work dir."""
        found = sorted(Path(runner.work_dir).glob('*'.join(BEST)))
        return [
            path
            for path in found
            if _epoch_of(path) and own_file(runner.work_dir, path.name)
        ]


def updates_of(steps: int) -> range:
    """The steps of an epoch that are taken into the running mean."""
    return range(0, steps, max(-(-steps // _UPDATES), 1))


def _epoch_of(path: Path) -> int:
    number = path.name[len(BEST[0]) : -len(BEST[1])]
    return int(number) if number.isdecimal() else 0


def _describe(best: Choice, rule: Any) -> str:
    kind = 'the running mean' if best.candidate == 'mean' else 'the student'
    text = f'{kind} of epoch {best.epoch}'
    if math.isnan(best.score):
        text += f', as nothing was compared by {rule}'
    elif rule.images is not None:
        text += f', the best by {rule}'
    return text


def _no_images(bank: Any, is_mean: bool) -> str:
    """What to tell where nothing can be compared."""
    if not isinstance(bank, ImageBank):
        reason = f'{type(bank).__name__} is no image bank'
    elif not bank.holds_out:
        reason = 'no images are held out from training'
    else:
        reason = 'none of the images that it looks at are held out'
    ends_with = (
        'the running mean of its weights' if is_mean else 'the last one'
    )
    return (
        f'AgreementHook cannot tell how good the student is: {reason}. '
        f'Without validation, the run ends with {ends_with}. Set '
        'train_dataloader.dataset.held_out=0.1 of an ImageBank that grows to '
        'have students compared with the teacher.'
    )


def _parse(history: Any) -> History:
    """What was measured, if it is that.

    Raises:
        ValueError: If it is not.
    """
    try:
        parsed: History = {}
        for epoch, students in history.items():
            parsed[epoch] = {
                who: {
                    name: {key: float(value) for key, value in each.items()}
                    for name, each in sets.items()
                }
                for who, sets in students.items()
            }
            if type(epoch) is not int or not {*students} <= {*CANDIDATES}:
                raise ValueError
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            'The history of AgreementHook should hold numbers by epoch, '
            f'student, set and metric, but is {history!r:.100}.'
        ) from error
    return parsed
