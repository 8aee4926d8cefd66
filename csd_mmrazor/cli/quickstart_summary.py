# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Print what a run of quickstart.sh came to."""

import time
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from ..models.utils import logits_of
from ..utils.scalars import read_scalars
from .parser import Parser

# Images of a step whose time says how fast a machine is.
_BATCH = 128


def last_top1(work_dir: Path) -> float:
    """The last validation of a run: of its last epoch, not of its best."""
    top1 = read_scalars(work_dir)['accuracy/top1']
    return top1[max(top1)]


def bare_steps_per_second(config: Path, steps: int = 20) -> float:
    """Passes of the student alone, forward and backward, by their median.

    Figures of two machines can be compared by it.

    Args:
        config (Path): Of the run, with ``student_net``.
        steps (int): How many are timed, after one that is not. Defaults to
            20.
    """
    cfg = Config.fromfile(config)
    student = MODELS.build(cfg.student_net)
    images = torch.rand(_BATCH, *cfg.model.image_shape)
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        logits_of(student(images, mode='tensor')).sum().backward()
        seconds.append(time.perf_counter() - start)
    return 1 / median(seconds[1:])


def main() -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument('work', type=Path, help='folder of both runs')
    parser.add_argument('seed')
    parser.add_argument('seconds', help='that both took')
    args = parser.parse_args()
    work, seed, seconds = args.work, args.seed, args.seconds
    teacher, student = last_top1(work / 'teacher'), last_top1(work / 'student')
    (config,) = work.glob('student/*.py')
    speed = bare_steps_per_second(config)
    checkpoint = (work / 'student' / 'last_checkpoint').read_text()
    grid = sorted(
        work.glob('student/*/vis_data/vis_image/synthesis_*.png'),
        key=lambda path: int(path.stem.split('_')[1]),
    )[-1]
    rows = (
        ('teacher, trained on real digits', f'{teacher:.2f} % top-1'),
        ('student, which saw none', f'{student:.2f} % top-1'),
        ('time', f'{int(seconds) // 60} min {int(seconds) % 60} s'),
        ("this machine's speed", f'{speed:.0f} bare student steps a second'),
        ("student's checkpoint", checkpoint),
        ('its last synthetic images', grid),
    )
    print()
    for name, value in rows:
        print(f'  {name:<33} {value}')
    print(
        f'\nteacher_top1={teacher:.2f} student_top1={student:.2f} '
        f'seconds={seconds} seed={seed} steps_per_second={speed:.0f}'
    )
