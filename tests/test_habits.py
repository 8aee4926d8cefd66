# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What stands in two files is the same in both."""

import re

import pytest
import yaml
from helpers import ROOT

from csd_mmrazor import __version__

PINNED = dict(
    line.split('==')
    for line in (ROOT / 'requirements/tests.txt').read_text().split()
)
PYTHONS = ('3.11', '3.12')


def load(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_pre_commit_has_the_same_ruff():
    (ruff,) = (
        repo
        for repo in load('.pre-commit-config.yaml')['repos']
        if repo['repo'].endswith('/ruff-pre-commit')
    )
    assert ruff['rev'] == f'v{PINNED["ruff"]}'


def test_the_workflow_runs_what_checks_a_commit():
    (job,) = load('.github/workflows/ci.yml')['jobs'].values()
    assert tuple(job['strategy']['matrix']['python']) == PYTHONS
    commands = [step['run'] for step in job['steps'] if 'run' in step]
    assert commands == ['.ci/run']
    for version in PYTHONS:  # which the set-up looks for
        assert version in (ROOT / 'tools/environment.sh').read_text()


@pytest.mark.parametrize('name', ['bug_report', 'results', 'feature_request'])
def test_issues_ask_for_the_environment(name):
    body = load(f'.github/ISSUE_TEMPLATE/{name}.yml')['body']
    (env,) = (field for field in body if field.get('id') == 'env')
    asked = env['attributes']['description']
    assert 'python -m csd_mmrazor.env' in asked
    required = env.get('validations', {}).get('required', False)
    assert required == (name != 'feature_request')


def test_the_version_is_the_same_everywhere():
    assert load('CITATION.cff')['version'] == __version__
    changelog = (ROOT / 'CHANGELOG.md').read_text()
    released = re.findall(r'^## (\d\S*) - (\S+)$', changelog, re.M)
    assert released[0] == (
        __version__,
        load('CITATION.cff')['date-released'],
    )


def test_styles_and_types_are_checked_for_the_oldest_python():
    tool = (ROOT / 'pyproject.toml').read_text()
    setup = (ROOT / 'setup.cfg').read_text()
    (oldest,) = re.findall(r'^python_requires = >=3\.(\d+)$', setup, re.M)
    assert f'\ntarget-version = "py3{oldest}"\n' in tool
    assert '\n[tool.mypy]\n' in tool and '\nstrict = true\n' in tool
    (width,) = re.findall(r'^line-length = (\d+)$', tool, re.M)
    editor = (ROOT / '.editorconfig').read_text()
    assert f'max_line_length = {width}\n' in editor
