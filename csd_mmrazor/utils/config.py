# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What tools/train.py and tools/test.py do to a config."""

import argparse
import os
import os.path as osp

import torch
from mmengine.config import Config, DictAction

AMP_DTYPES = ('bfloat16', 'float16')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that the tools share."""
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
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
    """
    cfg = Config.fromfile(args.config)
    same = cfg.get('test_dataloader') == cfg.get('val_dataloader')
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
        if same and not any(
            key.startswith('test_dataloader') for key in args.cfg_options
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


def is_first_process(launcher: str) -> bool:
    """Whether this is a run's first process, known before they connect."""
    rank = dict(
        pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK'
    ).get(launcher, '')
    return os.environ.get(rank, '0') == '0'


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
