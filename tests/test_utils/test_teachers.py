# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from mmengine.model import PretrainedInit

from csd_mmrazor.utils import check_teachers, check_teachers_of
from csd_mmrazor.utils.teachers import pretrained_in, without_pretrained

NET = dict(type='ImageClassifier')
REFUSED = {
    'a typo': (dict(ckpt_pth='x.pth'), 'ckpt_pth.*Did you mean ckpt_path'),
    'an unknown key': (dict(ckpt_path='x.pth', foo=1), 'no argument foo'),
    'none': (dict(ckpt_path=None), r'no weights \(ckpt_path=None\).*=FILE'),
    'empty': (dict(ckpt_path=''), 'no weights'),
    'nothing': (dict(), 'no weights'),
    'a backbone alone': (
        dict(
            build_cfg=dict(
                NET, backbone=dict(init_cfg=dict(type='Pretrained'))
            )
        ),
        'no weights',
    ),
    'not pretrained': (
        dict(build_cfg=dict(cfg_path='a::b', pretrained=False)),
        'no weights',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_a_teacher_without_weights_has_to_be_asked_for(case):
    cfg, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        check_teachers(dict(t=dict(dict(build_cfg=NET), **cfg)))


@pytest.mark.parametrize('teachers', [None, [1], {}, dict(t=3), dict(t={})])
def test_what_is_no_teacher(teachers):
    with pytest.raises(TypeError, match=r'model\.teachers should be a dict'):
        check_teachers(teachers)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(ckpt_path='x.pth', revise_keys=[('a', 'b')]),
        dict(ckpt_path='none'),
        dict(build_cfg=dict(cfg_path='a::b', pretrained=True)),
        dict(build_cfg=dict(NET, init_cfg=dict(type='Pretrained'))),
        dict(build_cfg=dict(NET, init_cfg=[dict(type='Pretrained')])),
        dict(build_cfg=dict(NET, init_cfg=dict(type=PretrainedInit))),
        dict(build_cfg=dict(type='TorchClassifier', weights='DEFAULT')),
    ],
)
def test_where_weights_may_come_from(cfg):
    check_teachers(dict(t=dict(dict(build_cfg=NET), **cfg)))


def test_teachers_of_mmrazors_algorithms():
    with pytest.raises(ValueError, match='Did you mean ckpt_path'):
        check_teachers_of(dict(teachers=dict(t=dict(build_cfg=NET, ckpt=''))))
    with pytest.raises(ValueError, match=r'model\.teacher_ckpt=FILE'):
        check_teachers_of(dict(teacher=NET))
    check_teachers_of(dict(teacher=NET, teacher_trainable=True))
    stage_2 = dict(teacher=NET, init_cfg=dict(type='Pretrained'))
    check_teachers_of(stage_2)
    check_teachers_of(dict(teacher=dict(cfg_path='a::b', pretrained=True)))
    model = dict(
        teacher=NET,
        teacher_ckpt='none',
        teachers=dict(t=dict(build_cfg=NET, ckpt_path='none')),
    )
    check_teachers_of(model)
    # MMRazor would look for a file of that name.
    assert model == dict(teacher=NET, teachers=dict(t=dict(build_cfg=NET)))


@pytest.mark.parametrize(
    'given, expected, files',
    [
        (dict(pretrained=False), dict(pretrained=False), []),
        (dict(pretrained=True), dict(pretrained=False), [True]),
        (dict(pretrained='a.pth'), dict(pretrained=None), ['a.pth']),
        (
            dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth')),
            {},
            ['a.pth'],
        ),
        (
            dict(
                a=[
                    dict(type='Kaiming'),
                    dict(type=PretrainedInit, checkpoint='b.pth'),
                ]
            ),
            dict(a=[dict(type='Kaiming')]),
            ['b.pth'],
        ),
        (dict(type='Net', depth=3), dict(type='Net', depth=3), []),
    ],
)
def test_files_of_weights_in_a_config(given, expected, files):
    whole = dict(backbone=given)
    assert without_pretrained(whole) == dict(backbone=expected)
    assert pretrained_in(whole) == files
