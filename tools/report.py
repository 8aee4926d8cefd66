# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Write the report of a run, or of several side by side."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.report import main

if __name__ == '__main__':
    main()
