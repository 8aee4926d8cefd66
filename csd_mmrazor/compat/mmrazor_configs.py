# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What MMRazor's own configs name, and MMRazor does not find."""

import functools
import inspect
import types
from pathlib import Path
from typing import Optional

import torch

from ..utils import download_to, without_own_weights
from .rebind import preceded_by

# The last commit of MMRazor's main branch.
_SOURCES = (
    'https://raw.githubusercontent.com/open-mmlab/mmrazor/'
    '90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7/'
)
# The subnets there that configs name, and how their SHA-256 begins.
_NAS, _PRUNING = 'configs/nas/mmcls', 'configs/pruning'
_DARTS = f'{_NAS}/darts/DARTS_SUBNET_CIFAR'
_SUBNETS = {
    f'{_DARTS}_MMRAZOR_97.32.yaml': '05f4b18b5cba4149',
    f'{_DARTS}_PAPER_ALIAS.yaml': 'ed877cb7c845b116',
    f'{_NAS}/autoformer/AUTOFORMER_SUBNET_B.yaml': '46ca183d9668f2ed',
    f'{_NAS}/bignas/ATTENTIVE_SUBNET_A0.yaml': '1204adf039f8c472',
    f'{_NAS}/dsnas/DSNAS_SUBNET_IMAGENET_PAPER_ALIAS.yaml': 'cfd8e2da4dcc5a3a',
    f'{_NAS}/onceforall/OFA_SUBNET_NOTE8_LAT31.yaml': '3a281c8c6696246b',
    f'{_NAS}/spos/SPOS_SUBNET.yaml': '120c731cbd7a1c5a',
    'configs/nas/mmdet/detnas/DETNAS_SUBNET.yaml': '3d285d6af3487727',
    f'{_PRUNING}/mmcls/dcff/fix_subnet.json': 'a74b866444a8df99',
    f'{_PRUNING}/mmcls/dmcp/DMCP_MBV2_100M.json': 'a4ba45294a86f25d',
    f'{_PRUNING}/mmcls/dmcp/DMCP_R50_2G.json': 'f35c900569942842',
    f'{_PRUNING}/mmdet/dcff/fix_subnet.json': 'a74b866444a8df99',
    f'{_PRUNING}/mmpose/dcff/fix_subnet.json': 'a74b866444a8df99',
    f'{_PRUNING}/mmseg/dcff/fix_subnet.json': 'a74b866444a8df99',
    'tests/data/MBV2_slimmable_config.json': '3a5ddd2048723c03',
}
_SUBNET_OPTIONS = 'fix_subnet, or units of the mutator'
# Arguments that were renamed, but not in every config.
_RENAMED = dict(
    AutoSlim=dict(bn_training_mode='norm_training'),
    BigNAS=dict(mutators='mutator'),
)


def find_preprocessors_of_networks() -> Optional[bool]:
    """A classifier in MMRazor's scope does not find its own preprocessor.

    mmpretrain's classifiers add ``type='ClsDataPreprocessor'``, which is
    looked for in the scope of the algorithm around them. What MMRazor has not
    under such a name is mmpretrain's.
    """
    from mmengine.registry import Registry
    from mmrazor.registry import MODELS

    if MODELS.get('ClsDataPreprocessor') is not None:
        return False
    get = Registry.get

    @functools.wraps(get)
    def get_preprocessor(self, key):
        found = get(self, key)
        if (
            found is None
            and self.scope == 'mmrazor'
            and isinstance(key, str)
            and key.endswith('DataPreprocessor')
            and '.' not in key
        ):
            found = get(self, f'mmpretrain.{key}')
        return found

    Registry.get = get_preprocessor


def take_preprocessors_without_type() -> None:
    """An algorithm does not take a ``data_preprocessor`` without ``type``.

    mmpretrain's classifiers do, so its data sets have it so, and configs of
    GroupFisher pass that on. It is of the type of the network's.
    """
    from mmrazor.models.algorithms import BaseAlgorithm
    from mmrazor.registry import MODELS

    initialize = BaseAlgorithm.__init__

    @functools.wraps(initialize)
    def __init__(self, architecture, data_preprocessor=None, *args, **kwargs):
        if isinstance(data_preprocessor, dict) and (
            'type' not in data_preprocessor
        ):
            if isinstance(architecture, dict):
                architecture = MODELS.build(architecture)
            of_network = getattr(architecture, 'data_preprocessor', None)
            if of_network is not None:
                data_preprocessor = dict(
                    data_preprocessor, type=type(of_network)
                )
        initialize(self, architecture, data_preprocessor, *args, **kwargs)

    BaseAlgorithm.__init__ = __init__


def take_old_names_of_arguments() -> None:
    """Configs of AutoSlim, OFA and DIST have arguments by their old names."""
    from mmrazor.models import algorithms
    from mmrazor.models.distillers import ConfigurableDistiller

    for name, renamed in _RENAMED.items():
        cls = getattr(algorithms, name)
        known = inspect.signature(cls.__init__).parameters
        renamed = {old: new for old, new in renamed.items() if new in known}
        if not known.keys() & renamed.keys():
            cls.__init__ = _with_old_names(cls.__init__, renamed)

    check = ConfigurableDistiller._check_loss_forward_mappings

    @functools.wraps(check)
    def renaming_check(self, losses, loss_forward_mappings, *args, **kwargs):
        for name, mapping in (
            loss_forward_mappings.items()
            if isinstance(loss_forward_mappings, dict)
            else ()
        ):
            if name not in losses or not isinstance(mapping, dict):
                continue
            known = inspect.signature(losses[name].forward).parameters
            for key in [*mapping]:
                new = key.replace('preds_', 'logits_')
                if key not in known and new in known and new not in mapping:
                    mapping[new] = mapping.pop(key)
        check(self, losses, loss_forward_mappings, *args, **kwargs)

    ConfigurableDistiller._check_loss_forward_mappings = renaming_check


def _with_old_names(initialize, renamed):

    @functools.wraps(initialize)
    def __init__(self, *args, **kwargs):
        for old, new in renamed.items():
            if old in kwargs and new not in kwargs:
                kwargs[new] = kwargs.pop(old)
        initialize(self, *args, **kwargs)

    return __init__


def find_subnets() -> None:
    """Configs name subnets from the root of MMRazor's repository.

    They are only found where one starts there, and neither its wheel nor its
    source distribution has them. They are looked for where MMRazor is
    installed, too, or cloned; and those that its own configs name are
    downloaded from its repository, as weights are.
    """
    from mmengine import fileio
    from mmrazor.implementations.pruning.group_fisher import (
        prune_deploy_sub_model,
    )
    from mmrazor.models.mutators.channel_mutator import channel_mutator
    from mmrazor.structures.subnet import fix_subnet

    @functools.wraps(fileio.load)
    def load(file, *args, **kwargs):
        if isinstance(file, (str, Path)) and not Path(file).exists():
            file = _find_subnet(str(file))
        return fileio.load(file, *args, **kwargs)

    # What these modules alone see of fileio.
    stand_in = types.ModuleType('fileio')
    stand_in.__getattr__ = functools.partial(getattr, fileio)
    stand_in.load = load
    for module in (channel_mutator, fix_subnet, prune_deploy_sub_model):
        module.fileio = stand_in


def _find_subnet(file: str) -> str:
    if not file.startswith(('configs/', 'tests/')):
        return file
    import mmrazor
    from mmengine.logging import print_log

    package = Path(mmrazor.__file__).parent
    stored = Path(torch.hub.get_dir(), 'mmrazor', file)
    for path in (package / '.mim' / file, package.parent / file, stored):
        if path.is_file():
            return str(path)
    if file not in _SUBNETS:
        raise FileNotFoundError(
            f'There is no {file} in the current folder or where MMRazor is '
            "installed, nor among the subnets of MMRazor's repository. Give "
            f'the path of one in the config ({_SUBNET_OPTIONS}).'
        )
    stored.parent.mkdir(parents=True, exist_ok=True)
    option = f'name a file of your own in the config ({_SUBNET_OPTIONS})'
    print_log(f'Downloading {_SOURCES}{file} to {stored}', 'current')
    with download_to(stored, f'{_SOURCES}{file}', option):
        torch.hub.download_url_to_file(
            f'{_SOURCES}{file}',
            str(stored),
            hash_prefix=_SUBNETS[file],
            progress=False,
        )
    return str(stored)


def download_nothing_that_is_given() -> None:
    """A teacher with ``pretrained=True`` is downloaded beside its own file.

    MMRazor's data-free configs have it so, and a file in ``ckpt_path`` or
    ``teacher_ckpt`` does not change that.
    """
    from mmrazor.models import DataFreeDistillation, SingleTeacherDistill

    def single(arguments):
        arguments['teacher'] = without_own_weights(
            arguments.get('teacher'), arguments.get('teacher_ckpt')
        )

    def several(arguments):
        teachers = arguments.get('teachers')
        if isinstance(teachers, dict):
            arguments['teachers'] = {
                name: dict(
                    cfg,
                    build_cfg=without_own_weights(
                        cfg.get('build_cfg'), cfg.get('ckpt_path')
                    ),
                )
                for name, cfg in teachers.items()
            }

    for cls, change in (
        (SingleTeacherDistill, single),
        (DataFreeDistillation, several),
    ):
        cls.__init__ = preceded_by(cls.__init__, change)


def take_tokens_of_mmpretrain() -> None:
    """``DeiTClsHead`` wants patches, class and distillation token.

    So mmcls's backbone returned them; mmpretrain's returns the tokens alone.
    """
    from mmrazor.models.architectures.heads import DeiTClsHead

    pre_logits = DeiTClsHead.pre_logits

    @functools.wraps(pre_logits)
    def pre_logits_of_tokens(self, feats):
        if len(feats[-1]) == 2:
            feats = (*feats[:-1], (None, *feats[-1]))
        return pre_logits(self, feats)

    DeiTClsHead.pre_logits = pre_logits_of_tokens
