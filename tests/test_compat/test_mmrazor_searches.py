# Copyright (c) csd_mmrazor developers. All rights reserved.
import joblib
import mmengine
import pytest
import torch
from mmrazor.engine import AutoSlimGreedySearchLoop, EvolutionSearchLoop
from mmrazor.models.task_modules.predictor.handler import (
    CartsHandler,
    MLPHandler,
)
from mmrazor.structures import Candidates

SUBNET = {'1': ('a', 2), '2': 'c', '3': [0.5, None], '4': -1}


def test_subnets_of_candidates():
    candidates = Candidates([SUBNET, {'1': 'b'}])
    assert candidates.subnets == [SUBNET, {'1': 'b'}]
    # Of a search for values and channels, whose keys are not texts of dicts.
    both = Candidates([dict(value_subnet=dict(a=1), channel_subnet=dict(b=2))])
    assert both.subnets == [
        dict(value_subnet=dict(a=1), channel_subnet=dict(b=2))
    ]


@pytest.mark.parametrize(
    'text',
    ["__import__('os').mkdir('PWNED')", 'open', '(', '(' * 10_000, 'a' * 999],
)
@pytest.mark.parametrize('suffix', ['pkl', 'yaml'])
def test_candidates_out_of_files_are_not_run(
    text, suffix, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    candidates = Candidates({'1': 'a'})
    candidates.data = [{text: dict(score=1)}]
    mmengine.dump(candidates, f'candidates.{suffix}')
    found = mmengine.load(f'candidates.{suffix}')
    assert found == candidates
    with pytest.raises(ValueError, match='must be the text of a dict'):
        _ = found.subnets
    assert not (tmp_path / 'PWNED').exists()


def evolution(**other):
    state = dict(
        _epoch=2,
        candidates=Candidates([SUBNET] * 3),
        top_k_candidates=Candidates([SUBNET]),
    )
    return EvolutionSearchLoop, dict(state, **other)


def greedy(**other):
    state = dict(
        current_subnet={'1': 3},
        current_flops=12.5,
        searched_subnet=[{'1': 4}],
        searched_subnet_flops=[20.0],
    )
    return AutoSlimGreedySearchLoop, dict(state, **other)


class Runner:
    rank = 0

    class logger:
        info = print


def search(cls, path):
    loop = cls.__new__(cls)
    loop._runner, loop.resume_from, loop._max_epochs = Runner, str(path), 5
    return loop


@pytest.mark.parametrize('make', [evolution, greedy])
def test_searches_are_resumed(make, tmp_path):
    cls, state = make()
    path = tmp_path / 'search_epoch_2.pkl'
    mmengine.dump(state, path)
    loop = search(cls, path)
    loop._resume()
    assert {name: vars(loop)[name] for name in state} == state


@pytest.mark.parametrize(
    'cls, state',
    [
        evolution(_val_candidate=None),
        evolution(_epoch='2'),
        evolution(candidates=[SUBNET]),
        greedy(runner=None),
        greedy(current_subnet=None),
        (EvolutionSearchLoop, greedy()[1]),
        (AutoSlimGreedySearchLoop, evolution()[1]),
        (EvolutionSearchLoop, {}),
        (AutoSlimGreedySearchLoop, [1]),
    ],
)
def test_searches_are_resumed_from_their_state_alone(cls, state, tmp_path):
    path = tmp_path / 'latest.pkl'
    mmengine.dump(state, path)
    loop = search(cls, path)
    before = dict(vars(loop))
    with pytest.raises(
        ValueError, match=f'latest.pkl is no state of {cls.__name__}'
    ):
        loop._resume()
    assert vars(loop) == before


def test_predictors_out_of_files_are_not_run(tmp_path):
    path = tmp_path / 'predictor.joblib'
    joblib.dump([1], path)
    with pytest.raises(ValueError, match='handler_ckpt=.*train_samples'):
        CartsHandler().load(str(path))


def test_a_predictor_of_weights(tmp_path):
    saved, read = MLPHandler(), MLPHandler()
    path = saved.save(str(tmp_path / 'predictor'))
    read.load(path)
    for key, value in saved.model.state_dict().items():
        assert torch.equal(read.model.state_dict()[key], value)
    torch.save(dict(state_dict=print), path)
    with pytest.raises(ValueError, match='is not loaded.*print'):
        read.load(path)
