# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
from torch import Tensor


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without waiting for it.

    From pageable memory, a copy to a GPU waits until the GPU has done all
    that was asked of it before. From pinned memory it is one more thing to
    do, and the next batch is prepared meanwhile.

    Args:
        value (Tensor): Any.
        device (torch.device): Where it is wanted.

    Returns:
        Tensor: The same if it is there already. Copies to the host do wait.
    """
    # MPS may read pageable memory later, when it is not there any more.
    if value.device.type != 'cpu' or device.type in ('cpu', 'mps'):
        return value.to(device)
    if device.type == 'cuda':
        value = value.pin_memory()
    return value.to(device, non_blocking=True)
