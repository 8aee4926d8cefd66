# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Count what processes exchange, and compute what that means for more."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.scaling import main

if __name__ == '__main__':
    main()
