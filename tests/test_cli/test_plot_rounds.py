# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import pytest
from PIL import Image

from csd_mmrazor.cli import plot_rounds


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
    done = forked('docs.png', *runs, tool='plot_rounds.py')
    assert done.status == [0], done.output
    assert Image.open(tmp_path / 'docs.png').size == (1170, 630)
    assert '| csd | ' in (tmp_path / 'docs.md').read_text()

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
    assert a == '| a | - | - | 3.000 | - | - | - | - |'
    assert b == '| b | - | - | - | - | - | - | - |'


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
