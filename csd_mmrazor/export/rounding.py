# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Weights that lose little when they are rounded to a few bits."""

from contextlib import contextmanager
from copy import deepcopy
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..models.utils import frozen, logits_of

# Images of a pass.
_BATCH = 128
_ROUNDED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Their weights are (in, out, ...).
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# What torch's attention has beside a linear layer, if it has it.
_PROJECTIONS = [f'{n}_proj_weight' for n in ('in', 'q', 'k', 'v')]
# Hooks that compute a weight before each pass.
_COMPUTING = (WeightNorm, SpectralNorm, BasePruningMethod)


class Rounded(nn.Module):
    """Weights as integers of ``bits`` bits hold them, and ONNX Runtime rounds.

    One scale for each output channel, around 0, of the largest weight of the
    channel. Gradients pass as if nothing was rounded.

    Args:
        bits (int): From 2 to 8.
        axis (int): That of output channels. Defaults to 0.
    """

    def __init__(self, bits: int, axis: int = 0) -> None:
        super().__init__()
        self.axis = axis
        self.high = 2 ** (bits - 1) - 1
        self.low = -self.high - 1
        if bits == 8:
            # What quantize_onnx leaves of them, for sums that cannot overflow.
            self.high, self.low = 64, -64

    def forward(self, weight: Tensor) -> Tensor:
        """Weights, such as (out, ...), of the same shape."""
        own = weight.detach()
        span = _spans(own, self.axis)
        scale = 2 * span / (self.high - self.low)
        # A channel of zeros has any scale.
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        whole = (own / scale).round().clamp(self.low, self.high)
        return weight + (whole * scale - own)


def computed_once(model: nn.Module) -> nn.Module:
    """Let weights that follow from others be weights of their own.

    Such are those of ``weight_norm``, ``spectral_norm`` and
    ``torch.nn.utils.prune``, of torch's parametrizations and, of earlier
    releases, hooks.

    Args:
        model (nn.Module): In eval mode. Changed; computes what it did.

    Returns:
        nn.Module: The same.
    """
    for part in model.modules():
        if parametrize.is_parametrized(part):
            found = {
                name: getattr(part, name).detach()
                for name in part.parametrizations
            }
            # torch's own removal would change the class of copies as well.
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            for name, value in found.items():
                part.register_parameter(name, nn.Parameter(value))
        for key, hook in [*part._forward_pre_hooks.items()]:
            if isinstance(hook, _COMPUTING):
                hook.remove(part)
                del part._forward_pre_hooks[key]
    return model


@contextmanager
def rounded(model: nn.Module, bits: int) -> Iterator[List[str]]:
    """Round weights of convolutions, linear layers and attention in a context.

    Args:
        model (nn.Module): The network, after :func:`computed_once`. Its own
            weights can be trained meanwhile, and are there again afterwards.
        bits (int): Of :class:`Rounded`.

    Yields:
        list[str]: Names of the weights.
    """
    found = {
        f'{prefix}.{name}'.lstrip('.'): (layer, name, axis)
        for prefix, layer in model.named_modules()
        for name, axis in _weights_of(layer)
    }
    for layer, name, axis in found.values():
        parametrize.register_parametrization(layer, name, Rounded(bits, axis))
    try:
        yield [*found]
    finally:
        for layer, name, _ in found.values():
            parametrize.remove_parametrizations(
                layer, name, leave_parametrized=False
            )


def _weights_of(layer: nn.Module) -> List[Tuple[str, int]]:
    """Those that are rounded, and which axis has their output channels."""
    if isinstance(layer, _ROUNDED):
        return [('weight', 0)]
    if isinstance(layer, _TRANSPOSED) and layer.groups == 1:
        return [('weight', 1)]
    if isinstance(layer, nn.MultiheadAttention):
        return [
            (name, 0)
            for name in _PROJECTIONS
            if getattr(layer, name) is not None
        ]
    return []


class _Moves:
    """Makes steps relative to the weights of an output channel.

    Adam's steps do not depend on the size of gradients, so this is Adam on
    weights in units of the largest of their channel, as it was.

    Args:
        model (nn.Module): Within :func:`rounded`.
    """

    def __init__(self, model: nn.Module) -> None:
        found = {
            # Once, where several layers have it.
            id(module.original): module
            for module in model.modules()
            if isinstance(module, parametrize.ParametrizationList)
        }
        self.weights = [module.original for module in found.values()]
        self.units = [
            _spans(module.original, cast(Rounded, module[0]).axis)
            for module in found.values()
        ]

    @contextmanager
    def scaled(self) -> Iterator[None]:
        """Scale what the context adds to weights."""
        before = [weight.detach().clone() for weight in self.weights]
        yield
        with torch.no_grad():
            for weight, old, unit in zip(self.weights, before, self.units):
                weight.copy_(old + unit * (weight - old))


def _spans(weight: Tensor, axis: int) -> Tensor:
    """The largest weight of each output channel, such as (out, 1, ...)."""
    others = [each for each in range(weight.ndim) if each != axis]
    return weight.detach().abs().amax(others, keepdim=True)


class Distilled(NamedTuple):
    """A network that was trained with rounded weights."""

    model: nn.Module  # in eval mode, with weights that are not rounded yet
    # KL divergence of what it computes with rounded weights from what the
    # network computed, in nats, before training and after it.
    before: float
    after: float


class NonFiniteLossError(ValueError):
    """The loss of distillation became NaN or Inf."""


def distil_rounded(
    model: nn.Module,
    draw: Callable[[], Tensor],
    steps: int,
    bits: int,
    lr: float = 3e-3,
    probe: Optional[Tensor] = None,
) -> Distilled:
    """Train a network to compute with rounded weights what it did before.

    Weights of modules for convolutions, linear layers and attention are
    rounded. Those that a ``forward()`` uses by itself, as by ``F.linear``, are
    not, nor is what it computes of weights before it uses them, as by weight
    standardisation: a file rounds these, and loses more than is told here.

    Args:
        model (nn.Module): A classifier; it stays as it is, and is the
            teacher. Its statistics of BN layers stay, too.
        draw (callable): Returns inputs of a step, (N, C, H, W), normalised.
        steps (int): How many there are.
        bits (int): Of a weight.
        lr (float): Adam's learning rate at the start; it falls to 0 along a
            cosine. A step moves a weight by this share of the largest one of
            its output channel: moved by this as such, channels of tiny
            weights, which a BN layer makes large again, would be others
            after a step, and deep networks with them. Defaults to 0.003.
        probe (Tensor, optional): Inputs that ``before`` and ``after`` are of;
            those of no step tell most. Defaults to None, those of the first.

    Returns:
        Distilled: A copy of the network, which may have become worse.

    Raises:
        ValueError: If the network has no weights that are rounded.
        NonFiniteLossError: If the loss becomes NaN or Inf.
    """
    student = computed_once(deepcopy(model).eval())
    for weight in student.parameters():
        weight.requires_grad_(weight.is_floating_point())

    def loss_on(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            expected = logits_of(model(inputs, mode='tensor'))
        found = logits_of(student(inputs, mode='tensor'))
        return F.kl_div(
            found.log_softmax(1),
            expected.log_softmax(1),
            reduction='batchmean',
            log_target=True,
        )

    @torch.no_grad()
    def mean_loss(inputs: Tensor) -> float:
        parts = torch.split(inputs, _BATCH)
        total = sum(loss_on(part).item() * len(part) for part in parts)
        return total / len(inputs)

    with frozen(model), rounded(student, bits) as names:
        if not names:
            raise ValueError(
                'Distillation rounds weights of modules for convolutions, '
                'linear layers and attention, and the network has none of '
                'these. Quantize it without (--distil-steps 0), or let it '
                'have such modules, as nn.Linear for F.linear.'
            )
        first = draw()
        if probe is None:
            probe = first
        before = mean_loss(probe)
        moves = _Moves(student)
        optimizer = torch.optim.Adam(student.parameters(), lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            inputs = draw() if step else first
            loss = loss_on(inputs)
            if not loss.isfinite():
                raise NonFiniteLossError(
                    f'The loss of step {step} of distillation with rounded '
                    f'weights is {loss.item()}: take int8, which needs none, '
                    'or fewer steps.'
                )
            optimizer.zero_grad()
            loss.backward()
            with moves.scaled():
                optimizer.step()
            schedule.step()
        after = mean_loss(probe)
    return Distilled(student, before, after)
