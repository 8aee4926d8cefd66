# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks of a run and how they were trained, in words."""

import copy
from pathlib import Path
from typing import Any, List, Optional, Tuple

from mmengine.config import Config

from ...datasets import BankFolder
from ...models.synthesizers.objective import PRIORS_WITHOUT_BN
from ...models.utils.refitting import FITTED
from ...utils import read_object
from ...utils.config_parts import is_text, part_name
from ...utils.imports import class_of_lent
from ...utils.public import public_name
from ...utils.scalars import read_scalars


def network_name(cfg: Any) -> str:
    """A network in a few words."""
    if not isinstance(cfg, dict):
        return type(cfg).__name__
    if is_text(cfg.get('cfg_path')):
        path = cfg['cfg_path']
        return path if '::' in path else Path(path).name
    if isinstance(cfg.get('network'), dict):  # that was pruned
        return f'{network_name(cfg["network"])}, with fewer channels'
    if cfg.get('factory'):
        return class_of_lent(str(cfg['factory'])).rpartition(':')[2]
    backbone = cfg.get('backbone')
    if not isinstance(backbone, dict):
        return part_name(cfg)
    simple = [
        f'{key}={backbone[key]}'
        for key in ('depth', 'arch', 'model_name', 'base_channels')
        if key in backbone
    ]
    return f'{part_name(backbone)} ({", ".join(simple)})'.replace(' ()', '')


def student_of(cfg: Config) -> Any:
    return cfg.model.get('architecture') or cfg.model


def teachers_of(cfg: Config) -> List[Tuple[str, str]]:
    """Each teacher's network, and where its weights are from."""
    model = cfg.model
    given = model.get('teachers')
    if isinstance(given, dict):
        pairs = [
            (each.get('build_cfg'), each.get('ckpt_path'))
            for each in given.values()
            if isinstance(each, dict)
        ]
    else:
        pairs = [(model.get('teacher'), model.get('teacher_ckpt'))]
    return [
        (network_name(network), weights_told(path))
        for network, path in pairs
        if network is not None
    ]


def weights_told(path: Any) -> str:
    """Where a teacher's weights are from, in words."""
    if not is_text(path):
        return 'weights `none`'
    is_copy, name = _copy_of(Path(path), 'teacher')
    if is_copy and name is None:
        return 'given in memory'
    return f'weights `{name or public_name(path)}`'


def teacher_lines(teachers: List[Tuple[str, str]]) -> List[str]:
    return [
        f'- Teacher: {network}, {weights}' for network, weights in teachers
    ]


def as_it_ran(cfg: Config, work_dir: Path) -> Config:
    """The config of a run with what it did where the config says otherwise.

    For a teacher without BN layers, images were optimised for other terms,
    and ``RefitHook`` may have left a student as it was.

    Args:
        cfg (Config): Of the run; stays as it is.
        work_dir (Path): With its log. Without one, the config counts.
    """
    hooks = cfg.get('custom_hooks') or ()
    fits = [hook for hook in hooks if part_name(hook) == 'RefitHook']
    if fits and not Path(work_dir, FITTED).is_file():
        cfg = copy.deepcopy(cfg)
        cfg.custom_hooks = [hook for hook in hooks if hook not in fits]
    logged = {tag.partition('/')[2] for tag in read_scalars(work_dir)}
    hook = (cfg.get('default_hooks') or {}).get('synthesis') or {}
    losses = (hook.get('synthesizer') or {}).get('losses') or {}
    replaced = [
        name
        for name, loss in losses.items()
        if part_name(loss).endswith('BNStatisticsLoss') and name not in logged
    ]
    # Without a log of others nothing is known.
    if not (replaced and logged & {*losses, *PRIORS_WITHOUT_BN}):
        return cfg
    taken = [name for name in PRIORS_WITHOUT_BN if name in logged]
    cfg = copy.deepcopy(cfg)
    cfg.default_hooks.synthesis.synthesizer.losses = {
        **{name: PRIORS_WITHOUT_BN[name] for name in taken},
        **{name: losses[name] for name in losses if name not in replaced},
    }
    return cfg


def method_of(cfg: Config) -> List[str]:
    """How the network was trained, a line each."""
    model = cfg.model
    lines = [f'- Algorithm: `{part_name(model)}`']
    hook = (cfg.get('default_hooks') or {}).get('synthesis') or {}
    losses = (hook.get('synthesizer') or {}).get('losses') or {}
    terms = [
        f'`{part_name(loss)}` (weight {loss.get("loss_weight", "by default")})'
        for loss in losses.values()
        if isinstance(loss, dict) and loss.get('loss_weight') != 0
    ]
    if terms:
        lines.append(f'- Losses of the synthetic images: {", ".join(terms)}')
    distiller = model.get('distiller') or {}
    terms = [
        f'`{part_name(loss)}`'
        for loss in (distiller.get('distill_losses') or {}).values()
        if isinstance(loss, dict) and loss.get('loss_weight') != 0
    ]
    if terms:
        learnt = ', '.join(dict.fromkeys(terms))
        lines.append(f'- Distillation losses: {learnt}')
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if is_text(data.get('init_bank')) and BankFolder.exists(data['init_bank']):
        lines.append(
            '- The image bank of the run started from another one, '
            f'`{Path(data["init_bank"]).name}`'
        )
    if is_text(model.get('student_ckpt')):
        path = Path(model['student_ckpt'])
        is_copy, start = _copy_of(path, 'weights')
        if not is_copy:
            start = f'the weights in `{public_name(model["student_ckpt"])}`'
        if start:
            lines.append(f'- The student started from {start}')
    lines += [
        f'- The network started from the weights in `{public_name(path)}`'
        for path in _pretrained(student_of(cfg))
    ]
    if is_text(cfg.get('load_from')) and not cfg.get('resume'):
        path = public_name(cfg['load_from'])
        lines.append(f'- The run started from the weights in `{path}`')
    hooks = {part_name(hook) for hook in cfg.get('custom_hooks') or ()}
    if 'TeacherBlocksHook' in hooks:
        lines.append(
            '- The student started from copies of blocks of its teacher'
        )
    if 'RefitHook' in hooks:
        lines.append(
            '- Before training, layers that had lost inputs by pruning were '
            'fitted to the teacher'
        )
    return lines


def _pretrained(network: Any) -> List[str]:
    """Files that parts of a network are started from by ``init_cfg``."""
    if isinstance(network, (list, tuple)):
        return [path for each in network for path in _pretrained(each)]
    if not isinstance(network, dict):
        return []
    found = [path for each in network.values() for path in _pretrained(each)]
    if network.get('type') == 'Pretrained':
        found.append(network.get('checkpoint'))
    return [path for path in dict.fromkeys(found) if is_text(path)]


def _copy_of(path: Path, key: str) -> Tuple[bool, Optional[str]]:
    """Whether weights are a copy by ``distill()``, and what it notes of it.

    Args:
        path (Path): Of the weights.
        key (str): Of the note.

    Returns:
        tuple[bool, str | None]: The note is empty if there is none, and None
        if it says that there was no file.
    """
    if path.parent.name != 'networks':
        return False, ''
    record = path.parents[1] / 'distill.json'
    if not record.exists():
        return path.stem in ('student', 'teacher'), ''
    start = read_object(record).get('start')
    note = start.get(key, '') if isinstance(start, dict) else ''
    return True, note if note is None or is_text(note) else ''
