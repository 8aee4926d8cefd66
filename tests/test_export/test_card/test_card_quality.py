# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import PurePosixPath

import pytest
from card_helpers import HELD_OUT, SEEN, logged
from helpers import front_of, network
from mmengine.config import Config

from csd_mmrazor.export.card import model_card, quality_of
from csd_mmrazor.export.card.networks import network_name
from csd_mmrazor.export.card.quality import accuracy_on
from csd_mmrazor.utils.accuracy import (
    FITS,
    doubts_about,
    error_of,
    estimate_accuracy,
)
from csd_mmrazor.utils.imports import lend


def card_of(tmp_path, scalars, meta):
    """What is made of a log, the results in a card of it, and its text."""
    cfg = Config(dict(model=dict(architecture=network())))
    quality = quality_of(cfg, logged(tmp_path, **scalars), meta)
    card = tmp_path / 'a.md'
    card.write_text(model_card(cfg, tmp_path / 'a.pth', {}, quality))
    front, body = front_of(card)
    (index,) = front['model-index']
    return quality, index['results'], body


@pytest.mark.parametrize(
    'scalars, meta, agreement, images',
    [
        (HELD_OUT, dict(epoch=2), 72, 'held_out'),
        (SEEN, dict(epoch=2, student='last'), 77, 'seen'),
        ({**HELD_OUT, **SEEN}, dict(epoch=2), 72, 'held_out'),
        (
            {
                **HELD_OUT,
                'agreement_mean__held_out_top1': 80,
                'agreement_mean__held_out_confident': 90,
                'agreement_mean__held_out_confident_images': 18,
            },
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
    quality, results, body = card_of(tmp_path, scalars, meta)
    if agreement is None:
        assert quality is None and results == []
        assert '## Accuracy\n\nNot measured.\n' in body
        return
    fit = FITS[images]
    # Those of 32 that the teacher is sure of; with its epoch, see above.
    number = 20 if images == 'held_out' else None
    which = f'the {number}' if number else 'those'
    confident = agreement + 10
    expected = estimate_accuracy(fit, confident, images=number)
    (result,) = results
    assert [m['value'] for m in result['metrics']] == [
        agreement,
        round(expected.percent_of_teacher, 2),
    ]
    assert 'estimated top-1' in result['metrics'][1]['name']
    kinds = [m['type'] for m in result['metrics']]
    assert kinds == ['agreement', 'agreement_based_estimate']
    for text in (
        f'same class as its teacher on {agreement}.0 %',
        f'and on {confident}.0 % of {which} that',
        f'Estimated accuracy: {expected}. {error_of(fit)}',
        *doubts_about(images, number),
        '% of 32 ' if number else '% of synthetic',
        'held out from' if images == 'held_out' else 'it was trained on',
    ):
        assert text in body, text


def test_images_that_are_none_of_the_classes(tmp_path):
    scalars = dict(HELD_OUT, agreement__held_out_recognised=20)
    _, (result,), body = card_of(tmp_path, scalars, dict(epoch=2))
    assert [m['type'] for m in result['metrics']] == ['agreement']
    assert 'only 22.0 % of them as the class' in body
    assert 'Estimated accuracy' not in body


def test_images_of_one_class(tmp_path):
    scalars = dict(HELD_OUT, agreement__held_out_chance=95)
    _, (result,), body = card_of(tmp_path, scalars, dict(epoch=2))
    assert [m['type'] for m in result['metrics']] == ['agreement']
    assert 'they would agree on 97.0 % of these' in body
    assert 'Estimated accuracy' not in body


def test_what_older_runs_did_not_log(tmp_path):
    scalars = dict(HELD_OUT)
    del scalars['agreement__held_out_confident']
    _, (result,), body = card_of(tmp_path, scalars, dict(epoch=2))
    assert [m['type'] for m in result['metrics']] == ['agreement']
    assert '72.0 %' in body and 'so no accuracy is estimated' in body


def test_images_in_a_folder_are_called_by_it():
    data = dict(type='mmrazor.FolderImages', data_root='/home/me/holiday')
    told = accuracy_on(data, 80.0)
    assert (told.data_type, told.data_name) == (
        'folderimages',
        'folder holiday',
    )


def test_what_only_a_program_has_is_called_by_its_class():
    data = dict(type='mmrazor.LentImages', dataset='val')
    student = dict(type='mmrazor.TorchClassifier', factory='lent:student')
    found = accuracy_on(data, 50.0)
    assert (found.data_type, found.data_name) == ('images', 'val')
    assert network_name(student) == 'student'
    with lend(val=PurePosixPath(), student=3.0):
        assert accuracy_on(data, 50.0).data_name == 'val (PurePosixPath)'
        assert network_name(student) == 'float'
    assert network_name(dict(student, factory='a.py:Net')) == 'Net'


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
    assert 0 <= found.sure <= 12
    assert (found.chance is None) == (found.sure == 0)
