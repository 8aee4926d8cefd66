# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A card as Markdown with YAML before it, and its file."""

import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import yaml

from ...utils.control import in_markdown
from ...utils.public import public_text
from ...version import __version__

# The Hub refuses a card whose ``license`` is none of these, or 'other'.
_LICENSES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 eupl-1.1
eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lppl-1.3c mit
mpl-2.0 ms-pl ncsa odbl odc-by openrail osl-3.0 pddl postgresql unknown
unlicense wtfpl zlib
"""
MARK = '<!-- written by csd_mmrazor for {} -->'


def card_text(
    weights: Path,
    about: str,
    front: Dict[str, Any],
    tags: List[str],
    results: List[Dict[str, Any]],
    accuracy: str,
    facts: List[str],
    has_teacher: bool,
    teacher_license: Optional[str],
    reveals: str,
    files: str,
) -> str:
    """Markdown with YAML before it."""
    front = dict(front, pipeline_tag='image-classification', tags=tags)
    if teacher_license is not None:
        teacher_license = public_text(teacher_license)
        front.update(license_fields(teacher_license))
    front['model-index'] = [dict(name=weights.stem, results=results)]
    lines = [
        '---',
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        '---',
        '',
        MARK.format(weights.name),
        '',
        f'# {weights.stem}',
        '',
        in_markdown(about),
        '',
        '## Accuracy',
        '',
        in_markdown(accuracy[0].upper() + accuracy[1:]),
        '',
        '## Origin',
        '',
        *map(in_markdown, facts),
    ]
    if has_teacher:
        lines += [
            '- Licence of the teacher: '
            + (
                in_markdown(teacher_license or '')
                or 'not given. Look it up before you share this network.'
            ),
            '',
            '## What it may reveal about the training data',
            '',
            reveals,
        ]
    return '\n'.join([*lines, '', '## Files', '', files, ''])


def license_fields(text: str) -> Dict[str, str]:
    """A licence as the front matter has it.

    Args:
        text (str): As somebody wrote it, such as 'BSD 2-Clause'.

    Returns:
        dict[str, str]: ``license``, an identifier of the Hub; with
        ``license_name`` where it has none for it.
    """
    name = re.sub('[^a-z0-9.]+', '-', text.lower()).strip('-')
    if name in _LICENSES.split():
        return dict(license=name)
    return dict(license='other', license_name=name or 'see-below')


def intro_of(network: str, description: Dict[str, Any]) -> str:
    shape = description.get('image_shape')
    inputs = [f'images of shape {tuple(shape)}'] if shape else []
    if description.get('num_classes'):
        inputs.append(f'{description["num_classes"]} classes')
    return (
        f'An image classifier: {network}'
        + (f', for {" and ".join(inputs)}' if inputs else '')
        + f'. Exported by csd_mmrazor {__version__}.'
    )


def tags_of(is_distilled: bool, is_data_free: bool) -> List[str]:
    return [
        'image-classification',
        'csd_mmrazor',
        *(['knowledge-distillation'] if is_distilled else []),
        *(['data-free'] if is_data_free else []),
    ]


def result_entry(
    dataset: Dict[str, Any], *metrics: Tuple[str, str, float]
) -> Dict[str, Any]:
    """One of the ``model-index``; metrics are type, name and value."""
    return dict(
        task=dict(type='image-classification', name='Image classification'),
        dataset=dataset,
        metrics=[
            dict(type=kind, name=name, value=round(value, 2), verified=False)
            for kind, name, value in metrics
        ],
    )


def data_type(real: int, count: int) -> str:
    """Of a data set of ``count`` images, of which some may be real."""
    if not real:
        return 'synthetic'
    return 'images' if real >= count else 'synthetic-and-real'


def card_path(weights: Path, is_own_folder: bool = False) -> Path:
    """Where the card of a network goes.

    Args:
        weights (Path): The file of the weights.
        is_own_folder (bool): Whether its folder is there for networks alone,
            as those in a work dir are. In any other folder, a README would be
            of something else. Defaults to False.

    Returns:
        Path: NAME.md beside it, and in a folder of its own README.md, as the
        Hub wants it. What is there and is not this network's card stays: then
        it is the next of README.md, NAME.md and NAME_card.md.
    """
    names = 'README.md', f'{weights.stem}.md', f'{weights.stem}_card.md'
    paths = [weights.with_name(name) for name in names]
    # It is, where an earlier release put it there.
    if not is_own_folder and not paths[0].exists():
        del paths[0]
    return next((p for p in paths if _is_free(p, weights)), paths[-1])


def is_card_of(path: Path, weights: Path) -> bool:
    """Whether a file is the card of a network.

    Args:
        path (Path): The file.
        weights (Path): The file of the weights.

    Raises:
        OSError: If it cannot be read.
    """
    text = path.read_text(encoding='utf-8', errors='replace')
    return MARK.format(weights.name) in text


def _is_free(path: Path, weights: Path) -> bool:
    """Whether a card can be written, over none but that of its network."""
    try:
        return is_card_of(path, weights)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def check_license(name: str, value: Any) -> None:
    """Check what a teacher may be used under.

    Args:
        name (str): What it is called where people set it.
        value (Any): What was set; None is not given.

    Raises:
        ValueError: If it is no text, or not of one line.
    """
    if value is None:
        return
    if not (isinstance(value, str) and value.isprintable() and value.strip()):
        raise ValueError(
            f"{name} should be one line of text such as 'apache-2.0', but got "
            f'{value!r}.'
        )
