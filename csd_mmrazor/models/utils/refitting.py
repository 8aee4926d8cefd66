# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Layers that pruning took inputs from, fitted by least squares.

What such a layer returned before, it can be made to return again as nearly as
the inputs that are left allow (`channel pruning
<https://arxiv.org/abs/1707.06168>`_, section 3.2). It takes images, but no
label and no step of training.
"""

from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from .likeness import BATCH, Likeness, likeness, log_shares
from .modes import evaluating

# The fitted student, in the work dir of a run: training may make it worse.
FITTED = 'networks/student_fitted.pth'
# Bytes of what a layer is given that are looked at together.
_BYTES = 2**28
# Of the mean variance of the inputs, added to each of them: without it,
# inputs that are nearly the same get huge weights of opposite signs.
_RIDGE = 1e-4
# BN layers multiply some channels by nearly 0, which can make up for nothing.
_SMALLEST = 1e-2
# Of the largest number that a layer returns, in float32.
_ROUNDING = 1e-3


class Place(NamedTuple):
    """A layer that lost inputs and kept its outputs, in both networks."""

    layer: str
    norm: Optional[str]  # the BN layer that takes what it returns
    block: str  # the module that it is part of


def find_refittable(
    teacher: nn.Module, student: nn.Module, inputs: Tensor
) -> List[Place]:
    """Layers that lost inputs by pruning and kept all their outputs.

    They are convolutions of images, without groups, and linear layers, that
    run once in a pass and return what their weights say: no layers with a
    forward of their own, with hooks that change it, whose weights are
    computed of others, as by ``weight_norm``, or are frozen.

    Args:
        teacher (nn.Module): A classifier of mmpretrain's kind, not pruned.
        student (nn.Module): The same, pruned. Both stay as they are.
        inputs (Tensor): A few images, (N, C, H, W), normalised.

    Returns:
        list[Place]: In the order in which they run; none if there are none.
    """
    of_teacher, of_student = (
        dict(model.named_modules()) for model in (teacher, student)
    )
    names = [
        name
        for name, layer in of_student.items()
        if _lost_inputs(of_teacher.get(name), layer) and not _is_frozen(layer)
    ]
    order, norms = _survey(student, names, inputs, plain=True)
    order_t, norms_t = _survey(teacher, names, inputs)
    expected = dict(zip(order_t, norms_t))
    found = []
    for name, norm in zip(order, norms):
        if name not in expected:
            continue
        is_same = (
            norm == expected[name]
            and not _is_frozen(of_student.get(norm))
            and _shapes(of_student.get(norm)) == _shapes(of_teacher.get(norm))
        )
        block = name.rpartition('.')[0]
        found.append(Place(name, norm if is_same else None, block))
    return found


@torch.no_grad()
def refit(
    teacher: nn.Module,
    student: nn.Module,
    inputs: Tensor,
    places: List[Place],
) -> Tuple[Likeness, Likeness]:
    """Fit layers of a pruned network to what it was before, by least squares.

    One after the other, each on what those before it make of the images now.
    It is to return what the teacher's layer does. Where something else leads
    around it, such as a shortcut, it is also to make up for what is wrong
    there, if that brings the block nearer to the teacher's. A BN layer behind
    it gets the teacher's weights and statistics.

    Args:
        teacher (nn.Module): The network before it was pruned; it stays as it
            is.
        student (nn.Module): The pruned one, which is changed.
        inputs (Tensor): (N, C, H, W), normalised.
        places (list[Place]): From :func:`find_refittable`.

    Returns:
        tuple[Likeness, Likeness]: Before and afterwards, on ``inputs``.
    """
    with evaluating(teacher, student):
        expected = log_shares(teacher, inputs)
        before = likeness(expected, log_shares(student, inputs))
        for place in places:
            _refit(teacher, student, inputs, place)
        return before, likeness(expected, log_shares(student, inputs))


def ridge(
    features: Tensor, targets: Tensor, intercept: bool
) -> Tuple[Tensor, Tensor]:
    """Least squares of what the moments of features and targets tell.

    Args:
        features (Tensor): Sum of products of each two features, the last of
            which is 1, (D + 1, D + 1), float64.
        targets (Tensor): Sum of products of features and targets, (D + 1, K),
            float64.
        intercept (bool): Whether targets may be shifted by a constant.

    Returns:
        tuple[Tensor, Tensor]: Weights, (D, K), and the constants, (K, ),
        which are 0 without an intercept.
    """
    mean = features[-1, :-1] / features[-1, -1]
    mean_targets = targets[-1] / features[-1, -1]
    if not intercept:
        mean, mean_targets = mean * 0, mean_targets * 0
    number = features[-1, -1]
    gram = features[:-1, :-1] - number * torch.outer(mean, mean)
    cross = targets[:-1] - number * torch.outer(mean, mean_targets)
    size = gram.diagonal().mean()
    # Features that are all 0 have any weights.
    size = torch.where(size > 0, size, torch.ones_like(size))
    gram = gram + _RIDGE * size * torch.eye(len(gram)).to(gram)
    weights = torch.linalg.solve(gram, cross)
    return weights, mean_targets - mean @ weights


def _refit(
    teacher: nn.Module, student: nn.Module, inputs: Tensor, place: Place
) -> None:
    layer = student.get_submodule(place.layer)
    features: Any = 0
    targets: List[Any] = [0, 0]
    leads_around, first = False, None
    for part in torch.split(inputs, BATCH):
        wanted, found = (
            _Seen(model, place, part) for model in (teacher, student)
        )
        missing = _missing(teacher, place, wanted, found)
        leads_around |= bool(missing.any())
        first = first or (wanted, found)
        is_map = isinstance(layer, nn.Conv2d)
        maps = wanted.returned, wanted.returned + missing
        # Each output of an image has a row, as wide as a kernel.
        outputs = maps[0][0].numel() // len(layer.weight)
        number = _BYTES // (8 * layer.weight[0].numel() * outputs) or 1
        for given, *each in zip(
            *(values.split(number) for values in (found.given, *maps))
        ):
            columns = _columns(layer, given)
            features = features + columns.T @ columns
            targets = [
                known + columns.T @ _rows(values, is_map)
                for known, values in zip(targets, each)
            ]
    own = {**_state(student, place)}
    choices = [_solved(teacher, student, place, features, targets[0])]
    if leads_around:
        choices += [
            _solved(teacher, student, place, features, targets[1]),
            {key: value.clone() for key, value in own.items()},
        ]
    errors = []
    for choice in choices:
        _load(own, choice)
        errors.append(_error(student, place, *first) if leads_around else 0.0)
    # What was chosen, unless it is infinite or NaN.
    _load(own, choices[errors.index(min(errors))])


class _Reached(Exception):
    """Nothing after the end of a block is needed."""


class _Seen:
    """What a layer and its block got and returned in a pass of a network."""

    def __init__(self, model: nn.Module, place: Place, inputs: Tensor) -> None:
        # Of the layer; and, of the block, all that it got.
        self.given = self.returned = self.result = inputs
        self.args: Tuple[Any, ...] = ()
        self.kwargs: Dict[str, Any] = {}
        layer, block = map(model.get_submodule, (place.layer, place.block))

        def note(_: nn.Module, args: Any, kwargs: Any) -> None:
            # What works in place would change it.
            first = args[0].clone() if args and torch.is_tensor(args[0]) else 0
            self.args, self.kwargs = (first, *args[1:])[: len(args)], kwargs

        def see(_: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            self.given = _first(args, kwargs).clone()
            self.returned = output.clone()

        def stop(_: nn.Module, __: Any, output: Any) -> None:
            self.result = tree_leaves(output)[0]
            raise _Reached

        handles = [
            block.register_forward_pre_hook(note, with_kwargs=True),
            layer.register_forward_hook(see, with_kwargs=True),
            block.register_forward_hook(stop),
        ]
        try:
            with suppress(_Reached):
                model(inputs, mode='tensor')
        finally:
            for handle in handles:
                handle.remove()


def _missing(
    teacher: nn.Module, place: Place, wanted: _Seen, found: _Seen
) -> Tensor:
    """What the layer would have to add to make up for what leads around it.

    It is what the teacher's block returns on its own input less what it
    returns on the student's, the layer returning the same in both.
    """
    nothing = torch.zeros_like(wanted.returned)
    given, other = (
        each.args[0] if each.args else None for each in (found, wanted)
    )
    is_other = (
        torch.is_tensor(given)
        and given.shape == other.shape
        and wanted.result.shape == nothing.shape
    )
    if not is_other:
        return nothing
    layer, block = map(teacher.get_submodule, (place.layer, place.block))
    handle = layer.register_forward_hook(lambda *_: wanted.returned.clone())
    try:
        result = block(given.clone(), *wanted.args[1:], **wanted.kwargs)
    finally:
        handle.remove()
    missing: Tensor = wanted.result - tree_leaves(result)[0]
    if place.norm is None:
        return missing
    norm: Any = teacher.get_submodule(place.norm)
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    usable = scale.abs() > _SMALLEST * scale.abs().max()
    factors = torch.where(usable, 1 / scale, torch.zeros_like(scale))
    return missing * factors.view(1, -1, *[1] * (missing.ndim - 2))


def _solved(
    teacher: nn.Module,
    student: nn.Module,
    place: Place,
    features: Tensor,
    targets: Tensor,
) -> Dict[str, Tensor]:
    """The state that the layer and its BN layer are to have."""
    layer: Any = student.get_submodule(place.layer)
    has_bias = layer.bias is not None
    weights, constants = ridge(
        features, targets, has_bias or place.norm is not None
    )
    found = {'layer.weight': weights.T.reshape(layer.weight.shape)}
    if has_bias:
        found['layer.bias'] = constants
    if place.norm is not None:
        norm = teacher.get_submodule(place.norm).state_dict()
        found.update({f'norm.{key}': value for key, value in norm.items()})
        if not has_bias:
            mean = found['norm.running_mean']
            found['norm.running_mean'] = mean - constants
    return found


def _error(
    student: nn.Module, place: Place, wanted: _Seen, found: _Seen
) -> float:
    """Squared error of what the student's block returns."""
    block = student.get_submodule(place.block)
    result = block(found.args[0].clone(), *found.args[1:], **found.kwargs)
    error = (tree_leaves(result)[0] - wanted.result).square().sum()
    return error.item() if error.isfinite() else float('inf')


def _columns(layer: Any, given: Tensor) -> Tensor:
    """What each output is a linear function of, (N, D + 1), float64."""
    if isinstance(layer, nn.Conv2d):
        given = F.unfold(
            given,
            layer.kernel_size,
            layer.dilation,
            layer.padding,
            layer.stride,
        ).transpose(1, 2)
    rows = given.flatten(0, -2).double()
    return F.pad(rows, (0, 1), value=1)


def _first(args: Any, kwargs: Any) -> Any:
    """What a layer is given, also by name."""
    return next(iter((*args, *kwargs.values())), None)


def _is_as_its_weights_say(layer: Any, given: Tensor, returned: Any) -> bool:
    """Whether a layer returned its weights times what it was given."""
    if not {'weight', 'bias'} <= layer._parameters.keys():
        return False  # these are computed of others in each pass
    columns = _columns(layer, given)
    weights = columns.new_zeros(len(layer.weight), columns.shape[1])
    weights[:, :-1] = layer.weight.flatten(1)
    if layer.bias is not None:
        weights[:, -1] = layer.bias
    expected = columns @ weights.T
    if not torch.is_tensor(returned) or returned.ndim != given.ndim:
        return False
    found = _rows(returned, isinstance(layer, nn.Conv2d))
    if found.shape != expected.shape:
        return False
    error = (found - expected).abs().max()
    return bool(error <= _ROUNDING * expected.abs().max())


def _rows(returned: Tensor, is_map: bool) -> Tensor:
    """Outputs of a layer in that order, (N, K), float64."""
    if is_map:
        returned = returned.flatten(2).transpose(1, 2)
    return returned.flatten(0, -2).double()


def _state(student: nn.Module, place: Place) -> Dict[str, Tensor]:
    """What a layer and its BN layer have, by the names of :func:`_solved`."""
    parts = dict(layer=student.get_submodule(place.layer))
    if place.norm is not None:
        parts['norm'] = student.get_submodule(place.norm)
    return {
        f'{name}.{key}': value
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


def _load(own: Dict[str, Tensor], state: Dict[str, Tensor]) -> None:
    for key, value in state.items():
        own[key].copy_(value)


def _survey(
    model: nn.Module, names: List[str], inputs: Tensor, plain: bool = False
) -> Tuple[List[str], List[Optional[str]]]:
    """Those of the layers that run once, in order, and BN behind them.

    ``plain`` ones alone return what their weights say.
    """
    order: List[str] = []
    returned: List[Any] = []
    others: Set[str] = set()  # that return something else
    norms: Dict[str, str] = {}

    def see(name: str, layer: nn.Module, given: Any, output: Any) -> None:
        if plain and not _is_as_its_weights_say(layer, given, output):
            others.add(name)
        order.append(name)
        returned.append(output)

    def look(name: str, given: Any) -> None:
        for layer, output in zip(order, returned):
            if output is given:
                norms[layer] = name

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda layer, args, kwargs, output, name=name: see(
                name, layer, _first(args, kwargs), output
            ),
            with_kwargs=True,
        )
        for name in names
    ]
    handles += [
        part.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: look(
                name, _first(args, kwargs)
            ),
            with_kwargs=True,
        )
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(inputs, mode='tensor')
    finally:
        for handle in handles:
            handle.remove()
    once = [
        name for name in order if order.count(name) == 1 and name not in others
    ]
    return once, [norms.get(name) for name in once]


def _lost_inputs(whole: Any, layer: Any) -> bool:
    """Whether a layer can be fitted, and has to be."""
    if type(whole) is not type(layer):
        return False
    if isinstance(layer, nn.Conv2d):
        is_plain = layer.groups == whole.groups == 1
        is_plain &= layer.padding_mode == 'zeros'
        is_plain &= not isinstance(layer.padding, str)
    else:
        is_plain = isinstance(layer, nn.Linear)
    if not is_plain:
        return False
    shape, before = layer.weight.shape, whole.weight.shape
    return bool(
        shape[0] == before[0]
        and shape[1] < before[1]
        and shape[2:] == before[2:]
    )


def _is_frozen(layer: Optional[nn.Module]) -> bool:
    """Whether weights of a layer are to stay as they are."""
    weights = () if layer is None else layer.parameters()
    return not all(weight.requires_grad for weight in weights)


def _shapes(layer: Optional[nn.Module]) -> Dict[str, Tuple[int, ...]]:
    state = {} if layer is None else layer.state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}
