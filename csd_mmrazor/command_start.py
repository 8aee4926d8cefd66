# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a command of this project sets before it imports torch."""

import os
import signal
import sys
from pathlib import Path

from .busy_cores import sleep_on_busy_cores

# Of cli/commands.py, which is not to be imported from here.
COMMANDS = (
    *('distill', 'plan', 'report', 'export', 'quantize', 'estimate'),
    *('train', 'test'),
)
# Those that are interrupted, not looked at.
_TOOLS = ('train.py', 'test.py', 'compare.py')


def prepare_command() -> None:
    """Set what has to be set at once, if a command of this project starts."""
    program = Path(sys.argv[0] if sys.argv else '').resolve()
    # As ``python -m`` names a module whose package is imported.
    is_module = program.name == '-m' and sys.argv[1:2] and _is_ours()
    # Other projects have a tools/train.py, too. Ours are beside the package,
    # or in it where it is installed.
    # A clone of this project is a folder of the package's name, too.
    inside = Path(__file__).resolve()
    beside = program.parent.parent / inside.parent.name / inside.name
    is_tool = program.parent.name == 'tools' and (
        beside.is_file() or inside.parent in program.parents
    )
    if (is_module and sys.argv[1] in COMMANDS) or (
        is_tool and program.name in _TOOLS
    ):
        _answer_signals()
        sleep_on_busy_cores()


def _is_ours() -> bool:
    """Whether ``python -m`` names this package, and not one that uses it."""
    words = getattr(sys, 'orig_argv', None)  # Python 3.10 and later
    return words is None or words[-len(sys.argv)].endswith('csd_mmrazor')


def _answer_signals() -> None:
    """End without a word on signals: the imports to come take seconds.

    Ctrl-C does so in all of them. With ``--requeue``, what would end a run
    between two steps ends what has no step yet. ``cli/errors.py`` and
    ``utils/stopping.py`` take over from there.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    for name in ('SIGUSR1', 'SIGTERM') if '--requeue' in sys.argv else ():
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: os._exit(75))
