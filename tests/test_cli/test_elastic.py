# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Nodes that come and go: elastic agents of torchrun, one of them killed."""

import re
from collections import Counter

from helpers import TIMEOUT, free_port
from test_kills import SYNTHESIS, config  # noqa: F401

from csd_mmrazor.datasets import BankFolder

# What ``torchrun --nnodes 3:4`` is, with four agents in forks of one process.
# The last one's worker kills itself and its agent within its second round.
AGENTS = """
import multiprocessing, os, signal, sys
from torch.distributed.elastic.rendezvous import dynamic_rendezvous
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

# It looks through the sources of all modules, of which a fork has thousands.
dynamic_rendezvous.get_method_name = lambda *_: 'test'


def say(*words):
    os.write(1, (' '.join(map(str, ('SAID', *words))) + '\\n').encode())


def worker():
    from csd_mmrazor.cli import train
    from csd_mmrazor.datasets import ImageBank
    from csd_mmrazor.models import ImageSynthesizer

    synthesize, write = ImageSynthesizer.synthesize, ImageBank.write_round
    rounds = []

    def synthesized(*args, **kwargs):
        rounds.append(0)
        if os.environ['AGENT'] == '3' and len(rounds) == 2:
            say('killed', os.environ['RANK'])
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return synthesize(*args, **kwargs)

    def written(self, columns, epoch, index, *args):
        made = write(self, columns, epoch, index, *args)
        say('made', os.environ['WORLD_SIZE'], epoch, index)
        return made

    ImageSynthesizer.synthesize, ImageBank.write_round = synthesized, written
    sys.argv = 'train.py config.py --work-dir run --resume'.split()
    sys.argv += '--launcher pytorch --no-rehearsal'.split()
    train.main()


# As tools/dist_train.sh.
os.environ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
together = multiprocessing.get_context('fork').Barrier(4)
pids = []
for number in range(4):
    pids.append(os.fork())
    if pids[-1] == 0:
        os.environ['AGENT'] = str(number)
        code = 1
        try:
            together.wait()
            elastic_launch(
                LaunchConfig(
                    min_nodes=3,
                    max_nodes=4,
                    nproc_per_node=1,
                    run_id='test',
                    rdzv_backend='c10d',
                    rdzv_endpoint='127.0.0.1:PORT',
                    rdzv_configs=dict(
                        is_host=number == 0, last_call_timeout=8
                    ),
                    local_addr='127.0.0.1',
                    max_restarts=5,
                    start_method='fork',
                    monitor_interval=0.2,
                ),
                worker,
            )()
            code = 0
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            os._exit(code)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
say('codes', *codes)
"""


def test_one_of_four_nodes_is_killed_and_three_go_on(
    forked,
    config,  # noqa: F811
    tmp_path,
):
    config(**{f'{SYNTHESIS}.init_rounds': 8, 'train_cfg.max_epochs': 2})
    text = AGENTS.replace('PORT', str(free_port()))
    (tmp_path / 'agents.py').write_text(text)
    done = forked(module='agents', timeout=TIMEOUT)
    said = re.findall(r'SAID (\w+) (.*)', done.output)
    assert ('codes', '0 0 0 -9') in said, done.output[-5000:]
    assert [what for what, _ in said].count('killed') == 1
    made = Counter(
        tuple(map(int, words.split()[1:]))
        for what, words in said
        if what == 'made'
    )
    initial = {key: count for key, count in made.items() if key[0] == -1}
    # What any of the four had made is kept, and nothing is made twice.
    assert initial == {(-1, index): 1 for index in range(8)}
    folder = BankFolder(tmp_path / 'run/bank')
    rounds = [(shard.epoch, shard.index) for shard in folder.shards]
    # Three processes make three rounds an epoch.
    assert rounds == [(-1, i) for i in range(8)] + [
        (epoch, i) for epoch in range(2) for i in range(3)
    ]
    for shard in folder.shards:
        folder.read(shard)  # checks its bytes
    assert (tmp_path / 'run/epoch_2.pth').exists()
    assert not [*(tmp_path / 'run/bank').glob('note_*')]
