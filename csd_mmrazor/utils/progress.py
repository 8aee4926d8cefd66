# Copyright (c) csd_mmrazor developers. All rights reserved.
import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger


class Progress:
    """Logs how far a loop of rounds of steps is and when it will be done.

    It counts on the host and never asks the device, which may be some steps
    behind.

    Args:
        what (str): Name of the loop, for the log.
        rounds (int): Rounds to do.
        iters (int): Steps a round.
        interval (float): Seconds between two lines. Defaults to 10.
    """

    def __init__(
        self, what: str, rounds: int, iters: int, interval: float = 10
    ) -> None:
        self.what = what
        self.rounds = rounds
        self.iters = iters
        self.interval = interval
        self.round = 0
        self.start = self.shown = time.monotonic()

    def step(self, done: int) -> None:
        """Note that ``done`` steps of the round are done."""
        now = time.monotonic()
        if now - self.shown < self.interval or not is_main_process():
            return
        self.shown = now
        share = (self.round + done / self.iters) / self.rounds
        eta = (now - self.start) * (1 - share) / share
        MMLogger.get_current_instance().info(
            f'Synthesis, {self.what}: round {self.round + 1}/{self.rounds}, '
            f'step {done}/{self.iters}, eta: {timedelta(seconds=int(eta))}'
        )

    def end_round(self) -> None:
        """Note that a round is done."""
        self.round += 1
