# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a config says to make a network again that a program made."""

import dataclasses
import inspect
import math
import sys
from collections.abc import Mapping
from copy import deepcopy
from itertools import islice, product
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import torch
import torch.nn as nn
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmrazor.registry import MODELS

from ..models.classifiers import TorchClassifier, is_pruned
from ..models.utils import narrow, unwrapped
from ..utils.error_text import named_error
from ..utils.imports import (
    LENT,
    import_object,
    imported_file,
    is_installed,
)
from ..utils.teachers import without_pretrained
from .alike import difference, loose_tensors, unlike_training

Recipe = Dict[str, Any]

# Values that a config can hold.
_PLAIN = (bool, int, float, str, type(None))
# How often arguments are guessed, how many modules are made by that, and, of
# guesses by which nothing can be made without memory, how many are tried with
# it, which takes a second of some.
_MOST_GUESSES, _MOST_MODULES, _MOST_BUILT = 200, 10_000, 10
# Arguments that a config keeps for itself, of all networks and of those that
# are made by a function or class.
_KEPT = ('type', '_scope_', '_return_architecture_')
_KEPT_OF_FACTORIES = ('factory', 'data_preprocessor', 'init_cfg')
_OTHER = 'the arguments that it was made with are not known'
_OF_MMPRETRAIN = (
    ' (a model of mmpretrain tells them if mmpretrain.get_model(CONFIG) makes '
    'it; or name its config or its class)'
)


def lent_cfg(name: str) -> Recipe:
    """What a config says of a network that only the program has."""
    return dict(type='mmrazor.TorchClassifier', factory=f'{LENT}{name}')


def is_lent(build_cfg: Recipe) -> bool:
    """Whether a config says that only the program has a network."""
    return str(build_cfg.get('factory')).startswith(LENT)


def is_wrapped(build_cfg: Recipe) -> bool:
    """Whether a config builds a network as ``net`` of another module."""
    if is_pruned(build_cfg):
        build_cfg = build_cfg['network']
    return 'factory' in build_cfg


def recipe_of(
    module: nn.Module,
    other: Optional[Recipe] = None,
    is_trained: bool = True,
) -> Tuple[Optional[Recipe], str]:
    """What a config says to make a network again.

    What it makes is alike in everything but the values of its weights.

    Args:
        module (nn.Module): As the caller has it.
        other (dict, optional): That of another network, from which this one
            may have been pruned or copied. Defaults to None.
        is_trained (bool): Whether ``requires_grad`` of its weights matters.
            Defaults to True.

    Returns:
        tuple[dict | None, str]: None, and why, if nothing was found.
    """
    wider: List[Recipe] = []
    left, why = [_MOST_BUILT], _OTHER
    try:
        for recipe in _guesses(module, other):
            found = _tried(module, recipe, left, wider, is_trained)
            if not found:
                return recipe, ''
            why = found if found != _OTHER else why
    except ValueError as error:
        why = f'{error}'
    except Exception as error:  # whatever its class makes of looking at it
        why = f'looking at it raises {named_error(error)}'
    for recipe in wider[:_MOST_BUILT]:
        pruned = _narrowed(module, recipe, is_trained)
        if pruned is not None:
            return pruned, ''
    if why == _OTHER and type(module).__module__.startswith('mmpretrain.'):
        why += _OF_MMPRETRAIN
    return None, why


def makes(build_cfg: Recipe, module: nn.Module, inputs: torch.Tensor) -> bool:
    """Whether what a config makes computes what a network does.

    Args:
        build_cfg (dict): The config.
        module (nn.Module): The network, in eval mode on the CPU.
        inputs (Tensor): (N, C, H, W).
    """
    try:
        with torch.random.fork_rng([]):
            like = _made(build_cfg)
        like.load_state_dict(module.state_dict())
        like.eval()
        with torch.no_grad():
            found, expected = (
                _without_dataclasses(each(inputs)) for each in (like, module)
            )
        torch.testing.assert_close(found, expected)
        # What a pass leaves, both have by now.
        torch.testing.assert_close(
            loose_tensors(like),
            loose_tensors(module),
            equal_nan=True,
            check_device=False,
            check_dtype=False,
        )
    except Exception:  # whatever its parts make of it
        return False
    return True


def _without_dataclasses(output: Any) -> Any:
    """What a network returns, as torch can compare it."""
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping):
        fields = dataclasses.fields(output)
        return {each.name: getattr(output, each.name) for each in fields}
    return output


def is_wider(whole: nn.Module, module: nn.Module) -> bool:
    """Whether pruning channels may have made one network of another."""
    own, other = module.state_dict(), whole.state_dict()
    if own.keys() != other.keys():
        return False
    pairs = [(own[key].shape, other[key].shape) for key in own]
    return any(one != two for one, two in pairs) and all(
        len(one) == len(two)
        and one[2:] == two[2:]
        and all(map(int.__le__, one, two))
        for one, two in pairs
    )


def is_part(student: nn.Module, teacher: nn.Module) -> bool:
    """Whether each weight of a smaller network is one of another's."""
    mine, its = student.state_dict(), teacher.state_dict()
    if type(student) is not type(teacher) or mine.keys() != its.keys():
        return False
    sizes = [
        sum(value.numel() for value in state.values()) for state in (mine, its)
    ]
    return sizes[0] < sizes[1] and all(
        bool(torch.isin(value.cpu().float(), its[key].cpu().float()).all())
        for key, value in mine.items()
        if value.is_floating_point()
    )


def takes(make: Any, argument: str) -> bool:
    """Whether a function or class takes an argument."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.name == argument or p.kind is p.VAR_KEYWORD for p in parameters
    )


def kept_arguments(
    arguments: Iterable[str], of_factory: bool = True
) -> List[str]:
    """Arguments that a config cannot give to a network, by their names."""
    kept = _KEPT + (_KEPT_OF_FACTORIES if of_factory else ())
    return [name for name in arguments if name in kept]


def _made(build_cfg: Recipe) -> nn.Module:
    """What a config makes, without what a run puts around it."""
    if 'factory' in build_cfg:
        arguments = dict(build_cfg)
        del arguments['type']
        made = import_object(arguments.pop('factory'))(**arguments)
        return unwrapped(made)
    with DefaultScope.overwrite_default_scope('mmrazor'):
        model = MODELS.build(deepcopy(build_cfg))
    return model.net if isinstance(model, TorchClassifier) else model


def _guesses(module: nn.Module, other: Optional[Recipe]) -> Iterator[Recipe]:
    """What may have made a network, the likeliest first.

    Raises:
        ValueError: If its class cannot be imported.
    """
    if other is not None and not is_lent(other):
        yield other['network'] if is_pruned(other) else other
    # What mmpretrain.get_model() leaves.
    model = getattr(getattr(module, '_config', None), 'model', None)
    if isinstance(model, dict):
        found = without_pretrained(ConfigDict(model).to_dict())
        found.pop('init_cfg', None)
        yield dict(found, _scope_='mmpretrain')
    named = dict(type='mmrazor.TorchClassifier')
    parameters = [p for p in module.parameters() if p.ndim]
    classes = len(parameters[-1]) if parameters else 0
    # What timm.create_model() leaves.
    origin = getattr(module, 'pretrained_cfg', None)
    if isinstance(origin, dict) and origin.get('architecture'):
        arguments = getattr(module, '_model_args', dict(num_classes=classes))
        if all(_can_be_written(*each) for each in arguments.items()):
            yield dict(
                named,
                factory='timm.create_model',
                model_name=origin['architecture'],
                **arguments,
            )
    cls = type(module)
    factory = _name_of_class(cls)
    # Few, where guesses of arguments may make large networks.
    for function in _functions_of(cls)[: _most_guesses(module)]:
        known = dict(named, factory=f'{cls.__module__}.{function.__name__}')
        if takes(function, 'num_classes'):
            known['num_classes'] = classes
        yield known
    for arguments in _arguments_of(module):
        yield dict(named, factory=factory, **arguments)


def _most_guesses(module: nn.Module) -> int:
    size = sum(1 for _ in module.modules())
    return min(_MOST_GUESSES, max(1, _MOST_MODULES // size))


def _functions_of(cls: type) -> List[Any]:
    """Functions beside an installed class that say that they make one."""
    code = sys.modules[cls.__module__]
    file = str(getattr(code, '__file__', ''))
    # timm's are many, and tell by which they were made.
    if not is_installed(file) or cls.__module__.startswith('timm.'):
        return []
    return [
        found
        for name, found in vars(code).items()
        if inspect.isfunction(found)
        and not name.startswith('_')
        and found.__module__ == cls.__module__
        and found.__annotations__.get('return') in (cls, cls.__name__)
    ]


def _tried(
    module: nn.Module,
    recipe: Recipe,
    left: List[int],
    wider: List[Recipe],
    is_trained: bool,
) -> str:
    """What is not alike in a module and one that a recipe makes.

    Args:
        module (nn.Module): The module.
        recipe (dict): A guess.
        left (list[int]): How often one that cannot be made without memory may
            still be made with it; is counted down.
        wider (list[dict]): Gets the recipe if it makes one that is.
        is_trained (bool): As of :func:`recipe_of`.
    """
    # Without memory first, since most guesses are wrong.
    for device in ('meta', 'cpu'):
        try:
            with torch.random.fork_rng([]), torch.device(device):
                like = _made(recipe)
        except Exception:  # whatever the arguments make it raise
            if device == 'cpu' or not left[0]:
                return _OTHER
            left[0] -= 1
            continue
        found = _difference(module, like, is_trained)
        if found:
            if is_wider(like, module):
                wider.append(recipe)
            return found
    return ''


def _narrowed(
    module: nn.Module, recipe: Recipe, is_trained: bool
) -> Optional[Recipe]:
    """What makes a pruned network of what a recipe makes, if that can be."""
    shapes = {k: [*v.shape] for k, v in module.state_dict().items()}
    try:
        with torch.random.fork_rng([]):
            like = narrow(_made(recipe), shapes)
    except Exception:  # whatever was pruned
        return None
    if _difference(module, like, is_trained):
        return None
    below = 'net.' if is_wrapped(recipe) else ''
    return dict(
        type='mmrazor.PrunedNetwork',
        network=recipe,
        shapes={f'{below}{key}': shape for key, shape in shapes.items()},
    )


def _name_of_class(cls: type) -> str:
    if issubclass(cls, torch.fx.GraphModule):
        raise ValueError(
            'graphs of torch.export and torch.fx have no class that makes them'
        )
    if '<locals>' in cls.__qualname__ or '.' in cls.__qualname__:
        raise ValueError('its class is within another')
    if cls.__module__ == '__main__':
        raise ValueError('its class is in the program itself')
    try:
        file = inspect.getsourcefile(cls)
    except TypeError as error:
        raise ValueError('its class is in no file') from error
    if file is None or is_installed(file):
        return f'{cls.__module__}.{cls.__qualname__}'
    # To run a file a second time may do anything.
    code = imported_file(file)
    if code is None:
        raise ValueError(
            f'{file} was imported as {cls.__module__}, by a name that a '
            'config does not know'
        )
    # It has to be the class of this very module.
    if getattr(code, cls.__name__, None) is not cls:
        raise ValueError(f'{file} does not make the same class')
    return f'{Path(file).resolve()}:{cls.__qualname__}'


def _arguments_of(module: nn.Module) -> Iterator[Dict[str, Any]]:
    """Arguments that a module may have been made with, the likeliest first.

    They are plain values that it has under the names of the arguments, or
    the defaults; for integers also the widths of its layers, for truth values
    the opposite. What a config cannot say is left at its default.
    """
    widths = sorted({n for p in module.parameters() for n in p.shape})
    known, guessed = {}, {}
    for each in inspect.signature(type(module)).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        try:
            value = getattr(module, each.name, each.empty)
        except Exception:  # of a property
            value = each.empty
        if type(value) in _PLAIN:
            if not _can_be_written(each.name, value):
                continue
            known[each.name] = value
        elif type(each.default) is bool:
            guessed[each.name] = [each.default, not each.default]
        elif type(each.default) is int or each.default is each.empty:
            default = [] if each.default is each.empty else [each.default]
            guessed[each.name] = [*default, *widths]
    guesses = sorted(
        islice(product(*map(range, map(len, guessed.values()))), 10_000),
        key=lambda places: sum(place > 0 for place in places),
    )
    for places in guesses[: _most_guesses(module)]:
        chosen = {
            name: values[place]
            for (name, values), place in zip(guessed.items(), places)
        }
        yield dict(known, **chosen)


def _can_be_written(name: str, value: Any) -> bool:
    """Whether a config can say that an argument has a value."""
    return (
        type(value) in _PLAIN
        and not (isinstance(value, float) and not math.isfinite(value))
        and not kept_arguments([name])
    )


def _difference(module: nn.Module, like: nn.Module, is_trained: bool) -> str:
    """What is not alike in two networks, as the reason to lend one."""
    own, other = module.state_dict(), like.state_dict()
    if own.keys() != other.keys() or any(
        own[key].shape != other[key].shape for key in own
    ):
        return _OTHER
    try:
        found = difference(module, like)
        if is_trained and not found:
            found = unlike_training(module, like)
    except Exception:  # whatever its attributes make of it
        found = 'an attribute'
    return (
        found
        and f'no arguments that could be found make the same of it ({found})'
    )
