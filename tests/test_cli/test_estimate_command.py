# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``python -m csd_mmrazor estimate``, on what a real run left."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from csd_mmrazor.cli import estimate as command
from csd_mmrazor.datasets import ImageBank
from csd_mmrazor.utils.accuracy import (
    FITS,
    RECOGNISED,
    estimate_accuracy,
)
from csd_mmrazor.utils.agreement import (
    BIASES,
    Agreement,
    about_agreement,
    estimate_of,
)
from csd_mmrazor.utils.scalars import read_scalars

# Estimates by all images, though an untrained teacher is sure of none, and
# takes few for what they are to be.
LENIENT = """
import sys
from csd_mmrazor.utils import agreement
agreement.RECOGNISED = 0
agreement.LEAST = 0
agreement.CHANCE = 100
sys.modules['csd_mmrazor.models.synthesizers.agreement'].CONFIDENT = 0
"""


def test_from_a_run_to_an_accuracy(tiny_runner, forked, tmp_path):
    runner = tiny_runner(
        **{
            'train_dataloader.dataset.held_out': 0.25,
            'train_cfg.max_epochs': 1,
            'default_hooks.agreement.always': True,
            'default_hooks.synthesis.grid_images': 0,
        }
    )
    runner.train()

    def estimate(*argv, **kwargs):
        return forked('estimate', *argv, module='csd_mmrazor', **kwargs)

    run = tmp_path / 'run'
    done = estimate(run, '--teacher-accuracy', '93.4', '--out', 'a.json')
    assert done.status == [0], done.output
    told = json.loads((tmp_path / 'a.json').read_text())
    # What the run logged of the same images.
    scalars = read_scalars(run)
    for name in ('top1', 'kl', 'ece'):
        logged = scalars[f'agreement/held_out_{name}'][1]
        key = 'agreement' if name == 'top1' else name
        assert told[key] == pytest.approx(logged, abs=0.01)
    assert told['chance'] is None  # the teacher is sure of none
    assert told['images'] == 12 and told['are_held_out']
    assert told['weights'] == 'best_accuracy_top1_epoch_1.pth'
    assert told['teacher'] == 'teacher' and told['teachers'] == ['teacher']
    assert 'Student: best_accuracy_top1_epoch_1.pth. Teacher' in done.stdout
    assert scalars['agreement/held_out_images'] == {1: 12}
    share = scalars['agreement/held_out_recognised'][1]
    assert told['recognised'] == pytest.approx(share, abs=0.051)
    assert share < RECOGNISED
    assert told['estimate'] is told['accuracy'] is told['confident'] is None
    assert 'WARNING: The teacher recognises only' in done.stdout
    assert 'Estimated accuracy' not in done.stdout

    done = estimate(
        run,
        *('--teacher-accuracy', '93.4', '--out', 'a.json'),
        setup=LENIENT,
    )
    assert done.status == [0], done.output
    told = json.loads((tmp_path / 'a.json').read_text())
    assert scalars['agreement/held_out_confident_images'] == {1: 0}
    confident, number = scalars['agreement/held_out_top1'][1], 12
    expected = estimate_accuracy(FITS['held_out'], confident, number)
    assert told['confident_images'] == number
    assert told['confident'] == pytest.approx(confident, abs=0.01)
    assert 0 <= told['chance'] <= 100
    assert f'WARNING: {number} images are few' in done.stdout
    for found, wanted in (
        (told['estimate'], expected),
        (told['accuracy'], expected.accuracy(93.4)),
    ):
        assert found == pytest.approx(wanted._asdict(), abs=0.051)
    assert told['mean_error'] == round(FITS['held_out'].mean_error, 1)
    assert (
        f'Estimated accuracy: {expected.accuracy(93.4)}, with a teacher of '
        '93.4 %.\n' in done.stdout
    )
    assert 'in the mean' in done.stdout and 'real' not in done.stdout

    # The bank and weights by themselves, over the last one.
    argv = (run / 'bank', '--model', run / 'student/student.pth')
    done = estimate(*argv, '--images', '5', '--out', 'a.json', setup=LENIENT)
    assert done.status == [0], done.output
    told = json.loads((tmp_path / 'a.json').read_text())
    assert told['images'] == 5 and told['teacher_accuracy'] is None
    assert told['estimate'] and told['accuracy'] is None
    assert "% of the teacher's" in done.stdout
    assert '--teacher-accuracy 93.4' in done.stdout

    # Nothing is held out.
    path = run / 'bank/manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['held_out']
    path.write_text(json.dumps(manifest))
    done = estimate(run, setup=LENIENT)
    assert 'WARNING: No images were held out' in done.stdout

    # What is wrong is told by name, and nothing is written.
    (tmp_path / 'mine.json').write_text('{}')
    (tmp_path / 'empty').mkdir()
    torch.save(dict(a=torch.zeros(2)), tmp_path / 'a.pth')
    common = ('--out', 'new.json')
    for argv, message in (
        ((tmp_path / 'none', *common), 'none does not exist'),
        ((tmp_path / 'empty', *common), 'no config in'),
        ((run, '--teacher-accuracy', '0.934', *common), 'in percent'),
        ((run, '--teacher-accuracy', '101', *common), 'in percent'),
        ((run, '--teacher-accuracy', 'nan', *common), 'in percent'),
        ((run, '--teacher-accuracy', 'x', *common), 'invalid float'),
        ((run, '--images', '0', *common), '--images should be a positive'),
        ((run, '--model', 'teacher', *common), '--model teacher: the accu'),
        ((run, '--model', 'none.pth', *common), '--model none.pth'),
        ((run, '--model', 'a.pth', *common), '--model=a.pth'),
        ((run, '--out', 'new.txt'), 'suffix .json'),
        ((run, '--out', 'mine.json'), 'would be overwritten'),
        ((run, '--out', 'nowhere/new.json'), 'nowhere is no folder'),
    ):
        done = estimate(*argv)
        assert done.status[0], argv
        assert message in done.stderr, (argv, done.stderr)
        assert 'Traceback (' not in done.stderr
        assert not (tmp_path / 'new.json').exists()
    (run / 'bank').rename(tmp_path / 'bank')
    done = estimate(run)
    assert 'There is no image bank in' in done.stderr
    assert (tmp_path / 'mine.json').read_text() == '{}'


@pytest.mark.parametrize(
    ('share', 'images', 'confident', 'real', 'said'),
    [
        (29.9, 200, 90, 0, 'recognises only 29.9 %'),
        (95, 0, math.nan, 0, 'sure of none'),
        (95, 1, 0, 0, 'Of fewer than 19, no accuracy is estimated'),
        (95, 18, 67, 0, 'Of fewer than 19, no accuracy is estimated'),
        (95, 99, 97.1, 0, 'more than 30 points apart'),
        (95, 99, 36.9, 0, 'more than 30 points apart'),
        (30, 99, 97, 7, ''),
        (30, 99, 37, 7, ''),
        (30, 19, 67, 7, ''),
    ],
)
def test_what_is_said(share, images, confident, real, said, tmp_path):
    biases = (*BIASES,)
    quality = Agreement(67, share, confident, 'held_out', 400, images, biases)
    estimated = estimate_of(quality)
    told = dict(
        teacher='b',
        teachers=['b', 'c'],
        weights='a.pth',
        real_images=real,
        teacher_accuracy=99,
        estimate=estimated,
    )
    lines = command._notes(told, quality)
    assert lines[0] == 'Student: a.pth. Teacher: "b", the first of b, c.'
    # As in a model card, word by word.
    named = f'{real} of them real pictures' if real else ''
    facts, doubts = about_agreement(quality, named, 99)
    assert lines[1:] == facts + [f'WARNING: {doubt}' for doubt in doubts]
    text = '\n'.join(lines)
    assert said in text and bool(said) == (estimated is None)
    assert ('Estimated accuracy: ' in text) == (not said)
    assert ('no accuracy is estimated' in text) == bool(said)
    assert (f'{images} images are few' in text) == (not said)
    assert ('a larger budget' in text) == (share == 30 or 0 < images < 100)
    assert ('tend to be too high' in text) == (confident > 97)
    for bias in (
        'The student has fewer channels than',
        'The teacher has no BN layers',
    ):
        assert (f'WARNING: {bias}' in text) == (not said)
    kind = '400 images' if real else '400 synthetic images'
    assert f'on 67.0 % of {kind} that were held out from' in text
    assert ('(7 of them real pictures)' in text) == bool(real)
    assert ('WARNING: Some of these images are real' in text) == bool(real)


@pytest.mark.parametrize(
    ('chance', 'said'),
    [
        (None, ''),
        (10, ''),
        (50, 'the two would agree on 50.0 % of these, as on images of few'),
        (60.1, 'they would agree on 60.1 % of these'),
        (100, 'they would agree on 100.0 % of these'),
    ],
)
def test_images_of_few_classes(chance, said):
    """Whoever names one class agrees on all images of it."""
    quality = Agreement(99, 99, 99, 'held_out', 400, 400, chance=chance)
    facts, doubts = about_agreement(quality)
    is_told = chance is None or chance <= 60
    assert (estimate_of(quality) is not None) == is_told
    assert ('Estimated accuracy' in ' '.join(facts)) == is_told
    assert said in ' '.join(doubts) and len(doubts) == bool(said)
    assert ('no accuracy is estimated' in ' '.join(doubts)) == (not is_told)


@pytest.mark.parametrize('number', [1, 99, 100])
def test_few_images_that_are_not_recognised(number):
    """These do not tell what the others are."""
    quality = Agreement(67, 0, 90, 'held_out', number, 1)
    _, (doubt,) = about_agreement(quality)
    assert ('They are none of its classes' in doubt) == (number == 100)
    assert (f'{number} are too few to judge by' in doubt) == (number < 100)


def test_real_images_are_counted(tmp_path):
    """Of those that are looked at, not of the whole bank."""
    for number in range(3):
        path = tmp_path / f'few/0/{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (2, 2), number).save(path)
    bank = ImageBank(init_bank=str(tmp_path / 'few'))
    bank.open(tmp_path / 'bank', (1, 2, 2), 1)
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    bank.append(images, torch.zeros(4).long(), 0, 0)
    for places, real in (([0, 2, 3, 6], 2), ([3, 4], 0), ([], 0)):
        assert command._real(bank, np.array(places, int)) == real
