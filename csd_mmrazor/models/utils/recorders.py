# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn as nn
from mmrazor.models.architectures.connectors import OFDTeacherConnector
from mmrazor.models.distillers import ConfigurableDistiller, OFDDistiller
from mmrazor.models.losses import CRDLoss
from mmrazor.models.task_modules import (
    ModuleInputsRecorder,
    ModuleOutputsRecorder,
    RecorderManager,
)
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder
from mmrazor.registry import TASK_UTILS
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ...utils.suggestions import did_you_mean, some_of
from .cast_weights import autocast_dtype
from .features import as_map, submodule
from .outputs import full_precision


@TASK_UTILS.register_module()
class FeatureMapRecorder(ModuleOutputsRecorder):
    """Records a module's last feature map.

    As MMRazor's ``ModuleOutputs``, but whatever mmpretrain's backbones
    return, a tuple, maps, tokens or vectors, becomes one map, so that
    ``dict(type='FeatureMap', source='backbone')`` fits any of them. See
    :func:`as_map`.
    """

    # Height and width of the images, if :func:`check_recorders` was told.
    image_size: Optional[Sequence[int]] = None

    def get_record_data(self, *args, **kwargs) -> Tensor:
        """The map, (N, C, H, W)."""
        return as_map(
            super().get_record_data(*args, **kwargs), self.image_size
        )


@TASK_UTILS.register_module()
class LabelsRecorder(BaseRecorder):
    """Records the labels of a batch, for losses that need them.

    ``gt_labels=dict(type='Labels')`` serves any student; that of MMRazor's
    configs, ``dict(type='ModuleInputs', source='head.loss_module')`` with
    ``data_idx=1``, serves one with mmpretrain's heads. See
    :func:`record_labels`.
    """

    def __init__(self) -> None:
        super().__init__(source='')

    def prepare_from_model(self, model: Optional[nn.Module] = None) -> None:
        """It listens to no module."""


def record_labels(
    manager: RecorderManager,
    student: nn.Module,
    logits: Tensor,
    labels: Tensor,
) -> None:
    """Let a student's recorders have the labels of a batch.

    Classifiers of mmpretrain see them in their ``head.loss_module``, which a
    pass in mode 'tensor' does not reach: it is called if a recorder listens.

    Args:
        manager (RecorderManager): The student's recorders, recording.
        student (nn.Module): The student.
        logits (Tensor): Of the student, (N, K).
        labels (Tensor): Classes, (N, ).
    """
    loss_modules = set()
    for recorder in manager.recorders.values():
        if isinstance(recorder, LabelsRecorder):
            recorder.data_buffer.append(labels)
        head, found, _ = f'{recorder.source}.'.partition('loss_module.')
        if found:
            loss_modules.add(head + found.rstrip('.'))
    for name in sorted(loss_modules):
        submodule(student, name)(logits, labels, avg_factor=len(labels))


def check_recorders(
    distiller: ConfigurableDistiller,
    student: nn.Module,
    teachers: nn.Module,
    image_size: Optional[Sequence[int]] = None,
) -> None:
    """Check that networks have what a distiller's recorders listen to.

    Those of feature maps are told the size of the images.

    Args:
        distiller (ConfigurableDistiller): With the recorders.
        student (nn.Module): What the student's recorders listen to.
        teachers (nn.Module): What the teachers' recorders listen to.
        image_size (sequence[int], optional): Height and width of the images.
            Defaults to None, they are square.

    Raises:
        ValueError: If a recorder names a module that the model does not have;
            lists the names it has.
    """
    for side, model in (('student', student), ('teacher', teachers)):
        manager = getattr(distiller, f'{side}_recorders')
        for name, recorder in manager.recorders.items():
            if isinstance(recorder, FeatureMapRecorder):
                recorder.image_size = image_size
            if isinstance(
                recorder, (ModuleInputsRecorder, ModuleOutputsRecorder)
            ):
                try:
                    submodule(model, recorder.source)
                except ValueError as error:
                    raise ValueError(
                        f'{side}_recorders.{name}.source={recorder.source!r} '
                        f'of the distiller: {error}'
                    ) from None


def check_mapped_names(distiller: Dict[str, Any]) -> None:
    """Check that losses look at recorders and connectors that there are.

    Args:
        distiller (dict): Config of a ``ConfigurableDistiller``.

    Raises:
        ValueError: If they do not.
    """
    for loss, mapping in (
        distiller.get('loss_forward_mappings') or {}
    ).items():
        for argument, record in mapping.items():
            if not isinstance(record, dict):
                raise ValueError(
                    f'model.distiller.loss_forward_mappings.{loss}.{argument} '
                    'should be a dict(recorder=..., from_student=...), but '
                    f'got {record!r}.'
                )
            side = 'student' if record.get('from_student') else 'teacher'
            for key, section in (
                ('recorder', f'{side}_recorders'),
                ('connector', 'connectors'),
            ):
                name, known = record.get(key), distiller.get(section) or {}
                if name is not None and name not in known:
                    raise ValueError(
                        'model.distiller.loss_forward_mappings.'
                        f'{loss}.{argument}.{key}={name!r} is not in '
                        f'{section}, which has {some_of([*known])}.'
                        f'{did_you_mean(name, known)}'
                    )


def check_mappings(distiller: ConfigurableDistiller) -> None:
    """Check that a distiller gives its losses all they need.

    MMRazor finds out in the first step.

    Raises:
        ValueError: If a loss has no mapping, or one that lacks an argument or
            says what nobody reads; or if a part needs what is not there.
    """
    mappings = distiller.loss_forward_mappings
    for name, connector in distiller.connectors.items():
        is_prepared = isinstance(distiller, OFDDistiller)
        if isinstance(connector, OFDTeacherConnector) and not is_prepared:
            raise ValueError(
                f'connectors.{name} (OFDTeacherConnector) of the distiller '
                "has its margins from another type of that: 'OFDDistiller'."
            )
    for name, loss in distiller.distill_losses.items():
        if isinstance(loss, CRDLoss):
            raise ValueError(
                f'distill_losses.{name} (CRDLoss) of the distiller keeps '
                'features of all images of a data set, by their index, which '
                'an image bank that grows does not have: use it in '
                'SingleTeacherDistill of MMRazor, on a data set.'
            )
    known = [*signature(distiller.get_record).parameters]
    for name, mapping in mappings.items():
        for argument, record in mapping.items():
            for key in record:
                if key not in known:
                    raise ValueError(
                        f'loss_forward_mappings.{name}.{argument} of the '
                        f'distiller has {key}.{did_you_mean(key, known)} '
                        f'There are {", ".join(known)}.'
                    )
    for name, loss in distiller.distill_losses.items():
        arguments = signature(loss.forward).parameters.values()
        needed = [
            argument.name
            for argument in arguments
            if argument.default is Parameter.empty
            and argument.kind is Parameter.POSITIONAL_OR_KEYWORD
        ]
        given = mappings.get(name, {})
        missing = [argument for argument in needed if argument not in given]
        if missing:
            raise ValueError(
                f'{name} ({type(loss).__name__}) of the distiller takes '
                f'{", ".join(needed)}, but loss_forward_mappings.{name} lacks '
                f'{", ".join(missing)}: add it, such as {missing[0]}=dict('
                'recorder=..., from_student=...). There are the recorders '
                f'{[*distiller.student_recorders.recorders]} of the student '
                f'and {[*distiller.teacher_recorders.recorders]} of the '
                'teacher.'
            )


def check_losses_are_used(model: nn.Module) -> None:
    """Check that each loss of the distillers in a model is computed.

    MMRazor goes by ``loss_forward_mappings``, and leaves out what they lack.

    Args:
        model (nn.Module): Any algorithm.

    Raises:
        ValueError: If a loss has no mapping.
    """
    own = ConfigurableDistiller.compute_distill_losses
    for name, part in model.named_modules():
        if getattr(type(part), 'compute_distill_losses', None) is not own:
            continue
        for loss, module in part.distill_losses.items():
            if loss not in part.loss_forward_mappings:
                raise ValueError(
                    f'{name}.distill_losses.{loss} ({type(module).__name__}) '
                    'would not be computed: say what it looks at in '
                    f'{name}.loss_forward_mappings.{loss}, or leave it out.'
                )


class KeptMaps(NamedTuple):
    """What losses look at of a teacher besides its logits, to be kept."""

    manager: Any  # a ``RecorderManager`` that listens to the teacher
    shapes: Dict[str, Tuple[int, ...]]  # of an image's maps, by recorder

    @property
    def size(self) -> int:
        """Numbers of an image."""
        return sum(map(math.prod, self.shapes.values()))

    def __str__(self) -> str:
        """What they are of, which is kept with them."""
        return ', '.join(
            f'{self.manager.recorders[name].source} '
            + 'x'.join(map(str, shape))
            for name, shape in self.shapes.items()
        )

    def recorded(self) -> Tensor:
        """Those of the last pass in whose context the manager was.

        Returns:
            Tensor: (N, L), float16, one map after the other.
        """
        maps = [
            self.manager.get_recorder(name).get_record_data()
            for name in self.shapes
        ]
        return torch.cat([to_float16(m.detach().flatten(1)) for m in maps], 1)

    def record(self, maps: Tensor) -> None:
        """Let the recorders have maps without a pass of the teacher.

        Args:
            maps (Tensor): (N, L), as of :meth:`recorded`.
        """
        parts = maps.split([*map(math.prod, self.shapes.values())], 1)
        for (name, shape), part in zip(self.shapes.items(), parts):
            recorder = self.manager.get_recorder(name)
            with recorder:
                recorder.data_buffer.append(
                    full_precision(part).view(-1, *shape)
                )


def to_float16(values: Tensor) -> Tensor:
    """In float16, the largest as large as it can hold."""
    largest = torch.finfo(torch.float16).max
    return values.clamp(-largest, largest).half()


def records_of_logits(
    distiller: ConfigurableDistiller, logits: Tensor, with_maps: bool = False
) -> Tuple[Dict[str, Tuple[int, int]], KeptMaps]:
    """What a distiller takes of a teacher, if that can be kept.

    Args:
        distiller (ConfigurableDistiller): Its recorders have recorded one
            pass of the teacher.
        logits (Tensor): Of that pass, (N, K).
        with_maps (bool): Whether it may be more than the logits. Defaults to
            False.

    Returns:
        tuple[dict[str, tuple[int, int]], KeptMaps]: For each of the teacher's
        recorders whose logits losses look at, how many passes it has to have
        recorded, and how many items of each, or 0 where the logits are no
        item of something; for :func:`record_logits`. Then what else of it
        they look at.

    Raises:
        ValueError: If a loss looks at what is not kept, none looks at the
            logits, or, ``with_maps``, none at anything else; says which and
            what to do.
    """
    recorders = distiller.teacher_recorders.recorders
    found: Dict[str, Tuple[int, int]] = {}
    shapes: Dict[str, Tuple[int, ...]] = {}
    for loss, mapping in distiller.loss_forward_mappings.items():
        for record in mapping.values():
            if record['from_student']:
                continue
            name = record['recorder']
            index, item = record.get('record_idx', 0), record.get('data_idx')
            data = recorders[name].get_record_data(index, item)
            if (
                not torch.is_tensor(data)
                or data.shape != logits.shape
                or not torch.equal(data, logits)
            ):
                if (
                    with_maps
                    and torch.is_tensor(data)
                    and data.is_floating_point()
                    and data.shape[:1] == logits.shape[:1]
                    and (index, item) == (0, None)
                ):
                    shapes[name] = tuple(data.shape[1:])
                    continue
                advice = '' if with_maps else 'target_maps=True of the hook, '
                raise ValueError(
                    "The targets of the image bank are the teacher's logits, "
                    f'but {loss} of model.distiller looks at something else '
                    f'of it, by the recorder "{name}" '
                    f'({type(recorders[name]).__name__} of '
                    f'{recorders[name].source}). Turn that loss off, by '
                    f'model.distiller.distill_losses.{loss}=None, {advice}or '
                    'keep no targets (keep_targets of the synthesizer, '
                    'target_views of SynthesisHook).'
                )
            passes, items = found.get(name, (1, 0))
            items = items if item is None else max(items, item + 1)
            found[name] = max(passes, index + 1), items
    if not found:
        raise ValueError(
            'The targets of the image bank would do nothing, since no loss of '
            'model.distiller looks at the teacher: give it one, such as '
            'KLDivergence, or keep no targets (keep_targets of the '
            'synthesizer, target_views of SynthesisHook).'
        )
    if with_maps and not shapes:
        raise ValueError(
            'target_maps=True of SynthesisHook would keep nothing, since no '
            'loss of model.distiller looks at more of the teacher than its '
            'logits: leave it out, or add a loss of feature maps, such as '
            'RelativeL2Loss.'
        )
    return found, KeptMaps(distiller.teacher_recorders, shapes)


def record_logits(
    distiller: ConfigurableDistiller,
    records: Dict[str, Tuple[int, int]],
    logits: Tensor,
) -> None:
    """Let a teacher's recorders have logits without a pass of the teacher.

    Args:
        distiller (ConfigurableDistiller): Its teacher's recorders are given
            them.
        records (dict[str, tuple[int, int]]): What :func:`records_of_logits`
            returned.
        logits (Tensor): (N, K).
    """
    for name, (passes, items) in records.items():
        recorder = distiller.teacher_recorders.recorders[name]
        with recorder:
            record = [logits] * items if items else logits
            recorder.data_buffer.extend([record] * passes)


def distill_losses(
    distiller: ConfigurableDistiller, mappings: Dict
) -> Dict[str, Tensor]:
    """Losses of a distiller, in float32 under mixed precision as well.

    Autocast leaves softmax and divergences in bfloat16 on a CPU, whose
    rounding, times the temperature squared, is more than the divergence.

    Args:
        distiller (ConfigurableDistiller): Its recorders have recorded.
        mappings (dict): Those of its ``loss_forward_mappings`` that count.

    Returns:
        dict[str, Tensor]: By name, scalars.
    """
    losses = {}
    for name, mapping in mappings.items():
        # Connectors run in mixed precision like the rest of the networks.
        records = {
            key: full_precision(_record_of(distiller, name, record))
            for key, record in mapping.items()
        }
        tensors = [v for v in tree_leaves(records) if torch.is_tensor(v)]
        device = tensors[0].device.type if tensors else 'cpu'
        with torch.autocast(device, enabled=False):
            losses[name] = distiller.distill_losses[name](**records)
    return losses


def _record_of(
    distiller: ConfigurableDistiller, loss: str, record: Dict[str, Any]
) -> Any:
    """What a loss looks at."""
    side = 'student' if record['from_student'] else 'teacher'
    recorders = getattr(distiller, f'{side}_recorders').recorders
    recorder = recorders[record['recorder']]
    if not recorder.data_buffer:
        raise ValueError(
            f'{loss} looks at {recorder.source or "the network itself"} of '
            f'the {side}, which did not run in this pass. Name a module that '
            'runs in each pass in train mode, and that none leaves out by '
            'chance (stochastic depth), in '
            f'{side}_recorders.{record["recorder"]}.'
        )
    if record.get('connector'):
        # Some networks run in mixed precision by themselves. Where all do, a
        # connector takes maps as they are.
        tensors = filter(torch.is_tensor, tree_leaves(recorder.data_buffer))
        if all(autocast_dtype(t.device.type) is None for t in tensors):
            recorder.data_buffer[:] = full_precision(recorder.data_buffer)
    return distiller.get_record(**record)


@contextmanager
def attached(
    distiller: ConfigurableDistiller, student: nn.Module, teachers: nn.Module
) -> Iterator[None]:
    """Let a distiller listen to networks as long as the context is open.

    MMRazor's recorders leave their hooks on the networks for good, which is
    right for a distiller that lives as long as they do. Here the hooks go,
    and so do the recorded tensors with their graph.

    Args:
        distiller (ConfigurableDistiller): Its recorders are attached.
        student (nn.Module): What the student's recorders listen to.
        teachers (nn.Module): What the teachers' recorders listen to.
    """
    modules = [*student.modules(), *teachers.modules()]
    before = [set(module._forward_hooks) for module in modules]
    managers = (
        (distiller.student_recorders, student),
        (distiller.teacher_recorders, teachers),
    )
    try:
        for manager, model in managers:
            manager.initialize(model)
        yield
    finally:
        for module, kept in zip(modules, before):
            for key in set(module._forward_hooks) - kept:
                del module._forward_hooks[key]
        forget_records(distiller)


def forget_records(distiller: ConfigurableDistiller) -> None:
    """Let go of what a distiller's recorders have recorded, and its graph."""
    for manager in (distiller.student_recorders, distiller.teacher_recorders):
        for recorder in manager.recorders.values():
            recorder.reset_data_buffer()
