# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Write the report of a run, or of several side by side.

It is made of the files of their work dirs, whatever their state: done, under
way, killed, or of an earlier release.
"""

import argparse

from ..report import write_report
from ..utils.alone import check_alone
from .errors import concise_errors
from .parser import Parser
from .processes import speak_utf8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of :func:`report` to a parser."""
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='of each run'
    )
    parser.add_argument(
        '--out',
        metavar='FILE.html',
        help='where to; report.html in the work dir of a single run, and in '
        'the current folder for several. An earlier report there is '
        'replaced, and any other file refused',
    )


def report(args: argparse.Namespace) -> None:
    """Write the report that the arguments name, and say where it is."""
    print(f'Report: {write_report(args.work_dirs, args.out)}')


def main() -> None:
    """Run the command line."""
    speak_utf8()
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_arguments(parser)
    with concise_errors():
        check_alone('report')
        report(parser.parse_args())
