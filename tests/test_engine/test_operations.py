# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Operations against a closed form: passes of the networks, layer by layer."""

import pytest
import torch

from csd_mmrazor.engine.operations import operations, round_cost, run_cost
from csd_mmrazor.models import Networks


def layers_of(model, call):
    """Layers that a call runs, and the operations of their passes."""
    found, handles = [], []
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            inputs = layer.weight[0].numel()  # of one output
            handles.append(
                layer.register_forward_hook(
                    lambda _, args, out, inputs=inputs: found.append(
                        2 * inputs * out.numel()
                    )
                )
            )
    with torch.no_grad():
        call()
    for handle in handles:
        handle.remove()
    return found


@pytest.fixture
def runner(tiny_runner):
    return tiny_runner(**{'train_cfg.max_epochs': 2})


def test_a_run_costs_what_its_passes_do(runner):
    algorithm = runner.model
    networks = Networks.from_algorithm(algorithm)
    hook = next(h for h in runner.hooks if hasattr(h, 'synthesizer'))
    synthesizer = hook.synthesizer
    size, batch = 16, 16
    images = torch.rand(size, 1, 8, 8)
    teacher, student = networks.each_teacher[0].eval(), networks.student.eval()

    def once(model, inputs):
        return layers_of(model, lambda: model(inputs, mode='tensor'))

    generator = synthesizer.generator
    generated = layers_of(
        generator,
        lambda: generator(torch.randn(size, generator.latent_dim), size),
    )
    views = images.repeat(4, 1, 1, 1)
    features = student.extract_feat(views, stage='pre_logits')
    features = features[-1] if isinstance(features, tuple) else features
    headed = layers_of(networks.aux_head, lambda: networks.aux_head(features))
    seen = layers_of(
        student, lambda: student.extract_feat(views, stage='pre_logits')
    )
    # Forward, gradients of weights and of inputs; frozen networks have no
    # gradients of weights. All of the latents' are taken.
    initial = 3 * sum(generated) + 2 * sum(once(teacher, images))
    hard = initial + 2 * (sum(seen) + sum(headed))
    assert round_cost(synthesizer, networks, False).of(1, 0) == initial
    assert round_cost(synthesizer, networks, True).of(5, 0) == 5 * hard

    align = algorithm.distiller.connectors['align']
    aligned = layers_of(align, lambda: align(student.backbone(images)[-1]))
    trained = once(student, images)
    step = (
        sum(once(teacher, images))
        # Nobody asks for the gradient of the images, or of the feature.
        + 3 * sum(trained) - trained[0]
        + 3 * sum(aligned)
        + sum(seen)
        + 3 * sum(headed) - headed[0]
    )  # fmt: skip
    expected = (
        6 * step  # 2 epochs of 48 images in batches of 16
        + hook.init_rounds * hook.init_iters * initial
        + 2 * hook.rounds * synthesizer.iters * hard
    )
    assert batch == runner.train_dataloader.batch_size
    cost = run_cost(runner)
    assert cost.total == pytest.approx(expected / 1e9)
    before = hook.init_rounds * hook.init_iters * initial / 1e9
    assert cost.before == pytest.approx(before)
    half = (before + expected / 1e9) / 2  # after one of the 2 epochs
    assert cost.at(0.5) == pytest.approx(half)


def test_compiled_code_costs_the_same(tiny_runner):
    """It is not counted in itself, nor copied with the graph of a step."""
    key = 'default_hooks.synthesis.synthesizer.compile'
    options = {'train_cfg.max_epochs': 3}
    plain, compiled = (
        tiny_runner(name, **{**options, key: name == 'compiled'})
        for name in ('plain', 'compiled')
    )
    assert run_cost(compiled).total == run_cost(plain).total
    (hook,) = (h for h in compiled.hooks if hasattr(h, 'synthesizer'))
    assert hook.synthesizer.with_compile
    assert hook.synthesizer.compiled is None


def test_images_of_the_bank_cost_in_each_step(tiny_runner):
    """Twice through the head, and each with each."""
    key = 'default_hooks.synthesis.synthesizer.losses.loss_cr'
    loss = dict(
        type='ContrastiveLoss',
        memory_size=40,
        memory_capacity=40,
        embed_dim=4,
    )
    runner = tiny_runner(**{key: loss, 'train_cfg.max_epochs': 3})
    hook = next(h for h in runner.hooks if hasattr(h, 'synthesizer'))
    networks = Networks.from_algorithm(runner.model)
    cost = round_cost(hook.synthesizer, networks, True)
    made = [cost.of(3, number) for number in (0, 16, 40)]
    width = sum(hook.synthesizer.widths)
    head = 2 * width * (width + 4)  # of one row

    def of_memory(number):
        # Forward, and gradients of weights and of the second layer's inputs;
        # rows of the bank have no gradients. Both ways once for both views.
        rows = 2 * number * (2 * head + 2 * 4 * width + 2 * width * width)
        pairs = (16 + number) ** 2 - 16**2
        return 3 * (rows + pairs * 2 * 4 * 2)

    assert made[1] - made[0] == pytest.approx(of_memory(16))
    assert made[2] - made[0] == pytest.approx(of_memory(40))
    # 2 initial rounds of 16 images, and one in each of 3 epochs.
    hook.init_rounds, hook.init_iters, hook.synthesizer.iters = 0, 3, 3
    with_steps = run_cost(runner).total
    hook.rounds = 0
    steps_alone = run_cost(runner).total
    assert (with_steps - steps_alone) * 1e9 == pytest.approx(
        sum(cost.of(3, number) for number in (0, 16, 32))
    )


def test_one_call():
    def call():
        torch.randn(3, 4) @ torch.randn(4, 5)

    assert operations(call) == 2 * 3 * 4 * 5


@pytest.mark.parametrize('groups', [1, 2, 8])
@pytest.mark.parametrize(
    'kind',
    [
        torch.nn.Conv1d,
        torch.nn.Conv2d,
        torch.nn.ConvTranspose1d,
        torch.nn.ConvTranspose2d,
    ],
)
def test_a_convolution_costs_thrice_with_its_gradients(kind, groups):
    layer = kind(8, 16, 3, stride=2, padding=1, groups=groups)
    images = torch.randn(2, 8, *[10] * (layer.weight.ndim - 2))
    images.requires_grad_()
    forward = operations(lambda: layer(images))
    maps = images if layer.transposed else layer(images)
    assert forward == 2 * maps[:, 0].numel() * layer.weight.numel()
    assert operations(lambda: layer(images).sum().backward()) == 3 * forward
    images.requires_grad_(False)
    assert operations(lambda: layer(images).sum().backward()) == 2 * forward


def test_attention_costs_its_products():
    """Also where a layer of torch is one function, in eval mode."""
    length, width, hidden = 10, 16, 24
    layer = torch.nn.TransformerEncoderLayer(
        width, 4, hidden, dropout=0, batch_first=True
    )
    tokens = torch.randn(2, length, width)
    scores = 2 * 2 * length**2 * width  # for all heads, or sums by them
    linear = 2 * 2 * length * (4 * width**2 + 2 * width * hidden)
    forward = linear + 2 * scores
    assert operations(lambda: layer(tokens)) == forward
    # The scores once more, and two gradients of each product; the tokens
    # have none.
    trained = operations(lambda: layer(tokens).sum().backward())
    of_tokens = 2 * 2 * length * 3 * width**2
    assert trained == 3 * linear - of_tokens + 7 * scores
    before = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        layer.eval()
        assert operations(lambda: layer(tokens)) == forward
    assert torch.backends.mha.get_fastpath_enabled() == before


@pytest.mark.parametrize('kind', ['RNN', 'GRU', 'LSTM'])
def test_a_recurrent_layer_costs_its_products(kind):
    layer = getattr(torch.nn, kind)(6, 8, num_layers=2, bidirectional=True)
    steps = torch.randn(5, 3, 6, requires_grad=True)
    weights = sum(w.numel() for w in layer.parameters() if w.ndim > 1)
    forward = 2 * 5 * 3 * weights
    assert operations(lambda: layer(steps)) == forward
    trained = operations(lambda: layer(steps)[0].sum().backward())
    # The first states have no gradients, of some kinds.
    assert 2.5 * forward < trained <= 3 * forward
