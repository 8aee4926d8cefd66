# Copyright (c) csd_mmrazor developers. All rights reserved.
import copy
import inspect
import pickle
from pathlib import Path

import mmrazor
import pytest
import torch
from helpers import build, equal, network
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from mmrazor.structures.quantization import BackendConfigs
from mmrazor_algorithms import cut_data, make_images
from torch import nn
from torch.ao.nn.intrinsic import qat
from torch.ao.quantization import (
    FixedQParamsFakeQuantize,
    disable_observer,
    fuser_method_mappings,
    quantize_fx,
)
from torch.ao.quantization import backend_config as torch_configs
from torch.utils.data import DataLoader

from csd_mmrazor.compat import in_force, mmrazor_quantization

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

QCONFIG = dict(
    w_observer=dict(type='mmrazor.PerChannelMinMaxObserver'),
    a_observer=dict(type='mmrazor.MovingAverageMinMaxObserver'),
    w_fake_quant=dict(type='mmrazor.FakeQuantize'),
    a_fake_quant=dict(type='mmrazor.FakeQuantize'),
    w_qscheme=dict(qdtype='qint8', bit=8, is_symmetry=True),
    a_qscheme=dict(qdtype='quint8', bit=8, is_symmetry=True),
)
HEAD = 'mmpretrain.models.heads.ClsHead'
QUANTIZERS = ['TorchNativeQuantizer', 'TensorRTQuantizer', 'OpenVINOQuantizer']


def quantizer(name, qconfig=QCONFIG, **tracer):
    arguments = (
        dict(qconfig_mapping=dict(_global_=qconfig))
        if name == 'AcademicQuantizer'
        else dict(global_qconfig=qconfig)
    )
    return dict(
        type=f'mmrazor.{name}',
        tracer=dict(type='mmrazor.CustomTracer', **tracer),
        **copy.deepcopy(arguments),
    )


def classifier(name, architecture=None, size=8, qconfig=QCONFIG):
    return build(
        dict(
            type='MMArchitectureQuant',
            architecture=architecture or network(channels=3),
            data_preprocessor=dict(
                type='mmpretrain.ClsDataPreprocessor',
                mean=[127.5] * 3,
                std=[127.5] * 3,
            ),
            quantizer=quantizer(
                name,
                qconfig,
                skipped_methods=[
                    f'{HEAD}._get_loss',
                    f'{HEAD}._get_predictions',
                ],
            ),
            input_shapes=(1, 3, size, size),
        )
    )


def batch(size=8):
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    return dict(
        inputs=list(images),
        data_samples=[DataSample().set_gt_label(i) for i in range(4)],
    )


def test_torch_is_left_as_it_was():
    assert in_force()['build_backend_configs']
    assert not hasattr(fuser_method_mappings, 'reverse2')
    assert torch_configs.BackendPatternConfig.__module__.startswith('torch.')


@pytest.mark.parametrize('name', sorted(BackendConfigs))
def test_backend_configs_are_there(name):
    config = BackendConfigs[name]
    assert isinstance(config, torch_configs.BackendConfig)
    assert config.name == name
    assert config.configs


def test_backend_config_agrees_with_torch():
    """Where both have a pattern, they fuse and observe it alike."""

    def described(config):
        return {
            pattern: (
                entry.fused_module,
                entry.qat_module,
                entry.root_module,
                entry.reference_quantized_module,
            )
            for pattern, entry in (
                config._pattern_complex_format_to_config.items()
            )
        }

    ours = described(BackendConfigs['native'])
    theirs = described(torch_configs.get_native_backend_config())
    for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        bn = getattr(nn, kind.__name__.replace('Conv', 'BatchNorm'))
        for pattern in (kind, (bn, kind), (nn.ReLU, kind)):
            assert ours[pattern] == theirs[pattern]
        pattern = (nn.ReLU, (bn, kind))
        assert ours[pattern] == theirs[pattern]
    for pattern in (
        nn.Linear,
        (nn.ReLU, nn.Linear),
        (nn.BatchNorm1d, nn.Linear),
    ):
        assert ours[pattern] == theirs[pattern]
    observed = BackendConfigs['native']._pattern_complex_format_to_config
    for pattern in (nn.Embedding, nn.EmbeddingBag):
        assert observed[pattern].observation_type == (
            torch_configs.ObservationType.INPUT_OUTPUT_NOT_OBSERVED
        )


def test_what_the_repository_leaves_out_is_built(monkeypatch):
    """There, convolutions are numbers and configs None on torch >= 2."""
    from mmrazor.structures.quantization import backend_config as module
    from mmrazor.structures.quantization.backend_config import (
        common_operator_config_utils as utils,
    )

    fields = [getattr(utils, f'_Conv{dim}dMetadata') for dim in '123']
    before = dict(BackendConfigs)
    for dim in '123':
        toy = utils._ConvMetadata(*range(13))
        monkeypatch.setattr(utils, f'_Conv{dim}dMetadata', toy)
    for name in before:
        monkeypatch.setitem(BackendConfigs, name, None)
    mmrazor_quantization._build_what_is_left_out(module)
    again = [getattr(utils, f'_Conv{dim}dMetadata') for dim in '123']
    assert again == fields
    for name, config in before.items():
        assert config is not BackendConfigs[name]
        for ours, theirs in zip(config.configs, BackendConfigs[name].configs):
            assert ours.pattern == theirs.pattern
            assert ours._pattern_complex_format == (
                theirs._pattern_complex_format
            )


def test_fuse_takes_both_keywords():
    fuse = quantize_fx._fuse_fx
    if 'graph_module' in inspect.signature(inspect.unwrap(fuse)).parameters:
        pytest.skip('this torch has the old keyword')
    for keyword in ('graph_module', 'model'):
        net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU())
        traced = torch.fx.symbolic_trace(net.train())
        fused = fuse(is_qat=True, **{keyword: traced})
        assert isinstance(
            fused.get_submodule('0'), torch.ao.nn.intrinsic.ConvBnReLU2d
        )


@pytest.mark.parametrize('name', [*QUANTIZERS, 'AcademicQuantizer'])
def test_networks_are_fused_and_observed(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(
                nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU()
            )
            self.b = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
            self.c = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
            self.d = nn.Conv2d(2, 2, 1)
            self.gate = nn.Sigmoid()

        def forward(self, x):
            return self.gate(self.d(self.c(self.b(self.a(x))))) + 1

    prepared = build(quantizer(name)).prepare(Net())
    modules = dict(prepared.named_modules())
    assert type(modules['a.0']) is qat.ConvBnReLU2d
    assert type(modules['b.0']) is qat.ConvBn2d
    assert type(modules['c.0']) is qat.ConvReLU2d
    assert type(modules['d']) is torch.ao.nn.qat.Conv2d
    # The order of a fuser's arguments decides what is first.
    assert modules['a.0'].bn.num_features == 2
    after = {
        type(modules[node.target])
        for node in prepared.graph.nodes
        if node.op == 'call_module' and node.args[0].name == 'gate'
    }
    if name == 'TorchNativeQuantizer':
        # Its range is known: the mapping of qconfigs has its observer.
        assert after == {FixedQParamsFakeQuantize}
    assert prepared(torch.rand(2, 3, 4, 4)).shape == (2, 2, 4, 4)


@pytest.mark.parametrize('name', QUANTIZERS)
def test_classifiers_train_and_convert(name, tmp_path):
    torch.manual_seed(0)
    model = classifier(name).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    data = batch()
    weight = model.qmodels['loss'].get_submodule('head.fc').weight
    before = weight.detach().clone()
    losses = [float(model.train_step(data, optimizer)['loss']) for _ in '12']
    assert losses[1] < losses[0]
    assert not torch.equal(weight, before)
    model.sync_qparams('loss')
    model.eval().apply(disable_observer)
    inputs = model.data_preprocessor(data)['inputs']
    with torch.no_grad():
        scores = model(inputs)
        deployed = model.get_deploy_model().eval()
        found = deployed(inputs)
    assert 'prepare' not in vars(model.quantizer)
    # Folding BN before rounding moves weights by a step of 1/127 at most.
    torch.testing.assert_close(found, scores, rtol=0.05, atol=0.05)
    path = tmp_path / 'net.onnx'
    model.quantizer.export_onnx(deployed, (inputs,), str(path))
    again = tmp_path / 'again.onnx'
    torch.onnx.export(deployed, inputs, again, opset_version=13)
    assert {'QuantizeLinear', 'DequantizeLinear'} & {
        node.op_type for node in onnx.load(again).graph.node
    }
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    if name == 'OpenVINOQuantizer':
        assert 'FakeQuantize' in kinds  # of OpenVINO, which alone runs it
        return
    assert {'QuantizeLinear', 'DequantizeLinear'} <= kinds
    session = onnxruntime.InferenceSession(path)
    (name,) = (entry.name for entry in session.get_inputs())
    (exported,) = session.run(None, {name: inputs.numpy()})
    # A value that rounds the other way moves a score by a step.
    torch.testing.assert_close(
        torch.from_numpy(exported), found, rtol=0.02, atol=0.02
    )


def test_ranges_that_are_known(tmp_path):
    """Those of gates stay, in training, in deployment and in ONNX."""
    architecture = network(3, 2)
    architecture['backbone'] = dict(
        type='SEResNet',
        depth=50,
        stem_channels=4,
        base_channels=1,
        expansion=4,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
        se_ratio=2,
        zero_init_residual=False,
    )
    model = classifier('TorchNativeQuantizer', architecture, 16).eval()
    inputs = model.data_preprocessor(batch(16))['inputs']
    with torch.no_grad():
        expected = model.architecture(inputs)
        model(inputs)  # which observes
        model.sync_qparams('tensor')
        model.apply(disable_observer)
        found = model(inputs)
        deployed = model.get_deploy_model().eval()
        found_there = deployed(inputs)
    gates = [
        module
        for module in deployed.modules()
        if isinstance(module, FixedQParamsFakeQuantize)
    ]
    assert gates
    for gate in gates:
        assert (gate.scale.item(), gate.zero_point.item()) == (1 / 256, 0)
    for scores in (found, found_there):
        torch.testing.assert_close(scores, expected, rtol=0.02, atol=0.02)
    path = tmp_path / 'net.onnx'
    model.quantizer.export_onnx(deployed, (inputs,), str(path))
    session = onnxruntime.InferenceSession(path)
    (name,) = (entry.name for entry in session.get_inputs())
    (exported,) = session.run(None, {name: inputs.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(exported), found_there, rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize('hook', ['CheckpointHook', 'DurableCheckpointHook'])
def test_a_resumed_run_keeps_its_learned_scales(tmp_path, hook):
    kind = dict(type='mmrazor.LearnableFakeQuantize')
    qconfig = dict(
        QCONFIG,
        w_observer=dict(type='mmrazor.LSQPerChannelObserver'),
        a_observer=dict(type='mmrazor.LSQObserver'),
        w_fake_quant=kind,
        a_fake_quant=kind,
    )
    images = batch()
    images = [
        dict(inputs=each, data_samples=sample)
        for each, sample in zip(images['inputs'], images['data_samples'])
    ]

    def run(epochs, **starts):
        # BN layers with gains of 0 cannot be fused.
        net = network(channels=3, zero_init_residual=False)
        model = classifier('OpenVINOQuantizer', net, qconfig=qconfig)
        Runner(
            model,
            str(tmp_path),
            train_dataloader=DataLoader(images, 2, collate_fn=pseudo_collate),
            train_cfg=dict(
                type='mmrazor.LSQEpochBasedLoop', max_epochs=epochs
            ),
            # Too low for any change.
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-30)),
            default_hooks=dict(checkpoint=dict(type=hook)),
            default_scope='mmrazor',
            experiment_name=f'{tmp_path.name}_{len(starts)}',
            **starts,
        ).train()
        return {
            name: value.clone()
            for name, value in model.named_parameters()
            if name.endswith('.scale')
        }

    estimated = run(1)
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    for name, value in checkpoint['state_dict'].items():
        if name.endswith('.scale'):  # of which some are shared
            checkpoint['state_dict'][name] = 2 * value
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    learned = {name: 2 * value for name, value in estimated.items()}
    assert equal(run(2, resume=True), learned)
    # As weights to start from, where they are estimated anew.
    last = str(tmp_path / 'epoch_2.pth')
    assert run(1, resume=False, load_from=last).keys() == learned.keys()


def test_ptq_of_mmrazors_own_config(forked, tmp_path):
    """It calibrates and tests; what it writes is tested as it is."""
    make_images(tmp_path / 'images', 32)
    cfg = Config.fromfile(
        Path(mmrazor.__file__).parent / '.mim/configs/quantization/ptq/base'
        '/ptq_openvino_resnet18_8xb32_in1k_calib32xb32.py'
    )
    cut_data(cfg._cfg_dict, str(tmp_path / 'images'), 32)
    narrow = dict(base_channels=4, stem_channels=4, zero_init_residual=False)
    cfg.merge_from_dict(
        {
            'model.float_checkpoint': None,
            'model.input_shapes': (1, 3, 32, 32),
            'model.architecture.backbone': narrow,
            'model.architecture.head.in_channels': 32,
            'val_evaluator': dict(
                _delete_=True,
                type='mmengine.DumpResults',
                out_file_path=str(tmp_path / 'scores.pkl'),
            ),
        }
    )
    cfg.test_evaluator = cfg.val_evaluator
    cfg.dump(tmp_path / 'ptq.py')
    found = []
    options = ('--work-dir', 'run')
    for checkpoint in ('none', None):
        if checkpoint is None:
            (checkpoint,) = (tmp_path / 'run').glob('*/model_ptq.pth')
            options = ('--cfg-options', 'test_cfg.only_val=True')
        done = forked('ptq.py', checkpoint, *options, tool='test.py')
        assert done.status == [0], done.output[-3000:]
        assert 'deploy_cfg of MMArchitectureQuant is left out' in done.output
        scores = pickle.loads((tmp_path / 'scores.pkl').read_bytes())
        found.append(torch.stack([each['pred_score'] for each in scores]))
    torch.testing.assert_close(*found)


def test_networks_that_mmdeploy_rewrites():
    model = classifier('TorchNativeQuantizer')
    model.architecture = nn.Linear(1, 1)
    with pytest.raises(ImportError, match='set model.deploy_cfg=None'):
        model._get_rewriter_context_in_mmdeploy(dict())


def test_other_networks_are_exported_as_torch_does(monkeypatch):
    asked = []

    def export(model, *, dynamo=True):
        asked.append(dynamo)

    monkeypatch.setattr(torch.onnx, 'export', export)
    mmrazor_quantization.export_fake_quantizers()
    torch.onnx.export(torch.nn.Linear(1, 1))
    torch.onnx.export(None)
    quantized = torch.nn.Sequential(torch.ao.quantization.FakeQuantize())
    torch.onnx.export(quantized)
    torch.onnx.export(quantized, dynamo=True)
    assert asked == [True, True, False, True]
