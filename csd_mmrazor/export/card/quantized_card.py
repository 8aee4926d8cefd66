# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import Any, Dict, Optional

from mmengine.config import Config

from ...datasets import BankFolder
from ...utils.accuracy import SEEN
from .figures import results_of, told_of
from .images_used import (
    NOT_KNOWN,
    REVEALS,
    TEACHER_REVEALS,
    real_images,
    real_reveals,
)
from .layout import card_text, data_type, intro_of, result_entry, tags_of
from .networks import (
    method_of,
    network_name,
    student_of,
    teacher_lines,
    teachers_of,
    weights_told,
)
from .quality import MeasuredAccuracy, Quality
from .usage import run_by_onnx

# Share of images decided on as before below which a warning is given.
DOUBTFUL = 90
# What weakens an accuracy.
CALIBRATED = (
    'Some of the images that it was tested on had calibrated it, so on others '
    'it may be worse.'
)


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
    trained, reveals = [f'{NOT_KNOWN} here'], [REVEALS]
    if origin == 'student':
        trained = real_images(cfg, bank)
        reveals += real_reveals(trained, bank)
        facts = [*teacher_lines(teachers), *method_of(cfg)]
    elif origin.startswith('teachers.'):
        given = cfg.model.teachers[origin.partition('.')[2]]
        network = given.get('build_cfg')
        path, reveals = given.get('ckpt_path'), [TEACHER_REVEALS]
        facts = [
            '- This network was a teacher in data-free distillation, '
            f'{weights_told(path)}'
        ]
    else:
        facts = [f'- Weights: `{Path(origin).name}`']
    source, number = told['calibrated_on'], told['calibration_images']
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
        pictures = [f'{real} real pictures in the image bank']
    if pictures:
        reveals.append(
            'The ranges of its activations were measured on real pictures.'
        )
    facts.append(
        f'- Quantized by ONNX Runtime: {told["bits"]}-bit weights with a '
        'scale for each output channel, 8-bit activations; '
        f'{told["file_bytes"] / 1000:.0f} kB instead of '
        f'{told["float_bytes"] / 1000:.0f} kB'
    )
    facts.append(f'- Calibrated on: {number} {on}{_of_which(real, number)}')
    if told['distil_steps']:
        facts.append(
            f'- Before that, trained for {told["distil_steps"]} steps with '
            'rounded weights to answer as the original network does, on '
            'images of the same kind'
        )
    facts.append(
        f'- Real images: in training, {"; ".join(trained) or "none"}; in '
        f'quantization, {"; ".join(pictures) or "none"}'
    )
    results = results_of(measured)
    same = 'It was not compared with the original network.'
    if told['agreement'] is not None:
        alike, count = told['agreement'], told['compared_images']
        of_which = _of_which(compared_real, count)
        is_held_out = told.get('compared_are_held_out')
        kind = f'held-out {other}' if is_held_out else other
        if Path(source) == Path(compared_on):
            which = 'held-out' if is_held_out else 'other'
            kind = f'{which} images of the same kind'
        same = (
            f'It gives the same class as before on {alike:.1f} % of '
            f'{count} {kind}{of_which}.'
        )
        if told.get('compared_trained_it'):
            same += f' {SEEN}'
        if alike < DOUBTFUL:
            same += (
                ' **That is little: expect it to be worse than the original '
                'network.**'
            )
        results = results or [
            result_entry(
                dict(
                    type=data_type(compared_real, count),
                    name=f'{other}{of_which}',
                ),
                ('agreement', 'same class as before quantization (%)', alike),
            )
        ]
    accuracy = f'{told_of(measured)} {same}'
    if told.get('tested_calibrated_it'):
        accuracy = f'{told_of(measured)} {CALIBRATED} {same}'
    if before:
        accuracy += f' Before quantization: {told_of(before, bank)}'
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
        accuracy=accuracy,
        facts=facts,
        has_teacher=bool(teachers),
        teacher_license=teacher_license,
        reveals=' '.join(reveals),
        files=(
            f'`{out.name}` takes any number of normalised images at a time; '
            f'`{out.stem}.json` contains their shape, mean and std (for '
            'pixels in 0..255), and what was measured.\n\n'
            + run_by_onnx(out.name, dict(told, inputs='normalised'))
        ).rstrip(),
    )


def _images_of(source: str, real: int) -> str:
    """What a network was calibrated on, in words."""
    if BankFolder.exists(source):
        return f'{"" if real else "synthetic "}images of an image bank'
    if Path(source).is_dir():
        return f'pictures in `{Path(source).resolve().name}`'
    return 'images of Gaussian noise'


def _of_which(real: int, number: int) -> str:
    if not real:
        return ''
    few = 'all of them' if real >= number else f'of which {real} are'
    return f', {few} real pictures'
