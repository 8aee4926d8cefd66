# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Iterable

_UTILS = 'torch.nn.utils'
# Ends of the names of parts, and what puts these together.
_PARTS = {
    ('_orig', '_mask'): f'{_UTILS}.prune.remove(LAYER, "{{0}}")',
    ('_g', '_v'): f'{_UTILS}.remove_weight_norm(LAYER, "{{0}}")',
    ('_orig', '_u'): f'{_UTILS}.remove_spectral_norm(LAYER, "{{0}}")',
}
_PARAMETRIZED = 'parametrizations.'


def about_divided(names: Iterable[str]) -> str:
    """What to tell of weights that are held in parts, such as masked ones.

    Args:
        names (iterable[str]): Of the state dict that they are in.

    Returns:
        str: Which is the first and how it is put together; empty if none is.
    """
    known = set(names)
    for name in sorted(known):
        layer, is_so, rest = name.rpartition(_PARAMETRIZED)
        if is_so:
            key = rest.partition('.')[0]
            how = f'{_UTILS}.parametrize.remove_parametrizations'
            how = f'{how}(LAYER, "{{0}}")'
            return _told(f'{layer}{key}', how)
        for ends, how in _PARTS.items():
            whole = name.removesuffix(ends[0])
            if whole != name and f'{whole}{ends[1]}' in known:
                return _told(whole, how)
    return ''


def _told(name: str, how: str) -> str:
    layer, _, key = name.rpartition('.')
    return (
        f'{name} is held in parts: put such weights together first, by '
        f'{how.format(key)}, for {layer or "the network"} and each layer '
        'like it'
    )
