# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The environment, as a bug report should describe it.

``python -m csd_mmrazor.env`` prints the versions, the devices, the CPU's
instruction set and which repairs of libraries and conveniences are in force.
"""

import os
import platform
import sys
from importlib import metadata
from typing import Dict

import torch

from . import compat
from .compat import conveniences as handy
from .version import __version__

# Distributions; of mmcv and mmcv-lite one is there.
_PACKAGES = (
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmpretrain',
    'mmrazor',
    'numpy',
    'pillow',
    'scikit-learn',
    'scipy',
    'timm',
    'onnx',
    'onnxruntime',
)


def versions() -> Dict[str, str]:
    """Versions of this package, of Python and of what is installed."""
    found = {
        'csd_mmrazor': __version__,
        'Python': platform.python_version(),
        'system': platform.platform(),
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = '-'
    return found


def devices() -> Dict[str, str]:
    """The CPU with what torch uses of it, and the accelerators."""
    found = {
        'CPU': f'{os.cpu_count()} cores, {platform.machine()}, '
        f'{torch.backends.cpu.get_cpu_capability()}',
        'threads': str(torch.get_num_threads()),
        'GPUs': str(torch.cuda.device_count()),
        'CUDA of torch': str(torch.version.cuda or '-'),
    }
    # Limits that a user may have set, for oneDNN and for torch's kernels.
    for name in ('ONEDNN_MAX_CPU_ISA', 'ATEN_CPU_CAPABILITY'):
        if name in os.environ:
            found[name] = os.environ[name]
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        found[f'GPU {number}'] = f'{gpu.name}, {gpu.total_memory >> 20} MiB'
    return found


def repairs() -> Dict[str, str]:
    """Each repair of a library, and whether it was needed here."""
    return {
        name: 'in force' if is_needed else 'not needed'
        for name, is_needed in compat.in_force().items()
        if not hasattr(handy, name)
    }


def conveniences() -> Dict[str, str]:
    """What is not a repair, and can be turned off."""
    if not handy.are_on():
        return {handy.VARIABLE: 'off'}
    return {
        name: 'in force' for name in compat.in_force() if hasattr(handy, name)
    }


def main() -> None:
    """Print all of it."""
    for title, entries in (
        ('Versions', versions()),
        ('Devices', devices()),
        ('Repairs', repairs()),
        ('Conveniences', conveniences()),
    ):
        width = max(map(len, entries), default=0)
        print(title)
        for name, value in entries.items():
            print(f'  {name:{width}}  {value}')


if __name__ == '__main__':
    sys.exit(main())
