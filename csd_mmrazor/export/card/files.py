# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What an export wrote, in words."""

from pathlib import Path
from typing import Any, Dict

from .usage import (
    run_by_onnx,
    run_by_program,
    run_by_torch,
    why_not_by_torch,
)


def files_of(
    weights: Path,
    description: Dict[str, Any],
    with_safetensors: bool = True,
    with_mmpretrain: bool = False,
) -> str:
    """All files of an exported network.

    Args:
        weights (Path): The file of the weights.
        description (dict): What is in the JSON file beside it.
        with_safetensors (bool): Whether the weights are there as such, too.
            Defaults to True.
        with_mmpretrain (bool): Whether mmpretrain's form is there. Defaults
            to False.
    """
    name = weights.stem
    holding = f'`{weights.name}` contains'
    if with_safetensors:
        holding = f'`{name}.safetensors` and `{weights.name}` contain'
    classes = ''
    if description.get('classes'):
        classes = ', and the names of the classes in order'
    lines = [
        f'{holding} the state dict; `{name}.json` contains the shape of '
        f'the images, mean and std (for pixels in 0..255){classes}.'
    ]
    if with_mmpretrain:
        lines.append(
            f'`{name}_mmpretrain.pth` is a checkpoint of mmpretrain, and '
            f'`{name}.py` its config.'
        )
    ways = [run_by_torch(weights, description)]
    for key, form, run_by in (
        ('onnx', 'is in the form of ONNX', run_by_onnx),
        ('program', 'is a program of `torch.export`', run_by_program),
    ):
        if key in description:
            told = description[key]
            lines.append(
                f'`{told["file"]}` {form}: batches of any size in, logits '
                f'out. {_inputs_of(told["inputs"], description, name)}'
            )
            about = dict(description, inputs=told['inputs'])
            ways.append(run_by(told['file'], about))
    if not any(ways):
        ways = [why_not_by_torch(weights, description, with_mmpretrain)]
    return '\n\n'.join([*lines, *filter(None, ways)])


def _inputs_of(inputs: str, description: Dict[str, Any], name: str) -> str:
    """How inputs have to be normalised."""
    if inputs != 'normalised':
        return f'Its inputs are {inputs}, which it normalises itself.'
    if description.get('mean') is None:
        return 'Its inputs are images in [0, 255].'
    return (
        'Its inputs are (image - mean) / std of images in [0, 255], with the '
        f'mean and std in `{name}.json`.'
    )
