# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import sys
import traceback
from contextlib import contextmanager
from typing import Iterator

from mmengine.logging import MMLogger

# What wrong configs, files and disks raise. Anything else is our own fault,
# and shows its traceback.
USER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AssertionError,
    ImportError,
    ArithmeticError,
    RuntimeError,
)


@contextmanager
def errors_told_plainly() -> Iterator[None]:
    """End the program with an error's message in place of its traceback.

    The traceback goes to the log file, if one is open by then, or else to
    the screen.
    """
    try:
        yield
    except USER_ERRORS as error:
        trace = traceback.format_exc()
        if not _logged_to_file(trace):
            print(trace, file=sys.stderr)
        # A KeyError's text is the repr of its message.
        text = error.args[0] if isinstance(error, KeyError) else error
        sys.exit(f'\n{type(error).__name__}: {text}')


def _logged_to_file(text: str) -> bool:
    logger = MMLogger.get_current_instance()
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, text, (), None
    )
    for handler in files:
        handler.handle(record)
    for handler in files:
        print(f'The traceback is in {handler.baseFilename}', file=sys.stderr)
    return bool(files)
