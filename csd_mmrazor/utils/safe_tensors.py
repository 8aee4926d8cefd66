# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Weights as safetensors: names, shapes and numbers, and nothing to run."""

from typing import Any, Dict, Mapping, Union

import torch
from safetensors.torch import load, save
from torch import Tensor

# A file begins with the length of its header, eight bytes, and the header.
_LENGTH = 8
# As the library has it.
_LONGEST_HEADER = 100_000_000


def is_safetensors(start: bytes, name: str) -> bool:
    """Whether a file is meant to be one of safetensors.

    Args:
        start (bytes): Its first nine bytes, or all.
        name (str): Of the file.
    """
    if name.endswith('.safetensors'):
        return True
    # No other kind of checkpoint has these two.
    return start[5:9] == b'\0\0\0{'


def read_safetensors(
    content: bytes, device: Union[str, torch.device] = 'cpu'
) -> Dict[str, Tensor]:
    """The weights in a file. What it says about itself is not looked at.

    Args:
        content (bytes): The whole file.
        device (str | torch.device): Of the tensors. Defaults to 'cpu'.

    Returns:
        dict[str, Tensor]: By name, each with memory of its own.

    Raises:
        ValueError: If it was cut short or altered; says how.
    """
    length = int.from_bytes(content[:_LENGTH], 'little')
    room = len(content) - _LENGTH
    if not 0 < length <= min(room, _LONGEST_HEADER):
        raise ValueError(
            f'its {len(content)} bytes announce a header of {length}'
        )
    try:
        found = load(content)
    except MemoryError:
        raise
    except Exception as error:  # the library's own, and what torch makes of it
        raise ValueError(f'{error}') from error
    return {name: value.to(device) for name, value in found.items()}


def write_safetensors(weights: Mapping[str, Any]) -> bytes:
    """A file of weights.

    Args:
        weights (mapping[str, Tensor]): A state dict. Those that share memory
            are written once for each name.

    Returns:
        bytes: What the file holds.

    Raises:
        ValueError: If there is more in it than plain tensors; names it.
    """
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
        elif value.is_quantized or value.layout is not torch.strided:
            kind = f'{value.layout} tensor of {value.dtype}'
        else:
            continue
        raise ValueError(
            f'safetensors hold plain tensors alone, but {name} is a {kind}'
        )
    own = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in weights.items()
    }
    try:
        content: bytes = save(own, metadata={'format': 'pt'})
    except KeyError as error:  # a type that the format has not
        raise ValueError(f'safetensors hold no tensors of {error}') from error
    return content
