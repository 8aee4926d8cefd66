# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Code by which whoever has only the files runs a network."""

import math
import re
from keyword import iskeyword
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ...utils.imports import LENT

_HOW = """## How to run {}

```python
{}
```"""
_CLASSES = 'print(logits.argmax(1))  # the class of each image'


def run_by_torch(weights: Path, description: Dict[str, Any]) -> str:
    """Markdown with code that builds a network by its own class.

    Args:
        weights (Path): The file of the weights.
        description (dict): What is in the JSON file beside it.

    Returns:
        str: '' where that class does not make it, or is not known.
    """
    named = _import_of(description.get('factory'))
    images = _images_of(description, 'torch.zeros({})')
    given = description.get('arguments') or {}
    coded = {key: _code_of(value) for key, value in given.items()}
    if (
        named is None
        or images is None
        or None in coded.values()
        or not all(_is_name(f'{key}') for key in coded)
        or description.get('pruned')
    ):
        return ''
    line, name = named
    listed = ', '.join(f'{key}={code}' for key, code in coded.items())
    lines = [
        'import torch',
        line,
        '',
        f'network = {name}({listed}){description.get("place", "")}',
        f'weights = torch.load({weights.name!r}, weights_only=True)',
        'network.load_state_dict(weights)',
        'network.eval()',
        *images,
        *_normalised(description, 'torch.tensor({}).view(-1, 1, 1)'),
        'with torch.no_grad():',
        f'    logits = network(images){description.get("output", "")}',
        _CLASSES,
    ]
    return _HOW.format('it', '\n'.join(lines))


def run_by_program(file: str, description: Dict[str, Any]) -> str:
    """Markdown with code that runs a network by ``torch.export``.

    Args:
        file (str): Name of the file of the program.
        description (dict): As of :func:`run_by_onnx`.
    """
    images = _images_of(description, 'torch.zeros({})')
    if images is None:
        return ''
    lines = [
        'import torch',
        '',
        f'network = torch.export.load({file!r}).module()',
        *images,
        *_scaled(description, 'torch.tensor({}).view(-1, 1, 1)'),
        'with torch.no_grad():',
        '    logits = network(images)',
        _CLASSES,
    ]
    return _HOW.format(f'`{file}`', '\n'.join(lines))


def run_by_onnx(file: str, description: Dict[str, Any]) -> str:
    """Markdown with code that runs a network by ONNX Runtime.

    Args:
        file (str): Name of the ONNX file.
        description (dict): Of its images: ``image_shape``, ``mean``, ``std``,
            and ``inputs``, what the file takes.
    """
    images = _images_of(description, 'np.zeros(({}), np.float32)')
    if images is None:
        return ''
    lines = [
        'import numpy as np',
        'import onnxruntime',
        '',
        f'session = onnxruntime.InferenceSession({file!r})',
        *images,
        *_scaled(description, 'np.reshape({}, (-1, 1, 1))'),
        'name = session.get_inputs()[0].name',
        'inputs = {name: images.astype(np.float32)}',
        '(logits,) = session.run(None, inputs)',
        _CLASSES,
    ]
    return _HOW.format(f'`{file}`', '\n'.join(lines))


def why_not_by_torch(
    weights: Path, description: Dict[str, Any], with_mmpretrain: bool
) -> str:
    """Why there is no code, and what to do, where there is none to run.

    Args:
        weights (Path): As of :func:`run_by_torch`.
        description (dict): Likewise.
        with_mmpretrain (bool): Whether mmpretrain's form is there.
    """
    name, package = weights.stem, 'this package'
    if with_mmpretrain:
        package = 'mmpretrain'
        config, file = f'{name}.py', f'{name}_mmpretrain.pth'
        why = (
            'mmpretrain makes the network: '
            f'`get_model({config!r}, pretrained={file!r})`.'
        )
    elif description.get('pruned'):
        why = 'This package does not know how its class makes these shapes.'
    elif not description.get('image_shape'):
        return 'There is no code to run it: the image shape is not known.'
    else:
        why = 'This package does not know how to construct the network.'
    return (
        f'{why} To run it without {package}, export it to ONNX or .pt2, as '
        f'by `python -m csd_mmrazor export RUN OUT.pth --onnx OUT.onnx`, or '
        '`onnx=True` of `distill()`.'
    )


def _code_of(value: Any) -> Optional[str]:
    """What makes a value again; None where nothing is known to."""
    if isinstance(value, dict):
        parts = [
            (_code_of(key), _code_of(each)) for key, each in value.items()
        ]
        if any(None in pair for pair in parts):
            return None
        return f'{{{", ".join(f"{key}: {each}" for key, each in parts)}}}'
    if isinstance(value, (list, tuple)):
        codes = [_code_of(each) for each in value]
        if None in codes:
            return None
        listed = ', '.join(map(str, codes))
        if isinstance(value, list):
            return f'[{listed}]'
        return f'({listed},)' if len(codes) == 1 else f'({listed})'
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    is_plain = value is None or type(value) in (str, int, float, bool)
    return repr(value) if is_plain else None


def _import_of(factory: Any) -> Optional[Tuple[str, str]]:
    """A line that imports what makes a network, and its name there."""
    found = re.fullmatch(
        r'((?:\w+/)*)(\w+)\.py:(\w+)|([\w.]+)\.(\w+)', f'{factory}'
    )
    if found is None or f'{factory}'.startswith(LENT):
        return None
    folders, file, own, module, name = found.groups()
    if not all(map(_is_name, re.findall(r'\w+', f'{factory}'))):
        return None
    if folders:
        package, needed = folders.replace('/', '.'), folders.split('/')[0]
        line = f'from {package}{file} import {own}'
        return f'{line}  # you need the package {needed} as well', own
    if file:
        return f'from {file} import {own}  # you need {file}.py as well', own
    return f'from {module} import {name}', name


def _is_name(text: str) -> bool:
    return text.isidentifier() and not iskeyword(text)


def _images_of(description: Dict[str, Any], zeros: str) -> Optional[List[str]]:
    shape = description.get('image_shape')
    if not shape:
        return None
    kind = {1: 'Grey', 3: 'RGB'}.get(shape[0], f'{shape[0]}-channel')
    sizes = ', '.join(map(str, [1, *shape]))
    return [
        f'# {kind} images, (N, C, H, W), pixels in 0..255: put yours here.',
        f'images = {zeros.format(sizes)}',
    ]


def _scaled(description: Dict[str, Any], array: str) -> List[str]:
    if description.get('inputs') == 'normalised':
        return _normalised(description, array)
    return ['images = images / 255']


def _normalised(description: Dict[str, Any], array: str) -> List[str]:
    if description.get('mean') is None:
        return []
    return [
        f'mean = {array.format(description["mean"])}',
        f'std = {array.format(description["std"])}',
        'images = (images - mean) / std',
    ]
