# Copyright (c) csd_mmrazor developers. All rights reserved.
"""torchrun, which ends without a traceback when it is interrupted.

With ``--requeue`` it also passes SIGUSR1 on to its processes, as it does
SIGTERM, and ends with the status that they end with, so that the job is
started again.
"""

import os
import signal
import sys

# As in csd_mmrazor/utils/stopping.py, which takes seconds to import.
REQUEUE, NAMES = 75, ('SIGUSR1', 'SIGTERM')
asks = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
if '--requeue' not in sys.argv:
    asks = []
for number in asks:  # until there are processes
    signal.signal(number, lambda *_: os._exit(REQUEUE))

import logging

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

# Its processes say what a person needs to know.
for name in ('agent.server.api', 'multiprocessing.api'):
    logging.getLogger(f'torch.distributed.elastic.{name}').setLevel('ERROR')


def pass_on(number, _):
    """Let torchrun end its processes by a signal, and start none again."""
    for each in asks:  # once is enough
        signal.signal(each, signal.SIG_IGN)
    raise SignalException('asked to stop', signal.Signals(number))


if __name__ == '__main__':
    for number in asks[:1]:  # it takes the other one itself
        signal.signal(number, pass_on)
    try:
        main()
    except SignalException as error:
        is_asked = error.sigval in asks
        sys.exit(REQUEUE if is_asked else 128 + error.sigval)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        # The others are asked to stop when one has ended, or are killed: a
        # crash of the first makes them end with this status, too.
        first = error.get_first_failure()[1].exitcode
        others = codes - {REQUEUE}
        if asks and first == REQUEUE and all(code < 0 for code in others):
            sys.exit(REQUEUE)
        raise
