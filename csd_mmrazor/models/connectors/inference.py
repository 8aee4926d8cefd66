# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from typing import Any, Dict, Set

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ..utils import (
    attached,
    check_mapped_names,
    check_recorders,
    evaluating,
)

# Connectors whose channels are filled in where a config leaves them out.
INFERRED = ('AlignConnector', 'mmrazor.AlignConnector')


def infer_connectors(
    distiller: Dict, student: nn.Module, teachers: nn.Module, inputs: Tensor
) -> Dict:
    """Fill in the channels that a distiller's connectors leave out.

    The student's record that goes through a connector is brought to the form
    of the teacher's record in the same loss. What is None is left out, see
    :func:`without_switched_off`.

    Args:
        distiller (dict): Config of a ``ConfigurableDistiller``.
        student (nn.Module): The student.
        teachers (nn.Module): What the teachers' recorders listen to.
        inputs (Tensor): Something that the networks take.

    Returns:
        dict: The config with ``in_channel``, ``out_channel`` and ``out_size``
        of each ``AlignConnector``.

    Raises:
        ValueError: If a loss with such a connector sees no teacher, or looks
            at what is not there.
    """
    distiller = without_switched_off(distiller)
    check_mapped_names(distiller)
    wanted = {
        name: cfg
        for name, cfg in (distiller.get('connectors') or {}).items()
        if isinstance(cfg, dict)
        and cfg.get('type') in INFERRED
        and not {'in_channel', 'out_channel'} <= set(cfg)
    }
    if not wanted:
        return distiller
    recorders = {
        key: distiller.get(key)
        for key in ('student_recorders', 'teacher_recorders')
    }
    probe = MODELS.build(dict(type='ConfigurableDistiller', **recorders))
    check_recorders(probe, student, teachers, inputs.shape[2:])
    each = (
        teachers.values()
        if isinstance(teachers, nn.ModuleDict)
        else [teachers]
    )
    with (
        attached(probe, student, teachers),
        evaluating(student, teachers),
        torch.no_grad(),
    ):
        with probe.student_recorders:
            student(inputs, mode='tensor')
        with probe.teacher_recorders:
            for teacher in each:
                teacher(inputs, mode='tensor')
        for loss, mapping in (
            distiller.get('loss_forward_mappings') or {}
        ).items():
            for record in mapping.values():
                cfg = wanted.get(record.get('connector'))
                if cfg is None or not record.get('from_student'):
                    continue
                of_teacher = [
                    other
                    for other in mapping.values()
                    if other.get('from_student') is False
                ]
                if not of_teacher:
                    raise ValueError(
                        f'connector "{record["connector"]}": its channels '
                        f'cannot be inferred, since {loss} has no record of '
                        'a teacher (from_student=False). Add it, or give the '
                        'connector in_channel and out_channel.'
                    )
                # Other records may be logits.
                maps = [r for r in of_teacher if _is_map(_recorded(probe, r))]
                source, target = (
                    _map_of(probe, each, record['connector'])
                    for each in (record, [*maps, *of_teacher][0])
                )
                cfg.setdefault('in_channel', source.shape[1])
                cfg.setdefault('out_channel', target.shape[1])
                height, width = target.shape[2:]
                cfg.setdefault(
                    'out_size', width if height == width else (height, width)
                )
    return distiller


def _is_map(found: Any) -> bool:
    return torch.is_tensor(found) and found.ndim == 4


def _map_of(probe: Any, record: Dict[str, Any], connector: str) -> Tensor:
    """A feature map that a recorder has."""
    found = _recorded(probe, record)
    if not _is_map(found):
        side = 'student' if record['from_student'] else 'teacher'
        told = (
            f'a tensor of shape {tuple(found.shape)}'
            if torch.is_tensor(found)
            else f'a {type(found).__name__}'
        )
        raise ValueError(
            f'connector "{connector}": its channels cannot be inferred from '
            f'{side}_recorders.{record["recorder"]}, which has {told} and no '
            'feature map, (N, C, H, W). Let it be dict(type="FeatureMap", '
            'source=...), or give the connector in_channel, out_channel and '
            'out_size.'
        )
    return found


def without_switched_off(distiller: Dict) -> Dict:
    """A distiller's config without the losses that are switched off by None.

    A recorder that is None takes the losses that look at it with it, and a
    loss the connectors that nothing else uses: ``student_recorders.feature=
    None`` of the base config leaves the feature maps alone.

    Args:
        distiller (dict): Config of a ``ConfigurableDistiller``.

    Returns:
        dict: The same where nothing is None.
    """
    distiller = deepcopy(distiller)
    recorders = {
        side: distiller.get(f'{side}_recorders') or {}
        for side in ('student', 'teacher')
    }
    losses = distiller.get('distill_losses') or {}
    mappings = distiller.get('loss_forward_mappings') or {}
    connectors = distiller.get('connectors') or {}
    before = len(losses)
    for name, mapping in [*mappings.items()]:
        sides = [
            (record['recorder'], record['from_student'])
            for record in (mapping or {}).values()
            if 'recorder' in record and 'from_student' in record
        ]
        if (
            mapping is None
            or losses.get(name, mapping) is None
            or any(
                recorders['student' if is_student else 'teacher'].get(r, r)
                is None
                for r, is_student in sides
            )
        ):
            mappings.pop(name)
            losses.pop(name, None)
    for part in (*recorders.values(), losses):
        for name in [name for name, cfg in part.items() if cfg is None]:
            part.pop(name)
    if len(losses) < before:
        for name in {*connectors} - _connectors_of(mappings):
            connectors.pop(name)
    return distiller


def _connectors_of(mappings: Dict) -> Set[str]:
    """Names of the connectors that losses use."""
    return {
        record['connector']
        for mapping in mappings.values()
        for record in (mapping or {}).values()
        if isinstance(record, dict) and record.get('connector')
    }


def _recorded(distiller: nn.Module, record: Dict) -> Tensor:
    keys = ('recorder', 'from_student', 'record_idx', 'data_idx')
    return distiller.get_record(
        **{key: record[key] for key in keys if key in record}
    )
