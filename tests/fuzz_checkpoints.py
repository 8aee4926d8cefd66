# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Loads mutants of checkpoints; see test_utils/test_plain_pickle.py.

    fuzz_checkpoints.py SEED BATCHES NUMBER PATH KIND [PATH KIND ...]

Prints a line for each file: the exit status of each batch, which is a process
of its own, and how many mutants were loaded and refused. A mutant that was
loaded is printed, copied, pickled and its tensors are summed up, and no class
is another then.
"""

import copy
import io
import json
import os
import pickle
import pickletools
import random
import re
import struct
import sys
import traceback
import zipfile
from collections import Counter, OrderedDict, UserList

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from csd_mmrazor.utils import CheckpointError, load_file, load_pickle

CLASSES = (
    Counter,
    OrderedDict,
    UserList,
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    torch.Tensor,
    torch.nn.Parameter,
    torch.Size,
    torch.UntypedStorage,
    torch.storage.TypedStorage,
)
DTYPE_STATE = b'(K\x03X\x01\0\0\0%sNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft'
HOSTILE = [
    b'cposix\nmkdir\nX\x06\0\0\0PWNED\n\x85R',
    b'c__builtin__\neval\nX\x04\0\0\0exit\x85R',
    b'c__builtin__\ngetattr\ncnumpy\ndtype\nX\x03\0\0\0str\x86R',
    b'ccollections\nCounter\n}\x85R}X\x06\0\0\0updateNsb',
    b'ccollections\nCounter\n}X\x06\0\0\0updateNsb',
    b'ccollections\nOrderedDict\n)R}X\x04\0\0\0keysNsb',
    b'ccollections\nOrderedDict\n}X\x04\0\0\0keysNsb',
    b'cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81}b',
    b'cmmengine.logging.history_buffer\nHistoryBuffer\n',
    b'cnumpy\ndtype\n',
    b'cnumpy\nndarray\n',
    b'ctorch._tensor\n_rebuild_from_type_v2\n',
    b'ctorch._utils\n_rebuild_sparse_tensor\n',
    b'ctorch\nTensor\n',
    b'cnumpy\ndtype\nX\x02\0\0\0f8K\0K\x01\x87R' + DTYPE_STATE % b'<' + b'b',
    b'cnumpy\ndtype\nX\x02\0\0\0O8K\0K\x01\x87R',
    *(DTYPE_STATE % order + b'b' for order in (b'<', b'>', b'|')),
    *(bytes([code]) for code in b'RbaesutQo012}])(N\x81\x85\x86\x87.'),
    b'}b',
    b'\x8c\x05posix\x8c\x05mkdir\x93X\x06\0\0\0PWNED\n\x85R',
    b'ccollections\nUserList\n)\x81}X\x06\0\0\0appendNsb',
    b'ccollections\nUserList\n',
    b'ctorch.storage\n_load_from_bytes\nC\x01a\x85R',
    b'\x8f(N\x90',
]
NUMBERS = [
    b'K\0',
    b'K\xff',
    b'M\xff\xff',
    b'J\xff\xff\xff\xff',
    b'J\xff\xff\xff\x7f',
    b'\x8a\x08' + struct.pack('<q', 1 << 62),
    b'\x8a\x09' + bytes(8) + b'\x01',
    b'\x88',
    b'N',
]


def mutant(random, code, starts):
    """A pickle with a few instructions or bytes altered."""
    code = bytearray(code)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        start, end = (starts + [len(code)])[
            (i := random.randrange(len(starts))) : i + 2
        ]
        other = random.choice(starts[:-1])
        there = starts[starts.index(other) + 1]
        kind = random.randrange(7)
        if kind == 0:
            code[random.randrange(len(code))] ^= 1 << random.randrange(8)
        elif kind == 1:
            code[start:end] = b''
        elif kind == 2:
            code[start:start] = code[other:there]
        elif kind == 3:
            code[start:end] = code[other:there]
        elif kind == 4:
            code[start:start] = random.choice(HOSTILE)
        elif kind == 5:
            code[start:end] = random.choice(NUMBERS)
        else:
            memo = struct.pack('<I', random.randrange(200))
            code[start:start] = b'j' + memo + random.choice(HOSTILE)
    return bytes(code)


def instructions(code):
    """Where the instructions of a pickle start, and its end."""
    stream = io.BytesIO(code)
    starts = [start for _, _, start in pickletools.genops(stream)]
    return starts, stream.tell()


def of_archive(content):
    """A function that makes a mutant of an archive, with right checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in members if name.endswith('/data.pkl'))
    starts, _ = instructions(members[name])

    def make(random):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w') as archive:
            for member, data in members.items():
                if member == name:
                    data = mutant(random, data, starts)
                archive.writestr(member, data)
        return buffer.getvalue()

    return make


def of_legacy(content):
    """The same of a file of torch < 1.6: its first five pickles."""
    end, starts = 0, []
    for _ in range(5):
        more, length = instructions(content[end:])
        starts += [end + start for start in more]
        end += length
    return lambda random: mutant(random, content[:end], starts) + content[end:]


def of_pickle(content):
    """The same of a pickle alone."""
    starts, _ = instructions(content)
    return lambda random: mutant(random, content, starts)


def load_alone(file):
    return load_pickle(file, 'it', {'collections.UserList': UserList})


def of_bytes(content):
    """A byte of the file altered, or its end cut off."""

    def make(random):
        if random.random() < 0.1:
            return content[: random.randrange(len(content))]
        altered = bytearray(content)
        altered[random.randrange(len(content))] ^= 1 << random.randrange(8)
        return bytes(altered)

    return make


def state_of_classes():
    return [
        {name: id(value) for name, value in vars(cls).items()}
        for cls in CLASSES
    ] + [
        dict(HistoryBuffer._statistics_methods),
        [np.dtype(code).__reduce__() for code in 'fdilqB?'],
    ]


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)


def use(value):
    """All that a program may do with data; returns it as text."""
    torch.set_printoptions(threshold=1 << 20)
    copy.deepcopy(value)
    pickle.dumps(value)
    for tensor in tensors(value):
        tensor.detach().clone().to(torch.complex128).sum()
    histories = {
        name: buffer.data if isinstance(buffer, HistoryBuffer) else buffer
        for name, buffer in dict(
            value.get('message_hub', {}).get('log_scalars', {})
            if isinstance(value, dict)
            and isinstance(value.get('message_hub'), dict)
            else {}
        ).items()
    }
    return re.sub(' at 0x[0-9a-f]+', '', repr((value, histories)))


def main(path, kind, seed, batches, number):
    with open(path, 'rb') as file:
        content = file.read()
    make = dict(
        archive=of_archive, legacy=of_legacy, pickle=of_pickle, bytes=of_bytes
    )[kind](content)
    load = load_alone if kind == 'pickle' else load_file
    status, counts = [], Counter()
    for batch in range(int(batches)):
        draws = random.Random(f'{seed} {batch}')
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            code = 1
            try:
                found = Counter()
                same = use(load(io.BytesIO(content)))
                before = state_of_classes()
                for _ in range(int(number)):
                    try:
                        value = load(io.BytesIO(make(draws)))
                    except CheckpointError:
                        found['refused'] += 1
                    else:
                        text = use(value)
                        found['same' if same == text else 'other'] += 1
                    assert state_of_classes() == before
                os.write(writer, json.dumps(found).encode())
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writer)
        with open(reader, 'rb') as file:
            counts.update(json.loads(file.read() or '{}'))
        status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(json.dumps(dict(status=status, **counts)))


if __name__ == '__main__':
    for path, kind in zip(sys.argv[4::2], sys.argv[5::2]):
        main(path, kind, *sys.argv[1:4])
