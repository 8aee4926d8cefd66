# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import time
from numbers import Real
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)
from mmengine.logging import print_log
from mmrazor.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from ..utils import check_integer
from ..utils.arguments import check_value, fits
from ..utils.stopping import stop_if_asked
from ..utils.threads import in_threads
from .bank_folder import (
    IMPORTED,
    BankError,
    BankFolder,
    Round,
    Shard,
    TargetKind,
)
from .held_out import HeldOut
from .image_codec import ImageCodec
from .image_folder import digest_of_files
from .image_store import DiskStore, MemoryStore, shards_held
from .init_pictures import init_pictures, read_init_picture
from .loose_rounds import targets_name, write_note
from .verification import is_noted, note_verified, verify_together

GIB = 2**30
# Of ``read_ahead``: more than threads can use, each batch in memory.
MOST_AHEAD = 256
SHARD_SIZE = 1000  # images a shard when a folder of images is imported


@DATASETS.register_module()
class ImageBank(Dataset[Dict[str, Tensor]]):
    """All images synthesised so far, with their labels.

    It grows: ``SynthesisHook`` opens it in the work dir and appends a batch a
    round. Batches come out whole: ``__getitems__``, torch's batched fetch,
    returns one uint8 tensor for a list of indices, which
    ``BankDataPreprocessor`` augments and normalises on the device. Use it
    with ``BankSampler``, ``collate_fn=dict(type='bank_collate')`` and
    ``num_workers=0``.

    Args:
        data_root (str, optional): A finished bank to train on as it is.
            None waits for :meth:`open`. Defaults to None.
        init_bank (str, optional): Images to start with: another run's bank,
            or a folder of images in ImageFolder layout. They are copied.
            Defaults to None.
        init_labels (str): Where the labels of a folder of images come from:
            'folders', one of each class, or 'teacher', whose classes the
            images need not be of. Then the names of folders, at any depth,
            mean nothing. Defaults to 'folders'.
        link_init_bank (bool): Whether the files of another bank are linked
            to, not copied (hard links). Defaults to False.
        storage (str): Where images are kept for training: 'host' memory,
            'device' memory, or 'disk', from where threads read the batches
            ahead. Defaults to 'host'.
        memory_limit (float): GiB of images above which 'host' and 'device'
            become 'disk'. Defaults to 8.
        capacity (int, optional): Older images are dropped as long as at least
            so many newer ones are left. Defaults to None, none are.
        image_format (str): How new images are written to disk: 'raw', 'png',
            which keeps them as they are, or 'jpeg' or 'webp', which change
            them. Those that are there are read whatever they are. Defaults to
            'raw'.
        quality (int, optional): Of 'jpeg' and 'webp', 1..100. Defaults to
            None, 95.
        read_ahead (int): Batches that 'disk' reads ahead, at most 256.
            Defaults to 8.
        verify (str): What 'disk' compares with its checksum as it is opened:
            'new' files, which were not before or are not the same files with
            the same size and times of change, or 'all'. Memory takes in
            nothing that was not compared. Defaults to 'new'.
        held_out (float): Share of each round, 0 to less than 1, that the
            sampler never draws, so that no student is trained on it: images
            to measure it by. It cannot be changed later. What ``init_bank``
            holds out of its images stays so, whatever this is. Defaults to 0.
        metainfo (dict, optional): As in other datasets. Defaults to None.

    Raises:
        BankError: If ``data_root`` is damaged, or its classes are others than
            in ``metainfo``.
        ValueError: If an argument makes no sense.
        FileNotFoundError: If ``init_bank`` does not exist.
    """

    def __init__(
        self,
        data_root: Optional[str] = None,
        init_bank: Optional[str] = None,
        storage: str = 'host',
        memory_limit: float = 8,
        capacity: Optional[int] = None,
        metainfo: Optional[Dict[str, Any]] = None,
        link_init_bank: bool = False,
        image_format: str = 'raw',
        quality: Optional[int] = None,
        read_ahead: int = 8,
        verify: str = 'new',
        held_out: float = 0,
        init_labels: str = 'folders',
    ) -> None:
        self.codec = ImageCodec(image_format, quality)
        self.codec.check()
        check_integer('read_ahead of ImageBank', read_ahead, 0)
        if read_ahead > MOST_AHEAD:
            raise ValueError(
                f'read_ahead of ImageBank should be at most {MOST_AHEAD} '
                f'batches, which all lie in memory, but got {read_ahead}.'
            )
        if verify not in ('new', 'all'):
            raise ValueError(
                'verify of ImageBank should be "new" or "all" files, but got '
                f'{verify!r}.'
            )
        if not fits(held_out, float) or not 0 <= held_out < 1:
            raise ValueError(
                'held_out of ImageBank should be a share of the images, 0 to '
                f'less than 1, such as 0.1, but got {held_out!r}.'
            )
        if capacity is not None:
            check_integer('capacity of ImageBank', capacity)
        self.capacity = capacity
        if storage not in ('host', 'device', 'disk'):
            raise ValueError(
                'storage of ImageBank should be "host", "device" '
                f'or "disk", but got {storage!r}.'
            )
        is_number = isinstance(memory_limit, Real)
        if (
            isinstance(memory_limit, bool)
            or not is_number
            or (not memory_limit > 0)
        ):
            raise ValueError(
                'memory_limit of ImageBank should be a number of '
                f'GiB above 0, but got {memory_limit!r}.'
            )
        check_value('link_init_bank of ImageBank', link_init_bank, (bool,))
        for name, value in dict(
            data_root=data_root, init_bank=init_bank
        ).items():
            if value is not None and (
                not isinstance(value, (str, Path)) or not str(value)
            ):
                raise ValueError(
                    f'{name} of ImageBank should be the path of a folder, but '
                    f'got {value!r}.'
                )
        if init_bank is not None and not Path(init_bank).is_dir():
            raise FileNotFoundError(
                f'init_bank={init_bank} of ImageBank is not a folder: give a '
                'bank (the folder with manifest.json, work_dirs/*/bank) or a '
                'folder of images in ImageFolder layout.'
            )
        if data_root is not None and init_bank is not None:
            raise ValueError(
                'ImageBank takes data_root (a finished bank to '
                'train on) or init_bank (images to start a new '
                'one with), not both.'
            )
        if link_init_bank and (
            init_bank is None or not BankFolder.exists(init_bank)
        ):
            raise ValueError(
                f'link_init_bank=True of ImageBank, but init_bank={init_bank} '
                'is not the bank of another run (a folder with '
                f'{BankFolder.manifest_name}): give one, or leave it out.'
            )
        if init_labels not in ('folders', 'teacher'):
            raise ValueError(
                'init_labels of ImageBank should be "folders" or "teacher", '
                f'but got {init_labels!r}.'
            )
        if init_labels == 'teacher' and (
            init_bank is None or BankFolder.exists(init_bank)
        ):
            raise ValueError(
                'init_labels="teacher" of ImageBank is for images in '
                f'init_bank that have no labels, but init_bank={init_bank}'
                + (' is a bank, which has them.' if init_bank else '.')
            )
        self.data_root = data_root
        self.init_bank = init_bank
        self.init_labels = init_labels
        self.link_init_bank = link_init_bank
        self.read_ahead = read_ahead
        self.verify = verify
        self.storage = storage
        self.memory_limit = memory_limit * GIB
        self.metainfo = dict(metainfo or {})
        self.held_out_share = float(held_out)
        self.held_out: Optional[HeldOut] = None
        # Of shards, by what they follow from.
        self._masks: Dict[Tuple[str, int, Optional[HeldOut]], np.ndarray] = {}
        self.folder: Optional[BankFolder] = None
        self._store: Union[DiskStore, MemoryStore]
        # Whether batches bring targets of a teacher.
        self.with_targets = False
        if data_root is not None:
            self.folder = BankFolder(data_root)
            self.held_out = self.folder.held_out  # which stays so
            if self.held_out_share:
                self._hold_out(self.held_out.group if self.held_out else 0)
                self.folder.hold_out(self.held_out)
            self._verify()
            self._load()
            names = self.metainfo.get('classes')
            if isinstance(names, (list, tuple)):
                # Says so if they are others.
                BankFolder(data_root, classes=[*map(str, names)])
            if self.folder.classes:
                self.metainfo.setdefault('classes', (*self.folder.classes,))

    def open(
        self,
        path: Union[str, Path],
        image_shape: Sequence[int],
        num_classes: int,
        classes: Optional[Sequence[str]] = None,
        group: int = 0,
        labeller: Optional[Callable[[Tensor], Tensor]] = None,
        made_from: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Open the bank in a folder, or start one there.

        A new one starts with the images of ``init_bank``.

        Args:
            path (str | Path): The folder.
            image_shape (sequence[int]): (C, H, W).
            num_classes (int): Labels are 0..num_classes-1.
            classes (sequence[str], optional): Their names. Defaults to None,
                those of the bank, if it has any.
            group (int): Images that a round optimises and keeps at several
                steps, as of ``HeldOut``. Defaults to 0, images are single.
            labeller (callable, optional): Gives the labels, (N, ), of images,
                (N, C, H, W), uint8, for ``init_labels='teacher'``. Defaults
                to None.
            made_from (dict[str, Any], optional): As of
                :meth:`BankFolder.bind`. Defaults to None, which binds to
                nothing.

        Raises:
            BankError: If what is there is damaged or of another kind.
        """
        self.folder = BankFolder(
            path, image_shape, num_classes, classes, self.codec
        )
        barrier()  # all have read the manifest that the first one writes next
        self._hold_out(group)
        self.folder.hold_out(self.held_out)
        if made_from is not None:
            self.folder.bind(made_from)
        self._verify()
        self._load()
        if self.init_bank is not None:
            before = list(self.folder.shards)
            try:
                if BankFolder.exists(self.init_bank):
                    self._adopt(self.init_bank)
                else:
                    self._import(self.init_bank, labeller)
            except Exception:
                self.keep(before)  # a part of them is no bank
                raise
        if self.folder.classes:
            self.metainfo['classes'] = tuple(self.folder.classes)

    def __len__(self) -> int:
        return 0 if self.folder is None else self._store.length

    def __getitem__(self, index: int) -> Dict[str, Tensor]:
        batch = self.__getitems__([index])
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices: List[int]) -> Dict[str, Tensor]:
        """A whole batch.

        Args:
            indices (list[int]): N of 0..len-1.

        Returns:
            dict[str, Tensor]: ``inputs``, (N, C, H, W), uint8, and
            ``labels``, (N, ), int64. After :meth:`bring_targets` also
            ``targets``, a teacher's logits, float16: (N, K) of the images as
            they are, or (N, V, K) of V views of each, with ``draws``, (N, V,
            3), uint8, which say what views these are; and ``maps``, its last
            feature maps of the same images or views, if they are kept.
        """
        return self._store.take(indices)

    def labels(self) -> np.ndarray:
        """All labels, (len, ), int64."""
        return self._store.labels()

    def _hold_out(self, group: int) -> None:
        if self.held_out_share:
            self.held_out = HeldOut(self.held_out_share, group)

    def places(self, held_out: bool) -> np.ndarray:
        """Which images are held out from training, or are not.

        Args:
            held_out (bool): Which of them.

        Returns:
            ndarray: Indices of 0..len-1, ascending.
        """
        if not self.holds_out:
            return np.arange(0 if held_out else len(self))
        masks: List[np.ndarray] = [np.zeros(0, bool)]
        for shard in self.opened.shards:
            key = shard.sha256, shard.count, shard.held_out or self.held_out
            if key not in self._masks:
                rule = key[2] or HeldOut(0)
                self._masks[key] = rule.mask(shard.count, shard.sha256)
            masks.append(self._masks[key])
        return np.flatnonzero(np.concatenate(masks) == held_out)

    @property
    def holds_out(self) -> bool:
        """Whether images are held out: its own, or some it has imported."""
        shards = [] if self.folder is None else self.folder.shards
        return bool(self.held_out) or any(s.held_out for s in shards)

    def append(
        self,
        images: Union[Tensor, np.ndarray],
        labels: Union[Tensor, np.ndarray],
        epoch: int,
        index: int,
        targets: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Add a round, on disk and in memory.

        In a distributed run every process calls this with the same images;
        the main one writes.

        Args:
            images (Tensor | ndarray): (N, C, H, W), uint8.
            labels (Tensor | ndarray): (N, ).
            epoch (int): The epoch that asked for it, or INITIAL.
            index (int): Its place among the rounds of that epoch.
            targets (dict[str, Tensor | ndarray], optional): What a teacher
                says of the images, as of :meth:`BankFolder.add_targets`.
                Defaults to None.
        """
        images, labels = _array(images), _array(labels)
        beside = {k: _array(v) for k, v in (targets or {}).items()}
        if self.with_targets and not beside:
            raise ValueError(
                'The batches of this ImageBank bring targets of a teacher, '
                'but these images have none.'
            )
        made = self.opened.write_round(
            images,
            labels,
            epoch,
            index,
            beside or None,
            None,
            is_main_process(),
        )
        barrier()  # the main process has written it
        kept = self.codec.as_kept(images)
        held = {made.shard.name: dict(beside, inputs=kept, labels=labels)}
        self.add_rounds([made], held)

    def write_round(
        self,
        columns: Dict[str, Tensor],
        epoch: int,
        index: int,
        number: int,
        run: str,
    ) -> Tuple[Round, Dict[str, np.ndarray]]:
        """Write a round that this process alone has, for :meth:`add_rounds`.

        Args:
            columns (dict[str, Tensor]): ``inputs``, (N, C, H, W), uint8,
                ``labels``, (N, ), and targets, if batches bring any.
            epoch (int): The epoch that asked for it, or INITIAL.
            index (int): Its place among the rounds of that epoch.
            number (int): Of its shard.
            run (str): SHA-256 of what it was made from.

        Returns:
            tuple[Round, dict[str, ndarray]]: Its files, and the columns.
        """
        held = {name: _array(value) for name, value in columns.items()}
        targets = dict(held)
        images, labels = targets.pop('inputs'), targets.pop('labels')
        made = self.opened.write_round(
            images, labels, epoch, index, targets or None, number
        )
        made = made._replace(run=run)
        write_note(self.opened.path, made)
        held['inputs'] = self.codec.as_kept(images)
        return made, held

    def add_rounds(
        self,
        rounds: Sequence[Round],
        held: Optional[Dict[str, Dict[str, np.ndarray]]] = None,
    ) -> None:
        """Add rounds whose files are there, to the manifest and in memory.

        All processes call this together; the main one writes the manifest.

        Args:
            rounds (sequence[Round]): In the order of their shards.
            held (dict[str, dict], optional): What this process has of them
                in memory, by the name of the shard; the others are read.
        """
        held = held or {}
        for made in rounds:
            if made.shard.name not in held or isinstance(
                self._store, DiskStore
            ):
                _await(self.opened.path / made.shard.name)
                if made.targets:
                    _await(self.opened.path / targets_name(made.shard.name))
        self.opened.add_rounds(rounds, is_main_process())
        dropped = self._drop_old()
        kept = {*self.opened.shards}
        added = [made.shard for made in rounds if made.shard in kept]
        if isinstance(self._store, DiskStore) and not dropped:
            for shard in added:
                self._add_file(shard)
        elif isinstance(self._store, DiskStore) or self._exceeds(
            len(self.opened)
        ):
            self._load()
        else:
            self._store.drop(dropped)
            for shard in added:
                self._store.add(held.get(shard.name) or self._read(shard))

    def _drop_old(self) -> int:
        """Drop the oldest rounds that are not needed, on disk.

        Returns:
            int: How many images they had.
        """
        shards, length = self.opened.shards, len(self.opened)
        first = 0
        while (
            self.capacity is not None
            and length - shards[first].count >= self.capacity
        ):
            length -= shards[first].count
            first += 1
        if first:
            barrier()  # the main process has written the newest
            self.opened.keep(shards[first:], is_main_process())
        return sum(shard.count for shard in shards[:first])

    def keep(self, shards: Sequence[Shard]) -> None:
        """Drop all shards but these, on disk and in memory."""
        if list(shards) != self.opened.shards:
            self.opened.keep(shards, is_main_process())
            self._load()

    def expect_targets(self, kind: Optional[TargetKind]) -> List[Shard]:
        """Say what targets batches are to bring; others are dropped.

        Args:
            kind (TargetKind, optional): None for none at all.

        Returns:
            list[Shard]: Those that lack them.
        """
        if self.with_targets:
            self.with_targets = False
            self._load()
        self.opened.expect_targets(kind, is_main_process())
        return self.opened.without_targets if kind is not None else []

    def bring_targets(self) -> None:
        """Let batches bring the targets that all shards have by now."""
        self.with_targets = True
        self._verify()  # what is read from disk with them alone
        self._load()

    def reserve(self, length: int) -> None:
        """Make room in memory for that many images, or all that fit.

        Where more are added than there is room for, all are copied, and the
        memory has to hold them twice meanwhile.
        """
        self._store.reserve(int(min(length, self._most_in_memory)))

    def expect(self, order: Sequence[int], whole_shards: int) -> None:
        """Say in what order images are taken next, so that they are there.

        Args:
            order (sequence[int]): Of the images of one epoch.
            whole_shards (int): As ``buffer_shards`` of ``BankSampler``.
        """
        if self.folder is not None:
            self._store.expect(order, whole_shards)

    def check_buffer(
        self, buffer_shards: int, counts: Sequence[int], image: float
    ) -> None:
        """Check that the shards that a sampler mixes fit into memory.

        Args:
            buffer_shards (int): As of ``BankSampler``.
            counts (sequence[int]): Images of each shard that the bank has at
                a time.
            image (float): Bytes of an image with its label and targets, as
                they are on disk.

        Raises:
            ValueError: If they exceed ``memory_limit``; says what fits.
        """
        # Of the largest ones.
        sizes = np.cumsum([0, *sorted(counts, reverse=True)]) * image / GIB

        def held(buffer: int) -> float:
            return float(sizes[: shards_held(buffer) + 1][-1])

        limit = self.memory_limit / GIB
        # What is no larger than the bank: one that fits stays in memory.
        if not buffer_shards or held(buffer_shards) <= limit:
            return
        buffers = range(min(buffer_shards, len(counts)))
        fitting = (each for each in buffers if held(each) <= limit)
        most = max(fitting, default=0)  # 0 reads each image by itself
        raise ValueError(
            f'buffer_shards={buffer_shards} of BankSampler holds up to '
            f'{min(shards_held(buffer_shards), len(counts))} shards in memory '
            f'at a time, which take {held(buffer_shards):.3g} GiB, but '
            f'memory_limit of ImageBank is {limit:g} GiB: set buffer_shards '
            f'to {most}{" or less" * bool(most)}, or raise memory_limit.'
        )

    def _verify(self) -> None:
        """Check what training reads image by image. All processes share it."""
        if not self._is_on_disk:
            return  # all is read, and checked then
        verify_together(self.opened, self.verify == 'all')
        if is_main_process():
            note_verified(self.opened)

    @property
    def _is_on_disk(self) -> bool:
        return self.storage == 'disk' or self._exceeds(len(self.opened))

    def _load(self) -> None:
        """Bring what is on disk to where it is kept for training."""
        if self._is_on_disk:
            if self.storage != 'disk':
                print_log(
                    f'{len(self.opened)} images exceed the memory_limit of '
                    f'ImageBank, {self.memory_limit / GIB:g} GiB: from now on '
                    'they are read from disk.',
                    logger='current',
                    level=logging.WARNING,
                )
            self._store = DiskStore(self.columns(0), self.read_ahead)
            for shard in self.opened.shards:
                self._add_file(shard)
            return
        device = get_device() if self.storage == 'device' else 'cpu'
        most = self._most_in_memory
        if self.capacity is not None:  # all that are left, but for a round
            most = min(most, self.capacity)
        self._store = MemoryStore(self.columns(0), device, most)
        self._store.reserve(min(len(self.opened), self.opened.room_on_disk()))
        for columns in in_threads(self._read, self.opened.shards):
            self._store.add(columns)

    def _add_file(self, shard: Shard) -> None:
        files = [self.opened.file_of(shard)]
        if self.with_targets:
            self.opened.check_targets(shard)
            files.append(self.opened.file_of(shard, with_targets=True))
        assert isinstance(self._store, DiskStore)
        self._store.add(files)

    def _read(self, shard: Shard) -> Dict[str, np.ndarray]:
        """What a shard adds to memory."""
        images, labels = self.opened.read(shard)
        columns = dict(inputs=images, labels=labels)
        if self.with_targets:
            columns.update(self.opened.read_targets(shard))
        return columns

    def columns(self, length: int) -> Dict[str, np.ndarray]:
        """Black images, with all that belongs to them, by name."""
        columns = dict(
            inputs=np.zeros((length, *self.opened.image_shape), np.uint8),
            labels=np.zeros(length, np.int64),
        )
        if self.with_targets:
            records = np.zeros(length, self.opened.target_dtype)
            for name in records.dtype.names or ():
                columns[name] = np.ascontiguousarray(records[name])
        return columns

    @property
    def opened(self) -> BankFolder:
        """The images on disk.

        Raises:
            BankError: If there are none yet.
        """
        if self.folder is None:
            raise BankError(
                'This ImageBank is not open: give it a data_root, or let '
                'SynthesisHook open it in the work dir.'
            )
        return self.folder

    def _exceeds(self, length: int) -> bool:
        return length > self._most_in_memory

    @property
    def _most_in_memory(self) -> float:
        """How many images ``memory_limit`` has room for."""
        size = int(np.prod(self.opened.image_shape))
        if self.with_targets:
            size += self.opened.target_dtype.itemsize
        return self.memory_limit / size

    def _adopt(self, root: str) -> None:
        """Take over the shards of another bank, and targets if all have."""
        source = BankFolder(
            root,
            self.opened.image_shape,
            self.opened.num_classes,
            self.opened.classes,
        )
        if not source.shards:
            raise BankError(f'init_bank={root} is empty.')
        self.opened.classes = list(source.classes)
        # All of it joins at once; what a capacity dropped stays dropped.
        made = self.opened.shards
        if any(shard.epoch == IMPORTED for shard in made) or (
            made and (self.capacity is not None or self.opened.has_dropped)
        ):
            return
        if self.link_init_bank:
            verify_together(source, self.verify == 'all')
        if not source.without_targets and not self.opened.shards:
            self.opened.expect_targets(source.target_kind, is_main_process())
        rank, world_size = get_dist_info()
        share, fault = slice(rank, None, world_size), ''
        try:
            self.opened.bring(source, self.link_init_bank, share)
        except BankError as error:
            fault = str(error)
        for message in all_gather_object(fault):
            if message:
                raise BankError(message)
        self.opened.adopt(source, is_main_process())
        barrier()  # the main process has written the manifest
        if not self.link_init_bank:
            self._verify()
        elif is_main_process() and self._is_on_disk:
            note_verified(self.opened)
        if is_main_process() and self.link_init_bank and is_noted(source):
            note_verified(source)  # links are a change of its files
        self._drop_old()
        self._load()

    def _import(
        self, root: str, labeller: Optional[Callable[[Tensor], Tensor]]
    ) -> None:
        """Copy a folder of images."""
        if any(shard.epoch != IMPORTED for shard in self.opened.shards):
            return  # it was complete, and a capacity may have dropped some
        opened = self.opened
        samples = init_pictures(
            root, opened.num_classes, opened.classes, self.init_labels
        )
        self.opened.start_with(digest_of_files(root, samples))
        for index, (images, labels) in enumerate(self._imported(samples)):
            if not self.opened.had(IMPORTED, index):
                if self.init_labels == 'teacher':
                    assert labeller is not None, 'there is no teacher to ask'
                    # As they are trained on.
                    kept = torch.from_numpy(self.codec.as_kept(images))
                    found = [_array(labeller(kept))]
                    broadcast_object_list(found)  # all have the same
                    labels = found[0].astype(np.int64)
                self.append(images, labels, IMPORTED, index)

    def _imported(
        self, samples: Sequence[Tuple[Path, int]]
    ) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Batches of pictures: images and labels."""
        for start in range(0, len(samples), SHARD_SIZE):
            stop_if_asked()
            images, labels = [], []
            for path, label in samples[start : start + SHARD_SIZE]:
                images.append(read_init_picture(path, self.opened.image_shape))
                labels.append(label)
            yield (
                np.stack(images).transpose(0, 3, 1, 2).copy(),
                np.array(labels, np.int64),
            )


def _await(path: Path, seconds: int = 60) -> None:
    """Wait for a file of another node, which network disks may show late."""
    for _ in range(seconds):
        if path.exists():
            return
        time.sleep(1)


def _array(values: Union[Tensor, np.ndarray]) -> np.ndarray:
    return values.cpu().numpy() if torch.is_tensor(values) else values
