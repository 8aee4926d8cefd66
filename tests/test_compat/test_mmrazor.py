# Copyright (c) csd_mmrazor developers. All rights reserved.
import collections
import functools
import pkgutil
import random
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import ROOT, build, equal, network
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook, Hook
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_checkpoint
from mmpretrain.structures import DataSample
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS

from csd_mmrazor.compat import mmrazor

QCONFIG = dict(
    **{
        f'{part}_{what}': dict(type=f'mmrazor.{kind}')
        for part in 'wa'
        for what, kind in (
            ('observer', 'MinMaxObserver'),
            ('fake_quant', 'FakeQuantize'),
        )
    },
    w_qscheme=dict(qdtype='qint8', bit=8, is_symmetry=True),
    a_qscheme=dict(qdtype='quint8', bit=8, is_symmetry=True),
)


@pytest.mark.parametrize(
    'name',
    [
        'TorchNativeQuantizer',
        'TensorRTQuantizer',
        'OpenVINOQuantizer',
        'AcademicQuantizer',
    ],
)
def test_quantization_says_what_it_needs(name, monkeypatch):
    from mmrazor.models import quantizers
    from mmrazor.structures.quantization import BackendConfigs

    assert mmrazor.import_without_quantization() is False
    # As where torch has no FX quantization; monkeypatch puts all of it back.
    for backend in BackendConfigs:
        monkeypatch.setitem(BackendConfigs, backend, None)
    for kind in vars(quantizers).values():
        if 'prepare' in getattr(kind, '__dict__', {}):
            monkeypatch.setattr(kind, 'prepare', kind.prepare)
    mmrazor.import_without_quantization()
    arguments = dict(global_qconfig=QCONFIG, tracer=dict(type='CustomTracer'))
    if name == 'AcademicQuantizer':
        arguments = dict(
            qconfig_mapping=dict(_global_=QCONFIG),
            tracer=dict(type='CustomTracer'),
        )
    quantizer = build(dict(type=name, **arguments))
    with pytest.raises(NotImplementedError, match='FX quantization'):
        quantizer.prepare(torch.nn.Linear(2, 2))
    # An algorithm does so at once.
    with pytest.raises(NotImplementedError, match='FX quantization'):
        build(
            dict(
                type='MMArchitectureQuant',
                architecture=network(),
                quantizer=dict(type=name, **arguments),
                input_shapes=(1, 1, 8, 8),
            )
        )


def data_free(name, **kwargs):
    """A data-free algorithm of MMRazor with small networks."""
    recorder = dict(logits=dict(type='ModuleOutputs', source='head.fc'))
    of_teacher = dict(logits=dict(type='ModuleOutputs', source='t.head.fc'))
    mapping = dict(
        s_feature=dict(from_student=True, recorder='logits'),
        t_feature=dict(from_student=False, recorder='logits'),
    )

    def distiller(weight):
        return dict(
            type='ConfigurableDistiller',
            student_recorders=recorder,
            teacher_recorders=of_teacher,
            distill_losses=dict(
                loss_l1=dict(type='L1Loss', loss_weight=weight)
            ),
            loss_forward_mappings=dict(loss_l1=mapping),
        )

    return build(
        dict(
            type=name,
            architecture=network(channels=3),
            teachers=dict(t=dict(build_cfg=network(channels=3))),
            generator=dict(
                type='DAFLGenerator',
                img_size=8,
                latent_dim=16,
                hidden_channels=8,
            ),
            distiller=distiller(1.0),
            generator_distiller=distiller(-1.0),
            **kwargs,
        )
    )


@pytest.mark.parametrize(
    'name', ['DataFreeDistillation', 'DAFLDataFreeDistillation']
)
def test_data_free_algorithms_train_in_one_process(name):
    model = data_free(name)
    wrappers = {
        key: OptimWrapper(
            torch.optim.SGD(model._modules[key].parameters(), lr=0.1)
        )
        for key in ('architecture', 'generator')
    }
    seen = []
    update = wrappers['architecture'].update_params

    def spy(loss):
        seen.append([p.grad for p in model.student.parameters()])
        update(loss)

    wrappers['architecture'].update_params = spy
    before = [p.detach().clone() for p in model.generator.parameters()]
    from mmpretrain.structures import DataSample

    data = dict(
        inputs=[torch.zeros(3, 8, 8) for _ in range(4)],
        data_samples=[DataSample().set_gt_label(0) for _ in range(4)],
    )
    for _ in range(2):
        log_vars = model.train_step(data, OptimWrapperDict(**wrappers))
    assert all(
        np.isfinite(float(value.detach())) for value in log_vars.values()
    )
    # The generator learns, and its pass leaves nothing on the student.
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, model.generator.parameters())
    )
    assert len(seen) == 2
    assert all(grad is None for grads in seen for grad in grads)
    assert 'module' not in vars(model.generator)


def test_teachers_stay_out_of_checkpoints(tmp_path, teacher_file):
    single = dict(
        type='SingleTeacherDistill',
        architecture=network(),
        teacher=network(base_channels=8),
        distiller=dict(type='ConfigurableDistiller'),
    )
    without_file = build(single).state_dict()
    assert any(key.startswith('teacher.') for key in without_file)

    model = build(dict(single, teacher_ckpt=str(teacher_file)))
    state_dict = model.state_dict()
    assert any(key.startswith('architecture.') for key in state_dict)
    assert not any(key.startswith('teacher.') for key in state_dict)
    path = tmp_path / 'run.pth'
    torch.save(dict(state_dict=state_dict), path)
    load_checkpoint(model, str(path), strict=True)
    assert model.load_state_dict(state_dict).missing_keys == []
    # A checkpoint that has the teacher (MMRazor's published ones) loads too.
    model.load_state_dict(without_file)
    assert all(
        torch.equal(value, without_file[f'teacher.{key}'])
        for key, value in model.teacher.state_dict().items()
    )


def test_teachers_of_data_free_distillation_stay_out(teacher_file):
    def keys(**teacher):
        model = build(
            dict(
                type='DataFreeDistillation',
                architecture=network(),
                teachers=dict(
                    t=dict(build_cfg=network(base_channels=8), **teacher)
                ),
                generator=dict(
                    type='DAFLGenerator',
                    img_size=8,
                    latent_dim=16,
                    hidden_channels=8,
                ),
                distiller=dict(type='ConfigurableDistiller'),
                generator_distiller=dict(type='ConfigurableDistiller'),
            )
        )
        return {key.split('.')[0] for key in model.state_dict()}

    assert 'teachers' in keys()
    assert keys(ckpt_path=str(teacher_file)) == {'architecture', 'generator'}


# Config of a classifier with in-place layers at three depths: below the root,
# in an mmcv ConvModule, and in a list.
def inplace_network(**backbone):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=dict(type='MobileNetV2', widen_factor=0.1, **backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=1280),
    )


@pytest.mark.parametrize('cfg', [network(), inplace_network()])
@pytest.mark.parametrize(
    'name', ['SingleTeacherDistill', 'DataFreeDistillation', 'CSDDistillation']
)
def test_no_layer_works_in_place(name, cfg):
    parts = dict(
        type=name,
        architecture=cfg,
        distiller=dict(type='ConfigurableDistiller'),
    )
    if name == 'SingleTeacherDistill':
        parts['teacher'] = cfg
    else:
        parts['teachers'] = dict(t=dict(build_cfg=cfg))
    if name == 'DataFreeDistillation':
        parts.update(
            generator=dict(
                type='DAFLGenerator',
                img_size=8,
                latent_dim=16,
                hidden_channels=8,
            ),
            generator_distiller=dict(type='ConfigurableDistiller'),
        )
    if name == 'CSDDistillation':
        parts['teachers']['t']['ckpt_path'] = 'none'
        channels = cfg['backbone'].get('in_channels', 3)
        parts['image_shape'] = (channels, 32, 32)
    model = build(parts)
    networks = {'architecture', 'teacher', 'teachers'}
    layers = [
        (layer_name, layer)
        for layer_name, layer in model.named_modules()
        if layer_name.split('.')[0] in networks and hasattr(layer, 'inplace')
    ]
    assert len(layers) > 8
    assert [n for n, layer in layers if layer.inplace] == []


def test_in_place_layers_stay_where_they_are_wanted():
    model = build(
        dict(
            type='SingleTeacherDistill',
            architecture=network(),
            module_inplace=True,
            teacher=network(),
            teacher_module_inplace=True,
            distiller=dict(type='ConfigurableDistiller'),
        )
    )
    assert model.student.backbone.relu.inplace
    assert model.teacher.backbone.relu.inplace


def test_ofd_trains_on_what_is_before_its_relus():
    """MMRazor's own config, against plain networks and formulas."""
    cfg = get_config(
        'mmrazor::distill/mmcls/ofd/'
        'ofd_backbone_resnet50_resnet18_8xb16_cifar10.py'
    ).model
    cfg.teacher_ckpt = None
    model = build(cfg)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    # The margins are those of the BN layers' weights.
    model.distiller.init_ofd_connectors(model.teacher)
    model.train()
    images = torch.randn(4, 3, 16, 16)
    samples = [DataSample().set_gt_label(label) for label in range(4)]
    found = model.loss(images, samples)

    places = ('layer2.0.bn1', 'layer3.0.bn1', 'bn1')
    seen = {}
    for name, net in (('s', model.student), ('t', model.teacher)):
        twin = MODELS.build(cfg['architecture' if name == 's' else 'teacher'])
        twin.load_state_dict(net.state_dict())
        twin.train(name == 's')
        for place in places:
            twin.backbone.get_submodule(place).register_forward_hook(
                lambda _, args, out, key=(name, place): seen.__setitem__(
                    key, out.detach().clone()
                )
            )
        twin(images, mode='tensor')
    for index, (place, weight) in enumerate(zip(places, (0.25, 0.5, 1)), 1):
        connectors = model.distiller.connectors
        ours = connectors[f'loss_{index}_sfeat'](seen['s', place])
        margin = connectors[f'loss_{index}_tfeat'].margin
        theirs = seen['t', place].maximum(margin)
        counted = (ours > theirs) | (theirs > 0)
        expected = weight * ((ours - theirs) ** 2)[counted].sum() / 4 / 1000
        torch.testing.assert_close(
            found[f'distill.loss_{index}'], expected, rtol=1e-4, atol=1e-5
        )
        assert (theirs < 0).any()  # which no output of a ReLU is


class InPlace(torch.nn.Module):
    """Operations in place, after layers in train mode or in both."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (torch.nn.Linear(3, 3) for _ in 'abc')

    def forward(self, x):
        x = self.a(x)
        self.returned = x
        y = self.b(x)
        self.before = y.clone()
        y += x
        z = self.c(y)
        self.last = z.clone()
        return z.relu_() if self.training else z.relu()


@pytest.mark.parametrize('modes', [[True] * 3, [False, True, False, True]])
def test_operations_in_place_change_no_records(modes):
    torch.manual_seed(0)
    net = InPlace()
    recorders = dict(
        a=dict(type='mmrazor.ModuleOutputs', source='a'),
        b=dict(type='mmrazor.FeatureMap', source='b'),
        last=dict(type='mmrazor.ModuleOutputs', source='c'),
        inputs=dict(type='mmrazor.ModuleInputs', source='c'),
    )
    manager = RecorderManager(recorders)
    manager.initialize(net)
    for mode in modes:
        net.train(mode).zero_grad()
        inputs = torch.randn(2, 3)
        with manager:
            net(inputs)
        a, b, last, (middle,) = (
            manager.get_recorder(name).get_record_data() for name in recorders
        )
        assert torch.equal(b[..., 0, 0], net.before)
        assert torch.equal(last, net.last)
        # Nothing is copied in vain, also in no graph.
        assert a is net.returned
        assert middle.grad_fn.name() == 'AddBackward0'
        b.sum().backward()
        twin = InPlace()
        twin.load_state_dict(net.state_dict())
        twin.b(twin.a(inputs)).sum().backward()
        assert torch.equal(net.a.weight.grad, twin.a.weight.grad)
        assert torch.equal(net.b.weight.grad, twin.b.weight.grad)


def test_records_of_passes_without_versions():
    net = InPlace().eval()
    output = dict(type='mmrazor.ModuleOutputs', source='c')
    manager = RecorderManager(dict(c=output))
    manager.initialize(net)
    with torch.inference_mode(), manager:
        net(torch.randn(2, 3))
    found = manager.get_recorder('c').get_record_data()
    assert torch.equal(found, net.last)


def test_records_of_compiled_passes():
    """As of ``compile=True`` in a config."""
    net = InPlace().train()
    recorders = dict(
        b=dict(type='mmrazor.ModuleOutputs', source='b'),
        c=dict(type='mmrazor.ModuleOutputs', source='c'),
        inputs=dict(type='mmrazor.ModuleInputs', source='c'),
    )
    manager = RecorderManager(recorders)
    manager.initialize(net)

    @functools.partial(torch.compile, backend='eager')
    def passed(inputs):
        with manager:
            net(inputs)
        return [manager.get_recorder(n).get_record_data() for n in recorders]

    b, c, (middle,) = passed(torch.randn(2, 3))
    assert torch.equal(b, net.before) and torch.equal(c, net.last)
    assert torch.equal(middle, net.before + net.returned)


def test_sequentials_become_dynamic():
    from mmengine.model import Sequential
    from mmrazor.models.architectures.dynamic_ops import DynamicSequential

    plain = Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    dynamic = DynamicSequential.convert_from(plain)
    assert list(dynamic.pure_modules()) == list(plain)
    assert {*plain.state_dict()} <= {*dynamic.state_dict()}


@pytest.mark.parametrize(
    'repair, cls, method',
    [
        (
            mmrazor.record_before_inplace_layers,
            'mmrazor.models.algorithms.base.BaseAlgorithm',
            'set_module_inplace_false',
        ),
        (
            mmrazor.convert_sequentials_of_dicts,
            'mmrazor.models.architectures.dynamic_ops.DynamicSequential',
            'convert_from',
        ),
    ],
)
def test_what_works_is_not_replaced(repair, cls, method, monkeypatch):
    cls = pkgutil.resolve_name(cls)
    if repair is mmrazor.convert_sequentials_of_dicts:
        # As torch has it before 2.5.
        monkeypatch.setattr(collections, 'OrderedDict', dict)
    before = vars(cls)[method]
    repair()
    assert vars(cls)[method] is before


def test_networks_are_encoded_for_a_predictor(scope):
    """Chosen of several choices, as indices and one-hot."""
    from mmrazor.models.task_modules.predictor import MetricPredictor

    groups = {
        0: [SimpleNamespace(choices=['a', 'b', 'c'])],
        1: [SimpleNamespace(choices=[3, 5])],
    }
    predictor = MetricPredictor(
        dict(type='CartsHandler'), groups, encoding_type='onehot'
    )
    vectors = predictor.model2vector({0: 'b', 1: 5})
    assert vectors['normal_vector'] == [1, 1]
    assert vectors['onehot_vector'] == [0, 1, 0, 0, 1]
    assert not hasattr(np, 'int')  # of others


class DrawnModel:
    """Has FLOPs at random, as DMCP's networks."""

    def __init__(self, target_flops, channels):
        self.target_flops, self.channels = target_flops, channels
        self.draws = 0

    def set_subnet(self, mode, arch_train):
        self.mode = mode
        if mode == 'direct':
            self.draws += 1
            self.drawn = random.choice(self.channels)

    def calc_current_flops(self):
        return self.drawn * 1e6


@pytest.mark.parametrize(
    'channels, target, found, draws',
    [
        # As MMRazor: the first within 5%.
        ([50, 96, 104, 200], 100, (96, 104), (1, 30)),
        ([100], 100, (100,), (1, 1)),
        # None is, so the closest that was drawn.
        ([50, 90, 200], 100, (90,), (100, 100)),
    ],
)
def test_dmcp_draws_no_more_than_some(
    channels, target, found, draws, tmp_path, monkeypatch
):
    from mmrazor.engine import DMCPSubnetHook

    random.seed(0)
    model = DrawnModel(target, channels)
    saved, warned = [], []
    hook = DMCPSubnetHook(subnet_sample_num=2)
    monkeypatch.setattr(
        hook,
        '_save_subnet',
        lambda model, runner, path: saved.append(
            (Path(path).name, model.mode, model.drawn)
        ),
    )
    logger = SimpleNamespace(info=lambda _: None, warning=warned.append)
    hook.after_run(
        SimpleNamespace(model=model, work_dir=tmp_path, logger=logger)
    )
    assert [name for name, *_ in saved] == [
        'subnet_1.json',
        'subnet_2.json',
        'excepted_ch.json',
    ]
    assert [mode for _, mode, _ in saved] == ['direct', 'direct', 'expected']
    assert all(drawn in found for *_, drawn in saved)
    # Each is set once more.
    assert draws[0] * 2 <= model.draws - 2 <= draws[1] * 2
    assert len(warned) == (2 if draws == (100, 100) else 0)
    assert all('target_flops=100' in text for text in warned)
    assert (tmp_path / 'model_sample').is_dir()


@pytest.mark.parametrize('counts', [(2, 2), (1, 3)])
def test_classes_of_any_size_are_contrasted(counts):
    from mmengine.dataset import BaseDataset
    from mmrazor.datasets import CRDDataset

    labels = np.repeat(range(2), counts)

    class Labels(BaseDataset):
        METAINFO = dict(classes=('a', 'b'))
        CLASSES = ('a', 'b')

        def load_data_list(self):
            return [dict(gt_label=int(label)) for label in labels]

        def get_gt_labels(self):
            return labels

    dataset = CRDDataset(Labels(), neg_num=2, sample_mode='exact', percent=1.0)
    for index, label in enumerate(labels):
        drawn = dataset.get_data_info(index)['contrast_sample_idxs']
        assert drawn[0] == index
        assert (labels[drawn[1:]] != label).all() and len(drawn) == 3


def test_features_are_drawn_without_mmcls(tmp_path):
    from mmengine.visualization import Visualizer
    from mmrazor.engine.hooks.visualization_hook import RazorVisualizationHook

    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), images[0])
    Visualizer.get_instance('of_features')
    hook = RazorVisualizationHook(
        dict(fc=dict(_scope_='mmrazor', type='ModuleOutputs', source='conv')),
        ConfigDict(fc=dict(recorder='fc')),
        enabled=True,
        out_dir='drawn',
        is_overlaid=False,
    )
    model = torch.nn.Module()
    model.conv = torch.nn.Conv2d(3, 2, 1)
    model.test_step = lambda data: model.conv(data['inputs'][0][None].float())
    pipeline = [
        dict(type='LoadImageFromFile', _scope_='mmpretrain'),
        dict(type='PackInputs', _scope_='mmpretrain'),
    ]
    dataset = SimpleNamespace(get_data_info=lambda _: dict(img_path=path))
    runner = SimpleNamespace(
        model=model,
        epoch=0,
        work_dir=str(tmp_path),
        timestamp='now',
        cfg=ConfigDict(test_dataloader=dict(dataset=dict(pipeline=pipeline))),
        val_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset)),
    )
    hook.before_run(runner)
    hook.before_train(runner)
    drawn = list((tmp_path / 'now/drawn').iterdir())
    assert [file.name for file in drawn] == ['before_run_data_idx_0_fc_0.jpg']
    assert cv2.imread(str(drawn[0])).std() > 0
    assert type(hook._visualizer) is Visualizer


def test_dsnas_scales_gradients_as_before_torch_2():
    """Those of parameters that had none stay zero."""
    from mmrazor.models.algorithms import DSNAS
    from mmrazor.models.mutables import OneHotMutableOP

    with DefaultScope.overwrite_default_scope('mmrazor'):
        ops = [
            OneHotMutableOP(
                dict(
                    a=dict(type='Identity', in_channels=2, out_channels=2),
                    b=dict(type='Identity', in_channels=2, out_channels=2),
                ),
                module_kwargs=dict(stride=1),
            )
            for _ in range(2)
        ]
    first, second = (f'{ops[0].mutable_prefix}_{i}' for i in (0, 1))
    arch_params = {
        name: torch.nn.Parameter(torch.ones(2)) for name in (first, second)
    }
    for number, op in enumerate(ops):
        op.arch_weights = torch.nn.Parameter(torch.ones(2))
        if number == 0:
            op.arch_weights.grad = torch.tensor([2.0, 3.0])
            arch_params[first].grad = torch.tensor([1.0, -1.0])
    self = SimpleNamespace(
        mutator=SimpleNamespace(arch_params=arch_params),
        architecture=torch.nn.Sequential(*ops),
        search_space_name_list=['0', '1'],
    )
    DSNAS.handle_grads(self)
    assert arch_params[first].grad.tolist() == [5, -5]
    assert arch_params[second].grad.tolist() == [0, 0]
    assert all(op.arch_weights.grad.tolist() == [0, 0] for op in ops)


def test_dmcp_goes_on_after_its_architecture_under_ddp():
    """Weights alone after a step of the architecture."""
    from mmrazor.models.algorithms import DMCPDDP

    def fc(from_student):
        return dict(recorder='fc', from_student=from_student)

    recorders = dict(fc=dict(type='ModuleOutputs', source='head.fc'))
    dmcp = build(
        dict(
            type='DMCP',
            architecture=network(channels=3),
            mutator_cfg=dict(
                type='DMCPChannelMutator',
                channel_unit_cfg=dict(type='DMCPChannelUnit'),
                parse_cfg=dict(
                    type='ChannelAnalyzer',
                    demo_input=(1, 3, 16, 16),
                    tracer_type='BackwardTracer',
                ),
            ),
            distiller=dict(
                type='ConfigurableDistiller',
                teacher_recorders=recorders,
                student_recorders=recorders,
                distill_losses=dict(kl=dict(type='KLDivergence')),
                loss_forward_mappings=dict(
                    kl=dict(preds_S=fc(True), preds_T=fc(False))
                ),
            ),
            strategy=['max', 'min', 'arch_random'],
            arch_start_train=10,
            distillation_times=10,
            arch_train_freq=10,
        )
    )
    data = dict(
        inputs=torch.rand(4, 3, 16, 16),
        data_samples=[DataSample().set_gt_label(i) for i in range(4)],
    )
    hub = MessageHub.get_current_instance()
    dist.init_process_group(
        'gloo', store=dist.HashStore(), rank=0, world_size=1
    )
    try:
        model = DMCPDDP(module=dmcp, find_unused_parameters=True)
        optimizers = OptimWrapperDict(
            **{
                name: OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
                for name in ('architecture', 'mutator')
            }
        )
        hub.update_info('iter', 20)
        losses = model.train_step(data, optimizers)
        assert {'arch.loss', 'flops.loss'} <= losses.keys()
        dmcp.arch_train = False
        hub.update_info('iter', 0)
        losses = model.train_step(data, optimizers)
        assert 'flops.loss' not in losses
        assert all(loss.isfinite() for loss in losses.values())
    finally:
        hub.pop_info('iter')
        dist.destroy_process_group()


def test_the_teacher_is_no_second_validation(tiny_config, teacher_file):
    """Of hooks, which take weights and answers for the student's."""
    cfg = tiny_config(
        config=ROOT / 'configs/interop/kd_on_bank_digits.py',
        **{
            'model.teacher': network(base_channels=8),
            'model.teacher_ckpt': str(teacher_file),
            'train_cfg.max_epochs': 1,
            'val_cfg.type': 'mmrazor.SingleTeacherDistillValLoop',
            'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
        },
    )
    del cfg.model['teachers'], cfg.model['log_interval']
    runner = Runner.from_cfg(cfg)
    seen = []

    class Look(Hook):
        def weights(self, runner):
            state = runner.model.architecture.state_dict()
            return {name: value.clone() for name, value in state.items()}

        def before_val(self, runner):
            self.before = self.weights(runner)

        def before_val_epoch(self, runner):
            # After the EMA's hook, which was registered before.
            assert not equal(self.weights(runner), self.before)
            seen.append(0)

        def after_val_iter(self, runner, outputs, **kwargs):
            seen[-1] += len(outputs)

        def after_val_epoch(self, runner, metrics):
            self.metrics = metrics

        def after_val(self, runner):
            assert equal(self.weights(runner), self.before)

    look = Look()
    runner.register_hook(look)
    assert any(isinstance(hook, EMAHook) for hook in runner.hooks)
    runner.train()
    assert seen == [len(runner.val_dataloader.dataset)]
    assert {'accuracy/top1', 'teacher.accuracy/top1'} <= look.metrics.keys()


def test_subnets_are_validated_between_one_begin_and_end():
    from mmrazor.engine.runner import SlimmableValLoop

    called, nothing = [], SimpleNamespace(eval=lambda: None)
    loop = object.__new__(SlimmableValLoop)
    call_hook = lambda name, **kwargs: called.append(name)  # noqa: E731
    loop._runner = SimpleNamespace(call_hook=call_hook, model=nothing)
    loop._model = SimpleNamespace(
        mutator=SimpleNamespace(subnets=[0, 1], set_choices=lambda _: None)
    )
    loop.dataloader = torch.utils.data.DataLoader([])
    loop.evaluator = SimpleNamespace(evaluate=lambda size: dict(top1=size))
    for _ in range(2):
        loop.run()
    epoch = ['before_val', 'before_val_epoch', 'after_val_epoch', 'after_val']
    assert called == 2 * epoch
    assert loop.runner.call_hook is call_hook


@pytest.mark.parametrize(
    'name, options',
    [
        ('InformationEntropyLoss', {}),
        ('KLDivergence', dict(tau=2.0, teacher_detach=False)),
    ],
)
@pytest.mark.parametrize('gap', [1.0, 300.0])
def test_losses_of_sure_networks(name, options, gap):
    """Those of float64, where all classes have some probability."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=draw)
    logits[:, 0] += gap

    def value_and_gradient(logits):
        logits = logits.clone().requires_grad_()
        loss = build(dict(type=name, loss_weight=0.5, **options))
        others = [logits.detach().flip(1)] if options else []
        value = loss(*others, logits)
        return value, *torch.autograd.grad(value, logits)

    found, exact = map(value_and_gradient, (logits, logits.double()))
    for one, other in zip(found, exact):
        torch.testing.assert_close(one, other.float())
