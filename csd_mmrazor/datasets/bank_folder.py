# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import io
import os.path as osp
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..utils.files import own_file, write_file
from .manifest import (
    DRAWS,
    IMPORTED,
    INITIAL,
    MANIFEST,
    MOST_VIEWS,
    Manifest,
    ManifestFile,
    Shard,
    TargetKind,
)

__all__ = [
    'BankError',
    'BankFolder',
    'IMPORTED',
    'INITIAL',
    'MOST_VIEWS',
    'Shard',
    'TargetKind',
]

# Bytes of an .npy file before its records, at most.
_MOST_HEADER = 2**17


class BankError(RuntimeError):
    """A bank on disk that cannot be used; says what to do."""


def _beside(name: str) -> str:
    """The file with the targets of a shard, by the shard's name."""
    return name.replace('.npy', '.targets.npy')


def _as_file(columns: Dict[str, np.ndarray], dtype: np.dtype) -> bytes:
    """Records of some columns, as an ``.npy`` file."""
    records: np.ndarray = np.empty(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        records[name] = values
    buffer = io.BytesIO()
    np.save(buffer, records, allow_pickle=False)
    return buffer.getvalue()


class BankFolder:
    """A bank's images on disk: shards, and a manifest that lists them.

    A shard is an ``.npy`` file of records (label, image); reading one runs no
    code from it. Shards are only ever added. The manifest's log names each
    with its checksum, and the manifest is replaced last, so a writer that is
    killed loses the round it was writing and no other. A round costs the same
    however many there are.

    Shards may have targets beside them, in files of their own: what a teacher
    says of their images. Until :meth:`add_targets` was called for each, some
    lack them.

    Args:
        path (str | Path): The folder.
        image_shape (sequence[int], optional): (C, H, W). None takes that of
            the manifest.
        num_classes (int, optional): None takes that of the manifest.
        classes (sequence[str], optional): Names of the classes in the order
            of the labels. None takes those of the manifest, if it has any.

    Raises:
        BankError: If there is no manifest and no shape is given, or the
            manifest is damaged, of another shape or of other classes.
    """

    manifest_name = MANIFEST

    def __init__(
        self,
        path: Union[str, Path],
        image_shape: Optional[Sequence[int]] = None,
        num_classes: Optional[int] = None,
        classes: Optional[Sequence[str]] = None,
    ) -> None:
        self.path = Path(path)
        self.classes = list(classes or ())
        self._manifest = ManifestFile(self.path)
        self.shards: List[Shard] = []
        self.states: Dict[str, str] = {}
        self.target_kind: Optional[TargetKind] = None
        self.targets: Dict[str, str] = {}
        if self.exists(path):
            manifest = self._read_manifest()
            self.shards, self.states = manifest.shards, manifest.states
            self.target_kind = manifest.target_kind
            self.targets = manifest.targets
            found = manifest._asdict()
            if manifest.classes:
                self._check_classes(manifest.classes)
                self.classes = manifest.classes
            for name, wanted in (
                ('image_shape', list(image_shape) if image_shape else None),
                ('num_classes', num_classes),
            ):
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
        self._count_rounds()
        self.image_shape = tuple(image_shape)
        self.num_classes = num_classes
        self.dtype = np.dtype(
            [('label', '<i8'), ('image', 'u1', self.image_shape)]
        )

    def _check_classes(self, found: Sequence[str]) -> None:
        """Raise an error if labels mean something else here."""
        for label, (name, wanted) in enumerate(zip(found, self.classes)):
            if name != wanted:
                raise BankError(
                    f'Class {label} of the bank in {self.path} is {name!r}, '
                    f'but {wanted!r} here: the labels of its images would be '
                    'wrong. Give the classes the order of that bank, by '
                    'metainfo=dict(classes=[...]) of the data set, or choose '
                    'another bank, or another work dir for a new one.'
                )

    @classmethod
    def exists(cls, path: Union[str, Path]) -> bool:
        """Whether there is a bank in a folder."""
        return osp.lexists(Path(path, cls.manifest_name))

    def __len__(self) -> int:
        return self._length

    def _count_rounds(self) -> None:
        """Note what would take a pass over all shards again and again."""
        self._length = sum(shard.count for shard in self.shards)
        self._rounds = {(shard.epoch, shard.index) for shard in self.shards}

    def has(self, epoch: int, index: int) -> bool:
        """Whether the round of that epoch and index is there."""
        return (epoch, index) in self._rounds

    def append(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epoch: int,
        index: int,
        write: bool,
        targets: Optional[Dict[str, np.ndarray]] = None,
    ) -> Shard:
        """Add a round.

        Args:
            images (ndarray): (N, C, H, W), uint8.
            labels (ndarray): (N, ), classes.
            epoch (int): The epoch that asked for it, INITIAL or IMPORTED.
            index (int): Its place among the rounds of that epoch.
            write (bool): Whether to write it. One process of a distributed
                run does; the others only take note.
            targets (dict[str, ndarray], optional): As of
                :meth:`add_targets`. Defaults to None.

        Raises:
            ValueError: If images, labels or targets are not of the bank's
                kind.
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
        content = _as_file(dict(label=labels, image=images), self.dtype)
        beside = b''
        if targets is not None:
            beside = self._as_file(targets, len(images))
        # Names ascend.
        number = int(self.shards[-1].name[:6]) + 1 if self.shards else 0
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
        self._length += shard.count
        self._rounds.add((epoch, index))
        if write:
            self._manifest.add(shard._asdict())
        if beside:
            self._note_targets(shard, beside, write)
        if write:
            self.write_manifest()
        return shard

    @property
    def target_dtype(self) -> np.dtype:
        """Of the records beside those of a shard.

        ``targets`` are logits, (K, ) for an image as it is; for V views of
        it, (V, K), with ``draws``, (V, 3), which say what views these are.
        ``maps`` are what else of the teacher is kept, (L, ) or (V, L).
        """
        assert self.target_kind is not None, 'there are no targets'
        views, size = self.target_kind.views, self.target_kind.map_size
        each = (views,) if views else ()
        fields: List[Tuple[Any, ...]] = [
            ('targets', '<f2', (*each, self.num_classes))
        ]
        if size:
            fields.append(('maps', '<f2', (*each, size)))
        if views:
            fields.append(('draws', 'u1', (views, DRAWS)))
        return np.dtype(fields)

    def expect_targets(self, kind: Optional[TargetKind], write: bool) -> None:
        """Say what targets shards are to have; others are dropped.

        Args:
            kind (TargetKind, optional): None for none at all.
            write (bool): As of :meth:`append`.
        """
        if kind == self.target_kind:
            return
        outdated = [_beside(name) for name in self.targets]
        self.target_kind, self.targets = kind, {}
        if write and self.shards:
            self.write_manifest(anew=True)
            for name in outdated:
                (self.path / name).unlink(missing_ok=True)

    @property
    def without_targets(self) -> List[Shard]:
        """Shards that lack them."""
        return [s for s in self.shards if s.name not in self.targets]

    def add_targets(
        self, shard: Shard, targets: Dict[str, np.ndarray], write: bool
    ) -> None:
        """Put targets beside a shard.

        Args:
            shard (Shard): One of ``shards``.
            targets (dict[str, ndarray]): What ``target_dtype`` names, of N
                images.
            write (bool): As of :meth:`append`.

        Raises:
            ValueError: If they are not of the bank's kind.
        """
        content = self._as_file(targets, shard.count)
        self._note_targets(shard, content, write)
        if write:
            self.write_manifest()

    def _as_file(self, targets: Dict[str, np.ndarray], count: int) -> bytes:
        dtype = self.target_dtype
        expected = {
            name: (count, *dtype[name].shape) for name in dtype.names or ()
        }
        found = {name: value.shape for name, value in targets.items()}
        if found != expected:
            raise ValueError(
                f'The targets of the bank in {self.path} have the shapes '
                f'{expected}, but got {found}.'
            )
        for name in ('targets', 'maps') if 'maps' in targets else ('targets',):
            values = targets[name]
            if not np.isfinite(values).all():
                kinds = dict(targets='logits', maps='numbers of its maps')
                raise ValueError(
                    'What the teacher says of images of the bank is NaN or '
                    f'Inf: {(~np.isfinite(values)).sum()} of {values.size} '
                    f'{kinds[name]}. Check its checkpoint, and mean and std '
                    'of model.data_preprocessor.'
                )
        return _as_file(targets, dtype)

    def _note_targets(self, shard: Shard, content: bytes, write: bool) -> None:
        checksum = hashlib.sha256(content).hexdigest()
        if write:
            write_file(self.path / _beside(shard.name), content)
            self._manifest.add(dict(targets=shard.name, sha256=checksum))
        self.targets[shard.name] = checksum

    def keep(self, shards: Sequence[Shard], write: bool) -> None:
        """Drop all shards but these."""
        kept = {*shards}
        dropped = [shard for shard in self.shards if shard not in kept]
        self.shards = list(shards)
        self._count_rounds()
        for shard in dropped:
            self.targets.pop(shard.name, None)
        if write and dropped:
            self.write_manifest(anew=True)
            for shard in dropped:
                for name in (shard.name, _beside(shard.name)):
                    (self.path / name).unlink(missing_ok=True)

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
            f'{self.path} to make all images again.'
        )
        records = self._read(path, shard, self.dtype, mmap, advice)
        labels = records['label']
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise BankError(
                f'Shard {path} holds labels {labels.min()}..{labels.max()}, '
                f'but the bank has classes 0..{self.num_classes - 1}. '
                f'{advice}'
            )
        return records['image'], records['label']

    def read_targets(
        self, shard: Shard, mmap: bool = False
    ) -> Dict[str, np.ndarray]:
        """Targets beside a shard, checked.

        Args:
            shard (Shard): One of ``shards``.
            mmap (bool): Whether to map the file instead of reading it.

        Returns:
            dict[str, ndarray]: What ``target_dtype`` names, of N images.

        Raises:
            BankError: If there are none, or the file is lost, cut short or
                altered.
        """
        if shard.name not in self.targets:
            raise BankError(
                f'{len(self.without_targets)} of {len(self.shards)} shards '
                f'of the image bank in {self.path}, such as {shard.name}, '
                'have no targets of a teacher, and the others have. Let '
                'SynthesisHook compute them.'
            )
        path = self.path / _beside(shard.name)
        advice = (
            f'Restore {path} from a copy, or resume with another '
            'target_views, by which all are computed again.'
        )
        # In the place of the shard's own file.
        beside = shard._replace(sha256=self.targets[shard.name])
        records = self._read(path, beside, self.target_dtype, mmap, advice)
        return {name: records[name] for name in records.dtype.names or ()}

    def _read(
        self,
        path: Path,
        shard: Shard,
        dtype: np.dtype,
        mmap: bool,
        advice: str,
    ) -> np.ndarray:
        """Records of a shard or of its targets."""
        if own_file(self.path, path.name) is None:
            raise BankError(
                f'Shard {path} of the image bank is lost, or a link that '
                f'leads out of the folder. {advice}'
            )
        # Not to read what cannot be it.
        largest = shard.count * dtype.itemsize + _MOST_HEADER
        content = b''
        if path.stat().st_size <= largest:
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
            found = f'records {records.dtype} of shape {records.shape}'
        except Exception as error:  # whatever the bytes make NumPy raise
            raise BankError(
                f'Shard {path} holds something else than images: {error}. '
                f'{advice}'
            ) from error
        if records.dtype != dtype or records.shape != (shard.count,):
            raise BankError(
                f'Shard {path} holds {found}, not {shard.count} of '
                f'{dtype}. {advice}'
            )
        return records

    def room_on_disk(self) -> int:
        """How many images the shards' files can hold, whatever they say."""
        sizes = (
            path.stat().st_size
            for path in (self.path / shard.name for shard in self.shards)
            if path.is_file()
        )
        return sum(sizes) // self.dtype.itemsize

    def digest(self) -> str:
        """One hash over the content of all shards, in order."""
        joined = ''.join(
            shard.sha256 + self.targets.get(shard.name, '')
            for shard in self.shards
        )
        return hashlib.sha256(joined.encode()).hexdigest()

    def _read_manifest(self) -> Manifest:
        try:
            return self._manifest.read()
        except ValueError as error:
            path = self.path / self.manifest_name
            raise BankError(
                f'The manifest of the image bank, {path}, cannot be used '
                f'({error}). Restore it from a copy, or delete its folder '
                'to make all images again.'
            ) from error

    def write_manifest(self, anew: bool = False) -> None:
        """Write what the folder holds.

        Args:
            anew (bool): Whether shards or targets were dropped. Defaults to
                False, where some may have been added.
        """
        self._manifest.write(
            Manifest(
                list(self.image_shape),
                self.num_classes,
                self.shards,
                self.states,
                self.classes,
                self.target_kind,
                self.targets,
            ),
            anew,
        )
