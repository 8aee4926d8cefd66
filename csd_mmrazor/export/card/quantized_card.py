# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import Any, Dict, Optional

from mmengine.config import Config

from ...datasets import BankFolder
from .figures import results_of, told_of
from .images_used import real_images, real_reveals
from .layout import card_text, data_type, intro_of, result_entry, tags_of
from .networks import (
    method_of,
    network_name,
    student_of,
    teacher_lines,
    teachers_of,
    weights_name,
)
from .quality import MeasuredAccuracy, Quality
from .reveals import REVEALS, TEACHER_REVEALS


def quantized_card(
    cfg: Config,
    out: Path,
    told: Dict[str, Any],
    origin: str,
    measured: Optional[MeasuredAccuracy] = None,
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
        measured (MeasuredAccuracy, optional): Of the file. Defaults to None,
            not measured.
        before (MeasuredAccuracy | Agreement, optional): Of the network that
            was quantized. Defaults to None, not known.
        teacher_license (str, optional): As of :func:`model_card`.
        bank (BankFolder, optional): As of :func:`real_images`.
    """
    network, teachers = student_of(cfg), teachers_of(cfg)
    trained, reveals = ['not known here'], [REVEALS]
    if origin == 'student':
        trained = real_images(cfg, bank)
        reveals += real_reveals(trained, bank)
        facts = [*teacher_lines(teachers), *method_of(cfg)]
    elif origin.startswith('teachers.'):
        given = cfg.model.teachers[origin.partition('.')[2]]
        network = given.get('build_cfg')
        path, reveals = given.get('ckpt_path'), [TEACHER_REVEALS]
        facts = [
            '- It is a teacher of data-free distillation, weights '
            f'`{weights_name(path)}`'
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
            'that it gave before, on images of the same kind: '
            f'{told["distil_steps"]} steps'
        )
    facts.append(
        f'- Images used: to train it, {"; ".join(trained) or "none"}; to '
        f'quantize it, {"; ".join(pictures) or "none that are real"}'
    )
    results = results_of(measured)
    same = 'It was not compared with the network that it was made of.'
    if told['agreement'] is not None:
        share = 100 * told['agreement']
        is_held_out = told.get('compared_are_held_out')
        kind = f'held-out {other}' if is_held_out else other
        if Path(source) == Path(compared_on):
            which = 'held-out' if is_held_out else 'other'
            kind = f'{which} images of the same kind'
        same = (
            f'It decides as before on {share:.1f} % of '
            f'{told["compared_images"]} {kind}{_of_which(compared_real)}.'
        )
        results = results or [
            result_entry(
                dict(
                    type=data_type(compared_real, told['compared_images']),
                    name=f'{other}{_of_which(compared_real)}',
                ),
                ('agreement', 'decides as before it was quantized (%)', share),
            )
        ]
    facts.append(
        f'- Accuracy: {told_of(measured)} {same}'
        + (
            f' Before it was quantized: {told_of(before, bank)}'
            if before
            else ''
        )
    )
    return card_text(
        out,
        intro_of(network_name(network), told),
        dict(library_name='onnx'),
        [
            *tags_of(origin == 'student', not [*trained, *pictures]),
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


def _images_of(source: str, real: int) -> str:
    """What a network was calibrated on, in words."""
    if BankFolder.exists(source):
        return f'{"" if real else "synthetic "}images of an image bank'
    if Path(source).is_dir():
        return f'pictures in `{Path(source).resolve().name}`'
    return 'Gaussian noise'


def _of_which(real: int) -> str:
    return f', of which {real} are real pictures' if real else ''
