# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from contextlib import ExitStack
from functools import partial
from inspect import Parameter, signature
from typing import (
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import seeded
from ..augments import joint_labels
from ..utils import (
    attached,
    check_mappings,
    check_recorders,
    check_statistics,
    check_weights,
    distill_losses,
    evaluating,
    frozen,
    frozen_bn,
    full_precision,
    layer_means,
    logits_of,
    record_labels,
    reset_weights,
    set_memory_format,
)
from .compiled import CompiledNetworks
from .networks import Networks

# What the arguments of a synthesis loss can be named after.
OF_IMAGES = {'images', 'inputs', 'latent', 'labels'}
OF_TEACHER = {'logits_t', 'bn_statistics'}
OF_VIEWS = {'features_t', 'view_features_t'}
OF_MEMORY = {'memory_features_t', 'memory_view_features_t'}
OF_LAYERS = OF_VIEWS | OF_MEMORY
OF_STUDENT = {'logits_s', 'aux_logits', 'joint_labels'}


# Loss scale under float16, so that small gradients of the images survive.
# Adam forgets it, and an overflow is caught like any other.
FLOAT16_SCALE = 1024


class SynthesisBatch(NamedTuple):
    """What a round of synthesis makes."""

    images: Tensor  # (N, C, H, W), uint8, on the networks' device
    labels: Tensor  # (N, ), int64
    terms: Dict[str, float]  # loss terms of the step that was kept
    step: int  # the step that was kept


class NonFiniteSynthesisError(FloatingPointError):
    """A loss term of a round of synthesis became infinite or not a number."""


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] to the nearest of 256 levels."""
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


class _BestStep:
    """The step of lowest loss so far.

    All of it stays on the device until the round ends: no step waits for its
    loss.
    """

    def __init__(self, device: torch.device, iters: int) -> None:
        self.iters = iters
        self.loss = torch.full((), float('inf'), device=device)
        self.step = torch.full((), -1, device=device)
        self.images = self.values = self.first_bad = self.names = None

    @torch.no_grad()
    def update(
        self,
        step: int,
        loss: Tensor,
        images: Tensor,
        terms: Dict[str, Tensor],
    ) -> None:
        values = torch.stack([term.float() for term in terms.values()])
        if self.images is None:
            self.images, self.values, self.names = images, values, [*terms]
            # The step in which each term was first not finite.
            self.first_bad = torch.full_like(values, self.iters)
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.step = torch.where(better, step, self.step)
        self.values = torch.where(better, values, self.values)
        self.images = torch.where(better, images, self.images)
        self.first_bad = torch.where(
            values.isfinite(), self.first_bad, self.first_bad.clamp(max=step)
        )

    def batch(self, labels: Tensor) -> SynthesisBatch:
        first_bad = self.first_bad.int().tolist()
        if min(first_bad) < self.iters:
            names = [
                name
                for name, step in zip(self.names, first_bad)
                if step == min(first_bad)
            ]
            raise NonFiniteSynthesisError(
                f'{", ".join(names)} of the synthesis became infinite or not '
                f'a number in step {min(first_bad)} of {self.iters}. Lower '
                "the learning rate of the synthesizer's optimizer or the "
                'weight of that term.'
            )
        return SynthesisBatch(
            to_uint8(self.images),
            labels,
            dict(zip(self.names, self.values.tolist())),
            self.step.item(),
        )


@MODELS.register_module()
class ImageSynthesizer(nn.Module):
    """Inverts teachers into a batch of images: the inner loop.

    A round draws classes and latents, draws the generator's weights anew and
    optimises weights and latents together. The images of the step with the
    lowest total loss are kept, before augmentation (CSD section 3.1; authors'
    code, CSDSynthesizer.synthesize). Student, teachers and auxiliary head are
    frozen meanwhile; no hook and no gradient stays on them, and nothing is
    copied to the host before the round ends.

    Rounds of CSD know nothing of each other. Other methods have weights that
    last: those that ``meta`` starts from, and those of a loss that has any.
    See :meth:`lasting_state`.

    The objective is the sum of ``losses`` and of ``distiller``'s losses. The
    arguments of a loss's ``forward`` say what it gets:

    ================== =====================================================
    ``images``         raw images in [0, 1], (N, C, H, W)
    ``inputs``         augmented and normalised images, (N, C, H, W)
    ``latent``         (N, latent_dim)
    ``labels``         the classes asked for, (N, )
    ``logits_t``       a teacher's logits, (N, K)
    ``bn_statistics``  list[BNStatistics], one a BN layer of the teacher
    ``logits_s``       the student's logits, (N, K)
    ``aux_logits``     the auxiliary head's logits of all views, (N*T, K*T)
    ``joint_labels``   the joint labels of the views, (N*T, )
    ``features_t``     (N, D), means over pixels at all BN layers of a teacher
    ================== =====================================================

    and for ``ContrastiveLoss``, ``view_features_t``, the same for
    ``view_augment`` of the images, and ``memory_features_t`` and
    ``memory_view_features_t``, (M, D), for images of the bank. These four
    take one teacher.

    With several teachers, a term of a teacher is the mean over them.

    Args:
        generator (dict): A generator of MMRazor's kind that returns images in
            [0, 1].
        losses (dict[str, dict]): Loss terms by name. The names contain
            'loss', or else the term is only reported, as in MMRazor.
        distiller (dict, optional): A ``ConfigurableDistiller`` with any of
            MMRazor's losses, recorders and connectors. Defaults to None.
        augment (dict, optional): What is done to images before the networks
            see them, such as ``dict(type='RandomCropFlip')``. Defaults to
            None.
        batch_size (int): Images a round. Defaults to 200 (authors' scripts).
        iters (int): Steps a round. Defaults to 200 (authors' scripts).
        optimizer (dict): Defaults to Adam, lr 1e-3, betas (0.5, 0.999)
            (authors' code).
        amp (str, optional): 'bfloat16' or 'float16' for mixed precision;
            statistics and losses stay in float32. Defaults to None.
        compile (bool): Whether the passes are compiled by ``torch.compile``,
            which takes a minute or two once a run. Defaults to False.
        latent_lr (float, optional): Learning rate of the latents, where it is
            not the optimizer's. Defaults to None.
        meta (dict, optional): A ``MetaGenerator``, whose weights rounds start
            from in place of new ones. Defaults to None.
        view_augment (dict, optional): What makes the second view for losses
            that compare two. Defaults to ``augment``.

    Raises:
        ValueError: If no term is on, or a number makes no sense.
        TypeError: If a loss asks for something that there is not.
    """

    def __init__(
        self,
        generator: Dict,
        losses: Dict[str, Dict],
        distiller: Optional[Dict] = None,
        augment: Optional[Dict] = None,
        batch_size: int = 200,
        iters: int = 200,
        optimizer: Dict = dict(type='Adam', lr=1e-3, betas=(0.5, 0.999)),
        amp: Optional[str] = None,
        compile: bool = False,
        latent_lr: Optional[float] = None,
        meta: Optional[Dict] = None,
        view_augment: Optional[Dict] = None,
    ) -> None:
        super().__init__()
        for name, value in dict(batch_size=batch_size, iters=iters).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'{name} of ImageSynthesizer should be a '
                    f'positive integer, but got {value!r}.'
                )
        if amp not in (None, 'bfloat16', 'float16'):
            raise ValueError(
                'amp of ImageSynthesizer should be None, '
                f'"bfloat16" or "float16", but got {amp!r}.'
            )
        self.generator = MODELS.build(generator)
        self.losses = nn.ModuleDict()
        self.needs: Dict[str, Set[str]] = {}
        for name, cfg in losses.items():
            loss = MODELS.build(cfg)
            if getattr(loss, 'loss_weight', 1) != 0:
                self.losses[name] = loss
                self.needs[name] = _arguments(name, loss)
        self.distiller = MODELS.build(
            distiller or dict(type='ConfigurableDistiller')
        )
        if not isinstance(self.distiller, ConfigurableDistiller):
            raise TypeError(
                'distiller of ImageSynthesizer should be a '
                f'ConfigurableDistiller, but got {type(self.distiller)}.'
            )
        check_mappings(self.distiller)
        names = [*self.losses, *self.distiller.loss_forward_mappings]
        if not any('loss' in name for name in names):
            raise ValueError(
                'ImageSynthesizer has nothing to minimise: every one of '
                f'losses={list(losses)} has weight 0 or a name without '
                '"loss". Give at least one a positive loss_weight.'
            )
        self.augment = MODELS.build(augment) if augment else None
        self.batch_size = batch_size
        self.iters = iters
        self.optimizer = dict(optimizer)
        self.amp = amp
        recorded = [
            *self.distiller.loss_forward_mappings,
            *(n for n in self.losses if self.needs[n] & OF_LAYERS),
        ]
        if compile and recorded:
            raise ValueError(
                'compile=True of ImageSynthesizer does not go with losses '
                f'that record layers, such as {", ".join(recorded)}: set '
                'compile=False, or leave them out.'
            )
        self.compile = compile
        self.compiled: Optional[CompiledNetworks] = None
        self.latent_lr = latent_lr
        self.meta = MODELS.build(meta) if meta else None
        self.view_augment = (
            MODELS.build(view_augment) if view_augment else self.augment
        )
        self.prepared = False
        # Of the first teacher's BN layers, for losses that look at them.
        self.widths: List[int] = []
        set_memory_format(self.generator, *self.losses.values())

    def _apply(self, *args, **kwargs) -> 'ImageSynthesizer':
        """Move or cast the weights, into the format for where they are."""
        super()._apply(*args, **kwargs)
        set_memory_format(self.generator, *self.losses.values())
        return self

    @property
    def memory_size(self) -> int:
        """Images of the bank that the losses want to see."""
        return max(
            (getattr(loss, 'memory_size', 0) for loss in self.losses.values()),
            default=0,
        )

    def prepare(self, networks: Networks, seed: Optional[int] = None) -> None:
        """Draw what lasts from round to round, once.

        Args:
            networks (Networks): What images are to be synthesised for.
            seed (int, optional): The same on every process. Defaults to None,
                torch's state.
        """
        if self.prepared:
            return
        device = next(networks.teachers.parameters()).device
        needs = set().union(*self.needs.values())
        if needs & OF_LAYERS or any(
            hasattr(loss, 'prepare') for loss in self.losses.values()
        ):
            self.widths = self._bn_widths(networks)
        with seeded(seed, device):
            for name, loss in self.losses.items():
                if hasattr(loss, 'prepare'):
                    self._check_single_teacher(name, networks)
                    loss.prepare(self.widths)
            self.to(device)
            if self.meta is not None:
                self.meta.prepare(self.generator)
        self.prepared = True

    def lasting_state(self) -> Dict[str, Tensor]:
        """What rounds leave to later ones, by name; empty for most methods.

        Only a synthesizer that is prepared has it.
        """
        state = {
            f'losses.{name}': value.detach()
            for name, value in self.losses.state_dict().items()
        }
        if self.meta is not None:
            state.update(
                {f'meta.{k}': v for k, v in self.meta.state().items()}
            )
        return state

    def load_lasting_state(self, state: Dict[str, Tensor]) -> None:
        """Take over what :meth:`lasting_state` returned."""
        parts: Dict[str, Dict] = dict(losses={}, meta={})
        for name, value in state.items():
            part, key = name.split('.', 1)
            parts[part][key] = value
        self.losses.load_state_dict(parts['losses'])
        if self.meta is not None:
            self.meta.load_state(parts['meta'])

    def _check_single_teacher(self, name: str, networks: Networks) -> None:
        if len(networks.each_teacher) > 1:
            raise ValueError(
                f'{name} ({type(self.losses[name]).__name__}) of '
                'ImageSynthesizer takes one teacher, but there are '
                f'{len(networks.each_teacher)}.'
            )

    def _bn_widths(self, networks: Networks) -> List[int]:
        """Channels of the BN layers that run in a teacher's pass, in order.

        Those of auxiliary heads do not.
        """
        teacher = networks.each_teacher[0]
        device = next(teacher.parameters()).device
        self.generator.to(device)
        with (
            evaluating(teacher, self.generator),
            torch.no_grad(),
            layer_means(teacher) as means,
        ):
            latent = torch.zeros(2, self.generator.latent_dim, device=device)
            images = self.generator(latent, 2)
            teacher(networks.normalize(images), mode='tensor')
        return [mean.shape[1] for mean in means]

    def check(
        self, networks: Networks, with_student: bool = True
    ) -> Tuple[int, Tuple[int, ...]]:
        """Check that the parts fit each other, with one pass of two images.

        Args:
            networks (Networks): What images are to be synthesised for.
            with_student (bool): False checks as well that there are terms
                for the initial bank. Defaults to True.

        Returns:
            tuple[int, tuple[int]]: The number of classes and the images'
            shape (C, H, W).

        Raises:
            ValueError: If a term asks for a part that the networks lack, the
                networks do not take the generator's images, their numbers of
                classes differ, or a weight or statistic of a network is one
                that no training leaves.
        """
        self._active(with_student)
        needs = set().union(*self.needs.values())
        of_bn = needs & {'bn_statistics', *OF_LAYERS}
        if (
            needs & {'aux_logits', 'joint_labels'}
            and networks.aux_head is None
        ):
            raise ValueError(
                'A loss of ImageSynthesizer needs the auxiliary head, and the '
                'algorithm has none: set model.aux_head, or the loss_weight '
                'of CSDLoss (losses.loss_csd in the configs) to 0.'
            )
        for role, model in networks.by_role.items():
            check_weights(model, role)
        check_recorders(self.distiller.student_recorders, networks.student)
        check_recorders(self.distiller.teacher_recorders, networks.teachers)
        with frozen(*networks.modules, self.generator), torch.no_grad():
            device = next(networks.teachers.parameters()).device
            self.generator.to(device)
            images = self.generator(None, 2)
            lowest, highest = images.min().item(), images.max().item()
            # Adapters round when they clip.
            if not -1e-3 <= lowest <= highest <= 1 + 1e-3:
                raise ValueError(
                    'generator of ImageSynthesizer should make images in '
                    f'[0, 1], but {type(self.generator).__name__} made values '
                    f'from {lowest:.3g} to {highest:.3g}: wrap it in '
                    'dict(type="GeneratorAdapter", to="images", mean=..., '
                    "std=...) if they are networks' inputs."
                )
            inputs = networks.normalize(images)
            classes = {}
            for index, model in enumerate(
                [*networks.each_teacher, networks.student]
            ):
                role = (
                    'student'
                    if index == len(networks.each_teacher)
                    else f'teacher {index}'
                )
                try:
                    with layer_means(model) as means:
                        output = model(inputs, mode='tensor')
                except Exception as error:
                    raise ValueError(
                        f'the {role} ({type(model).__name__}) does not take '
                        f"the generator's images of shape "
                        f'{tuple(inputs.shape[1:])}: {error}'
                    ) from error
                if of_bn and not means and role != 'student':
                    raise ValueError(
                        f'{role} ({type(model).__name__}) has no BN '
                        'layer with running statistics, so its images cannot '
                        'be matched to them: set loss_weight=0 of '
                        'BNStatisticsLoss (losses.loss_bn in the configs) and '
                        'of any other loss that looks at BN layers.'
                    )
                try:
                    classes[role] = logits_of(output).shape[1]
                except TypeError as error:
                    raise ValueError(
                        f'the {role} ({type(model).__name__}): {error}'
                    ) from error
            for role, model in networks.by_role.items():
                new = check_statistics(model, inputs, role)
                if of_bn and new and model is not networks.student:
                    print_log(
                        f'{role} ({type(model).__name__}) was never trained: '
                        f'{len(new)} of its BN layers ({", ".join(new[:3])}) '
                        'have the statistics of a new layer, mean 0 and '
                        'variance 1, which images will be matched to.',
                        'current',
                        logging.WARNING,
                    )
        if len(set(classes.values())) > 1:
            raise ValueError(
                'teachers and student should tell the same '
                f'number of classes, but got {classes}.'
            )
        if classes['student'] < 2:
            raise ValueError(
                'teachers and student should tell 2 classes or more, but got '
                f'{classes}: set head.num_classes.'
            )
        return classes['student'], tuple(inputs.shape[1:])

    def synthesize(
        self,
        networks: Networks,
        num_classes: int,
        seed: Optional[int] = None,
        iters: Optional[int] = None,
        with_student: bool = True,
        on_step: Optional[Callable] = None,
        memory: Optional[Tensor] = None,
    ) -> SynthesisBatch:
        """Make one batch of images: a round.

        Args:
            networks (Networks): What to make images for.
            num_classes (int): Classes K to draw from.
            seed (int, optional): All that is drawn comes from it, and the
                random state is left as it was. Defaults to None, torch's
                state.
            iters (int, optional): Steps; defaults to those of the instance.
            with_student (bool): Whether terms that look at the student count.
                The initial bank is made without them. Defaults to True.
            on_step (Callable, optional): Called with the number of steps
                done, after each.
            memory (Tensor, optional): Images made before, (M, C, H, W),
                uint8, for losses that compare with them; ``memory_size`` of
                them are wanted. Defaults to None, none.

        Returns:
            SynthesisBatch: The images of the best step.

        Raises:
            NonFiniteSynthesisError: If a term became infinite or not a
                number; says which and when.
        """
        device = next(networks.teachers.parameters()).device
        self.prepare(networks, seed)
        self.to(device)
        losses, mappings = self._active(with_student)
        needs = set().union(*(self.needs[name] for name in losses))
        with ExitStack() as stack:
            stack.enter_context(seeded(seed, device))
            stack.enter_context(frozen(*networks.modules, self.distiller))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(
                attached(self.distiller, networks.student, networks.teachers)
            )
            if self.compile:
                if self.compiled is None:
                    self.compiled = CompiledNetworks(networks)
                networks, statistics = self.compiled.follow(networks)
            else:
                stack.enter_context(frozen_bn(networks.student))
                statistics = [
                    stack.enter_context(
                        frozen_bn(teacher, 'bn_statistics' in needs)
                    )
                    for teacher in networks.each_teacher
                ]
            means = []
            if needs & OF_LAYERS:
                means = stack.enter_context(
                    layer_means(networks.each_teacher[0])
                )
            remembered = self._remembered(networks, memory, needs, means)
            terms_of = partial(
                self._terms,
                networks,
                losses,
                mappings,
                needs,
                statistics,
                means,
                remembered,
            )
            return self._optimize(
                terms_of,
                losses,
                num_classes,
                iters or self.iters,
                on_step,
                device,
            )

    def _optimize(
        self,
        terms_of: Callable,
        losses: List[str],
        num_classes: int,
        iters: int,
        on_step: Optional[Callable],
        device: torch.device,
    ) -> SynthesisBatch:
        """Optimise generator and latents from new draws of both."""
        if self.meta is None:
            reset_weights(self.generator)
        else:
            self.meta.begin_round(self.generator)
        self.generator.train()
        # Sorted, so that a grid of the images reads by class.
        labels = torch.randint(
            num_classes, (self.batch_size,), device=device
        ).sort()[0]
        latent = torch.randn(
            self.batch_size, self.generator.latent_dim, device=device
        )
        latent.requires_grad_()
        params = [*self.generator.parameters()]
        for name in losses:
            params += self.losses[name].parameters()
        before = {k: v.clone() for k, v in self.losses.state_dict().items()}
        latents = dict(params=[latent])
        if self.latent_lr is not None:
            latents['lr'] = self.latent_lr
        optimizer = OPTIMIZERS.build(
            dict(self.optimizer, params=[dict(params=params), latents])
        )
        params.append(latent)
        scale = FLOAT16_SCALE if self.amp == 'float16' else 1
        best = _BestStep(device, iters)
        generate = self.generator
        if self.compile:
            generate = torch.compile(generate, dynamic=False)
        for step in range(iters):
            with torch.autocast(
                device.type,
                getattr(torch, self.amp or 'bfloat16'),
                enabled=self.amp is not None,
            ):
                images = generate(latent, self.batch_size)
                # Autocast's last layers return half precision.
                images = images.to(latent.dtype)
                terms = terms_of(images, latent, labels)
            loss = sum(term for name, term in terms.items() if 'loss' in name)
            optimizer.zero_grad()
            (loss * scale).backward()
            if scale != 1:
                for param in params:
                    param.grad.div_(scale)
            if self.meta is not None:
                self.meta.after_backward(self.generator)
            optimizer.step()
            best.update(step, loss, images, terms)
            if on_step is not None:
                on_step(step + 1)
        try:
            batch = best.batch(labels)
        except NonFiniteSynthesisError:
            # It leaves nothing to later rounds.
            self.losses.load_state_dict(before)
            raise
        if self.meta is not None:
            self.meta.end_round(self.generator)
        for name in losses:
            if hasattr(self.losses[name], 'end_round'):
                self.losses[name].end_round()
        return batch

    @torch.no_grad()
    def _remembered(
        self,
        networks: Networks,
        memory: Optional[Tensor],
        needs: Set[str],
        means: List[Tensor],
    ) -> Dict[str, Tensor]:
        """The teacher's features of images that were made before."""
        if not needs & OF_MEMORY:
            return {}
        teacher = networks.each_teacher[0]
        device = next(teacher.parameters()).device
        remembered = {}
        for key, augment in (
            ('memory_features_t', self.augment),
            ('memory_view_features_t', self.view_augment),
        ):
            rows = [torch.zeros(0, sum(self.widths), device=device)]
            for images in () if memory is None else memory.split(1024):
                inputs = self._inputs(networks, augment, images.to(device))
                rows.append(_features_of(teacher, inputs, means))
            remembered[key] = torch.cat(rows)
        return remembered

    @staticmethod
    def _inputs(
        networks: Networks, augment: Optional[nn.Module], images: Tensor
    ) -> Tensor:
        """What the networks see of images."""
        return networks.normalize(
            images if augment is None else augment(images)
        )

    def _active(self, with_student: bool) -> Tuple[List[str], Dict]:
        """Terms that count: names of losses, mappings of the distiller."""
        losses = [
            name
            for name in self.losses
            if with_student or not self.needs[name] & OF_STUDENT
        ]
        mappings = {
            name: mapping
            for name, mapping in self.distiller.loss_forward_mappings.items()
            if with_student or not _from_student(mapping)
        }
        if not any('loss' in name for name in [*losses, *mappings]):
            raise ValueError(
                'ImageSynthesizer has nothing to minimise without the '
                f'student: {[*self.losses]} all look at it. Add OneHotLoss '
                'or BNStatisticsLoss, or make no initial bank '
                '(init_rounds=0 of SynthesisHook).'
            )
        return losses, mappings

    def _terms(
        self,
        networks: Networks,
        losses: List[str],
        mappings: Dict,
        needs: Set[str],
        statistics: List[List],
        means: List[Tensor],
        remembered: Dict[str, Tensor],
        images: Tensor,
        latent: Tensor,
        labels: Tensor,
    ) -> Dict[str, Tensor]:
        """All loss terms of one step, weighted."""
        distiller = self.distiller
        inputs = self._inputs(networks, self.augment, images)
        values = dict(
            images=images,
            inputs=inputs,
            latent=latent,
            labels=labels,
            **remembered,
        )
        means.clear()
        of_teachers = []
        with distiller.teacher_recorders:
            for teacher, collected in zip(networks.each_teacher, statistics):
                collected.clear()
                logits_t = full_precision(
                    logits_of(teacher(inputs, mode='tensor'))
                )
                of_teachers.append(
                    dict(logits_t=logits_t, bn_statistics=list(collected))
                )
        if 'features_t' in needs:
            values['features_t'] = torch.cat(means, 1)
        if 'view_features_t' in needs:
            values['view_features_t'] = _features_of(
                networks.each_teacher[0],
                self._inputs(networks, self.view_augment, images),
                means,
            )
        if 'logits_s' in needs or any(map(_from_student, mappings.values())):
            with distiller.student_recorders:
                values['logits_s'] = full_precision(
                    logits_of(networks.student(inputs, mode='tensor'))
                )
                record_labels(
                    distiller.student_recorders,
                    networks.student,
                    values['logits_s'],
                    labels,
                )
        if needs & {'aux_logits', 'joint_labels'}:
            values['aux_logits'] = networks.aux_logits(inputs)
            values['joint_labels'] = joint_labels(
                labels, networks.aux_head.task.num_views
            )

        terms = {}
        for name in losses:
            loss, wanted = self.losses[name], self.needs[name]
            sources = of_teachers if wanted & OF_TEACHER else [{}]
            terms[name] = sum(
                loss(
                    **{
                        key: source[key] if key in source else values[key]
                        for key in wanted
                    }
                )
                for source in sources
            ) / len(sources)
        terms.update(distill_losses(distiller, mappings))
        return terms


def _features_of(
    teacher: nn.Module, inputs: Tensor, means: List[Tensor]
) -> Tensor:
    """One pass; ``means`` are what :func:`layer_means` collects of it."""
    means.clear()
    teacher(inputs, mode='tensor')
    return torch.cat(means, 1)


def _from_student(mapping: Dict) -> bool:
    """Whether a loss of a distiller looks at the student."""
    return any(record['from_student'] for record in mapping.values())


def _arguments(name: str, loss: nn.Module) -> Set[str]:
    """Names of the arguments of a loss; checks that there are such values."""
    known = OF_IMAGES | OF_TEACHER | OF_LAYERS | OF_STUDENT
    wanted = set()
    for argument in signature(loss.forward).parameters.values():
        if argument.name in known:
            wanted.add(argument.name)
        elif argument.default is Parameter.empty:
            raise TypeError(
                f'{name} ({type(loss).__name__}) needs "{argument.name}", '
                f'which the synthesizer does not have. It has {sorted(known)}.'
                " MMRazor's own losses go into its distiller, where "
                'recorders provide their arguments.'
            )
    return wanted
