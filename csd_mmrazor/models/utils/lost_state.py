# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
import torch.nn as nn
from torch import Tensor

from .modes import as_in_training, evaluating
from .outputs import logits_of

# Of logits that are to be the same, relative to the largest.
_TOLERANCE = 1e-4


def check_kept_state(model: nn.Module, like: Tensor, who: str) -> None:
    """Check that state dicts have what training changes in a network.

    Buffers with ``persistent=False`` are in none. Those that are computed
    anew whenever they are used, as caches are, do no harm.

    Args:
        model (nn.Module): A classifier of mmpretrain's kind; it stays as it
            is.
        like (Tensor): A few images, (N, C, H, W), of which only shape and
            device count.
        who (str): What messages call it.

    Raises:
        ValueError: If a pass in train mode changes such a buffer, and the
            network computes something else with it than without.
    """
    before = {
        (part, key): value.clone()
        for part in model.modules()
        for key in part._non_persistent_buffers_set
        if (value := part._buffers.get(key)) is not None
    }
    if not before:
        return
    # Images that are all 0 might change nothing.
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(like.shape, generator=generator).to(like)
    names = {part: name for name, part in model.named_modules()}
    with as_in_training(model):
        model(inputs, mode='tensor')
        changed = [
            (part, key)
            for (part, key), value in before.items()
            if (found := part._buffers[key]) is None
            or not torch.equal(found, value)
        ]
        with evaluating(model):
            trained = logits_of(model(inputs, mode='tensor')).clone()
            for part, key in changed:
                part._buffers[key] = before[part, key].clone()
            restored = logits_of(model(inputs, mode='tensor'))
    error = (trained - restored).abs().max()
    if changed and error > _TOLERANCE * trained.abs().max():
        listed = ', '.join(
            f'{names[part]}.{key}'.lstrip('.') for part, key in changed
        )
        raise ValueError(
            f'{who} ({type(model).__name__}) would lose what training changes '
            f'in {listed}, since state dicts, and with them checkpoints, do '
            'not have buffers that are registered with persistent=False: '
            'leave persistent=False out.'
        )
