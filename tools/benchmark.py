# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Time a config's steps against the bare passes of its networks."""

import os
import sys
from pathlib import Path

# MMEngine looks for GPUs once, when it is imported.
if not any(argument.endswith('cuda') for argument in sys.argv):
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.benchmark import main

if __name__ == '__main__':
    main()
