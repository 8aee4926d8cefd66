# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OneCycleLR
from mmengine.runner.checkpoint import CheckpointLoader


def test_mmengine_checkpoints_load_and_nothing_else(tmp_path):
    hub = MessageHub.get_instance('checkpoint')
    hub.update_scalar('train/loss', 1.5)
    for name, value in dict(
        a=np.float64(2), b=np.arange(3), c=np.int64(3), d=np.bool_(True)
    ).items():
        hub.update_info(name, value)
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(message_hub=hub.state_dict(), x=torch.ones(2)), path)
    loaded = CheckpointLoader.load_checkpoint(str(path))
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer) and buffer.mean() == 1.5
    assert loaded['message_hub']['runtime_info']['b'].tolist() == [0, 1, 2]


class Runs:
    """Unpickling this runs a command."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'function, args',
    [
        (os.system, ('touch {}',)),
        (eval, ('open("{}", "w")',)),
        (getattr, (os, 'system')),
        (getattr, (HistoryBuffer, '__init__')),
    ],
)
def test_other_pickles_are_refused(tmp_path, function, args):
    trace = tmp_path / 'trace'
    args = [a.format(trace) if isinstance(a, str) else a for a in args]
    path = tmp_path / 'evil.pth'
    if function is getattr and args[0] is os:
        args[0] = Runs(__import__, 'os')
    torch.save(dict(state_dict=Runs(function, *args)), path)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        CheckpointLoader.load_checkpoint(str(path))
    assert not trace.exists()


def test_functions_of_schedules_are_not_saved(tmp_path):
    """OneCycleLR keeps one of its methods as an attribute."""

    def make(strategy):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        return OneCycleLR(
            optimizer, 0.5, total_steps=5, anneal_strategy=strategy
        )

    done, resumed, linear = make('cos'), make('cos'), make('linear')
    done.step()
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state=done.state_dict()), path)
    state = CheckpointLoader.load_checkpoint(str(path))['state']
    resumed.load_state_dict(state)
    linear.load_state_dict(state)
    for schedule in (done, resumed, linear):
        schedule.step()
    assert done.get_last_value() == resumed.get_last_value()
    assert done.get_last_value() != linear.get_last_value()
    with pytest.raises(ValueError, match='has a anneal_func for OneCycleLR'):
        resumed.load_state_dict(dict(state, anneal_func=1))


def test_yaml_names_no_functions(tmp_path):
    import mmengine

    path = tmp_path / 'a.yml'
    path.write_text('a: [1, {b: c}]')
    assert mmengine.load(path) == dict(a=[1, dict(b='c')])
    path.write_text(f'a: !!python/object/apply:os.mkdir [{tmp_path}/PWNED]')
    for read in (mmengine.load, Config.fromfile):
        with pytest.raises(Exception, match='could not determine a constr'):
            read(path)
    assert not (tmp_path / 'PWNED').exists()


def test_yaml_holds_candidates_of_searches(tmp_path):
    import mmengine
    from mmrazor.structures import Candidates

    path = tmp_path / 'candidates.yaml'
    candidates = Candidates({'1': ('a', 2), '2': 'c'})
    candidates.set_resource(0, 49.9, 'flops')
    mmengine.dump(candidates, path)
    assert 'python/object' in path.read_text()
    read = mmengine.load(path)
    assert type(read) is Candidates
    assert read == candidates
    assert read.resources('flops') == [49.9]
    mmengine.dump(dict(a=(1, [('b',)])), path)
    assert mmengine.load(path) == dict(a=(1, [('b',)]))


@pytest.mark.parametrize(
    'state', ['{data: 1}', '{data: [1]}', '{}', '{data: [], append: 1}']
)
def test_yaml_of_wrong_candidates_is_refused(state, tmp_path):
    import mmengine

    path = tmp_path / 'candidates.yaml'
    tag = 'python/object:mmrazor.structures.subnet.candidate.Candidates'
    path.write_text(f'!!{tag} {state}')
    with pytest.raises(ValueError, match='must have a list of mappings'):
        mmengine.load(path)


def test_pickles_hold_data(tmp_path):
    """As ``tools/test.py --out`` and MMRazor's searches write them."""
    import mmengine
    from mmrazor.structures import Candidates

    path = tmp_path / 'results.pkl'
    candidates = Candidates({'1': ('a', 2), '2': 'c'})
    candidates.set_resource(0, 49.9, 'flops')
    score = torch.arange(6.0).view(2, 3).t()
    results = [dict(sample_idx=0, pred_score=score, path='a.png')]
    value = dict(top=candidates, all=[candidates], results=results)
    mmengine.dump(value, path)
    for found in (mmengine.load(path), mmengine.load(str(path))):
        assert type(found['top']) is Candidates
        assert found['top'] == candidates == found['all'][0]
        assert found['top'] is found['all'][0]
        assert found['results'][0]['path'] == 'a.png'
        assert torch.equal(found['results'][0]['pred_score'], score)
    with open(path, 'rb') as file:
        assert mmengine.load(file, file_format='pkl').keys() == value.keys()


def test_pickles_are_not_run(tmp_path):
    import mmengine

    path = tmp_path / 'search_epoch_1.pkl'
    mmengine.dump([Runs(os.mkdir, str(tmp_path / 'PWNED'))], path)
    for file in (path, str(path)):
        with pytest.raises(ValueError, match='search_epoch_1.pkl.*mkdir'):
            mmengine.load(file)
    with (
        open(path, 'rb') as file,
        pytest.raises(ValueError, match='search_epoch_1.pkl.*mkdir'),
    ):
        mmengine.load(file, file_format='pickle')
    assert not (tmp_path / 'PWNED').exists()


def test_texts_of_configs_are_not_run(tmp_path):
    code = f"a=__import__('os').mkdir('{tmp_path}/PWNED')"
    with pytest.raises(ValueError, match='text of a config is not run: line'):
        Config.fromstring(code, '.py')
    assert not (tmp_path / 'PWNED').exists()
    cfg = Config(dict(a=1, b=dict(c=[2])))
    assert Config.fromstring(cfg.pretty_text, '.py').b.c == [2]
    assert Config.fromstring('{"a": 1}', '.json').a == 1


@pytest.mark.parametrize('suffix', ['.py', '.json', '.yml'])
def test_a_config_is_written_in_one_piece(suffix, tmp_path):
    """A link of its name, as in a copy of a work dir, leads to another's."""
    theirs, ours = tmp_path / f'theirs{suffix}', tmp_path / f'ours{suffix}'
    theirs.write_text('theirs')
    for link in ours.hardlink_to, ours.symlink_to:
        link(theirs)
        Config(dict(a=1)).dump(str(ours))
        assert theirs.read_text() == 'theirs'
        assert Config.fromfile(ours).a == 1
        ours.unlink()
