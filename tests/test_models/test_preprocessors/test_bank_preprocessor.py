# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build, network
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

from csd_mmrazor.models.preprocessors import normalize_images

NORM = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


def preprocessor(**kwargs):
    return build(dict(dict(type='BankDataPreprocessor', **NORM), **kwargs))


def by_hand(images):
    mean = torch.tensor(NORM['mean']).view(3, 1, 1)
    std = torch.tensor(NORM['std']).view(3, 1, 1)
    return (images.float() - mean) / std


def test_bank_batches():
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(6)
    out = preprocessor()(dict(inputs=images, labels=labels), True)
    torch.testing.assert_close(out['inputs'], by_hand(images))
    assert torch.equal(out['labels'], labels)


def test_same_for_uint8_and_for_images_in_0_1():
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    for module in (preprocessor(), preprocessor(mean=None, std=None)):
        torch.testing.assert_close(
            normalize_images(images.float() / 255, module),
            normalize_images(images, module),
        )


def test_mean_and_std_may_change():
    """What is kept of them is of those that a preprocessor has now."""
    cfg = dict(type='BankDataPreprocessor', mean=[100.0], std=[50.0])
    preprocessor = build(cfg)
    images = torch.rand(2, 1, 4, 4, requires_grad=True)

    def check():
        mean, std = preprocessor.mean, preprocessor.std
        for raw, expected in (
            (images, (images * 255 - mean) / std),
            ((images * 255).byte(), ((images * 255).byte() - mean) / std),
        ):
            got = normalize_images(raw, preprocessor)
            torch.testing.assert_close(got, expected.to(got.dtype))
        return got

    with torch.inference_mode():
        check()
    normalize_images(images, preprocessor).sum().backward()
    assert images.grad is not None
    preprocessor.mean.fill_(20)  # in place
    check()
    preprocessor.std = preprocessor.std * 2  # another one
    check()
    assert check().dtype == torch.float32
    preprocessor.double()
    check()


@pytest.mark.parametrize('training', [True, False])
def test_augments_in_training_only(training):
    module = preprocessor(
        augment=dict(type='RandomCropFlip', padding=0, flip_prob=1)
    )
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    out = module(dict(inputs=images), training)['inputs']
    expected = by_hand(images.flip(3) if training else images)
    torch.testing.assert_close(out, expected)


def test_real_images_are_treated_as_by_mmpretrain():
    module = preprocessor(to_rgb=True, num_classes=10)
    images = [
        torch.randint(256, (3, 8, 8), dtype=torch.uint8) for _ in range(4)
    ]
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    for training in (True, False):
        out = module(dict(inputs=images, data_samples=samples), training)
        expected = by_hand(torch.stack(images).flip(1))
        torch.testing.assert_close(out['inputs'], expected)
        assert [s.gt_label.item() for s in out['data_samples']] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    'options', [dict(), dict(to_rgb=True, pad_size_divisor=5, pad_value=3)]
)
@pytest.mark.parametrize('kinds', [('uint8', 'uint8'), ('uint8', 'float32')])
def test_images_of_a_list_are_taken_together(options, kinds):
    """As mmpretrain takes them one by one; those of one kind in few calls."""
    images = [
        torch.randint(256, (3, 8, 8)).to(getattr(torch, kind))
        for kind in kinds
    ]
    plain = ClsDataPreprocessor(**NORM, **options)
    torch.testing.assert_close(
        preprocessor(**options)(dict(inputs=images), False)['inputs'],
        plain(dict(inputs=images), False)['inputs'],
        rtol=0,
        atol=0,
    )

    def calls(times):
        with Calls() as made:
            preprocessor(**options)(dict(inputs=images * times), False)
        return made.number

    assert (calls(1) == calls(9)) == (len({*kinds}) == 1)


def test_images_of_different_sizes_are_not_padded():
    images = [
        torch.zeros(3, *size, dtype=torch.uint8)
        for size in ((8, 8), (8, 7), (8, 8))
    ]
    samples = [DataSample().set_gt_label(0) for _ in images]
    data = dict(inputs=images, data_samples=samples)
    message = r'different sizes, 8x7, 8x8, height by width: .*"Resize"'
    for training in (False, True):
        with pytest.raises(ValueError, match=message):
            preprocessor(num_classes=10)(data, training)


class Calls(TorchDispatchMode):
    """Counts operators."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += 1
        return func(*args, **(kwargs or {}))


def test_real_images_in_one_tensor_are_real_images():
    """As mmpretrain's ``default_collate`` hands them over in validation."""
    module = preprocessor(to_rgb=True, num_classes=10)
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    found = module(dict(inputs=images, data_samples=samples), False)['inputs']
    torch.testing.assert_close(found, by_hand(images.flip(1)))
    # Those of the bank are in order.
    labels = torch.zeros(4, dtype=torch.int64)
    for training in (True, False):
        found = module(dict(inputs=images, labels=labels), training)['inputs']
        torch.testing.assert_close(found, by_hand(images))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(mean=None), 'std=.* does nothing without a mean'),
        (dict(mean=[1.0, 2.0]), 'should be one number or one for each'),
    ],
)
def test_bad_statistics(change, message):
    with pytest.raises(ValueError, match=message):
        preprocessor(**change)


@MODELS.register_module()
class ScaledPreprocessor(BaseDataPreprocessor):
    """A user's own, which makes inputs in [0, 1]."""

    def forward(self, data, training=False):
        data = self.cast_data(data)
        return dict(data, inputs=data['inputs'].float() / 255)


def algorithm(teacher_file, preprocessor, image_shape=(3, 8, 8), **teacher):
    return build(
        dict(
            type='CSDDistillation',
            architecture=network(channels=3),
            teachers=dict(
                teacher=dict(
                    build_cfg=dict(network(channels=3), **teacher),
                    ckpt_path=str(teacher_file),
                )
            ),
            image_shape=image_shape,
            data_preprocessor=preprocessor,
        )
    )


@pytest.fixture(scope='module')
def rgb_teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher') / 'rgb.pth'
    torch.save(build(network(channels=3)).state_dict(), path)
    return path


BANK = dict(type='BankDataPreprocessor', **NORM)
IMG = dict(type='ImgDataPreprocessor', **NORM)
CLS = dict(type='mmpretrain.ClsDataPreprocessor', **NORM)


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(IMG, bgr_to_rgb=True), 'ImgData.*because of its bgr_to_rgb'),
        (dict(IMG, rgb_to_bgr=True), 'ImgData.*because of its .*rgb_to_bgr'),
        (dict(CLS, to_rgb=True), 'ClsData.*because of its to_rgb'),
        (dict(IMG, pad_size_divisor=16), 'ImgData.*its pad_size_divisor'),
        (dict(CLS, pad_size_divisor=16), 'ClsData.*its pad_size_divisor'),
        (dict(BANK, pad_size_divisor=16), 'pad_size_divisor=16 .*Bank'),
        (dict(CLS, std=[50.0, 0.0, 70.0]), 'ClsData.* makes other inputs'),
        (dict(type='BaseDataPreprocessor'), 'BaseData.* makes other inputs'),
        (dict(type='ScaledPreprocessor'), 'Scaled.* makes other inputs'),
        (dict(CLS, mean=[1.0, 2.0]), 'ClsData.* does not take images'),
        (
            dict(
                CLS,
                batch_augments=dict(augments=dict(type='Mixup', alpha=1.0)),
            )
            | dict(num_classes=10),
            'batch_augments .*ClsData.* leave it out',
        ),
    ],
)
def test_other_inputs_in_training_are_refused(rgb_teacher, cfg, message):
    with pytest.raises(ValueError, match=message):
        algorithm(rgb_teacher, cfg)


@pytest.mark.parametrize(
    'cfg',
    [
        BANK,
        dict(BANK, to_rgb=True),
        dict(BANK, pad_size_divisor=4),
        IMG,
        CLS,
        dict(CLS, mean=100.0, std=50),
        dict(CLS, mean=[100, 110, 120], std=[50]),
        dict(IMG, mean=[100], std=[50]),
        dict(type='BankDataPreprocessor'),
        None,  # the student's, which does not normalise
    ],
)
def test_training_sees_what_synthesis_sees(rgb_teacher, monkeypatch, cfg):
    from csd_mmrazor.models import CSDDistillation, Networks

    model = algorithm(rgb_teacher, cfg)
    seen = []
    loss = CSDDistillation.loss

    def noted(self, inputs, labels):
        seen.append((inputs, labels))
        return loss(self, inputs, labels)

    monkeypatch.setattr(CSDDistillation, 'loss', noted)
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(4)
    optimizer = OptimWrapper(torch.optim.SGD(model.student.parameters(), 0.1))
    model.train_step(dict(inputs=images, labels=labels), optimizer)
    ((inputs, given),) = seen
    assert torch.equal(given, labels)
    wanted = Networks.from_algorithm(model).normalize(images.float() / 255)
    torch.testing.assert_close(inputs, wanted)


@pytest.mark.parametrize('own', [None, NORM, dict(mean=[99.9, 110, 120.1])])
def test_teachers_of_the_same_or_no_preprocessing(rgb_teacher, own):
    if own is not None:
        own = dict(NORM, **own)
    algorithm(rgb_teacher, BANK, data_preprocessor=own)


@pytest.mark.parametrize(
    'cfg, own, message',
    [
        (BANK, dict(NORM, std=[40.0]), r'std=\[40.0\], but .*std=\[50.0, 60'),
        (BANK, dict(NORM, mean=[120.0, 110, 100]), r'mean=\[120.0, 110.0, 1'),
        (
            dict(type='BankDataPreprocessor'),
            dict(NORM),
            'networks, by nothing',
        ),
    ],
)
def test_teachers_of_other_preprocessing(rgb_teacher, cfg, own, message):
    message = f'^teachers.teacher .ImageClassifier. normalises .*{message}'
    with pytest.raises(ValueError, match=message):
        algorithm(rgb_teacher, cfg, data_preprocessor=own)


CROP = dict(augment=dict(type='RandomCropFlip', padding=2))


def with_targets(views, number=200):
    """A batch whose targets tell the number of the image and of the view."""
    targets = torch.arange(number * max(views, 1)).view(number, -1, 1)
    batch = dict(
        inputs=torch.randint(256, (number, 3, 8, 8), dtype=torch.uint8),
        labels=torch.arange(number),
        targets=targets if views else targets[:, 0],
    )
    if views:
        batch['draws'] = torch.cat(
            [
                torch.randint(5, (number, views, 2)),
                torch.randint(2, (number, views, 1)),
            ],
            2,
        ).byte()
    return batch


@pytest.mark.parametrize('views', [1, 2, 5])
def test_one_of_the_views_is_seen_with_its_target(views):
    batch = with_targets(views)
    before = {name: value.clone() for name, value in batch.items()}
    out = preprocessor(**CROP)(batch, True)
    assert all(torch.equal(batch[name], v) for name, v in before.items())
    assert {*out} == {'inputs', 'labels', 'targets'}
    chosen = []
    for index, (image, target) in enumerate(
        zip(out['inputs'], out['targets'])
    ):
        number, view = divmod(int(target), views)
        assert target.shape == (1,) and number == index
        top, left, flip = batch['draws'][index, view].tolist()
        padded = torch.nn.functional.pad(batch['inputs'][index], (2,) * 4)
        seen = padded[:, top : top + 8, left : left + 8].flip([2] * flip)
        torch.testing.assert_close(image, by_hand(seen))
        chosen.append(view)
    counts = torch.bincount(torch.tensor(chosen), minlength=views)
    # 6 standard deviations at most from even.
    assert (counts - 200 / views).abs().max() <= 6 * (200 / views) ** 0.5


def test_targets_of_images_as_they_are():
    batch = with_targets(0)
    out = preprocessor()(batch, True)
    assert torch.equal(out['targets'], batch['targets'])
    torch.testing.assert_close(out['inputs'], by_hand(batch['inputs']))


@pytest.mark.parametrize(
    'views, options, message',
    [
        (0, CROP, 'as they are, .* RandomCropFlip.*: set it to None'),
        (2, {}, 'views, .* is None: set it to what they were drawn by'),
    ],
)
def test_targets_of_other_views_than_are_seen(views, options, message):
    with pytest.raises(ValueError, match=message):
        preprocessor(**options)(with_targets(views), True)
