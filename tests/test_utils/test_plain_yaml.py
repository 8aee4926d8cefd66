# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from helpers import ROOT

from csd_mmrazor.utils.plain_yaml import parse_yaml

LISTS = sorted(ROOT.glob('docs/**/*.yml'))


@pytest.mark.parametrize('path', LISTS, ids=lambda path: path.name)
def test_the_lists_of_the_studies_are_read(path):
    found = parse_yaml(path.read_text(encoding='utf-8'))
    assert found.get('methods') or found.get('tasks')


def test_what_is_merged_may_have_the_same_names():
    text = 'a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}\nc: {<<: [*a], x: 3, =: 4}'
    assert parse_yaml(text) == dict(
        a=dict(x=1, y=1), b=dict(x=1, y=2), c={'x': 3, 'y': 1, '=': 4}
    )


@pytest.mark.parametrize(
    'text, name',
    [
        ('x: 1\nx: 2', 'x'),
        ('a: &a {x: 1}\nb: {<<: *a, x: 2, x: 3}', 'x'),
        ('a: &a {x: 1}\nb: {<<: *a, <<: *a}', '<<'),
        ('1: 2\n0x1: 3', '1'),
    ],
)
def test_names_that_stand_twice(text, name):
    with pytest.raises(ValueError, match=f'^{name} is there twice'):
        parse_yaml(text)
