# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import defaultdict
from typing import DefaultDict, Dict, Optional


class RunClock:
    """How long the rest of a run takes, of all its kinds of work together.

    A kind of work, such as a student step, takes as long as it took so far;
    one that has not come up yet, as long as it is expected to. Whoever knows
    how much of a kind is left says so in ``left``.

    Args:
        expected (dict[str, float], optional): Seconds of a unit of each kind,
            for those that have not come up. Defaults to None.
        like (dict[str, str], optional): To which other kind's time those
            seconds are added. Defaults to None.

    Attributes:
        left (dict[str, float]): Units that are left, by kind.
        seconds (dict[str, float]): What each kind took so far.
    """

    def __init__(
        self,
        expected: Optional[Dict[str, float]] = None,
        like: Optional[Dict[str, str]] = None,
    ) -> None:
        self.expected = dict(expected or {})
        self.like = dict(like or {})
        self.left: Dict[str, float] = {}
        self.seconds: DefaultDict[str, float] = defaultdict(float)
        self._units: DefaultDict[str, float] = defaultdict(float)

    def spend(self, kind: str, units: float, seconds: float) -> None:
        """Note that some work of a kind was done."""
        self._units[kind] += units
        self.seconds[kind] += seconds

    def remaining(self) -> float:
        """Seconds until the run is done."""
        return sum(left * self.pace(kind) for kind, left in self.left.items())

    def pace(self, kind: str) -> float:
        """Seconds of a unit."""
        if self._units[kind]:
            return self.seconds[kind] / self._units[kind]
        other = self.like.get(kind)
        more = self.pace(other) if other else 0.0
        return self.expected.get(kind, 0.0) + more
