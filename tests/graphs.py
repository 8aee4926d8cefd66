# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Stand-ins for CUDA graphs, without a GPU, and those of one."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from csd_mmrazor.models.synthesizers.step_graph import CudaGraph

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a GPU'
)


class CountedGraph(CudaGraph):
    """One of a GPU, whose replays are counted for the whole class."""

    replays = 0

    def replay(self):
        type(self).replays += 1
        super().replay()


class EagerGraph:
    """Calls the captured function where a graph would be replayed."""

    capturable = False

    def __init__(self, device=None):
        self.device = device or torch.device('cpu')
        self.replays = 0

    @staticmethod
    def lacks(device):
        return None

    def warm_up(self, step):
        step()

    def capture(self, step):
        self.step = step

    def replay(self):
        self.replays += 1
        self.step()


def storages(values):
    return {
        value.untyped_storage().data_ptr()
        for value in tree_leaves(values)
        if torch.is_tensor(value)
    }


class Recorder(TorchDispatchMode):
    """Notes all calls, and what was in memory that they write to."""

    def __init__(self):
        super().__init__()
        self.calls, self.saved = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if 'local_scalar_dense' in str(func):
            raise RuntimeError('operation not permitted: item')
        for argument, value in (
            *zip(func._schema.arguments, args),
            *((a, kwargs.get(a.name)) for a in func._schema.arguments),
        ):
            # Of the statistics that BN layers write, the schema says nothing.
            if 'running' in argument.name or (
                argument.alias_info and argument.alias_info.is_write
            ):
                for tensor in tree_leaves(value):
                    if torch.is_tensor(tensor):
                        storage = tensor.untyped_storage()
                        self.saved.setdefault(
                            storage.data_ptr(), (storage, storage.clone())
                        )
        result = func(*args, **kwargs)
        given = storages([args, kwargs])
        made = [
            value
            for value in tree_leaves(result)
            if torch.is_tensor(value)
            and value.untyped_storage().data_ptr() not in given
        ]
        self.calls.append((func, args, kwargs, result, made))
        return result


class RecordedGraph(EagerGraph):
    """A graph on a CPU: calls on the same memory, without any Python.

    As on a GPU, nothing is computed while it is captured, and each replay
    overwrites what the last one made: here with NaN at first, so that
    whoever reads it before it is written again is found out.
    """

    capturable = True

    def capture(self, step):
        with Recorder() as recorder:
            step()
        self.calls = recorder.calls
        for storage, before in recorder.saved.values():
            storage.copy_(before)

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for *_, made in self.calls:
            for value in made:
                is_float = value.is_floating_point()
                value.detach().fill_(float('nan') if is_float else 1)
        for func, args, kwargs, result, made in self.calls:
            new = func(*args, **kwargs)
            for old, value in zip(tree_leaves(result), tree_leaves(new)):
                if any(old is each for each in made):
                    old.detach().copy_(value)
