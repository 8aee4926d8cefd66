# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Make a network of a run smaller and faster by integers, without data."""

import argparse
import copy
import json
import math
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor

from ..datasets import BankFolder
from ..datasets.shared_pictures import pictures_of, share_among
from ..export import (
    BITS,
    CALIBRATED,
    DOUBTFUL,
    NonFiniteLossError,
    Pictures,
    Quantized,
    accuracy_on,
    as_it_ran,
    balanced_order,
    calibration_images,
    card_meanwhile,
    card_path,
    check_exportable,
    check_license,
    check_quantization,
    decisions,
    distil_rounded,
    find_checkpoint,
    is_quantized,
    kept_of,
    list_networks,
    normalisation_of,
    quality_of,
    quantize_onnx,
    quantized_card,
    stratified_order,
    training_bank,
    was_chosen,
)
from ..models.preprocessors import normalize_images
from ..models.utils import logits_of
from ..utils import check_integer, load_file, write_file
from ..utils.accuracy import SEEN
from ..utils.alone import check_alone
from ..utils.files import temporary_name
from ..utils.numbers import MOST
from ..version import __version__
from .errors import concise_errors
from .parser import Parser
from .processes import speak_utf8
from .run_source import (
    Run,
    add_run_arguments,
    has_key,
    is_teacher,
    teacher_of,
)

# Images that calibrate a network, that it is compared by at most, and that a
# step of distillation is of.
_IMAGES, _COMPARED, _BATCH = 512, 2000, 128
# Numbers in the images that it is compared by, at most.
_MOST_NUMBERS = 2**26
_NOISE = 'noise'
# Images of it, at most.
_NOISES = 2**20
# Images by which distillation is judged, none of which it is trained on.
_PROBED = 512
# Learning rates of distillation: the second is for networks that become worse
# by the first.
_RATES = 3e-3, 3e-4
_WRITTEN_BY = f'csd_mmrazor {__version__}'


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = Parser(description='Quantize a network by synthetic images')
    add_run_arguments(
        parser,
        'student, teacher (or teachers.NAME)',
        _IMAGES,
        'how many calibrate it, or all there are if those are fewer',
    )
    parser.set_defaults(images=None)  # fewer than are asked for are refused
    parser.add_argument(
        '--to',
        required=True,
        choices=[*BITS],
        help='bits of the weights; activations get 8',
    )
    parser.add_argument(
        '--out',
        metavar='OUT.onnx',
        help='default: quantized/MODEL_int8.onnx in the work dir',
    )
    parser.add_argument(
        '--calibrate-on',
        metavar='FOLDER',
        help='another image bank, or a folder of images, <class>/*.png; '
        f'"{_NOISE}" takes Gaussian noise, for comparison',
    )
    parser.add_argument(
        '--distil-steps',
        type=int,
        default=0,
        help='first train the network for so many steps to compute with '
        'rounded weights what it did before. Default: 0',
    )
    parser.add_argument(
        '--test',
        action='store_true',
        help="test it on the config's validation images",
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--teacher-license',
        metavar='ID',
        help='what the teacher may be used under, such as apache-2.0, for the '
        "model card. Default: what the run's ExportStudentHook has",
    )
    return parser.parse_args(argv)


def quantize(args: argparse.Namespace) -> Dict[str, Any]:
    """Quantize the network that the arguments name.

    Returns:
        dict: What ``OUT.json`` says.
    """
    check_integer('--images', 1 if args.images is None else args.images)
    check_integer('--distil-steps', args.distil_steps, 0, MOST['iters'])
    check_integer('--seed', args.seed, 0, 2**32 - 1)
    check_license('--teacher-license', args.teacher_license)
    if args.calibrate_on == '':
        raise ValueError("--calibrate-on should be a folder, but got ''.")
    bits = BITS[args.to]
    check_quantization(bits)
    run = Run(args.source, args.config)
    out = _out(args, run)
    loader = _validation(run.cfg) if args.test else None
    preprocessor, (model,) = run.networks(args.model)
    images = _Images(args, run, preprocessor)
    calibrating = images.calibrating()
    _check_finite(model, calibrating, args.model)
    quantized, steps = model, args.distil_steps
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, out.name)
        if steps:
            check_exportable(model, images.shape)
            found = _distilled(model, images, steps, bits)
            quantized, steps = (model, 0) if found is None else (found, steps)
        written = quantize_onnx(
            quantized,
            calibrating,
            images.comparing(),
            made,
            bits,
            model if steps else None,
        )
        content = made.read_bytes()
        tested = {}
        if loader is not None:
            tested = _tested(loader, preprocessor, model, made)
            tested['tested_calibrated_it'] = _have_calibrated(loader, images)
    told = dict(
        quantized_by=_WRITTEN_BY,
        model=args.model,
        to=args.to,
        calibrated_on=images.source,
        compared_on=images.compared_on,
        compared_are_held_out=images.are_held_out,
        compared_trained_it=_has_trained(args.model, images, run),
        **images.real(),
        distil_steps=steps,
        seed=args.seed,
        inputs='normalised',
        image_shape=[*images.shape],
        num_classes=images.num_classes,
        **normalisation_of(preprocessor, images.shape[0]),
        **written._asdict(),
        **tested,
    )
    # Where these are on this machine is nobody else's business.
    named = {
        key: os.path.basename(os.path.realpath(value))
        for key, value in told.items()
        if key in ('model', 'calibrated_on', 'compared_on')
        and os.path.exists(value)
    }
    text = json.dumps({**told, **named}, indent=2, ensure_ascii=False)
    card, beside = card_path(out, not args.out), out.with_suffix('.json')
    kept = kept_of(card)
    if out.exists():
        print(f'{out} of an earlier call is replaced.')
    out.parent.mkdir(parents=True, exist_ok=True)
    # On a full disk, all stays as it was.
    new = out.with_name(temporary_name(out.name))
    write_file(new, content)
    try:
        # Killed between them, nothing tells of a file that it is not of.
        if card.exists():
            write_file(card, card_meanwhile(card, out).encode())
        beside.unlink(missing_ok=True)
        os.replace(new, out)
    finally:
        new.unlink(missing_ok=True)
    write_file(beside, f'{text}\n'.encode())
    write_file(card, (_card(args, run, out, told) + kept).encode())
    list_networks(out.parent)
    print('\n'.join(_notes(out, written, told)))
    print(f'Model card: {card}')
    return told


def _distilled(
    model: nn.Module, images: '_Images', steps: int, bits: int
) -> Optional[nn.Module]:
    """A network that rounding costs less, if training makes one."""
    probe = images.comparing()[:_PROBED]
    for rate in _RATES:
        print(f'Distillation: {steps} steps, learning rate {rate:g}')
        draw = partial(next, images.batches())
        try:
            found = distil_rounded(
                model, draw, steps, bits, rate, probe if len(probe) else None
            )
        except NonFiniteLossError as error:
            if rate == _RATES[-1]:
                raise
            print(f'{error}'.partition(':')[0])
            continue
        print(
            'KL divergence by rounding: '
            f'{found.before:.4g} before, {found.after:.4g} afterwards'
        )
        if found.after < found.before:
            return found.model
    print(
        'WARNING: the network became worse by distillation, so it is '
        'quantized as it was. Give it more steps.'
    )
    return None


class _Images:
    """Images by which a network is calibrated, trained and compared.

    None of those that it is compared by is among the others. They are of the
    run's bank, wherever there is one: what it holds out from training, or
    else a sample that is set aside.
    """

    def __init__(
        self, args: argparse.Namespace, run: Run, preprocessor: nn.Module
    ) -> None:
        bank = str(run.bank)
        self.source = args.calibrate_on
        if self.source is None:
            self.source = bank
        self.compared_on = bank if BankFolder.exists(bank) else self.source
        self.shape, *classes = run.about_images()
        self.num_classes, self.preprocessor = classes[0], preprocessor
        opened = {  # two names of a folder are the same one
            os.path.realpath(each): _noise(self.shape, args.seed)
            if each == _NOISE
            else calibration_images(each, self.shape, *classes)
            for each in (self.source, self.compared_on)
        }
        for each in opened.values():
            if each.about:
                print(each.about, flush=True)
        self._free, self._others = (
            opened[os.path.realpath(each)]
            for each in (self.source, self.compared_on)
        )
        free = np.flatnonzero(~self._free.held_out)
        if args.images is not None and args.images > len(free):
            lacking = self._free.held_out.sum()
            raise ValueError(
                f'--images is {args.images}, but {self.source} has {len(free)}'
                + (f', and {lacking} that are held out.' if lacking else '.')
            )
        others = np.flatnonzero(self._others.held_out)
        self.are_held_out = len(others) > 0
        if not self.are_held_out:
            others = np.arange(len(self._others.labels))
        number = min(_COMPARED, _MOST_NUMBERS // math.prod(self.shape))
        number = min(number, len(others))
        left = len(free)
        # Whether images of the one are missing from the other.
        is_split = self._free is self._others and not self.are_held_out
        if is_split:
            number = min(number, left // 5)
            left -= number
        self.number = args.images or min(_IMAGES, left)
        if is_split:
            number = min(number, len(free) - self.number)
        order = stratified_order(self._others.labels[others], args.seed)
        self.compared = others[order[:number]]
        if is_split:
            free = np.setdiff1d(free, self.compared)
        self.free = free[balanced_order(self._free.labels[free], args.seed)]

    def real(self) -> Dict[str, int]:
        """How many calibrate it, and compare it, that are not synthetic."""
        used = self.free[: self.number]
        return dict(
            calibration_real=int(self._free.real[used].sum()),
            compared_real=int(self._others.real[self.compared].sum()),
        )

    def calibrating(self) -> Tensor:
        """Inputs, (N, C, H, W)."""
        return self._inputs(self._free, self.free[: self.number])

    def comparing(self) -> Tensor:
        """Inputs, (M, C, H, W), M from 0 on."""
        return self._inputs(self._others, self.compared)

    def batches(self) -> Iterator[Tensor]:
        """Inputs, (N, C, H, W), without end."""
        start, size = 0, min(_BATCH, len(self.free))
        while True:
            places = self.free.take(range(start, start + size), mode='wrap')
            yield self._inputs(self._free, places)
            start = (start + size) % len(self.free)

    def _inputs(self, pictures: Pictures, places: np.ndarray) -> Tensor:
        if not len(places):
            return torch.empty(0, *self.shape)
        images = pictures.take(places)
        if images.is_floating_point():  # noise
            return images
        return normalize_images(images, self.preprocessor)


def _has_trained(model: str, images: _Images, run: Run) -> bool:
    """Whether a network was trained on the images that it is compared by."""
    is_own = images.compared_on == str(run.bank)
    # Files have weights of the student's network; those in the work dir are
    # of this run. A name may look like one from within it.
    is_student = model == 'student' or (
        Path(model).is_file()
        and run.work_dir.resolve() in Path(model).resolve().parents
    )
    return is_student and is_own and not images.are_held_out


def _noise(shape: Sequence[int], seed: int) -> Pictures:
    """In place of images, normalised."""

    def take(places: np.ndarray) -> Tensor:
        generator = torch.Generator().manual_seed(seed + int(places[0]))
        return torch.randn(len(places), *shape, generator=generator)

    nothing = np.zeros(_NOISES, np.int64)
    return Pictures(nothing, nothing != 0, nothing != 0, take)


def _check_finite(model: nn.Module, inputs: Tensor, name: str) -> None:
    """Check that a network answers, before it is quantized.

    Raises:
        ValueError: If its logits are NaN or Inf.
    """
    with torch.no_grad():
        is_finite = all(
            logits_of(model(part, mode='tensor')).isfinite().all()
            for part in inputs.split(_BATCH)
        )
    if not is_finite:
        raise ValueError(
            f'--model {name} computes NaN or Inf on the images that would '
            'calibrate it: its training diverged. Take an earlier checkpoint.'
        )


def _out(args: argparse.Namespace, run: Run) -> Path:
    """Where the file is to be, which is free or of an earlier call."""
    stem = args.model.rpartition('teachers.')[2]
    if Path(args.model).is_file():
        stem = Path(args.model).stem
    name = f'{stem}_{args.to}.onnx'
    out = run.work_dir / 'quantized' / name
    if args.out is not None:
        out = Path(args.out)
    if out.suffix != '.onnx':
        raise ValueError(
            f'--out {out}: it becomes an ONNX file, so give it the suffix '
            '.onnx.'
        )
    beside = out.with_suffix('.json')
    ours = {out: is_quantized, beside: lambda p: has_key(p, 'quantized_by')}
    for each, is_ours in ours.items():
        if each.exists() and not is_ours(each):
            raise ValueError(
                f'{each} is there, and was not written by this command: it '
                'would be overwritten. Choose another name by --out.'
            )
    # What cannot be written is told before the work.
    there = next(each for each in out.parents if os.path.lexists(each))
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(
            f'--out {out}: {there} is no folder that can be written to.'
        )
    return out


def _card(
    args: argparse.Namespace, run: Run, out: Path, told: Dict[str, Any]
) -> str:
    """The model card."""
    origin, measured, before = args.model, None, None
    checkpoint = None if is_teacher(origin) else Path(origin)
    if is_teacher(origin):
        origin = f'teachers.{teacher_of(origin, run)}'
    elif origin == 'student':
        checkpoint = find_checkpoint(run.checkpoint)
        meta = load_file(checkpoint).get('meta')
        before = quality_of(run.cfg, checkpoint, meta or {})
    if 'top1' in told:
        data = _validated_on(run.cfg).get('dataset') or {}
        chosen = checkpoint is not None and was_chosen(checkpoint)
        measured, before = (
            accuracy_on(data, told[key], chosen)
            for key in ('top1', 'float_top1')
        )
    hook = (run.cfg.get('default_hooks') or {}).get('export') or {}
    return quantized_card(
        as_it_ran(run.cfg, run.work_dir),
        out,
        told,
        origin,
        measured,
        before,
        args.teacher_license or hook.get('teacher_license'),
        training_bank(run.cfg, run.work_dir),
    )


def _validated_on(cfg: Config) -> Any:
    return cfg.get('val_dataloader') or cfg.get('test_dataloader')


def _validation(cfg: Config) -> Any:
    """The loader of the validation images."""
    loader = _validated_on(cfg)
    if not loader:
        raise ValueError(
            '--test: the config of the run has no validation images. Leave it '
            'out, or give val_dataloader in a config, --config CONFIG.py.'
        )
    scope = cfg.get('default_scope', 'mmpretrain')
    with DefaultScope.overwrite_default_scope(scope):
        built = Runner.build_dataloader(copy.deepcopy(loader), seed=0)
    about = getattr(built.dataset, 'about', '')
    if about:
        print(about, flush=True)
    return built


def _tested(
    loader: Any, preprocessor: nn.Module, model: nn.Module, out: Path
) -> Dict[str, Any]:
    """Accuracies before and after, in percent."""
    decide = decisions(out)
    right, count = dict(float_top1=0, top1=0), 0
    for data in loader:
        batch = preprocessor(data, False)
        labels = torch.cat([s.gt_label for s in batch['data_samples']])
        with torch.no_grad():
            expected = logits_of(model(batch['inputs'], mode='tensor'))
        right['float_top1'] += int((expected.argmax(1) == labels).sum())
        right['top1'] += int((decide(batch['inputs']) == labels).sum())
        count += len(labels)
    return {
        **{key: round(100 * n / count, 2) for key, n in right.items()},
        'tested_on': count,
    }


def _have_calibrated(loader: Any, images: _Images) -> bool:
    """Whether some of the pictures that test a network calibrated it."""
    if not Path(images.source).is_dir() or BankFolder.exists(images.source):
        return False
    tested = pictures_of(loader.dataset)
    return bool(tested) and share_among(tested, pictures_of(images.source)) > 0


def _notes(out: Path, found: Quantized, told: Dict[str, Any]) -> List[str]:
    """What to tell who quantized a network."""
    lines = [
        f'Written: {out}, {found.file_bytes / 1000:.0f} kB where it was '
        f'{found.float_bytes / 1000:.0f} kB. One image takes '
        f'{found.relative_time:.2f} times as long as before on this CPU.'
    ]
    if found.file_bytes >= found.float_bytes:
        lines.append(
            'WARNING: the file is no smaller than before. What quantization '
            'adds takes as much as it saves of so few weights.'
        )
    if round(found.relative_time, 2) > 1:
        lines.append(
            'WARNING: it is slower than before on this CPU. '
            + (
                'int4 is for size alone; take int8.'
                if found.bits == 4
                else 'It may be faster on another machine.'
            )
        )
    if found.agreement is None:
        lines.append(
            'No images were left to compare it by: give fewer by --images.'
        )
    else:
        kind = 'held-out images' if told['compared_are_held_out'] else 'images'
        lines.append(
            f'It decides as before on {found.agreement:.1f} % of '
            f'{found.compared_images} {kind} of {told["compared_on"]} that it '
            'was not calibrated by.'
        )
        if found.agreement < DOUBTFUL:
            lines.append(
                'WARNING: that is little. Let it be distilled '
                + ('for longer ' if told['distil_steps'] else '')
                + '(--distil-steps 500)'
                + (', or take int8.' if found.bits == 4 else '.')
            )
        if told.get('compared_trained_it'):
            lines.append(f'WARNING: {SEEN}')
    if 'top1' in told:
        lines.append(
            f'Accuracy on {told["tested_on"]} validation images: '
            f'{told["top1"]:.2f} %, before {told["float_top1"]:.2f} %.'
        )
        if told['tested_calibrated_it']:
            lines.append(f'WARNING: {CALIBRATED}')
    return lines


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        check_alone('quantize')
        quantize(parse_args())
