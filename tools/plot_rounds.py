# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Plot what runs logged over their rounds."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.plot_rounds import main

if __name__ == '__main__':
    main()
