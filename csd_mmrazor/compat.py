# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Remedies for what is broken between today's torch, MMEngine and MMRazor.

This is the only module that patches a library. Every remedy is one function
whose docstring names the cause and, where there is one, the upstream report;
it looks for its cause first and leaves everything alone where that is absent.
:func:`apply` runs them all, once, on ``import csd_mmrazor``.
"""

import builtins
import collections
import difflib
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import types
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional
from urllib.parse import urlparse

import torch

_QUANTIZATION = (
    'MMRazor 1.0.0 can quantize with torch 1.13 only, and this '
    f'is torch {torch.__version__}: install torch==1.13.1 in an '
    'environment of its own for it. Distillation, pruning and '
    'NAS are not affected.'
)


# What the tests were run with; the newest torch is a note, not a limit.
_SUPPORTED = {
    'torch': ('2.1', None),
    'mmengine': ('0.10.4', '1.0'),
    'mmcv': ('2.0.0', '2.1.1'),  # MMRazor asserts mmcv <= 2.1.0
    'mmpretrain': ('1.2.0', '2.0'),
    'mmrazor': ('1.0.0', '2.0'),
}


def check_versions() -> None:
    """Check that the packages are there, in releases that are known to work.

    Raises:
        ImportError: If one is missing or outside its range. ``mmcv`` may be
            ``mmcv`` or ``mmcv-lite``, which install the same package; none
            is ever put over the other.
    """
    for name, (lowest, below) in _SUPPORTED.items():
        wanted = f'{name}>={lowest}' + (f',<{below}' if below else '')
        if find_spec(name) is None:
            hint = ' (or mmcv-lite==2.1.0)' if name == 'mmcv' else ''
            raise ImportError(
                f'csd_mmrazor needs {name}, which is not '
                f'installed: pip install "{wanted}"{hint}'
            )
        found = _version(name)
        if _release(found) < _release(lowest) or (
            below and _release(found) >= _release(below)
        ):
            raise ImportError(
                f'csd_mmrazor needs {wanted}, but {name} {found} is installed.'
            )


def _version(name: str) -> str:
    for distribution in (name, f'{name}-lite'):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            pass
    return importlib.import_module(name).__version__


def _release(version: str) -> tuple:
    return tuple(map(int, re.findall(r'\d+', version.split('+')[0])[:3]))


def apply() -> None:
    """Run every remedy; a second call does nothing."""
    if _in_force:
        return
    # MMEngine first: MMRazor is imported with it in order.
    _run(
        find_packages_without_setuptools,
        report_environment_without_distutils,
        read_mmcls_as_mmpretrain,
        never_install_packages,
        build_from_local_configs,
        tell_registered_names,
        check_types_of_arguments,
        launch_without_cuda,
        load_checkpoints_safely,
        resume_from_whole_checkpoints,
        never_run_texts_of_configs,
        read_yaml_safely,
        keep_methods_of_schedulers,
        write_checkpoints_whole,
        leave_other_runs_checkpoints_alone,
        format_configs_once,
        require_joblib,
    )
    with seldom_used_deferred():
        _run(import_without_quantization)
        importlib.import_module('mmrazor.engine')
    _run(
        record_before_inplace_layers,
        convert_sequentials_of_dicts,
        train_data_free_in_one_process,
        refuse_images_as_inputs,
        keep_teachers_out_of_checkpoints,
    )


# Whether each remedy found its cause, by its name; see :func:`in_force`.
_in_force: Dict[str, bool] = {}


def _run(*remedies: Callable[[], Optional[bool]]) -> None:
    for remedy in remedies:
        _in_force[remedy.__name__] = remedy() is not False


def in_force() -> Dict[str, bool]:
    """Which remedies there are, and whether each found its cause here.

    Returns:
        dict[str, bool]: By the remedy's name, in the order they were run.
            False where the libraries are right as they are.
    """
    return dict(_in_force)


def _rebind(old, new, package: str = 'mmengine') -> None:
    """Put ``new`` where a loaded module of ``package`` refers to ``old``."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(package + '.'):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)


def find_packages_without_setuptools() -> Optional[bool]:
    """MMEngine resolves ``package::config`` with ``pkg_resources``.

    setuptools 81 dropped that module, and a new environment of Python 3.12
    has no setuptools at all. ``importlib`` answers the same two questions.
    """
    if find_spec('pkg_resources') is not None:
        return False
    from mmengine.utils import package_utils

    def module_of(package: str) -> str:
        if find_spec(package) is not None:
            return package
        top_level = metadata.distribution(package).read_text('top_level.txt')
        return (top_level or package).split('\n')[0]

    def is_installed(package: str) -> bool:
        try:
            return find_spec(module_of(package)) is not None
        except metadata.PackageNotFoundError:
            return False

    def get_installed_path(package: str) -> str:
        spec = find_spec(module_of(package))
        if spec is None or spec.origin is None:
            raise RuntimeError(
                f'{package} is a namespace package, which holds no configs.'
            )
        return str(Path(spec.origin).parent)

    _rebind(package_utils.is_installed, is_installed)
    _rebind(package_utils.get_installed_path, get_installed_path)


def report_environment_without_distutils() -> Optional[bool]:
    """MMEngine's environment report imports ``distutils.errors``.

    Python 3.12 dropped distutils. The report only needs the name of one
    exception, so a stand-in is put in place while it is made.
    """
    if find_spec('distutils') is not None:
        return False
    from mmengine.utils.dl_utils import collect_env

    @functools.wraps(collect_env)
    def wrapper():
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

    _rebind(collect_env, wrapper)


def read_mmcls_as_mmpretrain() -> Optional[bool]:
    """MMRazor's configs name ``mmcls``, which has become ``mmpretrain``.

    MMEngine answers ``mmcls::some/config.py`` by installing mmcls 0.25.0, an
    incompatible release. Where mmcls is not installed, ``mmcls::`` in paths
    and ``mmcls.`` or ``_scope_='mmcls'`` in registries mean mmpretrain.
    """
    if find_spec('mmcls') is not None:
        return False
    import mmengine.hub.hub as hub
    from mmengine.config import Config
    from mmengine.registry import DefaultScope, Registry

    def translate(name):
        is_mmcls = isinstance(name, str) and (
            name == 'mmcls' or name.startswith(('mmcls::', 'mmcls.'))
        )
        return 'mmpretrain' + name[len('mmcls') :] if is_mmcls else name

    def first_translated(function):

        @functools.wraps(function)
        def wrapper(cfg_path, *args, **kwargs):
            return function(translate(cfg_path), *args, **kwargs)

        return wrapper

    Config._get_cfg_path = staticmethod(first_translated(Config._get_cfg_path))
    for function in (hub.get_config, hub.get_model):
        _rebind(function, first_translated(function))

    get, switch = Registry.get, Registry.switch_scope_and_registry

    @functools.wraps(get)
    def translated_get(self, key):
        return get(self, translate(key))

    @functools.wraps(switch)
    def translated_switch(self, scope):
        if scope is None:
            default = DefaultScope.get_current_instance()
            if default is not None and default.scope_name == 'mmcls':
                scope = 'mmcls'
        return switch(self, translate(scope))

    Registry.get = translated_get
    Registry.switch_scope_and_registry = translated_switch


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

    _rebind(package_utils.install_package, install_package)


def build_from_local_configs() -> None:
    """``cfg_path`` of a model can only be ``package::path``.

    MMRazor builds a teacher or student from another config by
    ``mmengine.hub``, which takes configs of installed packages (mmrazor issue
    460). Without ``::`` it is the path of a config file; its
    ``custom_imports`` and ``default_scope`` count.
    """
    import mmengine.hub.hub as hub
    from mmengine.config import Config
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
        cfg = Config.fromfile(path)
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
        _rebind(old, new)


def tell_registered_names() -> None:
    """MMEngine says that a ``type`` is not registered, but not what is.

    The registered names that are most like it are added.
    """
    from mmengine.registry import Registry

    build = Registry.build

    @functools.wraps(build)
    def told_build(self, cfg, *args, **kwargs):
        try:
            return build(self, cfg, *args, **kwargs)
        except KeyError as error:
            text = str(error.args[0]) if error.args else ''
            found = re.match(r'(\S+) is not in the \S+ registry\. ', text)
            if found is None:
                raise
            raise KeyError(
                f'{text[: found.end()]}{_like(found[1], self)}'
            ) from error

    Registry.build = told_build


def _like(name: str, registry, most: int = 8) -> str:
    """What a registry and those above and below it have like a name."""
    root = registry.root
    registries, names = [root], {}
    while registries:
        node = registries.pop()
        registries += node.children.values()
        for known in node.module_dict:
            names.setdefault(known.lower(), f'{node.scope}.{known}')
    wanted = name.split('.')[-1].lower()
    close = difflib.get_close_matches(wanted, names, most, 0.5)
    # 'loss' of 'MyLoss': others of its kind.
    kind = re.findall('[A-Z][a-z]+', name)[-1:]
    of_kind = [key for key in names if kind and key.endswith(kind[0].lower())]
    shown = [*close, *(key for key in sorted(of_kind) if key not in close)]
    if not shown:
        return 'No registered name is like it.'
    listed = ', '.join(names[key] for key in shown[:30])
    more = f', and {len(shown) - 30} more' if len(shown) > 30 else ''
    return f'Registered are {listed}{more}.'


def check_types_of_arguments() -> None:
    """MMEngine builds parts with whatever a config says.

    ``--cfg-options`` reads ``no`` as a text, which counts as true; and what a
    text in place of a number leads to, libraries tell late and without the
    argument's name.
    """
    from mmengine.registry import Registry

    from .utils.arguments import check_arguments

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


def launch_without_cuda() -> Optional[bool]:
    """MMEngine's launchers need CUDA, and its DDP wrapper a CUDA device.

    ``init_dist`` selects a CUDA device and NCCL, and the runner passes
    ``device_ids`` for modules that live on the CPU. Without CUDA the group is
    made with gloo and ``device_ids`` is dropped.
    """
    if torch.cuda.is_available():
        return False
    from mmengine.dist import utils
    from mmengine.model import MMDistributedDataParallel

    @contextmanager
    def no_cuda_calls():
        cuda = torch.cuda
        saved = cuda.set_device, cuda.device_count
        cuda.set_device, cuda.device_count = lambda _: None, lambda: 1
        try:
            yield
        finally:
            cuda.set_device, cuda.device_count = saved

    def on_cpu(initialize):

        @functools.wraps(initialize)
        def wrapper(backend, **kwargs):
            with no_cuda_calls():
                return initialize(
                    'gloo' if backend == 'nccl' else backend, **kwargs
                )

        return wrapper

    for name in ('_init_dist_pytorch', '_init_dist_mpi', '_init_dist_slurm'):
        setattr(utils, name, on_cpu(getattr(utils, name)))

    initialize = MMDistributedDataParallel.__init__

    @functools.wraps(initialize)
    def __init__(self, module, *args, **kwargs):
        if all(param.device.type == 'cpu' for param in module.parameters()):
            kwargs['device_ids'] = None
        initialize(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = __init__


def load_checkpoints_safely() -> None:
    """MMEngine's loaders run what a checkpoint says, or refuse their own.

    ``torch.load`` runs any code before torch 2.6, and ever since where
    MMEngine downloads; elsewhere it then refuses the log histories and NumPy
    values of MMEngine's own checkpoints (mmengine issue 1655), and what it
    does admit can be altered by the file. Every loader of MMEngine's gets one
    that reads data alone, and says what is wrong with a file.
    """
    from mmengine.runner import checkpoint

    from .utils import load_file

    def load_url(url, model_dir=None, map_location=None, progress=True):
        folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
        path = folder / Path(urlparse(url).path).name
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
        return load_file(path, map_location)

    # What that module alone sees of torch.
    stand_in = types.ModuleType('torch')
    stand_in.__getattr__ = functools.partial(getattr, torch)
    stand_in.load = load_file
    checkpoint.torch = stand_in
    checkpoint.load_url = load_url


def resume_from_whole_checkpoints() -> None:
    """``--resume`` follows the name in ``last_checkpoint``, whatever is there.

    Here a run resumes from the last whole one.
    """
    from mmengine.runner import find_latest_checkpoint

    from .utils import latest_checkpoint

    _rebind(find_latest_checkpoint, latest_checkpoint)


def never_run_texts_of_configs() -> None:
    """MMEngine runs the text of a config that a checkpoint holds.

    ``Runner.resume`` and the inferencers do, and MMRazor's ``RuntimeInfo``,
    by ``Config.fromstring``, which writes it to a file and imports that. It
    is what MMEngine wrote of a config, so it is read as plain data.
    """
    from mmengine.config import Config

    from .utils import parse_config

    fromstring = Config.fromstring

    @functools.wraps(fromstring)
    def read(cfg_str, file_format):
        if file_format != '.py':
            return fromstring(cfg_str, file_format)
        try:
            return Config(parse_config(cfg_str))
        except ValueError as error:
            raise ValueError(
                f'The text of a config is not run: {error}. Read one that '
                'you trust by Config.fromfile.'
            ) from error

    Config.fromstring = staticmethod(read)


def read_yaml_safely() -> None:
    """MMEngine reads YAML by a loader that calls what the file names."""
    import yaml
    from mmengine.fileio.handlers import yaml_handler

    yaml_handler.Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


def keep_methods_of_schedulers() -> None:
    """A checkpoint can put anything in place of a scheduler's methods.

    ``load_state_dict`` makes every key of the state an attribute.
    """
    from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

    from .utils import CheckpointError

    load_state_dict = _ParamScheduler.load_state_dict

    @functools.wraps(load_state_dict)
    def load(self, state_dict):
        for key in state_dict:
            if key == 'optimizer' or hasattr(type(self), key):
                raise CheckpointError(
                    f'The checkpoint has a {key} for {type(self).__name__}, '
                    'which is no state of a schedule: it was not written by '
                    'a run. Resume from another.'
                )
        load_state_dict(self, state_dict)

    _ParamScheduler.load_state_dict = load


def write_checkpoints_whole() -> None:
    """MMEngine writes a checkpoint in place.

    Whoever is killed meanwhile, or runs out of disk, leaves a part of one
    under its final name.
    """
    from mmengine.fileio import LocalBackend

    from .utils import write_file

    def put(self, obj, filepath):
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_file(filepath, bytes(obj))

    LocalBackend.put = put


def leave_other_runs_checkpoints_alone() -> None:
    """MMEngine's checkpoints name others by absolute paths.

    A run that is resumed deletes the best one so named when a better comes,
    and in a copy of a work dir the path leads to the original.
    """
    from mmengine.hooks import CheckpointHook

    from .utils import keep_own_pointers

    before_train = CheckpointHook.before_train

    @functools.wraps(before_train)
    def own_before_train(self, runner):
        folder = self.out_dir or runner.work_dir
        if folder != runner.work_dir:  # as MMEngine is about to do
            folder = Path(folder, Path(runner.work_dir).name)
        if '://' not in str(folder):
            step = runner.epoch if self.by_epoch else runner.iter
            keep_own_pointers(runner.message_hub.runtime_info, folder, step)
        before_train(self, runner)

    CheckpointHook.before_train = own_before_train


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


def require_joblib() -> None:
    """MMRazor imports joblib without declaring it."""
    if find_spec('joblib') is None:
        raise ImportError(
            'mmrazor 1.0.0 imports joblib without declaring it: '
            'run "pip install joblib".'
        )


# What MMRazor imports at its start and few ever use: rank correlations and
# trees that predict accuracies, a normal distribution, figures.
_SELDOM_USED = ('scipy.stats', 'sklearn.tree', 'matplotlib.pyplot')


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

    MMRazor's own modules import scipy.stats, sklearn.tree and
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


def import_without_quantization() -> Optional[bool]:
    """``import mmrazor.models`` fails on torch >= 2.

    Its quantization backend configs are built on import from names that torch
    dropped (mmrazor issues 615 and 632). Where that import fails, a stand-in
    takes its place that says so when somebody quantizes.
    """
    name = 'mmrazor.structures.quantization.backend_config'
    try:
        importlib.import_module(name)
        return False
    except ImportError as error:
        if 'torch>=1.13' not in str(error):
            raise

    class BackendConfigs(dict):
        def __getitem__(self, key):
            raise NotImplementedError(_QUANTIZATION)

    stand_in = types.ModuleType(name)
    stand_in.__all__ = ['BackendConfigs']
    stand_in.BackendConfigs = BackendConfigs.fromkeys(
        ('academic', 'native', 'tensorrt', 'openvino')
    )
    sys.modules[name] = stand_in

    from mmrazor.models.quantizers.base import BaseQuantizer

    def __init__(self, *args, **kwargs):
        raise NotImplementedError(_QUANTIZATION)

    BaseQuantizer.__init__ = __init__


def switch_inplace_off(module: torch.nn.Module) -> None:
    """Let every layer that can work in place return a new tensor instead.

    What a recorder keeps of the layer before it is overwritten otherwise.
    """
    for layer in module.modules():
        if getattr(layer, 'inplace', False):
            layer.inplace = False


def record_before_inplace_layers() -> Optional[bool]:
    """MMRazor switches in-place layers off, but does not find them.

    It looks for ``OrderedDict``, and ``Module._modules`` is a dict since
    torch 2.5: nothing below the root changes, and recorders before a ReLU
    see what is after it. On any torch it does not look below a layer that has
    an ``inplace`` itself, such as mmcv's ``ConvModule``, nor at the teachers
    of ``DataFreeDistillation``.
    """
    from mmrazor.models import DataFreeDistillation
    from mmrazor.models.algorithms.base import BaseAlgorithm

    original = BaseAlgorithm.set_module_inplace_false
    probe = types.SimpleNamespace(net=torch.nn.Sequential(torch.nn.ReLU(True)))
    probe.net.inplace = True
    probe.set_module_inplace_false = types.MethodType(original, probe)
    probe.set_module_inplace_false(probe.net, 'self.net')
    if not probe.net[0].inplace:
        return False

    @functools.wraps(original)
    def set_module_inplace_false(self, architecture, varstr):
        if isinstance(architecture, torch.nn.Module):
            switch_inplace_off(architecture)
        elif isinstance(architecture, dict):
            for module in architecture.values():
                set_module_inplace_false(self, module, varstr)

    BaseAlgorithm.set_module_inplace_false = set_module_inplace_false

    initialize = DataFreeDistillation.__init__

    @functools.wraps(initialize)
    def __init__(self, *args, **kwargs):
        initialize(self, *args, **kwargs)
        switch_inplace_off(self.teachers)

    DataFreeDistillation.__init__ = __init__


def convert_sequentials_of_dicts() -> Optional[bool]:
    """``DynamicSequential.convert_from`` fails on torch >= 2.5.

    It gives ``Module._modules``, which is a dict since then, to a constructor
    that takes an ``OrderedDict``.
    """
    if isinstance(torch.nn.Module()._modules, collections.OrderedDict):
        return False
    from mmrazor.models.architectures.dynamic_ops import DynamicSequential

    def convert_from(cls, module):
        return cls(collections.OrderedDict(module._modules))

    DynamicSequential.convert_from = classmethod(convert_from)


def train_data_free_in_one_process() -> None:
    """``DataFreeDistillation`` runs only under DDP and leaks gradients.

    It reads ``self.generator.module.latent_dim``, which a generator that is
    not wrapped does not have; and the generator's backward pass leaves
    gradients on the student, which the student's next step then uses.
    """
    from mmrazor.models import DAFLDataFreeDistillation, DataFreeDistillation

    @contextmanager
    def as_its_own_module(generator):
        if hasattr(generator, 'module'):
            yield
            return
        # Not ``generator.module = ...``: that would register a submodule.
        generator.__dict__['module'] = generator
        try:
            yield
        finally:
            del generator.__dict__['module']

    @contextmanager
    def gradients_restored(student, optim_wrapper):
        update_params = optim_wrapper.update_params

        def update(*args, **kwargs):
            saved = [(param, param.grad) for param in student.parameters()]
            for param, _ in saved:
                param.grad = None
            update_params(*args, **kwargs)
            for param, grad in saved:
                param.grad = grad

        optim_wrapper.update_params = update
        try:
            yield
        finally:
            del optim_wrapper.update_params

    def repaired(train_step):

        @functools.wraps(train_step)
        def wrapper(self, data, optim_wrapper):
            with (
                as_its_own_module(self.generator),
                gradients_restored(self.student, optim_wrapper['generator']),
            ):
                return train_step(self, data, optim_wrapper)

        return wrapper

    for cls in (DataFreeDistillation, DAFLDataFreeDistillation):
        cls.train_step = repaired(cls.train_step)


def refuse_images_as_inputs() -> None:
    """``DataFreeDistillation`` takes any generator's images as inputs.

    It never normalises them, so a generator of images in [0, 1], as this
    project has them, trains on something else than real images become. That
    is told when the algorithm is built.
    """
    from mmrazor.models import DataFreeDistillation

    initialize = DataFreeDistillation.__init__

    @functools.wraps(initialize)
    def __init__(self, *args, **kwargs):
        from .models.generators import check_makes_inputs

        initialize(self, *args, **kwargs)
        check_makes_inputs(self.generator, self.data_preprocessor)

    DataFreeDistillation.__init__ = __init__


def keep_teachers_out_of_checkpoints() -> None:
    """MMRazor's checkpoints hold the teacher (mmrazor issues 76, 594, 613).

    A frozen teacher that was read from a file is read from that file again
    when a run resumes, so its copy (and most of the checkpoint's size) is
    left out. Teachers from anywhere else stay in.
    """
    from mmrazor.models import DataFreeDistillation, SingleTeacherDistill

    def single(self, teacher_ckpt=None, teacher_trainable=False, **_):
        if teacher_ckpt and not teacher_trainable:
            exclude_from_checkpoints(self, 'teacher')

    def several(self, teachers, **_):
        for name, cfg in teachers.items():
            if cfg.get('ckpt_path'):
                exclude_from_checkpoints(self, f'teachers.{name}')

    def followed_by(initialize, exclude):
        signature = inspect.signature(initialize)

        @functools.wraps(initialize)
        def __init__(self, *args, **kwargs):
            initialize(self, *args, **kwargs)
            arguments = signature.bind(self, *args, **kwargs).arguments
            arguments.pop('self')
            exclude(self, **arguments)

        return __init__

    for cls, exclude in (
        (SingleTeacherDistill, single),
        (DataFreeDistillation, several),
    ):
        cls.__init__ = followed_by(cls.__init__, exclude)


def exclude_from_checkpoints(module: torch.nn.Module, name: str) -> None:
    """Leave a submodule out of ``module``'s state dict.

    Loading a state dict without it then misses nothing; one that has it is
    still loaded whole.

    Args:
        module (nn.Module): What is saved and loaded.
        name (str): Dotted name of the submodule to leave out.
    """

    def drop(module, state_dict, prefix, local_metadata):
        for key in [k for k in state_dict if k.startswith(f'{prefix}{name}.')]:
            del state_dict[key]

    def not_missed(module, incompatible_keys):
        missing = incompatible_keys.missing_keys
        missing[:] = [k for k in missing if not k.startswith(f'{name}.')]

    module._register_state_dict_hook(drop)
    module.register_load_state_dict_post_hook(not_missed)
