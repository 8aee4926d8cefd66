# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``python -m csd_mmrazor.compat``: MMRazor's own tools, as they are."""

import torch
from helpers import build, network
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

ALGORITHM = dict(
    _scope_='mmrazor',
    type='ItePruneAlgorithm',
    architecture=network(),
    mutator_cfg=dict(
        type='ChannelMutator',
        channel_unit_cfg=dict(
            type='L1MutableChannelUnit',
            default_args=dict(choice_mode='ratio'),
        ),
        parse_cfg=dict(
            type='ChannelAnalyzer',
            demo_input=(1, 1, 8, 8),
            tracer_type='FxTracer',
        ),
    ),
)


def test_tools_read_checkpoints_of_runs(tiny_runner, forked, tmp_path):
    tiny_runner(**{'train_cfg.max_epochs': 1}).train()
    run = tmp_path / 'run'

    def tool(*argv, **kwargs):
        return forked(*argv, module='csd_mmrazor.compat', **kwargs)

    saved = CheckpointLoader.load_checkpoint(str(run / 'epoch_1.pth'))
    for name, written in (
        ('convert_kd_ckpt', 'run/epoch_1_latest.pth'),
        ('convert_kd_ckpt_to_student', 'run/epoch_1_student.pth'),
        ('convert_quant_ckpt', 'run/epoch_1_deploy.pth'),
    ):
        done = tool(f'model_converters/{name}.py', run / 'epoch_1.pth')
        assert done.status == [0], done.output
        # As plain data again.
        found = CheckpointLoader.load_checkpoint(str(tmp_path / written))
        assert found['meta'] == saved['meta']
    (log,) = run.glob('*/vis_data/..')
    stamp = log.resolve().name
    (run / stamp / 'vis_data' / f'{stamp}.json').touch()
    done = tool(
        *('model_converters/publish_model.py', run / 'epoch_1.pth'),
        *('--timestamp', stamp, '--model-name', 'net', '--out-dir', 'out'),
    )
    assert done.status == [0], done.output
    assert [*(tmp_path / 'out').glob(f'net_{stamp}-*.pth')]

    # Nothing in a file is run.
    trace = tmp_path / 'trace'
    torch.save(dict(state_dict=Touches(trace)), tmp_path / 'evil.pth')
    done = tool('model_converters/convert_kd_ckpt.py', 'evil.pth')
    assert done.status == [1] and not trace.exists()

    done = tool('no_tool.py')
    assert done.status == [1]
    assert 'pruning/get_flops.py' in done.stderr


class Touches:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_pruned_networks_are_made_static(forked, tmp_path):
    Config(dict(model=ALGORITHM)).dump(str(tmp_path / 'prune.py'))
    model = build(ALGORITHM)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'pruned.pth')
    done = forked(
        'pruning/get_static_model_from_algorithm.py',
        *('prune.py', 'pruned.pth', '-o', 'out'),
        module='csd_mmrazor.compat',
    )
    assert done.status == [0], done.output
    found = torch.load(tmp_path / 'out/pruned_pruned.pth', weights_only=True)
    assert found.keys() == build(network()).state_dict().keys()
