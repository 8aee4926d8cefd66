# Copyright (c) csd_mmrazor developers. All rights reserved.
import copy
from types import SimpleNamespace

import joblib
import mmengine
import pytest
import torch
from helpers import build, network
from mmengine.config import Config
from mmrazor.engine import AutoSlimGreedySearchLoop, EvolutionSearchLoop
from mmrazor.models.task_modules.predictor.handler import (
    CartsHandler,
    MLPHandler,
)
from mmrazor.structures import (
    Candidates,
    convert_fix_subnet,
    export_fix_subnet,
    load_fix_subnet,
)
from mmrazor_algorithms import make_images

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


def spos():
    """Of two blocks of three kinds each."""
    block = dict(
        type='mmrazor.OneShotMutableOP',
        candidates={
            f'shuffle_{size}x{size}': dict(
                type='mmrazor.ShuffleBlock', kernel_size=size
            )
            for size in (3, 5, 7)
        },
    )
    supernet = network(3, base_channels=512)  # for a head of 1024 inputs
    supernet['backbone'] = dict(
        type='mmrazor.SearchableShuffleNetV2',
        arch_setting=[[8, 2, block]],
        out_indices=(1,),
    )
    return dict(
        type='mmrazor.SPOS',
        architecture=supernet,
        mutator=dict(type='mmrazor.NasMutator'),
        data_preprocessor=dict(
            type='mmpretrain.ClsDataPreprocessor',
            mean=[99] * 3,
            std=[50] * 3,
        ),
    )


def test_choices_are_plain_texts(tmp_path):
    model = build(spos())
    choices = model.mutator.sample_choices()
    assert {type(choice) for choice in choices.values()} == {str}
    assert Candidates([choices]).subnets == [choices]
    # What DumpSubnetHook writes, and fix_subnet reads.
    model.mutator.set_choices(choices)
    subnet = convert_fix_subnet(export_fix_subnet(model)[0])
    mmengine.dump(subnet, tmp_path / 'subnet.yaml')
    assert mmengine.load(tmp_path / 'subnet.yaml') == subnet
    load_fix_subnet(build(spos()), str(tmp_path / 'subnet.yaml'))


@pytest.mark.parametrize('number', [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize('size', [1, 2, 3])
def test_calibration_takes_as_many_samples_as_asked(number, size):
    taken = []

    class Net(torch.nn.Sequential):
        def test_step(self, data):
            taken.extend(data['data_samples'])
            self(data['inputs'])

    net = Net(torch.nn.BatchNorm2d(3))
    images = torch.randn(12, 3, 2, 2)
    batches = [
        dict(
            inputs=images[start : start + size],
            data_samples=[*range(start, start + size)],
        )
        for start in range(0, 12, size)
    ]
    loop = EvolutionSearchLoop.__new__(EvolutionSearchLoop)
    loop._runner = SimpleNamespace(
        model=net, logger=SimpleNamespace(info=print, debug=print)
    )
    loop.fp16 = False
    loop.calibrate_bn_statistics(batches, number)
    assert taken == [*range(number)]
    torch.testing.assert_close(
        net[0].running_mean, images[:number].mean((0, 2, 3))
    )


def test_a_search(forked, tmp_path):
    """Sampled, calibrated, mutated, resumed; the best one can be built."""
    make_images(tmp_path / 'images', 32)
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='mmrazor.FolderImages',
            data_root=str(tmp_path / 'images'),
            image_shape=(3, 32, 32),
        ),
    )
    evaluator = dict(type='mmpretrain.Accuracy')
    cfg = Config(
        dict(
            default_scope='mmrazor',
            model=spos(),
            train_dataloader=loader,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(
                type='mmrazor.EvolutionSearchLoop',
                dataloader=copy.deepcopy(loader),
                evaluator=evaluator,
                max_epochs=1,
                num_candidates=3,
                top_k=2,
                num_mutation=1,
                num_crossover=1,
                calibrate_sample_num=3,
                constraints_range=dict(flops=(0.0, 9e9)),
            ),
            work_dir=str(tmp_path / 'search'),
        )
    )
    cfg.dump(tmp_path / 'search.py')
    done = forked('search.py')
    assert done.status == [0], done.output[-3000:]
    assert 'Search finished' in done.output
    state = tmp_path / 'search/search_epoch_1.pkl'
    # MMRazor counts finished epochs twice.
    done = forked(
        'search.py',
        '--cfg-options',
        f'train_cfg.resume_from={state}',
        'train_cfg.max_epochs=3',
    )
    assert done.status == [0], done.output[-3000:]
    best = tmp_path / 'search/best_fix_subnet.yaml'
    load_fix_subnet(build(spos()), str(best))
