# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which real images a network was trained on, and what it may reveal."""

from pathlib import Path
from typing import Any, Dict, List, Optional

from mmengine.config import Config

from ...datasets import BankError, BankFolder
from ...utils.config_parts import is_text, part_name

# Data sets whose images nobody took.
_SYNTHETIC = ('ImageBank', 'DummyImages')
NOT_KNOWN = 'not known'
REVEALS = (
    'Synthetic images are optimised until the teacher recognises them. They '
    'can therefore reveal what it learnt about its training data: what a '
    'class looks like, its colours, and, if a class has few images or shows '
    'one person, details of these. So can the weights of a network trained on '
    'them. If the training data was confidential, treat both as you treat the '
    'teacher.'
)
TEACHER_REVEALS = (
    'The weights can reveal what the network learnt about its training data. '
    'If that was confidential, treat this file as you treat the teacher.'
)


def training_bank(cfg: Config, work_dir: Path) -> Optional[BankFolder]:
    """The images that a run trained on, if they are there.

    Args:
        cfg (Config): Of the run.
        work_dir (Path): Of the run.
    """
    data = _train_data(cfg)
    if part_name(data) != 'ImageBank':
        return None
    hook = (cfg.get('default_hooks') or {}).get('synthesis') or {}
    path = work_dir / hook.get('bank_dir', 'bank')
    return _bank_at(data.get('data_root') or path)


def _bank_at(path: Any) -> Optional[BankFolder]:
    try:
        return BankFolder(path) if path else None
    except (BankError, OSError):
        return None


def real_images(cfg: Config, bank: Optional[BankFolder] = None) -> List[str]:
    """What real images a run trained on.

    Args:
        cfg (Config): Of the run.
        bank (BankFolder, optional): Its :func:`training_bank`. Defaults to
            None, not there: then the config alone is asked.

    Returns:
        list[str]: None of them for a run on synthetic ones alone.
    """
    data = _train_data(cfg)
    if not data:
        return []
    kind = part_name(data)
    if kind not in _SYNTHETIC:
        places = ('data_root', 'data_prefix', 'split')
        told = [
            Path(data[key]).name for key in places if is_text(data.get(key))
        ]
        return [' '.join([f'those of {kind}', *told])]
    start = data.get('init_bank')
    if bank is None:
        if data.get('data_root'):
            name = Path(data['data_root']).name
            return [f'{NOT_KNOWN}, since the image bank `{name}` is not there']
        first = _bank_at(start)
        if first is not None and (first.pictures or first.real_images):
            return [f'those of the image bank `{Path(start).name}`']
        is_folder = bool(start) and not BankFolder.exists(start)
    else:
        is_folder = bool(bank.pictures)
    named = ''
    if start and is_folder:
        named = f', from the folder `{Path(start).name}`'
    if not named:
        labelled = 'with labels of unknown origin'
    elif data.get('init_labels') == 'teacher':
        labelled = 'labelled by the teacher'
    else:
        labelled = 'labelled by their folders'
    if bank is not None and bank.real_images:
        return [f'{bank.share_of_real}{named}, {labelled}']
    if is_folder:
        since = '' if bank is None else ', which has dropped them since'
        return [
            f'the first pictures of the image bank{since}{named}, {labelled}'
        ]
    return []


def real_reveals(used: List[str], bank: Optional[BankFolder]) -> List[str]:
    """What a network may reveal that was trained on real images."""
    lines = []
    if used and not used[0].startswith(NOT_KNOWN):
        lines.append(
            'This network was also trained on real images, see above, and '
            'its weights can reveal details of these.'
        )
    if bank and bank.real_images:
        lines.append(
            f'The image bank contains {bank.real_images} of them unchanged: '
            'whoever gets the bank gets these pictures.'
        )
    return lines


def _train_data(cfg: Config) -> Dict[str, Any]:
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    # Such as one that repeats another.
    while isinstance(data.get('dataset'), dict):
        data = data['dataset']
    return data
