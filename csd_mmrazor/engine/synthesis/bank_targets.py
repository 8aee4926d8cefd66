# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the teacher says of the images of a bank, kept beside them.

With it student steps need no pass of the teacher (Shen and Xing, ECCV 2022).
It is of exactly the views that the student sees (Beyer et al., CVPR 2022).
"""

import hashlib
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
from mmengine.dist import (
    all_gather_object,
    barrier,
    get_dist_info,
    is_main_process,
)
from mmengine.logging import MMLogger
from torch import Tensor

from ...datasets import ImageBank
from ...datasets.bank_folder import Shard, TargetKind
from ...models.synthesizers import (
    ImageSynthesizer,
    Networks,
    teacher_logits,
)
from ...models.utils import to_float16
from ...utils import derive_seed, seeded
from ...utils.stopping import stop_if_asked


class BankTargets(NamedTuple):
    """Computes the targets of images, the same whenever it does.

    Args:
        networks (Networks): Of which the first teacher is asked, with the
            ``kept_maps`` that ``kind`` says.
        kind (TargetKind): What targets are of.
        augment (nn.Module, optional): What views are drawn by; None for
            images as they are.
        seeds (tuple[int]): The run's seed, and what views are drawn for.
    """

    networks: Networks
    kind: TargetKind
    augment: Any
    seeds: Tuple[int, ...]

    def of(self, images: Tensor, epoch: int, index: int) -> Dict[str, Tensor]:
        """The targets of a round.

        Args:
            images (Tensor): (N, C, H, W), uint8.
            epoch (int): Of the round, with ``index``; views are drawn for it.
            index (int): See ``epoch``.

        Returns:
            dict[str, Tensor]: As of ``BankFolder.target_dtype``.
        """
        if self.augment is None:
            return self._answers(images)
        seed = derive_seed(*self.seeds, epoch + 2, index)
        with seeded(seed, torch.device('cpu')):
            draws = torch.stack(
                [
                    self.augment.draws(len(images))
                    for _ in range(self.kind.views)
                ],
                1,
            )
        answers = [
            self._answers(self.augment.replay(images, each.to(images.device)))
            for each in draws.unbind(1)
        ]
        stacked = {
            name: torch.stack([answer[name] for answer in answers], 1)
            for name in answers[0]
        }
        device = stacked['targets'].device
        return dict(stacked, draws=draws.to(device))

    def _answers(self, images: Tensor) -> Dict[str, Tensor]:
        """What is kept of one pass, without ``draws``."""
        kept_maps = self.networks.kept_maps
        if kept_maps is None:
            return dict(
                targets=to_float16(teacher_logits(self.networks, images))
            )
        targets, maps = [], []
        for part in images.split(256):
            with kept_maps.manager:
                logits_t = teacher_logits(self.networks, part)
            targets.append(to_float16(logits_t))
            maps.append(kept_maps.recorded())
        return dict(targets=torch.cat(targets), maps=torch.cat(maps))


def targets_of(
    model: Any,
    networks: Networks,
    synthesizer: ImageSynthesizer,
    views: int,
    seeds: Tuple[int, ...],
) -> Optional[BankTargets]:
    """The targets that a run keeps, if it keeps any.

    Args:
        model (nn.Module): Its algorithm, not wrapped.
        networks (Networks): The algorithm's.
        synthesizer (ImageSynthesizer): What makes images.
        views (int): ``target_views`` of the hook.
        seeds (tuple[int]): As of :class:`BankTargets`.
    """
    if not (synthesizer.keep_targets or views):
        return None
    augment = model.data_preprocessor.augment if views else None
    checksum = fingerprint(networks.each_teacher[0], model.data_preprocessor)
    kept_maps = networks.kept_maps
    kind = TargetKind(
        checksum,
        views,
        str(augment) if views else '',
        '' if kept_maps is None else str(kept_maps),
        0 if kept_maps is None else kept_maps.size,
    )
    return BankTargets(networks, kind, augment, seeds)


def fingerprint(
    network: nn.Module, preprocessor: Optional[nn.Module] = None
) -> str:
    """SHA-256 of a network's weights and buffers.

    Args:
        network (nn.Module): The network.
        preprocessor (nn.Module, optional): How its inputs are normalised, to
            be a part of it. Defaults to None.
    """
    digest = hashlib.sha256()
    named: Iterable[Tuple[str, Any]] = (
        *network.state_dict().items(),
        *(preprocessor.named_buffers() if preprocessor is not None else ()),
    )
    for name, value in named:
        if not torch.is_tensor(value):  # of get_extra_state()
            digest.update(f'{name} {value!r}'.encode())
            continue
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        plain = value.detach().cpu().contiguous().flatten()
        # NumPy has no bfloat16.
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def complete_targets(bank: ImageBank, targets: Optional[BankTargets]) -> None:
    """Let all shards of a bank have the targets of a run, and no others.

    All processes call it together, and share the work.

    Args:
        bank (ImageBank): Open.
        targets (BankTargets, optional): None for none.
    """
    folder, logger = bank.opened, MMLogger.get_current_instance()
    before, kind = folder.target_kind, targets and targets.kind
    lacking = bank.expect_targets(kind)
    if before is not None and before != kind:
        change = 'are dropped, since this run keeps none'
        if kind is not None:
            changed = [
                name
                for name, old, new in zip(kind._fields, before, kind)
                if old != new and name != 'map_size'
            ]
            change = f'were of another {" and ".join(changed)}: they are '
            change += 'computed again'
        logger.warning(
            f'The targets of the image bank in {folder.path} {change}.'
        )
    if targets is None:
        return
    if lacking:
        number = sum(shard.count for shard in lacking)
        logger.info(f'The targets of {number} images are computed.')
    rank, world_size = get_dist_info()
    for start in range(0, len(lacking), world_size):
        stop_if_asked()
        group = lacking[start : start + world_size]
        made = None
        if rank < len(group):
            made = _of_shard(targets, bank, group[rank])
        for shard, found in zip(group, all_gather_object(made)):
            folder.add_targets(shard, found, is_main_process())
    barrier()  # the main process has written them
    bank.bring_targets()


def _of_shard(
    targets: BankTargets, bank: ImageBank, shard: Shard
) -> Dict[str, np.ndarray]:
    images = torch.from_numpy(bank.opened.read(shard)[0].copy())
    found = targets.of(images, shard.epoch, shard.index)
    return {name: value.cpu().numpy() for name, value in found.items()}
