# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Plot what runs logged over their rounds: are the images what they are for?

    python tools/plot_rounds.py OUT.png NAME=WORK_DIR... [NAME=WORK_DIR...]

A work dir is that of a run, or a folder of one run for each seed, as
``tools/compare.py`` makes it, of which mean and range are drawn. So are those
of runs that are given by the same name. OUT.md gets the means over the later
half of the rounds. Runs log once an epoch: of a config with several rounds in
each (``rounds=4``), the curves are drawn over the epochs. With ``--images N``,
OUT.jpg shows the N newest images of each class, of the first run of each name.
"""

import argparse
import io
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from ..datasets import BankFolder
from ..utils import write_file
from ..utils.scalars import read_scalars
from .errors import concise_errors
from .parser import Parser
from .processes import speak_utf8
from .ranges import check_replaced

# Names in the log, and what they are called in the plot. Rounds are counted
# from 0 where they are made and from 1 where they are validated.
PANELS = (
    ('synthesis/aux_loss', 'auxiliary cross entropy on new images'),
    ('synthesis/student_top1', 'student on new images, before training, %'),
    ('aux/top1', 'auxiliary head on real images, %'),
    ('accuracy/top1', 'student on real images, %'),
    ('synthesis/bank_balance', "evenness of the bank's classes"),
    ('synthesis/bank_diversity', 'diversity within classes of the bank'),
    ('synthesis/teacher_top1', 'teacher on new images, %'),
    ('synthesis/loss_bn', 'BN loss of new images, times its weight'),
)
TAGS = tuple(tag for tag, _ in PANELS)
_MOST_CLASSES = 20
# By which a table of an earlier call is known.
_BEGIN = '| later half |'
Curve = Dict[int, float]


def _plain(name: str) -> str:
    """A text that Matplotlib takes for no formula."""
    return name.replace('$', r'\$')


def parse_args() -> argparse.Namespace:
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('out', help='PNG file to write')
    parser.add_argument('runs', nargs='+', metavar='NAME=WORK_DIR')
    parser.add_argument(
        '--images', type=int, metavar='N', help='also of each class'
    )
    args = parser.parse_args()
    if args.images is not None and args.images < 1:
        parser.error(f'--images should be 1 or more, but got {args.images}')
    if Path(args.out).suffix.lower() != '.png':
        parser.error(f'OUT is a PNG file, but got {args.out}')
    return args


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


def work_dirs_of(text: str) -> List[Path]:
    """The work dirs of an argument NAME=WORK_DIR.

    Raises:
        ValueError: If it is not of that form or there are no logs.
    """
    _, _, folder = text.partition('=')
    if not folder:
        raise ValueError(f'Each run should be NAME=WORK_DIR, but got {text}.')
    found = sorted(Path(folder).glob('**/vis_data/scalars.json'))
    work_dirs = sorted({path.parents[2] for path in found})
    if not work_dirs:
        raise ValueError(
            f'{folder} has no log, <time>/vis_data/scalars.json: give the '
            'work dir of a run of tools/train.py, or a folder of such.'
        )
    return work_dirs


def read_runs(text: str) -> List[Dict[str, Curve]]:
    """Curves of each run of an argument NAME=WORK_DIR."""
    return [read_curves(work_dir) for work_dir in work_dirs_of(text)]


def newest_images(work_dir: Path, number: int) -> Optional[np.ndarray]:
    """The newest images of each class in the bank of a run.

    Args:
        work_dir (Path): Of the run.
        number (int): Of images of each class, of which 20 are shown at most.

    Returns:
        ndarray: (classes x height, number x width, 3), uint8, white where
        there are fewer; None if there is no bank.
    """
    found = [p.parent for p in sorted(work_dir.glob('*/manifest.json'))]
    if not found:
        return None
    bank = BankFolder(found[0])
    channels, height, width = bank.image_shape
    classes = range(bank.num_classes)[:_MOST_CLASSES]
    sheet = np.full((len(classes), number, 3, height, width), 255, np.uint8)
    filled = np.zeros(len(classes), int)
    for shard in reversed(bank.shards):
        if (filled == number).all():
            break
        images, labels = bank.read(shard)
        if channels not in (1, 3):
            images = images[:, :1]
        for label in classes:
            new = images[labels == label][: number - filled[label]]
            begin, filled[label] = filled[label], filled[label] + len(new)
            sheet[label, begin : filled[label]] = new
    return sheet.transpose(0, 3, 1, 4, 2).reshape(
        len(classes) * height, number * width, 3
    )


def plot_images(sheets: Dict[str, np.ndarray]) -> bytes:
    """Sheets of :func:`newest_images` side by side, as JPEG."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        1, len(sheets), figsize=(2.6 * len(sheets), 5.2), squeeze=False
    )
    for axes, (name, sheet) in zip(grid.flat, sheets.items()):
        axes.imshow(sheet)
        axes.set_title(_plain(name), fontsize=10)
        axes.axis('off')
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format='jpg', dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()


def plot(runs: Dict[str, List[Dict[str, Curve]]]) -> bytes:
    """Mean and range over runs of each name, as PNG."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 4, figsize=(17, 7))
    lines: Dict[int, Any] = {}
    for axes, (key, title) in zip(grid.flat, PANELS):
        for number, (name, group) in enumerate(runs.items()):
            curves = [curves[key] for curves in group if curves[key]]
            if not curves:  # a run without an auxiliary head
                continue
            steps = sorted(set.intersection(*map(set, curves)))
            points = [[curve[step] for curve in curves] for step in steps]
            several = 's' * (len(curves) > 1)
            label = f'{_plain(name)}, {len(curves)} run{several}'
            color = f'C{number}'
            means = [*map(statistics.mean, points)]
            # Markers, since what was logged once has no line.
            (lines[number],) = axes.plot(
                steps, means, '.-', label=label, color=color
            )
            low, high = [*map(min, points)], [*map(max, points)]
            axes.fill_between(steps, low, high, alpha=0.15, lw=0, color=color)
        axes.set_title(title, fontsize=10)
        if key == 'synthesis/loss_bn':
            axes.set_yscale('log')
        axes.grid(alpha=0.3)
    for axes in grid[1]:
        axes.set_xlabel('round')
    # Not each panel has each run.
    shown = [lines[number] for number in sorted(lines)]
    figure.legend(handles=shown, loc='upper center', ncol=8, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=90)
    pyplot.close(figure)
    return buffer.getvalue()


def table(runs: Dict[str, List[Dict[str, Curve]]]) -> str:
    """Mean over runs of each name and over the later half of their rounds."""
    lines = [
        f'{_BEGIN} {" | ".join(TAGS)} |',
        '| --- ' * (len(TAGS) + 1) + '|',
    ]
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
    """Write plot, table and images of the runs that the arguments name.

    Raises:
        FileNotFoundError: If images are asked for, and no run has any.
        ValueError: If files of others would be overwritten.
    """
    out = Path(args.out)
    beside = [out.with_suffix('.jpg')] if args.images else []
    check_replaced(out.with_suffix('.md'), _BEGIN, out, *beside)
    runs: Dict[str, List[Dict[str, Curve]]] = {}
    for text in args.runs:
        runs.setdefault(text.split('=')[0], []).extend(read_runs(text))
    sheets = {}
    for text in args.runs if args.images else ():
        name, (work_dir, *_) = text.split('=')[0], work_dirs_of(text)
        sheet = newest_images(work_dir, args.images)
        if sheet is None:
            print(f'Note: {name}: {work_dir} has no image bank any more.')
        else:
            sheets.setdefault(name, sheet)
    if args.images and not sheets:
        raise FileNotFoundError(
            '--images: none of the runs has an image bank, '
            'WORK_DIR/bank/manifest.json.'
        )
    write_file(out, plot(runs))
    write_file(out.with_suffix('.md'), table(runs).encode())
    if sheets:
        write_file(out.with_suffix('.jpg'), plot_images(sheets))
    print(table(runs))


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        plot_to_files(parse_args())
