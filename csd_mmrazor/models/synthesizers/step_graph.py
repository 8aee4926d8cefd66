# Copyright (c) csd_mmrazor developers. All rights reserved.
import random
import warnings
from inspect import signature
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn as nn
from mmengine.registry import OPTIMIZERS
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder

from ..utils import Draws

# Steps of a round that run as they are, before one is captured: libraries
# choose their kernels, and memory is reserved.
WARM_UP = 3
# Whose hooks only hand tensors on.
_KNOWN = (__name__.partition('.')[0], 'torch')


class CudaGraph:
    """A step as a CUDA graph: all its kernels by one call.

    Args:
        device (torch.device): A GPU.
    """

    # Whether optimizers are to keep their counts on the device.
    capturable = True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
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
        waits = [w for w in found if 'synchroniz' in str(w.message)]
        if waits:
            return (
                f'the step waits for the GPU in {waits[0].filename}:'
                f'{waits[0].lineno}'
            )
        return None

    def capture(self, step: Callable[[], None]) -> None:
        """Record a step; nothing of it is computed yet."""
        # Other threads may copy to the GPU meanwhile.
        with torch.cuda.graph(
            self.graph, stream=self.stream, capture_error_mode='thread_local'
        ):
            step()

    def replay(self) -> None:
        """Take the recorded step."""
        with torch.cuda.device(self.device):
            self.graph.replay()


class ReplayedSteps:
    """Steps of a round: the first ones as they are, the others as a graph.

    If a step turns out not to be one that can be replayed, all are taken as
    they are.

    Args:
        step (Callable): Takes a step, in memory that stays where it is.
        graph (CudaGraph): Of the device.
        say (Callable): Is told why there is no graph, if there is none.
    """

    def __init__(
        self,
        step: Callable[[], None],
        graph: Any,
        say: Callable[[str], None],
    ) -> None:
        self.step = step
        self.graph = graph
        self.say = say
        self.draws = Draws()
        self.number = 0  # of steps taken

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
        reason: Optional[str] = self.graph.warm_up(self._step)
        if self.number + 1 < WARM_UP:
            return None  # what is made once may wait
        if self.draws.differ:
            return 'its steps draw different things at random'
        if _host_random_state() != before:
            return (
                'something in the step draws random numbers by itself, not '
                'by csd_mmrazor.models.utils.drawn'
            )
        return reason

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
    kinds = (
        '_forward_hooks',
        '_forward_pre_hooks',
        '_backward_hooks',
        '_backward_pre_hooks',
    )
    return [
        name or type(module).__name__
        for root in modules
        for name, module in root.named_modules()
        for kind in kinds
        for hook in getattr(module, kind, {}).values()
        if not isinstance(getattr(hook, '__self__', None), BaseRecorder)
        and getattr(hook, '__module__', '').partition('.')[0] not in _KNOWN
    ]


def with_capturable(cfg: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Let an optimizer keep on the device what it counts.

    Args:
        cfg (dict): Of an optimizer, with its ``type``.

    Returns:
        dict | None: The same with ``capturable=True``, where that is to be
        said. None if a graph cannot hold the optimizer.
    """
    kind = cfg.get('type')
    if isinstance(kind, str):
        kind = OPTIMIZERS.get(kind)
    if kind is torch.optim.SGD:
        return cfg  # counts nothing
    if not isinstance(kind, type) or (
        'capturable' not in signature(kind).parameters
    ):
        return None
    return dict(cfg, capturable=True)
