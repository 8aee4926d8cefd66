# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What frozen networks show of images: run once a step, asked for by name.

To give the losses of synthesis a new quantity, add one :func:`quantity` to
:class:`Observation`; a loss gets it by naming an argument after it.
"""

from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import torch
import torch.nn as nn
from mmrazor.models.distillers import ConfigurableDistiller
from torch import Tensor

from ..pretext_tasks import draw_views, joint_labels
from ..utils import (
    BNStatistics,
    CollectedStatistics,
    attached,
    bn_layers,
    drawn,
    evaluating,
    fast_frozen_bn,
    frozen,
    full_precision,
    layer_means,
    layer_tokens,
    logits_of,
    record_labels,
    token_layers,
)
from .compiled import CompiledNetworks
from .networks import Networks

# Images of one pass whose features are noted.
_AT_ONCE = 256


class Quantity(cached_property):  # type: ignore[type-arg]  # Python 3.9
    """A value of an observation, computed when it is first asked for.

    Args:
        function (Callable): Computes it of the observation.
        of_student (bool): Whether it looks at the student; the initial bank
            is made without. Defaults to False.
        of_layers (bool): Whether it looks at the inputs of a teacher's BN
            layers; there can be one teacher only. Defaults to False.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        of_student: bool = False,
        of_layers: bool = False,
    ) -> None:
        super().__init__(function)
        self.of_student = of_student
        self.of_layers = of_layers


def quantity(**kind: bool) -> Callable[..., Any]:
    """Decorator that makes a method a :class:`Quantity`."""
    return lambda function: Quantity(function, **kind)


class OfTeacher(NamedTuple):
    """What one pass of a teacher shows.

    A term that asks for any of it is the mean over the teachers.
    """

    logits_t: Tensor  # (N, K), float32
    bn_statistics: Sequence[BNStatistics]  # one a BN layer that runs
    # (N, L, D), one a layer that normalises each image by itself
    tokens: Sequence[Tensor] = ()


class Observation:
    """What the networks show of the images of one step.

    Args:
        observer (Observer): What runs the networks.
        images (Tensor): Raw, in [0, 1], (N, C, H, W).
        latent (Tensor): What they were generated from, (N, latent_dim).
        labels (Tensor, optional): Classes that were asked for, (N, ). None
            takes those that the first teacher decides on.
    """

    def __init__(
        self,
        observer: 'Observer',
        images: Tensor,
        latent: Tensor,
        labels: Optional[Tensor],
    ) -> None:
        self._observer = observer
        self._given = images, latent, labels

    @quantity()
    def images(self) -> Tensor:
        """Raw images in [0, 1], (N, C, H, W)."""
        return self._given[0]

    @quantity()
    def latent(self) -> Tensor:
        """What they were generated from, (N, latent_dim)."""
        return self._given[1]

    @quantity()
    def labels(self) -> Tensor:
        """Classes that were asked for, or decided on, (N, )."""
        if self._given[2] is not None:
            return self._given[2]
        return self.of_teachers[0].logits_t.detach().argmax(1)

    @cached_property
    def seen(self) -> Tensor:
        """Augmented images in [0, 1], as the networks see them."""
        return _augmented(self._observer.augment, self.images)

    @quantity()
    def inputs(self) -> Tensor:
        """Augmented and normalised images, (N, C, H, W)."""
        return self._observer.networks.normalize(self.seen)

    @quantity()
    def plain_inputs(self) -> Tensor:
        """Normalised images that are not augmented, (N, C, H, W)."""
        return self._observer.networks.normalize(self.images)

    @cached_property
    def _teacher_pass(self) -> Tuple[List[OfTeacher], List[Tensor]]:
        return self._observer.run_teachers(self.inputs)

    @property
    def of_teachers(self) -> List[OfTeacher]:
        """What each teacher shows of the inputs."""
        return self._teacher_pass[0]

    @quantity(of_layers=True)
    def features_t(self) -> Tensor:
        """Means over pixels at all BN layers of the teacher, (N, D)."""
        return torch.cat(self._teacher_pass[1], 1)

    @quantity(of_layers=True)
    def view_features_t(self) -> Tensor:
        """The same for ``view_augment`` of the images, (N, D)."""
        return self._observer.features(self._observer.view_inputs(self.images))

    @cached_property
    def _memory(self) -> Tuple[Tensor, ...]:
        # Others in each step.
        draw = partial(self._observer.draw_memory, self.images.device)
        return drawn(lambda: (draw(),))[0].chunk(2, 1)

    @quantity(of_layers=True)
    def memory_features_t(self) -> Tensor:
        """The same for M images of the bank, sampled again, (M, D)."""
        return self._memory[0]

    @quantity(of_layers=True)
    def memory_view_features_t(self) -> Tensor:
        """The same for ``view_augment`` of those, (M, D)."""
        return self._memory[1]

    @quantity(of_student=True)
    def logits_s(self) -> Tensor:
        """The student's logits, (N, K), float32."""
        return self._observer.run_student(self.inputs, self.labels)

    @cached_property
    def _drawn(self) -> Optional[Tensor]:
        """Which views the auxiliary head sees, (N, V); None for all T."""
        return self._observer.draw_views(self.images)

    @quantity(of_student=True)
    def aux_logits(self) -> Tensor:
        """The auxiliary head's logits of views, (N*V, K*T), float32.

        V is ``views_per_image``, or the number T of all views.
        """
        return self._observer.networks.aux_logits(self.inputs, self._drawn)

    @quantity(of_student=True)
    def joint_labels(self) -> Tensor:
        """The joint labels of the same views, (N*V, )."""
        num_views = self._observer.networks.aux_head.task.num_views
        return joint_labels(self.labels, num_views, self._drawn)


QUANTITIES: Dict[str, Quantity] = {
    name: value
    for name, value in vars(Observation).items()
    if isinstance(value, Quantity)
}
# What the arguments of a loss of synthesis can be named after.
NAMES = (*QUANTITIES, *OfTeacher._fields)
OF_STUDENT = {name for name, q in QUANTITIES.items() if q.of_student}
OF_LAYERS = {name for name, q in QUANTITIES.items() if q.of_layers}
# What hooks on a teacher's layers see, which compiled networks cannot show.
BY_HOOKS = OF_LAYERS | {'tokens'}


class Observer:
    """Runs the networks of a round; see :func:`observing`, which opens it.

    Args:
        networks (Networks): Frozen.
        distiller (ConfigurableDistiller): Attached to them.
        augment (nn.Module, optional): Between images and inputs.
        view_augment (nn.Module, optional): The same for the second view.
        statistics (sequence[CollectedStatistics]): What each teacher's BN
            layers collect.
        means (list[Tensor]): What the first teacher's BN layers are given.
        tokens (sequence[list[Tensor]]): What each teacher's other norm
            layers are given, as tokens.
        draw_memory (Callable): Features of both views of images of the bank,
            (M, 2 * D), of a device.
        views_per_image (int, optional): How many views of each image the
            auxiliary head sees, drawn at random; None for all.
    """

    def __init__(
        self,
        networks: Networks,
        distiller: ConfigurableDistiller,
        augment: Optional[nn.Module],
        view_augment: Optional[nn.Module],
        statistics: Sequence[CollectedStatistics],
        means: List[Tensor],
        tokens: Sequence[List[Tensor]],
        draw_memory: Callable[[torch.device], Tensor],
        views_per_image: Optional[int],
    ) -> None:
        self.networks = networks
        self.distiller = distiller
        self.augment = augment
        self.view_augment = view_augment
        self.statistics = statistics
        self.means = means
        self.tokens = tokens
        self.draw_memory = draw_memory
        self.views_per_image = views_per_image

    def observe(
        self, images: Tensor, latent: Tensor, labels: Optional[Tensor]
    ) -> Observation:
        """What the networks show of images; see :class:`Observation`."""
        return Observation(self, images, latent, labels)

    def draw_views(self, images: Tensor) -> Optional[Tensor]:
        """Views of each image for the auxiliary head, (N, V), if not all."""
        if self.views_per_image is None:
            return None
        draw = partial(
            draw_views,
            len(images),
            self.networks.aux_head.task.num_views,
            self.views_per_image,
            images.device,
        )
        return drawn(lambda: (draw(),))[0]

    def inputs(self, images: Tensor) -> Tensor:
        """What the networks see of images."""
        return _inputs(self.networks, self.augment, images)

    def view_inputs(self, images: Tensor) -> Tensor:
        """What they see as the second view."""
        return _inputs(self.networks, self.view_augment, images)

    def run_teachers(
        self, inputs: Tensor
    ) -> Tuple[List[OfTeacher], List[Tensor]]:
        """One pass of each teacher, to which the distiller listens.

        Returns:
            tuple[list[OfTeacher], list[Tensor]]: What each shows, and means
            over pixels at the BN layers of the first, if any loss asks.
        """
        self.means.clear()
        found = []
        with ExitStack() as stack:
            stack.enter_context(self.distiller.teacher_recorders)
            if self.networks.kept_maps is not None:
                stack.enter_context(self.networks.kept_maps.manager)
            for teacher, collected, tokens in zip(
                self.networks.each_teacher, self.statistics, self.tokens
            ):
                collected.clear()
                tokens.clear()
                logits_t = logits_of(teacher(inputs, mode='tensor'))
                found.append(
                    OfTeacher(
                        full_precision(logits_t), list(collected), list(tokens)
                    )
                )
        return found, list(self.means)

    def run_student(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """One pass of the student, to which the distiller listens."""
        recorders = self.distiller.student_recorders
        with recorders:
            logits_s = full_precision(
                logits_of(self.networks.student(inputs, mode='tensor'))
            )
            record_labels(recorders, self.networks.student, logits_s, labels)
        return logits_s

    def features(self, inputs: Tensor) -> Tensor:
        """Means over pixels at the first teacher's BN layers, (N, D)."""
        self.means.clear()
        self.networks.each_teacher[0](inputs, mode='tensor')
        return torch.cat(self.means, 1)

    @torch.no_grad()
    def both_features(self, images: Tensor) -> Tensor:
        """Features of both views of images, (N, 2 * D).

        Args:
            images (Tensor): (N, C, H, W), uint8 or in [0, 1].
        """
        views = (self.inputs, self.view_inputs)
        return torch.cat(
            [
                torch.cat([self.features(view(part)) for view in views], 1)
                # A shard may have more than fit into memory.
                for part in images.split(_AT_ONCE)
            ]
        )


def _no_memory(device: torch.device) -> Tensor:
    return torch.zeros(0, 2, device=device)


@contextmanager
def observing(
    networks: Networks,
    distiller: ConfigurableDistiller,
    needs: Set[str],
    augment: Optional[nn.Module] = None,
    view_augment: Optional[nn.Module] = None,
    draw_memory: Callable[[torch.device], Tensor] = _no_memory,
    compiled: Optional[CompiledNetworks] = None,
    views_per_image: Optional[int] = None,
) -> Iterator[Observer]:
    """Open an observer for a round, and leave nothing behind.

    Networks are frozen and in eval mode, BN layers run the fast way, and the
    distiller's recorders listen, until the context closes.

    Args:
        networks (Networks): What looks at the images.
        distiller (ConfigurableDistiller): Its recorders.
        needs (set[str]): Names of :data:`NAMES` that losses ask for.
        augment (nn.Module, optional): Between images and inputs. Defaults to
            None.
        view_augment (nn.Module, optional): The same for the second view.
            Defaults to None.
        draw_memory (Callable): See :class:`Observer`. Defaults to none.
        compiled (CompiledNetworks, optional): Copies that run in place of
            the networks. Defaults to None.
        views_per_image (int, optional): See :class:`Observer`. Defaults to
            None.

    Yields:
        Observer: What runs them.
    """
    with ExitStack() as stack:
        stack.enter_context(frozen(*networks.modules, distiller))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(
            attached(distiller, networks.student, networks.teachers)
        )
        if compiled is not None:
            networks, statistics = compiled.follow(networks)
        else:
            stack.enter_context(fast_frozen_bn(networks.student))
            statistics = [
                stack.enter_context(
                    fast_frozen_bn(teacher, 'bn_statistics' in needs)
                )
                for teacher in networks.each_teacher
            ]
        means = []
        if needs & OF_LAYERS:
            means = stack.enter_context(layer_means(networks.each_teacher[0]))
        tokens: List[List[Tensor]] = [[] for _ in networks.each_teacher]
        if 'tokens' in needs:
            tokens = [
                stack.enter_context(layer_tokens(teacher))
                for teacher in networks.each_teacher
            ]
        observer = Observer(
            networks,
            distiller,
            augment,
            view_augment,
            statistics,
            means,
            tokens,
            draw_memory,
            views_per_image,
        )
        yield observer


def bn_widths(networks: Networks, generator: Any) -> List[int]:
    """Channels of the BN layers that run in a teacher's pass, in order.

    Those of auxiliary heads do not.

    Args:
        networks (Networks): Of which the first teacher is asked.
        generator (nn.Module): Makes the images of that pass.

    Returns:
        list[int]: One a layer.
    """
    teacher = networks.each_teacher[0]
    means = _seen(teacher, networks, generator, layer_means)
    return [mean.shape[1] for mean in means]


def has_bn(networks: Networks, generator: Any) -> bool:
    """Whether BN layers run in a pass of a teacher.

    Args:
        networks (Networks): Of which all teachers are asked.
        generator (nn.Module): Makes the images of that pass.
    """
    teachers = networks.each_teacher
    if not any(map(bn_layers, teachers)):
        return False
    try:
        return any(
            bn_widths(networks._replace(teachers=teacher), generator)
            for teacher in teachers
        )
    except Exception:  # who checks the networks says what does not fit
        return True


def without_tokens(networks: Networks, generator: Any) -> List[str]:
    """Teachers in whose pass no layer is given tokens of an image.

    They have no such layer, or have it behind the pooling alone.

    Args:
        networks (Networks): Of which all teachers are asked.
        generator (nn.Module): Makes the images of that pass.

    Returns:
        list[str]: What messages call them.
    """
    found = []
    for role, teacher in networks.by_role.items():
        if role == 'the student':
            continue
        tokens: Sequence[Any] = token_layers(teacher)
        if tokens:
            # Who checks the networks says what does not fit.
            with suppress(Exception):
                tokens = _seen(teacher, networks, generator, layer_tokens)
        if not tokens:
            found.append(role)
    return found


def _seen(
    teacher: nn.Module,
    networks: Networks,
    generator: Any,
    listen: Callable[[nn.Module], Any],
) -> List[Tensor]:
    """What a context collects in a pass of a teacher on two images."""
    device = next(teacher.parameters()).device
    generator.to(device)
    with (
        evaluating(teacher, generator),
        torch.no_grad(),
        listen(teacher) as seen,
    ):
        latent = torch.zeros(2, generator.latent_dim, device=device)
        teacher(networks.normalize(generator(latent, 2)), mode='tensor')
    return list(seen)


def _inputs(
    networks: Networks, augment: Optional[nn.Module], images: Tensor
) -> Tensor:
    return networks.normalize(_augmented(augment, images))


def _augmented(augment: Optional[nn.Module], images: Tensor) -> Tensor:
    return images if augment is None else augment(images)
