# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which checkpoint and which config of a run."""

import logging
import os
import os.path as osp
import re
from functools import partial
from pathlib import Path
from typing import Any, Callable, Sequence, Tuple, Union

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings

from ..datasets import BankFolder
from ..utils import (
    configs_of_starts,
    list_checkpoints,
    own_file,
    parse_config,
    read_object,
)
from ..utils.arguments import NoneType, check_value
from ..utils.config_files import check_keys
from ..utils.imports import custom_imports
from ..utils.named_code import check_names

# Parts of a config that are dicts, or not there, and texts.
_PARTS = (
    *('model', 'model.data_preprocessor', 'model.distiller'),
    *('model.distiller.distill_losses', 'data_preprocessor'),
    *('default_hooks', 'default_hooks.export', 'default_hooks.synthesis'),
    'default_hooks.synthesis.synthesizer',
    'default_hooks.synthesis.synthesizer.losses',
    *('train_dataloader', 'train_dataloader.dataset'),
    *('val_dataloader', 'val_dataloader.dataset'),
    *('test_dataloader', 'test_dataloader.dataset', 'custom_imports'),
)
_TEXTS = (
    'default_hooks.synthesis.bank_dir',
    'train_dataloader.dataset.data_root',
)
# In the names of students that were chosen without real images.
_AGREEMENT = 'best_agreement_'


def find_checkpoint(source: Union[str, Path]) -> Path:
    """The checkpoint of a run.

    Args:
        source (str | Path): A work dir, whose best checkpoint is taken, by
            the first metric that ``save_best`` of its run names, or the
            latest if none was validated; or a checkpoint.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not str(source):
        raise FileNotFoundError(
            "'' names nothing: give the work dir of a run, or one of its "
            'checkpoints.'
        )
    source = path = Path(source)
    if source.is_dir():
        # Not what somebody exported to it.
        found = [p for p in source.glob('best_*.pth') if _step(p)[0] > 0]
        main = _main_kind(found)
        # Each is better than those of its kind before it; what was chosen
        # by real images counts more.
        found.sort(
            key=lambda path: (
                not _is_label_free(path),
                _kind(path) == main,
                _step(path),
            )
        )
        found = found[-1:] or [
            path
            for path in list_checkpoints(source)
            if own_file(source, path.name)
        ]
        path = found[0] if found else source
    if not path.is_file():
        if BankFolder.exists(source):
            raise FileNotFoundError(
                f'{source} is an image bank, which has no student in it: give '
                f'the work dir of its run, such as {source.absolute().parent}.'
            )
        raise FileNotFoundError(
            f'{source} is no checkpoint, nor a folder with one (best_*.pth, '
            'or what its last_checkpoint names). Give the work dir of a run, '
            'or one of its checkpoints.'
        )
    return path


def _kind(path: Path) -> str:
    """The name of a best checkpoint up to its step: by what it is best."""
    return re.sub(r'_(?:epoch|iter)_\d+\.pth$', '', path.name)


def _main_kind(found: Sequence[Path]) -> str:
    """Of several metrics, the one that counts: the config's first.

    Says so if that is not known, and the latest of all is taken.
    """
    kinds = sorted({_kind(path) for path in found if not _is_label_free(path)})
    if len(kinds) < 2:
        return ''
    try:
        cfg = parse_config(find_config(found[0]).read_text(encoding='utf-8'))
        metrics = cfg['default_hooks']['checkpoint']['save_best']
        metrics = [metrics] if isinstance(metrics, str) else metrics
        main = f'best_{metrics[0]}'.replace('/', '_')
    except (OSError, ValueError, LookupError, TypeError):
        main = ''
    if main not in kinds:
        print_log(
            f'{found[0].parent} has best students by several metrics '
            f'({", ".join(kinds)}), and no config that says which counts: '
            'the latest is taken. For another, name its checkpoint.',
            'current',
            logging.WARNING,
        )
    return main


def _is_label_free(path: Path) -> bool:
    """Whether a best student was chosen without real images."""
    return path.name.startswith(_AGREEMENT)


def was_chosen(weights: Path) -> bool:
    """Whether validation chose the epoch of weights, by what they are called.

    Args:
        weights (Path): A checkpoint, or what was exported of one.
    """
    told = read_object(weights.with_suffix('.json'))
    origin = Path(str(told.get('checkpoint', weights)))
    return origin.name.startswith('best_') and not _is_label_free(origin)


def _step(path: Path) -> Tuple[int, str]:
    """The epoch (or iteration) in the name of a checkpoint.

    Network disks do not always keep the order of times.
    """
    match = re.search(r'_(?:epoch|iter)_(\d+)\.pth$', path.name)
    return (int(match[1]) if match else -1, path.name)


def is_export(out: Union[str, Path]) -> bool:
    """Whether ``OUT.pth`` is what an earlier export left."""
    told = read_object(Path(out).with_suffix('.json')).get('exported_by')
    return str(told).startswith('csd_mmrazor ')


def find_config(checkpoint: Path) -> Path:
    """The config that the runner left beside a checkpoint, the latest.

    Each start writes its config there, under the name that it was given, so
    the only one is the latest. Of several, or none, it is the one in the
    folder of the last start.

    Raises:
        FileNotFoundError: If there is none, or which one is not known.
    """
    beside = sorted(checkpoint.parent.glob('*.py'))
    if len(beside) == 1:
        return beside[0]
    starts = configs_of_starts(checkpoint.parent)
    if starts:
        return starts[0]
    if is_export(checkpoint):
        raise FileNotFoundError(
            f'{checkpoint} is a student that was exported already: give the '
            'work dir of its run, or the checkpoint that '
            f'{checkpoint.stem}.json names, epoch_*.pth or best_*.pth.'
        )
    what, where = 'no config', f'beside {checkpoint}'
    if not checkpoint.exists():
        where = f'in {checkpoint.parent.absolute()}'
    if beside:
        names = ', '.join(path.name for path in beside)
        what = f'more than one config ({names}), and no folder of the run,'
    raise FileNotFoundError(
        f'There is {what} {where}: name that of the run, --config CONFIG.py'
    )


def read_run_config(path: Path) -> Config:
    """Read the config that a runner left, without running it.

    Args:
        path (Path): As of :func:`find_config`.

    Returns:
        Config: What it says; what its ``custom_imports`` names is imported.

    Raises:
        ImportError: If that is not to be found.
        ValueError: If it is not what a runner writes, or names what is
            neither a network nor a registered part, or a file of the run.
    """
    try:
        found = parse_config(path.read_text(encoding='utf-8'))
        check_keys(found)  # which are written into other files
        cfg = Config(found, filename=str(path))
    except ValueError as error:
        raise ValueError(
            f'{path}, beside the checkpoint, is not a config that a run '
            f'writes: {error}. If you trust it, name it: --config {path}'
        ) from error
    check_parts(cfg, path)
    # Its own folder, that of a run above that of a start, and what it takes
    # for that, which is looked up in those.
    parents = path.absolute().parents
    folders = [parents[2] if path.parent.name == 'vis_data' else parents[0]]
    if isinstance(cfg.get('work_dir'), str):
        folders.append(Path(cfg.work_dir))
    check_names(cfg, path, folders)
    if cfg.get('custom_imports'):
        try:
            import_modules_from_strings(**cfg.custom_imports)
        except ImportError as error:
            raise ImportError(
                f'{path} needs {" and ".join(custom_imports(cfg))} '
                f'(custom_imports): {error}. Put the folder that has it on '
                'PYTHONPATH.'
            ) from error
    return cfg


def check_parts(cfg: Config, path: Union[str, Path]) -> None:
    """Check that parts of a run's config that are looked at are such.

    Args:
        cfg (Config): The config.
        path (str | Path): Where it is, for messages.

    Raises:
        ValueError: If one is something else; names it.
    """
    for name in (*_PARTS, *_TEXTS):
        part = cfg._cfg_dict
        for key in name.split('.'):  # those above it were checked before
            part = None if part is None else part.get(key)
        kind = str if name in _TEXTS else dict
        check_value(f'{name} of {path}', part, (kind, NoneType))


def look_up_in(
    work_dir: Union[str, Path], cfg: Any, lost: bool = False
) -> Any:
    """Let a config name the files of its work dir where that is now.

    A work dir may have been moved or copied since. What the config says to be
    in it is looked up in the folder; what is not there stays.

    Args:
        work_dir (str | Path): The folder.
        cfg (Config): That a run left in it; changed.
        lost (bool): Whether this is for files alone that are no longer where
            the config says. Defaults to False.

    Returns:
        Config: The same.
    """
    before = cfg.get('work_dir')
    if isinstance(before, str) and before:
        found = partial(_found_in, Path(work_dir), osp.abspath(before), lost)
        for key in cfg:
            cfg[key] = _each_text(cfg[key], found)
    return cfg


def _each_text(part: Any, change: Callable[[str], str]) -> Any:
    if isinstance(part, dict):
        for key in part:
            part[key] = _each_text(part[key], change)
    elif isinstance(part, (list, tuple)):
        return type(part)(_each_text(each, change) for each in part)
    return change(part) if isinstance(part, str) else part


def _found_in(work_dir: Path, before: str, lost: bool, text: str) -> str:
    """A path in the folder for one that was in it; else the same text."""
    path = osp.abspath(text)
    if not path.startswith(before + os.sep) or (lost and osp.exists(path)):
        return text
    found = work_dir / osp.relpath(path, before)
    return str(found) if osp.exists(found) else text
