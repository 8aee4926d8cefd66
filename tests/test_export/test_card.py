# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import pytest
import torch
from helpers import ROOT, build, front_of, network
from mmengine.config import Config
from PIL import Image

from csd_mmrazor.cli.export_student import check_free
from csd_mmrazor.datasets import BankFolder, ImageBank
from csd_mmrazor.engine.hooks import ExportStudentHook
from csd_mmrazor.export import calibration_images, export_student, notes
from csd_mmrazor.export.card import (
    card_path,
    model_card,
    quality_of,
    quantized_card,
    real_images,
    training_bank,
)
from csd_mmrazor.export.student import _public, normalisation_of
from csd_mmrazor.utils.accuracy import FITS, estimate_accuracy


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
    assert 'Accuracy: not measured' in body
    assert 'Licence of the teacher: not given' in body
    assert 'Teacher: Net, weights `none`' in body
    assert 'Teacher: mmpretrain::b.py, weights `b.pth`' in body
    assert 'started from the weights in `start.safetensors`' in body


def logged(work_dir, **scalars):
    """A checkpoint of epoch 2 in a work dir that logged such scalars."""
    path = work_dir / '2026/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    lines = [
        json.dumps({'step': epoch, **{k: v + epoch for k, v in each.items()}})
        for epoch in (1, 2)
        for each in [{k.replace('__', '/'): v for k, v in scalars.items()}]
    ]
    path.write_text('\n'.join(lines))
    return work_dir / 'best_agreement_epoch_2.pth'


HELD_OUT = dict(
    agreement__held_out_top1=70,
    agreement__held_out_recognised=90,
    agreement__held_out_images=30,
)
SEEN = dict(agreement__seen_top1=75, agreement__seen_recognised=90)


@pytest.mark.parametrize(
    'scalars, meta, agreement, images',
    [
        (HELD_OUT, dict(epoch=2), 72, 'held_out'),
        (SEEN, dict(epoch=2, student='last'), 77, 'seen'),
        ({**HELD_OUT, **SEEN}, dict(epoch=2), 72, 'held_out'),
        (
            {**HELD_OUT, 'agreement_mean__held_out_top1': 80},
            dict(epoch=2, student='mean'),
            82,
            'held_out',
        ),
        (HELD_OUT, dict(epoch=2, student='mean'), None, None),
        (HELD_OUT, dict(epoch=3), None, None),
        (HELD_OUT, dict(epoch='2'), None, None),
        (dict(agreement__held_out_top1=70), dict(epoch=2), None, None),
        (
            dict(HELD_OUT, agreement__held_out_top1=float('nan')),
            dict(epoch=2),
            None,
            None,
        ),
    ],
)
def test_an_estimate_in_place_of_an_accuracy(
    tmp_path, scalars, meta, agreement, images
):
    checkpoint = logged(tmp_path, **scalars)
    cfg = Config(dict(model=dict(architecture=network())))
    quality = quality_of(cfg, checkpoint, meta)
    card = tmp_path / 'a.md'
    card.write_text(model_card(cfg, tmp_path / 'a.pth', {}, quality))
    front, body = front_of(card)
    (index,) = front['model-index']
    if agreement is None:
        assert quality is None and index['results'] == []
        assert 'Accuracy: not measured.\n' in body
        return
    fit = FITS[images]
    number = 32 if images == 'held_out' else None  # with its epoch, see above
    expected = estimate_accuracy(fit, agreement, images=number)
    (result,) = index['results']
    assert [m['value'] for m in result['metrics']] == [
        agreement,
        round(expected.top1, 2),
    ]
    assert 'estimated, off by' in result['metrics'][1]['name']
    kinds = [m['type'] for m in result['metrics']]
    assert kinds == ['agreement', 'agreement_based_estimate']
    for text in (
        f'like its teacher on {agreement}.0 %',
        f'estimated at {expected.top1:.1f} %',
        f'{expected.low:.1f} to {expected.high:.1f}.',
        f'off by {fit.mean_error:.1f} points',
        f'{fit.worst_error:.1f} on the worst task',
        f'{number} images are few' if number else 'How many images that were',
        f'% of {number} ' if number else '% of synthetic',
        'held out from' if images == 'held_out' else 'it was trained on',
    ):
        assert text in body, text


def test_images_that_are_none_of_the_classes(tmp_path):
    scalars = dict(HELD_OUT, agreement__held_out_recognised=20)
    cfg = Config(dict(model=dict(architecture=network())))
    quality = quality_of(cfg, logged(tmp_path, **scalars), dict(epoch=2))
    card = tmp_path / 'a.md'
    card.write_text(model_card(cfg, tmp_path / 'a.pth', {}, quality))
    front, body = front_of(card)
    ((result,),) = (each['results'] for each in front['model-index'])
    assert [m['type'] for m in result['metrics']] == ['agreement']
    assert 'only 22.0 % for the class' in body and 'estimated' not in body


def test_a_run_logs_what_its_card_needs(tiny_runner, tmp_path):
    options = {
        'train_dataloader.dataset.held_out': 0.25,
        'train_cfg.max_epochs': 1,
        'default_hooks.agreement.always': True,
        'default_hooks.synthesis.grid_images': 0,
    }
    tiny_runner(**options).train()
    cfg = Config(dict(model={}))
    found = quality_of(cfg, tmp_path / 'run/epoch_1.pth', dict(epoch=1))
    assert found.images == 'held_out' and 0 <= found.recognised <= 100
    assert found.number == 12


@pytest.mark.parametrize('agreement', [None, 0.987])
@pytest.mark.parametrize('source', ['noise', 'pictures', 'bank'])
def test_quantized_without_a_test(tmp_path, monkeypatch, agreement, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'bank').mkdir()
    (tmp_path / 'bank/manifest.json').write_text('{}')
    told = dict(
        calibrated_on=source,
        bits=8,
        file_bytes=325208,
        float_bytes=1091000,
        calibration_images=10,
        distil_steps=0,
        agreement=agreement,
        compared_images=50,
    )
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=network()))
    )
    cfg = Config(dict(model=model))
    before = quality_of(cfg, logged(tmp_path, **HELD_OUT), dict(epoch=2))
    out = tmp_path / 'a.onnx'
    text = quantized_card(cfg, out, told, 'student', before=before)
    (tmp_path / 'a.md').write_text(text)
    front, body = front_of(tmp_path / 'a.md')
    (index,) = front['model-index']
    assert len(index['results']) == (agreement is not None)
    assert ('data-free' in front['tags']) == (source != 'pictures')
    assert ('98.7 % of 50 other' in body) == (agreement is not None)
    assert '325 kB, before 1091' in body
    assert 'Before it was quantized: not measured. It decides like' in body
    assert 'estimated at' in body


@pytest.mark.parametrize(
    'start, told, weights',
    [
        (dict(weights='random weights'), 'random weights\n', 'teacher.pth'),
        (
            dict(weights='the weights in `s.pt`', teacher='t.pt'),
            's.pt`',
            't.pt',
        ),
        (dict(weights=''), None, 'teacher.pth'),
        ({}, None, 'teacher.pth'),
        (3, None, 'teacher.pth'),
        (None, None, 'teacher.pth'),  # moved, or no record
    ],
)
def test_a_copy_of_weights_is_not_where_they_are_from(
    start, told, weights, tmp_path
):
    if start is not None:
        (tmp_path / 'distill.json').write_text(json.dumps(dict(start=start)))
    teacher = dict(
        build_cfg=network(), ckpt_path=str(tmp_path / 'networks/teacher.pth')
    )
    model = dict(
        architecture=network(),
        teachers=dict(a=teacher),
        student_ckpt=str(tmp_path / 'networks/student.pth'),
    )
    text = model_card(Config(dict(model=model)), tmp_path / 'a.pth', {})
    assert ('It started from' in text) == bool(told)
    assert not told or told in text
    assert f'weights `{weights}`' in text and '`student.pth`' not in text


@pytest.mark.parametrize('origin', ['teachers.a', 'some/file.pth'])
def test_what_is_not_said_of_a_teacher(origin, tmp_path):
    told = dict(
        calibrated_on=str(tmp_path),
        bits=8,
        file_bytes=1,
        float_bytes=1,
        calibration_images=10,
        calibration_real=10,
        distil_steps=0,
        agreement=None,
    )
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=network()))
    )
    text = quantized_card(
        Config(dict(model=model)), tmp_path / 'a.onnx', told, origin
    )
    is_teacher = origin == 'teachers.a'
    assert ('trained on them' in text) != is_teacher
    assert ('what it learnt of its training data: if' in text) == is_teacher
    assert (
        'Images used: to train it, not known here; to quantize it, pictures '
        f'in `{tmp_path.name}`\n'
    ) in text
    assert 'quantized by real pictures as well' in text


@pytest.mark.parametrize(
    'build_cfg, told',
    [
        (dict(factory='/home/me/net.py:Net'), 'Teacher: Net,'),
        (dict(cfg_path='/home/me/net.py'), 'Teacher: net.py,'),
        (dict(cfg_path='mmpretrain::resnet/a.py'), '`mmpretrain'),
    ],
)
def test_networks_are_named_without_their_paths(build_cfg, told, tmp_path):
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=build_cfg))
    )
    text = model_card(Config(dict(model=model)), tmp_path / 'a.pth', {})
    assert told.strip('`') in text and '/home' not in text


@pytest.mark.parametrize(
    'value, told',
    [
        ('/home/me/net.py:Net', 'net.py:Net'),
        ('net.py:Net', 'net.py:Net'),
        ('timm.create_model', 'timm.create_model'),
        ('lent:student', 'lent:student'),
        (None, None),
        (
            dict(a=[1, '/home/me/w.pth'], b=('x/y', 0.5)),
            dict(a=[1, 'w.pth'], b=['x/y', 0.5]),
        ),
    ],
)
def test_what_of_a_network_is_public(value, told):
    assert _public(value) == told


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
    assert ('std and classes' in '\n'.join(notes(exported))) == is_said


def test_means_are_as_they_were_given():
    given = [0.305 * 255, 123.675, 0.1, 1 / 3]
    std = [0.376 * 255, 58.395, 255.0, 1e-3]
    found = normalisation_of(
        build(dict(type='mmpretrain.ClsDataPreprocessor', mean=given, std=std))
    )
    assert found['mean'] == [77.775, 123.675, 0.1, 0.333333]
    assert found['std'] == [95.88, 58.395, 255.0, 0.001]


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
            [
                'the pictures, from the folder `pictures`, labelled by their '
                'folders, with which the bank was started'
            ],
        ),
        (
            dict(
                type='ImageBank',
                init_bank='/home/me/few/',
                init_labels='teacher',
            ),
            [
                'the pictures, from the folder `few`, labelled by the '
                'teacher, with which the bank was started'
            ],
        ),
        (
            dict(type='SVHNImages', data_root='/home/me/data'),
            ['those of SVHNImages data'],
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


def bank_from(path, start, labels='folders'):
    """A bank with 4 images of its own after those that it starts with."""
    bank = ImageBank(init_bank=start and str(start), init_labels=labels)
    bank.open(
        path, (1, 2, 2), 2, labeller=lambda x: torch.zeros(len(x)).long()
    )
    bank.append(
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4).long(), 0, 0
    )
    return BankFolder(path)


@pytest.fixture
def few(tmp_path):
    """A folder of 3 pictures of 2 classes."""
    for number in range(3):
        path = tmp_path / f'few/{number % 2}/{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (2, 2), number).save(path)
    return tmp_path / 'few'


@pytest.mark.parametrize(
    'start, labels, real, told',
    [
        (None, 'folders', 0, None),
        (
            'few',
            'folders',
            3,
            'from the folder `few`, labelled by their folders',
        ),
        (
            'few',
            'teacher',
            3,
            'from the folder `few`, labelled by the teacher',
        ),
        # Banks that started from these.
        ('bank', 'folders', 3, 'whose labels are of unknown origin'),
        ('bank of bank', 'folders', 3, 'whose labels are of unknown origin'),
        ('synthetic bank', 'folders', 0, None),
    ],
)
def test_real_images_of_a_bank_are_told(
    start, labels, real, told, few, tmp_path
):
    """In training, calibration and agreement, and in what they reveal."""
    places = {None: None, 'few': few}
    if 'bank' in f'{start}':
        bank_from(tmp_path / 'a', None if 'syn' in start else few)
        bank_from(tmp_path / 'b', tmp_path / 'a')
        places.update(bank=tmp_path / 'a', synthetic=tmp_path / 'a')
        places.update({start: tmp_path / ('b' if 'of' in start else 'a')})
    bank = bank_from(tmp_path / 'run/bank', places[start], labels)
    assert bank.real_images == real
    data = dict(type='mmrazor.ImageBank')
    if start:
        data.update(init_bank=f'{places[start]}', init_labels=labels)
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=network()))
    )
    cfg = Config(dict(model=model, train_dataloader=dict(dataset=data)))
    assert training_bank(cfg, tmp_path / 'run').shards == bank.shards
    (tmp_path / 'log').mkdir()
    quality = quality_of(
        cfg, logged(tmp_path / 'log', **HELD_OUT), dict(epoch=2)
    )
    found = calibration_images(tmp_path / 'run/bank', (1, 2, 2))
    assert found.real.sum() == real
    numbers = dict(calibration_images=len(bank), calibration_real=real)
    numbers.update(compared_images=5, compared_real=min(real, 2))
    cards = dict(
        student=model_card(cfg, tmp_path / 'a.pth', {}, quality, bank=bank),
        quantized=quantized_card(
            cfg,
            tmp_path / 'a.onnx',
            dict(
                calibrated_on=f'{bank.path}',
                bits=8,
                file_bytes=1,
                float_bytes=1,
                distil_steps=0,
                agreement=1,
                **numbers,
            ),
            'student',
            before=quality,
            bank=bank,
        ),
    )
    for name, text in cards.items():
        (tmp_path / 'card.md').write_text(text)
        front, body = front_of(tmp_path / 'card.md')
        ((result,),) = (each['results'] for each in front['model-index'])
        assert ('data-free' in front['tags']) == (not real), name
        assert ('holds 3 of them as they are' in body) == bool(real), name
        assert f'{tmp_path}' not in text, name
        if not real:
            assert result['dataset']['type'] == 'synthetic'
            assert 'Images used: none' in body or 'train it, none' in body
            continue
        assert result['dataset']['type'] == 'synthetic-and-real'
        assert 'real pictures' in result['dataset']['name']
        share = f'3 real pictures among the {len(bank)} images of the bank'
        assert f'{share}' in body and told in body, name
        assert '30 synthetic' not in body and '32 synthetic' not in body
        assert f'(there are {share})' in body
    if real:
        for text in (
            f'images of an image bank, {len(bank)} of them, of which 3 are',
            '5 other images of that kind, of which 2 are real pictures',
            'to quantize it, 3 real pictures of the image bank',
        ):
            assert text in body, text


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
    # Nor a file that has the name which a card takes then.
    (tmp_path / 'out.md').write_text('Mine as well')
    assert export(tmp_path).card == tmp_path / 'out_card.md'
    assert (tmp_path / 'out.md').read_text() == 'Mine as well'
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
