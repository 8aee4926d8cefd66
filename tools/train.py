# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Train a student by a config of this project, or anything of MMRazor's."""

import gc

# What is imported stays; to look for what does not takes half a second.
gc.disable()

import os
import signal
import sys
from pathlib import Path

# Ctrl-C ends what has not begun without a word.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
# As utils/stopping.py does it once that is imported.
for name in ('SIGUSR1', 'SIGTERM') if '--requeue' in sys.argv else ():
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), lambda *_: os._exit(75))

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.train import main

gc.freeze()
gc.enable()

if __name__ == '__main__':
    main()
