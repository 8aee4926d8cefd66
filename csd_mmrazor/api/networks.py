# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks as people have them, as configs name them, and what is in them."""

import ast
import inspect
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import torch
import torch.nn as nn
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmrazor.registry import MODELS
from torch import Tensor
from torch.nn.parameter import UninitializedTensorMixin
from torch.utils._pytree import tree_leaves

from ..models.classifiers import TorchClassifier
from ..models.utils import (
    about_divided,
    about_one_number,
    about_precision,
    bn_layers,
    check_memory,
    check_order,
    check_outputs,
    check_passes_gradients,
    check_repeats,
    check_ties,
    check_weights,
    evaluating,
    functional_bn,
    load_weights,
    logits_of,
    own_memory,
    place_of_logits,
    renew_modes,
    unwrapped,
)
from ..models.utils.features import as_map
from ..utils.arguments import NoneType
from ..utils.config_files import read_config
from ..utils.error_text import error_text, named_error
from ..utils.imports import (
    LENT,
    custom_imports,
    import_object,
    importing_from,
    is_installed,
)
from ..utils.sections import OF_NETWORKS
from ..utils.teachers import pretrained_in, without_pretrained
from .recipes import (
    is_part,
    is_wrapped,
    kept_arguments,
    lent_cfg,
    makes,
    recipe_of,
    takes,
)

# How the names of files end that hold weights.
_OF_WEIGHTS = ('.pth', '.pt', '.pt2', '.th', '.ckpt', '.bin', '.safetensors')
_COMPUTES_ELSE = (
    'what its class makes of the same weights computes something else'
)
_ELSE = dict(
    student=f'{_COMPUTES_ELSE}, and so it will of student.pth: keep all that '
    'it computes with, such as random tensors, by register_buffer()'
)
# Of a student, where the teacher is the one to be given by its name.
_PRUNED_LIKEWISE = (
    'it was pruned from the teacher, which cannot be made so either'
)


# What returns these, (N, C, L); or vectors, (N, C), which are no matter. A
# Conv1d may mix tokens, (N, L, C), too, which others return then.
_OF_SEQUENCES = (
    *(nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d),
    *(nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d),
    nn.AdaptiveAvgPool1d,
)
_OF_TOKENS = nn.Linear, nn.LayerNorm


class Network(NamedTuple):
    """A network, and what a config says to build one like it."""

    # Without wrappers, as the caller has it, or as it was built.
    module: nn.Module
    build_cfg: Dict[str, Any]
    note: str  # why no config can name it; '' if one can
    # Modules that register its parts, of ``custom_imports`` of its config.
    imports: Sequence[str] = ()


class Traced(NamedTuple):
    """What a network does with images, in names of its built form."""

    num_classes: int
    logits: str  # the module that returns them
    feature: Optional[str]  # ... the last feature map, if there is one
    channels: int  # of that map
    pooled: Optional[str]  # ... the pooled feature; None: the last linear's
    has_bn: bool
    has_functional_bn: bool  # batch norms that are no layers
    outputs: str = ''  # what it returns in place of logits
    place: str = ''  # where in its output they are, as code has it


def get_network(
    given: Union[nn.Module, str],
    name: str,
    weights: Optional[str] = None,
    num_classes: Optional[int] = None,
    arguments: Optional[Dict[str, Any]] = None,
    whole: Optional[Network] = None,
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
        whole (Network, optional): One from which it may have been pruned.

    Raises:
        TypeError: If it is no network, or there are arguments for one that
            is made.
        ValueError: If there is nothing of that name, or it makes none, or the
            weights are not its own, or NaN.
    """
    if isinstance(given, torch.export.ExportedProgram):
        given = given.module()
    if isinstance(given, nn.Module):
        if arguments:
            raise TypeError(
                f'{name}_args={arguments!r} would do nothing, since {name} is '
                'a network that is made already.'
            )
        _check_fit(given, name)
        network = _named(_bare(given, name), name, whole)
        if weights is not None and name == 'teacher':
            network = network._replace(module=deepcopy(network.module))
    elif isinstance(given, (str, Path)):
        arguments = dict(arguments or {})
        network = _made(str(given), name, num_classes, arguments, weights)
    else:
        raise TypeError(
            f'{name} should be a torch.nn.Module or the name of one, such as '
            '"my_net.py:Net" or "torchvision.models.resnet18", but got '
            + _told(given, name)
        )
    if weights is not None:
        try:
            load_weights(network.module, str(weights), f'{name}_weights')
        except ValueError as error:
            is_of_shape = 'of shape' in str(error)  # as of a last layer
            head = network.build_cfg.get('head')
            made_for = (
                head if isinstance(head, dict) else network.build_cfg
            ).get('num_classes')
            counted = re.search(r'build it with num_classes=(\d+)', str(error))
            is_asked = num_classes is not None and made_for == num_classes
            if is_of_shape and is_asked:
                said = (
                    'classes says' if name == 'teacher' else 'the teacher has'
                )
                hint = (
                    f'The {name} was made for {num_classes} classes, which is '
                    f'what {said}: is that right?'
                )
            elif counted and isinstance(given, (str, Path)):
                how = _counted(network, name, str(given), int(counted[1]))
                if not how:
                    raise
                hint = f'It gets that by {how}.'
            else:
                raise
            raise ValueError(f'{error} {hint}') from error
        check_weights(network.module, f'{name}_weights={str(weights)!r}')
    return network


def _counted(network: Network, name: str, spec: str, classes: int) -> str:
    """Which argument makes a network of so many classes; '' if unknown."""
    build_cfg = network.build_cfg
    if 'factory' in build_cfg:
        with suppress(ImportError, ValueError):
            if takes(import_object(build_cfg['factory']), 'num_classes'):
                return f'{name}_args=dict(num_classes={classes})'
        return ''
    head = build_cfg.get('head')
    if not isinstance(head, dict) or 'num_classes' not in head:
        return ''
    if name == 'teacher' and not {*'.:'} & {*spec}:  # one of mmpretrain
        return f'classes={classes}'
    return f'{name}_args=dict(head={dict(head, num_classes=classes)})'


def _told(given: Any, name: str) -> str:
    """What something is that is no network, and what it may lack."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            if isinstance(value, nn.Module):
                return f'a dict that has one: give its {key!r}.'
        kind = type(given).__name__
        if 'type' in given:
            return f'a {kind}: write it to a config file, and give its name.'
        return (
            f'a {kind}, such as a file of weights holds: give the network '
            f'that they belong to, and that file by {name}_weights.'
        )
    if not callable(given):
        return f'a {type(given).__name__}.'
    what = 'class' if isinstance(given, type) else 'function'
    name = getattr(given, '__qualname__', type(given).__name__)
    return f'the {what} {name}: call it, and give what it returns.'


def _made(
    spec: str,
    name: str,
    num_classes: Optional[int],
    arguments: Dict,
    weights: Optional[str],
) -> Network:
    """A network by its name."""
    is_config = spec.endswith('.py') or '::' in spec or not {*'.:'} & {*spec}
    _check_arguments(spec, name, arguments, not is_config)
    is_file = Path(spec).expanduser().is_file() and not is_config
    if is_file or spec.endswith(_OF_WEIGHTS):
        raise ValueError(
            f'{name}={spec!r} is a file of weights, by which nothing can be '
            f'made: give the network by {name}="FILE.py:Name" or '
            f'"package.Name", and this file by {name}_weights.'
        )
    if spec.endswith('.py') or '::' in spec:
        return _of_config(spec, name, arguments, weights)
    if '.' not in spec and ':' not in spec:
        return _of_mmpretrain(spec, name, num_classes, arguments)
    try:
        make = import_object(spec)
    except (ImportError, ValueError) as error:
        is_method = 'is not a package' in str(error) or (
            ':' in spec and '.' in spec.rpartition(':')[2]
        )
        raise ValueError(
            f'{name}={spec!r} cannot be imported: {error}. Give FILE.py:Name '
            'or package.Name of a class or function, or a name of mmpretrain.'
            + ' For a method of a class, write a function that calls it.'
            * is_method
        ) from error
    # Whatever folder the config is read in later.
    path, colon, attribute = spec.rpartition(':')
    if not colon:
        module, _, attribute = spec.rpartition('.')
        path = getattr(sys.modules[module], '__file__', None) or ''
    if colon or (path.endswith('.py') and not is_installed(path)):
        spec = f'{Path(path).expanduser().resolve()}:{attribute}'
    build_cfg = dict(type='mmrazor.TorchClassifier', factory=spec, **arguments)
    if num_classes is not None and takes(make, 'num_classes'):
        known = dict(dict(num_classes=num_classes), **build_cfg)
        # What takes any argument may know nothing of this one.
        with suppress(ValueError):
            return Network(_build(known, name, spec).net, known, '')
    return Network(_build(build_cfg, name, spec).net, build_cfg, '')


def _check_arguments(
    spec: str, name: str, arguments: Dict, of_factory: bool
) -> None:
    """Check that a config can give them to what it makes."""
    for kept in arguments:
        if not isinstance(kept, str):
            raise TypeError(
                f'{name}_args has {kept!r} for the name of an argument, which '
                f'has to be a text, such as dict(width={arguments[kept]!r}).'
            )
    for kept, value in arguments.items():
        if not _is_plain(value):
            raise TypeError(
                f'{name}_args[{kept!r}] should be a number, a text, or a list '
                'or dict of such, which a config can hold, but got '
                f'{value!r:.80} ({type(value).__name__}). Write a function '
                'that takes no argument of it, such as def make(): return '
                f'Net({kept}=...), and give {name}="FILE.py:make" in place '
                f'of {spec!r}.'
            )
    for kept in kept_arguments(arguments, of_factory):
        raise ValueError(
            f'{name}_args with {kept!r}: configs use that name themselves. '
            f'Write a function that takes no argument of it, such as def '
            f'make(): return Net({kept}={arguments[kept]!r}), and give '
            f'{name}="FILE.py:make" in place of {spec!r}.'
        )


def _is_plain(value: Any) -> bool:
    """Whether the text of a config gives back a value."""
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    if isinstance(value, (list, tuple, set)):
        return value != set() and all(map(_is_plain, value))
    if type(value) is float:
        return math.isfinite(value)  # others are no names in a config
    return type(value) in (NoneType, bool, int, str, bytes)


def _of_config(
    spec: str, name: str, arguments: Dict, weights: Optional[str]
) -> Network:
    """The model of a config, of a file or of a package (``package::FILE``)."""
    spec = spec if '::' in spec else str(Path(spec).expanduser())
    if Path(spec).is_file():
        _check_is_config(spec, name)
    try:
        # As with the tools, its custom_imports may lie beside it.
        with importing_from(Path(spec).parent):
            cfg = read_config(spec, OF_NETWORKS)
    except Exception as error:  # whatever its statements do
        raise ValueError(f'{name}={spec!r}: {error_text(error)}') from error
    try:
        model = ConfigDict(cfg.model).to_dict()
    except Exception as error:
        raise ValueError(
            f'{name}={spec!r} is no config with a model '
            f'({type(error).__name__}: {error}).'
        ) from error
    if cfg.get('data_preprocessor'):  # as the runner does
        own = ConfigDict(cfg.data_preprocessor).to_dict()
        model.setdefault('data_preprocessor', own)
    scope = cfg.get('default_scope', 'mmpretrain')
    build_cfg = {'_scope_': scope, **model, **arguments}
    if 'factory' not in build_cfg:
        files = pretrained_in(build_cfg)
        if files and weights is None:
            raise ValueError(
                f'{name}={spec!r} names weights ({files[0]}), which are not '
                f'read here: give {name}_weights=FILE of the whole network, '
                'or the network itself, with its weights loaded.'
            )
        build_cfg = without_pretrained(build_cfg)
    build_cfg.pop('init_cfg', None)
    module = _build(build_cfg, name, spec)
    # Whose own network it is, as where it is named without a config.
    module = module.net if isinstance(module, TorchClassifier) else module
    return Network(module, build_cfg, '', custom_imports(cfg))


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
            + '. Others are named FILE.py:Name or package.Name, those of timm '
            f'timm.create_model with {which}_args model_name=...'
        )
    model = get_model(name, pretrained=False)
    build_cfg = without_pretrained(model._config.model.to_dict())
    build_cfg = dict(build_cfg, _scope_='mmpretrain', **arguments)
    head = build_cfg.get('head')
    if num_classes is not None and head and 'num_classes' in head:
        build_cfg['head'] = dict(head, num_classes=num_classes)
    module = _build(build_cfg, which, name)
    module._config = model._config  # as get_model() leaves it
    return Network(module, build_cfg, '')


def _build(build_cfg: Dict, name: str, what: str) -> nn.Module:
    try:
        with DefaultScope.overwrite_default_scope('mmrazor'):
            return MODELS.build(deepcopy(build_cfg))
    except TypeError as error:
        raise ValueError(
            f'{name}={what!r} cannot be made with these arguments '
            f'({named_error(error)}): give others by {name}_args, or name a '
            'function that makes it without any.'
        ) from error
    except Exception as error:
        text = error_text(error)
        own = re.sub(r'^factory=\S+ of TorchClassifier ', '', text)
        if own != text:
            raise ValueError(f'{name}={what!r} {own}') from error
        raise ValueError(
            f'{name}={what!r} cannot be made: {named_error(error)}'
        ) from error


def _named(module: nn.Module, name: str, whole: Optional[Network]) -> Network:
    """What a config says to build a network that a program made."""
    given = whole and whole.build_cfg, name == 'student'
    build_cfg, why = recipe_of(module, *given)
    renewed = _renewed(module) if build_cfg is None else None
    if renewed is not None:
        build_cfg, _ = recipe_of(renewed, *given)
    if build_cfg is not None:
        return Network(module, build_cfg, '')
    if whole is not None and whole.note and is_part(module, whole.module):
        why = _PRUNED_LIKEWISE
    return _lent(module, name, why)


def _renewed(module: nn.Module) -> Optional[nn.Module]:
    """A copy without what layers keep for eval mode, if they may do so."""
    if all(type(m).train is nn.Module.train for m in module.modules()):
        return None
    try:
        copy = deepcopy(module)
        renew_modes(copy)
    except Exception:  # what cannot be copied is told of later
        return None
    return copy


def _lent(module: nn.Module, name: str, why: str) -> Network:
    """A network that only the program has, and why no config can name it."""
    note = (
        f'{name} ({type(module).__name__}) cannot be made from the config '
        f'alone: {why}.'
    )
    return Network(module, lent_cfg(name), note)


def about_lent(networks: Dict[str, Network]) -> str:
    """What it means that no config can name some of a run's networks.

    Args:
        networks (dict[str, Network]): By 'teacher' and 'student'.

    Returns:
        str: Empty if a config can name all.
    """
    lent = [name for name, network in networks.items() if network.note]
    if not lent:
        return ''
    # What has to be given by its name.
    name, *others = [
        each for each in lent if _PRUNED_LIKEWISE not in networks[each].note
    ]
    likewise = ''.join(f', and {other} likewise' for other in others)
    listed = ' and '.join(f'"{LENT}{each}"' for each in lent)
    several = len(lent) > 1
    notes = [network.note for network in networks.values()]
    is_left = not any(n.endswith(f'{_ELSE["student"]}.') for n in notes)
    return (
        f'This run{", the files that it leaves" * is_left} and the same call '
        'again are not affected. Its config.py is for reading: commands that '
        'build '
        f'{"these networks" if several else "this network"} by it, such as '
        'train, test, export, quantize and estimate, refuse it. For them, '
        f'give {name}="FILE.py:Name" or "package.Name" with {name}_args and '
        f'{name}_weights{likewise}. Or, later, replace {listed} in a copy of '
        'that config by "FILE.py:function" of '
        + (
            'functions that make the networks.'
            if several
            else 'a function that makes the network.'
        )
    )


def proven(
    network: Network, copy: nn.Module, inputs: Tensor, name: str
) -> Network:
    """A network whose config makes what the program has, or that is lent.

    Args:
        network (Network): Of a module that a program made.
        copy (nn.Module): A copy of it, on the CPU.
        inputs (Tensor): (N, C, H, W), normalised.
        name (str): 'teacher' or 'student'.
    """
    with evaluating(copy):
        is_same = network.note or makes(network.build_cfg, copy, inputs)
    if is_same:
        return network
    return _lent(network.module, name, _ELSE.get(name, _COMPUTES_ELSE))


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
        check_ties(module, name)
    try:
        copy = deepcopy(module).cpu().float()
    except Exception as error:  # whatever its attributes make of it
        raise _uncopyable(module, name, error) from error
    return own_memory(copy, name)


def _bare(module: nn.Module, name: str) -> nn.Module:
    try:
        return unwrapped(module)
    except Exception as error:  # likewise
        raise _uncopyable(module, name, error) from error


def _uncopyable(module: nn.Module, name: str, error: Exception) -> ValueError:
    for key, part in module.named_modules():
        for attribute, value in {**vars(part), **part._buffers}.items():
            tensors = filter(torch.is_tensor, tree_leaves(value))
            if attribute != '_buffers' and not all(t.is_leaf for t in tensors):
                place = f'{key}.{attribute}'.lstrip('.')
                return ValueError(
                    f'{name} ({type(module).__name__}) cannot be copied, '
                    f'since its "{place}" holds what a pass has computed, '
                    'with its graph: keep VALUE.detach() there in its '
                    f'forward(), or set {place}=None before the call.'
                )

    return ValueError(
        f'{name} ({type(module).__name__}) cannot be copied '
        f'({named_error(error)}): give its name, such as '
        f'{name}="FILE.py:Name", and its weights as {name}_weights.'
    )


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
        try:
            inspect.signature(part.train).bind(True)
        except TypeError:
            return (
                f'has a train() that takes no mode, in '
                f'{type(part).__name__}: write def train(self, mode=True) '
                'and return super().train(mode) in it.'
            )
        try:
            # As whatever holds it calls it.
            inspect.signature(part.state_dict).bind(
                destination={}, prefix='', keep_vars=False
            )
        except TypeError:
            return (
                f'has a state_dict() of other arguments, in '
                f'{type(part).__name__}: write def state_dict(self, *args, '
                '**kwargs) and call super().state_dict(*args, **kwargs) in it.'
            )
    parameters = list(module.parameters())
    tensors = [*parameters, *module.buffers()]
    if any(isinstance(t, UninitializedTensorMixin) for t in tensors):
        return 'has lazy layers: show it images of image_shape once before.'
    if any(t.is_meta for t in tensors):
        return 'has no weights, as it is on the device "meta".'
    if any(t.layout is not torch.strided for t in tensors):
        return (
            'has sparse tensors, which runs cannot save: keep them dense, and '
            'call .to_sparse() in its forward().'
        )
    if not parameters:
        return 'has no weights: make its tensors nn.Parameter.'
    precision = about_precision(module)
    if precision:
        return precision
    # Parametrizations can be copied; what hooks compute cannot.
    divided = about_divided(
        key for key in module.state_dict() if 'parametrizations.' not in key
    )
    if divided:
        return f'cannot be copied: {divided}.'
    if is_trained and not any(p.requires_grad for p in parameters):
        return 'has no weight to train: requires_grad is False in all.'
    if is_trained and any(t.is_inference() for t in tensors):
        return 'was made in torch.inference_mode(), so it cannot be trained.'
    odd = [k for k, v in module.state_dict().items() if not torch.is_tensor(v)]
    if odd:
        return f'has a state that is no tensor ({", ".join(odd)}).'
    return ''


def _about_channels(
    module: nn.Module, below: str, count: int, name: str, error: Exception
) -> str:
    """What to do where images have other channels than a network takes."""
    convs = [
        (key.removeprefix(below), part.in_channels)
        for key, part in module.named_modules()
        if isinstance(part, nn.Conv2d)
    ]
    if not convs or convs[0][1] == count or 'channels' not in str(error):
        return ''
    key, channels = convs[0]
    several = 's' * (channels != 1)
    told = (
        f'. Its first convolution, {key}, takes {channels} channel{several}: '
    )
    if name == 'teacher':  # whose weights are for these
        return f'{told}image_shape=(C, H, W) should have as many.'
    return (
        f'{told}replace it by one that takes {count}; for a network by name, '
        'write a function that does so and returns it '
        '(student="file.py:function").'
    )


def _about_layout(module: nn.Module, inputs: Tensor) -> str:
    """What to do where a network takes channels last."""
    try:
        with evaluating(module), torch.no_grad():
            module(inputs.detach().permute(0, 2, 3, 1))
    except Exception:
        return ''
    return (
        '. It takes channels last, (N, H, W, C), but images here are '
        '(N, C, H, W): wrap it in a module whose forward() calls it with '
        'x.permute(0, 2, 3, 1).'
    )


def _about_batch_size(module: nn.Module, error: Exception) -> str:
    """What to do where an exported graph takes batches of one size only."""
    graphs = torch.fx.GraphModule
    if 'size()[0]' not in str(error) or not any(
        isinstance(part, graphs) for part in module.modules()
    ):
        return ''
    return (
        '. It takes one batch size only: export it with dynamic_shapes='
        '({0: torch.export.Dim("batch", min=2)},).'
    )


def _about_hooks(module: nn.Module) -> str:
    """That hooks of a copy refer to what it was copied from, if any do."""
    for key, part in module.named_modules():
        for hook in part._forward_hooks.values():
            for cell in getattr(hook, '__closure__', None) or ():
                with suppress(ValueError):  # an empty one
                    if isinstance(cell.cell_contents, nn.Module):
                        return (
                            f'. This is a copy, and its hook on "{key}" still '
                            'writes into the network that it was written in: '
                            'use what the layer returns in forward(), without '
                            'a hook.'
                        )
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
            random in eval mode; if a teacher takes no single image; or if
            it returns probabilities or sigmoids.
    """
    below = 'net.' if is_wrapped(build_cfg) else ''
    names = {part: key for key, part in module.named_modules()}
    for argument, value in (('feature', feature), ('pooled', pooled)):
        if value is not None and value not in names.values():
            _no_module(f'{name}_{argument}', value, module)
    seen: List = []
    versions: List[Optional[int]] = []

    def note(part: nn.Module, _: Any, output: Any) -> None:
        seen.append((names[part], output))
        is_counted = torch.is_tensor(output) and not output.is_inference()
        versions.append(output._version if is_counted else None)

    with ExitStack() as stack:
        for part in names:
            stack.callback(part.register_forward_hook(note).remove)
        # No leaf, since those may not be changed, which is told below.
        inputs = inputs.detach().requires_grad_() * 1
        version = inputs._version
        norms = stack.enter_context(functional_bn(module))
        with evaluating(module), torch.enable_grad():
            try:
                output = module(inputs)
            except Exception as error:
                about = (
                    _about_batch_size(module, error)
                    or _about_layout(module, inputs)
                    or _about_channels(
                        *(module, below, inputs.shape[1], name, error)
                    )
                    or _about_hooks(module)
                )
                raise ValueError(
                    f'{name} does not take images of image_shape='
                    f'{tuple(inputs.shape[1:])} in a batch of {len(inputs)}: '
                    f'{named_error(error)}{about}'
                ) from error
    if any(norms):
        raise ValueError(
            f'{name} ({type(module).__name__}) normalises by the batch in '
            'eval mode, too, and changes its running statistics: call eval() '
            'before torch.export, and write training=self.training in '
            'F.batch_norm().'
        )
    try:
        logits = logits_of(output)
    except TypeError as error:
        told = str(error)
        if torch.is_tensor(output) and output.shape == inputs.shape[:1]:
            told = about_one_number(output)
        raise ValueError(f'{name}: {told}') from error
    check_order(output, f'{name} ({type(module).__name__})')
    if logits.shape[1] < 2:
        raise ValueError(f'{name}: {about_one_number(logits)}')
    if inputs._version != version:
        raise ValueError(
            f'{name} changes its inputs in place, which other networks get, '
            'too: write x = x + 1 and not x += 1 in its forward(), and '
            'inplace=False in its first layer.'
        )
    # Of a student, its weights are looked at later.
    if name == 'teacher' or not logits.requires_grad:
        check_passes_gradients(logits, inputs, name)
    if not logits.isfinite().all():
        check_weights(module, name)
        raise ValueError(
            f'{name} ({type(module).__name__}) returns NaN or Inf for random '
            'images, though its weights are finite: look for a division by 0, '
            'or a root or logarithm, in its forward(), and check mean and std.'
        )
    with evaluating(module), torch.no_grad():
        again = logits_of(module(inputs.detach()))
    check_repeats(logits.detach(), again, f'{name} ({type(module).__name__})')
    # Of a student, the rehearsal finds that out.
    if name == 'teacher':
        _check_takes_one(module, inputs)
    outputs = check_outputs(logits, f'{name} ({type(module).__name__})')
    runs = Counter(key for key, _ in seen)
    if feature is None:
        feature = _last_map(module, seen, logits, inputs.shape[2:])
    elif any(key == feature and value is logits for key, value in seen):
        raise ValueError(
            f'{name}_feature={feature!r} returns the logits: name a module '
            'before it, which returns a map, (N, C, H, W).'
        )
    elif runs[feature] > 1:
        raise ValueError(
            f'{name}_feature={feature!r} runs {runs[feature]} times for each '
            'image, and the first of its maps would be taken: name a module '
            'that runs once.'
        )
    makers = [
        key
        for (key, value), version in zip(seen, versions)
        # Of several passes, recorders have the first. What is changed in
        # place afterwards, as by ``logits *= 2``, they have as it was.
        if value is logits
        and version in (None, logits._version)
        and key
        and runs[key] == 1
    ]
    # What other modules return in training may be more than the logits.
    layers = [key for key in makers if _is_torchs(module.get_submodule(key))]
    source = (layers or makers or [''])[-1]
    # Made after its last layer: its wrapper finds them in what it returns.
    of_wrapper = not layers and bool(below)
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
        '' if of_wrapper else f'{below}{source}'.rstrip('.'),
        None if feature is None else f'{below}{feature}',
        channels,
        None if pooled is None else f'{below}{pooled}'.rstrip('.'),
        any(names[layer] in ran for layer in bn_layers(module)),
        bool(norms),
        outputs,
        place_of_logits(output),
    )


def _check_takes_one(teacher: nn.Module, inputs: Tensor) -> None:
    """Check that a teacher takes a single image, such as a last one."""
    with evaluating(teacher), torch.no_grad():
        try:
            logits_of(teacher(inputs[:1].detach()))
        except Exception as error:
            text = named_error(error).rstrip('.')
            raise ValueError(
                f'teacher ({type(teacher).__name__}) takes {len(inputs)} '
                f'images, but not a single one, as the last batch may be: '
                f'{text}. Where its forward() has squeeze(), which takes the '
                'batch away, too, write flatten(1) or squeeze((2, 3)).'
            ) from error


def _fits(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Whether height and width could be those of a map of images."""
    one, other = shape[0] * size[1], shape[1] * size[0]
    return max(one, other) <= 2 * min(one, other)


def _is_torchs(part: nn.Module) -> bool:
    """Whether it is a layer of torch, which returns the same in training."""
    return type(part).__module__.startswith('torch.nn.') and not any(
        part.children()
    )


def _last_map(
    module: nn.Module, seen: Sequence, logits: Tensor, size: Sequence[int]
) -> Optional[str]:
    """The last module that returns a map, the outermost of several.

    None that runs more than once: recorders have its first pass. Nor one that
    is far before maps whose channels come last. Nor sequences, (N, C, L),
    which have the form of tokens, (N, L, C).
    """
    runs = Counter(key for key, _ in seen)
    sequences, tokens = (
        {
            getattr(value, 'shape', None)
            for key, value in seen
            if isinstance(module.get_submodule(key), kinds)
        }
        for kinds in (_OF_SEQUENCES, _OF_TOKENS)
    )
    later = 0  # height of the last map whose channels come last
    for key, value in reversed(seen):
        if not key or value is logits or not torch.is_tensor(value):
            continue
        if runs[key] > 1 or value.ndim not in (3, 4):
            continue
        if len(value) != len(logits):
            continue  # such as windows of images
        if value.ndim == 3 and (later or value.shape in sequences - tokens):
            return None
        if value.ndim == 4:
            _, *shape = value.shape
            if not _fits(shape[1:], size) and _fits(shape[:2], size):
                later = later or shape[0]
                continue
            if shape[1] * shape[2] == 1:
                continue
            if later and shape[1] > 2 * later:
                return None
        try:
            as_map(value, size)
        except ValueError:
            if value.ndim == 3:  # tokens that are no map, nor those before
                return None
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
