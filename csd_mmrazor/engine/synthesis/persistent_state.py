# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What rounds of synthesis leave to later ones, kept beside the bank.

Rounds of CSD leave nothing, and there is no file then. For methods with a
persistent state (a meta-generator, the head of a contrastive loss) there is
one file per group of rounds, written before the images of the rounds. So
whatever images a bank has, the state after them is there; see
:func:`load_state`.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.logging import MMLogger
from torch import Tensor

from ...datasets import BankError
from ...datasets.bank_folder import IMPORTED, BankFolder
from ...datasets.manifest import NUMBER
from ...models.synthesizers.meta_generator import BUFFERS
from ...utils import load_file, own_file, verify_archive, write_file

# Of float16 alone, so that a run can go on without, or begin with it.
_SCALE = 'loss_scale.last'
# With what states of earlier releases lack.
_OPTIONAL = (_SCALE, f'meta.{BUFFERS}')
_NAME = re.compile(rf'state_({NUMBER})_({NUMBER})\.pth')
# Epochs whose last state is kept, for resuming older checkpoints.
KEPT_EPOCHS = 3


def shared_state(
    state: Dict[str, Tensor], took_part: bool
) -> Dict[str, Tensor]:
    """The mean of the states of all processes that made a round.

    Each process starts its round from the same state; this is where they
    agree on the next one, on the CPU.

    Args:
        state (dict[str, Tensor]): Of this process.
        took_part (bool): Whether it made a round.

    Returns:
        dict[str, Tensor]: The same on every process.
    """
    own = {name: value.cpu() for name, value in state.items()}
    states = [
        each for each in all_gather_object(own if took_part else None) if each
    ]
    if len(states) == 1:
        return states[0]
    return {
        name: torch.stack([each[name].double() for each in states])
        .mean(0)
        .to(value.dtype)
        for name, value in states[0].items()
    }


def save_state(
    state: Dict[str, Tensor], folder: BankFolder, rounds: int
) -> None:
    """Write the state after the next ``rounds`` shards of a bank.

    Args:
        state (dict[str, Tensor]): What to write.
        folder (BankFolder): The bank, before these are added.
        rounds (int): How many there will be.
    """
    first = 1 + max((shard.number for shard in folder.shards), default=-1)
    _write(state, folder, first, first + rounds - 1)


def _write(
    state: Dict[str, Tensor], folder: BankFolder, first: int, last: int
) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    folder.path.mkdir(parents=True, exist_ok=True)
    path = folder.path / f'state_{first:06d}_{last:06d}.pth'
    content = buffer.getvalue()
    write_file(path, content)
    # Written with the manifest, which is what makes images of these rounds.
    folder.states[path.name] = hashlib.sha256(content).hexdigest()
    _drop_old(folder, path, first)


def import_state(
    folder: BankFolder, source: Optional[str], expected: Dict[str, Tensor]
) -> Optional[Dict[str, Tensor]]:
    """Bring along what the rounds of a bank left whose images were imported.

    Without it a generator that is to go on starts anew, which is said; with a
    warning if another bank would bring it along.

    Args:
        folder (BankFolder): The bank, with the imported images alone.
        source (str, optional): Where they came from, a bank or any folder.
        expected (dict[str, Tensor]): As of :func:`load_state`.

    Returns:
        dict[str, Tensor] | None: None if there is none that fits.
    """
    if source is None or not folder.shards:
        return None
    logger = MMLogger.get_current_instance()
    if not BankFolder.exists(source):
        logger.info(
            f'init_bank={source} is a folder of pictures, so the generator '
            'starts with random weights.'
        )
        return None
    state, reason = None, 'no state of a generator is beside its images'
    if _files(BankFolder(source)):
        try:
            state = load_state(BankFolder(source), expected)
        except BankError as error:
            reason = str(error).split('. ')[0]
    if state is None:
        logger.warning(
            'In this run the generator (or another part of the synthesizer) '
            'goes on from round to round, but it cannot go on from '
            f'init_bank={source}: {reason}. The images are taken over, and '
            'the generator starts with random weights, so those of the first '
            'rounds may be worse. If that matters, give more steps a round '
            '(iters), or let the run make its initial images itself '
            '(init_bank=None).'
        )
        return None
    logger.info(
        f'What the rounds of init_bank={source} left to later ones goes on.'
    )
    if is_main_process():
        last = folder.shards[-1].number
        _write(state, folder, last, last)
        folder.write_manifest()
    return state


def load_state(
    folder: BankFolder, expected: Dict[str, Tensor]
) -> Optional[Dict[str, Tensor]]:
    """The state after the last shard of a bank, checked.

    Args:
        folder (BankFolder): The bank.
        expected (dict[str, Tensor]): The state before any round, of the same
            names, shapes and dtypes; optimizers add theirs later.

    Returns:
        dict[str, Tensor] | None: None if no image was made yet, and none
        came along with imported ones.

    Raises:
        BankError: If it is not there, was cut short or altered, or is of
            another synthesizer.
    """
    if not folder.shards:
        return None
    last = folder.shards[-1].number
    for path, first, end in reversed(_files(folder)):
        if first <= last <= end:
            return _read(path, folder.states.get(path.name), expected)
    if folder.shards[-1].epoch == IMPORTED:
        return None
    raise BankError(
        f'The image bank in {folder.path} has images up to '
        f'{folder.shards[-1].name}, but not the state of the synthesizer '
        f'after them (only that of the last {KEPT_EPOCHS} epochs is kept). '
        'Resume from a later checkpoint, or start a run in another work dir.'
    )


def _read(
    path: Path, checksum: Optional[str], expected: Dict[str, Tensor]
) -> Dict[str, Tensor]:
    """A state, of which banks of earlier releases have no checksum."""
    advice = (
        f'Restore {path} from a copy, resume from a checkpoint of another '
        'epoch, or start a run in another work dir.'
    )
    try:
        if own_file(path.parent, path.name) is None:
            raise ValueError('no file, or a link that leads elsewhere')
        content = path.read_bytes()
        if checksum not in (None, hashlib.sha256(content).hexdigest()):
            raise ValueError('its checksum is not that of the manifest')
        verify_archive(path)
        state = load_file(io.BytesIO(content))
    except Exception as error:  # whatever the bytes make torch raise
        reason = str(error).strip().split('\n')[0]
        raise BankError(
            f'The state of the synthesizer in {path} was cut short or '
            f'altered ({reason}). {advice}'
        ) from error
    differing = _differing(state, expected)
    if differing:
        raise BankError(
            f'{path} is not the state of this synthesizer: {differing}. '
            f'Resume with the config of that run. {advice}'
        )
    return state


def _differing(state: object, expected: Dict[str, Tensor]) -> Optional[str]:
    """What of a state a synthesizer cannot take over."""
    if not isinstance(state, dict):
        return f'it is of type {type(state).__name__}'
    lacking = [
        name
        for name in expected
        if name not in state and not name.startswith(_OPTIONAL)
    ]
    if lacking:
        return f'it has no {lacking[0]}'
    params = [v for k, v in expected.items() if k.startswith('meta.weights.')]
    for name, value in state.items():
        if not isinstance(name, str) or not torch.is_tensor(value):
            return f'{name!r:.100} is no tensor'
        wanted = expected.get(name)
        number = re.fullmatch(r'meta\.optimizer\.(\d{1,9})\.\w+', name)
        if number and int(number[1]) < len(params):
            # Numbers, such as of steps, or something for each weight.
            wanted = params[int(number[1])]
            if _is_moment(value, wanted):
                continue
        elif wanted is None and (
            _fits_moment(name, value, expected)
            or (name == _SCALE and value.numel() == 1)
        ):
            continue
        elif wanted is None:
            return f'{name:.100} is not known'
        if (value.shape, value.dtype) != (wanted.shape, wanted.dtype):
            return (
                f'{name} is {value.dtype} of {tuple(value.shape)}, but '
                f'{wanted.dtype} of {tuple(wanted.shape)} here'
            )
    return None


def _fits_moment(
    name: str, value: Tensor, expected: Dict[str, Tensor]
) -> bool:
    """Whether a tensor can be what a lasting optimizer remembers."""
    match = re.fullmatch(r'moments\.([^.]+)\.(\d{1,9})\.\w+', name)
    if match is None:
        return False
    owners: Tuple[str, ...] = (f'losses.{match[1]}.',)
    if match[1] == 'generator':  # whose optimizer may train losses, too
        owners = ('meta.weights.', 'losses.')
    weights = [v for k, v in expected.items() if k.startswith(owners)]
    return int(match[2]) < len(weights) and any(
        _is_moment(value, weight) for weight in weights
    )


def _is_moment(value: Tensor, weight: Tensor) -> bool:
    """Whether it is a number, or of a weight's size, or of rows of it."""
    return value.numel() == 1 or (
        value.ndim == weight.ndim
        and all(n in (1, m) for n, m in zip(value.shape, weight.shape))
    )


def _files(folder: BankFolder) -> List[Tuple[Path, int, int]]:
    """Files with the first and the last shard they are for, in order."""
    found = [
        (path, _NAME.fullmatch(path.name))
        for path in folder.path.glob('state_*.pth')
    ]
    return sorted(
        [(path, int(m[1]), int(m[2])) for path, m in found if m],
        key=lambda each: each[1:],
    )


def _drop_old(folder: BankFolder, newest: Path, number: int) -> None:
    """Drop states that are not after the last shard of a late epoch.

    Those from ``number`` on, where the newest starts, are of images that were
    dropped when an older checkpoint was resumed.
    """
    ends = {shard.epoch: shard.number for shard in folder.shards}
    # What came along with imported images might have changed there.
    late_epochs = {IMPORTED, *sorted(ends)[-KEPT_EPOCHS:]} & {*ends}
    kept = [ends[epoch] for epoch in late_epochs]
    for path, first, end in _files(folder):
        late = first < number and any(first <= last <= end for last in kept)
        if path != newest and not late:
            path.unlink(missing_ok=True)
            folder.states.pop(path.name, None)
