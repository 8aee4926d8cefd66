# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the pages under docs/ promise: examples that run, parts that exist."""

import re
import runpy
import shlex
import shutil
import sys

import pytest
from helpers import ROOT, command
from mmengine.runner import Runner
from mmrazor import registry

import csd_mmrazor  # noqa: F401

BLOCK = re.compile(r'```python\n# (\w+\.py)\n(.*?)```', re.DOTALL)
TEXT = (ROOT / 'docs/extending.md').read_text()
# {name of the file: its content}
FILES = dict(BLOCK.findall(TEXT))
# What needs a change within the package runs in a copy of it.
PLAIN = sorted(name for name in FILES if 'quantity' not in name)
CONFIGS = [name for name in PLAIN if name.endswith('_digits.py')]
TESTS = [name for name in PLAIN if name.startswith('test_')]
OBSERVER = 'csd_mmrazor/models/synthesizers/observer.py'
RUN = """
import runpy
from mmengine.config import Config
from mmengine.runner import Runner
Runner.from_cfg(Config.fromfile('run.py')).train()
tests = runpy.run_path('test_my_quantity.py').items()
print([test() for name, test in tests if name.startswith('test_')])
"""
# Names of earlier releases, and what they are called today.
ALIASES = dict(QuartersTask='HalfShiftTask', BlankImages='DummyImages')


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with configs/ and the files of docs/extending.md."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules, registered = set(sys.modules), {}
    for kind in (registry.MODELS, registry.TASK_UTILS):
        registered[kind] = dict(kind.module_dict)
    yield tmp_path
    # Other tests see the parts neither as modules nor as registered.
    for name in set(sys.modules) - modules:
        if f'{name}.py' in FILES:
            del sys.modules[name]
    for kind, parts in registered.items():
        for name in set(kind.module_dict) - set(parts):
            del kind.module_dict[name]


@pytest.mark.parametrize('name', CONFIGS)
def test_the_configs_of_extending_train(name, clone, tiny_config):
    cfg = tiny_config(config=clone / name)
    Runner.from_cfg(cfg).train()
    scalars = next(clone.glob('run/*/vis_data/scalars.json')).read_text()
    losses = cfg.default_hooks.synthesis.synthesizer.losses
    for loss in losses:
        assert f'synthesis/{loss}"' in scalars


@pytest.mark.parametrize('name', TESTS)
def test_the_tests_of_extending_pass(name, clone):
    tests = [
        value
        for key, value in runpy.run_path(clone / name).items()
        if key.startswith('test_')
    ]
    assert tests
    for test in tests:
        test()


def test_a_test_in_the_root_of_a_clone(tmp_path, run):
    """Which is called as the package is, and has an ``__init__.py``."""
    root = tmp_path / 'csd_mmrazor'
    shutil.copytree(
        *(ROOT / 'csd_mmrazor', root / 'csd_mmrazor'),
        ignore=shutil.ignore_patterns('__pycache__', '.mim'),
    )
    shutil.copy(ROOT / '__init__.py', root)
    for name in ('my_losses.py', 'test_my_losses.py'):
        (root / name).write_text(FILES[name])
    _, *words = command('docs/extending.md', '-m pytest')
    start = shlex.join([sys.executable, *words])
    done = run('bash', '-c', f'cd csd_mmrazor && {start}', PYTHONPATH='')
    assert '1 passed' in done.stdout


def test_a_quantity_for_losses(clone, tiny_config, run):
    ignored = shutil.ignore_patterns('__pycache__', '.mim')
    shutil.copytree(
        ROOT / 'csd_mmrazor', clone / 'csd_mmrazor', ignore=ignored
    )
    (method,) = re.findall(
        f'```python\n# {OBSERVER}\nclass Observation:\n    ...\n(.*?)```',
        TEXT,
        re.DOTALL,
    )
    before, end, after = (
        (clone / OBSERVER).read_text().partition('\n\nQUANTITIES: ')
    )
    assert end
    (clone / OBSERVER).write_text(before + method + end + after)
    tiny_config(config=clone / 'my_quantity_digits.py').dump('run.py')
    done = run(sys.executable, '-c', RUN, PYTHONPATH=str(clone))
    assert done.stdout.strip().endswith('[None, None]')
    scalars = next(clone.glob('run/*/vis_data/scalars.json')).read_text()
    assert '"synthesis/loss_mistake"' in scalars


def test_extending_has_an_example_of_each_kind():
    assert len(CONFIGS) == len(TESTS) == 4


def design(title):
    text = (ROOT / 'docs/design.md').read_text()
    return text.split(f'## {title}\n')[1].split('\n## ')[0]


@pytest.mark.parametrize('title', ['Where do I find', 'Package layout'])
def test_the_paths_of_the_design_exist(title):
    section = design(title)
    paths = re.findall(r'`([\w.-]*/[\w./-]*)`', section)
    paths += re.findall(r'^\| `(\w+)` \|', section, re.MULTILINE)
    assert len(paths) > 10
    for path in paths:
        module = f'{path.rstrip("/")}.py'
        assert any(
            (ROOT / folder / name).exists()
            for folder in ('', 'csd_mmrazor')
            for name in (path, module)
        ), path


def test_the_names_of_the_design_are_where_it_says():
    checked = 0
    for row in design('Where do I find').splitlines():
        files = re.findall(r'`([\w/]+\.py)`', row)
        names = re.findall(r'`(?:[A-Z]\w+\.)?([A-Z]\w+|\w+)`', row)
        names = [n for n in names if n[0].isupper() or f'.{n}`' in row]
        text = ''.join(
            (ROOT / 'csd_mmrazor' / file).read_text() for file in files
        )
        for name in names if files else ():
            assert re.search(f'(class|def) {name}\\b', text), row
            checked += 1
    assert checked >= 4


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text().split()) <= 900


def test_every_registered_part_is_listed():
    text = (ROOT / 'docs/parts.md').read_text()
    listed = set(re.findall(r'`(\w+)`', text))
    ours = {
        name
        for kind in vars(registry).values()
        if hasattr(kind, 'module_dict')
        for name, part in kind.module_dict.items()
        if part.__module__.startswith('csd_mmrazor.')
    }
    assert len(ours) > 30
    assert {ALIASES.get(name, name) for name in ours} <= listed


@pytest.mark.parametrize(
    'page',
    [
        path.relative_to(ROOT)
        for path in [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
        if re.search(r'^\|.*\btop-?1\b', path.read_text(), re.MULTILINE)
    ],
    ids=str,
)
def test_tables_say_which_student_they_are_of(page):
    """The last one, the running mean, or one that was chosen, and how."""
    text = (ROOT / page).read_text()
    known = r'last\s+epoch|last\s+step|is chosen|mean of its weights'
    start, *sections = re.split(r'^## ', text, flags=re.MULTILINE)
    for section in [start, *sections]:
        heads = re.findall(r'^(\|.*\n)\| ---', section, re.MULTILINE)
        if any(re.search(r'\btop-1\b', head) for head in heads):
            assert re.search(known, start + section), (page, heads)


def test_the_theme_of_the_site(forked, tmp_path):
    """On a page of its own: run_tests.sh builds all of them without it."""
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs/page.md').write_text('# A page\n\nSome text.\n')
    done = forked(
        *('-W', '-q', '-c', ROOT / 'docs', '-D', 'root_doc=page'),
        *('docs', 'site'),
        module='sphinx',
    )
    assert done.status == [0], done.output[-3000:]
    page = (tmp_path / 'site/page.html').read_text()
    assert 'Some text.' in page and 'furo' in page
