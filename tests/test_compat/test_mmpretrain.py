# Copyright (c) csd_mmrazor developers. All rights reserved.
import pickle
import sys
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from helpers import build
from mmpretrain.engine.hooks import SwAVHook
from mmpretrain.models.backbones.mixmim import MixMIMBlock
from mmpretrain.models.retrievers import ImageToImageRetriever
from mmpretrain.models.utils.attention import ShiftWindowMSA
from mmpretrain.models.utils.vector_quantizer import EmbeddingEMA
from mmpretrain.registry import TRANSFORMS
from test_models.test_families import FAMILIES

from csd_mmrazor import compat
from csd_mmrazor.compat.mmpretrain import read_files_as_data
from csd_mmrazor.export import export_program
from csd_mmrazor.utils import CheckpointError


@pytest.mark.parametrize('cls', [ShiftWindowMSA, MixMIMBlock])
@pytest.mark.parametrize('size', [(4, 4), (4, 8)])
def test_windows_come_together_as_they_were(cls, size):
    maps = torch.randn(3, *size, 5)
    windows = cls.window_partition(maps, 2)
    found = cls.window_reverse(windows, *size, 2)
    assert torch.equal(found, maps) and found.is_contiguous()


def test_swin_is_exported_for_any_batch(tmp_path):
    """The program is compared with the network for 1 and 3 images."""
    assert 'export_windows_of_any_batch' in compat.in_force()
    model = build(FAMILIES['SwinTransformer']).eval()
    assert export_program(model, (3, 32, 32), tmp_path / 'swin.pt2') < 1e-5


@pytest.fixture
def no_torch_load(monkeypatch):
    """As before torch 2.6 it would run what a file says."""

    def load(*args, **kwargs):
        raise AssertionError('torch.load')

    monkeypatch.setattr(torch, 'load', load)


def test_a_queue_is_read_as_data(tmp_path, no_torch_load):
    queue = torch.randn(2, 4, 8)
    loss = SimpleNamespace(queue=None)
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        model=SimpleNamespace(head=SimpleNamespace(loss_module=loss)),
    )
    torch.save(dict(queue=queue), tmp_path / 'queue.pth')
    SwAVHook(batch_size=2, feat_dim=8).before_run(runner)
    assert torch.equal(loss.queue.cpu(), queue)
    torch.save(dict(queue=Fraction(1)), tmp_path / 'queue.pth')
    with pytest.raises(CheckpointError, match='could run any code'):
        SwAVHook(batch_size=2, feat_dim=8).before_run(runner)


def test_so_are_prototypes_and_codebooks(tmp_path, no_torch_load):
    path = str(tmp_path / 'a.pth')
    vectors = torch.randn(4, 8)
    torch.save(vectors, path)
    read = ImageToImageRetriever._get_prototype_vecs_from_path
    assert torch.equal(read(None, path).cpu(), vectors)
    found = EmbeddingEMA(4, 8, codebook_init_path=path)
    assert torch.equal(found.weight, vectors)


def test_types_of_transforms_are_names():
    def transform(dtype):
        cfg = dict(type='torchvision/ConvertImageDtype', dtype=dtype)
        return TRANSFORMS.build(cfg).t.dtype

    for name in ('float32', 'float', 'uint8'):
        assert transform(name) is getattr(torch, name)
    assert transform(torch.int16) is torch.int16
    for name in ('nn', 'gone', 'float32 if print(1) else 0'):
        with pytest.raises(ValueError, match='no type of torch.*not run'):
            transform(name)


def test_lists_of_tags_are_read_as_data(tmp_path, no_torch_load, monkeypatch):
    """The modules need packages that tests have not."""
    modules = {}
    for name in ('ram', 'openset_utils'):
        modules[name] = SimpleNamespace(pickle=pickle, torch=torch)
        where = f'mmpretrain.models.multimodal.ram.{name}'
        monkeypatch.setitem(sys.modules, where, modules[name])
    read_files_as_data()
    path = tmp_path / 'a.pickle'

    def read(content):
        path.write_bytes(pickle.dumps(content))
        with path.open('rb') as file:
            return modules['ram'].pickle.load(file)

    assert read(['cat', 'dog']) == ['cat', 'dog']
    with pytest.raises(CheckpointError, match='a.pickle.* any code'):
        read(Fraction(1))
    torch.save(dict(a=torch.ones(2)), path)
    assert modules['openset_utils'].torch.load(path)['a'].tolist() == [1, 1]
