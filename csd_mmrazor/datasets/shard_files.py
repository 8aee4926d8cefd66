# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Single images of the files of a bank."""

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterable, Optional, Tuple

import numpy as np

from .image_codec import decode

# Of the images of a shard in a common format, whose files follow it.
INDEX = np.dtype([('label', '<i8'), ('size', '<i8')])
# Columns of batches, by the names that records have for them.
COLUMNS = dict(label='labels', image='inputs')
# Bytes of an .npy file before its records, at most.
MOST_HEADER = 2**17


class BankError(RuntimeError):
    """A bank on disk that cannot be used; says what to do."""


class ShardFile:
    """One file with something of each image of a shard: rows.

    Args:
        path (Path): The file.
        count (int): Images N.
        sha256 (str): Of the file.
        dtype (dtype): Of a record of each image: label and image, or its
            targets; for images in a common format it is :data:`INDEX`.
        format (str): 'raw' for records alone, or the format of the images
            that follow them. Defaults to 'raw'.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        sha256: str,
        dtype: 'np.dtype[Any]',
        format: str = 'raw',
    ) -> None:
        self.path, self.count, self.sha256 = path, count, sha256
        self.dtype, self.format = dtype, format
        self._size = -1
        self._index: Optional[Tuple[np.ndarray, np.ndarray]] = None

    def error(self, what: str) -> BankError:
        """The error that says what is wrong with the file."""
        return BankError(
            f'Shard {self.path} of the image bank {what}. Restore it from a '
            'copy.'
        )

    def note_size(self) -> None:
        """Take it for the size that it has, by which its rows are found.

        Raises:
            BankError: If it is lost.
        """
        try:
            self._size = self.path.stat().st_size
        except OSError as error:
            raise self.error(f'is lost ({error.strerror})') from error

    def content(self) -> bytes:
        """All of it, checked."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self.error(f'cannot be read ({error})') from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self.error('was cut short or altered')
        return content

    def take(
        self,
        rows: Iterable[Tuple[int, int]],
        out: Dict[str, np.ndarray],
        content: Optional[bytes] = None,
    ) -> None:
        """Put what belongs to some images into a batch.

        Args:
            rows (iterable[tuple[int, int]]): Numbers of images in the shard,
                in 0..N-1, and where in the batch they go.
            out (dict[str, ndarray]): Columns of the batch.
            content (bytes, optional): Of the file, if it was read before.

        Raises:
            BankError: If the file is not what it was when it was checked.
        """
        try:
            with open_content(self.path, content) as file:
                for row, place in rows:
                    self._take(file, row, place, out)
        except (OSError, ValueError) as error:
            raise self.error(f'cannot be read any more ({error})') from error

    def _take(
        self, file: Any, row: int, place: int, out: Dict[str, np.ndarray]
    ) -> None:
        if self.format == 'raw':
            size = self.count * self.dtype.itemsize
            file.seek(self._size - size + row * self.dtype.itemsize)
            for name in self.dtype.names or ():
                column = out[COLUMNS.get(name, name)][place : place + 1]
                # Right into the batch, and without Python's lock.
                if file.readinto(column.data.cast('B')) != column.nbytes:
                    raise ValueError('it is shorter than it was')
            return
        labels, ends = self._indexed(file)
        start = int(ends[row - 1]) if row else 0
        file.seek(self._size - int(ends[-1]) + start)
        content = file.read(int(ends[row]) - start)
        decode(self.format, content, out['inputs'][place])
        out['labels'][place] = labels[row]

    def _indexed(self, file: BinaryIO) -> Tuple[np.ndarray, np.ndarray]:
        """Labels, and where each image ends after the index."""
        if self._index is None:
            file.seek(0)
            self._index = read_index(file, self.count)
        return self._index

    def labels(self) -> np.ndarray:
        """All labels, (N, ), of a file that has them."""
        with open(self.path, 'rb', buffering=0) as file:
            if self.format != 'raw':
                return self._indexed(file)[0]
            labels: np.ndarray = np.empty(self.count, np.int64)
            size = self.count * self.dtype.itemsize
            for row in range(self.count):
                file.seek(self._size - size + row * self.dtype.itemsize)
                file.readinto(labels[row : row + 1].data.cast('B'))
            return labels


def open_content(path: Path, content: Optional[bytes]) -> Any:
    """A file to read from, or what was read of it before."""
    if content is not None:
        return io.BytesIO(content)
    return open(path, 'rb', buffering=0)


def npy_header(dtype: 'np.dtype[Any]', count: int) -> bytes:
    """What :func:`numpy.save` writes before ``count`` records."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head,
        dict(
            descr=np.lib.format.dtype_to_descr(dtype),
            fortran_order=False,
            shape=(count,),
        ),
    )
    return head.getvalue()


def read_records(
    content: bytes, dtype: 'np.dtype[Any]', count: int
) -> Tuple[np.ndarray, int]:
    """Read the records at the start of an ``.npy`` file.

    Its header is compared with the one that belongs there. NumPy would parse
    it as Python source, and in Python 3.11 two threads that do so at once can
    get a SystemError for sound files (CPython's issue 106905).

    Args:
        content (bytes): Of the file.
        dtype (dtype): That a record must have.
        count (int): Records N that it must have.

    Returns:
        tuple[ndarray, int]: Records, (N, ), and where they end, in bytes.

    Raises:
        ValueError: If it is something else.
    """
    expected = npy_header(dtype, count)
    # The magic string, the version, and the length of the text after them.
    start = 10 + int.from_bytes(content[8:10], 'little')
    if content[:8] != expected[:8]:
        raise ValueError('not an .npy file of version 1.0')
    # How many spaces fill up a header depends on NumPy's version.
    found, wanted = content[10:start].split(), expected[10:].split()
    if found != wanted:
        text = b' '.join(found)[:200].decode('latin1')
        raise ValueError(
            f'a header {text!r}, not {b" ".join(wanted).decode()!r}'
        )
    end = start + count * dtype.itemsize
    if len(content) < end:
        raise ValueError(
            f'{len(content) - start} bytes of records, not {end - start}'
        )
    return np.frombuffer(content, dtype, count, start).copy(), end


def read_index(file: BinaryIO, count: int) -> Tuple[np.ndarray, np.ndarray]:
    """Read the head of a shard of images in a common format.

    Args:
        file (BinaryIO): At its start.
        count (int): Images that it should have.

    Returns:
        tuple[ndarray, ndarray]: Labels, (N, ), int64, and where each image
        ends after the head, (N, ), int64.

    Raises:
        ValueError: If it is something else.
    """
    # Not to make room for what a file only says that it has.
    head = file.read(MOST_HEADER + count * INDEX.itemsize)
    records, start = read_records(head, INDEX, count)
    sizes = records['size']
    end = file.seek(0, io.SEEK_END)
    # Each by itself first, since sums of large numbers can wrap round.
    fits = bool(((sizes > 0) & (sizes <= end)).all())
    if not fits or int(sizes.sum()) + start != end:
        raise ValueError('sizes of images that are not those of the file')
    return records['label'].astype(np.int64), sizes.cumsum()
