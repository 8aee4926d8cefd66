# Copyright (c) csd_mmrazor developers. All rights reserved.
"""No step waits for a device: seen on torch's device 'meta'.

It is another device than the host's, and has no values that could be read.
"""

import traceback
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from helpers import ROOT, build, network
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmrazor.models.architectures.generators import base_generator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from csd_mmrazor.datasets.image_store import MemoryStore
from csd_mmrazor.models import Networks
from csd_mmrazor.utils import to_device

META = torch.device('meta')


class Waits(TorchDispatchMode):
    """Lists calls that wait for a device."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.copies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.split('::')[1]
        if name in ('_to_copy', 'copy_'):
            source = args[1] if name == 'copy_' else args[0]
            if source.device != result.device:
                self.copies += 1
                non_blocking = (kwargs or {}).get('non_blocking', False)
                if name == 'copy_' and len(args) > 2:
                    non_blocking = args[2]
                if not non_blocking:
                    self.found.append((name, traceback.format_stack()[-9:]))
        return result


class OfNumbers(TorchFunctionMode):
    """Lists tensors of Python's numbers, whose copies torch hides."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if (
            func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)
            and result.device.type != 'cpu'
            and not torch.is_tensor(args[0])
            or func is torch.Tensor.new_tensor
        ):
            self.waits.copies += 1
            self.waits.found.append((func, traceback.format_stack()[-9:]))
        return result


@contextmanager
def listed():
    """What waits for a device while the context is open."""
    with Waits() as waits, OfNumbers(waits):
        yield waits


@pytest.mark.parametrize(
    'function, waits, copies',
    [
        (lambda: torch.ones(3).to(META), 1, 1),
        (lambda: torch.empty(3, device=META).copy_(torch.ones(3)), 1, 1),
        (lambda: torch.tensor([1, 2], device=META), 1, 1),
        (lambda: torch.as_tensor([1, 2], device=META), 1, 1),
        (lambda: torch.ones(3, device=META).new_tensor([1.0]), 1, 1),
        (lambda: torch.ones(3).to(META, non_blocking=True), 0, 1),
        (lambda: to_device(torch.ones(3), META), 0, 1),
        (lambda: to_device(torch.ones(3), torch.device('cpu')), 0, 0),
        (lambda: to_device(torch.ones(3, device=META), META), 0, 0),
    ],
)
def test_waits_are_seen(function, waits, copies):
    with listed() as seen:
        function()
    assert (len(seen.found), seen.copies) == (waits, copies)


def test_values_are_not_read_unseen():
    for read in ('item', 'tolist', 'cpu', 'nonzero', '__bool__'):
        with pytest.raises((RuntimeError, NotImplementedError)):
            getattr(torch.ones(1, device=META), read)()


def parts(**options):
    cfg = Config.fromfile(
        ROOT / 'configs/csd/csd_resnet34_resnet18_cifar10.py'
    )
    teacher = dict(build_cfg=network(3, 8), ckpt_path='none', _delete_=True)
    cfg.merge_from_dict(
        {
            'model.architecture': dict(network(3), _delete_=True),
            'model.image_shape': (3, 8, 8),
            'model.teachers.teacher': teacher,
            'default_hooks.synthesis.synthesizer.batch_size': 4,
            **options,
        }
    )
    model = build(cfg.model)
    synthesizer = build(cfg.default_hooks.synthesis.synthesizer)
    return cfg, model, synthesizer


@pytest.fixture(autouse=True)
def _another_device(monkeypatch):
    """What knows no device 'meta'; these steps use no autocast."""
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())
    monkeypatch.setattr(base_generator, 'get_module_device', lambda _: META)


TASKS = [
    'RotationTask',
    'ChannelPermutationTask',
    'RotationPermutationTask',
    'FlipTask',
    'HalfShiftTask',
]


@pytest.mark.parametrize(
    'task, storage, kept, clip',
    [
        *((task, 'cpu', False, None) for task in TASKS),
        (TASKS[0], 'cpu', True, None),
        (TASKS[0], 'meta', True, None),
        (TASKS[0], 'meta', True, dict(max_norm=1)),
        (TASKS[0], 'cpu', False, dict(type='value', clip_value=1)),
    ],
)
def test_steps_of_the_student(task, storage, kept, clip):
    options = {'model.aux_head.task.type': task}
    for name in ('architecture', 'aux_head') if clip else ():
        options[f'optim_wrapper.{name}.clip_grad'] = clip
    if kept:  # logits alone
        options['model.distiller.distill_losses.loss_feature'] = None
    cfg, model, _ = parts(**options)
    if kept:
        model.check_targets()  # once, of values
    model.to(META).train()
    optimizers = build_optim_wrapper(model, cfg.optim_wrapper)
    columns = dict(
        inputs=np.zeros((0, 3, 8, 8), np.uint8), labels=np.zeros(0, np.int64)
    )
    if kept:
        columns['targets'] = np.zeros((0, 2, 10), np.float16)
        columns['draws'] = np.zeros((0, 2, 3), np.uint8)
    store = MemoryStore(columns, storage)
    store.reserve(16)
    store.length = 16

    def step():
        return model.train_step(store.take([3, 1, 4, 1]), optimizers)

    step()
    with listed() as seen:
        losses = step()
    assert seen.found == []
    # All that belongs to the images, or which of them.
    assert seen.copies == (len(columns) if storage == 'cpu' else 1)
    assert {loss.device for loss in losses.values()} == {META}
    norms = {'grad_norm', 'aux_head.grad_norm'}
    assert norms & {*losses} == (
        norms if 'max_norm' in (clip or ()) else set()
    )


@pytest.mark.parametrize(
    'cfg, shapes',
    [
        (dict(type='AdversarialLoss'), [(4, 10)] * 2),
        (dict(type='CompetitionLoss'), [(4, 10)] * 2),
        (dict(type='CompetitionLoss', clamped=True), [(4, 10)] * 2),
        (dict(type='L2PriorLoss'), [(4, 3, 8, 8)]),
        (dict(type='MeanTotalVariationLoss'), [(4, 3, 8, 8)]),
        (dict(type='RelativeL2Loss'), [(4, 6)] * 2),
        (dict(type='TotalVariationLoss'), [(4, 3, 8, 8)]),
    ],
    ids=str,
)
def test_losses(cfg, shapes):
    given = [
        torch.ones(shape, device=META, requires_grad=True) for shape in shapes
    ]
    loss = build(cfg).to(META)
    with listed() as seen:
        loss(*given).backward()
    assert (seen.found, seen.copies) == ([], 0)


@pytest.mark.parametrize('name', ['FeatureNormLoss', 'PatchSimilarityLoss'])
def test_losses_of_tokens(name):
    tokens = torch.ones(4, 64, 6, device=META, requires_grad=True)
    with listed() as seen:
        build(dict(type=name)).to(META)([tokens]).backward()
    assert (seen.found, seen.copies) == ([], 0)


class Enough(Exception):
    pass


SYNTHESIS = 'default_hooks.synthesis.synthesizer.'


@pytest.mark.parametrize(
    'options, copies',
    [
        ({}, 0),
        ({'model.aux_head.task.type': 'RotationPermutationTask'}, 0),
        ({SYNTHESIS + 'losses.loss_bn.type': 'MovingBNStatisticsLoss'}, 0),
        ({SYNTHESIS + 'latents': 'fresh'}, 0),
        ({SYNTHESIS + 'keep': 'all', SYNTHESIS + 'keep_targets': True}, 0),
        ({SYNTHESIS + 'augment': dict(type='RandomRoll', _delete_=True)}, 0),
        (
            {
                SYNTHESIS + 'augment': dict(
                    type='RandomResizedCropFlip', _delete_=True
                )
            },
            0,
        ),
        ({SYNTHESIS + 'meta': dict(type='MetaGenerator')}, 0),
        (
            {SYNTHESIS + 'losses.loss_js': dict(type='CompetitionLoss')},
            0,
        ),
        (
            {
                SYNTHESIS + 'losses.loss_view': dict(
                    type='ContrastiveLoss', memory_size=4, memory_capacity=8
                )
            },
            1,
        ),
        (
            {
                SYNTHESIS + 'losses.loss_adv': dict(
                    type='AdversarialLoss', agreed_only=True
                ),
                SYNTHESIS + 'losses.loss_tv': dict(type='TotalVariationLoss'),
            },
            0,
        ),
    ],
    ids=str,
)
def test_steps_of_synthesis(options, copies):
    _, model, synthesizer = parts(**options)
    networks = Networks.from_algorithm(model.to(META))
    synthesizer.prepare(networks)
    if synthesizer.memory_size:
        synthesizer.memory.add(torch.ones(8, 2 * sum(synthesizer.widths)))
    stack = ExitStack()

    def on_step(steps):
        if steps == 1:
            stack.seen = stack.enter_context(listed())
        else:
            stack.close()
            raise Enough

    with pytest.raises(Enough):
        synthesizer.synthesize(networks, 10, seed=0, on_step=on_step)
    assert stack.seen.found == []
    assert stack.seen.copies == copies
