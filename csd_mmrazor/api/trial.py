# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A few steps of a run, timed, and the teacher's accuracy."""

import resource
import time
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmrazor.registry import MODELS
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..datasets.bank_folder import IMPORTED
from ..engine import SynthesisHook, TeacherBlocksHook
from ..engine.agreement_images import bank_images
from ..engine.hooks.refit_hook import fit_student, places_of
from ..engine.synthesis import report_round
from ..models.synthesizers.networks import Networks
from ..models.utils import evaluating, load_weights, logits_of
from ..report.advice import is_chance
from ..utils.busy_cores import BusyCores
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
# Those that each suspect is tried on, and by how much it has to be better.
_TRIED, _BETTER = 300, 10
# Accuracies in % below which suspects are tried, and below which it is told
# that none of them helped.
_LOW, _LITTLE = 75, 50
# What is told of a teacher with random weights.
NEVER_TRAINED = 'seems never to have been trained'
# Of the training images of ImageNet, in 0..1.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
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


@dataclass(frozen=True)
class Answers:
    """What a network says of images."""

    confusion: Tensor  # (K, K), counts: row is the label, column the answer

    @property
    def top1(self) -> float:
        """Accuracy in %."""
        total = int(self.confusion.sum())
        return 100 * int(self.confusion.diag().sum()) / max(total, 1)

    @property
    def images(self) -> int:
        """How many there were."""
        return int(self.confusion.sum())


def answers(
    network: torch.nn.Module,
    loader: Any,
    preprocess: Callable[..., Dict[str, Any]],
    num_classes: int,
    most: Optional[int] = None,
) -> Answers:
    """Show a network the images of a loader.

    Args:
        network (nn.Module): A classifier, on its device.
        loader (DataLoader): Of mmpretrain's kind.
        preprocess (Callable): What makes inputs of its batches.
        num_classes (int): Classes K.
        most (int, optional): Images after which to stop.

    Raises:
        ValueError: If a label is none of 0..K-1.
    """
    counts = torch.zeros(num_classes * num_classes, dtype=torch.int64)
    seen = 0
    with evaluating(network), torch.no_grad():
        for batch in loader:
            data = preprocess(batch, False)
            labels = torch.cat([s.gt_label for s in data['data_samples']])
            labels = labels.cpu()
            wrong = labels[(labels < 0) | (labels >= num_classes)].tolist()
            if wrong:
                raise ValueError(
                    f'val has the label {wrong[0]}, but the networks tell '
                    f'{num_classes} classes, 0..{num_classes - 1}.'
                )
            found = logits_of(network(data['inputs'], mode='tensor'))
            pairs = labels * num_classes + found.argmax(1).cpu()
            counts += torch.bincount(pairs, minlength=len(counts))
            seen += len(labels)
            if most is not None and seen >= most:
                break
    return Answers(counts.view(num_classes, num_classes))


def suspects(
    teacher: torch.nn.Module,
    loader: Any,
    preprocessor: Any,
    found: Answers,
) -> List[str]:
    """What may be wrong where a teacher has a low accuracy.

    Changes that might help are tried on a part of the images.

    Args:
        teacher (nn.Module): The teacher.
        loader (DataLoader): The validation images.
        preprocessor (nn.Module): What normalises them.
        found (Answers): Of the teacher to all of them.

    Returns:
        list[str]: What helps, with the accuracy that it gives; the best first.
    """
    classes = len(found.confusion)
    # Folders are sorted by class, so the first images would be of one, which
    # an input far off can make the teacher's only answer.
    total = len(loader.dataset)
    part = DataLoader(
        Subset(loader.dataset, range(0, total, -(-total // _TRIED))),
        loader.batch_size,
        collate_fn=loader.collate_fn,
    )
    mean, std = preprocessor.mean, preprocessor.std

    def images_of(batch: Any) -> Tensor:
        return preprocessor(batch, False)['inputs'] * std + mean

    def with_inputs(change: Callable[[Tensor], Tensor]) -> float:
        def preprocess(batch: Any, training: bool) -> Dict[str, Any]:
            data = preprocessor(batch, training)
            images = data['inputs'] * std + mean
            return dict(data, inputs=change(images))

        return answers(teacher, part, preprocess, classes).top1

    tried: Dict[str, Callable[[Tensor], Tensor]] = {
        'mean and std (images in 0..1 fit better: leave both out)': (
            lambda images: images / 255
        ),
        'mean and std (images in 0..255 fit better: mean=0, std=1/255)': (
            lambda images: images
        ),
        'mean and std (images in -1..1 fit better: mean=0.5, std=0.5)': (
            lambda images: images / 127.5 - 1
        ),
        'light and dark (inverted images fit better)': (
            lambda images: (255 - images - mean) / std
        ),
    }
    pixels = torch.cat([images_of(batch) for batch in part])
    values = pixels.transpose(0, 1).flatten(1)
    stats = [('of these images', values.mean(1) / 255, values.std(1) / 255)]
    channels = len(values)
    if channels == 3:
        stats.append(('of ImageNet', *map(torch.tensor, _IMAGENET)))
    for whose, *both in stats:
        one, other = ([round(float(v), 4) for v in each] for each in both)
        if min(other) > 0:
            name = (
                f'mean and std (those {whose} fit better: mean={one}, '
                f'std={other})'
            )
            tried[name] = partial(_normalised, mean=one, std=other)
    if channels == 3:
        tried['the channel order (BGR fits better)'] = lambda images: (
            (images.flip(1) - mean) / std
        )
    # Clearly above chance, and above what there is.
    least = 100 / classes + 0.15 * (100 - 100 / classes)
    own_top1 = answers(teacher, part, preprocessor, classes).top1
    better: List[Tuple[float, str]] = []
    for name, change in tried.items():
        top1 = with_inputs(change)
        if top1 > max(least, own_top1 + _BETTER):
            better.append((top1, f'{name}, {top1:.1f} %'))
    helpful = [text for _, text in sorted(better, reverse=True)]
    order = doubt_of_order(found)
    return [*helpful, order] if order else helpful


def doubt_of_order(found: Answers) -> str:
    """What there is to say of the order of the classes.

    Args:
        found (Answers): Of the teacher to the validation images.

    Returns:
        str: A suspect if most answers would be right in another order, in
        which each class has an answer of its own; else empty.
    """
    # Few need it, and its import takes long.
    from scipy.optimize import linear_sum_assignment

    places = linear_sum_assignment(found.confusion.numpy(), maximize=True)
    best = 100 * int(found.confusion[places].sum()) / max(found.images, 1)
    if best <= max(50, found.top1 + _BETTER):
        return ''
    return (
        f'the class order (by another one {best:.0f} % would be right): name '
        "the folders in the teacher's by classes=[...]"
    )


def _normalised(
    images: Tensor, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    shape = len(mean), 1, 1
    return (images / 255 - images.new_tensor(mean).view(shape)) / (
        images.new_tensor(std).view(shape)
    )


def doubts_of(found: Answers, new: str, helpful: Sequence[str]) -> str:
    """What there is to say of a teacher's accuracy.

    Args:
        found (Answers): Of the teacher to the validation images.
        new (str): Of :func:`signs_of_random_weights`.
        helpful (sequence[str]): Of :func:`suspects`.

    Returns:
        str: A line, a warning unless all may be right; empty for nothing.

    Raises:
        ValueError: If the teacher is at chance, and was never trained or is
            so for a cause that was found.
    """
    classes = len(found.confusion)
    listed = '; '.join(helpful)
    if is_chance(found.top1, classes):
        chance = 100 / classes
        if new:
            raise ValueError(
                f'teacher was never trained: {new}, and it is right for '
                f'{found.top1:.1f} % of val, as guesses are '
                f'({chance:.1f} %). Give its weights by teacher_weights=FILE, '
                'or load them before the call.'
            )
        if helpful:
            raise ValueError(
                f'teacher is at chance ({chance:.1f} %), and is right for '
                f'more of val after a change. Suspects: {listed}. Change '
                'that; if nothing is wrong with it, call without val.'
            )
        return (
            f'WARNING: the teacher is at chance ({chance:.1f} %). Suspects: '
            'mean and std; the order of channels or light and dark; the '
            'class order; the size of images; the weights.'
        )
    if listed:
        return (
            f'WARNING: the teacher is right for only {found.top1:.1f} % of '
            f'val, and would be for more after a change. Suspects: {listed}.'
        )
    if found.top1 < _LITTLE:
        return (
            '  if it had more in training, check mean, std, the order of '
            'channels and classes, and its weights; the usual mistakes were '
            'tried, and none of them explains it'
        )
    return ''


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
        teacher = answers(model, loader, algorithm.data_preprocessor, classes)
        describe(
            f'teacher: {teacher.top1:.2f} % of {teacher.images} images of val'
        )
        shown = int((teacher.confusion.sum(1) > 0).sum())
        if shown < classes:
            describe(
                f'WARNING: val has images of {shown} of the {classes} classes '
                'alone, so accuracies are of these'
            )
        helpful: List[str] = []
        if classes > 1 and (
            teacher.top1 < _LOW or is_chance(teacher.top1, classes)
        ):
            helpful = suspects(
                model, loader, algorithm.data_preprocessor, teacher
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
    least = least_seconds(algorithm, schedule, cfg)
    check_time('the trial that plans the run', least)
    if least > _LONG:
        describe(f'  the trial takes {least:.0f} s or more')
    busy = BusyCores()
    start = time.perf_counter()
    runner.train()
    spent = _since(start)
    advice = '' if torch.cuda.is_available() else busy.advice()
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
        # The first steps of a process are slower.
        check_time('the rest of the trial', left / 2)
    (hook,) = (h for h in runner.hooks if isinstance(h, SynthesisHook))
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
        max(path.stat().st_size for path in Path(work_dir).glob('*.pth')),
        _memory(),
        sum(p.numel() for p in algorithm.distiller.parameters()),
        teacher,
        agreement,
        start_top1,
        sum(s.count for s in rounds.bank.opened.shards if s.epoch == IMPORTED),
        doubt if doubt.startswith('WARNING') else '',
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


def _since(start: float) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
