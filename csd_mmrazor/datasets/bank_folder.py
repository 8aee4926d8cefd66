# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import io
import os
import os.path as osp
from pathlib import Path
from typing import (
    Any,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np

from ..utils.files import own_file, write_file
from ..utils.threads import in_threads
from .held_out import HeldOut
from .image_codec import ImageCodec, decode
from .loose_rounds import (
    Round,
    is_note,
    note_name,
    remove_note,
    targets_name,
)
from .manifest import (
    DRAWS,
    IMPORTED,
    INITIAL,
    MANIFEST,
    MOST_VIEWS,
    ORIGINS,
    Manifest,
    ManifestFile,
    Shard,
    TargetKind,
    is_own_name,
)
from .shard_files import (
    INDEX,
    MOST_HEADER,
    BankError,
    ShardFile,
    npy_header,
    read_index,
    read_records,
)

__all__ = [
    'BankError',
    'BankFolder',
    'IMPORTED',
    'INITIAL',
    'MOST_VIEWS',
    'Round',
    'Shard',
    'TargetKind',
]


def _as_file(columns: Dict[str, np.ndarray], dtype: np.dtype) -> memoryview:
    """Records of some columns, as the bytes of an ``.npy`` file.

    They are what ``np.save`` writes, but each column is copied once: with
    feature maps, a round has hundreds of megabytes.
    """
    count = len(next(iter(columns.values())))
    head = npy_header(dtype, count)
    start = len(head)
    content: np.ndarray = np.empty(start + count * dtype.itemsize, np.uint8)
    content[:start] = np.frombuffer(head, np.uint8)
    records = content[start:].view(dtype)
    for name, values in columns.items():
        records[name] = values
    return content.data


def _all_finite(values: np.ndarray) -> bool:
    """Whether there is no NaN and no Inf among numbers.

    NumPy takes 30 times as long for this in float16 as to find the largest
    integer. What is not finite has the largest bits of its sign.
    """
    if values.dtype != np.float16 or not values.size:
        return bool(np.isfinite(values).all())
    return bool(
        values.view(np.int16).max() < 0x7C00
        and values.view(np.uint16).max() < 0xFC00
    )


_Content = Union[bytes, memoryview]
_RAW = ImageCodec()


def _bring(source: ShardFile, target: Path, link: bool) -> None:
    """Link to a file, or copy it, over what a killed run left there."""
    path = source.path
    if own_file(path.parent, path.name) is None:
        raise source.error('is lost, or a link that leads out of its folder')
    if not link:
        if not _is_copy(source, target):
            write_file(target, source.content())
        return
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError as error:
        raise BankError(
            f'{path} of init_bank cannot be linked to as {target} '
            f'({error.strerror}): put both on one file system that has hard '
            'links, or set link_init_bank=False of ImageBank to copy them.'
        ) from error


def _is_copy(source: ShardFile, target: Path) -> bool:
    """Whether a run that was stopped has copied a file already."""
    if own_file(target.parent, target.name) is None:
        return False
    found, expected = target.stat(), source.path.stat()
    if found.st_size != expected.st_size or os.path.samestat(found, expected):
        return False
    with open(target, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest() == source.sha256


def _listed(values: Dict[str, Any]) -> str:
    return ', '.join(f'{key} {value}' for key, value in values.items())


class BankFolder:
    """A bank's images on disk: shards, and a manifest that lists them.

    A shard is an ``.npy`` file of records (label, image), or of records
    (label, size) that files of that size in a common format follow, one of
    each image; reading one runs no code from it. Shards are only ever added.
    The manifest's log names each with its checksum, and the manifest is
    replaced last, so a writer that is killed loses the round it was writing
    and no other. A round costs the same however many there are.

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
        codec (ImageCodec): How new shards are written. Those that are there
            are read whatever they are. Defaults to raw images.

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
        codec: ImageCodec = _RAW,
    ) -> None:
        self.path = Path(path)
        self.codec = codec
        self.classes = list(classes or ())
        self._manifest = ManifestFile(self.path)
        self.shards: List[Shard] = []
        self.states: Dict[str, str] = {}
        self.target_kind: Optional[TargetKind] = None
        self.targets: Dict[str, str] = {}
        self.held_out: Optional[HeldOut] = None
        self.made_from: Optional[Dict[str, str]] = None
        self.pictures = ''
        self.dropped = 0
        if self.exists(path):
            manifest = self._read_manifest()
            self.shards, self.states = manifest.shards, manifest.states
            self.target_kind = manifest.target_kind
            self.targets = manifest.targets
            self.held_out = manifest.held_out
            self.made_from = manifest.made_from
            self.pictures = manifest.pictures
            self.dropped = manifest.dropped
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

    def is_real(self, shard: Shard) -> bool:
        """Whether its images are pictures of a folder, not synthetic."""
        imported = shard.epoch == IMPORTED and bool(self.pictures)
        return shard.real or imported

    @property
    def real_images(self) -> int:
        """How many of its images are pictures of a folder."""
        return sum(s.count for s in self.shards if self.is_real(s))

    @property
    def share_of_real(self) -> str:
        """How many of how many these are, in words; '' if there are none."""
        real = self.real_images
        if not real:
            return ''
        return f'{real} real pictures among the {len(self)} images of the bank'

    def _count_rounds(self) -> None:
        """Note what would take a pass over all shards again and again."""
        self._length = sum(shard.count for shard in self.shards)
        self._rounds = {(shard.epoch, shard.index) for shard in self.shards}
        self._newest = max(self._rounds, default=(IMPORTED - 1, 0))

    def has(self, epoch: int, index: int) -> bool:
        """Whether the round of that epoch and index is there."""
        return (epoch, index) in self._rounds

    def had(self, epoch: int, index: int) -> bool:
        """Whether that round is there, or was and has been dropped.

        Rounds come in the order of epochs, and in these of indices. Those
        that a capacity drops are the oldest, and never all.
        """
        return (epoch, index) <= self._newest

    @property
    def has_dropped(self) -> bool:
        """Whether the oldest rounds that it had are there no more."""
        return bool(self.shards) and self.shards[0].number > 0

    def append(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epoch: int,
        index: int,
        write: bool,
        targets: Optional[Dict[str, np.ndarray]] = None,
    ) -> Shard:
        """Add a round: write its files, and put it into the manifest.

        Args:
            images (ndarray): As of :meth:`write_round`, like those below.
            labels (ndarray): (N, ), classes.
            epoch (int): The epoch that asked for it, INITIAL or IMPORTED.
            index (int): Its place among the rounds of that epoch.
            write (bool): Whether to write it. One process of a distributed
                run does; the others only take note.
            targets (dict[str, ndarray], optional): As of
                :meth:`add_targets`. Defaults to None.
        """
        made = self.write_round(
            images, labels, epoch, index, targets, None, write
        )
        self.add_rounds([made], write)
        return made.shard

    def write_round(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epoch: int,
        index: int,
        targets: Optional[Dict[str, np.ndarray]] = None,
        number: Optional[int] = None,
        write: bool = True,
    ) -> Round:
        """Write the files of a round, which is not in the manifest yet.

        Args:
            images (ndarray): (N, C, H, W), uint8.
            labels (ndarray): (N, ), classes.
            epoch (int): The epoch that asked for it, INITIAL or IMPORTED.
            index (int): Its place among the rounds of that epoch.
            targets (dict[str, ndarray], optional): As of
                :meth:`add_targets`. Defaults to None.
            number (int, optional): Of the shard. Defaults to None, the next.
            write (bool): Whether there are to be files. Defaults to True.

        Returns:
            Round: For :meth:`add_rounds`.

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
        made = self._files_of(images, labels, targets)
        name = f'{self.next_number if number is None else number:06d}.npy'
        if self.codec.name != 'raw':
            name = name.replace('.npy', f'.{self.codec.name}.npy')
        shard = Shard(
            name,
            len(images),
            hashlib.sha256(made[0]).hexdigest(),
            epoch,
            index,
        )
        if write:
            self.path.mkdir(parents=True, exist_ok=True)
            write_file(self.path / shard.name, made[0])
            if made[1] is not None:
                write_file(self.path / targets_name(shard.name), made[1])
        if made[1] is None:
            return Round(shard)
        checksum = hashlib.sha256(made[1]).hexdigest()
        return Round(shard, checksum, self.target_kind)

    def _files_of(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        targets: Optional[Dict[str, np.ndarray]],
    ) -> Tuple[_Content, Optional[_Content]]:
        """What the files of a round hold; the second one is of targets."""
        content: _Content
        if self.codec.name == 'raw':
            content = _as_file(dict(label=labels, image=images), self.dtype)
        else:
            files = self.codec.encode(images)
            sizes = np.array([len(each) for each in files])
            index = _as_file(dict(label=labels, size=sizes), INDEX)
            content = b''.join([index, *files])
        if targets is None:
            return content, None
        return content, self._as_file(targets, len(images))

    @property
    def next_number(self) -> int:
        """Of the next shard; names ascend."""
        return self.shards[-1].number + 1 if self.shards else 0

    def add_rounds(self, rounds: Sequence[Round], write: bool) -> None:
        """Put rounds into the manifest whose files are there.

        Args:
            rounds (sequence[Round]): In the order of their names, which are
                later than those of the manifest.
            write (bool): As of :meth:`append`.
        """
        for shard, checksum, *_ in rounds:
            self.shards.append(shard)
            self._length += shard.count
            self._rounds.add((shard.epoch, shard.index))
            self._newest = max(self._newest, (shard.epoch, shard.index))
            if write:
                self._manifest.add(shard.entry())
            if checksum:
                self._note_targets(shard, checksum, write)
        if write and rounds:
            self.write_manifest()
            for shard, *_ in rounds:
                remove_note(self.path, shard)

    def forget(self, made: Round) -> None:
        """Remove a round that is not in the manifest, with its note."""
        remove_note(self.path, made.shard)
        known = {shard.name for shard in self.shards}
        if made.shard.name not in known:  # under that name, another may be
            for name in (made.shard.name, targets_name(made.shard.name)):
                (self.path / name).unlink(missing_ok=True)

    def sweep(self, noted: Sequence[Round]) -> List[str]:
        """Remove what killed writers left: files that nothing knows of.

        Args:
            noted (sequence[Round]): Those of :func:`read_notes`.

        Returns:
            list[str]: What they were called.
        """
        if not self.exists(self.path):
            return []  # what they belong to is not known
        known = {self._manifest.log_name}
        known.update(shard.name for shard in self.shards)
        known.update(map(targets_name, self.targets))
        for shard, checksum, *_ in noted:
            known.update([note_name(shard), shard.name])
            if checksum:
                known.add(targets_name(shard.name))
        found = [
            name
            for name in sorted(os.listdir(self.path))
            if name not in known and (is_note(name) or is_own_name(name))
        ]
        for name in found:
            (self.path / name).unlink(missing_ok=True)
        return found

    def bring(
        self, source: 'BankFolder', link: bool, share: slice = slice(None)
    ) -> None:
        """Bring the files of another bank here, for :meth:`adopt`.

        Those that are here already, since a run was stopped, stay.

        Args:
            source (BankFolder): The other bank.
            link (bool): Whether its files are linked to, not copied: both
                banks then have them, in the place of one, until both have
                dropped them.
            share (slice): Which of its shards this process brings. Defaults
                to all.

        Raises:
            BankError: If a file is lost or altered, or cannot be linked to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with_targets = self._adopts_targets(source)
        files = []
        for shard, new in self._adopted(source)[share]:
            files.append((source.file_of(shard), new.name))
            if with_targets:
                file = source.file_of(shard, with_targets=True)
                files.append((file, targets_name(new.name)))
        for _ in in_threads(
            lambda each: _bring(each[0], self.path / each[1], link), files
        ):
            pass

    def adopt(self, source: 'BankFolder', write: bool) -> None:
        """Add the shards of another bank, with their targets, as IMPORTED.

        Args:
            source (BankFolder): The other bank, whose files are here. What it
                holds out from training stays so. Of its targets those are
                added that are of ``target_kind``, if all its shards have
                some.
            write (bool): As of :meth:`append`.
        """
        with_targets = self._adopts_targets(source)
        for shard, new in self._adopted(source):
            self.shards.append(new)
            if write:
                self._manifest.add(new.entry())
            if with_targets:
                self._note_targets(new, source.targets[shard.name], write)
        self._count_rounds()
        if write:
            self.write_manifest()

    def _adopts_targets(self, source: 'BankFolder') -> bool:
        return (
            self.target_kind is not None
            and source.target_kind == self.target_kind
            and not source.without_targets
        )

    def _adopted(self, source: 'BankFolder') -> List[Tuple[Shard, Shard]]:
        """Shards of another bank that are lacking, there and here."""
        found: List[Tuple[Shard, Shard]] = []
        for index, shard in enumerate(source.shards):
            if self.has(IMPORTED, index):
                continue
            suffix = shard.name.partition('.')[2]
            new = shard._replace(
                name=f'{self.next_number + len(found):06d}.{suffix}',
                epoch=IMPORTED,
                index=index,
                held_out=shard.held_out or source.held_out,
                real=source.is_real(shard),
            )
            found.append((shard, new))
        return found

    def file_of(self, shard: Shard, with_targets: bool = False) -> ShardFile:
        """The file of a shard, or the one with its targets.

        Args:
            shard (Shard): One of ``shards``.
            with_targets (bool): Which. Defaults to False, the images.
        """
        name, checksum = shard.name, shard.sha256
        dtype = self.dtype if shard.format == 'raw' else INDEX
        if with_targets:
            name, checksum = targets_name(name), self.targets[name]
            dtype = self.target_dtype
        return ShardFile(
            self.path / name,
            shard.count,
            checksum,
            dtype,
            'raw' if with_targets else shard.format,
        )

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
        outdated = [targets_name(name) for name in self.targets]
        self.target_kind, self.targets = kind, {}
        if write and self.shards:
            self.write_manifest(anew=True)
            for name in outdated:
                (self.path / name).unlink(missing_ok=True)

    def hold_out(self, held_out: Optional[HeldOut]) -> None:
        """Say which images are held out from training, once and for all.

        Args:
            held_out (HeldOut, optional): None for none.

        Raises:
            BankError: If there are images of which others are held out.
        """
        if self.shards and held_out != self.held_out:
            was, now = (
                (HeldOut(0) if each is None else each)._asdict()
                for each in (self.held_out, held_out)
            )
            raise BankError(
                f'The bank in {self.path} has images of which others are held '
                f'out from training ({_listed(was)}) than held_out of '
                f'ImageBank says ({_listed(now)}): a student may have been '
                'trained on those. Set train_dataloader.dataset.held_out='
                f'{was["share"]}, with the synthesizer of that run, or choose '
                'another --work-dir.'
            )
        self.held_out = held_out

    def bind(self, made_from: Dict[str, Any]) -> None:
        """Say what rounds are made from before the first checkpoint.

        Args:
            made_from (dict[str, Any]): Plain data by ``ORIGINS``; the
                next round that is added writes their checksums.

        Raises:
            BankError: If there are images that were made from something else.
        """
        made_from = {
            name: hashlib.sha256(repr(value).encode()).hexdigest()[:16]
            for name, value in made_from.items()
        }
        newest = max((s.epoch for s in self.shards), default=IMPORTED - 1)
        changed = [
            name
            for name, checksum in (self.made_from or {}).items()
            if checksum != made_from[name] and newest >= ORIGINS[name]
        ]
        if changed:
            raise BankError(
                f'The bank in {self.path} has images of a run without a '
                f'checkpoint, which had another {" and ".join(changed)} '
                'than this one: they would be mixed. Resume with what '
                'that run had, choose another --work-dir, or delete the '
                'folder.'
            )
        self.made_from = made_from

    def start_with(self, pictures: str) -> None:
        """Say which pictures are copied, before the first and after a stop.

        Args:
            pictures (str): SHA-256 of their list.

        Raises:
            BankError: If some were copied of another list.
        """
        if self.shards and self.pictures not in ('', pictures):
            raise BankError(
                f'The bank in {self.path} was stopped as it copied the '
                'pictures of init_bank, and there are others in the folder '
                'now, or of other sizes or classes: some would be left out, '
                f'or be there twice. Restore the folder, or delete {self.path}'
                ' to copy all again.'
            )
        self.pictures = pictures

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
        if write:
            write_file(self.path / targets_name(shard.name), content)
        checksum = hashlib.sha256(content).hexdigest()
        self._note_targets(shard, checksum, write)
        if write:
            self.write_manifest()

    def _as_file(
        self, targets: Dict[str, np.ndarray], count: int
    ) -> memoryview:
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
            if not _all_finite(values):
                kinds = dict(targets='logits', maps='numbers of its maps')
                raise ValueError(
                    'What the teacher says of images of the bank is NaN or '
                    f'Inf: {(~np.isfinite(values)).sum()} of {values.size} '
                    f'{kinds[name]}. Check its checkpoint, and mean and std '
                    'of model.data_preprocessor.'
                )
        return _as_file(targets, dtype)

    def _note_targets(self, shard: Shard, checksum: str, write: bool) -> None:
        if write:
            self._manifest.add(dict(targets=shard.name, sha256=checksum))
        self.targets[shard.name] = checksum

    def keep(self, shards: Sequence[Shard], write: bool) -> None:
        """Drop all shards but these."""
        kept = {*shards}
        dropped = [shard for shard in self.shards if shard not in kept]
        # Where none is left, all are made again.
        first = shards[0].number if shards else 0
        self.dropped = bool(shards) * self.dropped + sum(
            shard.count for shard in dropped if shard.number < first
        )
        self.shards = list(shards)
        self._count_rounds()
        for shard in dropped:
            self.targets.pop(shard.name, None)
        if write and dropped:
            self.write_manifest(anew=True)
            for shard in dropped:
                for name in (shard.name, targets_name(shard.name)):
                    (self.path / name).unlink(missing_ok=True)

    def read(self, shard: Shard) -> Tuple[np.ndarray, np.ndarray]:
        """Images and labels of a shard, checked.

        Args:
            shard (Shard): One of ``shards``.

        Returns:
            tuple[ndarray, ndarray]: (N, C, H, W), uint8, and (N, ), int64.

        Raises:
            BankError: If the file is lost, cut short or altered.
        """
        path, advice = self.path / shard.name, self._advice(shard.name)
        if shard.format == 'raw':
            records = self._read(path, shard, self.dtype, advice)
            self._check_labels(records['label'], shard)
            return records['image'], records['label']
        content, labels, ends = self._read_files(shard)
        images: np.ndarray = np.empty(
            (shard.count, *self.image_shape), np.uint8
        )
        # From the end, where there are no bytes but theirs.
        starts: np.ndarray = len(content) - int(ends[-1]) + np.append(0, ends)
        try:
            for row, image in enumerate(images):
                part = content[starts[row] : starts[row + 1]]
                decode(shard.format, part, image)
        except ValueError as error:
            raise BankError(
                f'Shard {path} holds something else than images: {error}. '
                f'{advice}'
            ) from error
        return images, labels

    def check(self, shard: Shard, with_targets: bool = False) -> None:
        """Read the file of a shard, and decode no image.

        Args:
            shard (Shard): One of ``shards``.
            with_targets (bool): Whether the targets beside it are meant.
                Defaults to False.

        Raises:
            BankError: If the file is lost, cut short or altered.
        """
        if with_targets:
            self.read_targets(shard)
        elif shard.format == 'raw':
            self.read(shard)
        else:
            self._read_files(shard)

    def _advice(self, name: str) -> str:
        # Images of another run, or of a folder, may be all that there are.
        return (
            f'Restore {self.path / name} from a copy, or choose another bank. '
            'Only if this run itself makes the images, you may delete the '
            f'folder {self.path}: they are made again.'
        )

    def _check_labels(self, labels: np.ndarray, shard: Shard) -> None:
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise BankError(
                f'Shard {self.path / shard.name} holds labels {labels.min()}.'
                f'.{labels.max()}, but the bank has classes 0..'
                f'{self.num_classes - 1}. {self._advice(shard.name)}'
            )

    def _read_files(
        self, shard: Shard
    ) -> Tuple[bytes, np.ndarray, np.ndarray]:
        """A shard of images in a common format, with labels and ends."""
        path, advice = self.path / shard.name, self._advice(shard.name)
        # No format makes twice as much of an image, but for a head.
        most = shard.count * (2 * self.dtype.itemsize + 4096)
        content = self._content(path, shard, most, advice)
        try:
            labels, ends = read_index(io.BytesIO(content), shard.count)
        except ValueError as error:
            raise BankError(
                f'Shard {path} holds something else than images: {error}. '
                f'{advice}'
            ) from error
        self._check_labels(labels, shard)
        return content, labels, ends

    def read_targets(self, shard: Shard) -> Dict[str, np.ndarray]:
        """Targets beside a shard, checked.

        Args:
            shard (Shard): One of ``shards``.

        Returns:
            dict[str, ndarray]: What ``target_dtype`` names, of N images.

        Raises:
            BankError: If there are none, or the file is lost, cut short or
                altered.
        """
        self.check_targets(shard)
        path = self.path / targets_name(shard.name)
        advice = (
            f'Restore {path} from a copy, or resume with another '
            'target_views, by which all are computed again.'
        )
        # In the place of the shard's own file.
        beside = shard._replace(sha256=self.targets[shard.name])
        records = self._read(path, beside, self.target_dtype, advice)
        return {name: records[name] for name in records.dtype.names or ()}

    def check_targets(self, shard: Shard) -> None:
        """Raise an error if a shard has none."""
        if shard.name not in self.targets:
            raise BankError(
                f'{len(self.without_targets)} of {len(self.shards)} shards '
                f'of the image bank in {self.path}, such as {shard.name}, '
                'have no targets of a teacher, and the others have. Let '
                'SynthesisHook compute them.'
            )

    def _content(
        self, path: Path, shard: Shard, most: int, advice: str
    ) -> bytes:
        """What a file holds, by its checksum."""
        if own_file(self.path, path.name) is None:
            raise BankError(
                f'Shard {path} of the image bank is lost, or a link that '
                f'leads out of the folder. {advice}'
            )
        content = b''
        if path.stat().st_size <= most + MOST_HEADER:
            # Not to read what cannot be it.
            content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise BankError(
                f'Shard {path} of the image bank was cut short or '
                'altered: its checksum is not that of the '
                f'manifest. {advice}'
            )
        return content

    def _read(
        self, path: Path, shard: Shard, dtype: np.dtype, advice: str
    ) -> np.ndarray:
        """Records of a shard or of its targets."""
        size = shard.count * dtype.itemsize
        content = self._content(path, shard, size, advice)
        try:
            return read_records(content, dtype, shard.count)[0]
        except ValueError as error:
            raise BankError(
                f'Shard {path} holds something else than images: {error}. '
                f'{advice}'
            ) from error

    def room_on_disk(self) -> int:
        """How many images the shards' files can hold, whatever they say."""
        sizes = (
            path.stat().st_size
            for path in (self.path / shard.name for shard in self.shards)
            if path.is_file()
        )
        return sum(sizes) // self.dtype.itemsize

    def image_bytes(self) -> float:
        """Bytes of an image in the shards' files, on average."""
        paths = (self.path / shard.name for shard in self.shards)
        sizes = sum(path.stat().st_size for path in paths if path.is_file())
        return sizes / max(len(self), 1)

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
            if not any(is_own_name(each.name) for each in self.path.iterdir()):
                raise BankError(
                    f'{path} is not the manifest of an image bank, which has '
                    f'a log and shards beside it: if {self.path} is a folder '
                    'of pictures, move that file elsewhere.'
                ) from error
            raise BankError(
                f'The manifest of the image bank, {path}, cannot be used '
                f'({error}). {self._advice(self.manifest_name)}'
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
                self.held_out,
                self.made_from,
                self.pictures,
                self.dropped,
            ),
            anew,
        )
