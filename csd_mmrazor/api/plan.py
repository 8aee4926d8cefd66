# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run is going to do, and how that is told."""

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

from ..utils.arguments import check_arguments
from ..utils.short_repr import short_repr
from .schedule import PLANNED, Schedule, Timings, fit_time
from .trial import Trial

# Share of the time that validation may take.
_VALIDATING = 0.05
# Student steps that random weights need for more than a trial. In the rows of
# docs/results/label_free.csv, students of the digits, the easiest task, had 19
# to 38 % right after 40 steps of 64 images and 63 to 80 % after 100.
ENOUGH_STEPS = 100


@dataclass(frozen=True)
class Plan:
    """What a run is going to do."""

    schedule: Schedule
    timings: Timings
    val_interval: int
    memory: int  # bytes
    disk: int  # bytes
    connector: int  # weights
    # Of a budget that is a time: all of it, and what went before the run.
    budget: Optional[float] = None  # seconds
    passed: float = 0.0  # seconds

    __repr__ = short_repr

    @property
    def seconds(self) -> float:
        """What it takes at the speed of the trial."""
        return self.timings.seconds(self.schedule, self.val_interval)

    def lines(self) -> List[str]:
        """The plan for people."""
        s, t = self.schedule, self.timings
        initial = s.init_rounds * t.init_round + t.imported
        return [
            f'plan: {_clock(self.seconds)} on this machine, of which '
            f'{_clock(initial)} for the first images',
            *self._shares(),
            f'  images: {s.images:,} of {s.synthesis_batch} a round'
            f'{", and those to start with" if t.imported else ""}; '
            f'{_many(s.synthesis_steps, "step")} of synthesis of '
            f'{1000 * t.round / s.iters:.0f} ms',
            f'  student: {_many(s.epochs, "epoch")} of '
            f'{_many(s.rounds, "round")} and {_many(s.steps, "step")} of '
            f'{_many(s.batch, "image")}; {_many(s.student_steps, "step")} '
            f'of {1000 * t.step:.0f} ms',
            *([f'  val: {self._validations()}'] if t.validation else []),
            *(
                [f'  blocks of the teacher: chosen in {_clock(t.choice)}']
                if t.choice
                else []
            ),
            *(
                [f'  pruned layers: fitted to the teacher in {_clock(t.fit)}']
                if t.fit
                else []
            ),
            f'  memory: {self.memory / 2**30:.1f} GiB; disk: '
            f'{self.disk / 2**20:.0f} MiB'
            + (
                f'; weights of the connector: {self.connector:,}'
                if self.connector
                else ''
            ),
        ]

    def late(self, seconds: float) -> str:
        """What to say of the time a run took; '' if it fits its budget."""
        if self.budget is None or seconds < self.budget + 1:
            return ''
        return (
            f'time: {_clock(round(seconds))}, '
            f'{_clock(round(seconds - self.budget))} more than the budget: '
            'steps took longer than when they were timed'
        )

    def _validations(self) -> str:
        """When the accuracy on the validation images is measured."""
        each = f'which takes {_clock(self.timings.validation)}'
        if self.val_interval >= self.schedule.epochs:
            return f'the accuracy is measured at the end, {each}'
        n = self.val_interval
        when = 'after each epoch' if n == 1 else f'every {n} epochs'
        return f'the accuracy is measured {when}, {each}'

    def _shares(self) -> List[str]:
        """Where the time of a budget goes; the parts add up to it."""
        if self.budget is None:
            return []
        budget, passed = round(self.budget), round(self.passed)
        planned = round(self.seconds)
        return [
            f'  budget: {_clock(budget)}, of which {_clock(passed)} have gone '
            f'into checks and the trial; the run takes {_clock(planned)}, and '
            f'{_clock(budget - passed - planned)} are a reserve for steps '
            'that take longer'
        ]


def make_plan(
    parsed: Any,
    row: Schedule,
    trial: Trial,
    passed: float,
    shape: Sequence[int],
) -> Plan:
    timings = trial.timings
    left = timings.seconds(row, row.epochs)
    if isinstance(parsed, float):
        left = PLANNED * (parsed - passed)
    # Validation is to take little of the time.
    most = max(1, int(_VALIDATING * left / max(timings.validation, 1e-9)))
    interval = max(1, -(-row.epochs // most))
    schedule = row
    if isinstance(parsed, float):
        schedule = fit_time(row, timings, left, interval, passed)
    interval = min(max(1, -(-schedule.epochs // most)), schedule.epochs)
    size = 1
    for length in shape:
        size *= length
    # The bank in records of image and label, with what is kept of the teacher,
    # and two checkpoints at a time.
    images = schedule.images + trial.imported
    disk = images * (size + 8 + trial.beside) + 3 * trial.checkpoint
    disk += trial.state
    return Plan(
        schedule=schedule,
        timings=timings,
        val_interval=interval,
        memory=trial.memory,
        disk=disk,
        connector=trial.connector,
        budget=parsed if isinstance(parsed, float) else None,
        passed=passed,
    )


def warning_of_few_steps(plan: Plan, row: Schedule) -> str:
    """What to say of a time that random weights can learn little in.

    Args:
        plan (Plan): Of a student with such weights.
        row (Schedule): What the time was fitted to.

    Returns:
        str: A warning with a budget that is enough; '' if this one is. Of a
        number of steps, which somebody chose, it is no warning.
    """
    steps = plan.schedule.student_steps
    if steps >= ENOUGH_STEPS:
        return ''
    if plan.budget is None:
        return (
            '  a student with random weights learns little in '
            f'{_many(steps, "step")}: that is enough to try things out'
        )
    left = PLANNED * (plan.budget - plan.passed)
    schedule = plan.schedule
    while schedule.student_steps < ENOUGH_STEPS:
        left *= 1.1
        schedule = fit_time(row, plan.timings, left, plan.val_interval)
    minutes = math.ceil((plan.passed + left / PLANNED) / 60)
    return (
        'WARNING: a student with random weights learns little in '
        f'{_many(steps, "step")}, and may stay near chance. On this machine, '
        f'budget="{minutes}min" is for about {ENOUGH_STEPS}, and several '
        'times as many are better'
    )


def warning_of_few_images(images: int, num_classes: int) -> str:
    """A warning of fewer images than classes; '' if there are as many."""
    if images >= num_classes:
        return ''
    return (
        f'WARNING: of {num_classes:,} classes, '
        f'{num_classes - images:,} or more have no image, since there are '
        f'{_many(images, "image")}: give a larger budget'
    )


def plan_of(found: Dict[str, Any]) -> Plan:
    check_arguments(Plan, found)
    check_arguments(Schedule, found['schedule'])
    check_arguments(Timings, found['timings'])
    return Plan(
        **dict(
            found,
            schedule=Schedule(**found['schedule']),
            timings=Timings(**found['timings']),
        )
    )


def trial_seconds(parsed: Any) -> float:
    """How long to time steps."""
    if isinstance(parsed, float):
        return min(0.03 * parsed, 30)
    return 0.0


def _many(count: int, what: str) -> str:
    return f'{count:,} {what}{"s" * (count != 1)}'


def _clock(seconds: float) -> str:
    if isinstance(seconds, float) and seconds < 10:
        return f'{seconds:.1f} s'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes:02d} min'
    return f'{minutes} min {seconds:02d} s' if minutes else f'{seconds} s'
