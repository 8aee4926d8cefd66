# Copyright (c) csd_mmrazor developers. All rights reserved.
import math

import pytest
from mmengine.config import Config

from csd_mmrazor.utils import config_of_checkpoint, parse_config


def test_what_mmengine_writes_is_read_as_it_was(tiny_config):
    content = dict(
        a=1,
        b=-1.5e-3,
        c='x = __import__("os")\n\'"',
        d=[1, (2,), [dict(e=None), ()]],
        f={'with.dot': dict(g=True), 'h': 2, 3: {'i-j': []}},
        k={1, 2},
        m=b'bytes',
        n=float('inf'),
        o=-float('inf'),
        p=dict(),
    )
    assert parse_config(Config(content).pretty_text) == content
    assert math.isnan(parse_config('a=nan')['a'])
    cfg = tiny_config()
    assert parse_config(cfg.pretty_text) == cfg.to_dict()
    assert config_of_checkpoint(dict(cfg=cfg.pretty_text)) == cfg.to_dict()


@pytest.mark.parametrize(
    'text',
    [
        "a=__import__('os').system('touch PWNED')",
        'import os',
        "_base_ = dict(a=open('PWNED', 'w'))",
        "_base_ = '../base.py'",
        "a=dict(b=[open('PWNED', 'w')])",
        "a={'b': open('PWNED', 'w')}",
        'a=dict(**open)',
        'a={**open}',
        "a=dict([open('PWNED', 'w')])",
        "a=f'{open}'",
        "a=[open('PWNED', 'w') for _ in (1,)]",
        "a=(lambda: open('PWNED', 'w'))()",
        "a=1 if open('PWNED', 'w') else 2",
        "a=(b:=open('PWNED', 'w'))",
        "a: open('PWNED', 'w') = 1",
        "with open('PWNED', 'w'): a=1",
        'def dict(): pass',
        "{{ fileBasename }}=open('PWNED', 'w')",
        'a=2**10**10',
        'a=-True',
        'a, b = 1, 2',
        'a.b = 1',
        'a=dict(1)',
        'a={[]: 1}',
        'a={{}}',
        'a=1 +',
        'a=' + '(' * 10_000,
        'a=' + '-' * 100_000 + '1',
        'a=' + '1+' * 100_000 + '1',
        'a=0' + '0' * 2_000_000,
        'a=\0',
        b'a=1',
        7,
    ],
    ids=lambda text: str(text)[:30],
)
def test_nothing_else_is_run_or_read(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='is not'):
        parse_config(text)
    assert config_of_checkpoint(dict(cfg=text)) is None
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('meta', [{}, None, dict(cfg=None)])
def test_a_checkpoint_without_config_has_none(meta):
    assert config_of_checkpoint(meta) is None
