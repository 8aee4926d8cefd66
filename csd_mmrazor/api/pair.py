# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The two networks of a call, and what two random images tell of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
import torch.nn as nn
from torch.nn.parameter import UninitializedTensorMixin

from ..models.utils import Chain, Place, about_outputs, renew_modes
from ..utils.suggestions import some_of
from .blocks import blocks_of
from .config import is_normalised
from .copies import check_copy
from .inputs import Inputs
from .networks import (
    Network,
    Traced,
    about_lent,
    copied,
    get_network,
    proven,
    trace,
)
from .pruned import pruned_places, share_of_zeros
from .start import digest_of_weights

# Share of weights that are 0 from which a student counts as pruned of single
# weights.
_SPARSE = 0.1


@dataclass(frozen=True)
class Pair:
    """Teacher and student, by these names in each dict.

    Attributes:
        networks (dict[str, Network]): As the caller gave them.
        copies (dict[str, nn.Module]): What the run is made of.
        traced (dict[str, Traced]): What they do with images.
        chains (sequence[Chain]): Where the student has fewer blocks of the
            teacher, to start from; empty if it starts otherwise.
        places (sequence[Place]): Layers that were pruned from the teacher,
            and are fitted to it; empty if there are none.
    """

    networks: Dict[str, Network]
    copies: Dict[str, nn.Module]
    traced: Dict[str, Traced]
    chains: Sequence[Chain]
    places: Sequence[Place]

    @property
    def num_classes(self) -> int:
        """Classes K of the teacher."""
        return self.traced['teacher'].num_classes


def get_pair(
    given: Dict[str, Any],
    num_classes: Optional[int],
    inputs: Inputs,
) -> Pair:
    """Make, copy and trace the networks of a call.

    Args:
        given (dict): Arguments of ``distill()``, by their names.
        num_classes (int, optional): Classes K, if they are given.
        inputs (Inputs): What the networks get.

    Raises:
        TypeError: If a network is none, or its arguments are not its own.
        ValueError: If a network cannot be used, or not with the other.
    """
    networks: Dict[str, Network] = {}
    copies: Dict[str, nn.Module] = {}
    traced: Dict[str, Traced] = {}
    # With random numbers of their own: those of weights stay as they are.
    generator = torch.Generator().manual_seed(0)
    examples = inputs.random(2, generator)
    wanted = num_classes
    modules = {name: given[name] for name in ('teacher', 'student')}
    if given['student_weights'] is not None and all(
        isinstance(each, nn.Module) for each in modules.values()
    ):  # which would be loaded into what is the teacher's, too
        _check_apart(modules, may_share_frozen=False)
    for name in ('teacher', 'student'):
        network = get_network(
            given[name],
            name,
            given[f'{name}_weights'],
            wanted,
            given[f'{name}_args'],
            networks.get('teacher'),
        )
        copies[name] = copied(network.module, name)
        check_copy(network.module, copies[name], examples, name)
        _check_modes(copies[name], name)
        if isinstance(given[name], nn.Module):
            network = proven(network, copies[name], examples, name)
        networks[name] = network
        traced[name] = trace(
            network.build_cfg,
            copies[name],
            examples,
            name,
            given[f'{name}_feature'],
            given.get(f'{name}_pooled'),
        )
        found = traced[name].num_classes
        if name == 'teacher' and num_classes not in (None, found):
            raise ValueError(
                f'classes has {num_classes}, but the teacher tells {found} '
                f'apart: give classes={found}, or as many names, or leave it '
                'out. A teacher that is given by its name gets their number '
                'if it has an argument num_classes, of this very name, or by '
                'teacher_args.'
            )
        # A student that is made has as many as the teacher.
        wanted = wanted or found
    _check_apart({name: net.module for name, net in networks.items()})
    pair = Pair(
        networks,
        copies,
        traced,
        blocks_of(
            *(given['teacher_blocks'], networks, copies, examples),
            given['student_weights'],
        ),
        pruned_places(given['refit'], networks, copies, examples),
    )
    for copy in copies.values():
        # Those of timm keep what passes with gradients have computed.
        renew_modes(copy)
    _check_no_new_weights(pair)
    _check_classes(pair, num_classes)
    return pair


def _check_modes(module: nn.Module, name: str) -> None:
    """Check that weights are the same in train and in eval mode."""
    if all(type(m).train is nn.Module.train for m in module.modules()):
        return
    before = digest_of_weights(module)
    renew_modes(module)  # in train mode, and then in eval mode
    if digest_of_weights(module) != before:
        raise ValueError(
            f'{name} ({type(module).__name__}) has other weights in train '
            'than in eval mode, as layers of LoRA that merge them: turn that '
            'off (merge_weights=False), or merge them for good.'
        )


def _check_apart(
    modules: Dict[str, nn.Module], may_share_frozen: bool = True
) -> None:
    """Check that nothing that changes in the student is the teacher's own."""
    places = {
        name: {
            tensor.untyped_storage().data_ptr()
            for tensor in [*module.parameters(), *module.buffers()]
            if not isinstance(tensor, UninitializedTensorMixin)
            and tensor.numel()
            and not tensor.is_meta
            # What is frozen stays, such as a classifier of the teacher's.
            and not (
                name == 'student' and may_share_frozen and _is_frozen(tensor)
            )
        }
        for name, module in modules.items()
    }
    shared = places['teacher'] & places['student']
    if shared:
        what = 'training' if may_share_frozen else 'student_weights'
        student = modules['student']
        names, buffers = (
            [
                key
                for key, tensor in listed
                if not isinstance(tensor, UninitializedTensorMixin)
                and tensor.untyped_storage().data_ptr() in shared
            ]
            for listed in (
                student.named_parameters(),
                student.named_buffers(),
            )
        )
        raise ValueError(
            'student and teacher share weights '
            f'({some_of(names + buffers, 3)}), and {what} would change the '
            'teacher: give copy.deepcopy() of one of them'
            + (
                ', or, where a buffer is registered, a copy of its own, '
                'register_buffer(NAME, VALUE.clone()).'
                if buffers
                else '.'
            )
        )


def _is_frozen(tensor: torch.Tensor) -> bool:
    is_weight = isinstance(tensor, nn.Parameter)
    return is_weight and not tensor.requires_grad


def _check_no_new_weights(pair: Pair) -> None:
    """Check that copies have no more weights after their first pass."""
    for name, copy in pair.copies.items():
        whole = pair.networks[name].module.state_dict()
        made = [key for key in copy.state_dict() if key not in whole]
        if made:
            raise ValueError(
                f'{name} makes weights when it is first called '
                f'({", ".join(made[:3])}), which a new one lacks when they '
                'are loaded: make these layers in its __init__().'
            )


def _check_classes(pair: Pair, num_classes: Optional[int]) -> None:
    """Check that both networks have as many classes as the call says."""
    found = {name: each.num_classes for name, each in pair.traced.items()}
    if num_classes is not None:
        found['classes'] = num_classes
    if len(set(found.values())) > 1:
        listed = ', '.join(f'{name}: {n}' for name, n in found.items())
        raise ValueError(
            f'The numbers of classes differ ({listed}): give the networks '
            'last layers of the same size. A network that is given by its '
            'name gets that number by classes=K, if it has an argument '
            'num_classes, of this very name, or by teacher_args or '
            'student_args.'
        )


def about(pair: Pair, inputs: Inputs, val: Any) -> List[str]:
    """What was understood of the arguments."""
    lines, counts = [], []
    for name, network in pair.networks.items():
        weights = sum(p.numel() for p in network.module.parameters())
        counts.append(weights)
        each = pair.traced[name]
        feature = each.feature or 'none'
        lines.append(
            f'{name}: {type(network.module).__name__}, {weights:,} weights, '
            f'{each.num_classes} classes; last feature map: {feature}'
        )
        if each.feature is None:
            height, width = inputs.image_shape[1:]
            why = (
                ' (tokens, if it has any, are laid out as a map for square '
                'images alone)'
                if height != width
                else ''
            )
            lines.append(
                f'  so no loss compares feature maps{why}; {name}_feature '
                'names a module that returns one, (N, D, H, W)'
            )
        if network.note:
            lines.append(f'  {network.note}')
        if each.place:
            lines.append(f'  its logits are taken from output{each.place}')
        if each.outputs:
            lines.append(f'WARNING: {name} {about_outputs(each.outputs)}')
        if name == 'student' and not is_normalised(network.module):
            few = 'not each of its layers has' if each.has_bn else 'it has no'
            lines.append(
                f'  {few} BN, so its gradients are clipped to a norm of 5'
            )
    if counts[1] > counts[0]:
        lines.append(
            'WARNING: the student has more weights than the teacher: were '
            'the two swapped? If not, it is trained as any other'
        )
    elif counts[1] == counts[0]:
        lines.append('  it has as many weights as the teacher')
    if pair.chains:
        listed = ', '.join(
            f'{len(chain.wanted)} of {len(chain.blocks)} of {chain.name}'
            for chain in pair.chains
        )
        lines.append(
            f'  it starts from blocks of the teacher: {listed}; '
            'teacher_blocks=False lets it start from its own weights'
        )
    if pair.places:
        first, last = pair.places[0].layer, pair.places[-1].layer
        what = f'its layer {first} is'
        if len(pair.places) > 1:
            what = f'{len(pair.places)} of its layers, {first} to {last}, are'
        lines.append(
            f'  it was pruned from the teacher: {what} fitted to it before '
            'training; refit=False leaves it as it is'
        )
    zeros = share_of_zeros(pair.networks['student'].module)
    if zeros > _SPARSE and not pair.chains:
        lines.append(
            f'WARNING: {100 * zeros:.0f} % of the weights of the student are '
            '0, as if single weights were pruned. They do not stay 0, since '
            'training changes them, too. Channels that were removed do not '
            'come back'
        )
    if about_lent(pair.networks):
        lines.append(f'  {about_lent(pair.networks)}')
    shape = 'x'.join(map(str, inputs.image_shape))
    lines.append(f'inputs: {shape}, {inputs.note}')
    traced = pair.traced['teacher']
    if traced.has_functional_bn:
        lines.append(
            'WARNING: the teacher normalises by running statistics that are '
            'in no BN layer (F.batch_norm, or an InstanceNorm that tracks '
            'them), to which images cannot be held. With BN layers in their '
            'place, such as nn.BatchNorm2d, they would be more like its '
            'training data'
        )
    elif not traced.has_bn:
        lines.append(
            'WARNING: the teacher has no BN layers, whose statistics tell of '
            'its training data; in place of these, images are held to what '
            'natural ones have in common, which says less'
        )
    if val is None:
        lines.append(
            'val: none, so the accuracy can only be estimated, at the end'
        )
    return lines


def without_effect(
    pair: Pair,
    parsed: Union[str, int, float],
    schedule: Optional[Dict[str, Any]],
    loss_weights: Optional[Dict[str, float]],
    init_bank: Optional[Union[str, Path]],
) -> List[str]:
    """Warnings of arguments that do nothing with what else was given."""
    lines = []
    if 'init_rounds' in (schedule or {}) and init_bank is not None:
        lines.append(
            'WARNING: init_rounds of schedule does nothing, since the run '
            'starts with the images of init_bank'
        )
    if 'epochs' in (schedule or {}) and parsed != 'paper':
        lines.append(
            'WARNING: epochs of schedule does nothing, since budget '
            'decides their number: schedule=dict(steps=...) sets how '
            'long each is, in proportion'
        )
    maps = [each.feature for each in pair.traced.values()]
    weighting = dict(loss_weights=loss_weights, schedule=schedule)
    for name, weights in weighting.items():
        if not (weights or {}).get('feature') or None not in maps:
            continue
        lines.append(
            f'WARNING: feature of {name} does nothing, since a '
            'last feature map was not found in both networks: '
            'teacher_feature and student_feature name one'
        )
    return lines
