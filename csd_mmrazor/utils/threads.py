# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Threads for what waits for disks, or is done without Python's lock."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterable, Iterator, Tuple

from .stopping import stop_if_asked

_MOST = 16
_pool: Tuple[int, Any] = (0, None)


def core_count() -> int:
    """Of this machine, as far as this process may use them."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count() -> int:
    """Threads of this process: its share of the cores it may use."""
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(1, min(_MOST, core_count() // max(processes, 1)))


def pool() -> ThreadPoolExecutor:
    """The threads of this process. What they do must not wait for others.

    A process that was forked has none of its parent's.
    """
    global _pool
    if _pool[0] != os.getpid():
        _pool = (
            os.getpid(),
            ThreadPoolExecutor(thread_count(), 'csd_mmrazor_reader'),
        )
    return _pool[1]


def in_threads(
    function: Callable[[Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    """Results in the order of the items, a few of them ahead.

    Args:
        function (callable): Of one item.
        items (iterable): Any number; no more are taken, nor results held,
            than a few for each thread.

    Yields:
        Any: A result.

    Raises:
        SystemExit: If the run is asked to stop, before the next item.
    """
    waiting: Deque[Future[Any]] = deque()
    threads, most = pool(), 2 * thread_count()
    try:
        for item in items:
            stop_if_asked()
            if len(waiting) == most:
                yield waiting.popleft().result()
            waiting.append(threads.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
