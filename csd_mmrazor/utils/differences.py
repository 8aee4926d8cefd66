# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, List, NamedTuple

# Sections of a config that a run depends on; others name files, logs and
# tests.
SECTIONS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'val_dataloader',
    'val_evaluator',
    'train_cfg',
    'val_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'default_hooks',
    'custom_hooks',
    'randomness',
    'model_wrapper_cfg',
    'sync_bn',
    'compile',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
)
_MOST_LETTERS = 60


class Difference(NamedTuple):
    """A value of a config that is another one than before."""

    key: str  # dotted
    old: str
    new: str

    def __str__(self) -> str:
        return f'{self.key}: {self.old} -> {self.new}'


def config_differences(
    old: Dict[str, Any], new: Dict[str, Any]
) -> List[Difference]:
    """What a run depends on and differs between two configs.

    Args:
        old (dict[str, Any]): A config as plain data.
        new (dict[str, Any]): Another.

    Returns:
        list[Difference]: In the order of the sections; lists are compared
        item by item if they are as long, and as tuples are.
    """
    found: List[Difference] = []
    for section in SECTIONS:
        _compare(section, old.get(section), new.get(section), found)
    return found


def _compare(key: str, old: Any, new: Any, found: List[Difference]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            _compare(f'{key}.{name}', old.get(name), new.get(name), found)
    elif (
        isinstance(old, (list, tuple))
        and isinstance(new, (list, tuple))
        and len(old) == len(new)
    ):
        for index, (a, b) in enumerate(zip(old, new)):
            _compare(f'{key}.{index}', a, b, found)
    elif old != new and repr(old) != repr(new):  # NaN is not equal to itself
        found.append(Difference(key, _shown(old), _shown(new)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_LETTERS else f'{text[:_MOST_LETTERS]}...'
