# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What MMEngine's checkpoints and other files of data may do to a run."""

import functools
import types
from pathlib import Path

import torch

from ..utils import (
    CheckpointError,
    download_to,
    keep_own_pointers,
    latest_checkpoint,
    load_file,
    load_pickle,
    parse_config,
    set_apart_best,
    write_file,
)
from ..utils.downloads import cache_place
from .rebind import rebind

_FILE_OPTIONS = (
    'name a file of your own in its place: ckpt_path=FILE of a teacher '
    '(teacher_ckpt=FILE where there is only one), which takes the place of '
    'pretrained=True, checkpoint=FILE of an init_cfg, float_checkpoint=FILE '
    'of a quantized network, or load_from=FILE'
)


def load_checkpoints_safely() -> None:
    """MMEngine's loaders run what a checkpoint says, or refuse their own.

    ``torch.load`` runs any code before torch 2.6, and ever since where
    MMEngine downloads; elsewhere it then refuses the log histories and NumPy
    values of MMEngine's own checkpoints (mmengine issue 1655), and what it
    does admit can be altered by the file. Every loader of MMEngine's gets one
    that reads data alone, and says what is wrong with a file.
    """
    from mmengine.runner import checkpoint

    def load_url(url, model_dir=None, map_location=None, progress=True):
        path = cache_place(url, model_dir)
        is_new = not path.is_file()
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
            with download_to(path, url, _FILE_OPTIONS):
                torch.hub.download_url_to_file(
                    url, str(path), progress=progress
                )
        try:
            return load_file(path, map_location)
        except CheckpointError:
            if is_new:  # such as a page that says what is wrong
                path.unlink()
            raise

    # What that module alone sees of torch.
    stand_in = types.ModuleType('torch')
    stand_in.__getattr__ = functools.partial(getattr, torch)
    stand_in.load = load_file
    checkpoint.torch = stand_in
    checkpoint.load_url = load_url


def resume_from_intact_checkpoints() -> None:
    """``--resume`` follows the name in ``last_checkpoint``, whatever is there.

    Here a run resumes from the last intact one.
    """
    from mmengine.runner import find_latest_checkpoint

    rebind(find_latest_checkpoint, latest_checkpoint)


def never_run_texts_of_configs() -> None:
    """MMEngine runs the text of a config that a checkpoint holds.

    ``Runner.resume`` and the inferencers do, and MMRazor's ``RuntimeInfo``,
    by ``Config.fromstring``, which writes it to a file and imports that. It
    is what MMEngine wrote of a config, so it is read as plain data.
    """
    from mmengine.config import Config

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
    """MMEngine reads YAML by a loader that calls what the file names.

    Of what its dumper writes beside plain data, two types are read that hold
    nothing but data: tuples, and the candidates of MMRazor's searches
    (``init_candidates`` of ``EvolutionSearchLoop``).
    """
    import yaml
    from mmengine.fileio.handlers import yaml_handler

    class PlainLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
        pass

    PlainLoader.add_constructor(
        'tag:yaml.org,2002:python/tuple',
        lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
    )
    PlainLoader.add_constructor(
        'tag:yaml.org,2002:python/object:'
        'mmrazor.structures.subnet.candidate.Candidates',
        _candidates,
    )
    yaml_handler.Loader = PlainLoader


def read_pickles_safely() -> None:
    """``mmengine.load`` runs whatever a ``.pkl`` says.

    MMRazor's searches are resumed from one. Results of tests and the like
    are plain data as well, and are read as such, with the candidates of
    searches.
    """
    from mmengine import fileio
    from mmengine.fileio.handlers import PickleHandler

    def load_from_fileobj(self, file, **kwargs):
        from mmrazor.structures import Candidates

        name = f'{Candidates.__module__}.{Candidates.__name__}'
        path = getattr(file, 'name', 'A pickle')
        return load_pickle(file, str(path), {name: Candidates})

    load = fileio.load

    @functools.wraps(load)
    def load_by_name(file, *args, **kwargs):
        try:
            return load(file, *args, **kwargs)
        except CheckpointError as error:
            if not isinstance(file, (str, Path)):
                raise
            raise CheckpointError(f'{file}: {error}') from error.__cause__

    PickleHandler.load_from_fileobj = load_from_fileobj
    rebind(load, load_by_name)


def _candidates(loader, node):
    """``{data: [{subnet: {score: ...}}, ...]}`` as MMRazor's Candidates."""
    from mmrazor.structures import Candidates

    state = loader.construct_mapping(node, deep=True)
    data = state.get('data')
    if (
        state.keys() != {'data'}
        or not isinstance(data, list)
        or not all(isinstance(each, dict) for each in data)
    ):
        raise ValueError(
            f'The candidates in line {node.start_mark.line + 1} must have a '
            'list of mappings, data, and nothing else, but are '
            f'{str(state)[:200]}. Write them by mmengine.dump(candidates, '
            'FILE).'
        )
    found = Candidates()
    found.data = data
    return found


def keep_methods_of_schedulers() -> None:
    """A checkpoint can put anything in place of a scheduler's methods.

    ``load_state_dict`` makes every key of the state an attribute. Nor do
    functions belong into a file, as ``OneCycleLR`` puts its own there: it
    would be refused.
    """
    from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

    state_dict = _ParamScheduler.state_dict
    load_state_dict = _ParamScheduler.load_state_dict

    @functools.wraps(state_dict)
    def state(self):
        found = state_dict(self)
        return {k: v for k, v in found.items() if not callable(v)}

    @functools.wraps(load_state_dict)
    def load(self, state_dict):
        for key in state_dict:
            is_method = callable(getattr(self, key, None))
            if is_method or key == 'optimizer' or hasattr(type(self), key):
                raise CheckpointError(
                    f'The checkpoint has a {key} for {type(self).__name__}, '
                    'which is no state of a schedule: it was not written by '
                    'a run. Resume from another.'
                )
        load_state_dict(self, state_dict)

    _ParamScheduler.state_dict = state
    _ParamScheduler.load_state_dict = load


def write_checkpoints_atomically() -> None:
    """MMEngine writes a checkpoint in place.

    Whoever is killed meanwhile, or runs out of disk, leaves a part of one
    under its final name.
    """
    from mmengine.fileio import LocalBackend

    def put(self, obj, filepath):
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_file(filepath, bytes(obj))

    LocalBackend.put = put


def write_configs_atomically() -> None:
    """MMEngine writes a run's config in place, at each start.

    On a full disk, nothing is left of the one that was there; and in a copy
    of a work dir that is made of links, the original's is overwritten.
    """
    from mmengine.config import Config
    from mmengine.fileio import LocalBackend

    dump = Config.dump

    @functools.wraps(dump)
    def whole_dump(self, file=None):
        if file is None or not str(file).endswith('.py'):
            return dump(self, file)
        write_file(file, self.pretty_text.encode())

    def put_text(self, obj, filepath, encoding='utf-8'):
        self.put(obj.encode(encoding), filepath)

    Config.dump, LocalBackend.put_text = whole_dump, put_text


def leave_other_runs_checkpoints_alone() -> None:
    """MMEngine's checkpoints name others by absolute paths.

    A run that is resumed deletes the best one so named when a better comes,
    and in a copy of a work dir the path leads to the original. One that is
    not resumed would leave the best one of an earlier run as its own.
    """
    from mmengine.dist import is_main_process
    from mmengine.hooks import CheckpointHook

    before_train = CheckpointHook.before_train

    @functools.wraps(before_train)
    def own_before_train(self, runner):
        folder = self.out_dir or runner.work_dir
        if folder != runner.work_dir:  # as MMEngine is about to do
            folder = Path(folder, Path(runner.work_dir).name)
        if '://' not in str(folder):
            step = runner.epoch if self.by_epoch else runner.iter
            keep_own_pointers(runner.message_hub.runtime_info, folder, step)
            if is_main_process():
                set_apart_best(folder, step if runner._resume else 0)
        before_train(self, runner)

    CheckpointHook.before_train = own_before_train
