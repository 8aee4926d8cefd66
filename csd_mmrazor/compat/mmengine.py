# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is wrong with MMEngine on today's Python, and with what it accepts."""

import functools
import inspect
import sys
import types
from contextlib import contextmanager, nullcontext
from functools import partial, partialmethod
from importlib import metadata
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Callable, Optional

import torch
from torch.utils.checkpoint import checkpoint

from ..utils.arguments import check_arguments
from ..utils.config_chain import reading
from .rebind import rebind

_is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)


def find_packages_without_setuptools() -> None:
    """MMEngine resolves ``package::config`` with ``pkg_resources``.

    setuptools 81 dropped that module, and a new environment of Python 3.12
    has no setuptools at all. Where it is there, it is deprecated, and loaded
    anew for each question, which takes longer than to read the config.
    ``importlib`` answers the same two questions.
    """
    from mmengine.utils import package_utils

    def module_of(package: str) -> str:
        if find_spec(package) is not None:
            return package
        top_level = metadata.distribution(package).read_text('top_level.txt')
        return (top_level or package).split('\n')[0]

    def is_installed(package: str) -> bool:
        try:
            spec = find_spec(module_of(package))
        except metadata.PackageNotFoundError:
            return False
        # A folder of that name without an __init__.py is no package.
        return spec is not None and spec.origin is not None

    def get_installed_path(package: str) -> str:
        spec = find_spec(module_of(package))
        if spec is None or spec.origin is None:
            raise RuntimeError(
                f'{package} is a namespace package, which holds no configs.'
            )
        return str(Path(spec.origin).parent)

    rebind(package_utils.is_installed, is_installed)
    rebind(package_utils.get_installed_path, get_installed_path)


def report_environment_without_distutils() -> Optional[bool]:
    """MMEngine's environment report imports ``distutils.errors``.

    Python 3.12 dropped distutils, and setuptools is loaded in its place where
    it is installed. Outside Windows, the report only needs the name of one
    exception, so a stand-in is put in place while it is made.
    """
    if sys.platform == 'win32' and find_spec('distutils') is not None:
        return False
    from mmengine.utils.dl_utils import collect_env

    @functools.wraps(collect_env)
    def wrapper():
        if sys.modules.get('distutils') is not None:
            return collect_env()
        package = types.ModuleType('distutils')
        package.errors = types.ModuleType('distutils.errors')
        package.errors.DistutilsPlatformError = type(
            'DistutilsPlatformError', (Exception,), {}
        )
        sys.modules['distutils'] = package
        try:
            return collect_env()
        finally:
            del sys.modules['distutils']

    rebind(collect_env, wrapper)


def never_install_packages() -> None:
    """``mmengine.hub`` runs pip when a config's package is missing.

    It does so unasked and in the running environment. Say what to install
    instead.
    """
    from mmengine.utils import package_utils

    def install_package(package: str) -> None:
        if not package_utils.is_installed(package):
            raise ModuleNotFoundError(
                f'A config names the package "{package}", which is not '
                'installed. Nothing is installed unasked: run '
                f'"pip install {package}" yourself, or name another package.'
            )

    rebind(package_utils.install_package, install_package)


def check_types_of_arguments() -> None:
    """MMEngine builds parts with whatever a config says.

    ``--cfg-options`` reads ``no`` as a string, which counts as true; and a
    string in place of a number causes an error late, without the name of the
    argument.
    """
    from mmengine.registry import Registry

    build = Registry.build

    @functools.wraps(build)
    def checked_build(self, cfg, *args, **kwargs):
        if isinstance(cfg, dict) and 'type' in cfg:
            arguments = {k: v for k, v in cfg.items() if k != 'type'}
            scope, part = arguments.pop('_scope_', None), cfg['type']
            with self.switch_scope_and_registry(scope) as registry:
                if isinstance(part, str):
                    part = registry.get(part)
            if callable(part):
                check_arguments(part, arguments, self.name)
        return build(self, cfg, *args, **kwargs)

    Registry.build = checked_build


def validate_outputs_without_losses() -> Optional[bool]:
    """MMEngine's validation loop wants a list of what a model predicts.

    It looks for losses in its last element since 0.10.5. A dict, which
    MMEngine's own ``forward`` allows, or an empty list has none.
    """
    from mmengine.runner import loops

    update = getattr(loops, '_update_losses', None)
    if update is None:
        return False

    @functools.wraps(update)
    def update_of_lists(outputs, losses):
        if not isinstance(outputs, (list, tuple)) or not outputs:
            return outputs, losses
        return update(outputs, losses)

    loops._update_losses = update_of_lists


def let_interrupts_end_formatting() -> None:
    """MMEngine takes all that ends the formatting of a config for bad syntax.

    Ctrl-C, or the exit that a signal asks for, became a ``SyntaxError`` with
    the whole text of the config. Those are raised as they are.
    """
    from mmengine.config import Config

    pretty_text = Config.pretty_text.fget

    @functools.wraps(pretty_text)
    def interruptible(self):
        try:
            return pretty_text(self)
        except SyntaxError as error:
            ended_by = error.__context__
            if ended_by is None or isinstance(ended_by, Exception):
                raise
        raise ended_by

    Config.pretty_text = property(interruptible)


def keep_order_of_configs() -> Optional[bool]:
    """MMEngine sorts the keys of a config that it writes.

    The order of a dict means something: the first of several teachers is the
    one that students are compared with, hooks of one priority run in their
    order, and networks that are built in another order draw other weights.
    So a run from the config that another one left would be another run.
    """
    from mmengine.config import Config
    from mmengine.config import config as module
    from mmengine.fileio.handlers import YamlHandler

    text = Config(dict(b=1, a=2), format_python_code=False).pretty_text
    if text.startswith('b'):
        return False
    # Keys are all that this module sorts.
    module.sorted = lambda items, **_: list(items)
    for name in ('dump_to_fileobj', 'dump_to_str'):
        dump = getattr(YamlHandler, name)
        setattr(YamlHandler, name, partialmethod(dump, sort_keys=False))


def refuse_configs_that_inherit_themselves() -> None:
    """MMEngine opens them until there are too many open files, and says so."""
    from mmengine.config import Config

    for name in ('_file2dict', '_parse_lazy_import'):
        setattr(Config, name, staticmethod(_noting(getattr(Config, name))))


def _noting(read: Callable) -> Callable:
    @functools.wraps(read)
    def noting(filename, *args, **kwargs):
        with reading(str(filename)):
            return read(filename, *args, **kwargs)

    return noting


def log_which_checkpoints_are_read() -> Optional[bool]:
    """MMEngine prints the path of each checkpoint that a runner reads.

    It passes no logger on, so the line was in no log, and came whatever the
    log level, such as that of a rehearsal, whose files are soon removed.
    """
    from mmengine.runner import checkpoint

    load = checkpoint._load_checkpoint
    if inspect.signature(load).parameters['logger'].default is not None:
        return False

    @functools.wraps(load)
    def logged(filename, map_location=None, logger='current'):
        return load(filename, map_location, logger)

    rebind(load, logged)


def checkpoint_activations_of_first_layers() -> None:
    """MMEngine's ``activation_checkpointing`` may leave a network as it is.

    Its way of checkpointing passes no gradients to weights where no input has
    one: a whole backbone kept its weights, without a word. It cannot hand on
    arguments by name, and the second pass, in the backward pass, updated the
    running statistics of BN layers once more.
    """
    from mmengine.runner import activation_checkpointing as module

    def turn_on(model, modules):
        for name in [modules] if isinstance(modules, str) else modules:
            part = attrgetter(name)(model)
            # Unlike a function, a copy of it runs a copy of the network.
            forward = partial(_checkpointed, part, part.forward)
            part.forward = functools.update_wrapper(forward, part.forward)

    rebind(module.turn_on_activation_checkpointing, turn_on)


def _checkpointed(module, forward, *args, **kwargs):
    # Passes that synthesis takes gradients of are in eval mode. They have
    # hooks and fast BN layers, which are gone in a second pass.
    if not (module.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    if any(isinstance(v, torch.fx.Proxy) for v in (*args, *kwargs.values())):
        raise ValueError(
            'efficient_conv_bn_eval has layers that activation_checkpointing '
            'has as well, which it would undo: leave them out of one.'
        )
    if not _is_compiling():  # which knows no contexts, and updates once
        kwargs['context_fn'] = lambda: (nullcontext(), _buffers_kept(module))
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def fuse_bn_layers_of_convolutions_alone() -> None:
    """MMEngine's ``efficient_conv_bn_eval`` takes inputs for layers.

    A BN layer that follows no layer, such as that after the addition in
    pre-activation ResNets, ended in a bare ``KeyError``. It stays as it is.
    """
    from mmengine.model import efficient_conv_bn_eval as module

    class Layers(dict):
        def __missing__(self, name):
            return None

    # Layers by their names are all that this module makes a dict of.
    module.dict = Layers


@contextmanager
def _buffers_kept(module):
    """Passes change copies of the buffers, such as running statistics."""
    kept = [(each._buffers, {**each._buffers}) for each in module.modules()]
    for buffers, before in kept:
        for name, value in before.items():
            buffers[name] = None if value is None else value.clone()
    try:
        yield
    finally:
        for buffers, before in kept:
            buffers.update(before)
