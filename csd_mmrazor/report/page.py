# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The page of one run, or of several side by side."""

import base64
import gzip
import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple, Union

from ..utils import write_file
from ..version import __version__
from .bank_images import gallery
from .run_files import RunFiles, read_run
from .views import compared, duration, run_view

if TYPE_CHECKING:
    import jinja2

# How pages begin, of any release.
_MARK, _HEAD = b'<meta name="generator" content="csd_mmrazor ', 2000
_TEMPLATES = Path(__file__).with_name('templates')
# Images of a page, of all its runs together.
_MOST_IMAGES = 960


def write_report(
    work_dirs: Sequence[Union[str, Path]],
    out: Optional[Union[str, Path]] = None,
) -> Path:
    """Write the report of a run, or of several side by side.

    The page is one file that opens without a network. Whatever the work dirs
    hold is shown as text: nothing in them is run, here or in a browser.

    Args:
        work_dirs (sequence[str | Path]): Of runs that are done, under way or
            killed, one or more.
        out (str | Path, optional): Where to. Defaults to None, which is
            ``report.html`` in the work dir of a single run, and in the
            current folder for several.

    Returns:
        Path: The page.

    Raises:
        ValueError: If there is no work dir, one is given twice, or the page
            is to be no .html file, or in the place of a file of others.
        FileNotFoundError: If a work dir holds no run.
        OSError: If the page cannot be written.
    """
    paths = [Path(path) for path in work_dirs]
    if not paths:
        raise ValueError('A report needs the work dir of a run, or several.')
    places = [path.resolve() for path in paths]
    if len(set(places)) < len(places):
        raise ValueError(
            'A work dir is given twice: '
            f'{", ".join(map(str, paths))}. Name each run once.'
        )
    folder = paths[0] if len(paths) == 1 else Path()
    out = Path(folder / 'report.html' if out is None else out)
    if out.is_dir():
        raise ValueError(
            f'{out} is a folder: name the file of the report, such as '
            f'{out / "report.html"}.'
        )
    if out.suffix.lower() not in ('.html', '.htm'):
        raise ValueError(
            f'The report is written as FILE.html, but got {out}: give it that '
            'suffix.'
        )
    if out.exists() and not _is_report(out):
        raise ValueError(
            f'{out} exists, and is no report of runs: it would be '
            'overwritten. Choose another name, by --out FILE.html.'
        )
    page = render([read_run(path) for path in paths])
    write_file(out, page.encode('utf-8', 'replace'))
    return out


def _is_report(path: Path) -> bool:
    """Whether a file is a page that was written before."""
    with open(path, 'rb') as file:
        return _MARK in file.read(_HEAD)


def render(runs: Sequence[RunFiles]) -> str:
    """The page of some runs, as text.

    Args:
        runs (sequence[RunFiles]): One or more.

    Returns:
        str: HTML.
    """
    views, sprites = [], []
    for number, (name, run) in enumerate(zip(_names(runs), runs)):
        images, more = None, []
        if run.bank is not None and run.bank.shards:
            scores = run.measured.get('images', {}).get('scores', {})
            images, more = gallery(
                run.bank, scores, max(1, _MOST_IMAGES // len(runs))
            )
            if not images['rounds']:  # none could be read
                images = None
            for index, each in enumerate((images or {}).get('rounds', ())):
                each['sprite']['css'] = f's{number}-{index}'
                sprites.append(
                    (each['sprite']['css'], each['sprite'].pop('png'))
                )
        views.append(run_view(run, name, images, more))
    compressed, source_hash = packed_plotly()
    script = (_TEMPLATES / 'page.js').read_text(encoding='utf-8')
    comparison = compared(views) if len(views) > 1 else None
    data = dict(
        runs=[view.pop('data') for view in views],
        comparison=comparison and comparison['plots'],
    )
    return page_template().render(
        runs=views,
        comparison=comparison,
        sprites=sprites,
        data=_plain(data),
        style=(_TEMPLATES / 'page.css').read_text(encoding='utf-8'),
        script=script,
        plotly=compressed,
        hashes=[_hash(script), *([source_hash] if compressed else [])],
        version=__version__,
    )


@lru_cache(1)
def page_template() -> 'jinja2.Template':
    """The page's template, compiled once: each epoch writes a report."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['duration'] = duration
    return environment.get_template('page.html')


def _names(runs: Sequence[RunFiles]) -> List[str]:
    """What each run is called: the end of its path that tells them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _plain(value: Any) -> Any:
    """Data for a browser: what JSON has no number for becomes null."""
    if isinstance(value, float):
        return value if abs(value) < 1e300 else None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        # Halves of a pair, which UTF-8 cannot hold.
        return value.encode('utf-8', 'replace').decode()
    return value


@lru_cache(maxsize=1)
def packed_plotly() -> Tuple[str, str]:
    """Plotly's script, gzip and base64, and its hash; '' if not installed."""
    if importlib.util.find_spec('plotly') is None:
        return '', ''
    from plotly.offline import get_plotlyjs

    source = get_plotlyjs()
    packed = gzip.compress(source.encode(), 6, mtime=0)
    return base64.b64encode(packed).decode(), _hash(source)


def _hash(source: str) -> str:
    """What a content security policy calls a script by."""
    digest = hashlib.sha256(source.encode()).digest()
    return f'sha256-{base64.b64encode(digest).decode()}'
