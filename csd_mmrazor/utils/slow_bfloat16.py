# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a CPU computes in bfloat16 without instructions for it."""

import logging
import time
from functools import cache

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from mmengine.logging import print_log

# From which on it is told of: below, it may be noise.
_SLOW = 2.0


@cache
def bfloat16_slowdown() -> float:
    """How many times as long the CPU takes in bfloat16 as in float32.

    It is measured by a small convolution. CPUs with AVX2 alone were seen to
    take 10 to 20 times as long (AMD EPYC, PyTorch 2.11).
    """
    generator = torch.Generator().manual_seed(0)
    maps, weight = (
        torch.randn(*shape, generator=generator).contiguous(
            memory_format=torch.channels_last
        )
        for shape in ((8, 32, 16, 16), (32, 32, 3, 3))
    )
    fastest = {torch.float32: float('inf'), torch.bfloat16: float('inf')}
    with torch.no_grad():
        for _ in range(4):
            for dtype in fastest:
                args = maps.to(dtype), weight.to(dtype)
                start = time.perf_counter()
                F.conv2d(*args, padding=1)
                seconds = time.perf_counter() - start
                fastest[dtype] = min(fastest[dtype], seconds)
    return fastest[torch.bfloat16] / fastest[torch.float32]


def slow_bfloat16(remedy: str) -> str:
    """What to say of bfloat16 where a CPU trains; '' if it is not slow.

    Args:
        remedy (str): How mixed precision is turned off.
    """
    if get_device() == 'cuda' or bfloat16_slowdown() < _SLOW:
        return ''
    return (
        f'this CPU takes {bfloat16_slowdown():.0f} times as long for a '
        f'convolution in bfloat16 as in float32; {remedy} trains in float32'
    )


@cache
def warn_of_slow_bfloat16() -> None:
    """Log :func:`slow_bfloat16`, once in a process."""
    note = slow_bfloat16('--amp none of tools/train.py')
    if note:
        print_log(note, 'current', logging.WARNING)
