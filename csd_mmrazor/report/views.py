# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a page shows of a run: tables, and curves to plot."""

import math
from collections import Counter
from datetime import timedelta
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..utils import read_object
from ..utils.agreement import (
    Agreement,
    agreement_at,
    describe_agreement,
    estimate_of,
)
from ..utils.public import public_text
from .run_files import AGREEMENT, RunFiles, answers_top1, epochs_of

# Tags of the log by plot: title, what is on the axes, names of the curves.
# Rounds are counted from 0 where they are logged and from 1 where shown.
_PLOTS = (
    (
        'Accuracy on real images',
        'epoch',
        'top-1, %',
        {'accuracy/top1': 'student', 'aux/top1': 'auxiliary head'},
    ),
    (
        'Agreement with the teacher on synthetic images',
        'epoch',
        'same class, %',
        {
            f'{kind}/{name}_top1': f'{who}, {name.replace("_", " ")}'
            for name in ('held_out', 'initial', 'views', 'mixed', 'fresh')
            for kind, who in (
                ('agreement', 'student'),
                ('agreement_mean', 'running mean'),
            )
        },
    ),
    (
        'Who recognises the new images, before they are trained on',
        'epoch',
        'top-1, %',
        {
            'synthesis/teacher_top1': 'teacher',
            'synthesis/student_top1': 'student',
            'synthesis/aux_top1': 'auxiliary head',
        },
    ),
    (
        'How hard new images are for the auxiliary head',
        'epoch',
        'cross entropy',
        {'synthesis/aux_loss': 'auxiliary cross entropy'},
    ),
    (
        'How diverse the bank is',
        'epoch',
        'share; cosine distance',
        {
            'synthesis/bank_balance': 'evenness of classes',
            'synthesis/bank_diversity': 'diversity within classes',
        },
    ),
)
_LOSSES = ('Losses of the student', 'step', 'loss')
_TERMS = ('Terms of synthesis, last round of an epoch', 'epoch', 'loss')
_RATES = ('Learning rates', 'step', 'rate')
_MOST_POINTS = 2000
_MOST_SETTINGS = 2000
# Classes that a matrix or bars can show.
MOST_DRAWN_CLASSES = 50
_MOST_CONFUSIONS = 20
# How a student compares with its teacher: less, more, neither.
_NUMBER = 'fewer', 'more', 'as many'
_SIZE = 'smaller', 'larger', 'as large'
_SPEED = 'faster', 'slower', 'equally fast'
_PRODUCTS = 'multiplications for an image'
_PHASES = dict(
    initial='initial bank',
    synthesis='synthesis in epochs',
    student='student and auxiliary head',
    validation='validation',
)
Plot = Dict[str, Any]


def run_view(
    run: RunFiles,
    name: str,
    images: Optional[Dict[str, Any]],
    wrong_images: Sequence[str],
) -> Dict[str, Any]:
    """What the template shows of a run.

    Args:
        run (RunFiles): The run.
        name (str): What it is called.
        images (dict, optional): Of :func:`gallery`.
        wrong_images (sequence[str]): What is wrong with shards.

    Returns:
        dict[str, Any]: For the template; ``data`` is for its script.
    """
    missing = [*run.missing, *wrong_images]
    classes = _classes(run)
    per_class, confusions = answers_by_class(run, classes)
    if run.measured and not per_class:
        missing.append(
            'Answers per class: no validation was recorded in report.json.'
        )
    if images and not any(entry[3] for entry in images['images']):
        missing.append('Scores of images: none are recorded.')
    phases = _phases(run)
    plots = [*_curves(run), *_class_plots(run, classes, per_class)]
    if phases:
        plots.append(
            dict(
                kind='bar',
                title='Time by phase',
                x='',
                y='minutes',
                series=[
                    dict(
                        name='minutes',
                        x=[p for p, _, _ in phases],
                        y=[round(s / 60, 3) for _, s, _ in phases],
                    )
                ],
            )
        )
    else:
        missing.append(
            'Time by phase: the log has no time/..., which RunTimerHook '
            'writes.'
        )
    agreement = _agreement(run)
    real = run.bank.share_of_real if run.bank else ''
    return dict(
        name=name,
        status=_status(run),
        agreement=agreement and describe_agreement(agreement, real),
        facts=_facts(run),
        networks=_networks(run),
        machine=run.measured.get('machine', ''),
        per_class=per_class,
        confusions=confusions,
        classes=classes,
        phases=phases,
        # A page may be passed on: it says of files what they are called.
        settings=[(k, public_text(text)) for k, text in flat(run.config)],
        private_settings=flat(run.config),
        versions=sorted(run.versions.items()),
        attempts=[
            dict(each, seconds=duration(each['seconds']))
            for each in run.attempts
        ],
        warnings=[
            dict(each, text=public_text(each['text'])) for each in run.warnings
        ],
        advice=list(map(public_text, run.advice.values())),
        missing=list(map(public_text, missing)),
        has_images=images is not None,
        plots=plots,
        data=dict(name=name, plots=plots, gallery=images, classes=classes),
        top1=run.top1,
    )


def compared(views: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """What a page shows of several runs together.

    Args:
        views (sequence[dict]): Of :func:`run_view`.

    Returns:
        dict[str, Any]: ``facts``, a row for each fact and a cell for each
        run; ``settings``, the same of those that differ; ``plots``.
    """
    names = list(dict.fromkeys(k for v in views for k, _ in v['facts']))
    facts = [
        (name, [dict(view['facts']).get(name, '-') for view in views])
        for name in names
    ]
    told = [dict(view['settings']) for view in views]
    # Files of one name may lie in several folders.
    tables = [dict(view['private_settings']) for view in views]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    differ = [k for k in keys if len({t.get(k, '-') for t in tables}) > 1]
    plots: Dict[Tuple[str, str], Plot] = {}
    for view in views:
        for plot in view['plots']:
            if plot['kind'] != 'line' or plot['title'] == _RATES[0]:
                continue
            for series in plot['series']:
                single = len(plot['series']) == 1
                title = (
                    plot['title']
                    if single
                    else (f'{plot["title"]}: {series["name"]}')
                )
                joint = plots.setdefault(
                    (plot['title'], series['name']),
                    dict(plot, title=title, series=[]),
                )
                joint['series'].append(dict(series, name=view['name']))
    return dict(
        names=[view['name'] for view in views],
        facts=facts,
        settings=[(key, [t.get(key, '-') for t in told]) for key in differ],
        plots=list(plots.values()),
    )


def flat(config: Dict[str, Any]) -> List[Tuple[str, str]]:
    """Settings of a config by dotted name, in its order."""
    rows: List[Tuple[str, str]] = []
    waiting: List[Tuple[str, Any]] = [('', config)]
    while waiting and len(rows) < _MOST_SETTINGS:
        name, value = waiting.pop()
        if isinstance(value, dict) and value:
            prefix = f'{name}.' if name else ''
            waiting += [
                (f'{prefix}{key}', each)
                for key, each in reversed(list(value.items()))
            ]
        elif name:
            rows.append((name[:300], f'{value!r:.500}'))
    return rows


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(min(seconds, 1e9))))


def _status(run: RunFiles) -> str:
    done, whole = _epochs_done(run), epochs_of(run.config)
    if whole and done >= whole:
        return f'finished: {whole} epochs'
    of = f' of {whole}' if whole else ''
    return f'{done}{of} epochs done'


def _epochs_done(run: RunFiles) -> int:
    """The last epoch that was validated, compared with the teacher or saved.

    Or else those that were begun, less one.
    """
    begun = [
        int(value)
        for value in run.scalars.get('epoch', {}).values()
        if math.isfinite(value)
    ]
    saved = [
        int(path.stem[len('epoch_') :])
        for path in run.path.glob('epoch_*.pth')
        if path.stem[len('epoch_') :].isdecimal()
    ]
    compared = run.scalars.get(AGREEMENT, {})
    return max([max(begun, default=1) - 1, *saved, *compared, *run.top1])


def _agreement(run: RunFiles) -> Optional[Agreement]:
    """How alike the student that was chosen without real images is."""
    chosen = run.scalars.get('agreement/chosen_epoch', {})
    last = max(chosen, default=0)
    epoch = chosen.get(last, math.nan)
    if not math.isfinite(epoch):
        return None
    is_mean = run.scalars.get('agreement/chosen_mean', {}).get(last)
    return agreement_at(run.scalars, int(epoch), bool(is_mean))


def _facts(run: RunFiles) -> List[Tuple[str, str]]:
    """The summary."""
    facts = []
    top1 = {k: v for k, v in run.top1.items() if v == v}
    teacher = run.teacher_top1()
    if top1:
        best, last = max(top1, key=lambda e: (top1[e], -e)), max(top1)
        exported = read_object(run.path / 'student/student.json').get('epoch')
        facts += [
            (
                f'student, {name}',
                f'{top1[epoch]:.2f} % (epoch {epoch})'
                + (', in student/' if epoch == exported else ''),
            )
            for name, epoch in (('best', best), ('last', last))
        ]
    chosen = run.scalars.get('agreement/chosen_epoch')
    if chosen:
        last = max(chosen)
        mean = run.scalars.get('agreement/chosen_mean', {}).get(last)
        facts.append(
            (
                'student, chosen without real images',
                f'{"running mean" if mean else "weights"} of epoch '
                f'{chosen[last]:.0f}',
            )
        )
    agreement = _agreement(run)
    estimate = agreement and estimate_of(agreement)
    if estimate:
        facts.append(('estimated accuracy', f'{estimate}'))
    if teacher is not None:
        facts.append(('teacher', f'{teacher:.2f} %'))
    networks = run.measured.get('networks', {})
    sizes = [
        networks.get(r, {}).get('weights') for r in ('teacher', 'student')
    ]
    if all(sizes):
        facts.append(('weights', times_less(sizes[0] / sizes[1], *_NUMBER)))
    start = run.scalars.get('start/agreement')
    if start:
        alike = f'{start[max(start)]:.1f} % of synthetic images'
        facts.append(
            (
                'student at the start',
                f'blocks of its teacher, same class as it on {alike}',
            )
        )
    if run.bank is not None:
        facts.append(('images in the bank', f'{len(run.bank):,}'))
    seconds = sum(attempt['seconds'] for attempt in run.attempts)
    if run.attempts:
        facts.append(('time, restarts included', duration(seconds)))
        facts.append(('resumed', how_often(len(run.attempts) - 1)))
    return facts


def how_often(number: int) -> str:
    """A number of times, for people."""
    return {0: 'never', 1: 'once', 2: 'twice'}.get(number, f'{number} times')


def _networks(run: RunFiles) -> List[Tuple[str, str, str, str]]:
    """Teacher, student and their ratio, by what is compared."""
    found = run.measured.get('networks', {})
    pair = [found.get(role, {}) for role in ('teacher', 'student')]
    rows = []
    accuracy = [answers_top1(run.measured, r) for r in ('teacher', 'student')]
    if None not in accuracy:
        gap = accuracy[1] - accuracy[0]
        epoch = run.measured['validation']['student']['epoch']
        rows.append(
            (
                f'accuracy on real images (student of epoch {epoch})',
                f'{accuracy[0]:.2f} %',
                f'{accuracy[1]:.2f} %',
                f'{gap:+.2f} points',
            )
        )
    for key, label, unit, scale, words in (
        ('weights', 'weights', '', 1, _NUMBER),
        ('multiplications', _PRODUCTS, ' M', 1e6, _NUMBER),
        ('bytes', 'size in memory', ' MB', 1e6, _SIZE),
    ):
        values = [network.get(key) for network in pair]
        if all(values):
            rows.append(_row(label, values, unit, scale, words))
    timed = [network.get('milliseconds', {}) for network in pair]
    for batch in sorted(set(timed[0]) & set(timed[1])):
        values = [time[batch] for time in timed]
        what = 'an image' if batch == 1 else f'{batch} images'
        if all(values):
            rows.append(_row(f'time for {what}', values, ' ms', 1, _SPEED))
    return rows


def times_less(ratio: float, less: str, more: str, same: str) -> str:
    """How many times less of something the student has, for people.

    Args:
        ratio (float): What the teacher has, over what the student has.
        less (str): Less of it, in words.
        more (str): More of it: the student may be the larger network.
        same (str): Neither, in words.
    """
    times = f'{max(ratio, 1 / ratio):.1f}'
    if times == '1.0':
        return same
    return f'{times} times {less if ratio >= 1 else more}'


def _row(
    label: str,
    values: Sequence[float],
    unit: str,
    scale: float,
    words: Tuple[str, str, str],
) -> Tuple[str, str, str, str]:
    shown = [
        f'{v:,}' if scale == 1 and type(v) is int else f'{v / scale:,.2f}'
        for v in values
    ]
    return (
        label,
        f'{shown[0]}{unit}',
        f'{shown[1]}{unit}',
        times_less(values[0] / values[1], *words),
    )


def _classes(run: RunFiles) -> List[str]:
    """Names of the classes; numbers where there are none."""
    names = run.measured.get('classes') or (
        run.bank.classes if run.bank else []
    )
    number = run.bank.num_classes if run.bank else len(names)
    if len(names) != number:
        names = []
    return [*names] or [str(i) for i in range(min(number, 100_000))]


def answers_by_class(
    run: RunFiles, classes: Sequence[str]
) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """How often each class is recognised, and what it is taken for.

    Args:
        run (RunFiles): The run.
        classes (sequence[str]): Their names.

    Returns:
        tuple[list[dict], list[dict]]: A row for each class; and the most
        frequent confusions of the student.
    """
    rights: Dict[str, Counter] = {}
    totals: Dict[str, Counter] = {}
    confusions: Counter = Counter()
    for role, found in run.measured.get('validation', {}).items():
        right, total = Counter(), Counter()
        for label, answer, images in found['counts']:
            total[label] += images
            right[label] += images * (label == answer)
            if role == 'student' and label != answer:
                confusions[label, answer] += images
        rights[role], totals[role] = right, total
    rows = []
    for label in sorted(set().union(*totals.values()) if totals else ()):
        row: Dict[str, Any] = dict(
            name=_class_name(classes, label),
            images=max(total[label] for total in totals.values()),
        )
        for role in ('teacher', 'student'):
            total = totals.get(role, Counter())[label]
            row[role] = 100 * rights[role][label] / total if total else None
        rows.append(row)
    names = [
        dict(
            label=_class_name(classes, label),
            answer=_class_name(classes, answer),
            images=images,
        )
        for (label, answer), images in confusions.most_common(_MOST_CONFUSIONS)
    ]
    return rows, names


def _class_name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)


def _phases(run: RunFiles) -> List[Tuple[str, float, str]]:
    """Phase, seconds, share."""
    found = []
    for key, label in _PHASES.items():
        times = run.scalars.get(f'time/{key}', {}).values()
        seconds = sum(time for time in times if 0 <= time < 1e9)
        if times:
            found.append((label, float(seconds)))
    if not found:
        return []
    whole = sum(attempt['seconds'] for attempt in run.attempts)
    rest = whole - sum(seconds for _, seconds in found)
    if rest > 0:
        found.append(('other: start, checkpoints, report, repeats', rest))
    whole = sum(seconds for _, seconds in found) or 1
    return [(p, s, f'{100 * s / whole:.1f} %') for p, s in found]


def _curves(run: RunFiles) -> List[Plot]:
    """Accuracy, losses, the mechanism."""
    plots = []
    for title, x, y, tags in _PLOTS:
        plots.append(_plot(run, title, x, y, tags))
    teacher = run.teacher_top1()
    if teacher is not None and plots[0]['series']:
        steps = plots[0]['series'][0]['x']
        plots[0]['series'].append(
            dict(name='teacher', x=steps, y=[teacher] * len(steps), dash=1)
        )
    every = run.scalars
    losses = {
        tag: tag
        for tag in every
        if tag.startswith(('loss', 'student.', 'distill.')) and '/' not in tag
    }
    terms = {
        tag: tag.partition('/')[2]
        for tag in every
        if tag.startswith('synthesis/loss')
    }
    rates = {tag: tag for tag in every if tag.endswith('lr')}
    for (title, x, y), tags in (
        (_LOSSES, losses),
        (_TERMS, terms),
        (_RATES, rates),
    ):
        plots.append(_plot(run, title, x, y, tags))
    return [plot for plot in plots if plot['series']]


def _plot(
    run: RunFiles, title: str, x: str, y: str, tags: Dict[str, str]
) -> Plot:
    series = []
    for tag, name in list(tags.items())[:30]:
        curve = run.scalars.get(tag)
        if not curve:
            continue
        offset = tag.startswith('synthesis/')
        steps = sorted(curve)
        # From the last one on, which is in it.
        steps = steps[:: len(steps) // -_MOST_POINTS][::-1]
        series.append(
            dict(
                name=name[:80],
                x=[step + offset for step in steps],
                y=[curve[step] for step in steps],
            )
        )
    return dict(kind='line', title=title, x=x, y=y, series=series)


def _class_plots(
    run: RunFiles,
    classes: Sequence[str],
    per_class: Sequence[Dict[str, Any]],
) -> List[Plot]:
    if not per_class or len(classes) > MOST_DRAWN_CLASSES:
        return []
    names = [row['name'] for row in per_class]
    plots: List[Plot] = [
        dict(
            kind='bar',
            title='Accuracy of each class',
            x='class',
            y='top-1, %',
            series=[
                dict(name=role, x=names, y=[row[role] for row in per_class])
                for role in ('teacher', 'student')
                if any(row[role] is not None for row in per_class)
            ],
        )
    ]
    for role in ('student', 'teacher'):
        found = run.measured['validation'].get(role)
        if not found or not found['counts']:
            continue
        size = max(len(classes), 1 + max(max(c[:2]) for c in found['counts']))
        if size > MOST_DRAWN_CLASSES:
            continue
        matrix = [[0] * size for _ in range(size)]
        for label, answer, images in found['counts']:
            matrix[label][answer] += images
        plots.append(
            dict(
                kind='matrix',
                title=f'Confusion of the {role}',
                x='answer',
                y='class',
                series=[
                    dict(
                        name=role,
                        x=[_class_name(classes, i) for i in range(size)],
                        y=matrix,
                    )
                ],
            )
        )
    return plots
