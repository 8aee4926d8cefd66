# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from typing import Any, Dict, Iterator, Tuple

import torch
import torch.nn as nn
from mmengine.registry import OPTIMIZERS
from mmrazor.registry import MODELS
from torch import Tensor

from ..utils import reset_weights


@MODELS.register_module()
class MetaGenerator(nn.Module):
    """Generator weights that rounds start from, and learn to start from.

    Instead of re-initialising the generator, a round copies these weights,
    adapts the copy in a few steps, and then these take a step themselves
    (Fast-Datafree, Fang et al., AAAI 2022, algorithm 1; authors' code,
    datafree/synthesis/fast_meta.py):

    - 'fomaml': along the sum of the copy's gradients in all steps
      (first-order MAML, Finn et al., ICML 2017).
    - 'reptile': towards the adapted copy (Nichol et al., 2018). With
      ``dict(type='SGD', lr=1)`` they become it: a generator that simply goes
      on from round to round, as DFQ's does.

    Args:
        rule (str): 'fomaml' or 'reptile'. Defaults to 'fomaml' (authors'
            scripts).
        optimizer (dict): Of these weights. The authors' is Adam with the rate
            of a round's steps times their number, betas (0.5, 0.999).
    """

    def __init__(
        self,
        rule: str = 'fomaml',
        optimizer: Dict[str, Any] = dict(
            type='Adam', lr=2e-2, betas=(0.5, 0.999)
        ),
    ) -> None:
        super().__init__()
        if rule not in ('fomaml', 'reptile'):
            raise ValueError(
                'rule of MetaGenerator should be "fomaml" or "reptile", but '
                f'got {rule!r}.'
            )
        self.rule = rule
        self.optimizer_cfg = dict(optimizer)
        self.weights: nn.Module  # once prepared

    def prepare(self, generator: nn.Module) -> None:
        """Draw the weights of a generator of that kind."""
        self.weights = deepcopy(generator)
        reset_weights(self.weights)
        self.weights.train()
        params = list(self.weights.parameters())
        if not params:
            raise ValueError(
                f'meta of ImageSynthesizer needs a generator with weights, '
                f'but {type(generator).__name__} has none.'
            )
        self.optimizer = OPTIMIZERS.build(
            dict(self.optimizer_cfg, params=params)
        )

    def begin_round(self, generator: nn.Module) -> None:
        """Give the generator the weights to start from."""
        generator.load_state_dict(self.weights.state_dict())
        self.optimizer.zero_grad()

    def after_backward(self, generator: nn.Module) -> None:
        """Look at the gradients of a step of the round."""
        if self.rule == 'fomaml':
            for own, adapted in self._pairs(generator):
                if own.grad is None:
                    own.grad = torch.zeros_like(own)
                if adapted.grad is not None:
                    own.grad += adapted.grad

    @torch.no_grad()
    def end_round(self, generator: nn.Module) -> None:
        """Take the step that the round taught."""
        if self.rule == 'reptile':
            for own, adapted in self._pairs(generator):
                own.grad = own - adapted
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state(self) -> Dict[str, Tensor]:
        """Weights and the state of their optimizer, by name."""
        state: Dict[str, Tensor] = {
            f'weights.{k}': v for k, v in self.weights.named_parameters()
        }
        for index, values in self.optimizer.state_dict()['state'].items():
            for name, value in values.items():
                if torch.is_tensor(value):
                    state[f'optimizer.{index}.{name}'] = value
        return {name: value.detach() for name, value in state.items()}

    @torch.no_grad()
    def load_state(self, state: Dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        optimizer_state: Dict[int, Dict[str, Tensor]] = {}
        for name, param in self.weights.named_parameters():
            param.copy_(state[f'weights.{name}'])
        for name, value in state.items():
            if name.startswith('optimizer.'):
                _, index, key = name.split('.', 2)
                optimizer_state.setdefault(int(index), {})[key] = value.clone()
        self.optimizer.load_state_dict(
            dict(self.optimizer.state_dict(), state=optimizer_state)
        )

    def _pairs(
        self, generator: nn.Module
    ) -> Iterator[Tuple[nn.Parameter, nn.Parameter]]:
        return zip(self.weights.parameters(), generator.parameters())
