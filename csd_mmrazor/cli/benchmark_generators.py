# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Count what generators cost at several sizes of images."""

import json
from typing import Any, Dict

import torch
import torch.nn as nn
from mmrazor.registry import MODELS

from ..engine.flops import operations
from ..utils import write_file
from .parser import Parser
from .ranges import in_range, json_to_write

GENERATORS = dict(
    CSDGenerator=dict(type='CSDGenerator'),
    PyramidGenerator=dict(type='PyramidGenerator'),
    ConditionalGenerator=dict(
        type='ConditionalGenerator',
        num_classes=1000,
        generator=dict(type='PyramidGenerator'),
    ),
)


def cost(generator: nn.Module, images: int = 2) -> Dict[str, float]:
    """What a pass of a generator costs.

    Args:
        generator (nn.Module): In train mode.
        images (int): Of the pass. Defaults to 2.

    Returns:
        dict[str, float]: ``weights``, and of each image
        ``multiplications`` and ``saved_bytes``, what is kept for the backward
        pass beside the weights.
    """
    weights = {p.untyped_storage().data_ptr() for p in generator.parameters()}
    kept: Dict[int, int] = {}
    tensors = []  # so that no memory is used again

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        tensors.append(tensor)
        return tensor

    latents = torch.randn(images, generator.latent_dim)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        counted = operations(lambda: generator(latents, images))
    return dict(
        weights=sum(p.numel() for p in generator.parameters()),
        multiplications=counted / 2 / images,
        saved_bytes=sum(kept.values()) / images,
    )


def main() -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        '--sizes',
        type=in_range(int, 4),
        nargs='+',
        default=[32, 64, 224],
        help='4 or more pixels',
    )
    parser.add_argument('--out', type=json_to_write, help='JSON file to write')
    args = parser.parse_args()
    found: Dict[str, Dict[str, Any]] = {}
    for name, cfg in GENERATORS.items():
        for size in args.sizes:
            generator = MODELS.build(dict(cfg, _scope_='mmrazor'))
            generator.fit((3, size, size))
            found.setdefault(name, {})[str(size)] = cost(generator)
            each = found[name][str(size)]
            print(
                f'{name} at {size}: {each["weights"] / 1e6:.2f} M weights, '
                f'{each["multiplications"] / 1e9:.2f} G multiplications and '
                f'{each["saved_bytes"] / 1e6:.1f} MB an image'
            )
    if args.out:
        write_file(args.out, (json.dumps(found, indent=1) + '\n').encode())
