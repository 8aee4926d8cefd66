# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from typing import Dict

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ..utils import attached, check_recorders, evaluating

# Connectors whose channels are filled in where a config leaves them out.
INFERRED = ('AlignConnector', 'mmrazor.AlignConnector')


def infer_connectors(
    distiller: Dict, student: nn.Module, teachers: nn.Module, inputs: Tensor
) -> Dict:
    """Fill in the channels that a distiller's connectors leave out.

    The student's record that goes through a connector is brought to the form
    of the teacher's record in the same loss.

    Args:
        distiller (dict): Config of a ``ConfigurableDistiller``.
        student (nn.Module): The student.
        teachers (nn.Module): What the teachers' recorders listen to.
        inputs (Tensor): Something that the networks take.

    Returns:
        dict: The config with ``in_channel``, ``out_channel`` and ``out_size``
        of each ``AlignConnector``.

    Raises:
        ValueError: If a loss with such a connector sees no teacher.
    """
    distiller = deepcopy(distiller)
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
    check_recorders(probe.student_recorders, student)
    check_recorders(probe.teacher_recorders, teachers)
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
                cfg.setdefault('out_size', target.shape[-1])
    return distiller


def _recorded(distiller: nn.Module, record: Dict) -> Tensor:
    keys = ('recorder', 'from_student', 'record_idx', 'data_idx')
    return distiller.get_record(
        **{key: record[key] for key in keys if key in record}
    )
