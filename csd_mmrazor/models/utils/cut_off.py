# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from typing import Any, Callable, List, Optional, Set

import torch
import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from .modes import as_in_training, evaluating
from .outputs import check_outputs, is_product, logits_of, probed


def cut_off(
    module: nn.Module,
    output: Callable[[], Tensor],
    loss: Optional[Tensor] = None,
) -> List[str]:
    """Weights that count, and are to be trained, but get no gradient.

    Those that nothing depends on, such as an auxiliary classifier whose
    outputs are left aside, are none.

    Args:
        module (nn.Module): A network.
        output (Callable): Computes its outputs of inputs that are not zero.
        loss (Tensor, optional): Of a pass in train mode. Defaults to None,
            what counts is a pass in eval mode.

    Returns:
        list[str]: Their names.
    """
    weights = {
        name: weight
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }

    def leave_out_reached(value: Tensor) -> None:
        if not (weights and value.requires_grad):
            return
        try:
            found = torch.autograd.grad(
                probed(value), [*weights.values()], allow_unused=True
            )
        except RuntimeError:
            # The first step tells, unless it is checkpointing's, which may
            # refuse passes for few.
            return weights.clear()
        for name, gradient in zip([*weights], found):
            # That of round() is zero everywhere.
            if gradient is not None and gradient.any():
                del weights[name]

    devices = {w.device for w in weights.values() if w.device.type == 'cuda'}

    def outputs() -> Tensor:
        # With the same random numbers each time.
        with torch.random.fork_rng([*devices]), evaluating(module):
            return output()

    with torch.enable_grad():
        if loss is not None:
            leave_out_reached(loss)
        # A layer that was skipped at random in train mode is there now.
        if weights:
            leave_out_reached(outputs())
    with torch.no_grad():
        before = outputs() if weights else None

        def count(changed: List[nn.Parameter]) -> bool:
            """Whether the outputs depend on some weights."""
            kept = [weight.clone() for weight in changed]
            depends = False
            for sign in (1, -1):  # of argmax(), one may change nothing
                for weight in changed:
                    steps = torch.linspace(-1, 1, weight.numel()).to(weight)
                    size = sign * (weight.abs().mean() + 1)
                    weight.add_(size * steps.view_as(weight))
                depends = depends or not torch.equal(before, outputs())
                for weight, value in zip(changed, kept):
                    weight.copy_(value)
            return depends

        if not (weights and count([*weights.values()])):
            return []
        return [name for name, each in weights.items() if count([each])]


def check_not_cut_off(
    who: str,
    module: nn.Module,
    output: Callable[[], Tensor],
    loss: Optional[Tensor] = None,
) -> None:
    """Tell of weights that would silently stay as they are.

    Args:
        who (str): What messages call the network.
        module (nn.Module): As of :func:`cut_off`, like what follows.
        output (Callable): Likewise.
        loss (Tensor, optional): Likewise.

    Raises:
        ValueError: If they are more than half of what is to be trained, or
            all but one layer; of fewer, it is logged.
    """
    lost = cut_off(module, output, loss)
    if not lost:
        return
    sizes = {
        name: weight.numel()
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    layers = {name.rpartition('.')[0] for name in sizes if name not in lost}
    share = sum(sizes[name] for name in lost) / sum(sizes.values())
    text = (
        f'{who} ({type(module).__name__}) has weights that get no gradient, '
        'though its outputs depend on them, so they would not be trained: '
        f'{", ".join(lost[:3])}{", ..." * (len(lost) > 3)}, {len(lost)} of '
        f'{len(sizes)} tensors. Look for no_grad(), detach(), .data and '
        'numpy() in its forward(), for round() and argmax(), and for units '
        'that are 0 for all images. If they are to stay as they are, set '
        'requires_grad=False in them.'
    )
    if share > 0.5 or len(layers) < 2:
        raise ValueError(text)
    print_log(text, 'current', logging.WARNING)


def check_trains_what_decides(student: nn.Module, inputs: Tensor) -> None:
    """Check that a student has the same last layer in training.

    A network that then returns an auxiliary head's logits first would have
    that trained alone, and the losses are of logits.

    Args:
        student (nn.Module): A classifier of mmpretrain's kind.
        inputs (Tensor): (N, C, H, W), normalised.

    Raises:
        ValueError: If its logits in train mode do not come from what makes
            them in eval mode, or are probabilities or sigmoids.
    """
    with evaluating(student), torch.enable_grad():
        weights = _last_weights(logits_of(student(inputs, mode='tensor')))
    with as_in_training(student), torch.enable_grad():
        logits = logits_of(student(inputs, mode='tensor'))
        check_outputs(logits, 'student in train mode')
        if not (weights and logits.requires_grad):
            return
        found = torch.autograd.grad(logits.sum(), weights, allow_unused=True)
    lost = [each for each, grad in zip(weights, found) if grad is None]
    names = [
        name
        for name, weight in student.named_parameters()
        if any(weight is each for each in lost)
    ]
    if len(lost) < len(weights):
        if lost:
            print_log(
                f'student makes its logits by {", ".join(names)}, too, in '
                'eval mode, but not in train mode, so these weights stay as '
                'they are. If they should be trained, return the same logits '
                'in both modes.',
                logger='current',
                level=logging.WARNING,
            )
        return
    raise ValueError(
        f'student makes its logits by {", ".join(names)} in eval mode, which '
        'has no part in those that it returns in train mode, so it would not '
        'be trained: return the same logits in both, first in a tuple or as '
        '"logits" in a dict, if auxiliary ones come with them.'
    )


def _last_weights(logits: Tensor) -> List[Tensor]:
    """Trained weights of the layer that makes logits; none if it is frozen."""
    found: List[Tensor] = []
    level: Set[Any] = {logits.grad_fn} - {None}
    while level and not found:
        is_layer = any(is_product(node) for node in level)
        level = {e for node in level for e, _ in node.next_functions} - {None}
        for node in level:
            # Weights that are turned or cast first are no other layer's.
            while node is not None and len(node.next_functions) == 1:
                node = node.next_functions[0][0]
            if hasattr(node, 'variable'):
                found.append(node.variable)
        if is_layer:
            break
    return [each for each in found if isinstance(each, nn.Parameter)]
