# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the work dir of a run says of it, read without running anything."""

import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from ..datasets.bank_folder import BankError, BankFolder
from ..utils import (
    configs_of_starts,
    latest_checkpoint,
    load_file,
    parse_config,
)
from ..utils.scalars import scan_scalars
from .advice import Curve, advise
from .measurements import Measurements, read_measurements

_ATTEMPT = re.compile(r'\d{8}_\d{6}')
_CHECKPOINT = re.compile(r'(epoch|iter)_\d+\.pth$')
_LOGGED = re.compile(
    r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - \w+ - (WARNING|ERROR|CRITICAL) - '
)
_STAMP = re.compile(rb'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', re.M)
# Bytes at the end of a log in which it is looked for.
_TAIL = 1 << 16
_ENVIRONMENT = re.compile(
    r'\s+(Python|PyTorch|TorchVision|MMEngine|GPU 0): (.{1,100})'
)
# Warnings of MMEngine about itself, which no setting of a run changes.
_NOT_OF_RUNS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of',
)
# Curves by which students are told without real images: of all that are held
# out, which become more, and of those that were there before training.
AGREEMENT, SAME_IMAGES = 'agreement/held_out_top1', 'agreement/initial_top1'
NUMBER_OF_SAME = 'agreement/initial_images'
# By fewer images, chance alone moves a share by tens of points.
FEWEST_COMPARED = 50
# Of a log: letters of a line, lines that are shown.
_MOST_LETTERS, _MOST_LINES = 2000, 200
_MOST_LOG = 50_000_000


class RunFiles(NamedTuple):
    """What there is of a run."""

    path: Path
    # Values by tag and step.
    scalars: Dict[str, Dict[int, float]]
    config: Dict[str, Any]
    # None if there is none.
    bank: Optional[BankFolder]
    measured: Measurements
    # Of each start of the run: when, until when.
    attempts: List[Dict[str, str]]
    # Of the logs: when, how bad, what.
    warnings: List[Dict[str, str]]
    versions: Dict[str, str]
    # By what they are about; see ``advise``.
    advice: Dict[str, str]
    # What is lacking or damaged.
    missing: List[str]

    @property
    def top1(self) -> Dict[int, float]:
        """The student's accuracy by epoch, in %."""
        return self.scalars.get('accuracy/top1', {})

    def teacher_top1(self) -> Optional[float]:
        """The teacher's accuracy on the validation images, in %."""
        return answers_top1(self.measured, 'teacher')


def answers_top1(measured: Measurements, role: str) -> Optional[float]:
    """Share of right answers, in %; None if none were counted."""
    counts = measured.get('validation', {}).get(role, {}).get('counts', ())
    total = sum(images for _, _, images in counts)
    right = sum(images for label, answer, images in counts if label == answer)
    return 100 * right / total if total else None


def read_run(work_dir: Union[str, Path]) -> RunFiles:
    """Read the work dir of a run, whatever its state.

    Args:
        work_dir (str | Path): Of a run that is done, under way or killed.

    Returns:
        RunFiles: What is there; ``missing`` names the rest.

    Raises:
        FileNotFoundError: If there is no such folder, or no log, bank or
            checkpoint of a run in it.
    """
    path = Path(work_dir)
    if not path.is_dir():
        raise FileNotFoundError(
            f'{path} is not a folder: give the work dir of a run.'
        )
    if not _is_run(path):
        above = path.absolute().parent
        is_bank = BankFolder.exists(path)
        what = 'is an image bank, and' if is_bank else 'holds'
        raise FileNotFoundError(
            f'{path} {what} no run: it has no log (<time>/vis_data), no bank '
            'and no checkpoint in it. Give the work dir of a run of '
            f'tools/train.py{f", {above}" if _is_run(above) else ""}.'
        )
    missing: List[str] = []
    scalars, unreadable = scan_scalars(path)
    if not scalars:
        missing.append(
            'Curves: there is no <time>/vis_data/scalars.json, which '
            "MMEngine's LocalVisBackend writes."
        )
    if unreadable:
        missing.append(
            f'{unreadable} lines of scalars.json could not be read; the '
            'last line of a run that was killed may be one.'
        )
    measured: Measurements = {}
    try:
        found = read_measurements(path)
        measured = found or {}
        if found is None:
            missing.append(
                'Sizes and times of the networks, answers per class and '
                "scores of images: there is no report.json, which the run's "
                'ReportHook writes.'
            )
    except (ValueError, OSError) as error:
        missing.append(str(error))
    config = _config(path, missing)
    bank = _bank(path, config, missing)
    warnings, versions = _read_logs(path, missing)
    versions = {**versions, **measured.get('versions', {})}
    if not versions:
        missing.append('Versions: there is neither a log nor report.json.')
    run = RunFiles(
        path,
        scalars,
        config,
        bank,
        measured,
        attempts(path),
        warnings,
        versions,
        {},
        missing,
    )
    return run._replace(advice=advice_of(run))


def advice_of(run: RunFiles) -> Dict[str, str]:
    """What is wrong with the course of a run; see :func:`advise`."""
    initial = run.scalars.get('initial/teacher_top1', {})
    return advise(
        run.top1,
        run.scalars.get('synthesis/teacher_top1', {}),
        initial[max(initial)] if initial else None,
        run.bank.num_classes if run.bank else None,
        epochs_of(run.config),
        run.teacher_top1(),
        *agreement_of(run.scalars),
        whole=recognised_of(run.scalars),
    )


def recognised_of(scalars: Dict[str, Curve]) -> Optional[float]:
    """Share of all images of a bank that the teacher recognises, in %.

    Args:
        scalars (dict[str, dict[int, float]]): Of a run, by tag and epoch.

    Returns:
        float | None: None if it is not known, as where images were dropped.
    """
    wrong, images = (
        [
            value
            for phase in ('initial', 'synthesis')
            for value in scalars.get(f'{phase}/{name}', {}).values()
        ]
        for name in ('unrecognised', 'images')
    )
    total = max(images, default=0)
    if not wrong or not 0 <= sum(wrong) <= total or not total:
        return None
    if len({*images}) < len(images):  # no more images for another round
        return None
    return 100 * (1 - sum(wrong) / total)


def agreement_of(scalars: Dict[str, Curve]) -> Tuple[Curve, bool]:
    """A student's agreement with its teacher by epoch.

    Args:
        scalars (dict[str, dict[int, float]]): Of a run, by tag and epoch.

    Returns:
        tuple[dict[int, float], bool]: In %, and whether all of it is of the
        same images, of which there are enough to compare epochs.
    """
    held_out, same = (scalars.get(t, {}) for t in (AGREEMENT, SAME_IMAGES))
    # Not where a capacity has dropped those images since.
    is_same = bool(same) and max(same) >= max(held_out, default=0)
    number = scalars.get(NUMBER_OF_SAME, {})
    if number and min(number.values()) < FEWEST_COMPARED:
        is_same = False
    return (same if is_same else held_out), is_same


def epochs_of(config: Dict[str, Any]) -> Optional[int]:
    """``train_cfg.max_epochs``, if there is one."""
    train_cfg = config.get('train_cfg')
    epochs = (
        train_cfg.get('max_epochs') if isinstance(train_cfg, dict) else None
    )
    return epochs if type(epochs) is int else None


def _is_run(path: Path) -> bool:
    """Whether a folder is the work dir of a run."""
    return (
        any(path.glob('*/vis_data'))
        or any(_CHECKPOINT.search(each.name) for each in path.glob('*.pth'))
        or any(path.glob('*/manifest.json'))
        or any(_logs(path))
    )


def _logs(path: Path) -> List[Path]:
    return sorted(
        log
        for log in path.glob('*/*.log')
        if _ATTEMPT.fullmatch(log.parent.name)
    )


def _config(path: Path, missing: List[str]) -> Dict[str, Any]:
    """The config of the last attempt."""
    candidates = configs_of_starts(path)
    beside = [*path.glob('*.py')]
    if len(beside) == 1:  # of several, which one is the last is not known
        candidates += beside
    wrong = ''
    for candidate in candidates:
        try:
            text = candidate.read_text(encoding='utf-8')
            return parse_config(text)
        except (ValueError, OSError) as error:
            wrong = wrong or f' {candidate.name}: {error}.'
    try:
        checkpoint = latest_checkpoint(path)
        if checkpoint:
            return parse_config(load_file(checkpoint)['meta']['cfg'])
    except (ValueError, OSError, KeyError, TypeError, MemoryError) as error:
        wrong += f' The checkpoint: {error}'
    missing.append(f'Settings: no config of the run can be read.{wrong}')
    return {}


def _bank(
    path: Path, config: Dict[str, Any], missing: List[str]
) -> Optional[BankFolder]:
    """The image bank, wherever the config has it."""
    hooks = config.get('default_hooks')
    hook = hooks.get('synthesis') if isinstance(hooks, dict) else None
    name = hook.get('bank_dir') if isinstance(hook, dict) else None
    names = [name] if isinstance(name, str) else []
    for name in [*names, 'bank']:
        folder = path / name
        # A name out of a config is not to lead elsewhere.
        if path.resolve() not in folder.resolve().parents:
            continue
        if BankFolder.exists(folder):
            try:
                return BankFolder(folder)
            except (BankError, OSError) as error:
                missing.append(str(error))
                return None
    missing.append('Images: there is no image bank in the work dir.')
    return None


def attempts(path: Path) -> List[Dict[str, Any]]:
    """The starts of a run."""
    found = []
    for folder in sorted(path.iterdir()):
        if not _ATTEMPT.fullmatch(folder.name) or not folder.is_dir():
            continue
        files = [f for f in folder.rglob('*') if f.is_file()]
        try:
            start = datetime.strptime(folder.name, '%Y%m%d_%H%M%S')
        except ValueError:
            continue
        stop = _last_stamp(folder)
        if stop is None:  # by a clock that may be another
            end = max((f.stat().st_mtime for f in files), default=None)
            stop = datetime.fromtimestamp(end) if end else start
        seconds = max((stop - start).total_seconds(), 0)
        found.append(
            dict(
                start=f'{start:%Y-%m-%d %H:%M:%S}',
                end=f'{stop:%Y-%m-%d %H:%M:%S}',
                seconds=seconds,
            )
        )
    return found


def _last_stamp(folder: Path) -> Optional[datetime]:
    """The last time in the logs of an attempt, by the clock of its name.

    Times of files change where they are copied.
    """
    stamps: List[bytes] = []
    for log in folder.glob('*.log'):
        with suppress(OSError), open(log, 'rb') as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
            stamps += _STAMP.findall(file.read())[-1:]
    with suppress(ValueError):
        return datetime.strptime(max(stamps).decode(), '%Y/%m/%d %H:%M:%S')
    return None


def _read_logs(path: Path, missing: List[str]) -> Any:
    """Warnings of all attempts, and versions of the last one."""
    warnings: List[Dict[str, str]] = []
    versions: Dict[str, str] = {}
    logs = _logs(path)
    if not logs:
        missing.append('Warnings: there is no log, <time>/<time>.log.')
    for log in logs:
        with open(log, encoding='utf-8', errors='replace') as file:
            read = 0
            while read < _MOST_LOG:
                line = file.readline(_MOST_LETTERS)
                if not line:
                    break
                read += len(line)
                found = _LOGGED.match(line)
                if found:
                    text = line[found.end() :].strip()
                    entry = dict(time=found[1], level=found[2], text=text)
                    if not text.startswith(_NOT_OF_RUNS):
                        warnings.append(entry)
                    continue
                found = _ENVIRONMENT.match(line)
                if found:
                    versions[found[1]] = found[2].strip()
    if len(warnings) > _MOST_LINES:
        missing.append(
            f'Of {len(warnings)} warnings the last {_MOST_LINES} are shown.'
        )
    return warnings[-_MOST_LINES:], versions
