# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Count what generators cost at several sizes of images."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.benchmark_generators import main

if __name__ == '__main__':
    main()
