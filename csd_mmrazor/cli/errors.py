# Copyright (c) csd_mmrazor developers. All rights reserved.
import errno
import logging
import signal
import sys
import tempfile
import traceback
from contextlib import contextmanager
from typing import Iterator, Optional

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
    SyntaxError,
)


# Lines of a message that are shown; the rest is in the log.
_MOST_LINES, _MOST_LETTERS = 12, 500
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def concise_errors(go_on: str = '') -> Iterator[None]:
    """End the program with an error's message in place of its traceback.

    The traceback goes to the log file, if one is open by then, or else to a
    file in the system's folder for temporary ones. Ctrl-C ends it with
    status 130, as shells do; a second one at once.

    Args:
        go_on (str): What to do after Ctrl-C. Defaults to ''.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A log that cannot be written, on a full disk, is not to hide the error.
    logging.raiseExceptions = False
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print(f'\nInterrupted. {go_on}'.rstrip(), file=sys.stderr)
        sys.exit(130)
    except USER_ERRORS as error:
        path = _kept(traceback.format_exc())
        if path:
            print(f'The traceback is in {path}', file=sys.stderr)
        # A KeyError's text is the repr of its message.
        text = str(error.args[0] if isinstance(error, KeyError) else error)
        lines = [line[:_MOST_LETTERS] for line in text.strip().splitlines()]
        if len(lines) > _MOST_LINES:
            more = f'... {len(lines) - _MOST_LINES} more lines in {path}'
            lines = [*lines[:_MOST_LINES], more]
        if getattr(error, 'errno', None) in _DISK_FULL:
            lines.append(
                'Existing files are intact: free some space, and continue '
                'with --resume.'
            )
        message = '\n'.join(lines)
        sys.exit(f'\n{type(error).__name__}: {message}')


def _kept(text: str) -> Optional[str]:
    """Write to the log file, or else a new one; returns its path."""
    logger = MMLogger.get_current_instance()
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, text, (), None
    )
    for handler in files:
        handler.handle(record)
        return handler.baseFilename
    try:
        with tempfile.NamedTemporaryFile(
            'w',
            prefix='csd_mmrazor_',
            suffix='.log',
            delete=False,
            encoding='utf-8',
            errors='backslashreplace',
        ) as file:
            file.write(text)
        return file.name
    except OSError:
        return None
