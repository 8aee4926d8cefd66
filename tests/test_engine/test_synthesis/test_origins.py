# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Runs that are resumed with other settings before their first checkpoint."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import network
from test_capacity import stopped
from test_persistent_state import SYNTHESIS, Stop, assert_same, outcome

from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.engine import SynthesisHook
from csd_mmrazor.utils import CheckpointError

WIDER = {'model.architecture': network(base_channels=8)}


def stop(*_):
    raise Stop


def test_rounds_of_another_run_are_not_mixed(tiny_runner, tmp_path):
    stopped(tiny_runner('cut'), 2)
    everything = {
        'randomness.seed': 5,
        f'{SYNTHESIS}.init_iters': 3,
        f'{SYNTHESIS}.init_rounds': 3,
        f'{SYNTHESIS}.synthesizer.generator.hidden_channels': 4,
    }
    names = 'seed and init_iters and synthesizer and student and init_rounds'
    for options, name in (
        (everything, names),
        (WIDER, 'architecture and student'),
        # Whose weights have the same shapes.
        ({'model.aux_head.task.type': 'FlipTask'}, 'architecture'),
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


def test_initial_rounds_are_of_no_student(tiny_runner, monkeypatch):
    """What comes after them may still be changed."""
    one = {'train_cfg.max_epochs': 1}
    changed = {**one, **WIDER, f'{SYNTHESIS}.init_rounds': 3}
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(SynthesisHook, 'before_train_epoch', stop)
        tiny_runner('cut').train()
    tiny_runner('cut', resume=True, **changed).train()
    whole = tiny_runner('whole', **changed)
    whole.train()
    folders = [
        BankFolder(Path(whole.work_dir, '..', name, 'bank'))
        for name in ('cut', 'whole')
    ]
    assert folders[0].digest() == folders[1].digest()
    # Now there are rounds after them, and a checkpoint.
    more = {**changed, f'{SYNTHESIS}.init_rounds': 4}
    with pytest.raises(CheckpointError, match='init_rounds: 3 -> 4: initial'):
        tiny_runner('cut', resume=True, **more).train()


def finished(path):
    bank = BankFolder(path, (1, 8, 8), 10)
    bank.append(np.zeros((4, 1, 8, 8), np.uint8), np.arange(4), 0, 0, True)
    return str(path)


def test_imports_of_another_source_are_not_mixed(
    tiny_runner, tmp_path, monkeypatch
):
    option = 'train_dataloader.dataset.init_bank'
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(SynthesisHook, 'before_train_epoch', stop)
        tiny_runner('cut', **{option: finished(tmp_path / 'a')}).train()
    changed = {option: finished(tmp_path / 'b'), **WIDER}
    with pytest.raises(BankError, match='had another init_bank than'):
        tiny_runner('cut', resume=True, **changed).train()


def test_a_finished_bank_is_not_passed_over(tiny_runner, tmp_path):
    source = finished(tmp_path / 'source')
    option = {'train_dataloader.dataset.data_root': source}
    with pytest.raises(ValueError, match='data_root=.*source .* init_bank'):
        tiny_runner(**option).train()
