# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, Iterable

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
        str: The first of each kind, and how it is put together; empty if
        none is.
    """
    known = set(names)
    found: Dict[str, str] = {}
    for name in sorted(known):
        layer, is_so, rest = name.rpartition(_PARAMETRIZED)
        if is_so:
            how = f'{_UTILS}.parametrize.remove_parametrizations'
            how = f'{how}(LAYER, "{{0}}")'
            found.setdefault(how, f'{layer}{rest.partition(".")[0]}')
        for ends, how in _PARTS.items():
            whole = name.removesuffix(ends[0])
            if whole != name and f'{whole}{ends[1]}' in known:
                found.setdefault(how, whole)
    if not found:
        return ''
    several = f'{" and ".join(found.values())} are'
    return (
        f'{several if len(found) > 1 else [*found.values()][0] + " is"} held '
        'in parts: put such weights together first, by '
        + ', and by '.join(_told(how, name) for how, name in found.items())
    )


def _told(how: str, name: str) -> str:
    layer, _, key = name.rpartition('.')
    return (
        f'{how.format(key)}, for {layer or "the network"} and each layer '
        'like it'
    )
