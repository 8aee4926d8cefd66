# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import sys
from pathlib import Path
from typing import Any, Callable, List

import mmengine.logging
from mmengine.logging import MMLogger

from ..engine.quiet_runner import QuietRunner
from .argument_names import as_typed, of_arguments

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


class DistillRunner(QuietRunner):
    """The runner of ``distill()``, which collects what is warned of."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As a quiet runner does, with warnings in words of the call."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(_translated)
        self.warned = Warned()
        logger.addHandler(self.warned)
        return logger

    def dump_config(self) -> None:
        """Leave it as it was written: with comments, and in one piece.

        What MMEngine would write has parts of one call alone, by which the
        next would not know it again.
        """

    def keep_for_the_file(self, text: str) -> None:
        """Neither show nor collect what has a text: it was told before."""
        for handler in self.logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda r: text not in r.getMessage())


def _translated(record: logging.LogRecord) -> bool:
    """Let warnings name arguments of the call, not of its config."""
    if record.levelno >= logging.WARNING:
        text = as_typed(of_arguments(record.getMessage()))
        record.msg, record.args = text, ()
    return True
