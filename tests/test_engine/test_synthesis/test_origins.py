# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Runs that are resumed with other settings before their first checkpoint."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_capacity import stopped
from test_persistent_state import SYNTHESIS, assert_same, outcome

from csd_mmrazor.datasets import BankError, BankFolder


def test_rounds_of_another_run_are_not_mixed(tiny_runner):
    stopped(tiny_runner('cut'), 2)
    for options, name in (
        ({'randomness.seed': 5}, 'seed'),
        ({f'{SYNTHESIS}.init_iters': 3}, 'init_iters'),
        (
            {f'{SYNTHESIS}.synthesizer.generator.hidden_channels': 4},
            'synthesizer',
        ),
    ):
        with pytest.raises(BankError, match=f'had another {name} than'):
            tiny_runner('cut', resume=True, **options).train()
    # What is no matter of theirs.
    options = {'train_cfg.max_epochs': 1, 'train_dataloader.batch_size': 24}
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    whole = tiny_runner('whole', **options)
    whole.train()
    assert_same(outcome(whole), outcome(resumed))
    # A bank of an earlier release, then one that was altered.
    path = Path(resumed.work_dir, 'bank/manifest.json')
    content = json.loads(path.read_text())
    made_from = content.pop('made_from')
    path.write_text(json.dumps(content))
    BankFolder(path.parent).bind(dict(made_from, seed='0' * 16))
    for wrong in (
        None,
        {},
        dict(made_from, seed=0),
        dict(made_from, seed='x' * 16),
        dict(made_from, other='0' * 16),
    ):
        path.write_text(json.dumps(dict(content, made_from=wrong)))
        with pytest.raises(BankError, match=re.escape('cannot be used')):
            BankFolder(path.parent)


def test_a_finished_bank_is_not_passed_over(tiny_runner, tmp_path):
    source = BankFolder(tmp_path / 'source', (1, 8, 8), 10)
    source.append(np.zeros((4, 1, 8, 8), np.uint8), np.arange(4), 0, 0, True)
    option = {'train_dataloader.dataset.data_root': str(source.path)}
    with pytest.raises(ValueError, match='data_root=.*source .* init_bank'):
        tiny_runner(**option).train()
