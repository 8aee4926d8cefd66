# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``python -m csd_mmrazor COMMAND``."""

import importlib
import sys

from ..utils.suggestions import did_you_mean
from ..version import __version__

# Modules with a ``main``, and what they are for.
COMMANDS = dict(
    distill=('distill', 'train a student from a teacher, without images'),
    plan=('distill', 'say what distill would do, and how long it takes'),
    report=('report', 'make the report of a run, or compare several'),
    export=('export_student', 'take the student out of a run'),
    quantize=('quantize', 'quantize a network to 8 or 4 bits, without data'),
    estimate=('estimate', "estimate a student's accuracy without labels"),
    train=('train', 'train as a config says'),
    test=('test', 'measure the accuracy of a trained student'),
)


def main() -> None:
    """Run a command with the arguments after it."""
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name not in COMMANDS:
        listed = '\n'.join(f'  {k:9} {v[1]}' for k, v in COMMANDS.items())
        usage = f'usage: python -m csd_mmrazor COMMAND ...\n\n{listed}\n'
        if name in ('-h', '--help'):
            print(usage)
            return
        if name == '--version':
            print(f'csd_mmrazor {__version__}')
            return
        what = 'name a command'
        if name:
            what = f'There is no command {name!r}.'
            what += did_you_mean(name, COMMANDS)
        sys.exit(f'{usage}\n{what}')
    # What argparse shows as the program.
    sys.argv[:2] = [f'python -m csd_mmrazor {name}']
    module = importlib.import_module(f'csd_mmrazor.cli.{COMMANDS[name][0]}')
    module.main()
