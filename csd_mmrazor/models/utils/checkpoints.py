# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor
from torch.nn.parameter import is_lazy

from ...utils import CheckpointError, download_to
from ...utils.checkpoints import NAMES_ANOTHER
from ...utils.downloads import HASH_IN_NAME, cache_place
from ...utils.suggestions import some_of
from .divided import about_divided

# What MMEngine, timm, torchvision's references, Lightning and others call
# the weights, and what they call running means (EMA) of them.
_NAMES = ('state_dict', 'model', 'net', 'network', 'model_state_dict')
_EMA_NAMES = (
    'ema_state_dict',
    'state_dict_ema',
    'model_ema',
    'ema_model',
    'ema',
)
_EMA = re.compile(r'(?:^|[._])ema(?:[._]|$)')
# What wraps a network: DataParallel, Lightning, MMRazor, this package.
_WRAPPERS = ('module', 'model', 'net', 'network', 'architecture', 'student')
_OUTSIDE = re.compile(rf'^(?:(?:{"|".join(_WRAPPERS)})\.)+')
# What torch.compile, FSDP, activation checkpointing and DataParallel put
# inside names.
_INSIDE = re.compile(
    r'\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module'
    r'|(?<=\.)module)\.'
)
# Counters: of BN layers, and what profilers (thop) leave in a network.
_COUNTERS = ('num_batches_tracked', 'total_ops', 'total_params')
# Of arrays, what weights and statistics have.
_NUMBERS = ('float16', 'float32', 'float64', 'int32', 'int64')
# Suffixes of ONNX, torch.export and what runs on devices.
_PROGRAMS = ('.onnx', '.pt2', '.tflite', '.engine', '.mlmodel')
_HOW_TO_SAVE = (
    'Save the weights alone, in the program that made the file: '
    'torch.save(network.state_dict(), FILE). Or, if you trust the file, read '
    'it by torch.load(FILE, weights_only=False), and save its weights.'
)
# What is said of files that are none of torch's, and what to do with these.
_NO_FILES_OF_TORCH = 'not one of torch.save', 'no file of torch.save begins so'
_OF_OTHERS = (
    'Give a file of torch.save(network.state_dict(), FILE) or of safetensors.'
)


class _Found(NamedTuple):
    """Weights in a checkpoint that fit a network."""

    name: str  # of the entry of the checkpoint, '' for the whole
    prefix: str  # what stood before the network's own names
    weights: Dict[str, Tensor]  # by the network's own names


def load_weights(
    model: nn.Module,
    path: str,
    argument: str,
    revise_keys: Sequence[Tuple[str, str]] = (),
    revised_by: str = '',
    is_part: bool = False,
) -> None:
    """Load a network's weights from a file or URL, all of them.

    The weights may stand in the file on their own or under a name
    (``state_dict``, ``model``, ``ema_state_dict``, ...), and behind a prefix
    (``module.``, ``model.``, ``_orig_mod.``, ``architecture.``, ...): those
    that fit the network best are taken. Each weight of the network has to be
    there, and each of the file has to be used.

    Args:
        model (nn.Module): The network.
        path (str): Checkpoint of the network, or of a distillation run whose
            student it was.
        argument (str): Name of the argument that ``path`` came from.
        revise_keys (sequence[tuple[str, str]]): Pairs of a regular
            expression and what replaces it in the names of the file, as in
            MMEngine's ``load_checkpoint``. A name of which nothing is left
            is not loaded. They are also tried without what wrapped the
            network, and behind ``module.``. Defaults to none.
        revised_by (str): How people set ``revise_keys``, if not beside
            ``ckpt_path``. Defaults to '', not at all.
        is_part (bool): Whether the file may hold more, of a larger network.
            Defaults to False.

    Raises:
        FileNotFoundError: If there is no such file, or it cannot be
            downloaded; says what to put where.
        CheckpointError: If it holds no weights, or more than weights.
        ValueError: If it is not a checkpoint of this network.
        TypeError: If ``path`` or ``revise_keys`` is of another type.
    """
    found = _find(model, path, argument, revise_keys)
    path = str(path)
    how = revised_by
    if argument.endswith('.ckpt_path'):
        how = 'revise_keys=[(PATTERN, NEW)] beside ckpt_path'
    what = f'{argument}={path}'
    network = _class_of(model)
    own = model.state_dict()
    wrong = [
        f'{key} is {value.dtype}'
        for key, value in found.weights.items()
        if key in own
        and isinstance(own[key], Tensor)
        and own[key].is_floating_point()
        and not value.is_floating_point()
    ]
    if wrong:
        raise ValueError(
            f'{what} does not fit {network}: {", ".join(wrong[:3])}, where '
            'the network has floating-point numbers. Give weights that are '
            'not quantized.'
        )
    differing = {
        key: (tuple(value.shape), tuple(own[key].shape))
        for key, value in found.weights.items()
        if isinstance(own.get(key), Tensor)
        and not is_lazy(own[key])
        and value.shape != own[key].shape
    }
    others = [key for key in found.weights if key not in own]
    lacking = [key for key in own if key not in found.weights]
    if differing and 2 * len(lacking) > len(own):
        raise ValueError(_lacks(what, network, lacking, others, how))
    if differing:
        key, (theirs, ours) = next(iter(differing.items()))
        more = len(differing) - 1
        also = f' ({more} more {"differ" if more > 1 else "differs"})'
        raise ValueError(
            f'{what} does not fit {network}: {key} is of shape {theirs} in '
            f'the file, and of {ours} in the network{also if more else ""}. '
            + (
                _about_classes(model, differing)
                or 'Give weights of this very network, or build the one that '
                'they are of; if its channels were pruned, by PrunedNetwork '
                '(docs/pruned.md).'
            )
        )
    loaded = set()  # under another name
    for names in _shared(own):
        values = [found.weights[n] for n in names if n in found.weights]
        loaded |= {*names} if values else set()
        if not all(value.equal(values[0]) for value in values):
            raise ValueError(
                f'{what} does not fit {network}, in which {_some(names)} are '
                'one weight: the file has different values for them, as of a '
                'network whose layers were pruned one by one. Build it '
                'without sharing that weight.'
            )
    try:
        result = load_state(model, found.weights, strict=False)
    except RuntimeError as error:
        raise ValueError(f'{what} does not fit {network}: {error}') from error
    missing, unused = (
        [key for key in keys if key.split('.')[-1] not in _COUNTERS]
        for keys in (result.missing_keys, result.unexpected_keys)
    )
    missing = [key for key in missing if key not in loaded]
    if missing:
        raise ValueError(_lacks(what, network, missing, others, how))
    if unused and not is_part:
        hint = (
            f', or leave them out by {how}: a PATTERN of the whole name, and '
            'nothing for NEW'
            if how
            else ''
        )
        raise ValueError(
            f'{what} is not a checkpoint of this {network}, but of a larger '
            f'one: {len(unused)} of its weights have no place in it '
            f'({_some(unused)}). Build the network that the file was made '
            f'from{hint}.'
        )
    if found.name in _EMA_NAMES:
        print_log(
            f'{what}: taken are the running means under "{found.name}", since '
            'it holds no other weights of this network.',
            logger='current',
        )


def _lacks(
    what: str,
    network: str,
    missing: Sequence[str],
    others: Sequence[str],
    how: str,
) -> str:
    """What to say of a file with weights of other names."""
    divided = about_divided(others)
    return (
        f'{what} is not a checkpoint of this {network}: it lacks '
        f'{len(missing)} of its weights ({_some(missing)}). It has '
        f'{_some(others) or "no others"}.'
        + (f' There, {divided}.' if divided else '')
        + (f' If only names differ, map them by {how}.' if how else '')
    )


def _class_of(model: nn.Module) -> str:
    """The class of a network, whatever a run puts around it."""
    name = type(model).__name__
    return type(model.net).__name__ if name == 'TorchClassifier' else name


def _about_classes(
    model: nn.Module,
    differing: Dict[str, Tuple[Tuple[int, ...], Tuple[int, ...]]],
) -> str:
    """What to tell if a file is of a network with other classes.

    That is if one layer, the last, has another number of outputs: any other
    is followed by one that takes them. Tables of positions are no layers.

    Args:
        model (nn.Module): The network.
        differing (dict[str, tuple]): Shapes in the file and in the network,
            by the names of the weights.
    """
    layers = {key.rpartition('.')[0] for key in differing}
    numbers = {(theirs[:1], ours[:1]) for theirs, ours in differing.values()}
    is_last = all(
        theirs and ours and theirs[1:] == ours[1:]
        for theirs, ours in differing.values()
    )
    if not is_last or len(layers) > 1 or len(numbers) > 1:
        return ''
    layer = dict(model.named_modules()).get(*layers)
    if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
        return ''
    ((theirs, ours),) = numbers
    return (
        f'No other layer differs, so the file is of {theirs[0]} classes, and '
        f'the network of {ours[0]}: build it with num_classes={theirs[0]}, or '
        'what it calls that.'
    )


def _shared(own: Dict[str, Any]) -> List[List[str]]:
    """Names in a state dict that stand for one tensor."""
    found: Dict[Tuple, List[str]] = {}
    for name, value in own.items():
        if not isinstance(value, Tensor) or is_lazy(value) or value.is_meta:
            continue
        if value.layout is torch.strided and value.numel():
            key = value.data_ptr(), value.shape, value.stride()
            found.setdefault(key, []).append(name)
    return [names for names in found.values() if len(names) > 1]


def find_weights(
    model: nn.Module,
    path: str,
    argument: str,
    revise_keys: Sequence[Tuple[str, str]] = (),
) -> Dict[str, Tensor]:
    """What a file has of the weights of a network, whatever their shapes.

    Args:
        model (nn.Module): The network.
        path (str): As of :func:`load_weights`.
        argument (str): Name of the argument that ``path`` came from.
        revise_keys (sequence[tuple[str, str]]): As of :func:`load_weights`.
            Defaults to none.

    Returns:
        dict[str, Tensor]: By the network's own names.

    Raises:
        FileNotFoundError, CheckpointError, ValueError, TypeError: As of
            :func:`load_weights`.
    """
    return _find(model, path, argument, revise_keys).weights


def _find(
    model: nn.Module,
    path: str,
    argument: str,
    revise_keys: Sequence[Tuple[str, str]] = (),
) -> _Found:
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise TypeError(
            f'{argument} should be the path or URL of a checkpoint, but got '
            f'{path!r}.'
        )
    path = str(path)
    return _best_fit(_read(path, argument), model, path, argument, revise_keys)


def load_state(
    model: nn.Module, weights: Dict[str, Tensor], strict: bool = True
) -> Any:
    """Load weights that have lost the versions of their layers.

    torchvision's MNASNet insists on these. A plain dict has none.

    Args:
        model (nn.Module): The network.
        weights (dict[str, Tensor]): Of one of its class.
        strict (bool): Whether they have to be all of its weights, and no
            others. Defaults to True.

    Returns:
        What ``load_state_dict`` does: names that were missing or unexpected.

    Raises:
        RuntimeError: As of ``load_state_dict``.
    """
    # Networks with a load_state_dict() of their own may take no more.
    how = {} if strict else dict(strict=False)
    try:
        return model.load_state_dict(weights, **how)
    except ValueError:
        versioned = OrderedDict(weights)
        versioned._metadata = model.state_dict()._metadata
        return model.load_state_dict(versioned, **how)


def _some(names: Sequence[str]) -> str:
    return some_of(names, 5)


def _read(path: str, argument: str) -> Dict[str, Any]:
    """What a file or URL holds, a dict."""
    hint = _option_of(argument)
    if Path(path).suffix in _PROGRAMS:
        raise ValueError(
            f'{argument}={path} is a program, from which weights cannot be '
            'taken. Name the weights that it was made of, as .pth or '
            f'.safetensors{hint}'
        )
    if path.endswith('.index.json'):
        raise ValueError(
            f'{argument}={path} lists the files of sharded weights, which are '
            'read from one file alone. Put them into one, by '
            'safetensors.torch.load_file of each and save_file of all, and '
            f'name that{hint}'
        )
    try:
        if path.startswith(('http://', 'https://')):
            target = cache_place(path)
            try:
                with download_to(target, path, f'name a local file{hint}'):
                    checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
            finally:  # a download that was cut short may not be readable
                _check_hash(target)
        else:
            check_checkpoint_file(path, argument)
            checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
    except CheckpointError as error:
        # A damaged file, or the one that is named, was saved as it should be.
        own = any(text in str(error) for text in ('cut short', NAMES_ANOTHER))
        # Such as text, or an archive of NumPy, which torch cannot read.
        is_none = any(text in str(error) for text in _NO_FILES_OF_TORCH)
        how = '' if own else f' {_OF_OTHERS if is_none else _HOW_TO_SAVE}'
        raise CheckpointError(f'{argument}: {error}{how}') from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'{argument}={path} should hold a dict of weights, but holds a '
            f'{type(checkpoint).__name__}. {_HOW_TO_SAVE}'
        )
    return checkpoint


def check_checkpoint_file(path: str, argument: str) -> None:
    """Check that there is a file where a checkpoint is meant.

    Args:
        path (str): The file; a URL is not looked at.
        argument (str): Name of the argument that ``path`` came from.

    Raises:
        FileNotFoundError: If there is none.
        IsADirectoryError: If it is a folder.
    """
    if '://' in path:
        return
    file, hint = Path(path).expanduser(), _option_of(argument)
    if file.is_dir():
        there = sorted(
            each
            for each in file.iterdir()
            if each.suffix in ('.pth', '.safetensors')
        )
        found = (
            f'In it: {_some([each.name for each in there])}. Name one of them'
            if there
            else 'It has none (.pth). Name a file'
        )
        raise IsADirectoryError(
            f'{argument}={path} is a folder, where a checkpoint is meant. '
            f'{found}{hint}'
        )
    if not file.is_file():
        made = _where_it_is_made(path)
        raise FileNotFoundError(
            f'{argument}={path} does not exist.{made}'
            f'{", or name" if made else " Name"} a checkpoint of the '
            f'network{hint}'
        )


def _option_of(argument: str) -> str:
    """How to set it on the command line; a dotted name is one of a config."""
    return f': --cfg-options {argument}=FILE' if '.' in argument else ''


def _check_hash(path: Path) -> None:
    """Compare a downloaded file with the hash in its name, if it has one."""
    named = HASH_IN_NAME.search(path.name)
    if named and path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not digest.startswith(named[1]):
            raise CheckpointError(
                f'{path} was cut short or altered: its SHA-256 begins with '
                f'{digest[:8]}, and not with {named[1][:8]}. Delete it, so '
                'that it is downloaded again.'
            )


def _candidates(
    node: Dict, name: str = '', depth: int = 0
) -> Iterator[Tuple[str, Dict[str, Tensor]]]:
    """All dicts of weights in a checkpoint, the likeliest first."""
    named = {key: v for key, v in node.items() if isinstance(key, str)}
    weights = {k: v for k, v in named.items() if isinstance(v, Tensor)}
    # Beside tensors, arrays are something else.
    weights = weights or {
        key: torch.from_numpy(value.copy())
        for key, value in named.items()
        if isinstance(value, np.ndarray) and value.dtype.name in _NUMBERS
    }
    if weights:
        yield name, weights
    inner = {k: v for k, v in node.items() if isinstance(v, dict)}
    # Further in, other names are of the states of optimizers.
    others = inner.keys() - {*_NAMES, *_EMA_NAMES} if depth < 2 else ()
    order = (*_NAMES, *sorted(others, key=str), *_EMA_NAMES)
    for key in order if depth < 3 else ():
        if key in inner:
            yield from _candidates(inner[key], str(key), depth + 1)


def _best_fit(
    checkpoint: Dict,
    model: nn.Module,
    path: str,
    argument: str,
    revise_keys: Sequence[Tuple[str, str]],
) -> _Found:
    """The weights in a checkpoint that have most names of a network's."""
    named = model.state_dict()
    own = set(named)
    # A wrapper's own prefix, such as ``net.`` of TorchClassifier, may be
    # lacking in the file.
    common = os.path.commonprefix([*own]).rpartition('.')
    common = common[0] + common[1]
    bare = {key[len(common) :] for key in own}
    shapes = {
        k: getattr(v, 'shape', None)
        for k, v in named.items()
        if not is_lazy(v)  # which gets the shape that the file has
    }
    # A layer of the network may have such a name.
    kept = {word for key in own for word in _INSIDE.findall(key)}

    def cut(match: re.Match) -> str:
        return match[0] if match[1] in kept else ''

    found, most = [], (-1, 0)
    for name, weights in _candidates(checkpoint):
        raw = weights
        inner = {_INSIDE.sub(cut, k): v for k, v in weights.items()}
        if len(inner) == len(weights):  # or else two became one
            weights = inner
        best = ('', -1, '', {})
        namings = (*_namings(weights), raw) if revise_keys else (weights,)
        for named_so in namings:
            revised = _revised(named_so, revise_keys, argument)
            for names, added in ((own, ''), (bare, common)):
                fit = _prefix_of(revised, names, path, argument)
                if fit[1] > best[1]:
                    best = (*fit, added, revised)
        prefix, fitting, added, weights = best
        weights = {
            added + key[len(prefix) :]: value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
        # Those with the same names may be of a wider network.
        same = sum(v.shape == shapes.get(k) for k, v in weights.items())
        if (fitting, same) >= most:
            found = found if (fitting, same) == most else []
            found.append(_Found(name, prefix, weights))
            most = (fitting, same)
    if not found:
        entries = _some([str(key) for key in checkpoint])
        holds = f'its entries are {entries}' if entries else 'it is empty'
        raise CheckpointError(
            f'{argument}={path} holds no weights: {holds}. {_HOW_TO_SAVE}'
        )
    _check_clear(found, most[0] >= len(own) / 2, f'{argument}={path}')
    for other in found[1:]:
        if other.name not in _EMA_NAMES or _same(other, found[0]):
            continue
        if _is_of_ema_hook(checkpoint):
            print_log(
                f'{argument}={path}: "{found[0].name}" holds the running '
                'means of the weights, as EMAHook writes them, and '
                f'"{other.name}" the weights themselves. Taken are the means.',
                logger='current',
            )
        else:
            print_log(
                f'{argument}={path}: taken are the weights under '
                f'"{found[0].name}", not their running means under '
                f'"{other.name}". For those, save them alone.',
                logger='current',
            )
    return found[0]


def _is_of_ema_hook(checkpoint: Mapping) -> bool:
    """Whether MMEngine's EMAHook had a part in it, which swaps the two."""
    meta, other = checkpoint.get('meta'), checkpoint.get('ema_state_dict')
    return (
        isinstance(meta, Mapping)
        and 'mmengine_version' in meta
        and isinstance(other, Mapping)
        and 'steps' in other
    )


def _check_clear(found: Sequence[_Found], fit: bool, what: str) -> None:
    """Refuse a choice among networks that only their names tell apart."""
    first = found[0]
    others = [
        each.name
        for each in found[1:]
        if each.name not in _EMA_NAMES and not _same(each, first)
    ]
    known = ('', *_NAMES, *_EMA_NAMES)
    if fit and others and (first.name not in known or first.name in others):
        names = [first.name, *others]
        raise ValueError(
            f'{what} holds several networks that fit: {_some(names)}. Save '
            'the one that is meant on its own.'
        )


def _same(one: _Found, other: _Found) -> bool:
    """Whether the same weights stand in a file twice."""
    return one.weights.keys() == other.weights.keys() and all(
        value.dtype == other.weights[key].dtype
        and torch.equal(value, other.weights[key])
        for key, value in one.weights.items()
    )


def _namings(weights: Dict[str, Tensor]) -> Iterator[Dict[str, Tensor]]:
    """Names for ``revise_keys``, whose author had them with other wrappers.

    They are as in the file, without wrappers, and behind DataParallel's.
    """
    yield weights
    inner = {_OUTSIDE.sub('', key): value for key, value in weights.items()}
    if len(inner) == len(weights):
        yield inner
        yield {f'module.{key}': value for key, value in inner.items()}


def _revised(
    weights: Dict[str, Tensor],
    revise_keys: Sequence[Tuple[str, str]],
    argument: str,
) -> Dict[str, Tensor]:
    """Weights under their new names."""
    try:
        pairs = [(re.compile(p), new) for p, new in revise_keys]
        for pattern, new in pairs:
            weights = {pattern.sub(new, k): v for k, v in weights.items()}
    except (TypeError, ValueError, re.error) as error:
        raise TypeError(
            f'revise_keys beside {argument} should be pairs of a regular '
            'expression and its replacement, such as [("^linear", "fc")], '
            f'but got {revise_keys!r} ({error}).'
        ) from error
    return {key: value for key, value in weights.items() if key}


def _prefix_of(
    weights: Dict[str, Tensor], own: set, path: str, argument: str
) -> Tuple[str, int]:
    """What stands before most of a network's names, and before how many."""
    fitting = Counter()
    for key in weights:
        parts = key.split('.')
        for cut in range(len(parts)):
            if '.'.join(parts[cut:]) in own:
                fitting['.'.join([*parts[:cut], ''])] += 1
    if not fitting:
        return '', 0
    most = max(fitting.values())
    ranked = sorted(
        (sum(part not in _WRAPPERS for part in p.split('.')[:-1]), p)
        for p, number in fitting.items()
        if number == most
    )
    # With few names in common it is no weights of this network anyhow.
    unclear = [p for rank, p in ranked if rank == ranked[0][0] > 0]
    if len(unclear) > 1 and most >= len(own) / 2:
        raise ValueError(
            f'{argument}={path} holds several networks that fit: '
            f'{_some(unclear)}. Save the one that is meant on its own, or '
            'choose it by revise_keys.'
        )
    chosen = min(ranked, key=lambda r: (r[0], r[1].count('.')))[1]
    rivals = [
        prefix
        for _, prefix in ranked
        if prefix != chosen
        # A run of MMRazor's is asked for its student.
        and 'architecture' not in chosen.split('.')
        and not all(
            weights[chosen + key].equal(weights[prefix + key])
            for key in own
            if chosen + key in weights and prefix + key in weights
        )
    ]
    means = [each for each in rivals if _EMA.search(each)]
    if len(rivals) > len(means) and most >= len(own) / 2:
        raise ValueError(
            f'{argument}={path} holds several networks that fit, with other '
            f'weights: {_some([chosen, *rivals])}. Save the one that is meant '
            'on its own.'
        )
    if means:
        print_log(
            f'{argument}={path}: taken are the weights under "{chosen}", and '
            f'not the running means under {_some(means)}.',
            logger='current',
        )
    return chosen, most


def _where_it_is_made(path: str) -> str:
    """Names the config whose run leaves that file, if there is one."""
    name = Path('configs/teachers', f'{Path(path).parent.name}.py')
    package = Path(__file__).parents[2]
    for root in (package.parent, package / '.mim'):
        if Path(root, name).is_file():
            shown = root / name
            if shown.is_relative_to(Path.cwd()):
                shown = shown.relative_to(Path.cwd())
            tool = shown.parents[2] / 'tools/train.py'
            return (
                f' Make it by "python {tool} {shown}", which needs real images'
            )
    return ''
