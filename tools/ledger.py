# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Put the rows of all results into one file and one page."""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.ledger import main

if __name__ == '__main__':
    main()
