# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Nothing piles up, round by round."""

import json
import re

from helpers import dump

SYNTHESIS = 'default_hooks.synthesis'
# Tells after each round what the process holds.
PROBE = """
import gc, json, os, torch
from csd_mmrazor.datasets import ImageBank

add_rounds = ImageBank.add_rounds


def probed(self, rounds, held):
    add_rounds(self, rounds, held)
    ((shard, *_),) = rounds
    if shard.index % 25:
        return
    gc.collect()
    modules = [x for x in gc.get_objects() if isinstance(x, torch.nn.Module)]
    with open('/proc/self/statm') as file:
        pages = int(file.read().split()[1])
    print('PROBE', json.dumps(dict(
        epoch=shard.epoch,
        index=shard.index,
        bank=self._store.length * 64,  # bytes of 8x8 grey images
        resident=pages * os.sysconf('SC_PAGE_SIZE'),
        files=len(os.listdir('/proc/self/fd')),
        hooks=sum(len(m._forward_hooks) + len(m._forward_pre_hooks)
                  + len(m._backward_hooks) for m in modules),
        patched=sum('forward' in vars(m) for m in modules),
        tensors=sum(torch.is_tensor(x) for x in gc.get_objects()),
        graph=sum(torch.is_tensor(x) and x.grad_fn is not None
                  for x in gc.get_objects()),
    )), flush=True)


ImageBank.add_rounds = probed
"""


def test_100_rounds(forked, tiny_config, tmp_path):
    (tmp_path / 'probe.py').write_text(PROBE)
    cfg = tiny_config(
        custom_imports=dict(imports=['csd_mmrazor', 'probe']),
        **{
            f'{SYNTHESIS}.init_rounds': 101,
            f'{SYNTHESIS}.rounds': 101,
            'train_cfg.max_epochs': 1,
        },
    )
    dump(cfg, tmp_path / 'config.py')
    done = forked(
        *('config.py', '--work-dir', 'run', '--no-rehearsal'),
        setup='sys.path.insert(0, os.getcwd())',
    )
    assert done.status == [0], done.output[-3000:]
    found = [json.loads(x) for x in re.findall('PROBE (.*)', done.stdout)]
    # With the student and without it.
    for epoch in (-1, 0):
        rounds = [probe for probe in found if probe['epoch'] == epoch]
        assert [probe['index'] for probe in rounds] == [0, 25, 50, 75, 100]
        for probe in rounds:
            print(probe)
        first, last = rounds[1], rounds[-1]
        for name in ('files', 'hooks', 'patched', 'tensors', 'graph'):
            assert last[name] == first[name], name
        assert last['patched'] == last['graph'] == 0
        grown = last['resident'] - first['resident']
        assert grown < last['bank'] - first['bank'] + 2**20
