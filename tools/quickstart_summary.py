# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Print what a run of quickstart.sh came to."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.quickstart_summary import main

if __name__ == '__main__':
    main()
