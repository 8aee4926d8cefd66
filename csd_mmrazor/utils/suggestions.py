# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Names in messages: those there are, and what a misspelt one might mean."""

import difflib
from typing import Any, Collection, Optional, Sequence


def some_of(names: Sequence[Any], most: int = 20) -> str:
    """The first of several names, and how many more there are.

    Args:
        names (sequence): The names.
        most (int): How many are told. Defaults to 20.
    """
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(map(str, names[:most])) + more


def closest(
    name: str, known: Collection[str], least: float = 0.8
) -> Optional[str]:
    """What a misspelt name might mean, whatever its case.

    Args:
        name (str): As it was written.
        known (collection[str]): The names that there are.
        least (float): How alike they have to be, 0..1. Defaults to 0.8.
    """
    lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), lower, 1, least)
    return lower[found[0]] if found else None


def did_you_mean(name: Any, known: Collection[str]) -> str:
    """A question for the end of a message, or '' where nothing is alike."""
    text = str(name)
    close = closest(text, known, 0.6) or _shorter_or_longer(text, known)
    return f' Did you mean {close!r}?' if close else ''


def _shorter_or_longer(name: str, known: Collection[str]) -> Optional[str]:
    """The one name that goes on as this does, or is short for it."""
    low = name.lower()
    found = [
        each
        for each in known
        if (len(low) > 2 and each.lower().startswith(low))
        or (len(each) < 4 and _is_short_for(each.lower(), low))
    ]
    return found[0] if len(found) == 1 else None


def _is_short_for(short: str, name: str) -> bool:
    """Whether a name has these letters in order, with the first of it."""
    letters = iter(name)
    return name[:1] == short[:1] and all(each in letters for each in short)
