# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A run on a small scale, before the hours of the initial bank.

Libraries find many mistakes when something is first used: a checkpoint's
options when the first one is saved, a schedule's metric after the first
validation. Here all of it is used once, in seconds.
"""

import errno
import gc
import random
import re
import shutil
import uuid
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from traceback import walk_tb
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, is_main_process
from mmengine.hooks import (
    CheckpointHook,
    Hook,
    LoggerHook,
    NPUProfilerHook,
    ProfilerHook,
)
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin

from ..export.network import Logits, check_same
from ..models.synthesizers import Objective
from ..models.utils import about_lost, changed_attributes, plain_attributes
from ..utils.error_text import error_text
from ..utils.numbers import check_numbers
from ..utils.validation import check_labels, check_metrics, few_images
from .hooks.export_student_hook import ExportStudentHook
from .hooks.report_hook import ReportHook
from .optimizers.optim_wrapper_constructor import optimizers_of

_STEPS = 2
# Images of a batch on a CPU; a GPU also learns whether its memory suffices.
_FEW = 8
# Steps of schedules that are looked at.
_FORESIGHT = 1000
# Whose hooks are rehearsed. Others may do what cannot be undone.
_PACKAGES = ('mmengine', 'mmpretrain', 'mmrazor', 'csd_mmrazor')
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RehearsalError(ValueError):
    """What would have stopped or spoilt a run later; says what to do."""


def rehearse(runner: Runner) -> None:
    """Try a run on a small scale: everything it does, once, with copies.

    Its config is run again with everything cut down: two steps of synthesis
    without and two with the student, two student steps of which the second
    has the size of an epoch's last batch, a validation, a checkpoint that is
    read back, the schedules to their end, the export of the student. It has
    networks, optimizers and a folder of its own, which is removed; random
    states are put back. Hooks of other packages take no part.

    All processes call it together.

    Args:
        runner (Runner): Of a run that is about to start; stays as it is.

    Raises:
        RehearsalError: If something failed; says what to look at.
    """
    if not isinstance(runner.cfg.get('train_dataloader'), dict):
        return  # made of parts and not of a config
    check_numbers(runner.cfg)
    name = f'.rehearsal_{Path(runner.work_dir).name}'
    small, hooks = _cut_down(runner)
    with _left_as_it_was(Path(runner.work_dir, name)) as prefix:
        rehearsal = None
        try:
            rehearsal = _Rehearsal(
                work_dir=str(Path(runner.work_dir, name)),
                experiment_name=prefix,
                log_level='CRITICAL',
                cfg=runner.cfg,
                **small,
            )
            rehearsal.prepare(runner)
            rehearsal.train()
            rehearsal.check()
            if rehearsal.watch.lost:
                runner.logger.warning(about_lost(rehearsal.watch.lost))
            barrier()  # before its folder goes
        except RehearsalError as error:
            raise RehearsalError(f'{error}{HOW_TO_SKIP}') from error
        except Exception as error:
            # Of files that are there no more when this is read.
            text = _blame(rehearsal, hooks, error)
            text = text.replace(f'{Path(runner.work_dir, name)}/', '')
            raise RehearsalError(f'{text}{HOW_TO_SKIP}') from error
        finally:
            for handler in rehearsal.logger.handlers if rehearsal else ():
                handler.close()
            _remove_outside(rehearsal, name)
    # Its own log is gone.
    tried: Any = rehearsal.model
    algorithm: Any = getattr(runner.model, 'module', runner.model)
    tried = getattr(tried, 'module', tried)
    for size in getattr(tried, 'sizes_told', ()):
        algorithm.tell_size(size)


HOW_TO_SKIP = (
    '\nThis was found by a rehearsal of the run; --no-rehearsal '
    '(rehearsal=False of SynthesisHook) starts without one.'
)


class _Rehearsal(Runner):
    """A runner that knows what it is doing, and stops soon."""

    # The hook that is or was the last to run, and at which point.
    stage: Tuple[Optional[Hook], str] = (None, '')

    def prepare(self, runner: Runner) -> None:
        """Make everything happen within one short epoch."""
        self.sizes = _batch_sizes(runner)
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook):
                hook.interval, hook.save_begin = 1, 0
        algorithm: Any = getattr(self.model, 'module', self.model)
        if hasattr(algorithm, 'log_interval'):
            algorithm.log_interval = 1
        self.watch = _Watch()
        self.register_hook(self.watch)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        outer = self.stage
        for hook in self._hooks:
            if hasattr(hook, fn_name):
                self.stage = hook, fn_name
                getattr(hook, fn_name)(self, **kwargs)
        # A hook that saves or validates calls others.
        self.stage = (None, fn_name) if outer[0] is None else outer

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Load all of a checkpoint, where MMEngine takes what fits."""
        return super().load_checkpoint(*args, strict=True, **kwargs)

    def check(self) -> None:
        """Look at what is left when the steps are done."""
        if not self.watch.steps:
            raise RehearsalError(
                'An epoch has no student step: let train_dataloader.sampler '
                'draw more images (num_samples), or lower train_dataloader.'
                f'batch_size={self.train_dataloader.batch_size}.'
            )
        saved = [
            hook
            for hook in self.hooks
            if isinstance(hook, CheckpointHook) and hook.last_ckpt
        ]
        if saved and is_main_process():
            self.stage = None, 'read back'
            hook = saved[-1]
            # Whoever saves less does not mean to resume.
            self._resume = hook.save_optimizer and hook.save_param_scheduler
            read = self.resume if self._resume else self.load_checkpoint
            read(hook.last_ckpt)
            self.stage = None, 'export'
            for cfg in _hook_cfgs(self.cfg).values():
                if issubclass(_class_of(cfg), ExportStudentHook):
                    cfg = {k: v for k, v in cfg.items() if k != 'priority'}
                    self._export(HOOKS.build(cfg), hook.last_ckpt)
        self.stage = None, 'schedule'
        self._follow_schedules()

    def _export(self, hook: ExportStudentHook, checkpoint: str) -> None:
        """Export the student, and compare what comes out with it."""
        algorithm: Any = getattr(self.model, 'module', self.model)
        exported = hook.export(self.cfg, checkpoint, self.work_dir)
        if exported.image_shape is None:
            return
        # Nothing is done with it afterwards.
        student = algorithm.architecture.cpu().eval()
        # A hook may keep other weights in the checkpoint than in the network.
        exported.model.load_state_dict(student.state_dict())
        found, expected = Logits(exported.model), Logits(student)
        inputs = found.example(2, exported.image_shape)
        with torch.no_grad():
            logits = expected(inputs)
            if logits.isfinite().all():
                check_same(found(inputs), logits, 'The file')

    def _follow_schedules(self) -> None:
        """Let all rates run to the end."""
        for name, schedulers in self._schedulers.items():
            for scheduler in schedulers:
                steps = (
                    self.max_epochs if scheduler.by_epoch else self.max_iters
                )
                for _ in range(min(steps - 1, _FORESIGHT)):
                    scheduler.step()
                    values = [
                        group[scheduler.param_name]
                        for group in scheduler.optimizer.param_groups
                    ]
                    if not np.isfinite(values).all() or min(values) < 0:
                        raise RehearsalError(
                            f'{type(scheduler).__name__} of {name} brings '
                            f'{scheduler.param_name} to {values[0]}: '
                            'correct its arguments.'
                        )

    @property
    def _schedulers(self) -> Dict[str, List[Any]]:
        """Schedulers by where the config has them."""
        found = self.param_schedulers or []
        if not isinstance(found, dict):
            return {'param_scheduler': found}
        return {f'param_scheduler.{k}': v for k, v in found.items()}

    def _log_env(self, env_cfg: Dict[str, Any]) -> None:
        pass  # takes seconds

    def dump_config(self) -> None:
        pass

    def _maybe_compile(self, target: str) -> None:
        pass  # takes minutes


class _Watch(Hook):
    """Looks at losses, weights and metrics, and ends the rehearsal."""

    priority = 0  # before any other

    def __init__(self) -> None:
        self.steps = 0
        self.plain: Dict[str, Dict[str, Any]] = {}
        self.lost: Set[str] = set()

    def before_train(self, runner: Runner) -> None:
        for wrapper in optimizers_of(runner.optim_wrapper).values():
            # So that a step of the optimizer is among these.
            wrapper._accumulative_counts = min(
                wrapper._accumulative_counts, _STEPS
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.steps += 1
        self._look_for_lost(runner)
        scaled = any(
            hasattr(w, 'loss_scaler')
            for w in optimizers_of(runner.optim_wrapper).values()
        )
        if not scaled:  # there, steps with infinite losses are left out
            _check_losses(runner, outputs or {}, self.steps)
        _check_weights(runner)
        if self.steps >= _STEPS:
            runner.train_loop.stop_training = True

    def _look_for_lost(self, runner: Runner) -> None:
        """Find attributes that change in steps and are in no checkpoint."""
        model = getattr(runner.model, 'module', runner.model)
        head = getattr(model, 'aux_head', None)
        parts = {
            'distiller': getattr(model, 'distiller', None),
            'student_loss': getattr(model, 'student_loss', None),
            'aux_head': head,
            'aux_head.task': getattr(head, 'task', None),
        }
        for place, part in parts.items():
            if not hasattr(part, '__dict__'):
                continue
            now = plain_attributes(part)
            if place in self.plain:
                self.lost |= {
                    f'model.{place}.{name}'
                    for name in changed_attributes(self.plain[place], now)
                }
            self.plain[place] = now

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence[Any]] = None,
    ) -> None:
        dataset = runner.val_loop.dataloader.dataset
        try:
            doubt = check_labels(dataset, outputs, 'val_dataloader')
        except ValueError as error:
            raise RehearsalError(error) from error
        if doubt:
            raise RehearsalError(doubt)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, Any]] = None
    ) -> None:
        try:
            check_metrics(runner, metrics or {})
        except ValueError as error:
            raise RehearsalError(error) from error


def _check_losses(runner: Runner, outputs: Dict[str, Any], step: int) -> None:
    """Raise an error if a loss is NaN or Inf."""
    bad = [
        name
        for name, value in outputs.items()
        if torch.is_tensor(value) and not value.isfinite().all()
    ]
    if not bad:
        return
    # ``loss`` is the sum of the others.
    name = next((n for n in bad if n != 'loss'), bad[0])
    part, _, key = name.partition('.')
    place = {
        'distill': f'model.distiller.distill_losses.{key}',
        'student': 'model.student_loss',
    }.get(part, 'model')
    node = runner.cfg
    for key in place.split('.') if place != 'model' else ():
        node = (node or {}).get(key)
    if place != 'model' and node is not None:
        place = f'{place}={dict(node)}'
    raise RehearsalError(
        f'{name} is {outputs[name].tolist()} in student step {step}: check '
        f'{place}, or lower {_rates(runner)}.'
    )


def _check_weights(runner: Runner) -> None:
    """Raise an error if a weight is NaN or Inf."""
    model = getattr(runner.model, 'module', runner.model)
    state = {
        name: value
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    bad = [name for name, v in state.items() if not v.isfinite().all()]
    if bad:
        raise RehearsalError(
            f'{len(bad)} of {len(state)} weights, such as {bad[0]}, are '
            'NaN or Inf after a student step: check the files '
            f'that weights come from, and lower {_rates(runner)}.'
        )


def _rates(runner: Runner) -> str:
    """The learning rates, as the config names them."""
    return ' and '.join(
        '.'.join(['optim_wrapper', *([name] if name else []), 'optimizer.lr'])
        + f'={wrapper.param_groups[0]["lr"]:g}'
        for name, wrapper in optimizers_of(runner.optim_wrapper).items()
    )


def _limit() -> int:
    """How many images a batch of the rehearsal has at most."""
    return 10**9 if get_device() == 'cuda' else _FEW


def _batch_sizes(runner: Runner) -> Tuple[int, int]:
    """Sizes of two student steps: a full batch, and an epoch's last."""
    loader = runner.train_dataloader
    batch_size, draws = loader.batch_size or 1, len(loader.sampler)
    first = min(batch_size, max(draws, 1))
    last = first if loader.drop_last else draws % batch_size or first
    return min(first, _limit()), min(last, _limit())


def _cut_down(
    runner: Runner,
) -> Tuple[Dict[str, Any], Dict[str, Dict[str, Any]]]:
    """Arguments of a runner that does little, and its hooks by name."""
    cfg = deepcopy(runner.cfg)
    first, last = _batch_sizes(runner)
    train = cfg.train_dataloader
    if train.get('batch_size'):
        train.batch_size = first
    if isinstance(train.get('sampler'), dict) and (
        'num_samples' in train.sampler
    ):
        train.sampler.num_samples = (first + last) * get_dist_info()[1]
    imports = False
    if isinstance(train.get('dataset'), dict):
        imports = bool(train.dataset.get('init_bank'))
        for name in ('init_bank', 'data_root'):
            if name in train.dataset:
                train.dataset[name] = None
        for name in ('link_init_bank', 'init_labels'):
            train.dataset.pop(name, None)
        if train.dataset.get('held_out'):
            train.dataset.held_out = 0.5  # of few images
    for name in ('num_workers', 'persistent_workers', 'prefetch_factor'):
        train.pop(name, None)
    train.num_workers = 0
    loop = cfg.train_cfg
    loop.pop('dynamic_intervals', None)
    # So that something is due in the few steps there are.
    loop.update(val_begin=1, val_interval=1)
    hooks = {
        path: _short(hook, imports)
        for path, hook in _hook_cfgs(cfg).items()
        if _takes_part(hook)
    }
    default_hooks: Dict[str, Optional[Dict[str, Any]]] = {}
    custom_hooks: List[Dict[str, Any]] = []
    for path, hook in hooks.items():
        section, name = path.split('.')
        if section == 'default_hooks':
            default_hooks[name] = hook
        else:
            custom_hooks.append(hook)
    for name in set(_ADDED) & set(cfg.get('default_hooks') or ()):
        default_hooks.setdefault(name, None)
    validates = runner.val_loop is not None
    kept = ('auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'launcher')
    small = {
        'model': cfg.model,
        'train_dataloader': train,
        'train_cfg': loop,
        'val_dataloader': few_images(runner.val_dataloader)
        if validates
        else None,
        'val_cfg': cfg.get('val_cfg') if validates else None,
        'val_evaluator': cfg.get('val_evaluator') if validates else None,
        'default_hooks': default_hooks,
        'custom_hooks': custom_hooks,
        'data_preprocessor': cfg.get('data_preprocessor'),
        'env_cfg': cfg.get('env_cfg', dict(dist_cfg=dict(backend='nccl'))),
        'log_processor': cfg.get('log_processor'),
        'visualizer': dict(
            type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
        'default_scope': cfg.get('default_scope', 'mmengine'),
        'randomness': cfg.get('randomness', dict(seed=None)),
        **{name: cfg.get(name) for name in kept if name in cfg},
    }
    return small, hooks


# The hooks that MMEngine adds where a config does not name them.
_ADDED = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def _hook_cfgs(cfg: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Configs of hooks by dotted name."""
    found = {
        f'default_hooks.{name}': hook
        for name, hook in (cfg.get('default_hooks') or {}).items()
    }
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        found[f'custom_hooks.{index}'] = hook
    return {
        path: hook
        for path, hook in found.items()
        if isinstance(hook, dict) and 'type' in hook
    }


def _class_of(hook: Dict[str, Any]) -> type:
    kind = hook['type']
    if not isinstance(kind, str):
        return kind
    with HOOKS.switch_scope_and_registry(hook.get('_scope_')) as registry:
        return registry.get(kind)


def _takes_part(hook: Dict[str, Any]) -> bool:
    """Whether a hook is rehearsed."""
    kind = _class_of(hook)
    is_known = kind.__module__.split('.')[0] in _PACKAGES
    left_out = (ProfilerHook, NPUProfilerHook, ExportStudentHook, ReportHook)
    return 'synthesizer' in hook or (
        is_known and not issubclass(kind, left_out)
    )


def _short(hook: ConfigDict, imports: bool) -> ConfigDict:
    """A hook's config with little to do.

    An initial round takes the place of images that would be imported.
    """
    if 'synthesizer' in hook:
        hook.rehearsal = False
        hook.init_rounds = min(hook.get('init_rounds', 0) or int(imports), 1)
        hook.rounds = min(hook.get('rounds', 1), 1)
        if not hook.init_rounds:
            hook.rounds = 1
        hook.init_iters = hook.synthesizer.iters = _STEPS
        hook.synthesizer.compile = False
        if hook.synthesizer.get('graph'):
            hook.synthesizer.graph = False  # it pays in long rounds only
        hook.synthesizer.batch_size = min(
            hook.synthesizer.get('batch_size', 200), _limit()
        )
        if hook.synthesizer.get('num_images'):
            hook.synthesizer.num_images = min(
                hook.synthesizer.num_images, _limit()
            )
    elif issubclass(_class_of(hook), LoggerHook) or '://' in str(
        hook.get('out_dir')
    ):
        hook.pop('out_dir', None)  # where others may see it
    return hook


@contextmanager
def _left_as_it_was(folder: Path) -> Iterator[str]:
    """Undo what a runner does to its process.

    Args:
        folder (Path): Its work dir, which is removed.

    Yields:
        str: A name of an experiment, of which nothing is left either.
    """
    prefix = f'rehearsal_{uuid.uuid4().hex}'
    python, numpy = random.getstate(), np.random.get_state()
    has_gpu = get_device() == 'cuda'
    devices = [torch.cuda.current_device()] if has_gpu else []
    if is_main_process():  # left by one that was killed
        shutil.rmtree(folder, ignore_errors=True)
    barrier()
    try:
        with torch.random.fork_rng(devices):
            yield prefix
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        classes = [ManagerMixin]
        for cls in classes:  # grows
            classes += cls.__subclasses__()
            for name in [*getattr(cls, '_instance_dict', ())]:
                if name.startswith(prefix):
                    del cls._instance_dict[name]
        if is_main_process():
            shutil.rmtree(folder, ignore_errors=True)
        gc.collect()
        if has_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _remove_outside(rehearsal: Optional[Runner], name: str) -> None:
    """Remove checkpoints that hooks keep outside the work dir."""
    for hook in rehearsal.hooks if rehearsal else ():
        folder = Path(str(getattr(hook, 'out_dir', None) or ''))
        if folder.name == name and is_main_process():
            with suppress(OSError):
                shutil.rmtree(folder)


def _blame(
    rehearsal: Optional[_Rehearsal],
    hooks: Dict[str, Dict[str, Any]],
    error: Exception,
) -> str:
    """Say what failed, and what to look at."""
    hook, point = rehearsal.stage if rehearsal else (None, '')
    if hook is not None:
        places = [p for p, h in hooks.items() if _class_of(h) is type(hook)]
        place = ' or '.join(places) or type(hook).__name__
        if hasattr(hook, 'synthesizer'):
            student = ' with the student' if 'epoch' in point else ''
            what = f'Two steps of synthesis{student}'
            place += '.synthesizer, model.teachers and model.aux_head'
        else:
            what = f'{type(hook).__name__}.{point}()'
    else:
        what, place = {
            'before_train_epoch': ('The first batch', 'train_dataloader'),
            'before_train_iter': (
                'A student step',
                'model, optim_wrapper and train_dataloader',
            ),
            'read back': (
                'Reading a checkpoint back',
                'default_hooks.checkpoint and hooks that write into it',
            ),
            'export': ('The export of the student', 'model.architecture'),
            'schedule': ('Following the schedule', 'param_scheduler'),
        }.get(
            point,
            ('The first batch of validation', 'val_dataloader, val_evaluator')
            if '_val' in point
            else ('Building the run', 'the config'),
        )
    text = re.split(r' All \d+ attempts failed ', error_text(error))[0]
    advice = ''
    network, count = _network_of(rehearsal, error)
    if network:
        name = {'model.architecture': 'student'}.get(network, 'teacher')
        what += ' failed'
        if name not in what:
            what += f' in the {name}'
        place = network
        if count:
            what += f', with {count} image{"s" * (count > 1)}'
        if count == 1 and name == 'student':
            advice = ' A student has to take a batch of one, too.'
    else:
        what += f' failed{_loss_of(error)}'
    if 'more than 1 value per channel' in text and rehearsal:
        first, last = rehearsal.sizes
        advice = (
            ' BN layers cannot train on one image: let train_dataloader.'
            'sampler.num_samples be a multiple of train_dataloader.'
            'batch_size, of which the last batch of an epoch, with '
            f'{last} image, is a part.'
            if last < first
            else ' BN layers cannot train on batches of one image: raise '
            'batch_size.'
        )
    elif "required positional argument: 'closure'" in text:
        place = 'optim_wrapper'
        advice = (
            ' MMEngine steps optimizers without a closure: choose another, '
            'such as SGD or AdamW.'
        )
    elif 'out of memory' in text:
        advice = (
            ' Lower train_dataloader.batch_size, or batch_size of the '
            'synthesizer.'
        )
    elif getattr(error, 'errno', None) in _DISK_FULL:
        place = ''  # none of these is to blame
        advice = ' Free some space there, or choose another --work-dir.'
    if advice:
        text = text.rstrip('.') + '.'
    if place:
        what += f': check {place}'
    return f'{what}. {type(error).__name__}: {text}{advice}'


def _loss_of(error: Exception) -> str:
    """The loss of a synthesizer in which an error was raised, and where."""
    place = ''
    name: Any = None
    loss: Any = None
    for frame, line in walk_tb(error.__traceback__):
        own = frame.f_locals.get('self')
        if isinstance(own, Objective):
            name, loss = (frame.f_locals.get(k) for k in ('name', 'loss'))
        elif loss is not None and own is loss:
            place = f'{Path(frame.f_code.co_filename).name}, line {line}'
    if not place:
        return ''
    return f' in losses.{name} ({type(loss).__name__}; {place})'


def _network_of(
    rehearsal: Optional[_Rehearsal], error: Exception
) -> Tuple[str, int]:
    """The network in which an error was raised, by where the config has it.

    Returns:
        tuple[str, int]: '' for neither; and the images that it got, if known.
    """
    model: Any = getattr(rehearsal, 'model', None)
    model = getattr(model, 'module', model)
    if rehearsal is None or model is None or '_val' in rehearsal.stage[1]:
        return '', 0  # images of validation are others
    owners = {
        id(part): place
        for place in ('model.teachers', 'model.architecture')
        for part in getattr(model, place[6:]).modules()
    }
    kinds: List[type] = []
    if rehearsal.stage[1] == 'export':  # of a copy
        student = model.architecture
        kinds = [type(student), type(getattr(student, 'net', student))]
    found = ''
    cause: Optional[BaseException] = error
    while cause is not None:
        for frame, _ in walk_tb(cause.__traceback__):
            own = frame.f_locals.get('self')
            place = owners.get(id(own), '')
            if type(own) in kinds:
                place = 'model.architecture'
            if not place:
                continue
            found = found or place
            # Its other local variables may be tensors of any shape.
            code = frame.f_code
            for name in code.co_varnames[1 : code.co_argcount]:
                given = frame.f_locals.get(name)
                if torch.is_tensor(given) and given.ndim:
                    return found, len(given)
        cause = cause.__cause__
    return found, 0
