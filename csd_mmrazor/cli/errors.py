# Copyright (c) csd_mmrazor developers. All rights reserved.
import errno
import logging
import os
import re
import signal
import sys
import tempfile
import traceback
from contextlib import contextmanager
from typing import Any, Iterator, Optional, Sequence

from mmengine.config import Config
from mmengine.logging import MMLogger

from ..utils.control import without_commands
from ..utils.error_text import error_text
from ..utils.stopping import REQUEUE, is_asked_to_stop

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
# What MMEngine's runner builds from which sections of a config.
_SECTIONS = dict(
    build_param_scheduler=('param_scheduler',),
    build_optim_wrapper=('optim_wrapper',),
    build_train_loop=('train_dataloader', 'train_cfg'),
    build_val_loop=('val_dataloader', 'val_evaluator', 'val_cfg'),
    build_test_loop=('test_dataloader', 'test_evaluator', 'test_cfg'),
    build_visualizer=('visualizer',),
    build_log_processor=('log_processor',),
    build_logger=('log_level',),
    setup_env=('env_cfg',),
)
# A type that nobody registered, or an argument that nothing takes.
_ABOUT = re.compile(
    r'(?P<type>[\w.]+) is not in the .*? registry\.|has no argument '
    r"'(?P<argument>\w+)'|unexpected keyword argument '(?P<key>\w+)'",
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def concise_errors(
    go_on: str = '', again: str = 'give the same command again'
) -> Iterator[None]:
    """End the program with an error's message in place of its traceback.

    The traceback goes to the log file, if one is open by then, or else to a
    file in the system's folder for temporary ones. Ctrl-C ends it with
    status 130, as shells do; a second one at once.

    Args:
        go_on (str): What to do after Ctrl-C. Defaults to ''.
        again (str): What to do where the disk was full, once it is not.
            Defaults to 'give the same command again'.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A log that cannot be written, on a full disk, is not to hide the error.
    logging.raiseExceptions = False
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.environ.get('RANK', '0') == '0':  # of processes, one
            print(f'\nInterrupted. {go_on}'.rstrip(), file=sys.stderr)
        sys.exit(130)
    except USER_ERRORS as error:
        if is_asked_to_stop():
            # Most likely of the others, which have stopped.
            _kept(traceback.format_exc())
            sys.exit(REQUEUE)
        path = _kept(traceback.format_exc())
        if path:
            print(f'The traceback is in {path}', file=sys.stderr)
        # It may have names of files and classes that others made.
        text = without_commands(error_text(error))
        lines = [
            # MMRazor's have the indentation of its code.
            _cut(re.sub(r'(?<=\S) {4,}', ' ', line))
            for line in text.strip().splitlines()
        ]
        if len(lines) > _MOST_LINES:
            more = f'... {len(lines) - _MOST_LINES} more lines in {path}'
            lines = [*lines[:_MOST_LINES], more]
        place = _named_at(text, error)
        if place:
            lines.append(place)
        sections = () if place else _sections(error)
        # The place of one without a message may be called as they are.
        if sections and not any(name in str(error) for name in sections):
            lines.append(f'Check {" and ".join(sections)} of the config.')
        if getattr(error, 'errno', None) in _DISK_FULL:
            what = 'free some space'
            if error.errno == errno.EFBIG:
                what = 'raise the limit of file sizes (ulimit -f)'
            lines.append(f'Existing files are intact: {what}, and {again}.')
        message = '\n'.join(lines)
        sys.exit(f'\n{type(error).__name__}: {message}')


def _cut(line: str) -> str:
    """With a mark where there is more of it, which is in the log."""
    return (
        line if len(line) <= _MOST_LETTERS else f'{line[:_MOST_LETTERS]} ...'
    )


def _sections(error: Exception) -> Sequence[str]:
    """The sections of a config that were being built, if any."""
    for frame in traceback.extract_tb(error.__traceback__):
        is_runner = frame.filename.endswith('mmengine/runner/runner.py')
        if is_runner and frame.name in _SECTIONS:
            return _SECTIONS[frame.name]
    return ()


def _named_at(text: str, error: Exception) -> str:
    """Where a config has the type or argument that an error is about."""
    found = _ABOUT.search(text)
    cfg = _config(error)
    if found is None or cfg is None:
        return ''
    of_type = found['type']

    def places(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, each in value.items():
                inner = f'{path}.{key}' if path else str(key)
                is_meant = (
                    key == 'type' and each == of_type
                    if of_type
                    else key == (found['argument'] or found['key'])
                )
                if is_meant:
                    yield inner
                yield from places(each, inner)
        elif isinstance(value, (list, tuple)):
            for n, each in enumerate(value):
                yield from places(each, f'{path}[{n}]')

    named = [*places(cfg.to_dict(), '')]
    # What it is about cannot be told from many.
    if not 0 < len(named) < 4 or all(name in text for name in named):
        return ''
    return f'In the config: {", ".join(named)}'


def _config(error: Exception) -> Optional[Config]:
    """The config of the program that an error ends."""
    trace = error.__traceback__
    while trace is not None:
        cfg = trace.tb_frame.f_locals.get('cfg')
        if isinstance(cfg, Config):
            return cfg
        trace = trace.tb_next
    return None


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
