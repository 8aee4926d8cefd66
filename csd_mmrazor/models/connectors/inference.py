# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from typing import Dict, Set

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
    check_recorders(probe, student, teachers)
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
        for loss, mapping in distiller['loss_forward_mappings'].items():
            for record in mapping.values():
                cfg = wanted.get(record.get('connector'))
                if cfg is None or not record['from_student']:
                    continue
                of_teacher = [
                    other
                    for other in mapping.values()
                    if not other['from_student']
                ]
                if not of_teacher:
                    raise ValueError(
                        f'connector "{record["connector"]}": its channels '
                        f'cannot be inferred, since {loss} has no record of '
                        'a teacher (from_student=False). Add it, or give the '
                        'connector in_channel and out_channel.'
                    )
                source = _recorded(probe, record)
                target = _recorded(probe, of_teacher[0])
                cfg.setdefault('in_channel', source.shape[1])
                cfg.setdefault('out_channel', target.shape[1])
                height, width = target.shape[2:]
                cfg.setdefault(
                    'out_size', width if height == width else (height, width)
                )
    return distiller


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
