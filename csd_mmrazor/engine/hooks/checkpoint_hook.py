# Copyright (c) csd_mmrazor developers. All rights reserved.
import difflib
import re
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

import torch
import torch.nn as nn
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
    load_state_dict,
)
from mmrazor.registry import HOOKS
from torch.ao.quantization import FakeQuantizeBase, ObserverBase

from ...models.algorithms import CSDDistillation
from ...utils import (
    CheckpointError,
    latest_checkpoint,
    note_last,
    set_apart_best,
)
from .hook_states import check_hook_states, hook_states, load_hook_states
from .resumption import differences_of, resume_as_configured, teacher_digests

# What is a dict in every checkpoint of a run, if it is there.
_DICTS = (
    'meta',
    'meta.teachers',
    'state_dict',
    'ema_state_dict',
    'optimizer',
    'message_hub',
    'message_hub.runtime_info',
    'message_hub.log_scalars',
    'message_hub.resumed_keys',
    'hooks',
)


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """MMEngine's, but at no moment without a complete checkpoint.

    An older checkpoint is removed when the newer one is on the disk, not
    before. A resumed run first repeats the validation of its checkpoint,
    which is written before that validation: it may have been killed in it.
    Only a complete checkpoint of the same model is resumed; MMEngine takes
    from another what fits. It continues as the config of the run says, and the
    differences are logged (see :mod:`.resumption`). What hooks know of
    earlier epochs is saved as well (see :mod:`.hook_states`), and no epoch
    leaves gradients to the next one, if each step trains each weight once.

    Args:
        *args: Arguments of MMEngine's hook.
        **kwargs: The same by name, but no ``out_dir`` or ``filename_tmpl``.

    Raises:
        ValueError: If there is an ``out_dir``, another ``filename_tmpl`` or
            an unknown argument.
    """

    _digests: Optional[Dict[str, str]] = None
    # Whether the checkpoint that is resumed is of before a validation.
    _repeats = False
    # Whether the best one so far has scores that count no more.
    _has_new_scores = False
    # Of what a validation that is going on may change.
    _before_val: Optional[Dict[str, Any]] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.out_dir is not None:
            raise ValueError(
                f'out_dir={self.out_dir} of DurableCheckpointHook: '
                'checkpoints are kept in the work dir, where --resume looks '
                'for them and no other run writes. Leave out_dir out, and '
                'choose the --work-dir.'
            )
        if self.filename_tmpl not in ('epoch_{}.pth', 'iter_{}.pth'):
            raise ValueError(
                f'filename_tmpl={self.filename_tmpl!r} of '
                'DurableCheckpointHook: --resume looks for epoch_N.pth or '
                'iter_N.pth. Leave it out.'
            )
        known = [*signature(CheckpointHook).parameters]
        for name in self.args:  # which MMEngine keeps until it saves
            close = difflib.get_close_matches(name, known, 1)
            raise ValueError(
                f'{name}={self.args[name]!r} is no argument of '
                f'{type(self).__name__}: '
                + (f'did you mean {close[0]}? ' if close else '')
                + f'It has {", ".join(known[:-1])}.'
            )

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: Dict[str, Any]
    ) -> None:
        """Check that a run can continue from a checkpoint.

        Raises:
            CheckpointError: If it cannot; says what to do.
        """
        if not runner._resume:
            _check_start(runner, checkpoint)
            return
        lacking = {'meta', 'optimizer', 'message_hub', 'state_dict'}
        lacking -= set(checkpoint)
        if lacking:
            raise CheckpointError(
                'Cannot resume, since this is not a checkpoint of a run: it '
                f'has no {" and no ".join(sorted(lacking))}. Resume from '
                'epoch_*.pth; "best" ones and those of networks hold weights '
                'alone.'
            )
        _check_kinds(checkpoint)
        _take_own_weights(runner, checkpoint)
        model = getattr(runner.model, 'module', runner.model)
        shapes, found = (
            {key: tuple(value.shape) for key, value in state.items()}
            for state in (model.state_dict(), checkpoint['state_dict'])
        )
        for key in _sized_as_loaded(model) & found.keys():
            shapes[key] = found[key]
        differing = [
            f'{key}: {found.get(key, "lacking")} in the checkpoint, '
            f'{shapes.get(key, "lacking")} in the model'
            for key in sorted(shapes.keys() | found.keys())
            if shapes.get(key) != found.get(key)
        ]
        if differing:
            raise CheckpointError(
                'Cannot resume from a checkpoint of another model: '
                f'{len(differing)} weights differ, such as {differing[0]}. '
                + _model_differences(runner, checkpoint)
                + 'Resume with the config of that run, or train in another '
                '--work-dir.'
            )
        try:
            # It knows layers by other names than torch in some models.
            load_state_dict(model, checkpoint['state_dict'], strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                'Cannot resume, since MMEngine does not load the weights by '
                f'the names that they were saved by: {f"{error}":.500} ... '
                'Take DataParallel and the like off all parts of the model.'
            ) from error
        self._digests = teacher_digests(model)
        self._repeats = 'repeats_validation' in checkpoint['meta']
        self._has_new_scores = resume_as_configured(
            runner, checkpoint, self._digests
        )
        try:
            load_hook_states(runner.hooks, checkpoint.get('hooks', {}))
        except Exception as error:  # whatever load_state_dict() raises
            raise CheckpointError(
                'Cannot resume, since hooks cannot load their states: '
                f'{error} Resume with the hooks of that run, or from an '
                'earlier checkpoint with --resume FILE.'
            ) from error

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: Dict[str, Any]
    ) -> None:
        """Add what is compared and loaded when a run is resumed from it."""
        if 'optimizer' not in checkpoint:
            return
        if self._digests is None:  # teachers stay as they are
            model = getattr(runner.model, 'module', runner.model)
            self._digests = teacher_digests(model)
        checkpoint['meta']['teachers'] = self._digests
        checkpoint['hooks'] = hook_states(runner.hooks)
        if self._before_val is not None:
            _take_back(checkpoint, self._before_val)

    def before_val_epoch(self, runner: Runner) -> None:
        """Note what is to be as it was if a resumed run validates again.

        A checkpoint that turns out to be the best is written again, when
        schedules that follow a metric, and other hooks, have counted that
        validation already.
        """
        trains = isinstance(runner.optim_wrapper, OptimWrapper)
        if trains and self._is_repeated(runner):
            self._before_val = deepcopy(_counted(runner))

    def _is_repeated(self, runner: Runner) -> bool:
        """Whether checkpoints are written where the loop validates."""
        kind = EpochBasedTrainLoop if self.by_epoch else IterBasedTrainLoop
        return isinstance(runner.train_loop, kind)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        """Save the best checkpoint."""
        super().after_val_epoch(runner, metrics)
        self._before_val = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Count steps from the epoch's start, and to its end.

        The last gradients that are accumulated are used there, scaled by
        their number, as MMEngine does at the end of a run. A checkpoint has
        none, so they would be lost. A loop without epochs is one for this;
        MMEngine counts none of its steps where there are several optimizers.
        Algorithms with a ``train_step`` of their own, which may update weights
        several times in it, keep the count that they have.
        """
        wrapper, loop = runner.optim_wrapper, runner.train_loop
        is_dict = isinstance(wrapper, OptimWrapperDict)
        model = getattr(runner.model, 'module', runner.model)
        is_csd = isinstance(model, CSDDistillation)
        # Others may step several times, or only some of their parts.
        steps_once = is_csd or type(model).train_step is BaseModel.train_step
        if isinstance(loop, EpochBasedTrainLoop) and steps_once:
            done, end = 0, len(loop.dataloader)
        elif isinstance(loop, IterBasedTrainLoop) and is_dict and is_csd:
            done, end = runner.iter, runner.max_iters
        else:
            return
        for part in wrapper.values() if is_dict else [wrapper]:
            # Not the model: it would warn of its BN layers every epoch.
            part.initialize_count_status(nn.Identity(), done, end)

    def before_run(self, runner: Runner) -> None:
        """Raise what hooks have that cannot be saved, before any work."""
        super().before_run(runner)
        check_hook_states(runner.hooks)
        if runner._resume:
            _start_from_resumed(runner)

    def before_train(self, runner: Runner) -> None:
        """Validate what was resumed, where that was due."""
        if self._has_new_scores and is_main_process():
            set_apart_best(runner.work_dir, 0)
        super().before_train(runner)
        hook_states(runner.hooks)  # now raises what cannot be saved
        self._remove = self.file_backend.remove
        self._outdated: List[str] = []
        self.file_backend.remove = self._outdated.append
        step = runner.epoch if self.by_epoch else runner.iter
        if not runner._resume or not step:
            return
        # So that it is rewritten if it turns out to be the best.
        self.last_ckpt = self.file_backend.join_path(
            self.out_dir, self.filename_tmpl.format(step)
        )
        note_last(self.out_dir, self.filename_tmpl.format(step))
        loop = runner.train_loop
        if not self._is_repeated(runner):
            return
        loop._decide_current_val_interval()
        last = runner.max_epochs if self.by_epoch else runner.max_iters
        is_due = step >= loop.val_begin and (
            step % loop.val_interval == 0 or step == last
        )
        # By another schedule, that of this step may have been one, too.
        if runner.val_loop is not None and (is_due or self._repeats):
            runner.val_loop.run()

    def _save_best_checkpoint(
        self, runner: Runner, metrics: Dict[str, Any]
    ) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: Dict[str, Any]
    ) -> None:
        # A best one that was replaced goes before the checkpoint forgets it.
        self._remove_outdated()
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()
        if self.max_keep_ckpts > 0 and is_main_process():
            # Left by a run that was killed before it could remove them.
            first, last = self.filename_tmpl.split('{}')
            for path in Path(self.out_dir).glob(f'{first}*{last}'):
                number = path.name[len(first) : -len(last)]
                if number.isdecimal() and int(number) < self.keep_ckpt_ids[0]:
                    self._remove(path)

    def _remove_outdated(self) -> None:
        current = [
            self.last_ckpt,
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        ]
        while self._outdated:
            path = self._outdated.pop()
            if path not in current:
                self._remove(path)


def _counted(runner: Runner) -> Dict[str, Any]:
    """What schedules and hooks may count validations in."""
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers
    parts = wrapper if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}
    lists = schedulers if isinstance(schedulers, dict) else {'': schedulers}
    return dict(
        hooks=hook_states(runner.hooks),
        schedulers={
            name: [each.state_dict() for each in listed or ()]
            for name, listed in lists.items()
        },
        rates={
            name: [
                {key: value for key, value in group.items() if key != 'params'}
                for group in part.param_groups
            ]
            for name, part in parts.items()
        },
    )


def _take_back(checkpoint: Dict[str, Any], before: Dict[str, Any]) -> None:
    """Put what :func:`_counted` returned into a checkpoint."""
    checkpoint['meta']['repeats_validation'] = True
    checkpoint['hooks'] = before['hooks']
    schedulers, rates = before['schedulers'], before['rates']
    if 'param_schedulers' in checkpoint:
        checkpoint['param_schedulers'] = schedulers.get('', schedulers)
    optimizer = checkpoint['optimizer']
    for name, groups in rates.items():
        state = optimizer[name] if name else optimizer
        found = [*state.get('param_groups', ())]
        if 'base_param_settings' in state:  # the wrapper's own, for logs
            found.append({**state['base_param_settings']})
            state['base_param_settings'] = found[-1]
        for group, before_val in zip(found, groups):
            group.update(before_val)


def _start_from_resumed(runner: Runner) -> None:
    """Do without the file that a student began from, where it is gone."""
    model = getattr(runner.model, 'module', runner.model)
    start = getattr(model, 'student_ckpt', None)
    if isinstance(start, str) and not Path(start).expanduser().is_file():
        resumed = runner._load_from or latest_checkpoint(runner.work_dir)
        model.student_ckpt = resumed or start


def _check_start(runner: Runner, checkpoint: Dict[str, Any]) -> None:
    """Check that ``load_from`` is a checkpoint of such a run.

    MMEngine takes the weights that fit and leaves the others random.
    """
    model = getattr(runner.model, 'module', runner.model)
    own = {key: value.shape for key, value in model.state_dict().items()}
    sized = _sized_as_loaded(model)
    state = checkpoint.get('state_dict', checkpoint)
    state = {
        re.sub(r'^module\.', '', key): getattr(value, 'shape', None)
        for key, value in state.items()
    }
    lacking = [
        key
        for key, shape in own.items()
        if state.get(key) != shape
        and not (key in sized and key in state)
        and 'num_batches_tracked' not in key
    ]
    if lacking:
        raise CheckpointError(
            f'load_from={runner._load_from} is not a checkpoint of such a '
            f'run: {len(lacking)} of {len(own)} weights of '
            f'{type(model).__name__} are lacking in it or have another shape '
            f'({", ".join(lacking[:3])}, ...). For the weights of the student '
            'alone, set model.student_ckpt=FILE in place of load_from.'
        )


def _sized_as_loaded(model: nn.Module) -> Set[str]:
    """Ranges of quantizers by channel, before they know how many these are."""
    return {
        f'{name}.{own}'
        for name, module in model.named_modules()
        if isinstance(module, (FakeQuantizeBase, ObserverBase))
        for own, value in module.state_dict(keep_vars=True).items()
        if '.' not in own and value.numel() <= 1
    }


def _model_differences(runner: Runner, checkpoint: Dict[str, Any]) -> str:
    differing = [
        str(item)
        for item in differences_of(runner, checkpoint['meta'])
        if item.key.startswith('model.')
    ]
    return f'The configs differ: {"; ".join(differing)}. ' * bool(differing)


def _take_own_weights(runner: Runner, checkpoint: Dict[str, Any]) -> None:
    """Leave the means that an ``EMAHook`` saved, where there is none now.

    It saves them as the weights, and would exchange the two again.
    """
    own = checkpoint.get('ema_state_dict', {})
    if 'steps' not in own or any(isinstance(h, EMAHook) for h in runner.hooks):
        return
    state = checkpoint['state_dict']
    own = {re.sub(r'^module\.', '', key): value for key, value in own.items()}
    state.update({key: own[key] for key in state.keys() & own.keys()})
    runner.logger.warning(
        'The checkpoint is of a run with EMAHook, which this one has not: it '
        'continues with the weights that were trained, not with their means.'
    )


def _check_kinds(checkpoint: Dict[str, Any]) -> None:
    """Refuse a checkpoint that has what no run writes in a place."""

    def check(name: str, value: Any, is_right: bool, kind: str) -> None:
        if not is_right:
            raise CheckpointError(
                f'{name} of the checkpoint should be {kind}, but is '
                f'{_brief(value)}: it was altered. Resume from an earlier '
                'checkpoint with --resume FILE.'
            )

    for name in _DICTS:
        value = checkpoint
        for key in name.split('.'):  # those above it were checked before
            value = value.get(key, {})
        check(name, value, isinstance(value, dict), 'a dict')
    for key, value in checkpoint['state_dict'].items():
        is_tensor = isinstance(value, torch.Tensor)
        check(f'state_dict[{key!r}]', value, is_tensor, 'a tensor')
    for key in ('epoch', 'iter'):
        value = checkpoint['meta'].get(key)
        is_count = type(value) is int and value >= 0
        check(f'meta.{key}', value, is_count, 'an integer, 0 or more')
    several = checkpoint['optimizer']
    for name, one in {'': several, **several}.items():
        if isinstance(one, dict) and 'param_groups' in one:
            where = f'optimizer.{name}'.rstrip('.') + '.state'
            value = one.get('state', {})
            check(where, value, isinstance(value, dict), 'a dict')


def _brief(value: Any) -> str:
    number = value is None or isinstance(value, (int, float, str))
    return repr(value)[:80] if number else f'a {type(value).__name__}'
