# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What hooks know of earlier epochs, as it goes into a checkpoint.

MMEngine saves no hooks. Those of libraries that have something to lose are
listed here; any other hook is saved if it has the methods ``state_dict`` and
``load_state_dict``, as modules and optimizers have.
"""

from typing import Any, Dict, Iterator, Sequence, Tuple

import numpy as np
from mmengine.hooks import EarlyStoppingHook, Hook
from torch import Tensor

_ATTRIBUTES = {EarlyStoppingHook: ('wait_count', 'best_score')}


class HookStateError(TypeError):
    """A hook's state is nothing for a checkpoint; says what it holds."""


def hook_states(hooks: Sequence[Hook]) -> Dict[str, Dict[str, Any]]:
    """The states of all hooks that have one.

    Args:
        hooks (sequence[Hook]): Of a run, in their order.

    Returns:
        dict[str, dict]: By the hook's class, with a number from the second
        of its class on.

    Raises:
        HookStateError: If a state is more than tensors, numbers and texts,
            which is what a checkpoint can be trusted to hold.
    """
    states = {}
    for name, hook, attributes in stateful(hooks):
        if attributes:
            state = {key: getattr(hook, key) for key in attributes}
        else:
            state = hook.state_dict()
        plain = _plain(state, f'{name}.state_dict()')
        if plain != {}:
            states[name] = plain
    return states


def check_hook_states(hooks: Sequence[Hook]) -> None:
    """Raise early what cannot be saved later.

    Hooks that know their state only in training are passed over.

    Raises:
        HookStateError: If a state is nothing for a checkpoint.
    """
    for hook in hooks:
        try:
            hook_states([hook])
        except HookStateError:
            raise
        except Exception:  # whatever a hook that is not ready raises
            continue


def load_hook_states(
    hooks: Sequence[Hook], states: Dict[str, Dict[str, Any]]
) -> None:
    """Restore the states of hooks; those without one start afresh.

    Raises:
        ValueError: If a state does not belong to such a hook.
    """
    for name, hook, attributes in stateful(hooks):
        if not isinstance(states, dict) or name not in states:
            continue
        state = states[name]
        if not attributes:
            hook.load_state_dict(state)
            continue
        if not isinstance(state, dict) or not all(
            type(state.get(key)) in (int, float)
            or (isinstance(state.get(key), Tensor) and state[key].ndim == 0)
            for key in attributes
        ):
            raise ValueError(
                f'The state of {name} should be numbers named '
                f'{", ".join(attributes)}, but is {state!r:.100}.'
            )
        for key in attributes:
            setattr(hook, key, state[key])


def stateful(
    hooks: Sequence[Hook],
) -> Iterator[Tuple[str, Hook, Sequence[str]]]:
    """Those of some hooks that have a state.

    Args:
        hooks (sequence[Hook]): Of a run, in their order.

    Yields:
        tuple: The name of its state, the hook, and the attributes that make
        up its state, if known.
    """
    numbers: Dict[str, int] = {}
    for hook in hooks:
        attributes = next(
            (
                attributes
                for cls, attributes in _ATTRIBUTES.items()
                if isinstance(hook, cls)
            ),
            (),
        )
        has_methods = all(
            callable(getattr(hook, method, None))
            for method in ('state_dict', 'load_state_dict')
        )
        if has_methods:
            attributes = ()  # those know more
        elif not attributes:
            continue
        name = type(hook).__name__
        number = numbers[name] = numbers.get(name, 0) + 1
        yield (name if number == 1 else f'{name}.{number}', hook, attributes)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {
            _plain(key, where): _plain(item, f'{where}[{key!r}]')
            for key, item in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)(_plain(item, where) for item in value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str, Tensor):
        return value
    raise HookStateError(
        f'{where} should hold tensors, numbers and texts, to be saved in '
        f'checkpoints, but got {type(value).__name__}.'
    )
