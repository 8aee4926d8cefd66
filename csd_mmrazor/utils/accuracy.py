# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A student's accuracy from its agreement with the teacher, without labels.

Of the teacher's accuracy, a student keeps a share, which is a line of the
agreement on synthetic images where both are log-odds. Images that the teacher
is not sure of do not count: good students decide otherwise there. The line is
fitted on tasks with labels (docs/label_free.md). What it is off by is measured
on tasks that are left out of the fit, and makes the interval, together with
what the agreement itself may be off by, which is that of so many images.
"""

import math
from statistics import NormalDist
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .short_repr import short_repr

# Shares are kept so far from 0 and 1, where log-odds are infinite, and where a
# few hundred images tell nothing.
_EDGE = 0.02
# Share of the images, in %, that a teacher has to take for their label. Where
# it does not, they are none of its classes, and agreement tells nothing.
RECOGNISED = 30.0
# Points that the agreement on images that the teacher is sure of may be off
# that on all. Above, there are 2 of the 104 students of the rows, and both
# estimates were too high; below by more than 9, none.
APART = 30.0
# Images that the teacher is sure of below which no accuracy is estimated. From
# so many on, the error of a small number is not above that of the line.
LEAST = 19
# What is told of images of few classes, where whoever guesses agrees as well:
# shares of the sure ones, in %, on which student and teacher would agree by
# chance. Above the first, an estimate is doubtful; above the second, which two
# classes alike are below, there is none. Ten classes alike have 10.
DOUBTFUL_CHANCE, CHANCE = 30.0, 60.0
# Of tasks that are left out, the share of students that intervals are for.
COVERAGE = 0.9
# Images below which a warning is due.
FEW = 100
# What weakens a figure that is of training images.
SEEN = (
    'No images were held out from training (held_out of the image bank; '
    'distill() holds some out where it has no val), so the student was '
    'trained on those that it is measured by.'
)


class Fit(NamedTuple):
    """A line, and how far it is off on tasks that it was not fitted on."""

    intercept: float
    slope: float
    # In log-odds: which COVERAGE of the errors of left-out tasks are within,
    # where each task counts as much as any other.
    spread: float
    # In points of accuracy, over students of left-out tasks.
    mean_error: float
    # Of the task with the largest.
    worst_error: float
    tasks: int
    students: int


# By set of images. Fitted on docs/results/label_free.csv, which
# ``tools/label_free.py --summary`` does again.
FITS: Dict[str, Fit] = {
    'held_out': Fit(-0.101966, 0.780306, 1.54636, 11.22, 25.4098, 8, 104),
    'seen': Fit(-0.274229, 0.820278, 1.68104, 11.601, 24.4381, 8, 104),
}


class Accuracy(NamedTuple):
    """An accuracy, in %, and the interval that it is in."""

    top1: float
    low: float
    high: float

    __repr__ = short_repr

    def __str__(self) -> str:
        return (
            f'{self.top1:.1f} %, interval {self.low:.1f} to {self.high:.1f} %'
        )


class AccuracyEstimate(NamedTuple):
    """How much of its teacher's accuracy a student has, in % of it."""

    percent_of_teacher: float
    # Of the interval, likewise.
    low: float
    high: float

    def accuracy(self, teacher_top1: float) -> Accuracy:
        """The student's own, if the teacher has ``teacher_top1`` %."""
        return Accuracy(*(teacher_top1 / 100 * share for share in self))

    __repr__ = short_repr

    def __str__(self) -> str:
        return (
            f"{self.percent_of_teacher:.1f} % of the teacher's, interval "
            f'{self.low:.1f} to {self.high:.1f} %'
        )


def estimate_accuracy(
    fit: Fit,
    agreement: float,
    images: Optional[int] = None,
) -> AccuracyEstimate:
    """Estimate the accuracy of a student.

    Two errors make the interval, which have nothing to do with each other, so
    their squares add up: that of the line, and that of the agreement, which
    its :func:`wilson` interval is of.

    Args:
        fit (Fit): Of the kind of images that ``agreement`` is of.
        agreement (float): Share on which student and teacher decide alike,
            in %, of the images that the teacher is sure of.
        images (int, optional): How many ``agreement`` is of. Defaults to
            None, not known: the interval is of the line alone.
    """
    share = agreement / 100
    ends = (share, share) if images is None else wilson(share, images)
    middle, *lines = (
        fit.intercept + fit.slope * log_odds(each) for each in (share, *ends)
    )
    below, above = (math.hypot(fit.spread, each - middle) for each in lines)
    return AccuracyEstimate(
        100 / (1 + math.exp(-middle)),
        *(100 * _end(value) for value in (middle - below, middle + above)),
    )


def _end(value: float) -> float:
    """The share of log-odds that end an interval.

    What is kept off 0 or 1 stands for all that is nearer to it.
    """
    if abs(value) > log_odds(1) - 1e-9:
        return float(value > 0)
    return 1 / (1 + math.exp(-value))


def wilson(share: float, number: int) -> Tuple[float, float]:
    """The interval that a share is in, by a sample of it.

    It is Wilson's (JASA, 1927), for ``COVERAGE`` of such samples.

    Args:
        share (float): In the sample, 0..1.
        number (int): The sample's size, 1 or more.
    """
    z = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    weight = z * z / number
    middle = share + weight / 2
    width = math.sqrt(weight * (share * (1 - share) + weight / 4))
    low, high = ((middle + w) / (1 + weight) for w in (-width, width))
    return max(low, 0.0), min(high, 1.0)


def doubts_about(
    images: str,
    sure: Optional[int],
    has_real: bool = False,
    chance: Optional[float] = None,
) -> List[str]:
    """What weakens an estimate.

    Args:
        images (str): What it is by, a key of ``FITS``.
        sure (int, optional): How many of these the teacher is sure of. None
            is not known.
        has_real (bool): Whether some of them are real pictures. Defaults to
            False.
        chance (float, optional): On how many of the sure ones student and
            teacher would agree by chance, in %. Defaults to None, not known.
    """
    doubts = []
    if sure is None:
        doubts.append(
            'The number of images is not known, so the interval does not '
            'include the error that a small number causes.'
        )
    elif sure < FEW:
        doubts.append(
            f'{sure} images are few, so the interval is wide: compare '
            f'{FEW} or more. If the bank has no more, a larger budget makes '
            'more.'
        )
    if chance is not None and chance > DOUBTFUL_CHANCE:
        doubts.append(
            f'By chance alone, the two would agree on {chance:.1f} % of '
            'these, as on images of few classes. Estimates were tested on '
            'images of ten, and may be too high here.'
        )
    if images == 'seen':
        doubts.append(SEEN)
    if has_real:
        doubts.append(
            'Some of these images are real pictures, but the error was '
            'measured on synthetic images only.'
        )
    return doubts


def error_of(fit: Fit) -> str:
    """How far estimates are off, in words."""
    return (
        f'On {fit.tasks} tasks, each left out of the fit, such estimates were '
        f'off by {fit.mean_error:.1f} points in the mean, and by '
        f'{fit.worst_error:.1f} on the worst task; {100 * COVERAGE:.0f} % of '
        'the students were within the interval.'
    )


def log_odds(share: float) -> float:
    """Of a share, 0..1, that is kept off both ends."""
    share = min(max(share, _EDGE), 1 - _EDGE)
    return math.log(share / (1 - share))


class Student(NamedTuple):
    """What is known of a student with labels, in %."""

    task: str
    agreement: float  # on images that the teacher is sure of
    top1: float
    teacher_top1: float


def fit_accuracy(students: Sequence[Student]) -> Fit:
    """Fit the line, and measure it on each task by the others.

    Each task counts as much as any other.

    Args:
        students (sequence[Student]): Of three tasks or more.
    """
    tasks = sorted({student.task for student in students})
    means: List[float] = []
    residuals: List[float] = []
    weights: List[float] = []
    for task in tasks:
        line = _line([s for s in students if s.task != task])
        left_out = [s for s in students if s.task == task]
        means.append(_error(line, left_out))
        residuals += [abs(_residual(line, each)) for each in left_out]
        weights += [1 / len(left_out)] * len(left_out)
    order = np.argsort(residuals)
    reached = np.cumsum(np.array(weights)[order]) / len(tasks)
    # Sums of fractions are not exact.
    spread = residuals[order[np.searchsorted(reached, COVERAGE - 1e-9)]]
    return Fit(
        *_line(students),
        spread=float(spread),
        mean_error=float(np.mean(means)),
        worst_error=max(means),
        tasks=len(tasks),
        students=len(students),
    )


class LeftOut(NamedTuple):
    """What estimates of a task are worth that the others are fitted on."""

    students: int
    error: float  # in points of accuracy, the mean absolute one
    covered: float  # share of students that are within their interval, in %


def left_out(students: Sequence[Student]) -> Dict[str, LeftOut]:
    """Estimate each task by all others, line and interval.

    Args:
        students (sequence[Student]): Of four tasks or more.
    """
    found = {}
    for task in sorted({student.task for student in students}):
        fit = fit_accuracy([s for s in students if s.task != task])
        own = [s for s in students if s.task == task]
        inside = [abs(_residual(fit[:2], s)) <= fit.spread for s in own]
        found[task] = LeftOut(
            len(own), _error(fit[:2], own), 100 * float(np.mean(inside))
        )
    return found


def _error(line: Tuple[float, float], students: Sequence[Student]) -> float:
    """What estimates by a line are off by, in points, in the mean."""
    fit = Fit(*line, 0, 0, 0, 0, 0)
    found = [
        estimate_accuracy(fit, s.agreement).accuracy(s.teacher_top1).top1
        - s.top1
        for s in students
    ]
    return float(np.mean(np.abs(found)))


def _residual(line: Tuple[float, float], student: Student) -> float:
    """What a student has above a line, in log-odds."""
    intercept, slope = line
    expected = intercept + slope * log_odds(student.agreement / 100)
    return _kept(student) - expected


def _kept(student: Student) -> float:
    """Log-odds of the share of the teacher's accuracy that a student has."""
    return log_odds(student.top1 / student.teacher_top1)


def _line(students: Sequence[Student]) -> Tuple[float, float]:
    """Intercept and slope by least squares."""
    numbers = {s.task: 0 for s in students}
    for student in students:
        numbers[student.task] += 1
    weights = np.sqrt([1 / numbers[s.task] for s in students])
    x = np.array([log_odds(s.agreement / 100) for s in students])
    design = np.stack([np.ones_like(x), x], 1) * weights[:, None]
    wanted = np.array([_kept(s) for s in students]) * weights
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    return float(solution[0]), float(solution[1])
