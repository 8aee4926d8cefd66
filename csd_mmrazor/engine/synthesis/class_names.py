# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the classes of a run are called, and whether they fit the networks."""

from typing import List, Optional, Sequence

from mmengine.runner import Runner

from ...datasets import LentImages


def class_names(runner: Runner, num_classes: int) -> Optional[List[str]]:
    """Names of the classes in the order of their numbers.

    They are those of the image bank (``train_dataloader.dataset.metainfo``),
    or else those of the images that the run is validated on: a data set's
    own, or of its folders.

    Args:
        runner (Runner): The run.
        num_classes (int): Classes K of the networks.

    Returns:
        list[str] | None: None if nothing has names.

    Raises:
        ValueError: If the bank's names are not K.
    """
    own = _names(runner.train_dataloader.dataset)
    if own is not None:
        if len(own) != num_classes or len(set(own)) < num_classes:
            raise ValueError(
                'train_dataloader.dataset.metainfo.classes should be the '
                f'names of {num_classes} classes, each once, but got '
                f'{own[:20]}.'
            )
        return own
    return names_of_val(runner, num_classes)


def names_of_val(runner: Runner, num_classes: int) -> Optional[List[str]]:
    """Names of the classes of the images that a run is validated on.

    Of those that are no good, or in a doubtful order, a warning tells.

    Args:
        runner (Runner): The run.
        num_classes (int): Classes K of the networks.

    Returns:
        list[str] | None: None if they have no names of K classes.
    """
    if runner.val_loop is None:
        return None
    dataset = runner.val_dataloader.dataset
    names = _names(dataset)
    if names is None:
        return None
    kind = type(dataset).__name__
    if len(names) != num_classes:
        runner.logger.warning(
            f'The images of validation ({kind}) have {len(names)} classes, '
            f'{_some(names)}, but the networks have {num_classes}: if the '
            'numbers of these are not those of the teacher, accuracies are '
            'wrong. Set val_dataloader.dataset.metainfo=dict(classes=[...]) '
            "to all names in the teacher's order."
        )
        return None
    numbers = [int(name) for name in names if name.isdecimal()]
    is_lent = isinstance(dataset, LentImages)  # whose labels do not follow it
    if (
        len(numbers) == len(names)
        and numbers != sorted(numbers)
        and not is_lent
    ):
        first = ', '.join(repr(f'{number}') for number in sorted(numbers)[:3])
        runner.logger.warning(
            f'The classes of validation ({kind}) are called by numbers, but '
            f'are in the order of letters: {_some(names)}. If the teacher '
            'has that of numbers, set val_dataloader.dataset.metainfo='
            f'dict(classes=[{first}, ...]).'
        )
    return names


def _names(dataset: object) -> Optional[List[str]]:
    """The names that a data set has, if they are names."""
    metainfo = getattr(dataset, 'metainfo', None)
    names = metainfo.get('classes') if isinstance(metainfo, dict) else None
    if not isinstance(names, (list, tuple)) or not names:
        return None
    return [str(name) for name in names]


def _some(names: Sequence[str]) -> str:
    more = ', ...' if len(names) > 12 else ''
    return ', '.join(names[:12]) + more
