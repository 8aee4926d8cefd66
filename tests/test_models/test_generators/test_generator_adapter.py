# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build, network

from csd_mmrazor.models.utils import reset_weights

DAFL = dict(type='DAFLGenerator', img_size=8, latent_dim=6, hidden_channels=4)
CSD = dict(type='CSDGenerator', img_size=8, latent_dim=6, hidden_channels=4)
STATISTICS = dict(mean=[25.5, 51, 102], std=[51, 102, 51])


def as_maps(values):
    return torch.tensor(values).view(3, 1, 1)


def test_inputs_become_images():
    adapter = build(
        dict(
            type='GeneratorAdapter', generator=DAFL, to='images', **STATISTICS
        )
    )
    latent = torch.randn(5, 6)
    inputs = adapter.generator(latent)
    pixels = inputs * as_maps([0.2, 0.4, 0.2]) + as_maps([0.1, 0.2, 0.4])
    torch.testing.assert_close(adapter(latent), pixels.clamp(0, 1))
    assert pixels.min() < 0  # some are clipped
    assert adapter.latent_dim == 6


def test_images_become_inputs():
    adapter = build(
        dict(type='GeneratorAdapter', generator=CSD, to='inputs', **STATISTICS)
    )
    latent = torch.randn(5, 6)
    images = adapter.generator(latent)
    expected = (images - as_maps([0.1, 0.2, 0.4])) / as_maps([0.2, 0.4, 0.2])
    torch.testing.assert_close(adapter(latent), expected)


def test_channels_are_cut():
    adapter = build(dict(type='GeneratorAdapter', generator=DAFL, channels=1))
    latent = torch.randn(5, 6)
    expected = adapter.generator(latent)[:, :1]
    assert torch.equal(adapter(latent), expected)
    assert adapter(None, 3).shape == (3, 1, 8, 8)


def test_bad_arguments():
    with pytest.raises(ValueError, match="to of GeneratorAdapter .*'pixels'"):
        build(dict(type='GeneratorAdapter', generator=DAFL, to='pixels'))


@pytest.mark.parametrize('to, generator', [('images', CSD), ('inputs', DAFL)])
def test_what_is_so_already(to, generator):
    message = f'Generator makes {to} itself'
    with pytest.raises(ValueError, match=message):
        build(dict(type='GeneratorAdapter', generator=generator, to=to))
    # Nor through another adapter.
    inner = dict(type='GeneratorAdapter', generator=generator)
    with pytest.raises(ValueError, match=message.replace('Generator', '')):
        build(dict(type='GeneratorAdapter', generator=inner, to=to))


def adapter(generator, to='same', **kwargs):
    return dict(type='GeneratorAdapter', generator=generator, to=to, **kwargs)


PIXELS = dict(type='PixelGenerator', img_size=8)


def data_free(generator, preprocessor, name='DataFreeDistillation'):
    return build(
        dict(
            type=name,
            architecture=network(channels=3),
            teachers=dict(t=dict(build_cfg=network(channels=3))),
            generator=generator,
            distiller=dict(type='ConfigurableDistiller'),
            generator_distiller=dict(type='ConfigurableDistiller'),
            data_preprocessor=preprocessor,
        )
    )


IMG = dict(type='ImgDataPreprocessor', **STATISTICS)
UNIT = dict(type='ImgDataPreprocessor', mean=[0.0], std=[255.0])


@pytest.mark.parametrize(
    'name', ['DataFreeDistillation', 'DAFLDataFreeDistillation']
)
@pytest.mark.parametrize(
    'generator, preprocessor, message',
    [
        (CSD, IMG, 'CSDGenerator makes images'),
        (PIXELS, IMG, 'PixelGenerator makes images'),
        (CSD, None, 'CSDGenerator makes images'),
        (adapter(CSD), IMG, 'GeneratorAdapter makes images'),
        (adapter(CSD, 'inputs'), IMG, r'normalises by mean=\[0.0\]'),
        (
            adapter(CSD, 'inputs', **dict(STATISTICS, std=[60.0])),
            IMG,
            'normalises by mean=.* std=.60.0',
        ),
    ],
)
def test_images_are_no_inputs(generator, preprocessor, message, name):
    """MMRazor's data-free algorithms do not normalise them."""
    with pytest.raises(
        ValueError, match=f'{message}.*"mmrazor.GeneratorAdapter"'
    ) as raised:
        data_free(generator, preprocessor, name)
    given = 'mean=[25.5, 51.0, 102.0]' in str(raised.value)
    assert given == (preprocessor is IMG)


@pytest.mark.parametrize(
    'generator, preprocessor',
    [
        (DAFL, IMG),
        (adapter(DAFL), IMG),
        (adapter(CSD, 'inputs', **STATISTICS), IMG),
        (adapter(CSD, 'inputs', **STATISTICS), None),
        (CSD, UNIT),
        (adapter(CSD), UNIT),
    ],
)
def test_generators_of_inputs(generator, preprocessor):
    assert data_free(generator, preprocessor).generator is not None


def test_inputs_are_no_images():
    from csd_mmrazor.models import Networks

    model = data_free(DAFL, IMG)
    networks = Networks.from_algorithm(model)

    def check(generator):
        losses = dict(loss_oh=dict(type='OneHotLoss'))
        build(
            dict(type='ImageSynthesizer', generator=generator, losses=losses)
        ).check(networks)

    with pytest.raises(ValueError, match='DAFLGenerator made values from -'):
        check(DAFL)
    check(CSD)
    check(PIXELS)
    check(adapter(DAFL, 'images', **STATISTICS))


def test_what_only_some_generators_have_is_passed_on():
    """Else rounds would take labels and latents for those of any other."""
    inner = dict(
        type='ConditionalGenerator', generator=dict(CSD), num_classes=3
    )
    adapter = build(dict(type='GeneratorAdapter', generator=inner))
    assert adapter.trains_latents
    assert adapter.latents_of(torch.arange(3)).shape == (3, adapter.latent_dim)
    with pytest.raises(ValueError, match='num_classes'):
        adapter.check_classes(4)
    plain = build(dict(type='GeneratorAdapter', generator=dict(CSD)))
    assert not hasattr(plain, 'latents_of') and not hasattr(plain, 'renew')
    # Each round starts as without the adapter.
    weights = []
    for generator in (plain, plain.generator):
        torch.manual_seed(3)
        reset_weights(generator)
        weights.append(plain.generator.linear.weight.clone())
    assert torch.equal(*weights)
    assert weights[0].std().item() == pytest.approx(0.02, rel=0.2)
