# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The student out of a run, as a plain classifier of mmpretrain."""

import io
from pathlib import Path
from typing import List, NamedTuple, Tuple, Union

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from mmrazor.registry import MODELS

from ..models.utils import load_weights
from ..utils import write_file
from ..version import __version__
from .student_config import class_names, config_text, plain_config


class ExportedStudent(NamedTuple):
    """What an export made."""

    model: nn.Module  # in eval mode, on the CPU
    checkpoint: Path
    config: Path
    needs_plugin: bool  # whether mmpretrain alone cannot build it


def export_student(
    cfg: Config, checkpoint: Union[str, Path], out: Union[str, Path]
) -> ExportedStudent:
    """Write the student as a checkpoint, with a config of its own beside it.

    The checkpoint holds nothing but its weights and the classes' names; the
    config (same name, .py) its network, the preprocessing, and the test data
    if mmpretrain has such a data set.

    Args:
        cfg (Config): The run's config, or any whose ``model.architecture`` is
            a classifier.
        checkpoint (str | Path): The run's checkpoint.
        out (str | Path): Where to, a name with .pth.

    Raises:
        ValueError: If ``cfg`` is not the config of a distillation, ``out``
            has another suffix, or the checkpoint is of another network.
    """
    out = Path(out)
    if out.suffix != '.pth':
        raise ValueError(
            f'The student is written as OUT.pth, but got {out}: give it that '
            'suffix.'
        )
    plain, model = plain_student(cfg)
    load_weights(model, str(checkpoint), 'checkpoint')
    saved = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    meta = saved.get('meta', {})
    meta = {key: meta[key] for key in ('epoch', 'iter') if key in meta}
    classes = class_names(cfg)
    if classes:
        meta['dataset_meta'] = dict(classes=tuple(classes))
    buffer = io.BytesIO()
    torch.save(
        dict(
            meta=dict(meta, exported_by=f'csd_mmrazor {__version__}'),
            state_dict=model.state_dict(),
        ),
        buffer,
    )
    needs_plugin = any(
        type(module).__module__.split('.')[0] in ('mmrazor', 'csd_mmrazor')
        for module in model.modules()
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    config = out.with_suffix('.py')
    text = config_text(plain, needs_plugin, out)
    write_file(config, text.encode())
    write_file(out, buffer.getvalue())
    return ExportedStudent(model, out, config, needs_plugin)


def plain_student(cfg: Config) -> Tuple[Config, nn.Module]:
    """The student as it is exported, with new weights.

    Args:
        cfg (Config): Of the run.

    Returns:
        tuple[Config, nn.Module]: Its :func:`plain_config`, and the student
        in eval mode.
    """
    plain = plain_config(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return plain, MODELS.build(plain.model).eval()


def notes(exported: ExportedStudent) -> List[str]:
    """What to tell who exported a student."""
    size = exported.checkpoint.stat().st_size / 1e6
    lines = [
        f'The student is in {exported.checkpoint} ({size:.1f} MB), its config '
        f'in {exported.config}.'
    ]
    if exported.needs_plugin:
        lines.append(
            "Parts of it are MMRazor's: where it is loaded, mmrazor and "
            'csd_mmrazor have to be installed.'
        )
    else:
        lines.append('mmpretrain loads it without csd_mmrazor.')
    return lines
