# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Time a config with one process and with several, in turn."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.benchmark_distributed import main

if __name__ == '__main__':
    main()
