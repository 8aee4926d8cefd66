# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What several processes make, and what their number changes."""

import json
import re

import numpy as np
import pytest
import torch
from helpers import SAY, build, dump, network
from mmengine.runner import CheckpointLoader
from test_kills import AT_FILE, config, same, state  # noqa: F401

from csd_mmrazor.datasets import BankFolder

SYNTHESIS = 'default_hooks.synthesis'
PROBE = f"""{SAY}
import hashlib, json
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


def digest(*tensors):
    joined = hashlib.sha256()
    for tensor in tensors:
        joined.update(tensor.detach().cpu().numpy().tobytes())
    return joined.hexdigest()


@HOOKS.register_module()
class Probe(Hook):
    priority = 'VERY_LOW'

    def after_train(self, runner):
        bank = runner.train_dataloader.dataset
        batch = bank.__getitems__(list(range(len(bank))))
        model = getattr(runner.model, 'module', runner.model)
        say(json.dumps(dict(
            rank=get_rank(),
            images=len(bank),
            bank=digest(batch['inputs'], batch['labels']),
            folder=bank.folder.digest(),
            weights=digest(*model.state_dict().values()),
        )))
"""


@pytest.fixture
def probed(config, tmp_path):  # noqa: F811
    """A config whose processes tell what they have in memory."""
    (tmp_path / 'probe.py').write_text(PROBE)
    config(
        custom_imports=dict(imports=['csd_mmrazor', 'probe']),
        custom_hooks=[dict(type='Probe')],
        **{f'{SYNTHESIS}.progress_interval': 0},
    )
    return dict(setup='sys.path.insert(0, os.getcwd())')


def probes(text):
    found = [json.loads(x) for x in re.findall('PROBE (.*)', text)]
    return sorted(found, key=lambda probe: probe['rank'])


def log_of(work):
    return next(work.glob('*/*.log')).read_text()


def test_all_have_the_same_bank_and_weights(forked, probed, tmp_path):
    two = forked(
        *('config.py', '--work-dir', 'two', '--no-rehearsal'),
        processes=2,
        **probed,
    )
    assert two.status == [0, 0], two.output[-3000:]
    first, second = probes(two.output)
    assert (first.pop('rank'), second.pop('rank')) == (0, 1)
    assert first == second
    # 4 for the start and one of each process for 3 epochs, 16 images each.
    assert first['images'] == (4 + 3 * 2) * 16
    assert BankFolder(tmp_path / 'two/bank').digest() == first['folder']

    log = log_of(tmp_path / 'two')
    # Four rounds in two passes.
    assert 'initial bank: round 2/2' in log
    assert 'initial bank: round 3' not in log
    # 128 images an epoch, 16 a step and process.
    assert (
        '2 processes x 16 images: effective batch 32, 4 student steps an '
        'epoch, 12 in all. Rates: architecture.lr 0.1, aux_head.lr 0.1, '
        'whatever the number of processes' in log
    )
    one = forked(
        *('config.py', '--work-dir', 'one', '--auto-scale-lr'),
        '--no-rehearsal',
        **probed,
    )
    assert one.status == [0], one.output[-3000:]
    log = log_of(tmp_path / 'one')
    assert 'initial bank: round 4/4' in log
    assert (
        '1 process x 16 images: effective batch 16, 8 student steps an '
        'epoch, 24 in all. Rates: architecture.lr 0.0125, aux_head.lr 0.0125, '
        'scaled with the effective batch.' in log
    )
    # The initial bank depends on the seed alone, not on who makes it.
    shards = [
        {(s.epoch, s.index): s.sha256 for s in BankFolder(path).shards}
        for path in (tmp_path / 'one/bank', tmp_path / 'two/bank')
    ]
    initial = [(-1, index) for index in range(4)]
    assert [shards[0][key] for key in initial] == [
        shards[1][key] for key in initial
    ]


BUFFERS = f"""{SAY}
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


def buffers(runner, part):
    model = getattr(runner.model.module, part)
    return dict(getattr(model, 'teacher', model).named_buffers())


@HOOKS.register_module()
class Probe(Hook):
    def before_train(self, runner):
        mean = buffers(runner, 'teachers')['backbone.bn1.running_mean']
        say('at first', mean.sum().item())

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for part, name in (
            ('teachers', 'running_mean'), ('student', 'num_batches_tracked')
        ):
            if get_rank():
                buffers(runner, part)['backbone.bn1.' + name].fill_(999)

    def after_train_iter(self, runner, batch_idx, **kwargs):
        mean = buffers(runner, 'teachers')['backbone.bn1.running_mean']
        steps = buffers(runner, 'student')['backbone.bn1.num_batches_tracked']
        say(get_rank(), (mean == 999).all().item(), steps.item())
"""


def test_buffers_of_teachers_are_sent_once(forked, config, tmp_path):  # noqa: F811
    (tmp_path / 'probe.py').write_text(BUFFERS)
    config(
        custom_imports=dict(imports=['csd_mmrazor', 'probe']),
        custom_hooks=[dict(type='Probe')],
        **{'train_cfg.max_epochs': 1},
    )
    # Another teacher in the second process, before they are wrapped.
    setup = """
sys.path.insert(0, os.getcwd())
from mmengine.dist import get_rank
from csd_mmrazor.models import CSDDistillation
build = CSDDistillation._build_teachers
def built(self, cfgs):
    teachers = build(self, cfgs)
    for name, buffer in teachers.named_buffers():
        if name == 'teacher.backbone.bn1.running_mean':
            buffer += get_rank()
    return teachers
CSDDistillation._build_teachers = built
"""
    done = forked(
        *('config.py', '--work-dir', 'two', '--no-rehearsal'),
        processes=2,
        setup=setup,
    )
    assert done.status == [0, 0], done.output[-3000:]
    first, second = re.findall('PROBE at first (.*)', done.output)
    assert first == second
    steps = re.findall(r'PROBE (\d) (\w+) (\d+)\n', done.output)
    # The student's are those of the first process.
    assert {(rank, step) for rank, _, step in steps} == {
        (rank, str(step)) for rank in '01' for step in range(1, 5)
    }
    assert {(rank, kept) for rank, kept, _ in steps} == {
        ('0', 'False'),
        ('1', 'True'),
    }


STATISTICS = (
    PROBE
    + """
    def after_train(self, runner):
        pass

    def after_train_epoch(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        say(get_rank(), runner.iter, digest(*model.student.buffers()))

    before_val_epoch = after_train_epoch
"""
)


@pytest.mark.parametrize(
    'loop',
    [
        dict(by_epoch=True, max_epochs=2),
        dict(by_epoch=False, max_iters=4, val_interval=2),
    ],
)
def test_all_validate_the_same_on_a_finished_bank(
    tiny_config, forked, tmp_path, loop
):
    """Where no auxiliary head has DDP send statistics after the last step."""
    (tmp_path / 'probe.py').write_text(STATISTICS)
    bank = BankFolder(tmp_path / 'bank', (1, 8, 8), 10)
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8), np.uint8)
    bank.append(images, np.arange(64) % 10, 0, 0, True)
    cfg = tiny_config(
        custom_imports=dict(imports=['csd_mmrazor', 'probe']),
        custom_hooks=[
            dict(type='Probe'),
            # Of statistics, too.
            dict(type='EMAHook', momentum=0.1, update_buffers=True),
        ],
        **{
            'model.aux_head': None,
            'train_dataloader.dataset.data_root': str(bank.path),
            'train_dataloader.sampler.num_samples': 64,
        },
    )
    del cfg.default_hooks['synthesis']
    for section in (cfg.optim_wrapper, cfg.param_scheduler):
        section.pop('aux_head')
    cfg.train_cfg = loop
    cfg.default_hooks.checkpoint.by_epoch = loop['by_epoch']
    cfg.log_processor = dict(by_epoch=loop['by_epoch'])
    dump(cfg, tmp_path / 'config.py')
    done = forked(
        *('config.py', '--work-dir', 'two'),
        processes=2,
        setup='sys.path.insert(0, os.getcwd())',
    )
    assert done.status == [0, 0], done.output[-3000:]
    found = re.findall(r'PROBE (\d) (\d+ \w+)', done.output)
    first, second = ([d for r, d in found if r == rank] for rank in '01')
    assert first == second and len(first) >= 3
    assert len({each.split()[1] for each in first}) == len(first)


def test_one_process_needs_no_launcher(forked, config, tmp_path):  # noqa: F811
    """One process of a launcher gives the weights of none."""
    config()
    for name, launched in (('none', False), ('run', True)):
        done = forked(
            *('config.py', '--work-dir', name, '--no-rehearsal'),
            launched=launched,
        )
        assert done.status == [0], done.output[-3000:]
    a, b = (
        CheckpointLoader.load_checkpoint(str(tmp_path / name / 'epoch_3.pth'))
        for name in ('none', 'run')
    )
    same(a['state_dict'], b['state_dict'])
    same(a['optimizer'], b['optimizer'])
    banks = [BankFolder(tmp_path / name / 'bank') for name in ('none', 'run')]
    assert banks[0].shards == banks[1].shards


def test_more_processes_go_on(forked, config, tmp_path):  # noqa: F811
    """One process is killed in its second epoch; two go on."""
    config()
    work = tmp_path / 'run'
    when = '"/.epoch_2.pth" in str(args[0])'
    setup = AT_FILE.format(work=str(work), when=when)
    argv = ('config.py', '--work-dir', work, '--resume', '--no-rehearsal')
    one = forked(*argv, setup=setup)
    assert one.status == [-9], one.output[-3000:]
    before = state(work)
    two = forked(*argv, processes=2)
    assert two.status == [0, 0], two.output[-3000:]
    assert state(work)[0][: len(before[0])] == before[0]
    shards = BankFolder(work / 'bank').shards
    rounds = [(s.epoch, s.index) for s in shards if s.epoch >= 0]
    # The second epoch's second round is made, too.
    assert rounds == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_work_dirs_that_are_not_shared(forked, config, tmp_path):  # noqa: F811
    """The second process has a work dir of its own."""
    config()
    one = forked('config.py', '--work-dir', 'run', '--no-rehearsal')
    assert one.status == [0], one.output[-3000:]
    two = forked(
        *('config.py', '--work-dir', 'run', '--resume'),
        processes=2,
        setup='if os.environ["RANK"] == "1": sys.argv[3] = "other"',
    )
    assert 1 in two.status
    assert 'The processes see different image banks in ' in two.stderr


def test_synchronised_bn(tiny_runner, forked, config):  # noqa: F811
    """SyncBN trains on GPUs only; the images are those of plain BN."""
    config()
    told = forked(
        *('config.py', '--work-dir', 'run'),
        *('--cfg-options', 'sync_bn=torch'),
        processes=2,
    )
    assert 1 in told.status
    assert "sync_bn='torch' needs GPUs" in told.stderr
    alone = forked(
        *('config.py', '--work-dir', 'run', '--no-rehearsal'),
        *('--cfg-options', 'sync_bn=torch'),
    )
    assert alone.status == [0], alone.output[-3000:]

    from mmengine.model import convert_sync_batchnorm

    from csd_mmrazor.models import Networks

    runner = tiny_runner()
    hook = next(h for h in runner.hooks if hasattr(h, 'synthesizer'))
    plain = hook.synthesizer.synthesize(
        Networks.from_algorithm(runner.model), 10, seed=0
    )
    keys = runner.model.state_dict().keys()
    model = convert_sync_batchnorm(runner.model, 'torch')
    assert any(
        isinstance(m, torch.nn.SyncBatchNorm) for m in model.student.modules()
    )
    assert model.state_dict().keys() == keys
    synced = hook.synthesizer.synthesize(
        Networks.from_algorithm(model), 10, seed=0
    )
    assert torch.equal(plain.images, synced.images)
    assert plain.terms == pytest.approx(synced.terms, rel=1e-6)


# Collectives that send memory as it lies, as NCCL does, whatever the strides;
# and a generator whose images have other strides than they seem to have.
RAW_MEMORY = """
import torch
import torch.distributed as dist
from csd_mmrazor.models import CSDGenerator


def raw(tensor):
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def gather(outputs, tensor, *args, send=dist.all_gather, **kwargs):
    memory = [output.new_empty(output.numel()) for output in outputs]
    send(memory, raw(tensor), *args, **kwargs)
    for output, values in zip(outputs, memory):
        output.copy_(values.view(output.shape))


def sent_raw(send):
    return lambda tensor, *args, **kwargs: send(raw(tensor), *args, **kwargs)


dist.all_gather = gather
dist.all_reduce = sent_raw(dist.all_reduce)
dist.broadcast = sent_raw(dist.broadcast)
forward = CSDGenerator.forward
CSDGenerator.forward = lambda *args, **kwargs: forward(*args, **kwargs).to(
    memory_format=torch.channels_last
)
"""


def test_memory_is_sent_as_it_lies(forked, config, tmp_path):  # noqa: F811
    """Coloured images of two processes are those of one."""
    parts = {'model.architecture': 4, 'model.teachers.teacher.build_cfg': 8}
    config(
        **{name: network(3, width) for name, width in parts.items()},
        **{
            'model.teachers.teacher.ckpt_path': _coloured(tmp_path),
            'model.image_shape': (3, 8, 8),
            f'{SYNTHESIS}.synthesizer.generator.channels': 3,
            # Three rounds, so that one process has nothing to gather.
            f'{SYNTHESIS}.init_rounds': 3,
            'train_cfg.max_epochs': 1,
            # The digits, which it validates on, have one channel.
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
            'default_hooks.checkpoint.save_best': None,
        },
    )
    banks = []
    for processes in (1, 2):
        work = tmp_path / f'work_{processes}'
        done = forked(
            *('config.py', '--work-dir', work, '--no-rehearsal'),
            processes=processes,
            setup=RAW_MEMORY,
        )
        assert done.status == [0] * processes, done.output[-3000:]
        shards = BankFolder(work / 'bank').shards
        banks.append([s.sha256 for s in shards if s.epoch < 0])
    assert len(banks[0]) == 3
    assert banks[0] == banks[1]


def _coloured(folder):
    """A teacher of images with three channels."""
    model = build(network(3, 8))
    model.init_weights()
    model.train()
    for _ in range(5):
        model(torch.randn(64, 3, 8, 8), mode='tensor')
    torch.save(model.state_dict(), folder / 'coloured.pth')
    return str(folder / 'coloured.pth')
