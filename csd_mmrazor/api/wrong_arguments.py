# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a call says of arguments that it does not have."""

import inspect
from functools import wraps
from typing import Any, Callable, Dict, TypeVar, cast

from ..utils.suggestions import did_you_mean

_F = TypeVar('_F', bound=Callable[..., Any])


def helpful(elsewhere: Dict[str, str]) -> Callable[[_F], _F]:
    """Let a function say what a wrong argument might mean.

    Args:
        elsewhere (dict[str, str]): How to give what people take for arguments
            of it, by name.
    """

    def decorate(function: _F) -> _F:
        signature = inspect.signature(function)
        name = function.__name__
        first = [
            each.name
            for each in signature.parameters.values()
            if each.kind is each.POSITIONAL_OR_KEYWORD
        ]
        # The first of those that have to be named.
        by_name = [*signature.parameters][len(first)]

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(args) > len(first):
                raise TypeError(
                    f'{name}() takes {" and ".join(first)} by position, and '
                    f'all else by name: {by_name}={args[len(first)]!r:.80}.'
                )
            for given in kwargs:
                if given in signature.parameters:
                    continue
                meant = did_you_mean(given, signature.parameters)
                if given in elsewhere:
                    meant = f' Did you mean {elsewhere[given]}?'
                raise TypeError(f'{name}() has no argument {given!r}.{meant}')
            return function(*args, **kwargs)

        return cast(_F, call)

    return decorate
