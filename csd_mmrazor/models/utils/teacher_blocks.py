# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A student that starts from blocks of a deeper teacher of its family.

Residual blocks that map a shape onto itself change their input little, so a
network without some of them is still much like it. Those are left out without
which the map at the end of their container changes least. Answers would say
less: with a third of the blocks they are wrong whatever is left, and yet some
choices learn several times faster than others.
"""

import math
from contextlib import contextmanager, suppress
from itertools import combinations
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import torch
import torch.nn as nn
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from .checkpoints import load_state
from .likeness import BATCH, likeness, log_shares
from .modes import evaluating, renew_modes
from .outputs import logits_of

# Choices of a container that are all tried: ResNet-110 > ResNet-20 has 136.
TRIED = 200
_REFUSED = 'The student cannot start from blocks of its teacher'
_ADVICE = (
    'Build the student by the same class as the teacher, with the same widths '
    'and fewer blocks, or let it start in another way.'
)
# Of logits that are to be the same, relative to the largest.
_TOLERANCE = 1e-3
_Shape = Optional[Tuple[int, ...]]


class Kind(NamedTuple):
    """What has to be alike in two blocks if one is to replace the other."""

    inputs: _Shape  # of a pass; None if the block gets or returns no tensor
    outputs: _Shape
    state: Tuple[Tuple[str, _Shape], ...]  # names and shapes of its weights


class Chain(NamedTuple):
    """A container of blocks of which the student has fewer."""

    name: str  # in both networks
    blocks: Tuple[str, ...]  # the teacher's, by their names in it
    kinds: Tuple[Kind, ...]
    places: Tuple[str, ...]  # the student's, likewise
    wanted: Tuple[Kind, ...]

    def removable(self, kept: Sequence[int]) -> List[int]:
        """Blocks that may be left out next.

        Args:
            kept (sequence[int]): Places of those that are left, in order.

        Returns:
            list[int]: Those without which the student's form can be reached.
        """
        if len(kept) == len(self.wanted):
            return []
        return [
            index
            for index in kept
            if self._can_go(index)
            and self.first_match([i for i in kept if i != index]) is not None
        ]

    def choices(self) -> Iterator[List[int]]:
        """All sets of blocks that make up the student's form, each once."""
        every = range(len(self.blocks))
        for gone in combinations(self.removable(every), self.surplus):
            kept = [index for index in every if index not in gone]
            if self.first_match(kept) == kept:
                yield kept

    def are_few(self, tried: int) -> bool:
        """Whether there are no more than so many sets to try."""
        number = len(self.removable(range(len(self.blocks))))
        return math.comb(number, self.surplus) <= tried

    @property
    def surplus(self) -> int:
        """How many blocks are left out."""
        return len(self.blocks) - len(self.wanted)

    def first_match(self, kept: Sequence[int]) -> Optional[List[int]]:
        """The first blocks that make up the student's form, if any do."""
        found: List[int] = []
        for index in kept:
            if len(found) < len(self.wanted) and (
                self.kinds[index] == self.wanted[len(found)]
            ):
                found.append(index)
            elif not self._can_go(index):
                return None
        return found if len(found) == len(self.wanted) else None

    def _can_go(self, index: int) -> bool:
        """Whether the rest can do without a block.

        The first one turns what comes from before the chain into what the
        others take.
        """
        kind = self.kinds[index]
        keeps_shape = kind.inputs is not None and kind.inputs == kind.outputs
        return index > 0 and keeps_shape

    def full(self, name: str) -> str:
        """Name of a block in the network."""
        return f'{self.name}.{name}' if self.name else name


class BlockChoice(NamedTuple):
    """The blocks that are left, and how the teacher is without the others."""

    kept: Dict[str, List[int]]  # places of blocks by the name of their chain
    # KL(teacher || what is left), mean over images; infinite if NaN
    kl: float
    agreement: float  # share of images for which both decide alike, 0..1


def find_chains(
    teacher: nn.Module, student: nn.Module, inputs: Tensor
) -> List[Chain]:
    """Containers of blocks that the teacher has more of than its student.

    Everything else has to be the same in both: names and shapes of weights
    and buffers, and what is computed of them, which a pass of both on
    ``inputs`` tells.

    Args:
        teacher (nn.Module): A classifier of mmpretrain's kind.
        student (nn.Module): Likewise. Both stay as they are.
        inputs (Tensor): A few images, (N, C, H, W), normalised.

    Raises:
        ValueError: If the student is no such part of the teacher; names the
            first weight that differs.
    """
    names = _longer_containers(teacher, student)
    _check_rest(teacher, student, names)
    if not names:
        raise ValueError(
            f'{_REFUSED}: it has as many of them as its teacher. {_ADVICE}'
        )
    for model in (teacher, student):
        _check_run_once(model, names)
    kinds_t, kinds_s = (
        _kinds(model, names, inputs) for model in (teacher, student)
    )
    chains = []
    for name in names:
        chain = Chain(
            name,
            tuple(kinds_t[name]),
            tuple(kinds_t[name].values()),
            tuple(kinds_s[name]),
            tuple(kinds_s[name].values()),
        )
        if chain.first_match(range(len(chain.blocks))) is None:
            raise ValueError(_no_match(chain))
        chains.append(chain)
    _check_computes_the_same(teacher, student, chains, inputs)
    return chains


def choose_blocks(
    teacher: nn.Module,
    inputs: Tensor,
    chains: Sequence[Chain],
    tried: int = TRIED,
) -> BlockChoice:
    """Choose blocks so that maps at the end of their containers change least.

    The criterion is the squared error of the map that the last block returns,
    with the teacher's own map before the container. Where a container leaves
    no more than ``tried`` choices, all are compared; else one block after
    another is left out, always the one that matters least. No random numbers
    are drawn.

    Args:
        teacher (nn.Module): The network; it stays as it is.
        inputs (Tensor): (N, C, H, W), normalised.
        chains (sequence[Chain]): From :func:`find_chains`.
        tried (int): See above. Defaults to 200.

    Returns:
        BlockChoice: What is left.
    """
    kept = {}
    with evaluating(teacher), torch.no_grad():
        for chain in chains:
            kept[chain.name] = _choose(teacher, inputs, chain, tried)
        expected = log_shares(teacher, inputs)
        with skipped(left_out(teacher, chains, kept)):
            found = log_shares(teacher, inputs)
    kl, agreement = likeness(expected, found)
    return BlockChoice(kept, kl if math.isfinite(kl) else math.inf, agreement)


def count_candidates(chains: Sequence[Chain], tried: int = TRIED) -> int:
    """How many choices :func:`choose_blocks` compares, at most.

    Args:
        chains (sequence[Chain]): From :func:`find_chains`.
        tried (int): As for :func:`choose_blocks`. Defaults to 200.
    """
    count = 0
    for chain in chains:
        if chain.are_few(tried):
            count += sum(1 for _ in chain.choices())
        else:  # with each block that goes there is one less to try
            number = len(chain.removable(range(len(chain.blocks))))
            count += sum(number - gone for gone in range(chain.surplus))
    return count


def _choose(
    teacher: nn.Module, inputs: Tensor, chain: Chain, tried: int
) -> List[int]:
    """Choose the blocks of one container."""
    parts = [_ChainPass(teacher, chain, each) for each in inputs.split(BATCH)]

    def best(choices: Iterable[List[int]]) -> List[int]:
        listed = [*choices]
        errors = sum(part.errors(listed) for part in parts)
        errors = torch.where(errors.isfinite(), errors, math.inf)
        return listed[int(errors.argmin())]

    if chain.are_few(tried):
        return best(chain.choices())
    kept = list(range(len(chain.blocks)))
    for _ in range(chain.surplus):
        kept = best(
            [other for other in kept if other != index]
            for index in chain.removable(kept)
        )
    return kept


class _Reached(Exception):
    """Nothing after the end of a container is needed."""


class _ChainPass:
    """A pass of the teacher up to the end of a container, and others like it.

    Where blocks hand one tensor on, and nothing else, those of a choice are
    called with what the first of them got: nothing before them is computed
    again, nor blocks that the last choice had begun with as well.

    Args:
        teacher (nn.Module): The network, in eval mode.
        chain (Chain): From :func:`find_chains`.
        inputs (Tensor): (N, C, H, W), normalised.
    """

    def __init__(
        self, teacher: nn.Module, chain: Chain, inputs: Tensor
    ) -> None:
        self.teacher, self.chain, self.inputs = teacher, chain, inputs
        self.blocks = [
            teacher.get_submodule(chain.full(name)) for name in chain.blocks
        ]
        self.first: Any = None  # what the first block got
        # What else the blocks got.
        self.others: List[Tuple[Tuple[Any, ...], Dict[str, Any]]] = []
        # Whether blocks have handed a tensor on, and left theirs as it was.
        self.is_plain = True
        self.handed: Any = None
        self.left = 0
        self.version = 0
        handles = [
            each
            for block in self.blocks
            for each in (
                block.register_forward_pre_hook(self._note, with_kwargs=True),
                block.register_forward_hook(self._check),
            )
        ]
        try:
            self.expected = self._run()
        finally:
            for handle in handles:
                handle.remove()
        self.is_plain &= len(self.others) == len(self.blocks)
        self.handed = None

    def _note(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        self.is_plain &= (
            bool(args)
            and torch.is_tensor(args[0])
            and (
                not self.others
                or (args[0] is self.handed and args[0]._version == self.left)
            )
            and not any(map(torch.is_tensor, tree_leaves([args[1:], kwargs])))
        )
        if not self.others and self.is_plain:
            self.first = args[0]
        self.others.append((args[1:], kwargs) if self.is_plain else ((), {}))
        self.version = args[0]._version if self.is_plain else 0

    def _check(self, block: nn.Module, args: Any, output: Any) -> None:
        place = len(self.others) - 1
        self.is_plain &= self.blocks[place : place + 1] == [block]
        if self.is_plain:
            self.is_plain = args[0]._version == self.version
        self.handed, self.left = output, getattr(output, '_version', 0)

    def _run(self) -> Tensor:
        """What the last block returns, float64; of several, the first."""
        found: List[Tensor] = []

        def stop(_: nn.Module, __: Any, output: Any) -> None:
            found.append(tree_leaves(output)[0].double())
            raise _Reached

        handle = self.blocks[-1].register_forward_hook(stop)
        try:
            with suppress(_Reached):
                self.teacher(self.inputs, mode='tensor')
        finally:
            handle.remove()
        return found[0]

    def errors(self, choices: Sequence[List[int]]) -> Tensor:
        """Squared errors of what is left of the container, float64.

        Args:
            choices (sequence[list[int]]): Places of the blocks that are kept.
        """
        errors = self.expected.new_zeros(len(choices))
        done: List[int] = []  # blocks that have run
        made: List[Tensor] = []  # and what they have returned
        for place in sorted(range(len(choices)), key=choices.__getitem__):
            kept = choices[place]
            if not self.is_plain:
                name = self.chain.name
                gone = left_out(self.teacher, [self.chain], {name: kept})
                with skipped(gone):
                    found = self._run()
            else:
                same = 0
                while done[same : same + 1] == kept[same : same + 1] != []:
                    same += 1
                del done[same:], made[same:]
                for index in kept[same:]:
                    args, kwargs = self.others[index]
                    before = made[-1] if made else self.first
                    made.append(self.blocks[index](before, *args, **kwargs))
                    done.append(index)
                found = tree_leaves(made[-1])[0].double()
            errors[place] = (found - self.expected).square().sum()
        return errors


def left_out(
    teacher: nn.Module,
    chains: Sequence[Chain],
    kept: Dict[str, List[int]],
) -> List[nn.Module]:
    """The blocks that are not kept.

    Args:
        teacher (nn.Module): The network.
        chains (sequence[Chain]): From :func:`find_chains`.
        kept (dict[str, list[int]]): As in :class:`BlockChoice`.
    """
    return [
        teacher.get_submodule(chain.full(block))
        for chain in chains
        for index, block in enumerate(chain.blocks)
        if index not in kept[chain.name]
    ]


@contextmanager
def skipped(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Let blocks return what they are given while the context is open."""
    own = [  # an activation may be in several places
        (block, vars(block).get('forward')) for block in dict.fromkeys(blocks)
    ]
    for block, _ in own:
        block.forward = _unchanged
    try:
        yield
    finally:
        for block, forward in own:
            del block.forward
            if forward is not None:
                block.forward = forward


def student_state(
    teacher: nn.Module,
    chains: Sequence[Chain],
    kept: Dict[str, List[int]],
) -> Dict[str, Any]:
    """A state dict for the student, of the teacher's weights and statistics.

    Args:
        teacher (nn.Module): The network.
        chains (sequence[Chain]): From :func:`find_chains`.
        kept (dict[str, list[int]]): As in :class:`BlockChoice`.
    """
    state = dict(teacher.state_dict())
    for chain in chains:
        moved = {}
        for name in chain.blocks:
            prefix = f'{chain.full(name)}.'
            for key in [key for key in state if key.startswith(prefix)]:
                moved[name, key[len(prefix) :]] = state.pop(key)
        names = dict(
            zip((chain.blocks[i] for i in kept[chain.name]), chain.places)
        )
        for (name, key), value in moved.items():
            if name in names:
                state[f'{chain.full(names[name])}.{key}'] = value
    return state


def copy_blocks(
    teacher: nn.Module,
    student: nn.Module,
    chains: Sequence[Chain],
    kept: Dict[str, List[int]],
) -> None:
    """Give a student the teacher's weights without the blocks left out.

    Args:
        teacher (nn.Module): The network.
        student (nn.Module): Gets weights and statistics of BN layers.
        chains (sequence[Chain]): From :func:`find_chains`.
        kept (dict[str, list[int]]): As in :class:`BlockChoice`.
    """
    load_state(student, student_state(teacher, chains, kept))
    renew_modes(student)


def _unchanged(inputs: Any, *_: Any, **__: Any) -> Any:
    return inputs


def _longer_containers(teacher: nn.Module, student: nn.Module) -> List[str]:
    """Names of containers of which the teacher has more than the student."""
    of_teacher, of_student = (
        {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, (nn.Sequential, nn.ModuleList))
        }
        for model in (teacher, student)
    )
    found: List[str] = []
    for name in of_teacher:
        lengths = [
            len(of[name]) for of in (of_teacher, of_student) if name in of
        ]
        is_within = any(not n or name.startswith(f'{n}.') for n in found)
        if len(lengths) < 2 or lengths[0] == lengths[1] or is_within:
            continue
        if lengths[0] < lengths[1]:
            raise ValueError(
                f'{_REFUSED}: {name} has {lengths[0]} in the teacher and '
                f'{lengths[1]} in the student, which can have no more than '
                f'its teacher. {_ADVICE}'
            )
        found.append(name)
    return found


def _check_run_once(model: nn.Module, names: Sequence[str]) -> None:
    """Check that no block with weights is in several places of the chains."""
    places: Dict[nn.Module, str] = {}
    for name in names:
        for key, block in model.get_submodule(name)._modules.items():
            place = f'{name}.{key}'.lstrip('.')
            first = places.setdefault(block, place)
            if first != place and block is not None and block.state_dict():
                raise ValueError(
                    f'{_REFUSED}: {first} and {place} are one block, which '
                    'cannot be left out in one place alone. Let the student '
                    'start in another way.'
                )


def _check_rest(
    teacher: nn.Module, student: nn.Module, names: Sequence[str]
) -> None:
    """Check that what is outside of the chains is the same in both."""
    of_teacher, of_student = (
        _shapes(model, outside=[f'{name}.' if name else '' for name in names])
        for model in (teacher, student)
    )
    differing = _difference(of_teacher, of_student)
    if differing is None:
        return
    key, shapes = differing
    wrapped = ''
    if not of_teacher.keys() & of_student.keys():
        wrapped = (
            ' The two have no name in common: names are compared as they are '
            'in both, so build both in one way, such as by TorchClassifier.'
        )
    raise ValueError(
        f'{_REFUSED}: {key} is {shapes[0]} in the teacher and {shapes[1]} in '
        f'the student.{wrapped} {_ADVICE}'
    )


def _difference(
    of_teacher: Dict[str, _Shape], of_student: Dict[str, _Shape]
) -> Optional[Tuple[str, List[str]]]:
    """The first name whose shapes differ, and what they are, if any does."""
    for key in {**of_student, **of_teacher}:
        shapes = [
            f'of shape {of[key]}' if key in of else 'not there'
            for of in (of_teacher, of_student)
        ]
        if shapes[0] != shapes[1]:
            return key, shapes
    return None


def _shapes(
    model: nn.Module, outside: Sequence[str] = ()
) -> Dict[str, _Shape]:
    """Shapes of weights and buffers by name, but of those outside."""
    return {
        key: tuple(getattr(value, 'shape', ()))
        for key, value in model.state_dict().items()
        if not any(key.startswith(each) for each in outside)
    }


def _kinds(
    model: nn.Module, names: Sequence[str], inputs: Tensor
) -> Dict[str, Dict[str, Kind]]:
    """The blocks of containers in order, by what they are called there."""
    seen: Dict[nn.Module, Tuple[_Shape, _Shape]] = {}

    def see(block: nn.Module, args: Tuple, output: Any) -> None:
        given = args[0] if args else None
        seen[block] = tuple(
            tuple(value.shape) if torch.is_tensor(value) else None
            for value in (given, output)
        )

    containers = {name: model.get_submodule(name) for name in names}
    handles = [
        block.register_forward_hook(see)
        for container in containers.values()
        for block in container.children()
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(inputs, mode='tensor')
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: {
            block: Kind(
                *seen.get(module, (None, None)),
                tuple(_shapes(module).items()),
            )
            for block, module in container.named_children()
        }
        for name, container in containers.items()
    }


def _no_match(chain: Chain) -> str:
    """Say which block of the student no block of the teacher can be."""
    for place, wanted in zip(chain.places, chain.wanted):
        if wanted in chain.kinds:
            continue
        index = min(
            range(len(chain.blocks)),
            key=lambda i: len(set(chain.kinds[i].state) ^ set(wanted.state)),
        )
        like = chain.kinds[index]
        block, place = map(chain.full, (chain.blocks[index], place))
        of_teacher, of_student = dict(like.state), dict(wanted.state)
        differing = _difference(of_teacher, of_student)
        if differing is not None:
            key, shapes = differing
            block, place = f'{block}.{key}', f'{place}.{key}'
        else:
            shapes = [
                f'from {kind.inputs} to {kind.outputs}'
                for kind in (like, wanted)
            ]
        return (
            f'{_REFUSED}: no block of its teacher is like one of its own. '
            f'{block} is {shapes[0]} in the teacher, and {place} is '
            f'{shapes[1]} in the student. {_ADVICE}'
        )
    return (
        f'{_REFUSED}: blocks of {chain.name} cannot be left out of it so that '
        "the student's remain, since some change the shape of what they get, "
        f'or stand in another order. {_ADVICE}'
    )


def _check_computes_the_same(
    teacher: nn.Module,
    student: nn.Module,
    chains: Sequence[Chain],
    inputs: Tensor,
) -> None:
    """Check that equal weights mean the same in both networks.

    Not only with the first blocks that fit: those without the first one that
    may go tell whether settings alternate, as the windows of Swin do.
    """
    for without in (0, 1):
        kept = {}
        for chain in chains:
            every = range(len(chain.blocks))
            gone = chain.removable(every)[:without]
            rest = [index for index in every if index not in gone]
            kept[chain.name] = chain.first_match(rest) or []
        # Weights that have several names are known by one.
        names = {name for name, _ in student.named_parameters()}
        names |= {name for name, _ in student.named_buffers()}
        state = {
            name: value
            for name, value in student_state(teacher, chains, kept).items()
            if name in names
        }
        renew_modes(student)  # of a pass with other weights
        with evaluating(teacher, student), torch.no_grad():
            with skipped(left_out(teacher, chains, kept)):
                expected = logits_of(teacher(inputs, mode='tensor'))
            found = logits_of(
                functional_call(student, state, (inputs,), dict(mode='tensor'))
            )
        renew_modes(student)
        error = (found - expected).abs().max()
        if error > _TOLERANCE * expected.abs().max():
            raise ValueError(
                f'{_REFUSED}: weights have the same names and shapes in both, '
                'but with those of the teacher the student does not compute '
                'what is left of the teacher. Activations, strides, windows '
                f'or other settings without weights differ. {_ADVICE}'
            )
