# Copyright (c) csd_mmrazor developers. All rights reserved.
import difflib
import hashlib
import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from mmengine.logging import print_log

from ..utils.suggestions import some_of

_SUFFIXES = {'.png', '.jpg', '.jpeg', '.bmp', '.webp'}
# Notes that are found beside images.
_NOTES = {'.txt', '.csv', '.json', '.xml', '.md', '.db', '.ini'}
_NUMBER, _SYNSET = re.compile('[0-9]+'), re.compile('n[0-9]{8}')


def list_image_folder(
    root: Union[str, Path],
    num_classes: Optional[int] = None,
    classes: Optional[Sequence[str]] = None,
) -> List[Tuple[Path, int]]:
    """Images in ImageFolder layout, ``root/<class>/*``, with their labels.

    Images in a folder ``images`` of a class count as well, as Tiny-ImageNet
    has them. Notes (.txt, .csv, ...) and what is hidden are left out.

    A folder's label is its place in ``classes``, if these are given. Else it
    is its name, if all names are numbers, or its place in alphabetical order,
    and no class may lack its folder, since the others would be shifted.

    Args:
        root (str | Path): The folder.
        num_classes (int, optional): How many there are.
        classes (sequence[str], optional): Names of the classes in order. Of
            those that have no folder a warning is given.

    Returns:
        list[tuple[Path, int]]: Paths and labels, sorted by both.

    Raises:
        FileNotFoundError: If there are no images.
        ValueError: If there are folders of other classes, classes without
            images or with the same name, files that are no images, or links
            that lead nowhere.
    """
    names = []
    for path in sorted(Path(root).iterdir()):
        if path.name.startswith('.'):
            continue
        if path.is_dir():
            names.append(path.name)
        elif path.suffix.lower() in _SUFFIXES:
            raise ValueError(
                f'{path} belongs to no class: put it in the folder of its '
                f'class, {Path(root)}/<class>.'
            )
        elif not path.suffix:
            _check_link(path)  # which may be of a class
    counts = Counter(classes or ())
    for name in names:
        if counts[name] > 1:
            raise ValueError(
                f'Which label {Path(root, name)} has is not known, since '
                f'classes has {name!r} twice: name each class once.'
            )
    limit = len(classes) if classes else num_classes
    labels = _labels(names, classes)
    if limit is not None and any(label >= limit for label in labels.values()):
        if classes:
            raise ValueError(_unknown(root, names, classes))
        if all(name.isdecimal() for name in names):
            names.sort(key=int)
        raise ValueError(
            f'The classes in {root}, {names[:20]}, do not match {limit} '
            f'classes, which are 0..{limit - 1}.'
            + (
                f' If these are their names, in this order: classes={names}.'
                if len(names) == limit <= 20
                else ''
            )
        )
    images = {name: list(_images(Path(root, name))) for name in names}
    if not any(images.values()):
        raise FileNotFoundError(
            f'There are no images in {root}: they are '
            'looked for as <class>/<name>.png (or .jpg, '
            '.bmp, .webp).'
        )
    _check_complete(root, images, labels, limit, classes)
    return [(path, labels[name]) for name in names for path in images[name]]


def names_of_folders(
    root: Union[str, Path], classes: Sequence[str]
) -> Optional[Sequence[str]]:
    """The classes by which the folders of :func:`list_image_folder` are told.

    Folders that are all called by numbers have their labels from these, and
    those of ImageNet's synsets, such as n01440764, from their order, whatever
    else the classes are called. Classes that are called by numbers say nothing
    of folders that have names, which are in alphabetical order then.

    Args:
        root (str | Path): The folder.
        classes (sequence[str]): Names of the classes, as far as known.

    Returns:
        sequence[str] | None: The same, or None where they are not needed.
    """
    names = [
        path.name
        for path in Path(root).iterdir()
        if path.is_dir() and not path.name.startswith('.')
    ]
    for pattern in (_NUMBER, _SYNSET):
        if all(map(pattern.fullmatch, names)) and not any(
            map(pattern.fullmatch, classes)
        ):
            return None
    if all(map(_NUMBER.fullmatch, classes)) and not any(
        map(_NUMBER.fullmatch, names)
    ):
        if classes and names:
            print_log(
                f'The classes are known by numbers alone, so the folders in '
                f'{root} are taken for them in alphabetical order.',
                'current',
                logging.WARNING,
            )
        return None
    return classes or None


def digest_of_files(
    root: Union[str, Path], samples: Sequence[Tuple[Path, int]]
) -> str:
    """SHA-256 of a list of files: of their names, sizes and labels.

    Args:
        root (str | Path): The folder that they are in, wherever it is.
        samples (sequence[tuple[Path, int]]): As of :func:`list_image_folder`.
    """
    digest = hashlib.sha256()
    for path, label in samples:
        name = path.relative_to(root).as_posix()
        digest.update(os.fsencode(f'{name}\0{path.stat().st_size} {label}\0'))
    return digest.hexdigest()


def list_pictures(root: Union[str, Path], flat: bool = False) -> List[Path]:
    """All images below a folder, whatever its folders mean.

    Links to folders are followed. Notes (.txt, .csv, ...) and what is hidden
    are left out.

    Args:
        root (str | Path): The folder.
        flat (bool): Whether all files in the folder itself are meant as
            images, not only those of its folders. Others beside folders of
            classes are left out, as by :func:`list_image_folder`. Defaults to
            False.

    Returns:
        list[Path]: Sorted.

    Raises:
        FileNotFoundError: If there are no images.
        ValueError: If there are files that are no images, or links that
            lead nowhere.
    """
    found = []
    # What each folder is in, so that links that lead back are not followed.
    above = {str(root): {os.path.realpath(root)}}
    for folder, folders, files in os.walk(str(root), followlinks=True):
        known = above.pop(folder)
        for name in [*folders]:
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if name.startswith('.') or real in known:
                folders.remove(name)
            else:
                above[path] = known | {real}
        for name in files:
            picture = Path(folder, name)
            suffix = picture.suffix.lower()
            if suffix in _SUFFIXES:
                found.append(picture)
            elif (
                not name.startswith('.')
                and suffix not in _NOTES
                and (flat or folder != str(root))
            ):
                _check_link(picture)
                raise ValueError(
                    f'{picture} is not an image '
                    f'({", ".join(sorted(_SUFFIXES))}): convert it, or move '
                    'it elsewhere.'
                )
    found = [path for path in found if not path.name.startswith('.')]
    if not found:
        raise FileNotFoundError(
            f'There are no images in {root} or its folders: they are looked '
            f'for as {", ".join(sorted(_SUFFIXES))}.'
        )
    return sorted(found)


def _labels(
    names: Sequence[str], classes: Optional[Sequence[str]]
) -> Dict[str, int]:
    if classes:
        places = {name: place for place, name in enumerate(classes)}
        return {name: places.get(name, len(classes)) for name in names}
    numbers = [name for name in names if name.isdecimal()]
    if not numbers:
        return {name: place for place, name in enumerate(names)}
    others = [name for name in names if not name.isdecimal()]
    labels = {name: int(name) for name in numbers}
    if others or len(set(labels.values())) < len(labels):
        raise ValueError(
            f'Some of the classes {names[:20]} are numbers and '
            f'{others[0]!r} is not: number all classes from 0, or none, and '
            'move away what is no class.'
            if others
            else f'The classes {names[:20]} have the same number twice.'
        )
    return labels


def _unknown(
    root: Union[str, Path], names: Sequence[str], classes: Sequence[str]
) -> str:
    """Which folders are of no class, and what may be meant."""
    unknown = [name for name in names if name not in classes]
    inner = [
        str(Path(root, name))
        for name in unknown
        if any(Path(root, name, each).is_dir() for each in classes)
    ]
    if inner and len(unknown) == len(names):
        return (
            f'{root} has no folders of the classes, but they are in '
            f'{" and in ".join(inner[:5])}: give '
            f'{inner[0] if len(inner) == 1 else "one of these"}.'
        )
    plain = {name.strip().lower(): name for name in classes}
    hints = []
    for name in unknown[:5]:
        close = difflib.get_close_matches(name.strip().lower(), plain, 1)
        meant = f' (did you mean {plain[close[0]]!r}?)' if close else ''
        hints.append(f'{name!r}{meant}')
    more = ', ...' if len(classes) > 20 else ''
    return (
        f'{root} has {len(unknown)} of {len(names)} folders that do not match '
        f'{", ".join(classes[:20])}{more}, the names of the classes: '
        f'{", ".join(hints)}. Rename them, move them elsewhere, or give the '
        'names that the folders have, in the order of the labels: classes of '
        'distill(), or metainfo=dict(classes=[...]) of the data set.'
    )


def _check_complete(
    root: Union[str, Path],
    images: Dict[str, List[Path]],
    labels: Dict[str, int],
    limit: Optional[int],
    classes: Optional[Sequence[str]],
) -> None:
    """Check that no class lacks images."""
    empty = [name for name, paths in images.items() if not paths]
    if classes and not empty:
        absent = [name for name in classes if name not in images]
        if absent:
            print_log(
                f'{root} has no images of {some_of(absent)}: nothing is '
                'said about these classes.',
                logger='current',
                level=logging.WARNING,
            )
        return
    limit = len(images) if limit is None else limit
    lacking = set(range(limit)) - set(labels.values())
    if not empty and not lacking:
        return
    found = len(images) - len(empty)
    text = (
        f'{root} has images of {found} class{"es" * (found != 1)}, but there '
        f'are {limit}: '
    )
    if empty:
        text += (
            f'there is none in {some_of(empty)}. Add some; or name all '
            'classes in the order of their labels (classes of distill(), or '
            'metainfo=dict(classes=[...]) of the data set), and remove '
            f'folders without images, such as {Path(root, empty[0])}.'
        )
    elif all(name.isdecimal() for name in images):
        text += f'there is no folder {some_of(sorted(lacking))}.'
    else:
        text += (
            f'which of them are {some_of(list(images))}? Add the '
            f'folders of the others, or name them by number, 0..{limit - 1}.'
        )
    raise ValueError(text)


def _check_link(path: Path) -> None:
    """Raise an error if a path is a link to what is not there."""
    if path.is_symlink() and not path.exists():
        raise ValueError(
            f'{path} is a link to {os.readlink(path)}, which is not there: '
            'mend the link, or remove it.'
        )


def _images(folder: Path, is_inner: bool = False) -> Iterator[Path]:
    """The images of a class, those in a folder ``images`` last."""
    inner = folder / 'images'
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith('.') or (path == inner and not is_inner):
            continue
        if path.is_file() and suffix in _SUFFIXES:
            yield path
        elif path.is_dir():
            raise ValueError(
                f'{path} is a folder within the folder of a class. If the '
                f'classes are the folders of {folder}, give {folder}.'
            )
        elif not path.is_file() or suffix not in _NOTES:
            _check_link(path)
            raise ValueError(
                f'{path} is not an image ({", ".join(sorted(_SUFFIXES))}): '
                'convert it, or move it out of the folder of its class.'
            )
    if inner.is_dir() and not is_inner:
        yield from _images(inner, is_inner=True)
