# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is not wrong with the libraries, but could be handier.

None of it is needed: ``CSD_MMRAZOR_CONVENIENCES=0`` in the environment turns
all of it off, and leaves the repairs.
"""

import builtins
import difflib
import functools
import inspect
import os
import pkgutil
import re
import sys
import types
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator

from ..utils import list_checkpoints
from .rebind import rebind

VARIABLE = 'CSD_MMRAZOR_CONVENIENCES'


def are_on() -> bool:
    """Whether conveniences are wanted.

    Raises:
        ValueError: If the environment variable is neither 0 nor 1.
    """
    value = os.environ.get(VARIABLE, '1')
    if value not in ('0', '1'):
        raise ValueError(
            f'The environment variable {VARIABLE} should be 0 or 1, but is '
            f'{value!r}.'
        )
    return value == '1'


def build_from_local_configs() -> None:
    """``cfg_path`` of a model can only be ``package::path``.

    MMRazor builds a teacher or student from another config by
    ``mmengine.hub``, which takes configs of installed packages (mmrazor issue
    460). Without ``::`` it is the path of a config file; its
    ``custom_imports`` and ``default_scope`` count.
    """
    import mmengine.hub.hub as hub
    from mmengine.registry import MODELS, DefaultScope

    get_config, get_model = hub.get_config, hub.get_model

    @functools.wraps(get_config)
    def get_config_of_file(cfg_path, pretrained=False):
        if '::' in cfg_path:
            return get_config(cfg_path, pretrained)
        path = Path(cfg_path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f'cfg_path={cfg_path} is not a config file: there is none at '
                f'{path.absolute()}. Give a path from the folder you start '
                'in, or "package::path" for a config of an installed package, '
                'such as "mmpretrain::resnet/resnet18_8xb16_cifar10.py".'
            )
        if pretrained:
            raise ValueError(
                f'cfg_path={cfg_path} is a local config, which names no '
                'weights: set pretrained=False, and ckpt_path=FILE of the '
                'teacher or student_ckpt=FILE of the algorithm.'
            )
        # Which looks at what the repairs of MMEngine leave.
        from ..utils.config_files import read_config
        from ..utils.sections import OF_NETWORKS

        cfg = read_config(path, OF_NETWORKS)
        if 'type' not in cfg.get('model', {}):
            raise ValueError(
                f'cfg_path={cfg_path} has no model=dict(type=...) to build.'
            )
        return cfg

    @functools.wraps(get_model)
    def get_model_of_file(cfg_path, pretrained=False, **kwargs):
        if '::' in cfg_path:
            return get_model(cfg_path, pretrained, **kwargs)
        cfg = get_config_of_file(cfg_path, pretrained)
        scope = cfg.get('default_scope') or 'mmpretrain'
        if 'data_preprocessor' in cfg:
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        with DefaultScope.overwrite_default_scope(scope):
            return MODELS.build(cfg.model, default_args=kwargs)

    for old, new in (
        (get_config, get_config_of_file),
        (get_model, get_model_of_file),
    ):
        rebind(old, new)


_RECORDER = 'Recorder'
_YOURS = 'If it is yours, name its module in custom_imports. '


def explain_unknown_types() -> None:
    """MMEngine says that a ``type`` is not registered, but not what is.

    The registered names that are most like it are added.
    """
    from mmengine.registry import Registry

    build = Registry.build

    @functools.wraps(build)
    def explained_build(self, cfg, *args, **kwargs):
        try:
            return build(self, cfg, *args, **kwargs)
        except KeyError as error:
            text = str(error.args[0]) if error.args else ''
            found = re.match(r'(\S+)( is not in the .*? registry\. )', text)
            # What was built may be part of others.
            if found is None or _YOURS in text:
                raise
            name, like = found[1], _like(found[1], self)
            if name.endswith(_RECORDER):
                # MMRazor adds this to what a config has.
                name = name[: -len(_RECORDER)]
                like = re.sub(rf'{_RECORDER}\b', '', like)
            raise KeyError(f'{name}{found[2]}{_YOURS}{like}') from error

    Registry.build = explained_build


def _like(name: str, registry) -> str:
    """What a registry and those above and below it have like a name."""
    root = registry.root
    registries, names = [root], {}
    while registries:
        node = registries.pop()
        registries += node.children.values()
        for known in node.module_dict:
            names.setdefault(known.lower(), f'{node.scope}.{known}')
    wanted = name.split('.')[-1].lower()
    close = difflib.get_close_matches(wanted, names, 8, 0.5)
    # 'loss' of 'MyLoss': others of its kind.
    kind = re.findall('[A-Z][a-z]+', name)[-1:]
    of_kind = [key for key in names if kind and key.endswith(kind[0].lower())]
    shown = [*close, *(key for key in sorted(of_kind) if key not in close)]
    if not shown:
        return 'No registered name is like it.'
    listed = ', '.join(names[key] for key in shown[:30])
    more = f', and {len(shown) - 30} more' if len(shown) > 30 else ''
    return f'Registered are {listed}{more}.'


def format_configs_once() -> None:
    """MMEngine formats the whole config with yapf for every checkpoint.

    That takes a second each time. The text of a config that has not changed
    since is kept.
    """
    from mmengine.config import Config

    pretty_text = Config.pretty_text.fget
    last = {}

    @functools.wraps(pretty_text)
    def kept(self):
        content = repr(self._cfg_dict)
        if content not in last:
            text = pretty_text(self)
            last.clear()
            last[content] = text
        return last[content]

    Config.pretty_text = property(kept)


def say_where_no_checkpoint_is() -> None:
    """MMEngine says "Auto resumed from the latest checkpoint None".

    That is the first start of a job with ``--resume``, or the next one of a
    run that ended before its first checkpoint.
    """
    from mmengine.runner import Runner

    load_or_resume = Runner.load_or_resume

    @functools.wraps(load_or_resume)
    def said(self):
        is_first = self._resume and self._load_from is None
        if self._has_loaded or not is_first or list_checkpoints(self.work_dir):
            load_or_resume(self)
            return
        self.logger.info(
            f'No checkpoint yet in {self.work_dir}: the weights are those of '
            'a new run.'
        )

    Runner.load_or_resume = said


def read_metafiles_once() -> None:
    """MMEngine reads all metafiles of a package for ``package::config``.

    mmpretrain has 85 of them, and each ``_base_`` of a config costs a tenth
    of a second. What has been read is kept, and a config that is where its
    name says needs none of them.
    """
    from mmengine.config import utils

    utils.load = functools.lru_cache(maxsize=None)(utils.load)
    by_metafile = utils._get_external_cfg_path

    @functools.wraps(by_metafile)
    def by_path(package_path, cfg_file):
        try:
            return utils._get_external_cfg_base_path(package_path, cfg_file)
        except FileNotFoundError:
            return by_metafile(package_path, cfg_file)

    rebind(by_metafile, by_path)


# What a visualizer draws on.
_FIGURE = ('fig_save_canvas', 'fig_save', 'ax_save', 'dpi')


def make_figures_when_used() -> None:
    """MMEngine's visualizer makes a figure of matplotlib at its start.

    Every run has a visualizer, as it writes the log, and few draw: the figure
    is made when it is first used.
    """
    from mmengine.visualization import Visualizer

    initialize = Visualizer.__init__
    signature = inspect.signature(initialize)
    no_figure = types.SimpleNamespace(get_dpi=lambda: None)

    @functools.wraps(initialize)
    def __init__(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs).arguments
        if given.get('image') is not None:  # It is drawn at once.
            initialize(self, *args, **kwargs)
            return
        self._initialize_fig = lambda cfg: (None, no_figure, None)
        try:
            initialize(self, *args, **kwargs)
        finally:
            for name in ('_initialize_fig', *_FIGURE):
                self.__dict__.pop(name, None)

    def __getattr__(self, name):
        if name not in _FIGURE or 'fig_save_cfg' not in self.__dict__:
            raise AttributeError(
                f'{type(self).__name__!r} object has no attribute {name!r}'
            )
        canvas, figure, axes = self._initialize_fig(self.fig_save_cfg)
        for made in zip(_FIGURE, (canvas, figure, axes, figure.get_dpi())):
            self.__dict__.setdefault(*made)
        return self.__dict__[name]

    # MMEngine wants the name among the arguments, and looks at no __wrapped__.
    __init__.__signature__ = signature
    Visualizer.__init__ = __init__
    Visualizer.__getattr__ = __getattr__


# What MMRazor imports at its start and few ever use: rank correlations and
# trees that predict accuracies, and their files, a normal distribution,
# figures.
_SELDOM_USED = ('scipy.stats', 'sklearn.tree', 'joblib', 'matplotlib.pyplot')


class _Deferred:
    """Stands for a module, or what is in it, until it is used."""

    importing = False

    def __init__(self, path: str) -> None:
        self.__path = path

    def __getattr__(self, name: str):
        if _Deferred.importing:  # ``from path import name``
            return _Deferred(f'{self.__path}.{name}')
        return getattr(pkgutil.resolve_name(self.__path), name)

    def __call__(self, *args, **kwargs):
        return pkgutil.resolve_name(self.__path)(*args, **kwargs)


@contextmanager
def seldom_used_deferred() -> Iterator[None]:
    """``import mmrazor.models`` takes as long as torch, for what few use.

    MMRazor's own modules import scipy.stats, sklearn.tree, joblib and
    matplotlib.pyplot when they are first used; see docs/speed.md.
    """
    real = builtins.__import__

    def deferring(name, globals=None, locals=None, fromlist=(), level=0):
        if (
            name in _SELDOM_USED
            and name not in sys.modules
            and (globals or {}).get('__name__', '').startswith('mmrazor.')
            and find_spec(name.split('.')[0])
        ):
            return _Deferred(name if fromlist else name.split('.')[0])
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = deferring
    _Deferred.importing = True
    try:
        yield
    finally:
        builtins.__import__ = real
        _Deferred.importing = False
