# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What signals do before a program has begun: its imports take seconds."""

import os
import signal
import sys
from pathlib import Path

# Of cli/commands.py, which is not to be imported from here.
COMMANDS = (
    *('distill', 'plan', 'report', 'export', 'quantize', 'estimate'),
    *('train', 'test'),
)
# Those that are interrupted, not looked at.
_TOOLS = ('train.py', 'test.py', 'compare.py')


def answer_early() -> None:
    """End without a word on signals, if a command of this project starts.

    Ctrl-C does so in all of them. With ``--requeue``, what would end a run
    between two steps ends what has no step yet. ``cli/errors.py`` and
    ``utils/stopping.py`` take over from there.
    """
    program = Path(sys.argv[0] if sys.argv else '').resolve()
    # As ``python -m`` names a module whose package is imported.
    is_module = program.name == '-m' and sys.argv[1:2]
    is_tool = program.parent.name == 'tools'
    if not (is_module and sys.argv[1] in COMMANDS) and not (
        is_tool and program.name in _TOOLS
    ):
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    for name in ('SIGUSR1', 'SIGTERM') if '--requeue' in sys.argv else ():
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: os._exit(75))
