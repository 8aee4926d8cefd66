# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Time large image banks: formats, thousands of shards, a small memory."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.benchmark_bank import main

if __name__ == '__main__':
    main()
