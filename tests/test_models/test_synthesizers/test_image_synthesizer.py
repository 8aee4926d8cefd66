# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import nullcontext
from copy import deepcopy
from inspect import signature

import helpers
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import build, network
from mmrazor.registry import MODELS
from timm.layers import BatchNormAct2d
from torch.nn.utils.parametrizations import spectral_norm

from csd_mmrazor.models import Networks, NonFiniteSynthesisError
from csd_mmrazor.models.synthesizers import checks, image_synthesizer
from csd_mmrazor.models.synthesizers.best_step import to_uint8
from csd_mmrazor.models.synthesizers.feature_memory import FeatureMemory
from csd_mmrazor.models.utils import bn_layers, reset_weights

LOSSES = dict(
    loss_oh=dict(type='OneHotLoss'),
    loss_bn=dict(type='BNStatisticsLoss', loss_weight=0.5),
    loss_csd=dict(type='CSDLoss', loss_weight=10),
)


class OwnGenerator(nn.Module):
    """Has a weight of its own and one that is computed."""

    makes = 'images'

    def __init__(self, img_size, channels, latent_dim):
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = (channels, img_size, img_size)
        self.background = nn.Parameter(torch.randn(self.image_shape))
        self.layer = spectral_norm(
            nn.Linear(latent_dim, channels * img_size**2)
        )

    def forward(self, data=None, batch_size=1):
        if data is None:
            data = torch.randn(batch_size, self.latent_dim)
        maps = self.layer(data).view(-1, *self.image_shape)
        return (maps + self.background).sigmoid()


def synthesizer(**kwargs):
    cfg = dict(losses=LOSSES, batch_size=12, iters=4)
    return helpers.synthesizer(**(cfg | kwargs))


@pytest.fixture
def networks():
    teacher = build(network(base_channels=8))
    teacher.init_weights()
    teacher.train()
    teacher(torch.randn(64, 1, 8, 8), mode='tensor')
    student = build(network())
    student.init_weights()
    student.train()
    head = build(
        dict(type='SelfSupervisedAuxHead', num_classes=10, in_channels=8)
    )
    head.init_weights()
    return Networks(
        nn.ModuleDict(dict(teacher=teacher.eval())),
        student,
        head,
        lambda images: (images - 0.3) / 0.4,
    )


def state(networks):
    """Everything that a round must leave as it was."""
    return [
        (
            module.training,
            [p.requires_grad for p in module.parameters(recurse=False)],
            [p.grad for p in module.parameters(recurse=False)],
            [b.clone() for b in module.buffers(recurse=False)],
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
        )
        for network in networks.modules
        for module in network.modules()
    ]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def plain_round(synthesizer, networks, seed, iters):
    """The same round as a loop in plain PyTorch."""
    teacher = networks.teachers['teacher']
    student, head = networks.student.eval(), networks.aux_head.eval()
    generator = deepcopy(synthesizer.generator).train()
    torch.manual_seed(seed)
    reset_weights(generator)
    labels = torch.randint(10, (12,)).sort()[0]
    latent = torch.randn(12, 6, requires_grad=True)
    optimizer = torch.optim.Adam(
        [dict(params=generator.parameters()), dict(params=[latent])],
        lr=1e-3,
        betas=(0.5, 0.999),
    )
    inputs_of_bn = []
    handles = [
        module.register_forward_hook(
            lambda module, args, out: inputs_of_bn.append((module, args[0]))
        )
        for module in teacher.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    best = None
    for step in range(iters):
        images = generator(latent)
        inputs = networks.normalize(images)
        inputs_of_bn.clear()
        logits_t = teacher(inputs, mode='tensor')
        loss_bn = sum(
            (x.mean((0, 2, 3)) - bn.running_mean).norm()
            + (x.var((0, 2, 3), unbiased=False) - bn.running_var).norm()
            for bn, x in inputs_of_bn
        )
        views = torch.stack(
            [torch.rot90(inputs, k, (2, 3)) for k in range(4)], 1
        ).view(-1, 1, 8, 8)
        aux = head(student.extract_feat(views)[-1])
        joint = torch.stack([labels * 4 + k for k in range(4)], 1).view(-1)
        terms = dict(
            loss_oh=F.cross_entropy(logits_t, labels),
            loss_bn=0.5 * loss_bn,
            loss_csd=-10 * F.cross_entropy(aux, joint),
        )
        loss = sum(terms.values())
        if best is None or loss.item() < best[0]:
            best = (
                loss.item(),
                images.detach().clone(),
                {k: v.item() for k, v in terms.items()},
                step,
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for handle in handles:
        handle.remove()
    return labels, best, generator, latent.detach()


def test_equals_a_plain_loop(networks):
    parts = synthesizer()
    batch = parts.synthesize(networks, 10, seed=3, iters=7)
    weights = deepcopy(parts.generator.state_dict())
    labels, best, generator, _ = plain_round(parts, networks, 3, 7)
    assert torch.equal(batch.labels, labels)
    assert batch.step == best[3]
    assert batch.terms == pytest.approx(best[2], rel=1e-5)
    assert (
        batch.images.int() - (best[1] * 255).round().int()
    ).abs().max() <= 1
    for key, value in generator.state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-6)


def test_leaves_nothing_behind(networks):
    parts = synthesizer()
    before = state(networks)
    parts.synthesize(networks, 10, seed=0)
    assert same(before, state(networks))
    for module in networks.modules:
        assert all(param.grad is None for param in module.parameters())


def test_gradients_of_others_are_kept(networks):
    for param in networks.student.parameters():
        param.grad = torch.ones_like(param)
    synthesizer().synthesize(networks, 10, seed=0)
    assert all(
        torch.equal(param.grad, torch.ones_like(param))
        for param in networks.student.parameters()
    )


def test_leaves_nothing_behind_after_an_error(networks):
    def fail(step):
        raise KeyboardInterrupt

    before = state(networks)
    with pytest.raises(KeyboardInterrupt):
        synthesizer().synthesize(networks, 10, on_step=fail)
    assert same(before, state(networks))


def test_a_seed_determines_the_round_and_nothing_else(networks):
    parts = synthesizer(augment=dict(type='RandomCropFlip', padding=1))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = parts.synthesize(networks, 10, seed=1)
    assert torch.equal(torch.rand(1), expected)
    second = parts.synthesize(networks, 10, seed=1)
    third = parts.synthesize(networks, 10, seed=2)
    assert torch.equal(first.images, second.images)
    assert not torch.equal(first.images, third.images)


def test_a_generator_of_own_weights_leaves_nothing_to_the_next_round(
    networks,
):
    own = dict(type=OwnGenerator, img_size=8, channels=1, latent_dim=6)
    for meta in (None, dict(type='LastingGenerator', life=1)):
        whole, resumed = (
            synthesizer(generator=dict(own), meta=meta) for _ in range(2)
        )
        # Built with the same seed, as a run and one that goes on with it.
        resumed.initial = {k: v.clone() for k, v in whole.initial.items()}
        resumed.generator.load_state_dict(whole.initial)
        for parts in (whole, resumed):
            parts.prepare(networks, seed=3)
        whole.synthesize(networks, 10, seed=0)
        if meta:
            resumed.meta.age += 1
        batches = [
            p.synthesize(networks, 10, seed=1) for p in (whole, resumed)
        ]
        assert same(*(batch.images for batch in batches))


def test_keeps_the_best_step(networks, monkeypatch):
    """A loss that is lowest in step 2 of 4."""
    values = iter([3.0, 2.0, 1.0, 4.0])
    parts = synthesizer(losses=dict(loss_oh=dict(type='OneHotLoss')))
    seen = []
    forward = parts.generator.forward

    def spy(*args):
        seen.append(forward(*args))
        return seen[-1]

    parts.generator.forward = spy
    monkeypatch.setattr(
        parts.losses['loss_oh'],
        'forward',
        lambda **kw: kw['logits_t'].sum() * 0 + next(values),
    )
    batch = parts.synthesize(networks, 10)
    assert batch.step == 2
    assert batch.terms == dict(loss_oh=1.0)
    assert torch.equal(batch.images, to_uint8(seen[2].detach()))


def test_batch(networks):
    steps = []
    batch = synthesizer().synthesize(networks, 10, on_step=steps.append)
    assert steps == [1, 2, 3, 4]
    assert batch.images.shape == (12, 1, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.labels.shape == (12,)
    assert batch.labels.tolist() == sorted(batch.labels.tolist())
    assert batch.labels.min() >= 0 and batch.labels.max() < 10


def test_uint8_is_the_nearest_level():
    images = torch.tensor([0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0])
    assert to_uint8(images).tolist() == [0, 0, 1, 255, 255]


def test_the_initial_bank_does_not_look_at_the_student(networks):
    def fail(*args, **kwargs):
        raise AssertionError('looked at the student')

    networks.student.forward = fail
    networks.student.extract_feat = fail
    batch = synthesizer().synthesize(networks, 10, with_student=False)
    assert set(batch.terms) == {'loss_oh', 'loss_bn'}


def test_terms_of_weight_0_cost_nothing(networks):
    losses = deepcopy(LOSSES)
    losses['loss_csd']['loss_weight'] = losses['loss_bn']['loss_weight'] = 0
    networks.aux_head.forward = None
    batch = synthesizer(losses=losses).synthesize(networks, 10)
    assert set(batch.terms) == {'loss_oh'}


def test_teachers_are_averaged(networks):
    parts = synthesizer(losses=dict(loss_oh=dict(type='OneHotLoss')), iters=1)
    teachers = [build(network(base_channels=8)).eval() for _ in range(2)]
    terms = [
        parts.synthesize(
            networks._replace(teachers=teacher), 10, seed=0
        ).terms['loss_oh']
        for teacher in (
            *teachers,
            nn.ModuleDict(dict(zip('ab', teachers))),
        )
    ]
    assert terms[2] == pytest.approx((terms[0] + terms[1]) / 2, rel=1e-5)
    assert terms[0] != pytest.approx(terms[1], rel=1e-3)


@pytest.mark.parametrize(
    'part, message',
    [
        (
            dict(
                connectors=dict(
                    fit=dict(
                        type='ConvModuleConnector',
                        in_channel=8,
                        out_channel=16,
                    )
                )
            ),
            r'has weights \(connectors\.fit\..* does not train',
        ),
        (
            dict(
                distill_deliveries=dict(
                    mixed=dict(
                        type='MethodOutputs',
                        max_keep_data=1,
                        method_path='mmpretrain.models.Mixup.mix',
                    )
                )
            ),
            r'distill_deliveries \(mixed\), which hand over nothing',
        ),
    ],
)
def test_parts_of_a_distiller_that_do_nothing(part, message):
    distiller = dict(type='ConfigurableDistiller', **part)
    with pytest.raises(ValueError, match=message):
        synthesizer(distiller=distiller)


def test_losses_of_mmrazor_by_recorders(networks):
    """ActivationLoss, a teacher's term, and L1Loss, one of the student's."""
    distiller = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fc=dict(type='ModuleOutputs', source='head')),
        teacher_recorders=dict(
            fc=dict(type='ModuleOutputs', source='teacher.head'),
            gap=dict(type='ModuleOutputs', source='teacher.neck.gap'),
        ),
        connectors=dict(
            relu=dict(type='TorchFunctionalConnector', function_name='relu')
        ),
        distill_losses=dict(
            loss_act=dict(type='ActivationLoss', loss_weight=0.1),
            loss_l1=dict(type='L1Loss', loss_weight=-1.0),
        ),
        loss_forward_mappings=dict(
            loss_act=dict(feat_T=dict(from_student=False, recorder='gap')),
            loss_l1=dict(
                s_feature=dict(
                    from_student=True, recorder='fc', connector='relu'
                ),
                t_feature=dict(from_student=False, recorder='fc'),
            ),
        ),
    )
    parts = synthesizer(losses={}, distiller=distiller)
    parts.check(networks)
    before = state(networks)
    batch = parts.synthesize(networks, 10, seed=0)
    assert same(before, state(networks))
    assert set(batch.terms) == {'loss_act', 'loss_l1'}
    for manager in (
        parts.objective.distiller.student_recorders,
        parts.objective.distiller.teacher_recorders,
    ):
        assert not any(r.data_buffer for r in manager.recorders.values())

    # Against the same computed from the images of the only step.
    parts.iters = 1
    batch = parts.synthesize(networks, 10, seed=1)
    generator = parts.generator
    torch.manual_seed(1)
    reset_weights(generator)
    torch.randint(10, (12,))
    images = generator.train()(torch.randn(12, 6))
    inputs = networks.normalize(images)
    teacher, student = networks.teachers['teacher'], networks.student.eval()
    features = teacher.neck.gap(teacher.backbone(inputs)[-1])
    l1 = (
        student(inputs, mode='tensor').relu() - teacher(inputs, mode='tensor')
    ).abs()
    assert batch.terms['loss_act'] == pytest.approx(
        -0.1 * features.abs().mean().item(), rel=1e-5
    )
    assert batch.terms['loss_l1'] == pytest.approx(-l1.mean().item(), rel=1e-5)
    # Without the student, only the teacher's term is left.
    batch = parts.synthesize(networks, 10, with_student=False)
    assert set(batch.terms) == {'loss_act'}


@pytest.mark.parametrize(
    'recorder, more',
    [
        (
            dict(type='ModuleInputs', source='head.loss_module'),
            {'data_idx': 1},
        ),
        (dict(type='Labels'), {}),
    ],
)
def test_losses_of_mmrazor_that_need_labels(networks, recorder, more):
    """They get the classes that were asked for."""
    distiller = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            fc=dict(type='ModuleOutputs', source='head'), gt_labels=recorder
        ),
        distill_losses=dict(loss_ce=dict(type='mmpretrain.CrossEntropyLoss')),
        loss_forward_mappings=dict(
            loss_ce=dict(
                cls_score=dict(from_student=True, recorder='fc'),
                label=dict(from_student=True, recorder='gt_labels', **more),
            )
        ),
    )
    parts = synthesizer(losses={}, distiller=distiller, iters=1)
    batch = parts.synthesize(networks, 10, seed=1)
    torch.manual_seed(1)
    reset_weights(parts.generator)
    torch.randint(10, (12,))
    images = parts.generator.train()(torch.randn(12, 6))
    logits = networks.student.eval()(networks.normalize(images), mode='tensor')
    expected = nn.functional.cross_entropy(logits, batch.labels).item()
    assert batch.terms['loss_ce'] == pytest.approx(expected, rel=1e-5)


def test_non_finite_terms_are_named(networks, monkeypatch):
    parts = synthesizer()
    monkeypatch.setattr(
        parts.losses['loss_bn'],
        'forward',
        lambda bn_statistics: bn_statistics[0].mean.sum() / 0,
    )
    before = state(networks)
    with pytest.raises(
        NonFiniteSynthesisError, match='^loss_bn of .* in step 0 of 4'
    ):
        parts.synthesize(networks, 10)
    assert same(before, state(networks))


class Overflow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, overflows):
        ctx.overflows = overflows
        return images.clone()

    @staticmethod
    def backward(ctx, gradient):
        factor = float('inf') if ctx.overflows else 1.0
        return gradient * factor, None


@pytest.mark.parametrize('keep', ['best', 'last'])
@pytest.mark.parametrize('lasts', [True, False])
@pytest.mark.parametrize('step', range(4))
def test_a_gradient_that_overflows_ends_the_round(
    networks, monkeypatch, keep, lasts, step
):
    """Also in the last step, after which no term is computed."""
    meta = dict(type='MetaGenerator', rule='reptile')
    meta['optimizer'] = dict(type='SGD', lr=1)
    losses = dict(loss_oh=dict(type='OneHotLoss'))
    made, like = (
        synthesizer(losses=losses, keep=keep, meta=meta if lasts else None)
        for _ in range(2)
    )
    for each in (made, like):
        each.synthesize(networks, 10, seed=0)
    before = {k: v.clone() for k, v in made.persistent_state().items()}
    bad, done = [step], []
    forward = made.generator.forward

    def generate(*args):
        done.append(None)
        return Overflow.apply(forward(*args), len(done) - 1 in bad)

    monkeypatch.setattr(made.generator, 'forward', generate)
    if (keep, lasts, step) == ('best', False, 3):  # which leaves nothing
        made.synthesize(networks, 10, seed=0)
        return
    with pytest.raises(NonFiniteSynthesisError, match='in .*step.* of 4'):
        made.synthesize(networks, 10, seed=0)
    assert same(list(before.values()), list(made.persistent_state().values()))
    bad.clear()
    found, expected = (
        each.synthesize(networks, 10, seed=1) for each in (made, like)
    )
    assert torch.equal(found.images, expected.images)
    assert found.terms == expected.terms


class KindsOfInputs(nn.Module):
    """Notes in which precision it is called, and with what."""

    seen = []

    def forward(self, features_t, logits_s):
        dtypes = {features_t.dtype, logits_s.dtype}
        self.seen.append((torch.is_autocast_cpu_enabled(), dtypes))
        return features_t.sum() + logits_s.sum()


def test_losses_stay_in_float32(networks):
    """In mixed precision, networks alone are in half precision."""
    MODELS.register_module(module=KindsOfInputs, force=True)
    loss = dict(type='mmrazor.KindsOfInputs')
    synthesizer(iters=1, amp='bfloat16', losses=dict(loss=loss)).synthesize(
        networks, 10, seed=0
    )
    assert KindsOfInputs.seen == [(False, {torch.float32})]


@pytest.mark.parametrize('dtype', ['bfloat16'])
def test_amp_stays_near_float32(networks, dtype):
    full = synthesizer(iters=1).synthesize(networks, 10, seed=0)
    half = synthesizer(iters=1, amp=dtype).synthesize(networks, 10, seed=0)
    assert half.terms == pytest.approx(full.terms, rel=0.01)


def test_check_tells_classes_and_shape(networks):
    assert synthesizer().check(networks) == (10, (1, 8, 8))


def test_check_finds_what_does_not_fit(networks):
    with pytest.raises(ValueError, match="'teacher 0': 7, 'student': 10"):
        synthesizer().check(
            networks._replace(teachers=build(network(num_classes=7)))
        )
    with pytest.raises(ValueError, match='teacher 0 .* shape .1, 8, 8.'):
        synthesizer().check(
            networks._replace(teachers=build(network(channels=3)))
        )
    checkpointing = build(network(base_channels=8, with_cp=True))
    checkpointing.train()(torch.randn(64, 1, 8, 8), mode='tensor')
    with pytest.raises(ValueError, match='No gradient .* with_cp=False'):
        synthesizer().check(networks._replace(teachers=checkpointing.eval()))
    cut_off = deepcopy(networks.teachers)
    cut_off['teacher'].register_forward_pre_hook(
        lambda net, given: (given[0].detach(), *given[1:])
    )
    without_bn = synthesizer(losses=dict(loss_oh=dict(type='OneHotLoss')))
    with pytest.raises(ValueError, match='teacher 0 .*logits to its inputs'):
        without_bn.check(networks._replace(teachers=cut_off))
    without_bn.generator.layers[3].register_forward_hook(
        lambda layer, given, made: made.detach()
    )
    with pytest.raises(ValueError, match='generator .* linear.weight'):
        without_bn.check(networks)
    with pytest.raises(ValueError, match='needs the auxiliary head'):
        synthesizer().check(networks._replace(aux_head=None))
    only_student = dict(loss_adv=dict(type='AdversarialLoss'))
    synthesizer(losses=only_student).check(networks)
    with pytest.raises(ValueError, match='without the student'):
        synthesizer(losses=only_student).check(networks, with_student=False)
    distiller = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(f=dict(type='ModuleOutputs', source='nek')),
    )
    with pytest.raises(ValueError, match=r'recorders\.f\..*"nek".*neck'):
        synthesizer(distiller=distiller).check(networks)


class NoWidth(OwnGenerator):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        del self.latent_dim


class OneArgument(OwnGenerator):
    def forward(self, latents):
        return super().forward(latents)


class OneImage(OwnGenerator):
    def forward(self, data=None, batch_size=1):
        return super().forward(data, batch_size)[:1]


class Rounds(OwnGenerator):
    def forward(self, data=None, batch_size=1):
        return (super().forward(data, batch_size) * 255).round() / 255


class NotBegun(nn.Module):
    def __init__(self, **kwargs):
        self.loss_weight = 1.0


class NoModule:
    def __init__(self, **kwargs):
        pass


@pytest.mark.parametrize(
    'kind, error, message',
    [
        (NoWidth, ValueError, 'NoWidth. should have latent_dim'),
        (
            OneArgument,
            TypeError,
            'OneArgument. is called with .*Write',
        ),
        (OneImage, ValueError, r'OneImage made \(1, 1, 8, 8\) of 2'),
        (Rounds, ValueError, r'Rounds. has weights that get no .*round\(\)'),
        (NotBegun, TypeError, 'generator .*NotBegun.* super'),
        (NoModule, TypeError, 'generator .*nn.Module, but got NoModule'),
    ],
)
def test_generators_with_mistakes(kind, error, message, networks):
    own = dict(type=kind, img_size=8, channels=1, latent_dim=6)
    with pytest.raises(error, match=message):
        synthesizer(generator=own).check(networks)


class CountingLoss(nn.Module):
    """Its weight falls with its calls."""

    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight, self.calls, self.first = loss_weight, 0, None

    def forward(self, logits_t):
        self.calls += 1
        self.first = torch.zeros(2)
        return self.loss_weight / self.calls * logits_t.square().mean()


def test_what_a_resumed_run_would_not_have_is_told(networks, monkeypatch):
    told = []
    monkeypatch.setattr(
        image_synthesizer, 'print_log', lambda text, *args: told.append(text)
    )
    parts = synthesizer(losses=dict(loss_own=dict(type=CountingLoss)))
    for expected in (0, 1, 1, 1):
        parts.synthesize(networks, 10)
        assert len(told) == expected
    assert 'starts without: losses.loss_own.calls. If' in told[0]


def test_losses_with_mistakes():
    for kind in (NotBegun, NoModule):
        with pytest.raises(TypeError, match=f'^losses.x of .*{kind.__name__}'):
            synthesizer(losses=dict(x=dict(type=kind)))


@pytest.mark.parametrize('role', ['student', 'teacher'])
@pytest.mark.parametrize(
    'change, message',
    [
        (lambda x: x.softmax(1), 'returns probabilities'),
        (lambda x: x.sigmoid(), 'returns sigmoids'),
        (lambda x: x.log_softmax(1), 'returns log-probabilities'),
        (lambda x: x + torch.rand_like(x), 'something else of the same im'),
    ],
)
def test_check_finds_what_is_not_logits(
    networks, role, change, message, monkeypatch
):
    model = networks.student
    if role == 'teacher':
        (model,) = networks.each_teacher
    handle = model.register_forward_hook(lambda m, a, out: change(out))
    told = []
    monkeypatch.setattr(checks, 'print_log', lambda *a: told.append(a[0]))
    try:
        if 'log' not in message:
            with pytest.raises(ValueError, match=f'{role} .*{message}'):
                synthesizer().check(networks)
        else:
            synthesizer().check(networks)
            (line,) = [text for text in told if 'never' not in text]
            assert role in line and message in line
    finally:
        handle.remove()


def test_bad_arguments():
    with pytest.raises(ValueError, match='batch_size .* but got 0'):
        synthesizer(batch_size=0)
    with pytest.raises(ValueError, match='iters .* but got 1.5'):
        synthesizer(iters=1.5)
    with pytest.raises(ValueError, match='amp .* but got "?.?int8'):
        synthesizer(amp='int8')
    with pytest.raises(ValueError, match='nothing to minimise'):
        synthesizer(
            losses=dict(loss_oh=dict(type='OneHotLoss', loss_weight=0))
        )
    with pytest.raises(ValueError, match='nothing to minimise'):
        synthesizer(losses={})
    with pytest.raises(
        TypeError, match='needs "preds_S", which .* It has .*logits_t'
    ):
        synthesizer(losses=dict(loss_kl=dict(type='KLDivergence')))
    with pytest.raises(TypeError, match='ConfigurableDistiller, but got'):
        synthesizer(distiller=dict(type='RandomCropFlip'))


def test_networks_of_algorithms(teacher_file):
    algorithm = build(
        dict(
            type='SingleTeacherDistill',
            architecture=network(),
            teacher=network(base_channels=8),
            distiller=dict(type='ConfigurableDistiller'),
        )
    )
    networks = Networks.from_algorithm(algorithm)
    assert networks.teachers is algorithm.teacher
    assert networks.student is algorithm.architecture
    assert networks.aux_head is None
    assert MODELS.get('SingleTeacherDistill')
    with pytest.raises(TypeError, match='ImageClassifier has no student'):
        Networks.from_algorithm(algorithm.teacher)


def test_views_and_memory(networks, monkeypatch):
    """What ContrastiveLoss is given, against a hooked teacher."""
    torch.manual_seed(0)
    given = []
    forward = MODELS.get('ContrastiveLoss').forward

    def noted(self, **kwargs):
        given.append(kwargs)
        return forward(self, **kwargs)

    noted.__signature__ = signature(forward)
    monkeypatch.setattr(MODELS.get('ContrastiveLoss'), 'forward', noted)
    made = synthesizer(
        losses=dict(
            loss_cr=dict(
                type='ContrastiveLoss',
                memory_size=5,
                memory_capacity=8,
                embed_dim=4,
            )
        ),
        # A view that is easily told: mirrored.
        view_augment=dict(type='RandomCropFlip', padding=0, flip_prob=1),
        iters=2,
    )
    assert made.memory_size == 5
    memory = torch.randint(256, (11, 1, 8, 8), dtype=torch.uint8)
    made.prepare(networks, 1)
    images = []
    made.generator.register_forward_hook(lambda m, a, out: images.append(out))
    before = state(networks)
    # As rounds of 7 and 4 images, of which the last 8 are remembered.
    made.remember(networks, memory[:7])
    made.remember(networks, memory[7:])
    made.synthesize(networks, 10, seed=1)
    assert same(before, state(networks))

    teacher = networks.teachers['teacher']

    def features(images):
        seen = []
        handles = [
            layer.register_forward_hook(
                lambda _, args, out: seen.append(args[0].mean((2, 3)))
            )
            for layer in bn_layers(teacher)
        ]
        with torch.no_grad():
            teacher(networks.normalize(images), mode='tensor')
        for handle in handles:
            handle.remove()
        return torch.cat(seen, 1)

    assert len(given) == len(images) == 2
    for each, made_images in zip(given, images):
        for key, expected in (
            ('features_t', features(made_images)),
            ('view_features_t', features(made_images.flip(-1))),
        ):
            torch.testing.assert_close(
                each[key], expected, rtol=1e-3, atol=1e-4
            )
    # The fixture's own normalisation does not rescale uint8.
    expected = features(memory), features(memory.flip(-1))
    drawn = []
    for each in given:
        rows = each['memory_features_t']
        distances = torch.cdist(rows, expected[0])
        indices = distances.argmin(1).tolist()
        drawn.append(indices)
        # Other ones in each step, each once, both views of the same.
        assert len(set(indices)) == 5 and min(indices) >= 3
        for key, wanted in zip(
            ('memory_features_t', 'memory_view_features_t'), expected
        ):
            torch.testing.assert_close(
                each[key], wanted[indices], rtol=1e-3, atol=1e-3
            )
    assert drawn[0] != drawn[1]
    # Without images there is nothing to compare with, and no error.
    given.clear()
    made.memory = FeatureMemory(8)
    made.synthesize(networks, 10, seed=1)
    assert given[0]['memory_features_t'].shape == (
        0,
        given[0]['features_t'].shape[1],
    )


def test_latents_may_have_their_own_rate(networks, monkeypatch):
    groups = []
    step = torch.optim.Adam.step

    def noted(self, *args, **kwargs):
        groups[:] = [group['lr'] for group in self.param_groups]
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, 'step', noted)
    synthesizer(latent_lr=0.03).synthesize(networks, 10, seed=0)
    assert groups == [1e-3, 0.03]
    synthesizer().synthesize(networks, 10, seed=0)
    assert groups == [1e-3, 1e-3]


def test_pixels_are_optimised(networks):
    """DeepInversion's parametrisation through the same loop."""
    made = synthesizer(
        generator=dict(type='PixelGenerator', img_size=8, channels=1),
        losses=dict(
            loss_bn=dict(type='BNStatisticsLoss'),
            loss_tv=dict(type='TotalVariationLoss', loss_weight=0.01),
        ),
        optimizer=dict(type='Adam', lr=0.1),
        iters=30,
    )
    first = made.synthesize(networks, 10, seed=0, iters=1)
    last = made.synthesize(networks, 10, seed=0)
    assert last.terms['loss_bn'] < 0.9 * first.terms['loss_bn']
    assert last.terms['loss_tv'] < first.terms['loss_tv']


def test_persistent_terms_take_one_teacher(networks):
    two = nn.ModuleDict(
        dict(a=networks.each_teacher[0], b=networks.each_teacher[0])
    )
    made = synthesizer(losses=dict(loss_cr=dict(type='ContrastiveLoss')))
    with pytest.raises(ValueError, match='loss_cr .* one teacher, but .* 2'):
        made.prepare(networks._replace(teachers=two))


def test_averages_are_of_the_layers_as_they_run(networks):
    """Not in the order of their names, and without those that do not run."""
    backbone = networks.teachers['teacher'].backbone
    first = backbone._modules.pop('bn1')
    backbone.unused = nn.BatchNorm2d(5)
    backbone.bn1 = first  # now the last one
    parts = synthesizer(
        losses=dict(loss_bn=dict(type='MovingBNStatisticsLoss'))
    )
    parts.synthesize(networks, 10, iters=1)
    widths = [layer.num_features for layer in bn_layers(backbone)]
    assert widths[-2:] == [5, 8] and parts.widths == [8, *widths[:-2]]
    average = parts.losses['loss_bn'].average
    assert average.shape == (2, sum(parts.widths))


def test_a_teacher_of_layers_with_activations(networks):
    """Its images are for what it computes, activations included."""
    teacher = build(
        dict(
            type='TorchClassifier',
            factory='timm.create_model',
            model_name='test_byobnet',
            in_chans=1,
            num_classes=10,
        )
    )
    teacher.train()
    teacher(torch.randn(64, 1, 8, 8), mode='tensor')
    teacher.eval()
    assert any(isinstance(m, BatchNormAct2d) for m in teacher.modules())
    networks = networks._replace(teachers=nn.ModuleDict(dict(t=teacher)))
    parts = synthesizer(losses=dict(loss_oh=dict(type='OneHotLoss')))
    batch = parts.synthesize(networks, 10, seed=1, iters=1)
    module = 'csd_mmrazor.models.synthesizers.observer.fast_frozen_bn'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, lambda *_: nullcontext([]))
        plain = parts.synthesize(networks, 10, seed=1, iters=1)
    assert batch.terms['loss_oh'] == pytest.approx(plain.terms['loss_oh'])


def test_classes_are_drawn_by_their_weights(networks):
    weights = [0, 1, 3.0, 0, 0, 0, 0, 0, 0, 4]
    made = synthesizer(class_weights=weights, batch_size=800, iters=1)
    made.check(networks)
    labels = made.synthesize(networks, 10, seed=0).labels
    counts = torch.bincount(labels, minlength=10).tolist()
    for count, weight in zip(counts, weights):
        # Within four standard deviations of the binomial distribution.
        share = weight / 8
        assert (
            abs(count - 800 * share) <= 4 * (800 * share * (1 - share)) ** 0.5
        )
    again = made.synthesize(networks, 10, seed=0).labels
    assert torch.equal(again, labels)


def test_all_classes_have_their_turn_in_batches_of_fewer(networks):
    made = synthesizer(labels='balanced', batch_size=4, iters=1)
    asked = set()
    for seed in range(20):
        labels = made.synthesize(networks, 10, seed=seed).labels.tolist()
        assert labels == [(labels[0] + i) % 10 for i in range(4)]
        asked |= {*labels}
    assert asked == {*range(10)}


@pytest.mark.parametrize('batch_size', [4, 12, 16])
def test_no_class_is_asked_for_more_often_than_others(networks, batch_size):
    made = synthesizer(labels='balanced', batch_size=batch_size)
    counts = torch.zeros(10)
    for seed in range(300):
        torch.manual_seed(seed)
        labels = made._draw_labels(10, torch.device('cpu'))
        each = torch.bincount(labels, minlength=10)
        assert each.max() - each.min() <= 1
        counts += each
    # Each start is as likely: a standard deviation is about 8.
    assert (counts - 30 * batch_size).abs().max() < 40
    made = synthesizer(labels='balanced', batch_size=20, iters=1)
    labels = made.synthesize(networks, 10, seed=3).labels.tolist()
    assert labels == [*range(10), *range(10)]


def test_terms_of_the_last_step_belong_to_its_images(networks):
    """Not those of the best step, where the last images are kept."""
    losses = dict(loss_oh=dict(type='OneHotLoss'))
    whole = synthesizer(losses=losses, keep='last')
    found = whole.synthesize(networks, 10, seed=1)
    assert found.step == 3
    optimizer = dict(type='Adam', lr=0.5)  # the first step is the best
    terms = {}
    for iters in (1, 2, 3, 4):
        made = synthesizer(losses=losses, keep='last', optimizer=optimizer)
        batch = made.synthesize(networks, 10, seed=1, iters=iters)
        assert batch.step == iters - 1
        terms[iters] = batch.terms['loss_oh']
    assert terms[4] != min(terms.values())
    best = synthesizer(losses=losses, optimizer=optimizer)
    batch = best.synthesize(networks, 10, seed=1)
    assert batch.terms['loss_oh'] == min(terms.values())


@pytest.mark.parametrize(
    'weights, message',
    [
        ([0] * 10, 'not all 0'),
        ([1, -1], 'from 0 on'),
        ([float('nan')] * 10, 'from 0 on'),
        ([float('inf')] * 10, 'from 0 on'),
        ([], 'list of numbers'),
        ([True] * 10, 'list of numbers'),
        (['1'] * 10, 'list of numbers'),
        (dict(a=1), 'a list or None'),
    ],
)
def test_weights_of_classes_that_make_no_sense(weights, message):
    with pytest.raises(ValueError, match=f'class_weights .*{message}'):
        synthesizer(class_weights=weights)


def test_weights_of_other_classes_are_told(networks):
    with pytest.raises(ValueError, match='each of 10 classes, but got 3'):
        synthesizer(class_weights=[1, 1, 1]).check(networks)


class Flattening(nn.Module):
    """Flattens maps as torch refuses to in channels_last."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9))
        self.fc = nn.Linear(9 * 36, 10)

    def forward(self, images):
        maps = self.maps(images)
        return self.fc(maps.view(len(maps), -1))


def test_networks_of_others_that_flatten_by_view(networks):
    """Of an algorithm that knows nothing of memory formats."""
    teacher, student = (
        build(dict(type='TorchClassifier', factory='torch.nn.Identity'))
        for _ in range(2)
    )
    teacher.net, student.net = Flattening(), Flattening()
    teacher.train()
    teacher(torch.randn(64, 3, 8, 8))
    networks = networks._replace(teachers=teacher.eval(), student=student)
    parts = synthesizer(
        generator=dict(
            type='GeneratorAdapter',
            generator=dict(
                type='DAFLGenerator',
                img_size=8,
                latent_dim=6,
                hidden_channels=8,
            ),
            to='images',
            mean=[128] * 3,
            std=[64] * 3,
        ),
        losses=dict(LOSSES, loss_csd=dict(type='AdversarialLoss')),
    )
    with pytest.raises(RuntimeError, match='view size'):
        parts.synthesize(networks, 10, seed=1, iters=1)
    assert parts.check(networks) == (10, (3, 8, 8))
    batch = parts.synthesize(networks, 10, seed=1, iters=1)
    assert batch.images.shape == (12, 3, 8, 8)


class OfOneNumber(nn.Module):
    """A loss of shape (1, )."""

    def forward(self, images):
        return images.mean().reshape(1)


def test_a_loss_may_have_one_number_in_a_list(networks):
    MODELS.register_module(module=OfOneNumber, force=True)
    losses = dict(
        loss_oh=dict(type='OneHotLoss'), loss=dict(type='mmrazor.OfOneNumber')
    )
    made = synthesizer(iters=2, losses=losses)
    assert made.synthesize(networks, 10, seed=0).terms.keys() == losses.keys()


@pytest.mark.parametrize('reported_only', [True, False])
def test_priors_take_the_place_of_what_is_minimised(networks, reported_only):
    losses = dict(
        loss_oh=dict(type='OneHotLoss'),
        loss_bn=dict(type='BNStatisticsLoss', reported_only=reported_only),
    )
    objective = synthesizer(losses=losses).objective
    added = objective.fit(networks, synthesizer().generator)
    assert bool(added) != reported_only
    assert objective.losses.keys() == {'loss_oh', *added}


def test_noisy_layers_make_no_copies():
    made = build(
        dict(
            type='NoisyLayerGenerator',
            num_classes=3,
            num_layers=2,
            noise_dim=8,
            generator=dict(type='CSDGenerator', img_size=8, hidden_channels=8),
        )
    )
    assert made(batch_size=6).shape[0] == 6
    with pytest.raises(ValueError, match='7 images .* 3 x 2: the others'):
        made(batch_size=7)
    with pytest.raises(ValueError, match='networks, 4, but got 3'):
        made.check_classes(4)
