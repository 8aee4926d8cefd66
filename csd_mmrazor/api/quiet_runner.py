# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import sys
from pathlib import Path
from typing import Any, Callable, List

import mmengine.logging
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from .argument_names import of_arguments

# How messages begin that are for the log file alone: they come once, are
# long, and are about MMEngine.
_FOR_THE_FILE = (
    'System environment:',
    'Config:',
    'Hooks will be executed',
    'Distributed training is not used',
    'Loads checkpoint by',
    'Auto resumed from the latest checkpoint None',
    'No checkpoint yet in',
    'Exp name:',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of',
    # A sentence for people follows it.
    'Agreement of epoch',
    # Of passes alone; the plan is of whole steps, and fits the budget.
    'Estimate:',
    'To make it fit:',
)


# Where the code is whose warnings are told, and of what passes them on.
_OURS = str(Path(__file__).parents[1])
_LOGGING = (
    str(Path(logging.__file__).parent),
    str(Path(mmengine.logging.__file__).parent),
)


class Warned(logging.Handler):
    """Collects what this package warns of, each text once.

    Args:
        stem (str): Of the files whose warnings count. Defaults to those of
            this package.
    """

    def __init__(self, stem: str = _OURS) -> None:
        super().__init__(logging.WARNING)
        self.stem = stem
        self.texts: List[str] = []
        # Is called after each new one.
        self.listener: Callable[[], None] = lambda: None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a warning if it is from here, which the record cannot say.

        It names ``print_log`` of MMEngine, if that was called.
        """
        text = record.getMessage()
        if text not in self.texts and _caller().startswith(self.stem):
            self.texts.append(text)
            self.listener()


def _caller() -> str:
    """The file of the code that has logged something."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename.startswith(_LOGGING):
        frame = frame.f_back
    return frame.f_code.co_filename


class QuietRunner(Runner):
    """A runner that shows the course of a run, and logs all to its file."""

    @property
    def log_file(self) -> str:
        """Where all is that is not shown."""
        return f'{self.log_dir}/{self.timestamp}.log'

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As the runner does, with less on the console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_shown)
        return logger


class DistillRunner(QuietRunner):
    """The runner of ``distill()``, which collects what is warned of."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As a quiet runner does, with warnings in words of the call."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(_translated)
        self.warned = Warned()
        logger.addHandler(self.warned)
        return logger

    def keep_for_the_file(self, text: str) -> None:
        """Neither show nor collect what has a text: it was told before."""
        for handler in self.logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda r: text not in r.getMessage())


def _translated(record: logging.LogRecord) -> bool:
    """Let warnings name arguments of the call, not of its config."""
    if record.levelno >= logging.WARNING:
        record.msg, record.args = of_arguments(record.getMessage()), ()
    return True


def _is_shown(record: logging.LogRecord) -> bool:
    return not record.getMessage().lstrip('\n-').startswith(_FOR_THE_FILE)
