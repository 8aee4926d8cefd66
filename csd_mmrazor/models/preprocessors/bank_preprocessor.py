# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn as nn
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import to_device
from ...utils.error_text import named_error
from ..classifiers import TorchClassifier
from ..utils import evaluating


def normalize_images(images: Tensor, preprocessor: nn.Module) -> Tensor:
    """Make of images what a preprocessor would make of them.

    Args:
        images (Tensor): (N, C, H, W), uint8 in 0..255 or float in [0, 1], in
            the channel order that the networks see.
        preprocessor (nn.Module): A data preprocessor of MMEngine or
            mmpretrain; its mean and std refer to 0..255.

    Returns:
        Tensor: ``inputs``, (N, C, H, W), float32.
    """
    scale = 1.0 if images.dtype == torch.uint8 else 255.0
    images = images.float()
    if not getattr(preprocessor, '_enable_normalize', False):
        return images * scale if scale != 1.0 else images
    return torch.addcmul(*_line(preprocessor, images, scale))


def _line(
    preprocessor: nn.Module, images: Tensor, scale: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """What ``addcmul`` normalises images by; computed once.

    Mean and std may be moved, exchanged or altered meanwhile.
    """
    mean, std = preprocessor.mean, preprocessor.std
    if torch.compiler.is_compiling() or type(mean) is not Tensor:
        # An export traces the computation, with tensors that hold nothing.
        return -mean / std, images, scale / std
    known = preprocessor.__dict__.setdefault('_lines', {})
    versions = mean._version, std._version
    found = known.get(scale)
    if found is None or not (
        found[0] is mean and found[1] is std and found[2] == versions
    ):
        # Steps of training may use what is computed in validation.
        with torch.inference_mode(False), torch.no_grad():
            found = mean, std, versions, -mean / std, scale / std
        known[scale] = found
    return found[3], images, found[4]


def check_preprocessor(
    preprocessor: nn.Module,
    image_shape: Sequence[int],
    teachers: Dict[str, nn.Module],
) -> None:
    """Check that all see the same of the image bank's images.

    Synthesis makes its inputs by :func:`normalize_images`, student steps
    theirs by the algorithm's preprocessor; teachers are given those, whatever
    preprocessor they have of their own.

    Args:
        preprocessor (nn.Module): The algorithm's.
        image_shape (sequence[int]): (C, H, W) of the images.
        teachers (dict[str, nn.Module]): By name.

    Raises:
        ValueError: If inputs would differ; says whose and why.
    """
    name = type(preprocessor).__name__
    shape = (2, *image_shape)
    images = _some_images(shape)
    data = dict(
        inputs=images.clone(),
        labels=torch.zeros(2, dtype=torch.int64),
        data_samples=[DataSample().set_gt_label(0) for _ in range(2)],
    )
    try:
        found = preprocessor(data, False)['inputs']
        expected = normalize_images(images.to(found.device), preprocessor)
    except Exception as error:
        raise ValueError(
            f'data_preprocessor={name} does not take images of shape '
            f'{tuple(image_shape)}: {named_error(error)}'
        ) from error
    if expected.shape != shape:
        raise ValueError(
            f'mean and std of data_preprocessor have {expected.shape[1]} '
            f'values each, but images of image_shape={tuple(image_shape)} '
            f'have {image_shape[0]} channels.'
        )
    if not _same(found, expected, 1e-3):
        raise ValueError(
            f'data_preprocessor={name} makes other inputs of the image '
            "bank's images in training than synthesis does"
            f'{_cause(preprocessor)}. Use dict('
            'type="mmrazor.BankDataPreprocessor", mean=..., std=...): its '
            'to_rgb counts for real images alone, since those '
            'of the bank are in the order that the networks see.'
        )
    divisor = getattr(preprocessor, 'pad_size_divisor', 1)
    if any(size % divisor for size in image_shape[1:]):
        raise ValueError(
            f'pad_size_divisor={divisor} of data_preprocessor={name} would '
            f'enlarge real images of image_shape={tuple(image_shape)}, but '
            'not those of the bank: leave it out.'
        )
    for teacher, model in teachers.items():
        own = own_preprocessor(model)
        if own is None:
            continue  # it does not say what its inputs are
        wanted = normalize_images(images.to(own.mean.device), own)
        # Published means and deviations are rounded.
        if not _same(found, wanted, 0.02) and not calls(model, own, found):
            raise ValueError(
                f'{teacher} ({type(model).__name__}) normalises images by '
                f'{_statistics(own)}, but data_preprocessor of the algorithm, '
                'which makes the inputs of all networks, by '
                f'{_statistics(preprocessor)}. Set mean and std of '
                'model.data_preprocessor to those that the teacher was '
                "trained with. If they are, correct those of the teacher's "
                'own data_preprocessor.'
            )


def own_preprocessor(network: nn.Module) -> Optional[nn.Module]:
    """What a network of MMEngine's kind says that images are normalised by.

    Args:
        network (nn.Module): As it is, or in a ``TorchClassifier``.

    Returns:
        nn.Module | None: A data preprocessor with mean and std; None if it
        has none.
    """
    if isinstance(network, TorchClassifier):
        network = network.net
    own = getattr(network, 'data_preprocessor', None)
    is_known = isinstance(own, nn.Module) and getattr(
        own, '_enable_normalize', False
    )
    return own if is_known else None


def same_inputs(
    one: nn.Module, other: nn.Module, image_shape: Sequence[int]
) -> bool:
    """Whether two preprocessors normalise images alike.

    Args:
        one (nn.Module): With mean and std, on any device.
        other (nn.Module): Likewise.
        image_shape (sequence[int]): (C, H, W) of the images.
    """
    images = _some_images((2, *image_shape))
    made = [
        normalize_images(images.to(each.device), each).cpu()
        for each in (one, other)
    ]
    # Published means and deviations are rounded.
    return _same(*made, 0.02)


def _some_images(shape: Sequence[int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator).to(torch.uint8)


def calls(network: nn.Module, part: nn.Module, inputs: Tensor) -> bool:
    """Whether a pass of a network calls a part of it.

    Args:
        network (nn.Module): A classifier.
        part (nn.Module): Such as its own data preprocessor.
        inputs (Tensor): (N, C, H, W), on any device.
    """
    found: List[nn.Module] = []
    handle = part.register_forward_pre_hook(lambda *_: found.append(part))
    weight = next(network.parameters())
    try:
        with evaluating(network), torch.no_grad():
            network(inputs.to(weight))
    finally:
        handle.remove()
    return bool(found)


def _same(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether inputs are the same, and numbers."""
    expected = expected.to(found.device)
    return (
        found.shape == expected.shape
        and found.is_floating_point()
        and bool(found.isfinite().all())
        and torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    )


def _statistics(preprocessor: nn.Module) -> str:
    if not getattr(preprocessor, '_enable_normalize', False):
        return 'nothing'
    return ' and '.join(
        f'{name}={[round(v, 4) for v in values.flatten().tolist()]}'
        for name, values in (
            ('mean', preprocessor.mean),
            ('std', preprocessor.std),
        )
    )


def _cause(preprocessor: nn.Module) -> str:
    """Which settings are known to make inputs differ."""
    causes = []
    if getattr(preprocessor, '_channel_conversion', False):
        causes.append('bgr_to_rgb or rgb_to_bgr')
    if getattr(preprocessor, 'to_rgb', False):
        causes.append('to_rgb')
    if getattr(preprocessor, 'pad_size_divisor', 1) != 1:
        causes.append('pad_size_divisor')
    return f', because of its {" and ".join(causes)}' if causes else ''


def check_scale(preprocessor: nn.Module) -> None:
    """Check that mean and std of a preprocessor refer to 0..255.

    Raises:
        ValueError: If they are those of images in [0, 1].
    """
    if not getattr(preprocessor, '_enable_normalize', False):
        return
    mean, std = (
        getattr(preprocessor, name).flatten().tolist()
        for name in ('mean', 'std')
    )
    is_identity = not any(mean) and set(std) == {1.0}
    if max(map(abs, mean)) <= 1 and max(std) <= 1 and not is_identity:
        mean, std = ([round(v, 4) for v in values] for values in (mean, std))
        raise ValueError(
            f'mean={mean} and std={std} of data_preprocessor are those of '
            'images in 0..1, but refer to 0..255: multiply them by 255.'
        )


@MODELS.register_module()
class BankDataPreprocessor(ClsDataPreprocessor):
    """A preprocessor that takes whole batches of the image bank as well.

    Bank batches are augmented and normalised on the device, with no Python
    per image. Batches of real images, as validation has them, are treated as
    by mmpretrain's ``ClsDataPreprocessor``, but all together, not one by one:
    each would be copied and normalised by itself. Where their sizes differ,
    they are refused, and not padded to one. A batch is the bank's if it is
    one tensor of uint8 with ``labels``, or is trained on.

    Args:
        augment (dict, optional): Augmentation of bank batches, such as
            ``dict(type='RandomCropFlip')``. Defaults to None.
        **kwargs: Arguments of ``ClsDataPreprocessor``. ``to_rgb`` refers to
            real images; the bank's are RGB. What would do nothing to bank
            batches is refused.

    Raises:
        ValueError: If a ``std`` is not above 0, there is no ``mean``, their
            numbers do not fit, or ``batch_augments`` or ``to_onehot`` is set.
    """

    def __init__(self, augment: Optional[Dict] = None, **kwargs) -> None:
        mean, std = kwargs.get('mean'), kwargs.get('std')
        if mean is None and std is not None:
            raise ValueError(
                f'std={std} of BankDataPreprocessor does nothing without a '
                'mean: give both or none.'
            )
        super().__init__(**kwargs)
        if self.batch_augments is not None or self.to_onehot:
            augments = self.batch_augments is not None
            name = 'batch_augments' if augments else 'to_onehot'
            raise ValueError(
                f'{name} of BankDataPreprocessor would do nothing: each image '
                'of a bank has one class, and Mixup and the like mix them. '
                f'Leave out model.data_preprocessor.{name}; augment changes '
                'images alone.'
            )
        if self._enable_normalize and not (self.std > 0).all():
            raise ValueError(
                'std of BankDataPreprocessor should be above 0, but got '
                f'{self.std.flatten().tolist()}.'
            )
        if self._enable_normalize:
            numbers = {self.mean.numel(), self.std.numel()}
            if len(numbers - {1}) > 1:
                raise ValueError(
                    'mean and std of BankDataPreprocessor should be one '
                    'number or one for each channel, but got '
                    f'mean={mean} and std={std}.'
                )
        self.augment = MODELS.build(augment) if augment else None

    def forward(self, data: Dict, training: bool = False) -> Dict:
        """Prepare a batch.

        Args:
            data (dict): ``inputs`` is (N, C, H, W), uint8, for a bank batch,
                or a list or batch of images; other keys are moved to the
                device. Of images with ``targets`` of V drawn views each
                (``draws``, see ``ImageBank``), one view of each is drawn and
                made again, with ``augment``.
            training (bool): Whether to augment. Defaults to False.

        Returns:
            dict: As ``data``, with ``inputs`` (N, C, H, W), float32,
            normalised, and ``targets``, (N, K), and ``maps``, (N, L), of
            exactly these.

        Raises:
            ValueError: If images would be augmented in another way than
                their targets are of, or are real ones of different sizes.
        """
        images = data['inputs']
        is_batch = torch.is_tensor(images) and images.dtype == torch.uint8
        if not is_batch or not (training or 'labels' in data):
            return super().forward(_stacked(data, self.device), training)
        data = {
            key: to_device(value, self.device)
            if torch.is_tensor(value)
            else self.cast_data(value)
            for key, value in data.items()
        }
        images = data['inputs']
        if training and 'targets' in data:
            images, data = self._with_targets(data)
        elif training and self.augment is not None:
            images = self.augment(images)
        return dict(data, inputs=normalize_images(images, self))

    def _with_targets(self, data: Dict) -> Tuple[Tensor, Dict]:
        """Images as their targets are of, and the batch with these."""
        data = dict(data)
        images, draws = data['inputs'], data.pop('draws', None)
        if (draws is None) != (self.augment is None):
            raise ValueError(
                'The targets of this batch are of '
                f'{"the images as they are" if draws is None else "views"}, '
                f'but augment of BankDataPreprocessor is {self.augment}: set '
                'it to '
                f'{"None" if draws is None else "what they were drawn by"}.'
            )
        if draws is not None:
            number, views = draws.shape[:2]
            which = torch.randint(views, (number,), device=images.device)
            rows = torch.arange(number, device=images.device)
            images = self.augment.replay(images, draws[rows, which])
            for name in {'targets', 'maps'} & {*data}:
                data[name] = data[name][rows, which]
        return images, data


def _stacked(data: Dict, device: torch.device) -> Dict:
    """A batch whose images are one tensor on a device, if they can be."""
    images = data['inputs']
    if (
        not isinstance(images, (list, tuple))
        or not all(map(torch.is_tensor, images))
        or {value.ndim for value in images} != {3}
    ):
        return data
    sizes = sorted({tuple(value.shape[1:]) for value in images})
    if len(sizes) > 1:
        # mmpretrain would add black to the smaller ones.
        some = ', '.join(f'{h}x{w}' for h, w in sizes[:5])
        more = ', ...' if len(sizes) > 5 else ''
        raise ValueError(
            f'The images of a batch have different sizes, {some}{more}, '
            'height by width: let the pipeline of their data set bring them '
            'to one, by dict(type="Resize", scale=(WIDTH, HEIGHT)).'
        )
    if len({(value.shape, value.dtype) for value in images}) != 1:
        return data
    return dict(data, inputs=to_device(torch.stack([*images]), device))
