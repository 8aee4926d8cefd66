# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from pathlib import Path

import pytest
import torch
from helpers import build, equal, network
from mmrazor.structures import export_fix_subnet
from test_mmrazor import QCONFIG

TEACHER = network(base_channels=8)


def algorithm(name, build_cfg=TEACHER, **teacher):
    """An algorithm with a teacher, and its weights by MMRazor's arguments."""
    parts = dict(
        type=name,
        architecture=network(),
        distiller=dict(type='ConfigurableDistiller'),
    )
    if name == 'SingleTeacherDistill':
        if 'ckpt_path' in teacher:
            parts['teacher_ckpt'] = teacher.pop('ckpt_path')
        parts.update(teacher=build_cfg, **teacher)
    else:
        parts['teachers'] = dict(t=dict(build_cfg=build_cfg, **teacher))
    if name == 'DataFreeDistillation':
        parts['generator'] = dict(
            type='DAFLGenerator', img_size=8, latent_dim=4, hidden_channels=8
        )
        parts['generator_distiller'] = dict(type='ConfigurableDistiller')
    if name == 'CSDDistillation':
        parts['image_shape'] = (1, 8, 8)
    model = build(parts)
    model.init_weights()
    return model.teacher if 'teacher' in parts else model.teachers['t']


ALGORITHMS = ['SingleTeacherDistill', 'DataFreeDistillation']
# What is wrong with the weights in a file, and the message.
WRONG = {
    'renamed': 'it lacks',
    'partial': 'it lacks',
    'larger': 'but of a larger one',
    'nan': 'NaN or infinite',
}


@pytest.fixture
def weights(teacher_file):
    return torch.load(teacher_file)['state_dict']


@pytest.fixture
def save(weights, tmp_path):
    """Save the weights with a fault, or behind a prefix."""

    def save(fault='', prefix=''):
        found = dict(weights)
        if fault == 'renamed':
            found = {k.replace('conv', 'konv'): v for k, v in found.items()}
        elif fault == 'partial':
            found = {k: v for k, v in found.items() if 'layer2' not in k}
        elif fault == 'larger':
            found['backbone.layer9.weight'] = torch.ones(1)
        elif fault == 'nan':
            found['head.fc.bias'] = torch.full((10,), torch.nan)
        found = {prefix + key: value for key, value in found.items()}
        torch.save(dict(state_dict=found), tmp_path / 'weights.pth')
        return str(tmp_path / 'weights.pth')

    return save


@pytest.mark.parametrize('name', ALGORITHMS)
def test_a_file_of_a_teacher_has_to_fit(name, save, weights):
    argument = 'model.teacher_ckpt'
    if name == 'DataFreeDistillation':
        argument = 'model.teachers.t.ckpt_path'
    for fault, message in WRONG.items():
        with pytest.raises(ValueError, match=message) as raised:
            algorithm(name, ckpt_path=save(fault))
        assert argument in str(raised.value)
    # MMEngine would load nothing.
    found = algorithm(name, ckpt_path=save(prefix='zz.'))
    assert equal(found.state_dict(), weights)


def test_names_of_a_data_free_teacher_are_revised(save, weights):
    found = algorithm(
        'DataFreeDistillation',
        ckpt_path=save('renamed'),
        revise_keys=[('konv', 'conv')],
    )
    assert equal(found.state_dict(), weights)


def test_a_teacher_that_learns_may_have_new_layers(save, weights):
    found = algorithm(
        'SingleTeacherDistill',
        ckpt_path=save('partial'),
        teacher_trainable=True,
    )
    is_new = [
        not torch.equal(value, weights[key])
        for key, value in found.state_dict().items()
        if key.startswith('backbone.layer2')
    ]
    assert any(is_new)
    assert torch.equal(found.head.fc.weight, weights['head.fc.weight'])


@pytest.mark.parametrize('prefix', [None, 'old', 'old.net.'])
@pytest.mark.parametrize('name', [*ALGORITHMS, 'CSDDistillation'])
def test_a_file_of_an_init_cfg_has_to_fit(name, prefix, save, weights):
    before = f'{prefix.rstrip(".")}.' if prefix else ''

    def teacher(fault=''):
        path = save(fault, before)
        init_cfg = dict(type='Pretrained', checkpoint=path, prefix=prefix)
        return algorithm(name, dict(TEACHER, init_cfg=init_cfg))

    assert equal(teacher().state_dict(), weights)
    for fault, message in WRONG.items():
        with pytest.raises(ValueError, match=message):
            teacher(fault)


@pytest.mark.parametrize('name', [*ALGORITHMS, 'CSDDistillation'])
@pytest.mark.parametrize('prefix', [None, 'backbone.'])
def test_so_has_a_file_of_a_part(name, prefix, save, weights):
    def teacher(fault=''):
        init_cfg = dict(
            type='Pretrained', checkpoint=save(fault), prefix=prefix
        )
        build_cfg = network(base_channels=8, init_cfg=init_cfg)
        given = dict(ckpt_path='none') if name == 'CSDDistillation' else {}
        return algorithm(name, build_cfg, **given)

    # Which has more than the part.
    for key, value in teacher().backbone.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{key}'])
    argument = 'model.teacher.'
    if name != 'SingleTeacherDistill':
        argument = 'model.teachers.t.build_cfg.'
    argument = re.escape(f'{argument}backbone.init_cfg.checkpoint=')
    with pytest.raises(ValueError, match=f'{argument}.*it lacks'):
        teacher('partial')


def subnet(cfg, path=None, fix_subnet=None, **arguments):
    """A network that is built with its weights, and may be cut then."""
    if path:
        arguments['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    return dict(
        arguments, type='sub_model', cfg=cfg, fix_subnet=fix_subnet or {}
    )


@pytest.mark.parametrize('name', [*ALGORITHMS, 'CSDDistillation'])
def test_so_has_a_file_that_is_read_as_a_teacher_is_built(name, save, weights):
    assert equal(
        algorithm(name, subnet(TEACHER, save())).state_dict(), weights
    )
    for fault, message in WRONG.items():
        with pytest.raises(ValueError, match=message):
            algorithm(name, subnet(TEACHER, save(fault)))
    part = dict(type='Pretrained', checkpoint=save('partial'))
    part = subnet(network(base_channels=8, init_cfg=part))
    given = dict(ckpt_path='none') if name == 'CSDDistillation' else {}
    argument = r'backbone.init_cfg.checkpoint=.*it lacks'
    with pytest.raises(ValueError, match=argument):
        algorithm(name, part, **given)


@pytest.mark.parametrize('name', [*ALGORITHMS, 'CSDDistillation'])
def test_a_file_that_is_replaced_need_not_fit(name, save, weights, tmp_path):
    wrong = str(Path(save('partial')).rename(tmp_path / 'wrong.pth'))
    part = dict(type='Pretrained', checkpoint=wrong)
    for built in (
        subnet(TEACHER, wrong),
        subnet(network(base_channels=8, init_cfg=part)),
    ):
        found = algorithm(name, built, ckpt_path=save())
        assert equal(found.state_dict(), weights)


def test_a_file_of_a_student_that_is_built_with_it_has_to_fit(save):
    def student(path):
        return build(
            dict(
                type='CSDDistillation',
                architecture=subnet(TEACHER, path),
                teachers=dict(t=dict(build_cfg=TEACHER, ckpt_path='none')),
                distiller=dict(type='ConfigurableDistiller'),
                student_loss=dict(type='mmpretrain.CrossEntropyLoss'),
                image_shape=(1, 8, 8),
            )
        )

    student(save())
    with pytest.raises(ValueError, match='model.architecture.init_cfg.*lacks'):
        student(save('partial'))


def test_a_file_of_the_network_that_a_teacher_was_cut_of(save, weights):
    """It fits that one, and not what is left of it."""
    cfg = dict(
        type='ItePruneAlgorithm',
        architecture=TEACHER,
        mutator_cfg=dict(
            type='ChannelMutator',
            channel_unit_cfg=dict(
                type='L1MutableChannelUnit',
                default_args=dict(choice_mode='ratio'),
            ),
            parse_cfg=dict(
                type='ChannelAnalyzer',
                demo_input=(1, 1, 8, 8),
                tracer_type='BackwardTracer',
            ),
        ),
    )
    pruned = build(cfg)
    choices = dict.fromkeys(pruned.mutator.choice_template, 0.5)
    pruned.mutator.set_choices(choices)
    fix_subnet = export_fix_subnet(pruned, 'mutator', export_channel=True)[0]
    found = algorithm(
        'CSDDistillation',
        subnet(
            TEACHER,
            save(),
            fix_subnet,
            mode='mutator',
            init_weight_from_supernet=True,
        ),
    )
    cut = found.state_dict()
    assert any(cut[key].shape != value.shape for key, value in weights.items())


def test_a_file_of_a_network_to_quantize_has_to_fit(save):
    with pytest.raises(ValueError, match='model.float_checkpoint=.*it lacks'):
        build(
            dict(
                type='MMArchitectureQuant',
                architecture=TEACHER,
                quantizer=dict(
                    type='OpenVINOQuantizer',
                    global_qconfig=QCONFIG,
                    tracer=dict(type='CustomTracer'),
                ),
                float_checkpoint=save('renamed'),
                input_shapes=(1, 1, 8, 8),
            )
        )
