# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The config of a run, made of plain arguments."""

from copy import deepcopy
from math import ceil
from typing import (
    Any,
    Dict,
    Literal,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
import torch.nn as nn

from ..models.augments import RandomCropFlip, check_padding
from ..models.classifiers import is_pruned
from ..models.synthesizers.objective import PRIORS_WITHOUT_BN
from ..models.utils import bn_layers
from ..utils.arguments import fits
from ..utils.suggestions import did_you_mean
from .inputs import Inputs
from .networks import Network, Traced
from .schedule import Schedule

_PRIORS: Dict[str, Dict[str, Any]] = dict(
    loss_oh=dict(type='OneHotLoss', loss_weight=1),
    loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
)
# Terms of synthesis of the methods there are, as in configs/baselines.
METHODS: Dict[str, Dict[str, Any]] = dict(
    csd=dict(_PRIORS, loss_csd=dict(type='CSDLoss', loss_weight=10)),
    plain=_PRIORS,
    adversarial=dict(
        _PRIORS, loss_adv=dict(type='AdversarialLoss', loss_weight=1)
    ),
    fast=dict(
        loss_oh=dict(type='OneHotLoss', loss_weight=0.4),
        loss_bn=dict(
            type='MovingBNStatisticsLoss', loss_weight=10, momentum=0.9
        ),
        loss_adv=dict(
            type='AdversarialLoss', loss_weight=1.1, agreed_only=True
        ),
    ),
    cmi=dict(
        _PRIORS,
        loss_adv=dict(
            type='AdversarialLoss', loss_weight=0.5, agreed_only=True
        ),
        loss_cr=dict(
            type='ContrastiveLoss', loss_weight=0.8, tau=0.1, memory_size=256
        ),
    ),
    deepinversion=dict(
        loss_oh=dict(type='OneHotLoss', loss_weight=1),
        loss_bn=dict(type='BNStatisticsLoss', loss_weight=10),
        loss_tv=dict(type='TotalVariationLoss', loss_weight=2.5e-5),
        loss_l2=dict(type='L2PriorLoss', loss_weight=3e-8),
        loss_competition=dict(
            type='CompetitionLoss', loss_weight=10, clamped=True
        ),
    ),
)
# What each pretext task needs: square images, or three channels.
TASKS = dict(
    rotation=('RotationTask', True, False),
    flip=('FlipTask', False, False),
    half_shift=('HalfShiftTask', False, False),
    channels=('ChannelPermutationTask', False, True),
    rotation_channels=('RotationPermutationTask', True, True),
)
# Crops and flips of each image, of which a teacher's answers are kept.
_VIEWS = 4
# Share of each round by which a student is measured without validation.
HELD_OUT = 0.1


def without_numpy(value: Any) -> Any:
    """Numbers and texts of NumPy as Python's own, in lists and dicts, too."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(map(without_numpy, value))
    if isinstance(value, dict):
        return {key: without_numpy(each) for key, each in value.items()}
    return value


def method_of(
    method: Optional[str],
    budget: Union[str, int, float],
    aux_task: str,
    loss_weights: Optional[Dict[str, float]] = None,
    schedule: Optional[Dict[str, Any]] = None,
) -> str:
    """How images are made.

    Args:
        method (str, optional): As of :func:`distill`, like what follows.
        budget (str | int | float): As of :func:`parse_budget`.
        aux_task (str): The pretext task.
        loss_weights (dict[str, float], optional): Weights of losses.
        schedule (dict[str, Any], optional): Numbers of the schedule.

    Raises:
        ValueError: If something is given for a term that the method lacks.
    """
    of_term = [f'aux_task={aux_task!r}'] if aux_task != 'auto' else []
    if 'csd' in (schedule or {}):
        of_term.append("'csd' of schedule")
    if method is None:
        is_meant = of_term or 'csd' in (loss_weights or {})
        return 'csd' if budget == 'paper' or is_meant else 'plain'
    if of_term and 'loss_csd' not in METHODS.get(method, ['loss_csd']):
        raise ValueError(
            f'{" and ".join(of_term)} would do nothing with '
            f"method={method!r}: leave it out, or give method='csd'."
        )
    return method


def is_normalised(network: nn.Module) -> bool:
    """Whether there is a BN layer for each layer with weights but the last.

    Others diverge at the rates that networks with BN are trained with, unless
    their gradients are clipped.
    """
    layers = sum(map(_has_matrix, network.modules()))
    return layers - 1 <= len(bn_layers(network))


def _has_matrix(part: nn.Module) -> bool:
    """Whether it is a layer with weights, also of another class, as LSTMs."""
    return isinstance(part, (nn.modules.conv._ConvNd, nn.Linear)) or any(
        'weight' in name and value.ndim > 1
        for name, value in part.named_parameters(recurse=False)
    )


def augmentation(
    given: Union[str, None, Dict[str, Any]], image_shape: Sequence[int]
) -> Optional[Dict[str, Any]]:
    """How images are augmented.

    Args:
        given (str | dict | None): 'auto', None for none, or padding (pixels)
            and flip_prob (0..1) of a random crop and flip; what is left out
            is as with 'auto'.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        ValueError: If it is something else.
    """
    channels, height, width = image_shape
    if given is None:
        return None
    # Grey images are digits and letters mostly, which are not flipped.
    smallest = min(height, width)
    auto = dict(
        padding=smallest // 8 if channels > 1 else smallest // 14,
        flip_prob=0.5 if channels > 1 else 0,
    )
    if given == 'auto':
        given = auto
    wrong = (
        [n for n in given if n not in auto] if isinstance(given, dict) else []
    )
    if not isinstance(given, dict) or wrong:
        raise ValueError(
            'augment should be "auto", None or dict(padding=..., '
            f'flip_prob=...), but got {given!r}.'
            + (did_you_mean(wrong[0], auto) if wrong else '')
        )
    whole = {**auto, **given}
    try:
        padding = RandomCropFlip(**whole).padding  # checks them
    except (TypeError, ValueError) as error:
        raise type(error)(f'augment={given!r}: {error}') from error
    check_padding('augment', padding, image_shape)
    return dict(type='RandomCropFlip', **whole)


def pretext_task(given: str, image_shape: Sequence[int]) -> Dict[str, Any]:
    """The task of the auxiliary head.

    Args:
        given (str): One of ``TASKS``, or 'auto'.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        ValueError: If there is none of that name, or images are not what it
            needs; names those that fit.
    """
    channels, height, width = image_shape
    fitting = [
        name
        for name, (_, square, colour) in TASKS.items()
        if (height == width or not square) and (channels == 3 or not colour)
    ]
    if given == 'auto':
        return dict(type=TASKS[fitting[0]][0])
    if given not in fitting:
        what = 'does not fit' if given in TASKS else 'is none'
        raise ValueError(
            f'aux_task={given!r} {what}: images of {tuple(image_shape)} can '
            f'have {", ".join(fitting)}.'
            + did_you_mean(given, [] if given in TASKS else fitting)
        )
    return dict(type=TASKS[given][0])


def make_config(
    teacher: Network,
    student: Network,
    traced_teacher: Traced,
    traced_student: Traced,
    inputs: Inputs,
    schedule: Schedule,
    method: str = 'plain',
    loss_weights: Optional[Dict[str, float]] = None,
    aux_task: str = 'auto',
    augment: Union[str, None, Dict[str, Any]] = 'auto',
    weights: Optional[Dict[str, str]] = None,
    val: Optional[Dict[str, Any]] = None,
    val_interval: int = 1,
    seed: int = 0,
    amp: Optional[str] = None,
    init_bank: Optional[str] = None,
    init_labels: str = 'folders',
    blocks: bool = False,
    refit: bool = False,
    teacher_license: Optional[str] = None,
    onnx: bool = False,
    program: bool = False,
    classes: Optional[Sequence[str]] = None,
    keep_targets: bool = False,
    compile: Union[bool, Literal['reduce-overhead']] = False,
    graph: bool = False,
) -> Dict[str, Any]:
    """Make the config of a run; a pure function.

    Args:
        teacher (Network): The teacher.
        student (Network): The student.
        traced_teacher (Traced): What is in it.
        traced_student (Traced): Likewise.
        inputs (Inputs): What they get.
        schedule (Schedule): The numbers.
        method (str): One of ``METHODS``. Defaults to 'plain'.
        loss_weights (dict[str, float], optional): Weights of losses by name:
            those of the method without ``loss_``, and 'ce', 'kd', 'feature'
            of the student's.
        aux_task (str): See :func:`pretext_task`.
        augment (str | dict | None): See :func:`augmentation`.
        weights (dict[str, str], optional): Files of the weights of 'teacher'
            and 'student'.
        val (dict, optional): A data set. Defaults to None, no validation.
        val_interval (int): Epochs between two validations. Defaults to 1.
        seed (int): Of all random numbers. Defaults to 0.
        amp (str, optional): 'bfloat16' or 'float16'.
        init_bank (str, optional): Images to start with.
        init_labels (str): Where their labels come from.
        blocks (bool): Whether the student starts from blocks of the teacher.
            Defaults to False.
        refit (bool): Whether the student, which was pruned from the teacher,
            is fitted to it before training. Defaults to False.
        teacher_license (str, optional): What the teacher may be used under.
        onnx (bool): Whether an ONNX file of the student is written. Defaults
            to False.
        program (bool): Whether a program of it is. Defaults to False.
        classes (sequence[str], optional): Names of the classes in order.
        keep_targets (bool): Whether what the teacher says is kept with the
            bank. Defaults to False.
        compile (bool | str): As of ``ImageSynthesizer``.
        graph (bool): Likewise.

    Returns:
        dict[str, Any]: Plain data.

    Raises:
        ValueError: If an argument names something that there is not, or the
            method needs BN layers and the teacher has none.
    """
    losses, of_student = _losses(method, dict(loss_weights or {}), schedule)
    if 'loss_cr' in losses and not traced_teacher.has_bn:
        raise ValueError(
            f'method={method!r} compares images by what the BN layers of the '
            'teacher are given, but none run in this one: give '
            "loss_weights=dict(cr=0), or another method, such as 'fast'."
        )
    task = pretext_task(aux_task, inputs.image_shape)
    augment_cfg = augmentation(augment, inputs.image_shape)
    has_head = 'loss_csd' in losses
    with_feature = of_student['feature'] > 0 and None not in (
        traced_teacher.feature,
        traced_student.feature,
    )
    if not (of_student['ce'] or of_student['kd'] or with_feature):
        raise ValueError(
            f'loss_weights={loss_weights} turns off all losses of the '
            'student: give "ce" or "kd" a weight above 0.'
        )
    sgd: Dict[str, Any] = dict(
        optimizer=dict(
            type='SGD', lr=schedule.lr, momentum=0.9, weight_decay=1e-4
        )
    )
    of_head: Dict[str, Any] = deepcopy(sgd)
    of_head['optimizer']['lr'] = 0.1
    # At that rate, the loss of feature maps is at the edge of what is stable:
    # its second derivatives by the weights that align them last are about as
    # large as its weight. The paper, whose generators do not go on, does
    # without.
    with_large_steps = with_feature and schedule.warm
    if with_large_steps or not is_normalised(student.module):
        sgd['clip_grad'] = dict(max_norm=5)
    if amp:
        wrapper = (
            dict(type='mmrazor.AutocastOptimWrapper')
            if amp == 'bfloat16'
            else dict(type='AmpOptimWrapper', loss_scale='dynamic')
        )
        sgd.update(wrapper)
        of_head.update(wrapper)
    synthesizer = dict(
        type='ImageSynthesizer',
        batch_size=schedule.synthesis_batch,
        iters=schedule.iters,
        losses=losses,
        amp=amp,
        **_generation(method, schedule, inputs, augment_cfg, augment),
    )
    if compile:
        synthesizer['compile'] = compile
    if graph:
        synthesizer['graph'] = graph
    files = dict(weights or {})
    model: Dict[str, Any] = dict(
        _scope_='mmrazor',
        type='CSDDistillation',
        image_shape=list(inputs.image_shape),
        data_preprocessor=dict(
            type='BankDataPreprocessor',
            num_classes=traced_teacher.num_classes,
            mean=list(inputs.mean),
            std=list(inputs.std),
            to_rgb=False,
            augment=augment_cfg,
        ),
        architecture=_with_shapes(student, files.get('student')),
        student_ckpt=None if blocks else files.get('student'),
        teachers=dict(
            teacher=dict(
                build_cfg=_with_shapes(teacher, files.get('teacher')),
                ckpt_path=files.get('teacher', 'none'),
            )
        ),
        aux_head=dict(type='SelfSupervisedAuxHead', task=task)
        if has_head
        else None,
        aux_feature=traced_student.pooled,
        student_loss=dict(
            type='mmpretrain.CrossEntropyLoss', loss_weight=of_student['ce']
        )
        if of_student['ce']
        else None,
        distiller=_distiller(
            traced_teacher, traced_student, of_student, schedule, with_feature
        ),
    )
    imports = dict.fromkeys([*teacher.imports, *student.imports])
    cfg = dict(
        _run(seed, [each for each in imports if each != 'csd_mmrazor']),
        model=model,
        optim_wrapper=dict(
            constructor='mmrazor.DistillationOptimWrapperConstructor',
            architecture=sgd,
        ),
        auto_scale_lr=dict(base_batch_size=schedule.batch, enable=False),
        param_scheduler=dict(architecture=_rate(schedule)),
        train_cfg=dict(
            by_epoch=True,
            max_epochs=schedule.epochs,
            val_interval=val_interval,
        ),
        train_dataloader=dict(
            batch_size=schedule.batch,
            num_workers=0,
            dataset=dict(
                type='mmrazor.ImageBank',
                storage='host',
                init_bank=init_bank,
                init_labels=init_labels,
                # By which the student is measured where nothing else can.
                held_out=_held_out(schedule) if val is None else 0,
            ),
            sampler=dict(
                type='mmrazor.BankSampler',
                num_samples=schedule.steps * schedule.batch,
            ),
            collate_fn=dict(type='bank_collate'),
        ),
    )
    cfg['default_hooks']['synthesis'] = dict(
        type='mmrazor.SynthesisHook',
        rounds=schedule.rounds,
        init_rounds=schedule.init_rounds,
        init_iters=schedule.init_iters,
        max_retries=2,
        synthesizer=synthesizer,
    )
    if keep_targets:
        if not (of_student['kd'] or with_feature):
            raise ValueError(
                'keep_targets=True keeps what the teacher says, but no loss '
                'of the student looks at it: leave it out, or give '
                '"kd" or "feature" of loss_weights a weight above 0.'
            )
        if augment_cfg is None:
            raise ValueError(
                'keep_targets=True keeps what the teacher says of crops and '
                'flips, but augment=None makes none: leave out one of them, '
                'or give augment=dict(padding=0, flip_prob=0.5).'
            )
        # Small grey images are neither cropped nor flipped.
        differ = augment_cfg.get('padding') or augment_cfg.get('flip_prob')
        cfg['default_hooks']['synthesis'].update(
            target_views=_VIEWS if differ else 1, target_maps=with_feature
        )
    if classes is not None:
        cfg['train_dataloader']['dataset']['metainfo'] = dict(
            classes=list(classes)
        )
    export = cfg['default_hooks']['export']
    if teacher_license is not None:
        export['teacher_license'] = teacher_license
    if onnx:
        export['onnx'] = True
    if program:
        export['program'] = True
    if blocks:
        cfg['custom_hooks'] = [
            dict(type='mmrazor.TeacherBlocksHook', images=256)
        ]
    elif refit:
        cfg['custom_hooks'] = [dict(type='mmrazor.RefitHook', images=256)]
    if has_head:
        cfg['optim_wrapper']['aux_head'] = of_head
        cfg['param_scheduler']['aux_head'] = []
    if val is not None:
        loader = dict(
            batch_size=256,
            num_workers=0,
            dataset=val,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        evaluator = dict(type='Accuracy', topk=(1,))
        for name in ('val', 'test'):
            cfg[f'{name}_dataloader'] = deepcopy(loader)
            cfg[f'{name}_evaluator'] = dict(evaluator)
            cfg[f'{name}_cfg'] = dict()
    return cfg


def _with_shapes(network: Network, file: Optional[str]) -> Dict[str, Any]:
    """Let the file of a pruned network's weights say what was pruned."""
    if file is None or not is_pruned(network.build_cfg):
        return network.build_cfg
    return dict(network.build_cfg, shapes=file)


def _held_out(schedule: Schedule) -> float:
    """``HELD_OUT``, or an image of each round, if it has two."""
    batch = schedule.synthesis_batch
    return max(HELD_OUT, ceil(1000 / batch) / 1000) if batch > 1 else 0.0


def _generation(
    method: str,
    schedule: Schedule,
    inputs: Inputs,
    augment: Optional[Dict[str, Any]],
    given: Union[str, None, Dict[str, Any]],
) -> Dict[str, Any]:
    """Generator, optimizer and augmentation of the synthesizer.

    The generator takes the shape of its images from the algorithm.

    Args:
        method (str): One of ``METHODS``.
        schedule (Schedule): Numbers of the run.
        inputs (Inputs): What the networks take.
        augment (dict, optional): As of :func:`augmentation`.
        given (str | dict | None): What that was made of.
    """
    if method == 'deepinversion':
        # Small images are shifted, too, unless 0 was asked for.
        is_still = isinstance(given, dict) and given.get('padding') == 0
        least = 0 if is_still else 1
        return dict(
            generator=dict(
                type='PixelGenerator',
                mean=list(inputs.mean),
                std=list(inputs.std),
            ),
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999)),
            augment=augment
            and dict(
                type='RandomRoll',
                shift=max(least, augment['padding'] // 2),
                flip_prob=augment['flip_prob'],
            ),
            labels='balanced',
            keep='last',
        )
    cfg: Dict[str, Any] = dict(
        generator=dict(
            type='CSDGenerator',
            latent_dim=schedule.latent_dim,
            hidden_channels=schedule.hidden_channels,
        ),
        optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999)),
        augment=augment,
    )
    if method == 'fast':
        lr = 2e-3
        cfg['generator']['init_cfg'] = None
        cfg['optimizer']['lr'] = lr
        cfg['latent_lr'] = 0.01
        cfg['meta'] = dict(
            type='MetaGenerator',
            rule='fomaml',
            optimizer=dict(
                type='Adam', lr=lr * schedule.iters, betas=(0.5, 0.999)
            ),
        )
    elif schedule.warm:
        cfg['meta'] = dict(
            type='MetaGenerator',
            rule='reptile',
            optimizer=dict(type='SGD', lr=1),
        )
    if method == 'cmi':
        cfg['view_augment'] = dict(
            type='RandomResizedCropFlip',
            scale=(0.25, 1),
            flip_prob=(augment or {}).get('flip_prob', 0),
        )
    return cfg


def _losses(
    method: str,
    given: Dict[str, float],
    schedule: Schedule,
) -> Tuple[Dict[str, Dict[str, Any]], Dict[str, float]]:
    """Terms of synthesis, and weights of the student's losses."""
    if method not in METHODS:
        raise ValueError(
            f'method should be one of {", ".join(METHODS)}, but got '
            f'{method!r}.{did_you_mean(method, METHODS)}'
        )
    losses = deepcopy(METHODS[method])
    if 'loss_csd' in losses:
        losses['loss_csd']['loss_weight'] = schedule.csd
    of_student: Dict[str, float] = dict(
        ce=1.0, kd=1.0, feature=schedule.feature
    )
    if 'adv' in given and 'loss_adv' not in losses:
        losses['loss_adv'] = dict(type='AdversarialLoss')
    known = [*of_student, *(name[5:] for name in losses)]
    for name, value in given.items():
        if name not in known:
            raise ValueError(
                f'loss_weights has no {name!r} with method={method!r}.'
                f'{did_you_mean(name, known)} What it can have: '
                f'{", ".join(known)}.'
            )
        if not fits(value, float) or value < 0:
            raise ValueError(
                f'loss_weights[{name!r}] should be a number, 0 or more, but '
                f'got {value!r}.'
            )
        if name in of_student:
            of_student[name] = float(value)
        else:
            losses[f'loss_{name}']['loss_weight'] = value
    if not any(loss['loss_weight'] for loss in losses.values()):
        raise ValueError(
            f'loss_weights={given} turns off all losses of the images: give '
            'one of them a weight above 0, such as "oh" or "bn".'
        )
    # A teacher without BN gets priors that are not there, and not those of
    # weight 0.
    losses = {
        name: loss
        for name, loss in losses.items()
        if loss['loss_weight'] or name in PRIORS_WITHOUT_BN
    }
    return losses, of_student


def _distiller(
    teacher: Traced,
    student: Traced,
    weights: Dict[str, float],
    schedule: Schedule,
    with_feature: bool,
) -> Dict[str, Any]:
    of_student, of_teacher, losses, mappings = {}, {}, {}, {}
    cfg: Dict[str, Any] = dict(type='ConfigurableDistiller')
    if weights['kd']:
        of_student['logits'] = _outputs(student.logits)
        of_teacher['logits'] = _outputs(f'teacher.{teacher.logits}')
        losses['loss_kd'] = dict(
            type='KLDivergence', tau=schedule.tau, loss_weight=weights['kd']
        )
        mappings['loss_kd'] = dict(
            preds_S=dict(from_student=True, recorder='logits'),
            preds_T=dict(from_student=False, recorder='logits'),
        )
    if with_feature:
        of_student['feature'] = dict(type='FeatureMap', source=student.feature)
        of_teacher['feature'] = dict(
            type='FeatureMap', source=f'teacher.{teacher.feature}'
        )
        cfg['connectors'] = dict(align=dict(type='AlignConnector'))
        losses['loss_feature'] = dict(
            type='L2Loss',
            normalize=False,
            div_element=True,
            loss_weight=weights['feature'],
        )
        mappings['loss_feature'] = dict(
            s_feature=dict(
                from_student=True, recorder='feature', connector='align'
            ),
            t_feature=dict(from_student=False, recorder='feature'),
        )
    return dict(
        cfg,
        student_recorders=of_student,
        teacher_recorders=of_teacher,
        distill_losses=losses,
        loss_forward_mappings=mappings,
    )


def _outputs(source: str) -> Dict[str, str]:
    return dict(type='ModuleOutputs', source=source.rstrip('.'))


def _rate(schedule: Schedule) -> Dict[str, Any]:
    steps = schedule.student_steps
    if schedule.schedule == 'one-cycle':
        if steps < 10:  # its two phases have one step each, or more
            raise ValueError(
                "schedule=dict(schedule='one-cycle') is for 10 student steps "
                f'or more, but here are {steps}: give a larger budget, or '
                "leave it 'cosine'."
            )
        return dict(
            type='OneCycleLR',
            eta_max=schedule.lr,
            total_steps=steps,
            pct_start=0.2,
            by_epoch=False,
        )
    return dict(type='CosineAnnealingLR', T_max=steps, by_epoch=False)


def _run(seed: int, imports: Sequence[str]) -> Dict[str, Any]:
    """What is the same in all runs, but for what networks import."""
    return dict(
        custom_imports=dict(
            imports=['csd_mmrazor', *imports], allow_failed_imports=False
        ),
        default_scope='mmpretrain',
        default_hooks=dict(
            runtime_info=dict(type='mmrazor.LossReportHook'),
            timer=dict(type='mmrazor.RunTimerHook'),
            logger=dict(type='LoggerHook', interval=100),
            param_scheduler=dict(type='ParamSchedulerHook'),
            checkpoint=dict(
                type='mmrazor.DurableCheckpointHook',
                interval=1,
                max_keep_ckpts=1,
            ),
            sampler_seed=dict(type='DistSamplerSeedHook'),
            divergence=dict(type='mmrazor.DivergenceHook'),
            agreement=dict(type='mmrazor.AgreementHook'),
            export=dict(type='mmrazor.ExportStudentHook'),
            stall=dict(type='mmrazor.StallHook'),
            report=dict(type='mmrazor.ReportHook'),
        ),
        env_cfg=dict(
            cudnn_benchmark=False,
            mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
            dist_cfg=dict(backend='nccl'),
        ),
        visualizer=dict(
            type='UniversalVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
        log_level='INFO',
        load_from=None,
        resume=False,
        randomness=dict(seed=seed),
        model_wrapper_cfg=dict(
            type='mmrazor.CSDDistributedDataParallel',
            find_unused_parameters=True,
        ),
    )
