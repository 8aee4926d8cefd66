# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from csd_mmrazor.api.start import (
    check_start,
    describe_weights,
    digest_of_layers,
    start_of,
)
from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.datasets.bank_folder import INITIAL


def network(seen=0):
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    net[1].num_batches_tracked += seen
    return net


def record_of(student, init_bank=None):
    return json.loads(json.dumps(dict(start=start_of(student, init_bank))))


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16])
def test_the_same_weights_continue(kind, tmp_path):
    student = network(3).to(kind)
    record = record_of(student)
    for weights in (None, 'file.pth'):
        assert check_start(record, student, weights, None, tmp_path) == ''
    # Where a run has come to its end, the caller has what it made.
    trained = network(9)
    with pytest.raises(ValueError, match='^student has other weights'):
        check_start(record, trained, None, None, tmp_path)
    record['trained'] = start_of(trained, None)['student']
    assert check_start(record, trained, None, None, tmp_path) == ''
    assert check_start({}, trained, None, None, tmp_path) == ''


def pruned(teacher, places):
    """A network with some channels of another."""
    count = len(places)
    net = nn.Sequential(nn.Conv2d(1, count, 1), nn.BatchNorm2d(count))
    state = teacher.state_dict()
    net.load_state_dict(
        {k: v[places] if v.ndim else v for k, v in state.items()}
    )
    return net


@pytest.mark.parametrize(
    'kind, options, told',
    [
        ('new', {}, 'random weights'),
        ('new', dict(blocks=True), 'blocks of its teacher'),
        ('new', dict(is_trained=True), 'weights that had been trained before'),
        ('new', dict(student_weights='/home/s.pt'), 'the weights in `s.pt`'),
        (
            'new',
            dict(student_weights='https://me@host/s.pt?Signature=secret'),
            'the weights in `s.pt`',
        ),
        ('trained', {}, 'weights that had been trained before'),
        ('pruned', {}, 'weights of its teacher, from which it was pruned'),
        # Of a hub, whose files may lack the number of batches.
        ('of statistics', {}, ''),
        ('without BN', {}, ''),
    ],
)
def test_what_weights_it_starts_from(kind, options, told):
    teacher = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4))
    teacher[1].running_mean.normal_()
    student = network(3 * (kind == 'trained'))
    if kind == 'pruned':
        student = pruned(teacher, [0, 3])
    elif kind == 'of statistics':
        student[1].running_mean += 1
    elif kind == 'without BN':
        student = nn.Sequential(nn.Conv2d(1, 2, 1))
    given = dict(student_weights=None, is_trained=False, blocks=False)
    assert describe_weights(student, teacher, **{**given, **options}) == told


def test_what_is_random_is_passed_over_with_a_word(tmp_path):
    record = record_of(network())
    note = check_start(record, network(), None, None, tmp_path)
    assert note == (
        '; the weights of the student that was passed are not used'
    )
    with pytest.raises(ValueError, match="student_weights='a.pth' has other"):
        check_start(record, network(), 'a.pth', None, tmp_path)


def test_other_pictures_are_refused(tmp_path):
    pictures, student = tmp_path / 'pictures', network()
    (pictures / '0').mkdir(parents=True)
    for name in 'ab':
        Image.new('L', (4, 4)).save(pictures / f'0/{name}.png')
    record = record_of(student, pictures)
    assert check_start(record, student, None, pictures, tmp_path) == ''
    (pictures / '0/b.png').unlink()
    with pytest.raises(ValueError, match='init_bank=.*pictures.* has other'):
        check_start(record, student, None, pictures, tmp_path)


def test_a_bank_may_have_grown(tmp_path):
    student = network()

    def add(bank, index, value):
        images = np.full((2, 1, 4, 4), value, np.uint8)
        bank.append(images, np.zeros(2, np.int64), INITIAL, index, True)

    banks = [BankFolder(tmp_path / name, (1, 4, 4), 2) for name in 'ab']
    for value, bank in enumerate(banks):
        add(bank, 0, value)
    record = record_of(student, banks[0].path)
    add(banks[0], 1, 7)
    assert check_start(record, student, None, banks[0].path, tmp_path) == ''
    with pytest.raises(ValueError, match='has other images'):
        check_start(record, student, None, banks[1].path, tmp_path)


def test_layers_count_and_where_they_lie_does_not():
    layers = [nn.Sequential(nn.Dropout(p)) for p in (0.1, 0.1, 0.2)]
    one, same, other = map(digest_of_layers, layers)
    assert one == same != other

    class Told(nn.Module):
        def extra_repr(self):
            return f'{object()}'

    assert digest_of_layers(Told()) == digest_of_layers(deepcopy(Told()))
