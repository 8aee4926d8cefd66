# Copyright (c) csd_mmrazor developers. All rights reserved.
import time
from datetime import timedelta
from typing import Optional

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger

from .run_clock import RunClock
from .stopping import stop_if_asked


class Progress:
    """Logs how far a loop of rounds of steps is and when the run is done.

    It counts on the host and never asks the device, which may be some steps
    behind.

    Args:
        what (str): Name of the loop, for the log.
        rounds (int): Rounds to do.
        iters (int): Steps a round.
        interval (float): Seconds between two lines. Defaults to 10.
        clock (RunClock, optional): Of the whole run. Defaults to None, which
            counts this loop alone.
        kind (str): What the clock calls these steps. Defaults to 'synthesis'.
        later (int): Such steps that the run has after this loop. Defaults to
            0.
    """

    def __init__(
        self,
        what: str,
        rounds: int,
        iters: int,
        interval: float = 10,
        clock: Optional[RunClock] = None,
        kind: str = 'synthesis',
        later: int = 0,
    ) -> None:
        self.what = what
        self.rounds = rounds
        self.iters = iters
        self.interval = interval
        self.clock = RunClock() if clock is None else clock
        self.kind = kind
        self.later = later
        self.round = 0
        self.last = self.shown = time.monotonic()
        self._leave(0)

    def step(self, done: int) -> None:
        """Note that ``done`` steps of the round are done.

        Raises:
            SystemExit: If the run is asked to stop.
        """
        stop_if_asked()
        now = time.monotonic()
        self.clock.spend(self.kind, 1, now - self.last)
        self._leave(done)
        self.last = now
        if now - self.shown < self.interval or not is_main_process():
            return
        self.shown = now
        eta = timedelta(seconds=int(self.clock.remaining()))
        MMLogger.get_current_instance().info(
            f'Synthesis, {self.what}: round {self.round + 1}/{self.rounds}, '
            f'step {done}/{self.iters}, eta: {eta}'
        )

    def end_round(self) -> None:
        """Note that a round is done."""
        self.round += 1
        now = time.monotonic()
        # To put the images into the bank belongs to the steps.
        self.clock.spend(self.kind, 0, now - self.last)
        self.last = now
        self._leave(0)

    def _leave(self, done: int) -> None:
        left = max(self.rounds - self.round, 0) * self.iters - done
        self.clock.left[self.kind] = max(left, 0) + self.later
