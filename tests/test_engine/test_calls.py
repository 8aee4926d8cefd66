# Copyright (c) csd_mmrazor developers. All rights reserved.
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from helpers import ROOT, build
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from csd_mmrazor.cli.config import enable_amp
from csd_mmrazor.engine.calls import becomes_kernel, kernel_calls
from csd_mmrazor.models import Networks

aten = torch.ops.aten


@pytest.mark.parametrize(
    'operator, expected',
    [
        (aten.add.Tensor, True),
        (aten.add_.Tensor, True),
        (aten.copy_.default, True),
        (aten.sub.out, True),
        (aten.native_batch_norm.default, True),
        (aten.convolution_backward.default, True),
        (aten._foreach_add_.List, True),
        (aten._foreach_sqrt.default, True),
        (aten._to_copy.default, True),
        (aten.rand.default, True),
        (aten.split_with_sizes.default, False),
        (aten.view.default, False),
        (aten.detach.default, False),
        (aten.as_strided_.default, False),
        (aten.t_.default, False),
        (aten.empty.memory_format, False),
        (aten.new_empty.default, False),
        (aten._unsafe_view.default, False),
        (aten.promote_types.default, False),
        (aten._local_scalar_dense.default, False),
        (torch.ops.profiler._record_function_enter_new.default, False),
    ],
    ids=str,
)
def test_what_becomes_a_kernel(operator, expected):
    assert becomes_kernel(operator) == expected


def test_backward_passes_count_and_views_do_not():
    layer, values = nn.Linear(3, 2), torch.ones(4, 3, requires_grad=True)
    forward = kernel_calls(lambda: layer(values.view(2, 2, 3)[0].detach()))
    assert forward == {'aten.addmm.default': 1}
    both = kernel_calls(lambda: layer(values).sum().backward())
    assert both['aten.mm.default'] == 2
    assert both['aten.sum.default'] == both['aten.addmm.default'] == 1
    several = [torch.ones(2), torch.ones(3)]
    assert kernel_calls(lambda: torch._foreach_add_(several, 1)) == {
        'aten._foreach_add_.Scalar': 1
    }
    assert not kernel_calls(lambda: torch.empty(3).new_empty(2).t().item)


@pytest.fixture(scope='module', params=[None, 'bfloat16'])
def wide_resnets(request):
    """WRN-40-2 > WRN-16-1 on small batches, whose calls are the same."""
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_wrn40-2_wrn16-1_cifar10.py')
    cfg.model.teachers.teacher.ckpt_path = 'none'
    if request.param:
        enable_amp(cfg, request.param)
    model = build(cfg.model)
    synthesizer = build(
        dict(cfg.default_hooks.synthesis.synthesizer, batch_size=2)
    )
    optimizers = build_optim_wrapper(model, cfg.optim_wrapper)
    batch = dict(
        inputs=torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8),
        labels=torch.tensor([1, 2]),
    )
    networks = Networks.from_algorithm(model)

    def synthesize(iters):
        synthesizer.synthesize(networks, 10, seed=0, iters=iters)

    def train():
        model.train().train_step(batch, optimizers)

    train()  # what is made once
    return SimpleNamespace(
        synthesize=synthesize, train=train, synthesizer=synthesizer
    )


def test_synthesis_steps_take_few_calls(wide_resnets):
    fewer, more = (
        sum(kernel_calls(partial(wide_resnets.synthesize, n)).values())
        for n in (1, 2)
    )
    # A backward pass of the teacher alone has half as many.
    assert 200 < more - fewer <= 800


def test_student_steps_take_few_calls(wide_resnets):
    assert 100 < sum(kernel_calls(wide_resnets.train).values()) <= 450
