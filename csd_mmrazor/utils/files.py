# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
from pathlib import Path
from typing import Union


def write_file(path: Union[str, Path], content: bytes) -> None:
    """Write a file whole or not at all.

    The content goes to a temporary name beside ``path``, reaches the disk and
    is renamed, so whoever is killed meanwhile leaves the old file as it was.

    Args:
        path (str | Path): Where to.
        content (bytes): What.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
