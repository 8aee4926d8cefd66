# Copyright (c) csd_mmrazor developers. All rights reserved.
import random
import warnings
from functools import cache
from inspect import signature
from itertools import zip_longest
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np
import torch
import torch.nn as nn
from mmengine.registry import OPTIMIZERS
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..utils import Draws

# Steps of a round that run as they are, before one is captured: libraries
# choose their kernels, and memory is reserved.
WARM_UP = 3
# Where torch keeps the hooks of a module.
HOOKS = (
    '_forward_hooks',
    '_forward_pre_hooks',
    '_backward_hooks',
    '_backward_pre_hooks',
)
# Whose hooks only hand tensors on.
_KNOWN = (__name__.partition('.')[0], 'torch')


@cache
def _stream(device: torch.device) -> Any:
    """One for all graphs: cuBLAS keeps memory for each."""
    return torch.cuda.Stream(device)


class CudaGraph:
    """A step as a CUDA graph: all its kernels by one call.

    Args:
        device (torch.device): A GPU.
    """

    # Whether optimizers are to keep their counts on the device.
    capturable = True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = _stream(device)
        self.graph = torch.cuda.CUDAGraph()

    @staticmethod
    def lacks(device: torch.device) -> Optional[str]:
        """Why there can be no graph on a device."""
        if device.type != 'cuda':
            return f'the networks are on {device.type}, and graphs are of CUDA'
        return None

    def warm_up(self, step: Callable[[], None]) -> Optional[str]:
        """Take a step as it is, on another stream.

        Returns:
            str | None: Why it cannot be captured.
        """
        before = torch.cuda.get_sync_debug_mode()
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter('always')
            torch.cuda.set_sync_debug_mode('warn')
            try:
                with torch.cuda.stream(self.stream):
                    step()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        current.wait_stream(self.stream)
        waits = []
        for each in found:
            if 'synchroniz' in str(each.message):
                waits.append(each)
            else:
                warnings.warn_explicit(
                    each.message, each.category, each.filename, each.lineno
                )
        if waits:
            return (
                f'the step waits for the GPU in {waits[0].filename}:'
                f'{waits[0].lineno}'
            )
        return None

    def capture(self, step: Callable[[], None]) -> None:
        """Record a step; nothing of it is computed yet."""
        streams = [
            torch.cuda.current_stream(self.device),
            torch.cuda.current_stream(),  # perhaps of another device
        ]
        try:
            # Other threads may copy to the GPU meanwhile.
            with torch.cuda.graph(
                self.graph,
                stream=self.stream,
                capture_error_mode='thread_local',
            ):
                step()
        finally:
            # After a capture that failed, torch would go on with its stream.
            for stream in streams:
                torch.cuda.set_stream(stream)

    def replay(self) -> None:
        """Take the recorded step."""
        with torch.cuda.device(self.device):
            self.graph.replay()


class HostCalls(TorchDispatchMode):
    """Notes what Python says in a step, which a replay would say again.

    That is which operators it calls, with which numbers, with which values
    from the host, and with which memory of the device that outlives a step.

    Args:
        device (torch.device): Of the networks.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.has_host = device.type != 'cpu'
        self.calls: List[Tuple[str, List[Any]]] = []
        self._made: Set[int] = set()
        self._kept: Set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Dict[str, Any]] = None,
    ) -> Any:
        if func._schema.name.startswith('profiler::'):
            return func(*args, **(kwargs or {}))
        leaves = tree_leaves([args, kwargs])
        if func is torch.ops.aten.lift_fresh.default:
            # What ``torch.tensor`` makes, where other memory may have been.
            given = [_Content(None, leaves[0])]
            self._made.add(_memory(leaves[0]))
        else:
            given = [self._note(value) for value in leaves]
        self.calls.append((str(func), given))
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if _has_memory(value) and _memory(value) not in self._kept:
                self._made.add(_memory(value))
        return result

    def _note(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return object()  # its state is not the memory of a replay
        if isinstance(value, float):
            return repr(value)  # NaN is unequal to itself
        if not torch.is_tensor(value):
            return value
        kind = value.shape, value.dtype, value.device
        if not _has_memory(value):
            return kind
        of_host = self.has_host and value.device.type == 'cpu'
        memory = None if of_host else _memory(value)
        if memory in self._made:
            return kind
        if memory is not None:
            self._kept.add(memory)
        return *kind, _Content(memory, value)

    def difference(self, other: 'HostCalls') -> Optional[str]:
        """The first operator that differs from another step."""
        for ours, theirs in zip_longest(self.calls, other.calls):
            if ours != theirs:
                name: str = (ours or theirs)[0]
                return name
        return None


class _Content:
    """Of a tensor from before a step: its memory, or values of the host."""

    def __init__(self, memory: Optional[int], value: Tensor) -> None:
        self.memory = memory
        self.values: Optional[bytes] = None
        if value.device.type == 'cpu':
            flat = value.detach().contiguous().flatten()
            self.values = flat.view(torch.uint8).numpy().tobytes()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Content):
            return False
        if self.memory is not None and self.memory == other.memory:
            return True
        return self.values is not None and self.values == other.values


def _has_memory(value: Any) -> bool:
    return torch.is_tensor(value) and value.layout is torch.strided


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


class ReplayedSteps:
    """Steps of a round: the first ones as they are, the others as a graph.

    If a step turns out not to be one that can be replayed, all are taken as
    they are. Whether it is one is seen by the last two of the first ones:
    what Python does otherwise in later steps alone, such as every tenth time
    or by a chance that did not come, is not seen, and not replayed.

    Args:
        step (Callable): Takes a step, in memory that stays where it is.
        graph (CudaGraph): Of the device.
        say (Callable): Is told why there is no graph, if there is none.
        compares (bool): Whether the first steps are compared; what is
            compiled would run as it is from then on. Defaults to True.
    """

    def __init__(
        self,
        step: Callable[[], None],
        graph: Any,
        say: Callable[[str], None],
        compares: bool = True,
    ) -> None:
        self.step = step
        self.compares = compares and graph.capturable
        self.graph = graph
        self.say = say
        self.draws = Draws()
        self.number = 0  # of steps taken
        self.calls: List[HostCalls] = []

    def __call__(self) -> None:
        """Take the next step."""
        if self.graph is None:
            self.step()
            return
        if self.number:
            self.draws.renew()
        reason = None
        if self.number < WARM_UP:
            reason = self._warm_up()
        elif self.draws.differ:
            self._step()
            reason = 'its steps draw different things at random'
        elif self.number == WARM_UP:
            reason = self._capture()
        if reason is None and self.number >= WARM_UP:
            self.graph.replay()
        self.number += 1
        if reason is not None:
            self.graph = None
            self.say(reason)

    def _step(self) -> None:
        with self.draws.found():
            self.step()

    def _warm_up(self) -> Optional[str]:
        """Take a step as it is, and see whether it can be replayed."""
        before = _host_random_state()
        # What is made once may wait, and is made in the first step.
        is_noted = self.compares and self.number + 2 >= WARM_UP
        step = self._noted_step if is_noted else self._step
        reason: Optional[str] = self.graph.warm_up(step)
        if self.number + 1 < WARM_UP:
            return None
        if self.draws.differ:
            return 'its steps draw different things at random'
        if _host_random_state() != before:
            return (
                'something in the step draws random numbers by itself, not '
                'by csd_mmrazor.models.utils.drawn'
            )
        differing = self.calls and self.calls[0].difference(self.calls[1])
        if differing:
            return (
                'what Python does differs from step to step, first at '
                f'{differing}: something counts its calls, keeps tensors, or '
                'draws random numbers by itself, not by '
                'csd_mmrazor.models.utils.drawn'
            )
        return reason

    def _noted_step(self) -> None:
        self.calls.append(HostCalls(self.graph.device))
        with self.calls[-1]:
            self._step()

    def _capture(self) -> Optional[str]:
        """Capture a step; take it as it is if that fails."""
        try:
            self.graph.capture(self._step)
        except RuntimeError as error:
            # Nothing of it has been computed.
            self._step()
            return f'it cannot be captured: {str(error).splitlines()[0]}'
        return None


def _host_random_state() -> Tuple[Any, ...]:
    """That of the generators of the host."""
    state: Any = np.random.get_state()
    return (
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        state[1].tobytes(),
        state[2:],
    )


def foreign_hooks(modules: Sequence[nn.Module]) -> List[str]:
    """Modules with hooks that a replay would not call.

    Recorders of MMRazor and the hooks of this package and of torch only hand
    tensors on.
    """
    return [
        name or type(module).__name__
        for root in modules
        for name, module in root.named_modules()
        for kind in HOOKS
        for hook in getattr(module, kind, {}).values()
        if not isinstance(getattr(hook, '__self__', None), BaseRecorder)
        and (getattr(hook, '__module__', None) or '').partition('.')[0]
        not in _KNOWN
    ]


def with_capturable(cfg: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Let an optimizer keep on the device what it counts.

    Args:
        cfg (dict): Of an optimizer, with its ``type``.

    Returns:
        dict | None: The same with ``capturable=True``, where that is to be
        said. None if a graph cannot hold the optimizer, or the config says
        that it is not to.
    """
    kind = cfg.get('type')
    if isinstance(kind, str):
        kind = OPTIMIZERS.get(kind)
    if kind is torch.optim.SGD:
        return cfg  # counts nothing
    if (
        not isinstance(kind, type)
        or 'capturable' not in signature(kind).parameters
        or not cfg.get('capturable', True)
    ):
        return None
    return dict(cfg, capturable=True)
