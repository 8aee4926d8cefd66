# Copyright (c) csd_mmrazor developers. All rights reserved.
"""tools/train.py where the locale is not UTF-8, and when it is interrupted."""

import pytest
from helpers import ROOT, dump, free_port

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
        dump(cfg, tmp_path / 'config.py')
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


# Ctrl-C goes to the launcher, whose processes are in sessions of their own.
AT_FIRST_ROUND = """
fork_workers()
os.setsid()
from csd_mmrazor.datasets import ImageBank
write = ImageBank.write_round
def written(*args, **kwargs):
    made = write(*args, **kwargs)
    if os.environ['RANK'] == '1':
        os.killpg(os.getppid(), signal.SIGINT)
    return made
ImageBank.write_round = written
"""


def test_ctrl_c_with_several_processes(forked, config, tmp_path):
    """One line, and no traceback of their launcher."""
    path = config(**{'default_hooks.synthesis.init_rounds': 10**5})
    done = forked(
        *(f'--master_port={free_port()}', '--nproc_per_node=2'),
        *(ROOT / 'tools/train.py', path, '--launcher', 'pytorch'),
        *('--work-dir', 'run', '--no-rehearsal'),
        tool='launch.py',
        setup=AT_FIRST_ROUND,
    )
    assert done.status == [130], done.output
    assert 'Traceback' not in done.output
    assert done.output.count('Interrupted.') == 1
    last = done.output.strip().splitlines()[-1]
    assert last.startswith('Interrupted.') and '--resume' in last
