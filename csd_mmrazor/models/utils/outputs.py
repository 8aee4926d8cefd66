# Copyright (c) csd_mmrazor developers. All rights reserved.
import dataclasses
import re
from collections.abc import Mapping
from copy import copy
from typing import Any, Iterator, Set

import torch
from torch import Tensor

# Ratio of layers from which a second classifier is no auxiliary head, but the
# last of several exits. The two of a Conformer are of 146 and 140 layers.
_DEEPER = 1.5
# Of torch's graph of gradients.
_LAYERS = re.compile('Convolution|[mM]mBackward|LinearBackward|Cdist')
# What changes no number, but where it is.
_OF_SHAPES = (
    *('Alias', 'Cat', 'Clamp', 'Clone', 'Expand', 'Index', 'Permute'),
    *('Reshape', 'Select', 'Slice', 'Squeeze', 'Stack', 'TBackward'),
    *('ToCopy', 'Transpose', 'UnsafeView', 'Unsqueeze', 'View'),
)


def logits_of(output: Any) -> Tensor:
    """The logits in what a classifier returns.

    A tensor is taken as it is; of a dict, a dataclass or a named tuple, what
    is called ``logits``; of any other tuple or list, the first. So are
    networks with auxiliary heads understood, and model outputs as
    transformers has them. Auxiliary outputs are left aside.

    Args:
        output (Any): What the network returned.

    Returns:
        Tensor: (N, K).

    Raises:
        TypeError: If there are none; says what was returned.
    """
    found = output
    if isinstance(found, Mapping):
        found = found.get('logits')
    elif hasattr(found, 'logits'):
        found = found.logits
    elif isinstance(found, (list, tuple)):
        found = found[0] if found else None
        if not torch.is_tensor(found) and found is not None:
            return logits_of(found)
    if torch.is_tensor(found) and found.ndim == 2:
        return found
    raise TypeError(
        'a classifier should return its logits, (N, K), or have them as '
        '"logits" in a dict, dataclass or named tuple, or first in a tuple '
        f'or list, but it returned {_described(output)}.'
    )


def about_one_number(logits: Tensor) -> str:
    """What to say of a classifier that returns one number for each image.

    Args:
        logits (Tensor): (N, 1) or (N, ), of any images.
    """
    if not logits.is_floating_point():
        return (
            'it returns one integer for each image, but a classifier should '
            'return its logits, (N, K): leave out argmax() in its forward().'
        )
    z = 'z' if logits.ndim == 2 else 'z.unsqueeze(1)'
    where = ', where z is what comes before its sigmoid'
    if not _ends_in_sigmoid(logits):
        where = ', if z, without a sigmoid, is the logit of the second one'
    return (
        'it returns one number for each image, but a classifier has a logit '
        f'for each of two classes or more. For two, return torch.cat('
        f'[torch.zeros_like({z}), {z}], 1) in its forward(){where}.'
    )


def _ends_in_sigmoid(logits: Tensor) -> bool:
    """Whether numbers are sigmoids, in another shape or beside others."""
    nodes = [logits.grad_fn]
    while nodes:
        node = nodes.pop()
        name = node.name() if node is not None else ''
        if name.startswith('Sigmoid'):
            return True
        if name.startswith(_OF_SHAPES):
            nodes += [each for each, _ in node.next_functions]
    return False


def place_of_logits(output: Any) -> str:
    """Where :func:`logits_of` finds the logits, as code has it.

    Args:
        output (Any): What the network returned, with logits in it.

    Returns:
        str: '' if it is them, or what comes after a name of it, such as
        ``['logits']``, ``.logits`` or ``[0]``.
    """
    if torch.is_tensor(output):
        return ''
    if isinstance(output, Mapping):
        return "['logits']"
    if hasattr(output, 'logits'):
        return '.logits'
    return f'[0]{place_of_logits(output[0])}'


def check_order(output: Any, who: str) -> None:
    """Check that a tuple or list has its logits first.

    Features come first if another item is made with all layers that they are
    made with, and more; the first of several exits does if another classifier
    is deeper by half. Auxiliary heads are not, even with layers of their own.

    Args:
        output (Any): What a network returned, of inputs with a gradient.
        who (str): What messages call the network.

    Raises:
        ValueError: If it has not; names what comes first.
    """
    if not isinstance(output, (list, tuple)) or hasattr(output, 'logits'):
        return
    if not torch.is_tensor(output[0]):
        return check_order(output[0], who)
    first = _layers(output[0])
    for place, item in enumerate(output[1:], 1):
        if any(
            first < _layers(each)
            for each in _tensors(item)
            if each.ndim == 2 and each.shape[1] > 1
        ):
            raise ValueError(
                f'{who} returns {_described(output)}. Of these, [0] should be '
                'its logits, but looks like features, since a further layer '
                f'makes [{place}] from it: return the logits first or, if [0] '
                'is the logits, a dict with it as "logits".'
            )
    depths = {
        place: len(_layers(each))
        for place, item in enumerate(output)
        for each in _tensors(item)
        if each.shape == output[0].shape
    }
    last = max(depths, key=depths.__getitem__)
    if last and depths[last] >= _DEEPER * len(first):
        raise ValueError(
            f'{who} returns {_described(output)}. Of these, [0] should be '
            f'its logits, but only {len(first)} layers make it, and '
            f'{depths[last]} make [{last}], as the last of several exits: '
            'return the logits first or, if [0] is the logits, a dict with '
            'it as "logits".'
        )


def _tensors(item: Any) -> Iterator[Tensor]:
    if torch.is_tensor(item):
        yield item
    elif isinstance(item, (list, tuple, Mapping)):
        values = item.values() if isinstance(item, Mapping) else item
        for value in values:
            yield from _tensors(value)


def _layers(output: Tensor) -> Set[Any]:
    """The products of matrices and convolutions that a tensor is made with."""
    found = {output.grad_fn} - {None}
    rest = [*found]
    while rest:
        nodes = {node for node, _ in rest.pop().next_functions} - {None}
        rest += nodes - found
        found |= nodes
    return set(filter(is_product, found))


def is_product(node: Any) -> bool:
    """Whether a node of torch's graph is a product, as of layers."""
    return _LAYERS.search(node.name()) is not None


def normalised_outputs(logits: Tensor) -> str:
    """What a classifier returns in place of its logits, if that can be told.

    Args:
        logits (Tensor): (N, K), of any images.

    Returns:
        str: 'probabilities' if all are 0 or more and each row sums to 1,
        'log-probabilities' if that is so of their exponentials, 'sigmoids' if
        some of them are those of one, as the graph of gradients tells, else
        ''.
    """
    if not logits.is_floating_point() or logits.shape[1] < 2:
        return ''
    if _ends_in_sigmoid(logits):
        return 'sigmoids'
    error = 1e-4 if logits.dtype in (torch.float32, torch.float64) else 1e-2
    values = logits.detach().double()
    if (values >= 0).all() and ((values.sum(1) - 1).abs() < error).all():
        return 'probabilities'
    if (values.logsumexp(1).abs() < error).all():
        return 'log-probabilities'
    return ''


def check_outputs(logits: Tensor, who: str) -> str:
    """Check that a classifier does not return probabilities or sigmoids.

    Args:
        logits (Tensor): (N, K), of any images.
        who (str): What messages call the network.

    Returns:
        str: What it returns in place of logits, with which losses of
        probabilities are the same; '' if that cannot be told.

    Raises:
        ValueError: If it does.
    """
    kind = normalised_outputs(logits)
    if kind in ('probabilities', 'sigmoids'):
        raise ValueError(f'{who} {about_outputs(kind)}.')
    return kind


def about_outputs(kind: str) -> str:
    """What to say of a network whose outputs are of such a kind.

    Args:
        kind (str): As of :func:`normalised_outputs`.
    """
    if kind == 'log-probabilities':
        return (
            'returns log-probabilities in place of logits. The cross entropy '
            'and losses of probabilities are the same for both, losses of '
            'the logits themselves are not: for those, return what comes '
            'before log_softmax in its forward()'
        )
    has_sigmoids = kind == 'sigmoids'
    sign = 'all are within 0..1' if has_sigmoids else 'each row sums to 1'
    last = 'sigmoid' if has_sigmoids else 'softmax'
    instead = ', or else the log of the probabilities' * (not has_sigmoids)
    return (
        f'returns {kind} in place of logits ({sign}), but losses, '
        'temperatures and margins are of logits: return what comes before '
        f'{last} in its forward(), in train and in eval mode{instead}'
    )


def check_repeats(logits: Tensor, again: Tensor, who: str) -> None:
    """Check that two passes in eval mode gave the same.

    Args:
        logits (Tensor): (N, K), of one pass.
        again (Tensor): Likewise, of another with the same images.
        who (str): What messages call the network.

    Raises:
        ValueError: If they differ by more than rounding.
    """
    scale = logits.abs().max().clamp(min=1e-12)
    error = ((again - logits).abs().max() / scale).item()
    if error > 1e-3:
        raise ValueError(
            f'{who} says something else of the same images in a second pass '
            f'in eval mode (by {error:.2g} of the largest logit), so nothing '
            'can be measured or exported of it: look for random numbers in '
            'its forward(), for F.dropout() without training=self.training, '
            'and for what goes on to learn, as observers of '
            'torch.ao.quantization do until '
            'model.apply(torch.ao.quantization.disable_observer).'
        )


def check_passes_gradients(logits: Tensor, inputs: Tensor, who: str) -> None:
    """Check that images can be changed by what a network says of them.

    Args:
        logits (Tensor): (N, K).
        inputs (Tensor): What they are of; requires a gradient.
        who (str): What messages call the network.

    Raises:
        ValueError: If no gradient gets there.
    """
    gradient = None
    if logits.requires_grad:
        with torch.enable_grad():
            total = probed(logits)
        try:
            (gradient,) = torch.autograd.grad(total, inputs, allow_unused=True)
        except RuntimeError:  # checkpointing may refuse passes for few
            return
    # That of round() is zero everywhere, as is that of constant logits.
    is_zero = gradient is not None and not gradient.any()
    if gradient is None or (is_zero and (logits != logits[:1]).any()):
        raise ValueError(
            f'{who} passes no gradient from its logits to its inputs: look '
            'for no_grad(), inference_mode(), detach(), argmax() and round() '
            'in its forward().'
        )


def probed(outputs: Tensor) -> Tensor:
    """A weighted sum, of which no network's outputs make a constant.

    The plain sum of probabilities is 1.
    """
    weights = torch.linspace(1, 2, outputs.numel()).to(outputs)
    return (outputs * weights.view_as(outputs)).sum()


def full_precision(record: Any) -> Any:
    """Tensors of half precision in float32; other things as they are.

    Args:
        record (Any): A tensor, or tuples (named or not), lists, dicts, model
            outputs and dataclasses with tensors in them.

    Returns:
        Any: Of the same type. What was given is not changed.
    """
    if torch.is_tensor(record):
        if not record.is_floating_point():
            return record
        return record.to(torch.promote_types(record.dtype, torch.float32))
    if isinstance(record, (list, tuple)):
        values = [full_precision(value) for value in record]
        # A named tuple takes its values one by one.
        named = hasattr(record, '_fields')
        return type(record)(*values) if named else type(record)(values)
    if isinstance(record, Mapping):
        copied = copy(record)
        for key, value in record.items():
            copied[key] = full_precision(value)
        return copied
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        copied = copy(record)
        for field in dataclasses.fields(record):
            value = full_precision(getattr(record, field.name))
            # Of one that is frozen as well.
            object.__setattr__(copied, field.name, value)
        return copied
    return record


def _described(output: Any) -> str:
    """The type of a network's output, and what is in it."""
    name = type(output).__name__
    if torch.is_tensor(output):
        return f'a {name} of shape {tuple(output.shape)}'
    if isinstance(output, Mapping):
        return f'a {name} with {", ".join(map(str, output)) or "nothing"}'
    if isinstance(output, (list, tuple)):
        inner = ', '.join(
            str(tuple(v.shape)) if torch.is_tensor(v) else type(v).__name__
            for v in output
        )
        return f'a {name} of {inner or "nothing"}'
    return f'a {name}'
