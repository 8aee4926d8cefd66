# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import Counter
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpretrain.structures import DataSample
from mmrazor.registry import DATASETS
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import ChainDataset, ConcatDataset, Dataset, Subset

from ..utils.suggestions import some_of
from .image_folder import list_image_folder
from .pictures import (
    is_deep_grey,
    of_8_bits,
    picture_size,
    read_picture,
    without_alpha,
)

# Channels of images that Pillow can scale, at most.
_SCALED = 4
# Inputs lie around the range of images, but not ten times as far.
_FAR = 10 * 255
# How far scaling takes images in 0..1 beyond that: white becomes a bit more by
# its rounding, that of bfloat16 at most, and edges overshoot if it is bicubic.
_ROUNDING, _OVERSHOOT = 0.01, 0.15
# Whose size is looked at, of files by their heads alone, and of items, which
# may be decoded for it.
_FILES, _ITEMS = 1000, 16
# Bytes of images that are kept once they are read.
_MOST_KEPT = 2**30


def fitted(image: np.ndarray, image_shape: Sequence[int]) -> Tensor:
    """A picture as the networks see it.

    Args:
        image (ndarray): (H, W) or (H, W, C), uint8.
        image_shape (sequence[int]): (C, H, W). A picture of another size is
            scaled until it covers this one, and cropped in the middle.

    Returns:
        Tensor: (C, H, W), uint8.
    """
    channels, height, width = image_shape
    if image.shape[:2] != (height, width):
        # By themselves: Pillow takes four channels for three and an opacity.
        is_picture = image.ndim == 2 or image.shape[2] == 3
        bands = [image] if is_picture else [*np.moveaxis(image, 2, 0)]
        bands = [
            np.asarray(
                ImageOps.fit(
                    Image.fromarray(np.ascontiguousarray(band)),
                    (width, height),
                    Image.Resampling.BILINEAR,
                )
            )
            for band in bands
        ]
        image = bands[0] if is_picture else np.stack(bands, 2)
    if image.ndim == 2:
        image = image[:, :, None]
    found = torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous()
    return found.expand(channels, -1, -1).contiguous()


def about_sizes(
    whose: str, sizes: Sequence[Tuple[int, ...]], image_shape: Sequence[int]
) -> str:
    """What becomes of pictures that :func:`fitted` gets.

    Args:
        whose (str): Where they are from.
        sizes (sequence[tuple[int, int]]): Of some of them, (H, W).
        image_shape (sequence[int]): (C, H, W).

    Returns:
        str: Empty if they stay as they are.

    Raises:
        ValueError: If height and width seem to be swapped.
    """
    _, height, width = image_shape
    others = sorted({*sizes} - {(height, width)})
    if not others:
        return ''
    some = ', '.join(f'{h}x{w}' for h, w in others[:3])
    more = ', ...' if len(others) > 3 else ''
    # Of any scale.
    if height != width and all(h * height == w * width for h, w in sizes):
        raise ValueError(
            f'The images of {whose} are {some}{more}, height by width, but '
            f'image_shape={tuple(image_shape)} is (channels, height, width): '
            'swap the last two, or turn the images.'
        )
    is_cut = any(h * width != w * height for h, w in others)
    number = sum(size != (height, width) for size in sizes)
    is_part = number < len(sizes)
    return (
        (f'{number} of {len(sizes)} ' if is_part else '')
        + f'images of {whose} ({some}{more}, height by width) are scaled to '
        f'{height}x{width}'
        + (', and what is beyond that is cut off' if is_cut else '')
    )


def _spread(count: int, most: int) -> List[int]:
    """Places from all over a data set."""
    places = np.linspace(0, count - 1, min(count, most))
    return [int(place) for place in places.round()]


@DATASETS.register_module()
class FolderImages(Dataset[Dict[str, Any]]):
    """A folder of pictures with one folder of each class.

    Pictures are RGB, or grey where the networks take one channel, and get
    the size that the networks take.

    Args:
        data_root (str): The folder, with ``<class>/*.png`` (or .jpg, .bmp,
            .webp).
        image_shape (sequence[int]): (C, H, W).
        num_classes (int, optional): Classes there are.
        classes (sequence[str], optional): Names of the folders in the order
            of the classes. Defaults to None: by number, if all names are
            numbers, or in alphabetical order.

    Attributes:
        about (str): How its pictures get that size; empty if they have it.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If its folders are not the classes, its pictures have
            height and width swapped, or the networks take neither grey nor
            RGB.
    """

    def __init__(
        self,
        data_root: str,
        image_shape: Sequence[int],
        num_classes: Optional[int] = None,
        classes: Optional[Sequence[str]] = None,
    ) -> None:
        if not Path(data_root).is_dir():
            raise FileNotFoundError(
                f'{data_root} is not a folder: give one of images, '
                '<class>/*.png.'
            )
        self.image_shape = tuple(image_shape)
        if self.image_shape[0] not in (1, 3):
            raise ValueError(
                f'Pictures in {data_root} are read as grey or RGB, but the '
                f'networks take {self.image_shape[0]} channels. An image bank '
                'has such images, and for val a data set of arrays or tensors.'
            )
        self.images = list_image_folder(data_root, num_classes, classes)
        if classes is None:
            folders = {
                label: path.relative_to(data_root).parts[0]
                for path, label in self.images
            }
            classes = [folders[label] for label in sorted(folders)]
        self.metainfo: Dict[str, Any] = dict(classes=tuple(classes))
        sizes, self._unreadable = [], []
        for index in _spread(len(self.images), _FILES):
            path = self.images[index][0]
            try:
                sizes.append(picture_size(path))
            except Exception:  # whatever the bytes make Pillow raise
                self._unreadable.append(str(path))  # told when one is used
        self.about = about_sizes(data_root, sizes, self.image_shape)
        self._sizes = {*sizes}
        size = len(self.images) * int(np.prod(self.image_shape))
        self._kept: Optional[Dict[int, Tensor]] = (
            {} if size <= _MOST_KEPT else None
        )

    def unscaled(self) -> Optional['FolderImages']:
        """The same in their own size; None unless all have one, another."""
        found = _unscaled(self)
        if found is not None:
            found._kept = None
        return found

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        image = None if self._kept is None else self._kept.get(index)
        path, label = self.images[index]
        if image is None:
            grey = self.image_shape[0] == 1
            try:
                image = fitted(read_picture(path, grey), self.image_shape)
            except ValueError as error:
                others = [
                    each for each in self._unreadable if each != str(path)
                ]
                if not others:
                    raise
                raise ValueError(
                    f'{error} {len(others)} more cannot be read either: '
                    f'{_some(others)}.'
                ) from error
            if self._kept is not None:
                self._kept[index] = image
        return dict(
            inputs=image, data_samples=DataSample().set_gt_label(label)
        )


@DATASETS.register_module()
class LentImages(Dataset[Dict[str, Any]]):
    """Images and labels of a program's own data set, as ``distill`` gets it.

    Items are ``(image, label)``. Pictures, and arrays and tensors of integers,
    are images in 0..255. Floats are taken for inputs of the networks,
    normalised already; those that are all within 0..1, but for a rounding, are
    images. Tensors are (C, H, W) or (H, W); arrays may be (H, W, C), too.

    Args:
        dataset (str): Name that it was lent under.
        image_shape (sequence[int]): (C, H, W).
        mean (sequence[float]): What inputs are normalised by, 0..255.
        std (sequence[float]): Likewise.
        classes (sequence[str], optional): Names of the classes in order.
            Defaults to None, those that the data set, or what it is a part
            of, has as ``classes``, if no ``target_transform`` changes labels.

    Attributes:
        about (str): How pictures get that size; empty if they have it.

    Raises:
        TypeError: If items are something else.
        ValueError: If images have another shape, floats may be images or
            inputs, or the data set has a class under another label.
    """

    def __init__(
        self,
        dataset: str,
        image_shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        classes: Optional[Sequence[str]] = None,
    ) -> None:
        from ..utils.imports import lent

        self.items = _items(lent(dataset))
        self.image_shape = tuple(image_shape)
        self.mean, self.std = (
            torch.tensor(v, dtype=torch.float32).view(-1, 1, 1)
            for v in (mean, std)
        )
        names = _class_names(self.items)
        self.metainfo: Dict[str, Any] = dict(classes=names) if names else {}
        if classes is not None:
            # Two classes of ImageNet have one name.
            all_places: Dict[str, List[int]] = {}
            for place, name in enumerate(classes):
                all_places.setdefault(name, []).append(place)
            counts = Counter(names)
            for label, name in enumerate(names):
                places = all_places.get(name, [])
                if places and label not in places and counts[name] == 1:
                    raise ValueError(
                        f'{name!r} has the label {label} in val, whose '
                        f'classes are {_some(names)}, but is number '
                        f'{places[0]} of classes, {_some(classes)}: its '
                        'labels would mean something else. Give them the '
                        'order of classes.'
                    )
            self.metainfo = dict(classes=tuple(classes))
        if not len(self.items):
            raise ValueError('val has no images: give some, or None.')
        self.normalised = self._look()
        sizes = []
        for index in _spread(len(self), _ITEMS):
            with suppress(Exception):  # whatever items raise
                image = self._tensor(_pair(self.items[index])[0])
                if isinstance(image, Image.Image):
                    sizes.append((image.height, image.width))
                elif isinstance(image, np.ndarray):
                    sizes.append(image.shape[:2])
        self.about = about_sizes('val', sizes, self.image_shape)
        self._sizes = {*sizes}

    def unscaled(self) -> Optional['LentImages']:
        """The same in their own size; None unless all have one, another."""
        return _unscaled(self)

    def _look(self) -> bool:
        """Whether floats are inputs, and not images in 0..1."""
        low, high = 0.0, 1.0
        for index in _spread(len(self), 64):
            image = self._tensor(_pair(self.items[index])[0])
            if not (torch.is_tensor(image) and image.is_floating_point()):
                return False
            low = min(low, float(image.min()))
            high = max(high, float(image.max()))
            if not _is_near(low, high, _OVERSHOOT):
                self._check_scale(image)
                return True
        if _is_near(low, high, _ROUNDING):
            return False
        black = float((-self.mean / self.std).min())
        white = float(((255 - self.mean) / self.std).max())
        if not _is_near(black, white, 0.5):
            raise ValueError(
                f'Floats of val are within {low:.3g}..{high:.3g}: images in '
                '0..1 that a bicubic resize took beyond that, or inputs, '
                'which mean and std bring to '
                f'{black:.3g}..{white:.3g}? Clamp them to 0..1, or normalise '
                'them by mean and std.'
            )
        return True

    def _check_scale(self, image: Tensor) -> None:
        """Check that floats can be inputs, which images in 0..255 cannot."""
        largest = float(image.abs().max() * self.std.max())
        if _FAR < largest < float('inf'):  # which is refused by itself
            raise ValueError(
                'Floats of val beyond 0..1 are taken for inputs, normalised '
                'by mean and std already, but one of its images is within '
                f'{float(image.min()):g}..{float(image.max()):g}: give images '
                'as integers in 0..255 or as floats in 0..1, or normalise '
                'them.'
            )

    def _tensor(self, image: Any) -> Any:
        """An image as a tensor; pictures and arrays of uint8 stay."""
        if torch.is_tensor(image):
            image = image.cpu()
            if image.dtype == torch.bool:
                return image.float()
            # Of other integers, torch has no minimum, or 255 is -1.
            is_kept = image.is_floating_point() or image.is_complex()
            is_kept = is_kept or image.dtype == torch.uint8
            return image if is_kept else image.long()
        if isinstance(image, Image.Image):
            if is_deep_grey(image):
                return of_8_bits(image)
            if image.mode not in ('I', 'F'):
                try:
                    return without_alpha(image)
                except ValueError as error:
                    raise ValueError(
                        f'An image of val cannot be taken: {error}.'
                    ) from error
            # Of numbers of 32 bits, which Pillow would clip.
            numbers = np.asarray(image)
            is_8_bits = numbers.min() >= 0 and numbers.max() <= 255
            if image.mode == 'I' and is_8_bits:
                return image
        array = np.asarray(image)
        if array.dtype.kind not in 'buif' or array.ndim not in (2, 3):
            raise TypeError(
                'Images of val should be pictures, or arrays or tensors of '
                'numbers, (H, W), (H, W, C) or (C, H, W), but got '
                f'a {type(image).__name__} with {array.ndim} dimensions of '
                f'{array.dtype}.'
            )
        is_first = array.shape == self.image_shape
        if array.dtype == np.uint8 and not is_first:
            return array[:, :, 0] if array.shape[2:] == (1,) else array
        if array.ndim == 3 and not is_first:
            array = array.transpose(2, 0, 1)
        # Bits are light and dark.
        kind = np.float32 if array.dtype.kind in 'bf' else np.int64
        found = torch.from_numpy(array.astype(kind))
        if found.ndim == 2:
            found = found.expand(self.image_shape[0], -1, -1)
        return found

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        image, label = _pair(self.items[index])
        image = self._tensor(image)
        if torch.is_tensor(image) and image.is_floating_point():
            image = image.float()
            if not image.isfinite().all():
                raise ValueError('An image of val has NaN or Inf.')
            low, high = float(image.min()), float(image.max())
            if self.normalised:
                # Of the first ones, a dark one in 0..255 may pass for input.
                self._check_scale(image)
                image = image * self.std + self.mean
            elif _is_near(low, high, _OVERSHOOT):
                image = image.clamp(0, 1) * 255
            else:
                raise ValueError(
                    'Images of val in floats should all be in 0..1, or all '
                    'be normalised by mean and std, but one is within '
                    f'{low:g}..{high:g}, and others are images.'
                )
        elif torch.is_tensor(image):
            if image.min() < 0 or image.max() > 255:
                raise ValueError(
                    'Images of val in integers should be within 0..255, but '
                    f'one is within {int(image.min())}..{int(image.max())}.'
                )
            image = image.to(torch.uint8)
        else:
            grey = self.image_shape[0] == 1
            if isinstance(image, Image.Image):
                image = np.asarray(image.convert('L' if grey else 'RGB'))
            channels, *size = self.image_shape
            is_scaled = [*image.shape[:2]] != size
            if image.shape[2:] not in ((), (channels,)) or (
                is_scaled and channels > _SCALED
            ):
                raise self._misfit(image)
            image = fitted(image, self.image_shape)
        if image.ndim == 2:
            image = image[None]
        if tuple(image.shape) != self.image_shape:
            raise self._misfit(image)
        return dict(
            inputs=image, data_samples=DataSample().set_gt_label(_place(label))
        )

    def _misfit(self, image: Any) -> ValueError:
        return ValueError(
            f'An image of val is {tuple(image.shape)}, but image_shape '
            f'is {self.image_shape}.'
        )


def _unscaled(images: Any) -> Any:
    channels, *size = images.image_shape
    if len(images._sizes) != 1 or images._sizes == {tuple(size)}:
        return None
    found = copy(images)
    (size,) = images._sizes
    found.image_shape = channels, *size
    return found


def _is_near(low: float, high: float, margin: float) -> bool:
    """Whether values are within 0..1, but for a margin."""
    return low >= -margin and high <= 1 + margin


def _items(given: Any) -> Any:
    """Something with a length and items, out of a data set or a loader."""
    inner = getattr(given, 'dataset', None)
    if inner is None or not hasattr(given, 'batch_size'):
        if isinstance(given, torch.utils.data.IterableDataset):
            return _Listed(given, _class_names(given))
        if hasattr(given, '__len__') and hasattr(given, '__getitem__'):
            return given
        # Such as loaders that bring the batches of another to a device.
        return _read_through(given, given if inner is None else inner)
    plain = (
        torch.utils.data.SequentialSampler,
        torch.utils.data.RandomSampler,
    )
    if (
        given.batch_size is not None  # nor a sampler of batches
        and isinstance(given.sampler, plain)
        and len(given.sampler) == len(inner)
        and given.collate_fn is torch.utils.data.default_collate
    ):
        return inner
    return _read_through(given, inner)


def _read_through(batches: Any, data: Any) -> '_Listed':
    """Items of all batches, with the names of the classes of a data set."""
    pairs = [pair for batch in batches for pair in _pairs(batch)]
    return _Listed(pairs, _class_names(data))


def _pairs(batch: Any) -> List[Tuple[Any, Any]]:
    """Images and labels of a batch, a list of items, or an item."""
    if isinstance(batch, (list, tuple)) and all(map(_is_item, batch)):
        return [_pair(item) for item in batch]
    images, labels = _pair(batch)
    # Loaders with batch_size=None may give items.
    if _is_item((images, labels)):
        return [(images, labels)]
    if torch.is_tensor(images):
        images = images.cpu()  # not to fill a device with all of them
    return [*zip(images, labels)]


def _is_item(given: Any) -> bool:
    """Whether something is one image with its label."""
    try:
        return np.ndim(_pair(given)[1]) == 0
    except (TypeError, ValueError):  # of images of several sizes
        return False


def _class_names(data: Any) -> Tuple[str, ...]:
    """Names of the classes of a data set, a part of one, or of several.

    Of other data sets within a data set, labels may be others.
    """
    names = getattr(data, 'classes', None)
    if isinstance(names, (list, tuple, np.ndarray)):
        if not _keeps_labels(data, len(names)):
            return ()
        return tuple(
            # Torchvision has all the words for a class of ImageNet.
            ', '.join(map(str, name))
            if isinstance(name, (list, tuple))
            else str(name)
            for name in names
        )
    if isinstance(data, Subset):
        return _class_names(data.dataset)
    if isinstance(data, (ConcatDataset, ChainDataset)):
        found = {_class_names(each) for each in data.datasets}
        return found.pop() if len(found) == 1 else ()
    return ()


def _keeps_labels(data: Any, count: int) -> bool:
    """Whether the ``target_transform`` of a data set changes no label."""
    transform = getattr(data, 'target_transform', None)
    try:
        return transform is None or all(
            int(transform(label)) == label for label in range(count)
        )
    except Exception:  # whatever it makes of them
        return False


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')


class _Listed(List[Any]):
    """Items with the names of their classes."""

    def __init__(self, items: Any, classes: Tuple[str, ...]) -> None:
        super().__init__(items)
        self.classes = classes


def _place(label: Any) -> int:
    """A label as a place in the logits."""
    try:
        place = int(label)
        if place == label:
            return place
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(
        'Labels of val should be integers, the places in the logits, but got '
        f'{label!r:.80}.'
    )


def _pair(item: Any) -> Tuple[Any, Any]:
    """Image and label of an item, or of a batch of them."""
    if isinstance(item, (list, tuple)) and len(item) >= 2:
        return item[0], item[1]
    if isinstance(item, dict):
        for image in ('image', 'images', 'img', 'pixel_values', 'inputs'):
            for label in ('label', 'labels', 'target', 'gt_label'):
                if image in item and label in item:
                    return item[image], item[label]
    keys = f' with {some_of([*item], 5)}' if isinstance(item, dict) else ''
    is_array = isinstance(item, np.ndarray) or torch.is_tensor(item)
    raise TypeError(
        'Items of val should be (image, label), or dicts with "image" and '
        f'"label", but got a {type(item).__name__}{keys}. '
        + 'Of arrays, give list(zip(images, labels)). '
        * is_array
        + 'Or give the folder of the images, with a folder for each class, as '
        'val.'
    )
