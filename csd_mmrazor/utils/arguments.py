# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether what a config gives an argument is of the argument's type."""

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any, Callable, Dict, Optional, Tuple, Union

NoneType = type(None)
_WORDS = {
    bool: 'True or False',
    int: 'an integer',
    float: 'a finite number',
    str: 'a text',
    dict: 'a dict',
    list: 'a list',
    NoneType: 'None',
}
# What people write for True and False, and ``--cfg-options`` reads as texts.
_SWITCHES = ('yes', 'no', 'on', 'off', 'y', 'n', 'true', 'false', 't', 'f')
# Numbers of an image, at most: half a gigabyte.
MOST_PIXELS = 2**27
# Registries whose parts take numbers where their defaults are numbers.
_OF_NUMBERS = ('optimizer', 'parameter scheduler')


def kinds_of(annotation: Any) -> Optional[Tuple[type, ...]]:
    """The types of ``_WORDS`` that an annotation allows.

    Returns:
        tuple[type] | None: None if it allows others as well.
    """
    if annotation in _WORDS:
        return (annotation,)
    origin = typing.get_origin(annotation)
    if origin in (Union, getattr(types, 'UnionType', Union)):
        kinds = [kinds_of(each) for each in typing.get_args(annotation)]
        return None if None in kinds else tuple(k for ks in kinds for k in ks)
    if inspect.isclass(origin) and origin is not tuple:
        for kind, abstract in ((dict, Mapping), (list, Sequence)):
            if issubclass(origin, abstract):
                return (kind,)
    return None


def argument_types(part: Callable) -> Dict[str, Optional[Tuple[type, ...]]]:
    """Types of a library part's arguments that are numbers or booleans.

    Of its others None, since libraries' annotations are not always right.
    """
    simple = {bool, int, float, NoneType}
    return {
        name: kinds if kinds and set(kinds) <= simple else None
        for name, (_, kinds, _) in _declared(part).items()
        if name not in ('self', 'args', 'kwargs', 'runner', 'dataloader')
    }


def fits(value: Any, kind: type) -> bool:
    """Whether a value of a config is of a type.

    Objects that a program puts in place of a dict or a list fit, and a
    number fits in place of a list of them.
    """
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        try:
            return is_number and math.isfinite(value)
        except OverflowError:  # of an integer beyond all floats
            return False
    if kind is str:
        return isinstance(value, (str, PathLike))
    if kind is dict:
        return not isinstance(value, (str, Real, list, tuple, NoneType))
    if kind is list:
        return not isinstance(value, (str, bool, Mapping, NoneType))
    return value is None


def check_value(name: str, value: Any, kinds: Tuple[type, ...]) -> None:
    """Check the type of one argument.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set.
        kinds (tuple): Types of ``_WORDS``, or values, one of which it has to
            be.

    Raises:
        ValueError: If it is none of them.
    """
    if any(
        fits(value, kind) if kind in _WORDS else value == kind
        for kind in kinds
    ):
        return
    wanted = ' or '.join(_WORDS.get(kind) or repr(kind) for kind in kinds)
    raise ValueError(f'{name} should be {wanted}, but got {value!r:.200}.')


def check_integer(
    name: str, value: Any, lowest: int = 1, highest: Optional[int] = None
) -> None:
    """Check a number of things.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set.
        lowest (int): The least that makes sense. Defaults to 1.
        highest (int, optional): The most. Defaults to None, any.

    Raises:
        ValueError: If it is no integer, lower or higher.
    """
    if fits(value, int) and value >= lowest:
        if highest is None or value <= highest:
            return
        raise ValueError(
            f'{name} should be {highest:,} at most, but got {value!r:.200}.'
        )
    wanted = (
        'a positive integer'
        if lowest == 1
        else f'an integer, {lowest} or more'
    )
    raise ValueError(f'{name} should be {wanted}, but got {value!r:.200}.')


def check_positive(name: str, value: Any) -> None:
    """Check a temperature, a weight and the like.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set.

    Raises:
        ValueError: If it is no finite number above 0.
    """
    if not fits(value, float) or value <= 0:
        raise ValueError(
            f'{name} should be a number above 0, but got {value!r:.200}.'
        )


def check_probability(name: str, value: Any) -> None:
    """Check a probability.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set.

    Raises:
        ValueError: If it is no number from 0 to 1.
    """
    if not fits(value, float) or not 0 <= value <= 1:
        raise ValueError(
            f'{name} should be between 0 and 1, but got {value!r:.200}.'
        )


def check_image_shape(name: str, value: Any) -> None:
    """Check a shape of images.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set.

    Raises:
        ValueError: If it is not three positive integers.
    """
    is_shape = isinstance(value, (list, tuple)) and len(value) == 3
    if not is_shape or not all(fits(n, int) and n > 0 for n in value):
        raise ValueError(
            f'{name} should be (C, H, W), three positive integers, such as '
            f'(3, 32, 32), but got {value!r:.200}.'
        )
    if math.prod(value) > MOST_PIXELS:
        raise ValueError(
            f'{name}={value!r} has more than {MOST_PIXELS:,} numbers for an '
            'image, which no network takes.'
        )


def check_arguments(
    part: Callable, arguments: Dict[str, Any], registry: str = ''
) -> None:
    """Check what a config gives a part, before the part is built.

    Parts of this project are held to their annotations. Those of libraries
    are not always annotated, nor always right: of them it is only checked
    that what is to be a number or a boolean is neither a text nor NaN.

    Args:
        part (Callable): The class, or a function that makes it.
        arguments (dict): By name.
        registry (str): Name of the registry that it comes from. Arguments of
            optimizers and schedulers whose default is a number have to be
            numbers, whatever their annotation. Defaults to ''.

    Raises:
        ValueError: If there is one of another type; names it.
    """
    declared = _declared(part)
    for name, value in arguments.items():
        if name not in declared:
            continue
        default, kinds, is_ours = declared[name]
        what = f'{name} of {getattr(part, "__name__", part)}'
        if is_ours:
            # A default of another type than its annotation is right as well.
            is_default = type(value) is type(default) and value == default
            if kinds and not is_default:
                check_value(what, value, kinds)
            continue
        is_switch = isinstance(default, bool)
        is_number = isinstance(default, Real) and not is_switch
        if kinds is None and is_switch and str(value).lower() in _SWITCHES:
            kinds = (bool,)
        if registry in _OF_NUMBERS and is_number:
            kinds = (float,)
        if not kinds or not set(kinds) <= {bool, int, float, NoneType}:
            continue
        is_wrong = isinstance(value, str) or value != value
        if registry in _OF_NUMBERS:
            is_wrong = is_wrong or isinstance(value, (list, tuple, Mapping))
            is_wrong = is_wrong or (value is None and default is not None)
        if is_wrong:
            check_value(what, value, kinds)


def _declared(part: Callable) -> Dict[str, tuple]:
    """Default, types and whether it is ours, of each argument of a part.

    ``**kwargs`` are those of the next class.
    """
    declared: Dict[str, tuple] = {}
    functions = [part]
    if inspect.isclass(part):
        functions = [
            cls.__init__
            for cls in part.__mro__[:-1]
            if '__init__' in vars(cls)
        ]
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # written in C
            break
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # a name that is imported for type checkers only
            hints = {}
        is_ours = str(function.__module__).startswith('csd_mmrazor.')
        for each in parameters:
            kinds = kinds_of(hints.get(each.name))
            declared.setdefault(each.name, (each.default, kinds, is_ours))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return declared
