# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How many images and steps a budget is worth."""

import math
import re
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, Dict, Optional, Sequence, Union

from ..utils import check_integer
from ..utils.arguments import check_positive, check_value
from ..utils.numbers import MOST, is_too_large
from ..utils.short_repr import short_repr
from ..utils.suggestions import did_you_mean

# Share of a budget that is planned for; what is left is for steps that take
# longer than they did when they were timed.
PLANNED = 0.93
# What is more is a slip: ten years, and steps.
LONGEST = 10 * 365 * 24 * 3600.0
_MOST_STEPS = 10**8
# Fields whose numbers are called otherwise in configs.
_NAMES_IN_CONFIGS = dict(
    batch='batch_size',
    synthesis_batch='batch_size',
    steps='max_epochs',
    epochs='max_epochs',
)
_UNITS = dict(h=3600, min=60, m=60, s=1)


@dataclass(frozen=True)
class Schedule:
    """The numbers of a run.

    Those of the fields up to ``epochs`` are fitted to the budget.
    """

    init_rounds: int  # rounds before training; 0: there are images
    rounds: int  # ... and before each epoch
    steps: int  # student steps an epoch
    epochs: int
    init_iters: int  # steps of the first rounds
    iters: int  # ... and of the others
    synthesis_batch: int  # images a round
    batch: int  # images a student step
    latent_dim: int
    hidden_channels: int  # of the generator
    warm: bool  # whether the generator goes on from round to round
    lr: float  # of the student
    schedule: str  # of that rate: 'cosine' or 'one-cycle'
    tau: float  # temperature of the distillation
    feature: float  # weight of the loss of feature maps
    csd: float  # ... of the term of the auxiliary task

    @property
    def images(self) -> int:
        """Images that are made."""
        return self.synthesis_batch * (
            self.init_rounds + self.epochs * self.rounds
        )

    @property
    def student_steps(self) -> int:
        """Student steps in all."""
        return self.epochs * self.steps

    @property
    def synthesis_steps(self) -> int:
        """Steps of synthesis in all."""
        return (
            self.init_rounds * self.init_iters
            + self.epochs * self.rounds * self.iters
        )


# What was measured to pay, by size of task (docs/results.md). In each row
# epochs, rounds and steps are only in proportion to each other.
_ALL: Dict[str, Any] = dict(lr=0.1, schedule='cosine', tau=20, csd=10)
_WARM = dict(_ALL, warm=True, init_iters=10, iters=10, rounds=4, steps=150)
_SMALL = Schedule(
    **_WARM,
    init_rounds=40,
    epochs=20,
    synthesis_batch=128,
    batch=128,
    latent_dim=256,
    hidden_channels=32,
    feature=30,
)
SCHEDULES: Dict[str, Schedule] = dict(
    # Grey images of up to 32 x 32 pixels.
    grey=Schedule(
        **_WARM,
        init_rounds=10,
        epochs=10,
        synthesis_batch=128,
        batch=128,
        latent_dim=64,
        hidden_channels=32,
        feature=0,
    ),
    # Colour images of up to 32 x 32 pixels.
    small=_SMALL,
    large=replace(_SMALL, synthesis_batch=64, batch=64, hidden_channels=64),
    # The paper's own, whatever the task (configs/_base_/csd.py).
    paper=Schedule(
        **_ALL,
        init_rounds=400,
        init_iters=500,
        rounds=1,
        iters=200,
        steps=2000,
        epochs=100,
        synthesis_batch=200,
        batch=128,
        latent_dim=256,
        hidden_channels=64,
        warm=False,
        feature=30,
    ),
)
# Epochs that a rate needs to fall smoothly, and those after which longer ones
# take their place.
FEWEST_EPOCHS, MOST_EPOCHS = 10, 60
# Student steps that an epoch has, if there are few.
_FEWEST_STEPS = 10


@dataclass(frozen=True)
class Timings:
    """Seconds that parts of a run take."""

    init_round: float  # a round of ``init_iters`` steps without the student
    round: float  # a round of ``iters`` steps
    step: float  # a student step
    epoch: float  # what each epoch takes besides: report, checkpoint
    validation: float = 0.0  # one pass over the validation images
    choice: float = 0.0  # of the blocks that the student starts from
    fit: float = 0.0  # of a pruned student to its teacher
    imported: float = 0.0  # of the images to start with

    __repr__ = short_repr

    def seconds(self, schedule: Schedule, val_interval: int = 1) -> float:
        """Seconds that a run of a schedule takes."""
        validations = -(-schedule.epochs // val_interval)
        return (
            schedule.init_rounds * self.init_round
            + schedule.epochs
            * (
                schedule.rounds * self.round
                + schedule.steps * self.step
                + self.epoch
            )
            + validations * self.validation
            + self.choice
            + self.fit
            + self.imported
        )


def parse_budget(budget: Union[str, int]) -> Union[str, int, float]:
    """Read a budget.

    Args:
        budget (str | int): A time such as '90s', '15min', '2h', '1h30min';
            a number of student steps, as an integer; or 'paper'.

    Returns:
        str | int | float: 'paper', steps as an integer, or seconds as a
        float.

    Raises:
        ValueError: If it is neither.
    """
    wrong = ValueError(
        'budget should be a time such as "90s", "15min" or "1h30min", a '
        f'number of student steps above 0, or "paper", but got {budget!r:.80}.'
    )
    if isinstance(budget, bool) or not isinstance(budget, (Integral, str)):
        raise wrong
    if isinstance(budget, str) and len(budget) > 100:
        raise wrong
    if isinstance(budget, Integral) or budget.strip().isdecimal():
        if int(budget) < 1:
            raise wrong
        if int(budget) > _MOST_STEPS:
            raise ValueError(
                f'budget={budget!r} is too much: steps are {_MOST_STEPS:,} at '
                'most.'
            )
        return int(budget)
    text = budget.strip().lower().replace(' ', '')
    if text == 'paper':
        return text
    number = r'(\d+(?:\.\d+)?)'
    if not re.fullmatch(f'(?:{number}(?:h|min|m|s))+', text):
        raise wrong
    seconds = sum(
        float(value) * _UNITS[unit]
        for value, unit in re.findall(f'{number}(h|min|m|s)', text)
    )
    if not seconds > 0:
        raise wrong
    if seconds > LONGEST:
        raise ValueError(f'budget={budget!r} is too much: ten years at most.')
    return seconds


def schedule_for(image_shape: Sequence[int]) -> Schedule:
    """The row for a size of task.

    Args:
        image_shape (sequence[int]): (C, H, W).
    """
    channels, height, width = image_shape
    if height * width > 32 * 32:
        return SCHEDULES['large']
    return SCHEDULES['grey' if channels == 1 else 'small']


def fit_steps(row: Schedule, steps: int) -> Schedule:
    """A schedule of a number of student steps.

    Args:
        row (Schedule): What is in which proportion.
        steps (int): Student steps in all; what does not make whole epochs is
            left out.
    """
    share = min(1.0, steps / row.student_steps)
    fewest = min(FEWEST_EPOCHS, max(1, steps // _FEWEST_STEPS))
    epochs = min(MOST_EPOCHS, max(fewest, round(steps / row.steps)))
    each = steps // epochs
    return replace(
        row,
        init_rounds=_initial(row, share),
        rounds=max(1, round(row.rounds * each / row.steps)),
        steps=each,
        epochs=epochs,
    )


def fit_time(
    row: Schedule,
    timings: Timings,
    seconds: float,
    val_interval: int = 1,
    passed: float = 0.0,
) -> Schedule:
    """The schedule that takes the most of a time.

    Rounds, steps and initial rounds keep their proportion as long as there
    is time for an epoch of one round; there are no more initial rounds than
    the row has. More time means more epochs, longer ones up to those of the
    row if there are ``FEWEST_EPOCHS``, and after ``MOST_EPOCHS``.

    Args:
        row (Schedule): What is in which proportion.
        timings (Timings): Of this machine and these networks.
        seconds (float): What there is.
        val_interval (int): Epochs between two validations. Defaults to 1.
        passed (float): Seconds of the budget that have passed, for messages.
            Defaults to 0.

    Raises:
        ValueError: If there is too little for one epoch; says how much there
            has to be.
    """

    def scaled(factor: float, epochs: int) -> Schedule:
        steps = max(1, round(row.steps * factor))
        share = epochs * steps / row.student_steps
        return replace(
            row,
            init_rounds=_initial(row, min(share, 1)),
            rounds=max(1, round(row.rounds * factor)),
            steps=steps,
            epochs=epochs,
        )

    def fits(schedule: Schedule) -> bool:
        return timings.seconds(schedule, val_interval) <= seconds

    shares = [1, *(n / 40 for n in range(39, 0, -1))]
    # Rounds are whole. With less than one in each epoch, they would take the
    # time of the steps that learn from them, so there are fewer epochs.
    one_round = 1 / max(row.rounds, 1)
    sizes = [(each, FEWEST_EPOCHS) for each in shares if each > one_round]
    sizes += [(one_round, n) for n in range(FEWEST_EPOCHS, 0, -1)]
    sizes += [(each, 1) for each in shares if each < one_round]
    for factor, fewest in sizes:
        if not fits(scaled(factor, fewest)):
            continue
        epochs = fewest
        while epochs < MOST_EPOCHS and fits(scaled(factor, epochs + 1)):
            epochs += 1
        if factor == 1 and epochs == MOST_EPOCHS:
            while fits(scaled(factor * 1.02, epochs)):
                factor *= 1.02
        return _filled(scaled(factor, epochs), fits)
    least = timings.seconds(scaled(1 / 40, 1), val_interval)
    raise too_little(
        round(passed + seconds / PLANNED, 2),
        passed,
        'one epoch of the smallest schedule',
        least,
    )


def row_of(
    parsed: Union[str, int, float],
    image_shape: Sequence[int],
    changes: Optional[Dict[str, Any]],
    method: str,
    makes_initial: bool,
) -> Schedule:
    """The numbers that a call begins with, before a time is fitted.

    Args:
        parsed (str | int | float): The budget, as of :func:`parse_budget`.
        image_shape (sequence[int]): (C, H, W).
        changes (dict, optional): Fields that are to differ.
        method (str): How images are made.
        makes_initial (bool): Whether there are no images to start with.

    Raises:
        TypeError: If a change is of a wrong type.
        ValueError: If there is no such field, or its value makes no sense.
    """
    row = (
        SCHEDULES['paper'] if parsed == 'paper' else schedule_for(image_shape)
    )
    if method == 'deepinversion' and parsed != 'paper':
        # Pixels begin as noise in each round, so rounds are longer.
        row = replace(
            row,
            init_rounds=max(1, row.init_rounds // 10),
            rounds=max(1, row.rounds // 4),
            init_iters=10 * row.init_iters,
            iters=4 * row.iters,
        )
    known = [each.name for each in fields(Schedule)]
    for name, value in (changes or {}).items():
        if name not in known:
            raise ValueError(
                f'schedule has no {name!r}.{did_you_mean(name, known)} '
                f'What it can have: {", ".join(known)}.'
            )
        where = f'schedule[{name!r}]'
        if name == 'schedule':
            check_value(where, value, ('cosine', 'one-cycle'))
        elif name == 'warm':
            check_value(where, value, (bool,))
        elif name in ('lr', 'tau'):
            check_positive(where, value)
        elif name in ('feature', 'csd'):
            check_value(where, value, (float,))
            if value < 0:
                raise ValueError(f'{where} should be 0 or more: {value!r}.')
        else:
            check_integer(where, value)
        name = _NAMES_IN_CONFIGS.get(name, name)
        if is_too_large(name, value):
            raise ValueError(
                f'{where} should be {MOST[name]:,} at most, but got {value!r}.'
            )
    row = replace(row, **(changes or {}))
    if not makes_initial:
        row = replace(row, init_rounds=0)
    if isinstance(parsed, int):
        row = fit_steps(row, parsed)
    return row


def too_little(
    budget: float, passed: float, what: str, least: float
) -> ValueError:
    """What to say of a time that is too short.

    Args:
        budget (float): The time, in seconds.
        passed (float): What has passed of it.
        what (str): What does not fit into the rest.
        least (float): What that takes at least.
    """
    return ValueError(
        f'The budget is too little: of its {budget:g} s, '
        f'{passed:.0f} s went into measuring the networks, and {what} takes '
        f'{max(least, 1):.0f} s or more on this machine. '
        f'Give at least {math.ceil(1.1 * (passed + least / PLANNED))}s, '
        'better five times as much, or a number of student steps.'
    )


def _initial(row: Schedule, share: float) -> int:
    """A share of the initial rounds, one at least if there are any."""
    return min(row.init_rounds, max(1, round(row.init_rounds * share)))


def _filled(schedule: Schedule, fits: Any) -> Schedule:
    """Longer epochs where there is time left but not for another epoch."""
    while True:
        longer = replace(
            schedule, steps=schedule.steps + max(1, schedule.steps // 50)
        )
        if not fits(longer):
            return schedule
        schedule = longer
