# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch.distributed as dist

from csd_mmrazor.utils.alone import check_alone


@pytest.mark.parametrize('number', [1, 2])
def test_a_process_group_without_a_launcher(number, monkeypatch):
    """As of ``torch.multiprocessing.spawn``, which sets no variables."""
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    check_alone('distill')
    monkeypatch.setattr(dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(dist, 'get_world_size', lambda: number)
    if number == 1:
        check_alone('distill')
        return
    message = 'distill is for one process, .* group of 2 .* without one, so'
    with pytest.raises(ValueError, match=message):
        check_alone('distill', ', so')
