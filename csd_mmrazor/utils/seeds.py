# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np


def derive_seed(seed: int, *keys: int) -> int:
    """A seed of its own for each part of a run.

    A round or an epoch that starts from such a seed needs no random state of
    what came before it, so a run that was killed goes on as if it had not
    been.

    Args:
        seed (int): The run's.
        *keys (int): What the seed is for, each 0 or more.

    Returns:
        int: 0..2**32-1, unrelated for different keys.
    """
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1)[0])
