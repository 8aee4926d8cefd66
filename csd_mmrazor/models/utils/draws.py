# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a step draws at random, so that a graph can replay the step.

A replay runs no Python and reads the memory that it was captured with. What
is drawn in a step is therefore drawn before it, in the same order, and copied
there.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, Iterator, List, Optional, Tuple

import torch
from torch import Tensor

Draw = Callable[[], Tuple[Tensor, ...]]


class Draws:
    """What one step draws, in memory that stays where it is.

    The first step draws as it runs. Before each of the others,
    :meth:`renew` draws all of it, and the step finds it there.
    """

    def __init__(self) -> None:
        self._drawn: List[Tuple[Draw, Tuple[Tensor, ...]]] = []
        self._place = 0
        self._is_first = True
        # Whether a step has drawn other things than the first one did.
        self.differ = False

    def renew(self) -> None:
        """Draw for the next step, in the order of the first."""
        for place, (draw, kept) in enumerate(self._drawn):
            values = draw()
            if [_kind(value) for value in values] != [*map(_kind, kept)]:
                # A copy would broadcast or round it.
                self.differ = True
                self._drawn[place] = draw, values
                continue
            for memory, value in zip(kept, values):
                memory.copy_(value)

    @contextmanager
    def found(self) -> Iterator[None]:
        """Let a step find its draws here."""
        self._place = 0
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
        self.differ |= self._place != len(self._drawn)
        self._is_first = False

    def take(self, draw: Draw) -> Tuple[Tensor, ...]:
        """The next of them."""
        if self._is_first:
            # Copies, since what is drawn may share memory with other things.
            values = tuple(value.clone() for value in draw())
            self._drawn.append((draw, values))
        self._place += 1
        if self._place > len(self._drawn):
            return draw()
        return self._drawn[self._place - 1][1]


def _kind(value: Tensor) -> Tuple[torch.Size, torch.dtype]:
    return value.shape, value.dtype


_current: ContextVar[Optional[Draws]] = ContextVar('draws', default=None)


def drawn(draw: Draw) -> Tuple[Tensor, ...]:
    """Random tensors that a step of synthesis or training needs.

    Whatever draws within such a step, such as an augmentation, is to do it
    here, or the step cannot be replayed.

    Args:
        draw (Callable): Draws them; the same shapes in each step. It is
            called again for later steps, so it is not to hold on to images.

    Returns:
        tuple[Tensor]: What it returned, or what was drawn for this step.
    """
    draws = _current.get()
    return draw() if draws is None else draws.take(draw)
