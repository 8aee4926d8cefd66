# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
from mmengine.registry import OPTIMIZERS
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, seeded
from ..utils import reset_weights, set_memory_format
from .best_step import BestStep, NonFiniteSynthesisError, SynthesisBatch
from .checks import check_networks
from .compiled import CompiledNetworks
from .networks import Networks
from .objective import Objective
from .observer import OF_LAYERS, Observer, bn_widths, observing

# Loss scale under float16, so that small gradients of the images survive.
# Adam forgets it, and an overflow is caught like any other.
FLOAT16_SCALE = 1024


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
    weights that ``meta`` starts from, and those of a loss that has any. See
    :meth:`persistent_state`.

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
        TypeError: If a loss asks for a quantity that does not exist.
    """

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
        compile: bool = False,
        latent_lr: Optional[float] = None,
        meta: Optional[Dict[str, Any]] = None,
        view_augment: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        check_integer('batch_size of ImageSynthesizer', batch_size)
        check_integer('iters of ImageSynthesizer', iters)
        if amp not in (None, 'bfloat16', 'float16'):
            raise ValueError(
                'amp of ImageSynthesizer should be None, '
                f'"bfloat16" or "float16", but got {amp!r}.'
            )
        self.generator = MODELS.build(generator)
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
        self.amp = amp
        recorded = self.objective.of_layers
        if compile and recorded:
            raise ValueError(
                'compile=True of ImageSynthesizer cannot be used with losses '
                f'that record layers, such as {", ".join(recorded)}: set '
                'compile=False, or leave them out.'
            )
        self.with_compile = compile  # nn.Module has a method ``compile``
        self.compiled: Optional[CompiledNetworks] = None
        self.prepared = False
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

    @property
    def memory_size(self) -> int:
        """Images of the bank that the losses want to see."""
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
        self._fit_generator(networks)
        needs = self.objective.needs(with_student)
        self.objective.check(networks)
        needs |= self.objective.needs()
        of_bn = needs & {'bn_statistics', *OF_LAYERS}
        return check_networks(networks, self.generator, bool(of_bn))

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
        device = next(networks.teachers.parameters()).device
        if self.objective.looks_at_bn_layers:
            self.widths = bn_widths(networks, self.generator)
        with seeded(seed, device):
            self.objective.prepare(networks, self.widths)
            self.to(device)
            if self.meta is not None:
                self.meta.prepare(self.generator)
        self.prepared = True

    def _fit_generator(self, networks: Networks) -> None:
        """Let it make images of the algorithm's shape, where it says none."""
        fit = getattr(self.generator, 'fit', None)
        if fit is not None and networks.image_shape is not None:
            fit(networks.image_shape)
            set_memory_format(self.generator)

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
        return state

    def load_persistent_state(self, state: Dict[str, Tensor]) -> None:
        """Take over what :meth:`persistent_state` returned."""
        parts: Dict[str, Dict[str, Any]] = dict(losses={}, meta={})
        for name, value in state.items():
            part, key = name.split('.', 1)
            parts[part][key] = value
        self.losses.load_state_dict(parts['losses'])
        if self.meta is not None:
            self.meta.load_state(parts['meta'])

    def synthesize(
        self,
        networks: Networks,
        num_classes: int,
        seed: Optional[int] = None,
        iters: Optional[int] = None,
        with_student: bool = True,
        on_step: Optional[Callable[..., Any]] = None,
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
            NonFiniteSynthesisError: If a term became NaN or Inf; says which
                and when.
        """
        device = next(networks.teachers.parameters()).device
        self.prepare(networks, seed)
        self.to(device)
        if self.with_compile and self.compiled is None:
            self.compiled = CompiledNetworks(networks)
        before = {k: v.clone() for k, v in self.losses.state_dict().items()}
        with (
            seeded(seed, device),
            observing(
                networks,
                self.objective.distiller,
                self.objective.needs(with_student),
                self.augment,
                self.view_augment,
                memory,
                sum(self.widths),
                self.compiled,
            ) as observer,
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
        return batch

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
        params = [
            *self.generator.parameters(),
            *self.objective.active_parameters(with_student),
        ]
        latents: Dict[str, Any] = dict(params=[latent])
        if self.latent_lr is not None:
            latents['lr'] = self.latent_lr
        optimizer = OPTIMIZERS.build(
            dict(self.optimizer, params=[dict(params=params), latents])
        )
        params.append(latent)
        scale = FLOAT16_SCALE if self.amp == 'float16' else 1
        best = BestStep(device, iters)
        generate = self.generator
        if self.with_compile:
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
                terms = self.objective(
                    observer.observe(images, latent, labels), with_student
                )
            loss = self.objective.total(terms)
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
        return best.batch(labels)
