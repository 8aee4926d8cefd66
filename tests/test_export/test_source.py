# Copyright (c) csd_mmrazor developers. All rights reserved.
import os

import pytest

from csd_mmrazor.export import (
    find_checkpoint,
    find_config,
    read_run_config,
    source,
    was_chosen,
)
from csd_mmrazor.report.run_files import read_run


@pytest.mark.parametrize(
    'files, source, message',
    [
        ([], 'gone.pth', 'gone.pth is no checkpoint, nor a folder'),
        ([], '.', 'no checkpoint, nor a folder with one .best_'),
        (['manifest.json'], '.', 'is an image bank, .* its run, such as /'),
    ],
)
def test_nothing_to_export(tmp_path, monkeypatch, files, source, message):
    monkeypatch.chdir(tmp_path)
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=message):
        find_checkpoint(source)


@pytest.mark.parametrize(
    'save_best, expected, is_told',
    [
        ("['accuracy/top1', 'single-label/f1-score']", 'accuracy_top1', 0),
        ("['single-label/f1-score', 'accuracy/top1']", 'single-label', 0),
        ("'accuracy/top1'", 'accuracy_top1', 0),
        ("'auto'", 'single-label', 1),
        (None, 'single-label', 1),
    ],
)
def test_best_by_several_metrics(
    tmp_path, monkeypatch, save_best, expected, is_told
):
    """The first is what counts, as for MMEngine, not the latest of any."""
    told = []
    monkeypatch.setattr(source, 'print_log', lambda *a: told.append(a[0]))
    for name in (
        'accuracy_top1_epoch_1',
        'accuracy_top1_epoch_2',
        'single-label_f1-score_epoch_3',
        'agreement_epoch_4',
    ):
        (tmp_path / f'best_{name}.pth').touch()
    if save_best is not None:
        (tmp_path / 'config.py').write_text(
            f'default_hooks = dict(checkpoint=dict(save_best={save_best}))'
        )
    found = find_checkpoint(tmp_path)
    assert found.name.startswith(f'best_{expected}')
    assert not found.name.endswith('_1.pth')
    assert len(told) == is_told


@pytest.mark.parametrize(
    'name, expected',
    [
        ('best_accuracy_top1_epoch_3.pth', True),
        ('best_accuracy_top1_iter_30.pth', True),
        ('best_agreement_epoch_3.pth', False),
        ('epoch_3.pth', False),
    ],
)
def test_whether_validation_chose_weights(tmp_path, name, expected):
    assert was_chosen(tmp_path / name) == expected
    (tmp_path / 'student.json').write_text(f'{{"checkpoint": "{name}"}}')
    for suffix in ('pth', 'safetensors'):
        assert was_chosen(tmp_path / f'student.{suffix}') == expected


def test_which_checkpoint_and_config(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_2.pth')
    assert find_checkpoint(tmp_path).name == 'epoch_2.pth'
    (tmp_path / 'best_student.pth').touch()  # that somebody exported
    assert find_checkpoint(tmp_path).name == 'epoch_2.pth'
    (tmp_path / 'best_accuracy_top1_epoch_1.pth').touch()
    assert find_checkpoint(tmp_path).name == 'best_accuracy_top1_epoch_1.pth'
    assert find_checkpoint(tmp_path / 'epoch_2.pth').name == 'epoch_2.pth'
    with pytest.raises(FileNotFoundError, match='--config CONFIG.py'):
        find_config(tmp_path / 'epoch_2.pth')
    (tmp_path / 'config.py').touch()
    assert find_config(tmp_path / 'epoch_2.pth').name == 'config.py'
    (tmp_path / 'another.py').touch()
    with pytest.raises(FileNotFoundError, match='another.py, config.py.*--co'):
        find_config(tmp_path / 'epoch_2.pth')


def test_a_student_that_was_exported_already(tmp_path):
    (tmp_path / 'out.pth').touch()
    (tmp_path / 'out.json').write_text('{"exported_by": "csd_mmrazor 0.1"}')
    with pytest.raises(FileNotFoundError, match='that out.json names, epoch'):
        find_config(tmp_path / 'out.pth')


@pytest.mark.parametrize('beside', [(), ('b.py', 'a.py'), ('a.py', 'b.py')])
@pytest.mark.parametrize('newest', [0, 1, 2])
def test_times_of_files_do_not_matter(tmp_path, beside, newest):
    """On network disks, and in copies, they are in any order."""
    starts = ('20260101_235959', '20260102_000000', 'x20260103_000000')
    for number, start in enumerate(starts):
        config = tmp_path / start / 'vis_data/config.py'
        config.parent.mkdir(parents=True)
        config.write_text(f'start = {number}')
        os.utime(config, (0, 10 if number == newest else 5))
    for number, name in enumerate(beside):
        (tmp_path / name).write_text('start = 9')
        os.utime(tmp_path / name, (0, 20 + number))
    assert find_config(tmp_path / 'epoch_2.pth').read_text() == 'start = 1'
    (tmp_path / 'epoch_2.pth').touch()
    assert read_run(tmp_path).config == dict(start=1)


def test_keys_that_would_be_code_where_they_are_written(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('model = {"a\': print(1), \'b": 1}')
    with pytest.raises(ValueError, match='no key of a config .* --config'):
        read_run_config(path)
