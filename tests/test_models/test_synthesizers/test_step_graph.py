# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Steps that a CUDA graph can replay, seen without a GPU."""

import random
import warnings
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import helpers
import numpy as np
import pytest
import torch
import torch.nn as nn
from graphs import CountedGraph, EagerGraph, RecordedGraph, needs_gpu
from helpers import build
from torch.optim import adam
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from csd_mmrazor.models.synthesizers import image_synthesizer
from csd_mmrazor.models.synthesizers.step_graph import (
    WARM_UP,
    CudaGraph,
    ReplayedSteps,
    foreign_hooks,
    with_capturable,
)
from csd_mmrazor.models.utils import drawn, load_optimizer_state


@pytest.fixture(params=[torch.float32])
def networks(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    try:
        yield make_networks()
    finally:
        torch.set_default_dtype(before)


# Libraries for matrices round by where the memory is.
in_float64 = pytest.mark.parametrize(
    'networks', [torch.float64], indirect=True
)


def make_networks():
    made = helpers.networks()
    head = build(
        dict(type='SelfSupervisedAuxHead', num_classes=10, in_channels=8)
    )
    head.init_weights()
    return made._replace(aux_head=head)


OH, BN = dict(type='OneHotLoss'), dict(type='BNStatisticsLoss')
CSD = dict(type='CSDLoss', loss_weight=10)
SGD = dict(type='SGD', lr=0.1, momentum=0.9)
CONFIGS = dict(
    # The paper's.
    csd=dict(losses=dict(loss_oh=OH, loss_bn=BN, loss_csd=CSD)),
    # csd_fast_*: one generator, all images with what the teacher said.
    fast=dict(
        losses=dict(loss_oh=OH, loss_bn=BN, loss_csd=CSD),
        labels='teacher',
        latents='fresh',
        keep='all',
        keep_targets=True,
        views_per_image=1,
        meta=dict(type='LastingGenerator'),
        optimizer_lasts=True,
        distiller=dict(
            type='ConfigurableDistiller',
            teacher_recorders=dict(
                logits=dict(type='ModuleOutputs', source='teacher.head')
            ),
            distill_losses=dict(
                loss_balance=dict(type='InformationEntropyLoss', gather=False)
            ),
            loss_forward_mappings=dict(
                loss_balance=dict(
                    preds_T=dict(from_student=False, recorder='logits')
                )
            ),
        ),
    ),
    cmi=dict(
        losses=dict(
            loss_oh=OH,
            loss_bn=BN,
            loss_view=dict(
                type='ContrastiveLoss', memory_size=4, memory_capacity=8
            ),
        ),
        view_augment=dict(type='RandomResizedCropFlip'),
    ),
    deepinversion=dict(
        generator=dict(type='PixelGenerator', img_size=8, channels=1),
        losses=dict(
            loss_oh=OH,
            loss_bn=BN,
            loss_js=dict(type='CompetitionLoss'),
            loss_tv=dict(type='TotalVariationLoss'),
            loss_l2=dict(type='L2PriorLoss'),
        ),
        augment=dict(type='RandomRoll', shift=1, flip_prob=0.5),
        latent_lr=0.05,
    ),
    fast_datafree=dict(
        losses=dict(
            loss_bn=dict(type='MovingBNStatisticsLoss'),
            loss_adv=dict(type='AdversarialLoss', agreed_only=True),
            loss_oh=OH,
        ),
        meta=dict(type='MetaGenerator'),
    ),
    dfq=dict(
        losses=dict(loss_bn=BN, loss_adv=dict(type='AdversarialLoss')),
        labels='none',
        latents='fresh',
        keep='last',
        num_images=5,
        optimizer=SGD,
    ),
    bfloat16=dict(
        losses=dict(loss_oh=OH, loss_bn=BN, loss_csd=CSD), amp='bfloat16'
    ),
    float16=dict(losses=dict(loss_oh=OH), amp='float16', optimizer=SGD),
)


def synthesizer(name='csd', **options):
    cfg = dict(
        augment=dict(type='RandomCropFlip', padding=1), batch_size=6, iters=5
    )
    return helpers.synthesizer(**(cfg | deepcopy(CONFIGS[name]) | options))


def rounds(parts, networks, count=2):
    """Rounds with a student that changes; all that comes of them."""
    student = deepcopy(networks.student)
    networks = networks._replace(student=student)
    found = []
    for seed in range(count):
        batch = parts.synthesize(networks, 10, seed, with_student=seed > 0)
        if parts.memory_size:
            parts.remember(networks, batch.images, seed)
        found.append((batch, deepcopy(parts.persistent_state())))
        for param in student.parameters():
            param.data.mul_(0.9)
    return found


def assert_same(found, expected, tolerance=0):
    """Batches and persistent states, to the bit."""
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def counting_on_the_device(parts):
    """Parts whose optimizers round as they do in a graph."""
    for cfg in (
        parts.optimizer,
        *(
            loss.optimizer
            for loss in parts.losses.values()
            if getattr(loss, 'optimizer', None)
        ),
    ):
        cfg.update(with_capturable(cfg))
    return parts


@contextmanager
def counting_on_cpus(monkeypatch):
    """Let optimizers keep their counts on the device, which is a CPU."""
    with monkeypatch.context() as patch:
        patch.setattr(
            adam, '_get_capturable_supported_devices', lambda **_: ['cpu']
        )
        yield


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    texts = []
    monkeypatch.setattr(
        image_synthesizer, 'print_log', lambda text, *_: texts.append(text)
    )
    return texts


@pytest.mark.parametrize('name', CONFIGS)
def test_the_captured_function_equals_todays_step(networks, name, said):
    """Called as a graph would be replayed, over several rounds."""
    parts, graphs = synthesizer(name, graph=True), []

    def graph_type(device):
        graphs.append(EagerGraph(device))
        return graphs[-1]

    graph_type.lacks, graph_type.capturable = EagerGraph.lacks, False
    parts.graph_type = graph_type
    found = rounds(parts, networks)
    assert_same(found, rounds(synthesizer(name), networks))
    assert [graph.replays for graph in graphs] == [2, 2]
    assert said == []


@in_float64
@pytest.mark.parametrize('name', [n for n in CONFIGS if 'float' not in n])
def test_nothing_of_an_earlier_replay_is_read(
    networks, name, said, monkeypatch
):
    """Replays without Python, which overwrite what the last one made.

    Optimizers keep their counts on the device, which changes the rounding.
    """
    parts = synthesizer(name, graph=True)
    parts.graph_type = RecordedGraph
    plain = counting_on_the_device(synthesizer(name))
    with counting_on_cpus(monkeypatch):
        found = rounds(parts, networks)
        assert_same(found, rounds(plain, networks), 1e-6)
    assert said == []


@needs_gpu
@in_float64
@pytest.mark.parametrize('name', [n for n in CONFIGS if 'float' not in n])
def test_replays_on_a_gpu_equal_the_steps(networks, name, said, monkeypatch):
    networks = networks._replace(
        teachers=networks.teachers.cuda(),
        student=networks.student.cuda(),
        aux_head=networks.aux_head.cuda(),
    )
    parts = synthesizer(name, graph=True)
    parts.graph_type = CountedGraph
    monkeypatch.setattr(CountedGraph, 'replays', 0)
    found = rounds(parts, networks)
    plain = counting_on_the_device(synthesizer(name))
    assert_same(found, rounds(plain, networks), 1e-6)
    assert said == []
    assert CountedGraph.replays == 4


def test_the_graph_of_the_tests_finds_what_is_kept():
    """A step that is not done in place, and one that reads a number."""

    class Sum:
        def __init__(self, in_place):
            self.in_place = in_place
            self.total, self.last = torch.zeros(()), torch.zeros(())

        def __call__(self):
            new = torch.ones(()) * 2
            if self.in_place:
                self.total += self.last + new
                self.last.copy_(new)
            else:
                self.total, self.last = self.total + self.last + new, new

    totals, said = [], []
    for in_place in (True, False):
        step = Sum(in_place)
        steps = ReplayedSteps(step, RecordedGraph(), said.append)
        for _ in range(6):
            steps()
        totals.append(step.total.item())
        assert len(said) == (not in_place)
    assert totals == [22, 22]  # 6 * 2 + 5 * 2
    assert 'differs from step to step, first at aten.add.Tensor' in said[0]
    step, graph = Sum(False), RecordedGraph()
    graph.warm_up(step)
    graph.capture(step)
    for _ in range(3):
        graph.replay()
    assert step.total.item() == 6  # always the second step
    graph = RecordedGraph()
    with pytest.raises(RuntimeError, match='not permitted: item'):
        graph.capture(lambda: torch.ones(()).item())


class Noise(nn.Module):
    """Draws by itself."""

    def forward(self, images):
        return images + 0.01 * torch.rand(len(images), 1, 1, 1)


class OwnState(nn.Module):
    """Changes by what only Python knows.

    Args:
        kind (str): Which state.
    """

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.calls = self.draws = 0
        self.mean = torch.zeros(1, 1, 8, 8)
        self.numpy = np.random.default_rng(0)
        self.python = random.Random(0)
        self.torch = torch.Generator().manual_seed(0)

    def forward(self, images):
        self.calls += 1
        if self.kind == 'a count':
            return images if self.calls % 2 else images.flip(3)
        if self.kind == 'a number':
            return images * (1 + 0.01 * self.calls)
        if self.kind == 'numpy':
            return images + 0.01 * self.numpy.random()
        if self.kind == 'random':
            return images.roll(self.python.randrange(1, 10**6), 3)
        if self.kind == 'a generator':
            shape = (len(images), 1, 1, 1)
            return images + torch.rand(shape, generator=self.torch) / 100
        if self.kind == 'a tensor':
            new = images.detach().mean(0, keepdim=True)
            self.mean = 0.9 * self.mean + 0.1 * new
            return images - 0.01 * self.mean
        (noise,) = drawn(partial(self.draw, len(images)))
        return images + 0.01 * noise.float()

    def draw(self, num):
        self.draws += 1
        num = 1 if self.draws == dict(shapes=2, late=5).get(self.kind) else num
        dtype = torch.float32
        if self.kind == 'types' and self.draws == 2:
            dtype = torch.float64
        return (torch.rand(num, 1, 1, 1, dtype=dtype),)


class FailingGraph(RecordedGraph):
    def capture(self, step):
        raise RuntimeError('operation not permitted\nwhen it is capturing')


class WaitingGraph(RecordedGraph):
    def warm_up(self, step):
        step()
        return 'the step waits'


HOOK = 'a replay would not call the hooks of '
FALLBACKS = {
    'a CPU': (
        dict(),
        CudaGraph,
        'networks are on cpu, and graphs are of CUDA',
    ),
    'an optimizer': (
        dict(optimizer=dict(type='Adagrad', lr=0.1)),
        RecordedGraph,
        'the optimizer Adagrad is not capturable',
    ),
    'a capture that fails': (
        dict(optimizer=SGD),
        FailingGraph,
        'it cannot be captured: operation not permitted.',
    ),
    'a wait': (dict(optimizer=SGD), WaitingGraph, 'the step waits.'),
    'draws of its own': (
        dict(optimizer=SGD),
        RecordedGraph,
        'something in the step draws random numbers by itself',
    ),
    'a hook': (dict(optimizer=SGD), RecordedGraph, HOOK + 'backbone.conv1'),
}


@pytest.mark.parametrize('name', FALLBACKS)
def test_it_falls_back_and_says_why_once(networks, name, said):
    options, graph_type, message = FALLBACKS[name]
    networks = networks._replace(student=deepcopy(networks.student))
    parts, plain = synthesizer(graph=True, **options), synthesizer(**options)
    parts.graph_type = graph_type
    if name == 'draws of its own':
        parts.augment = plain.augment = Noise()
    if name == 'a hook':
        conv = networks.student.backbone.conv1
        conv.register_forward_hook(lambda *_: None)
    assert_same(rounds(parts, networks), rounds(plain, networks))
    (text,) = said
    assert message in text
    assert text.startswith('graph=True of ImageSynthesizer: steps run one by')


FROZEN = 'what Python does differs from step to step'
OTHER_DRAWS = 'its steps draw different things at random'


@pytest.mark.parametrize(
    'kind, message',
    [
        *(
            (kind, FROZEN)
            for kind in (
                'a count',
                'a number',
                'numpy',
                'random',
                'a generator',
                'a tensor',
            )
        ),
        *((kind, OTHER_DRAWS) for kind in ('shapes', 'types', 'late')),
    ],
)
def test_nothing_that_python_knows_is_frozen(networks, kind, message, said):
    parts, plain = (
        synthesizer('dfq', graph=graph, iters=6) for graph in (True, False)
    )
    parts.graph_type = RecordedGraph
    parts.augment, plain.augment = OwnState(kind), OwnState(kind)
    assert_same(rounds(parts, networks, 1), rounds(plain, networks, 1))
    (text,) = said
    assert message in text


@pytest.mark.parametrize(
    'make, is_same',
    [
        (lambda rng: torch.tensor(0.5), True),
        (lambda rng: torch.tensor([1.0, float('nan')]), True),
        (lambda rng: float('nan'), True),
        (lambda rng: torch.from_numpy(rng.random(2)), False),
        (lambda rng: torch.tensor(rng.random()), False),
        (lambda rng: torch.ones(rng.integers(1, 10**6)), False),
    ],
)
def test_values_from_the_host_are_compared(make, is_same):
    """Where the networks are on another device: here, on 'meta'."""
    device, rng, said = torch.device('meta'), np.random.default_rng(0), []
    memory = torch.ones(2, device=device)

    def step():
        value = make(rng)
        if torch.is_tensor(value):
            memory.sum().add_(value.to(device).sum())
        else:
            memory.mul_(value)

    graph = EagerGraph(device)
    graph.capturable = True
    steps = ReplayedSteps(step, graph, said.append)
    for _ in range(WARM_UP + 1):
        steps()
    assert (said == []) == is_same, said


@pytest.mark.parametrize('compares', [True, False])
def test_compiled_steps_run_without_a_mode(compares):
    """In which torch would leave out what is compiled, for good."""
    modes = []

    def step():
        modes.append(len(_get_current_dispatch_mode_stack()))

    graph = EagerGraph()
    graph.capturable = True
    steps = ReplayedSteps(step, graph, pytest.fail, compares)
    for _ in range(WARM_UP):
        steps()
    assert modes == [0, *[int(compares)] * 2]


def test_short_rounds_are_as_they_are(networks, said):
    parts, plain = (synthesizer(graph=g, iters=3) for g in (True, False))
    parts.graph_type = FailingGraph
    assert_same(rounds(parts, networks), rounds(plain, networks))
    (text,) = said
    assert 'a round of 3 has none to replay, only the first' in text


def test_a_capture_that_fails_is_not_tried_in_each_round(networks, said):
    tried = []

    class Counting(FailingGraph):
        def capture(self, step):
            tried.append(None)
            super().capture(step)

    parts = synthesizer('dfq', graph=True, iters=WARM_UP + 1)
    parts.graph_type = Counting
    rounds(parts, networks, 4)  # one of them without the student
    assert (len(tried), len(said)) == (2, 1)


@pytest.mark.parametrize(
    'part', ['augment', 'view_augment', 'losses', 'distiller', 'meta']
)
def test_hooks_of_all_parts_are_called(networks, part, said):
    name = 'fast' if part in ('distiller', 'meta') else 'cmi'
    parts, called = synthesizer(name, graph=True), []
    parts.graph_type = EagerGraph
    module = dict(
        losses=parts.losses['loss_oh'], distiller=parts.objective.distiller
    ).get(part) or getattr(parts, part)
    module.register_forward_hook(lambda *_: called.append(None))
    rounds(parts, networks, 1)
    (text,) = said
    assert HOOK in text


def test_which_hooks_are_foreign():
    net = nn.Sequential(nn.Linear(2, 2), nn.utils.weight_norm(nn.Linear(2, 2)))
    assert foreign_hooks([net]) == []
    net[0].register_full_backward_hook(lambda *_: None)
    assert foreign_hooks([net]) == ['0']
    net.register_forward_pre_hook(print)
    assert foreign_hooks([net]) == ['Sequential', '0']
    nameless = partial(print)
    nameless.__module__ = None
    other = nn.Linear(2, 2)
    other.register_forward_hook(nameless)
    assert foreign_hooks([other]) == ['Linear']


@pytest.mark.parametrize(
    'cfg, expected',
    [
        (dict(type='Adam'), dict(type='Adam', capturable=True)),
        (
            dict(type='Adam', foreach=True),
            dict(type='Adam', foreach=True, capturable=True),
        ),
        (
            dict(type=torch.optim.AdamW),
            dict(type=torch.optim.AdamW, capturable=True),
        ),
        (SGD, SGD),
        (dict(type='Adagrad'), None),
        (dict(type='LBFGS'), None),
        (dict(type='Adam', capturable=False), None),
    ],
    ids=str,
)
def test_which_optimizers_are_capturable(cfg, expected):
    assert with_capturable(cfg) == expected


@pytest.mark.parametrize('graph', [False, True])
def test_an_optimizer_without_a_type(networks, graph, said):
    parts = synthesizer(graph=graph)
    parts.graph_type = EagerGraph
    parts.optimizer = dict(lr=0.1)
    with pytest.raises(KeyError, match='must contain the key "type"'):
        rounds(parts, networks, 1)
    assert said == []


@pytest.mark.parametrize(
    'options, device',
    [
        (dict(), 'cpu'),
        (dict(foreach=True), 'cpu'),
        (dict(capturable=True), 'meta'),
    ],
    ids=str,
)
def test_counts_are_where_the_optimizer_looks(monkeypatch, options, device):
    """After a long round, whose optimizer counted on the device."""
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda t: torch.zeros(t.shape))
    weight = nn.Parameter(torch.ones(2, device='meta'))
    optimizer = torch.optim.Adam([weight], **options)
    names = ('step', 'exp_avg', 'exp_avg_sq')
    shapes = ((), (2,), (2,))
    load_optimizer_state(
        optimizer,
        {
            f'0.{name}': torch.ones(shape, device='meta')
            for name, shape in zip(names, shapes)
        },
    )
    found = {k: v.device.type for k, v in optimizer.state[weight].items()}
    assert found == dict(step=device, exp_avg='meta', exp_avg_sq='meta')


def test_options_that_exclude_each_other():
    with pytest.raises(ValueError, match='graph=True .* set compile=True'):
        synthesizer(graph=True, compile='reduce-overhead')
    with pytest.raises(ValueError, match="compile .*'reduce-overhead', but"):
        synthesizer(compile='fast')
    with pytest.raises(ValueError, match="'reduce-overhead', but got 5"):
        synthesizer(compile=5)


@in_float64
def test_compiled_passes_may_overwrite_what_they_returned(
    networks, monkeypatch
):
    """As torch.compile(mode='reduce-overhead') does from step to step."""
    returned, modes = [], set()

    def compiled(function, mode=None, **_):
        modes.add(mode)

        def call(*args, **kwargs):
            outputs = function(*args, **kwargs)
            returned.append(outputs)
            return outputs

        return call

    def begin():
        for outputs in returned:
            outputs.detach().fill_(float('nan'))
        returned.clear()

    monkeypatch.setattr(torch, 'compile', compiled)
    monkeypatch.setattr(torch.compiler, 'cudagraph_mark_step_begin', begin)
    monkeypatch.setattr(
        'csd_mmrazor.models.synthesizers.compiled.check_compiler', id
    )
    for name in ('csd', 'fast', 'fast_datafree'):
        # A distiller records layers, which compiled code cannot.
        options = dict(distiller=None) if name == 'fast' else {}
        parts = synthesizer(name, compile='reduce-overhead', **options)
        found = rounds(parts, networks)
        begin()
        expected = rounds(synthesizer(name, **options), networks)
        assert_same(found, expected, 1e-6)
    assert modes == {'reduce-overhead'}


def test_the_graph_of_cuda(monkeypatch):
    """With stand-ins for what torch has for a GPU: in which order."""
    did = []

    def note(name, result=None):
        def call(*args, **kwargs):
            did.append((name, *args, *kwargs.items()))
            return result

        return call

    @contextmanager
    def within(name, *args, **kwargs):
        did.append((name, *args, *kwargs.items()))
        yield
        did.append('end')

    side = SimpleNamespace(wait_stream=note('side waits'))
    current = SimpleNamespace(wait_stream=note('current waits'))
    graph = SimpleNamespace(replay=note('replay'))
    for name, value in dict(
        Stream=lambda device: side,
        CUDAGraph=lambda: graph,
        current_stream=lambda device=None: current,
        set_stream=lambda stream: None,
        stream=lambda stream: within('stream', stream),
        device=lambda device: nullcontext(),
        graph=lambda *args, **kwargs: within('graph', *args, **kwargs),
        get_sync_debug_mode=lambda: 0,
        set_sync_debug_mode=note('debug'),
    ).items():
        monkeypatch.setattr(torch.cuda, name, value)
    device = torch.device('cuda', 0)
    assert CudaGraph.lacks(device) is None
    subject = CudaGraph(device)

    def waiting():
        did.append('step')
        warnings.warn('called a synchronizing CUDA operation', stacklevel=1)

    reason = subject.warm_up(waiting)
    assert __file__ in reason and 'waits for the GPU' in reason
    with pytest.warns(UserWarning, match='^other$'):
        reason = subject.warm_up(lambda: warnings.warn('other', stacklevel=1))
    assert reason is None
    assert did[:7] == [
        ('side waits', current),
        ('debug', 'warn'),
        ('stream', side),
        'step',
        'end',
        ('debug', 0),
        ('current waits', side),
    ]
    did.clear()
    subject.capture(note('step'))
    subject.replay()
    assert did == [
        (
            'graph',
            graph,
            ('stream', side),
            ('capture_error_mode', 'thread_local'),
        ),
        ('step',),
        'end',
        ('replay',),
    ]


def test_a_failed_capture_leaves_the_streams_as_they_were(monkeypatch):
    """With torch's own context, which leaves its stream current then."""
    streams = {0: 'first', 1: 'second'}  # by device
    place = [0]

    class Graph:
        def capture_begin(self, **_):
            place.append('capturing')

        def capture_end(self):
            raise RuntimeError('capture was invalidated')

    @contextmanager
    def stream_context(stream):
        before = dict(streams), place[0]
        streams[1], place[0] = stream, 1
        yield
        streams.update(before[0])
        place[0] = before[1]

    def set_stream(stream):
        place[0] = 0 if stream == 'first' else 1
        streams[place[0]] = stream

    for name, value in dict(
        Stream=lambda device: 'side',
        CUDAGraph=Graph,
        current_stream=lambda device=None: streams[
            place[0] if device is None else device.index
        ],
        set_stream=set_stream,
        stream=stream_context,
        synchronize=lambda: None,
        empty_cache=lambda: None,
    ).items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(
        torch._C, '_host_emptyCache', lambda: None, raising=False
    )
    subject = CudaGraph(torch.device('cuda', 1))
    with pytest.raises(RuntimeError, match='capture was invalidated'):
        subject.capture(lambda: 1 / 0)
    assert 'capturing' in place
    assert (streams, place[0]) == ({0: 'first', 1: 'second'}, 0)
