# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Runs a script of MMRazor's ``tools/`` with all repairs.

``python -m csd_mmrazor.compat pruning/get_flops.py ARGS``. The scripts import
MMRazor before anything else could repair it, and ``torch.load`` refuses
MMEngine's own checkpoints from torch 2.6 on, or runs what a file says before.
"""

import runpy
import sys
from pathlib import Path

import mmrazor
import torch

from ..utils import load_file


def main() -> None:
    """Run the script that the first argument names.

    Raises:
        SystemExit: If there is none; says which there are.
    """
    package = Path(mmrazor.__file__).parent
    # Where it is installed, and in a clone.
    folders = [
        folder
        for folder in (package / '.mim/tools', package.parent / 'tools')
        if folder.is_dir()
    ]
    name = ''.join(sys.argv[1:2])
    for path in (Path(name), *(folder / name for folder in folders)):
        if path.is_file():
            break
    else:
        found = sorted(
            path.relative_to(folder).as_posix()
            for folder in folders
            for path in folder.rglob('*.py')
        )
        sys.exit(
            'Usage: python -m csd_mmrazor.compat TOOL [ARGS]. TOOL should be '
            f"a file, or one of MMRazor's {', '.join(found)}, but is "
            f'{name!r}.'
        )
    sys.argv[:2] = [str(path)]
    sys.path.insert(0, str(path.parent))  # as Python does
    torch.load = load_file
    runpy.run_path(str(path), run_name='__main__')


if __name__ == '__main__':
    main()
