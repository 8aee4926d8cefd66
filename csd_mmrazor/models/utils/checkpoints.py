# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import torch
import torch.nn as nn
from mmengine.runner import CheckpointLoader

from ...utils import download_to


def load_weights(model: nn.Module, path: str, argument: str) -> None:
    """Load a network's weights from a file or URL, all of them.

    Args:
        model (nn.Module): The network.
        path (str): Checkpoint of the network, or of a distillation run whose
            student it was.
        argument (str): Name of the argument that ``path`` came from.

    Raises:
        FileNotFoundError: If there is no such file, or it cannot be
            downloaded; says what to put where.
        ValueError: If it is not a checkpoint of this network.
    """
    # A dotted name is one of the config's.
    hint = f': --cfg-options {argument}=FILE' if '.' in argument else ''
    if path.startswith(('http://', 'https://')):
        target = Path(torch.hub.get_dir(), 'checkpoints', Path(path).name)
        with download_to(target, path, f'name a local file{hint}'):
            checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
    elif '://' not in path and not Path(path).expanduser().is_file():
        raise FileNotFoundError(
            f'{argument}={path} does not exist.{_where_it_is_made(path)} Name '
            f'a checkpoint of the network{hint}'
        )
    else:
        checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
    state_dict = checkpoint
    # As MMEngine, timm and others call it, or the weights themselves.
    for name in ('state_dict', 'model', 'net'):
        if isinstance(checkpoint.get(name), dict):
            state_dict = checkpoint[name]
            break
    for prefix in ('module.', 'architecture.'):
        if any(key.startswith(prefix) for key in state_dict):
            state_dict = {
                key[len(prefix) :]: value
                for key, value in state_dict.items()
                if key.startswith(prefix)
            }
    try:
        missing = model.load_state_dict(state_dict, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(
            f'{argument}={path} does not fit {type(model).__name__}: {error}'
        ) from error
    missing = [key for key in missing if 'num_batches_tracked' not in key]
    if missing:
        raise ValueError(
            f'{argument}={path} is not a checkpoint of this '
            f'{type(model).__name__}: it lacks {len(missing)} of its weights '
            f'({", ".join(missing[:3])}, ...). It has '
            f'{", ".join([*state_dict][:3])}, ...'
        )


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
                f' Make it by "python {tool} {shown}", which needs real '
                'images, or:'
            )
    return ''
