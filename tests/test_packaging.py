# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest
from helpers import ROOT, TIMEOUT


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel of what git would clone."""
    source = tmp_path_factory.mktemp('source')
    listed = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '.', '-w']
        + [str(target)],
        cwd=source,
        check=True,
        timeout=TIMEOUT,
    )
    return next(target.glob('*.whl'))


def test_what_the_wheel_holds(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        'csd_mmrazor/cli/train.py',
        'csd_mmrazor/compat/__init__.py',
        'csd_mmrazor/datasets/digits_order.npy',
        'csd_mmrazor/py.typed',
        'csd_mmrazor/report/templates/page.html',
        'csd_mmrazor/engine/hooks/synthesis_hook.py',
        'csd_mmrazor/.mim/configs/csd/csd_resnet34_resnet18_cifar10.py',
        'csd_mmrazor/.mim/configs/_base_/csd.py',
        'csd_mmrazor/.mim/configs/csd/metafile.yml',
        'csd_mmrazor/.mim/model-index.yml',
        'csd_mmrazor/.mim/tools/train.py',
        'csd_mmrazor/.mim/tools/dist_train.sh',
    ):
        assert name in names
    assert not [n for n in names if 'tests/' in n or 'test_' in n]
    assert not [n for n in names if '__pycache__' in n]


def test_what_it_declares(wheel):
    archive = zipfile.ZipFile(wheel)
    path = next(n for n in archive.namelist() if n.endswith('/METADATA'))
    metadata = Parser().parsestr(archive.read(path).decode())
    needs = metadata.get_all('Requires-Dist')
    name = re.compile(r'[\w-]+')
    always = {name.match(n)[0] for n in needs if 'extra' not in n}
    assert {'torch', 'torchvision', 'mmengine', 'mmpretrain'} <= always
    assert {'mmrazor', 'joblib', 'scikit-learn', 'scipy'} <= always
    # mmcv and mmcv-lite are never put over each other.
    assert not [n for n in always if n.startswith('mmcv')]
    extra = {name.match(n)[0] for n in needs if 'extra' in n}
    assert {'mmcv', 'mmcv-lite'} <= extra
    assert metadata['License-Expression'] or metadata['License']
    licence = next(n for n in archive.namelist() if n.endswith('/LICENSE'))
    assert b'Apache License' in archive.read(licence)


def test_import_or_custom_imports_is_all_it_takes(wheel, tmp_path):
    site = tmp_path / 'site'
    zipfile.ZipFile(wheel).extractall(site)
    (tmp_path / 'config.py').write_text(
        'custom_imports = dict(imports=["csd_mmrazor"])\n'
    )
    code = """
        from mmengine.config import Config
        Config.fromfile('config.py')
        import csd_mmrazor
        from mmengine.hub import get_config
        from mmrazor.registry import HOOKS, MODELS
        print(csd_mmrazor.__file__)
        print(HOOKS.get('SynthesisHook'), MODELS.get('CSDDistillation'))
        path = csd_mmrazor.__path__[0] + '/.mim/configs/csd/'
        cfg = Config.fromfile(path + 'csd_resnet34_resnet18_cifar10.py')
        print(cfg.model.type)
    """
    env = {**os.environ, 'PYTHONPATH': str(site)}
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            '\n'.join(line.strip() for line in code.splitlines()),
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    lines = done.stdout.splitlines()[-3:]
    assert lines[0].startswith(str(site))
    assert lines[1].count('csd_mmrazor') == 2
    assert lines[2] == 'CSDDistillation'
    tool = site / 'csd_mmrazor/.mim/tools/train.py'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(tool), '--help'],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert '--cfg-options' in done.stdout


def test_import_beside_a_clone(tmp_path):
    """Where Python takes the folder of the clone for the package."""
    (tmp_path / 'csd_mmrazor').symlink_to(ROOT, target_is_directory=True)
    code = (
        'import gc; seen = []; '
        'gc.callbacks.append(lambda _, at: seen.append(at["generation"])); '
        'import csd_mmrazor, csd_mmrazor.models.losses as losses; '
        'print(gc.isenabled(), 2 in seen, gc.get_freeze_count()); '
        'import csd_mmrazor.cli; print(gc.get_freeze_count() > 10**5); '
        'print(csd_mmrazor.__version__, callable(csd_mmrazor.distill)); '
        'print(losses.__file__)'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    collects, frozen, version, path = done.stdout.strip().splitlines()[-4:]
    # What is imported is not looked through, in commands also at their end.
    assert (collects, frozen) == ('True False 0', 'True')
    assert version.endswith(' True')
    assert path.endswith('csd_mmrazor/csd_mmrazor/models/losses/__init__.py')
