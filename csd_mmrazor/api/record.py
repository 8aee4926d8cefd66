# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a work dir has of the call that made it."""

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from shlex import quote
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config
from mmengine.runner import BaseLoop, Runner

from ..export import look_up_in
from ..utils import check_integer, parse_config, write_file
from ..utils.arguments import NoneType, check_value
from ..utils.control import has_commands, without_commands
from ..utils.differences import config_differences
from ..utils.files import parse_json
from ..utils.imports import LENT
from ..utils.plain_config import BY_DISTILL as HEAD
from .distill_runner import DistillRunner
from .inputs import Inputs
from .networks import Network, about_lent
from .pair import Pair
from .plan import plan_of
from .schedule import parse_budget
from .start import digest_of_layers, digest_of_weights

# Files in the work dir.
CONFIG, RECORD = 'config.py', 'distill.json'
_LEFT_BY_TRIAL = 'networks', '.trial'
# Parts of a config whose order may be that of layers.
_NETWORKS = ('architecture', 'build_cfg')
# What is noted of ``val``, beside its name.
VAL_IMAGES = 'images of val'


def write_record(folder: Path, record: Dict[str, Any]) -> None:
    """Write what a later call needs to know."""
    warnings = [*map(without_commands, record['warnings'])]
    record = dict(record, warnings=warnings)
    write_file(folder / RECORD, json.dumps(record, indent=1).encode())


def written_of(given: Dict[str, Any]) -> Dict[str, str]:
    """Arguments as people wrote them, where a record has them otherwise."""
    val = given['val']
    is_named = val is None or isinstance(val, (str, Path))
    return dict(
        {name: repr(given[name]) for name in ('budget', 'mean', 'std')},
        val=repr(val and str(val)) if is_named else f'a {type(val).__name__}',
    )


def request_of(
    pair: Pair,
    inputs: Inputs,
    budget: Any,
    val: Any,
    val_images: List[Any],
    chosen: Dict[str, Any],
) -> Dict[str, Any]:
    """The arguments of a call, as far as they make its run.

    Args:
        pair (Pair): The networks.
        inputs (Inputs): Their inputs.
        budget (str | int): As it was given.
        val (str | Path | Dataset | DataLoader | None): Likewise.
        val_images (list): Of ``digest_of_val()``.
        chosen (dict): The other arguments.
    """
    is_folder = isinstance(val, (str, Path))
    copies = pair.copies
    teacher = copies['teacher']
    student = {
        key: list(value.shape)
        for key, value in copies['student'].state_dict().items()
    }
    request = dict(
        teacher=f'{type(teacher).__name__} {digest_of_weights(teacher)}',
        student=f'{type(copies["student"]).__name__} {student}',
        **{f'layers of {k}': digest_of_layers(v) for k, v in copies.items()},
        image_shape=inputs.image_shape,
        mean=inputs.mean,
        std=inputs.std,
        budget=_same_budget(budget),
        val=str(Path(val).resolve()) if is_folder else type(val).__name__,
        **{VAL_IMAGES: val_images},
        **chosen,
    )
    return json.loads(json.dumps(request, default=_plain))


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as any other; all else as text."""
    return value.tolist() if hasattr(value, 'tolist') else str(value)


def _same_budget(budget: Any) -> Any:
    """A budget as an integer or text, however it was written."""
    parsed = parse_budget(budget)
    return f'{parsed:.6f}s' if isinstance(parsed, float) else parsed


def read_record(
    folder: Path, request: Dict[str, Any], written: Dict[str, str]
) -> Optional[Dict[str, Any]]:
    """What an earlier call left in a work dir, if it was the same."""
    path = folder / RECORD
    if not path.is_file():
        config = folder / CONFIG
        # A call that was killed may have left its config, and in its trial
        # the networks.
        names = ['bank', 'student', '*.pth']
        if not (
            config.is_file() and config.read_bytes().startswith(HEAD.encode())
        ):
            names += [CONFIG, *_LEFT_BY_TRIAL, 'report.json', 'report.html']
        others = sorted(p.name for n in names for p in folder.glob(n))
        if others:
            raise ValueError(
                f'work_dir={folder} has files that distill() did not make '
                f'({", ".join(others[:5])}), and which it would replace: '
                'choose another work_dir.'
            )
        return None
    try:
        record = parse_json(path.read_text(encoding='utf-8'), deepest=100)
        plan_of(record['plan'])
        there = dict(record['request'])
        # An earlier release has it as it was written.
        there['budget'] = _same_budget(there['budget'])
        list(record['warnings']), record['teacher_top1'], there['val']
        _check_texts(record)
        _check_notes(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} is damaged ({type(error).__name__}: {error}): restore '
            'it, or choose another work_dir. tools/train.py continues that '
            f'run without it: {quote(str(folder / CONFIG))} --resume'
        ) from error
    differing = [
        _difference(key, there[key], value, record.get('written'), written)
        for key, value in request.items()
        # An earlier release did not note all of it.
        if key in there
        and there[key] != value
        # Other images are told of where they have the same name.
        and (key != VAL_IMAGES or there['val'] == request['val'])
    ]
    if differing:
        raise ValueError(
            f'work_dir={folder} has a run with other arguments '
            f'({"; ".join(differing)}). Choose another work_dir, or give the '
            'same arguments to continue that run.'
        )
    return record


def _check_texts(value: Any) -> None:
    """Check that no text of a record, which others may have made, is odd."""
    if isinstance(value, str) and has_commands(value):
        raise ValueError(f'control characters in {value!r:.80}')
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for each in value if isinstance(value, list) else ():
        _check_texts(each)


def _check_notes(record: Dict[str, Any]) -> None:
    """Check what a record says besides the arguments and the plan."""
    kinds: Dict[str, Tuple[type, ...]] = dict(
        **dict.fromkeys(('top1', 'start_top1', 'teacher_top1'), (float,)),
        **dict.fromkeys(('blocks', 'refit', 'is_trained'), (bool,)),
        **dict.fromkeys(('trained', 'doubt'), (str,)),
        **dict.fromkeys(('written', 'start'), (dict,)),
        warnings=(list,),
    )
    for name, kind in kinds.items():  # an earlier release has not all
        check_value(name, record.get(name), (*kind, NoneType))
    for text in (*record['warnings'], *(record.get('written') or {}).values()):
        check_value('each of warnings and written', text, (str,))
    images = (record.get('start') or {}).get('images')
    if images is not None:
        number, digest = images
        check_integer('images of start', number, 0)
        check_value('images of start', digest, (str,))


def _difference(
    key: str, there: Any, here: Any, *written: Optional[Dict[str, str]]
) -> str:
    """What a call and a run differ in, as people write it."""
    if key.startswith('layers of '):
        return f'{key.rpartition(" ")[2]} with other layers'
    if key == VAL_IMAGES:
        return 'val with other images or labels'
    name = str(here).partition(' ')[0]
    if key in ('teacher', 'student') and str(there).startswith(f'{name} '):
        what = 'weights' if key == 'teacher' else 'sizes of weights'
        return f'{key} with other {what}'
    shown = [
        (texts or {}).get(key, _as_call(value))
        for texts, value in zip(written, (there, here))
    ]
    if shown[0] == shown[1]:  # such as the mean, in 0..1 or 0..255
        shown = [repr(there), repr(here)]
    return f'{key}={shown[0]:.80} there, {key}={shown[1]:.80} here'


def _as_call(value: Any) -> str:
    """A value as Python code, a dict as ``dict(a=1)``."""
    if not isinstance(value, dict):
        return repr(value)
    pairs = (f'{key}={_as_call(each)}' for key, each in value.items())
    return f'dict({", ".join(pairs)})'


def config_text(config: Dict[str, Any], networks: Dict[str, Network]) -> str:
    """The text of the config file of a run."""
    notes = [*(n.note for n in networks.values()), about_lent(networks)]
    lines = [f'# {note}' for note in notes if note] or [
        '# The same weights, without Python code:',
        '#   python tools/train.py config.py --work-dir OTHER',
    ]
    return (
        '\n'.join([HEAD, *lines]) + '\n' + Config(_sorted(config)).pretty_text
    )


def _sorted(part: Any) -> Any:
    """A config in one order, whatever that of the arguments of the call.

    Networks are left as they are: the order of their layers may be in it.
    """
    if isinstance(part, (list, tuple)):
        return type(part)(map(_sorted, part))
    if not isinstance(part, dict):
        return part
    return {
        key: part[key] if key in _NETWORKS else _sorted(part[key])
        for key in sorted(part, key=str)
    }


def check_config(
    path: Path, text: str, networks: Optional[Dict[str, Network]] = None
) -> None:
    """Check that the config in a work dir is that of the call, or write it.

    Configs can name any code, and people get work dirs from elsewhere. Where
    one was moved, what it has is looked up in it.

    Args:
        path (Path): Of the config.
        text (str): What the call makes.
        networks (dict[str, Network], optional): Of the call, by 'teacher' and
            'student', for the message. Defaults to None.

    Raises:
        ValueError: If it is another one; names the first difference.
    """
    try:
        found = parse_config(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        write_file(path, text.encode())
        return
    except (ValueError, OSError):
        found = {}
    wanted = parse_config(text)
    if found == wanted:
        return
    moved = dict(look_up_in(path.parent, deepcopy(found)))
    if 'work_dir' in moved:
        moved['work_dir'] = str(path.parent)
    if moved == wanted:
        write_file(path, text.encode())
        return
    differing = config_differences(moved, wanted) if moved else []
    what = f' ({differing[0]})' if differing else ''
    # A pass may leave something in a network, which no config makes again.
    used = [
        f' {network.note} Give it as it was made.'
        for name, network in (networks or {}).items()
        if found and network.note and f'{LENT}{name}' not in str(found)
    ]
    raise ValueError(
        f'{path} is not what this call makes of its arguments{what}: it, or '
        'the class of a network, was changed, or it was damaged or written by '
        f'another release.{"".join(used)} Remove it to continue by the '
        'arguments; tools/train.py continues by it: '
        f'{quote(str(path))} --resume'
    )


def keep_warnings(
    runner: DistillRunner, record: Dict[str, Any], folder: Path
) -> None:
    """Write what the run warns of into its record, for later calls too."""

    def keep() -> None:
        loop = runner._train_loop  # which is built in its own time
        if isinstance(loop, BaseLoop) and loop.epoch >= loop.max_epochs:
            return  # what comes after training comes anew with each call
        texts = [*record['warnings'], *runner.warned.texts]
        record['warnings'] = list(dict.fromkeys(texts))
        with suppress(OSError):  # training need not end by it
            write_record(folder, record)

    keep()
    runner.warned.listener = keep


def last_top1(
    runner: Runner, folder: Path, record: Dict[str, Any]
) -> Optional[float]:
    """The student's accuracy after the last epoch."""
    history = runner.message_hub.log_scalars.get('val/accuracy/top1')
    if history is not None and len(history.data[0]):
        record['top1'] = float(history.current())
        write_record(folder, record)
    return record.get('top1')
