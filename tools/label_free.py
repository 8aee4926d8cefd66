# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Measure how far choices without labels are from the truth."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.label_free import main

if __name__ == '__main__':
    main()
