# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
from helpers import build

from csd_mmrazor.models import CSDGenerator, PyramidGenerator


@pytest.mark.parametrize(
    'size', [4, 32, 60, 64, 96, 224, (64, 128), (128, 32), (224, 160)]
)
def test_any_size(size):
    generator = PyramidGenerator(size, latent_dim=8, hidden_channels=2)
    height, width = size if isinstance(size, tuple) else (size, size)
    images = generator(torch.randn(2, 8))
    assert images.shape == (2, 3, height, width)
    assert images.min() >= 0 and images.max() <= 1


def test_channels_double_where_maps_are_halved():
    with torch.device('meta'):
        generator = PyramidGenerator(224)
    convs = [m for m in generator.layers if isinstance(m, nn.Conv2d)]
    assert [m.in_channels for m in convs] == [384, 384, 192, 96, 48, 24]
    assert [m.out_channels for m in convs] == [384, 192, 96, 48, 24, 3]
    # The size after each convolution: 7 is doubled five times.
    sizes = [14, 28, 56, 112, 224, 224]
    costs = [
        9 * m.in_channels * m.out_channels * size**2
        for m, size in zip(convs, sizes)
    ]
    linear = 256 * 384 * 7 * 7
    assert sum(costs) + linear == pytest.approx(2.38e9, rel=0.01)
    # All stages but the first and the last cost the same.
    assert len({*costs[1:5]}) == 1


def test_fewer_channels_than_the_most_stay_as_they_are():
    generator = PyramidGenerator(32, hidden_channels=8, most_channels=4)
    assert {
        m.num_features for m in generator.layers if hasattr(m, 'num_features')
    } == {8}


def test_fits_the_algorithms_shape():
    generator = PyramidGenerator(latent_dim=4, hidden_channels=2)
    generator.fit((1, 48, 96))
    assert generator(None, 2).shape == (2, 1, 48, 96)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(img_size=0), 'img_size .* but got 0'),
        (dict(most_channels=0), 'most_channels of PyramidGenerator .* 0'),
        (dict(hidden_channels=0), 'hidden_channels .* but got 0'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PyramidGenerator(**kwargs)


def conditional(**kwargs):
    return build(
        dict(
            type='ConditionalGenerator',
            generator=dict(
                type='PyramidGenerator', img_size=8, hidden_channels=2
            ),
            **{'num_classes': 10, 'noise_dim': 6, 'embed_dim': 3, **kwargs},
        )
    )


def test_latents_are_noise_and_the_class():
    generator = conditional()
    labels = torch.tensor([3, 3, 7])
    latents = generator.latents_of(labels)
    assert latents.shape == (3, 9)
    assert torch.equal(latents[0, 6:], latents[1, 6:])
    assert not torch.equal(latents[0, :6], latents[1, :6])
    assert not torch.equal(latents[0, 6:], latents[2, 6:])
    # The same classes in every run, whatever was drawn before.
    assert torch.equal(conditional().embeddings, generator.embeddings)
    assert not generator.state_dict().keys() & {'embeddings'}
    assert generator(None, 13).shape == (13, 3, 8, 8)
    torch.testing.assert_close(
        generator.eval()(latents), generator.generator(latents)
    )


def test_without_it_nothing_is_told():
    with pytest.raises(ValueError, match='num_classes of Conditional.* 0'):
        conditional(num_classes=0)
    assert not hasattr(CSDGenerator(8), 'latents_of')


class Spy(nn.Module):
    """Notes the latents that a generator is given."""

    def __init__(self, generator):
        super().__init__()
        self.seen = []
        generator.register_forward_pre_hook(
            lambda module, args: self.seen.append(args[0].detach().clone())
        )


@pytest.mark.parametrize('latents', ['trained', 'fresh'])
def test_synthesis_asks_for_the_classes_it_is_told(tiny_runner, latents):
    from csd_mmrazor.models import Networks

    runner = tiny_runner(
        **{
            'default_hooks.synthesis.synthesizer.generator': dict(
                _delete_=True,
                type='ConditionalGenerator',
                generator=dict(type='PyramidGenerator', hidden_channels=2),
                num_classes=10,
                noise_dim=6,
                embed_dim=3,
            ),
            'default_hooks.synthesis.synthesizer.latents': latents,
        }
    )
    hook = next(h for h in runner.hooks if hasattr(h, 'synthesizer'))
    networks = Networks.from_algorithm(runner.model)
    assert hook.synthesizer.check(networks) == (10, (1, 8, 8))
    generator = hook.synthesizer.generator
    hook.synthesizer.prepare(networks)
    spy = Spy(generator)
    batch = hook.synthesizer.synthesize(networks, 10, seed=0)
    first, second = spy.seen
    wanted = generator.embeddings[batch.labels]
    assert torch.equal(first[:, 6:], wanted)
    if latents == 'trained':  # one step of Adam from there
        assert not torch.equal(first, second)
        assert (first - second).abs().max() < 0.01
    else:
        assert torch.equal(second[:, 6:], wanted)
        assert (first - second)[:, :6].abs().max() > 0.1


def test_what_does_not_go_with_classes(tiny_runner):
    generator = dict(
        _delete_=True,
        type='ConditionalGenerator',
        generator=dict(type='PyramidGenerator', hidden_channels=2),
        num_classes=9,
    )
    key = 'default_hooks.synthesis.synthesizer'
    with pytest.raises(ValueError, match='num_classes of .* 10, but got 9'):
        tiny_runner(**{f'{key}.generator': generator}).train()
    with pytest.raises(ValueError, match='labels="random" or "balanced"'):
        tiny_runner(
            **{
                f'{key}.generator': generator,
                f'{key}.labels': 'none',
                'model.student_loss': None,
                'model.aux_head': None,
                f'{key}.losses': dict(
                    _delete_=True, loss_bn=dict(type='BNStatisticsLoss')
                ),
            }
        )
