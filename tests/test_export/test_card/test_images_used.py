# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from card_helpers import HELD_OUT, logged
from helpers import ROOT, front_of, network
from mmengine.config import Config
from PIL import Image

from csd_mmrazor.datasets import BankFolder, ImageBank
from csd_mmrazor.export import calibration_images
from csd_mmrazor.export.card import (
    model_card,
    quality_of,
    quantized_card,
    real_images,
    training_bank,
)


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
                'the first pictures of the image bank, from the folder '
                '`pictures`, labelled by their folders'
            ],
        ),
        (
            dict(
                type='ImageBank',
                init_bank='/home/me/few/',
                init_labels='teacher',
            ),
            [
                'the first pictures of the image bank, from the folder '
                '`few`, labelled by the teacher'
            ],
        ),
        (
            dict(type='ImageBank', data_root='/gone/bank/'),
            ['not known, since the image bank `bank` is not there'],
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


@pytest.mark.parametrize('start', [None, 'few'])
def test_where_a_bank_is_gone_that_was_started_from_another(
    start, few, tmp_path
):
    bank_from(tmp_path / 'first', start and few)
    data = dict(type='ImageBank', init_bank=f'{tmp_path}/first')
    cfg = Config(dict(train_dataloader=dict(dataset=data)))
    assert training_bank(cfg, tmp_path / 'run') is None or start is None
    told = ['those of the image bank `first`'] if start else []
    assert real_images(cfg) == told


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
        ('bank', 'folders', 3, 'with labels of unknown origin'),
        ('bank of bank', 'folders', 3, 'with labels of unknown origin'),
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
                agreement=100,
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
        assert ('contains 3 of them unchanged' in body) == bool(real), name
        assert f'{tmp_path}' not in text, name
        if not real:
            assert result['dataset']['type'] == 'synthetic'
            assert 'training: none' in body or 'training, none' in body
            continue
        assert result['dataset']['type'] == 'synthetic-and-real'
        assert 'real pictures' in result['dataset']['name']
        share = f'3 real pictures among the {len(bank)} images of the bank'
        assert f'{share}' in body and told in body, name
        assert '30 synthetic' not in body and '32 synthetic' not in body
        assert f'({share})' in body
    if real:
        for text in (
            f'{len(bank)} images of an image bank, of which 3 are real',
            '5 other images of the same kind, of which 2 are real pictures',
            'in quantization, 3 real pictures in the image bank',
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
