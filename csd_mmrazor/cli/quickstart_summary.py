# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Print what a run of quickstart.sh came to."""

import sys
from pathlib import Path

from ..utils.scalars import read_scalars


def last_top1(work_dir: Path) -> float:
    """The last validation of a run: of its last epoch, not of its best."""
    top1 = read_scalars(work_dir)['accuracy/top1']
    return top1[max(top1)]


def main() -> None:
    """Run the command line."""
    work, seed, seconds = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    teacher, student = last_top1(work / 'teacher'), last_top1(work / 'student')
    checkpoint = (work / 'student' / 'last_checkpoint').read_text()
    grid = sorted(
        work.glob('student/*/vis_data/vis_image/synthesis_*.png'),
        key=lambda path: int(path.stem.split('_')[1]),
    )[-1]
    rows = (
        ('teacher, trained on real digits', f'{teacher:.2f} % top-1'),
        ('student, which saw none', f'{student:.2f} % top-1'),
        ('time', f'{int(seconds) // 60} min {int(seconds) % 60} s'),
        ("student's checkpoint", checkpoint),
        ('its last synthetic images', grid),
    )
    print()
    for name, value in rows:
        print(f'  {name:<33} {value}')
    print(
        f'\nteacher_top1={teacher:.2f} student_top1={student:.2f} '
        f'seconds={seconds} seed={seed}'
    )
