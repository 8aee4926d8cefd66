# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import io
import json
import re
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..utils import write_file

# What ``Shard.epoch`` is for images that no training epoch asked for.
IMPORTED = -2
INITIAL = -1


class BankError(RuntimeError):
    """A bank on disk that cannot be used; says what to do."""


class Shard(NamedTuple):
    """One file of a bank: the images of one round."""

    name: str
    count: int
    sha256: str
    epoch: int  # of the training, or INITIAL or IMPORTED
    index: int  # of the round among those of its epoch


class BankFolder:
    """A bank's images on disk: shards, and a manifest that lists them.

    A shard is an ``.npy`` file of records (label, image); reading one runs no
    code from it. Shards are only ever added. The manifest names each with its
    checksum and is rewritten last, so a writer that is killed loses the round
    it was writing and no other.

    Args:
        path (str | Path): The folder.
        image_shape (sequence[int], optional): (C, H, W). None takes that of
            the manifest.
        num_classes (int, optional): None takes that of the manifest.

    Raises:
        BankError: If there is no manifest and no shape is given, or the
            manifest is damaged or of another shape.
    """

    manifest_name = 'manifest.json'
    _version = 1
    _shard_name = re.compile(r'\d{6}\.npy')

    def __init__(
        self,
        path: Union[str, Path],
        image_shape: Optional[Sequence[int]] = None,
        num_classes: Optional[int] = None,
    ) -> None:
        self.path = Path(path)
        self.shards: List[Shard] = []
        if self.exists(path):
            found = self._read_manifest()
            for name, wanted in (
                ('image_shape', image_shape),
                ('num_classes', num_classes),
            ):
                wanted = (
                    list(wanted)
                    if name == 'image_shape' and wanted
                    else wanted
                )
                if wanted is not None and found[name] != wanted:
                    raise BankError(
                        f'The bank in {self.path} has {name}={found[name]}, '
                        f'but {wanted} is needed: choose another bank, or '
                        'another work dir for a new one.'
                    )
            image_shape, num_classes = (
                found['image_shape'],
                found['num_classes'],
            )
        elif image_shape is None or num_classes is None:
            raise BankError(
                f'There is no image bank in {self.path}: it has '
                f'no {self.manifest_name}.'
            )
        self.image_shape = tuple(image_shape)
        self.num_classes = num_classes
        self.dtype = np.dtype(
            [('label', '<i8'), ('image', 'u1', self.image_shape)]
        )

    @classmethod
    def exists(cls, path: Union[str, Path]) -> bool:
        """Whether there is a bank in a folder."""
        return Path(path, cls.manifest_name).is_file()

    def __len__(self) -> int:
        return sum(shard.count for shard in self.shards)

    def has(self, epoch: int, index: int) -> bool:
        """Whether the round of that epoch and index is there."""
        return any(
            (shard.epoch, shard.index) == (epoch, index)
            for shard in self.shards
        )

    def append(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epoch: int,
        index: int,
        write: bool,
    ) -> Shard:
        """Add a round.

        Args:
            images (ndarray): (N, C, H, W), uint8.
            labels (ndarray): (N, ), classes.
            epoch (int): The epoch that asked for it, INITIAL or IMPORTED.
            index (int): Its place among the rounds of that epoch.
            write (bool): Whether to write it. One process of a distributed
                run does; the others only take note.

        Raises:
            ValueError: If images or labels are not of the bank's kind.
        """
        if images.shape[1:] != self.image_shape or images.dtype != np.uint8:
            raise ValueError(
                f'The bank takes uint8 images of shape {self.image_shape}, '
                f'but got {images.dtype} of {images.shape[1:]}.'
            )
        if (
            len(labels) != len(images)
            or len(labels) == 0
            or (labels.min() < 0 or labels.max() >= self.num_classes)
        ):
            raise ValueError(
                f'{len(images)} images need as many labels in '
                f'0..{self.num_classes - 1}, but got {len(labels)}: '
                f'{np.unique(labels)[:20]}.'
            )
        records = np.empty(len(images), self.dtype)
        records['label'], records['image'] = labels, images
        buffer = io.BytesIO()
        np.save(buffer, records, allow_pickle=False)
        content = buffer.getvalue()
        number = 1 + max((int(s.name[:6]) for s in self.shards), default=-1)
        shard = Shard(
            f'{number:06d}.npy',
            len(images),
            hashlib.sha256(content).hexdigest(),
            epoch,
            index,
        )
        if write:
            self.path.mkdir(parents=True, exist_ok=True)
            write_file(self.path / shard.name, content)
        self.shards.append(shard)
        if write:
            self._write_manifest()
        return shard

    def keep(self, shards: Sequence[Shard], write: bool) -> None:
        """Drop all shards but these."""
        dropped = [shard for shard in self.shards if shard not in shards]
        self.shards = list(shards)
        if write and dropped:
            self._write_manifest()
            for shard in dropped:
                (self.path / shard.name).unlink(missing_ok=True)

    def read(
        self, shard: Shard, mmap: bool = False
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Images and labels of a shard, checked.

        Args:
            shard (Shard): One of ``shards``.
            mmap (bool): Whether to map the file instead of reading it.

        Returns:
            tuple[ndarray, ndarray]: (N, C, H, W), uint8, and (N, ), int64.

        Raises:
            BankError: If the file is lost, cut short or altered.
        """
        path = self.path / shard.name
        advice = (
            f'Restore {path} from a copy, or delete the folder '
            f'{self.path} to make all images anew.'
        )
        if not path.is_file():
            raise BankError(
                f'Shard {path} of the image bank is lost. {advice}'
            )
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise BankError(
                f'Shard {path} of the image bank was cut short or '
                'altered: its checksum is not that of the '
                f'manifest. {advice}'
            )
        try:
            records = np.load(
                path if mmap else io.BytesIO(content),
                mmap_mode='r' if mmap else None,
                allow_pickle=False,
            )
        except ValueError as error:
            raise BankError(
                f'Shard {path} holds something else than images: {error}. '
                f'{advice}'
            ) from error
        if records.dtype != self.dtype or len(records) != shard.count:
            raise BankError(
                f'Shard {path} holds {len(records)} records of '
                f'{records.dtype}, not {shard.count} of {self.dtype}. {advice}'
            )
        return records['image'], records['label']

    def digest(self) -> str:
        """One hash over the content of all shards, in order."""
        joined = ''.join(shard.sha256 for shard in self.shards)
        return hashlib.sha256(joined.encode()).hexdigest()

    def _read_manifest(self) -> dict:
        path = self.path / self.manifest_name
        try:
            found = json.loads(path.read_text())
            if found['version'] != self._version:
                raise ValueError(f'version {found["version"]}')
            self.shards = [Shard(**shard) for shard in found['shards']]
            for shard in self.shards:
                # Names are not to lead out of the folder.
                if not self._shard_name.fullmatch(shard.name):
                    raise ValueError(f'shard name {shard.name!r}')
            return dict(
                image_shape=list(found['image_shape']),
                num_classes=int(found['num_classes']),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BankError(
                f'The manifest of the image bank, {path}, cannot be used '
                f'({type(error).__name__}: {error}). Restore it from a copy, '
                'or delete its folder to make all images anew.'
            ) from error

    def _write_manifest(self) -> None:
        content = dict(
            version=self._version,
            image_shape=self.image_shape,
            num_classes=self.num_classes,
            shards=[shard._asdict() for shard in self.shards],
        )
        write_file(
            self.path / self.manifest_name,
            json.dumps(content, indent=1).encode(),
        )
