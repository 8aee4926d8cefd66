# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import threading
from contextlib import contextmanager

import pytest
import torch
from helpers import equal

from csd_mmrazor.api.isolation import isolated, one_at_a_time
from csd_mmrazor.engine.optimizers import AutocastOptimWrapper


def test_one_at_a_time():
    entered, leave = threading.Event(), threading.Event()

    @one_at_a_time
    def work(fails=False):
        """What it does."""
        entered.set()
        leave.wait()
        if fails:
            raise ValueError('work fails')
        return 3

    assert (work.__name__, work.__doc__) == ('work', 'What it does.')
    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    try:
        with pytest.raises(RuntimeError, match=r'work\(\) is already running'):
            work()
    finally:
        leave.set()
        thread.join()
    assert work() == 3
    with pytest.raises(ValueError, match='work fails'):
        work(fails=True)
    assert work() == 3


def test_a_call_within_a_call():
    @one_at_a_time
    def outer():
        return inner()

    @one_at_a_time
    def inner():
        return 3

    with pytest.raises(RuntimeError, match=r'inner\(\) is already running'):
        outer()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_a_forked_process_is_another():
    @one_at_a_time
    def work(fork=True):
        if not fork:
            return 0
        child = os.fork()
        if not child:
            os._exit(work(fork=False))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert work() == 0


def test_a_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / 'gone').mkdir()
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    with (
        pytest.raises(FileNotFoundError, match=r'not there any more: .*chdir'),
        isolated(),
    ):
        pass


@pytest.mark.parametrize('device, is_used', [('cpu', True), ('cuda', False)])
def test_random_states_of_all_gpus_are_kept(monkeypatch, device, is_used):
    """To seed torch seeds all of them."""
    kept = []

    @contextmanager
    def fork_rng(devices):
        kept.append(devices)
        yield

    monkeypatch.setattr(torch.random, 'fork_rng', fork_rng)
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: is_used)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 3)
    with isolated(device):
        pass
    assert kept == [[0, 1, 2]]
    kept.clear()
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: False)
    with isolated('cpu'):
        pass
    assert kept == [[]]


class Subclass(torch.nn.Linear):
    """One that is not cast together with others."""


def steps():
    """Weights after steps of a network in mixed precision."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 4),
        Subclass(4, 4),
        torch.nn.TransformerEncoderLayer(4, 2, 4, 0, batch_first=True),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    wrapper = AutocastOptimWrapper(optimizer=optimizer)
    inputs = torch.randn(3, 5, 4)
    for _ in range(3):
        with wrapper.optim_context(net):
            loss = net(inputs).square().mean()
        wrapper.update_params(loss)
    return net.state_dict()


@pytest.mark.parametrize('is_within', [False, True])
def test_mixed_precision_has_the_weights_of_its_step(is_within):
    """Whether or not the caller's code is in autocast, too."""
    expected = steps()
    with (
        torch.autocast('cpu', torch.bfloat16, enabled=is_within),
        isolated(),
    ):
        assert not torch.is_autocast_enabled('cpu')
        assert equal(steps(), expected)


@pytest.mark.skipif(
    torch.cuda.is_initialized(), reason='seeds are for its first use'
)
def test_seeds_of_a_gpu_that_is_not_used_yet():
    """The caller's are left, which a GPU is given when it is first used."""

    def seeds():
        tracker = torch.cuda._lazy_seed_tracker
        return [
            cell.cell_contents
            for call in tracker.get_calls()
            if call
            for cell in call[0].__closure__
        ]

    torch.manual_seed(123)
    before = seeds()
    assert 123 in before
    with isolated('cpu'):
        torch.manual_seed(0)
        torch.cuda.manual_seed(1)
        assert seeds() != before
    assert seeds() == before
