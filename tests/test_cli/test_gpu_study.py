# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The script for a GPU: what it calls, where it goes on and how it ends.

The tools themselves are called in their own tests; here is what stands for
them.
"""

import os
import shutil
import subprocess

import pytest
from helpers import ROOT

# Notes its arguments, and does what a tool of that name would leave.
PYTHON = """#!/usr/bin/env bash
echo "$@" >> calls
tool=$(basename "$1" .py)
case " ${STOP:-} " in *" $tool "*) exec sleep 60 ;; esac
case " ${FAIL:-} " in *" $tool "*) exit 3 ;; esac
case $tool in
train) mkdir -p work_dirs/wrn40-2_cifar10
    touch work_dirs/wrn40-2_cifar10/epoch_200.pth ;;
benchmark) touch "${@: -1}" ;;
esac
"""
TEACHER = 'tools/train.py configs/teachers/wrn40-2_cifar10.py --amp --resume'
COMPARE = 'tools/compare.py docs/results/cifar10_resnet56_gpu.yml --out'


@pytest.fixture
def study(tmp_path):
    (tmp_path / 'tools').mkdir()
    shutil.copy(ROOT / 'tools/gpu_study.sh', tmp_path / 'tools')
    python = tmp_path / 'bin/python'
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)

    def study(*args, **env):
        """Its status, and what it called."""
        (tmp_path / 'calls').write_text('')
        path = f'{python.parent}:{os.environ["PATH"]}'
        done = subprocess.run(
            ['bash', tmp_path / 'tools/gpu_study.sh', *args],
            env={**os.environ, 'PATH': path, **env},
        )
        return done.returncode, (tmp_path / 'calls').read_text().splitlines()

    return study


def test_each_part_is_made_once(study):
    status, calls = study('train_cfg.val_interval=9', FAIL='benchmark')
    assert status == 3  # what is wrong is no reason to go on
    assert calls[0].startswith(TEACHER)
    assert calls[0].endswith('--cfg-options train_cfg.val_interval=9')
    assert calls[1].startswith(COMPARE)
    status, calls = study(OPTIONS='a.b=1 c=2')
    assert status == 0
    assert calls[0].startswith(COMPARE)  # which knows what is done
    assert calls[0].endswith(' --cfg-options a.b=1 c=2')
    assert [call.split()[1] for call in calls[1:]] == [
        f'configs/csd/csd_{pair}_cifar10.py'
        for pair in ('resnet56_resnet20', 'wrn40-2_wrn16-1')
    ]
    assert study(OPTIONS='a.b=1 c=2') == (0, calls[:1])
    assert study() == (0, [calls[0].split(' --cfg')[0]])


@pytest.mark.parametrize('tool', ['train', 'compare'])
def test_it_stops_in_time_and_goes_on(study, tool):
    for limit in ('1', '5', '60'):  # where all else takes its time
        status, calls = study(STOP=tool, LIMIT=limit)
        assert status == 124
        if calls and calls[-1].startswith(f'tools/{tool}.py'):
            break
    else:
        pytest.fail(f'{tool} was not reached')
    assert study()[0] == 0


def test_what_it_names_is_there():
    script = (ROOT / 'tools/gpu_study.sh').read_text()
    for name in (*TEACHER.split()[:2], *COMPARE.split()[:2]):
        assert name in script and (ROOT / name).is_file()
