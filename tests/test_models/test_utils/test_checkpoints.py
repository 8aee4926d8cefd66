# Copyright (c) csd_mmrazor developers. All rights reserved.
import urllib.error

import pytest
import torch
from conftest import ROOT, build, network

from csd_mmrazor.models.utils import load_weights

ARGUMENT = 'model.teachers.t.ckpt_path'


@pytest.mark.parametrize('prefix', ['', 'module.', 'architecture.'])
@pytest.mark.parametrize('wrapped', [True, False])
def test_loads_any_of_our_files(tmp_path, prefix, wrapped):
    source, target = build(network()), build(network())
    state_dict = {prefix + k: v for k, v in source.state_dict().items()}
    if prefix == 'architecture.':
        state_dict['aux_head.weight'] = torch.zeros(1)
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=state_dict) if wrapped else state_dict, path)
    load_weights(target, str(path), ARGUMENT)
    for key, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[key])


def test_a_missing_file_is_told_by_its_argument():
    with pytest.raises(FileNotFoundError, match=f'{ARGUMENT}=gone.pth does'):
        load_weights(build(network()), 'gone.pth', ARGUMENT)


def test_a_missing_file_is_told_by_who_makes_it(monkeypatch):
    path = 'work_dirs/wrn40-2_svhn/epoch_200.pth'
    for folder, prefix in ((ROOT, ''), (ROOT.parent, f'{ROOT.name}/')):
        monkeypatch.chdir(folder)
        with pytest.raises(FileNotFoundError) as error:
            load_weights(build(network()), path, ARGUMENT)
        assert (
            f'Make it by "python {prefix}tools/train.py {prefix}configs/'
            'teachers/wrn40-2_svhn.py"'
        ) in str(error.value)


def test_another_networks_file_is_refused(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(build(network(base_channels=6)).state_dict(), path)
    with pytest.raises(ValueError, match='does not fit ImageClassifier'):
        load_weights(build(network()), str(path), ARGUMENT)
    torch.save(dict(fc=torch.zeros(1)), path)
    with pytest.raises(ValueError, match='lacks .* of its weights'):
        load_weights(build(network()), str(path), ARGUMENT)


def test_offline_says_which_file_to_put_where(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    monkeypatch.setattr('torch.hub.urlopen', fail)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    url = 'https://download.openmmlab.com/some/teacher.pth'
    with pytest.raises(FileNotFoundError) as error:
        load_weights(build(network()), url, ARGUMENT)
    place = tmp_path / 'hub/checkpoints/teacher.pth'
    for part in (url, f'put it at {place}', f'{ARGUMENT}=FILE', 'no network'):
        assert part in str(error.value)
    # With the file there, nothing is downloaded.
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(build(network()).state_dict(), place)
    load_weights(build(network()), url, ARGUMENT)
