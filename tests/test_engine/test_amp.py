# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Mixed precision of student, auxiliary head and synthesis."""

import pytest
import torch

from csd_mmrazor.models import Networks
from csd_mmrazor.models.utils import bn_layers, fast_frozen_bn
from csd_mmrazor.utils import seeded

# Autocast to float16 on a CPU came with torch 2.4.
HALVES = [torch.bfloat16, torch.float16]
if not hasattr(torch.amp, 'is_autocast_available'):
    HALVES.pop()


def prepared(runner):
    """The synthesizer of a run, and networks with their first weights."""
    hook = next(h for h in runner.hooks if hasattr(h, 'synthesizer'))
    with seeded(0, torch.device('cpu')):
        runner._init_model_weights()
    return hook.synthesizer, Networks.from_algorithm(runner.model)


@pytest.fixture
def model(tiny_runner):
    return tiny_runner().model


@pytest.fixture
def batch(model):
    images = torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8)
    labels = torch.randint(10, (64,))
    data = model.data_preprocessor(dict(inputs=images, labels=labels))
    return data['inputs'], labels


@pytest.mark.parametrize('half', HALVES)
@pytest.mark.parametrize('part', ['student', 'head'])
def test_losses_of_training(model, batch, half, part):
    loss = model.loss if part == 'student' else model.aux_loss
    model.train()
    full = loss(*batch)
    with torch.autocast('cpu', half):
        mixed = loss(*batch)
    assert mixed.keys() == full.keys()
    for name, value in full.items():
        # The KL divergence at this temperature is near to nothing.
        if value > 0.01:
            assert mixed[name].item() == pytest.approx(value.item(), rel=0.01)
    assert sum(mixed.values()).item() == pytest.approx(
        sum(full.values()).item(), rel=0.01
    )


@pytest.mark.parametrize('half', HALVES)
def test_losses_of_synthesis(tiny_runner, half):
    terms = {}
    for amp in (None, str(half).split('.')[1]):
        runner = tiny_runner(
            f'run_{amp}',
            **{
                'default_hooks.synthesis.synthesizer.amp': amp,
                'default_hooks.synthesis.synthesizer.batch_size': 64,
            },
        )
        synthesizer, networks = prepared(runner)
        terms[amp] = synthesizer.synthesize(
            networks, 10, seed=0, iters=1
        ).terms
    full, mixed = terms.values()
    assert full.keys() == mixed.keys() == {'loss_oh', 'loss_bn', 'loss_csd'}
    assert full != mixed  # it was on
    for name in full:
        assert mixed[name] == pytest.approx(full[name], rel=0.01)


@pytest.mark.skipif(len(HALVES) < 2, reason='needs float16 on a CPU')
@pytest.mark.parametrize('iters', [1, 12])
def test_synthesis_whose_gradients_overflow_in_float16(tiny_runner, iters):
    """By the first scale; the steps after it learn as in float32."""
    found = {}
    for amp in ('float16', None):
        key = 'default_hooks.synthesis.synthesizer'
        options = {f'{key}.amp': amp, f'{key}.batch_size': 64}
        runner = tiny_runner(f'run_{amp}', **options)
        synthesizer, networks = prepared(runner)
        losses = []
        for number in (1, iters):
            made = synthesizer.synthesize(networks, 10, seed=0, iters=number)
            losses.append(sum(made.terms.values()))
        found[amp] = losses
    assert found['float16'][0] == pytest.approx(found[None][0], rel=0.01)
    if iters > 1:
        fallen = {amp: first - last for amp, (first, last) in found.items()}
        assert fallen['float16'] > 0.5 * fallen[None] > 0


@pytest.mark.skipif(len(HALVES) < 2, reason='needs float16 on a CPU')
def test_rounds_of_a_step_find_their_scale(tiny_runner):
    """A generator that lasts keeps it; so does a resumed run."""
    key = 'default_hooks.synthesis.synthesizer'
    options = {
        f'{key}.amp': 'float16',
        f'{key}.batch_size': 64,
        f'{key}.meta': dict(type='LastingGenerator'),
    }
    made = []
    for name in ('whole', 'resumed'):
        runner = tiny_runner(name, **options)
        made.append(prepared(runner))
    (whole, networks), (resumed, _) = made
    states = []
    for seed in range(6):
        whole.synthesize(networks, 10, seed=seed, iters=1)
        state = whole.persistent_state()
        states.append({k: v.clone() for k, v in state.items()})
    scales = [state['loss_scale.last'].item() for state in states]
    assert scales == sorted(scales, reverse=True) and scales[-1] < 1024
    moved = [
        not torch.equal(
            *(state['meta.weights.linear.weight'] for state in pair)
        )
        for pair in zip(states, states[1:])
    ]
    assert moved[-1]
    resumed.prepare(networks, 0)
    resumed.load_persistent_state(states[3])
    for seed in (4, 5):
        resumed.synthesize(networks, 10, seed=seed, iters=1)
    for key, value in resumed.persistent_state().items():
        assert torch.equal(value, states[5][key]), key


@pytest.mark.parametrize('half', HALVES)
def test_statistics_are_of_float32(model, batch, half):
    """Of what the layer sees in half precision, with all digits."""
    teacher = Networks.from_algorithm(model).each_teacher[0]
    seen = []
    handles = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for layer in bn_layers(teacher)
    ]
    with (
        torch.autocast('cpu', half),
        fast_frozen_bn(teacher, True) as statistics,
    ):
        teacher(batch[0], mode='tensor')
    for handle in handles:
        handle.remove()
    assert len(seen) == len(statistics) > 4
    assert any(maps.dtype == half for maps in seen)
    for maps, found in zip(seen, statistics):
        assert found.mean.dtype == found.var.dtype == torch.float32
        var, mean = torch.var_mean(maps.double(), (0, 2, 3), correction=0)
        assert torch.allclose(found.mean.double(), mean, rtol=1e-4, atol=1e-5)
        assert torch.allclose(found.var.double(), var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('half', HALVES)
def test_running_statistics_are_of_float32(model, batch, half):
    model.train()
    layers = bn_layers(model.student)
    before = [layer.running_var.clone() for layer in layers]
    found = []
    for enabled in (False, True):
        for layer, value in zip(layers, before):
            layer.running_mean.zero_()
            layer.running_var.copy_(value)
        with torch.autocast('cpu', half, enabled=enabled), torch.no_grad():
            model.student(batch[0], mode='tensor')
        assert all(x.running_var.dtype == torch.float32 for x in layers)
        found.append(torch.cat([x.running_var for x in layers]).clone())
    assert not torch.equal(found[0], torch.cat(before))
    assert torch.allclose(*found, rtol=0.01)
