# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import sys
from pathlib import Path

import pytest
import torch
from helpers import build, network
from mmengine.config import Config

from csd_mmrazor.cli.export_student import export, parse_args


@pytest.mark.parametrize('is_given', [False, True])
def test_a_run_that_was_moved(is_given, tmp_path, monkeypatch):
    """Another one is where it was."""
    monkeypatch.chdir(tmp_path)
    before = tmp_path / 'run'
    weights = build(network()).state_dict()
    for name, folder in (('first', Path('moved')), ('second', before)):
        (folder / 'networks').mkdir(parents=True)
        for each in ('student', 'teacher'):
            torch.save(weights, folder / f'networks/{each}.pth')
        start = dict(teacher=f'{name}.pth', weights=f'weights of the {name}')
        (folder / 'distill.json').write_text(json.dumps(dict(start=start)))
    torch.save(weights, 'moved/epoch_1.pth')
    Path('moved/last_checkpoint').write_text('epoch_1.pth')
    ckpt_path = str(before / 'networks/teacher.pth')
    model = dict(
        architecture=network(),
        student_ckpt=str(before / 'networks/student.pth'),
        teachers=dict(a=dict(build_cfg=network(), ckpt_path=ckpt_path)),
    )
    cfg = Config(dict(work_dir=str(before), model=model))
    cfg.dump('moved/config.py')
    argv = ['export', 'moved', 'out.pth']
    argv += ['--config', 'moved/config.py'] if is_given else []
    monkeypatch.setattr(sys, 'argv', argv)
    export(parse_args())
    card = Path('out.md').read_text()
    assert 'weights `first.pth`' in card
    assert 'student started from weights of the first' in card
