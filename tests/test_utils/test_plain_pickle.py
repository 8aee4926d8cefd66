# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is read of a checkpoint, and what is refused."""

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, UserList
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

from csd_mmrazor.utils import (
    CheckpointError,
    load_file,
    load_pickle,
    plain_pickle,
    verify_archive,
)

FUZZ = Path(__file__).parents[1] / 'fuzz_checkpoints.py'
FORMATS = [True, False]  # of torch >= 1.6, and before


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def equal(a, b):
    """Equal in value, type, shape, strides and what hangs on it."""
    if type(a) is not type(b):
        return False
    if isinstance(a, HistoryBuffer):
        return a.max_length == b.max_length and equal(a.data, b.data)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tolist() == b.tolist()
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and (
            a.dtype,
            a.stride(),
            a.requires_grad,
            a.storage_offset(),
        ) == (b.dtype, b.stride(), b.requires_grad, b.storage_offset())
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(equal(a[key], b[key]) for key in a)
            and getattr(a, '_metadata', 0) == getattr(b, '_metadata', 0)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def several():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    )
    # Its state dict has the versions of a hook.
    torch.nn.utils.spectral_norm(net[0])
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    hub = MessageHub('several')
    for step in range(3):
        hub.update_scalar('loss', step / 2)
    base = torch.arange(24)
    return dict(
        plain=[None, True, -1, 2.5, 1 << 70, 'ä\n', b'\xff\0', (), (1,), {2}],
        more=[bytearray(b'a'), b'', 3j, Counter({3: 1}), {1.5: {}, None: []}],
        net=net.state_dict(),
        whole=OrderedDict(net.named_parameters()),
        optimizer=optimizer.state_dict(),
        hub=hub.state_dict(),
        views=[base[3:], base.view(4, 6).t(), base[:0], torch.tensor(7)],
        repeated=torch.ones(1).expand(5, 5),
        dtypes=[
            torch.ones(3).to(dtype)
            for dtype in (
                torch.bfloat16,
                torch.float16,
                torch.float64,
                torch.complex64,
                torch.bool,
                torch.uint8,
                torch.int16,
            )
        ],
        named=[torch.float32, torch.Size((1, 2)), torch.device('cuda', 0)],
        arrays=[
            np.arange(6).astype(code).reshape(2, 3).T
            for code in 'bhiqBHIQefd?'
        ],
        scalars=[np.float64(1), np.int64(2), np.bool_(True), np.dtype('f4')],
        texts=np.array(['a', 'bcd']),
    )


@pytest.mark.parametrize('new', FORMATS)
def test_data_is_read_as_torch_reads_it(new, tmp_path):
    value = several()
    torch.save(value, 'a.pth', _use_new_zipfile_serialization=new)
    expected = torch.load('a.pth', weights_only=False)
    opened = io.BytesIO(Path('a.pth').read_bytes())
    for file in ('a.pth', tmp_path / 'a.pth', opened):
        found = load_file(file)
        for name in expected:
            assert equal(found[name], expected[name]), name
    # What shared its memory still does.
    views = found['views']
    views[0][0] = 99
    assert views[1][3, 0] == 99
    # torch is left as it is: no class was declared safe.
    if hasattr(torch.serialization, 'get_safe_globals'):
        safe = torch.serialization.get_safe_globals()
        named = {item[0] if type(item) is tuple else item for item in safe}
        assert not named & {np.dtype, np.ndarray, HistoryBuffer}


@pytest.mark.parametrize('new', FORMATS)
def test_arguments_of_scripts_become_plain(new):
    """Scripts of torchvision and timm save theirs beside the weights."""
    args = Namespace(lr=0.1, out=Path('runs/a'), inner=Namespace(), nets=[1])
    value = dict(model=dict(w=torch.ones(2)), args=args, again=args)
    torch.save(value, 'a.pth', _use_new_zipfile_serialization=new)
    found = load_file('a.pth')
    plain = dict(lr=0.1, out=os.path.join('runs', 'a'), inner={}, nets=[1])
    assert found['args'] == plain and found['again'] is found['args']
    assert type(found['args']) is dict
    assert torch.equal(found['model']['w'], torch.ones(2))


LISTS = {'collections.UserList': UserList}


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_pickles_are_read_as_pickle_reads_them(protocol):
    value = several()
    # Plain pickles of these name classes of torch or of Python.
    for name in ('whole', 'named', 'more'):
        value.pop(name)
    shared = [1]
    value.update(
        again=[shared, shared],
        lists=UserList([UserList(shared), {2}, set()]),
        long='a' * 300,
        bytes=b'b' * 300,
        empty=np.zeros((0, 3)),
        by_columns=np.asfortranarray(np.ones((2, 3))),
        number=1 << 3000,
    )
    code = pickle.dumps(value, protocol)
    found = load_pickle(io.BytesIO(code), 'a.pkl', LISTS)
    expected = pickle.loads(code)
    assert found.keys() == expected.keys()
    for name in expected:
        assert equal(found[name], expected[name]), name
    assert found['again'][0] is found['again'][1]
    assert found['by_columns'].flags.f_contiguous
    with pytest.raises(CheckpointError, match='collections.UserList'):
        load_pickle(io.BytesIO(code), 'a.pkl')


class Made:
    """Pickled as what is given: a call, and a state."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def archive(code, numbers=(), **members):
    """A file of torch's whose pickle is ``code``."""
    with zipfile.ZipFile('a.pth', 'w') as file:
        file.writestr('a/data.pkl', code)
        for key, data in enumerate(numbers):
            file.writestr(f'a/data/{key}', data)
        for name, data in members.items():
            file.writestr(name, data)


ONES = b'X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t'
FLOAT = b'cnumpy\ndtype\nX\x02\0\0\0f8K\0K\x01\x87Rq\x01(K\x03' + ONES + b'b'
ARRAY = (
    b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85X\x01\0\0'
    b'\0b\x87R(K\x01K\x01\x85' + FLOAT + b'\x89c_codecs\nencode\nX\x08\0\0\0'
    b'\0\0\0\0\0\0\0\0X\x06\0\0\0latin1\x86Rtb'
)
TENSOR = (
    b'ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n'
    b'FloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu%stQ%s%s%s\x89ccollections\n'
    b'OrderedDict\n)RtR.'
)
PICKLES = {
    'dtype bent': b']' + ARRAY + b'ah\x01(K\x03X\x01\0\0\0>NNNJ\xff\xff\xff'
    b'\xffJ\xff\xff\xff\xffK\x3ftba.',
    'dtype of objects': b'cnumpy\ndtype\nX\x02\0\0\0O8K\0K\x01\x87R.',
    'dtype with fields': b'cnumpy\ndtype\nX\x02\0\0\0V8K\0K\x01\x87R.',
    'array twice': ARRAY + b'(K\x01K\0\x85h\x01\x89tb.',
    'array larger': ARRAY.replace(b'K\x01\x85', b'K\x02\x85', 1) + b'.',
    'array negative': ARRAY.replace(b'K\x01\x85', b'J\xff\xff\xff\xff\x85', 1)
    + b'.',
    'class in place of data': b'}X\x01\0\0\0acnumpy\nndarray\ns.',
    'function in place of data': b'}X\x01\0\0\0acnumpy\ndtype\ns.',
    'a state of a class': b'ccollections\nOrderedDict\n}X\x04\0\0\0keysNsb.',
    'items of a class': b'ccollections\nOrderedDict\nX\x01\0\0\0aNs.',
    'items of a counter': b'ccollections\nCounter\n}\x85RX\x01\0\0\0aNs.',
    'a torch class': b'ctorch\nTensor\n)R.',
    'Tensor._rebuild': b'ctorch._tensor\n_rebuild_from_type_v2\n)R.',
    'sparse': b'ctorch._utils\n_rebuild_sparse_tensor\n)R.',
    'storage 10x': TENSOR % (b'K\x64', b'K\0', b'K\x01\x85', b'K\x01\x85'),
    'tensor 10x': TENSOR % (b'K\x0a', b'K\0', b'K\x64\x85', b'K\x01\x85'),
    'offset': TENSOR % (b'K\x0a', b'K\x0a', b'K\x01\x85', b'K\x01\x85'),
    'negative offset': TENSOR
    % (b'K\x0a', b'J\xff\xff\xff\xff', b'K\x01\x85', b'K\x01\x85'),
    'stride': TENSOR % (b'K\x0a', b'K\0', b'K\x0a\x85', b'K\x02\x85'),
    'negative size': TENSOR
    % (b'K\x0a', b'K\0', b'J\xff\xff\xff\xff\x85', b'K\x01\x85'),
    'endless': TENSOR
    % (b'K\x0a', b'K\0', b'J\xff\xff\xff\x7f\x85', b'K\0\x85'),
    'overflowing': TENSOR
    % (
        b'K\x0a',
        b'K\0',
        b'\x8a\x08' + b'\xff' * 7 + b'\x3fK\x0aK\0\x87',
        b'K\0K\0K\0\x87',
    ),
    'another storage': TENSOR.replace(b'\x000X', b'\x001X')
    % (b'K\x0a', b'K\0', b'K\x01\x85', b'K\x01\x85'),
    'a reference of its own': b'(X\x06\0\0\0modulecnumpy\ndtype\nNNtQ.',
    'in itself': b']q\0h\0a.',
    'deep': b']' * 1000 + b'a' * 999 + b'.',
    'laughs': b'](Nq\0'
    + b''.join(b'(' + b'h%c' % i * 10 + b'lq%c' % (i + 1) for i in range(9))
    + b'e.',
    'doubled': b']q\0('
    + b'N' * 10
    + b'e'
    + b''.join(b']q%c(' % (i + 1) + b'h%c' % i * 10 + b'e' for i in range(9))
    + b'].',
    'without end': b']',
    'after its end': b'NN.',
    'without values': b'R.',
    'another protocol': b'\x80\x04\x8c\x05posix\x8c\x06system\x93.',
    'an instance': b'(iposix\nsystem\n.',
    'an object': b'(cposix\nsystem\nX\x01\0\0\0ao.',
    'a list as key': b'}]Ns.',
    'a deep key': b'})' + b'\x85' * 100_000 + b'Ns.',
    'a set of lists': b'c__builtin__\nset\n](]e\x85R.',
    'names of arguments': b'cargparse\nNamespace\n)\x81}K\1Nsb.',
    'arguments twice': b'cargparse\nNamespace\n)\x81}b}b.',
    'arguments of a class': b'cargparse\nNamespace\n}X\x01\0\0\0aNsb.',
    'arguments in themselves': b'cargparse\nNamespace\n)\x81q\0}X\x01\0\0'
    b'\0ah\0sb.',
    'a path': b'cpathlib\nPosixPath\nK\1\x85R.',
    'a class of paths': b'cpathlib\nPosixPath\n.',
    'bytes': b'cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.',
}


def test_crafted_pickles_are_whole_otherwise():
    archive(ARRAY + b'.')
    assert load_file('a.pth').tolist() == [0]
    code = TENSOR % (b'K\x0a', b'K\x02', b'K\x04\x85', b'K\x02\x85')
    archive(code, [np.arange(10, dtype='f4').tobytes()])
    assert load_file('a.pth').tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize('name', PICKLES)
def test_crafted_pickles_are_refused(name):
    archive(PICKLES[name], [bytes(40)])
    with pytest.raises(CheckpointError, match='a.pth (is not loaded|was cut)'):
        load_file('a.pth')


def made():
    counter = Made(Counter, (), dict(update=None))
    ordered = Made(OrderedDict, (), dict(items=None))
    tensor = Made(
        torch._tensor._rebuild_from_type_v2,
        (torch.ones, torch.Tensor, (1,), dict(numpy=None)),
    )
    history = Made(HistoryBuffer, (), dict(mean=None))
    return {
        'os.mkdir': Made(os.mkdir, ('PWNED',)),
        'eval': Made(eval, ("open('PWNED', 'w')",)),
        'getattr': Made(getattr, (OrderedDict, 'update')),
        'method': Made(getattr, (HistoryBuffer, '__init__')),
        'own class': Fraction(1),
        'namespace': Made(Namespace, (), dict(a=1)),
        'path': Made(type(Path()), (Made(eval, ("open('PWNED', 'w')",)),)),
        'arguments': Namespace(net=torch.nn.Linear(1, 1)),
        'module': torch.nn.Linear(1, 1),
        'function': torch.ones,
        'class': Counter,
        'objects': np.array([{}]),
        'sparse': torch.eye(2).to_sparse(),
        'counter': counter,
        'ordered': ordered,
        'tensor': tensor,
        'history': history,
    }


@pytest.mark.parametrize('name', made())
@pytest.mark.parametrize('new', FORMATS)
def test_whatever_is_not_data_is_refused(name, new):
    value = made()[name]
    for content in (value, dict(state_dict=[value])):
        torch.save(content, 'a.pth', _use_new_zipfile_serialization=new)
        with pytest.raises(CheckpointError, match='a.pth is not loaded'):
            CheckpointLoader.load_checkpoint('a.pth')
    assert not Path('PWNED').exists()
    assert Counter().update and OrderedDict(a=1).items()


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('name', made())
def test_whatever_is_not_data_is_refused_of_pickles(name, protocol):
    code = pickle.dumps(dict(a=[made()[name]]), protocol)
    with pytest.raises(CheckpointError, match='a.pkl is not loaded'):
        load_pickle(io.BytesIO(code), 'a.pkl', LISTS)
    assert not Path('PWNED').exists()


@pytest.mark.parametrize(
    'code',
    [
        b'ccollections\nUserList\n)\x81}X\x06\0\0\0appendNsb.',
        b'ccollections\nUserList\n)\x81}X\x04\0\0\0dataNsb.',
        b'ccollections\nUserList\n](NeR.',
        b'ccollections\nUserList\n.',
        b'ccollections\nUserList\n)\x81q\0}X\x04\0\0\0data](h\0esb.',
        b'\x8c\x05posix\x8c\x06system\x93.',
        b'K\1\x8c\1a\x93.',
        b'\x8f(]\x90.',
        b'](K\1\x90.',
        b'ctorch.storage\n_load_from_bytes\nC\x01a\x85R.',
        b'ctorch.storage\n_load_from_bytes\n.',
        b'ctorch.storage\n_load_from_bytes\nN\x85R.',
        b'cnumpy.core.numeric\n_frombuffer\n(C\x01acnumpy\ndtype\nX\x02\0\0\0'
        b'f8K\0K\1\x87RK\1\x85X\x01\0\0\0CtR.',
        b'\x94.',
        b'\x95\xff\xff\xff\xff\xff\xff\xff\xff',
        b'B\xff\xff\xff\xff.',
    ],
)
def test_crafted_pickles_alone_are_refused(code):
    with pytest.raises(CheckpointError, match='a.pkl is not'):
        load_pickle(io.BytesIO(code), 'a.pkl', LISTS)


def test_archives_of_others_are_refused():
    """They are whole, and say nothing of a damage."""
    np.savez('a.npz', a=np.zeros(2))
    with pytest.raises(CheckpointError, match='a.npz is an archive, but not'):
        load_file('a.npz')


def test_scripts_are_refused():
    torch.jit.script(torch.nn.Linear(1, 1)).save('a.pth')
    with pytest.raises(CheckpointError, match='a TorchScript archive'):
        load_file('a.pth')


@pytest.mark.parametrize(
    'name', ['https://a.b/a.pth', 'mmcls://vgg11', 'torchvision://vgg11']
)
def test_what_was_downloaded_is_not_run(name, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def download(url, path, **_):
        torch.save(Made(os.mkdir, ('PWNED',)), path)

    monkeypatch.setattr('torch.hub.download_url_to_file', download)
    with pytest.raises(CheckpointError, match='is not loaded.*posix.mkdir'):
        CheckpointLoader.load_checkpoint(name)
    assert not Path('PWNED').exists()


def damaged(name):
    """An archive that stands for more than its bytes."""
    torch.save(dict(a=torch.zeros(1 << 20)), 'whole.pth')
    with zipfile.ZipFile('whole.pth') as whole:
        members = [(n, whole.read(n)) for n in whole.namelist()]
    kind = zipfile.ZIP_STORED if name == 'twice' else zipfile.ZIP_DEFLATED
    if name == 'bzip2':
        kind = zipfile.ZIP_BZIP2
    with zipfile.ZipFile('a.pth', 'w', kind) as file:
        for member in members + members[:1] * (name == 'twice'):
            file.writestr(*member)
    content = bytearray(Path('a.pth').read_bytes())
    entry = content.index(b'PK\1\2')
    if name == 'said to be stored':
        while entry >= 0:
            content[entry + 10 : entry + 12] = bytes(2)
            entry = content.find(b'PK\1\2', entry + 1)
    if name == 'encrypted':
        content[entry + 8] |= 1
    if name == 'huge':
        content[entry + 24 : entry + 28] = struct.pack('<I', 0xFFFFFFF0)
    Path('a.pth').write_bytes(content)


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize(
    'name',
    ['deflated', 'bzip2', 'twice', 'said to be stored', 'encrypted', 'huge'],
)
def test_archives_are_refused_by_what_they_declare(name, monkeypatch):
    damaged(name)

    def never(*args, **kwargs):
        raise AssertionError('it was read')

    monkeypatch.setattr(zipfile.ZipFile, 'open', never)
    for check in (load_file, verify_archive):
        with pytest.raises(CheckpointError, match='a.pth is not an archive'):
            check('a.pth')


@pytest.mark.parametrize('new', FORMATS)
def test_a_small_file_takes_little_memory(new):
    code = TENSOR % (b'J\0\0\0\x20', b'K\0', b'J\0\0\0\x20\x85', b'K\x01\x85')
    if new:
        archive(code, [bytes(40)])
    else:
        torch.save({}, 'a.pth', _use_new_zipfile_serialization=False)
        start = Path('a.pth').read_bytes()
        code = code.replace(b'tQ', b'NtQ')
        end = start.rindex(b'\x80\x02}')
        content = start[:end] + code + b']X\x01\0\0\x000a.' + bytes(48)
        Path('a.pth').write_bytes(content)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match='a storage of 2147483648 bytes'):
        load_file('a.pth')
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000 and soft  # kB


TEXT = b'X\x20N\0\0' + b'a' * 20_000
NUMBERS = [b'M%c%c' % divmod(i, 256) for i in range(5_000)]
PAIRS = b'](' + b''.join(i + b'N\x86' for i in NUMBERS) + b'e'
DICT = b'}(' + b''.join(b'X\5\0\0\0%05dN' % i for i in range(5_000)) + b'u'
BYTES = b'c_codecs\nencode\n' + TEXT + b'X\6\0\0\0latin1\x86R'
# What each has once, as 1 and 2 of the memo, and what makes copies of it.
COPIED = {
    'bytes': (
        b'c_codecs\nencode\nq\1' + TEXT + b'X\6\0\0\0latin1\x86q\2',
        b'h\1h\2R',
    ),
    'bytearrays': (
        b'cbuiltins\nbytearray\nq\1' + BYTES + b'\x85q\2',
        b'h\1h\2R',
    ),
    'paths': (b'cpathlib\nPosixPath\nq\1' + TEXT + b'\x85q\2', b'h\1h\2R'),
    'dicts': (
        b'ccollections\nOrderedDict\nq\1' + PAIRS + b'\x85q\2',
        b'h\1h\2R',
    ),
    'sets': (
        b'c__builtin__\nset\nq\1](' + b''.join(NUMBERS) + b'e\x85q\2',
        b'h\1h\2R',
    ),
    'arguments': (
        b'cargparse\nNamespace\nq\1' + DICT + b'q\2',
        b'h\1)\x81h\2b',
    ),
    'versions': (
        b'ccollections\nOrderedDict\nq\1}X\x09\0\0\0_metadata}X\0\0\0\0'
        + DICT
        + b'ssq\2',
        b'h\1)Rh\2b',
    ),
    'arrays': (
        b'cnumpy.core.multiarray\n_reconstruct\nq\1cnumpy\nndarray\nK\0\x85'
        b'X\1\0\0\0b\x87q\3(K\1M\x20N\x85cnumpy\ndtype\nX\2\0\0\0i1K\0K\1\x87R'
        b'\x89' + BYTES + b'tq\2',
        b'h\1h\3Rh\2b',
    ),
}


@pytest.mark.parametrize('name', COPIED)
def test_so_does_one_that_copies_what_it_has_once(name):
    once, copy = COPIED[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    archive(b'](' + once + copy * 20_000 + b'e.')
    with pytest.raises(CheckpointError, match='many copies of what it has'):
        load_file('a.pth')
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000  # kB


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_what_is_there_once_may_be_large(protocol):
    """Where bytes have no instruction, each is made by way of a text."""
    found = dict(
        array=np.arange(1_000_000),
        numbers=[np.float64(i) for i in range(10_000)],
        bytes=bytes(range(256)) * 8_192,
        bytearray=bytearray(4_000_000),
        dict=OrderedDict((i, None) for i in range(200_000)),
        set=set(range(200_000)),
    )
    code = pickle.dumps(found, protocol)
    assert equal(load_pickle(io.BytesIO(code), 'a.pkl'), found)


def test_a_pickle_of_too_many_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(plain_pickle, '_MOST_INSTRUCTIONS', 100)
    archive(b']' * 200 + b'.')
    with pytest.raises(CheckpointError, match='more than 101 instructions'):
        load_file('a.pth')


def few(found, number):
    return type(found)(list(found.items())[:number])


def shortened(path):
    """A checkpoint of a run, with a few of each of its many tensors."""
    whole = torch.load(path, weights_only=False)
    whole['state_dict'] = few(whole['state_dict'], 8)
    whole['meta']['cfg'] = whole['meta']['cfg'][:200]
    hub = whole['message_hub']
    hub['log_scalars'] = few(hub['log_scalars'], 4)
    hub['runtime_info'].pop('cfg')
    for part in whole['optimizer'].values():
        part['state'] = few(part['state'], 2)
        part.pop('base_param_settings', None)
    return whole


def test_mutants_are_loaded_as_data_or_refused(tiny_runner, tmp_path):
    runner = tiny_runner(**{'train_cfg.max_epochs': 1})
    runner.train()
    content = shortened(Path(runner.work_dir, 'epoch_1.pth'))
    kinds = ('archive', 'legacy', 'bytes', 'pickle')
    files = []
    for kind in kinds:
        path = tmp_path / f'{kind}.pth'
        torch.save(
            content, path, _use_new_zipfile_serialization=kind != 'legacy'
        )
        if kind == 'pickle':
            content['more'] = UserList([1, {2}, np.ones(2)])
            path.write_bytes(pickle.dumps(content, 5))
        files += [path, kind]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', FUZZ, '0', '4', '100', *files],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = dict(zip(kinds, map(json.loads, done.stdout.splitlines()[-4:])))
    for kind in kinds:
        assert counts[kind].pop('status') == [0] * 4, done.stderr[-3000:]
        assert sum(counts[kind].values()) == 400
        assert counts[kind]['refused'] > 200
    assert 'other' not in counts['bytes'] and counts['bytes']['same'] > 3
    assert not (tmp_path / 'PWNED').exists()
