# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which part of the package imports which, read from the sources."""

import ast
import sys

import pytest
from helpers import ROOT

PACKAGE = ROOT / 'csd_mmrazor'
# From below to above; parts of a line do not know each other.
LAYERS = (
    {'busy_cores', 'version'},
    {'command_start'},
    {'utils'},
    {'datasets', 'models'},
    {'export', 'report'},
    {'engine', 'compat'},
    {'api'},
    {'', 'env'},  # '' is the package itself
    {'cli'},
    {'__main__'},
)
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
    for path in PACKAGE.rglob('*.py')
    if '.mim' not in path.parts
}
MODULES = {name.removesuffix('.__init__'): p for name, p in MODULES.items()}


def imports(module, path):
    """Modules of the package that one imports, wherever in its code."""
    # What a dot stands for.
    package = module.split('.')
    if path.name != '__init__.py':
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level]
            base = base if node.level else []
            base = '.'.join([*base, *([node.module] if node.module else [])])
            # ``from package import module`` is the module, not its package.
            names = [
                each if (each := f'{base}.{alias.name}') in MODULES else base
                for alias in node.names
            ]
        else:
            continue
        found.update(n for n in names if n.split('.')[0] == 'csd_mmrazor')
    return found


GRAPH = {name: imports(name, path) for name, path in MODULES.items()}


def part(module):
    """The part of the package that a module belongs to."""
    return [*module.split('.'), ''][1]


def layer(module):
    return next(i for i, ls in enumerate(LAYERS) if part(module) in ls)


def test_imports_are_read():
    assert 'csd_mmrazor.utils' in GRAPH['csd_mmrazor.compat.data_files']
    assert 'csd_mmrazor.cli.train' in GRAPH['csd_mmrazor.cli.compare']
    assert (
        'csd_mmrazor.models.generators'
        in (
            GRAPH['csd_mmrazor.compat.mmrazor']  # within a function
        )
    )
    assert GRAPH['csd_mmrazor'] >= {'csd_mmrazor.compat', 'csd_mmrazor.engine'}
    for name, found in GRAPH.items():
        assert found <= MODULES.keys(), name


def test_every_part_has_its_layer():
    assert {part(name) for name in MODULES} == set().union(*LAYERS)


def test_no_import_goes_upwards():
    upwards = [
        f'{name} imports {other}'
        for name, found in GRAPH.items()
        for other in found
        if part(other) != part(name) and layer(other) >= layer(name)
    ]
    assert not upwards, '\n'.join(upwards)


def test_only_the_package_and_the_command_line_know_compat():
    users = {
        part(name)
        for name, found in GRAPH.items()
        for other in found
        if part(other) == 'compat'
    }
    assert users <= {'', 'env', 'cli', 'compat'}


def test_nothing_imports_what_imports_it():
    """No cycles between modules."""
    done, path = set(), []

    def visit(name):
        assert name not in path, ' > '.join([*path, name])
        if name not in done:
            path.append(name)
            for other in sorted(GRAPH[name]):
                visit(other)
            done.add(path.pop())

    for name in sorted(GRAPH):
        visit(name)


def test_configs_of_people_are_read_by_one_function():
    """By itself, MMEngine passes over what is misspelt or there twice."""
    users = {
        name
        for name, path in MODULES.items()
        if 'Config.fromfile(' in path.read_text(encoding='utf-8')
    }
    # The second reads what the first has been trained by.
    assert users == {
        'csd_mmrazor.utils.config_files',
        'csd_mmrazor.cli.quickstart_summary',
    }


# ``launch`` starts before the processes do, and imports nothing of ours: that
# would take seconds.
@pytest.mark.parametrize(
    'tool',
    sorted({path.stem for path in (ROOT / 'tools').glob('*.py')} - {'launch'}),
)
def test_tools_are_thin_scripts(tool):
    """The path of the clone, one import, one call."""
    text = (ROOT / f'tools/{tool}.py').read_text()
    assert len(text.splitlines()) <= 30
    tree = ast.parse(text)
    assert not [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    ours = {m for m in modules if m not in sys.stdlib_module_names}
    assert ours == {f'csd_mmrazor.cli.{tool}'}
    called = ast.unparse(tree.body[-1].body[0])
    assert called == 'main()'


def test_tests_mirror_the_package():
    folders = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    mirrored = {
        p.name.removeprefix('test_')
        for p in (ROOT / 'tests').glob('test_*')
        if p.is_dir() and any(p.rglob('test_*.py'))
    }
    assert folders <= mirrored
    assert mirrored - folders <= {'configs'}


def test_no_two_tests_have_one_name():
    """pytest imports them by it."""
    names = [path.name for path in (ROOT / 'tests').rglob('test_*.py')]
    assert len(names) == len(set(names))


def test_states_of_random_numbers_are_of_named_devices():
    """Otherwise those of all GPUs are read, which waits for each."""
    calls = [
        (module, node)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Call)
        and getattr(node.func, 'attr', '') == 'fork_rng'
    ]
    assert len(calls) > 5
    assert [m for m, call in calls if not call.args + call.keywords] == []
