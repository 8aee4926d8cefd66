# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a network is, for those who get its files: a model card.

The front matter is the ``model-index`` of the Hugging Face Hub.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import yaml
from mmengine.config import Config

from ..datasets import BankError, BankFolder
from ..utils.accuracy import (
    FITS,
    RECOGNISED,
    error_of,
    estimate_accuracy,
    few_images,
)
from ..utils.scalars import read_scalars
from ..version import __version__

# Data sets whose images nobody took.
_SYNTHETIC = ('ImageBank', 'DummyImages')
_METRIC = 'accuracy/top1'
_MARK = '<!-- written by csd_mmrazor for {} -->'
# Of what the sets of images in ``FITS`` are.
_SETS = dict(
    held_out='images that were held out from its training',
    seen='images that it was trained on',
)
_REVEALS = (
    'Synthetic images are optimised until the teacher recognises them, so '
    'they can reveal what it learnt of its training data: the look of a '
    'class, colours, and where a class has few images or one person, features '
    'of these. So can the weights of a network trained on them. If the '
    'training data was confidential, treat both as you treat the teacher.'
)
_TEACHER_REVEALS = (
    'Its weights can reveal what it learnt of its training data: if that was '
    'confidential, treat this file as you treat the teacher.'
)


class Accuracy(NamedTuple):
    """What a network was validated on, and with which result."""

    top1: float  # in percent
    data_type: str
    data_name: str
    split: Optional[str]
    chosen: bool  # whether its epoch was chosen on the same images


class Agreement(NamedTuple):
    """What a network that was not validated has in common with its teacher."""

    top1: float  # images on which both decide alike, in percent
    # Images that the teacher takes for the class of their label, in percent.
    recognised: float
    images: str  # of the bank, a key of ``FITS``
    number: Optional[int] = None  # of images, if that is known


Quality = Union[Accuracy, Agreement, None]


def quality_of(cfg: Config, checkpoint: Path, meta: Dict[str, Any]) -> Quality:
    """What a run logged of one of its checkpoints.

    Args:
        cfg (Config): Of the run.
        checkpoint (Path): In its work dir.
        meta (dict): Of the checkpoint.

    Returns:
        Accuracy | Agreement | None: The first that there is.
    """
    epoch = meta.get('epoch')
    if type(epoch) is not int:
        return None
    scalars = read_scalars(checkpoint.parent)
    loader = cfg.get('val_dataloader')
    top1 = scalars.get(_METRIC, {}).get(epoch)
    if top1 is not None and isinstance(loader, dict):
        chosen = checkpoint.name.startswith('best_')
        return accuracy_on(loader.get('dataset') or {}, top1, chosen)
    group = 'agreement_mean' if meta.get('student') == 'mean' else 'agreement'
    for images in FITS:
        top1, recognised, number = (
            scalars.get(tag, {}).get(epoch, math.nan)
            for tag in (
                f'{group}/{images}_top1',
                f'agreement/{images}_recognised',
                f'agreement/{images}_images',
            )
        )
        if math.isfinite(top1) and math.isfinite(recognised):
            known = int(number) if 1 <= number < math.inf else None
            return Agreement(top1, recognised, images, known)
    return None


def accuracy_on(
    data: Dict[str, Any], top1: float, chosen: bool = False
) -> Accuracy:
    """An accuracy with what it was measured on.

    Args:
        data (dict): Config of the data set.
        top1 (float): In percent.
        chosen (bool): Whether these images chose the network. Defaults to
            False.
    """
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
        chosen,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _name(part: Any) -> str:
    """What a part of a config is, without its scope."""
    kind = part.get('type') if isinstance(part, dict) else None
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def _train_data(cfg: Config) -> Dict[str, Any]:
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    # Such as one that repeats another.
    while isinstance(data.get('dataset'), dict):
        data = data['dataset']
    return data


def training_bank(cfg: Config, work_dir: Path) -> Optional[BankFolder]:
    """The images that a run trained on, if they are there.

    Args:
        cfg (Config): Of the run.
        work_dir (Path): Of the run.
    """
    data = _train_data(cfg)
    if _name(data) != 'ImageBank':
        return None
    hook = (cfg.get('default_hooks') or {}).get('synthesis') or {}
    path = work_dir / hook.get('bank_dir', 'bank')
    try:
        return BankFolder(data.get('data_root') or path)
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
    kind = _name(data)
    if kind not in _SYNTHETIC:
        places = ('data_root', 'data_prefix', 'split')
        told = [
            Path(data[key]).name for key in places if _is_text(data.get(key))
        ]
        return [' '.join([f'those of {kind}', *told])]
    start = data.get('init_bank')
    if bank is None:
        is_folder = bool(start) and not BankFolder.exists(start)
    else:
        is_folder = bool(bank.pictures)
    named = ''
    if start and is_folder:
        named = f', from the folder `{Path(start).name}`'
    if not named:
        labelled = 'whose labels are of unknown origin'
    elif data.get('init_labels') == 'teacher':
        labelled = 'labelled by the teacher'
    else:
        labelled = 'labelled by their folders'
    if bank is not None and bank.real_images:
        return [f'{_share(bank)}{named}, {labelled}']
    if is_folder:
        since = '' if bank is None else ' and which it has dropped since'
        return [
            f'the pictures{named}, {labelled}, with which the bank was '
            f'started{since}'
        ]
    return []


def _share(bank: BankFolder) -> str:
    return (
        f'{bank.real_images} real pictures among the {len(bank)} images of '
        'the bank'
    )


def _network(cfg: Any) -> str:
    """A network in a few words."""
    if not isinstance(cfg, dict):
        return type(cfg).__name__
    if _is_text(cfg.get('cfg_path')):
        path = cfg['cfg_path']
        return path if '::' in path else Path(path).name
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
        (_network(network), _file(path))
        for network, path in pairs
        if network is not None
    ]


def _file(path: Any) -> str:
    """The name of a teacher's weights."""
    if not _is_text(path):
        return 'none'
    return _copy_of(Path(path), 'teacher')[1] or Path(path).name


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
        learnt = ', '.join(dict.fromkeys(terms))
        lines.append(f'- It learnt from its teacher by {learnt}')
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if _is_text(data.get('init_bank')) and BankFolder.exists(
        data['init_bank']
    ):
        lines.append(
            '- Its image bank started from another one, '
            f'`{Path(data["init_bank"]).name}`'
        )
    if _is_text(model.get('student_ckpt')):
        path = Path(model['student_ckpt'])
        is_copy, start = _copy_of(path, 'weights')
        if not is_copy:
            start = f'the weights in `{path.name}`'
        if start:
            lines.append(f'- It started from {start}')
    return lines


def _copy_of(path: Path, key: str) -> Tuple[bool, str]:
    """Whether weights are a copy by ``distill()``, and what it notes of it.

    Args:
        path (Path): Of the weights.
        key (str): Of the note.

    Returns:
        tuple[bool, str]: The note is empty if there is none.
    """
    if path.parent.name != 'networks':
        return False, ''
    try:
        text = (path.parents[1] / 'distill.json').read_text(encoding='utf-8')
        note = json.loads(text)['start'][key]
    except FileNotFoundError:
        return path.stem in ('student', 'teacher'), ''
    except (OSError, ValueError, KeyError, TypeError):
        return True, ''
    return True, note if _is_text(note) else ''


def model_card(
    cfg: Config,
    weights: Path,
    description: Dict[str, Any],
    quality: Quality = None,
    teacher_license: Optional[str] = None,
    with_safetensors: bool = True,
    bank: Optional[BankFolder] = None,
) -> str:
    """The card of an exported network, Markdown with YAML before it.

    Args:
        cfg (Config): Of the run.
        weights (Path): The file of the weights.
        description (dict): What is in the JSON file beside it.
        quality (Accuracy | Agreement, optional): Defaults to None, not known.
        teacher_license (str, optional): What the teacher may be used under.
            Defaults to None, not known.
        with_safetensors (bool): Whether there is such a file as well.
            Defaults to True.
        bank (BankFolder, optional): As of :func:`real_images`.
    """
    name, used = weights.stem, real_images(cfg, bank)
    teachers = _teachers(cfg)
    files = f'`{weights.name}` holds'
    if with_safetensors:
        files = f'`{name}.safetensors` and `{weights.name}` hold'
    return _card(
        weights,
        _about(_network(_student(cfg)), description),
        dict(library_name='pytorch'),
        _tags(bool(teachers), not used),
        results=_results(quality, bank),
        facts=[
            *_named(teachers),
            *_method(cfg),
            f'- Images used: {"; ".join(used) or "none"}',
            f'- Accuracy: {_told(quality, bank)}',
        ],
        has_teacher=bool(teachers),
        teacher_license=teacher_license,
        reveals=' '.join([_REVEALS, *_real_reveals(used, bank)]),
        files=f'{files} the state dict; `{name}.json` has the shape of the '
        'images, mean and std (0..255)'
        + (
            ', and the names of the classes in order.'
            if description.get('classes')
            else '.'
        ),
    )


def quantized_card(
    cfg: Config,
    out: Path,
    told: Dict[str, Any],
    origin: str,
    measured: Optional[Accuracy] = None,
    before: Quality = None,
    teacher_license: Optional[str] = None,
    bank: Optional[BankFolder] = None,
) -> str:
    """The card of a quantized network.

    Args:
        cfg (Config): Of the run.
        out (Path): The ONNX file.
        told (dict): What is in the JSON file beside it.
        origin (str): 'student' of the run; the name of one of its teachers,
            as 'teachers.NAME'; or else a file with weights of unknown origin.
        measured (Accuracy, optional): Of the file. Defaults to None, not
            measured.
        before (Accuracy | Agreement, optional): Of the network that was
            quantized. Defaults to None, not known.
        teacher_license (str, optional): As of :func:`model_card`.
        bank (BankFolder, optional): As of :func:`real_images`.
    """
    network, teachers = _student(cfg), _teachers(cfg)
    trained, reveals = ['not known here'], [_REVEALS]
    if origin == 'student':
        trained = real_images(cfg, bank)
        reveals += _real_reveals(trained, bank)
        facts = [*_named(teachers), *_method(cfg)]
    elif origin.startswith('teachers.'):
        given = cfg.model.teachers[origin.partition('.')[2]]
        network = given.get('build_cfg')
        path, reveals = given.get('ckpt_path'), [_TEACHER_REVEALS]
        facts = [
            '- It is a teacher of data-free distillation, weights '
            f'`{_file(path)}`'
        ]
    else:
        facts = [f'- Weights: `{Path(origin).name}`']
    source = told['calibrated_on']
    compared_on = told.get('compared_on', source)
    real, compared_real = (
        told.get(f'{purpose}_real', 0)
        for purpose in ('calibration', 'compared')
    )
    on = _images_of(source, real)
    other = _images_of(compared_on, compared_real)
    pictures = []
    if Path(source).is_dir() and not BankFolder.exists(source):
        pictures = [on]
    elif real:
        pictures = [f'{real} real pictures of the image bank']
    if pictures:
        reveals.append(
            'It was quantized by real pictures as well, which the ranges of '
            'its activations are from.'
        )
    facts.append(
        f'- Quantized: weights of {told["bits"]} bits with a scale for each '
        'output channel, activations of 8, by ONNX Runtime; '
        f'{told["file_bytes"] / 1000:.0f} kB, before '
        f'{told["float_bytes"] / 1000:.0f}'
    )
    facts.append(
        f'- Calibrated on: {on}, {told["calibration_images"]} of them'
        + _of_which(real)
    )
    if told['distil_steps']:
        facts.append(
            '- Before that, trained with rounded weights to give the answers '
            f'that it gave before, on such images: {told["distil_steps"]} '
            'steps'
        )
    facts.append(
        f'- Images used: to train it, {"; ".join(trained) or "none"}; to '
        f'quantize it, {"; ".join(pictures) or "none that are real"}'
    )
    results = _results(measured)
    same = 'It was not compared with the network that it was made of.'
    if told['agreement'] is not None:
        share = 100 * told['agreement']
        kind = f'{"held-out " if told.get("compared_are_held_out") else ""}'
        is_same = Path(source) == Path(compared_on)
        kind += 'other images of that kind' if is_same else other
        same = (
            f'It decides as before on {share:.1f} % of '
            f'{told["compared_images"]} {kind}{_of_which(compared_real)}.'
        )
        results = results or [
            _result(
                dict(
                    type=_data_type(compared_real, told['compared_images']),
                    name=f'{other}{_of_which(compared_real)}',
                ),
                ('agreement', 'decides as before it was quantized (%)', share),
            )
        ]
    facts.append(
        f'- Accuracy: {_told(measured)} {same}'
        + (
            f' Before it was quantized: {_told(before, bank)}'
            if before
            else ''
        )
    )
    return _card(
        out,
        _about(_network(network), told),
        dict(library_name='onnx'),
        [
            *_tags(origin == 'student', not [*trained, *pictures]),
            'onnx',
            'quantized',
        ],
        results=results,
        facts=facts,
        has_teacher=bool(teachers),
        teacher_license=teacher_license,
        reveals=' '.join(reveals),
        files=f'`{out.name}` takes normalised images, any number at a time; '
        f'`{out.stem}.json` has their shape, mean and std (0..255), and what '
        'was measured.',
    )


def _tags(is_distilled: bool, is_data_free: bool) -> List[str]:
    return [
        'image-classification',
        'csd_mmrazor',
        *(['knowledge-distillation'] if is_distilled else []),
        *(['data-free'] if is_data_free else []),
    ]


def _about(network: str, description: Dict[str, Any]) -> str:
    shape = description.get('image_shape')
    return (
        f'A classifier, {network}'
        + (f', for images of {tuple(shape)}' if shape else '')
        + (
            f', {description["num_classes"]} classes'
            if description.get('num_classes')
            else ''
        )
        + f'. Written by csd_mmrazor {__version__}.'
    )


def _named(teachers: List[Tuple[str, str]]) -> List[str]:
    return [
        f'- Teacher: {network}, weights `{file}`' for network, file in teachers
    ]


def _result(
    dataset: Dict[str, Any], *metrics: Tuple[str, str, float]
) -> Dict[str, Any]:
    """One of the ``model-index``; metrics are type, name and value."""
    return dict(
        task=dict(type='image-classification', name='Image classification'),
        dataset=dataset,
        metrics=[
            dict(type=kind, name=name, value=round(value, 2), verified=False)
            for kind, name, value in metrics
        ],
    )


def _images_of(source: str, real: int) -> str:
    """What a network was calibrated on, in words."""
    if BankFolder.exists(source):
        return f'{"" if real else "synthetic "}images of an image bank'
    if Path(source).is_dir():
        return f'pictures in `{Path(source).resolve().name}`'
    return 'Gaussian noise'


def _of_which(real: int) -> str:
    return f', of which {real} are real pictures' if real else ''


def _data_type(real: int, count: int) -> str:
    """Of a data set of ``count`` images, of which some may be real."""
    if not real:
        return 'synthetic'
    return 'images' if real >= count else 'synthetic-and-real'


def _compared_with_teacher(
    quality: Agreement, bank: Optional[BankFolder]
) -> str:
    kind = '' if bank and bank.real_images else 'synthetic '
    return f'{kind}{_SETS[quality.images]}'


def _real_reveals(used: List[str], bank: Optional[BankFolder]) -> List[str]:
    """What a network may reveal that was trained on real images."""
    lines = []
    if used:
        lines.append(
            'It was trained on real images too, see above, and its weights '
            'can reveal features of these.'
        )
    if bank and bank.real_images:
        lines.append(
            f'The image bank holds {bank.real_images} of them as they are: '
            'whoever gets it gets these.'
        )
    return lines


def _results(
    quality: Quality, bank: Optional[BankFolder] = None
) -> List[Dict[str, Any]]:
    if isinstance(quality, Accuracy):
        data = dict(type=quality.data_type, name=quality.data_name)
        if quality.split:
            data.update(split=quality.split)
        return [_result(data, ('accuracy', 'top-1 (%)', quality.top1))]
    if isinstance(quality, Agreement):
        fit = FITS[quality.images]
        metrics = [('agreement', 'decides as its teacher (%)', quality.top1)]
        if quality.recognised >= RECOGNISED:
            estimate = estimate_accuracy(fit, quality.top1)
            metrics += [
                (
                    # No accuracy: neither measured, nor of all images.
                    'agreement_based_estimate',
                    "top-1, % of the teacher's: estimated, off by "
                    f'{fit.mean_error:.1f} points in the mean',
                    estimate.top1,
                )
            ]
        real, count = (bank.real_images, len(bank)) if bank else (0, 0)
        name = _compared_with_teacher(quality, bank)
        if bank and real:
            name += f'; {_share(bank)}'
        data = dict(type=_data_type(real, count), name=name)
        return [_result(data, *metrics)]
    return []


def _told(quality: Quality, bank: Optional[BankFolder] = None) -> str:
    """What is known of an accuracy, in words."""
    if isinstance(quality, Accuracy):
        split = f', split {quality.split}' if quality.split else ''
        return (
            f'top-1 {quality.top1:.2f} % on the real images of '
            f'{quality.data_name}{split}.'
            + (
                ' Its epoch was chosen on these same images, so the figure '
                'is optimistic.'
                if quality.chosen
                else ''
            )
        )
    if not isinstance(quality, Agreement):
        return 'not measured.'
    text = (
        f'not measured. It decides like its teacher on {quality.top1:.1f} % '
        f'of {quality.number or ""}'.rstrip()
        + f' {_compared_with_teacher(quality, bank)}'
    )
    if bank and bank.real_images:
        text += f' (there are {_share(bank)})'
    if quality.recognised < RECOGNISED:
        return (
            f'{text}, of which the teacher takes only '
            f'{quality.recognised:.1f} % for the class of their label: too '
            'few to estimate anything.'
        )
    fit = FITS[quality.images]
    number = quality.number
    estimate = estimate_accuracy(fit, quality.top1, images=number)
    more = (
        'How many images that were is not known, so the interval leaves out '
        'what comes of their number.'
        if number is None
        else few_images(number)
    )
    if bank and bank.real_images:
        more = (
            'Its error was measured where all images are synthetic, which '
            f'these are not. {more}'
        )
    return (
        f'{text}, by which it is estimated at {estimate.top1:.1f} % of the '
        f"teacher's accuracy, {estimate.low:.1f} to {estimate.high:.1f}. "
        f'{error_of(fit)} {more}'.rstrip()
    )


def _card(
    weights: Path,
    about: str,
    front: Dict[str, Any],
    tags: List[str],
    results: List[Dict[str, Any]],
    facts: List[str],
    has_teacher: bool,
    teacher_license: Optional[str],
    reveals: str,
    files: str,
) -> str:
    """Markdown with YAML before it."""
    front = dict(front, pipeline_tag='image-classification', tags=tags)
    if teacher_license is not None:
        front['license'] = teacher_license
    front['model-index'] = [dict(name=weights.stem, results=results)]
    lines = [
        '---',
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        '---',
        '',
        _MARK.format(weights.name),
        '',
        f'# {weights.stem}',
        '',
        about,
        '',
        '## Where it is from',
        '',
        *facts,
    ]
    if has_teacher:
        lines += [
            '- Licence of the teacher: '
            + (
                teacher_license
                or 'not given. Look it up before you pass this network on.'
            ),
            '',
            '## What it may reveal',
            '',
            reveals,
        ]
    return '\n'.join([*lines, '', '## Files', '', files, ''])


def _student(cfg: Config) -> Any:
    return cfg.model.get('architecture') or cfg.model


def check_license(name: str, value: Any) -> None:
    """Check what a teacher may be used under.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set; None is not given.

    Raises:
        ValueError: If it is no text, or an empty one.
    """
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise ValueError(
            f"{name} should be a text such as 'apache-2.0', but got {value!r}."
        )


def card_path(weights: Path) -> Path:
    """Where the card of a network goes.

    Args:
        weights (Path): The file of the weights.

    Returns:
        Path: README.md beside it, as the Hub wants it; NAME.md, or else
        NAME_card.md, if that is not this network's card.
    """
    names = 'README.md', f'{weights.stem}.md', f'{weights.stem}_card.md'
    paths = [weights.with_name(name) for name in names]
    mark = _MARK.format(weights.name)
    return next((p for p in paths if _is_free(p, mark)), paths[-1])


def _is_free(path: Path, mark: str) -> bool:
    """Whether a card can be written, over none but that of its network."""
    try:
        return mark in path.read_text(encoding='utf-8', errors='replace')
    except FileNotFoundError:
        return True
    except OSError:
        return False
