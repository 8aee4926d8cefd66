# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What tools/train.py and tools/test.py do to a config."""

import argparse
import difflib
import inspect
import os
import os.path as osp
from typing import Any, Iterator

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from .config_files import read_config
from .teachers import check_teachers_of

AMP_DTYPES = ('bfloat16', 'float16')
# Where each launcher says which process this is.
_RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
# Sections of a config that MMEngine reads, beside the runner's arguments.
_SECTIONS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
} | set(inspect.signature(Runner.__init__).parameters)


class _Options(DictAction):
    """``DictAction`` that says what is wrong with an option."""

    def __call__(self, parser, namespace, values, option_string=None):
        for word in values:
            if '=' not in word:
                parser.error(
                    f'--cfg-options takes key=value pairs, but got "{word}"'
                )
        super().__call__(parser, namespace, values, option_string)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that the tools share."""
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Options,
        help='override some settings in the used config: key=value pairs, '
        'such as train_cfg.max_epochs=5. A list is written key="[a,b]" or '
        'key=a,b, nested ones key="[(a,b),(c,d)]", with the quotation marks '
        'and without white space',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch writes it with a dash from torch 2.0 on.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that the arguments name, with their options.

    Where a config tests on what it validates on, options for
    ``val_dataloader`` count for ``test_dataloader`` as well.

    Args:
        args (Namespace): Of the arguments above and ``config``.

    Returns:
        Config: With ``launcher`` and ``work_dir``.

    Raises:
        ValueError: If the config cannot be read, or an option would change
            nothing.
    """
    cfg = read_config(args.config)
    same = cfg.get('test_dataloader') == cfg.get('val_dataloader')
    if args.cfg_options:
        for option in args.cfg_options:
            check_option(cfg, option)
        cfg.merge_from_dict(args.cfg_options)
        if (
            same
            and cfg.get('val_dataloader')
            and not any(
                key.startswith('test_dataloader') for key in args.cfg_options
            )
        ):
            cfg.test_dataloader = cfg.get('val_dataloader')
    cfg.launcher = args.launcher
    # Priority: command line, then config, then the config's name.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)
    return cfg


def check_option(cfg: Config, option: str) -> None:
    """Check that an option of the command line changes something.

    MMEngine takes any name. A new argument of a part is left to the part,
    which knows its arguments.

    Args:
        cfg (Config): The config.
        option (str): Dotted name.

    Raises:
        ValueError: If a section of that name does not exist, or it is a
            variable of the config file; says what might be meant.
    """
    node, names = cfg._cfg_dict, option.split('.')
    for depth, name in enumerate(names):
        if isinstance(node, (list, tuple)) and name.isdecimal():
            node = node[int(name)] if int(name) < len(node) else None
            continue
        if not isinstance(node, dict):
            return
        is_new = name not in node
        known = [key for key in node if depth or key in _SECTIONS]
        close = difflib.get_close_matches(name, known, 1, 0.8)
        if is_new and close and (depth == 0 or depth < len(names) - 1):
            meant = '.'.join([*names[:depth], *close, *names[depth + 1 :]])
            raise ValueError(
                f'--cfg-options: the config has no '
                f'{".".join(names[: depth + 1])}; did you mean {meant}?'
            )
        if depth == 0 and name not in _SECTIONS:
            places = [p for p in _paths(node) if p.endswith(f'.{option}')]
            hint = f' Set {" or ".join(places)}.' if places else ''
            raise ValueError(
                f'--cfg-options: {option} would change nothing. '
                + (
                    'It is no section of a config.'
                    if is_new
                    else 'It is a variable, which counts only while the '
                    'config file is read.'
                )
                + hint
            )
        if is_new:
            return
        node = node[name]


def _paths(node: Any, path: str = '') -> Iterator[str]:
    """The dotted names of all that is in the sections of a config."""
    for name, value in node.items():
        if path or name in _SECTIONS:
            yield f'{path}{name}'
            if isinstance(value, dict):
                yield from _paths(value, f'{path}{name}.')


def check_training(cfg: Config) -> None:
    """Check what libraries tell late or in riddles.

    Args:
        cfg (Config): A config for training.

    Raises:
        ValueError: If there is something to correct; says what.
    """
    for section in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not isinstance(cfg.get(section), dict):
            raise ValueError(
                f'The config has no {section}, so there is nothing to train.'
            )
    epochs = cfg.train_cfg.get('max_epochs', 1)
    if type(epochs) is not int or epochs < 1:
        raise ValueError(
            'train_cfg.max_epochs should be a positive integer, but got '
            f'{epochs!r}.'
        )
    begin = cfg.train_cfg.get('val_begin', 1)
    if cfg.get('val_cfg') is not None and (
        type(begin) is not int or begin > epochs
    ):
        raise ValueError(
            f'train_cfg.val_begin should be an epoch up to max_epochs='
            f'{epochs}, but got {begin!r}: nothing would be validated. Set it '
            'lower, or val_cfg, val_dataloader and val_evaluator to None.'
        )
    _check_dataset(cfg.train_dataloader.get('dataset'))
    if cfg.train_dataloader.get('num_batch_per_epoch') is not None and (
        _is_bank(cfg.train_dataloader.get('dataset'))
    ):
        raise ValueError(
            'train_dataloader.num_batch_per_epoch cuts a data set, which an '
            'image bank has not yet: set train_dataloader.sampler.num_samples '
            'to the images of an epoch.'
        )
    is_csd = str(cfg.model.get('type')).endswith('CSDDistillation')
    if not is_csd:
        check_teachers_of(cfg.model)
    needed = {'architecture'}
    if cfg.model.get('aux_head'):
        needed.add('aux_head')
    for name in sorted(needed) if is_csd else ():
        if name not in cfg.optim_wrapper:
            raise ValueError(
                f'CSDDistillation needs an optimizer for its "{name}": set '
                'optim_wrapper=dict(constructor="mmrazor.'
                'DistillationOptimWrapperConstructor", architecture=dict('
                'optimizer=...), aux_head=dict(optimizer=...)).'
            )
    if (
        cfg.get('sync_bn')
        and cfg.launcher != 'none'
        and not torch.cuda.is_available()
    ):
        raise ValueError(
            f'sync_bn={cfg.sync_bn!r} needs GPUs: SyncBatchNorm does not '
            'train on a CPU. Set sync_bn=None.'
        )
    rank = _RANKS.get(cfg.launcher)
    if rank and rank not in os.environ:
        raise ValueError(
            f'--launcher {cfg.launcher} is for processes that a launcher '
            f'starts, which sets {rank}: use tools/dist_train.sh CONFIG GPUS, '
            'or tools/slurm_train.sh.'
        )


def _is_bank(dataset: Any) -> bool:
    name = dataset.get('type') if isinstance(dataset, dict) else None
    return str(getattr(name, '__name__', name)).endswith('ImageBank')


def _check_dataset(dataset: Any) -> None:
    """Refuse an image bank within another data set, which cannot grow."""
    inner = dataset.get('dataset') if isinstance(dataset, dict) else None
    inner = inner or (
        dataset.get('datasets') if isinstance(dataset, dict) else None
    )
    for part in inner if isinstance(inner, (list, tuple)) else [inner]:
        if not isinstance(part, dict):
            continue
        if _is_bank(part):
            raise ValueError(
                f'train_dataloader.dataset: {dataset["type"]} cannot hold an '
                'ImageBank, which grows as it is trained on. Set '
                'train_dataloader.dataset=dict(type="mmrazor.ImageBank"); '
                'sampler.num_samples is the length of an epoch, init_bank '
                'adds images.'
            )
        _check_dataset(part)


def is_first_process(launcher: str) -> bool:
    """Whether this is a run's first process, known before they connect."""
    return os.environ.get(_RANKS.get(launcher, ''), '0') == '0'


def enable_amp(cfg: Config, dtype: str) -> None:
    """Train student, head and images in mixed precision.

    Args:
        cfg (Config): A config for training.
        dtype (str): 'bfloat16' or 'float16', or 'auto' for the first of them
            that the device can do.

    Raises:
        ValueError: If the device cannot do ``dtype``.
    """
    if dtype == 'auto':
        can_bfloat16 = (
            not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
        )
        dtype = 'bfloat16' if can_bfloat16 else 'float16'
    if dtype == 'float16' and not torch.cuda.is_available():
        raise ValueError('--amp float16 needs a GPU: use --amp bfloat16.')
    wrappers = [cfg.optim_wrapper, *cfg.optim_wrapper.values()]
    for wrapper in wrappers:
        if isinstance(wrapper, dict) and 'optimizer' in wrapper:
            if wrapper.get('type', 'OptimWrapper') != 'OptimWrapper':
                continue  # the config has chosen already
            if dtype == 'bfloat16':
                wrapper['type'] = 'mmrazor.AutocastOptimWrapper'
            else:
                wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    hooks = [
        *cfg.get('default_hooks', {}).values(),
        *cfg.get('custom_hooks', []),
    ]
    for hook in hooks:
        if hook and 'synthesizer' in hook:
            hook.synthesizer.amp = dtype
