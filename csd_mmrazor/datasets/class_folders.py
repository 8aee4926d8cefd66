# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

_SUFFIXES = {'.png', '.jpg', '.jpeg', '.bmp', '.webp'}


def list_class_folders(
    root: str,
    num_classes: Optional[int] = None,
    classes: Optional[Sequence[str]] = None,
) -> List[Tuple[Path, int]]:
    """Images in class folders, ``root/<class>/*``, with their labels.

    Images in a folder ``images`` of a class count as well, as Tiny-ImageNet
    has them.

    A folder's label is its place in ``classes``, if these are given. Else it
    is its name, if all names are numbers, or its place in alphabetical order.

    Args:
        root (str): The folder of class folders.
        num_classes (int, optional): Upper limit of the labels.
        classes (sequence[str], optional): Names of the classes in order.

    Returns:
        list[tuple[Path, int]]: Paths and labels, sorted by both.

    Raises:
        FileNotFoundError: If there are no images.
        ValueError: If there are folders of other classes.
    """
    names = sorted(path.name for path in Path(root).iterdir() if path.is_dir())
    if classes:
        limit = len(classes)
        places = {name: place for place, name in enumerate(classes)}
        labels = {name: places.get(name, limit) for name in names}
    else:
        limit = num_classes
        numbers = all(name.isdecimal() for name in names)
        labels = {
            name: int(name) if numbers else place
            for place, name in enumerate(names)
        }
    if limit is not None and any(label >= limit for label in labels.values()):
        wanted = ', '.join(classes) if classes else f'{limit} classes'
        raise ValueError(
            f'The class folders of {root}, {names[:20]}, do not fit {wanted}.'
        )
    samples = [
        (path, labels[name])
        for name in names
        for folder in (Path(root, name), Path(root, name, 'images'))
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _SUFFIXES
    ]
    if not samples:
        raise FileNotFoundError(
            f'There are no images in {root}: they are '
            'looked for as <class>/<name>.png (or .jpg, '
            '.bmp, .webp).'
        )
    return samples
