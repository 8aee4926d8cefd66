# Copyright (c) csd_mmrazor developers. All rights reserved.
import io
import json
import re
import struct
from types import SimpleNamespace

import pytest
import torch
from helpers import build, network
from safetensors.torch import load_file as load_by_library
from torch import nn

from csd_mmrazor.cli.run_source import network_of
from csd_mmrazor.models.utils import build_teacher, load_weights
from csd_mmrazor.utils import CheckpointError, load_file, write_safetensors


def raw(header, data=b'', length=None):
    """A file of safetensors, byte by byte."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + (
        text + data
    )


def entry(dtype='F32', shape=(2,), offsets=(0, 8)):
    return dict(dtype=dtype, shape=[*shape], data_offsets=[*offsets])


def test_what_is_written_is_read_by_anyone(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    weights = dict(
        tied=base,
        transposed=base.t(),
        part=base[:, 1:3],
        count=torch.tensor(7),
        none=torch.zeros(0, 4),
        half=torch.randn(3).bfloat16(),
        flags=torch.tensor([True, False]),
        also_tied=nn.Parameter(base),
    )
    path = tmp_path / 'a.safetensors'
    path.write_bytes(write_safetensors(weights))
    for found in (load_file(path), load_by_library(path)):
        assert found.keys() == weights.keys()
        for name, value in weights.items():
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
    # Each has its own memory, which can be written to.
    found = load_file(str(path))
    found['tied'].zero_()
    assert torch.equal(found['also_tied'], base)
    # Whatever its name.
    renamed = io.BytesIO(path.read_bytes())
    assert torch.equal(load_file(renamed)['transposed'], base.t())


@pytest.mark.parametrize(
    'value, what',
    [
        (b'state', 'bytes'),
        (None, 'NoneType'),
        (torch.eye(3).to_sparse(), 'torch.sparse_coo tensor'),
        (
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            'tensor of torch.qint8',
        ),
    ],
)
def test_what_cannot_be_written(value, what):
    with pytest.raises(ValueError, match=f'but layer._extra is a .*{what}'):
        write_safetensors({'weight': torch.ones(2), 'layer._extra': value})


WHOLE = raw(dict(a=entry()), b'\0' * 8)


@pytest.mark.parametrize(
    'content',
    {
        'empty': b'',
        'shorter than a length': WHOLE[:5],
        'cut in the header': WHOLE[:30],
        'cut in the numbers': WHOLE[:-1],
        'longer': WHOLE + b'\0',
        'no header': raw(b''),
        'header beyond the file': raw(dict(a=entry()), b'\0' * 8, 10**6),
        'header of exabytes': raw(dict(a=entry()), b'\0' * 8, 2**63 - 1),
        'header below zero': raw(dict(a=entry()), b'\0' * 8, 2**64 - 1),
        'no JSON': raw(b'{"a": ', b'\0' * 8),
        'no mapping': raw([1, 2], b'\0' * 8),
        'no UTF-8': raw(b'{"\xff": 1}', b'\0' * 8),
        'deep': raw(b'{"a":' * 20_000, b''),
        'another length': raw(dict(a=entry(shape=(3,))), b'\0' * 8),
        'shape beyond memory': raw(dict(a=entry(shape=(2**40,))), b'\0' * 8),
        'shape that overflows': raw(
            dict(a=entry(shape=(2**32, 2**32, 2))), b'\0' * 8
        ),
        'negative shape': raw(dict(a=entry(shape=(-2,))), b'\0' * 8),
        'unknown numbers': raw(dict(a=entry('F33')), b'\0' * 8),
        'overlapping': raw(dict(a=entry(), b=entry()), b'\0' * 8),
        'offsets beyond': raw(dict(a=entry(offsets=(8, 16))), b'\0' * 8),
        'offsets backwards': raw(dict(a=entry(offsets=(8, 0))), b'\0' * 8),
        'metadata of lists': raw(
            {'__metadata__': {'a': [1]}, 'a': entry()}, b'\0' * 8
        ),
        'pickle': b'\x80\x02}q\x00.',
    }.items(),
    ids=lambda pair: pair[0].replace(' ', '_'),
)
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / 'w.safetensors'
    path.write_bytes(content[1])
    with pytest.raises(CheckpointError, match='w.safetensors is not a file'):
        load_file(path)
    argument = 'model.teachers.teacher.ckpt_path'
    with pytest.raises(CheckpointError, match=re.escape(f'{argument}: ')):
        load_weights(build(network()), str(path), argument)


def test_what_a_file_says_of_itself_is_not_looked_at(tmp_path):
    told = {'format': 'np', 'a': '__import__("os").abort()', 'shape': '[9]'}
    path = tmp_path / 'w.safetensors'
    path.write_bytes(raw({'__metadata__': told, 'a': entry()}, b'\0' * 8))
    assert [*load_file(path)] == ['a']


@pytest.fixture
def files(tmp_path):
    """A network, and its weights by themselves and as a run has them."""
    net = build(network())
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    state = net.state_dict()
    for name, prefix in (('net', ''), ('of_run', 'architecture.')):
        content = write_safetensors({prefix + k: v for k, v in state.items()})
        (tmp_path / f'{name}.safetensors').write_bytes(content)
    return net, tmp_path


def same(net, other):
    other = other.state_dict()
    return all(torch.equal(v, other[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize('name', ['net', 'of_run'])
def test_loaded_wherever_a_checkpoint_is(files, name, tiny_config):
    net, folder = files
    path = str(folder / f'{name}.safetensors')
    # ckpt_path of a teacher
    cfg = dict(build_cfg=network(), ckpt_path=path, _scope_='mmrazor')
    assert same(net, build_teacher('teacher', cfg))
    # student_ckpt
    cfg = tiny_config()
    cfg.model.student_ckpt = path
    model = build(cfg.model)
    model.init_weights()
    assert same(net, model.architecture)
    # --model FILE of quantize
    run = SimpleNamespace(cfg=tiny_config())
    assert same(net, network_of(path, run))


def test_init_cfg_and_load_from(files, tiny_runner):
    net, folder = files
    path = str(folder / 'net.safetensors')
    own = build(
        dict(network(), init_cfg=dict(type='Pretrained', checkpoint=path))
    )
    own.init_weights()
    assert same(net, own)
    runner = tiny_runner()
    state = runner.model.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.add_(1)
    whole = folder / 'run.safetensors'
    whole.write_bytes(write_safetensors(state))
    other = tiny_runner('other')
    other._load_from = str(whole)
    other.load_or_resume()
    assert same(runner.model, other.model)
    # What is no whole run is refused by name, as ever.
    other = tiny_runner('third')
    other._load_from = path
    with pytest.raises(CheckpointError, match='load_from=.*student_ckpt'):
        other.load_or_resume()
    other._load_from, other._resume = str(whole), True
    with pytest.raises(CheckpointError, match='has no message_hub and no me'):
        other.load_or_resume()


def test_types_that_the_format_has_not():
    with pytest.raises(ValueError, match='no tensors of torch.complex128'):
        write_safetensors(dict(a=torch.zeros(2, dtype=torch.complex128)))
