# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Print what a run of quickstart.sh came to."""

import json
import sys
from pathlib import Path


def last_top1(work_dir: Path) -> float:
    """The last validation of a run: of its last epoch, not of its best."""
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    lines = map(json.loads, scalars.read_text().splitlines())
    return [d['accuracy/top1'] for d in lines if 'accuracy/top1' in d][-1]


def main() -> None:
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


if __name__ == '__main__':
    main()
