# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``python -m csd_mmrazor estimate``, on what a real run left."""

import json

import pytest
import torch

from csd_mmrazor.cli import estimate as command
from csd_mmrazor.utils.accuracy import (
    FITS,
    RECOGNISED,
    estimate_accuracy,
)
from csd_mmrazor.utils.scalars import read_scalars

# Estimates by all images, though an untrained teacher is sure of none, and
# takes few for what they are to be.
LENIENT = """
import sys
from csd_mmrazor.cli import estimate
estimate.RECOGNISED = 0
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
    assert told['images'] == 12 and told['are_held_out']
    assert told['weights'] == 'best_accuracy_top1_epoch_1.pth'
    assert told['teacher'] == 'teacher' and told['teachers'] == ['teacher']
    assert 'of best_accuracy_top1_epoch_1.pth decides like' in done.stdout
    assert scalars['agreement/held_out_images'] == {1: 12}
    share = scalars['agreement/held_out_recognised'][1]
    assert told['recognised'] == pytest.approx(share, abs=0.051)
    assert share < RECOGNISED and told['top1'] is None
    assert 'WARNING: the teacher is sure of none' in done.stdout
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
    expected = estimate_accuracy(FITS['held_out'], confident, 93.4, number)
    assert told['confident_images'] == number
    assert told['confident'] == pytest.approx(confident, abs=0.01)
    assert f'WARNING: {number} images are few' in done.stdout
    for key, value in expected._asdict().items():
        assert told[key] == pytest.approx(value, abs=0.051)
    assert told['mean_error'] == round(FITS['held_out'].mean_error, 1)
    assert (
        f'Estimated accuracy: {told["top1"]:.1f} %, {told["low"]:.1f} to '
        f'{told["high"]:.1f}.' in done.stdout
    )
    assert 'in the mean' in done.stdout and 'held out' not in done.stdout

    # The bank and weights by themselves, over the last one.
    argv = (run / 'bank', '--model', run / 'student/student.pth')
    done = estimate(*argv, '--images', '5', '--out', 'a.json', setup=LENIENT)
    assert done.status == [0], done.output
    told = json.loads((tmp_path / 'a.json').read_text())
    assert told['images'] == 5 and told['teacher_accuracy'] is None
    assert "% of the teacher's" in done.stdout
    assert '--teacher-accuracy 93.4' in done.stdout

    # Nothing is held out.
    path = run / 'bank/manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['held_out']
    path.write_text(json.dumps(manifest))
    done = estimate(run, setup=LENIENT)
    assert 'WARNING: no images of this bank are held out' in done.stdout

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
    ('share', 'images', 'said'),
    [(29.9, 200, 'takes only 29.9 %'), (95, 0, 'sure of none'), (30, 99, '')],
)
def test_why_nothing_is_estimated(share, images, said):
    told = dict.fromkeys(('top1', 'low', 'high', 'confident'))
    if not said:
        told.update(top1=70, low=44, high=87, confident=90)
    told.update(
        teacher='teacher',
        teachers=['teacher'],
        weights='a.pth',
        are_held_out=True,
        teacher_accuracy=99,
        agreement=67,
        images=400,
        recognised=share,
        confident_images=images,
    )
    lines = command._notes(told)
    text = '\n'.join(lines)
    assert said in text
    assert ('Estimated accuracy: 70.0 %, 44.0 to 87.0.' in text) == (not said)
    assert ('no accuracy is estimated' in text) == bool(said)
    assert ('99 images are few' in text) == (not said)
