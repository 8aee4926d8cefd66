# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

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


def _is_shown(record: logging.LogRecord) -> bool:
    return not record.getMessage().lstrip('\n-').startswith(_FOR_THE_FILE)
