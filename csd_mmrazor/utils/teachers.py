# Copyright (c) csd_mmrazor developers. All rights reserved.
import difflib
from copy import copy
from typing import Any, Dict, List, Optional

import torch.nn as nn
from mmengine.model import PretrainedInit

# ``ckpt_path`` of a teacher that is to keep the weights it is built with.
NO_FILE = 'none'
# What stands beside a network's type and brings its weights along:
# ``cfg_path`` with ``pretrained``, arguments of torchvision and timm.
_BRINGS_WEIGHTS = ('pretrained', 'weights', 'checkpoint_path')
_KEYS = ('build_cfg', 'ckpt_path', 'revise_keys')


def check_teachers(teachers: Any) -> None:
    """Check that all teachers are to be built, and where weights come from.

    Args:
        teachers (dict[str, dict]): Configs by name; ``build_cfg`` and
            ``ckpt_path``, and optionally ``revise_keys``.

    Raises:
        TypeError: If it is no dict of such dicts.
        ValueError: If a teacher has an unknown key, or nothing says where
            its weights come from.
    """
    if (
        not isinstance(teachers, dict)
        or not teachers
        or not all(
            isinstance(cfg, dict) and isinstance(cfg.get('build_cfg'), dict)
            for cfg in teachers.values()
        )
    ):
        raise TypeError(
            'model.teachers should be a dict such as '
            'dict(resnet34=dict(build_cfg=..., ckpt_path=...)), but got '
            f'{teachers!r}.'
        )
    for name, cfg in teachers.items():
        for key in cfg:
            if key not in _KEYS:
                close = difflib.get_close_matches(key, _KEYS, 1)
                meant = f' Did you mean {close[0]}?' if close else ''
                raise ValueError(
                    f'model.teachers.{name} has no argument {key}; it takes '
                    f'{", ".join(_KEYS)}.{meant}'
                )
        if not cfg.get('ckpt_path') and not _brings_weights(cfg['build_cfg']):
            raise ValueError(
                f'model.teachers.{name} has no weights (ckpt_path='
                f'{cfg.get("ckpt_path")!r}), and a teacher with random ones '
                f'has nothing to teach: set model.teachers.{name}.ckpt_path='
                f'FILE, or ckpt_path={NO_FILE!r} if its build_cfg brings its '
                'weights along, or random ones are meant.'
            )


def check_teachers_of(model: Dict) -> None:
    """Check the teachers of MMRazor's own algorithms, which take any.

    Args:
        model (dict): Config of the algorithm. ``ckpt_path='none'`` and
            ``teacher_ckpt='none'``, which MMRazor does not know, are removed.

    Raises:
        ValueError: As :func:`check_teachers`.
    """
    if isinstance(model.get('teachers'), dict):
        check_teachers(model['teachers'])
        for cfg in model['teachers'].values():
            if cfg.get('ckpt_path') == NO_FILE:
                del cfg['ckpt_path']
    teacher, path = model.get('teacher'), model.get('teacher_ckpt')
    if isinstance(teacher, dict) and not model.get('teacher_trainable'):
        # A second stage takes those of the first (ABLoss).
        brought = _brings_weights(teacher) or _brings_weights(model)
        if not path and not brought:
            raise ValueError(
                f'model.teacher has no weights (model.teacher_ckpt={path!r}), '
                'and a teacher with random ones has nothing to teach: set '
                f'model.teacher_ckpt=FILE, or model.teacher_ckpt={NO_FILE!r} '
                'if random ones are meant.'
            )
        if path == NO_FILE:
            del model['teacher_ckpt']


def without_own_weights(cfg: Any, path: Optional[str]) -> Any:
    """Take out what a network would read or download in vain.

    Args:
        cfg (Any): Config of a whole network; anything else is returned as it
            is.
        path (str, optional): The file that its weights are read from later,
            or :data:`NO_FILE`.

    Returns:
        Any: The config, a copy if something is taken out.
    """
    if path in (None, '', NO_FILE) or not isinstance(cfg, dict):
        return cfg
    if not _brings_weights(cfg):
        return cfg
    cfg = copy(cfg)
    for key in _BRINGS_WEIGHTS:
        if cfg.get(key):
            cfg[key] = False if cfg[key] is True else None
    if cfg.get('init_cfg'):
        several = isinstance(cfg['init_cfg'], (list, tuple))
        parts = cfg['init_cfg'] if several else [cfg['init_cfg']]
        cfg['init_cfg'] = [
            part for part in parts if not is_pretrained(part)
        ] or None
    return cfg


def _brings_weights(cfg: Dict) -> bool:
    """Whether the config of a whole network names its weights."""
    if any(cfg.get(key) for key in _BRINGS_WEIGHTS):
        return True
    return _names_file(cfg.get('init_cfg'))


def _names_file(init_cfg: Any) -> bool:
    init_cfg = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(map(is_pretrained, init_cfg))


def want_whole_files(
    network: nn.Module, name: str, with_parts: bool = True
) -> bool:
    """Let files that an ``init_cfg`` names bring all weights, or raise.

    MMEngine takes what fits of them. They are read in ``init_weights()``. One
    that a network has read while it was built, as by ``mmrazor.sub_model``, is
    read again at once, unless the network was cut since.

    Args:
        network (nn.Module): The network; ``whole_file`` of the modules with
            such an ``init_cfg`` says what the file is called in an error, and
            whether it may hold more, as that of a network has more than its
            backbone.
        name (str): What holds the network's arguments in a config.
        with_parts (bool): Whether to look at ``init_cfg`` of its parts, too.
            Defaults to True.

    Returns:
        bool: Whether there are such files.

    Raises:
        FileNotFoundError, CheckpointError, ValueError, TypeError: If one that
            is read again does not fit.
    """
    found = False
    for path, module in network.named_modules():
        if _names_file(getattr(module, 'init_cfg', None)):
            where = f'{name}.{path}' if path else name
            module.whole_file = f'{where}.init_cfg.checkpoint', bool(path)
            found = True
            *file, shapes = vars(module).pop('read_file', (None, None))
            if shapes == _shapes(module):
                PretrainedInit(*file)(module)
        if not with_parts:
            break
    return found


def note_file(module: nn.Module, path: str, prefix: Optional[str]) -> None:
    """Note a file that a module has taken what fits of.

    Args:
        module (nn.Module): The module, which gets ``read_file``.
        path (str): The file.
        prefix (str, optional): As of MMEngine's ``PretrainedInit``.
    """
    module.read_file = path, prefix, _shapes(module)


def forget_files(network: nn.Module) -> None:
    """Forget the files of a network, all weights of which are replaced.

    Args:
        network (nn.Module): With modules of :func:`note_file`, or without.
    """
    for module in network.modules():
        vars(module).pop('read_file', None)


def _shapes(module: nn.Module) -> Dict[str, Any]:
    return {
        key: getattr(value, 'shape', None)
        for key, value in module.state_dict().items()
    }


def without_pretrained(part: Any) -> Any:
    """A config of a network without files that weights were to come from.

    Args:
        part (Any): The config, or a part of it.
    """
    if isinstance(part, (list, tuple)):
        return type(part)(
            without_pretrained(each)
            for each in part
            if not is_pretrained(each)
        )
    if not isinstance(part, dict):
        return part
    found = {
        key: without_pretrained(value)
        for key, value in part.items()
        if not is_pretrained(value)
    }
    if found.get('pretrained'):  # which may be there by default
        found['pretrained'] = False if found['pretrained'] is True else None
    return found


def pretrained_in(part: Any) -> List[Any]:
    """What :func:`without_pretrained` leaves out of a config.

    Returns:
        list: Files, URLs, or True where a library knows the place.
    """
    if isinstance(part, (list, tuple)):
        return sum(map(pretrained_in, part), [])
    if not isinstance(part, dict):
        return []
    if is_pretrained(part):
        return [part.get('checkpoint')]
    found = [part['pretrained']] if part.get('pretrained') else []
    return found + pretrained_in(
        [value for key, value in part.items() if key != 'pretrained']
    )


def is_pretrained(part: Any) -> bool:
    """Whether an ``init_cfg``, or one of a list, is a file of weights."""
    kinds = ('Pretrained', 'mmengine.Pretrained', PretrainedInit)
    return isinstance(part, dict) and part.get('type') in kinds
