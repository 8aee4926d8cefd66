# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which student a run ends with where no real image can tell.

docs/label_free.md says how far these rules are from the truth.
"""

import math
from typing import Any, Dict, NamedTuple, Optional

# Images on which student and teacher are compared.
SETS = dict(
    held_out='images of the bank that are held out from training',
    initial='those of them that were there before the first epoch',
    views='crops and flips of held-out images',
    mixed='means of two held-out images',
    seen='images of the bank that are trained on',
    fresh='images of a round that is made for this alone',
)
# What is measured of a set, and whether more of it is better.
METRICS = dict(top1=True, kl=False, ece=False)
# Students of an epoch: as it is, and the running mean of its weights.
CANDIDATES = ('last', 'mean')
# Values by epoch (from 1), candidate, set and metric.
History = Dict[int, Dict[str, Dict[str, Dict[str, float]]]]


class Rule(NamedTuple):
    """What is compared. Of a candidate alone: its last one is taken."""

    images: Optional[str]
    metric: str

    def __str__(self) -> str:
        return '.'.join(part for part in self if part)

    def score(self, measured: Dict[str, Any]) -> float:
        """How good a student is; more is better, NaN if nothing tells.

        Args:
            measured (dict): Values by set and metric.
        """
        if self.images is None:
            return 0.0
        value: float = measured.get(self.images, {}).get(self.metric, math.nan)
        return value if METRICS[self.metric] else -value


class Choice(NamedTuple):
    """A student of a run."""

    epoch: int  # from 1
    candidate: str
    score: float


def parse_rule(rule: Any) -> Rule:
    """Read a rule.

    Args:
        rule (str): A set and a metric, such as ``'held_out.top1'``, or a
            candidate, whose last one is taken whatever is measured.

    Raises:
        ValueError: If it is none; lists them.
    """
    if rule in CANDIDATES:
        return Rule(None, rule)
    images, _, metric = str(rule).partition('.')
    if images not in SETS or metric not in METRICS:
        raise ValueError(
            f'rule should be one of {", ".join(CANDIDATES)}, or SET.METRIC '
            f'with a set of {", ".join(SETS)} and a metric of '
            f'{", ".join(METRICS)}, but got {rule!r}.'
        )
    return Rule(images, metric)


def choose(history: History, rule: Rule) -> Optional[Choice]:
    """The best student so far.

    Of several that are as good, the latest is taken, and of an epoch's the
    running mean. Those that were not measured are left out; where none was,
    it is the latest student as it is.

    Args:
        history (dict): What was measured, see ``History``.
        rule (Rule): By what.

    Returns:
        Choice | None: None before the first epoch. The score is NaN where
        nothing was measured.
    """
    found = [
        Choice(epoch, name, rule.score(measured))
        for epoch, students in history.items()
        for name, measured in students.items()
        if rule.images is not None or name == rule.metric
    ]
    known = [choice for choice in found if not math.isnan(choice.score)]
    if not known:
        return max(
            found, key=lambda c: (c.epoch, c.candidate == 'last'), default=None
        )
    return max(
        known,
        key=lambda c: (c.score, c.epoch, CANDIDATES.index(c.candidate)),
    )


def is_stalled(history: History, rule: Rule, patience: int) -> bool:
    """Whether none of the last epochs had a student better than before.

    Epochs of which nothing was measured do not count.

    Args:
        history (dict): What was measured, see ``History``.
        rule (Rule): By what.
        patience (int): How many epochs those are.
    """
    if rule.images is None:
        return False
    scores = [
        [rule.score(measured) for measured in history[epoch].values()]
        for epoch in sorted(history)
    ]
    known = [[s for s in epoch if not math.isnan(s)] for epoch in scores]
    best = [max(epoch) for epoch in known if epoch]
    # The first one that is as good counts: the others were no better.
    return bool(best) and len(best) - 1 - best.index(max(best)) >= patience
