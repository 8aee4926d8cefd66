# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Iterator, Optional

import numpy as np
import torch


def derive_seed(seed: int, *keys: int) -> int:
    """A seed of its own for each part of a run.

    A round or an epoch that starts from such a seed needs no random state of
    what came before it, so a run that was killed goes on as if it had not
    been.

    Args:
        seed (int): The run's.
        *keys (int): What the seed is for, each 0 or more.

    Returns:
        int: 0..2**32-1, unrelated for different keys. Zeros at their end
        count for nothing: 5 and (5, 0) give the same.
    """
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1)[0])


@contextmanager
def seeded(seed: Optional[int], device: torch.device) -> Iterator[None]:
    """Draw from ``seed`` in the context; the state before is restored.

    Args:
        seed (int, optional): None draws from the state that there is.
        device (torch.device): Where all is drawn, beside the CPU.
    """
    if seed is None:
        yield
        return
    devices = [device] if device.type == 'cuda' else []
    with torch.random.fork_rng(devices):
        if device.type == 'cpu':
            # Those of GPUs would not be restored.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield
