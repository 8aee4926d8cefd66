# Copyright (c) csd_mmrazor developers. All rights reserved.
import errno
import signal
import sys

import pytest
from mmengine.config import Config

from csd_mmrazor.cli import quantize, train
from csd_mmrazor.cli.errors import concise_errors


@pytest.fixture(autouse=True)
def _ctrl_c_as_before():
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


SCHEDULE = 'param_scheduler.architecture'


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {f'{SCHEDULE}.begin': 5, f'{SCHEDULE}.end': 2},
            'ValueError: end should be larger .*\nCheck param_scheduler of',
        ),
        (
            {
                f'{SCHEDULE}.type': 'CosineRestartLR',
                f'{SCHEDULE}.periods': [2],
            },
            'AssertionError: assert .eta_min .*\nCheck param_scheduler of',
        ),
        ({'val_dataloader.batch_size': 0}, 'batch_size=0\nCheck val_datalo'),
        ({'log_level': 'LOUD'}, 'KeyError: LOUD\nCheck log_level of the con'),
        # Said already.
        (
            {'optim_wrapper.architecture.optimizer.type': 'SDG'},
            r'^\nValueError: optim_wrapper[^\n]*$',
        ),
    ],
)
def test_the_section_is_named(tiny_runner, options, message):
    with pytest.raises(SystemExit, match=message), concise_errors():
        tiny_runner(**options).train()


@pytest.mark.parametrize(
    'error, expected',
    [
        (
            KeyError('Soft is not in the a::task util registry. Are'),
            'a.1.type',
        ),
        (
            TypeError("ours() got an unexpected keyword argument 'tua'"),
            'a.0.t',
        ),
        (
            ValueError('x: KeyError: Soft is not in the a registry.'),
            'a.1.type',
        ),
        # Said already, of too many, and of none.
        (TypeError("a[0].tua: f has no argument 'tua'."), None),
        (TypeError("f has no argument 'n'."), None),
        (TypeError("f has no argument 'm'."), None),
    ],
)
def test_the_place_in_the_config(error, expected):
    many = [dict(n=1)] * 4
    cfg = Config(dict(a=[dict(tua=1), dict(type='Soft')], b=many))
    with pytest.raises(SystemExit) as ended, concise_errors():
        assert cfg  # as the programs have it
        raise error
    line = str(ended.value).splitlines()[-1]
    if expected is None:
        assert 'In the config' not in str(ended.value)
    else:
        place = f'a[{expected[2]}].{expected[4:]}'
        assert line.startswith(f'In the config: {place}')


@pytest.mark.parametrize('main', [train.main, quantize.main])
def test_a_full_disk_tells_what_the_command_has(main, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'full', 'a.pth')

    module = sys.modules[main.__module__]
    monkeypatch.setattr(module, 'parse_args', full)
    with pytest.raises(SystemExit) as ended:
        main()
    hint = str(ended.value).splitlines()[-1]
    assert hint.startswith('Existing files are intact: free some space, and ')
    end = 'give the same command again.'
    if module is train:
        end = 'continue with --resume.'
    assert hint.endswith(end)


def test_an_error_without_words():
    with pytest.raises(SystemExit, match='KeyError: raise KeyError'):
        with concise_errors():
            raise KeyError


def test_names_of_others_command_no_terminal():
    with pytest.raises(SystemExit, match='ValueError: class red a$'):
        with concise_errors():
            raise ValueError('class \x1b[31mred\x1b[0m \x08a')
