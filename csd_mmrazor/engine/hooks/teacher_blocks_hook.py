# Copyright (c) csd_mmrazor developers. All rights reserved.
import time
from typing import Any, List, Sequence

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...models.synthesizers import Networks
from ...models.utils import (
    BlockChoice,
    Chain,
    choose_blocks,
    copy_blocks,
    count_candidates,
    find_chains,
)
from ...utils import check_integer
from ..early_images import check_early_images, early_images, example_inputs
from ..run_plan import is_training


@HOOKS.register_module()
class TeacherBlocksHook(Hook):
    """Lets a student start from blocks of a deeper teacher of its family.

    Such a pair has the same names and widths, and the student has fewer
    blocks in containers (``nn.Sequential``, ``nn.ModuleList``) of the same
    name, as ResNet-56 > ResNet-20 or two ViTs. Those blocks are left out of
    the first teacher without which the map after them changes least, on
    synthetic images (see
    :func:`~csd_mmrazor.models.utils.choose_blocks`). Its weights and
    BN statistics are what the student starts from.

    It does so once, when training starts and the initial bank is made. A run
    that resumes from a checkpoint has its student. No random number is drawn,
    and the images are those made before the first epoch, so a run that was
    killed before its first checkpoint chooses the same again. In a distributed
    run the first process chooses for all.

    Args:
        images (int): Images of the bank that are looked at, from all over it.
            Defaults to 256.
    """

    # After SynthesisHook has made the initial bank, before the timer.
    priority = 'ABOVE_NORMAL'
    looks_at_early = True  # images, see open_bank()

    def __init__(self, images: int = 256) -> None:
        check_integer('images of TeacherBlocksHook', images)
        self.images = images
        self.chains: List[Chain] = []
        self.seconds = 0.0  # that the choice took

    def before_run(self, runner: Runner) -> None:
        """Find the blocks, before anything that takes long.

        Raises:
            ValueError: If the student is no such part of the teacher, gets
                its weights in another way, or no images are there to choose
                by.
        """
        if is_training(runner):
            _check_start(runner)
            self.chains = chains_of(runner)

    def before_train(self, runner: Runner) -> None:
        """Choose blocks, and give the student their weights."""
        if runner.iter:
            return
        networks = Networks.from_algorithm(runner.model)
        teacher = networks.each_teacher[0]
        start = time.perf_counter()
        images = early_images(runner, self.images)
        runner.logger.info(
            'The student is to start from blocks of its teacher: up to '
            f'{count_candidates(self.chains)} choices of them are compared on '
            f'{len(images)} images of the bank.'
        )
        found: List[Any] = [None]
        if is_main_process():
            device = next(teacher.parameters()).device
            inputs = networks.normalize(images.to(device))
            found = [choose_blocks(teacher, inputs, self.chains)]
        broadcast_object_list(found)
        choice: BlockChoice = found[0]
        copy_blocks(teacher, networks.student, self.chains, choice.kept)
        self.seconds = time.perf_counter() - start
        runner.visualizer.add_scalars(
            {'start/agreement': 100 * choice.agreement}, step=0
        )
        runner.logger.info(
            f'The student starts from blocks of its teacher: '
            f'{describe(self.chains, choice)}. '
            f'On {len(images)} images of the bank, it decides like the '
            f'teacher for {100 * choice.agreement:.1f} %, KL {choice.kl:.3f}; '
            f'{self.seconds:.0f} s.'
        )


def chains_of(runner: Runner) -> List[Chain]:
    """Containers of which the teacher of a run has more than the student.

    Args:
        runner (Runner): Of a run that was built.

    Raises:
        ValueError: If the student is no such part of the teacher.
    """
    networks = Networks.from_algorithm(runner.model)
    return find_chains(
        networks.each_teacher[0],
        networks.student,
        example_inputs(runner, 2),
    )


def describe(chains: Sequence[Chain], choice: BlockChoice) -> str:
    """Which of the teacher's blocks a student starts from.

    Args:
        chains (sequence[Chain]): From :func:`chains_of`.
        choice (BlockChoice): What was chosen.
    """
    parts = []
    for chain in chains:
        kept = [chain.blocks[index] for index in choice.kept[chain.name]]
        parts.append(
            f'{chain.name}: block{"s" * (len(kept) > 1)} {", ".join(kept)} '
            f'({len(kept)} of {len(chain.blocks)})'
        )
    return '; '.join(parts)


def _check_start(runner: Runner) -> None:
    """Check that there are images, and no other weights for the student."""
    model = getattr(runner.model, 'module', runner.model)
    others = {
        'model.student_ckpt': getattr(model, 'student_ckpt', None),
        'load_from': None if runner._resume else runner._load_from,
    }
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f'{name}={value} and TeacherBlocksHook both give the student '
                f'its weights: set {name}=None, or leave the hook out of '
                'custom_hooks.'
            )
    check_early_images(runner, 'TeacherBlocksHook', 'chooses blocks by')
