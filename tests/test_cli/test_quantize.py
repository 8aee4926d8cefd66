# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``python -m csd_mmrazor quantize``, on what a real run left."""

import json
import os
import re
import shutil
import signal
from types import SimpleNamespace as Some

import numpy as np
import pytest
import torch
from helpers import front_of
from PIL import Image

from csd_mmrazor.cli import quantize as command
from csd_mmrazor.datasets import ImageBank
from csd_mmrazor.export import NonFiniteLossError, Quantized
from csd_mmrazor.utils.accuracy import SEEN

pytest.importorskip('onnxruntime')


@pytest.fixture
def quantize(tiny_runner, forked, tmp_path):
    """Run the command on a run of its own."""
    license = 'default_hooks.export.teacher_license'
    tiny_runner(**{license: 'cc-by-4.0'}).train()

    def quantize(*argv, **request):
        return forked('quantize', *argv, module='csd_mmrazor', **request)

    return quantize


def folder(root, number, side=8):
    """Grey images of ten classes."""
    for label in range(10):
        for index in range(number):
            path = root / str(label) / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            levels = np.random.default_rng(index).integers(
                256, size=(side, side)
            )
            Image.fromarray(levels.astype(np.uint8)).save(path)
    return root


def test_from_a_run_to_integers(quantize, tmp_path):
    run = tmp_path / 'run'
    done = quantize(run, '--to', 'int8', '--test')
    assert done.status == [0], done.output
    replaced = 'of an earlier call is replaced'
    assert replaced not in done.stdout
    out = run / 'quantized/student_int8.onnx'
    told = json.loads(out.with_suffix('.json').read_text())
    assert told['file_bytes'] == out.stat().st_size
    # A fifth of the bank's 64 images is what it is compared by.
    assert (told['calibration_images'], told['compared_images']) == (52, 12)
    assert f'{told["agreement"]:.1f} %' in done.stdout
    # The bank holds nothing out.
    assert told['compared_trained_it'] and SEEN in done.stdout
    assert told['tested_on'] == 360 and 0 <= told['top1'] <= 100
    assert f'{told["top1"]:.2f} %' in done.stdout

    # Its model card.
    front, body = front_of(out.with_name('README.md'))
    ((result,),) = (each['results'] for each in front['model-index'])
    assert result['dataset']['name'] == 'Digits'
    assert result['metrics'][0]['value'] == told['top1']
    assert {'data-free', 'knowledge-distillation', 'onnx'} <= {*front['tags']}
    assert front['license'] == 'cc-by-4.0'
    for text in (
        'Teacher: ResNet_CIFAR (depth=18, base_channels=8), weights',
        'for images of shape (1, 8, 8) and 10 classes',
        'Quantized by ONNX Runtime: 8-bit weights',
        'Calibrated on: 52 synthetic images of an image bank\n',
        'Real images: in training, none; in quantization, none',
        f'Top-1 {told["top1"]:.2f} % on the real images of Digits',
        f'class as before on {told["agreement"]:.1f} % of 12 other',
        SEEN,
        f'Before quantization: top-1 {told["float_top1"]:.2f} % on',
        'chosen on these same images',
        'Licence of the teacher: cc-by-4.0',
        'Synthetic images are optimised',
    ):
        assert text in body, text

    # The bank by itself; the teacher; with distillation; over the last one.
    before = out.read_bytes()
    done = quantize(
        *(run / 'bank', '--model', 'teacher', '--to', 'int4'),
        *('--distil-steps', '2', '--images', '20', '--out', 't.onnx'),
        *('--teacher-license', 'mit'),
    )
    assert done.status == [0], done.output
    told = json.loads((tmp_path / 't.json').read_text())
    assert (told['bits'], told['calibration_images']) == (4, 20)
    gaps = re.findall(r'rounding: (\S+) before, (\S+) after', done.stdout)
    is_better = float(gaps[-1][1]) < float(gaps[-1][0])
    # A second rate is tried where the first one makes it worse.
    assert len(gaps) == 2 - (float(gaps[0][1]) < float(gaps[0][0]))
    assert told['distil_steps'] == 2 * is_better and 'top1' not in told
    assert ('became worse by distil' in done.stdout) == (not is_better)
    assert told['image_shape'] == [1, 8, 8] and told['mean'] is not None
    card = tmp_path / 't.md'
    front, body = front_of(card)
    ((result,),) = (each['results'] for each in front['model-index'])
    assert result['metrics'][0]['type'] == 'agreement'
    assert result['metrics'][0]['value'] == round(told['agreement'], 2)
    assert front['license'] == 'mit' and 'data-free' not in front['tags']
    for text in (
        'a teacher in data-free distillation, weights `teacher.pth`',
        'in training, not known here; in quantization, none',
        'Not measured. It gives the same class as before on',
    ):
        assert text in body, text
    assert ('steps with rounded weights' in body) == is_better

    # Weights of their own, a folder of images. A call that was killed left
    # the file without what is beside it.
    (tmp_path / 't.json').unlink()
    card.write_text(
        f'{card.read_text()}\n<!-- networks in this folder -->\n\nMine.\n'
    )
    weights = run / 'student/student.pth'
    images = folder(tmp_path / 'real', 2, 16)
    argv = (run, '--to', 'int8', '--images', '10', '--calibrate-on', images)
    done = quantize(*argv, '--model', weights, '--out', 't.onnx', '--test')
    assert done.status == [0], done.output
    assert done.stdout.count(f't.onnx {replaced}') == 1
    told = json.loads((tmp_path / 't.json').read_text())
    assert told['calibrated_on'] == images.name and told['bits'] == 8
    scaled = f'images of {images} (16x16, height by width) are scaled to 8x8'
    assert done.stdout.count(scaled) == 1
    # By the bank all the same.
    assert told['compared_on'] == 'bank' and told['model'] == weights.name
    # The file is the student of the run.
    assert told['compared_trained_it'] and SEEN in done.stdout
    assert str(tmp_path) not in f'{told}'
    assert told['compared_images'] == 64
    assert f'of 64 images of {run / "bank"} that' in done.stdout
    assert out.read_bytes() == before
    # Over the card of the last one, but over nobody else's.
    _, body = front_of(card)
    assert 'Weights: `student.pth`' in body
    assert f'on: 10 pictures in `{images.name}`, all of them' in body
    assert f'in quantization, pictures in `{images.name}`\n' in body
    assert '% of 64 synthetic images of an image bank.' in body
    assert body.endswith('\n\nMine.\n')
    # That the file says of which checkpoint it is.
    assert body.count('chosen on these same images') == 2

    # Killed while it is tested, it leaves the last one as it was.
    names = 't.onnx', 't.json', 't.md'
    files = {name: (tmp_path / name).read_bytes() for name in names}
    kill = 'lambda *_: __import__("os").kill(__import__("os").getpid(), 9)'
    setup = f'from csd_mmrazor.cli import quantize as q; q._tested = {kill}'
    done = quantize(
        *(run, '--to', 'int4', '--test', '--out', 't.onnx'), setup=setup
    )
    assert done.status == [-signal.SIGKILL], done.output
    assert files == {n: (tmp_path / n).read_bytes() for n in names}

    # So it does where the disk is full.
    done = quantize(
        *(run, '--to', 'int8', '--out', 't.onnx'),
        setup='from csd_mmrazor.cli import quantize as q\n'
        'def full(path, content): raise OSError(28, "full", str(path))\n'
        'q.write_file = full',
    )
    assert done.status == [1] and 'full' in done.stderr, done.output
    assert files == {n: (tmp_path / n).read_bytes() for n in names}

    # What is wrong is told by name, and nothing is written.
    (tmp_path / 'list.json').write_text('["quantized_by"]')
    other = tmp_path / 'other.onnx'
    other.write_text('mine')
    (tmp_path / 'empty').mkdir()
    large = folder(tmp_path / 'few/x', 1).parent
    torch.save(dict(a=torch.zeros(2)), tmp_path / 'a.pth')
    state = torch.load(weights)
    infinite = {k: v * 1e30 if v.ndim == 4 else v for k, v in state.items()}
    torch.save(infinite, tmp_path / 'inf.pth')
    bank = shutil.copytree(run / 'bank', tmp_path / 'moved/bank')
    damaged = shutil.copytree(run / 'bank', tmp_path / 'damaged')
    shard = damaged / '000000.npy'
    shard.write_bytes(shard.read_bytes()[:-9])
    common = ('--to', 'int8', '--out', 'new.onnx')
    for argv, message in (
        ((tmp_path / 'none', *common), 'none does not exist'),
        ((tmp_path / 'empty', *common), 'no config in'),
        ((bank, *common), 'no config in'),
        ((run, *common, '--images', '0'), '--images should be a positive'),
        ((run, *common, '--images', '999'), '--images is 999, but'),
        ((run, *common, '--images', '512'), '--images is 512, but'),
        ((run, *common, '--model', 'inf.pth'), 'inf.pth computes NaN or Inf'),
        ((run, *common, '--distil-steps', '-1'), '--distil-steps should be'),
        ((run, *common, '--seed', '-1'), '--seed should be'),
        ((run, *common, '--seed', f'{2**32}'), '--seed should be 4,294,967,'),
        (
            (run, *common, '--distil-steps', f'{10**12}'),
            '--distil-steps should be 10,000,000 at most',
        ),
        (
            (run, '--to', 'int8', '--out', other / 'a.onnx'),
            'other.onnx is no folder',
        ),
        ((run, *common, '--model', 'techer'), '--model techer'),
        ((run, *common, '--model', 'teachers.a'), 'teachers.teacher'),
        ((run, *common, '--model', 'a.pth'), '--model=a.pth'),
        (
            (run, *common, '--model', out),
            'is a program, from which',
        ),
        ((run, *common, '--teacher-license', ''), '--teacher-license should'),
        ((run, *common, '--teacher-license', 'a\n# b'), 'one line of text'),
        ((run, '--to', 'int8', '--out', 'list.onnx'), 'list.json is there'),
        (
            (run, '--to', 'int8', '--out', 'd/a.onnx', '--images', '999'),
            '--images is 999, but',
        ),
        ((run, *common, '--calibrate-on', 'nowhere'), 'nowhere is neither'),
        ((run, *common, '--calibrate-on', ''), "a folder, but got ''"),
        ((run, *common, '--calibrate-on', run), 'the work dir of a run'),
        ((run, *common, '--model', 'teachers.'), 'has teachers.teacher'),
        ((run, '--to', 'int8', '--out', ''), 'give it the suffix .onnx'),
        ((run, *common, '--calibrate-on', large), 'few'),
        ((run, *common, '--calibrate-on', damaged), 'cut short'),
        ((run, '--to', 'int8', '--out', 'a.pt'), '.onnx'),
        ((run, '--to', 'int8', '--out', other), 'would be overwritten'),
        ((run, '--to', 'int2'), 'invalid choice'),
    ):
        done = quantize(*argv)
        assert done.status[0], argv
        assert message in done.stderr, (argv, done.stderr)
        assert 'Traceback (' not in done.stderr
        assert not (tmp_path / 'new.onnx').exists()
        assert not (tmp_path / 'd').exists()
    assert other.read_text() == 'mine'


@pytest.fixture
def images(tmp_path, monkeypatch):
    """What a call with such options looks at, as numbers of images."""
    # The number of an image is in its corner, and has two bytes.
    monkeypatch.setattr(command, 'normalize_images', lambda images, _: images)

    def numbers(inputs):
        corner = inputs[:, 0, 0, :2].long()
        return (corner[:, 0] * 256 + corner[:, 1]).tolist()

    def bank_of(name, labels, held_out=0):
        bank = ImageBank(held_out=held_out)
        bank.open(tmp_path / name, (1, 8, 8), 10)
        made = np.zeros((len(labels), 1, 8, 8), np.uint8)
        made[:, 0, 0, 0], made[:, 0, 0, 1] = divmod(
            np.arange(len(labels)), 256
        )
        bank.append(made, np.array(labels), 0, 0)
        return bank

    def look(number=None, calibrate_on=None):
        args = Some(images=number, calibrate_on=calibrate_on, seed=0)
        run = Some(
            bank=tmp_path / 'bank', about_images=lambda: ((1, 8, 8), 10, None)
        )
        found = command._Images(args, run, None)
        drawn, batches = [], found.batches()
        for _ in range(5):
            drawn += numbers(next(batches))
        return (
            found,
            numbers(found.calibrating()),
            numbers(found.comparing()),
            {*drawn},
        )

    look.bank_of = bank_of
    return look


LABELS = [0] * 300 + [1] * 100 + [2] * 30 + [3] * 10


def test_what_is_held_out_is_compared_alone(images):
    bank = images.bank_of('bank', LABELS, 0.1)
    held_out = {*bank.places(held_out=True).tolist()}
    found, calibrating, comparing, drawn = images()
    assert {*comparing} == held_out and len(comparing) == 44
    assert found.are_held_out
    assert len(calibrating) == 396 and not held_out & {*calibrating}
    # Batches of 128, of which one ends and begins the list.
    assert drawn == {*calibrating} and len(drawn) == 396
    # Nor are they calibrated by on request, or from another run.
    with pytest.raises(ValueError, match='is 397, .* has 396, and 44 that'):
        images(397)
    other = images.bank_of('other', LABELS[:100], 0.2)
    kept = {*other.places(held_out=False).tolist()}
    found, calibrating, comparing, drawn = images(
        None, found.source + '/../other'
    )
    assert {*calibrating} == kept == drawn and {*comparing} == held_out


def test_a_sample_is_set_aside_where_nothing_is_held_out(images):
    images.bank_of('bank', LABELS)
    found, calibrating, comparing, drawn = images(100)
    assert len(comparing) == 88 and not found.are_held_out
    counts = np.bincount([LABELS[n] for n in comparing], minlength=4)
    assert np.abs(counts - 0.2 * np.array([300, 100, 30, 10])).max() <= 1
    assert len(calibrating) == 100 and not {*comparing} & {*drawn}
    assert {*calibrating} <= drawn and len(drawn) == 352
    # By default, all others; all, and there is nothing to compare.
    assert [len(n) for n in images()[1:3]] == [352, 88]
    assert [len(n) for n in images(400)[1:3]] == [400, 40]
    assert [len(n) for n in images(440)[1:3]] == [440, 0]


@pytest.mark.parametrize('kind', ['noise', 'folder'])
@pytest.mark.parametrize('has_bank', [True, False])
def test_the_bank_is_compared_wherever_it_is(images, tmp_path, kind, has_bank):
    if has_bank:
        images.bank_of('bank', LABELS)
    source = kind
    if kind == 'folder':
        source = str(folder(tmp_path / 'real', 3))
    found, calibrating, comparing, _ = images(20, source)
    assert found.source == source and len(calibrating) == 20
    if has_bank:
        assert found.compared_on == str(tmp_path / 'bank')
        assert sorted(comparing) == [*range(440)]
    else:
        assert found.compared_on == source
        assert len(comparing) == (6 if kind == 'folder' else 2000)


@pytest.mark.parametrize(
    'file_bytes, time, bits, expected',
    [
        (9, 0.4, 8, []),
        (10, 0.4, 8, ['no smaller']),
        (9, 1.004, 8, []),
        (9, 1.4, 8, ['slower than before', 'another machine']),
        (9, 1.4, 4, ['slower than before', 'take int8']),
        (12, 2, 8, ['no smaller', 'this CPU. It may be faster']),
    ],
)
def test_what_did_not_pay_is_told(tmp_path, file_bytes, time, bits, expected):
    found = Quantized(bits, 4, file_bytes, 10, 100.0, 4, time)
    told = dict(compared_on='bank', compared_are_held_out=True)
    lines = command._notes(tmp_path / 'a.onnx', found, told)
    warned = ' '.join(line for line in lines if 'WARNING' in line)
    assert all(text in warned for text in expected)
    assert bool(warned) == bool(expected)
    assert '100.0 % of 4 held-out images of bank' in lines[-1]


@pytest.mark.parametrize('bits, advice', [(8, '500).'), (4, 'take int8.')])
def test_little_agreement_is_told(tmp_path, bits, advice):
    found = Quantized(bits, 4, 5, 10, 80.0, 4, 0.5)
    told = dict(compared_on='bank', compared_are_held_out=True, distil_steps=0)
    lines = command._notes(tmp_path / 'a.onnx', found, told)
    assert 'WARNING' in lines[-1] and lines[-1].endswith(advice)


def test_without_onnx_runtime(monkeypatch):
    from csd_mmrazor.export import check_quantization

    monkeypatch.setattr(
        'csd_mmrazor.export.quantized.find_spec', lambda name: None
    )
    with pytest.raises(ImportError, match='pip install onnxruntime'):
        check_quantization(8)


def test_what_the_bank_has_trained(tmp_path, monkeypatch):
    """The student and its files, wherever the command is called from."""
    bank = tmp_path / 'run/bank'
    weights = tmp_path / 'run/student/student.pth'
    for path in (weights, tmp_path / 'others.pth'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run = Some(bank=bank, work_dir=tmp_path / 'run')
    for cwd in ('.', 'run'):
        monkeypatch.chdir(tmp_path / cwd)
        for model, is_own in (
            ('student', True),
            (str(weights), True),
            (os.path.relpath(weights), True),
            (str(tmp_path / 'others.pth'), False),
            ('teacher', False),
            ('teachers.teacher', False),
        ):
            for on, held_out in ((bank, False), (bank, True), ('x', False)):
                images = Some(compared_on=str(on), are_held_out=held_out)
                expected = is_own and on == bank and not held_out
                assert command._has_trained(model, images, run) == expected, (
                    model
                )


@pytest.mark.parametrize('fails', [1, 2])
def test_a_rate_that_diverges_leaves_the_lower_one(monkeypatch, capsys, fails):
    tried = []

    def distil(model, draw, steps, bits, rate, probe):
        tried.append(rate)
        if len(tried) <= fails:
            raise NonFiniteLossError('The loss of step 0 is nan: take int8')
        return Some(model=model, before=2.0, after=1.0)

    monkeypatch.setattr(command, 'distil_rounded', distil)
    images = Some(
        comparing=lambda: torch.zeros(0, 1, 8, 8),
        batches=lambda: iter([torch.zeros(2, 1, 8, 8)]),
    )
    model = torch.nn.Identity()
    if fails == 1:
        assert command._distilled(model, images, 5, 4) is model
        assert 'The loss of step 0 is nan' in capsys.readouterr().out
    else:
        with pytest.raises(ValueError, match='take int8'):
            command._distilled(model, images, 5, 4)
    assert tried == [3e-3, 3e-4]
