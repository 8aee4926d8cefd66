# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Train a list of methods over seeds, and tabulate what they reach."""

import os
import sys
from pathlib import Path

# Or else asking for a GPU would keep forked processes from using it.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from csd_mmrazor.cli.compare import main

if __name__ == '__main__':
    main()
