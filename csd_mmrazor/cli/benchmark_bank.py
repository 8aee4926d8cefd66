# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Time large image banks: formats, thousands of shards, a small memory.

``formats`` writes and reads images in each format, on one thread, and says
what is lost. ``shards`` appends to banks of more and more shards, and opens
them. ``memory`` reads a bank that is larger than a process may have memory,
from files that are not in memory, as fast as it can and beside steps of a
given length.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ..datasets import BankFolder, BankSampler, ImageBank, bank_collate
from ..datasets.image_codec import ImageCodec, decode
from ..datasets.image_folder import list_image_folder
from ..utils.files import write_file
from ..utils.threads import core_count, thread_count
from .errors import concise_errors
from .parser import Parser
from .ranges import in_range, json_to_write

SIZE = 224


# Of photographs: those that stand for a bank's images, and those of formats.
_PHOTOS = dict(memory=256, formats=16)


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('what', choices=['formats', 'shards', 'memory'])
    parser.add_argument(
        '--images',
        help='folder in ImageFolder layout, of at least '
        f'{_PHOTOS["formats"]} pictures for formats and '
        f'{_PHOTOS["memory"]} for memory',
    )
    parser.add_argument('--folder', help='where banks are made, and deleted')
    parser.add_argument('--out', type=json_to_write, help='JSON file to write')
    parser.add_argument(
        '--shards',
        type=in_range(int, 1),
        nargs='+',
        default=[100, 1000, 10000],
        help='numbers of shards, ascending, 1 or more (default: %(default)s)',
    )
    parser.add_argument(
        '--formats',
        nargs='+',
        default=['raw'],
        choices=['raw', 'png', 'jpeg', 'webp'],
        help='of the banks of memory (default: %(default)s)',
    )
    parser.add_argument(
        '--limit',
        type=in_range(float, 0, above=True),
        default=1.25,
        help='GiB of data that a process may have, more than its imports '
        'take (default: %(default)s)',
    )
    parser.add_argument(
        '--times',
        type=in_range(float, 0, above=True),
        default=3.05,
        help='how many times the limit a bank is, above 0 '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--shard',
        type=in_range(int, 1, _PHOTOS['memory']),
        default=64,
        help=f'images of a shard, 1 to {_PHOTOS["memory"]} '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--batch',
        type=in_range(int, 1),
        default=64,
        help='images, 1 or more (default: %(default)s)',
    )
    parser.add_argument(
        '--buffer',
        type=in_range(int, 0),
        nargs='+',
        default=[0, 8],
        help='buffer_shards, 0 or more (default: %(default)s)',
    )
    parser.add_argument(
        '--step',
        type=in_range(float, 0),
        nargs='+',
        default=[0, 0.25],
        help='seconds, 0 or more (default: %(default)s)',
    )
    parser.add_argument(
        '--steps',
        type=in_range(int, 1),
        default=40,
        help='of each kind, 1 or more (default: %(default)s)',
    )
    cores = core_count()
    parser.add_argument(
        '--cores',
        type=in_range(int, 1, cores),
        nargs='+',
        default=[n for n in (2, 1) if n <= cores],
        help=f'1 to {cores} here (default: %(default)s)',
    )
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.worker:
        _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with an error by what does not fit together."""
    if sorted({*args.shards}) != args.shards:
        parser.error(f'--shards should ascend, but got {args.shards}')
    if args.folder is not None and not Path(args.folder).is_dir():
        parser.error(f'--folder {args.folder} is not a folder')
    least = _PHOTOS.get(args.what, 0)
    if least and not (args.images and Path(args.images).is_dir()):
        parser.error(
            f'{args.what} needs --images, a folder in ImageFolder layout of '
            f'at least {least} pictures, but got {args.images}'
        )
    if least:
        try:
            found = len(list_image_folder(args.images))
        except (OSError, ValueError) as error:
            parser.error(f'--images {args.images}: {error}')
        if found < least:
            parser.error(
                f'--images {args.images} has {found} pictures, but '
                f'{args.what} needs at least {least}'
            )
    if args.what != 'memory':
        return
    used = _data_in_use()
    if args.limit * 2**30 <= used:
        parser.error(
            f'--limit should be above {used / 2**30:.2f} GiB, which the '
            f'imports of a process take here, but got {args.limit:g}'
        )
    needed = args.times * args.limit * 2**30
    free = shutil.disk_usage(args.folder or tempfile.gettempdir()).free
    if needed > free:
        parser.error(
            f'--times {args.times:g} of --limit {args.limit:g} takes '
            f'{needed / 1e9:.1f} GB, but --folder has room for '
            f'{free / 1e9:.1f} GB'
        )


def _data_in_use() -> int:
    """Bytes that ``RLIMIT_DATA`` counts of this process; 0 if unknown."""
    try:
        status = Path('/proc/self/status').read_text()
    except OSError:
        return 0
    lines = [s for s in status.splitlines() if s.startswith('VmData:')]
    return 1024 * int(lines[0].split()[1]) if lines else 0


def main() -> None:
    """Measure, print and write what was asked for."""
    args = parse_args()
    torch.set_num_threads(1)
    if args.worker:
        print(json.dumps(read_small(**json.loads(args.worker))))
        return
    measure = dict(formats=formats, shards=shards, memory=memory)
    with concise_errors():
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found = measure[args.what](args, Path(folder))
        if args.out:
            content = json.dumps(found, indent=1) + '\n'
            write_file(args.out, content.encode())


def contents(folder: str, number: int) -> Dict[str, np.ndarray]:
    """Kinds of images, (N, 3, 224, 224), from enlarged photographs."""
    rng = np.random.default_rng(0)
    samples = list_image_folder(folder, None, None)
    chosen = rng.choice(len(samples), number, replace=False)
    photos = []
    for place in chosen:
        with Image.open(samples[place][0]) as image:
            large = image.convert('RGB').resize((SIZE, SIZE), Image.BICUBIC)
            photos.append(np.asarray(large).transpose(2, 0, 1))
    photo = np.stack(photos)

    def noisy(deviation: float) -> np.ndarray:
        noise = rng.normal(0, deviation, photo.shape)
        return (photo + noise).clip(0, 255).round().astype(np.uint8)

    return {
        'enlarged photographs': photo,
        'and noise of 3/255': noisy(3),
        'and noise of 12/255': noisy(12),
        'noise alone': rng.integers(0, 256, photo.shape, np.uint8),
    }


def formats(args: argparse.Namespace, folder: Path) -> List[Dict[str, Any]]:
    """Size, loss and CPU time of each format."""
    rows = []
    others = plain_coders()
    names = [('raw', None), ('png', None), ('jpeg', 95), ('jpeg', 90)]
    names += [('webp', 95), ('webp', 90)]
    for kind, images in contents(args.images, _PHOTOS['formats']).items():
        coders: Dict[str, Any] = {}
        for name, quality in names:
            codec = ImageCodec(name, quality)
            coder = codec._encode, _decoder(name, images.shape[1:])
            if name == 'raw':
                coder = np.ndarray.tobytes, _from_raw(images.shape[1:])
            coders[f'{name} {quality or ""}'.strip()] = coder
        for label, coder in {**coders, **others}.items():
            row = dict(images=kind, format=label, **_time(coder, images))
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def plain_coders() -> Dict[str, Any]:
    """Compression that knows nothing of images, as far as it is installed."""
    shape = (3, SIZE, SIZE)
    coders: Dict[str, Any] = {}
    try:
        import zstandard

        packer = zstandard.ZstdCompressor(3)
        unpacker = zstandard.ZstdDecompressor()
        read = _from_raw(shape)
        coders['zstd 3'] = (
            lambda image: packer.compress(image.tobytes()),
            lambda content: read(unpacker.decompress(content)),
        )
    except ImportError:
        pass
    try:
        import blosc2

        blosc2.set_nthreads(1)
        options = dict(
            codec=blosc2.Codec.ZSTD,
            clevel=3,
            typesize=1,
            filters=[blosc2.Filter.BYTEDELTA],
        )
        coders['blosc2 zstd, deltas'] = (
            lambda image: blosc2.compress2(image.tobytes(), **options),
            lambda content: _from_raw(shape)(blosc2.decompress2(content)),
        )
    except ImportError:
        pass
    return coders


def _from_raw(shape: Tuple[int, ...]) -> Any:
    return lambda content: np.frombuffer(content, np.uint8).reshape(shape)


def _decoder(name: str, shape: Tuple[int, ...]) -> Any:
    def read(content: bytes) -> np.ndarray:
        image: np.ndarray = np.empty(shape, np.uint8)
        decode(name, content, image)
        return image

    return read


def _time(coder: Any, images: np.ndarray, repeats: int = 5) -> Dict[str, Any]:
    encode, read = coder
    seconds: Dict[str, List[float]] = dict(write=[], read=[])
    for _ in range(repeats):
        start = time.process_time()
        files = [encode(image) for image in images]
        middle = time.process_time()
        found = [read(content) for content in files]
        seconds['write'].append(middle - start)
        seconds['read'].append(time.process_time() - middle)
    error = np.abs(np.stack(found).astype(int) - images)
    return dict(
        size=round(sum(map(len, files)) / images.nbytes, 3),
        write_ms=round(1e3 * median(seconds['write']) / len(images), 2),
        read_ms=round(1e3 * median(seconds['read']) / len(images), 2),
        mean_error=round(float(error.mean()), 2),
    )


def shards(args: argparse.Namespace, folder: Path) -> List[Dict[str, Any]]:
    """A round's append, and opening, of banks of many tiny shards."""
    rows = []
    bank = BankFolder(folder / 'bank', (1, 2, 2), 10)
    image, label = np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int64)
    write_manifest, fsync = BankFolder.write_manifest, os.fsync
    for number in args.shards:
        # Not to wait for the disk each time where that is not measured.
        BankFolder.write_manifest = lambda self, anew=False: None
        os.fsync = lambda file: None
        while len(bank.shards) < number - 20:
            bank.append(image, label, len(bank.shards), 0, write=True)
        BankFolder.write_manifest, os.fsync = write_manifest, fsync
        bank.write_manifest()
        appended, cpu = [], []
        while len(bank.shards) < number:
            start, used = time.perf_counter(), time.process_time()
            bank.append(image, label, len(bank.shards), 0, write=True)
            appended.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
        row: Dict[str, Any] = dict(
            shards=number,
            append_ms=round(1e3 * median(appended), 2),
            append_cpu_ms=round(1e3 * median(cpu), 2),
        )
        for name in ('first', 'again'):
            start, used = time.perf_counter(), time.process_time()
            _open(bank.path, storage='disk', verify='new')
            row[f'open_{name}_s'] = round(time.perf_counter() - start, 3)
            row[f'open_{name}_cpu_s'] = round(time.process_time() - used, 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def _open(path: Path, **options: Any) -> ImageBank:
    try:
        return ImageBank(str(path), **options)
    except TypeError:  # an earlier release
        return ImageBank(str(path), storage='disk')


def memory(args: argparse.Namespace, folder: Path) -> List[Dict[str, Any]]:
    """A bank of some times the memory that a process may have."""
    number = int(args.times * args.limit * 2**30 / (3 * SIZE**2))
    images = contents(args.images, _PHOTOS['memory'])['and noise of 3/255']
    rng, rows = np.random.default_rng(1), []
    for name in args.formats:
        path = folder / name
        bank = BankFolder(path, images.shape[1:], 1000, codec=ImageCodec(name))
        # The same files of images again, in another order.
        for index in range(-(-number // args.shard)):
            order = rng.permutation(len(images))[: args.shard]
            bank.append(images[order], order, 0, index, write=True)
        size = sum(file.stat().st_size for file in path.iterdir())
        _open(path, storage='disk')  # what a run's start has checked
        for cores in args.cores:
            for buffer in args.buffer:
                for step in args.step:
                    job = dict(
                        path=str(path),
                        limit=args.limit,
                        cores=cores,
                        buffer=buffer,
                        step=step,
                        steps=args.steps,
                        batch=args.batch,
                    )
                    found = _run(job)
                    row = dict(
                        format=name,
                        images=len(bank),
                        gigabytes=round(size / 1e9, 2),
                        pixels_gigabytes=round(
                            len(bank) * 3 * SIZE**2 / 1e9, 2
                        ),
                        **job,
                        **found,
                    )
                    del row['path']
                    rows.append(row)
                    print(json.dumps(row), flush=True)
        shutil.rmtree(path)
    return rows


def _run(job: Dict[str, Any]) -> Dict[str, Any]:
    command = [sys.executable, '-m', __spec__.name]
    command += ['memory', '--worker', json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ['killed']
        raise RuntimeError(
            f'A process with --limit {job["limit"]} has failed: {lines[-1]}'
        )
    return json.loads(done.stdout.splitlines()[-1])


def read_small(
    path: str,
    limit: float,
    cores: int,
    buffer: int,
    step: float,
    steps: int,
    batch: int,
) -> Dict[str, Any]:
    """Read a bank with little memory, in a process for itself.

    Returns:
        dict: Images a second, and what steps of ``step`` seconds, in which
        this process computes nothing, wait for their batches: the median and
        the most, the share that waits for more than a hundredth of a step,
        without the first quarter.
    """
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    most = int(limit * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    for file in Path(path).glob('*.npy'):
        with open(file, 'rb') as opened:
            os.fsync(opened.fileno())
            # Out of the page cache, as far as the system does as it is told.
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    bank = ImageBank(path, storage='disk')
    opened_in = time.perf_counter() - start
    sampler = BankSampler(bank, steps * batch, seed=0, buffer_shards=buffer)
    loader = DataLoader(bank, batch, sampler=sampler, collate_fn=bank_collate)
    waits, begin, used = [], 0.0, 0.0
    batches = iter(loader)
    for number in range(steps):
        if number == steps // 4:
            begin, used = time.perf_counter(), time.process_time()
        before = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - before)
        time.sleep(step)
    late = waits[steps // 4 :]
    seconds = time.perf_counter() - begin
    return dict(
        threads=thread_count(),
        open_s=round(opened_in, 3),
        images_per_s=round(len(late) * batch / seconds, 1),
        cpu_ms_per_image=round(
            1e3 * (time.process_time() - used) / len(late) / batch, 3
        ),
        median_wait_ms=round(1e3 * median(late), 2),
        most_wait_ms=round(1e3 * max(late), 2),
        share_waiting=round(
            sum(wait > step / 100 for wait in late) / len(late), 3
        )
        if step
        else None,
    )


if __name__ == '__main__':
    main()
