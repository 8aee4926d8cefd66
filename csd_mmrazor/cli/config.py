# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What tools/train.py and tools/test.py do to a config."""

import argparse
import io
import os
import os.path as osp
import sys
import tokenize
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence

import torch
from mmengine.config import Config

from ..export import look_up_in
from ..models.algorithms import check_optimizers
from ..models.utils import check_checkpoint_file
from ..utils import check_integer, check_teachers_of, parse_config
from ..utils.arguments import NoneType, check_value
from ..utils.config_files import (
    TESTED,
    check_keys,
    follow_validation,
    read_config,
)
from ..utils.config_parts import part_name
from ..utils.numbers import check_numbers
from ..utils.plain_config import BY_DISTILL
from ..utils.sections import MMENGINE_HOOKS, check_schedules, check_sections
from ..utils.slow_bfloat16 import slow_bfloat16
from .options import Listed, Options, check_option, is_meant_as_text

AMP_DTYPES = ('bfloat16', 'float16')
# Where each launcher says which process this is.
_RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
_LOCAL_RANK_OF_MPI = 'OMPI_COMM_WORLD_LOCAL_RANK'


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that the tools share."""
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='override some settings in the used config: key=value pairs, '
        'such as train_cfg.max_epochs=5. A list is written key="[a,b]" or '
        'key=a,b, nested ones key="[(a,b),(c,d)]". Spaces in a path stay: '
        'key="my folder/a.pth"; a path with a comma has quotation marks of '
        """its own: key="'a,b.pth'" """,
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch writes it with a dash from torch 2.0 on.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def note_local_rank(args: argparse.Namespace) -> None:
    """Set ``LOCAL_RANK``, which MMEngine's runner wraps a model by.

    Its launcher of MPI selects a GPU and does not set it.

    Args:
        args (Namespace): Of the arguments above.
    """
    local = str(args.local_rank)
    if args.launcher == 'mpi':
        local = os.environ.get(_LOCAL_RANK_OF_MPI, local)
    os.environ.setdefault('LOCAL_RANK', local)


def load_config(
    args: argparse.Namespace, cfg: Optional[Config] = None
) -> Config:
    """Read the config that the arguments name, with their options.

    Its folder and the current one are put on the import path.

    Args:
        args (Namespace): Of the arguments above and ``config``.
        cfg (Config, optional): What is in it, if it was read as data: nothing
            in its folder can be imported then. Defaults to None.

    Returns:
        Config: With ``launcher`` and ``work_dir``.

    Raises:
        ValueError: If the config cannot be read, an option would change
            nothing, or a section has what nobody reads.
    """
    # As with ``python FILE``: what is in these folders can be imported.
    import_from(os.getcwd())
    if cfg is None:
        import_from(osp.dirname(osp.abspath(args.config)))
        cfg = read_config(args.config)
    look_up_in(osp.dirname(args.config), cfg, lost=True)
    texts = getattr(args, 'cfg_options_texts', {})
    merge_options(cfg, args.cfg_options or {}, texts)
    check_keys(cfg._cfg_dict)
    _leave_out_hooks(cfg)
    check_sections(cfg)
    cfg.launcher = args.launcher
    # Priority: command line, then config, then the config's name.
    if args.work_dir is not None:
        if not args.work_dir.strip():
            raise ValueError(
                f'--work-dir should name a folder, but got {args.work_dir!r}.'
            )
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)
    check_own_name(cfg)
    return cfg


def check_own_name(cfg: Config) -> None:
    """Check that the config is not where a runner is to write it.

    What a runner has written there before is all that a config says.

    Args:
        cfg (Config): With ``work_dir``.

    Raises:
        ValueError: If its comments or bases would be lost.
    """
    source = Path(cfg.filename or '')
    copy = Path(cfg.work_dir, source.name)
    if not (source.is_file() and copy.is_file() and copy.samefile(source)):
        return
    text = source.read_text(encoding='utf-8')
    if text.startswith(BY_DISTILL):  # distill() wrote it
        return
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    if source.suffix != '.py':
        has_comments = '#' in text and source.suffix != '.json'
        if '_base_' not in text and not has_comments:
            return
    else:
        with suppress(ValueError):
            parse_config(text)
            if not any(each.type == tokenize.COMMENT for each in tokens):
                return
    raise ValueError(
        f'work_dir={cfg.work_dir} has the config itself, {source.name}, '
        'which a run replaces by all that it says, without comments and '
        'bases: choose another by --work-dir.'
    )


def load_measured(args: argparse.Namespace) -> Config:
    """Read a config whose rounds and steps a tool measures.

    Args:
        args (Namespace): With ``config``, and with ``cfg_options`` as
            :class:`Options` leaves them.

    Returns:
        Config: As :func:`load_config` gives it, for a single process.

    Raises:
        ValueError: If :func:`load_config` raises it, or if the config has no
            rounds of synthesis or student steps of CSDDistillation.
    """
    cfg = load_config(
        argparse.Namespace(
            **{**vars(args), 'launcher': 'none', 'work_dir': None}
        )
    )
    hooks = cfg.get('default_hooks') or {}
    if not (cfg.get('model') and is_csd(cfg) and hooks.get('synthesis')):
        raise ValueError(
            f'{args.config}: what is measured are rounds and steps of '
            'CSDDistillation; give a config that has them, such as '
            'configs/csd/csd_quickstart_digits.py.'
        )
    return cfg


def import_from(folder: str) -> None:
    """Find modules in a folder, too, if they are nowhere else."""
    if folder not in sys.path:
        sys.path.append(folder)


def _leave_out_hooks(cfg: Config) -> None:
    """Leave out what is None, as MMEngine does with its own hooks alone."""
    hooks = cfg.get('default_hooks')
    if isinstance(hooks, dict):
        for name in [name for name, hook in hooks.items() if hook is None]:
            if name not in (*MMENGINE_HOOKS, 'synthesis'):
                del hooks[name]


def merge_options(
    cfg: Config, given: Dict[str, Any], texts: Dict[str, str]
) -> None:
    """Change a config by options of the command line.

    Where it tests on what it validates on, options for ``val_*`` count for
    ``test_*`` as well.

    Args:
        cfg (Config): The config.
        given (dict): Values by dotted name, as :class:`Options` leaves them.
        texts (dict[str, str]): As they were written, likewise.

    Raises:
        ValueError: If an option would change nothing.
    """
    options = {}
    for name, value in given.items():
        present = check_option(cfg, name)
        if is_meant_as_text(name, value, present, texts.get(name)):
            value = texts[name]
        if isinstance(value, Listed):
            is_text = isinstance(present, str) or osp.exists(value.text)
            value = value.text if is_text else list(value)
        if isinstance(present, dict) and name != 'compile':
            check_value(f'--cfg-options: {name}', value, (dict, NoneType))
        options[name] = value
    changed = {name.split('.')[0] for name in options}
    follow = [
        part
        for part in TESTED
        if cfg.get(f'test_{part}') == cfg.get(f'val_{part}')
        and f'test_{part}' not in changed
    ]
    if options:
        cfg.merge_from_dict(options)
        follow_validation(cfg, follow)


def check_present(cfg: Config, sections: Sequence[str], do: str) -> None:
    """Check that a config has sections.

    Args:
        cfg (Config): The config.
        sections (sequence[str]): Their names.
        do (str): What they are needed for.

    Raises:
        ValueError: If one is lacking.
    """
    for section in sections:
        if not cfg.get(section):
            raise ValueError(
                f'The config has no {section}, so there is nothing to {do}.'
            )


def is_csd(cfg: Config) -> bool:
    """Whether a config's algorithm is this project's."""
    return part_name(cfg.model).endswith('CSDDistillation')


def check_training(cfg: Config) -> None:
    """Check what libraries report late or obscurely.

    Args:
        cfg (Config): A config for training.

    Raises:
        ValueError: If there is something to correct; says what.
    """
    check_present(
        cfg,
        ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
        'train',
    )
    kind = part_name(dict(type=cfg.get('runner_type', 'Runner')))
    for name, is_other in dict(
        runner_type=kind != 'Runner',
        strategy=isinstance(cfg.get('strategy'), dict),
    ).items():
        if is_other:
            raise ValueError(
                f'{name}={cfg[name]!r} would do nothing, since the runner is '
                f"MMEngine's Runner: leave {name} out, or start the config by "
                "mmpretrain's tools/train.py, which builds the runner that it "
                'names.'
            )
    check_numbers(cfg)
    epochs = cfg.train_cfg.get('max_epochs', 1)
    check_integer('train_cfg.max_epochs', epochs)
    begin = cfg.train_cfg.get('val_begin', 1)
    unit, key = ('epoch', 'max_epochs')
    if 'max_iters' in cfg.train_cfg:
        unit, key = ('iteration', 'max_iters')
    last = cfg.train_cfg.get(key, 1)
    if cfg.get('val_cfg') is not None and (
        type(begin) is not int or begin > last
    ):
        raise ValueError(
            f'train_cfg.val_begin should be an {unit} up to {key}={last}, but '
            f'got {begin!r}: nothing would be validated. Set it lower, or '
            'val_cfg, val_dataloader and val_evaluator to None.'
        )
    _check_dataset(cfg.train_dataloader.get('dataset'))
    hooks = cfg.get('default_hooks') or {}
    if hooks.get('export') and hooks.get('checkpoint', True) is None:
        raise ValueError(
            'default_hooks.checkpoint is None, so nothing would be left of '
            'the student: give it a type, or, if that is what you want, set '
            'default_hooks.export to None as well.'
        )
    if cfg.train_dataloader.get('num_batch_per_epoch') is not None and (
        _is_bank(cfg.train_dataloader.get('dataset'))
    ):
        raise ValueError(
            'train_dataloader.num_batch_per_epoch cuts a data set, which an '
            'image bank has not yet: set train_dataloader.sampler.num_samples '
            'to the images of an epoch.'
        )
    if is_csd(cfg):
        check_optimizers(cfg.optim_wrapper, bool(cfg.model.get('aux_head')))
    else:
        check_teachers_of(cfg.model)
    check_schedules(cfg)
    if (
        cfg.get('sync_bn')
        and cfg.launcher != 'none'
        and not torch.cuda.is_available()
    ):
        raise ValueError(
            f'sync_bn={cfg.sync_bn!r} needs GPUs: SyncBatchNorm does not '
            'train on a CPU. Set sync_bn=None.'
        )
    local = os.environ.get('LOCAL_RANK', '')
    if cfg.launcher == 'pytorch' and torch.cuda.is_available():
        count = torch.cuda.device_count()
        if local.isdecimal() and int(local) >= count:
            raise ValueError(
                f'This is process {int(local) + 1} on this machine, which has '
                f'{count} GPUs for them: start as many, or set '
                'CUDA_VISIBLE_DEVICES= (to nothing) to train on CPUs.'
            )
    rank = _RANKS.get(cfg.launcher)
    if rank and rank not in os.environ:
        raise ValueError(
            f'--launcher {cfg.launcher} is for processes that a launcher '
            f'starts, which sets {rank}: use tools/dist_train.sh CONFIG GPUS, '
            'or tools/slurm_train.sh.'
        )


def check_teacher_files(cfg: Config) -> None:
    """Check that the teachers of MMRazor's algorithms have their files.

    CSDDistillation says so itself.

    Args:
        cfg (Config): A config for training.

    Raises:
        FileNotFoundError, IsADirectoryError: If not; says what to do.
    """
    if is_csd(cfg):
        return
    files = {'model.teacher_ckpt': cfg.model.get('teacher_ckpt')}
    teachers = cfg.model.get('teachers')
    named = teachers.items() if isinstance(teachers, dict) else ()
    for name, teacher in named:
        files[f'model.teachers.{name}.ckpt_path'] = teacher.get('ckpt_path')
    for argument, path in files.items():
        if path and isinstance(path, str):
            check_checkpoint_file(path, argument)


def _is_bank(dataset: Any) -> bool:
    return part_name(dataset).endswith('ImageBank')


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


def _has_bfloat16() -> bool:
    """Whether a GPU computes in bfloat16 itself."""
    try:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    except TypeError:  # torch 2.1 knows no other
        return torch.cuda.is_bf16_supported()


def _disable_amp(cfg: Config) -> None:
    """Train in float32."""
    for wrapper in [cfg.optim_wrapper, *cfg.optim_wrapper.values()]:
        if part_name(wrapper) in ('AutocastOptimWrapper', 'AmpOptimWrapper'):
            wrapper['type'] = 'mmengine.OptimWrapper'
            for key in ('loss_scale', 'dtype', 'use_fsdp'):
                wrapper.pop(key, None)
    for synthesizer in _synthesizers(cfg):
        synthesizer.pop('amp', None)


def _synthesizers(cfg: Config) -> Iterator[Dict[str, Any]]:
    """Those of the hooks in a config."""
    hooks = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    for hook in hooks:
        # What is no dict is refused by the hook.
        if hook and isinstance(hook.get('synthesizer'), dict):
            yield hook.synthesizer


def enable_amp(cfg: Config, dtype: str) -> None:
    """Train student, head and images in mixed precision.

    Args:
        cfg (Config): A config for training.
        dtype (str): 'bfloat16' or 'float16', 'none' for float32, also where
            the config has another, or 'auto' for the first of them that the
            device can do, without being slow in it.

    Raises:
        ValueError: If the device cannot do ``dtype``.
    """
    if dtype == 'none':
        _disable_amp(cfg)
        return
    note = slow_bfloat16('the run') if dtype == 'auto' else ''
    if note:
        print(f'--amp: {note}', flush=True)
        _disable_amp(cfg)
        return
    if dtype == 'auto':
        can_bfloat16 = not torch.cuda.is_available() or _has_bfloat16()
        dtype = 'bfloat16' if can_bfloat16 else 'float16'
    if dtype == 'float16' and not torch.cuda.is_available():
        raise ValueError('--amp float16 needs a GPU: use --amp bfloat16.')
    wrappers = [cfg.optim_wrapper, *cfg.optim_wrapper.values()]
    for wrapper in wrappers:
        if isinstance(wrapper, dict) and 'optimizer' in wrapper:
            kind = wrapper.get('type', 'OptimWrapper')
            name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]
            if name != 'OptimWrapper':
                continue  # the config has chosen already
            if dtype == 'bfloat16':
                wrapper['type'] = 'mmrazor.AutocastOptimWrapper'
            else:
                wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    for synthesizer in _synthesizers(cfg):
        synthesizer['amp'] = dtype
