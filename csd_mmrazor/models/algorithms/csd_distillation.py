# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import math
from functools import partial
from typing import (
    Any,
    Callable,
    Container,
    Dict,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.models.distillers import OFDDistiller
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import (
    NO_FILE,
    check_integer,
    check_teachers,
    to_device,
)
from ...utils.arguments import check_image_shape, check_value
from ...utils.error_text import named_error
from ...utils.modules import exclude_from_checkpoints, switch_inplace_off
from ...utils.teachers import want_whole_files
from ..classifiers import TorchClassifier
from ..connectors import infer_connectors
from ..preprocessors import (
    BankDataPreprocessor,
    check_preprocessor,
    normalize_images,
)
from ..pretext_tasks import check_views
from ..utils import (
    KeptMaps,
    as_in_training,
    bring_to_host,
    build_teacher,
    check_kept_state,
    check_mappings,
    check_not_cut_off,
    check_recorders,
    check_ties,
    check_trains_what_decides,
    count_classes,
    distill_losses,
    evaluating,
    forget_records,
    full_precision,
    keep_contiguous,
    keep_norm,
    load_weights,
    logits_of,
    marking_changing_weights,
    needs_contiguous,
    pooled_features,
    record_labels,
    record_logits,
    records_of_logits,
    same_classes,
    set_memory_format,
    without_integers,
)
from .replayed_passes import ReplayedPasses
from .unused_settings import unused_settings


@MODELS.register_module()
class CSDDistillation(BaseAlgorithm):
    """Distillation on the image bank, with an auxiliary head beside it.

    Each step trains the student, with its own loss on the labels and the
    distiller's losses, and then the auxiliary head on the student's features
    of the same batch (CSD algorithm 1; authors' code, train() of
    datafree_kd.py and train_head() of datafree/synthesis/csd.py). Images are
    made by ``SynthesisHook``, which finds student, teachers and head here.

    Args:
        architecture (dict | BaseModel): The student.
        teachers (dict[str, dict]): By name, as in MMRazor's
            ``DataFreeDistillation``: ``build_cfg``, and ``ckpt_path`` of the
            weights, a file or URL. Checkpoints of the run leave them out.
            ``ckpt_path='none'`` takes the weights that ``build_cfg`` gives,
            random ones in most cases. ``revise_keys`` changes the names in
            the file: pairs of a regular expression and its replacement.
        distiller (dict, optional): A ``ConfigurableDistiller`` for the
            student. An ``AlignConnector`` in it may leave out its channels.
            A loss without 'loss' in its name is only logged, as in MMRazor.
            Defaults to None, no distillation loss.
        aux_head (dict, optional): The auxiliary head, such as
            ``dict(type='SelfSupervisedAuxHead')``; its ``num_classes`` and
            ``in_channels`` are filled in. None turns the task off. Defaults
            to None.
        aux_feature (str, optional): Name of the student's module that
            returns the head's feature. None takes the input of the
            classifier's last layer. Defaults to None.
        student_loss (dict, optional): Loss of the student's logits on the
            labels. Defaults to the cross entropy, weight 1.
        student_ckpt (str, optional): Weights that the student starts from, a
            file or URL: of the network, or of a run whose student it was.
            None starts from scratch (or from what an ``init_cfg`` in
            ``architecture`` says). Defaults to None.
        image_shape (sequence[int]): (C, H, W) of the images. Defaults to
            (3, 32, 32).
        log_interval (int): ``LossReportHook`` reads the losses of every so
            many steps, and of those that are logged, off the device, which
            waits for it. Defaults to 10.
        graph (bool): Whether the forward and backward passes of steps are
            replayed as CUDA graphs, one of the student's and one of the
            head's; see docs/speed.md. Where there can be none, steps run
            one by one, and the log says why. Defaults to False.
        data_preprocessor (dict | nn.Module, optional): Usually a
            ``BankDataPreprocessor``. Defaults to the student's.
        **kwargs: Arguments of ``BaseAlgorithm``.

    Raises:
        FileNotFoundError: If a teacher's checkpoint is missing.
        TypeError: If ``teachers`` is no dict of such dicts.
        ValueError: If a teacher has an unknown key or no weights, if teachers
            and student have different numbers of classes, or the parts do
            not fit in another way; says which and how.
    """

    def __init__(
        self,
        architecture: Any,
        teachers: Dict[str, Dict],
        distiller: Optional[Dict] = None,
        aux_head: Optional[Dict] = None,
        aux_feature: Optional[str] = None,
        student_loss: Optional[Dict] = dict(
            type='mmpretrain.CrossEntropyLoss'
        ),
        student_ckpt: Optional[str] = None,
        image_shape: Sequence[int] = (3, 32, 32),
        log_interval: int = 10,
        graph: bool = False,
        **kwargs,
    ) -> None:
        # What is drawn for other weights does not depend on whether those
        # that are loaded afterwards were drawn before.
        with torch.random.fork_rng([], enabled=student_ckpt is not None):
            super().__init__(architecture=architecture, **kwargs)
        check_ties(self.student, 'student')
        check_value('graph of CSDDistillation', graph, (bool,))
        self.replayed = ReplayedPasses() if graph else None
        check_image_shape('image_shape of CSDDistillation', image_shape)
        self.image_shape = tuple(image_shape)
        # Others that images of a validation had.
        self.sizes_told: Set[Tuple[int, ...]] = set()
        check_integer('log_interval of CSDDistillation', log_interval)
        self.log_interval = log_interval
        # Once it is known, see :meth:`check_targets`.
        self._records: Dict[str, Tuple[int, int]] = {}
        self._kept_maps: Optional[KeptMaps] = None
        self.student_ckpt = student_ckpt
        if student_ckpt is None:
            want_whole_files(self.student, 'model.architecture', False)
        self.aux_feature = aux_feature
        self.teachers = self._build_teachers(teachers)
        inputs = torch.zeros(2, *self.image_shape)
        if not isinstance(
            self.data_preprocessor, BankDataPreprocessor
        ) and getattr(self.data_preprocessor, 'batch_augments', None):
            raise ValueError(
                'batch_augments of data_preprocessor='
                f'{type(self.data_preprocessor).__name__} mixes images, but '
                'not the labels that CSDDistillation trains on: leave it out.'
            )
        check_preprocessor(
            self.data_preprocessor,
            self.image_shape,
            {f'teachers.{name}': m for name, m in self.teachers.items()},
        )
        num_classes = self._count_classes(inputs)
        self._switch_inplace_off()
        self.student_loss = (
            MODELS.build(student_loss) if student_loss else None
        )
        self.distiller = self._build_distiller(distiller, inputs)
        if self.student_loss is None and not any(
            'loss' in name for name in self.distiller.distill_losses
        ):
            raise ValueError(
                'CSDDistillation has nothing to train the '
                'student with: give it a student_loss or a '
                'distiller with a loss.'
            )
        self._check_weights()
        self.aux_head = self._build_aux_head(aux_head, num_classes, inputs)
        self._check_losses(inputs)
        self._keep_contiguous(inputs)
        self._set_memory_formats()
        self._mark_changing_weights()

    @property
    def student(self) -> nn.Module:
        """Alias for ``architecture``."""
        return self.architecture

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[List] = None,
        mode: str = 'tensor',
        labels: Optional[Tensor] = None,
        targets: Optional[Tensor] = None,
        maps: Optional[Tensor] = None,
    ) -> Any:
        """Forward in one of MMEngine's modes, or in mode 'aux_loss'.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.
            data_samples (list, optional): For 'predict'.
            mode (str): 'loss' and 'aux_loss' return losses of the student and
                of the auxiliary head, 'tensor' and 'predict' what the student
                returns.
            labels (Tensor, optional): Classes, (N, ), for the losses.
            targets (Tensor, optional): The teacher's logits of the inputs,
                (N, K), for 'loss'; without them the teachers run.
            maps (Tensor, optional): What else of the teacher is kept, see
                :meth:`loss`.
        """
        if mode == 'loss':
            # A class of one's own may have a loss without targets.
            given = dict(targets=targets, maps=maps)
            given = {k: v for k, v in given.items() if v is not None}
            return self.loss(inputs, labels, **given)
        if mode == 'aux_loss':
            return self.aux_loss(inputs, labels)
        if mode == 'predict':
            self.tell_size(tuple(inputs.shape[-2:]))
        return super().forward(inputs, data_samples, mode)

    def tell_size(self, size: Tuple[int, ...]) -> None:
        """Warn of images of another size than the student learns from.

        Args:
            size (tuple[int]): (H, W). Each is told once.
        """
        own = self.image_shape[1:]
        if size == own or size in self.sizes_told:
            return
        self.sizes_told.add(size)
        print_log(
            f'Images of a validation or test are {size[0]}x{size[1]}, height '
            f'by width, but those of training {own[0]}x{own[1]} '
            '(model.image_shape), which may change what the networks say of '
            'them. To scale them, add dict(type="Resize", '
            f'scale={own[::-1]}) to the pipeline of their data set.',
            'current',
            logging.WARNING,
        )

    def check_targets(self, with_maps: bool = False) -> Optional[KeptMaps]:
        """Check that what is kept of the teacher is all that is needed of it.

        Args:
            with_maps (bool): Whether that is more than its logits. Defaults
                to False.

        Returns:
            KeptMaps | None: What else is kept, if anything is.

        Raises:
            ValueError: If a loss looks at something else; says what to do.
        """
        if self._records and with_maps == (self._kept_maps is not None):
            return self._kept_maps
        if len(self.teachers) > 1:
            raise ValueError(
                'The targets of an image bank are of one teacher, but '
                f'model.teachers has {", ".join(self.teachers)}: keep no '
                'targets (keep_targets of the synthesizer, target_views of '
                'SynthesisHook).'
            )
        distiller = self.distiller
        if distiller.deliveries.deliveries:
            raise ValueError(
                'The deliveries of model.distiller bring something from a '
                "pass of the teacher, but with the image bank's targets there "
                'is none: leave them out, or keep no targets (keep_targets of '
                'the synthesizer, target_views of SynthesisHook).'
            )
        (teacher,) = self.teachers.values()
        device = next(teacher.parameters()).device
        inputs = self._some_images().to(device)
        with torch.no_grad(), distiller.teacher_recorders:
            logits = logits_of(teacher(inputs, mode='tensor'))
        self._records, kept_maps = records_of_logits(
            distiller, logits, with_maps
        )
        self._kept_maps = kept_maps if with_maps else None
        return self._kept_maps

    def loss(
        self,
        inputs: Tensor,
        labels: Tensor,
        targets: Optional[Tensor] = None,
        maps: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        """Losses of the student.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.
            labels (Tensor): Classes, (N, ).
            targets (Tensor, optional): The teacher's logits of the inputs,
                (N, K), which spare its pass. Defaults to None.
            maps (Tensor, optional): Beside them, what :meth:`check_targets`
                says, (N, L). Defaults to None.

        Returns:
            dict[str, Tensor]: By name, scalars.
        """
        distiller = self.distiller
        distiller.set_deliveries_override(False)
        if targets is not None:
            kept_maps = self.check_targets(maps is not None)
            record_logits(distiller, self._records, full_precision(targets))
            if kept_maps is not None and maps is not None:
                kept_maps.record(maps)
        else:
            with distiller.teacher_recorders, distiller.deliveries:
                with torch.no_grad():
                    for teacher in self.teachers.values():
                        teacher(inputs, mode='tensor')
        distiller.set_deliveries_override(True)
        with distiller.student_recorders, distiller.deliveries:
            logits_s = logits_of(self.student(inputs, mode='tensor'))
            record_labels(
                distiller.student_recorders, self.student, logits_s, labels
            )
        losses = {}
        if self.student_loss is not None:
            losses['student.loss'] = self.student_loss(
                full_precision(logits_s), labels
            )
        mappings = distiller.loss_forward_mappings
        losses.update(
            add_prefix(distill_losses(distiller, mappings), 'distill')
        )
        # Copies of networks have their hooks, and could not copy a graph.
        forget_records(distiller)
        return losses

    def aux_loss(self, inputs: Tensor, labels: Tensor) -> Dict[str, Tensor]:
        """Loss of the auxiliary head; the student is in eval mode.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.
            labels (Tensor): Classes, (N, ).

        Returns:
            dict[str, Tensor]: ``loss_aux``, a scalar.
        """
        views, drawn = self.aux_head.views(inputs)
        with evaluating(self.student), torch.no_grad():
            features = pooled_features(self.student, views, self.aux_feature)
        return self.aux_head.loss(features, labels, drawn)

    def val_step(self, data: Any) -> List[Any]:
        """Predict a batch.

        Args:
            data (dict): As of mmpretrain.

        Returns:
            list[DataSample]: The predictions, on the CPU.
        """
        samples: List[Any] = super().val_step(data)
        if next(self.student.parameters()).device.type != 'cpu':
            bring_to_host(samples)
        return samples

    def test_step(self, data: Any) -> List[Any]:
        """As :meth:`val_step`."""
        return self.val_step(data)

    def train_step(
        self,
        data: Dict,
        optim_wrapper: OptimWrapper,
        forward: Optional[Callable] = None,
    ) -> Dict[str, Tensor]:
        """Train the student one step, then the auxiliary head.

        Args:
            data (dict): A batch of the bank (``inputs``, ``labels`` and
                perhaps ``targets``), or one of mmpretrain's (``inputs`` and
                ``data_samples``).
            optim_wrapper (OptimWrapper): An ``OptimWrapperDict`` with
                'architecture' and, if there is a head, 'aux_head'.
            forward (Callable, optional): What is called for the losses; the
                wrapper for distributed training passes itself. Defaults to
                this module.

        Returns:
            dict[str, Tensor]: The losses, and norms of gradients that are
            clipped, scalars on the device, without graph. Nothing here waits
            for it.

        Raises:
            ValueError: If an optimizer is lacking.
        """
        forward = forward or self
        # Preprocessors other than the bank's drop what they do not know.
        data = {**data, **self.data_preprocessor(data, True)}
        inputs, labels = data['inputs'], data.get('labels')
        if labels is not None:
            labels = to_device(labels, inputs.device)
        else:
            labels = torch.cat([s.gt_label for s in data['data_samples']])
        optimizers = optim_wrapper
        if not isinstance(optim_wrapper, OptimWrapperDict):
            optimizers = dict(architecture=optim_wrapper)
        check_optimizers(optimizers, self.aux_head is not None)
        given = {}
        for name in ('targets', 'maps'):
            if name in data:
                given[name] = to_device(data[name], inputs.device)
        steps = [('architecture', 'loss', given)]
        if self.aux_head is not None:
            steps.append(('aux_head', 'aux_loss', {}))
        log_vars = {}
        for name, mode, given in steps:
            optimizer = optimizers[name]
            passes = partial(self._passes, forward, optimizer, mode)
            batch = dict(inputs=inputs, labels=labels, **given)
            if self.replayed is None:
                loss, part_vars = passes(**batch)
            else:
                loss, part_vars = self.replayed(
                    name, passes, batch, self, optimizer, forward is not self
                )
            norm = keep_norm(optimizer)
            optimizer.update_params(loss)
            if mode == 'aux_loss':
                part_vars.pop('loss')  # the sum; ``loss`` is the student's
            if norm is not None and norm.value is not None:
                prefix = 'aux_head.' if mode == 'aux_loss' else ''
                part_vars[prefix + optimizer.grad_name] = norm.value
            log_vars.update(part_vars)
        return {name: value.detach() for name, value in log_vars.items()}

    def _passes(
        self, forward: Callable, optimizer: OptimWrapper, mode: str, **batch
    ) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Losses of a part, their sum first."""
        with optimizer.optim_context(forward):
            losses = forward(batch.pop('inputs'), mode=mode, **batch)
        return self.parse_losses(losses)

    def init_weights(self) -> None:
        """Draw the weights; then the student gets those it is to start from.

        Raises:
            FileNotFoundError: If there is no file ``student_ckpt``.
            ValueError: If it is of another network.
        """
        self._tell_of_unused_settings()
        with without_integers(self):
            if self.student_ckpt is not None:
                with torch.random.fork_rng([]):
                    self.student.init_weights()
            super().init_weights()
        if self.student_ckpt is not None:
            load_weights(self.student, self.student_ckpt, 'model.student_ckpt')
        elif hasattr(self.student, 'pruned_from'):
            print_log(
                'The student has the shapes of the pruned network in '
                f'{self.student.pruned_from}, but no weights of it, since '
                'model.student_ckpt is None: to repair that network, set it '
                'to the same file.',
                'current',
                logging.WARNING,
            )

    def _tell_of_unused_settings(self) -> None:
        found = unused_settings(
            self.student,
            self.data_preprocessor,
            self.image_shape,
            self.student_loss,
        )
        if found:
            print_log(
                'model.architecture has settings that are for training it by '
                f'itself, and do nothing here: {"; ".join(found)}.',
                'current',
                logging.WARNING,
            )

    def train(self, mode: bool = True) -> 'CSDDistillation':
        """Set the mode; teachers stay in eval mode."""
        super().train(mode)
        self.teachers.eval()
        return self

    def _apply(self, *args, **kwargs) -> 'CSDDistillation':
        """Move or cast the weights, into the format for where they are."""
        super()._apply(*args, **kwargs)
        self._set_memory_formats()
        return self

    def _set_memory_formats(self) -> None:
        set_memory_format(
            self.student,
            *self.teachers.values(),
            self.distiller,
            self.aux_head,
        )

    def _keep_contiguous(self, inputs: Tensor) -> None:
        """Take channels_last away from what cannot do with it."""
        inputs = inputs.to(memory_format=torch.channels_last)
        networks = [self.student, *self.teachers.values()]

        def predict(network: nn.Module) -> None:
            with evaluating(network), torch.no_grad():
                network(inputs, mode='tensor')

        for network in networks:
            if needs_contiguous(partial(predict, network), network):
                keep_contiguous(network)

        def learn() -> None:
            with as_in_training(self.student, self.distiller):
                self.loss(inputs, inputs.new_zeros(len(inputs)).long())

        # Connectors and losses see the maps of all networks.
        networks.append(self.distiller)
        if needs_contiguous(learn, *networks):
            for network in networks:
                keep_contiguous(network)

    def _mark_changing_weights(self) -> None:
        """Let nothing be precomputed of weights that networks change."""
        inputs = self._some_images()
        for network in (self.student, *self.teachers.values()):
            with (
                evaluating(network),
                torch.random.fork_rng([]),
                torch.no_grad(),
                marking_changing_weights(network),
            ):
                network(inputs, mode='tensor')
        with (
            as_in_training(self.student, self.distiller),
            marking_changing_weights(self.student, self.distiller),
        ):
            self.loss(inputs, inputs.new_zeros(len(inputs)).long())

    def _build_teachers(self, teachers: Dict[str, Dict]) -> nn.ModuleDict:
        check_teachers(teachers)
        models = nn.ModuleDict()
        for name, cfg in teachers.items():
            models[name] = build_teacher(name, cfg)
            if cfg.get('ckpt_path', NO_FILE) != NO_FILE:
                exclude_from_checkpoints(self, f'teachers.{name}')
        return models.requires_grad_(False).eval()

    def set_module_inplace_false(self, *args: Any) -> None:
        """Left for when there are images to try it on."""

    def _switch_inplace_off(self) -> None:
        # Or recorders would see what the layer after theirs makes of it.
        networks = {f'teachers.{k}': v for k, v in self.teachers.items()}
        if not self.module_inplace:
            networks['student'] = self.student

        def predict(network: nn.Module, images: Tensor) -> Tensor:
            with evaluating(network), torch.random.fork_rng([]):
                torch.manual_seed(0)
                with torch.no_grad():
                    return logits_of(network(images, mode='tensor'))

        for name, network in networks.items():
            switch_inplace_off(
                network, lambda n=network: predict(n, self._some_images())
            )
            images = self._some_images()
            version = images._version
            predict(network, images)
            if images._version != version:
                raise ValueError(
                    f'{name} changes its inputs in place, which other '
                    'networks get, too: write x = x + 1 and not x += 1 in its '
                    'forward(), and inplace=False in its first layer.'
                )

    def _count_classes(self, inputs: Tensor) -> int:
        images = f'images of image_shape={self.image_shape}'
        networks = dict(student=self.student, **self.teachers)
        with evaluating(self.student), torch.no_grad():
            classes = {
                name: count_classes(model, inputs, name, images)
                for name, model in networks.items()
            }
        with as_in_training(self.student):
            # Auxiliary heads, say, run in training alone.
            name = 'student in train mode'
            found = count_classes(self.student, inputs, name, images)
            if found != classes['student']:
                classes[name] = found
        check_trains_what_decides(self.student, inputs)
        check_kept_state(self.student, inputs)
        return same_classes(classes)

    def _build_distiller(
        self, cfg: Optional[Dict], inputs: Tensor
    ) -> nn.Module:
        cfg = infer_connectors(
            cfg or dict(type='ConfigurableDistiller'),
            self.student,
            self.teachers,
            inputs,
        )
        distiller = MODELS.build(cfg)
        check_mappings(distiller)
        check_recorders(
            distiller, self.student, self.teachers, self.image_shape[1:]
        )
        distiller.prepare_from_student(self.student)
        distiller.prepare_from_teacher(self.teachers)
        if isinstance(distiller, OFDDistiller):
            # As OverhaulFeatureDistillation of MMRazor does.
            try:
                distiller.init_ofd_connectors(self.teachers)
            except ZeroDivisionError as error:
                raise ValueError(
                    'A channel of the teacher that OFDDistiller looks at has '
                    'a BN weight of 0, for which OFD has no margin: choose '
                    'another layer for teacher_recorders.'
                ) from error
        return distiller

    def _check_weights(self) -> None:
        """Refuse to train a student away from labels or teacher."""
        losses = {
            f'distiller.distill_losses.{name}': loss
            for name, loss in self.distiller.distill_losses.items()
        }
        for name, loss in dict(losses, student_loss=self.student_loss).items():
            weight = getattr(loss, 'loss_weight', 0)
            if isinstance(weight, (int, float)) and weight < 0:
                raise ValueError(
                    f'model.{name}.loss_weight should be 0 or more, but got '
                    f'{weight}: the student would learn the opposite.'
                )

    def _check_losses(self, inputs: Tensor) -> None:
        labels = torch.zeros(len(inputs), dtype=torch.int64)
        student = self.student
        with as_in_training(student, self.distiller), torch.enable_grad():
            try:
                losses = self.loss(inputs, labels)
            except Exception as error:
                raise ValueError(
                    "The student's losses cannot be computed: check "
                    'model.distiller (its recorders, connectors and '
                    'loss_forward_mappings) and model.student_loss. '
                    f'{named_error(error)}'
                ) from error
            images = self._some_images()
            check_not_cut_off(
                'student',
                student.net if type(student) is TorchClassifier else student,
                lambda: logits_of(student(images, mode='tensor')),
                self.parse_losses(losses)[0],
            )

    def _some_images(self) -> Tensor:
        """Two images, normalised, that are not 0."""
        images = torch.linspace(0, 1, 2 * math.prod(self.image_shape))
        mean = getattr(self.data_preprocessor, 'mean', images)
        images = images.view(2, *self.image_shape).to(mean.device)
        # Networks may look at whether they are given such.
        return normalize_images(images, self.data_preprocessor)

    def _build_aux_head(
        self, cfg: Optional[Dict], num_classes: int, inputs: Tensor
    ) -> Optional[nn.Module]:
        if cfg is None:
            return None
        with evaluating(self.student), torch.no_grad():
            features = pooled_features(self.student, inputs, self.aux_feature)
        head = MODELS.build(
            dict(
                dict(num_classes=num_classes, in_channels=features.shape[1]),
                **cfg,
            )
        )
        check_views(head.task, inputs.shape[1:])
        try:
            with evaluating(head), torch.no_grad():
                head(features)
        except Exception as error:
            raise ValueError(
                "aux_head does not take the student's features of shape "
                f'{tuple(features.shape)}: leave in_channels out of '
                f'model.aux_head. {named_error(error)}'
            ) from error
        check_not_cut_off('aux_head', head, lambda: head(features + 1))
        return head


def check_optimizers(present: Container[str], has_head: bool) -> None:
    """Check that there is an optimizer for what is trained.

    Args:
        present (container[str]): Names of the parts that have one.
        has_head (bool): Whether there is an auxiliary head.

    Raises:
        ValueError: If one is lacking; says what to set.
    """
    for name in ('architecture', 'aux_head')[: 1 + has_head]:
        if name not in present:
            raise ValueError(
                f'CSDDistillation needs an optimizer for its "{name}": set '
                'optim_wrapper=dict(constructor='
                '"mmrazor.DistillationOptimWrapperConstructor", architecture='
                'dict(optimizer=...), aux_head=dict(optimizer=...)).'
            )
