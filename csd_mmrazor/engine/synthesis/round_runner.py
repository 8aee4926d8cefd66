# Copyright (c) csd_mmrazor developers. All rights reserved.
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    get_dist_info,
    is_main_process,
)
from mmengine.logging import MMLogger
from torch import Tensor

from ...datasets import BankError, ImageBank
from ...datasets.bank_folder import INITIAL
from ...models.synthesizers import (
    ImageSynthesizer,
    Networks,
    NonFiniteSynthesisError,
    SynthesisBatch,
    count_unrecognised,
)
from ...models.utils import contiguous
from ...utils import Progress, derive_seed
from ...utils.run_clock import RunClock
from .bank_targets import BankTargets
from .persistent_state import (
    import_state,
    load_state,
    save_state,
    shared_state,
)

# What seeds are derived for, from the run's.
ROUND, EPOCH, HEAD, PERSISTENT, MEMORY, SAMPLE, TARGETS = range(7)


@dataclass
class RoundRunner:
    """Makes rounds of synthesis and adds their images to a bank.

    The processes share the rounds; each gets all their images. A round has a
    seed of its own, derived from the run's, so it is the same whichever
    process makes it, and those that the bank has are not made again. One that
    diverges is tried again with another seed.

    Args:
        synthesizer (ImageSynthesizer): How images are made.
        networks (Networks): What they are made for.
        bank (ImageBank): Where they go; open.
        num_classes (int): Classes K to draw from.
        seed (int): The run's, the same on every process.
        max_retries (int): How often a round that diverges is tried again.
            Defaults to 2.
        progress_interval (float): Seconds between two lines of progress.
            Defaults to 10.
        clock (RunClock, optional): Of the whole run. Defaults to None.
        targets (BankTargets, optional): What the teacher says of the images,
            to be kept with them. Defaults to None.
    """

    synthesizer: ImageSynthesizer
    networks: Networks
    bank: ImageBank
    num_classes: int
    seed: int
    max_retries: int = 2
    progress_interval: float = 10
    clock: Optional[RunClock] = None
    targets: Optional[BankTargets] = None
    # Of the images that were made last, those that the first teacher does not
    # recognise, and all of them.
    unrecognised: Tuple[int, int] = (0, 0)

    def resume(self) -> None:
        """Bring back what rounds leave to later ones, if they leave any.

        Raises:
            BankError: If the state beside the bank is lost, damaged, or that
                of another synthesizer.
        """
        self.synthesizer.prepare(
            self.networks, derive_seed(self.seed, PERSISTENT)
        )
        self._remember_bank()
        initial = self.synthesizer.persistent_state()
        if not initial:
            return
        folder = self.bank.opened
        state = load_state(folder, initial)
        if state is None:
            state = import_state(folder, self.bank.init_bank, initial)
        if state is None:
            return
        try:
            self.synthesizer.load_persistent_state(state)
        except (KeyError, RuntimeError) as error:
            raise BankError(
                'The state of the synthesizer beside the image bank in '
                f'{self.bank.opened.path} is that of another generator or '
                f'loss. Resume with the synthesizer of that run. {error}'
            ) from error

    @property
    def asks_for_classes(self) -> bool:
        """Whether images are made for the classes that they are labelled."""
        return self.synthesizer.labels != 'none'

    def make(
        self, what: str, epoch: int, total: int, iters: int, later: int = 0
    ) -> Optional[SynthesisBatch]:
        """Make the rounds of an epoch that the bank lacks.

        Args:
            what (str): Name of it, for the log.
            epoch (int): From 0; ``INITIAL`` for the initial bank, which is
                made without the student.
            total (int): Rounds of all processes together.
            iters (int): Steps of each.
            later (int): Steps of this process in later epochs. Defaults to 0.

        Returns:
            SynthesisBatch | None: The last one that this process made.

        Raises:
            NonFiniteSynthesisError: If a round diverges in every attempt.
        """
        rank, world_size = get_dist_info()
        folder = self.bank.opened
        lacking = [i for i in range(total) if not folder.has(epoch, i)]
        progress = Progress(
            what,
            -(-len(lacking) // world_size),
            iters,
            self.progress_interval,
            self.clock,
            'initial' if epoch == INITIAL else 'synthesis',
            later,
        )
        batch, wrong, made_here = None, 0, 0
        for start in range(0, len(lacking), world_size):
            group = lacking[start : start + world_size]
            made = columns = None
            if rank < len(group):
                made = batch = self._make_round(
                    f'{what}, round {group[rank] + 1}/{total}',
                    epoch,
                    group[rank],
                    iters,
                    progress,
                )
                columns = self._columns(made, epoch, group[rank])
                if self.asks_for_classes:
                    made_here += len(made.labels)
                    wrong += self._count_unrecognised(made)
            self._share_state(made is not None, len(group))
            for index, each in zip(group, self._gathered(columns, iters)):
                images, labels = each.pop('inputs'), each.pop('labels')
                self.bank.append(images, labels, epoch, index, each)
                self._remember(images, epoch, index)
            progress.end_round()
        counts = all_gather_object((wrong, made_here))
        self.unrecognised = (
            sum(count for count, _ in counts),
            sum(count for _, count in counts),
        )
        return batch

    def sample(self, number: int, *keys: int) -> Dict[str, Tensor]:
        """Images of the bank, drawn without replacement.

        Args:
            number (int): How many; fewer if the bank has no more.
            *keys (int): What they are for; they seed the draw.

        Returns:
            dict[str, Tensor]: ``inputs``, uint8, and ``labels``.
        """
        generator = torch.Generator().manual_seed(
            derive_seed(self.seed, *keys)
        )
        chosen = torch.randperm(len(self.bank), generator=generator)[:number]
        return self.bank.__getitems__(chosen.tolist())

    def _make_round(
        self,
        what: str,
        epoch: int,
        index: int,
        iters: int,
        progress: Progress,
    ) -> SynthesisBatch:
        """Make a round, again with another seed if it diverges."""
        for attempt in range(self.max_retries + 1):
            # The seed of the first attempt does not depend on its number.
            keys = (epoch + 1, index, attempt)[: 3 if attempt else 2]
            try:
                return self.synthesizer.synthesize(
                    self.networks,
                    self.num_classes,
                    seed=derive_seed(self.seed, ROUND, *keys),
                    iters=iters,
                    with_student=epoch != INITIAL,
                    on_step=progress.step,
                )
            except NonFiniteSynthesisError as error:
                message = f'{what}: {error}'
            left = self.max_retries - attempt
            if left:
                # An error, since MMEngine shows no less of other processes.
                MMLogger.get_current_instance().error(
                    f'{message} It is tried again with another seed; '
                    f'attempts left: {left}.'
                )
        raise NonFiniteSynthesisError(
            f'{message} All {self.max_retries + 1} attempts failed '
            f'(max_retries={self.max_retries}). The bank keeps its '
            f'{len(self.bank)} images; --resume starts with this round.'
        )

    def _remember(self, images: Tensor, epoch: int, index: int) -> None:
        """Note images of the bank for losses that compare with them."""
        if self.synthesizer.memory_size:
            # INITIAL and IMPORTED are negative.
            seed = derive_seed(self.seed, MEMORY, epoch + 2, index)
            self.synthesizer.remember(self.networks, images, seed)

    def _remember_bank(self) -> None:
        """Note the images that a bank has, as when they were made."""
        folder, left = self.bank.opened, len(self.bank)
        memory = self.synthesizer.memory
        for shard in folder.shards if self.synthesizer.memory_size else ():
            left -= shard.count
            if left >= memory.capacity:
                memory.skip(shard.count)
                continue
            images = torch.from_numpy(folder.read(shard)[0].copy())
            self._remember(images, shard.epoch, shard.index)

    def _share_state(self, took_part: bool, rounds: int) -> None:
        """Agree with the other processes on it, before images are added."""
        state = self.synthesizer.persistent_state()
        if state:
            state = shared_state(state, took_part)
            self.synthesizer.load_persistent_state(state)
            if is_main_process():
                save_state(state, self.bank.opened, rounds)

    def _count_unrecognised(self, batch: SynthesisBatch) -> int:
        """Images that the first teacher takes for another class."""
        if batch.targets is not None:  # what it said of them
            decided = batch.targets.argmax(1)
            return int((decided != batch.labels).sum())
        return count_unrecognised(self.networks, batch.images, batch.labels)

    def _columns(
        self, batch: SynthesisBatch, epoch: int, index: int
    ) -> Dict[str, Tensor]:
        """What a round adds to the bank, by name."""
        columns = dict(inputs=batch.images, labels=batch.labels)
        if self.targets is None:
            return columns
        if batch.targets is not None:
            columns['targets'] = batch.targets
            if batch.maps is not None:
                columns['maps'] = batch.maps
            return columns
        return {**columns, **self.targets.of(batch.images, epoch, index)}

    def _gathered(
        self, columns: Optional[Dict[str, Tensor]], iters: int
    ) -> List[Dict[str, Tensor]]:
        """What the rounds of all processes add, in order of rank.

        NCCL sends memory as it lies, so what is sent has the plain layout.
        """
        if columns is None:  # this process had nothing to make
            device = next(self.networks.teachers.parameters()).device
            columns = {
                name: torch.from_numpy(value).to(device)
                for name, value in self.bank.columns(
                    self.synthesizer.images_of(iters)
                ).items()
            }
        gathered = {
            name: all_gather(contiguous(columns[name]))
            for name in sorted(columns)
        }
        return [dict(zip(gathered, each)) for each in zip(*gathered.values())]
