# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A few steps of a run, timed, and the teacher's accuracy."""

import time
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner
from mmrazor.registry import MODELS

from ..busy_cores import BusyCores
from ..datasets.bank_folder import IMPORTED
from ..engine import TeacherBlocksHook
from ..engine.agreement_images import bank_images
from ..engine.estimate import target_bytes
from ..engine.hooks.refit_hook import fit_student, places_of
from ..engine.hooks.synthesis_hook import synthesis_hooks
from ..engine.synthesis import report_round
from ..engine.synthesis.persistent_state import KEPT_EPOCHS
from ..models.synthesizers.networks import Networks
from ..models.utils import load_weights
from ..utils.slow_bfloat16 import slow_bfloat16
from .doubts import Answers, answers, doubts_of, how_many, suspects
from .never_trained import signs_of_random_weights
from .schedule import Schedule, Timings
from .trained_student import IMAGES, RATES, start_agreement

# Steps of the rounds that are timed, and of those that take long; longer
# rounds take as much longer.
_ITERS, _FEW_ITERS = 10, 3
# Steps of synthesis before these.
_UNTIMED = 4
# Images of two steps by which it is told how long a trial takes at least, and
# how many times as long the latter has to take for that.
_GLANCES, _BY_IMAGES = (2, 6), 2
# Images that are validated again, to see how long that takes.
_FEW = 512
# What is told of a teacher with random weights.
NEVER_TRAINED = 'seems never to have been trained'
# Images by which blocks are chosen here.
_LOOKED_AT = 16
# Seconds of a step with a few images that is brief.
_BRIEF = 0.3
# Seconds of the first steps after which it is told how long the rest takes.
_LONG = 5
# Seconds of the first steps after which few more are timed.
_SLOW = 10


@dataclass(frozen=True)
class Trial:
    """What a trial found."""

    timings: Timings
    checkpoint: int  # bytes of one
    memory: int  # bytes that the process or the GPU took at most
    connector: int  # weights of the connectors
    teacher: Optional['Answers']  # None without validation images
    # Of the student before training with the teacher, beyond chance, 0..1.
    agreement: float = 0.0
    # Its accuracy as it came, if it seems trained and there is validation.
    start_top1: Optional[float] = None
    imported: int = 0  # images to start with
    doubt: str = ''  # of the teacher, a warning
    beside: int = 0  # bytes that are kept with an image of the bank
    state: int = 0  # bytes of what rounds leave to later ones


def run_trial(
    cfg: Dict[str, Any],
    schedule: Schedule,
    work_dir: str,
    seconds: float,
    describe: Callable[[str], None],
    check_time: Callable[[str, float], None] = lambda what, least: None,
) -> Trial:
    """Run a few steps of a config, and time them.

    Args:
        cfg (dict): The config of the run.
        schedule (Schedule): What is in it.
        work_dir (str): A folder that will be removed.
        seconds (float): How long to time at most, roughly.
        describe (Callable): Called with what is to be told.
        check_time (Callable, optional): Called with what takes long and how
            long that is; may raise an error before it begins.
    """
    runner = Runner.from_cfg(_small(cfg, schedule, work_dir))
    algorithm = runner.model
    student = deepcopy(algorithm.architecture)
    fitted_on = [
        hook['images'] for hook in cfg.get('custom_hooks', ()) if _fits(hook)
    ]
    places = places_of(runner) if fitted_on else []
    weights = cfg['model']['student_ckpt']
    if weights is not None:
        load_weights(student, weights, 'student')
    teacher, start_top1 = None, None
    val_seconds = 0.0
    model = algorithm.teachers['teacher']
    new = signs_of_random_weights(
        model,
        *cfg['model']['image_shape'],
        algorithm.data_preprocessor.mean,
        algorithm.data_preprocessor.std,
    )
    doubt = ''
    if new:
        doubt = (
            f'WARNING: the teacher {NEVER_TRAINED}: {new}. '
            'Give its weights by teacher_weights=FILE, or load them before '
            'the call: from random ones nothing can be learned.'
        )
    if cfg.get('val_dataloader'):
        loader = runner.val_dataloader
        classes = cfg['model']['data_preprocessor']['num_classes']
        images = len(loader.dataset)
        about = getattr(loader.dataset, 'about', '')
        if about:
            describe(f'  {about}')
        if seconds and images > 2 * _FEW:
            start = time.perf_counter()
            found = answers(
                *(model, loader, algorithm.data_preprocessor, classes, _FEW)
            )
            least = _since(start) * images / found.images
            check_time('a pass of the teacher over val', least)
        start = time.perf_counter()
        teacher = answers(model, loader, algorithm.data_preprocessor, classes)
        image_seconds = _since(start) / max(teacher.images, 1)
        describe(
            f'teacher: {teacher.top1:.2f} % of {teacher.images} '
            f'image{"s" * (teacher.images != 1)} of val'
        )
        shown = int((teacher.of_classes > 0).sum())
        if shown < classes:
            describe(
                f'WARNING: val has images of {shown} of the {classes} classes '
                'alone, so accuracies are of these'
            )
        helpful: List[str] = []
        few = how_many(teacher, image_seconds, seconds)
        if classes > 1 and few:
            helpful = suspects(
                model, loader, algorithm.data_preprocessor, teacher, few
            )
        doubt = doubts_of(teacher, new, helpful)
    if doubt:
        describe(doubt)
    if teacher is not None:
        few = min(_FEW, teacher.images)
        start = time.perf_counter()
        answers(
            algorithm.architecture,
            loader,
            algorithm.data_preprocessor,
            classes,
            few,
        )
        val_seconds = _since(start) * teacher.images / few
        runner._val_loop = runner._val_evaluator = None
    (hook,) = synthesis_hooks(runner)
    note = slow_bfloat16('amp=None') if hook.synthesizer.amp else ''
    if note:
        describe(f'WARNING: {note}')
    least = least_seconds(algorithm, schedule, cfg)
    check_time('the trial that plans the run', least)
    if least > _LONG:
        describe(f'  the trial takes {least:.0f} s or more')
    busy = BusyCores()
    start = time.perf_counter()
    runner.train()
    spent = _since(start)
    device = next(algorithm.parameters()).device
    on_cpu = device.type == 'cpu'
    advice = busy.advice(torch.get_num_threads()) if on_cpu else ''
    if advice:
        describe(f'  {advice}')
    iters = _ITERS if spent < _SLOW else _FEW_ITERS
    if spent > _LONG:
        # Two steps of each kind before, these of two kinds and a few to come.
        left = max(spent * (2 * iters + 4) / 6, seconds)
        describe(
            f'  the first steps took {spent:.0f} s; the timed ones take up to '
            f'about {left:.0f} s more'
        )
    assert hook.round_runner is not None
    rounds = hook.round_runner
    initial: List[float] = []
    others: List[float] = []
    start = time.perf_counter()
    while not others or (len(others) < 3 and _since(start) < seconds / 2):
        before = time.perf_counter()
        # The bank takes no initial rounds after those of an epoch.
        rounds.synthesizer.synthesize(
            rounds.networks,
            rounds.num_classes,
            seed=len(others),
            iters=iters,
            with_student=False,
        )
        initial.append(_since(before))
        # With the student, as many steps take no less.
        check_time('the rest of the trial', initial[-1])
        before = time.perf_counter()
        # One more than there are.
        batch = rounds.make('trial', 0, len(others) + 2, iters)
        others.append(_since(before))
    agreement, fit_seconds = 0.0, 0.0
    starts_as = deepcopy(student) if places else student
    images = bank_images(rounds.bank, 'seen', IMAGES)
    if places:
        start = time.perf_counter()
        # What it was fitted on would flatter it.
        fit_student(rounds.networks, starts_as, images[::2], places)
        fit_seconds = _since(start) * fitted_on[0] / len(images[::2])
        # In the end, what was fitted is validated, too.
        fit_seconds += val_seconds
        images = images[1::2]
    if weights is not None:  # None: blocks of the teacher take their place
        agreement = start_agreement(starts_as, rounds.networks, images)
    if teacher is not None and agreement >= min(RATES):
        start_top1 = answers(
            student, loader, algorithm.data_preprocessor, classes
        ).top1
    steps: List[float] = []
    start = time.perf_counter()
    algorithm.train()
    while len(steps) < 3 or (len(steps) < 50 and _since(start) < seconds / 2):
        for data in runner.train_dataloader:
            before = time.perf_counter()
            algorithm.train_step(data, runner.optim_wrapper)
            steps.append(_since(before))
    assert batch is not None
    before = time.perf_counter()
    report_round(runner, rounds, batch, 'synthesis', 0, hook.grid_images)
    # Checkpoint and report.
    runner.call_hook('after_train_epoch')
    epoch_seconds = _since(before)
    choice = sum(
        hook.seconds
        for hook in runner.hooks
        if isinstance(hook, TeacherBlocksHook)
    )
    looked_at = sum(each['images'] for each in cfg.get('custom_hooks', ()))
    timings = Timings(
        init_round=_mean(initial) * schedule.init_iters / iters,
        round=_mean(others) * schedule.iters / iters,
        # The first of a few steps finds memory.
        step=_mean(steps[1:]),
        epoch=epoch_seconds,
        validation=val_seconds,
        choice=choice * looked_at / _LOOKED_AT,
        fit=fit_seconds,
        imported=hook.import_seconds,
    )
    return Trial(
        timings,
        _largest(Path(work_dir), 'epoch_*.pth'),
        _memory(device),
        sum(p.numel() for p in algorithm.distiller.parameters()),
        teacher,
        agreement,
        start_top1,
        sum(s.count for s in rounds.bank.opened.shards if s.epoch == IMPORTED),
        doubt if doubt.startswith('WARNING') else '',
        target_bytes(algorithm, hook, rounds.num_classes),
        KEPT_EPOCHS * _largest(rounds.bank.opened.path, 'state_*.pth'),
    )


def least_seconds(
    algorithm: torch.nn.Module, schedule: Schedule, cfg: Dict[str, Any]
) -> float:
    """How long a trial takes at least, by steps with a few images.

    Args:
        algorithm (nn.Module): Of a runner that has not begun.
        schedule (Schedule): Of the run.
        cfg (dict): The config of the run.

    Returns:
        float: 0 if these take no time worth mentioning, or fail: what is
        wrong, the rehearsal says.
    """
    synthesizer = dict(
        {'_scope_': 'mmrazor'},
        **cfg['default_hooks']['synthesis']['synthesizer'],
    )
    synthesizer.update(num_images=None, compile=False, graph=False)
    fewer, more = _GLANCES
    spent = []
    with suppress(Exception):
        networks = Networks.from_algorithm(algorithm)
        for images in (fewer, fewer, more):  # the first one finds memory
            few = MODELS.build(dict(synthesizer, batch_size=images))
            num_classes, _ = few.check(networks, with_student=False)
            start = time.perf_counter()
            few.synthesize(
                networks, num_classes, seed=0, iters=1, with_student=False
            )
            spent.append(_since(start))
            if spent[-1] < _BRIEF:
                return 0.0
    # Where it is calls and waiting for others that take long, more images
    # hardly take longer.
    if len(spent) < 3 or spent[2] < _BY_IMAGES * spent[1]:
        return 0.0
    image = (spent[2] - spent[1]) / (more - fewer)
    # It takes less in a larger batch, but hardly less than half.
    steps = _UNTIMED + 2 * _FEW_ITERS
    return image / 2 * schedule.synthesis_batch * steps


def _small(cfg: Dict[str, Any], schedule: Schedule, work_dir: str) -> Config:
    small = deepcopy(cfg)
    hook = small['default_hooks']['synthesis']
    hook.update(
        init_rounds=1, rounds=1, init_iters=2, grid_images=100, rehearsal=True
    )
    hook['synthesizer']['iters'] = 2
    small['default_hooks']['logger'] = dict(type='LoggerHook', interval=10**9)
    # Fitting is tried, and timed, on its own.
    hooks = [h for h in small.pop('custom_hooks', ()) if not _fits(h)]
    small['custom_hooks'] = [dict(h, images=_LOOKED_AT) for h in hooks]
    small['train_cfg'].update(max_epochs=1)
    small['train_dataloader']['sampler']['num_samples'] = 2 * schedule.batch
    small.update(work_dir=work_dir, log_level='ERROR')
    return Config(small)


def _fits(hook: Dict[str, Any]) -> bool:
    return bool(hook['type'] == 'mmrazor.RefitHook')


def _largest(folder: Path, pattern: str) -> int:
    """Bytes of the largest of some files; 0 if there are none."""
    sizes = [path.stat().st_size for path in folder.glob(pattern)]
    return max(sizes, default=0)


def _since(start: float) -> float:
    # To ask a GPU would take memory of one that is not used.
    if get_device() == 'cuda' and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _memory(device: torch.device) -> int:
    """Bytes that were needed at most so far; 0 if that is not known."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
