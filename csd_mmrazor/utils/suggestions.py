# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a misspelt name might mean."""

import difflib
from typing import Any, Collection, Optional


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
    close = closest(str(name), known, 0.6)
    return f' Did you mean {close!r}?' if close else ''
