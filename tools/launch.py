# Copyright (c) csd_mmrazor developers. All rights reserved.
"""torchrun, which ends without a traceback when it is interrupted."""

import logging
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main

# Its processes say what a person needs to know.
for name in ('agent.server.api', 'multiprocessing.api'):
    logging.getLogger(f'torch.distributed.elastic.{name}').setLevel('ERROR')

if __name__ == '__main__':
    try:
        main()
    except SignalException as signal:
        sys.exit(128 + signal.sigval)
