# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import re
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Union
from urllib.parse import urlparse

import torch

# Seconds without an answer after which a host counts as unreachable: long
# enough for a slow line, short enough to report it soon.
TIMEOUT = 20
# ``resnet18-f37072fd.pth`` begins its SHA-256 (PyTorch's and OpenMMLab's
# convention).
HASH_IN_NAME = re.compile(r'-([0-9a-f]{8,64})\.')


def cache_place(url: str, folder: Optional[Union[str, Path]] = None) -> Path:
    """Where a download is kept.

    By the name of its file, as torch does, if that has a hash in it. Others,
    such as ``model.safetensors``, are in a folder for each URL.

    Args:
        url (str): What it is of.
        folder (str | Path, optional): Of all. Defaults to None, torch's.
    """
    folder = Path(folder or Path(torch.hub.get_dir(), 'checkpoints'))
    name = Path(urlparse(url).path).name
    if not HASH_IN_NAME.search(name):
        folder = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
    return folder / name


class _NotDownloadedError(FileNotFoundError):
    """A download failed, and its message says what to do."""


@contextmanager
def download_to(
    path: Union[str, Path], url: str, option: str
) -> Iterator[None]:
    """Let a library download a file, and say what to do where it cannot.

    Args:
        path (str | Path): Where the library puts the file, and looks for it.
        url (str): Where it gets it from.
        option (str): What else can be done, for the message.

    Raises:
        FileNotFoundError: If the download fails.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except (OSError, RuntimeError, AssertionError) as error:
        if isinstance(error, _NotDownloadedError):
            # Of the library's own call: what is asked for here says more.
            error = error.__cause__ or error
        raise _NotDownloadedError(
            f'{Path(path).name} is needed, is not here yet and could not be '
            f'downloaded ({type(error).__name__}: {error}).\n'
            f'  Either get {url}\n'
            f'  elsewhere and put it at {Path(path).absolute()},\n'
            f'  or {option}.'
        ) from error
    finally:
        socket.setdefaulttimeout(before)
