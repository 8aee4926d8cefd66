# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Arguments of a call that no other file knows of."""

from numbers import Integral
from os import PathLike
from os.path import expanduser
from typing import Any, Dict, Optional, Union

import torch

from ..datasets import BankError, ImageBank, check_init_bank
from ..utils import check_integer
from ..utils.arguments import check_value
from ..utils.control import has_commands
from ..utils.numbers import MOST


def check_options(
    given: Dict[str, Any], device: str, parsed: Union[str, int, float]
) -> None:
    """Check the seed, and what makes steps faster.

    Args:
        given (dict): Arguments of ``distill()``, by their names.
        device (str): 'cpu' or 'cuda'.
        parsed (str | int | float): The budget, as of ``parse_budget()``.

    Raises:
        TypeError: If one is of a wrong type.
        ValueError: If one makes no sense, or none on this device.
    """
    seed, amp = given['seed'], given['amp']
    check_integer('seed', seed, 0)
    if seed >= 2**32:
        raise ValueError(f'seed should be below 2**32, but got {seed}.')
    if amp not in (None, 'bfloat16', 'float16'):
        raise ValueError(
            f'amp should be None, "bfloat16" or "float16", but got {amp!r}.'
        )
    if amp == 'float16' and device == 'cpu':
        raise ValueError(
            'amp="float16" is for GPUs, but device is "cpu": take "bfloat16", '
            'or leave it out.'
        )
    compiled = given['compile']
    check_value('compile of distill', compiled, (bool, 'reduce-overhead'))
    if compiled and isinstance(parsed, float):
        raise ValueError(
            f'compile={compiled!r} takes minutes, which '
            f'budget={given["budget"]!r}, a time, cannot plan with: give it a '
            'number of steps, or "paper".'
        )
    if given['graph'] and device == 'cpu':
        raise ValueError(
            'graph=True replays steps on a GPU, but device is "cpu": leave it '
            'out.'
        )


def in_home(path: Any) -> Any:
    """A path whose ~ is the user's folder, and anything else as it is."""
    return expanduser(path) if isinstance(path, (str, PathLike)) else path


def device_of(device: Optional[str]) -> str:
    """The device that is meant: 'cpu' or 'cuda'."""
    has_gpu = torch.cuda.is_available()
    if device is None:
        return 'cuda' if has_gpu else 'cpu'
    if device not in ('cpu', 'cuda') or (device == 'cuda' and not has_gpu):
        raise ValueError(
            f'device should be "cpu" or "cuda", but got {device!r}'
            + ('.' if has_gpu else ', and there is no GPU.')
        )
    return device


def number_of(classes: Any) -> Optional[int]:
    """Classes K, as far as it is given."""
    if classes is None:
        return None
    if isinstance(classes, Integral):
        check_integer('classes', classes, 2, MOST['num_classes'])
        return int(classes)
    is_list = isinstance(classes, (list, tuple))
    is_named = is_list and all(isinstance(name, str) for name in classes)
    if not is_named or len(set(classes)) != len(classes):
        raise ValueError(
            'classes should be a number or a list of names, each once, but '
            f'got {classes!r}.'
        )
    for name in classes:
        if has_commands(name):
            raise ValueError(
                f'classes should be names without control characters, but got '
                f'{name!r}: read them from a file by its text and '
                'splitlines().'
            )
    return len(classes)


def check_images_to_start(init_bank: Any, *about: Any) -> None:
    """Check images to start with; arguments as of ``check_init_bank``."""
    ImageBank(init_bank=init_bank, init_labels=about[-1])
    if init_bank is None:
        return
    try:
        check_init_bank(init_bank, *about)
    except (BankError, FileNotFoundError, ValueError) as error:
        raise type(error)(f'init_bank={str(init_bank)!r}: {error}') from error
