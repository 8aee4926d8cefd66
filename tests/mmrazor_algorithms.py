# Copyright (c) csd_mmrazor developers. All rights reserved.
"""MMRazor's own configs, cut to two iterations on a few made-up images."""

import re
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

# The learning rate of 0.5 in these configs is for batches of 2048; on two
# images the losses grow at once.
AUTOSLIM = {'optim_wrapper.optimizer.lr': 0.001}
# Its architecture is trained from the start, not after 5000 iterations.
DMCP = {
    'model.arch_start_train': -1,
    'optim_wrapper.architecture.optimizer.lr': 0.001,
}
# One config or more of every algorithm for classifiers, and what is set in it.
CONFIGS = {
    'distill/mmcls': {
        'kd/kd_logits_resnet34_resnet18_8xb32_in1k': {},
        'abloss/abloss_pretrain_backbone_resnet50_resnet18_8xb32_in1k': {},
        'abloss/abloss_logits_resnet50_resnet18_8xb32_in1k': {},
        'wsld/wsld_logits_resnet34_resnet18_8xb32_in1k': {},
        'fitnets/fitnets_backbone_logits_resnet50_resnet18_8xb32_in1k': {},
        'factor_transfer/factor-transfer_backbone_resnet50_resnet18_8xb16_'
        'cifar10_pretrain': {},
        'factor_transfer/factor-transfer_backbone_resnet50_resnet18_8xb16_'
        'cifar10_train': {},
        'ofd/ofd_backbone_resnet50_resnet18_8xb16_cifar10': {},
        'rkd/rkd_neck_resnet34_resnet18_8xb32_in1k': {},
        'crd/crd_neck_r50_r18_8xb16_cifar10': {},
        'dkd/dkd_resnet34_resnet18_8xb32_in1k': {},
        'dist/dist_logits_resnet34_resnet18_8xb32_in1k': {},
        'byot/byot_resnet18_8xb16_cifar100': {},
        'dafl/dafl_logits_resnet34_resnet18_8xb256_cifar10': {},
        'zskt/zskt_backbone_logits_resnet34_resnet18_8xb16_cifar10': {},
        'dfad/dfad_logits_resnet34_resnet18_8xb32_cifar10': {},
        'deit/deit-base_regnety160_pt-16xb64_in1k': {},
    },
    'nas/mmcls': {
        'spos/spos_shufflenet_supernet_8xb128_in1k': {},
        'spos/spos_mobilenet_supernet_8xb128_in1k': {},
        'darts/darts_supernet_unroll_1xb96_cifar10': {},
        'dsnas/dsnas_supernet_8xb128_in1k': {'model.pretrain_epochs': 0},
        'autoformer/autoformer_supernet_32xb256_in1k': {},
        'bignas/attentive_mobilenet_supernet_32xb64_in1k': {},
        'onceforall/ofa_mobilenet_supernet_32xb64_in1k': {},
        'autoslim/autoslim_mbv2_1.5x_supernet_8xb256_in1k': AUTOSLIM,
    },
    'pruning/mmcls': {
        'dcff/dcff_resnet_8xb32_in1k': {},
        'dmcp/dmcp_resnet50_supernet_32xb64': DMCP,
        'dmcp/dmcp_mbv2_supernet_32xb64': DMCP,
        'group_fisher/resnet50/group_fisher_act_prune_resnet50_8xb32_in1k': {},
        'group_fisher/mobilenet/'
        'group_fisher_flops_prune_mobilenet-v2_8xb32_in1k': {},
        'l1-norm/l1-norm_resnet34_8xb32_in1k_a': {},
    },
    'quantization/qat': {
        'base/qat_openvino_resnet18_10e_8xb32_in1k': {
            'model.architecture.backbone.zero_init_residual': False
        },
        'lsq/lsq_openvino_resnet18_8xb32_10e_in1k': {
            'model.architecture.backbone.zero_init_residual': False
        },
    },
}
# The searches for classifiers, and the arguments of their loops.
_FEW = dict(
    max_epochs=2,
    num_candidates=3,
    top_k=2,
    num_mutation=1,
    num_crossover=1,
    constraints_range=dict(flops=(0.0, 9e9)),
)
SEARCHES = {
    'spos/spos_shufflenet_search_8xb128_in1k': _FEW,
    'spos/spos_mobilenet_search_8xb128_in1k': _FEW,
    'bignas/attentive_mobilenet_search_8xb128_in1k': dict(
        _FEW, calibrate_sample_num=3
    ),
    'onceforall/ofa_mobilenet_search_8xb128_in1k': dict(
        _FEW, calibrate_sample_num=3
    ),
    'autoslim/autoslim_mbv2_1.5x_search_8xb256_in1k': dict(
        target_flops=(600.0,)
    ),
}


def make_images(folder: Path, size: int) -> None:
    """Write two classes of two images each, of noise."""
    rng = np.random.default_rng(0)
    for number in range(4):
        path = folder / 'ab'[number % 2] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(noise).save(path)


def cut(cfg: Config, folder: Path, size: int) -> None:
    """Cut a config of MMRazor's to two iterations on two images each.

    Args:
        cfg (Config): Is changed.
        folder (Path): With images, in folders by class.
        size (int): Their width and height.
    """
    _cut_all_but_length(cfg, folder, size)
    if cfg.train_cfg.get('by_epoch', True) and 'max_iters' not in (
        cfg.train_cfg
    ):
        cfg.train_cfg.max_epochs = 1
    else:
        cfg.train_cfg.max_iters = 2
        cfg.train_cfg.val_interval = 2
    if re.search(r"'begin': [1-9]", str(cfg.get('param_scheduler'))):
        cfg.param_scheduler = None
    # Estimates the FLOPs of a hundred networks; see test_mmrazor.py.
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or []
        if not hook['type'].endswith('DMCPSubnetHook')
    ]
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)


def cut_search(cfg: Config, folder: Path, size: int, loop: dict) -> None:
    """Cut a search of MMRazor's to a few candidates on two images each.

    Args:
        cfg (Config): Is changed.
        folder (Path): With images, in folders by class.
        size (int): Their width and height.
        loop (dict): Arguments of the loop that are others.
    """
    _cut_all_but_length(cfg, folder, size)
    (cfg.train_cfg or cfg.test_cfg).update(loop)


def _cut_all_but_length(cfg, folder, size):
    # Misspelt, so that they change nothing, and tools/train.py says so.
    for name in (
        'evaluation',
        'find_unused_parameter',
        'optim_wrapper_cfg',
    ):
        cfg._cfg_dict.pop(name, None)
    cut_data(cfg._cfg_dict, str(folder), size)
    _leave_out_weights(cfg.model)
    cfg.randomness = dict(seed=0)


def cut_data(part, folder, size):
    """Let every data loader read the images, two at a time.

    Args:
        part (dict): Of a config, is changed.
        folder (str): With images, in folders by class.
        size (int): Their width and height.
    """
    for value in part.values():
        if isinstance(value, dict):
            cut_data(value, folder, size)
    dataset = part.get('dataset')
    if isinstance(dataset, dict) and 'batch_size' in part:
        part.update(batch_size=2, num_workers=0, persistent_workers=False)
    if isinstance(dataset, dict) and 'pipeline' in dataset:
        part['dataset'] = dict(
            _scope_='mmpretrain',
            type='CustomDataset',
            data_prefix=folder,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(size, size)),
                dataset['pipeline'][-1],
            ],
        )


def _leave_out_weights(part):
    """Start from random weights, of teachers too."""
    for key, value in [*part.items()]:
        if key in ('teacher_ckpt', 'ckpt_path'):
            part[key] = 'none'
        elif key == 'float_checkpoint':
            part[key] = None
        elif key == 'pretrained':
            part[key] = False
        elif key == 'init_cfg' and 'Pretrained' in str(value):
            part[key] = None
        elif isinstance(value, dict):
            _leave_out_weights(value)
    if part.get('type') == 'SingleTeacherDistill':
        part['teacher_ckpt'] = 'none'
