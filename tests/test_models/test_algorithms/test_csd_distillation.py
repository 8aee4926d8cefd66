# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import build, network
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.structures import DataSample

from csd_mmrazor.engine import DistillationOptimWrapperConstructor
from csd_mmrazor.engine.optimizers import optim_wrapper_constructor
from csd_mmrazor.models.algorithms import csd_distillation
from csd_mmrazor.models.utils import memory_format

MAPPED = 'model.distiller.loss_forward_mappings'

MAPPED = 'model.distiller.loss_forward_mappings'


@pytest.fixture
def algorithm(tiny_config):
    def make(**changes):
        cfg = tiny_config(**changes).model
        model = build(cfg)
        model.init_weights()
        model.data_preprocessor.augment = None
        return model

    return make


def sgd():
    return dict(
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
    )


def optimizers(model):
    return DistillationOptimWrapperConstructor(
        dict(architecture=sgd(), aux_head=sgd())
    )(model)


def batches(num=3):
    return [
        dict(
            inputs=torch.randint(256, (16, 1, 8, 8), dtype=torch.uint8),
            labels=torch.randint(10, (16,)),
        )
        for _ in range(num)
    ]


def plain_loop(model, data):
    """Student and head steps in plain PyTorch, in the authors' order.

    In float64, which has kernels of its own.
    """
    teacher = deepcopy(model.teachers['teacher']).double().eval()
    student = deepcopy(model.student).double().train()
    align = deepcopy(model.distiller.connectors['align']).double().train()
    head = deepcopy(model.aux_head).double().train()
    kwargs = dict(lr=0.1, momentum=0.9, weight_decay=1e-4)
    optimizer = torch.optim.SGD(
        [dict(params=student.parameters()), dict(params=align.parameters())],
        **kwargs,
    )
    optimizer_head = torch.optim.SGD(head.parameters(), **kwargs)
    for batch in data:
        inputs = (batch['inputs'].double() - 77.9) / 95.9
        labels = batch['labels']
        with torch.no_grad():
            map_t = teacher.backbone(inputs)[-1]
            logits_t = teacher.head.fc(map_t.mean((2, 3)))
        map_s = student.backbone(inputs)[-1]
        logits_s = student.head.fc(map_s.mean((2, 3)))
        kd = F.kl_div(
            F.log_softmax(logits_s / 20, 1),
            F.softmax(logits_t / 20, 1),
            reduction='batchmean',
        )
        loss = (
            20**2 * kd
            + F.cross_entropy(logits_s, labels)
            + 30 * F.mse_loss(align.layers(map_s), map_t)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        student.eval()
        views = torch.stack([inputs.rot90(k, (2, 3)) for k in range(4)], 1)
        features = student.backbone(views.flatten(0, 1))[-1].mean((2, 3))
        joint = torch.stack([labels * 4 + k for k in range(4)], 1).flatten()
        loss = F.cross_entropy(head(features.detach()), joint)
        optimizer_head.zero_grad()
        loss.backward()
        optimizer_head.step()
        student.train()
    return student, align, head


@pytest.mark.parametrize('channels', [4, 8, 16])
def test_steps_equal_a_plain_loop(algorithm, channels):
    """Run with AVX2 alone by test_memory_format.py as well."""
    architecture = network(base_channels=channels)
    model = algorithm(**{'model.architecture': architecture})
    data = batches()
    expected = plain_loop(model, data)
    wrappers = optimizers(model)
    model.train()
    for batch in data:
        model.train_step(batch, wrappers)
    parts = (
        model.student,
        model.distiller.connectors['align'],
        model.aux_head,
    )
    for part, twin in zip(parts, expected):
        for (name, value), other in zip(
            part.state_dict().items(), twin.state_dict().values()
        ):
            torch.testing.assert_close(
                value,
                other.to(value.dtype),
                rtol=1e-5,
                atol=1e-5,
                msg=lambda text, name=name: f'{name}: {text}',
            )


def test_losses_are_logged_under_their_names(algorithm):
    model = algorithm()
    log_vars = model.train_step(batches(1)[0], optimizers(model))
    assert set(log_vars) == {
        'loss',
        'student.loss',
        'distill.loss_kd',
        'distill.loss_feature',
        'loss_aux',
    }
    parts = [v for k, v in log_vars.items() if '.' in k]
    torch.testing.assert_close(log_vars['loss'], sum(parts))


def test_losses_of_every_step_are_returned_without_graph(algorithm):
    model = algorithm(**{'model.log_interval': 5})
    wrappers = optimizers(model)
    for batch in batches(7):
        log_vars = model.train_step(batch, wrappers)
        assert log_vars['loss'] > 0
        assert not any(value.requires_grad for value in log_vars.values())


def dkd(logits_s, logits_t, labels, tau=2):
    """Decoupled knowledge distillation, image by image, with weight 0.5."""
    total = 0
    for s, t, label in zip(logits_s / tau, logits_t / tau, labels.tolist()):
        others = [k for k in range(len(s)) if k != label]
        p_s, p_t = s.softmax(0), t.softmax(0)
        for of_s, of_t, weight in (
            (
                torch.stack([p_s[label], p_s[others].sum()]),
                torch.stack([p_t[label], p_t[others].sum()]),
                1,
            ),
            (s[others].softmax(0), t[others].softmax(0), 0.5),
        ):
            total += weight * (of_t * (of_t / of_s).log()).sum()
    return total * tau**2 / len(labels)


def wsld(logits_s, logits_t, labels, tau=2):
    """Weighted soft labels, image by image, with weight 2.5."""
    total = 0
    for s, t, label in zip(logits_s, logits_t, labels):
        soft = F.cross_entropy(s / tau, (t / tau).softmax(0))
        share = F.cross_entropy(s, label) / F.cross_entropy(t, label)
        total += (1 - (-share.detach()).exp()) * soft
    return 2.5 * total * tau**2 / len(labels)


DKD = dict(type='DKDLoss', tau=2, beta=0.5)
WSLD = dict(type='WSLD', tau=2, loss_weight=2.5, num_classes=10)
# As in MMRazor's own configs, and for students of any kind.
OF_THE_HEAD = dict(type='ModuleInputs', source='head.loss_module')
OF_THE_BATCH = dict(type='Labels')


def with_labels(loss, recorder):
    """A distiller whose loss sees the labels."""
    logits = ('student', 'teacher')
    if loss is DKD:
        logits = ('preds_S', 'preds_T')
    gt_labels = dict(recorder='gt_labels', from_student=True)
    if recorder is OF_THE_HEAD:
        gt_labels['data_idx'] = 1
    fc = dict(type='ModuleOutputs')
    return dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            fc=dict(fc, source='head.fc'), gt_labels=recorder
        ),
        teacher_recorders=dict(fc=dict(fc, source='teacher.head.fc')),
        distill_losses=dict(loss_kd=loss),
        loss_forward_mappings=dict(
            loss_kd={
                logits[0]: dict(recorder='fc', from_student=True),
                logits[1]: dict(recorder='fc', from_student=False),
                'gt_labels': gt_labels,
            }
        ),
    )


@pytest.mark.parametrize('recorder', [OF_THE_HEAD, OF_THE_BATCH])
@pytest.mark.parametrize('loss, by_hand', [(DKD, dkd), (WSLD, wsld)])
def test_losses_that_need_labels(algorithm, loss, by_hand, recorder):
    distiller = dict(with_labels(loss, recorder), _delete_=True)
    model = algorithm(**{'model.distiller': distiller}).train()
    data = model.data_preprocessor(batches(1)[0], True)
    inputs, labels = data['inputs'], data['labels']
    twin = deepcopy(model.student)
    expected = by_hand(twin(inputs), model.teachers['teacher'](inputs), labels)
    expected.backward()
    found = model.loss(inputs, labels)['distill.loss_kd']
    found.backward()
    torch.testing.assert_close(found, expected)
    for param, other in zip(model.student.parameters(), twin.parameters()):
        torch.testing.assert_close(param.grad, other.grad)


def test_who_gets_gradients(algorithm):
    model, batch = algorithm(), batches(1)[0]
    data = model.data_preprocessor(batch, True)
    model.train()
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()

    def has_grad(module):
        return {p.grad is not None for p in module.parameters()}

    assert has_grad(model.student) == {True}
    assert has_grad(model.distiller) == {True}
    assert has_grad(model.teachers) == {False}
    assert has_grad(model.aux_head) == {False}
    model.zero_grad(set_to_none=True)
    buffers = [b.clone() for b in model.student.buffers()]
    loss, _ = model.parse_losses(model(**data, mode='aux_loss'))
    loss.backward()
    assert has_grad(model.aux_head) == {True}
    for part in (model.student, model.distiller, model.teachers):
        assert has_grad(part) == {False}
    # The head's step does not touch the student's statistics or mode.
    assert all(map(torch.equal, buffers, model.student.buffers()))
    assert model.student.training


def test_parts_that_get_no_gradient_are_told(algorithm, monkeypatch):
    backbone = type(algorithm().student.backbone)
    with monkeypatch.context() as patch:
        patch.setattr(backbone, 'forward', torch.no_grad()(backbone.forward))
        message = r'student \(ImageClassifier\) has .* backbone.conv1.weight'
        with pytest.raises(ValueError, match=message):
            algorithm()
    kind = type(algorithm().aux_head)
    monkeypatch.setattr(
        kind, 'forward', lambda s, x: s.layers[2](s.layers[0](x).detach())
    )
    with pytest.raises(ValueError, match='aux_head .* layers.0.weight'):
        algorithm()


def test_teachers_stay_in_eval_mode(algorithm):
    model = algorithm()
    for mode in (True, False, True):
        assert model.train(mode) is model
        assert not any(m.training for m in model.teachers.modules())
        assert model.student.training is mode
    buffers = [b.clone() for b in model.teachers.buffers()]
    model.train_step(batches(1)[0], optimizers(model))
    assert all(map(torch.equal, buffers, model.teachers.buffers()))


def test_checkpoints_hold_no_teacher(algorithm):
    model = algorithm()
    state_dict = model.state_dict()
    assert {key.split('.')[0] for key in state_dict} == {
        'architecture',
        'distiller',
        'aux_head',
    }
    assert model.load_state_dict(state_dict).missing_keys == []


def test_several_teachers(algorithm, teacher_file):
    other = dict(build_cfg=network(base_channels=6), ckpt_path='none')
    model = algorithm(
        **{
            'model.teachers.other': other,
            'model.distiller.teacher_recorders.other': dict(
                type='ModuleOutputs', source='other.head'
            ),
            'model.distiller.distill_losses.loss_other': dict(
                type='KLDivergence', tau=4
            ),
            'model.distiller.loss_forward_mappings.loss_other': dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='other'),
            ),
        }
    )
    log_vars = model.train_step(batches(1)[0], optimizers(model))
    assert log_vars['distill.loss_other'] > 0
    # Only the one that was read from a file is left out of checkpoints.
    kept = {k.split('.')[1] for k in model.state_dict() if 'teachers' in k}
    assert kept == {'other'}


def test_real_images_train_it_too(algorithm):
    model = algorithm()
    data = dict(
        inputs=[torch.zeros(1, 8, 8, dtype=torch.uint8) for _ in range(4)],
        data_samples=[DataSample().set_gt_label(i) for i in range(4)],
    )
    assert model.train_step(data, optimizers(model))['loss'] > 0


def test_without_head(algorithm):
    model = algorithm(**{'model.aux_head': None})
    wrappers = optimizers(model)
    assert set(wrappers.optim_wrappers) == {'architecture'}
    log_vars = model.train_step(batches(1)[0], wrappers)
    assert 'loss_aux' not in log_vars
    # One plain optimizer does then.
    plain = OptimWrapper(torch.optim.SGD(model.student.parameters(), 0.1))
    model.train_step(batches(1)[0], plain)


def test_optimizers(algorithm):
    model = algorithm()
    wrappers = optimizers(model)

    def params(name):
        groups = wrappers[name].optimizer.param_groups
        return {id(p) for group in groups for p in group['params']}

    assert params('architecture') == {
        id(p)
        for part in (model.student, model.distiller)
        for p in part.parameters()
    }
    assert params('aux_head') == {id(p) for p in model.aux_head.parameters()}
    with pytest.raises(ValueError, match='"generator", which CSDDist'):
        DistillationOptimWrapperConstructor(dict(generator=sgd()))(model)
    with pytest.raises(ValueError, match='optimizer for its "aux_head"'):
        model.train_step(
            batches(1)[0],
            OptimWrapperDict(architecture=wrappers['architecture']),
        )


def test_a_loss_with_weights_is_trained(algorithm):
    class WithTemperature(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, logits, labels):
            return super().forward(self.scale * logits, labels)

    model = algorithm()
    model.student_loss = WithTemperature()
    model.train_step(batches(1)[0], optimizers(model))
    assert model.student_loss.scale != 1


def test_custom_keys_are_in_names_of_weights(algorithm, monkeypatch):
    said = []
    monkeypatch.setattr(
        optim_wrapper_constructor,
        'print_log',
        lambda text, *_: said.append(text),
    )
    model = algorithm()

    def rates(key):
        paramwise_cfg = dict(custom_keys={key: dict(lr_mult=0.5)})
        wrappers = DistillationOptimWrapperConstructor(
            dict(architecture=dict(sgd(), paramwise_cfg=paramwise_cfg))
        )(model)
        return {g['lr'] for g in wrappers['architecture'].param_groups}

    for key in ('backbone', '.bn1', 'architecture.head.fc', 'distiller'):
        assert rates(key) == {0.1, 0.05}
    assert not said
    # A recipe may be for other networks as well.
    assert rates('.cls_token') == {0.1}
    (text,) = said
    assert "custom_keys has '.cls_token'" in text
    with pytest.raises(ValueError, match="Did you mean 'backbone.conv1'"):
        rates('backbon.conv1')


def test_widths_are_inferred(algorithm):
    model = algorithm(**{'model.architecture': network(base_channels=5)})
    assert model.aux_head.in_channels == 10
    assert model.aux_head.num_classes == 10
    assert model.distiller.connectors['align'].layers[0].in_channels == 10
    model = algorithm(**{'model.aux_feature': 'backbone.layer1'})
    assert model.aux_head.in_channels == 4


@pytest.mark.parametrize('way', ['student_ckpt', 'init_cfg'])
def test_the_student_starts_from_given_weights(tiny_runner, tmp_path, way):
    """Of another run's checkpoint or of a plain one; in a whole run."""
    source = build(network())
    nn.init.constant_(source.head.fc.weight, 7)
    prefix = 'architecture.' if way == 'student_ckpt' else ''
    state_dict = {prefix + k: v for k, v in source.state_dict().items()}
    path = str(tmp_path / 'student.pth')
    torch.save(dict(state_dict=state_dict), path)
    options = {'model.student_ckpt': path}
    if way == 'init_cfg':
        pretrained = dict(type='Pretrained', checkpoint=path)
        options = {'model.architecture.init_cfg': pretrained}
    # Rates of 0, so that what arrived is there after the run as well.
    options.update(
        {
            'train_cfg.max_epochs': 1,
            'optim_wrapper.architecture.optimizer.lr': 0.0,
            'default_hooks.checkpoint.interval': 1,
        }
    )
    runner = tiny_runner(**options)
    runner.train()
    found = dict(runner.model.student.named_parameters())
    for name, value in source.named_parameters():
        assert torch.equal(value, found[name]), name
    # Whether a run is tested or resumed, the file is not asked for.
    runner.model.student_ckpt = 'gone.pth'
    runner.test()


def test_weights_of_another_student_are_refused(algorithm, tmp_path):
    path = str(tmp_path / 'other.pth')
    torch.save(build(network(base_channels=6)).state_dict(), path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    with pytest.raises(
        ValueError,
        match='model.architecture.init_cfg.checkpoint=.* does not fit',
    ):
        algorithm(**{'model.architecture.init_cfg': init_cfg})
    with pytest.raises(ValueError, match='model.student_ckpt=.* does not fit'):
        algorithm(**{'model.student_ckpt': path})
    with pytest.raises(FileNotFoundError, match='model.student_ckpt=gone.pth'):
        algorithm(**{'model.student_ckpt': 'gone.pth'})


@pytest.mark.parametrize(
    'change, error, message',
    [
        (
            {'model.architecture': network(num_classes=7)},
            ValueError,
            "number of classes, but got {'student': 7, 'teacher': 10}",
        ),
        (
            {'model.architecture': network(channels=3)},
            ValueError,
            r'student .* image_shape=\(1, 8, 8\)',
        ),
        (
            {'model.teachers.teacher.ckpt_path': 'gone.pth'},
            FileNotFoundError,
            'model.teachers.teacher.ckpt_path=gone.pth does not exist',
        ),
        ({'model.log_interval': 0}, ValueError, 'log_interval .* but got 0'),
        ({'model.log_interval': 'no'}, ValueError, "log_interval .* got 'no'"),
        (
            {'model.teachers': [1]},
            ValueError,
            r'teachers of CSDDistillation should be a dict, but got \[1\]',
        ),
        (
            {'model.distiller.distill_losses.loss_kd.type': 'KLDivergance'},
            KeyError,
            'KLDivergance is not in .* Registered are mmrazor.KLDivergence',
        ),
        (
            {
                'model.distiller.distill_losses.loss_more': dict(
                    type='KLDivergence'
                ),
                'model.distiller.loss_forward_mappings.loss_more': dict(
                    preds_S=dict(from_student=True, recorder='logits')
                ),
            },
            ValueError,
            'loss_more .KLDivergence. .* takes preds_S, preds_T, but '
            "loss_forward_mappings.loss_more lacks preds_T.*'feature'",
        ),
        (
            {
                'model.distiller.distill_losses.loss_more': dict(
                    type='KLDivergence'
                )
            },
            ValueError,
            'loss_forward_mappings.loss_more lacks preds_S, preds_T',
        ),
        (
            {
                'model.distiller.loss_forward_mappings.loss_kd.preds_S'
                '.data_idxx': 1
            },
            ValueError,
            "loss_kd.preds_S .* has data_idxx. Did you mean 'data_idx'",
        ),
        (
            {f'{MAPPED}.loss_kd.preds_S': 'logits'},
            ValueError,
            r"loss_kd.preds_S should be a dict\(recorder=.* got 'logits'",
        ),
        (
            {f'{MAPPED}.loss_kd.preds_S.recorder': 'logit'},
            ValueError,
            "loss_kd.preds_S.recorder='logit' is not in student_recorders, "
            "which has .*logits.* Did you mean 'logits'",
        ),
        (
            {f'{MAPPED}.loss_feature.t_feature.recorder': 'featur'},
            ValueError,
            "recorder='featur' is not in teacher_recorders, which has",
        ),
        (
            {f'{MAPPED}.loss_feature.s_feature.connector': 'algin'},
            ValueError,
            "connector='algin' is not in connectors, which has align.* mean",
        ),
        (
            {
                'model.distiller.loss_forward_mappings.loss_feature': dict(
                    _delete_=True,
                    s_feature=dict(
                        from_student=True,
                        recorder='feature',
                        connector='align',
                    ),
                )
            },
            ValueError,
            'connector "align": .* loss_feature .* of a teacher',
        ),
        (
            {'model.aux_feature': 'backbone.layer9'},
            ValueError,
            'no module named "backbone.layer9".*backbone.layer1',
        ),
        (
            {'model.distiller.student_recorders.logits.source': 'haed'},
            ValueError,
            r'student_recorders\.logits\.source=.* Did you mean head',
        ),
        (
            {
                'model.distiller.student_recorders.logits.source': (
                    'data_preprocessor'
                )
            },
            ValueError,
            'loss_kd looks at data_preprocessor of the student, which did not',
        ),
        (
            {'model.aux_head.task.type': 'ChannelPermutationTask'},
            ValueError,
            '3 channels, but got 1',
        ),
        (
            {'model.student_loss.loss_weight': -1},
            ValueError,
            'student_loss.loss_weight should be 0 or more, but got -1',
        ),
        (
            {'model.distiller.distill_losses.loss_kd.loss_weight': -0.5},
            ValueError,
            'distill_losses.loss_kd.loss_weight should be 0 or more',
        ),
        (
            {'model.student_loss': None, 'model.distiller': None},
            ValueError,
            'nothing to train the student with',
        ),
    ],
)
def test_bad_arguments(algorithm, change, error, message):
    with pytest.raises(error, match=message):
        algorithm(**change)


def test_a_mapping_that_is_none(algorithm):
    """Its loss is left out."""
    model = algorithm(**{f'{MAPPED}.loss_feature': None})
    assert [*model.distiller.distill_losses] == ['loss_kd']


def test_predicts_as_the_student(algorithm):
    model = algorithm().eval()
    images = [
        torch.randint(256, (1, 8, 8), dtype=torch.uint8) for _ in range(4)
    ]
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    out = model.val_step(dict(inputs=images, data_samples=samples))
    inputs = (torch.stack(images).float() - 77.9) / 95.9
    logits = model.student.eval()(inputs, mode='tensor')
    assert [s.pred_label.item() for s in out] == logits.argmax(1).tolist()
    assert isinstance(model.architecture, nn.Module)


def test_images_of_another_size_are_told_once(algorithm, monkeypatch):
    logged = []
    monkeypatch.setattr(
        csd_distillation, 'print_log', lambda text, *_: logged.append(text)
    )
    model = algorithm().eval()
    for size in ((8, 8), (10, 9), (10, 9), (8, 12)):
        images = [torch.zeros(1, *size, dtype=torch.uint8)]
        samples = [DataSample().set_gt_label(0)]
        model.test_step(dict(inputs=images, data_samples=samples))
    told = [text for text in logged if 'height by width' in text]
    assert len(told) == 2
    assert 'are 10x9, height by width, but those of training 8x8' in told[0]
    assert 'scale=(8, 8)' in told[0] and 'are 8x12' in told[1]


LOGITS_ALONE = {'model.distiller.student_recorders.feature': None}


@pytest.mark.parametrize(
    'recorder, data_idx',
    [
        (dict(type='ModuleOutputs', source='teacher.head'), None),
        (dict(type='ModuleOutputs', source='teacher.head.fc'), None),
        (
            dict(type='ModuleInputs', source='teacher.head.softmax'),
            0,
        ),
    ],
)
def test_targets_stand_for_the_teacher(algorithm, scope, recorder, data_idx):
    """To the precision of float16, and without a pass of it."""
    model = algorithm(**LOGITS_ALONE)
    teacher = model.teachers['teacher']
    teacher.head.fc.weight.mul_(5000)  # as of one that is sure
    if data_idx is not None:
        teacher.head.softmax = nn.Identity()
        fc = teacher.head.forward
        teacher.head.forward = lambda x: teacher.head.softmax(fc(x))
    cfg = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            logits=dict(type='ModuleOutputs', source='head')
        ),
        teacher_recorders=dict(said=recorder, idle=recorder),
        distill_losses=dict(loss_kd=dict(type='KLDivergence', tau=4)),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(
                    from_student=False, recorder='said', data_idx=data_idx
                ),
            )
        ),
    )
    model.distiller = model._build_distiller(cfg, torch.zeros(2, 1, 8, 8))
    model.check_targets()
    passes = []
    teacher.register_forward_hook(lambda *_: passes.append(1))
    batch = batches(1)[0]
    inputs = model.data_preprocessor(batch, True)['inputs']
    with torch.no_grad():
        targets = teacher(inputs, mode='tensor').half()
    before = deepcopy(model.state_dict())
    expected = model.train_step(batch, optimizers(model))
    model.load_state_dict(before)
    passes.clear()
    fed = dict(batch, targets=targets)
    found = model.train_step(fed, optimizers(model))
    assert not passes
    assert found.keys() == expected.keys()
    assert found['distill.loss_kd'] > 0
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name], rtol=2e-3, atol=1e-5, msg=name
        )
    # Other targets, other losses.
    other = dict(batch, targets=-targets)
    model.load_state_dict(before)
    again = model.train_step(other, optimizers(model))
    assert abs(again['distill.loss_kd'] - found['distill.loss_kd']) > 0.01


@pytest.mark.parametrize(
    'connector',
    [{}, dict(in_channel=6, out_channel=16, out_size=(4, 16))],
    ids=['inferred', 'given'],
)
def test_tokens_of_images_that_are_not_square(algorithm, connector):
    student = dict(
        _delete_=True,
        type='mmrazor.TorchClassifier',
        factory='timm.create_model',
        model_name='vit_tiny_patch16_224',
        img_size=(8, 32),
        patch_size=4,
        in_chans=1,
        embed_dim=6,
        depth=1,
        num_classes=10,
    )
    options = {
        'model.architecture': student,
        'model.image_shape': (1, 8, 32),
        'model.aux_head': None,
        'model.distiller.student_recorders.feature.source': 'net.norm',
        'model.distiller.student_recorders.logits.source': 'net.head',
        'model.distiller.connectors.align': dict(
            type='AlignConnector', **connector
        ),
    }
    with pytest.raises(ValueError, match='2, 17, 6.* of images of 8x32'):
        algorithm(**options)
    options['model.distiller.student_recorders.feature'] = None
    algorithm(**options)


@pytest.mark.parametrize(
    'options, message',
    [
        ({}, 'loss_feature .* recorder "feature" .FeatureMap.* of teacher'),
        ({'model.distiller': None}, 'no loss of model.distiller'),
        (
            {
                **LOGITS_ALONE,
                'model.distiller.distill_deliveries': dict(
                    mix=dict(
                        type='FunctionOutputs',
                        max_keep_data=1,
                        func_path='torch.nn.functional.dropout',
                    )
                ),
            },
            'deliveries of model.distiller',
        ),
    ],
)
def test_targets_that_do_not_suffice(algorithm, options, message):
    model = algorithm(**options)
    batch = batches(1)[0]
    targets = torch.zeros(16, 10).half()
    for check in (
        model.check_targets,
        lambda: model.train_step(
            dict(batch, targets=targets), optimizers(model)
        ),
    ):
        with pytest.raises(ValueError, match=message):
            check()


def test_norms_of_clipped_gradients_are_returned(algorithm):
    """Of each step, as MMEngine would log it; between them, the last one."""
    model = algorithm()
    wrappers = optimizers(model)
    student = wrappers['architecture']
    student.clip_grad_kwargs = dict(max_norm=0.01)
    student.clip_func = torch.nn.utils.clip_grad_norm_
    student.grad_name = 'grad_norm'
    expected = []
    step = student.optimizer.step

    def seen(*args, **kwargs):
        clipped = torch.stack(
            [
                p.grad.norm()
                for group in student.optimizer.param_groups
                for p in group['params']
                if p.grad is not None
            ]
        ).norm()
        expected.append(clipped)
        return step(*args, **kwargs)

    student.optimizer.step = seen
    for batch in batches(2):
        log_vars = model.train_step(batch, wrappers)
        assert log_vars['grad_norm'] > 0.01
        assert 'aux_head.grad_norm' not in log_vars
    assert [each.item() for each in expected] == [pytest.approx(0.01)] * 2
    student._accumulative_counts, student._inner_count = 2, 0
    last = log_vars['grad_norm'].clone()
    log_vars = model.train_step(batches(1)[0], wrappers)
    assert log_vars['grad_norm'] == last


def ofd(distiller='OFDDistiller', layer='backbone.layer2.0.bn1'):
    """OFD of MMRazor at a BN layer, as options."""
    outputs = dict(type='ModuleOutputs', source=layer)
    section = 'model.distiller.'
    return {
        'model.architecture': network(base_channels=8),
        f'{section}type': distiller,
        f'{section}student_recorders.bn': outputs,
        f'{section}teacher_recorders.bn': dict(
            outputs, source=f'teacher.{layer}'
        ),
        f'{section}connectors.margin': dict(type='OFDTeacherConnector'),
        f'{section}distill_losses.loss_ofd': dict(type='OFDLoss'),
        f'{section}loss_forward_mappings.loss_ofd': dict(
            s_feature=dict(from_student=True, recorder='bn'),
            t_feature=dict(
                from_student=False, recorder='bn', connector='margin'
            ),
        ),
    }


def test_ofd(algorithm):
    """Its margin is the mean of what is below 0 in each channel."""
    from scipy.stats import truncnorm

    model = algorithm(**ofd())
    teacher = model.teachers['teacher']
    bn = teacher.backbone.layer2[0].bn1
    mean, std = bn.bias.detach().numpy(), bn.weight.detach().abs().numpy()
    expected = truncnorm.mean(-np.inf, -mean / std, mean, std)
    margin = model.distiller.connectors['margin'].margin
    expected = torch.from_numpy(expected).float().view(1, -1, 1, 1)
    torch.testing.assert_close(margin, expected, atol=1e-5, rtol=1e-4)

    seen = {}
    for name, network_ in (('s', model.student), ('t', teacher)):
        network_.backbone.layer2[0].bn1.register_forward_hook(
            lambda *args, name=name: seen.update({name: args[2].detach()})
        )
    data = model.data_preprocessor(batches(1)[0])
    loss = model.train()(**data, mode='loss')['distill.loss_ofd']
    target = torch.maximum(seen['t'], margin)
    counted = (seen['s'] > target) | (target > 0)
    by_hand = ((seen['s'] - target) ** 2)[counted].sum() / 16 / 1000
    torch.testing.assert_close(loss.detach(), by_hand)


def test_parts_of_mmrazor_that_need_more(algorithm):
    with pytest.raises(ValueError, match="margin .* that: 'OFDDistiller'"):
        algorithm(**ofd('ConfigurableDistiller'))
    with pytest.raises(ValueError, match='BN weight of 0'):
        algorithm(**ofd(layer='backbone.layer2.0.bn2'))
    crd = dict(type='CRDLoss', loss_weight=1, neg_num=2, sample_n=9, dim_out=4)
    with pytest.raises(ValueError, match='loss_crd .* SingleTeacherDistill'):
        algorithm(**{'model.distiller.distill_losses.loss_crd': crd})


def test_a_loss_that_flattens_maps(algorithm):
    """By view(), which torch refuses in channels_last."""
    maps = dict(type='ModuleOutputs', source='backbone')
    feature = {
        'model.architecture': network(base_channels=8),
        'model.distiller.student_recorders.map': maps,
        'model.distiller.connectors.translator': dict(
            type='Translator', in_channel=16, out_channel=16
        ),
        'model.distiller.teacher_recorders.map': dict(
            maps, source='teacher.backbone'
        ),
        'model.distiller.distill_losses.loss_map': dict(
            type='mmrazor.FTLoss', loss_weight=1.0
        ),
        'model.distiller.loss_forward_mappings.loss_map': dict(
            s_feature=dict(
                from_student=True,
                recorder='map',
                data_idx=0,
                connector='translator',
            ),
            t_feature=dict(from_student=False, recorder='map', data_idx=0),
        ),
    }
    for options, form in (
        ({}, torch.channels_last),
        (feature, torch.contiguous_format),
    ):
        model = algorithm(**options)
        for each in (model.student, model.teachers['teacher']):
            # On a CPU, narrow layers keep all of it contiguous.
            assert memory_format(each, torch.device('cuda')) == form
        images = torch.rand(4, 1, 8, 8)
        losses = model.train().loss(images, torch.arange(4))
    assert losses['distill.loss_map'] > 0


def test_a_student_with_weights_tied_through_memory(algorithm, tmp_path):
    """Which moving it would untie, without a word."""
    file = tmp_path / 'tied_through_memory.py'
    file.write_text(
        'from torch import nn\n\n\n'
        'def make():\n'
        '    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))\n'
        '    net[1].weight.data = net[0].weight.data\n'
        '    return net.append(nn.Flatten()).append(nn.Linear(16, 10))\n'
    )
    student = dict(type='mmrazor.TorchClassifier', factory=f'{file}:make')
    message = r'net\.0\.weight and net\.1\.weight of student .* share mem'
    with pytest.raises(ValueError, match=message):
        algorithm(**{'model.architecture': dict(student, _delete_=True)})


class InPlace(nn.Module):
    """Its ReLU changes what is added afterwards, its second one the input."""

    def __init__(self, own_input=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.mix, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(4, 10)
        self.relu, self.own_input = nn.ReLU(inplace=True), own_input

    def forward(self, x):
        if self.own_input:
            x = self.relu(x) + x
        x = self.norm(self.conv(x))
        x = self.mix(self.relu(x)) + x
        return self.fc(x.mean((2, 3)))


def of_own(kind=InPlace, **arguments):
    net = dict(
        type='TorchClassifier',
        factory=f'test_csd_distillation.{kind.__name__}',
        **arguments,
    )
    return build(
        dict(
            type='CSDDistillation',
            architecture=net,
            teachers=dict(t=dict(build_cfg=net, ckpt_path='none')),
            distiller=dict(type='ConfigurableDistiller'),
            image_shape=(1, 8, 8),
        )
    )


def test_networks_that_work_in_place_stay_what_they_are():
    model, inputs = of_own(), torch.randn(3, 1, 8, 8)
    for each in model.student, model.teachers['t']:
        plain = InPlace().eval()
        plain.load_state_dict(each.net.state_dict())
        with torch.no_grad():
            found = each.eval()(inputs, mode='tensor')
            torch.testing.assert_close(found, plain(inputs))
    with pytest.raises(ValueError, match='^teachers.t changes its inputs in'):
        of_own(own_input=True)


class MaxNorm(InPlace):
    """Its weights have norms of 1 at most, those of one layer in training."""

    def forward(self, x):
        for layer in [self.fc, *([self.mix] if self.training else [])]:
            layer.weight.data = torch.renorm(layer.weight.data, 2, 0, 1)
        return super().forward(x)


def test_layers_whose_weights_networks_change_are_marked():
    model = of_own(MaxNorm)
    for net, names in (
        (model.student, 'fc mix'),
        (model.teachers.t, 'fc'),
    ):
        marked = [n for n, m in net.net.named_children() if is_marked(m)]
        assert sorted(marked) == names.split()
    assert not any(map(is_marked, of_own().modules()))


def is_marked(module):
    return any(
        'may_change' in getattr(hook, '__name__', '')
        for hook in module._forward_pre_hooks.values()
    )
