# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
from helpers import ROOT, dump, network

from csd_mmrazor.cli import benchmark
from csd_mmrazor.cli.benchmark import KeptStudent, Parts, our_synthesis

OTHER = """
import time


def synthesis(parts):
    assert parts.synthesizer.batch_size == 16
    return lambda steps: 5.0


def student(parts):
    assert parts.loader.batch_size == 16
    return lambda steps: 7.0
"""


def test_benchmark(forked, tmp_path, tiny_config):
    """All sides run, and the file has what the table has."""
    cfg = tiny_config()
    cfg.model.teachers.teacher.ckpt_path = 'not needed'
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'other.py').write_text(OTHER)
    done = forked(
        'config.py',
        '--blocks=1',
        '--steps=1',
        '--bank=64',
        '--round',
        1,
        1,
        '--against=other.py',
        '--startup',
        '--out=out.json',
        tool='benchmark.py',
    )
    assert done.status == [0], done.output[-3000:]
    result = json.loads((tmp_path / 'out.json').read_text())
    times = result['seconds']
    assert times['other_synthesis']['median'] == 5
    for ours in ('synthesis', 'student'):
        step = times[f'{ours}_step']['median']
        bound = times[f'{ours}_bound']['median']
        assert result[f'{ours}_step_over_bound'] == step / bound
        other = times[f'other_{ours}']['median']
        assert result[f'other_{ours}_over_ours'] == other / step
        shares = result['time_by_part'][f'{ours}_step']
        assert abs(sum(shares.values()) - 1) < 1e-6
        for part in ('teacher', 'student', 'head', 'augmentation'):
            assert 0 < shares[part] < 1
        # The batch itself is the least that a step holds.
        assert result['peak_memory_mib'][f'{ours}_step'] > 16 * 64 / 2**20
    # No pass of the head's for images of a step of the synthesizer's.
    assert result['synthesis_step_passes'] == dict(
        generator=1, teacher=1, student=4
    )
    assert result['student_step_passes'] == dict(teacher=1, student=5)
    # With what is kept of the teacher, it does not run.
    for kept in ('student_step_kept_targets', 'student_step_kept_maps'):
        assert result[f'{kept}_passes'] == dict(teacher=0, student=5)
        assert result[f'{kept}_gflop'] < result['student_step_gflop']
        ratio = times[kept]['median'] / times['student_step']['median']
        assert result[f'{kept}_over_student_step'] == ratio
        assert result['peak_memory_mib'][kept] > 0
    for step in ('synthesis_step', 'student_step', 'student_step_kept_maps'):
        assert result[f'{step}_calls'] > 50
        assert result[f'{step}_gflop'] > 1e-3
    assert 'synthesis_step_calls' in done.stdout
    # Timed beside other tests: what it comes to is not known from this.
    for unit in 'startup', 'startup_cpu':
        seconds = result[f'{unit}_seconds']
        ratio = seconds['first_step'] / seconds['imports']
        assert result[f'{unit}_over_imports'] == ratio > 0
    assert 'synthesis_step_over_bound' in done.stdout


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {
                'model.data_preprocessor.augment': dict(
                    type='RandomResizedCropFlip', _delete_=True
                )
            },
            'views by RandomResizedCropFlip of data_preprocessor',
        ),
        (
            {
                'model.teachers.other': dict(
                    build_cfg=network(), ckpt_path='none'
                )
            },
            'model.teachers has teacher, other',
        ),
    ],
    ids=['augment', 'teachers'],
)
def test_sides_that_cannot_be_are_left_out(
    tmp_path, tiny_config, capsys, options, message
):
    cfg = tiny_config(**options)
    cfg.dump(tmp_path / 'config.py')
    args = Namespace(
        config=str(tmp_path / 'config.py'),
        cfg_options=None,
        amp=None,
        device='cpu',
        bank=64,
    )
    parts = Parts(args, str(tmp_path))
    assert KeptStudent.sides(parts) == {}
    said = capsys.readouterr().err
    for kept in ('kept_targets', 'kept_maps'):
        assert f'student_step_{kept}: ' in said
    assert said.count(message) == 2


@pytest.mark.parametrize(
    'config, message',
    [
        ('configs/teachers/resnet_digits.py', 'give a config that has them'),
        ('configs/baselines/dafl_digits.py', 'give a config that has them'),
        ('nowhere.py', 'nowhere.py'),
    ],
)
def test_configs_that_it_cannot_measure(forked, config, message):
    path = ROOT / config if config.startswith('configs') else config
    done = forked(path, tool='benchmark.py')
    assert done.status == [1]
    assert message in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('graph, first', [(False, 1), (True, 4)])
def test_the_clock_of_synthesis_starts_with_replays(monkeypatch, graph, first):
    now = []

    def synthesize(*_, iters, on_step, **__):
        for step in range(iters):
            now.append(100 if step < first else 1)
            on_step(step + 1)

    monkeypatch.setattr(benchmark.time, 'perf_counter', lambda: sum(now))
    parts = SimpleNamespace(
        synthesizer=SimpleNamespace(graph=graph, synthesize=synthesize),
        networks=None,
        num_classes=10,
        sync=lambda: None,
    )
    assert our_synthesis(parts, True)(3) == 1
    assert len(now) == first + 3


def test_a_misspelt_option_is_refused(forked):
    done = forked(
        *(ROOT / 'configs/csd/csd_quickstart_digits.py', '--cfg-options'),
        'trian_dataloader.batch_size=8',
        tool='benchmark.py',
    )
    assert done.status == [1]
    assert 'did you mean train_dataloader.batch_size?' in done.stderr


def test_a_config_without_a_head(forked, tmp_path, tiny_config):
    dump(tiny_config(), tmp_path / 'config.py')
    done = forked(
        *('config.py', '--cfg-options', 'model.aux_head=None'),
        tool='benchmark.py',
    )
    assert done.status == [1]
    assert 'the auxiliary head is measured too' in done.stderr
