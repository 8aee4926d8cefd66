# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Numbers of a config that libraries look at late, or never."""

import math
from fnmatch import fnmatchcase
from typing import Any, Dict, Iterator, NamedTuple, Tuple


class _Kind(NamedTuple):
    """What a number should be."""

    text: str
    lowest: float = -math.inf
    is_open: bool = False  # whether ``lowest`` itself is too low
    is_whole: bool = False
    may_be_infinite: bool = False


_NUMBER = _Kind('a finite number')
_NOT_NEGATIVE = _Kind('a finite number, 0 or more', 0)
_POSITIVE = _Kind('a finite number above 0', 0, is_open=True)
_BOUND = _Kind('a number above 0', 0, is_open=True, may_be_infinite=True)
_WHOLE = _Kind('an integer', is_whole=True)
_INDEX = _Kind('an integer, 0 or more', 0, is_whole=True)
_COUNT = _Kind('a positive integer', 1, is_whole=True)

# By dotted name, or by type and name.
_KINDS = {
    'auto_scale_lr.base_batch_size': _COUNT,
    'train_cfg.val_interval': _COUNT,
    'train_cfg.val_begin': _INDEX,
    'model.log_interval': _COUNT,
    # With 0, nothing would be learned: no image, or no student.
    '*.synthesizer.optimizer.lr': _POSITIVE,
    'optim_wrapper.architecture.optimizer.lr': _POSITIVE,
    'optim_wrapper.optimizer.lr': _POSITIVE,
    '*.optimizer.lr': _NOT_NEGATIVE,
    '*.optimizer.weight_decay': _NOT_NEGATIVE,
    '*.optimizer.momentum': _NOT_NEGATIVE,
    '*.latent_lr': _POSITIVE,
    '*.clip_grad.max_norm': _BOUND,
    '*.clip_grad.norm_type': _BOUND,
    '*.clip_grad.clip_value': _BOUND,
    '*losses.*.tau': _POSITIVE,
    '*losses.*.temperature': _POSITIVE,
    # Below 0, the student would learn to be unlike its teacher. Generators
    # do, in generator_distiller and the like.
    'model.distiller.distill_losses.*.loss_weight': _NOT_NEGATIVE,
    '*.distill_losses.*.loss_weight': _NUMBER,
    'model.student_loss.loss_weight': _NOT_NEGATIVE,
    'param_scheduler*.factor': _NUMBER,
    'param_scheduler*.gamma': _NUMBER,
    'param_scheduler*.power': _NUMBER,
    'param_scheduler*.eta_min': _NUMBER,
    'param_scheduler*.threshold': _NUMBER,
    'param_scheduler*.patience': _INDEX,
    'param_scheduler*.cooldown': _INDEX,
    '*CheckpointHook.interval': _WHOLE,
    '*CheckpointHook.save_begin': _INDEX,
    '*CheckpointHook.max_keep_ckpts': _WHOLE,
    '*LoggerHook.interval': _COUNT,
    '*LoggerHook.interval_exp_name': _COUNT,
    '*EarlyStoppingHook.patience': _COUNT,
    '*EarlyStoppingHook.min_delta': _NUMBER,
    '*EarlyStoppingHook.stopping_threshold': _NUMBER,
}
_RULES = ('greater', 'less')
# Larger ones are slips, and would fill the memory or take centuries.
MOST: Dict[str, int] = dict(
    batch_size=10**6,
    num_workers=10**3,
    prefetch_factor=10**4,
    num_samples=10**9,
    num_classes=10**7,
    init_rounds=10**7,
    rounds=10**7,
    init_iters=10**7,
    iters=10**7,
    max_epochs=10**7,
    max_iters=10**9,
    latent_dim=10**5,
    hidden_channels=10**5,
    tau=10**6,
    temperature=10**6,
)


def check_numbers(cfg: dict) -> None:
    """Check numbers that would stop or spoil a run hours after its start.

    Args:
        cfg (dict): A config for training.

    Raises:
        ValueError: If a number is NaN, of the wrong kind or absurdly large;
            names it.
    """
    for path, owner, value in _leaves(dict(cfg.items()), ''):
        name = path.rpartition('.')[2]
        typed = f'{owner["type"]}.{name}' if 'type' in owner else path
        kind = next(
            (
                kind
                for pattern, kind in _KINDS.items()
                if fnmatchcase(path, pattern) or fnmatchcase(typed, pattern)
            ),
            None,
        )
        is_nan = isinstance(value, float) and math.isnan(value)
        if is_nan or (kind and value is not None and not _is(value, kind)):
            wanted = (kind or _NUMBER).text
        elif is_too_large(name, value):
            wanted = f'{MOST[name]:,} at most'
        elif (
            name == 'rule'
            and 'monitor' in owner
            and value not in (None, *_RULES)
        ):
            wanted = ' or '.join(map(repr, _RULES))
        else:
            continue
        raise ValueError(
            f'{path} should be {wanted}, but got {value!r}: correct it in '
            f'the config, or by --cfg-options {path}=...'
        )


def is_too_large(name: str, value: Any) -> bool:
    """Whether a number of a config is larger than any that makes sense.

    Args:
        name (str): Its last name.
        value (Any): What is there, a number or not.
    """
    is_number = isinstance(value, (int, float))
    return is_number and value > MOST.get(name, math.inf)


def _is(value: Any, kind: _Kind) -> bool:
    """Whether a value is of a kind."""
    if isinstance(value, bool) or not isinstance(
        value, int if kind.is_whole else (int, float)
    ):
        return False
    if value in (math.inf, -math.inf) and not kind.may_be_infinite:
        return False
    return value > kind.lowest if kind.is_open else value >= kind.lowest


def _leaves(node: Any, path: str) -> Iterator[Tuple[str, Any, Any]]:
    """Values of a config with their dotted names and what they are in."""
    is_dict = isinstance(node, dict)
    for name, value in node.items() if is_dict else enumerate(node):
        below = f'{path}.{name}' if path else str(name)
        if isinstance(value, (dict, list, tuple)):
            yield from _leaves(value, below)
        else:
            yield below, node if is_dict else {}, value
