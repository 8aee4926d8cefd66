# Copyright (c) csd_mmrazor developers. All rights reserved.
import io
import json
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral
from os import PathLike
from os.path import expanduser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import (
    Any,
    Dict,
    List,
    Literal,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.runner import BaseLoop, Runner

from ..datasets import BankError, FolderImages, ImageBank, check_init_bank
from ..engine import AgreementHook
from ..export import check_license
from ..export.onnx import check_onnx
from ..export.program import check_program
from ..models.classifiers import TorchClassifier
from ..models.utils import Chain, Place, about_outputs, own_memory
from ..utils import check_integer, parse_config, work_dir_lock, write_file
from ..utils.accuracy import AccuracyEstimate
from ..utils.agreement import estimate_of
from ..utils.alone import check_alone
from ..utils.arguments import (
    NoneType,
    check_arguments,
    check_positive,
    check_value,
)
from ..utils.control import has_commands
from ..utils.files import parse_json
from ..utils.imports import lend
from ..utils.numbers import MOST, is_too_large
from ..utils.short_repr import short_repr
from ..utils.suggestions import did_you_mean
from .argument_names import naming_arguments
from .became_worse import became_worse
from .blocks import blocks_of
from .config import (
    Inputs,
    is_normalised,
    make_config,
    method_of,
    normalisation,
    without_numpy,
)
from .isolation import isolated
from .networks import (
    Network,
    Traced,
    about_lent,
    copied,
    get_network,
    proven,
    trace,
)
from .pruned import pruned_places, share_of_zeros
from .quiet_runner import QuietRunner
from .schedule import (
    LONGEST,
    PLANNED,
    SCHEDULES,
    Schedule,
    Timings,
    fit_steps,
    fit_time,
    parse_budget,
    schedule_for,
    too_little,
)
from .start import (
    BLOCKS,
    RANDOM,
    check_start,
    digest_of_layers,
    digest_of_weights,
    start_of,
    told_of_weights,
)
from .trained_student import RATES, rate_for
from .trial import NEVER_TRAINED, Trial, run_trial
from .val_images import digest_of_val
from .wrong_arguments import helpful

# Files in the work dir.
CONFIG, RECORD = 'config.py', 'distill.json'
_HEAD = '# What distill() made of its arguments.'
# What is noted of ``val``, beside its name.
_VAL_IMAGES = 'images of val'
# Share of weights that are 0 from which a student counts as pruned of single
# weights.
_SPARSE = 0.1
# Fields of a schedule whose numbers are called otherwise there.
_NAMES_IN_CONFIGS = dict(
    batch='batch_size',
    synthesis_batch='batch_size',
    steps='max_epochs',
    epochs='max_epochs',
)
# Share of the time that validation may take.
_VALIDATING = 0.05


@dataclass(frozen=True)
class Plan:
    """What a run is going to do."""

    schedule: Schedule
    timings: Timings
    val_interval: int
    memory: int  # bytes
    disk: int  # bytes
    connector: int  # weights
    # Of a budget that is a time: all of it, and what went before the run.
    budget: Optional[float] = None  # seconds
    passed: float = 0.0  # seconds

    __repr__ = short_repr

    @property
    def seconds(self) -> float:
        """What it takes at the speed of the trial."""
        return self.timings.seconds(self.schedule, self.val_interval)

    def lines(self) -> List[str]:
        """The plan for people."""
        s, t = self.schedule, self.timings
        initial = s.init_rounds * t.init_round + t.imported
        return [
            f'plan: {_clock(self.seconds)} on this machine, of which '
            f'{_clock(initial)} for the first images',
            *self._shares(),
            f'  images: {s.images:,} of {s.synthesis_batch} a round'
            f'{", and those to start with" if t.imported else ""}; '
            f'{_many(s.synthesis_steps, "step")} of synthesis of '
            f'{1000 * t.round / s.iters:.0f} ms',
            f'  student: {_many(s.epochs, "epoch")} of '
            f'{_many(s.rounds, "round")} and {_many(s.steps, "step")} of '
            f'{_many(s.batch, "image")}; {_many(s.student_steps, "step")} '
            f'of {1000 * t.step:.0f} ms',
            *([f'  val: {self._validations()}'] if t.validation else []),
            *(
                [f'  blocks of the teacher: chosen in {_clock(t.choice)}']
                if t.choice
                else []
            ),
            *(
                [f'  pruned layers: fitted to the teacher in {_clock(t.fit)}']
                if t.fit
                else []
            ),
            f'  memory: {self.memory / 2**30:.1f} GiB; disk: '
            f'{self.disk / 2**20:.0f} MiB'
            + (
                f'; weights of the connector: {self.connector:,}'
                if self.connector
                else ''
            ),
        ]

    def late(self, seconds: float) -> str:
        """What to say of the time a run took; '' if it fits its budget."""
        if self.budget is None or seconds < self.budget + 1:
            return ''
        return (
            f'time: {_clock(round(seconds))}, '
            f'{_clock(round(seconds - self.budget))} more than the budget: '
            'steps took longer than when they were timed'
        )

    def _validations(self) -> str:
        """When the accuracy on the validation images is measured."""
        each = f'which takes {_clock(self.timings.validation)}'
        if self.val_interval >= self.schedule.epochs:
            return f'the accuracy is measured at the end, {each}'
        n = self.val_interval
        when = 'after each epoch' if n == 1 else f'every {n} epochs'
        return f'the accuracy is measured {when}, {each}'

    def _shares(self) -> List[str]:
        """Where the time of a budget goes; the parts add up to it."""
        if self.budget is None:
            return []
        budget, passed = round(self.budget), round(self.passed)
        planned = round(self.seconds)
        return [
            f'  budget: {_clock(budget)}, of which {_clock(passed)} have gone '
            f'into checks and the trial; the run takes {_clock(planned)}, and '
            f'{_clock(budget - passed - planned)} are a reserve for steps '
            'that take longer'
        ]


@dataclass
class Run:
    """What a distillation came to.

    Attributes:
        student (nn.Module): The student, trained, in eval mode.
        top1 (float | None): Its accuracy on ``val`` in %, after the last
            epoch.
        teacher_top1 (float | None): The teacher's.
        agreement (float | None): Without ``val``, for how many of the
            held-out synthetic images it decides like the teacher, in %. None
            with ``val``, or where none were held out.
        estimate (AccuracyEstimate | None): What students had that agreed as
            well, ``percent_of_teacher`` of the teacher's accuracy, which lies
            between ``low`` and ``high`` for 90 % of them; ``accuracy(93.4)``
            is that of a student whose teacher has 93.4 %. It is rough
            (docs/label_free.md). None as ``agreement``, or where the teacher
            takes few of these images for the class of their label.
        report (Path | None): The report, for a browser.
        work_dir (Path): Where all is.
        config (Path): The config, for ``tools/train.py``.
        plan (Plan): What was planned.
        seconds (float): What this call took.
        warnings (list[str]): What this package has warned of, printed or in
            the log, each text once; of earlier calls that this one continued,
            too.
    """

    student: nn.Module = field(repr=False)  # hundreds of lines
    top1: Optional[float]
    teacher_top1: Optional[float]
    report: Optional[Path]
    work_dir: Path
    config: Path
    plan: Plan
    seconds: float
    warnings: List[str]
    agreement: Optional[float] = None
    estimate: Optional[AccuracyEstimate] = None

    __repr__ = short_repr


@helpful(
    {
        **{f.name: f'schedule=dict({f.name}=...)' for f in fields(Schedule)},
        'out': 'work_dir=...',
    }
)
def distill(
    teacher: Union[nn.Module, str],
    student: Union[nn.Module, str],
    *,
    image_shape: Sequence[int],
    mean: Union[None, str, float, Sequence[float]] = None,
    std: Union[None, str, float, Sequence[float]] = None,
    val: Any = None,
    budget: Union[str, int] = '15min',
    work_dir: Union[str, Path] = 'runs/distill',
    classes: Union[None, int, Sequence[str]] = None,
    teacher_weights: Optional[str] = None,
    student_weights: Optional[str] = None,
    teacher_args: Optional[Dict[str, Any]] = None,
    student_args: Optional[Dict[str, Any]] = None,
    teacher_feature: Optional[str] = None,
    student_feature: Optional[str] = None,
    student_pooled: Optional[str] = None,
    method: Optional[str] = None,
    loss_weights: Optional[Dict[str, float]] = None,
    aux_task: str = 'auto',
    augment: Union[str, None, Dict[str, Any]] = 'auto',
    schedule: Optional[Dict[str, Any]] = None,
    seed: int = 0,
    device: Optional[str] = None,
    amp: Optional[str] = None,
    init_bank: Optional[str] = None,
    init_labels: str = 'folders',
    teacher_blocks: Optional[bool] = None,
    refit: Optional[bool] = None,
    teacher_license: Optional[str] = None,
    onnx: bool = False,
    program: bool = False,
    keep_targets: bool = False,
    compile: Union[bool, Literal['reduce-overhead']] = False,
    graph: bool = False,
    plan_only: bool = False,
) -> Union[Run, Plan]:
    """Train a small network to do what a large one does, without its images.

    ::

        run = distill(teacher, student, image_shape=(1, 28, 28),
                      mean=[0.1307], std=[0.3081], val='data/mnist/test',
                      budget='15min', work_dir='runs/mnist')
        run.student      # trained, in eval mode
        run.top1, run.teacher_top1, run.report

    The teacher is inverted into images, and the student learns from the
    teacher on them. The work dir has the images, checkpoints, logs and the
    config of the run. The same call with the same work dir continues a run
    that was stopped. Nothing of the program is changed but the weights of
    ``student``: random states, default dtype, logging and the teacher stay
    as they are.

    Args:
        teacher (nn.Module | str): The trained network, which maps (N, C, H,
            W) to logits (N, K); or its name: ``file.py:Name`` or
            ``package.Name`` of a class or function that makes it, a model of
            mmpretrain, or a config file.
        student (nn.Module | str): The network to train, likewise. One that
            decides much like the teacher already, such as a pruned one, gets
            a lower learning rate, unless ``schedule`` has one. Which rate and
            why is said.
        image_shape (sequence[int]): (C, H, W), in pixels.
        mean (sequence[float] | float | str, optional): Mean of the images
            that the teacher was trained on, for each channel or all, in 0..1
            or 0..255; which of both is told apart. None or 'inside': the
            networks take images in 0..1.
        std (sequence[float] | float | str, optional): Standard deviation,
            likewise.
        val (str | Dataset | DataLoader, optional): Images to measure the
            accuracy on: a folder with one folder for each class, or pairs of
            image and label. Images in uint8 or 0..1 are normalised; other
            floats count as normalised. None measures no accuracy,
            estimates it by synthetic images (``Run.estimate``), and ends with
            the running mean of the student's weights.
        budget (str | int): A time ('90s', '15min', '1h30min'), a number of
            student steps, or 'paper' for the paper's schedule. Defaults to
            '15min'.
        work_dir (str | Path): The folder of the run. Defaults to
            'runs/distill'.
        classes (int | sequence[str], optional): Number of classes K, or their
            names in the order of the teacher's logits, by which the folders
            of ``val`` and ``init_bank`` are called. Defaults to what the
            networks return, and to folders in alphabetical order, or by
            number if all are numbers.
        teacher_weights (str, optional): A file or URL of the teacher's
            weights. Defaults to None, those it has.
        student_weights (str, optional): Weights that the student starts from.
        teacher_args (dict, optional): Arguments of what a name makes.
        student_args (dict, optional): Likewise.
        teacher_feature (str, optional): Name of the teacher's module that
            returns its last feature map. Defaults to what one pass finds.
        student_feature (str, optional): The student's, likewise.
        student_pooled (str, optional): Name of the student's module that
            returns its pooled feature, (N, D).
        method (str, optional): How images are made: 'csd', 'plain' (without
            the term of the auxiliary task), 'adversarial', 'fast', 'cmi' or
            'deepinversion'. Defaults to None: 'csd' for the paper's schedule,
            or if ``aux_task`` or a weight of that term is given, and
            otherwise 'plain', of which short runs had better students
            (docs/your_networks.md).
        loss_weights (dict[str, float], optional): Weights, 0 or more, of
            'oh', 'bn', 'csd', 'adv' (synthesis) and 'ce', 'kd', 'feature'
            (student); others stay as they are, 0 turns a term off.
        aux_task (str): 'rotation', 'flip', 'half_shift', 'channels',
            'rotation_channels' or 'auto', the first that fits the images.
        augment (str | dict, optional): Random crop and flip,
            dict(padding=pixels, flip_prob=0..1). None turns it off. Defaults
            to 'auto': no flips for grey images.
        schedule (dict, optional): Fields of :class:`Schedule` that are to
            differ, such as dict(batch=64).
        seed (int): Of all random numbers, 0..2**32-1. Defaults to 0.
        device (str, optional): 'cpu' or 'cuda'. Defaults to a GPU if there
            is one.
        amp (str, optional): 'bfloat16', or on a GPU 'float16', for mixed
            precision.
        init_bank (str, optional): Images to start with: the bank of another
            run, or a folder of images with one folder for each class.
        init_labels (str): 'teacher' if the images of ``init_bank`` have no
            labels: they lie in any folders, and the teacher says what they
            are. Defaults to 'folders'.
        teacher_blocks (bool, optional): Whether the student starts from
            blocks of the teacher, of which it has fewer and all else alike,
            such as ResNet-56 > ResNet-20. Defaults to None: if it can, and
            its BN layers say that it has not been trained.
        refit (bool, optional): Whether a student that was pruned from the
            teacher is fitted to it by least squares, before training: each
            layer that lost inputs and kept its outputs. Defaults to None: if
            there is one, and all weights are still some of the teacher's.
        teacher_license (str, optional): What the teacher may be used under,
            such as 'apache-2.0', for the model card beside the student.
            Defaults to None, not given.
        onnx (bool): Whether the student is written as an ONNX file, too, at
            the end of the run: ``student/student.onnx`` in the work dir. Its
            inputs are normalised. Defaults to False.
        program (bool): Whether it is written as a program of
            ``torch.export``, ``student/student.pt2``. Defaults to False.
        keep_targets (bool): Whether the teacher's answers to four crops and
            flips of each image are kept with it. The student sees these
            alone, and its steps need no pass of the teacher. Defaults to
            False.
        compile (bool | str): Whether steps of synthesis are compiled by
            ``torch.compile``: True, or 'reduce-overhead'. For a ``budget``
            that is no time, since how long that takes cannot be planned.
            Defaults to False.
        graph (bool): Whether whole steps of synthesis are replayed as a CUDA
            graph, on a GPU. Defaults to False.
        plan_only (bool): Whether to return the plan and train nothing.
            Defaults to False.

    Returns:
        Run | Plan: The finished run, or, with ``plan_only``, its plan.

    Raises:
        TypeError: If an argument is of a wrong type.
        ValueError: If one makes no sense, or the work dir has another run.
    """
    # A config cannot hold numbers of NumPy.
    classes, seed, schedule, loss_weights, augment = map(
        without_numpy, (classes, seed, schedule, loss_weights, augment)
    )
    teacher_args, student_args = map(
        without_numpy, (teacher_args, student_args)
    )
    work_dir, val, init_bank = map(_in_home, (work_dir, val, init_bank))
    given = dict(locals())
    begin = time.monotonic()
    check_alone(
        'distill',
        '. For several GPUs, start it, stop it at its first log line, and '
        'give the config in its work dir to tools/dist_train.sh: bash '
        'tools/dist_train.sh WORK_DIR/config.py GPUS --work-dir OTHER',
    )
    # These have messages of their own.
    for name in ('teacher', 'student', 'image_shape', 'budget', 'classes'):
        del given[name]
    check_arguments(distill, given)
    if not isinstance(work_dir, (str, PathLike)) or not str(work_dir).strip():
        raise ValueError(f'work_dir should be a folder, but got {work_dir!r}.')
    check_license('teacher_license', teacher_license)
    if onnx:
        check_onnx()
    if program:
        check_program()
    parsed = parse_budget(budget)
    method = method_of(method, parsed, aux_task, loss_weights, schedule)
    inputs = normalisation(mean, std, image_shape)
    device = _device(device)
    check_integer('seed', seed, 0)
    if seed >= 2**32:
        raise ValueError(f'seed should be below 2**32, but got {seed}.')
    if amp not in (None, 'bfloat16', 'float16'):
        raise ValueError(
            f'amp should be None, "bfloat16" or "float16", but got {amp!r}.'
        )
    if amp == 'float16' and device == 'cpu':
        raise ValueError(
            'amp="float16" is for GPUs, but device is "cpu": take "bfloat16", '
            'or leave it out.'
        )
    check_value('compile of distill', compile, (bool, 'reduce-overhead'))
    if compile and isinstance(parsed, float):
        raise ValueError(
            f'compile={compile!r} takes minutes, which budget={budget!r}, a '
            'time, cannot plan with: give it a number of steps, or "paper".'
        )
    if graph and device == 'cpu':
        raise ValueError(
            'graph=True replays steps on a GPU, but device is "cpu": leave it '
            'out.'
        )
    num_classes = _number_of(classes)
    told: List[str] = []

    def tell(line: str) -> None:
        print(line, flush=True)
        if line.startswith('WARNING'):
            told.append(line)

    def check_time(what: str, least: float) -> None:
        passed = time.monotonic() - begin
        if isinstance(parsed, float) and passed + least > parsed:
            raise too_little(parsed, passed, what, least)

    with isolated(device):
        whole = get_network(
            teacher, 'teacher', teacher_weights, num_classes, teacher_args
        )
        networks = dict(
            teacher=whole,
            student=get_network(
                *(student, 'student', student_weights, num_classes),
                *(student_args, whole),
            ),
        )
        _check_apart(networks)
        copies = {
            name: copied(network.module, name)
            for name, network in networks.items()
        }
        images = torch.randn(2, *inputs.image_shape)
        for name, each in dict(teacher=teacher, student=student).items():
            if isinstance(each, nn.Module):
                networks[name] = proven(
                    networks[name], copies[name], images, name
                )
        traced = dict(
            teacher=trace(
                networks['teacher'].build_cfg,
                copies['teacher'],
                images,
                'teacher',
                teacher_feature,
            ),
            student=trace(
                networks['student'].build_cfg,
                copies['student'],
                images,
                'student',
                student_feature,
                student_pooled,
            ),
        )
        chains = blocks_of(
            teacher_blocks, networks, copies, images, student_weights
        )
        places = pruned_places(refit, networks, copies, images)
    _check_whole(networks, copies)
    _check_classes(traced, num_classes)
    row = _row(parsed, inputs, schedule, method, init_bank is None)
    names = None if num_classes == classes else [*classes]
    with isolated(device):
        val_cfg = _val_of(val, inputs, traced['teacher'].num_classes, names)
        val_images = digest_of_val(val, traced['teacher'].num_classes, names)
    _check_init_bank(
        init_bank,
        inputs.image_shape,
        traced['teacher'].num_classes,
        [] if names is None and val is None else names,
        init_labels,
    )
    chosen = dict(
        method=method,
        loss_weights=loss_weights,
        aux_task=aux_task,
        augment=augment,
        seed=seed,
        amp=amp,
        init_bank=None
        if init_bank is None
        else str(Path(init_bank).resolve()),
        init_labels=init_labels,
        teacher_license=teacher_license,
        onnx=onnx,
        program=program,
        keep_targets=keep_targets,
        compile=compile,
        graph=graph,
    )

    blocks, is_refit = bool(chains), bool(places)

    def config_of(schedule: Schedule, val_interval: int = 1) -> Dict[str, Any]:
        return make_config(
            networks['teacher'],
            networks['student'],
            traced['teacher'],
            traced['student'],
            inputs,
            schedule,
            weights=files,
            val=val_cfg,
            val_interval=val_interval,
            blocks=blocks,
            refit=is_refit,
            classes=names,
            **chosen,
        )

    def text_of(plan: Plan) -> str:
        config = config_of(plan.schedule, plan.val_interval)
        config['work_dir'] = str(folder)
        config['default_hooks']['synthesis']['rehearsal'] = False
        return _config_text(config, networks)

    folder = Path(work_dir).resolve()
    files = {
        name: str(folder / 'networks' / f'{name}.pth') for name in networks
    }
    config_of(row)  # finds what is wrong before anything is written
    request = _request(
        networks,
        copies,
        inputs,
        budget,
        val,
        classes,
        schedule,
        dict(
            {**chosen, _VAL_IMAGES: val_images},
            teacher_blocks=teacher_blocks,
            refit=refit,
            teacher_feature=teacher_feature,
            student_feature=student_feature,
            student_pooled=student_pooled,
        ),
    )
    # As they are to be shown, where a run has others.
    written = dict(
        budget=repr(budget),
        mean=repr(mean),
        std=repr(std),
        val=repr(str(val))
        if isinstance(val, (str, Path))
        else 'None'
        if val is None
        else f'a {type(val).__name__}',
    )
    with ExitStack() as stack:
        stack.enter_context(
            lend(teacher=copies['teacher'], student=copies['student'], val=val)
        )
        if plan_only:
            trial_dir = Path(stack.enter_context(TemporaryDirectory()))
            files = {k: str(trial_dir / f'{k}.pth') for k in networks}
        else:
            stack.enter_context(work_dir_lock(folder, 'work_dir'))
            trial_dir = folder / '.trial'
        record = None
        if not plan_only:
            record = _read_record(folder, request, written)
        is_new = record is None
        if record is None:
            for line in _about(networks, traced, inputs, val, chains, places):
                tell(line)
            if 'epochs' in (schedule or {}) and parsed != 'paper':
                tell(
                    'WARNING: epochs of schedule does nothing, since budget '
                    'decides their number: schedule=dict(steps=...) sets how '
                    'long each is, in proportion'
                )
            maps = [each.feature for each in traced.values()]
            if (loss_weights or {}).get('feature') and None in maps:
                tell(
                    'WARNING: feature of loss_weights does nothing, since a '
                    'last feature map was not found in both networks: '
                    'teacher_feature and student_feature name one'
                )
            check_time('the trial that plans the run', 1)
            tell(
                'trial: some rounds and steps are timed to plan with, which '
                'takes minutes for large networks or many images'
            )
            shutil.rmtree(trial_dir, ignore_errors=True)
            trial_dir.mkdir()
            try:
                for name, path in files.items():
                    _save_weights(copies[name], path)
                with isolated(device), naming_arguments():
                    trial = run_trial(
                        config_of(row),
                        row,
                        str(trial_dir),
                        _trial_seconds(parsed),
                        tell,
                        check_time,
                    )
            finally:
                shutil.rmtree(trial_dir, ignore_errors=True)
            is_trained = trial.agreement >= min(RATES)
            weights = told_of_weights(
                *(copies['student'], copies['teacher'], student_weights),
                *(is_trained, blocks, is_refit),
            )
            is_fixed = parsed == 'paper' or 'lr' in (schedule or {})
            row, line = _at_rate(row, trial, is_fixed, weights)
            if line:
                tell(line)
            passed = time.monotonic() - begin
            plan = _plan(parsed, row, trial, passed, inputs.image_shape)
            for line in plan.lines():
                tell(line)
            if plan_only:
                return plan
            if plan.seconds > LONGEST:
                raise ValueError(
                    'This plan takes more than ten years: give a smaller '
                    'budget or schedule.'
                )
            top1 = trial.teacher.top1 if trial.teacher else None
            text = text_of(plan)
            write_file(folder / CONFIG, text.encode())
            record = dict(
                request=request,
                written=written,
                plan=asdict(plan),
                teacher_top1=top1,
                warnings=told,
                blocks=blocks,
                refit=is_refit,
                start=dict(
                    start_of(copies['student'], init_bank),
                    weights=weights,
                    teacher=teacher_weights and Path(teacher_weights).name,
                ),
                is_trained=is_trained,
                start_top1=trial.start_top1,
                doubt=trial.doubt,
            )
            write_file(folder / RECORD, json.dumps(record, indent=1).encode())
        else:
            note = check_start(
                record, copies['student'], student_weights, init_bank, folder
            )
            tell(f'{folder} has this run, which continues{note}.')
            plan = _plan_of(record['plan'])
            # The student may have been trained by this very run since.
            blocks = record.get('blocks', False)
            is_refit = record.get('refit', False)
            text = text_of(plan)
            _check_config(folder / CONFIG, text)
        with isolated(device), naming_arguments():
            cfg = Config(parse_config(text), filename=str(folder / CONFIG))
            cfg.resume = True
            cfg.launcher = 'none'
            runner = QuietRunner.from_cfg(cfg)
            if NEVER_TRAINED in record.get('doubt', ''):
                runner.keep_for_the_file('was never trained')
            for each in traced.values():
                if each.outputs:
                    runner.keep_for_the_file(f'returns {each.outputs} in')
            _keep_warnings(runner, record, folder)
            tell(f'log: {runner.log_file}')
            # With its comments, and without what is of this call alone.
            write_file(folder / CONFIG, text.encode())
            runner.train()
            trained = runner.model.architecture
            # A model of mmpretrain may have a ``net`` of its own.
            if isinstance(trained, TorchClassifier):
                trained = trained.net
            state = {
                k: v.detach().cpu().clone()
                for k, v in trained.state_dict().items()
            }
            top1 = _last_top1(runner, folder, record)
            (compared,) = (
                h for h in runner.hooks if isinstance(h, AgreementHook)
            )
            agreement = compared.agreement
            line = ''
            if record.get('is_trained') or is_refit:
                line = became_worse(
                    runner, files['student'], record.get('start_top1'), top1
                )
    if line:
        tell(line)
    network = networks['student'].module
    own_memory(network, 'student').load_state_dict(state)
    network.eval()
    # Which the next call with this network has.
    record['trained'] = digest_of_weights(network)
    write_file(folder / RECORD, json.dumps(record, indent=1).encode())
    if not (folder / 'student' / 'student.pth').is_file():
        tell(
            'WARNING: the student could not be exported; the log in '
            f'{folder} says why. It is in its checkpoint there: python -m '
            f'csd_mmrazor export {folder} OUT.pth tries again'
        )
    if record.get('doubt'):
        print(f'As was said before training: {record["doubt"]}', flush=True)
    seconds = time.monotonic() - begin
    # A call that continues a run has a part of its time.
    late = plan.late(seconds) if is_new else ''
    if late:
        tell(late)
    report = folder / 'report.html'
    return Run(
        student=network,
        top1=_rounded(top1),
        teacher_top1=_rounded(record['teacher_top1']),
        report=report if report.is_file() else None,
        work_dir=folder,
        config=folder / CONFIG,
        plan=plan,
        seconds=seconds,
        warnings=list(
            dict.fromkeys([*record['warnings'], *told, *runner.warned.texts])
        ),
        agreement=_rounded(agreement and agreement.top1),
        estimate=agreement and estimate_of(agreement),
    )


def _keep_warnings(
    runner: QuietRunner, record: Dict[str, Any], folder: Path
) -> None:
    """Write what the run warns of into its record, for later calls too."""

    def keep() -> None:
        loop = runner._train_loop  # which is built in its own time
        if isinstance(loop, BaseLoop) and loop.epoch >= loop.max_epochs:
            return  # what comes after training comes anew with each call
        texts = [*record['warnings'], *runner.warned.texts]
        record['warnings'] = list(dict.fromkeys(texts))
        with suppress(OSError):  # training need not end by it
            text = json.dumps(record, indent=1)
            write_file(folder / RECORD, text.encode())

    keep()
    runner.warned.listener = keep


def _in_home(path: Any) -> Any:
    """A path whose ~ is the user's folder, and anything else as it is."""
    return expanduser(path) if isinstance(path, (str, PathLike)) else path


def _device(device: Optional[str]) -> str:
    has_gpu = torch.cuda.is_available()
    if device is None:
        return 'cuda' if has_gpu else 'cpu'
    if device not in ('cpu', 'cuda') or (device == 'cuda' and not has_gpu):
        raise ValueError(
            f'device should be "cpu" or "cuda", but got {device!r}'
            + ('.' if has_gpu else ', and there is no GPU.')
        )
    return device


def _number_of(classes: Any) -> Optional[int]:
    """Classes K, as far as it is given."""
    if classes is None:
        return None
    if isinstance(classes, Integral):
        check_integer('classes', classes, 2, MOST['num_classes'])
        return int(classes)
    is_list = isinstance(classes, (list, tuple))
    is_named = is_list and all(isinstance(name, str) for name in classes)
    if not is_named or len(set(classes)) != len(classes):
        raise ValueError(
            'classes should be a number or a list of names, each once, but '
            f'got {classes!r}.'
        )
    return len(classes)


def _check_apart(networks: Dict[str, Network]) -> None:
    """Check that no weight of the student is the teacher's own."""
    places = {
        name: {
            tensor.untyped_storage().data_ptr()
            for tensor in [*net.module.parameters(), *net.module.buffers()]
            if tensor.numel() and not tensor.is_meta
        }
        for name, net in networks.items()
    }
    if places['teacher'] & places['student']:
        raise ValueError(
            'student and teacher share weights, and training would change '
            'the teacher: give copy.deepcopy() of one of them.'
        )


def _check_whole(
    networks: Dict[str, Network], copies: Dict[str, nn.Module]
) -> None:
    """Check that copies have no more weights after their first pass."""
    for name, copy in copies.items():
        whole = networks[name].module.state_dict()
        made = [key for key in copy.state_dict() if key not in whole]
        if made:
            raise ValueError(
                f'{name} makes weights when it is first called '
                f'({", ".join(made[:3])}), which a new one lacks when they '
                'are loaded: make these layers in its __init__().'
            )


def _check_classes(
    traced: Dict[str, Traced], num_classes: Optional[int]
) -> None:
    found = {name: each.num_classes for name, each in traced.items()}
    if num_classes is not None:
        found['classes'] = num_classes
    if len(set(found.values())) > 1:
        listed = ', '.join(f'{name}: {n}' for name, n in found.items())
        raise ValueError(
            f'The numbers of classes differ ({listed}): give the networks '
            'last layers of the same size. A network that is given by its '
            'name gets that number by classes=K, if it has an argument '
            'num_classes, or by teacher_args or student_args.'
        )


def _row(
    parsed: Any,
    inputs: Inputs,
    changes: Optional[Dict[str, Any]],
    method: str,
    makes_initial: bool,
) -> Schedule:
    row = (
        SCHEDULES['paper']
        if parsed == 'paper'
        else schedule_for(inputs.image_shape)
    )
    if method == 'deepinversion' and parsed != 'paper':
        # Pixels begin as noise in each round, so rounds are longer.
        row = replace(
            row,
            init_rounds=max(1, row.init_rounds // 10),
            rounds=max(1, row.rounds // 4),
            init_iters=10 * row.init_iters,
            iters=4 * row.iters,
        )
    known = [field.name for field in fields(Schedule)]
    for name, value in (changes or {}).items():
        if name not in known:
            raise ValueError(
                f'schedule has {name!r}, but there are {", ".join(known)}.'
                f'{did_you_mean(name, known)}'
            )
        where = f'schedule[{name!r}]'
        if name == 'schedule':
            check_value(where, value, ('cosine', 'one-cycle'))
        elif name == 'warm':
            check_value(where, value, (bool,))
        elif name in ('lr', 'tau'):
            check_positive(where, value)
        elif name in ('feature', 'csd'):
            check_value(where, value, (float,))
            if value < 0:
                raise ValueError(f'{where} should be 0 or more: {value!r}.')
        else:
            check_integer(where, value)
        name = _NAMES_IN_CONFIGS.get(name, name)
        if is_too_large(name, value):
            raise ValueError(
                f'{where} should be {MOST[name]:,} at most, but got {value!r}.'
            )
    row = replace(row, **(changes or {}))
    if not makes_initial:
        row = replace(row, init_rounds=0)
    if isinstance(parsed, int):
        row = fit_steps(row, parsed)
    return row


def _check_init_bank(init_bank: Any, *about: Any) -> None:
    """Check images to start with; arguments as of ``check_init_bank``."""
    ImageBank(init_bank=init_bank, init_labels=about[-1])
    if init_bank is None:
        return
    try:
        check_init_bank(init_bank, *about)
    except (BankError, FileNotFoundError, ValueError) as error:
        raise type(error)(f'init_bank={str(init_bank)!r}: {error}') from error


def _val_of(
    val: Any,
    inputs: Inputs,
    num_classes: int,
    names: Optional[List[str]],
) -> Optional[Dict[str, Any]]:
    """The config of the validation images."""
    shape = list(inputs.image_shape)
    if val is None:
        return None
    if isinstance(val, (str, Path)):
        if not str(val) or not Path(val).is_dir():
            raise FileNotFoundError(
                f'val={str(val)!r} is not a folder: give one with a folder of '
                'images for each class, a data set, or None.'
            )
        try:
            FolderImages(str(val), shape, num_classes, names)
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f'val={str(val)!r}: {error}') from error
        return dict(
            type='mmrazor.FolderImages',
            data_root=str(Path(val).resolve()),
            image_shape=shape,
            num_classes=num_classes,
            classes=names,
        )
    is_items = hasattr(val, '__getitem__') or hasattr(val, '__iter__')
    if not is_items or isinstance(val, (dict, set)):
        raise TypeError(
            'val should be a folder, a Dataset, a DataLoader or None, but got '
            f'a {type(val).__name__}.'
        )
    if hasattr(val, '__next__'):
        raise TypeError(
            f'val is a {type(val).__name__}, which has its images only once: '
            'give list(val), a data set or a DataLoader.'
        )
    return dict(
        type='mmrazor.LentImages',
        dataset='val',
        image_shape=shape,
        mean=list(inputs.mean),
        std=list(inputs.std),
        classes=names,
    )


def _about(
    networks: Dict[str, Network],
    traced: Dict[str, Traced],
    inputs: Inputs,
    val: Any,
    chains: Sequence[Chain],
    places: Sequence[Place],
) -> List[str]:
    """What was understood of the arguments."""
    lines, counts = [], []
    for name, network in networks.items():
        weights = sum(p.numel() for p in network.module.parameters())
        counts.append(weights)
        each = traced[name]
        feature = each.feature or 'none'
        lines.append(
            f'{name}: {type(network.module).__name__}, {weights:,} weights, '
            f'{each.num_classes} classes; last feature map: {feature}'
        )
        if network.note:
            lines.append(f'  {network.note}')
        if each.outputs:
            lines.append(f'WARNING: {name} {about_outputs(each.outputs)}')
        if name == 'student' and not is_normalised(network.module):
            few = 'not each of its layers has' if each.has_bn else 'it has no'
            lines.append(
                f'  {few} BN, so its gradients are clipped to a norm of 5'
            )
    if counts[1] >= counts[0]:
        lines.append('  it has no fewer weights than the teacher')
    if chains:
        listed = ', '.join(
            f'{len(chain.wanted)} of {len(chain.blocks)} of {chain.name}'
            for chain in chains
        )
        lines.append(
            f'  it starts from blocks of the teacher: {listed}; '
            'teacher_blocks=False lets it start from its own weights'
        )
    if places:
        lines.append(
            f'  it was pruned from the teacher: {len(places)} of its layers, '
            f'{places[0].layer} to {places[-1].layer}, are fitted to it '
            'before training; refit=False leaves them as they are'
        )
    zeros = share_of_zeros(networks['student'].module)
    if zeros > _SPARSE and not chains:
        lines.append(
            f'WARNING: {100 * zeros:.0f} % of the weights of the student are '
            '0, as if single weights were pruned. They do not stay 0, since '
            'training changes them, too. Channels that were removed do not '
            'come back'
        )
    if about_lent(networks):
        lines.append(f'  {about_lent(networks)}')
    shape = 'x'.join(map(str, inputs.image_shape))
    lines.append(f'inputs: {shape}, {inputs.note}')
    if not traced['teacher'].has_bn:
        lines.append(
            'WARNING: the teacher has no BN layers, whose statistics tell of '
            'its training data; in place of these, images are held to what '
            'natural ones have in common, which says less'
        )
    if val is None:
        lines.append(
            'val: none, so the accuracy can only be estimated, at the end'
        )
    return lines


def _trial_seconds(parsed: Any) -> float:
    """How long to time steps."""
    if isinstance(parsed, float):
        return min(0.03 * parsed, 30)
    return 0.0


def _at_rate(
    row: Schedule, trial: Trial, is_fixed: bool, weights: str
) -> Tuple[Schedule, str]:
    """The schedule of a student, and why it has its rate.

    Args:
        row (Schedule): With the rate of random weights.
        trial (Trial): What was found.
        is_fixed (bool): Whether that rate is to stay.
        weights (str): As of :func:`told_of_weights`.

    Returns:
        tuple[Schedule, str]: The text is empty for random weights.
    """
    lr = row.lr if is_fixed else rate_for(trial.agreement, row.lr)
    if trial.agreement >= min(RATES):
        line = 'student: it decides much like the teacher before training'
        if trial.start_top1 is not None:
            line += f', and came with {trial.start_top1:.2f} % on val'
        why = 'which spares what it knows'
    elif weights in ('', BLOCKS, RANDOM):
        return row, ''
    else:
        line = (
            f'student: it has {weights}, but decides like the teacher hardly '
            'more often than by chance'
        )
        why = 'as random weights do'
    if is_fixed:
        return row, f'{line}; lr={lr:g}, as the call has it'
    return replace(row, lr=lr), (
        f'{line}, so it learns at lr={lr:g}, {why}; schedule=dict(lr=...) '
        'sets another'
    )


def _plan(
    parsed: Any,
    row: Schedule,
    trial: Trial,
    passed: float,
    shape: Sequence[int],
) -> Plan:
    timings = trial.timings
    left = timings.seconds(row, row.epochs)
    if isinstance(parsed, float):
        left = PLANNED * (parsed - passed)
    # Validation is to take little of the time.
    most = max(1, int(_VALIDATING * left / max(timings.validation, 1e-9)))
    interval = max(1, -(-row.epochs // most))
    schedule = row
    if isinstance(parsed, float):
        schedule = fit_time(row, timings, left, interval, passed)
    interval = min(max(1, -(-schedule.epochs // most)), schedule.epochs)
    size = 1
    for length in shape:
        size *= length
    # The bank in records of image and label, and two checkpoints at a time.
    images = schedule.images + trial.imported
    disk = images * (size + 8) + 3 * trial.checkpoint
    return Plan(
        schedule=schedule,
        timings=timings,
        val_interval=interval,
        memory=trial.memory,
        disk=disk,
        connector=trial.connector,
        budget=parsed if isinstance(parsed, float) else None,
        passed=passed,
    )


def _plan_of(found: Dict[str, Any]) -> Plan:
    check_arguments(Plan, found)
    check_arguments(Schedule, found['schedule'])
    check_arguments(Timings, found['timings'])
    return Plan(
        **dict(
            found,
            schedule=Schedule(**found['schedule']),
            timings=Timings(**found['timings']),
        )
    )


def _config_text(config: Dict[str, Any], networks: Dict[str, Network]) -> str:
    notes = [*(n.note for n in networks.values()), about_lent(networks)]
    lines = [
        f'{_HEAD} The same weights, without',
        '# Python code:',
        '#   python tools/train.py config.py --work-dir OTHER',
        *(f'# {note}' for note in notes if note),
    ]
    return '\n'.join(lines) + '\n' + Config(_sorted(config)).pretty_text


def _sorted(part: Any) -> Any:
    """A config whose order means nothing, in one that does not change."""
    if isinstance(part, (list, tuple)):
        return type(part)(map(_sorted, part))
    if not isinstance(part, dict):
        return part
    return {key: _sorted(part[key]) for key in sorted(part, key=str)}


def _save_weights(module: nn.Module, path: str) -> None:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_file(path, buffer.getvalue())


def _request(
    networks: Dict[str, Network],
    copies: Dict[str, nn.Module],
    inputs: Inputs,
    budget: Any,
    val: Any,
    classes: Any,
    schedule: Any,
    chosen: Dict[str, Any],
) -> Dict[str, Any]:
    """The arguments of a call, as far as they make its run."""
    is_folder = isinstance(val, (str, Path))
    teacher = copies['teacher']
    student = {
        key: list(value.shape)
        for key, value in copies['student'].state_dict().items()
    }
    request = dict(
        teacher=f'{type(teacher).__name__} {digest_of_weights(teacher)}',
        student=f'{type(copies["student"]).__name__} {student}',
        **{f'layers of {k}': digest_of_layers(v) for k, v in copies.items()},
        image_shape=inputs.image_shape,
        mean=inputs.mean,
        std=inputs.std,
        budget=_same_budget(budget),
        val=str(Path(val).resolve()) if is_folder else type(val).__name__,
        classes=classes,
        schedule=schedule,
        **chosen,
    )
    return json.loads(json.dumps(request, default=_plain))


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as any other; all else as text."""
    return value.tolist() if hasattr(value, 'tolist') else str(value)


def _same_budget(budget: Any) -> Any:
    """A budget as an integer or text, however it was written."""
    parsed = parse_budget(budget)
    return f'{parsed:.6f}s' if isinstance(parsed, float) else parsed


def _read_record(
    folder: Path, request: Dict[str, Any], written: Dict[str, str]
) -> Optional[Dict[str, Any]]:
    """What an earlier call left in a work dir, if it was the same."""
    path = folder / RECORD
    if not path.is_file():
        config = folder / CONFIG
        # A call that was killed may have left its config.
        if (
            any((folder / name).exists() for name in ('bank', 'student'))
            or any(folder.glob('*.pth'))
            or (
                config.exists()
                and not config.read_bytes().startswith(_HEAD.encode())
            )
        ):
            raise ValueError(
                f'work_dir={folder} has files that distill() did not make '
                f'(bank, student, {CONFIG} or *.pth): choose another '
                'work_dir.'
            )
        return None
    try:
        record = parse_json(path.read_text(encoding='utf-8'), deepest=100)
        _plan_of(record['plan'])
        there = dict(record['request'])
        # An earlier release has it as it was written.
        there['budget'] = _same_budget(there['budget'])
        list(record['warnings']), record['teacher_top1'], there['val']
        _check_texts(record)
        _check_notes(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} is damaged ({type(error).__name__}: {error}): restore '
            'it, or choose another work_dir. tools/train.py continues that '
            f'run without it: {folder / CONFIG} --resume'
        ) from error
    differing = [
        _difference(key, there[key], value, record.get('written'), written)
        for key, value in request.items()
        # An earlier release did not note all of it.
        if key in there
        and there[key] != value
        # Other images are told of where they have the same name.
        and (key != _VAL_IMAGES or there['val'] == request['val'])
    ]
    if differing:
        raise ValueError(
            f'work_dir={folder} has a run with other arguments '
            f'({"; ".join(differing)}). Choose another work_dir, or give the '
            'same arguments to continue that run.'
        )
    return record


def _check_texts(value: Any) -> None:
    """Check that no text of a record, which others may have made, is odd."""
    if isinstance(value, str) and has_commands(value):
        raise ValueError(f'control characters in {value!r:.80}')
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for each in value if isinstance(value, list) else ():
        _check_texts(each)


def _check_notes(record: Dict[str, Any]) -> None:
    """Check what a record says besides the arguments and the plan."""
    kinds: Dict[str, Tuple[type, ...]] = dict(
        **dict.fromkeys(('top1', 'start_top1', 'teacher_top1'), (float,)),
        **dict.fromkeys(('blocks', 'refit', 'is_trained'), (bool,)),
        **dict.fromkeys(('trained', 'doubt'), (str,)),
        **dict.fromkeys(('written', 'start'), (dict,)),
        warnings=(list,),
    )
    for name, kind in kinds.items():  # an earlier release has not all
        check_value(name, record.get(name), (*kind, NoneType))
    for text in (*record['warnings'], *(record.get('written') or {}).values()):
        check_value('each of warnings and written', text, (str,))
    images = (record.get('start') or {}).get('images')
    if images is not None:
        number, digest = images
        check_integer('images of start', number, 0)
        check_value('images of start', digest, (str,))


def _difference(
    key: str, there: Any, here: Any, *written: Optional[Dict[str, str]]
) -> str:
    """What a call and a run differ in, as people write it."""
    if key.startswith('layers of '):
        return f'{key.rpartition(" ")[2]} with other layers'
    if key == _VAL_IMAGES:
        return 'val with other images or labels'
    name = str(here).partition(' ')[0]
    if key in ('teacher', 'student') and str(there).startswith(f'{name} '):
        what = 'weights' if key == 'teacher' else 'sizes of weights'
        return f'{key} with other {what}'
    shown = [
        (texts or {}).get(key, repr(value))
        for texts, value in zip(written, (there, here))
    ]
    if shown[0] == shown[1]:  # such as the mean, in 0..1 or 0..255
        shown = [repr(there), repr(here)]
    return f'{key}={shown[0]:.80} there, {key}={shown[1]:.80} here'


def _check_config(path: Path, text: str) -> None:
    """Check that the config in a work dir is that of the call, or write it.

    Configs can name any code, and people get work dirs from elsewhere.
    """
    try:
        found = parse_config(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        write_file(path, text.encode())
        return
    except (ValueError, OSError):
        found = {}
    if found != parse_config(text):
        raise ValueError(
            f'{path} is not what this call makes of its arguments: it was '
            'changed, damaged, or written by another release. Remove it to '
            'continue by the arguments; tools/train.py continues by it: '
            f'{path} --resume'
        )


def _last_top1(
    runner: Runner, folder: Path, record: Dict[str, Any]
) -> Optional[float]:
    """The student's accuracy after the last epoch."""
    history = runner.message_hub.log_scalars.get('val/accuracy/top1')
    if history is not None and len(history.data[0]):
        record['top1'] = float(history.current())
        write_file(folder / RECORD, json.dumps(record, indent=1).encode())
    return record.get('top1')


def _rounded(percent: Optional[float]) -> Optional[float]:
    """Without the digits of single precision: 88.6, not 88.5999984741211."""
    return None if percent is None else round(percent, 2)


def _many(count: int, what: str) -> str:
    return f'{count:,} {what}{"s" * (count != 1)}'


def _clock(seconds: float) -> str:
    if isinstance(seconds, float) and seconds < 10:
        return f'{seconds:.1f} s'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes:02d} min'
    return f'{minutes} min {seconds:02d} s' if minutes else f'{seconds} s'
