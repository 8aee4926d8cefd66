# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The lists that tools/compare.py reads, and the runs that they ask for."""

import argparse
import hashlib
import json
import re
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import (
    Any,
    Dict,
    List,
    NamedTuple,
    NoReturn,
    Optional,
    Tuple,
)

from mmengine.config import Config

from ..utils.arguments import NoneType, check_value, fits
from ..utils.error_text import named_error
from ..utils.plain_yaml import read_yaml
from . import config as config_tools
from .errors import USER_ERRORS
from .options import parse_value

SHAPE = 'methods: {NAME: {config: FILE, options: {KEY: VALUE}, against: NAME}}'
# Of names, which name folders, too.
_LONGEST = 100
# Options that the tool gives each run itself.
_OWN = {
    'randomness.seed': 'seeds',
    'work_dir': '--work-dir',
    'resume': 'the tool, for runs that were interrupted',
}


class ListedRun(NamedTuple):
    """One method with one seed."""

    method: str
    seed: int
    config: str
    options: Dict[str, str]
    work_dir: Path
    against: Optional[str] = None  # another method, to be compared with
    budget: str = ''

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f'{self.method}, seed {self.seed}'

    @property
    def arguments(self) -> List[str]:
        """The command line of ``tools/train.py``."""
        options = [f'{key}={value}' for key, value in self.options.items()]
        command = [self.config, '--work-dir', str(self.work_dir)]
        if self.work_dir.exists():
            command.append('--resume')
        return [*command, '--cfg-options', *options]

    @property
    def settings(self) -> Dict[str, str]:
        """What makes another run of the same name another run.

        Rows have it, and are published: see :func:`without_places`.
        """
        return without_places(self.config, json.dumps(self.options))


def without_places(config: str, options: str) -> Dict[str, str]:
    """Settings of a run that say nothing of the machine.

    Args:
        config (str): Name of its file.
        options (str): Its options as JSON, or something else.

    Returns:
        dict[str, str]: ``config`` and ``options``. Of an absolute path, they
        have the name and a digest of the folder, so that another folder is
        told from it; the same again if it is given again.
    """
    with suppress(ValueError, AttributeError):
        told = {
            key: _without_place(text, parse_value(text))
            for key, text in json.loads(options).items()
        }
        options = json.dumps(told, sort_keys=True)
    return dict(config=_without_place(config, config), options=options)


def _without_place(text: str, value: object) -> str:
    """A text that stands for a value, less the folders of paths in it."""
    if isinstance(value, (list, tuple)):
        for each in value:
            text = _without_place(text, each)
    if not isinstance(value, str):
        return text
    path = value.removeprefix('file://').rstrip('/')
    if not path.startswith(('/', '~')):
        return text
    folder, _, name = path.rpartition('/')
    digest = hashlib.sha256(folder.encode()).hexdigest()[:8]
    return text.replace(value, f'.../{digest}/{name}')


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong, in place of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def read_list(args: argparse.Namespace, work_dir: Path) -> List[ListedRun]:
    """The runs that a list asks for, all methods of one seed first.

    Args:
        args (Namespace): ``list``, a file, and ``seeds`` and ``methods`` in
            place of all of it, or None; and, as
            :class:`~csd_mmrazor.cli.options.Options` leaves them,
            ``cfg_options`` in place of the list's own.
        work_dir (Path): Of all runs.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the list makes no sense, or the options make two of
            its methods the same; says where and what to write.
    """
    plan = _read_plan(args.list)
    given = getattr(args, 'cfg_options_texts', {})
    _check_options('--cfg-options', given)
    seeds = args.seeds
    if seeds is None:
        seeds = plan.get('seeds')
        seeds = [0] if seeds is None else seeds
        if (
            not isinstance(seeds, list)
            or not seeds
            or not all(fits(seed, int) for seed in seeds)
        ):
            raise ValueError(
                f'seeds of {args.list} should be a list of integers, such as '
                f'[0, 1, 2], but got {seeds!r}.'
            )
    methods = args.methods or [*plan['methods']]
    lacking = {*methods} - {*plan['methods']}
    if lacking:
        raise ValueError(
            f'{args.list} has no {sorted(lacking)}; it has '
            f'{[*plan["methods"]]}.'
        )
    runs = [
        _run(plan, name, seed, work_dir, given)
        for seed in seeds
        for name in methods
    ]
    if given:
        as_listed = [
            _run(plan, name, seeds[0], work_dir, {}) for name in methods
        ]
        _check_distinct(as_listed, runs[: len(methods)])
    if len({run.work_dir for run in runs}) < len(runs):
        raise ValueError(
            f'{_twice(args.list, methods, seeds)}: name each once.'
        )
    return runs


def _twice(source: str, methods: List[str], seeds: List[int]) -> str:
    """What two runs have in common that should have folders of their own."""
    for kind, values in dict(seed=seeds, method=methods).items():
        for value in values:
            if values.count(value) > 1:
                return f'The {kind} {value} is there twice'
    return f'Methods of {source} differ in punctuation alone'


def _check_distinct(as_listed: List[ListedRun], runs: List[ListedRun]) -> None:
    """Refuse options that make methods of the list the same run.

    Args:
        as_listed (list[ListedRun]): One run of each method.
        runs (list[ListedRun]): The same ones with the options.
    """
    first: Dict[Tuple, Tuple[ListedRun, ListedRun]] = {}
    for old, run in zip(as_listed, runs):
        other_old, other = first.setdefault(_what(run), (old, run))
        if _what(other_old) != _what(old):
            differ = {*old.options.items()} ^ {*other_old.options.items()}
            raise ValueError(
                f'--cfg-options make "{run.method}" and "{other.method}" the '
                f'same run: leave out {sorted({key for key, _ in differ})}, '
                'or one of the two by --methods.'
            )


def _what(run: ListedRun) -> Tuple:
    return run.config, frozenset(run.options.items())


def _run(
    plan: Dict, name: str, seed: int, work_dir: Path, given: Dict[str, str]
) -> ListedRun:
    method = plan['methods'][name]
    options = {
        **(plan.get('options') or {}),
        **(method.get('options') or {}),
        **given,
        'randomness.seed': seed,
    }
    return ListedRun(
        name,
        seed,
        method['config'],
        {
            key: _as_argument(value).replace('{seed}', str(seed))
            for key, value in options.items()
        },
        work_dir
        / re.sub(r'\W+', '_', name).strip('_').lower()
        / f'seed{seed}',
        method.get('against'),
        plan.get('budget') or '',
    )


def _as_argument(value: object) -> str:
    """A value as ``--cfg-options`` reads it."""
    if isinstance(value, (list, tuple)):
        return '[' + ','.join(map(_as_argument, value)) + ']'
    return str(value)


def _read_plan(path: str) -> Dict[str, Any]:
    """What a list says, checked."""
    plan = read_yaml(path)
    methods = plan.get('methods') if isinstance(plan, dict) else None
    if not isinstance(methods, dict) or not methods:
        raise ValueError(f'{path} names no methods: write {SHAPE}.')
    unknown = set(plan) - {'methods', 'seeds', 'options', 'budget'}
    if unknown:
        raise ValueError(
            f'{path} has {sorted(map(str, unknown))}, but only methods, '
            'seeds, options and budget mean something.'
        )
    check_value(f'budget of {path}', plan.get('budget'), (str, NoneType))
    check_text(f'budget of {path}', plan.get('budget') or 'none')
    _check_options(f'options of {path}', plan.get('options'))
    for name, method in methods.items():
        check_text(f'The name of a method of {path}', name)
        what = f'method "{name}" of {path}'
        if (
            not isinstance(method, dict)
            or not isinstance(method.get('config'), str)
            or set(method) - {'config', 'options', 'against'}
        ):
            raise ValueError(
                f'{what} is {method!r}, but should be as in {SHAPE}.'
            )
        _check_options(f'options of {what}', method.get('options'))
        if 'against' in method and method['against'] not in [
            other for other in methods if other != name
        ]:
            raise ValueError(
                f'against of {what} should be the NAME of another method of '
                f'the list, but got {method["against"]!r}: {SHAPE}.'
            )
    return plan


def check_text(what: str, text: Any, unwanted: str = '|') -> None:
    """Check a text that names folders and stands in tables.

    Args:
        what (str): What it is called in the list.
        text (Any): What is there.
        unwanted (str): Letters that it may not have. Defaults to '|'.

    Raises:
        ValueError: If it is none, or has such letters.
    """
    if not isinstance(text, str):
        raise ValueError(
            f'{what} should be a text, but YAML reads {text!r}: write it in '
            'quotation marks.'
        )
    if (
        not re.search(r'\w', text)
        or not text.isprintable()
        or {*unwanted} & {*text}
        or len(text) > _LONGEST
    ):
        raise ValueError(
            f'{what} should have letters or digits, {_LONGEST} at most, and '
            f'neither line breaks nor {" nor ".join(unwanted)}, since it '
            f'names folders and rows, but got {text!r:.100}.'
        )


def _check_options(what: str, options: Any) -> None:
    check_value(what, options, (dict, NoneType))
    for key in options or ():
        if not isinstance(key, str):
            raise ValueError(
                f'{what} should have dotted names of a config, but got '
                f'{key!r}.'
            )
        if key in _OWN:
            raise ValueError(f'{what} has {key}, which {_OWN[key]} sets.')


def load_config(run: ListedRun) -> Config:
    """The config of a run, as ``tools/train.py`` sees it.

    Raises:
        ValueError: If ``tools/train.py`` would refuse it; names the method.
    """
    parser = _Parser()
    parser.add_argument('config')
    config_tools.add_config_arguments(parser)
    arguments = [arg for arg in run.arguments if arg != '--resume']
    try:
        cfg = config_tools.load_config(parser.parse_args(arguments))
        config_tools.check_training(deepcopy(cfg))
        if cfg.get('val_cfg') is None or not cfg.get('val_dataloader'):
            raise ValueError(
                'it has no validation, and top-1 is what is compared: set '
                'val_cfg, val_dataloader and val_evaluator.'
            )
        if 'generator' in cfg.model and 'max_iters' not in cfg.train_cfg:
            raise ValueError(
                'its steps are counted by train_cfg.max_iters, which is not '
                'there: set train_cfg=dict(by_epoch=False, max_iters=...), '
                'as the configs of MMRazor for such algorithms do.'
            )
    except USER_ERRORS as error:
        raise ValueError(
            f'method "{run.method}", {run.config}: {named_error(error)}'
        ) from error
    return cfg
