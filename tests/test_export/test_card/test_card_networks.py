# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import re

import pytest
from card_helpers import logged
from helpers import network
from mmengine.config import Config

from csd_mmrazor.export.card import as_it_ran, model_card


@pytest.mark.parametrize(
    'start, told, weights',
    [
        (dict(teacher=None), None, None),
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
    assert ('student started from' in text) == bool(told)
    assert not told or told in text
    told = f'weights `{weights}`' if weights else 'given in memory\n'
    assert told in text and '`student.pth`' not in text


@pytest.mark.parametrize('hook', ['TeacherBlocksHook', 'RefitHook'])
def test_weights_that_are_the_teachers(hook, tmp_path):
    hooks = [dict(type='SyncBuffersHook'), dict(type=f'mmrazor.{hook}')]
    model = dict(architecture=network(), student_ckpt=None)
    cfg = Config(dict(model=model, custom_hooks=hooks))
    text = model_card(cfg, tmp_path / 'a.pth', {})
    told = 'The student started from copies of blocks of its teacher\n'
    assert (told in text) == (hook == 'TeacherBlocksHook')


@pytest.mark.parametrize(
    'given, told',
    [
        (
            dict(load_from='https://a.org/run.pth?key=1'),
            'The run .* `run.pth`',
        ),
        (dict(load_from='b/epoch_3.pth', resume=True), None),
        (dict(init_cfg='b/backbone.pth'), 'The network .* `backbone.pth`'),
    ],
)
def test_weights_by_the_keys_of_mmengine(given, told, tmp_path):
    cfg = Config(dict(given, model=dict(architecture=network())))
    start = cfg.pop('init_cfg', None)
    if start:
        cfg.model.architecture.backbone.init_cfg = [
            dict(type='Pretrained', checkpoint=start, prefix='backbone.')
        ]
    text = model_card(cfg, tmp_path / 'a.pth', {})
    assert bool(re.search(f'- {told}\n', text)) == bool(told)
    assert ('started from' in text) == bool(told)


@pytest.mark.parametrize('is_fitted', [True, False])
def test_a_student_that_was_fitted(is_fitted, tmp_path):
    """The hook may have left it as it was."""
    if is_fitted:
        (tmp_path / 'networks').mkdir()
        (tmp_path / 'networks/student_fitted.pth').touch()
    hooks = [dict(type='SyncBuffersHook'), dict(type='mmrazor.RefitHook')]
    model = dict(architecture=network())
    cfg = Config(dict(model=model, custom_hooks=hooks))
    text = model_card(as_it_ran(cfg, tmp_path), tmp_path / 'a.pth', {})
    assert ('fitted to the teacher' in text) == is_fitted
    assert len(cfg.custom_hooks) == 2


ODD = 'Net\n\n# No licence\n<script>a()</script>[b](c)\x1b[2J'


def test_names_of_others_do_nothing(tmp_path):
    """Nor do they break the lines that they are in."""
    (tmp_path / 'distill.json').write_text(
        json.dumps(dict(start=dict(weights=ODD, teacher=ODD)))
    )
    teacher = dict(
        build_cfg=dict(cfg_path=f'a::{ODD}'),
        ckpt_path=str(tmp_path / 'networks/teacher.pth'),
    )
    model = dict(
        architecture=dict(factory=f'a.py:{ODD}'),
        teachers=dict(a=teacher),
        student_ckpt=str(tmp_path / 'networks/student.pth'),
    )
    given = Config(dict(model=model)), tmp_path / 'a.pth', {}
    text = model_card(*given, teacher_license=ODD)
    assert text.count('# No licence') == 5
    assert '\n# No' not in text and '<script' not in text
    assert '[b](c)' not in text and '\x1b' not in text


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
    'terms, told',
    [
        ('oh bn', '`OneHotLoss` (weight 2), `BNStatisticsLoss`'),
        (
            'oh patch tv',
            '`PatchSimilarityLoss` (weight 1.0), `MeanTotalVariationLoss` '
            '(weight 0.05), `OneHotLoss` (weight 2)\n',
        ),
        # Of a network of another kind, which has no tokens.
        (
            'oh tv',
            '`MeanTotalVariationLoss` (weight 0.05), `OneHotLoss`',
        ),
        # Which has one of them in its config already.
        ('oh', '`OneHotLoss` (weight 2)\n'),
        # Nothing was logged, or the log is elsewhere.
        ('', '`OneHotLoss` (weight 2), `BNStatisticsLoss`'),
    ],
)
def test_what_images_were_optimised_for(terms, told, tmp_path):
    """A teacher without BN layers has others than the config."""
    logged(tmp_path, **{f'initial__loss_{t}': 1.0 for t in terms.split()})
    losses = dict(
        loss_oh=dict(type='OneHotLoss', loss_weight=2),
        loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
    )
    hook = dict(synthesizer=dict(losses=losses))
    cfg = Config(
        dict(
            model=dict(architecture=network()),
            default_hooks=dict(synthesis=hook),
        )
    )
    before = cfg.pretty_text
    text = model_card(as_it_ran(cfg, tmp_path), tmp_path / 'a.pth', {})
    (line,) = (each for each in text.split('\n') if 'Losses of the' in each)
    assert f'{line}\n'.startswith(f'- Losses of the synthetic images: {told}')
    assert ('BNStatistics' in line) == ('BNStatistics' in told)
    assert cfg.pretty_text == before
