# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Take the student out of a run, as a plain checkpoint of mmpretrain."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.export_student import main

if __name__ == '__main__':
    main()
