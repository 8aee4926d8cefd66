# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.distributed as dist
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)
from mmengine.logging import MMLogger
from torch import Tensor

from ...datasets import BankError, ImageBank
from ...datasets.bank_folder import INITIAL, Round, Shard
from ...models.synthesizers import (
    ImageSynthesizer,
    Networks,
    NonFiniteSynthesisError,
    SynthesisBatch,
    count_unrecognised,
)
from ...utils import Progress, derive_seed
from ...utils.run_clock import RunClock
from ...utils.stopping import stop_if_asked
from .bank_targets import BankTargets
from .origins import weights_of
from .persistent_state import (
    import_state,
    load_state,
    save_state,
    shared_state,
)
from .run_bank import loose_rounds

# What seeds are derived for, from the run's.
ROUND, EPOCH, HEAD, PERSISTENT, MEMORY, SAMPLE, TARGETS, FRESH, STEP = range(9)
# How long a process waits for the rounds of others.
PATIENCE = timedelta(hours=6)


@dataclass
class RoundRunner:
    """Makes rounds of synthesis and adds their images to a bank.

    The processes share the rounds. Each writes its own, and waits for the
    others only when it has made all of its share, or, where a round depends
    on those before it, one. Then all read what the others wrote.
    A round has a seed of its own, derived from the run's, so it is the same
    whichever process makes it, and those that are on the disk are not made
    again. One that diverges is tried again with another seed.

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
        made_from (dict[str, Any]): What else rounds depend on, of
            :func:`origins_of`. Defaults to {}.
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
    made_from: Dict[str, Any] = field(default_factory=dict)
    # Of all processes, to wait for each other in.
    group: Any = None
    # Of the images that were made last, those that the first teacher does not
    # recognise, and all of them.
    unrecognised: Tuple[int, int] = (0, 0)

    def resume(self) -> None:
        """Bring back what rounds leave to later ones, if they leave any.

        Raises:
            BankError: If the state beside the bank is lost, damaged, or that
                of another synthesizer.
        """
        if get_dist_info()[1] > 1:
            # Before any round: to connect, all have to be there.
            self.group = dist.new_group(backend='gloo', timeout=PATIENCE)
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
        """Make the rounds of an epoch that the bank never had.

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
        lacking = [i for i in range(total) if not folder.had(epoch, i)]
        # Whichever process makes a round, its shard has the same name.
        numbers = {
            index: folder.next_number + place
            for place, index in enumerate(lacking)
        }
        run = self._made_from(epoch, iters) if lacking else ''
        size, known = world_size, {}
        if self._rounds_are_apart:
            size = len(lacking) if world_size > 1 else 1
            known = numbers
        ready = loose_rounds(self.bank, epoch, known, run)
        to_make = [i for i in lacking if i not in ready]
        progress = Progress(
            what,
            -(-len(to_make) // world_size),
            iters,
            self.progress_interval,
            self.clock,
            'initial' if epoch == INITIAL else 'synthesis',
            later,
        )
        batch, wrong, made_here = None, 0, 0
        for start in range(0, len(lacking), size or 1):
            group = lacking[start : start + size]
            to_make = [i for i in group if i not in ready]
            own: List[Round] = []
            held = {}
            for index in to_make[rank::world_size]:
                made = batch = self._make_round(
                    f'{what}, round {index + 1}/{total}',
                    epoch,
                    index,
                    iters,
                    progress,
                )
                if self.asks_for_classes:
                    made_here += len(made.labels)
                    wrong += self._count_unrecognised(made)
                written, columns = self.bank.write_round(
                    self._columns(made, epoch, index),
                    epoch,
                    index,
                    numbers[index],
                    run,
                )
                own.append(written)
                if len(group) <= world_size:
                    held[written.shard.name] = columns
                progress.end_round()
            gathered = self._gather_patiently(own)
            self._share_state(bool(own), len(group))
            rounds = [ready[index] for index in group if index in ready]
            rounds += [made for each in gathered for made in each]
            rounds.sort(key=lambda made: made.shard.number)
            self.bank.add_rounds(rounds, held)
            for shard, *_ in rounds:
                self._remember_shard(shard)
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

    @property
    def _rounds_are_apart(self) -> bool:
        """Whether rounds of an epoch do not depend on each other."""
        synthesizer = self.synthesizer
        return not (synthesizer.persistent_state() or synthesizer.memory_size)

    def _made_from(self, epoch: int, iters: int) -> str:
        """SHA-256 of what the rounds of an epoch follow from."""
        parts: List[Any] = [
            self.made_from.get(name) for name in ('synthesizer', 'teachers')
        ]
        parts += [self.seed, self.num_classes, epoch, iters]
        parts.append(self.bank.opened.image_shape)
        if epoch != INITIAL:  # which is made without these
            parts.append(self.made_from.get('architecture'))
            parts.append(weights_of(self.networks))
        found = [hashlib.sha256(repr(parts).encode()).hexdigest()]
        broadcast_object_list(found)
        return str(found[0])

    def _gather_patiently(self, own: List[Round]) -> List[List[Round]]:
        """What each process made.

        It is where the fastest wait for the slowest, for hours if need be;
        the default timeouts are of single operations. A process that is lost
        ends the wait at once.
        """
        world_size = get_dist_info()[1]
        if world_size == 1:
            return [own]
        gathered: List[Any] = [None] * world_size
        dist.all_gather_object(gathered, own, group=self.group)
        return gathered

    def _remember(self, images: Tensor, epoch: int, index: int) -> None:
        """Note images of the bank for losses that compare with them."""
        # INITIAL and IMPORTED are negative.
        seed = derive_seed(self.seed, MEMORY, epoch + 2, index)
        self.synthesizer.remember(self.networks, images, seed)

    def _remember_shard(self, shard: Shard) -> None:
        if self.synthesizer.memory_size:
            images = self.bank.opened.read(shard)[0]
            self._remember(
                torch.from_numpy(images.copy()), shard.epoch, shard.index
            )

    def _remember_bank(self) -> None:
        """Note the images that a bank has, as when they were made."""
        folder, left = self.bank.opened, len(self.bank)
        memory = self.synthesizer.memory
        if self.bank.capacity is not None:
            # What is dropped could not be noted again.
            memory.capacity = min(memory.capacity, self.bank.capacity)
        if left >= memory.capacity:
            memory.skip(folder.dropped)
        for shard in folder.shards if self.synthesizer.memory_size else ():
            stop_if_asked()
            left -= shard.count
            if left >= memory.capacity:
                memory.skip(shard.count)
                continue
            self._remember_shard(shard)

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
