# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Devices: several processes without GPUs, and none without float64."""

import functools
import warnings
from contextlib import contextmanager
from typing import Optional

import torch


def launch_without_cuda() -> Optional[bool]:
    """MMEngine's launchers need CUDA, and its DDP wrapper a CUDA device.

    ``init_dist`` selects a CUDA device and NCCL, and the runner passes
    ``device_ids`` for modules that live on the CPU. Without CUDA the group is
    made with gloo and ``device_ids`` is dropped.
    """
    if torch.cuda.is_available():
        return False
    from mmengine.dist import utils
    from mmengine.model import MMDistributedDataParallel

    @contextmanager
    def no_cuda_calls():
        cuda = torch.cuda
        saved = cuda.set_device, cuda.device_count
        cuda.set_device, cuda.device_count = lambda _: None, lambda: 1
        try:
            yield
        finally:
            cuda.set_device, cuda.device_count = saved

    def on_cpu(initialize):

        @functools.wraps(initialize)
        def wrapper(backend, **kwargs):
            with no_cuda_calls():
                return initialize(
                    'gloo' if backend == 'nccl' else backend, **kwargs
                )

        return wrapper

    for name in ('_init_dist_pytorch', '_init_dist_mpi', '_init_dist_slurm'):
        setattr(utils, name, on_cpu(getattr(utils, name)))

    initialize = MMDistributedDataParallel.__init__

    @functools.wraps(initialize)
    def __init__(self, module, *args, **kwargs):
        if all(param.device.type == 'cpu' for param in module.parameters()):
            kwargs['device_ids'] = None
        initialize(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = __init__


def take_no_mps() -> Optional[bool]:
    """MMEngine chooses Apple's GPUs, which cannot compute in float64.

    Statistics of images and networks are in float64 here.
    """
    from mmengine.device import utils

    if utils.DEVICE != 'mps':
        return False
    utils.DEVICE = 'cpu'
    warnings.warn(
        "MMEngine's device is 'cpu' in place of 'mps' now, since csd_mmrazor "
        'computes in float64, which MPS lacks.',
        stacklevel=2,
    )
