# Copyright (c) csd_mmrazor developers. All rights reserved.
import time
from pathlib import Path
from typing import Any, List, Tuple

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, save_checkpoint
from mmrazor.registry import HOOKS
from torch import Tensor, nn

from ...models.classifiers import TorchClassifier
from ...models.synthesizers import Networks
from ...models.utils import (
    Likeness,
    Place,
    find_refittable,
    load_state,
    refit,
)
from ...models.utils.refitting import FITTED
from ...utils import check_integer
from ..early_images import check_early_images, early_images, example_inputs
from ..run_plan import is_training


@HOOKS.register_module()
class RefitHook(Hook):
    """Fits what pruning left of a student to its teacher, by least squares.

    Layers that lost inputs and kept their outputs get weights by which they
    return what the first teacher's do, as nearly as that goes, on synthetic
    images; see :func:`~csd_mmrazor.models.utils.refit`. It takes a minute at
    most for a small network, and spares a student that pruning left at chance
    the steps in which it learns hardly anything.

    It does so once, when training starts and the initial bank is made. A run
    that resumes from a checkpoint has its student. No random number is drawn,
    and the images are those made before the first epoch, so a run that was
    killed before its first checkpoint finds the same weights again. In a
    distributed run the first process finds them for all. What was fitted is
    kept in ``networks/student_fitted.pth`` of the work dir.

    Args:
        images (int): Images of the bank that are looked at, from all over it.
            Defaults to 256.
    """

    # After SynthesisHook has made the initial bank, before the timer.
    priority = 'ABOVE_NORMAL'
    looks_at_early = True  # images, see open_bank()

    def __init__(self, images: int = 256) -> None:
        check_integer('images of RefitHook', images)
        self.images = images
        self.places: List[Place] = []

    def before_run(self, runner: Runner) -> None:
        """Find the layers, before anything that takes long.

        Raises:
            ValueError: If no layer lost inputs alone, or no images are there
                to fit it by.
        """
        if is_training(runner):
            check_early_images(runner, 'RefitHook', 'fits layers on')
            self.places = places_of(runner)

    def before_train(self, runner: Runner) -> None:
        """Fit the layers."""
        if runner.iter:
            return
        networks = Networks.from_algorithm(runner.model)
        student = networks.student
        start = time.perf_counter()
        images = early_images(runner, self.images)
        found: List[Any] = [None, None]
        first, last = self.places[0].layer, self.places[-1].layer
        which = f'Layer {first} of the pruned student'
        if len(self.places) > 1:
            which = (
                f'{len(self.places)} layers of the pruned student, from '
                f'{first} to {last},'
            )
        runner.logger.info(
            f'Fitting the pruned student to the teacher, on {len(images)} '
            'images of the bank'
        )
        if is_main_process():
            likeness = fit_student(networks, student, images, self.places)
            state = student.state_dict()
            found = [likeness, {k: v.cpu() for k, v in state.items()}]
        broadcast_object_list(found)
        load_state(student, found[1])
        before, after = found[0]
        if not after.kl < before.kl:
            runner.logger.warning(
                f'RefitHook left the student as it was: its answers on '
                f'{len(images)} images of the bank would become less like '
                f"the teacher's, KL {after.kl:.3f} in place of "
                f'{before.kl:.3f}.'
            )
            return
        file = Path(runner.work_dir, FITTED)
        if is_main_process():
            save_weights(student, file)
        runner.logger.info(
            f'{which} {"were" if len(self.places) > 1 else "was"} fitted to '
            f'the teacher on {len(images)} images of the bank. The student '
            f'decides like the teacher for {100 * after.agreement:.1f} % of '
            f'them (before: {100 * before.agreement:.1f}), KL {after.kl:.3f} '
            f'({before.kl:.3f}); {time.perf_counter() - start:.0f} s. '
            f'Its weights are kept in {file}'
        )


def save_weights(student: nn.Module, file: Path) -> None:
    """Write a network's weights, by the names of its own class."""
    if isinstance(student, TorchClassifier):
        student = student.net
    save_checkpoint(student.state_dict(), str(file))


def fit_student(
    networks: Networks, student: nn.Module, images: Tensor, places: List[Place]
) -> Tuple[Likeness, Likeness]:
    """Fit a student, unless its answers would become less like the teacher's.

    Args:
        networks (Networks): With the teacher.
        student (nn.Module): The pruned one, which is changed.
        images (Tensor): (N, C, H, W), uint8.
        places (list[Place]): Layers of it that can be fitted.

    Returns:
        tuple[Likeness, Likeness]: As of :func:`refit`.
    """
    teacher = networks.each_teacher[0]
    inputs = networks.normalize(images.to(next(teacher.parameters()).device))
    own = {k: v.clone() for k, v in student.state_dict().items()}
    before, after = refit(teacher, student, inputs, places)
    if not after.kl < before.kl:
        load_state(student, own)
    return before, after


def places_of(runner: Runner) -> List[Place]:
    """Layers of the student of a run that can be fitted.

    Args:
        runner (Runner): Of a run that was built.

    Raises:
        ValueError: If there are none.
    """
    networks = Networks.from_algorithm(runner.model)
    places = find_refittable(
        networks.each_teacher[0], networks.student, example_inputs(runner, 2)
    )
    if not places:
        raise ValueError(
            'RefitHook fits plain convolutions and linear layers of a pruned '
            'student that lost inputs and kept all outputs, by their names '
            'in the teacher, but there are none: leave the hook out of '
            'custom_hooks.'
        )
    return places
