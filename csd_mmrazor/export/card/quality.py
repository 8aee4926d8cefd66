# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is known of how good a network is."""

import re
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Union

from mmengine.config import Config

from ...utils.agreement import Agreement, agreement_at
from ...utils.config_parts import is_text, part_name
from ...utils.imports import LENT, class_of_lent
from ...utils.plain_config import parse_config
from ...utils.scalars import read_scalars, start_of_scalar
from ..source import was_chosen

_METRIC = 'accuracy/top1'


class MeasuredAccuracy(NamedTuple):
    """What a network was validated on, and with which result."""

    top1: float  # in percent
    data_type: str
    data_name: str
    split: Optional[str]
    chosen: bool  # whether its epoch was chosen on the same images


Quality = Union[MeasuredAccuracy, Agreement, None]


def quality_of(cfg: Config, checkpoint: Path, meta: Dict[str, Any]) -> Quality:
    """What a run logged of one of its checkpoints.

    Args:
        cfg (Config): Of the run.
        checkpoint (Path): In its work dir.
        meta (dict): Of the checkpoint.

    Returns:
        MeasuredAccuracy | Agreement | None: The first that there is.
    """
    epoch = meta.get('epoch')
    # Within an epoch, it is another student than at the end.
    if type(epoch) is not int or 'iter_' in checkpoint.name:
        return None
    scalars = read_scalars(checkpoint.parent)
    loader = cfg.get('val_dataloader')
    top1 = scalars.get(_METRIC, {}).get(epoch)
    if top1 is not None and isinstance(loader, dict):
        loader = _loader_of(checkpoint.parent, epoch) or loader
        data = loader.get('dataset') or {}
        return accuracy_on(data, top1, was_chosen(checkpoint))
    return agreement_at(scalars, epoch, meta.get('student') == 'mean')


def _loader_of(work_dir: Path, epoch: int) -> Optional[Dict[str, Any]]:
    """What the start validated on that logged the accuracy of an epoch.

    A later one may have been resumed with other images.
    """
    start = start_of_scalar(work_dir, _METRIC, epoch)
    if start is None:
        return None
    try:
        cfg = parse_config((start / 'config.py').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    loader = cfg.get('val_dataloader')
    is_known = isinstance(loader, dict) and isinstance(
        loader.get('dataset'), dict
    )
    return loader if is_known else None


def accuracy_on(
    data: Dict[str, Any], top1: float, chosen: bool = False
) -> MeasuredAccuracy:
    """An accuracy with what it was measured on.

    Args:
        data (dict): Config of the data set.
        top1 (float): In percent.
        chosen (bool): Whether these images chose the network. Defaults to
            False.
    """
    kind = part_name(data)
    places = (data.get('data_root'), data.get('data_prefix'))
    named = next((Path(p).name for p in places if is_text(p)), '')
    split = data.get('split')
    if split is None and 'test_mode' in data:
        split = 'test' if data['test_mode'] else 'train'
    name = f'{kind} ({named})' if named else kind
    if named and kind == 'FolderImages':
        name = f'folder {named}'
    if kind == 'LentImages' and is_text(data.get('dataset')):
        kind = 'images'  # of no data set that readers could find
        name, own = data['dataset'], class_of_lent(LENT + data['dataset'])
        name += '' if own.startswith(LENT) else f' ({own})'
    return MeasuredAccuracy(
        round(top1, 2),
        re.sub(r'[^a-z0-9_-]', '-', kind.lower()) or 'images',
        name,
        split if is_text(split) else None,
        chosen,
    )
