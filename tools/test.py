# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Test a trained run: the student's accuracy on real images."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.test import main

if __name__ == '__main__':
    main()
