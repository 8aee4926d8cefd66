# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import math
import re
import sys

import pytest
import torch
from helpers import ROOT, free_port
from test_kills import SYNTHESIS, config  # noqa: F401

from csd_mmrazor.cli import scaling
from csd_mmrazor.cli.scaling import Exchanges, Machine, Work, hours

WORK = Work(
    init_rounds=10,
    init_iters=100,
    epochs=6,
    iters=50,
    steps=90,
    images=20,
    image_bytes=1000,
    gradient_bytes=8_000_000,
    init_seconds=0.5,
    synthesis_seconds=0.7,
    student_seconds=0.2,
)
MACHINE = Machine(4, 1e9, 1e10, 1e-3, 1e6)


def test_one_gpu_exchanges_nothing():
    found = hours(WORK, 1, MACHINE)
    assert found['initial'] * 3600 == pytest.approx(10 * 100 * 0.5)
    assert found['rounds'] * 3600 == pytest.approx(6 * 50 * 0.7)
    assert found['student'] * 3600 == pytest.approx(6 * 90 * 0.2)
    assert found['exchange'] == found['reading'] == 0
    assert found['images'] == (10 + 6) * 20


@pytest.mark.parametrize('gpus, bandwidth', [(4, 1e10), (8, 1e9)])
def test_hours_by_hand(gpus, bandwidth):
    found = hours(WORK, gpus, MACHINE)
    # 10 rounds on 4 GPUs are 3 passes, on 8 GPUs 2.
    passes = {4: 3, 8: 2}[gpus]
    steps = {4: 23, 8: 12}[gpus]
    assert found['initial'] * 3600 == pytest.approx(passes * 100 * 0.5)
    assert found['rounds'] * 3600 == pytest.approx(6 * 50 * 0.7)
    assert found['student'] * 3600 == pytest.approx(6 * steps * 0.2)
    one = 2 * (gpus - 1) * (8e6 / gpus / bandwidth + 1e-3)
    assert found['exchange'] * 3600 == pytest.approx(6 * steps * one)
    assert found['images'] == (10 + 6 * gpus) * 20
    assert found['reading'] * 3600 == pytest.approx(found['images'] / 1000)
    parts = ('initial', 'rounds', 'student', 'exchange', 'reading')
    assert found['total'] == pytest.approx(sum(found[p] for p in parts))
    # As many rounds in all as on one GPU.
    fewer = hours(WORK, gpus, MACHINE, rounds_every=3)
    assert fewer['rounds'] == pytest.approx(found['rounds'] / 3)


def test_the_model_and_what_it_assumes(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'model.json'
    monkeypatch.setattr(sys, 'argv', ['tool', 'model', '--out', str(out)])
    scaling.main()
    found = json.loads(out.read_text())
    printed = capsys.readouterr().out
    assert found['machine'] == Machine()._asdict()
    for name in ('cifar10', 'imagenet'):
        work = Work(**found[name]['work'])
        for gpus, each in found[name]['hours'].items():
            expected = hours(work, int(gpus), Machine())
            assert each['as_configured'] == expected
            assert f'{name}, {gpus} GPUs' in printed
    # The page has what the tool says.
    published = ROOT / 'docs/speed/scaling_model.json'
    assert json.loads(published.read_text()) == found


def test_what_is_counted():
    exchanges = Exchanges()
    gather = exchanges.wrap('all_gather', lambda *args: 'done')
    outputs = [torch.zeros(3), torch.zeros(3)]
    assert gather(outputs, torch.zeros(3)) == 'done'
    gather(outputs, torch.zeros(3))
    exchanges.wrap('barrier', lambda: None)()
    exchanges.wrap('broadcast', lambda *args: None)(torch.zeros(5).byte(), 0)
    found = exchanges.take()
    assert found['calls'] == dict(all_gather=2, barrier=1, broadcast=1)
    assert found['bytes'] == dict(all_gather=48, barrier=0, broadcast=5)
    assert exchanges.take() == dict(calls={}, bytes={}, seconds={})


def test_counting_a_run(forked, config, tmp_path):  # noqa: F811
    config(**{'train_cfg.max_epochs': 1, 'custom_hooks': []})
    done = forked(
        *('count', 'config.py', '--processes', '2', '--work-dir', 'counted'),
        *('--out', 'counted.json', '--port', free_port()),
        tool='scaling.py',
    )
    assert done.status == [0], done.output[-3000:]
    found = json.loads((tmp_path / 'counted.json').read_text())
    phases = found['processes']['2']['phases']
    # No pixel of 4 rounds of 16 images is sent, but names and checksums.
    for name in ('initial bank', 'rounds of an epoch'):
        assert 0 < phases[name]['bytes'] < 4 * 16 * 64
        assert len(phases[name]['wait_seconds']) == 2
    steps = phases['student steps of an epoch']
    # Gradients of student, connectors and head, in both passes of 4 steps.
    assert steps['bytes'] > 0 and math.isfinite(steps['bytes'])
    assert all(each['pss'] > 0 for each in found['processes']['2']['memory'])
    assert SYNTHESIS  # of the config


@pytest.mark.parametrize(
    'words, message',
    [
        (['configs/teachers/resnet_digits.py'], 'give a config that has them'),
        (
            [
                *('configs/csd/csd_quickstart_digits.py', '--cfg-options'),
                'defualt_hooks.synthesis.rounds=3',
            ],
            'did you mean default_hooks.synthesis.rounds?',
        ),
    ],
    ids=['config', 'option'],
)
def test_what_cannot_be_counted(monkeypatch, tmp_path, capsys, words, message):
    words = ['count', *words, '--work-dir', str(tmp_path / 'counted')]
    monkeypatch.setattr(sys, 'argv', ['tool', *words])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=re.escape(message)):
        scaling.main()
    assert not (tmp_path / 'counted').exists()
