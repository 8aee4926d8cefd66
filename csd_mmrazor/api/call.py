# Copyright (c) csd_mmrazor developers. All rights reserved.
import io
import random
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Literal,
    Optional,
    Sequence,
    Union,
)

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from ..engine import AgreementHook
from ..export import check_license
from ..export.onnx import check_onnx
from ..export.program import check_program
from ..models.classifiers import TorchClassifier
from ..models.utils import load_state, own_memory, renew_modes, unwrapped
from ..utils import parse_config, path_below, work_dir_lock, write_file
from ..utils.accuracy import AccuracyEstimate
from ..utils.agreement import estimate_of
from ..utils.alone import check_alone
from ..utils.arguments import check_arguments
from ..utils.config_files import check_keys
from ..utils.imports import lend
from ..utils.plain_config import BY_DISTILL as HEAD
from ..utils.public import public_name
from ..utils.short_repr import short_repr
from .argument_names import as_typed, naming_arguments
from .became_worse import became_worse
from .config import make_config, method_of, without_numpy
from .distill_runner import DistillRunner
from .inputs import check_own_inputs, normalisation
from .isolation import isolated, one_at_a_time
from .options import (
    check_images_to_start,
    check_options,
    device_of,
    in_home,
    number_of,
)
from .pair import about, get_pair, without_effect
from .plan import (
    Plan,
    make_plan,
    plan_of,
    trial_seconds,
    warning_of_few_images,
    warning_of_few_steps,
)
from .record import (
    CONFIG,
    check_config,
    config_text,
    keep_warnings,
    last_top1,
    read_record,
    request_of,
    write_record,
    written_of,
)
from .schedule import LONGEST, Schedule, parse_budget, row_of, too_little
from .start import check_start, describe_weights, digest_of_weights, start_of
from .trained_student import RATES, at_rate
from .trial import NEVER_TRAINED, run_trial
from .val_images import check_val_is_apart, digest_of_val, val_cfg_of
from .wrong_arguments import helpful

# What an error calls the files of both networks.
_WEIGHTS = 'weights of networks'
# Steps that somebody may have meant as a time.
_LIKE_A_TIME = 120


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
            (docs/label_free.md). None as ``agreement``, or where that tells
            too little: the images are none of the teacher's classes, or it is
            sure of fewer than 19, or the agreement on these is more than 30
            points off that on all.
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
@one_at_a_time
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
            networks take images in 0..1, as with ``mean=0`` and ``std=1``.
        std (sequence[float] | float | str, optional): Standard deviation,
            likewise. For networks that take images in 0..255 as they are,
            ``mean=0`` and ``std=1/255``.
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
            teacher returns, and to folders in alphabetical order, or by
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
            'oh', 'bn', 'csd', 'adv' (synthesis; with some methods 'cr', 'tv',
            'l2' or 'competition', too) and 'ce', 'kd', 'feature' (student);
            others stay as they are, 0 turns a term off.
        aux_task (str): 'rotation', 'flip', 'half_shift', 'channels',
            'rotation_channels' or 'auto', the first that fits the images.
        augment (str | dict, optional): Random crop and flip,
            dict(padding=pixels, flip_prob=0..1). None turns it off. Defaults
            to 'auto': no flips for grey images.
        schedule (dict, optional): Fields of :class:`Schedule` that are to
            differ, such as dict(batch=64).
        seed (int): Of all random numbers, 0..2**32-1, also of the weights of
            a student that is made by its name. Defaults to 0.
        device (str, optional): 'cpu' or 'cuda', or a ``torch.device`` of
            that. Defaults to a GPU if there is one.
        amp (str, optional): 'bfloat16', or on a GPU 'float16', for mixed
            precision.
        init_bank (str, optional): Images to start with: the bank of another
            run, or a folder of images with one folder for each class.
        init_labels (str): 'teacher' if the images of ``init_bank`` have no
            labels: they lie in any folders, and the teacher says what they
            are. Defaults to 'folders'.
        teacher_blocks (bool, optional): Whether the student starts from
            blocks of the teacher, of which it has fewer and all else alike,
            such as ResNet-56 > ResNet-20. Defaults to None: if it can, has
            no frozen weights, and its BN layers say that it has not been
            trained.
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
        RuntimeError: If another thread of this process is in a call of it.
    """
    # A config cannot hold numbers of NumPy.
    classes, seed, schedule, loss_weights, augment = map(
        without_numpy, (classes, seed, schedule, loss_weights, augment)
    )
    teacher_args, student_args = map(
        without_numpy, (teacher_args, student_args)
    )
    check_keys(dict(teacher_args=teacher_args, student_args=student_args))
    work_dir, val, init_bank = map(in_home, (work_dir, val, init_bank))
    device = str(device) if isinstance(device, torch.device) else device
    given = dict(locals())
    begin = time.monotonic()
    check_alone(
        'distill',
        '. For several GPUs, start it, stop it at its first log line, and '
        'give the config in its work dir to tools/dist_train.sh: bash '
        'tools/dist_train.sh WORK_DIR/config.py GPUS --work-dir OTHER',
    )
    have_messages = ('teacher', 'student', 'image_shape', 'budget', 'classes')
    check_arguments(
        distill, {k: v for k, v in given.items() if k not in have_messages}
    )
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
    device = device_of(device)
    check_options(given, device, parsed)
    num_classes = number_of(classes)
    told: List[str] = []

    def tell(line: str) -> None:
        line = as_typed(line)
        print(line, flush=True)
        if line.startswith('WARNING'):
            told.append(line)

    def check_time(what: str, least: float) -> None:
        passed = time.monotonic() - begin
        if isinstance(parsed, float) and passed + least > parsed:
            raise too_little(parsed, passed, what, least)

    with isolated(device):
        # Of networks that are made here, the weights are drawn as well.
        for draw in (torch.manual_seed, np.random.seed, random.seed):
            draw(seed)
        kept = None
        if plan_only and student_weights and isinstance(student, nn.Module):
            kept = deepcopy(student.state_dict())
        try:
            pair = get_pair(given, num_classes, inputs)
        finally:
            if kept is not None:  # all else is done with copies
                student.load_state_dict(kept)
        check_own_inputs(pair.networks['teacher'].module, inputs)
    row = row_of(
        *(parsed, inputs.image_shape, schedule, method, init_bank is None)
    )
    names = None if num_classes == classes else [*classes]
    with isolated(device):
        val_cfg = val_cfg_of(val, inputs, pair.num_classes, names)
        val_images = digest_of_val(val, pair.num_classes, names)
    check_images_to_start(
        init_bank,
        inputs.image_shape,
        pair.num_classes,
        [] if names is None and val is None else names,
        init_labels,
    )
    shared = check_val_is_apart(val, init_bank)
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
    blocks, is_refit = bool(pair.chains), bool(pair.places)

    def config_of(schedule: Schedule, val_interval: int = 1) -> Dict[str, Any]:
        return make_config(
            pair.networks['teacher'],
            pair.networks['student'],
            pair.traced['teacher'],
            pair.traced['student'],
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
        return config_text(config, pair.networks)

    folder = Path(work_dir).resolve()
    with naming_arguments():
        # Not through a link to a folder that others share.
        files = {
            name: str(path_below(folder, f'networks/{name}.pth', _WEIGHTS))
            for name in pair.networks
        }
    config_of(row)  # finds what is wrong before anything is written
    request = request_of(
        *(pair, inputs, budget, val, val_images),
        dict(
            chosen,
            classes=classes,
            schedule=schedule,
            teacher_blocks=teacher_blocks,
            refit=refit,
            teacher_feature=teacher_feature,
            student_feature=student_feature,
            student_pooled=student_pooled,
        ),
    )
    with ExitStack() as stack:
        stack.enter_context(lend(val=val, **pair.copies))
        if plan_only:
            trial_dir = Path(stack.enter_context(TemporaryDirectory()))
            files = {k: str(trial_dir / f'{k}.pth') for k in pair.networks}
            record = None
        else:
            stack.enter_context(work_dir_lock(folder, 'work_dir'))
            trial_dir = folder / '.trial'
            record = read_record(folder, request, written_of(given))
        is_new = record is None
        undo = stack.enter_context(ExitStack())
        if record is None:
            if not plan_only:
                # By which another call knows what a killed trial has left.
                text = f'{HEAD}\n# The trial that plans the run is not over.\n'
                undo.callback(_remove, [*files.values(), folder / CONFIG])
                write_file(folder / CONFIG, text.encode())
            for line in about(pair, inputs, val):
                tell(line)
            if shared:
                tell(shared)
            for line in without_effect(
                pair, parsed, schedule, loss_weights, init_bank
            ):
                tell(line)
            check_time('the trial that plans the run', 1)
            tell(
                'trial: some rounds and steps are timed to plan with, which '
                'takes minutes for large networks or many images'
            )
            with _removed(trial_dir), isolated(device), naming_arguments():
                for name, path in files.items():
                    _save_weights(pair.copies[name], path)
                trial = run_trial(
                    config_of(row),
                    row,
                    str(trial_dir),
                    trial_seconds(parsed),
                    tell,
                    check_time,
                )
            is_trained = trial.agreement >= min(RATES)
            weights = describe_weights(
                *(pair.copies['student'], pair.copies['teacher']),
                *(student_weights, is_trained, blocks),
            )
            is_fixed = parsed == 'paper' or 'lr' in (schedule or {})
            row, line = at_rate(
                *(row, trial.agreement, trial.start_top1, is_fixed, weights)
            )
            if line:
                tell(line)
            passed = time.monotonic() - begin
            plan = make_plan(parsed, row, trial, passed, inputs.image_shape)
            for line in plan.lines():
                tell(line)
            if isinstance(parsed, int) and parsed <= _LIKE_A_TIME:
                tell(
                    f'  budget={parsed} is a number of student steps; a time '
                    f'has a unit, such as {parsed}min'
                )
            line = warning_of_few_images(
                plan.schedule.images + trial.imported, pair.num_classes
            )
            if line:
                tell(line)
            if not (is_trained or blocks or is_refit):
                line = warning_of_few_steps(plan, row)
                if line:
                    tell(line)
            if plan_only:
                return plan
            if plan.seconds > LONGEST:
                raise ValueError(
                    'This plan takes more than ten years: give a smaller '
                    'budget or schedule.'
                )
            text = text_of(plan)
            write_file(folder / CONFIG, text.encode())
            undo.pop_all()
            record = dict(
                request=request,
                written=written_of(given),
                plan=asdict(plan),
                teacher_top1=trial.teacher.top1 if trial.teacher else None,
                warnings=told,
                blocks=blocks,
                refit=is_refit,
                start=dict(
                    start_of(pair.copies['student'], init_bank),
                    weights=weights,
                    teacher=teacher_weights and public_name(teacher_weights),
                ),
                is_trained=is_trained,
                start_top1=trial.start_top1,
                doubt=trial.doubt,
            )
            write_record(folder, record)
        else:
            note = check_start(
                *(record, pair.copies['student'], student_weights, init_bank),
                folder,
            )
            tell(f'{folder} has this run, which continues{note}.')
            plan = plan_of(record['plan'])
            # The student may have been trained by this very run since.
            blocks = record.get('blocks', False)
            is_refit = record.get('refit', False)
            text = text_of(plan)
            check_config(folder / CONFIG, text, pair.networks)
        with isolated(device), naming_arguments():
            cfg = Config(parse_config(text), filename=str(folder / CONFIG))
            cfg.resume = True
            cfg.launcher = 'none'
            runner = DistillRunner.from_cfg(cfg)
            if NEVER_TRAINED in record.get('doubt', ''):
                runner.keep_for_the_file('was never trained')
            for each in pair.traced.values():
                if each.outputs:
                    runner.keep_for_the_file(f'returns {each.outputs} in')
            keep_warnings(runner, record, folder)
            tell(f'log: {runner.log_file}')
            runner.train()
            state = _trained_state(runner)
            top1 = last_top1(runner, folder, record)
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
    network = pair.networks['student'].module
    if isinstance(student, nn.Module):
        network = student
    own_memory(network, 'student')
    load_state(unwrapped(network), state)
    # The modules of torch.export forbid eval().
    for part in network.modules():
        part.training = False
    renew_modes(network)
    # Which the next call with this network has.
    record['trained'] = digest_of_weights(unwrapped(network))
    write_record(folder, record)
    if not (folder / 'student' / 'student.pth').is_file():
        tell(
            'WARNING: the student could not be exported; the log in '
            f'{folder} says why. It is in its checkpoint there: python -m '
            f'csd_mmrazor export {quote(str(folder))} OUT.pth tries again'
        )
    if record.get('doubt'):
        doubt = as_typed(f'As was said before training: {record["doubt"]}')
        print(doubt, flush=True)
    seconds = time.monotonic() - begin
    # A call that continues a run has a part of its time.
    late = plan.late(seconds) if is_new else ''
    if late:
        tell(late)
    whole = record['teacher_top1'] or 0.0
    if not line and top1 is not None and top1 < whole / 2:
        tell(
            f'The student has {top1:.1f} % on val, and its teacher '
            f'{whole:.1f} %: most often it had too few steps, of which a '
            'larger budget has more'
        )
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


@contextmanager
def _removed(folder: Path) -> Iterator[None]:
    """A folder that is new, and gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove(paths: Sequence[Union[str, Path]]) -> None:
    """Remove files, and their folders if nothing else is there."""
    for path in map(Path, paths):
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()


def _trained_state(runner: Runner) -> Dict[str, Tensor]:
    """The weights of the student after training, on the CPU."""
    trained = runner.model.architecture
    # A model of mmpretrain may have a ``net`` of its own.
    if isinstance(trained, TorchClassifier):
        trained = trained.net
    return {
        key: value.detach().cpu().clone()
        for key, value in trained.state_dict().items()
    }


def _save_weights(module: nn.Module, path: str) -> None:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_file(path, buffer.getvalue())


def _rounded(percent: Optional[float]) -> Optional[float]:
    """Without the digits of single precision: 88.6, not 88.5999984741211."""
    return None if percent is None else round(percent, 2)
