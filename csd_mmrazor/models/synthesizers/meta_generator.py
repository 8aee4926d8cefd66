# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from typing import Any, Dict, Iterator, Optional, Tuple

import torch
import torch.nn as nn
from mmengine.registry import OPTIMIZERS
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer
from ..utils import (
    load_optimizer_state,
    optimizer_state,
    reset_weights,
    with_foreach,
)
from .lasting_generator import same_in_all

# What names of statistics begin with in the state of a meta-generator.
BUFFERS = 'buffers.'


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

    BN statistics are those of the copy, by either rule: a round of a few
    steps would end with little more than their first values.

    Args:
        rule (str): 'fomaml' or 'reptile'. Defaults to 'fomaml' (authors'
            scripts).
        optimizer (dict): Of these weights. The authors' is Adam with the rate
            of a round's steps times their number, betas (0.5, 0.999).
        reset_round (int, optional): Before this round, counted from 1 in each
            process, the first layer of these weights is drawn again; the
            authors' scripts do so in round 140 of 220 (reset_l0). Defaults to
            None, never.
    """

    def __init__(
        self,
        rule: str = 'fomaml',
        optimizer: Dict[str, Any] = dict(
            type='Adam', lr=2e-2, betas=(0.5, 0.999)
        ),
        reset_round: Optional[int] = None,
    ) -> None:
        super().__init__()
        if rule not in ('fomaml', 'reptile'):
            raise ValueError(
                'rule of MetaGenerator should be "fomaml" or "reptile", but '
                f'got {rule!r}.'
            )
        self.rule = rule
        self.optimizer_cfg = dict(optimizer)
        if reset_round is not None:
            check_integer('reset_round of MetaGenerator', reset_round)
            self.register_buffer('rounds', torch.zeros(()), persistent=False)
        self.reset_round = reset_round
        self.weights: Any  # a generator, once prepared

    rounds: Tensor

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
        if self.reset_round and not hasattr(generator, 'reset_first_layer'):
            raise ValueError(
                'reset_round of MetaGenerator needs a generator with '
                'reset_first_layer(), such as CSDGenerator, but got '
                f'{type(generator).__name__}: leave it out.'
            )
        self.optimizer = OPTIMIZERS.build(
            dict(with_foreach(self.optimizer_cfg), params=params)
        )

    def begin_round(
        self, generator: nn.Module, with_student: bool = True
    ) -> None:
        """Give the generator the weights to start from."""
        if self.reset_round and self.rounds + 1 == self.reset_round:
            # By the last layer, which stays.
            with same_in_all([*self.weights.parameters()][-1:]):
                self.weights.reset_first_layer()
        generator.load_state_dict(self.weights.state_dict())
        self.optimizer.zero_grad()

    def after_backward(self, generator: nn.Module) -> None:
        """Look at the gradients of a step of the round."""
        if self.rule == 'fomaml':
            sums, grads = [], []
            for own, adapted in self._pairs(generator):
                if own.grad is None:
                    own.grad = torch.zeros_like(own)
                if adapted.grad is not None:
                    sums.append(own.grad)
                    grads.append(adapted.grad)
            if grads:
                torch._foreach_add_(sums, grads)

    @torch.no_grad()
    def end_round(self, generator: nn.Module) -> None:
        """Take the step that the round taught."""
        if self.rule == 'reptile':
            for own, adapted in self._pairs(generator):
                own.grad = own - adapted
        self.optimizer.step()
        self.optimizer.zero_grad()
        found = _buffers(generator)
        for name, buffer in _buffers(self.weights).items():
            buffer.copy_(found[name])
        if self.reset_round:
            self.rounds += 1

    def state(self) -> Dict[str, Tensor]:
        """Weights, statistics and the optimizer's state, by name."""
        state: Dict[str, Tensor] = {
            f'weights.{k}': v for k, v in self.weights.named_parameters()
        }
        for name, value in _buffers(self.weights).items():
            state[f'{BUFFERS}{name}'] = value
        for name, value in optimizer_state(self.optimizer).items():
            state[f'optimizer.{name}'] = value
        if self.reset_round:
            state['rounds'] = self.rounds
        return {name: value.detach() for name, value in state.items()}

    @torch.no_grad()
    def load_state(self, state: Dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        for name, param in self.weights.named_parameters():
            param.copy_(state[f'weights.{name}'])
        for name, buffer in _buffers(self.weights).items():
            # Which states of earlier releases lack.
            buffer.copy_(state.get(f'{BUFFERS}{name}', buffer))
        if self.reset_round:
            self.rounds.copy_(state['rounds'])
        prefix = 'optimizer.'
        load_optimizer_state(
            self.optimizer,
            {
                name[len(prefix) :]: value
                for name, value in state.items()
                if name.startswith(prefix)
            },
        )

    def _pairs(
        self, generator: nn.Module
    ) -> Iterator[Tuple[nn.Parameter, nn.Parameter]]:
        return zip(self.weights.parameters(), generator.parameters())


def _buffers(module: nn.Module) -> Dict[str, Tensor]:
    """Those that are saved, by name, such as statistics of BN layers."""
    params = dict(module.named_parameters(remove_duplicate=False))
    return {
        name: value
        for name, value in module.state_dict().items()
        if name not in params and torch.is_tensor(value)
    }
