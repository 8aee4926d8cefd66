# Copyright (c) csd_mmrazor developers. All rights reserved.
import warnings
from inspect import Parameter, signature
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import torch
import torch.nn as nn
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils.suggestions import some_of
from ..losses import WeightedLoss
from ..utils import (
    check_mappings,
    check_recorders,
    distill_losses,
    full_precision,
)
from .checks import check_begun
from .networks import Networks
from .observer import (
    BY_HOOKS,
    NAMES,
    OF_LAYERS,
    OF_STUDENT,
    QUANTITIES,
    Observation,
    OfTeacher,
    without_tokens,
)

# In place of BN statistics, for teachers that have none, after PSAQ-ViT (Li et
# al., ECCV 2022). Its 0.05 weighs how far the total variation of a batch, by
# norms, is from a number; here it weighs a mean over pixels.
PRIORS_WITHOUT_BN: Dict[str, Dict[str, Any]] = dict(
    loss_patch=dict(type='mmrazor.PatchSimilarityLoss', loss_weight=1.0),
    loss_tv=dict(type='mmrazor.MeanTotalVariationLoss', loss_weight=0.05),
)


class Objective(nn.Module):
    """What images are optimised for: the sum of weighted terms.

    The arguments of a loss's ``forward`` say what it gets: they are named
    after the quantities of :class:`Observation` and :class:`OfTeacher`.
    MMRazor's losses, which name their arguments in their own way, go into
    ``distiller``, with recorders. With several teachers, a term of a teacher
    is the mean over them.

    Args:
        losses (dict[str, dict]): Loss terms by name; those of weight 0 are
            left out. ``reported_only=True`` in one of them logs the term and
            does not minimise it.
        distiller (dict, optional): A ``ConfigurableDistiller``. A loss of it
            without 'loss' in its name is only reported, as in MMRazor.
            Defaults to None.

    Raises:
        ValueError: If no term is minimised, or the distiller has weights or
            deliveries, which would do nothing.
        TypeError: If a loss asks for a quantity that does not exist.
    """

    def __init__(
        self,
        losses: Dict[str, Dict[str, Any]],
        distiller: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        self.losses = nn.ModuleDict()
        # Names that each loss asks for, in its own order.
        self.wanted: Dict[str, List[str]] = {}
        self.reported_only: Set[str] = set()
        # All that were given, also those of weight 0.
        self.given = {*losses}
        for name, cfg in losses.items():
            cfg = dict(cfg)
            reported_only = cfg.pop('reported_only', None)
            loss = MODELS.build(cfg)
            check_begun(f'losses.{name} of ImageSynthesizer', loss)
            if getattr(loss, 'loss_weight', 1) == 0:
                continue
            self.losses[name] = loss
            self.wanted[name] = _arguments(name, loss)
            if _is_reported_only(name, loss, reported_only):
                self.reported_only.add(name)
        self.distiller = MODELS.build(
            distiller or dict(type='ConfigurableDistiller')
        )
        if not isinstance(self.distiller, ConfigurableDistiller):
            raise TypeError(
                'distiller of ImageSynthesizer should be a '
                f'ConfigurableDistiller, but got {type(self.distiller)}.'
            )
        check_mappings(self.distiller)
        _check_distiller(self.distiller)
        self.reported_only |= {
            name
            for name in self.distiller.loss_forward_mappings
            if 'loss' not in name
        }
        names = {*self.losses, *self.distiller.loss_forward_mappings}
        if not names - self.reported_only:
            raise ValueError(
                'ImageSynthesizer has nothing to minimise: every one of '
                f'losses={list(losses)} has weight 0 or is only reported. '
                'Give at least one a positive loss_weight.'
            )

    @property
    def of_bn(self) -> List[str]:
        """Terms that look at BN statistics and nothing else."""
        return [n for n, w in self.wanted.items() if w == ['bn_statistics']]

    def fit(self, networks: Networks, generator: Any) -> List[str]:
        """Take other priors in place of those that look at BN statistics.

        Not those that were given by their names, also with weight 0.

        Args:
            networks (Networks): Without BN layers that run in a teacher.
            generator (nn.Module): Makes their images.

        Returns:
            list[str]: Names of the terms that were taken in place of those
            that look at BN statistics.
        """
        has_tokens = not without_tokens(networks, generator)
        left_out, counted = self.of_bn, False
        for name in left_out:
            counted |= name not in self.reported_only
            del self.losses[name], self.wanted[name]
            self.reported_only.discard(name)
        added: List[str] = []
        if not counted:
            return added
        for name, cfg in PRIORS_WITHOUT_BN.items():
            loss = MODELS.build(dict(cfg))
            wanted = _arguments(name, loss)
            if name not in self.given and (
                has_tokens or 'tokens' not in wanted
            ):
                self.losses[name], self.wanted[name] = loss, wanted
                added.append(name)
        return added

    def active(self, with_student: bool) -> Tuple[List[str], Dict[str, Any]]:
        """Terms that count.

        Args:
            with_student (bool): Whether those that look at the student do.

        Returns:
            tuple[list[str], dict]: Names of losses, and mappings of the
            distiller.

        Raises:
            ValueError: If nothing is left to minimise.
        """
        losses = [
            name
            for name in self.losses
            if with_student or OF_STUDENT.isdisjoint(self.wanted[name])
        ]
        mappings = {
            name: mapping
            for name, mapping in self.distiller.loss_forward_mappings.items()
            if with_student or not _from_student(mapping)
        }
        if not {*losses, *mappings} - self.reported_only:
            raise ValueError(
                'ImageSynthesizer has nothing to minimise without the '
                f'student: {[*self.losses]} all look at it. Add OneHotLoss '
                'or BNStatisticsLoss, or make no initial bank '
                '(init_rounds=0 of SynthesisHook).'
            )
        return losses, mappings

    def needs(self, with_student: bool = True) -> Set[str]:
        """Names of what the terms that count look at."""
        losses, mappings = self.active(with_student)
        needs = {name for loss in losses for name in self.wanted[loss]}
        if any(map(_from_student, mappings.values())):
            needs.add('logits_s')
        return needs

    @property
    def of_layers(self) -> List[str]:
        """Terms that look at a teacher's layers, by any means."""
        return [
            *self.distiller.loss_forward_mappings,
            *(
                name
                for name in self.losses
                if not BY_HOOKS.isdisjoint(self.wanted[name])
            ),
        ]

    @property
    def asks_for_labels(self) -> List[str]:
        """Terms that look at the classes that are asked for."""
        asking = {'labels', 'joint_labels'}
        return [n for n, wanted in self.wanted.items() if asking & {*wanted}]

    @property
    def looks_at_bn_layers(self) -> bool:
        """Whether the widths of the teacher's BN layers are to be known."""
        return bool(self.needs() & OF_LAYERS) or any(
            map(_keeps_state, self.losses.values())
        )

    @property
    def memory_size(self) -> int:
        """Images of the bank that the losses want to see in a step."""
        return self._largest('memory_size')

    @property
    def memory_capacity(self) -> int:
        """Of how many of the newest images they are drawn."""
        return self._largest('memory_capacity')

    def _largest(self, name: str) -> int:
        return max(
            (getattr(loss, name, 0) for loss in self.losses.values()),
            default=0,
        )

    def check(self, networks: Networks, generator: Any) -> None:
        """Check that networks have what the terms look at.

        Args:
            networks (Networks): What images are to be synthesised for.
            generator (nn.Module): Makes the images.

        Raises:
            ValueError: If there is no auxiliary head but a loss needs one, or
                recorders listen to modules that do not exist.
        """
        needs = {name for wanted in self.wanted.values() for name in wanted}
        if (
            needs & {'aux_logits', 'joint_labels'}
            and networks.aux_head is None
        ):
            raise ValueError(
                'A loss of ImageSynthesizer needs the auxiliary head, and the '
                'algorithm has none: set model.aux_head of CSDDistillation '
                '(no other algorithm trains one), or the loss_weight of '
                'CSDLoss (losses.loss_csd in the configs) to 0.'
            )
        lacking = []
        if 'tokens' in needs:
            lacking = without_tokens(networks, generator)
        if lacking:
            names = [n for n, w in self.wanted.items() if 'tokens' in w]
            raise ValueError(
                f'{", ".join(names)} of ImageSynthesizer looks at what '
                f'LayerNorm and GroupNorm are given, but {lacking[0]} has '
                'neither, or none before the pooling: set its loss_weight to '
                '0.'
            )
        check_recorders(
            self.distiller,
            networks.student,
            networks.teachers,
            networks.image_shape and networks.image_shape[1:],
        )

    def prepare(self, networks: Networks, widths: List[int]) -> None:
        """Initialise the persistent state of the losses.

        Args:
            networks (Networks): What images are to be synthesised for.
            widths (list[int]): Channels of the first teacher's BN layers.

        Raises:
            ValueError: If a loss with such weights has several teachers.
        """
        loss: Any  # whose methods WeightedLoss has, or some
        for name, loss in self.losses.items():
            if not _keeps_state(loss):
                continue
            if len(networks.each_teacher) > 1:
                raise ValueError(
                    f'{name} ({type(loss).__name__}) of ImageSynthesizer '
                    'takes one teacher, but there are '
                    f'{len(networks.each_teacher)}.'
                )
            loss.prepare(widths)

    def active_parameters(self, with_student: bool) -> List[nn.Parameter]:
        """What is trained with the images: of the losses that count.

        Those that a loss has an optimizer for are not among them.
        """
        return [
            param
            for name in self.active(with_student)[0]
            if not getattr(self.losses[name], 'optimizer', None)
            for param in self.losses[name].parameters()
        ]

    def optimizers(
        self, with_student: bool
    ) -> Dict[str, Tuple[Dict[str, Any], List[nn.Parameter]]]:
        """Of the losses that count and have their own optimizer.

        Returns:
            dict[str, tuple[dict, list[nn.Parameter]]]: The optimizer's config
            and what it trains, by name of the loss.
        """
        return {
            name: (optimizer, params)
            for name in self.active(with_student)[0]
            if (optimizer := getattr(self.losses[name], 'optimizer', None))
            and (params := [*self.losses[name].parameters()])
        }

    def end_round(self, with_student: bool) -> None:
        """Tell the losses that counted that a round is done."""
        for name in self.active(with_student)[0]:
            loss: Any = self.losses[name]
            if hasattr(loss, 'end_round'):
                loss.end_round()

    def forward(
        self, observation: Observation, with_student: bool = True
    ) -> Dict[str, Tensor]:
        """All terms of one step, weighted.

        Args:
            observation (Observation): What the networks show.
            with_student (bool): Whether terms that look at the student
                count. Defaults to True.

        Returns:
            dict[str, Tensor]: Scalars by name.
        """
        losses, mappings = self.active(with_student)
        needs = self.needs(with_student)
        of_teachers = observation.of_teachers
        # Passes in the order of their definition, not of the losses: they
        # may draw random numbers, and gradients add up in their order.
        values = {
            name: full_precision(getattr(observation, name))
            for name in QUANTITIES
            if name in needs
        }
        terms = {}
        device = observation.images.device.type
        for name in losses:
            loss, wanted = self.losses[name], self.wanted[name]
            sources: Sequence[Optional[OfTeacher]] = of_teachers
            if not set(OfTeacher._fields).intersection(wanted):
                sources = [None]
            found = []
            for source in sources:
                given = {
                    key: values[key] if key in values else getattr(source, key)
                    for key in wanted
                }
                # Sums over many images or classes need float32.
                with torch.autocast(device, enabled=False):
                    term = loss(**given)
                found.append(self._checked(name, term))
            total: Any = sum(found)
            terms[name] = total / len(sources)
        terms.update(distill_losses(self.distiller, mappings))
        return terms

    def _checked(self, name: str, term: Any) -> Tensor:
        """What a loss returned, if images can be changed by it."""
        wrong = ''
        if not torch.is_tensor(term) or term.numel() != 1:
            shape = f' of {tuple(term.shape)}' if torch.is_tensor(term) else ''
            wrong = (
                'returned, in place of a tensor with one number, a '
                f'{type(term).__name__}{shape}'
            )
        elif (
            torch.is_grad_enabled()
            and not term.requires_grad
            and name not in self.reported_only
        ):
            wrong = (
                'passes no gradient to the images (no_grad(), detach(), '
                'argmax() and comparisons pass none): if it is only to be '
                'logged, set reported_only=True'
            )
        if wrong:
            raise ValueError(
                f'losses.{name} ({type(self.losses[name]).__name__}) of '
                f'ImageSynthesizer {wrong}.'
            )
        checked: Tensor = term.reshape(())
        return checked

    def total(self, terms: Dict[str, Tensor]) -> Tensor:
        """The sum of the terms that are minimised, a scalar."""
        total: Any = sum(
            term
            for name, term in terms.items()
            if name not in self.reported_only
        )
        return total


def _check_distiller(distiller: ConfigurableDistiller) -> None:
    """Refuse what steps of synthesis do not train or hand over."""
    weights = [n for n, p in distiller.named_parameters() if p.requires_grad]
    if weights:
        raise ValueError(
            f'distiller of ImageSynthesizer has weights ({some_of(weights)}), '
            'which synthesis does not train, so that images would be made '
            'for random ones: take a loss and connectors without weights, '
            'for layers of the same shape.'
        )
    deliveries = [*distiller.deliveries.deliveries]
    if deliveries:
        raise ValueError(
            'distiller of ImageSynthesizer has distill_deliveries ('
            f'{", ".join(deliveries)}), which hand over nothing in synthesis: '
            'leave them out.'
        )


def _from_student(mapping: Dict[str, Any]) -> bool:
    """Whether a loss of a distiller looks at the student."""
    return any(record['from_student'] for record in mapping.values())


def _keeps_state(loss: nn.Module) -> bool:
    """Whether a loss has something to draw before the first round."""
    prepare = getattr(type(loss), 'prepare', WeightedLoss.prepare)
    return prepare is not WeightedLoss.prepare


def _is_reported_only(
    name: str, loss: nn.Module, configured: Optional[Any]
) -> bool:
    """Whether a term is logged and not minimised."""
    if configured is None:
        configured = getattr(loss, 'reported_only', False)
        if 'loss' not in name and not configured:
            warnings.warn(
                f'losses.{name} of ImageSynthesizer is only reported, since '
                'its name does not contain "loss". This rule is deprecated: '
                'set reported_only=True to keep the term reported only, or '
                'False to minimise it.',
                FutureWarning,
                stacklevel=3,
            )
            return True
    if not isinstance(configured, bool):
        raise TypeError(
            f'reported_only of losses.{name} of ImageSynthesizer should be '
            f'True or False, but got {configured!r}.'
        )
    return configured


def _arguments(name: str, loss: nn.Module) -> List[str]:
    """Names of the arguments of a loss; checks that there are such values."""
    wanted = []
    for argument in signature(loss.forward).parameters.values():
        if argument.name in NAMES:
            wanted.append(argument.name)
        elif argument.default is Parameter.empty:
            raise TypeError(
                f'{name} ({type(loss).__name__}) needs "{argument.name}", '
                f'which the synthesizer does not have. It has {sorted(NAMES)}.'
                " MMRazor's own losses go into its distiller, where "
                'recorders provide their arguments.'
            )
    return wanted
