# Copyright (c) csd_mmrazor developers. All rights reserved.
"""tools/train.py where the locale is not UTF-8, and when it is interrupted."""

import os
import signal
import subprocess
import time
from contextlib import suppress

import pytest
from helpers import ROOT, TIMEOUT, free_port

OLD = dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
# As after so many calls, Ctrl-C.
INTERRUPT = """
import os, signal
from {module} import {cls}
call, left = {cls}.{name}, [{calls}]
def interrupted(*args, **kwargs):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGINT)
    return call(*args, **kwargs)
{cls}.{name} = interrupted
"""


@pytest.fixture
def config(tiny_config, tmp_path):
    def write(**options):
        cfg = tiny_config(**options)
        cfg.pop('experiment_name')
        cfg.pop('work_dir')
        cfg.dump(tmp_path / 'config.py')
        return 'config.py'

    return write


def test_a_config_in_utf8_under_another_locale(run, config, tmp_path):
    """Comments, texts, work dir and log: as under a locale of UTF-8."""
    path = tmp_path / config(**{'train_cfg.max_epochs': 1})
    text = path.read_text(encoding='utf-8')
    named = path.with_name('größe.py')
    named.write_text(
        f'# Größe — 中文\n{text}\nauthor = "Łukasz"\nwork_dir = "läufe/中"\n',
        encoding='utf-8',
    )
    done = run(ROOT / 'tools/train.py', named.name, '--no-rehearsal', **OLD)
    assert 'Traceback' not in done.stderr
    work = tmp_path / 'läufe' / '中'
    assert (work / 'epoch_1.pth').is_file()
    (log,) = work.glob('*/*.log')
    assert 'Łukasz' in log.read_text(encoding='utf-8')
    assert 'Łukasz' in (work / 'größe.py').read_text(encoding='utf-8')


def test_a_config_in_another_encoding(forked, tmp_path):
    (tmp_path / 'b.py').write_bytes('# a\n# Größe\n'.encode('latin-1'))
    (tmp_path / 'a.py').write_text('_base_ = "b.py"')
    done = forked('a.py')
    assert done.status == [1]
    assert 'b.py is not in UTF-8, from line 2 on' in done.stderr


@pytest.mark.parametrize(
    'moment',
    [
        ('csd_mmrazor.models.synthesizers', 'ImageSynthesizer', 'step', 3),
        ('csd_mmrazor.models', 'CSDDistillation', 'train_step', 2),
        ('mmengine.runner', 'Runner', 'save_checkpoint', 1),
        ('mmengine.config', 'Config', 'merge_from_dict', 1),
    ],
    ids=lambda moment: moment[2],
)
def test_ctrl_c(forked, config, tmp_path, moment):
    path = config()
    module, cls, name, calls = moment
    if name == 'step':
        module, cls, name = 'csd_mmrazor.utils', 'Progress', 'step'
    setup = INTERRUPT.format(module=module, cls=cls, name=name, calls=calls)
    command = (path, '--work-dir', 'run', '--cfg-options', 'resume=False')
    done = forked(*command, setup=setup)
    assert done.status == [130], done.output[-2000:]
    assert 'Traceback' not in done.output
    lines = [line for line in done.stderr.splitlines() if 'Interrupt' in line]
    (line,) = lines
    assert '--resume' in line
    again = forked(path, '--work-dir', 'run', '--resume', '--no-rehearsal')
    assert again.status == [0], again.output[-2000:]


def test_ctrl_c_with_several_processes(config, tmp_path):
    """One line, and no traceback of their launcher."""
    path = config(**{'default_hooks.synthesis.init_rounds': 10**5})
    out = tmp_path / 'out'
    with open(out, 'w') as file:
        process = subprocess.Popen(
            ['bash', str(ROOT / 'tools/dist_train.sh'), path, '2']
            + ['--work-dir', 'run', '--no-rehearsal'],
            cwd=tmp_path,
            env=dict(os.environ, OMP_NUM_THREADS='1', PORT=str(free_port())),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + TIMEOUT
        while not (tmp_path / 'run/bank/000001.npy').exists():
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 130, out.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    text = out.read_text()
    assert 'Traceback' not in text
    assert text.count('Interrupted.') == 1
    last = text.strip().splitlines()[-1]
    assert last.startswith('Interrupted.') and '--resume' in last
