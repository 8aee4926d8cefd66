# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..synthesizers.step_graph import (
    HOOKS,
    WARM_UP,
    CudaGraph,
    ReplayedSteps,
    foreign_hooks,
)

# Times that what a graph is made for changes before its first replay.
MOST_WASTED = 3
# Returns the sum of the losses and all values by name, as ``parse_losses``.
Passes = Callable[..., Tuple[Tensor, Dict[str, Tensor]]]


class PassesStep:
    """Forward and backward passes of a training step, as one call.

    It is given nothing and returns nothing: batches are copied to where the
    last one was, and gradients are not added to any, so that a CUDA graph can
    replay it.

    Args:
        params (list[Tensor]): What is trained.
        batch (dict[str, Tensor]): Whose shapes all batches have.
    """

    def __init__(self, params: List[Tensor], batch: Dict[str, Tensor]) -> None:
        self.params = params
        self.batch = {name: value.clone() for name, value in batch.items()}
        self.passes: Passes
        self.loss: Tensor
        self.values: Dict[str, Tensor] = {}
        self.grads: Tuple[Optional[Tensor], ...] = ()

    def __call__(self) -> None:
        """Take the step."""
        loss, values = self.passes(**self.batch)
        self.grads = torch.autograd.grad(loss, self.params, allow_unused=True)
        self.loss = loss.detach()
        self.values = {name: v.detach() for name, v in values.items()}


class _WithGrads(torch.autograd.Function):
    """A loss whose gradients are known before its backward pass."""

    @staticmethod
    def forward(
        ctx: Any, loss: Tensor, grads: Tuple[Any, ...], *params: Tensor
    ) -> Tensor:
        ctx.grads = grads
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
        found = [each for each in ctx.grads if each is not None]
        # Into new memory, which is kept as the gradient without a copy.
        scaled = iter(torch._foreach_mul(found, grad))
        return (
            None,
            None,
            *(None if each is None else next(scaled) for each in ctx.grads),
        )


class ReplayedPasses:
    """Passes of training steps, replayed as CUDA graphs where they can be.

    Optimizers are not part of it: they get a loss whose backward pass hands
    them the gradients, so that they clip, accumulate and follow a schedule of
    their rate as they do without a graph.
    """

    graph_type: Any = CudaGraph

    def __init__(self) -> None:
        self.told: Set[str] = set()
        # By the name of an optimizer: what a graph was made for, and it.
        self._steps: Dict[str, Tuple[Any, PassesStep, ReplayedSteps]] = {}
        self._refused: Set[str] = set()
        self._wasted: Dict[str, int] = {}  # graphs that were never replayed

    def __deepcopy__(self, memo: Any) -> 'ReplayedPasses':
        """A copy of the networks has graphs of its own."""
        other = type(self)()
        other.graph_type = self.graph_type
        return other

    def __call__(
        self,
        name: str,
        passes: Passes,
        batch: Dict[str, Tensor],
        algorithm: nn.Module,
        optimizer: OptimWrapper,
        is_distributed: bool,
    ) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Take the passes of a step.

        Args:
            name (str): Of the optimizer.
            passes (Callable): Called with the batch, where there is no graph
                and to make one.
            batch (dict[str, Tensor]): What the passes are given.
            algorithm (nn.Module): Owns all that runs in them.
            optimizer (OptimWrapper): Of what is trained.
            is_distributed (bool): Whether gradients are those of several
                processes.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: The loss, for a backward pass,
            and all values by name, which no later step changes.
        """
        if name in self._refused:
            return passes(**batch)
        params = [p for g in optimizer.param_groups for p in g['params']]
        params = [param for param in params if param.requires_grad]
        key = _state(algorithm, params)
        known, step, replayed = self._steps.get(name, (None, None, None))
        if known != key:
            device = next(iter(batch.values())).device
            reason = self._reason(
                algorithm, params, optimizer, is_distributed, device
            )
            if replayed is not None and replayed.number <= WARM_UP:
                self._wasted[name] = self._wasted.get(name, 0) + 1
                if self._wasted[name] >= MOST_WASTED:
                    what = _changed(algorithm, known, key)
                    reason = f'{what} changes again and again'
            if reason is not None:
                self._refuse(name, reason)
                return passes(**batch)
            step = PassesStep(params, batch)
            replayed = ReplayedSteps(
                step,
                self.graph_type(device),
                lambda reason: self._refuse(name, reason),
            )
            self._steps[name] = key, step, replayed
        elif _shapes(batch) != _shapes(step.batch):
            self._warn(
                'a batch of another shape than the first is taken as it is'
            )
            return passes(**batch)
        step.passes = passes
        for kind, value in batch.items():
            step.batch[kind].copy_(value)
        replayed()
        loss = _WithGrads.apply(step.loss, step.grads, *params)
        return loss, {kind: v.clone() for kind, v in step.values.items()}

    def _reason(
        self,
        algorithm: nn.Module,
        params: List[Tensor],
        optimizer: OptimWrapper,
        is_distributed: bool,
        device: torch.device,
    ) -> Optional[str]:
        """Why there can be no graph."""
        reason: Optional[str] = self.graph_type.lacks(device)
        if reason is not None:
            return reason
        if is_distributed:
            return 'gradients of several processes are averaged within them'
        if hasattr(optimizer, 'loss_scaler') and (
            getattr(optimizer, 'cast_dtype', None) is not torch.bfloat16
        ):
            return (
                f'{type(optimizer).__name__} scales losses before their '
                'backward pass: train in bfloat16'
            )
        hooked = foreign_hooks([algorithm])
        if hooked:
            return f'a replay would not call the hooks of {hooked[0]}'
        if any(param._backward_hooks for param in params):
            return 'the gradient of a weight has a hook'
        return None

    def _refuse(self, name: str, reason: str) -> None:
        self._refused.add(name)
        # Its memory is that of a batch and all gradients.
        self._steps.pop(name, None)
        self._warn(f'student steps run one by one, since {reason}')

    def _warn(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            print_log(
                f'graph=True of CSDDistillation: {text}.',
                'current',
                logging.WARNING,
            )


def _shapes(batch: Dict[str, Tensor]) -> Dict[str, Any]:
    return {name: (v.shape, v.dtype, v.device) for name, v in batch.items()}


def _state(algorithm: nn.Module, params: List[Tensor]) -> Tuple[Any, ...]:
    """What a graph does not see change.

    Modules, their hooks, modes and other plain attributes, such as weights of
    losses, and places in memory.
    """
    modules = [*algorithm.modules()]
    tensors = [
        tensor
        for module in modules
        for kind in (module._parameters, module._buffers)
        for tensor in kind.values()
        if tensor is not None
    ]
    return (
        [id(param) for param in params],
        [
            (id(m), *(len(getattr(m, name)) for name in HOOKS), _plain(m))
            for m in modules
        ],
        [(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors],
    )


def _plain(module: nn.Module) -> List[Tuple[str, Any]]:
    """Numbers and the like that a step may take from a module."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if type(value) in (bool, int, float, str)
    ]


def _changed(
    algorithm: nn.Module, known: Tuple[Any, ...], key: Tuple[Any, ...]
) -> str:
    """What differs first between two states of it."""
    modules = zip(algorithm.named_modules(), known[1], key[1])
    for (name, _), (_, *before), (_, *after) in modules:
        if before != after:
            plain = {each for each, _ in {*before[-1]} ^ {*after[-1]}}
            return f'{", ".join(sorted(plain)) or "hooks"} of {name}'
    return 'the memory of the networks'
