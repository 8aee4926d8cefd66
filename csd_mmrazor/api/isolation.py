# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What MMEngine's runner changes in its process, put back."""

import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from collections import OrderedDict
from contextlib import contextmanager, nullcontext, suppress
from functools import wraps
from typing import Any, Callable, Dict, Iterator, List, TypeVar, cast

import numpy as np
import torch
from mmengine.device import utils as device_utils
from mmengine.utils import ManagerMixin

_F = TypeVar('_F', bound=Callable[..., Any])
# By process, since one that is forked has a copy of its parent's.
_LOCKS: Dict[int, threading.Lock] = {}


def one_at_a_time(function: _F) -> _F:
    """Refuse calls of a function while one is under way in this process.

    In another thread, it would draw from the same random numbers, and see the
    same folder, environment and global instances.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        lock = _LOCKS.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(blocking=False):
            name = function.__name__
            raise RuntimeError(
                f'{name}() is already running in this process, and two would '
                'disturb each other, since random states, loggers and the '
                'current folder belong to the process: wait until the first '
                'one has ended, or start each in a process of its own.'
            )
        try:
            return function(*args, **kwargs)
        finally:
            lock.release()

    return cast(_F, call)


@contextmanager
def isolated(device: str = 'cpu') -> Iterator[None]:
    """Leave nothing of what is done in the context to the process.

    Random states, default dtype and device, gradients' mode, autocast, cuDNN's
    flags, loggers, environment variables, import path, current folder and
    MMEngine's global instances (of which there are none inside) are put back.

    Args:
        device (str): What MMEngine takes for the device: 'cpu' or 'cuda'.
            Defaults to 'cpu'.

    Raises:
        FileNotFoundError: If the current folder was deleted.
    """
    python, numpy = random.getstate(), np.random.get_state()
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    cudnn = torch.backends.cudnn
    flags = {k: getattr(cudnn, k) for k in ('benchmark', 'deterministic')}
    algorithms = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    threads, opencv = torch.get_num_threads(), sys.modules.get('cv2')
    cv_threads = opencv.getNumThreads() if opencv else 0
    environment, path, folder = dict(os.environ), list(sys.path), _folder()
    method = multiprocessing.get_start_method(allow_none=True)
    filters, device_before = list(warnings.filters), device_utils.DEVICE
    loggers = _loggers()
    raises = logging.raiseExceptions
    handlers = _signals()
    limits = _limits()
    # To seed torch seeds all of them.
    is_used = device == 'cuda' or torch.cuda.is_initialized()
    devices = [*range(torch.cuda.device_count())] if is_used else []
    is_lazy = not torch.cuda.is_initialized()
    seeds = dict(_seeds_to_come())
    managers: Dict[type, Any] = {}
    for cls in _managers():
        managers[cls] = cls._instance_dict
        cls._instance_dict = OrderedDict()
    try:
        # Only where the caller has another, since it makes calls slower.
        is_other = torch.empty(0).device.type != 'cpu'
        with (
            torch.device('cpu') if is_other else nullcontext(),
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            # A cache of cast weights is emptied by the outermost context
            # alone, so steps in this one would keep those of the first.
            torch.autocast(device, enabled=False, cache_enabled=False),
        ):
            torch.set_default_dtype(torch.float32)
            # MMEngine sets one, and warns if there was another.
            multiprocessing.set_start_method(None, force=True)
            device_utils.DEVICE = device
            yield
    finally:
        for cls in _managers():
            _close(cls)
            cls._instance_dict = managers.get(cls, OrderedDict())
        random.setstate(python)
        np.random.set_state(numpy)
        if is_lazy and not torch.cuda.is_initialized():
            _seeds_to_come().update(seeds)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        for name, value in flags.items():
            setattr(cudnn, name, value)
        torch.use_deterministic_algorithms(
            algorithms[0], warn_only=algorithms[1]
        )
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if opencv and opencv.getNumThreads() != cv_threads:
            opencv.setNumThreads(cv_threads)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        with suppress(OSError):
            os.chdir(folder)
        multiprocessing.set_start_method(method, force=True)
        warnings.filters[:] = filters
        device_utils.DEVICE = device_before
        for logger, (level, its_handlers, propagate, disabled) in loggers:
            logger.setLevel(level)
            logger.handlers[:] = its_handlers
            logger.propagate, logger.disabled = propagate, disabled
        logging.raiseExceptions = raises
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if limits is not None:
            import resource

            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _seeds_to_come() -> Dict[str, Any]:
    """What torch will seed CUDA with once it is used, to be changed."""
    tracker = getattr(torch.cuda, '_lazy_seed_tracker', None)
    return {} if tracker is None else vars(tracker)


def _managers() -> List[type]:
    """Classes of which MMEngine keeps instances for all of a process."""
    classes = [ManagerMixin]
    for cls in classes:  # grows
        classes += [c for c in cls.__subclasses__() if c not in classes]
    return classes


def _close(cls: type) -> None:
    """Close the files that instances hold."""
    for instance in cls._instance_dict.values():
        for handler in getattr(instance, 'handlers', ()):
            if isinstance(handler, logging.FileHandler):
                handler.close()
        with suppress(Exception):
            if hasattr(instance, '_vis_backends'):
                instance.close()


def _loggers() -> List:
    """The state of all loggers."""
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    return [
        (each, (each.level, each.handlers[:], each.propagate, each.disabled))
        for each in known
        if isinstance(each, logging.Logger)
    ]


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise FileNotFoundError(
            'The current folder of this process is not there any more: change '
            'to one that is, by os.chdir().'
        ) from None


def _signals() -> Dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    return {n: handler for n, handler in found.items() if handler is not None}


def _limits() -> Any:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)
