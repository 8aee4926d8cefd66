# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import pytest
import torch
from helpers import build, network
from mmengine.config import Config

from csd_mmrazor.export import check_free, export_student


def test_nothing_but_an_export_is_overwritten(tmp_path):
    checkpoint, source = tmp_path / 'epoch_1.pth', tmp_path / 'resnet.py'
    checkpoint.touch()
    source.touch()
    for out, path in (
        (checkpoint, checkpoint),
        (tmp_path / 'resnet.pth', source),
    ):
        with pytest.raises(ValueError, match='would be overwr') as error:
            check_free(str(out))
        assert str(path) in str(error.value)
    cfg = Config(dict(model=dict(architecture=network())))
    torch.save(build(network()).state_dict(), tmp_path / 'weights.pth')
    out = tmp_path / 'out.pth'
    check_free(str(out))
    export_student(cfg, tmp_path / 'weights.pth', out)
    check_free(str(out))
    # What is asked for besides may be of others, or of an earlier export.
    mine = tmp_path / 'mine.onnx'
    check_free(str(out), str(mine))
    mine.touch()
    with pytest.raises(ValueError, match='mine.onnx is there, and is no'):
        check_free(str(out), None, str(mine))
    told = json.loads((tmp_path / 'out.json').read_text())
    told.update(onnx=dict(file='mine.onnx'))
    (tmp_path / 'out.json').write_text(json.dumps(told))
    check_free(str(out), str(mine))


@pytest.mark.parametrize(
    'key, suffix', [('onnx', '.onnx'), ('program', '.pt2')]
)
def test_nothing_of_others_elsewhere_is_overwritten(key, suffix, tmp_path):
    """It may have the name of one that an export wrote into its folder."""
    cfg = Config(
        dict(model=dict(architecture=network(), image_shape=(1, 8, 8)))
    )
    weights, out = tmp_path / 'weights.pth', tmp_path / 'out.pth'
    torch.save(build(network()).state_dict(), weights)
    (tmp_path / 'deploy').mkdir()
    own = tmp_path / f'deploy/net{suffix}'
    export_student(cfg, weights, out, **{key: own})
    for path in (own, tmp_path / f'net{suffix}'):
        check_free(str(out), str(path))
    own.write_text('of others')
    with pytest.raises(ValueError, match=f'net{suffix} is there, and is no'):
        check_free(str(out), str(own))
