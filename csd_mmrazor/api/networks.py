# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks as people have them, as configs name them, and what is in them."""

import ast
import inspect
import sys
import sysconfig
from contextlib import ExitStack, suppress
from copy import deepcopy
from itertools import islice, product
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Union,
)

import torch
import torch.nn as nn
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings
from mmrazor.registry import MODELS
from torch import Tensor
from torch.nn.parameter import UninitializedTensorMixin

from ..models.utils import (
    about_outputs,
    about_precision,
    bn_layers,
    check_memory,
    check_repeats,
    evaluating,
    load_weights,
    logits_of,
    normalised_outputs,
    own_memory,
)
from ..models.utils.features import as_map
from ..utils.imports import LENT, import_file, import_object

# Values that a config can hold.
_PLAIN = (bool, int, float, str, type(None))
# Where packages are installed, whose modules any program can import.
_INSTALLED = ('site-packages', 'dist-packages')
# How often arguments are guessed; and, of those by which nothing can be made
# without memory, how many are tried with it, which takes a second of some.
_MOST_GUESSES, _MOST_BUILT = 200, 10
_OTHER = 'what arguments it was made with is not known'


class Network(NamedTuple):
    """A network, and what a config says to build one like it."""

    module: nn.Module  # as the caller has it, or as it was built
    build_cfg: Dict[str, Any]
    note: str  # why no config can name it; '' if one can


class Traced(NamedTuple):
    """What a network does with images, in names of its built form."""

    num_classes: int
    logits: str  # the module that returns them
    feature: Optional[str]  # ... the last feature map, if there is one
    channels: int  # of that map
    pooled: Optional[str]  # ... the pooled feature; None: the last linear's
    has_bn: bool
    outputs: str = ''  # what it returns in place of logits


def get_network(
    given: Union[nn.Module, str],
    name: str,
    weights: Optional[str] = None,
    num_classes: Optional[int] = None,
    arguments: Optional[Dict[str, Any]] = None,
) -> Network:
    """A network that a person gives, by itself or by a name.

    Args:
        given (nn.Module | str): The network; or ``file.py:Name`` or
            ``package.Name`` of a class or function that makes it, the name of
            a model of mmpretrain, or a config file.
        name (str): 'teacher' or 'student', for messages.
        weights (str, optional): A file or URL. Defaults to None, those it
            has.
        num_classes (int, optional): Given to what takes ``num_classes``.
        arguments (dict, optional): Further arguments of what makes it.

    Raises:
        TypeError: If it is no network, or there are arguments for one that
            is made.
        ValueError: If there is nothing of that name, or it makes none.
    """
    if isinstance(given, nn.Module):
        if arguments:
            raise TypeError(
                f'{name}_args={arguments!r} would do nothing, since {name} is '
                'a network that is made already.'
            )
        _check_fit(given, name)
        network = _named(given, name)
        if weights is not None:
            module = deepcopy(given) if name == 'teacher' else given
            network = network._replace(module=module)
    elif isinstance(given, (str, Path)):
        network = _made(str(given), name, num_classes, dict(arguments or {}))
    else:
        raise TypeError(
            f'{name} should be a torch.nn.Module or the name of one, such as '
            '"my_net.py:Net" or "torchvision.models.resnet18", but got a '
            f'{type(given).__name__}.'
        )
    if weights is not None:
        load_weights(network.module, str(weights), f'{name}_weights')
    return network


def _made(
    spec: str, name: str, num_classes: Optional[int], arguments: Dict
) -> Network:
    """A network by its name."""
    if spec.endswith('.py') or '::' in spec:
        return _of_config(spec, name, arguments)
    if '.' not in spec and ':' not in spec:
        return _of_mmpretrain(spec, name, num_classes, arguments)
    try:
        make = import_object(spec)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f'{name}={spec!r} cannot be imported: {error}. Give FILE.py:Name '
            'or package.Name of a class or function, or a name of mmpretrain.'
        ) from error
    # Whatever folder the config is read in later.
    path, colon, attribute = spec.rpartition(':')
    if not colon:
        module, _, attribute = spec.rpartition('.')
        path = getattr(sys.modules[module], '__file__', None) or ''
    if colon or (path.endswith('.py') and not _is_installed(path)):
        spec = f'{Path(path).expanduser().resolve()}:{attribute}'
    build_cfg = dict(type='mmrazor.TorchClassifier', factory=spec, **arguments)
    if num_classes is not None and _takes(make, 'num_classes'):
        known = dict(dict(num_classes=num_classes), **build_cfg)
        # What takes any argument may know nothing of this one.
        with suppress(ValueError):
            return Network(_build(known, name, spec).net, known, '')
    return Network(_build(build_cfg, name, spec).net, build_cfg, '')


def _of_config(spec: str, name: str, arguments: Dict) -> Network:
    """The model of a config, of a file or of a package (``package::FILE``)."""
    if '::' not in spec and not Path(spec).is_file():
        raise ValueError(f'{name}={spec!r}: there is no such file.')
    if '::' not in spec:
        _check_is_config(spec, name)
    try:
        cfg = get_config(spec) if '::' in spec else Config.fromfile(spec)
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
        model = ConfigDict(cfg.model).to_dict()
    except Exception as error:
        raise ValueError(
            f'{name}={spec!r} is no config with a model '
            f'({type(error).__name__}: {error}).'
        ) from error
    build_cfg = dict(
        _scope_=cfg.get('default_scope', 'mmpretrain'),
        **dict(model, **arguments),
    )
    build_cfg.pop('init_cfg', None)
    return Network(_build(build_cfg, name, spec), build_cfg, '')


def _check_is_config(path: str, name: str) -> None:
    """Check that a file is not the code of networks."""
    try:
        body = ast.parse(Path(path).read_text(encoding='utf-8')).body
    except (SyntaxError, ValueError):
        return  # the config's reader says what is wrong
    defined = [
        each.name
        for each in body
        if isinstance(each, (ast.ClassDef, ast.FunctionDef))
    ]
    assigned = {
        node.id
        for each in body
        if not isinstance(each, (ast.ClassDef, ast.FunctionDef))
        for node in ast.walk(each)
        if isinstance(node, ast.Name)
    }
    if defined and not assigned & {'model', '_base_', 'read_base'}:
        listed = ' or '.join(f'{path}:{each}' for each in defined[:10])
        raise ValueError(
            f'{name}={path!r} is no config, as there is no model in it. Name '
            f'the class or function that makes the {name}: {listed}.'
        )


def _of_mmpretrain(
    name: str, which: str, num_classes: Optional[int], arguments: Dict
) -> Network:
    from mmpretrain import get_model, list_models

    known = list_models()
    if name not in known:
        import difflib

        close = difflib.get_close_matches(name, known, 3, 0.4)
        raise ValueError(
            f'{which}={name!r} is no model of mmpretrain'
            + (f' (did you mean {" or ".join(close)}?)' if close else '')
            + '. Others are named FILE.py:Name or package.Name.'
        )
    model = get_model(name, pretrained=False)
    build_cfg = model._config.model.to_dict()
    build_cfg = dict(build_cfg, _scope_='mmpretrain', **arguments)
    head = build_cfg.get('head')
    if num_classes is not None and head and 'num_classes' in head:
        build_cfg['head'] = dict(head, num_classes=num_classes)
    return Network(_build(build_cfg, which, name), build_cfg, '')


def _takes(make: Any, argument: str) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.name == argument or p.kind is p.VAR_KEYWORD for p in parameters
    )


def _build(build_cfg: Dict, name: str, what: str) -> nn.Module:
    try:
        with DefaultScope.overwrite_default_scope('mmrazor'):
            return MODELS.build(deepcopy(build_cfg))
    except Exception as error:
        raise ValueError(
            f'{name}={what!r} cannot be made with these arguments '
            f'({type(error).__name__}: {error}): give others by {name}_args.'
        ) from error


def _named(module: nn.Module, name: str) -> Network:
    """What a config says to build a network that a program made.

    Only one that is alike in everything but its weights counts.
    """
    cls = type(module)
    lent = dict(type='mmrazor.TorchClassifier', factory=f'{LENT}{name}')
    difference = _OTHER
    try:
        factory = _name_of_class(cls)
        left = [_MOST_BUILT]
        for arguments in _arguments_of(module):
            found = _tried(module, factory, arguments, left)
            if not found:
                difference = ''
                break
            difference = found if found != _OTHER else difference
    except ValueError as error:
        difference = f'{error}'
    if difference:
        return Network(
            module,
            lent,
            f'{cls.__name__} cannot be made from the config alone: '
            f'{difference}. This run, the files that it leaves and the same '
            'call again are not affected. Its config.py is for reading: '
            'commands that build this network by it, such as train, estimate '
            f'and quantize, refuse it. For them, give {name}="FILE.py:Name" '
            f'or "package.Name" with {name}_args and {name}_weights.',
        )
    build_cfg = dict(
        type='mmrazor.TorchClassifier', factory=factory, **arguments
    )
    return Network(module, build_cfg, '')


def _tried(
    module: nn.Module,
    factory: str,
    arguments: Dict[str, Any],
    left: List[int],
) -> str:
    """What is not alike in a module and one that is made by arguments.

    Args:
        module (nn.Module): The module.
        factory (str): Name of its class.
        arguments (dict): A guess.
        left (list[int]): How often one that cannot be made without memory may
            still be made with it; is counted down.
    """
    make = import_object(factory)
    # Without memory first, since most guesses are wrong.
    for device in ('meta', 'cpu'):
        try:
            with torch.random.fork_rng([]), torch.device(device):
                like = make(**arguments)
        except Exception:  # whatever the arguments make it raise
            if device == 'cpu' or not left[0]:
                return _OTHER
            left[0] -= 1
            continue
        difference = _difference(module, like)
        if difference:
            return difference
    return ''


def _name_of_class(cls: type) -> str:
    if '<locals>' in cls.__qualname__ or '.' in cls.__qualname__:
        raise ValueError('its class is within another')
    if cls.__module__ == '__main__':
        raise ValueError('its class is in the program itself')
    file = inspect.getsourcefile(cls)
    if file is None or _is_installed(file):
        return f'{cls.__module__}.{cls.__qualname__}'
    # It has to be the class of this very module.
    if getattr(import_file(file), cls.__name__, None) is not cls:
        raise ValueError(f'{file} does not make the same class')
    return f'{Path(file).resolve()}:{cls.__qualname__}'


def _is_installed(file: str) -> bool:
    """Whether any program can import the module in a file."""
    places = (sysconfig.get_path('stdlib'), sysconfig.get_path('purelib'))
    return any(part in Path(file).parts for part in _INSTALLED) or any(
        Path(place) in Path(file).resolve().parents for place in places
    )


def _arguments_of(module: nn.Module) -> Iterator[Dict[str, Any]]:
    """Arguments that a module may have been made with, the likeliest first.

    They are plain values that it has under the names of the arguments, or
    the defaults; for integers also the widths of its layers.
    """
    widths = sorted({n for p in module.parameters() for n in p.shape})
    known, guessed = {}, {}
    for each in inspect.signature(type(module)).parameters.values():
        value = getattr(module, each.name, each.empty)
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if type(value) in _PLAIN:
            known[each.name] = value
        elif type(each.default) is int or each.default is each.empty:
            default = [] if each.default is each.empty else [each.default]
            guessed[each.name] = [*default, *widths]
    guesses = sorted(
        islice(product(*map(range, map(len, guessed.values()))), 10_000),
        key=lambda places: sum(place > 0 for place in places),
    )
    for places in guesses[:_MOST_GUESSES]:
        chosen = {
            name: values[place]
            for (name, values), place in zip(guessed.items(), places)
        }
        yield dict(known, **chosen)


def _difference(module: nn.Module, like: nn.Module) -> str:
    """What is not alike in two networks but the values of their weights."""
    own, other = dict(module.named_modules()), dict(like.named_modules())
    if own.keys() != other.keys():
        return _OTHER
    for key, part in own.items():
        if type(part) is not type(other[key]):
            return f'{key} is of another class'
        if _state_of(part) != _state_of(other[key]):
            has_shape = _shapes(part) == _shapes(other[key])
            return f'{key or "it"} was changed' if has_shape else _OTHER
    return ''


def _shapes(part: nn.Module) -> List:
    return [p.shape for p in part.parameters(recurse=False)]


def _state_of(part: nn.Module) -> Dict[str, Any]:
    """All about one module but the values of its weights."""
    state: Dict[str, Any] = {}
    for key, value in vars(part).items():
        if key in ('training', '_modules'):
            continue
        if key in ('_parameters', '_buffers'):
            state[key] = {
                k: v if v is None else (v.shape, v.dtype, v.requires_grad)
                for k, v in value.items()
            }
        elif isinstance(value, (*_PLAIN, tuple, list, dict, set)):
            state[key] = (
                repr(value)
                if not isinstance(value, dict)
                else {k: repr(v) for k, v in value.items()}
            )
        else:
            state[key] = getattr(value, '__qualname__', type(value).__name__)
    return state


def copied(module: nn.Module, name: str) -> nn.Module:
    """A copy of a network for a run, in float32 on the CPU.

    Args:
        module (nn.Module): As the caller has it.
        name (str): 'teacher' or 'student', for messages.

    Raises:
        ValueError: If a run could not copy, train or save it.
    """
    _check_fit(module, name)
    if name == 'student':
        # Its copy has memory of its own, unlike what is trained in the end.
        check_memory(module, name)
    try:
        copy = deepcopy(module).cpu().float()
    except Exception as error:  # whatever its attributes make of it
        raise ValueError(
            f'{name} ({type(module).__name__}) cannot be copied '
            f'({type(error).__name__}: {error}): give its name, such as '
            f'{name}="FILE.py:Name", and its weights as {name}_weights.'
        ) from error
    return own_memory(copy, name)


def _check_fit(module: nn.Module, name: str) -> None:
    what = _unfit(module, name == 'student')
    if what:
        raise ValueError(f'{name} ({type(module).__name__}) {what}')


def _unfit(module: nn.Module, is_trained: bool) -> str:
    """Why a network is none for a run; '' if it is one."""
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            return (
                'is of TorchScript, whose layers cannot be looked at: give '
                'the network before it is scripted or traced.'
            )
        if hasattr(part, '_orig_mod'):
            return 'is compiled: give the network before torch.compile().'
    parameters = list(module.parameters())
    tensors = [*parameters, *module.buffers()]
    if any(isinstance(t, UninitializedTensorMixin) for t in tensors):
        return 'has lazy layers: show it images of image_shape once before.'
    if any(t.is_meta for t in tensors):
        return 'has no weights, as it is on the device "meta".'
    if not parameters:
        return 'has no weights: make its tensors nn.Parameter.'
    precision = about_precision(module)
    if precision:
        return precision
    if is_trained and not any(p.requires_grad for p in parameters):
        return 'has no weight to train: requires_grad is False in all.'
    if is_trained and any(t.is_inference() for t in tensors):
        return 'was made in torch.inference_mode(), so it cannot be trained.'
    odd = [k for k, v in module.state_dict().items() if not torch.is_tensor(v)]
    if odd:
        return f'has a state that is no tensor ({", ".join(odd)}).'
    return ''


def trace(
    build_cfg: Dict[str, Any],
    module: nn.Module,
    inputs: Tensor,
    name: str,
    feature: Optional[str] = None,
    pooled: Optional[str] = None,
) -> Traced:
    """Find logits, last feature map and pooled feature by one pass.

    Args:
        build_cfg (dict): Of the network.
        module (nn.Module): A copy of it, on the CPU.
        inputs (Tensor): (N, C, H, W), normalised.
        name (str): 'teacher' or 'student', for messages.
        feature (str, optional): Name of the module that returns the last
            feature map, in place of what is found. Defaults to None.
        pooled (str, optional): ... of the pooled feature.

    Raises:
        ValueError: If it does not take the inputs, changes them, returns no
            finite logits with a gradient, has no module of a name, or is
            random in eval mode; or if a teacher returns probabilities.
    """
    below = 'net.' if 'factory' in build_cfg else ''
    names = {part: key for key, part in module.named_modules()}
    for argument, value in (('feature', feature), ('pooled', pooled)):
        if value is not None and value not in names.values():
            _no_module(f'{name}_{argument}', value, module)
    seen: List = []
    with ExitStack() as stack:
        for part in names:
            handle = part.register_forward_hook(
                lambda part, _, output: seen.append((names[part], output))
            )
            stack.callback(handle.remove)
        # No leaf, since those may not be changed, which is told below.
        inputs = inputs.detach().requires_grad_() * 1
        version = inputs._version
        with evaluating(module), torch.enable_grad():
            try:
                output = module(inputs)
            except Exception as error:
                raise ValueError(
                    f'{name} does not take images of image_shape='
                    f'{tuple(inputs.shape[1:])}: {type(error).__name__}: '
                    f'{error}'
                ) from error
    try:
        logits = logits_of(output)
    except TypeError as error:
        raise ValueError(f'{name}: {error}') from error
    if inputs._version != version:
        raise ValueError(
            f'{name} changes its inputs in place, which other networks get, '
            'too: write x = x + 1 and not x += 1 in its forward(), and '
            'inplace=False in its first layer.'
        )
    if not logits.requires_grad:
        raise ValueError(
            f'{name} passes no gradient from its logits to its inputs and '
            'weights: look for no_grad(), inference_mode(), detach() and '
            'argmax() in its forward().'
        )
    if not logits.isfinite().all():
        raise ValueError(f'{name} returns NaN or Inf for random images.')
    with evaluating(module), torch.no_grad():
        again = logits_of(module(inputs.detach()))
    check_repeats(logits.detach(), again, f'{name} ({type(module).__name__})')
    outputs = normalised_outputs(logits)
    if outputs == 'probabilities' and name == 'teacher':
        raise ValueError(
            f'{name} ({type(module).__name__}) {about_outputs(outputs)}.'
        )
    if feature is None:
        feature = _last_map(seen, logits)
    makers = [key for key, value in seen if value is logits and key]
    source = makers[-1] if makers else ''
    channels = next(
        (_channels(value) for key, value in reversed(seen) if key == feature),
        0,
    )
    ran = {key for key, _ in seen}
    if pooled is None and not any(
        isinstance(part, nn.Linear) and names[part] in ran for part in names
    ):
        # Of a network that is all one function, the logits.
        pooled = feature or ''
    return Traced(
        logits.shape[1],
        f'{below}{source}'.rstrip('.'),
        None if feature is None else f'{below}{feature}',
        channels,
        None if pooled is None else f'{below}{pooled}'.rstrip('.'),
        bool(list(bn_layers(module))),
        outputs,
    )


def _last_map(seen: Sequence, logits: Tensor) -> Optional[str]:
    """The last module that returns a map, the outermost of several."""
    for key, value in reversed(seen):
        if not key or value is logits or not torch.is_tensor(value):
            continue
        is_map = value.ndim == 4 and value.shape[2] * value.shape[3] > 1
        if not (is_map or value.ndim == 3):
            continue
        try:
            as_map(value)
        except ValueError:
            continue
        return key
    return None


def _channels(value: Any) -> int:
    try:
        return as_map(value).shape[1]
    except ValueError:
        return 0


def _no_module(argument: str, value: str, module: nn.Module) -> None:
    import difflib

    names = [key for key, _ in module.named_modules() if key]
    close = difflib.get_close_matches(value, names, 3)
    hint = f' Did you mean {" or ".join(close)}?' if close else ''
    shown = sorted(names, key=lambda key: key.count('.'))[:30]
    raise ValueError(
        f'{argument}={value!r}: {type(module).__name__} has no module of that '
        f'name.{hint} It has {", ".join(shown)}.'
    )
