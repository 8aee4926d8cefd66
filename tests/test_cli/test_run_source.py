# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest
from mmengine.config import Config

from csd_mmrazor.cli.run_source import (
    Run,
    is_teacher,
    network_of,
    teachers_of,
)
from csd_mmrazor.export import look_up_in


@pytest.mark.parametrize(
    'dataset, hook, bank',
    [
        (dict(type='mmrazor.ImageBank'), {}, 'run/bank'),
        (dict(type='mmrazor.ImageBank'), dict(bank_dir='b'), 'run/b'),
        # A finished one has its own place, other data no bank in it.
        (dict(type='mmrazor.ImageBank', data_root='a/bank'), {}, 'a/bank'),
        (dict(type='mmrazor.ImageBank', data_root=None), {}, 'run/bank'),
        (dict(type='CIFAR10', data_root='a'), {}, 'run/bank'),
        (None, {}, 'run/bank'),
        (None, None, 'run/bank'),
    ],
)
def test_where_the_images_of_a_run_are(
    dataset, hook, bank, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    cfg = dict(
        model={},
        default_hooks=None if hook is None else dict(synthesis=hook),
        train_dataloader=dataset and dict(dataset=dataset),
    )
    Path('run').mkdir()
    text = '\n'.join(f'{key} = {value!r}' for key, value in cfg.items())
    Path('run/config.py').write_text(text)
    assert Run('run', None).bank == Path(bank)


@pytest.mark.parametrize('given', [True, False])
@pytest.mark.parametrize(
    'part, message',
    [
        (dict(model=5), 'model of .*a.py should be a dict or None, but got 5'),
        (dict(default_hooks=[1]), 'default_hooks of '),
        (dict(default_hooks=dict(export=1)), 'default_hooks.export of'),
        (
            dict(default_hooks=dict(synthesis='x')),
            'default_hooks.synthesis of',
        ),
        (dict(default_hooks=dict(synthesis=dict(bank_dir=5))), 'bank_dir of'),
        (dict(train_dataloader=5), 'train_dataloader of'),
        (dict(train_dataloader=dict(dataset=[])), 'train_dataloader.dataset'),
        (dict(model=dict(distiller=2)), 'model.distiller of'),
    ],
)
def test_parts_of_another_type(part, message, given, tmp_path):
    path = tmp_path / 'a.py'
    path.write_text('\n'.join(f'{key} = {part[key]!r}' for key in part))
    with pytest.raises(ValueError, match=message):
        Run(str(tmp_path), str(path) if given else None)


@pytest.mark.parametrize('before', ['{tmp}/old', './old', 'old/'])
@pytest.mark.parametrize('is_copy', [False, True])
def test_files_of_a_work_dir_that_was_moved(
    before, is_copy, tmp_path, monkeypatch
):
    """A copy has its own; what is not in it stays as it is."""
    monkeypatch.chdir(tmp_path)
    before = before.format(tmp=tmp_path)
    for folder in ('new', 'old') if is_copy else ('new',):
        Path(folder, 'networks').mkdir(parents=True)
        Path(folder, 'networks/t.pth').touch()
    Path('older').mkdir()
    Path('new/rest').mkdir()
    cfg = Config(
        dict(
            work_dir=before,
            model=dict(
                teachers=dict(t=dict(ckpt_path=f'{before}/networks/t.pth')),
                same=[(f'{before}/none.pth', 'older/rest', 3, 'text', '')],
            ),
        )
    )
    expected = cfg.copy().to_dict()
    if is_copy:  # a run from its config reads what it says
        assert look_up_in('new', cfg.copy(), lost=True).to_dict() == expected
    look_up_in(tmp_path / 'new', cfg)
    path = str(tmp_path / 'new/networks/t.pth')
    expected['model']['teachers']['t']['ckpt_path'] = path
    assert cfg.to_dict() == expected
    # Nothing to change in the work dir itself.
    assert look_up_in(before, cfg).to_dict() == expected


def test_a_teacher_whose_file_is_gone(tmp_path):
    cfg = dict(
        work_dir='old',
        model=dict(
            teachers=dict(a=dict(build_cfg={}, ckpt_path='old/a.pth')),
        ),
    )
    text = '\n'.join(f'{key} = {value!r}' for key, value in cfg.items())
    (tmp_path / 'config.py').write_text(text)
    run = Run(str(tmp_path), None)
    with pytest.raises(FileNotFoundError, match='--config') as info:
        network_of('teacher', run)
    assert 'model.teachers.a.ckpt_path' in str(info.value)
    assert '--cfg-options' not in str(info.value)


@pytest.mark.parametrize('weights', ['rand', 'ones'])
def test_a_teacher_without_a_file(weights, tmp_path):
    """One that brings its weights along is another thing."""
    net = tmp_path / 'code/net.py'
    net.parent.mkdir()
    net.write_text(
        'import torch\ndef make():\n    net = torch.nn.Linear(3, 2)\n'
        f'    net.weight.data = torch.{weights}(2, 3)\n'
        '    net.bias.data = torch.zeros(2)\n    return net\n'
    )
    made = dict(type='mmrazor.TorchClassifier', factory=f'{net}:make')
    teachers = dict(a=dict(build_cfg=made, ckpt_path='none'))
    config = tmp_path / 'run/config.py'
    config.parent.mkdir()
    config.write_text(f'model = dict(teachers={teachers})')
    run = Run(str(config.parent), None)
    if weights == 'ones':
        assert network_of('teacher', run).net.weight.sum() == 6
        return
    with pytest.raises(ValueError, match='teachers.a .* cannot be had again'):
        network_of('teacher', run)


def test_a_run_of_another_algorithm(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("model = dict(type='SingleTeacherDistill', teacher={})")
    run = Run(str(tmp_path), None)
    with pytest.raises(ValueError, match='needs a .* SingleTeacherDistill.$'):
        teachers_of(run)
    path.write_text("model = dict(type='CSDDistillation')")
    with pytest.raises(TypeError, match='model.teachers should be a dict'):
        teachers_of(Run(str(tmp_path), None))


def test_a_file_that_is_called_like_a_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('teachers.pth').touch()
    assert not is_teacher('teachers.pth') and is_teacher('teachers.a')
    assert is_teacher('teacher') and not is_teacher('student')


def test_no_run_at_all():
    with pytest.raises(FileNotFoundError, match="'' does not exist"):
        Run('', None)
