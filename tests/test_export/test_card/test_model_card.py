# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import re

import pytest
import torch
from card_helpers import export
from helpers import front_of, network

from csd_mmrazor.export import notes


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
        'Real images in training: none',
        f'Top-1 {top1:.2f} % on the real images of Digits, split test',
        'chosen on these same images',
        'Licence of the teacher: cc-by-4.0',
        'Synthetic images',
        '`student.safetensors` and `student.pth`',
    ):
        assert text in body, text


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
                    ckpt_path='https://host/b.pth?Signature=secret',
                ),
            ),
            student_ckpt='https://me@host/start.safetensors?secret',
        ),
    )
    assert exported.card == tmp_path / 'README.md'
    front, body = front_of(exported.card)
    assert front['model-index'] == [dict(name='out', results=[])]
    assert 'license' not in front
    assert '## Accuracy\n\nNot measured.' in body
    assert 'Licence of the teacher: not given' in body
    assert 'Teacher: Net, weights `none`' in body
    assert 'Teacher: mmpretrain::b.py, weights `b.pth`' in body
    assert 'secret' not in body
    assert 'started from the weights in `start.safetensors`' in body


@pytest.mark.parametrize('classes', [None, ['cat', 'dog']])
def test_names_of_classes_where_there_are_some(classes, tmp_path):
    data = {}
    if classes:
        data = dict(dataset=dict(type='A', metainfo=dict(classes=classes)))
    exported = export(tmp_path, val_dataloader=data, val_evaluator=[])
    told = json.loads(exported.description.read_text())
    assert told.get('classes') == classes == exported.classes
    is_said = bool(classes)
    assert ('names of the classes' in exported.card.read_text()) == is_said
    told = '\n'.join(notes(exported))
    assert ('std and classes' in told) == is_said
    # Small networks are no 0.0 MB.
    assert re.search(r'\.pth \([1-9]\d{0,2} kB\), the state dict', told)


@pytest.mark.parametrize('number, is_written', [(10, True), (9, False)])
def test_as_many_names_as_the_student_has_classes(
    number, is_written, tmp_path
):
    """Those of other classes are left out of all files, and it is told."""
    names = [f'n{i}' for i in range(number)]
    exported = export(
        tmp_path,
        model=dict(architecture=network(), image_shape=(1, 8, 8)),
        val_dataloader=dict(
            dataset=dict(type='A', metainfo=dict(classes=names))
        ),
        val_evaluator=[],
    )
    told = json.loads(exported.description.read_text())
    assert ('classes' in told) == is_written and told['num_classes'] == 10
    meta = torch.load(exported.checkpoint, weights_only=False)['meta']
    assert ('dataset_meta' in meta) == is_written
    assert ('names of the classes' in exported.card.read_text()) == is_written
    said = '9 classes (n0, ...), but the student tells 10: set metainfo'
    assert (said in '\n'.join(notes(exported))) != is_written


def test_files_of_an_earlier_export_are_told(tmp_path):
    """They may be of another student."""
    exported = export(tmp_path)
    assert 'of an earlier export' not in '\n'.join(notes(exported))
    exported.weights.with_suffix('.onnx').touch()
    told = notes(exported)[-1]
    assert told.startswith('out.onnx beside it, of an earlier export')


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
    assert 'Real images in training: those of CIFAR10Images d' in body
    assert 'data-free' not in front['tags']
    assert 'Teacher' not in body
    assert exported.safetensors.is_file()


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
