# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from typing import Any, Dict, Optional, Sequence, Union

import torch.nn as nn
from mmengine.logging import print_log
from mmrazor.registry import MODELS

from ...utils.config_parts import part_name
from ..utils import find_weights, narrow

_WHERE = (
    "(A student's are model.architecture.shapes, those of a teacher "
    'model.teachers.NAME.build_cfg.shapes.)'
)


@MODELS.register_module(name='PrunedNetwork')
def pruned_network(
    network: Dict[str, Any],
    shapes: Union[str, Dict[str, Sequence[int]]],
    data_preprocessor: Optional[Dict[str, Any]] = None,
) -> nn.Module:
    """Build a network whose channels were pruned, from one that was not.

    It is of the class of the whole network and has the names of its layers.
    Its weights are not loaded: ``student_ckpt`` of the algorithm, or
    ``ckpt_path`` of a teacher, names the same file for them.

    Args:
        network (dict): Config of the network before it was pruned.
        shapes (str | dict[str, sequence[int]]): A file with the weights of
            the pruned one, of which the shapes are looked at; or these
            shapes, by the names of the weights.
        data_preprocessor (dict, optional): Of the network. Defaults to None,
            what its config says.

    Returns:
        nn.Module: The narrowed network; see :func:`narrow`.

    Raises:
        TypeError: If ``shapes`` is of another type.
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of that network, pruned.
    """
    if data_preprocessor is not None:
        network = dict(network, data_preprocessor=data_preprocessor)
    model = MODELS.build(network)
    argument = 'shapes of PrunedNetwork'
    if isinstance(shapes, dict):
        wrong = [
            f'{name if isinstance(name, str) else repr(name)}: {shape!r}'
            for name, shape in shapes.items()
            if not isinstance(name, str)
            or not isinstance(shape, (list, tuple))
            or not all(type(n) is int for n in shape)
        ]
        if wrong:
            raise TypeError(
                f'{argument} should be lists of integers by the names of '
                f'weights, but got {wrong[0]}.'
            )
        try:
            return narrow(model, shapes)
        except ValueError as error:
            raise ValueError(f'{argument}: {error}') from error
    try:
        weights = find_weights(model, shapes, argument)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error} {_WHERE}') from error
    found = {k: v.shape for k, v in weights.items()}
    whole = {k: v.shape for k, v in model.state_dict().items()}
    if all(shape == whole.get(name) for name, shape in found.items()):
        print_log(
            f'{argument}={shapes} has all channels of the whole network: '
            'nothing was pruned in it. Name the file of the pruned one.',
            'current',
            logging.WARNING,
        )
    try:
        model = narrow(model, found)
    except ValueError as error:
        raise ValueError(f'{argument}={shapes}: {error}') from error
    # Whoever trains it from random weights may have forgotten these.
    model.pruned_from = str(shapes)
    return model


def is_pruned(student: Any) -> bool:
    """Whether the config of a network is of one that was pruned."""
    return part_name(student) in ('PrunedNetwork', 'pruned_network')


# As configs call it: registries and checks tell of a part by this.
pruned_network.__name__ = 'PrunedNetwork'
