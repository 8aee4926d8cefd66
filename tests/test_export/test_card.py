# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import pytest
import torch
import yaml
from helpers import ROOT, build, network
from mmengine.config import Config

from csd_mmrazor.cli.export_student import check_free
from csd_mmrazor.engine.hooks import ExportStudentHook
from csd_mmrazor.export import export_student, notes
from csd_mmrazor.export.card import card_path, real_images


def front_of(path):
    """The YAML before a card, and what follows it."""
    text = path.read_text(encoding='utf-8')
    nothing, front, body = text.split('---\n', 2)
    assert nothing == ''
    try:
        from huggingface_hub import ModelCard
    except ImportError:
        pass
    else:
        card = ModelCard(text)
        (index,) = yaml.safe_load(front)['model-index']
        assert card.data.model_name == index['name']
        assert len(card.data.eval_results) == len(index['results'])
    return yaml.safe_load(front), body


def test_of_a_run(tiny_runner, tmp_path):
    runner = tiny_runner(
        **{
            'train_cfg.max_epochs': 1,
            'default_hooks.export.teacher_license': 'cc-by-4.0',
        }
    )
    runner.train()
    front, body = front_of(tmp_path / 'run/student/README.md')
    (scalars,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    (top1,) = (
        line['accuracy/top1']
        for line in map(json.loads, scalars.read_text().splitlines())
        if 'accuracy/top1' in line
    )
    (index,) = front['model-index']
    (result,) = index['results']
    (metric,) = result['metrics']
    assert index['name'] == 'student'
    assert metric['value'] == pytest.approx(top1, abs=0.005)
    assert (metric['type'], metric['verified']) == ('accuracy', False)
    assert result['task']['type'] == 'image-classification'
    assert result['dataset'] == dict(
        type='digits', name='Digits', split='test'
    )
    assert front['license'] == 'cc-by-4.0'
    assert {'data-free', 'knowledge-distillation'} <= {*front['tags']}
    for text in (
        'Teacher: ResNet_CIFAR (depth=18, base_channels=8), weights '
        '`teacher.pth`',
        'Algorithm: `CSDDistillation`',
        '`BNStatisticsLoss` (weight 1)',
        '`KLDivergence`',
        'Images used: none',
        f'top-1 {top1:.2f} % on the real images of Digits, split test',
        'chosen on these same images',
        'Licence of the teacher: cc-by-4.0',
        'Synthetic images',
        '`student.safetensors` and `student.pth`',
    ):
        assert text in body, text


def export(tmp_path, name='out.pth', **cfg):
    cfg.setdefault('model', dict(architecture=network()))
    path = tmp_path / 'weights.pth'
    torch.save(build(network()).state_dict(), path)
    return export_student(Config(cfg), path, tmp_path / name)


def test_not_validated_and_no_licence(tmp_path):
    exported = export(
        tmp_path,
        val_dataloader=dict(dataset=dict(type='Digits')),
        val_evaluator=dict(type='Accuracy'),
        model=dict(
            architecture=network(),
            teachers=dict(
                a=dict(build_cfg=dict(type='T', factory='a.py:Net')),
                b=dict(
                    build_cfg=dict(cfg_path='mmpretrain::b.py'),
                    ckpt_path='https://host/b.pth',
                ),
            ),
            student_ckpt='/somewhere/start.safetensors',
        ),
    )
    assert exported.card == tmp_path / 'README.md'
    front, body = front_of(exported.card)
    assert front['model-index'] == [dict(name='out', results=[])]
    assert 'license' not in front
    assert 'Accuracy: not validated' in body
    assert 'Licence of the teacher: not given' in body
    assert 'Teacher: Net, weights `none`' in body
    assert 'Teacher: mmpretrain::b.py, weights `b.pth`' in body
    assert 'started from the weights in `start.safetensors`' in body


def test_a_teacher_by_itself(tmp_path):
    """A classifier's own run, which had real images, is exported as well."""
    exported = export(
        tmp_path,
        model=network(),
        train_dataloader=dict(
            dataset=dict(
                type='RepeatDataset',
                dataset=dict(type='mmrazor.CIFAR10Images', data_root='d'),
            )
        ),
    )
    front, body = front_of(exported.card)
    assert 'Images used: those of CIFAR10Images d' in body
    assert 'data-free' not in front['tags']
    assert 'Teacher' not in body
    assert exported.safetensors.is_file()


@pytest.mark.parametrize(
    'data, told',
    [
        (dict(type='mmrazor.ImageBank'), []),
        (dict(type='ImageBank', init_bank=None), []),
        (dict(type='mmrazor.DummyImages'), []),
        (None, []),
        (
            dict(type='ImageBank', init_bank='pictures'),
            ['the pictures in pictures, from which the bank was started'],
        ),
        (
            dict(type='SVHNImages', split='extra'),
            ['those of SVHNImages extra'],
        ),
    ],
)
def test_real_images_are_told(data, told):
    cfg = Config(dict(train_dataloader=data and dict(dataset=data)))
    assert real_images(cfg) == told


@pytest.mark.parametrize(
    'name, real',
    [
        ('csd/csd_fast_resnet56_resnet20_cifar10', False),
        ('baselines/dafl_no-images_resnet34_resnet18_cifar10', False),
        ('baselines/dafl_resnet34_resnet18_cifar10', True),
        ('baselines/real-images_resnet56_resnet20_cifar10', True),
        ('teachers/resnet34_cifar10', True),
    ],
)
def test_real_images_of_configs(name, real):
    assert bool(real_images(Config.fromfile(ROOT / f'configs/{name}.py'))) == (
        real
    )


def test_nobodys_readme_is_overwritten(tmp_path):
    readme = tmp_path / 'README.md'
    assert export(tmp_path).card == readme
    # Its own is, another student's is not.
    check_free(str(tmp_path / 'out.pth'))
    assert export(tmp_path).card == readme
    assert export(tmp_path, 'b.pth').card == tmp_path / 'b.md'
    assert '# out\n' in readme.read_text()
    readme.write_bytes(b'Mine, \xff')
    assert export(tmp_path).card == tmp_path / 'out.md'
    assert readme.read_bytes() == b'Mine, \xff'
    readme.unlink()
    readme.mkdir()
    assert card_path(tmp_path / 'out.pth') == tmp_path / 'out.md'
    safe = tmp_path / 'new.safetensors'
    safe.touch()
    with pytest.raises(ValueError, match='new.safetensors is there'):
        check_free(str(tmp_path / 'new.pth'))


def test_what_safetensors_cannot_hold(tmp_path, monkeypatch):
    """It is exported all the same, and the reason told."""

    def fail(state):
        raise ValueError('w is a torch.sparse_coo tensor')

    monkeypatch.setattr('csd_mmrazor.export.student.write_safetensors', fail)
    exported = export(tmp_path)
    assert exported.safetensors is None and exported.weights.is_file()
    assert not (tmp_path / 'out.safetensors').exists()
    assert 'since w is a torch.sparse_coo' in '\n'.join(notes(exported))
    assert 'out.safetensors' not in exported.card.read_text()


@pytest.mark.parametrize('value', ['', ' ', 3, ['mit']])
def test_a_licence_is_a_text(value):
    with pytest.raises(ValueError, match='teacher_license of ExportStudent'):
        ExportStudentHook(teacher_license=value)
