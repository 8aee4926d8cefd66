# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Pictures that two data sets both have."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from .bank_folder import BankError, BankFolder, Shard
from .image_codec import ImageCodec
from .image_folder import list_pictures
from .init_pictures import read_init_picture

# Pictures that are looked for among others.
_SAMPLE = 200
# Data sets have a few pictures in both of their parts.
_MOST_SHARED = 0.1


def check_apart(
    val: Any, init_bank: Any, names: Sequence[str], advice: str
) -> str:
    """Check that no student is judged by pictures that it is trained on.

    Args:
        val (str | Path | Dataset | DataLoader): As of :func:`pictures_of`.
        init_bank (str | Path): A folder, or a bank of which some images may
            be pictures.
        names (sequence[str]): What messages call the two.
        advice (str): How to do without ``val``.

    Returns:
        str: A warning of a few that are in both, or that some could not be
        compared, since ``val`` says nothing of its files or a bank changed its
        pictures; empty if none were found.

    Raises:
        ValueError: If more than a tenth of one is in the other.
    """
    name, source = names
    pictures = pictures_of(val)
    bank = BankFolder(init_bank) if BankFolder.exists(init_bank) else None
    if bank is not None and not bank.real_images:
        return ''
    if not pictures:
        return (
            f'{name} does not say which files its images are of, so it was '
            f'not compared with {source}: make sure that they share none'
        )
    if bank is not None:
        shares = {(name, source): _share_in_bank(pictures, bank)}
    else:
        others = pictures_of(init_bank)
        shares = {
            (name, source): share_among(pictures, others),
            (source, name): share_among(others, pictures),
        }
    for (one, other), share in shares.items():
        if share > _MOST_SHARED:
            raise ValueError(
                f'About {100 * share:.0f} % of the pictures of {one} are in '
                f'{other} as well: the student would be judged by pictures '
                'that it is trained on. Give others for one of the two, or '
                f'{advice}.'
            )
    if any(shares.values()):
        return (
            f'some pictures of {name} are in {source} as well, so accuracies '
            'on them may be too high'
        )
    formats = {s.format for s in _real(bank) if _is_lossy(s)} if bank else ()
    if formats:
        return (
            f'{source} has pictures as {" and ".join(sorted(formats))}, which '
            f'changed them, so they were not compared with {name}: make sure '
            'that they share none'
        )
    return ''


def pictures_of(images: Any) -> List[Path]:
    """The files of a data set's pictures, as far as it says where they are.

    Args:
        images (str | Path | Dataset | DataLoader): A folder, or a data set of
            torchvision, mmengine or this package, in others of torch or not.

    Returns:
        list[Path]: Empty if it says nothing of files.
    """
    if isinstance(images, (str, Path)):
        return list_pictures(images)
    if isinstance(images, DataLoader):
        return pictures_of(images.dataset)
    if isinstance(images, ConcatDataset):
        return [path for each in images.datasets for path in pictures_of(each)]
    if isinstance(images, Subset):
        found = pictures_of(images.dataset)
        whole = len(found) == len(images.dataset)  # type: ignore[arg-type]
        return [found[index] for index in images.indices] if whole else []
    if isinstance(images, BaseDataset):
        infos = map(images.get_data_info, range(len(images)))
        named = [info.get('img_path') for info in infos]
    else:
        parts = getattr(images, '__dict__', {}).values()
        inner: List[Any] = [p for p in parts if isinstance(p, Dataset)]
        if inner:
            # One of many, or of fewer images, may take any part of them.
            whole = len(inner) == 1 and len(images) >= len(inner[0])
            return pictures_of(inner[0]) if whole else []
        items: Any = getattr(images, 'samples', getattr(images, 'images', ()))
        is_list = isinstance(items, (list, tuple))
        named = [
            item[0]
            for item in (items if is_list else ())
            if isinstance(item, (list, tuple)) and item
        ]
    paths = [Path(name) for name in named if isinstance(name, (str, Path))]
    # Those of some data sets are addresses.
    return [path for path in paths if path.is_file()]


def share_among(pictures: Sequence[Path], others: Sequence[Path]) -> float:
    """How much of some pictures is among others, by the bytes of their files.

    Args:
        pictures (sequence[Path]): One or more; a sample of them is looked at.
        others (sequence[Path]): Where they are looked for.

    Returns:
        float: 0..1.
    """
    step = -(-len(pictures) // _SAMPLE)
    chosen = [_digest(path) for path in pictures[::step]]
    sizes = {size for size, _ in chosen}
    found = {_digest(path) for path in others if path.stat().st_size in sizes}
    return sum(each in found for each in chosen) / len(chosen)


def _share_in_bank(pictures: Sequence[Path], bank: BankFolder) -> float:
    """How much of some pictures is among those of a bank, by their pixels."""
    chosen = pictures[:: -(-len(pictures) // _SAMPLE)]
    found = {
        _checksum(image.tobytes())
        for shard in _real(bank)
        if not _is_lossy(shard)
        for image in bank.read(shard)[0]
    }
    shared = 0
    for path in chosen if found else ():
        with suppress(BankError, OSError, ValueError):  # of another size
            image = read_init_picture(path, bank.image_shape)
            shared += _checksum(image.transpose(2, 0, 1).tobytes()) in found
    return shared / len(chosen)


def _real(bank: BankFolder) -> List[Shard]:
    return [shard for shard in bank.shards if bank.is_real(shard)]


def _is_lossy(shard: Shard) -> bool:
    return ImageCodec(shard.format).is_lossy


def _digest(path: Path) -> Tuple[int, bytes]:
    content = path.read_bytes()
    return len(content), _checksum(content)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
