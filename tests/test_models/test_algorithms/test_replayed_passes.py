# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Student and head steps that CUDA graphs can replay, without a GPU."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from graphs import CountedGraph, EagerGraph, RecordedGraph, needs_gpu
from helpers import build, network
from mmengine.optim import OptimWrapper

from csd_mmrazor.engine import DistillationOptimWrapperConstructor
from csd_mmrazor.models.algorithms import replayed_passes
from csd_mmrazor.models.algorithms.replayed_passes import ReplayedPasses
from csd_mmrazor.models.synthesizers.step_graph import WARM_UP

SGD = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
STEPS = WARM_UP + 3


@pytest.fixture
def make(tiny_config):
    """An algorithm, and the same with graphs."""
    cfg = tiny_config().model

    def make(graph_type=None, device='cpu', **options):
        torch.manual_seed(0)
        graph = graph_type is not None
        model = build({**deepcopy(cfg), **deepcopy(options), 'graph': graph})
        model.init_weights()
        if graph:
            model.replayed.graph_type = graph_type
        return model.to(device, torch.get_default_dtype()).train()

    return make


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    texts = []
    monkeypatch.setattr(
        replayed_passes, 'print_log', lambda text, *_: texts.append(text)
    )
    return texts


@pytest.fixture
def in_float64():
    """Libraries for matrices round by where the memory is."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def optimizers(model, **wrapper):
    cfg = dict(optimizer=SGD, **wrapper)
    return DistillationOptimWrapperConstructor(
        dict(architecture=deepcopy(cfg), aux_head=deepcopy(cfg))
    )(model)


def batches(size=8, count=STEPS, **kinds):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        batch = dict(
            inputs=torch.randint(
                256, (size, 1, 8, 8), dtype=torch.uint8, generator=generator
            ),
            labels=torch.randint(10, (size,), generator=generator),
        )
        for kind, width in kinds.items():
            batch[kind] = torch.randn(size, width, generator=generator)
        yield batch


def train(model, wrappers, data, between=lambda model, number: None):
    """All that comes of some steps; rates fall meanwhile."""
    torch.manual_seed(2)
    logs = []
    for number, batch in enumerate(data):
        between(model, number)
        logs.append(model.train_step(batch, wrappers))
        for wrapper in wrappers.values():
            for group in wrapper.param_groups:
                group['lr'] *= 0.9
    return logs, model.state_dict(), wrappers.state_dict()


CASES = dict(
    paper={},
    one_view=dict(
        options=dict(
            aux_head=dict(
                type='SelfSupervisedAuxHead',
                task=dict(type='RotationTask'),
                views_per_image=1,
            )
        )
    ),
    no_head=dict(options=dict(aux_head=None)),
    accumulation=dict(wrapper=dict(accumulative_counts=2)),
    clipped=dict(wrapper=dict(clip_grad=dict(max_norm=0.1))),
    bfloat16=dict(wrapper=dict(type='mmrazor.AutocastOptimWrapper')),
    kept_logits=dict(data=dict(targets=10), feature=False),
)


def of_case(make, name, graph_type=None, device='cpu'):
    case = CASES[name]
    model = make(graph_type, device, **case.get('options', {}))
    if not case.get('feature', True):
        model.distiller.distill_losses.pop('loss_feature')
        model.distiller.loss_forward_mappings.pop('loss_feature')
        model.data_preprocessor.augment = None
    wrappers = optimizers(model, **case.get('wrapper', {}))
    return train(model, wrappers, batches(**case.get('data', {})))


@pytest.mark.parametrize('name', CASES)
def test_the_captured_function_equals_todays_step(make, name, said):
    """To the bit, called as a graph would be replayed."""
    graphs = []

    class Graph(EagerGraph):
        def __init__(self, device):
            super().__init__(device)
            graphs.append(self)

    found = of_case(make, name, Graph)
    torch.testing.assert_close(
        found, of_case(make, name), rtol=0, atol=0, equal_nan=True
    )
    parts = 1 if name == 'no_head' else 2
    assert [graph.replays for graph in graphs] == [STEPS - WARM_UP] * parts
    assert said == []


@pytest.mark.parametrize('name', [n for n in CASES if n != 'bfloat16'])
@pytest.mark.usefixtures('in_float64')
def test_nothing_of_an_earlier_replay_is_read(make, name, said):
    """Not even the losses, which the log reads steps later."""
    found = of_case(make, name, RecordedGraph)
    torch.testing.assert_close(
        found, of_case(make, name), rtol=1e-6, atol=1e-6
    )
    assert said == []


@needs_gpu
@pytest.mark.parametrize('name', [n for n in CASES if n != 'bfloat16'])
@pytest.mark.usefixtures('in_float64')
def test_replays_on_a_gpu_equal_the_steps(make, name, said, monkeypatch):
    monkeypatch.setattr(CountedGraph, 'replays', 0)
    found = of_case(make, name, CountedGraph, 'cuda')
    torch.testing.assert_close(
        found, of_case(make, name, device='cuda'), rtol=1e-6, atol=1e-6
    )
    assert said == []
    parts = 1 if name == 'no_head' else 2
    assert CountedGraph.replays == parts * (STEPS - WARM_UP)


def freeze_norms(model, number):
    if number == WARM_UP + 1:
        for module in model.student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def swap_memory(model, number):
    if number == WARM_UP + 1:
        for param in model.parameters():
            param.data = param.data.clone()


def freeze_weights(model, number):
    if number == WARM_UP + 1:
        model.student.backbone.conv1.weight.requires_grad_(False)


def change_momentum(model, number):
    if number == WARM_UP + 1:
        model.student.backbone.bn1.momentum = 0.5


def weigh_losses(model, number):
    if number == WARM_UP + 1:
        for loss in model.distiller.distill_losses.values():
            loss.loss_weight = 3.0


@pytest.mark.parametrize(
    'between',
    [
        *(freeze_norms, swap_memory, freeze_weights),
        *(change_momentum, weigh_losses),
    ],
)
@pytest.mark.usefixtures('in_float64')
def test_what_changes_meanwhile_is_captured_again(make, between, said):
    results, made = [], []

    class Graph(RecordedGraph):
        def __init__(self, device):
            super().__init__(device)
            made.append(self)

    for graph_type in Graph, None:
        model = make(graph_type)
        data = batches(count=STEPS + WARM_UP)
        results.append(train(model, optimizers(model), data, between))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)
    assert [graph.replays > 0 for graph in made] == [True] * 4
    assert said == []


def test_what_changes_in_each_step_is_not_captured(make, said):
    def toggle(model, number):
        model.student.backbone.bn1.train(number % 2 == 0)

    results = []
    for graph_type in EagerGraph, None:
        model = make(graph_type)
        results.append(
            train(model, optimizers(model), batches(count=8), toggle)
        )
    torch.testing.assert_close(*results, rtol=0, atol=0)
    (text,) = said
    assert 'training of architecture.backbone.bn1 changes again' in text


def test_a_batch_of_another_shape_is_taken_as_it_is(make, said):
    """The last of an epoch, say; the graph stays."""
    results = []
    for graph_type in EagerGraph, None:
        model = make(graph_type)
        data = [
            *batches(count=WARM_UP + 1),
            *batches(5, 1),
            *batches(count=1),
            *batches(5, 1),
        ]
        results.append(train(model, optimizers(model), data))
        if graph_type:
            _, _, replayed = model.replayed._steps['architecture']
            assert replayed.graph.replays == 2
    torch.testing.assert_close(*results, rtol=0, atol=0)
    (text,) = said
    assert 'another shape than the first is taken as it is' in text


class Failing(RecordedGraph):
    def capture(self, step):
        raise RuntimeError('operation not permitted\nwhen capturing')


class Scaling(OptimWrapper):
    """As MMEngine's AmpOptimWrapper, which only a GPU can build."""

    loss_scaler, cast_dtype = 'dynamic', None


def hook_of_a_layer(model, wrappers):
    model.student.backbone.conv1.register_forward_hook(lambda *_: None)


def hook_of_a_gradient(model, wrappers):
    for part in model.student, model.aux_head:
        for param in part.parameters():
            param.register_hook(lambda grad: grad * 0.5)


def scaled(model, wrappers):
    for name, wrapper in wrappers.items():
        wrappers.optim_wrappers[name] = Scaling(wrapper.optimizer)


class Counting(nn.Module):
    """A loss that becomes weaker with each call."""

    def __init__(self, loss):
        super().__init__()
        self.loss, self.calls = loss, 0

    def forward(self, *args):
        self.calls += 1
        return self.loss(*args) / self.calls


def counting(model, wrappers):
    model.student_loss = Counting(model.student_loss)


def dropout(model, wrappers):
    model.student.neck = nn.Sequential(model.student.neck, Dropout())


class Dropout(nn.Dropout):
    def forward(self, inputs):
        return tuple(super(Dropout, self).forward(each) for each in inputs)


FALLBACKS = dict(
    cpu=(None, None, 'networks are on cpu, and graphs are of CUDA'),
    capture=(Failing, None, 'cannot be captured: operation not permitted.'),
    layer=(
        RecordedGraph,
        hook_of_a_layer,
        'the hooks of architecture.backbone.conv1',
    ),
    gradient=(RecordedGraph, hook_of_a_gradient, 'gradient of a weight has'),
    float16=(RecordedGraph, scaled, 'Scaling scales losses before .* bfloat'),
    count=(RecordedGraph, counting, 'calls of student_loss changes again'),
    dropout=(RecordedGraph, dropout, 'draws random numbers by itself'),
)


@pytest.mark.parametrize('name', FALLBACKS)
def test_it_falls_back_and_says_why_once(make, name, said):
    graph_type, change, message = FALLBACKS[name]
    results = []
    for has_graph in True, False:
        model = make(
            (graph_type or ReplayedPasses.graph_type) if has_graph else None
        )
        wrappers = optimizers(model)
        if change is not None:
            change(model, wrappers)
        results.append(train(model, wrappers, batches()))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    (text,) = said
    assert re.search(message, text), text
    assert text.startswith('graph=True of CSDDistillation: student steps run')


def test_gradients_of_several_processes_are_not_captured(make, said):
    """Their wrapper is what is called, in place of the algorithm."""
    results, calls = [], []
    for graph_type in EagerGraph, None:
        model = make(graph_type)
        wrappers = optimizers(model)

        def forward(*args, model=model, **kwargs):
            calls.append(kwargs['mode'])
            return model(*args, **kwargs)

        logs = [
            model.train_step(batch, wrappers, forward=forward)
            for batch in batches(count=5)
        ]
        results.append((logs, model.state_dict()))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert calls == ['loss', 'aux_loss'] * 10
    (text,) = said
    assert 'gradients of several processes are averaged within them' in text


def test_gradients_arrive_in_the_memory_of_the_optimizer(make):
    """Where they accumulate, none is added to what the graph writes."""
    model = make(EagerGraph)
    wrappers = optimizers(model, accumulative_counts=100)
    data = [*batches(count=1)] * STEPS
    for part in model.student, model.aux_head:
        for param in part.parameters():
            param.grad = torch.ones_like(param)
    for batch in data:
        model.train_step(batch, wrappers)
    for _, step, _ in model.replayed._steps.values():
        for param, grad in zip(step.params, step.grads):
            assert param.grad.data_ptr() != grad.data_ptr()
            assert param.grad.stride() == param.stride()


def test_copies_have_graphs_of_their_own(make):
    """As hooks that average weights make them, before and amid training."""
    model = make(EagerGraph)
    train(model, optimizers(model), batches())
    copied = deepcopy(model)
    assert copied.replayed.graph_type is EagerGraph
    assert model.replayed._steps and not copied.replayed._steps
    expected = train(model, optimizers(model), batches())
    found = train(copied, optimizers(copied), batches())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_option_is_one_of_two(make, tiny_config):
    assert make().replayed is None
    cfg = dict(tiny_config().model, graph='yes', architecture=network())
    with pytest.raises(ValueError, match="graph of .* should be .* 'yes'"):
        build(cfg)


def test_a_run_with_a_graph_equals_one_without(tiny_runner):
    """Where there is no GPU, which the log says."""
    weights = []
    for graph in False, True:
        runner = tiny_runner(
            f'run{graph}',
            **{
                'model.graph': graph,
                'train_cfg.max_epochs': 1,
                'default_hooks.synthesis.init_rounds': 1,
            },
        )
        runner.train()
        weights.append(runner.model.state_dict())
        (log,) = Path(runner.log_dir).glob('*.log')
        assert log.read_text().count('graph=True of CSDDistillation') == graph
    torch.testing.assert_close(*weights, rtol=0, atol=0)
