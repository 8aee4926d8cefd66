# Copyright (c) csd_mmrazor developers. All rights reserved.
from .aliases import register_alias
from .arguments import check_integer, check_positive, check_probability
from .checkpoints import (
    CheckpointError,
    keep_own_pointers,
    latest_checkpoint,
    list_checkpoints,
    load_file,
    load_pickle,
    note_last,
    set_apart_best,
    verify_archive,
)
from .downloads import download_to
from .files import (
    digest_of_file,
    own_file,
    path_below,
    read_object,
    work_dir_lock,
    write_file,
)
from .plain_config import (
    config_of_checkpoint,
    configs_of_starts,
    parse_config,
)
from .progress import Progress
from .safe_tensors import write_safetensors
from .seeds import derive_seed, seeded
from .teachers import (
    NO_FILE,
    check_teachers,
    check_teachers_of,
    without_own_weights,
)
from .transfer import to_device

__all__ = [
    'NO_FILE',
    'check_integer',
    'check_positive',
    'check_probability',
    'check_teachers',
    'check_teachers_of',
    'CheckpointError',
    'Progress',
    'verify_archive',
    'config_of_checkpoint',
    'configs_of_starts',
    'derive_seed',
    'digest_of_file',
    'download_to',
    'keep_own_pointers',
    'set_apart_best',
    'latest_checkpoint',
    'list_checkpoints',
    'note_last',
    'load_file',
    'load_pickle',
    'own_file',
    'read_object',
    'parse_config',
    'path_below',
    'register_alias',
    'seeded',
    'to_device',
    'work_dir_lock',
    'without_own_weights',
    'write_file',
    'write_safetensors',
]
