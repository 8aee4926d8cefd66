# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What becomes of a run that is resumed with another config.

It continues as the new config says, or is refused: MMEngine would take some
values from the checkpoint and others from the config, without a word.
"""

import hashlib
import re
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.nn as nn
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ...datasets import ImageBank
from ...export import look_up_in
from ...models.classifiers import is_pruned
from ...utils import CheckpointError, config_of_checkpoint
from ...utils.differences import Difference, config_differences
from ...utils.files import digest_of_file
from ..optimizers.optim_wrapper_constructor import optimizers_of
from .hook_states import stateful

# Arguments of optimizers that do not change what they keep of a weight.
_RATES = {'lr', 'weight_decay', 'betas', 'eps', 'foreach', 'fused', 'maximize'}
_RATES_OF_SGD = {'momentum', 'dampening', 'nesterov'}
# What rates depend on.
_SCHEDULE = (
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'train_cfg',
    'train_dataloader',
)
# What scores of a validation are of, and which of them is the best.
_SCORES = r'val_dataloader(\.dataset\b.*)?$|val_evaluator\b'
_BEST = r'default_hooks\.checkpoint\.(save_best|rule)\b'
_ELSEWHERE = 'Take the value of that run, or train in another --work-dir'


def resume_as_configured(
    runner: Runner, checkpoint: Dict[str, Any], digests: Dict[str, str]
) -> bool:
    """Make a checkpoint continue with a run's config, and log the changes.

    Args:
        runner (Runner): Of the run, built, before it loads the checkpoint.
        checkpoint (dict[str, Any]): What it is about to load; gets the rates
            and the number of steps that the run's config makes of its epoch,
            and what the run's bank says of its images; loses scores that
            cannot be compared with those to come.
        digests (dict[str, str]): :func:`teacher_digests` of the run.

    Returns:
        bool: Whether what was the best checkpoint so far is none any more.

    Raises:
        CheckpointError: If it cannot continue with that config; names why.
    """
    meta = checkpoint['meta']
    loop = runner.train_loop
    dataset = loop.dataloader.dataset
    if isinstance(dataset, ImageBank):
        # Until it is opened, it lacks the names of classes in its folder, for
        # which MMEngine would warn. What a config says of it is compared here.
        meta['dataset_meta'] = dataset.metainfo
    is_epochs = isinstance(loop, EpochBasedTrainLoop)
    unit, done, end = (
        ('epoch', meta['epoch'], runner.max_epochs)
        if is_epochs
        else ('iter', meta['iter'], runner.max_iters)
    )
    if done > end:
        raise CheckpointError(
            f'train_cfg.max_{unit}s={end}, but the checkpoint is of {unit} '
            f'{done}: set it to {done} or more, or resume from an earlier '
            'checkpoint with --resume FILE.'
        )
    differences = differences_of(runner, meta)
    check_differences(differences, meta, runner.cfg)
    changes = [str(difference) for difference in differences]
    changes += [
        f'weights of {name}: sha256 {old[:12]} -> {digests[name][:12]}'
        for name, old in meta.get('teachers', {}).items()
        if digests.get(name, old) != old
    ]
    steps: Optional[int] = len(loop.dataloader) if is_epochs else 0
    if is_epochs and done and meta['iter'] != done * steps:
        changes.append(f'steps an epoch: {meta["iter"] // done} -> {steps}')
    elif (
        'param_schedulers' in checkpoint or not runner.param_schedulers
    ) and not any(item.key.startswith(_SCHEDULE) for item in differences):
        steps = None  # the checkpoint's own rates are right
    if steps is not None:
        changes += renew_schedule(
            checkpoint, runner, differences, done if is_epochs else 0, steps
        )
    are_others = _forget_scores(checkpoint, runner, differences)
    if changes:
        kept = 'Images, weights and the best checkpoint so far stay'
        if are_others:
            kept = (
                'The best checkpoint so far was chosen by other scores than '
                'those to come: it is renamed to replaced_best_*, and '
                'patience with scores starts anew. Images and weights stay'
            )
        lines = '\n  '.join(changes)
        runner.logger.warning(
            f'The checkpoint is of {unit} {done} of a run that differs:\n'
            f'  {lines}\nThe run continues with the new values. {kept} as '
            'they are.'
        )
    return are_others


def _forget_scores(
    checkpoint: Dict[str, Any],
    runner: Runner,
    differences: Sequence[Difference],
) -> bool:
    """Forget scores of other images or metrics than those to come."""
    if runner.val_loop is None:  # nothing is compared
        return False
    old = config_of_checkpoint(checkpoint['meta']) or {}
    new = runner.cfg.to_dict()
    of_others = any(
        re.match(_SCORES, item.key)
        and not _are_same_files(
            _value_at(old, item.key), _value_at(new, item.key)
        )
        for item in differences
    )
    # Without save_best, the best one so far may stay.
    are_others = of_others or any(
        re.match(_BEST, item.key) and item.new != 'None'
        for item in differences
    )
    if are_others:
        for known in ('runtime_info', 'resumed_keys'):
            info = checkpoint['message_hub'].get(known, {})
            for key in [*info]:
                if re.match('best_(ckpt|score)', str(key)):
                    del info[key]
    if of_others:
        for name, hook, _ in stateful(runner.hooks):
            if isinstance(hook, EarlyStoppingHook):
                checkpoint.get('hooks', {}).pop(name, None)
        states = _by_name(checkpoint.get('param_schedulers', []))
        for part, scheduled in _by_name(runner.param_schedulers or []).items():
            for scheduler, state in zip(scheduled, states.get(part, ())):
                if getattr(scheduler, 'need_val_args', False):
                    state['best'] = scheduler.best  # of none yet
                    state['num_bad_epochs'] = 0
    return are_others


def _value_at(cfg: Any, key: str) -> Any:
    """The value of a config at a dotted key; None if it has none."""
    for name in key.split('.'):
        if isinstance(cfg, (list, tuple)) and name.isdecimal():
            cfg = cfg[int(name)]
        else:
            cfg = cfg.get(name) if isinstance(cfg, dict) else None
    return cfg


def _are_same_files(old: Any, new: Any) -> bool:
    """Whether two paths lead to the same files, moved or copied."""
    if not isinstance(old, str) or not isinstance(new, str):
        return False
    before, now = Path(old).expanduser(), Path(new).expanduser()
    if not now.exists():
        return False
    if not before.exists():
        return before.name == now.name
    return _listed(before) == _listed(now)


def _listed(path: Path) -> Any:
    """The names and sizes in a folder, or what is in a file."""
    if not path.is_dir():
        return digest_of_file(path)
    return {
        (str(each.relative_to(path)), each.stat().st_size)
        for each in path.rglob('*')
        if each.is_file()
    }


def differences_of(runner: Runner, meta: Dict[str, Any]) -> List[Difference]:
    """What differs between the config of a run and that of a checkpoint."""
    old = config_of_checkpoint(meta)
    # As text, so that both were through the same.
    new = config_of_checkpoint(dict(cfg=runner.cfg.pretty_text))
    if old is None or new is None:
        runner.logger.warning(
            'The config in the checkpoint, or that of the run, is more than '
            'plain data: they cannot be compared.'
        )
        return []
    randomness = old.get('randomness') or {}
    wanted = (new.get('randomness') or {}).get('seed')
    if randomness.get('seed') is None and wanted is not None:
        # One that the run has drawn may be named.
        old = dict(old, randomness=dict(randomness, seed=meta.get('seed')))
    # As it would be if the work dir was moved here.
    moved = look_up_in(runner.work_dir, deepcopy(old))
    differing = {item.key for item in config_differences(moved, new)}
    model = new.get('model') or {}  # none, if the runner was given a built one
    is_same = is_pruned(model.get('architecture'))
    return [
        item
        for item in config_differences(old, new)
        if item.key in differing
        # What says so may be elsewhere; weights are compared themselves.
        and not (is_same and item.key.startswith('model.architecture.shapes'))
    ]


def check_differences(
    differences: Sequence[Difference], meta: Dict[str, Any], cfg: Any
) -> None:
    """Refuse what a run cannot continue with.

    Args:
        differences (sequence[Difference]): Between the two configs.
        meta (dict[str, Any]): Of the checkpoint.
        cfg (Config): Of the run.

    Raises:
        CheckpointError: If there is something; names it.
    """
    seed = (cfg.get('randomness') or {}).get('seed')
    for item in differences:
        reason = _reason(item, cfg)
        if item.key == 'randomness.seed' and seed != meta.get('seed'):
            reason = (
                'images, draws and heads of a run come from one seed, which '
                f'was {meta.get("seed")}'
            )
        if reason:
            raise CheckpointError(
                f'A run cannot be resumed with {item}: {reason}. {_ELSEWHERE}.'
            )


def _reason(item: Difference, cfg: Any) -> str:
    """Why a run cannot continue with a difference; '' if it can."""
    # But for what it starts from, and losses of its own.
    if re.match(
        r'model\.image_shape|model\.architecture\.(?!init_cfg|.*\bloss\b)',
        item.key,
    ):
        return (
            'its student is another one (which may start from the '
            "checkpoint's weights, with model.student_ckpt)"
        )
    if item.key.endswith('.num_classes'):
        return 'the bank has labels of these classes'
    if item.new != 'None' and re.fullmatch(
        r'train_dataloader\.dataset\.init_(bank|labels)', item.key
    ):
        return 'images are imported when a run starts'
    if re.match(r'(default|custom)_hooks\..*\binit_(rounds|iters)$', item.key):
        # Images stay that are more than are asked for now.
        fewer = item.key.endswith('rounds') and _is_lower(item)
        return '' if fewer else 'initial images are made when a run starts'
    match = re.match(r'(optim_wrapper\b.*)\.?\boptimizer\.(\w+)', item.key)
    if match:
        node = cfg
        for name in f'{match[1]}optimizer'.split('.'):
            node = (node or {}).get(name)
        rates = _RATES
        if str((node or {}).get('type')).endswith('SGD'):
            rates = rates | _RATES_OF_SGD
        if match[2] not in rates:
            return 'the optimizer keeps something else of each weight then'
    return ''


def _is_lower(item: Difference) -> bool:
    """Whether a number became lower; 0 is what is not there."""
    old, new = (
        int(text) if text.isdecimal() else 0 for text in (item.old, item.new)
    )
    return new < old


def teacher_digests(model: nn.Module) -> Dict[str, str]:
    """Checksums of the teachers that checkpoints leave out.

    Args:
        model (nn.Module): An algorithm.

    Returns:
        dict[str, str]: SHA-256 of weights and buffers, by the teacher's name
        in the algorithm.
    """
    saved = model.state_dict()
    digests: Dict[str, Any] = {}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        match = re.match(r'teachers\.[^.]+|teacher(?=\.)', name)
        if not match or name in saved:
            continue
        digest = digests.setdefault(match[0], hashlib.sha256())
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        # NumPy does not know all precisions that buffers can have.
        plain = value.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def renew_schedule(
    checkpoint: Dict[str, Any],
    runner: Runner,
    differences: Sequence[Difference],
    epochs: int,
    steps: int,
) -> List[str]:
    """Give a checkpoint the rates that a run of this config has by then.

    Schedulers compute a rate from the one before, so they are stepped through
    the epochs that are done, as in such a run. Those that look at metrics
    cannot be; they keep what they know, up to the new end.

    Args:
        checkpoint (dict[str, Any]): Is changed.
        runner (Runner): Of the run; its schedulers are at their start.
        differences (sequence[Difference]): Between the two configs.
        epochs (int): Done epochs. 0 for a loop of iterations alone.
        steps (int): Steps of an epoch now.

    Returns:
        list[str]: Which rates changed, for the log.

    Raises:
        CheckpointError: If optimizers or schedules cannot be changed.
    """
    meta, old_optimizers = checkpoint['meta'], checkpoint['optimizer']
    parts = optimizers_of(runner.optim_wrapper)
    olds = {'': old_optimizers} if '' in parts else old_optimizers
    schedulers = _by_name(runner.param_schedulers or [])
    old_schedulers = _by_name(checkpoint.get('param_schedulers', []))
    if epochs:
        meta['iter'] = epochs * steps
    _replay([*schedulers.values()], epochs, steps if epochs else meta['iter'])
    changes = []
    for name, part in parts.items():
        where = f'optim_wrapper.{name}' if name else 'optim_wrapper'
        new, old = part.state_dict(), olds.get(name)
        if old is None or _sizes(new) != _sizes(old):
            raise CheckpointError(
                f'{where} has other groups of weights than that of the '
                f'checkpoint (paramwise_cfg, or another model). {_ELSEWHERE}.'
            )
        scheduled = schedulers.get(name, [])
        by_metrics = [
            s for s in scheduled if getattr(s, 'need_val_args', False)
        ]
        if by_metrics:
            _keep_plateau(scheduled, old_schedulers.get(name), differences)
            _keep_scheduled(by_metrics, new, old)
        for index, (group, was) in enumerate(
            zip(new['param_groups'], old['param_groups'])
        ):
            changes += [
                f'{where}, group {index}, {key} from here on: '
                f'{was[key]:.4g} -> {group[key]:.4g}'
                for key in ('lr', 'momentum', 'weight_decay')
                if key in was and key in group and was[key] != group[key]
            ]
        for key in ('param_groups', 'base_param_settings'):
            if key in new:
                old[key] = new[key]
        if not by_metrics:
            old_schedulers[name] = [s.state_dict() for s in scheduled]
    if isinstance(runner.param_schedulers, dict):
        checkpoint['param_schedulers'] = old_schedulers
    elif runner.param_schedulers is not None:
        checkpoint['param_schedulers'] = old_schedulers['']
    return changes


def _by_name(value: Any) -> Dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {'': value}


def _sizes(state: Dict[str, Any]) -> List[int]:
    return [len(group['params']) for group in state.get('param_groups', [])]


def _replay(lists: Sequence[Sequence[Any]], epochs: int, steps: int) -> None:
    """Step schedulers as ``ParamSchedulerHook`` does."""
    every = [scheduler for each in lists for scheduler in each]
    by_step = [scheduler for scheduler in every if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in every if scheduler.by_epoch]
    with warnings.catch_warnings():
        # MMEngine warns that no optimizer has made a step yet.
        warnings.simplefilter('ignore', UserWarning)
        for _ in range(max(epochs, 1)):
            for _ in range(steps if by_step else 0):
                for scheduler in by_step:
                    scheduler.step()
            for scheduler in by_epoch if epochs else ():
                scheduler.step()


def _keep_scheduled(
    scheduled: Sequence[Any], new: Dict[str, Any], old: Dict[str, Any]
) -> None:
    """Take what schedules change in an optimizer from a checkpoint."""
    names = {'lr', *(s.param_name for s in scheduled)}
    # Of Adam's betas, the first is its momentum.
    names |= {'betas'} if 'momentum' in names else set()
    kept = {f'{prefix}{name}' for name in names for prefix in ('', 'initial_')}
    for key in ('param_groups', 'base_param_settings'):
        if key not in new or key not in old:
            continue
        pair = [new[key], old[key]]
        groups = zip(*(p if isinstance(p, list) else [p] for p in pair))
        for group, was in groups:
            group.update({k: was[k] for k in kept & {*group} & {*was}})


def _keep_plateau(
    scheduled: Sequence[Any], old: Any, differences: Sequence[Difference]
) -> None:
    changed = [
        item
        for item in differences
        if item.key.startswith('param_scheduler')
        or re.search(r'optimizer\.lr$', item.key)
    ]
    is_alone = len(scheduled) == 1 and len(old or ()) == 1
    if changed or not is_alone:
        raise CheckpointError(
            'A schedule that looks at metrics (ReduceOnPlateau) cannot be '
            'changed when a run is resumed, nor the end of one beside it'
            f'{f" ({changed[0]})" if changed else ""}. {_ELSEWHERE}.'
        )
    old[0]['end'] = scheduled[0].end
