# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The image bank of a run: found in its loader, opened in its work dir."""

import hashlib
import uuid
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import Tensor

from ...datasets import BankError, BankFolder, ImageBank
from ...datasets.bank_folder import IMPORTED, INITIAL, Round, Shard
from ...datasets.loose_rounds import read_notes, remove_note, targets_name
from ...utils import note_last, path_below
from ...utils.run_seed import note_seed
from ...utils.threads import in_threads
from .class_names import class_names


def bank_of(runner: Runner) -> ImageBank:
    """The data set that a run is trained on.

    Args:
        runner (Runner): The run.

    Raises:
        TypeError: If it is no image bank.
        ValueError: If it is a finished one (``data_root``), or the loader has
            workers that cannot see it grow.
    """
    loader = runner.train_dataloader
    if not isinstance(loader.dataset, ImageBank):
        raise TypeError(
            'SynthesisHook puts its images into the data set that is trained '
            'on: set train_dataloader.dataset=dict(type="mmrazor.ImageBank")'
            f', but got {type(loader.dataset).__name__}.'
        )
    if loader.dataset.data_root is not None:
        raise ValueError(
            'SynthesisHook starts a bank of its own, so data_root='
            f'{loader.dataset.data_root} of ImageBank would not be used: set '
            'init_bank, which starts with the images of another bank.'
        )
    if loader.num_workers and (
        loader.persistent_workers or loader.dataset.storage == 'device'
    ):
        raise ValueError(
            'Workers of train_dataloader cannot see an image bank grow if '
            'they persist, nor reach one on the device: set num_workers=0 '
            '(images come from memory, in whole batches), but got '
            f'num_workers={loader.num_workers}, persistent_workers='
            f'{loader.persistent_workers}, storage='
            f'"{loader.dataset.storage}".'
        )
    check_device_storage(loader)
    return loader.dataset


def has_images(work_dir: str, bank_dir: str) -> bool:
    """Whether a run has begun to make its bank.

    Args:
        work_dir (str): Of the run.
        bank_dir (str): Folder of the bank, below it.
    """
    path = path_below(work_dir, bank_dir, 'bank_dir of SynthesisHook')
    made = BankFolder.exists(path) and BankFolder(path).shards
    return bool(read_notes(path) or made)


def check_device_storage(loader: Any) -> None:
    """Check that a loader can have images that are on the device.

    Raises:
        ValueError: If it would copy them from the computer's memory.
    """
    if loader.dataset.storage != 'device':
        return
    for name in ('num_workers', 'pin_memory'):
        if getattr(loader, name):
            raise ValueError(
                f'train_dataloader.{name}={getattr(loader, name)} is for '
                "images that are in the computer's memory, but "
                'storage="device" of ImageBank keeps them on the device: '
                'leave one of them out.'
            )


def open_bank(
    runner: Runner,
    bank_dir: str,
    image_shape: Sequence[int],
    num_classes: int,
    with_rounds: bool,
    group: int = 0,
    labeller: Optional[Callable[[Tensor], Tensor]] = None,
    made_from: Optional[Dict[str, Any]] = None,
) -> ImageBank:
    """Open the bank of a run, on all processes, as its checkpoint knew it.

    Args:
        runner (Runner): The run.
        bank_dir (str): Folder of the bank, below the work dir.
        image_shape (sequence[int]): (C, H, W) of the images.
        num_classes (int): Classes K.
        with_rounds (bool): Whether each epoch adds images.
        group (int): As of ``ImageBank.open``. Defaults to 0.
        labeller (callable, optional): Likewise. Defaults to None.
        made_from (dict[str, Any], optional): Likewise, for a run without a
            checkpoint; later, the checkpoint says what differs. Defaults to
            None.

    Raises:
        BankError: If it holds another run's images, lacks some of this one's,
            or is not the same for all processes.
    """
    bank = bank_of(runner)
    path = path_below(runner.work_dir, bank_dir, 'bank_dir of SynthesisHook')
    is_used = has_images(runner.work_dir, bank_dir)
    barrier()  # before the first process writes to it
    if is_used and not runner._resume:
        raise BankError(
            f'{path} holds images of an earlier run. Continue that run '
            'with --resume, choose another --work-dir, start another run '
            'from these images with --cfg-options train_dataloader.'
            f'dataset.init_bank={path}, or delete the folder.'
        )
    randomness = runner.cfg.get('randomness') or {}
    if randomness.get('seed') is None and is_main_process():
        note_seed(runner.work_dir, runner.seed)
    classes = class_names(runner, num_classes)
    origins = None if runner.epoch else made_from
    bank.open(
        path, image_shape, num_classes, classes, group, labeller, origins
    )
    folder = bank.opened
    digests = all_gather_object(folder.digest())
    if len(set(digests)) > 1 or not _is_shared(path):
        raise BankError(
            f'The processes see different image banks in {path}: '
            'the work dir has to be on a disk that all nodes share.'
        )
    shards = [s for s in folder.shards if s.epoch <= runner.epoch]
    lacking = set(range(runner.epoch)) - {s.epoch for s in shards}
    if with_rounds and lacking and not _is_full(bank, shards, runner.epoch):
        raise BankError(
            f'The checkpoint is of epoch {runner.epoch}, but the image '
            f'bank in {path} lacks the images of {len(lacking)} epochs '
            'before it. Resume in the work dir of that run, or put its '
            'bank there. If that run had rounds=0 of SynthesisHook, leave it '
            'at that.'
        )
    # Later epochs are there if an older checkpoint is resumed.
    is_later = len(shards) < len(folder.shards)
    if folder.has_dropped and (
        (is_later and not _is_full(bank, shards, runner.epoch))
        or _lacks_initial(runner, bank, shards)
    ):  # for later images, some that are needed now were dropped
        if runner.epoch or bank.init_bank is not None:
            later = 'resume from a later checkpoint, or ' if is_later else ''
            raise BankError(
                f'The image bank in {path} is ahead of the checkpoint, of '
                f'epoch {runner.epoch}, and has dropped images that are '
                f'needed now for later ones (capacity of ImageBank): {later}'
                'start again in another --work-dir.'
            )
        runner.logger.info(
            f'All images in {path} are made again: some that are needed were '
            'dropped for later ones (capacity of ImageBank).'
        )
        shards = []
    if len(shards) < len(folder.shards) and runner._resume:
        # The last checkpoint has images that are dropped.
        note_last(runner.work_dir, f'epoch_{runner.epoch}.pth')
    bank.keep(shards)
    # Those that are imported may have been just now.
    made = sum(s.count for s in shards if s.epoch != IMPORTED)
    if runner._resume and not runner.epoch and made:
        runner.logger.info(
            f'The {made} images that an earlier start left in {path} are kept.'
        )
    if is_main_process():
        _clean(folder, runner.epoch)
    return bank


def _clean(folder: BankFolder, epoch: int) -> None:
    """Remove what earlier starts left in a bank and nobody will use.

    Args:
        folder (BankFolder): As the run goes on with it.
        epoch (int): That the run goes on with.
    """
    noted = []
    for made in read_notes(folder.path):
        if folder.has(made.shard.epoch, made.shard.index):
            remove_note(folder.path, made.shard)
        elif made.shard.epoch in (INITIAL, epoch):
            noted.append(made)
        else:
            folder.forget(made)
    swept = folder.sweep(noted)
    if swept:
        MMLogger.get_current_instance().info(
            f'{len(swept)} files in {folder.path} that no round has, such as '
            f'{swept[0]}, were removed: runs that were killed left them.'
        )


def loose_rounds(
    bank: ImageBank, epoch: int, numbers: Dict[int, int], run: str
) -> Dict[int, Round]:
    """What earlier processes made and the manifest does not have yet.

    Those of the epoch that cannot be used are removed, which a warning says:
    they were made from something else, such as another seed, or by more
    processes than there are now.

    Args:
        bank (ImageBank): Open.
        epoch (int): Of the rounds.
        numbers (dict[int, int]): Of the shards that are to be, by the index
            of the round.
        run (str): SHA-256 of what rounds are made from now.

    Returns:
        dict[int, Round]: By index, the same on every process.
    """
    folder = bank.opened
    found: List[Any] = [None]
    if is_main_process():
        usable, reasons = [], Counter[str]()
        for made in read_notes(folder.path):
            index = made.shard.index
            if made.shard.epoch != epoch or folder.has(epoch, index):
                continue
            if numbers.get(index) != made.shard.number:
                reason = 'no process has such a round to make now'
            elif made.run != run:
                reason = (
                    'their seed, student, teacher or synthesizer is not that '
                    'of this run'
                )
            elif made.kind != folder.target_kind:
                reason = 'they have other targets of the teacher'
            else:
                usable.append(made)
                continue
            reasons[reason] += 1
            folder.forget(made)
        for reason, count in reasons.items():
            MMLogger.get_current_instance().warning(
                f'Rounds in {folder.path} that an earlier start had made and '
                f'not added yet, which are left out: {count}. The reason: '
                f'{reason}.'
            )
        found = [usable]
    broadcast_object_list(found)
    rounds: List[Round] = found[0]
    if not rounds:
        return {}
    # They may be all of the initial bank: each process reads a part.
    rank, world_size = get_dist_info()
    whole: Dict[int, Round] = {}
    faults = in_threads(partial(_fault, folder), rounds[rank::world_size])
    for first, messages in enumerate(all_gather_object([*faults])):
        for made, message in zip(rounds[first::world_size], messages):
            if not message:
                whole[made.shard.index] = made
            elif is_main_process():
                MMLogger.get_current_instance().warning(
                    f'{message} It is not in the manifest yet: the round is '
                    'made again.'
                )
                remove_note(folder.path, made.shard)
    return whole


def _fault(folder: BankFolder, made: Round) -> str:
    """What is wrong with the files of a round; empty if nothing is."""
    try:
        folder.check(made.shard)
        if made.targets:
            content = folder.path / targets_name(made.shard.name)
            found = hashlib.sha256(content.read_bytes()).hexdigest()
            if found != made.targets:
                return f'{content} was altered.'
    except (BankError, OSError) as error:
        return str(error)
    return ''


def _is_shared(path: Path) -> bool:
    """Whether all processes see what the first one writes in a folder."""
    if get_dist_info()[1] == 1:
        return True
    name: List[Any] = [None]
    if is_main_process():
        path.mkdir(parents=True, exist_ok=True)
        # Swept away with what a killed writer left.
        name = [f'.shared.{uuid.uuid4().int}.tmp']
        (path / name[0]).touch()
    broadcast_object_list(name)
    seen = all_gather_object((path / name[0]).exists())
    if is_main_process():
        (path / name[0]).unlink()
    return all(seen)


def _lacks_initial(
    runner: Runner, bank: ImageBank, shards: Sequence[Shard]
) -> bool:
    """Whether a hook looks at images that the first epoch's took the place of.

    It has to find those that it would have found before them.
    """
    hooks = runner.hooks
    if runner.iter or not any(getattr(h, 'looks_at_early', 0) for h in hooks):
        return False
    early = sum(shard.count for shard in shards if shard.epoch <= INITIAL)
    has_rounds = any(shard.epoch > INITIAL for shard in shards)
    # Where so many are left, the others went before that epoch.
    is_whole = bank.capacity is not None and early >= bank.capacity
    return has_rounds and not is_whole


def _is_full(bank: ImageBank, shards: Sequence[Shard], epoch: int) -> bool:
    """Whether older images than these would have been dropped."""
    if not shards or shards[-1].epoch < epoch - 1:
        return False
    if bank.opened.has_dropped and [*shards] == bank.opened.shards:
        return True  # whatever the capacity was
    return (
        bank.capacity is not None
        and sum(shard.count for shard in shards) >= bank.capacity
    )
