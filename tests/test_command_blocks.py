# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Every command in the pages is run by a test, or says why it is not."""

import re
from pathlib import Path

import pytest
from helpers import ROOT, command, command_blocks

PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted(
        (
            *ROOT.glob('*.md'),
            *ROOT.glob('docs/**/*.md'),
            *ROOT.glob('configs/**/*.md'),
        )
    )
]
BLOCKS = [
    pytest.param(*block, id=f'{page} {number}')
    for page in PAGES
    for number, block in enumerate(command_blocks(page))
]


@pytest.mark.parametrize('comment, block', BLOCKS)
def test_each_is_run_or_says_why_not(comment, block):
    kind, _, text = comment.partition(': ')
    assert kind in ('run by', 'not run'), (
        'Write <!-- run by: tests/PATH.py::TEST --> or <!-- not run: REASON '
        f'--> right above\n{block}'
    )
    if kind == 'not run':
        assert len(text.split()) > 2
        # A reason may name a test of something smaller.
        tests = re.findall(r'tests/[\w/]+\.py', text)
    else:
        tests = text.split()
        assert tests
    for test in tests:
        path, _, name = test.partition('::')
        assert not name or f'\ndef {name}(' in (ROOT / path).read_text()
        assert (ROOT / path).is_file()


@pytest.mark.parametrize('comment, block', BLOCKS)
def test_what_each_names_is_there(comment, block):
    """Tools and configs, also of those that are not run."""
    named = re.findall(r'\b((?:tools|configs)/[\w./-]+\.\w+)', block)
    assert [n for n in named if '$' not in n and not (ROOT / n).exists()] == []


def test_the_readmes_commands_start_alike():
    """The first two options of the README belong to the same command."""
    full = command('README.md', 'ckpt_path=resnet34.pth')
    cut = command('README.md', 'init_rounds=2')
    assert full[:4] == cut[:4]
    assert full[1:3] == [
        'tools/train.py',
        'configs/csd/csd_resnet34_resnet18_cifar10.py',
    ]
    assert full[3] == '--cfg-options' and all('=' in o for o in full[4:])


def test_studies_of_the_pages_are_made_anew():
    """Rows of the repository would count, and so would another list's runs."""
    texts = [block for page in PAGES for _, block in command_blocks(page)]
    texts += [
        re.sub(r'^# *', '', path.read_text(), flags=re.MULTILINE)
        for path in ROOT.glob('docs/**/*.yml')
    ]
    commands = re.findall(
        r'tools/(compare|label_free)\.py (.*)',
        '\n'.join(texts).replace('\\\n', ' '),
    )
    assert {tool for tool, _ in commands} == {'compare', 'label_free'}
    lists = {}
    for tool, rest in commands:
        assert re.search(r'--out work_dirs/', rest) or '--out' not in rest
        if tool == 'compare':
            path = Path(rest.split()[0])
            default = f'work_dirs/compare/{path.stem}'
            given = re.search(r'--work-dir (\S+)', rest)
            work_dir = given[1] if given else default
            assert lists.setdefault(work_dir, path) == path
