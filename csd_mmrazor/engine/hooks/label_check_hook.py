# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Optional, Sequence, Set

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...utils.validation import check_labels


class LabelCheckHook(Hook):
    """Stops a validation or test whose labels are no classes of the network.

    It looks at the first batch, and warns once of what may be wrong.
    """

    def __init__(self) -> None:
        self.told: Set[str] = set()

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence[Any]] = None,
        mode: str = 'train',
    ) -> None:
        if mode == 'train' or batch_idx:
            return
        loader = getattr(runner, f'{mode}_loop').dataloader
        doubt = check_labels(loader.dataset, outputs, f'{mode}_dataloader')
        if doubt and doubt not in self.told:
            runner.logger.warning(doubt)
        self.told.add(doubt)
