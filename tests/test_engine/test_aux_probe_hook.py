# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    'has_ema, is_reset, is_logged',
    [(False, True, True), (True, False, True), (True, True, False)],
)
def test_no_mean_of_several_heads(tiny_runner, has_ema, is_reset, is_logged):
    """EMAHook validates the mean of heads, which has learned nothing."""
    ema = dict(type='EMAHook', priority='NORMAL')
    runner = tiny_runner(
        **{
            'default_hooks.synthesis.reset_aux_head': is_reset,
            'custom_hooks': [ema] if has_ema else [],
        }
    )
    runner.train()
    path = next(Path(runner.work_dir).glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any('accuracy/top1' in line for line in lines)
    assert any('aux/top1' in line for line in lines) is is_logged
