# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmrazor.registry import MODELS
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ...utils.imports import LENT, import_object, importing_beside
from ..utils import (
    evaluating,
    logits_of,
    own_memory,
    place_in_wrappers,
    unwrapped,
)


@MODELS.register_module()
class TorchClassifier(BaseModel):
    """A classifier of torchvision, timm or any other package, as it is.

    A function that returns a module, and its arguments, are all it takes::

        dict(type='TorchClassifier',
             factory='torchvision.models.resnet18', num_classes=10)
        dict(type='TorchClassifier',
             factory='timm.create_model', model_name='resnet18')

    The network is the submodule ``net``, without ``nn.DataParallel`` and the
    like. State dicts of the network alone, as such packages write them, are
    loaded as well as those of this module.
    What its ``compile()`` compiled runs without, since its layers are looked
    at; ``torch.compile(net)`` is another module, and is refused.
    Of a network that returns more than its logits, such as one with auxiliary
    heads in training, the logits are taken (see :func:`logits_of`), so its
    auxiliary heads are not trained.

    Args:
        factory (str): Dotted name of the function or class, or
            ``file.py:Name``.
        data_preprocessor (dict, optional): Defaults to mmpretrain's, which
            only makes batches.
        init_cfg (dict, optional): Defaults to None: the weights that the
            function gives the network.
        **kwargs: Arguments of the function.

    Raises:
        ValueError: If there is no such function, or it returns no module.
    """

    def __init__(
        self,
        factory: str,
        data_preprocessor: Optional[Dict] = None,
        init_cfg: Optional[Dict] = None,
        **kwargs,
    ) -> None:
        super().__init__(
            data_preprocessor or dict(type='mmpretrain.ClsDataPreprocessor'),
            init_cfg,
        )
        make = _imported(factory)
        with importing_beside(factory):
            try:
                self.net = make(**kwargs)
            except SystemExit as error:
                raise ValueError(
                    f'factory={factory} of TorchClassifier ends the program '
                    f'(SystemExit: {error}), as argparse does where it gets '
                    'arguments of another: name a function that reads no '
                    'arguments of the command line.'
                ) from error
        if not isinstance(self.net, nn.Module):
            raise ValueError(
                f'factory={factory} of TorchClassifier should return a '
                f'torch.nn.Module, but got {type(self.net)}.'
            )
        if isinstance(self.net, torch.jit.ScriptModule):
            raise ValueError(
                f'factory={factory} of TorchClassifier returns a TorchScript '
                'network, whose layers cannot be looked at: name the function '
                'that makes it before it is scripted or traced, and load its '
                'state dict.'
            )
        if any(hasattr(part, '_orig_mod') for part in self.net.modules()):
            raise ValueError(
                f'factory={factory} of TorchClassifier returns a compiled '
                'network, whose layers may not be looked at again: name the '
                'function that makes it before torch.compile().'
            )
        for part in self.net.modules():
            # Of compile(), which sees no hook that comes later.
            vars(part).pop('_compiled_call_impl', None)
        # Of the network in what the factory makes.
        self.place = place_in_wrappers(self.net)
        self.net = own_memory(unwrapped(self.net), factory)
        self._last_layer: Optional[str] = None
        # Gets what that layer sees, where a hook stays on it.
        self._seen: Optional[List[Tensor]] = None
        self._register_load_state_dict_pre_hook(_of_the_network_alone)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[List] = None,
        mode: str = 'tensor',
    ) -> Any:
        """Forward in one of MMEngine's modes.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.
            data_samples (list[DataSample], optional): Their ``gt_label`` for
                'loss'; they get the prediction in 'predict'.
            mode (str): 'tensor' returns logits, (N, K), 'loss' a dict with
                the cross entropy, 'predict' the data samples.
        """
        logits = logits_of(self.net(inputs))
        if self._seen is not None:
            self._seen.clear()  # or steps would pile up, with their graphs
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            labels = torch.cat([sample.gt_label for sample in data_samples])
            return dict(loss=F.cross_entropy(logits, labels))
        if mode == 'predict':
            scores = logits.softmax(1)
            labels = scores.argmax(1)
            for sample, score, label in zip(data_samples, scores, labels):
                sample.set_pred_score(score).set_pred_label(label)
            return data_samples
        raise ValueError(
            'mode of TorchClassifier should be "tensor", "loss" or "predict", '
            f'but got {mode!r}.'
        )

    def init_weights(self) -> None:
        """Keep the weights that the function gave; timm's would be redrawn."""
        if self.init_cfg:
            super().init_weights()

    def extract_feat(self, inputs: Tensor, stage: str = 'pre_logits'):
        """What the last linear layer sees, (N, D); for mmpretrain's callers.

        It is the one whose output are the logits, or else the last that runs:
        auxiliary heads have linear layers of their own.

        Raises:
            ValueError: If no linear layer runs.
        """
        if self._seen is not None:
            self.net(inputs)
            found = self._seen[-1]
            self._seen.clear()
            return found
        if self._last_layer is None:
            self._last_layer = self._find_last_layer(inputs)
        seen: List[Tensor] = []
        handle = self._watch(self._last_layer, seen)
        try:
            self.net(inputs)
        finally:
            handle.remove()
        return seen[-1]

    def keep_watching(self) -> None:
        """Leave the hook of :meth:`extract_feat` on its layer, for good.

        So compilers can trace that method, once it was called.
        """
        if self._seen is None and self._last_layer is not None:
            self._seen = []
            self._watch(self._last_layer, self._seen)

    def _watch(self, name: str, seen: List[Tensor]) -> RemovableHandle:
        return self.net.get_submodule(name).register_forward_pre_hook(
            lambda _, args, kwargs: seen.extend([*args, *kwargs.values()]),
            with_kwargs=True,
        )

    def _find_last_layer(self, inputs: Tensor) -> str:
        """The name of the layer that makes the logits."""
        outputs: List[Tuple[str, Tensor]] = []
        handles = [
            layer.register_forward_hook(
                lambda _, args, output, name=name: outputs.append(
                    (name, output)
                )
            )
            for name, layer in self.net.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        try:
            with evaluating(self.net), torch.no_grad():
                logits = logits_of(self.net(inputs))
        finally:
            for handle in handles:
                handle.remove()
        if not outputs:
            raise ValueError(
                f'{type(self.net).__name__} has no linear layer: name the '
                'module that returns its feature, aux_feature="net...."'
            )
        makers = [name for name, output in outputs if output is logits]
        return (makers or [name for name, _ in outputs])[-1]


def _imported(factory: str):
    try:
        found = import_object(factory)
    except (ImportError, ValueError) as error:
        if factory.startswith(LENT):
            raise ValueError(f'factory={factory!r}: {error}.') from error
        raise ValueError(
            f'factory={factory!r} of TorchClassifier cannot be imported '
            f'({error}): give the name of a function or class that returns '
            'the network, such as "torchvision.models.resnet18" or '
            '"my_net.py:Net".'
        ) from error
    if isinstance(found, nn.Module):
        raise ValueError(
            f'factory={factory!r} of TorchClassifier is a network already '
            f'({type(found).__name__}): name its class, or a function that '
            'makes and returns one.'
        )
    if not callable(found):
        raise ValueError(
            f'factory={factory!r} of TorchClassifier should be a function or '
            f'class, but got {type(found)}.'
        )
    return found


def _of_the_network_alone(state_dict: Dict, prefix: str, *_) -> None:
    """Put the names of a network's own state dict below ``net``."""
    names = [name for name in state_dict if name.startswith(prefix)]
    if not any(name.startswith(f'{prefix}net.') for name in names):
        for name in names:
            below = f'{prefix}net.{name[len(prefix) :]}'
            state_dict[below] = state_dict.pop(name)
