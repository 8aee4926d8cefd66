# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import torch
from helpers import build, network
from mmengine.config import Config

from csd_mmrazor.export import export_student


def export(tmp_path, name='out.pth', is_own_folder=True, **cfg):
    cfg.setdefault('model', dict(architecture=network()))
    path = tmp_path / 'weights.pth'
    torch.save(build(network()).state_dict(), path)
    return export_student(
        *(Config(cfg), path, tmp_path / name), is_own_folder=is_own_folder
    )


def logged(work_dir, **scalars):
    """A checkpoint of epoch 2 in a work dir that logged such scalars."""
    path = work_dir / '2026/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    lines = [
        json.dumps({'step': epoch, **{k: v + epoch for k, v in each.items()}})
        for epoch in (1, 2)
        for each in [{k.replace('__', '/'): v for k, v in scalars.items()}]
    ]
    path.write_text('\n'.join(lines))
    return work_dir / 'best_agreement_epoch_2.pth'


HELD_OUT = dict(
    agreement__held_out_top1=70,
    agreement__held_out_recognised=90,
    agreement__held_out_confident=80,
    agreement__held_out_images=30,
    agreement__held_out_confident_images=18,
)


SEEN = dict(
    agreement__seen_top1=75,
    agreement__seen_recognised=90,
    agreement__seen_confident=85,
)
