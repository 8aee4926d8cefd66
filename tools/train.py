# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Train a student by a config of this project, or anything of MMRazor's."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.train import main

if __name__ == '__main__':
    main()
