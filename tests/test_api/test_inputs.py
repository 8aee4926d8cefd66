# Copyright (c) csd_mmrazor developers. All rights reserved.
import mmpretrain
import pytest
import torch
from helpers import build, network
from mmengine.model import ImgDataPreprocessor

from csd_mmrazor.api.inputs import check_own_inputs, normalisation
from csd_mmrazor.api.networks import get_network

# Of ImageNet, in RGB.
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
FILES = dict(type='LoadImageFromFile')


def made(path, steps=(FILES,), channels=3, **preprocessor):
    """A teacher of ``get_model()``, whose images come from those steps."""
    model = network(channels, num_classes=3)
    model.pop('_scope_')
    pipeline = [*steps, dict(type='PackInputs')]
    data = dict(dataset=dict(type='ImageNet', pipeline=pipeline))
    lines = [
        f'model = {model!r}',
        f'data_preprocessor = {preprocessor!r}',
        f'test_dataloader = {data!r}',
    ]
    path = path / 'config.py'
    path.write_text('\n'.join(lines))
    return mmpretrain.get_model(str(path), pretrained=False)


def check(teacher, mean, std, channels=3):
    check_own_inputs(teacher, normalisation(mean, std, (channels, 16, 16)))


@pytest.mark.parametrize('mean, std', [(MEAN[::-1], STD[::-1]), (0, 255)])
def test_a_teacher_that_takes_bgr(mean, std, tmp_path):
    """Until its channels are reversed, also those of its preprocessor."""
    mean, std = ([v] * 3 if isinstance(v, int) else v for v in (mean, std))
    teacher = made(tmp_path, mean=mean, std=std, to_rgb=False)
    images = torch.rand(2, 3, 16, 16)
    expected = teacher((255 * images.flip(1) - p_of(mean)) / p_of(std))
    for order in (1, -1):
        with pytest.raises(ValueError, match='takes images in BGR, as Open'):
            check(teacher, mean[::order], std[::order])
    weight, p = teacher.backbone.conv1.weight, teacher.data_preprocessor
    weight.data = weight.data.flip(1)
    p.mean, p.std, p.to_rgb = p.mean.flip(0), p.std.flip(0), True
    check(teacher, mean[::-1], std[::-1])
    found = teacher((255 * images - p.mean) / p.std)
    torch.testing.assert_close(found, expected)


def p_of(values):
    return torch.tensor(values).view(-1, 1, 1)


def test_a_teacher_that_takes_bgr_without_a_config():
    """As of a registry or a runner."""
    cfg = dict(mean=MEAN[::-1], std=STD[::-1], to_rgb=False)
    teacher = build(dict(network(3), data_preprocessor=cfg))
    with pytest.raises(ValueError, match='takes images in BGR, as OpenCV'):
        check(teacher, cfg['mean'], cfg['std'])
    teacher.data_preprocessor = ImgDataPreprocessor(
        MEAN[::-1], STD[::-1], bgr_to_rgb=True
    )
    check(teacher, MEAN[::-1], STD[::-1])


@pytest.mark.parametrize(
    'mean, std, message',
    [
        (MEAN, STD, None),
        ([0] * 3, [255] * 3, r'normalises .* by mean=\[0.485, .*, but'),
    ],
)
def test_a_config_whose_preprocessor_is_at_the_top(
    mean, std, message, tmp_path
):
    """A runner gives it to the model."""
    made(tmp_path, mean=MEAN, std=STD, to_rgb=True)
    found = get_network(str(tmp_path / 'config.py'), 'teacher')
    assert build(
        found.build_cfg
    ).data_preprocessor.mean.flatten().tolist() == (pytest.approx(MEAN))
    if message is None:
        check(found.module, mean, std)
        return
    with pytest.raises(ValueError, match=message):
        check(found.module, mean, std)


def test_a_teacher_that_takes_bgr_by_its_name():
    name = 'mobilevit-xxsmall_3rdparty_in1k'
    teacher = get_network(name, 'teacher', None, None, None, None).module
    with pytest.raises(ValueError, match='takes images in BGR, as OpenCV'):
        check(teacher, None, None)


@pytest.mark.parametrize(
    'options',
    [
        dict(mean=MEAN, std=STD, to_rgb=True),
        # From no files, or turned before.
        dict(mean=MEAN, std=STD, steps=()),
        dict(
            mean=MEAN,
            std=STD,
            steps=[FILES, dict(type='NumpyToPIL', to_rgb=True)],
        ),
        dict(mean=[120.0], std=[60.0], channels=1),
    ],
)
def test_a_teacher_that_takes_rgb(options, tmp_path):
    check(
        made(tmp_path, **options),
        *(options['mean'], options['std'], options.get('channels', 3)),
    )
