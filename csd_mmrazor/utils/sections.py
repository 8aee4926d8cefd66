# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The sections of a config that MMEngine reads, and what is right in them.

MMEngine takes a section by its name and passes over what it does not know,
so a misspelt one changes nothing. What has a ``type`` is checked where it is
built; see :mod:`csd_mmrazor.utils.arguments`.
"""

import inspect
import math
from multiprocessing import get_all_start_methods
from typing import Any, Collection, Dict, Iterator, List, Optional, Union

import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from .arguments import NoneType, argument_types, check_value
from .suggestions import closest

_OPTIONAL_DICT = (dict, NoneType)
_OPTIONAL_TEXT = (str, NoneType)
# Sections with their types; None for any.
SECTIONS: Dict[str, Optional[tuple]] = {
    **dict.fromkeys(list(inspect.signature(Runner.__init__).parameters)[1:]),
    **dict.fromkeys(('model', 'env_cfg', 'randomness'), (dict,)),
    **dict.fromkeys(
        (
            *('train_dataloader', 'val_dataloader', 'test_dataloader'),
            *('train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper'),
            *('auto_scale_lr', 'default_hooks', 'data_preprocessor'),
            *('log_processor', 'visualizer', 'custom_imports'),
            'model_wrapper_cfg',
        ),
        _OPTIONAL_DICT,
    ),
    **dict.fromkeys(
        ('load_from', 'work_dir', 'sync_bn', 'default_scope'), _OPTIONAL_TEXT
    ),
    **dict.fromkeys(('resume', 'find_unused_parameters'), (bool,)),
    **dict.fromkeys(
        ('val_evaluator', 'test_evaluator', 'param_scheduler'),
        (dict, list, NoneType),
    ),
    'custom_hooks': (list, NoneType),
    'compile': (bool, dict, NoneType),
    'activation_checkpointing': None,
    'efficient_conv_bn_eval': None,
}
# What is read of a config for the network in it, which may be one of training.
OF_NETWORKS = (
    'model',
    'custom_imports',
    'data_preprocessor',
    'default_scope',
)
# Names of MMCV 1, and of arguments, which a config has elsewhere today.
_ELSEWHERE = dict(
    checkpoint_config='default_hooks.checkpoint',
    cudnn_benchmark='env_cfg.cudnn_benchmark',
    deterministic='randomness.deterministic',
    dist_params='env_cfg.dist_cfg',
    evaluation='val_evaluator',
    hooks='custom_hooks',
    log_config='default_hooks.logger',
    lr_config='param_scheduler',
    optimizer='optim_wrapper.optimizer',
    optimizer_config='optim_wrapper',
    resume_from='load_from',
    seed='randomness.seed',
    total_epochs='train_cfg.max_epochs',
)
# MMEngine's own, which are there unless a config has None for them.
MMENGINE_HOOKS = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler'),
    'checkpoint',
)
_TYPE = dict(type=None)
_PARAMWISE = dict(
    custom_keys=(dict,),
    bypass_duplicate=(bool,),
    **dict.fromkeys(
        (
            *('bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult'),
            *('flat_decay_mult', 'dwconv_decay_mult', 'dcn_offset_lr_mult'),
        ),
        (float,),
    ),
)
# Constructors that build an optimizer for each part of an algorithm.
_OF_PARTS = ('DistillationOptim', 'SeparateOptim')
_OF_WRAPPERS = ('type', 'paramwise_cfg', *argument_types(AmpOptimWrapper))
_MULTIPLIERS = dict.fromkeys(('lr_mult', 'decay_mult'), (float,))
_DATA_LOADER = {
    **argument_types(DataLoader),
    # Where torch's annotations cannot be read.
    **dict.fromkeys(
        ('drop_last', 'persistent_workers', 'pin_memory', 'shuffle'), (bool,)
    ),
    'batch_size': (int, NoneType),
    'num_workers': (int,),
    'prefetch_factor': (int, NoneType),
    'timeout': (float,),
    'dataset': (dict,),
    'sampler': _OPTIONAL_DICT,
    'batch_sampler': _OPTIONAL_DICT,
    'num_batch_per_epoch': (int, NoneType),
}
_ARGUMENTS = dict(
    env_cfg=dict(
        cudnn_benchmark=(bool,),
        resource_limit=(int,),
        mp_cfg={
            **argument_types(set_multi_processing),
            'mp_start_method': (*get_all_start_methods(), None),
        },
        dist_cfg={
            'port': None,
            **argument_types(init_dist),
            **argument_types(torch.distributed.init_process_group),
            'init_backend': (str,),
            'timeout': (float, NoneType),
        },
    ),
    randomness={
        **argument_types(Runner.set_randomness),
        'seed': (int, NoneType),
    },
    auto_scale_lr=dict(enable=(bool,), base_batch_size=(int,)),
    log_processor={
        **_TYPE,
        **argument_types(LogProcessor),
        'by_epoch': (bool,),
    },
    train_cfg=dict(
        **_TYPE,
        by_epoch=(bool,),
        **{
            **argument_types(IterBasedTrainLoop),
            **argument_types(EpochBasedTrainLoop),
        },
    ),
    val_cfg={**_TYPE, **argument_types(ValLoop)},
    test_cfg={**_TYPE, **argument_types(TestLoop)},
    train_dataloader=_DATA_LOADER,
    val_dataloader=_DATA_LOADER,
    test_dataloader=_DATA_LOADER,
)


def check_names(
    cfg: Config, used: Collection[str], wanted: Collection[str] = SECTIONS
) -> None:
    """Check that no section of a config file is misspelt.

    A config may have variables. One that is almost called like a section, and
    that nothing in the file uses, is none.

    Args:
        cfg (Config): The config.
        used (collection[str]): Names that the file and its bases use.
        wanted (collection[str]): Sections that are read; what else there may
            be in the config does not count. Defaults to all.

    Raises:
        ValueError: If a name has no effect; says what is meant.
    """
    for name, value in cfg._cfg_dict.items():
        if name in SECTIONS or name in used:
            continue
        meant = _ELSEWHERE.get(name) or closest(name, [*SECTIONS, '_base_'])
        if meant is None or meant.split('.')[0] not in (*wanted, '_base_'):
            continue
        # A config that was written out has its variables beside sections.
        if not _is_within(value, cfg._cfg_dict, name):
            raise ValueError(
                f'The config has {name}, which MMEngine does not read and '
                f'nothing in the config uses. Did you mean {meant}?'
            )


def _is_within(value: Any, cfg: Dict, name: str) -> bool:
    """Whether a variable's value is somewhere in the sections."""
    if isinstance(value, (dict, list)) and value:
        others = (cfg[each] for each in SECTIONS if each in cfg)
        return any(value == other for part in others for other in _all(part))
    node: Any = cfg
    for part in _ELSEWHERE.get(name, name).split('.'):
        node = node.get(part) if isinstance(node, dict) else None
    return name in _ELSEWHERE and node == value


def _all(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, (dict, list, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _all(each)


def check_sections(cfg: Config) -> None:
    """Check what is in the sections of a config and has no ``type``.

    Args:
        cfg (Config): The config, with its options.

    Raises:
        ValueError: If there is an argument that nobody reads, or one of
            another type; names it.
    """
    for name, kinds in SECTIONS.items():
        if kinds and name in cfg:
            check_value(name, cfg[name], kinds)
    for name, known in _ARGUMENTS.items():
        section = cfg.get(name)
        if section and _is_plain(name, section):
            _check_known(name, section, known)
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    if not 0 <= seed < 2**32:
        raise ValueError(
            f'randomness.seed should be from 0 to 2**32 - 1, but got {seed}.'
        )
    _check_hooks(cfg.get('default_hooks') or {})
    _check_optimizers(cfg)


def _is_plain(name: str, section: Dict) -> bool:
    """Whether MMEngine's own class takes a section, not somebody's."""
    if name.endswith('_dataloader'):
        return 'dataset' in section
    kind = section.get('type')
    ours = (LogProcessor, EpochBasedTrainLoop, IterBasedTrainLoop)
    ours = (*ours, ValLoop, TestLoop)
    return kind is None or kind in ours or kind in [c.__name__ for c in ours]


def _check_known(path: str, section: Dict, known: Dict) -> None:
    """Check names and types of the arguments of a section."""
    for name, value in section.items():
        if name not in known:
            meant = closest(name, known)
            hint = f'Did you mean {path}.{meant}? ' if meant else ''
            raise ValueError(
                f'{path} has no argument {name}. {hint}There are '
                f'{", ".join(known)}.'
            )
        wanted = known[name]
        if isinstance(wanted, dict):
            check_value(f'{path}.{name}', value, (dict,))
            _check_known(f'{path}.{name}', value, wanted)
        elif wanted:
            check_value(f'{path}.{name}', value, wanted)


def _check_hooks(hooks: Dict[str, Any]) -> None:
    for name, hook in hooks.items():
        meant = closest(name, MMENGINE_HOOKS)
        if name in MMENGINE_HOOKS:
            if hook is None:
                continue
        elif meant and not name.startswith(meant):
            raise ValueError(
                f'default_hooks has {name}. Did you mean '
                f'default_hooks.{meant}? Put hooks of your own into '
                'custom_hooks.'
            )
        if not isinstance(hook, dict):
            raise ValueError(
                f'default_hooks.{name} should be a dict, but got {hook!r}. '
                'None leaves out any but synthesis, where rounds=0 trains on '
                'the initial images.'
            )
        if 'type' not in hook:
            meant = closest(name, [each for each in hooks if each != name])
            hint = f' Did you mean default_hooks.{meant}?' if meant else ''
            raise ValueError(
                f'default_hooks.{name} has no type: a hook that the config '
                f'does not have needs one.{hint}'
            )


def _check_optimizers(cfg: Config) -> None:
    section = cfg.get('optim_wrapper') or {}
    constructor = str(section.get('constructor', 'Default'))
    parts = {
        name: value
        for name, value in section.items()
        if isinstance(value, dict) and 'optimizer' in value
    }
    if any(kind in constructor for kind in _OF_PARTS):
        _check_parts(section, parts)
    elif 'optimizer' in section:
        parts = {}
    wrappers = {f'optim_wrapper.{name}': parts[name] for name in parts}
    wrappers['optim_wrapper'] = section
    for path, wrapper in wrappers.items():
        if 'optimizer' in wrapper:
            check_value(f'{path}.optimizer', wrapper['optimizer'], (dict,))
        clip = wrapper.get('clip_grad')
        check_value(f'{path}.clip_grad', clip, _OPTIONAL_DICT)
        if clip is not None:
            by_value = clip.get('type') == 'value'
            clipping = clip_grad_value_ if by_value else clip_grad_norm_
            known = {**_TYPE, **argument_types(clipping)}
            limit = 'clip_value' if by_value else 'max_norm'
            known.pop('parameters')
            known[limit] = (float, math.inf)
            _check_known(f'{path}.clip_grad', clip, known)
            if limit not in clip:
                raise ValueError(f'{path}.clip_grad has no {limit}.')
        paramwise = wrapper.get('paramwise_cfg')
        check_value(f'{path}.paramwise_cfg', paramwise, _OPTIONAL_DICT)
        kinds = ('Default', *_OF_PARTS)
        if paramwise and any(kind in constructor for kind in kinds):
            _check_known(f'{path}.paramwise_cfg', paramwise, _PARAMWISE)
            _check_custom_keys(path, paramwise, wrapper.get('optimizer'))


def _check_parts(section: Dict, parts: Dict) -> None:
    """Check that parts of an algorithm alone have arguments."""
    for name, value in section.items():
        if name == 'constructor' or name in parts:
            continue
        meant = closest(name, _OF_WRAPPERS)
        if meant is None:
            raise ValueError(
                f'optim_wrapper.{name}={value!r} has no optimizer: set '
                f'optim_wrapper.{name}.optimizer=dict(type=..., lr=...), or '
                f'leave {name} out.'
            )
        places = [f'optim_wrapper.{part}.{meant}' for part in parts]
        raise ValueError(
            f'optim_wrapper.{name} belongs to no part: each has an optimizer '
            'of its own, with its arguments. Set '
            f'{" and ".join(places or ["optim_wrapper.PART." + meant])}.'
        )


def _check_custom_keys(path: str, paramwise: Dict, optimizer: Any) -> None:
    """Check what weights get for their names; MMEngine takes any name."""
    kind = (optimizer or {}).get('type')
    if isinstance(kind, str):
        kind = getattr(torch.optim, kind, None)
    for key, given in (paramwise.get('custom_keys') or {}).items():
        where = f'{path}.paramwise_cfg.custom_keys[{key!r}]'
        check_value(where, given, (dict,))
        if inspect.isclass(kind):  # Others may have any arguments.
            known = dict(_MULTIPLIERS, **argument_types(kind))
            known.pop('params', None)
            _check_known(where, given, known)


def check_schedules(cfg: Config) -> None:
    """Check that there is a schedule for each optimizer and no other.

    Args:
        cfg (Config): A config for training.

    Raises:
        ValueError: If there is not.
    """
    schedules: Union[Dict, List, None] = cfg.get('param_scheduler')
    optimizers = [
        name
        for name, value in cfg.optim_wrapper.items()
        if isinstance(value, dict) and 'optimizer' in value
    ]
    if not optimizers or not isinstance(schedules, dict):
        return
    if 'type' in schedules:
        return
    for name in {*schedules} - {*optimizers}:
        meant = closest(name, optimizers)
        hint = f' Did you mean param_scheduler.{meant}?' if meant else ''
        raise ValueError(
            f'param_scheduler has {name}, which optim_wrapper has no '
            f'optimizer for.{hint}'
        )
    for name in {*optimizers} - {*schedules}:
        if cfg.model.get(name) is not None:
            raise ValueError(
                f'param_scheduler has no {name}, which optim_wrapper has an '
                'optimizer for: give it a schedule, or [] for none.'
            )
