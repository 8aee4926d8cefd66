# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from typing import Any, Dict, Union

import torch.nn as nn
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIMIZERS
from mmrazor.engine.optimizers import SeparateOptimWrapperConstructor
from mmrazor.registry import OPTIM_WRAPPER_CONSTRUCTORS

from ...models.utils import with_foreach
from ...utils.error_text import named_error
from ...utils.suggestions import closest

# Parts of an algorithm that are trained with the student.
BESIDE_STUDENT = ('distiller', 'student_loss')


def optimizers_of(
    optim_wrapper: Union[OptimWrapper, OptimWrapperDict],
) -> Dict[str, OptimWrapper]:
    """The optimizers of a run by name, which is '' for a single one."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return dict(optim_wrapper.items())
    return {'': optim_wrapper}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DistillationOptimWrapperConstructor(SeparateOptimWrapperConstructor):
    """One optimizer for the student with its connectors, others for the rest.

    As MMRazor's ``SeparateOptimWrapperConstructor``, which has an optimizer
    for each submodule of the algorithm that the config names, but the
    optimizer of 'architecture' also gets the parameters of the distiller and
    of ``student_loss``.
    Submodules that are None (an auxiliary head that is turned off) are left
    out.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='mmrazor.DistillationOptimWrapperConstructor',
        ...     architecture=dict(optimizer=dict(type='SGD', lr=0.1)),
        ...     aux_head=dict(optimizer=dict(type='SGD', lr=0.1)))
    """

    def __call__(self, module: nn.Module) -> OptimWrapperDict:
        """Build the optimizers of an algorithm.

        Args:
            module (nn.Module): The algorithm, wrapped or not.

        Raises:
            ValueError: If the config names something it does not have, an
                unknown optimizer, a misspelt key of ``custom_keys``, or a
                wrapper that needs a GPU without one.
        """
        module = getattr(module, 'module', module)
        wrappers = {}
        for name, constructor in self.constructors.items():
            if not hasattr(module, name):
                raise ValueError(
                    f'optim_wrapper names "{name}", which '
                    f'{type(module).__name__} does not have. It has '
                    f'{[*module._modules]}.'
                )
            part: Any = getattr(module, name)
            if part is None:
                continue
            kind = constructor.optimizer_cfg.get('type')
            if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
                raise ValueError(
                    f'optim_wrapper.{name}.optimizer.type={kind!r} is no '
                    'optimizer. There are '
                    f'{", ".join(OPTIMIZERS.module_dict)}.'
                )
            constructor.optimizer_cfg = with_foreach(constructor.optimizer_cfg)
            if name == 'architecture':
                beside = {
                    each: found
                    for each in BESIDE_STUDENT
                    if (found := module._modules.get(each)) is not None
                }
                if beside:
                    part = nn.ModuleDict(dict(architecture=part, **beside))
            wrapper = constructor.optim_wrapper_cfg.get('type', '')
            if 'AmpOptimWrapper' in str(wrapper) and get_device() == 'cpu':
                raise ValueError(
                    f'optim_wrapper.{name}.type={wrapper!r} is for GPUs. Take '
                    'mmengine.OptimWrapper for float32, or, on CPUs that are '
                    'fast in bfloat16, mmrazor.AutocastOptimWrapper.'
                )
            _check_custom_keys(name, constructor.paramwise_cfg, part)
            try:
                wrappers[name] = constructor(part)
            except Exception as error:
                raise ValueError(
                    f'optim_wrapper.{name} cannot be built: check optimizer='
                    f'{dict(constructor.optimizer_cfg)} and the other '
                    f'arguments. {named_error(error)}'
                ) from error
        return OptimWrapperDict(**wrappers)


def _check_custom_keys(
    name: str, paramwise: Dict[str, Any], part: nn.Module
) -> None:
    """Look for keys that no weight's name contains, which change nothing.

    One that is almost a name there is an error. Others may come with a
    recipe for several networks, as mmpretrain has them for transformers.
    """
    named = part.named_parameters(remove_duplicate=False)
    # As MMEngine writes them.
    names = [each if '.' in each else f'.{each}' for each, _ in named]
    known = {word for each in names for word in each.split('.') if word}
    for key in paramwise.get('custom_keys') or ():
        if any(key in each for each in names):
            continue
        words = [word for word in key.split('.') if word]
        meant = [closest(each, known) or each for each in words]
        where = f'optim_wrapper.{name}.paramwise_cfg.custom_keys'
        text = f'{where} has {key!r}, which is in no name of a weight there'
        if meant != words:
            raise ValueError(f'{text}. Did you mean {".".join(meant)!r}?')
        print_log(f'{text}: it changes nothing.', 'current', logging.WARNING)
