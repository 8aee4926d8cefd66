# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is wrong with MMRazor, by itself and on today's torch."""

import collections
import functools
import importlib
import inspect
import random
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from typing import List, Optional

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves, tree_map_only

from ..utils.modules import exclude_from_checkpoints, switch_inplace_off

_is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)
_QUANTIZATION = (
    'MMRazor 1.0.0 quantizes by the FX quantization of torch.ao, and torch '
    f'{torch.__version__} has not what it needs of it: install torch==2.11 '
    'in an environment of its own for it. Distillation, pruning and NAS do '
    'not need it; docs/mmrazor.md has the details.'
)


def import_without_quantization() -> Optional[bool]:
    """``import mmrazor.models`` fails without FX quantization in torch.

    That is where ``mmrazor_quantization.build_backend_configs`` does not find
    what it builds on: torch has deprecated it. Networks cannot be prepared
    for quantization then, which says so, when an algorithm is built.
    """
    name = 'mmrazor.structures.quantization.backend_config'
    backends = ('academic', 'native', 'tensorrt', 'openvino')
    try:
        module = importlib.import_module(name)
        if any(value is not None for value in module.BackendConfigs.values()):
            return False
    except ImportError as error:
        if 'torch>=1.13' not in str(error):
            raise
        module = types.ModuleType(name)
        module.__all__ = ['BackendConfigs']
        module.BackendConfigs = dict.fromkeys(backends)
        sys.modules[name] = module

    from mmrazor.models import quantizers

    def prepare(self, *args, **kwargs):
        raise NotImplementedError(_QUANTIZATION)

    for quantizer in vars(quantizers).values():
        if 'prepare' in getattr(quantizer, '__dict__', {}):
            quantizer.prepare = prepare


def record_before_inplace_layers() -> Optional[bool]:
    """MMRazor switches in-place layers off, but does not find them.

    It looks for ``OrderedDict``, and ``Module._modules`` is a dict since
    torch 2.5: nothing below the root changes, and recorders before a ReLU
    see what is after it. On any torch it does not look below a layer that has
    an ``inplace`` itself, such as mmcv's ``ConvModule``, nor at the teachers
    of ``DataFreeDistillation``.
    """
    from mmrazor.models import DataFreeDistillation
    from mmrazor.models.algorithms.base import BaseAlgorithm

    original = BaseAlgorithm.set_module_inplace_false
    probe = types.SimpleNamespace(net=torch.nn.Sequential(torch.nn.ReLU(True)))
    probe.net.inplace = True
    probe.set_module_inplace_false = types.MethodType(original, probe)
    probe.set_module_inplace_false(probe.net, 'self.net')
    if not probe.net[0].inplace:
        return False

    @functools.wraps(original)
    def set_module_inplace_false(self, architecture, varstr):
        if isinstance(architecture, torch.nn.Module):
            switch_inplace_off(architecture)
        elif isinstance(architecture, dict):
            for module in architecture.values():
                set_module_inplace_false(self, module, varstr)

    BaseAlgorithm.set_module_inplace_false = set_module_inplace_false

    initialize = DataFreeDistillation.__init__

    @functools.wraps(initialize)
    def __init__(self, *args, **kwargs):
        initialize(self, *args, **kwargs)
        switch_inplace_off(self.teachers)

    DataFreeDistillation.__init__ = __init__


def record_before_inplace_operations() -> None:
    """Recorders see what operations make of a module's output afterwards.

    Those in place, such as ``out += identity`` in residual blocks, change the
    recorded tensor as well. The first pass in a mode keeps copies and finds
    out whether anything does so: later ones copy nothing then.
    """
    from mmrazor.models.task_modules import (
        ModuleInputsRecorder,
        ModuleOutputsRecorder,
    )

    def keep(recorder, mode: bool, record) -> None:
        if _is_compiling():  # which knows no versions
            copies = tree_map_only(torch.Tensor, torch.clone, record)
            recorder.data_buffer.append(copies)
            return
        kept, is_changed = record, recorder.__dict__.setdefault('_changed', {})
        if is_changed.get(mode, True):
            kept = tree_map_only(torch.Tensor, torch.clone, record)
        if not is_changed.get(mode, False):
            found = len(recorder.data_buffer), mode, record, _versions(record)
            recorder.__dict__.setdefault('_watched', []).append(found)
        recorder.data_buffer.append(kept)

    def keep_output(self, module, inputs, outputs):
        if self.recording:
            keep(self, module.training, outputs)

    def keep_input(self, module, inputs, outputs):
        if self.recording:
            keep(self, module.training, inputs)

    leave = ModuleOutputsRecorder.__exit__

    @functools.wraps(leave)
    def compare_and_leave(self, *args):
        for index, mode, record, versions in self.__dict__.pop('_watched', ()):
            is_changed = _versions(record) != versions
            if not is_changed:
                # With the graph that it would have without copies.
                self.data_buffer[index] = record
            self._changed[mode] = is_changed or self._changed.get(mode, False)
        return leave(self, *args)

    ModuleOutputsRecorder.forward_hook = keep_output
    ModuleInputsRecorder.forward_hook = keep_input
    ModuleOutputsRecorder.__exit__ = compare_and_leave


def _versions(record) -> List[int]:
    """How often tensors were changed in place."""
    return [
        each._version
        for each in tree_leaves(record)
        if torch.is_tensor(each) and not each.is_inference()
    ]


def convert_sequentials_of_dicts() -> Optional[bool]:
    """``DynamicSequential.convert_from`` fails on torch >= 2.5.

    It gives ``Module._modules``, which is a dict since then, to a constructor
    that takes an ``OrderedDict``.
    """
    if isinstance(torch.nn.Module()._modules, collections.OrderedDict):
        return False
    from mmrazor.models.architectures.dynamic_ops import DynamicSequential

    def convert_from(cls, module):
        return cls(collections.OrderedDict(module._modules))

    DynamicSequential.convert_from = classmethod(convert_from)


def train_data_free_in_one_process() -> None:
    """``DataFreeDistillation`` runs only under DDP and leaks gradients.

    It reads ``self.generator.module.latent_dim``, which a generator that is
    not wrapped does not have; and the generator's backward pass leaves
    gradients on the student, which the student's next step then uses.
    """
    from mmrazor.models import DAFLDataFreeDistillation, DataFreeDistillation

    @contextmanager
    def as_its_own_module(generator):
        if hasattr(generator, 'module'):
            yield
            return
        # Not ``generator.module = ...``: that would register a submodule.
        generator.__dict__['module'] = generator
        try:
            yield
        finally:
            del generator.__dict__['module']

    @contextmanager
    def gradients_restored(student, optim_wrapper):
        update_params = optim_wrapper.update_params

        def update(*args, **kwargs):
            saved = [(param, param.grad) for param in student.parameters()]
            for param, _ in saved:
                param.grad = None
            update_params(*args, **kwargs)
            for param, grad in saved:
                param.grad = grad

        optim_wrapper.update_params = update
        try:
            yield
        finally:
            del optim_wrapper.update_params

    def repaired(train_step):

        @functools.wraps(train_step)
        def wrapper(self, data, optim_wrapper):
            with (
                as_its_own_module(self.generator),
                gradients_restored(self.student, optim_wrapper['generator']),
            ):
                return train_step(self, data, optim_wrapper)

        return wrapper

    for cls in (DataFreeDistillation, DAFLDataFreeDistillation):
        cls.train_step = repaired(cls.train_step)


def refuse_images_as_inputs() -> None:
    """``DataFreeDistillation`` takes any generator's images as inputs.

    It never normalises them, so a generator of images in [0, 1], as this
    project has them, trains on something else than what real images become.
    That is an error when the algorithm is built.
    """
    from mmrazor.models import DataFreeDistillation

    initialize = DataFreeDistillation.__init__

    @functools.wraps(initialize)
    def __init__(self, *args, **kwargs):
        from ..models.generators import check_makes_inputs

        initialize(self, *args, **kwargs)
        check_makes_inputs(self.generator, self.data_preprocessor)

    DataFreeDistillation.__init__ = __init__


def keep_teachers_out_of_checkpoints() -> None:
    """MMRazor's checkpoints hold the teacher (mmrazor issues 76, 594, 613).

    A frozen teacher that was read from a file is read from that file again
    when a run resumes, so its copy (and most of the checkpoint's size) is
    left out. Teachers from anywhere else stay in.
    """
    from mmrazor.models import DataFreeDistillation, SingleTeacherDistill

    def single(self, teacher_ckpt=None, teacher_trainable=False, **_):
        if teacher_ckpt and not teacher_trainable:
            exclude_from_checkpoints(self, 'teacher')

    def several(self, teachers, **_):
        for name, cfg in teachers.items():
            if cfg.get('ckpt_path'):
                exclude_from_checkpoints(self, f'teachers.{name}')

    def followed_by(initialize, exclude):
        signature = inspect.signature(initialize)

        @functools.wraps(initialize)
        def __init__(self, *args, **kwargs):
            initialize(self, *args, **kwargs)
            arguments = signature.bind(self, *args, **kwargs).arguments
            arguments.pop('self')
            exclude(self, **arguments)

        return __init__

    for cls, exclude in (
        (SingleTeacherDistill, single),
        (DataFreeDistillation, several),
    ):
        cls.__init__ = followed_by(cls.__init__, exclude)


def predict_without_numpy_aliases() -> Optional[bool]:
    """``MetricPredictor`` encodes networks by ``np.int``.

    NumPy 1.24 dropped it, which was Python's ``int``.
    """
    if hasattr(np, 'int'):
        return False
    from mmrazor.models.task_modules.predictor import metric_predictor

    metric_predictor.np = _numpy_with(int=int)


def _numpy_with(**names):
    """What one module alone sees of NumPy."""
    stand_in = types.ModuleType('numpy')
    stand_in.__getattr__ = functools.partial(getattr, np)
    vars(stand_in).update(names)
    return stand_in


def contrast_classes_of_any_size() -> Optional[bool]:
    """``CRDDataset`` takes only classes of as many images each.

    It makes one array of the lists of their images, which NumPy >= 1.24
    refuses where those differ in length.
    """
    try:
        np.asarray([[0], [0, 1]])
        return False
    except ValueError:
        from mmrazor.datasets import crd_dataset_wrapper

    def asarray(values, *args, **kwargs):
        lengths = {len(v) for v in values if isinstance(v, np.ndarray)}
        if len(lengths) < 2:
            return np.asarray(values, *args, **kwargs)
        array = np.empty(len(values), object)
        array[:] = values
        return array

    crd_dataset_wrapper.np = _numpy_with(asarray=asarray)


def draw_features_by_any_visualizer() -> None:
    """``RazorVisualizationHook`` needs ``ClsVisualizer`` of mmcls.

    MMEngine's ``add_datasample`` takes no ``out_file``, and mmpretrain's
    visualizer has none of its own. The drawing is written to the file here.
    """
    from mmengine.visualization import Visualizer
    from mmrazor.engine.hooks.visualization_hook import RazorVisualizationHook

    visualize = RazorVisualizationHook._visualize

    class Drawing:
        def __init__(self, visualizer):
            self.visualizer = visualizer

        def __getattr__(self, name):
            return getattr(self.visualizer, name)

        def add_datasample(self, name, image, out_file=None, **kwargs):
            if kwargs.get('show'):
                self.visualizer.show(image, name, kwargs.get('wait_time', 0))
            if out_file is not None:
                mmcv.imwrite(image[..., ::-1], out_file)
            else:
                self.visualizer.add_image(name, image, kwargs.get('step', 0))

    @functools.wraps(visualize)
    def _visualize(self, runner, stage):
        whole = self._visualizer
        if type(whole).add_datasample is Visualizer.add_datasample:
            self._visualizer = Drawing(whole)
        try:
            visualize(self, runner, stage)
        finally:
            self._visualizer = whole

    RazorVisualizationHook._visualize = _visualize


# Networks that are drawn for one within 5% of the FLOPs that are wanted.
_MOST_DRAWS = 100


def draw_subnets_of_dmcp_within_limits() -> None:
    """``DMCPSubnetHook`` draws networks until one has the wanted FLOPs.

    After a short training, or with a ``target_flops`` that no network has,
    that never ends. Of so many the closest is taken, with a warning.
    """
    from mmrazor.engine import DMCPSubnetHook

    def after_run(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        folder = Path(runner.work_dir, 'model_sample')
        folder.mkdir(parents=True, exist_ok=True)
        target = model.target_flops * 1e6
        for number in range(1, self.subnet_sample_num + 1):
            flops = float(_draw_subnet(model, target))
            text = f'subnet_{number} has {flops / 1e6:.4g} MFLOPs'
            is_near = abs(flops / target - 1) <= 0.05
            if is_near:
                runner.logger.info(text)
            else:
                runner.logger.warning(
                    f'{text}, the closest of {_MOST_DRAWS} to target_flops='
                    f'{model.target_flops}: train longer, or set another.'
                )
            path = folder / f'subnet_{number}.json'
            self._save_subnet(model, runner, str(path))
        model.set_subnet(mode='expected', arch_train=False)
        # The name that MMRazor gives it.
        path = folder / 'excepted_ch.json'
        self._save_subnet(model, runner, str(path))

    DMCPSubnetHook.after_run = after_run


def _draw_subnet(model, target):
    """Set a subnet of about so many FLOPs; returns how many it has."""
    drawn = []
    for _ in range(_MOST_DRAWS):
        state = random.getstate()
        model.set_subnet(mode='direct', arch_train=False)
        drawn.append((abs(model.calc_current_flops() / target - 1), state))
        if drawn[-1][0] <= 0.05:
            break
    random.setstate(min(drawn, key=lambda pair: pair[0])[1])
    model.set_subnet(mode='direct', arch_train=False)
    return model.calc_current_flops()


def train_dsnas_without_gradients_of_zeros() -> Optional[bool]:
    """``DSNAS`` multiplies gradients that are None on torch >= 2.

    ``zero_grad`` left zeros before, which are put there again.
    """
    if not _zero_grad_leaves_none():
        return False
    from mmrazor.models.algorithms import DSNAS
    from mmrazor.models.mutables import BaseMutable

    handle_grads = DSNAS.handle_grads

    @functools.wraps(handle_grads)
    def handle_with_zeros(self):
        params = [*self.mutator.arch_params.values()]
        for module in self.architecture.modules():
            if isinstance(module, BaseMutable):
                params.append(module.arch_weights)
        _zeros_for_none(params)
        handle_grads(self)

    DSNAS.handle_grads = handle_with_zeros


def train_dmcp_under_ddp() -> Optional[bool]:
    """``DMCPDDP`` may fail in the step after one of its architecture.

    The loss of the FLOPs is no output of DDP, which takes the parameters of
    the architecture for used in the next step all the same. If they are not,
    it misses their gradients, which torch < 2 left as zeros.
    """
    if not _zero_grad_leaves_none():
        return False
    from mmrazor.models.algorithms import DMCPDDP

    train_step = DMCPDDP.train_step

    @functools.wraps(train_step)
    def train_step_with_zeros(self, data, optim_wrapper):
        losses = train_step(self, data, optim_wrapper)
        dmcp = self.module
        if dmcp.arch_train and dmcp._iter % dmcp.arch_train_freq == 0:
            for group in optim_wrapper['mutator'].param_groups:
                _zeros_for_none(group['params'])
        return losses

    DMCPDDP.train_step = train_step_with_zeros


def begin_validations_once() -> None:
    """Two loops begin an epoch of validation several times and end it once.

    ``SingleTeacherDistillValLoop`` does so for its teacher, and
    ``SlimmableValLoop`` for each subnet. ``EMAHook``, which exchanges the
    weights for their means and back, left the means in the network. Nor do
    hooks get the answers of the teacher any more, as if the student had given
    them.
    """
    from mmengine.runner import autocast
    from mmrazor.engine.runner import (
        SingleTeacherDistillValLoop,
        SlimmableValLoop,
    )

    def once(run):
        @functools.wraps(run)
        def run_once(self):
            runner, begun = self.runner, []
            call_hook = runner.call_hook

            def call(name, **kwargs):
                if name == 'before_val_epoch':
                    begun.append(name)
                if name != 'before_val_epoch' or len(begun) == 1:
                    call_hook(name, **kwargs)

            runner.call_hook = call
            try:
                return run(self)
            finally:
                runner.call_hook = call_hook

        return run_once

    @torch.no_grad()
    def run_iter_teacher(self, idx, data_batch):
        with autocast(enabled=self.fp16):
            outputs = self.teacher.val_step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)

    for loop in (SingleTeacherDistillValLoop, SlimmableValLoop):
        loop.run = once(loop.run)
    SingleTeacherDistillValLoop.run_iter_teacher = run_iter_teacher


def bound_losses_of_sure_networks() -> None:
    """Two losses are NaN where a network gives a class no probability at all.

    That is where its logits are more than 103 apart in float32:
    ``InformationEntropyLoss`` itself, if a class has none in all images of a
    batch, and what ``KLDivergence`` with ``teacher_detach=False`` passes to
    the images. Both take the logarithm of 0 times 0.
    """
    from mmrazor.models.architectures.ops import GatherTensors
    from mmrazor.models.losses import InformationEntropyLoss, KLDivergence

    def above_zero(probs):
        return probs.clamp(min=torch.finfo(probs.dtype).tiny)

    detached = KLDivergence.forward

    @functools.wraps(detached)
    def divergence(self, preds_S, preds_T):
        if self.teacher_detach:
            return detached(self, preds_S, preds_T)
        loss = (self.tau**2) * F.kl_div(
            F.log_softmax(preds_S / self.tau, dim=1),
            above_zero(F.softmax(preds_T / self.tau, dim=1)),
            reduction=self.reduction,
        )
        return self.loss_weight * loss

    @functools.wraps(InformationEntropyLoss.forward_train)
    def entropy(self, preds_T):
        if self.gather and self.world_size > 1:
            preds_T = torch.cat(GatherTensors.apply(preds_T), dim=0)
        class_prob = above_zero(F.softmax(preds_T, dim=1).mean(dim=0))
        return (class_prob * torch.log10(class_prob)).sum()

    KLDivergence.forward = divergence
    InformationEntropyLoss.forward_train = entropy


def _zero_grad_leaves_none():
    zero_grad = inspect.signature(torch.optim.Optimizer.zero_grad)
    return zero_grad.parameters['set_to_none'].default


def _zeros_for_none(params):
    for param in params:
        if param.grad is None:
            param.grad = torch.zeros_like(param)
