# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from contextlib import contextmanager
from functools import partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Literal,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, seeded
from ...utils.arguments import check_value
from ...utils.slow_bfloat16 import warn_of_slow_bfloat16
from ..pretext_tasks import check_views_per_image
from ..utils import (
    about_lost,
    cast_together,
    changed_attributes,
    initial_values,
    load_optimizer_state,
    optimizer_state,
    plain_attributes,
    reset_weights,
    set_memory_format,
    with_foreach,
)
from .all_steps import AllSteps, RoundToLevels
from .best_step import (
    BestStep,
    NonFiniteSynthesisError,
    SynthesisBatch,
    check_last_step,
    to_uint8,
)
from .checks import check_begun, check_networks
from .compiled import CompiledNetworks, check_compiler
from .feature_memory import FeatureMemory
from .loss_scale import FIRST_SCALE, LossScale
from .networks import Networks
from .objective import Objective
from .observer import OF_LAYERS, Observer, bn_widths, has_bn, observing
from .round_step import RoundStep
from .step_graph import (
    WARM_UP,
    CudaGraph,
    ReplayedSteps,
    foreign_hooks,
    with_capturable,
)


@MODELS.register_module()
class ImageSynthesizer(nn.Module):
    """Inverts teachers into a batch of images: the inner loop.

    A round draws classes and latents, re-initialises the generator and
    optimises weights and latents together. The images of the step with the
    lowest total loss are kept, before augmentation (CSD section 3.1; authors'
    code, CSDSynthesizer.synthesize). Student, teachers and auxiliary head are
    frozen meanwhile; no hook and no gradient stays on them, and nothing is
    copied to the host before the round ends.

    Rounds of CSD are independent. Other methods have a persistent state: the
    weights that ``meta`` starts from, those of a loss that has any, and what
    optimizers that last remember. See :meth:`persistent_state`.

    The objective is the sum of ``losses`` and of ``distiller``'s losses; see
    :class:`Objective`, and :class:`Observation` for what they can look at.

    Args:
        generator (dict): A generator of MMRazor's kind that returns images in
            [0, 1].
        losses (dict[str, dict]): Loss terms by name. One with
            ``reported_only=True`` is logged and not minimised.
        distiller (dict, optional): A ``ConfigurableDistiller`` with any of
            MMRazor's losses, recorders and connectors. Defaults to None.
        augment (dict, optional): Transforms images before the networks see
            them, such as ``dict(type='RandomCropFlip')``. Defaults to
            None.
        batch_size (int): Images a round. Defaults to 200 (authors' scripts).
        iters (int): Steps a round. Defaults to 200 (authors' scripts).
        optimizer (dict): Defaults to Adam, lr 1e-3, betas (0.5, 0.999)
            (authors' code).
        amp (str, optional): 'bfloat16' or 'float16' for mixed precision;
            statistics and losses stay in float32. Defaults to None.
        compile (bool | str): Whether the passes are compiled by
            ``torch.compile``, which takes a minute or two once a run.
            'reduce-overhead' lets torch replay each pass as a CUDA graph.
            Defaults to False.
        latent_lr (float, optional): Learning rate of the latents, where it is
            not the optimizer's. Defaults to None.
        meta (dict, optional): A ``MetaGenerator`` or ``LastingGenerator``,
            whose weights rounds start from in place of new ones. Defaults to
            None.
        view_augment (dict, optional): What makes the second view for losses
            that compare two. Defaults to ``augment``.
        labels (str): Which classes are asked for: 'random', 'balanced' (all
            alike, in turn), 'teacher' (each image's is the one that the
            teacher decides on as it is, for keep='all') or 'none', where no
            term asks for any. Defaults to 'random'.
        latents (str): 'trained' with the generator, or 'fresh', sampled again
            in each step. Defaults to 'trained'.
        keep (str): Which images a round adds: those of the 'best' step; what
            the generator, in eval mode, makes after the 'last' one, of new
            latents if they are fresh; or those of 'all' steps, as the
            networks saw them, on the 256 levels of uint8 and after
            ``augment``. With labels='none' the latter get the class that the
            teacher decides on. Defaults to 'best'.
        keep_targets (bool): Whether the teacher's logits of the images of all
            steps are kept with them, so that student steps need no pass of
            the teacher. Defaults to False.
        num_images (int, optional): How many images a round adds, where they
            are made of new latents. Defaults to ``batch_size``.
        optimizer_lasts (bool): Whether the optimizer goes on from round to
            round with the generator. Defaults to False.
        views_per_image (int, optional): How many views of each image the
            auxiliary head sees in a step, drawn at random: an unbiased
            estimate of the CSD term, at a part of the student's passes.
            Defaults to None, all.
        class_weights (sequence[float], optional): How often each class is
            drawn, relative to the others; 0 or more. Defaults to None, all
            alike.
        graph (bool): Whether whole steps are replayed as a CUDA graph, which
            is captured in each round, after the first steps. Where there can
            be none (as in rounds of 3 steps or fewer), steps run one by one,
            and the log says why. Defaults to False.

    Raises:
        ValueError: If no term is on, or a number makes no sense.
        TypeError: If a loss asks for a quantity that does not exist.
    """

    graph_type = CudaGraph

    loss_scale: Tensor

    def __init__(
        self,
        generator: Dict[str, Any],
        losses: Dict[str, Dict[str, Any]],
        distiller: Optional[Dict[str, Any]] = None,
        augment: Optional[Dict[str, Any]] = None,
        batch_size: int = 200,
        iters: int = 200,
        optimizer: Dict[str, Any] = dict(
            type='Adam', lr=1e-3, betas=(0.5, 0.999)
        ),
        amp: Optional[str] = None,
        compile: Union[bool, Literal['reduce-overhead']] = False,
        latent_lr: Optional[float] = None,
        meta: Optional[Dict[str, Any]] = None,
        view_augment: Optional[Dict[str, Any]] = None,
        labels: str = 'random',
        latents: str = 'trained',
        keep: str = 'best',
        keep_targets: bool = False,
        num_images: Optional[int] = None,
        optimizer_lasts: bool = False,
        views_per_image: Optional[int] = None,
        class_weights: Optional[Sequence[float]] = None,
        graph: bool = False,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ('labels', labels, ('random', 'balanced', 'teacher', 'none')),
            ('latents', latents, ('trained', 'fresh')),
            ('keep', keep, ('best', 'last', 'all')),
        ):
            if value not in known:
                raise ValueError(
                    f'{name} of ImageSynthesizer should be one of {known}, '
                    f'but got {value!r}.'
                )
        if num_images is not None:
            check_integer('num_images of ImageSynthesizer', num_images)
            if (latents, keep, labels) != ('fresh', 'last', 'none'):
                raise ValueError(
                    f'num_images={num_images} of ImageSynthesizer is for '
                    'images of new latents: set latents="fresh", keep="last" '
                    'and labels="none", or leave it out.'
                )
        if labels == 'teacher' and keep != 'all':
            raise ValueError(
                'labels="teacher" of ImageSynthesizer takes the classes that '
                'the teacher decides on in each step, so they are those of '
                f'keep="all" only, but got keep={keep!r}.'
            )
        check_value('keep_targets of ImageSynthesizer', keep_targets, (bool,))
        if keep_targets and keep != 'all':
            raise ValueError(
                'keep_targets=True of ImageSynthesizer keeps what the teacher '
                f'said in the steps that made the images, but keep={keep!r} '
                'keeps images that it did not see in that way: set '
                'keep="all", or leave it out and set target_views of '
                'SynthesisHook.'
            )
        if optimizer_lasts and (meta is None or latents == 'trained'):
            raise ValueError(
                'optimizer_lasts=True of ImageSynthesizer needs weights that '
                'last as well: set meta=dict(type="LastingGenerator") and '
                'latents="fresh", or leave it out.'
            )
        check_integer('batch_size of ImageSynthesizer', batch_size)
        check_integer('iters of ImageSynthesizer', iters)
        if amp not in (None, 'bfloat16', 'float16'):
            raise ValueError(
                'amp of ImageSynthesizer should be None, '
                f'"bfloat16" or "float16", but got {amp!r}.'
            )
        if class_weights is not None and labels != 'random':
            raise ValueError(
                'class_weights of ImageSynthesizer are for labels that are '
                f'drawn, but got labels={labels!r}: set labels="random", or '
                'leave them out.'
            )
        self.class_weights = (
            None if class_weights is None else _checked_weights(class_weights)
        )
        self.generator = MODELS.build(generator)
        check_begun('generator of ImageSynthesizer', self.generator)
        self.initial = initial_values(self.generator)
        self.objective = Objective(losses, distiller)
        self.augment = MODELS.build(augment) if augment else None
        self.view_augment = (
            MODELS.build(view_augment) if view_augment else self.augment
        )
        self.batch_size = batch_size
        self.iters = iters
        self.optimizer = dict(optimizer)
        self.latent_lr = latent_lr
        self.meta = MODELS.build(meta) if meta else None
        self.labels = labels
        self.latents = latents
        self.keep = keep
        self.keep_targets = keep_targets
        self.num_images = num_images
        self.optimizer_lasts = optimizer_lasts
        if views_per_image is not None:
            check_integer(
                'views_per_image of ImageSynthesizer', views_per_image
            )
        self.views_per_image = views_per_image
        # What optimizers that last remember, by what they train.
        self.moments: Dict[str, Dict[str, Tensor]] = {}
        self.memory = FeatureMemory(self.objective.memory_capacity)
        of_classes = hasattr(self.generator, 'latents_of')
        is_conditional = getattr(self.generator, 'trains_latents', False)
        if is_conditional and labels not in ('random', 'balanced'):
            raise ValueError(
                f'{type(self.generator).__name__} makes images of the classes '
                'that are asked for: set labels="random" or "balanced" of '
                f'ImageSynthesizer, but got labels={labels!r}.'
            )
        if (of_classes and not is_conditional) and (
            (labels, latents) != ('balanced', 'trained')
        ):
            raise ValueError(
                f'{type(self.generator).__name__} has latents_of(labels), for '
                'images of the classes in turn: set labels="balanced" and '
                'latents="trained" of ImageSynthesizer, but got '
                f'labels={labels!r} and latents={latents!r}. If these latents '
                'are to be trained, set trains_latents = True in its class.'
            )
        if labels == 'none' and self.objective.asks_for_labels:
            raise ValueError(
                'labels="none" of ImageSynthesizer asks for no classes, but '
                f'{", ".join(self.objective.asks_for_labels)} of its losses '
                'needs them: set labels="random".'
            )
        self.amp = amp
        if amp == 'bfloat16':
            warn_of_slow_bfloat16()
        kinds: Tuple[Any, ...] = (bool, 'reduce-overhead')
        check_value('compile of ImageSynthesizer', compile, kinds)
        check_value('graph of ImageSynthesizer', graph, (bool,))
        if graph and compile == 'reduce-overhead':
            raise ValueError(
                'graph=True of ImageSynthesizer replays whole steps, and '
                'compile="reduce-overhead" parts of them: set compile=True, '
                'or graph=False.'
            )
        self.with_compile = compile  # nn.Module has a method ``compile``
        self._check_recorded()
        self.graph = graph
        # Why there was no graph, which is said once.
        self.told: Set[str] = set()
        # By ``with_student``: steps of which it turned out.
        self.not_replayed: Set[bool] = set()
        self.compiled: Optional[CompiledNetworks] = None
        self.prepared = False
        # What the last round changed that no checkpoint has.
        self.changing: Set[str] = set()
        # Of float16; what a generator that lasts has found stays.
        scale = torch.tensor(FIRST_SCALE)
        self.register_buffer('loss_scale', scale, persistent=False)
        # Of the first teacher's BN layers, for losses that look at them.
        self.widths: List[int] = []
        set_memory_format(self.generator, *self.losses.values())

    def _apply(self, *args: Any, **kwargs: Any) -> 'ImageSynthesizer':
        """Move or cast the weights, into the format for where they are."""
        super()._apply(*args, **kwargs)
        set_memory_format(self.generator, *self.losses.values())
        return self

    @property
    def losses(self) -> nn.ModuleDict:
        """The losses of the objective, by name."""
        return self.objective.losses

    def images_of(self, iters: int) -> int:
        """How many images a round of so many steps adds."""
        if self.keep == 'all':
            return self.batch_size * iters
        return self.num_images or self.batch_size

    @property
    def kept_together(self) -> int:
        """How many images a round keeps at each of its steps; 0 for one step.

        Those of one place are alike.
        """
        return self.batch_size if self.keep == 'all' else 0

    @property
    def has_labels(self) -> bool:
        """Whether images have labels that something can be learnt from."""
        return self.labels != 'none' or self.keep == 'all'

    @property
    def memory_size(self) -> int:
        """Images of the bank that the losses want to see in a step."""
        return self.objective.memory_size

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
        if self.keep_targets and len(networks.each_teacher) > 1:
            raise ValueError(
                'keep_targets=True of ImageSynthesizer keeps the logits of '
                f'one teacher, but there are {len(networks.each_teacher)}: '
                'leave it out.'
            )
        if self.with_compile:
            check_compiler(next(networks.teachers.parameters()).device)
        self._fit_generator(networks)
        self._fit_losses(networks)
        needs = self.objective.needs(with_student)
        self.objective.check(networks, self.generator)
        needs |= self.objective.needs()
        if 'aux_logits' in needs:
            check_views_per_image(
                'views_per_image of ImageSynthesizer',
                self.views_per_image,
                networks.aux_head.task.num_views,
            )
        elif self.views_per_image is not None:
            raise ValueError(
                f'views_per_image={self.views_per_image} of ImageSynthesizer '
                'does nothing, since no loss looks at the auxiliary head: '
                'leave it out, or set losses.loss_csd=dict(type="CSDLoss").'
            )
        of_bn = needs & {'bn_statistics', *OF_LAYERS}
        found = check_networks(networks, self.generator, bool(of_bn))
        if hasattr(self.generator, 'check_classes'):
            self.generator.check_classes(found[0])
        weights = self.class_weights
        if weights is not None and len(weights) != found[0]:
            raise ValueError(
                'class_weights of ImageSynthesizer should be one number for '
                f'each of {found[0]} classes, but got {len(weights)}.'
            )
        return found

    def prepare(self, networks: Networks, seed: Optional[int] = None) -> None:
        """Initialise the persistent state, once.

        Args:
            networks (Networks): What images are to be synthesised for.
            seed (int, optional): The same on every process. Defaults to None,
                torch's state.
        """
        if self.prepared:
            return
        self._fit_generator(networks)
        self._fit_losses(networks)
        device = next(networks.teachers.parameters()).device
        if self.objective.looks_at_bn_layers:
            self.widths = bn_widths(networks, self.generator)
        with seeded(seed, device):
            self.objective.prepare(networks, self.widths)
            self.to(device)
            if self.meta is not None:
                self.meta.prepare(self.generator)
        self.prepared = True

    def _fit_losses(self, networks: Networks) -> None:
        """Take other priors where no teacher has BN layers, and say so."""
        if self.objective.of_bn and not has_bn(networks, self.generator):
            added = self.objective.fit(networks, self.generator)
            told = ', '.join(added) or 'none'
            print_log(
                'No teacher has BN layers, whose statistics images could be '
                f'matched to. In place of that term: {told}. To '
                'choose others, set loss_weight=0 of BNStatisticsLoss '
                '(losses.loss_bn in the configs) and add yours to losses.',
                'current',
                logging.WARNING,
            )
            self._check_recorded()

    def _check_recorded(self) -> None:
        """Check that compiled networks show what losses look at."""
        recorded = self.objective.of_layers
        if self.with_compile and recorded:
            raise ValueError(
                'compile=True of ImageSynthesizer cannot be used with losses '
                f'that record layers, such as {", ".join(recorded)}: set '
                'compile=False, or leave them out.'
            )

    def _fit_generator(self, networks: Networks) -> None:
        """Let it make images of the algorithm's shape, where it says none."""
        fit = getattr(self.generator, 'fit', None)
        if fit is not None and networks.image_shape is not None:
            fit(networks.image_shape)
            set_memory_format(self.generator)
            # Where it is as it was, rounds may have changed it.
            fitted = initial_values(self.generator)
            shapes = [
                [value.shape for value in values.values()]
                for values in (fitted, self.initial)
            ]
            if shapes[0] != shapes[1]:
                self.initial = fitted

    def persistent_state(self) -> Dict[str, Tensor]:
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
            if self.amp == 'float16':
                state['loss_scale.last'] = self.loss_scale
        for owner, moments in self.moments.items():
            state.update(
                {f'moments.{owner}.{k}': v for k, v in moments.items()}
            )
        return state

    def load_persistent_state(self, state: Dict[str, Tensor]) -> None:
        """Take over what :meth:`persistent_state` returned."""
        parts: Dict[str, Dict[str, Any]] = dict(
            losses={}, meta={}, moments={}, loss_scale={}
        )
        for name, value in state.items():
            part, key = name.split('.', 1)
            parts[part][key] = value
        self.moments = {}
        for name, value in parts['moments'].items():
            owner, key = name.split('.', 1)
            self.moments.setdefault(owner, {})[key] = value
        self.losses.load_state_dict(parts['losses'])
        if self.meta is not None:
            self.meta.load_state(parts['meta'])
        for value in parts['loss_scale'].values():
            self.loss_scale.copy_(value)

    def remember(
        self, networks: Networks, images: Tensor, seed: Optional[int] = None
    ) -> None:
        """Note images of the bank for losses that compare with them.

        Args:
            networks (Networks): What images are synthesised for.
            images (Tensor): (N, C, H, W), uint8.
            seed (int, optional): Of their augmentation. Defaults to None,
                torch's state.
        """
        device = next(networks.teachers.parameters()).device
        with (
            seeded(seed, device),
            observing(
                networks,
                self.objective.distiller,
                {'features_t'},
                self.augment,
                self.view_augment,
            ) as observer,
        ):
            self.memory.add(observer.both_features(images.to(device)))

    def synthesize(
        self,
        networks: Networks,
        num_classes: int,
        seed: Optional[int] = None,
        iters: Optional[int] = None,
        with_student: bool = True,
        on_step: Optional[Callable[..., Any]] = None,
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

        Returns:
            SynthesisBatch: The images that ``keep`` names.

        Raises:
            NonFiniteSynthesisError: If a term became NaN or Inf; says which
                and when.
        """
        device = next(networks.teachers.parameters()).device
        self.prepare(networks, seed)
        self.to(device)
        if self.with_compile and self.compiled is None:
            self.compiled = CompiledNetworks(networks, self.compile_mode)
        before = {k: v.clone() for k, v in self.losses.state_dict().items()}
        plain = self._plain()
        augment = self.augment
        if self.keep == 'all':
            steps = [augment] if augment is not None else []
            augment = nn.Sequential(*steps, RoundToLevels())
        with (
            seeded(seed, device),
            observing(
                networks,
                self.objective.distiller,
                self.objective.needs(with_student),
                augment,
                self.view_augment,
                self._draw_memory,
                self.compiled,
                self.views_per_image,
            ) as observer,
            cast_together(*self._cast_together(*networks.modules)),
        ):
            try:
                batch = self._optimize(
                    observer,
                    num_classes,
                    iters or self.iters,
                    with_student,
                    on_step,
                    device,
                )
            except NonFiniteSynthesisError:
                # It leaves nothing to later rounds.
                self.losses.load_state_dict(before)
                raise
        if self.meta is not None:
            self.meta.end_round(self.generator)
        self.objective.end_round(with_student)
        self._warn_of_lost(changed_attributes(plain, self._plain()))
        return batch

    def _plain(self) -> Dict[str, Any]:
        """What a resumed run would not have of losses and generator."""
        found = {
            f'losses.{name}': value
            for name, value in plain_attributes(self.losses).items()
        }
        for name, value in plain_attributes(self.generator).items():
            # Tensors may be sampled again in each round.
            if not torch.is_tensor(value):
                found[f'generator.{name}'] = value
        return found

    def _warn_of_lost(self, names: Set[str]) -> None:
        """Warn of attributes that change in two rounds one after the other."""
        lost = names & self.changing
        if lost - self.told:
            print_log(about_lost(lost), 'current', logging.WARNING)
        self.told |= lost
        self.changing = names

    def _optimize(
        self,
        observer: Observer,
        num_classes: int,
        iters: int,
        with_student: bool,
        on_step: Optional[Callable[..., Any]],
        device: torch.device,
    ) -> SynthesisBatch:
        """Optimise generator and latents from new draws of both."""
        if self.meta is None:
            reset_weights(self.generator, self.initial)
        else:
            if getattr(self.meta, 'ends', lambda _: False)(with_student):
                self.moments.pop('generator', None)  # of other weights
            self.meta.begin_round(self.generator, with_student)
        self.generator.train()
        if hasattr(self.generator, 'renew'):
            self.generator.renew()
        labels = self._draw_labels(num_classes, device)
        latent = self._draw_latents(labels)
        trained = self.latents == 'trained' and getattr(
            self.generator,
            'trains_latents',
            not hasattr(self.generator, 'latents_of'),
        )
        params = [
            *self.generator.parameters(),
            *self.objective.active_parameters(with_student),
        ]
        groups: List[Dict[str, Any]] = [dict(params=params)]
        if trained:
            latent.requires_grad_()
            groups.append(dict(params=[latent]))
            if self.latent_lr is not None:
                groups[1]['lr'] = self.latent_lr
        of_losses = self.objective.optimizers(with_student)
        cfgs = [self.optimizer, *(cfg for cfg, _ in of_losses.values())]
        can_replay = self._can_replay(observer.networks, cfgs, iters)
        optimizer, *others = (
            OPTIMIZERS.build(
                dict(self._prepared(cfg, can_replay), params=params)
            )
            for cfg, params in [(self.optimizer, groups), *of_losses.values()]
        )
        lasting = dict(zip(of_losses, others))
        if self.optimizer_lasts:
            lasting['generator'] = optimizer
        for owner, each in lasting.items():
            load_optimizer_state(each, self.moments.get(owner, {}))
        best = BestStep(device, iters, self.keep == 'last')
        scale = None
        if self.amp == 'float16':
            scale = LossScale(self.loss_scale)
        every = None
        if self.keep == 'all':
            asked = None if self.labels in ('teacher', 'none') else labels
            every = AllSteps(
                iters,
                asked,
                self.keep_targets,
                observer.networks.kept_maps if self.keep_targets else None,
            )
        step: Callable[[], None] = RoundStep(
            generate=self._generate(),
            generator=self.generator,
            observer=observer,
            objective=self.objective,
            with_student=with_student,
            latent=latent,
            labels=None if self.labels == 'teacher' else labels,
            optimizers=[optimizer, *others],
            precision=partial(self._precision, device),
            scale=scale,
            after_backward=getattr(self.meta, 'after_backward', None),
            best=best,
            every=every,
        )
        # Optimizers are the same in either case, as after a resumption.
        if can_replay and with_student not in self.not_replayed:
            step = ReplayedSteps(
                step,
                self.graph_type(device),
                partial(self._stop_replaying, with_student),
                compares=not self.with_compile,
            )
        for number in range(iters):
            if number and self.latents == 'fresh':
                latent.copy_(self._draw_latents(labels))
            if self.compile_mode is not None:
                # What passes of the last step returned may be overwritten.
                torch.compiler.cudagraph_mark_step_begin()
            step()
            if on_step is not None:
                on_step(number + 1)
        batch = best.batch(labels)
        if scale is not None and scale.overflows(iters):
            raise NonFiniteSynthesisError(
                'Gradients of the synthesis overflow in float16. Set amp of '
                'ImageSynthesizer to "bfloat16" or None, or lower the weight '
                'of a term.'
            )
        if self.meta is not None or lasting or self.keep == 'last':
            check_last_step(
                [
                    weight
                    for each in (optimizer, *others)
                    for group in each.param_groups
                    for weight in group['params']
                    if weight.requires_grad
                ],
                iters,
            )
        # What lasts is of a round that did not diverge.
        if scale is not None and self.meta is not None:
            self.loss_scale.copy_(scale.scale)
        self.moments.update(
            {
                owner: {
                    name: value.clone()
                    for name, value in optimizer_state(each).items()
                }
                for owner, each in lasting.items()
            }
        )
        if self.keep == 'last':
            batch = self._last_images(batch, latent, iters)
        elif every is not None:
            batch = every.batch(batch)
        return batch

    @contextmanager
    def _precision(self, device: torch.device) -> Iterator[None]:
        """That of the passes of a step."""
        with (
            torch.autocast(
                device.type,
                getattr(torch, self.amp or 'bfloat16'),
                enabled=self.amp is not None,
            ),
            cast_together(*self._cast_together(self.generator)),
        ):
            yield

    @property
    def compile_mode(self) -> Optional[str]:
        """What ``torch.compile`` calls its mode."""
        mode = self.with_compile
        return mode if isinstance(mode, str) else None

    def _generate(self) -> Callable[..., Any]:
        if not self.with_compile:
            return self.generator
        compiled: Callable[..., Any] = torch.compile(
            self.generator, dynamic=False, mode=self.compile_mode
        )
        return compiled

    def _can_replay(
        self,
        networks: Networks,
        optimizers: Sequence[Dict[str, Any]],
        iters: int,
    ) -> bool:
        """Whether steps are replayed; the log says why not."""
        if not self.graph:
            return False
        device = next(networks.teachers.parameters()).device
        parts = [
            *networks.modules,
            self.generator,
            self.augment,
            self.view_augment,
            self.losses,
            self.objective.distiller,
            self.meta,
        ]
        hooked = foreign_hooks(
            [part for part in parts if isinstance(part, nn.Module)]
        )
        reason = self.graph_type.lacks(device)
        if hooked:
            reason = f'a replay would not call the hooks of {hooked[0]}'
        for cfg in optimizers:
            # One without a type is an error of the optimizer's.
            if 'type' in cfg and with_capturable(cfg) is None:
                reason = f'the optimizer {cfg["type"]} is not capturable'
        if iters <= WARM_UP:
            if self.iters > WARM_UP:
                return False  # a rehearsal, say
            reason = f'a round of {iters} has none to replay, only the first'
        if reason is not None:
            self._warn(reason)
        return reason is None

    def _prepared(
        self, optimizer: Dict[str, Any], can_replay: bool
    ) -> Dict[str, Any]:
        """The config of an optimizer that takes few calls."""
        optimizer = with_foreach(optimizer)
        if can_replay and self.graph_type.capturable:
            optimizer = with_capturable(optimizer) or optimizer
        return optimizer

    def _stop_replaying(self, with_student: bool, reason: str) -> None:
        self.not_replayed.add(with_student)
        self._warn(reason)

    def _warn(self, reason: str) -> None:
        if reason not in self.told:
            self.told.add(reason)
            print_log(
                'graph=True of ImageSynthesizer: steps run one by one, since '
                f'{reason}.',
                'current',
                logging.WARNING,
            )

    def _cast_together(self, *modules: nn.Module) -> Sequence[nn.Module]:
        """Those of which the weights are cast; a compiler does so itself."""
        return () if self.amp is None or self.with_compile else modules

    def _draw_labels(self, num_classes: int, device: torch.device) -> Tensor:
        """The classes that are asked for, (batch_size, )."""
        if self.labels == 'random':
            # Sorted, so that a grid of the images reads by class.
            return self._random_labels(num_classes, device).sort()[0]
        labels = torch.arange(self.batch_size, device=device)
        if self.labels == 'balanced' and self.batch_size % num_classes:
            # From another class on in each round, so that none has more.
            labels += torch.randint(num_classes, (), device=device)
        return labels % num_classes * (self.labels == 'balanced')

    def _random_labels(self, num_classes: int, device: torch.device) -> Tensor:
        """Classes by their weights, (batch_size, )."""
        if self.class_weights is None:
            return torch.randint(
                num_classes, (self.batch_size,), device=device
            )
        weights = torch.tensor(self.class_weights, device=device)
        return weights.multinomial(self.batch_size, replacement=True)

    def _draw_latents(self, labels: Tensor) -> Tensor:
        """New latents for images of such classes, (N, latent_dim)."""
        if hasattr(self.generator, 'latents_of'):
            latents: Tensor = self.generator.latents_of(labels)
            return latents
        return torch.randn(
            len(labels), self.generator.latent_dim, device=labels.device
        )

    def _draw_memory(self, device: torch.device) -> Tensor:
        """Features of both views of images of the bank, (M, 2 * D)."""
        return self.memory.draw(self.memory_size, 2 * sum(self.widths), device)

    @torch.no_grad()
    def _last_images(
        self, batch: SynthesisBatch, latent: Tensor, iters: int
    ) -> SynthesisBatch:
        """A batch with the images that the generator makes in the end."""
        labels = batch.labels
        if self.latents == 'fresh':
            if not hasattr(self.generator, 'latents_of'):
                labels = labels.new_zeros(self.images_of(iters))
            latent = self._draw_latents(labels)
        self.generator.eval()
        images = torch.cat(
            [
                to_uint8(self.generator(part, len(part)))
                for part in latent.detach().split(self.batch_size)
            ]
        )
        return batch._replace(images=images, labels=labels)


def _checked_weights(class_weights: Sequence[float]) -> List[float]:
    """Weights of classes, if that is what they are."""
    numbers = class_weights if isinstance(class_weights, (list, tuple)) else ()
    is_right = [
        type(n) in (int, float) and 0 <= n < float('inf') for n in numbers
    ]
    if not all(is_right) or not any(numbers):
        raise ValueError(
            'class_weights of ImageSynthesizer should be a list of numbers '
            'from 0 on, not all 0, one for each class, but got '
            f'{class_weights!r}.'
        )
    return [float(n) for n in numbers]
