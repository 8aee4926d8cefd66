# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import numpy as np
import pytest
from PIL import Image

from csd_mmrazor.cli import plot_rounds
from csd_mmrazor.datasets import BankFolder


def test_draws_runs(tiny_runner, forked, tmp_path):
    """Two seeds of one method, and a run without an auxiliary head."""
    for seed in range(2):
        tiny_runner(work_dir=f'csd/{seed}').train()
    off = {
        'model.aux_head': None,
        'default_hooks.synthesis.synthesizer.losses.loss_csd.loss_weight': 0,
    }
    tiny_runner(work_dir='off', **off).train()
    runs = (f'csd={tmp_path}/csd', f'without={tmp_path}/off')
    again = f'without={tmp_path}/csd/0'
    done = forked(
        'docs.png', *runs, again, '--images', 2, tool='plot_rounds.py'
    )
    assert done.status == [0], done.output
    assert Image.open(tmp_path / 'docs.png').size == (1530, 630)
    assert Image.open(tmp_path / 'docs.jpg').size[0] > 500
    assert '| csd | ' in (tmp_path / 'docs.md').read_text()
    # Of the same name are the one without a head and one that has it.
    (without,) = (
        line
        for line in (tmp_path / 'docs.md').read_text().splitlines()
        if line.startswith('| without')
    )
    assert not without.startswith('| without | -')

    runs = plot_rounds.read_runs(f'csd={tmp_path}/csd')
    assert len(runs) == 2
    for curves in runs:
        # After each of both epochs, and before it.
        assert all(set(curve) == {1, 2} for curve in curves.values())
    (without,) = plot_rounds.read_runs(f'without={tmp_path}/off')
    assert not without['aux/top1'] and len(without['accuracy/top1']) == 2


def test_later_attempts_count(tmp_path):
    for time, top1 in (('20260101_000000', 1.0), ('20260102_000000', 2.0)):
        folder = tmp_path / time / 'vis_data'
        folder.mkdir(parents=True)
        lines = [
            {'accuracy/top1': top1, 'step': 1},
            {'synthesis/aux_loss': top1, 'step': 0},
        ]
        text = '\n'.join(map(json.dumps, lines)) + '\n{"accuracy/to'
        (folder / 'scalars.json').write_text(text)
    (curves,) = plot_rounds.read_runs(f'a={tmp_path}')
    assert curves['accuracy/top1'] == curves['synthesis/aux_loss'] == {1: 2.0}


def test_means_of_the_later_half():
    empty = dict.fromkeys(plot_rounds.TAGS, {})
    curves = [{1: 0.0, 2: 9.0, 3: 1.0, 4: 2.0}, {2: 9.0, 4: 4.5}]
    runs = dict(
        a=[dict(empty, **{'aux/top1': curve}) for curve in curves], b=[empty]
    )
    _, _, a, b = plot_rounds.table(runs).splitlines()
    assert a == '| a | - | - | 3.000 | - | - | - | - | - |'
    assert b == '| b | - | - | - | - | - | - | - | - |'


@pytest.mark.parametrize('channels', [1, 3, 5])
def test_newest_images_of_each_class(tmp_path, channels):
    """Rounds of classes 0, 0, 1 and 0, 2; of each image one value."""
    assert plot_rounds.newest_images(tmp_path, 2) is None
    bank = BankFolder(tmp_path / 'bank', (channels, 2, 3), 4)
    rounds = ((10, 20, 30), (0, 0, 1)), ((40, 50), (0, 2))
    for index, (values, labels) in enumerate(rounds):
        images = np.zeros((len(values), channels, 2, 3), np.uint8)
        images[:] = np.reshape(values, (-1, 1, 1, 1))
        images[:, 1:] += 1
        bank.append(images, np.array(labels), 0, index, True)
    sheet = plot_rounds.newest_images(tmp_path, 2)
    assert sheet.shape == (8, 6, 3)
    expected = [[40, 10], [30, 255], [50, 255], [255, 255]]
    assert sheet[::2, ::3, 0].tolist() == expected
    assert (sheet[:2, :3, 1:] == 40 + (channels == 3)).all()


def test_runs_whose_banks_are_gone(tmp_path, capsys, monkeypatch):
    """Nor are their names formulas."""
    for name in ('a$_{$', 'b'):
        folder = tmp_path / name / '20260101_000000/vis_data'
        folder.mkdir(parents=True)
        line = json.dumps({'accuracy/top1': 1.0, 'step': 1})
        (folder / 'scalars.json').write_text(line)

    def plot(*images):
        runs = [f'{name}={tmp_path / name}' for name in ('a$_{$', 'b')]
        argv = ['', str(tmp_path / 'out.png'), *runs, *images]
        monkeypatch.setattr('sys.argv', argv)
        plot_rounds.plot_to_files(plot_rounds.parse_args())

    with pytest.raises(FileNotFoundError, match='none of the runs has an im'):
        plot('--images', '1')
    assert not (tmp_path / 'out.png').exists()
    with pytest.raises(SystemExit):
        plot('--images', '0')
    bank = BankFolder(tmp_path / 'b/bank', (3, 2, 2), 1)
    bank.append(np.zeros((1, 3, 2, 2), np.uint8), np.array([0]), 0, 0, True)
    plot('--images', '1')
    assert 'Note: a$_{$: ' in capsys.readouterr().out
    assert (tmp_path / 'out.jpg').exists()
    plot('--images', '1')  # over those of an earlier call
    (tmp_path / 'out.md').write_text('notes')
    with pytest.raises(ValueError, match='out.md is there, .* overwritten'):
        plot()
    assert (tmp_path / 'out.md').read_text() == 'notes'


@pytest.mark.parametrize(
    'text, message',
    [
        ('folder', 'should be NAME=WORK_DIR, but got folder'),
        ('a=folder', 'folder has no log'),
    ],
)
def test_bad_arguments(text, message):
    with pytest.raises(ValueError, match=message):
        plot_rounds.read_runs(text)
