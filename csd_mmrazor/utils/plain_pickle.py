# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Reads pickles, those of checkpoints above all, as data.

A pickle is a program. This runs the few instructions that tensors, arrays,
numbers, texts and containers of them take, and knows by name what may be
made; each is made by a function here that looks at every argument. What
scripts save of their arguments becomes plain: a Namespace a dict, a path its
text. Nothing of the process can be named, so nothing of it can be called or
altered, and what was made cannot be altered by giving it another state.
"""

import math
import pickletools
import re
from _compat_pickle import IMPORT_MAPPING
from collections import Counter, OrderedDict
from pathlib import PurePath
from typing import (
    Any,
    BinaryIO,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Tuple,
)

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# More than any checkpoint has, less than what fills a computer's memory.
_MOST_INSTRUCTIONS, _MOST_VALUES, _MOST_DEPTH = 5_000_000, 5_000_000, 100
# Bytes of texts, and of containers by their items, that calls and states may
# copy beyond what the file itself has.
_MOST_COPIED, _ITEM = 1 << 20, 16
# Elements of a tensor that repeats those of a smaller storage.
_MOST_REPEATED = 1 << 24

_STORAGE_MODULES = ('torch', 'torch.cuda', 'torch.storage')
_STORAGES = dict(
    BFloat16Storage=torch.bfloat16,
    BoolStorage=torch.bool,
    ByteStorage=torch.uint8,
    CharStorage=torch.int8,
    ComplexDoubleStorage=torch.complex128,
    ComplexFloatStorage=torch.complex64,
    DoubleStorage=torch.float64,
    FloatStorage=torch.float32,
    HalfStorage=torch.float16,
    IntStorage=torch.int32,
    LongStorage=torch.int64,
    ShortStorage=torch.int16,
    UntypedStorage=torch.uint8,
)
_DTYPES = {
    f'torch.{name}': value
    for name, value in vars(torch).items()
    if isinstance(value, torch.dtype)
}
_KEYS = (str, int, float, bool, bytes, type(None))
_LEAVES = (
    *_KEYS,
    complex,
    bytearray,
    torch.Tensor,
    torch.nn.Parameter,
    torch.Size,
    torch.device,
    torch.dtype,
    np.ndarray,
    HistoryBuffer,
)


class NotPlainError(ValueError):
    """A pickle that holds more than data; says what."""


class Storage(NamedTuple):
    """The memory of tensors, and what it is of."""

    data: torch.Tensor  # (bytes,), uint8
    dtype: torch.dtype


class _Global(NamedTuple):
    """What a pickle names, to be called or as an argument; never a value."""

    name: str
    make: Callable = None


def read_pickle(
    file: BinaryIO,
    read_storage: Callable[..., torch.Tensor] = None,
    read_bytes: Callable[[bytes], 'Storage'] = None,
    lists: Dict[str, type] = None,
) -> Any:
    """Read one pickle.

    Args:
        file (BinaryIO): Where it starts; left where it ends.
        read_storage (callable, optional): Returns the memory of a storage of
            a key (str) and a size in bytes (int), as (bytes,) of uint8.
        read_bytes (callable, optional): Returns the storage in what
            ``torch.save`` made of one, which is how tensors that were pickled
            by themselves have it.
        lists (dict[str, type], optional): Kinds of ``UserList`` that there
            may be, by ``module.name``.

    Returns:
        What it holds.

    Raises:
        NotPlainError: If it holds more than data.
        Exception: If it is no pickle.
    """
    lists = lists or {}
    value = _Machine(read_storage, read_bytes, lists).run(file)
    _check_plain(value, tuple(lists.values()))
    return value


def read_storage_alone(
    file: BinaryIO, read_storage: Callable[..., torch.Tensor]
) -> 'Storage':
    """Read a pickle that holds a storage, and nothing else.

    Args:
        file (BinaryIO): Where it starts; left where it ends.
        read_storage (callable): As for :func:`read_pickle`.

    Raises:
        NotPlainError: If it holds something else.
        Exception: If it is no pickle.
    """
    value = _Machine(read_storage, None, {}).run(file)
    _check(type(value) is Storage, 'what is no storage')
    return value


class _Machine:
    """A stack, a memo and the instructions that work on them."""

    def __init__(self, read_storage, read_bytes, lists) -> None:
        self.read_storage = read_storage
        self.read_bytes = read_bytes
        self.lists = {_Global(name): cls for name, cls in lists.items()}
        self.stack: List[Any] = []
        self.below: List[List] = []  # stacks below the marks
        self.memo = {}
        self.stateless: List[Any] = []  # made, and not given a state yet
        self.given = 0  # what the file has, by the same measure as
        self.copied = 0  # what was made of it

    def run(self, file: BinaryIO) -> Any:
        for count, (opcode, value, _) in enumerate(_operations(file)):
            name = opcode.name
            self.given += _ITEM
            if count > _MOST_INSTRUCTIONS:
                raise NotPlainError(f'more than {count} instructions')
            if name in _VALUES:
                self.stack.append(_VALUES[name])
            elif name in _GIVEN:
                self.given += _size_of(value)
                self.stack.append(value)
            elif name in ('BINPUT', 'LONG_BINPUT'):
                self.memo[value] = self.stack[-1]
            elif name in ('BINGET', 'LONG_BINGET'):
                self.stack.append(self.memo[value])
            elif name == 'MEMOIZE':
                self.memo[len(self.memo)] = self.stack[-1]
            elif name == 'GLOBAL':
                self.stack.append(self._find(value))
            elif name == 'STOP':
                (value,) = self.stack
                return value
            elif name not in ('PROTO', 'FRAME'):
                if name not in _INSTRUCTIONS:
                    raise NotPlainError(f'the instruction {name}')
                getattr(self, _INSTRUCTIONS[name])()

    def _find(self, name: str) -> Any:
        found = _Global(_path(name))
        return found if found in self.lists else _find(name)

    def _stack_global(self) -> None:
        names = self._last(2)
        _check(all(type(name) is str for name in names), 'a name of no text')
        self.stack.append(self._find(' '.join(names)))

    def _empty_set(self) -> None:
        self.stack.append(set())

    def _additems(self) -> None:
        items = self._since_mark()
        _check(type(self.stack[-1]) is set, 'items of what is no set')
        self.stack[-1].update(_set(items))

    def _empty_list(self) -> None:
        self.stack.append([])

    def _empty_dict(self) -> None:
        self.stack.append({})

    def _mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _since_mark(self) -> List[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _last(self, number: int) -> List[Any]:
        if len(self.stack) < number:
            raise NotPlainError('an instruction without its values')
        items = self.stack[-number:]
        del self.stack[-number:]
        return items

    def _tuple(self) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _tuple1(self) -> None:
        self.stack.append(tuple(self._last(1)))

    def _tuple2(self) -> None:
        self.stack.append(tuple(self._last(2)))

    def _tuple3(self) -> None:
        self.stack.append(tuple(self._last(3)))

    def _append(self) -> None:
        self._extend(self._last(1))

    def _appends(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: List[Any]) -> None:
        _check(type(self.stack[-1]) is list, 'items of what is no list')
        self.stack[-1].extend(items)

    def _setitem(self) -> None:
        self._update(self._last(2))

    def _setitems(self) -> None:
        self._update(self._since_mark())

    def _update(self, items: List[Any]) -> None:
        target = self.stack[-1]
        _check(
            type(target) in (dict, OrderedDict) and len(items) % 2 == 0,
            'items of what is no dict',
        )
        for key, value in zip(items[::2], items[1::2]):
            _check(_is_key(key), 'a key that is no text or number')
            target[key] = value

    def _reduce(self) -> None:
        function, args = self._last(2)
        _check(
            type(function) is _Global
            and (function.make is not None or function is _STORAGE),
            'a call of what is no name',
        )
        _check(type(args) is tuple, 'a call without arguments')
        self._copy(args)
        if function is _STORAGE:
            _check(
                self.read_bytes is not None and [*map(type, args)] == [bytes],
                'a storage of its own',
            )
            value = self.read_bytes(*args)
        else:
            value = function.make(*args)
        if function.make is _array:
            self.stateless.append(value)
        self.stack.append(value)

    def _copy(self, values: Any) -> None:
        """Count what is copied: the memo gives the same value to many."""
        self.copied += sum(map(_size_of, values))
        # As those of an array, which a text becomes bytes for.
        _check(
            self.copied <= 2 * self.given + _MOST_COPIED,
            'many copies of what it has once',
        )

    def _newobj(self) -> None:
        cls, args = self._last(2)
        is_list = type(cls) is _Global and cls in self.lists
        _check(
            (cls is _HISTORY or cls is _NAMESPACE or is_list) and args == (),
            'an object of its own',
        )
        if is_list:
            self.stack.append(self.lists[cls]())
        else:
            self.stack.append({} if cls is _NAMESPACE else HistoryBuffer())
        self.stateless.append(self.stack[-1])

    def _build(self) -> None:
        (state,) = self._last(1)
        target = self.stack[-1]
        if isinstance(target, np.dtype):
            # It has that state; numpy would alter it for all its arrays.
            _check(
                type(state) is tuple
                and all(type(item) in _KEYS for item in state)
                and state == target.__reduce__()[2],
                'a dtype with another state',
            )
        elif type(target) is OrderedDict:
            _check(
                type(state) is dict and set(state) == {'_metadata'},
                'an attribute of a dict',
            )
            found = state['_metadata']
            inner = found.values() if isinstance(found, dict) else ()
            self._copy([found, *inner])
            target._metadata = _metadata(found)
        else:
            _check(
                self._is_stateless(target),
                f'a state of {type(target).__name__}',
            )
            if type(target) is np.ndarray:
                self._copy(state)
                _fill_array(target, state)
            elif type(target) is dict:
                _check(
                    type(state) is dict
                    and all(type(name) is str for name in state),
                    'arguments without names',
                )
                self._copy([state])
                target.update(state)
            elif type(target) in self.lists.values():
                _check(
                    type(state) is dict
                    and state.keys() == {'data'}
                    and type(state['data']) is list,
                    f'a {type(target).__name__} of what is no list',
                )
                target.data = state['data']
            else:
                arrays = (state['_log_history'], state['_count_history'])
                _check(
                    not any(map(self._is_stateless, arrays)), 'half a history'
                )
                _fill_history(target, state)
            self.stateless = [s for s in self.stateless if s is not target]

    def _is_stateless(self, target: Any) -> bool:
        return any(made is target for made in self.stateless)

    def _binpersid(self) -> None:
        (found,) = self._last(1)
        _check(
            type(found) is tuple and found[0] in ('storage', b'storage'),
            'a reference to what is no storage',
        )
        kind, key, location, numel, *view = found[1:]
        _check(
            self.read_storage is not None
            and type(kind) is _Global
            and kind.name in _STORAGES
            and type(key) is str
            and _is_size(numel)
            and view in ([], [None]),
            'a storage of its own',
        )
        dtype = _STORAGES[kind.name]
        data = self.read_storage(key, numel * dtype.itemsize)
        self.stack.append(Storage(data, dtype))


def _operations(file: BinaryIO) -> Iterator[Tuple[Any, Any, Any]]:
    try:
        yield from pickletools.genops(file)
    except (MemoryError, OverflowError) as error:
        raise ValueError('it announces more than it can have') from error


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise NotPlainError(what)


def _size_of(value: Any) -> int:
    if type(value) in (str, bytes, bytearray):
        return len(value)
    if type(value) in (list, tuple, set, dict, OrderedDict, Counter):
        return _ITEM * len(value)
    return 0


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_key(value: Any) -> bool:
    if type(value) is tuple:
        return all(type(item) in _KEYS for item in value)
    return type(value) in _KEYS


def _path(name: str) -> str:
    """``module name`` as Python 3 calls it."""
    module, _, name = name.partition(' ')
    return f'{IMPORT_MAPPING.get(module, module)}.{name}'


def _find(name: str) -> Any:
    """What ``module name`` stands for."""
    path = _path(name)
    module, _, name = name.partition(' ')
    if path in _DTYPES:
        return _DTYPES[path]
    if module in _STORAGE_MODULES and name in _STORAGES:
        return _Global(name)
    if path.startswith(f'{_HISTORY.name}.'):  # from protocol 4 on
        return _statistic(_HISTORY, path[len(_HISTORY.name) + 1 :])
    if path not in _GLOBALS:
        raise NotPlainError(path)
    return _GLOBALS[path]


def _tensor(
    storage, offset, size, stride, requires_grad=False, hooks=None, more=None
):
    return _tensor_of_dtype(
        storage, offset, size, stride, requires_grad, hooks, None, more
    )


def _tensor_of_dtype(
    storage, offset, size, stride, requires_grad, hooks, dtype, more=None
):
    _check(type(storage) is Storage, 'a tensor without memory')
    _check(not hooks and not more, 'a tensor with hooks')
    _check(type(requires_grad) is bool, 'a tensor without requires_grad')
    dtype = dtype or storage.dtype
    _check(
        isinstance(dtype, torch.dtype)
        and type(size) in (tuple, torch.Size)
        and type(stride) is tuple
        and len(size) == len(stride) <= 64
        and all(map(_is_size, (offset, *size, *stride))),
        'a tensor without a shape',
    )
    numel, room = math.prod(size), len(storage.data) // dtype.itemsize
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    # torch would make the storage larger, by whatever is in the memory.
    _check(
        (last < room if numel else offset <= room)
        and math.prod(max(n, 1) for n in size) < 1 << 62
        and numel <= max(room, _MOST_REPEATED),
        f'a tensor of {"x".join(map(str, size))} elements in a storage of '
        f'{room}',
    )
    tensor = torch.empty(0, dtype=dtype, device=storage.data.device)
    tensor.set_(storage.data.untyped_storage(), offset, size, stride)
    return tensor.requires_grad_(requires_grad)


def _parameter(data, requires_grad, hooks):
    _check(
        type(data) is torch.Tensor
        and type(requires_grad) is bool
        and not hooks,
        'a parameter without a tensor',
    )
    return torch.nn.Parameter(data.detach(), requires_grad)


def _ordered_dict(pairs=()):
    _check(
        type(pairs) in (list, tuple)
        and all(
            type(pair) in (list, tuple) and len(pair) == 2 and _is_key(pair[0])
            for pair in pairs
        ),
        'a dict without pairs',
    )
    return OrderedDict(pairs)


def _counter(counts=()):
    """Milestones of schedulers."""
    _check(
        type(counts) is dict
        and all(type(x) is int for pair in counts.items() for x in pair),
        'a counter of what is no number',
    )
    return Counter(counts)


def _is_version(item):
    """A number or text, or those of a layer's hooks (spectral_norm)."""
    name, value = item
    inner = value if type(value) is dict else {name: value}
    return all(
        type(x) in _KEYS for x in (name, *inner.keys(), *inner.values())
    )


def _metadata(found):
    """Versions of a state dict's modules."""
    _check(
        type(found) in (dict, OrderedDict)
        and all(
            type(name) is str
            and type(one) is dict
            and all(map(_is_version, one.items()))
            for name, one in found.items()
        ),
        'versions that are not numbers',
    )
    return OrderedDict((name, dict(one)) for name, one in found.items())


def _set(items):
    _check(
        type(items) is list and all(map(_is_key, items)),
        'a set of what is no text or number',
    )
    return set(items)


def _size(items):
    _check(
        type(items) is tuple and all(map(_is_size, items)),
        'a shape without sizes',
    )
    return torch.Size(items)


def _device(kind, index=None):
    _check(
        type(kind) is str and type(index) in (int, type(None)),
        'a device without a name',
    )
    return torch.device(kind) if index is None else torch.device(kind, index)


def _complex(real, imag):
    _check(type(real) is type(imag) is float, 'a number without parts')
    return complex(real, imag)


def _file(*parts):
    """A path, as the text that it is."""
    _check(all(type(part) is str for part in parts), 'a path of no text')
    return str(PurePath(*parts))


def _bytes(text='', encoding='latin1'):
    _check(
        type(text) is str and encoding in ('latin1', 'latin-1'),
        'bytes that are no text',
    )
    return text.encode('latin1')


def _bytearray(data=b'', *encoding):
    return bytearray(data if type(data) is bytes else _bytes(data, *encoding))


def _statistic(owner, name):
    """``HistoryBuffer.mean`` and the like, which a buffer has anyway."""
    if owner is not _HISTORY or name not in HistoryBuffer._statistics_methods:
        owner = owner.name if type(owner) is _Global else type(owner).__name__
        raise NotPlainError(f'the attribute {name!r} of {owner}')
    return name


def _dtype(code, align=False, copy=True):
    # Bool, integers, floats, complex numbers, bytes and texts; no objects.
    _check(
        type(code) is str
        and re.fullmatch(r'[biufcSU]\d{1,9}', code) is not None
        and type(align) in (bool, int)
        and type(copy) in (bool, int),
        'an array of objects',
    )
    return np.dtype(code)


def _array(cls, shape, code):
    _check(cls is _ARRAY and shape == (0,), 'an array of its own class')
    return np.empty(0, np.int8)


def _array_of_bytes(data, dtype, shape, order):
    """As protocol 5 has arrays."""
    _check(
        type(data) in (bytes, bytearray)
        and isinstance(dtype, np.dtype)
        and type(shape) is tuple
        and all(map(_is_size, shape))
        and order in ('C', 'F')
        and len(data) == math.prod(shape) * dtype.itemsize
        and math.prod(max(n, 1) for n in shape) < 1 << 48,
        'an array without memory',
    )
    return np.ndarray(shape, dtype, data, order=order)


def _fill_array(array, state) -> None:
    _check(
        type(state) is tuple and len(state) == 5 and state[0] == 1,
        'an array without memory',
    )
    version, shape, dtype, fortran, data = state
    _check(
        type(shape) is tuple
        and all(map(_is_size, shape))
        and isinstance(dtype, np.dtype)
        and type(fortran) in (bool, int)
        and type(data) is bytes
        and len(data) == math.prod(shape) * dtype.itemsize
        and math.prod(max(n, 1) for n in shape) < 1 << 48,
        'an array without memory',
    )
    array.__setstate__(state)


def _scalar(dtype, data):
    _check(
        isinstance(dtype, np.dtype)
        and type(data) is bytes
        and len(data) == dtype.itemsize > 0,
        'a number without memory',
    )
    return np.frombuffer(data, dtype, 1)[0]


def _fill_history(buffer, state) -> None:
    _check(
        type(state) is dict
        and state.keys() - {'statistics_methods'}
        == {'max_length', '_log_history', '_count_history'},
        'half a history',
    )
    arrays = (state['_log_history'], state['_count_history'])
    _check(
        _is_size(state['max_length'])
        and all(
            type(array) is np.ndarray
            and array.ndim == 1
            and array.dtype.kind in 'biuf'
            and len(array) == len(arrays[0])
            for array in arrays
        ),
        'a history of what is no number',
    )
    buffer.max_length = state['max_length']
    buffer._log_history, buffer._count_history = arrays


def _check_plain(value: Any, lists: Tuple[type, ...]) -> None:
    """Check that what was read is data, and not without end."""
    to_see, seen = [(value, 0)], 0
    while to_see:
        value, depth = to_see.pop()
        seen += 1
        _check(seen + len(to_see) <= _MOST_VALUES, f'more than {seen} values')
        if type(value) in lists:
            value = value.data
        if type(value) in (list, tuple, set, dict, OrderedDict, Counter):
            _check(depth < _MOST_DEPTH, f'more than {depth} levels')
            is_dict = isinstance(value, dict)
            items = value.values() if is_dict else value
            _check(
                len(items) <= _MOST_VALUES - seen, f'{len(items)} more values'
            )
            to_see.extend((item, depth + 1) for item in items)
        elif type(value) not in _LEAVES:
            _check(
                isinstance(value, (np.generic, np.dtype)),
                getattr(value, 'name', type(value).__name__),
            )


_VALUES = dict(NONE=None, NEWTRUE=True, NEWFALSE=False, EMPTY_TUPLE=())
_GIVEN = {
    'BINBYTES',
    'BINBYTES8',
    'BINFLOAT',
    'BINSTRING',
    'BININT',
    'BININT1',
    'BININT2',
    'BINUNICODE',
    'BINUNICODE8',
    'BYTEARRAY8',
    'LONG1',
    'LONG4',
    'SHORT_BINBYTES',
    'SHORT_BINSTRING',
    'SHORT_BINUNICODE',
}
_INSTRUCTIONS = {
    name: f'_{name.lower()}'
    for name in (
        'ADDITEMS',
        'APPEND',
        'APPENDS',
        'BINPERSID',
        'BUILD',
        'EMPTY_DICT',
        'EMPTY_LIST',
        'EMPTY_SET',
        'MARK',
        'NEWOBJ',
        'REDUCE',
        'SETITEM',
        'SETITEMS',
        'STACK_GLOBAL',
        'TUPLE',
        'TUPLE1',
        'TUPLE2',
        'TUPLE3',
    )
}
_GLOBALS = {
    '_codecs.encode': _bytes,
    'argparse.Namespace': None,
    'builtins.bytearray': _bytearray,
    'builtins.bytes': _bytes,
    'builtins.complex': _complex,
    'builtins.getattr': _statistic,
    'builtins.set': _set,
    'collections.Counter': _counter,
    'collections.OrderedDict': _ordered_dict,
    'mmengine.logging.history_buffer.HistoryBuffer': None,
    'numpy.dtype': _dtype,
    'numpy.ndarray': None,
    'torch.Size': _size,
    'torch._utils._rebuild_parameter': _parameter,
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _tensor_of_dtype,
    'torch.device': _device,
    'torch.storage._load_from_bytes': None,
}
for _package in ('numpy.core', 'numpy._core'):  # NumPy 1 and 2
    _GLOBALS[f'{_package}.multiarray._reconstruct'] = _array
    _GLOBALS[f'{_package}.multiarray.scalar'] = _scalar
    _GLOBALS[f'{_package}.numeric._frombuffer'] = _array_of_bytes
for _system in ('Posix', 'Windows'):  # Python before 3.13, and since
    for _module in ('pathlib', 'pathlib._local'):
        _GLOBALS[f'{_module}.{_system}Path'] = _file
_GLOBALS = {name: _Global(name, make) for name, make in _GLOBALS.items()}
_ARRAY = _GLOBALS['numpy.ndarray']
_STORAGE = _GLOBALS['torch.storage._load_from_bytes']
_NAMESPACE = _GLOBALS['argparse.Namespace']
_HISTORY = _GLOBALS['mmengine.logging.history_buffer.HistoryBuffer']
HistoryBuffer()  # fills ``_statistics_methods``
