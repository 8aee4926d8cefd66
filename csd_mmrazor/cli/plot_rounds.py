# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Plot what runs logged over their rounds: are the images what they are for?

    python tools/plot_rounds.py OUT.png NAME=WORK_DIR... [NAME=WORK_DIR...]

A work dir is that of a run, or a folder of one run for each seed, as
``tools/compare.py`` makes it, of which mean and range are drawn. OUT.md gets
the means over the later half of the rounds.
"""

import argparse
import io
import statistics
from pathlib import Path
from typing import Dict, List

from ..utils import write_file
from ..utils.scalars import read_scalars
from .errors import concise_errors
from .processes import speak_utf8

# Names in the log, and what they are called in the plot. Rounds are counted
# from 0 where they are made and from 1 where they are validated.
PANELS = (
    ('synthesis/aux_loss', 'auxiliary cross entropy on new images'),
    ('synthesis/student_top1', 'student on new images, before training, %'),
    ('aux/top1', 'auxiliary head on real images, %'),
    ('accuracy/top1', 'student on real images, %'),
    ('synthesis/bank_balance', "evenness of the bank's classes"),
    ('synthesis/bank_diversity', 'diversity within classes of the bank'),
)
TAGS = (*(tag for tag, _ in PANELS), 'synthesis/teacher_top1')
Curve = Dict[int, float]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('out', help='PNG file to write')
    parser.add_argument('runs', nargs='+', metavar='NAME=WORK_DIR')
    return parser.parse_args()


def read_curves(work_dir: Path) -> Dict[str, Curve]:
    """What a run logged, by the round, of which the first is 1."""
    found = read_scalars(work_dir)
    return {
        tag: {
            step + tag.startswith('synthesis/'): value
            for step, value in found.get(tag, {}).items()
        }
        for tag in TAGS
    }


def read_runs(text: str) -> List[Dict[str, Curve]]:
    """Curves of each run of an argument NAME=WORK_DIR.

    Raises:
        ValueError: If it is not of that form or there are no logs.
    """
    _, _, folder = text.partition('=')
    if not folder:
        raise ValueError(f'runs should be NAME=WORK_DIR, but got {text}.')
    found = sorted(Path(folder).glob('**/vis_data/scalars.json'))
    work_dirs = sorted({path.parents[2] for path in found})
    if not work_dirs:
        raise ValueError(
            f'{folder} has no log, <time>/vis_data/scalars.json: give the '
            'work dir of a run of tools/train.py, or a folder of such.'
        )
    return [read_curves(work_dir) for work_dir in work_dirs]


def plot(runs: Dict[str, List[Dict[str, Curve]]]) -> bytes:
    """Mean and range over runs of each name, as PNG."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 3, figsize=(13, 7))
    for axes, (key, title) in zip(grid.flat, PANELS):
        for number, (name, group) in enumerate(runs.items()):
            curves = [curves[key] for curves in group if curves[key]]
            if not curves:  # a run without an auxiliary head
                continue
            steps = sorted(set.intersection(*map(set, curves)))
            points = [[curve[step] for curve in curves] for step in steps]
            label = f'{name}, {len(curves)} runs'
            color = f'C{number}'
            means = [*map(statistics.mean, points)]
            axes.plot(steps, means, label=label, color=color)
            low, high = [*map(min, points)], [*map(max, points)]
            axes.fill_between(steps, low, high, alpha=0.15, lw=0, color=color)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    for axes in grid[1]:
        axes.set_xlabel('round')
    grid[0, 0].legend(fontsize=9)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=90)
    pyplot.close(figure)
    return buffer.getvalue()


def table(runs: Dict[str, List[Dict[str, Curve]]]) -> str:
    """Mean over runs of each name and over the later half of their rounds."""
    lines = [f'| later half | {" | ".join(TAGS)} |', '| --- ' * 8 + '|']
    for name, group in runs.items():
        cells = [name]
        for tag in TAGS:
            later = [
                statistics.mean(
                    v for step, v in curve.items() if step > max(curve) / 2
                )
                for curve in (curves[tag] for curves in group)
                if curve
            ]
            cells.append(f'{statistics.mean(later):.3f}' if later else '-')
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def plot_to_files(args: argparse.Namespace) -> None:
    """Write plot and table of the runs that the arguments name."""
    runs = {text.split('=')[0]: read_runs(text) for text in args.runs}
    write_file(args.out, plot(runs))
    write_file(Path(args.out).with_suffix('.md'), table(runs).encode())
    print(table(runs))


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        plot_to_files(parse_args())
