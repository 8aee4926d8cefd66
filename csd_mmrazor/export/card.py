# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What an exported network is, for those who get it: a model card.

The front matter is the ``model-index`` of the Hugging Face Hub.
"""

import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import yaml
from mmengine.config import Config

from ..datasets import BankFolder
from ..utils.scalars import scan_scalars
from ..version import __version__

# Data sets whose images nobody took.
_SYNTHETIC = ('ImageBank', 'DummyImages')
_METRIC = 'accuracy/top1'
_MARK = '<!-- written by csd_mmrazor for {} -->'
_REVEALS = (
    'Synthetic images are optimised until the teacher recognises them, so '
    'they can reveal what it learnt of its training data: the look of a '
    'class, colours, and where a class has few images or one person, features '
    'of these. So can the weights of a network trained on them. If the '
    'training data was confidential, treat both as you treat the teacher.'
)


class Accuracy(NamedTuple):
    """What a network was validated on, and with which result."""

    top1: float  # in percent
    data_type: str
    data_name: str
    split: Optional[str]
    chosen: bool  # whether its epoch was chosen on the same images


def accuracy_of(
    cfg: Config, checkpoint: Path, epoch: Optional[int]
) -> Optional[Accuracy]:
    """The accuracy that a run logged for one of its checkpoints.

    Args:
        cfg (Config): Of the run.
        checkpoint (Path): In its work dir.
        epoch (int, optional): Of the checkpoint.

    Returns:
        Accuracy | None: None if that epoch was not validated.
    """
    loader = cfg.get('val_dataloader')
    if epoch is None or not isinstance(loader, dict):
        return None
    scalars, _ = scan_scalars(checkpoint.parent)
    top1 = scalars.get(_METRIC, {}).get(epoch)
    if top1 is None:
        return None
    data = loader.get('dataset') or {}
    kind = _name(data)
    places = (data.get('data_root'), data.get('data_prefix'))
    named = next((Path(p).name for p in places if _is_text(p)), '')
    split = data.get('split')
    if split is None and 'test_mode' in data:
        split = 'test' if data['test_mode'] else 'train'
    return Accuracy(
        round(top1, 2),
        re.sub(r'[^a-z0-9_-]', '-', kind.lower()) or 'images',
        f'{kind} ({named})' if named else kind,
        split if _is_text(split) else None,
        checkpoint.name.startswith('best_'),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _name(part: Any) -> str:
    """What a part of a config is, without its scope."""
    kind = part.get('type') if isinstance(part, dict) else None
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def real_images(cfg: Config) -> List[str]:
    """What real images a run was set to train on.

    Args:
        cfg (Config): Of the run.

    Returns:
        list[str]: None of them for a run on synthetic ones alone.
    """
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    # Such as one that repeats another.
    while isinstance(data.get('dataset'), dict):
        data = data['dataset']
    if not data:
        return []
    kind = _name(data)
    if kind not in _SYNTHETIC:
        places = ('data_root', 'data_prefix', 'split')
        told = [str(data[key]) for key in places if _is_text(data.get(key))]
        return [' '.join([f'those of {kind}', *told])]
    start = data.get('init_bank')
    if start and not BankFolder.exists(start):
        return [f'the pictures in {start}, from which the bank was started']
    return []


def _network(cfg: Any) -> str:
    """A network in a few words."""
    if not isinstance(cfg, dict):
        return type(cfg).__name__
    if _is_text(cfg.get('cfg_path')):
        return cfg['cfg_path']
    if isinstance(cfg.get('network'), dict):  # that was pruned
        return f'{_network(cfg["network"])}, pruned'
    if cfg.get('factory'):
        return str(cfg['factory']).rpartition(':')[2]
    backbone = cfg.get('backbone')
    if not isinstance(backbone, dict):
        return _name(cfg)
    simple = [
        f'{key}={backbone[key]}'
        for key in ('depth', 'arch', 'model_name', 'base_channels')
        if key in backbone
    ]
    return f'{_name(backbone)} ({", ".join(simple)})'.replace(' ()', '')


def _teachers(cfg: Config) -> List[Tuple[str, str]]:
    """Network and file of each teacher."""
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
        (_network(network), Path(path).name if _is_text(path) else 'none')
        for network, path in pairs
        if network is not None
    ]


def _method(cfg: Config) -> List[str]:
    """How the network was trained, a line each."""
    model = cfg.model
    lines = [f'- Algorithm: `{_name(model)}`']
    hook = (cfg.get('default_hooks') or {}).get('synthesis') or {}
    losses = (hook.get('synthesizer') or {}).get('losses') or {}
    terms = [
        f'`{_name(loss)}` (weight {loss.get("loss_weight", "of its own")})'
        for loss in losses.values()
        if isinstance(loss, dict) and loss.get('loss_weight') != 0
    ]
    if terms:
        lines.append(f'- Images were optimised for {", ".join(terms)}')
    distiller = model.get('distiller') or {}
    terms = [
        f'`{_name(loss)}`'
        for loss in (distiller.get('distill_losses') or {}).values()
        if isinstance(loss, dict) and loss.get('loss_weight') != 0
    ]
    if terms:
        lines.append(f'- It learnt from its teacher by {", ".join(terms)}')
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if _is_text(data.get('init_bank')) and BankFolder.exists(
        data['init_bank']
    ):
        lines.append(
            f'- Its image bank started from that in `{data["init_bank"]}`'
        )
    if _is_text(model.get('student_ckpt')):
        lines.append(
            f'- It started from the weights in '
            f'`{Path(model["student_ckpt"]).name}`'
        )
    return lines


def model_card(
    cfg: Config,
    weights: Path,
    description: Dict[str, Any],
    accuracy: Optional[Accuracy] = None,
    teacher_license: Optional[str] = None,
    with_safetensors: bool = True,
) -> str:
    """The card of an exported network, Markdown with YAML before it.

    Args:
        cfg (Config): Of the run.
        weights (Path): The file of the weights.
        description (dict): What is in the JSON file beside it.
        accuracy (Accuracy, optional): Defaults to None, not validated.
        teacher_license (str, optional): What the teacher may be used under.
            Defaults to None, not known.
        with_safetensors (bool): Whether there is such a file as well.
            Defaults to True.
    """
    name = weights.stem
    teachers = _teachers(cfg)
    used = real_images(cfg)
    front: Dict[str, Any] = dict(
        library_name='pytorch',
        pipeline_tag='image-classification',
        tags=['image-classification', 'csd_mmrazor'],
    )
    if teachers:
        front['tags'] += ['knowledge-distillation']
    if not used:
        front['tags'] += ['data-free']
    if teacher_license is not None:
        front['license'] = teacher_license
    results: List[Dict[str, Any]] = []
    told = 'not validated'
    if accuracy is not None:
        split = dict(split=accuracy.split) if accuracy.split else {}
        results = [
            dict(
                task=dict(
                    type='image-classification', name='Image classification'
                ),
                dataset=dict(
                    type=accuracy.data_type, name=accuracy.data_name, **split
                ),
                metrics=[
                    dict(
                        type='accuracy',
                        name='top-1 (%)',
                        value=accuracy.top1,
                        verified=False,
                    )
                ],
            )
        ]
        of_split = f', split {accuracy.split}' if accuracy.split else ''
        chosen = (
            ' Its epoch was chosen on these same images, so the figure is '
            'optimistic.'
            if accuracy.chosen
            else ''
        )
        told = (
            f'top-1 {accuracy.top1:.2f} % on the real images of '
            f'{accuracy.data_name}{of_split}, which training did not '
            f'open.{chosen}'
        )
    front['model-index'] = [dict(name=name, results=results)]
    shape = description.get('image_shape')
    files = f'`{weights.name}` holds'
    if with_safetensors:
        files = f'`{name}.safetensors` and `{weights.name}` hold'
    lines = [
        '---',
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        '---',
        '',
        _MARK.format(weights.name),
        '',
        f'# {name}',
        '',
        f'A classifier, {_network(_student(cfg))}'
        + (f', for images of {tuple(shape)}' if shape else '')
        + (
            f', {description["num_classes"]} classes'
            if 'num_classes' in description
            else ''
        )
        + f'. Written by csd_mmrazor {__version__}.',
        '',
        '## Where it is from',
        '',
        *(
            f'- Teacher: {network}, weights `{file}`'
            for network, file in teachers
        ),
        *_method(cfg),
        f'- Images used: {"; ".join(used) or "none"}',
        f'- Accuracy: {told}',
    ]
    if teachers:
        lines += [
            '- Licence of the teacher: '
            + (
                teacher_license
                or 'not given. Look it up before you pass this network on.'
            ),
            '',
            '## What it may reveal',
            '',
            _REVEALS,
        ]
    lines += [
        '',
        '## Files',
        '',
        f'{files} the state dict; `{name}.json` has the shape of the images, '
        'mean and std (0..255), and the names of the classes in order.',
        '',
    ]
    return '\n'.join(lines)


def _student(cfg: Config) -> Any:
    return cfg.model.get('architecture') or cfg.model


def card_path(weights: Path) -> Path:
    """Where the card of a network goes.

    Args:
        weights (Path): The file of the weights.

    Returns:
        Path: README.md beside it, as the Hub wants it; NAME.md if there is
        one that is not this network's card.
    """
    path = weights.with_name('README.md')
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except FileNotFoundError:
        return path
    except OSError:
        return weights.with_suffix('.md')
    if _MARK.format(weights.name) in text:
        return path
    return weights.with_suffix('.md')
