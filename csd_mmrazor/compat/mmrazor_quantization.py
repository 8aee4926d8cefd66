# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What MMRazor's quantizers need of torch 1.13's FX quantization."""

import functools
import importlib
import inspect
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Optional

import torch

from .rebind import rebind

_BACKENDS = 'mmrazor.structures.quantization.backend_config'
# By the fields of MMRazor's metadata: the module there and the name in it.
_CONVOLUTIONS = dict(
    root=('nn', 'Conv'),
    transpose=('nn', 'ConvTranspose'),
    bn=('nn', 'BatchNorm'),
    reference=('nnqr', 'Conv'),
    transpose_reference=('nnqr', 'ConvTranspose'),
    fused_conv_relu=('nni', 'ConvReLU'),
    fused_conv_bn=('nni', 'ConvBn'),
    fused_conv_bn_relu=('nni', 'ConvBnReLU'),
    qat=('nnqat', 'Conv'),
    relu_qat=('nniqat', 'ConvReLU'),
    bn_qat=('nniqat', 'ConvBn'),
    bn_relu_qat=('nniqat', 'ConvBnReLU'),
    func=('F', 'conv'),
)


@contextmanager
def _attributes(module, **values):
    """Give ``module`` attributes as long as the context lasts."""
    missing = object()
    before = {name: getattr(module, name, missing) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                delattr(module, name)
            else:
                setattr(module, name, value)


def build_backend_configs() -> Optional[bool]:
    """MMRazor's backend configs are written in the notation of torch 1.13.

    They are built on import (mmrazor issues 615 and 632; MMRazor's repository
    has None for them since). Torch 2 writes patterns in the order of
    execution and keeps the reverse for ``_set_pattern_complex_format``, has
    no public names for what reverses a fuser method, says by an
    ``ObservationType`` that nothing is observed, and takes the observers of
    operators with fixed parameters such as sigmoid from the mapping of
    qconfigs, where MMRazor puts them as well. Nothing of it stays in torch.
    """
    try:
        from torch.ao.quantization import backend_config as torch_configs
        from torch.ao.quantization import fuser_method_mappings as fusers
    except ImportError:  # import_without_quantization() is next
        return False
    if hasattr(fusers, 'reverse2'):
        return False
    # BackendConfig takes it for imported.
    importlib.import_module('torch.ao.quantization.backend_config.utils')
    try:
        reverse2, reverse3 = fusers._reverse2, fusers._reverse3
        in_order = fusers._sequential_wrapper2
        not_observed = torch_configs.ObservationType.INPUT_OUTPUT_NOT_OBSERVED
    except AttributeError:
        return False

    class ReversedPatternConfig(torch_configs.BackendPatternConfig):
        def __init__(self, pattern=None):
            super().__init__()
            if isinstance(pattern, tuple):
                self._set_pattern_complex_format(pattern)
            elif pattern is not None:
                self.set_pattern(pattern)

        def _set_input_output_observed(self, observed):
            if not observed:
                self.set_observation_type(not_observed)
            return self

        def _set_overwrite_output_fake_quantize(self, fake_quantize):
            return self

        def _set_overwrite_output_observer(self, observer):
            return self

    with (
        _attributes(
            fusers,
            reverse2=reverse2,
            reverse3=reverse3,
            reverse_sequential_wrapper2=lambda kind: reverse2(in_order(kind)),
        ),
        _attributes(torch_configs, BackendPatternConfig=ReversedPatternConfig),
    ):
        module = importlib.import_module(_BACKENDS)
        _build_what_is_left_out(module)


def _build_what_is_left_out(module) -> None:
    """MMRazor's repository builds no config on any torch but 1.13.

    Nor does it know the convolutions there: networks would be prepared
    without them.
    """
    utils = importlib.import_module(
        f'{_BACKENDS}.common_operator_config_utils'
    )
    for dim in '123':
        name = f'_Conv{dim}dMetadata'
        if not isinstance(getattr(utils, name).root, type):
            kinds = {
                field: getattr(vars(utils)[package], f'{kind}{dim}d')
                for field, (package, kind) in _CONVOLUTIONS.items()
            }
            setattr(utils, name, utils._ConvMetadata(**kinds))
    for name, config in module.BackendConfigs.items():
        if config is None:
            build = getattr(module, f'get_{name}_backend_config')
            module.BackendConfigs[name] = build()


def fuse_by_the_old_keyword() -> Optional[bool]:
    """Torch 2 calls the ``graph_module`` of ``_fuse_fx`` ``model``."""
    try:
        from torch.ao.quantization import quantize_fx
    except ImportError:
        return False
    original = quantize_fx._fuse_fx
    if 'graph_module' in inspect.signature(original).parameters:
        return False

    @functools.wraps(original)
    def fuse(*args, **kwargs):
        if 'graph_module' in kwargs:
            kwargs['model'] = kwargs.pop('graph_module')
        return original(*args, **kwargs)

    rebind(original, fuse, 'torch.ao.quantization')
    rebind(original, fuse, 'mmrazor')


def keep_fixed_ranges() -> None:
    """``MMArchitectureQuant`` forgets the ranges that are known beforehand.

    Those of sigmoid, tanh and the like have no statistics that would set them
    again, on any torch: scales of 1 rounded every gate to 0 or 1. Nor can
    ``get_deploy_model`` replace their fake quantizers, which it need not.
    """
    from mmrazor.models import MMArchitectureQuant
    from mmrazor.models.quantizers.native_quantizer import (
        FixedQParamsFakeQuantize,
    )
    from mmrazor.structures.quantization import QConfigHandler

    reset = MMArchitectureQuant.reset_observer_and_fakequant_statistics
    replace = QConfigHandler.replace_fakequant

    @functools.wraps(reset)
    def reset_all_but_fixed(self, model):
        fixed = [
            (value, value.clone())
            for module in model.modules()
            if isinstance(module, FixedQParamsFakeQuantize)
            for value in (module.scale, module.zero_point)
        ]
        reset(self, model)
        for value, before in fixed:
            value.copy_(before)

    @functools.wraps(replace)
    def replace_all_but_fixed(fake_quant_org, *args, **kwargs):
        if isinstance(fake_quant_org, FixedQParamsFakeQuantize):
            return fake_quant_org
        return replace(fake_quant_org, *args, **kwargs)

    MMArchitectureQuant.reset_observer_and_fakequant_statistics = (
        reset_all_but_fixed
    )
    QConfigHandler.replace_fakequant = staticmethod(replace_all_but_fixed)


def keep_learned_scales() -> None:
    """``LSQEpochBasedLoop`` takes the first batch after a resume for its own.

    Scales are estimated on that one, on any torch: what they had learned was
    replaced.
    """
    from mmrazor.engine import LSQEpochBasedLoop

    run = LSQEpochBasedLoop.run

    @functools.wraps(run)
    def run_on(self):
        self.is_first_batch = self._iter == 0
        return run(self)

    LSQEpochBasedLoop.run = run_on


def deploy_without_mmdeploy() -> Optional[bool]:
    """``get_deploy_model`` takes ``forward`` for rewritten by mmdeploy.

    Without mmdeploy nothing says which of its modes is traced, on any torch:
    it is ``'tensor'``, what a network returns that is deployed.
    """
    from mmrazor.models import MMArchitectureQuant

    if find_spec('mmdeploy') is not None:
        return False
    original = MMArchitectureQuant.get_deploy_model

    @functools.wraps(original)
    def get_deploy_model(self):
        quantizer = self.quantizer
        quantizer.prepare = functools.partial(
            quantizer.prepare, concrete_args=dict(mode='tensor')
        )
        try:
            return original(self)
        finally:
            del quantizer.prepare

    MMArchitectureQuant.get_deploy_model = get_deploy_model


def trace_without_mmdeploy() -> Optional[bool]:
    """``deploy_cfg`` ends in a bare ``ModuleNotFoundError`` of mmdeploy.

    MMRazor's configs of PTQ have one. Classifiers are traced without it, as
    those of QAT are: MMRazor undoes what mmdeploy makes of their ``forward``.
    """
    from mmengine.logging import print_log
    from mmrazor.models import MMArchitectureQuant

    if find_spec('mmdeploy') is not None:
        return False

    def no_rewriter(self, deploy_cfg):
        from mmpretrain.models import BaseClassifier

        if not isinstance(self.architecture, BaseClassifier):
            raise ImportError(
                'deploy_cfg of MMArchitectureQuant needs mmdeploy, which is '
                'not installed: install it, or set model.deploy_cfg=None, so '
                'that the network is traced as it is.'
            )
        print_log(
            'deploy_cfg of MMArchitectureQuant is left out, since mmdeploy is '
            'not installed: the classifier is traced as it is.',
            logger='current',
        )

    MMArchitectureQuant._get_rewriter_context_in_mmdeploy = no_rewriter


def export_fake_quantizers() -> Optional[bool]:
    """Torch's exporters to ONNX have changed since 1.13.

    That of TorchScript, the only one that knows MMRazor's operators, is no
    longer the default, and wants the shape of a weight after them. It is the
    default again for networks with fake quantizers, and for no others.
    """
    from mmrazor.models.quantizers import native_quantizer
    from torch.ao.quantization import FakeQuantizeBase

    if 'dynamo' not in inspect.signature(torch.onnx.export).parameters:
        return False

    def with_shape(symbolic):
        def symbolic_with_shape(g, x, *args):
            return symbolic(g, x, *args).setType(x.type())

        return symbolic_with_shape

    export = torch.onnx.export

    @functools.wraps(export)
    def export_by_torchscript(model, *args, **kwargs):
        if isinstance(model, torch.nn.Module) and any(
            isinstance(module, FakeQuantizeBase) for module in model.modules()
        ):
            kwargs.setdefault('dynamo', False)
        return export(model, *args, **kwargs)

    for name in ('channel', 'tensor'):
        name = f'fake_quantize_per_{name}_affine'
        symbolic = with_shape(getattr(native_quantizer, name))
        torch.onnx.register_custom_op_symbolic(f'::{name}', symbolic, 11)
    rebind(export, export_by_torchscript, 'torch.onnx')
