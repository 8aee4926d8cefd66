# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Count what processes exchange and wait for, and what that means for more.

``count`` runs a config with several processes of gloo on one machine, which
may have fewer cores: bytes, waits and memory are counted, not speed. ``model``
computes the hours of a schedule on more GPUs from times that are assumed, and
are written into its result.
"""

import argparse
import json
import math
import os
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..utils import write_file
from ..utils.public import public
from .config import load_measured
from .errors import concise_errors
from .options import Options
from .parser import Parser
from .ranges import in_range, json_to_write

# What is counted: the collectives that the run and its libraries use.
COLLECTIVES = (
    'all_gather',
    'all_reduce',
    'barrier',
    'broadcast',
    'gather',
    'scatter',
)


class Exchanges:
    """Counts calls of collectives, what they bring and how long they take."""

    def __init__(self) -> None:
        self.calls: Dict[str, int] = {}
        self.bytes: Dict[str, int] = {}
        self.seconds: Dict[str, float] = {}

    def wrap(self, name: str, collective: Callable[..., Any]) -> Any:
        """A collective that is counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            start = time.monotonic()
            result = collective(*args, **kwargs)
            self.add(name, _size(args), time.monotonic() - start)
            return result

        return counted

    def add(self, name: str, size: int, seconds: float) -> None:
        """Count one call."""
        for table, value in (
            (self.calls, 1),
            (self.bytes, size),
            (self.seconds, seconds),
        ):
            table[name] = table.get(name, 0) + value

    def take(self) -> Dict[str, Any]:
        """What was counted since the last time."""
        taken = dict(calls=self.calls, bytes=self.bytes, seconds=self.seconds)
        self.__init__()  # type: ignore[misc]
        return taken


def _size(value: Any) -> int:
    """Bytes of the first tensor, or list of tensors, in arguments.

    Of a gather, that is what comes in from all processes.
    """
    for each in value:
        if torch.is_tensor(each):
            return int(each.numel() * each.element_size())
        if isinstance(each, list) and each and torch.is_tensor(each[0]):
            return sum(int(t.numel() * t.element_size()) for t in each)
    return 0


class _Counter(Hook):
    """Divides what is counted into rounds and student steps."""

    priority = 'VERY_HIGH'

    def __init__(self, exchanges: Exchanges) -> None:
        self.exchanges = exchanges
        self.found: List[Dict[str, Any]] = []

    def _note(self, phase: str) -> None:
        self.found.append(dict(phase=phase, **self.exchanges.take()))

    def before_train(self, runner: Runner) -> None:
        self._note('start')
        model = runner.model
        if hasattr(model, 'register_comm_hook'):
            model.register_comm_hook(None, self._reduce)

    def _reduce(self, state, bucket):  # DDP checks annotations
        gradients = bucket.buffer()
        self.exchanges.add(
            'gradients', gradients.numel() * gradients.element_size(), 0.0
        )
        future = dist.all_reduce(gradients, async_op=True).get_future()
        world_size = dist.get_world_size()
        return future.then(lambda f: f.value()[0].div_(world_size))

    def before_train_epoch(self, runner: Runner) -> None:
        self._note('initial bank' if runner.epoch == 0 else 'epoch')

    def before_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        if batch_idx == 0:
            self._note('rounds of an epoch')

    def after_train_epoch(self, runner: Runner) -> None:
        self._note('student steps of an epoch')


def _memory() -> Dict[str, int]:
    """Bytes of memory of this process, its share of what is shared, at most.

    Processes are forked from one, so what was imported is shared.
    """
    found = {}
    for line in Path('/proc/self/smaps_rollup').read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        if name in ('Rss:', 'Pss:', 'Private_Dirty:'):
            found[name[:-1].lower()] = int(value) * 1024
    return found


def _work(args: argparse.Namespace, cfg: Config, out: Path) -> None:
    """Be one process."""
    torch.set_num_threads(1)
    exchanges = Exchanges()
    for name in COLLECTIVES:
        counted = exchanges.wrap(name, getattr(c10d, name))
        for module in (c10d, dist):
            setattr(module, name, counted)
    runner = Runner.from_cfg(cfg)
    counter = _Counter(exchanges)
    runner.register_hook(counter, 'VERY_HIGH')
    runner.train()
    rank = dist.get_rank()
    result = dict(rank=rank, phases=counter.found, memory=_memory())
    (out / f'{rank}.json').write_text(json.dumps(result))
    dist.destroy_process_group()


def count(args: argparse.Namespace) -> Dict[str, Any]:
    """Run a config with several numbers of processes, and count."""
    found = {}
    for number in args.processes:
        cfg = load_measured(args)
        for teacher in cfg.model.teachers.values():
            teacher.ckpt_path = 'none'
        for mode in ('val', 'test'):
            for name in ('cfg', 'dataloader', 'evaluator'):
                cfg[f'{mode}_{name}'] = None
        cfg.merge_from_dict(
            {
                'default_hooks.checkpoint': None,
                'default_hooks.synthesis.rehearsal': False,
                'log_level': 'ERROR',
            }
        )
        for name in ('export', 'report', 'stall', 'aux_probe'):
            cfg.default_hooks.pop(name, None)
        out = Path(args.work_dir, f'{number}_{uuid.uuid4().hex}')
        out.mkdir(parents=True)
        cfg.launcher, cfg.work_dir = 'pytorch', str(out / 'run')
        pids = []
        for rank in range(number):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.environ.update(
                        RANK=str(rank),
                        LOCAL_RANK=str(rank),
                        WORLD_SIZE=str(number),
                        MASTER_ADDR='127.0.0.1',
                        MASTER_PORT=args.port,
                    )
                    _work(args, cfg, out)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            pids.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        if any(codes):
            raise RuntimeError(
                f'Some of {number} processes failed: {codes}. What they say '
                'is above.'
            )
        ranks = [
            json.loads((out / f'{rank}.json').read_text())
            for rank in range(number)
        ]
        found[number] = _summary(ranks)
        print(number, json.dumps(found[number]), flush=True)
    return dict(config=public(args.config), processes=found)


def _summary(ranks: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What the busiest process received in each phase, and the waits."""
    phases: Dict[str, Dict[str, Any]] = {}
    for name in (
        'initial bank',
        'rounds of an epoch',
        'student steps of an epoch',
    ):
        each = [
            [p for p in rank['phases'] if p['phase'] == name][-1:]
            for rank in ranks
        ]
        if not all(each):
            continue
        last = [p[0] for p in each]
        phases[name] = dict(
            calls=max(sum(p['calls'].values()) for p in last),
            bytes=max(sum(p['bytes'].values()) for p in last),
            wait_seconds=[round(sum(p['seconds'].values()), 3) for p in last],
        )
    return dict(phases=phases, memory=[rank['memory'] for rank in ranks])


class Work(NamedTuple):
    """A schedule, and how long its parts take on one GPU."""

    init_rounds: int
    init_iters: int
    epochs: int
    iters: int
    steps: int  # of the student, an epoch, on one GPU
    images: int  # of a round
    image_bytes: int
    gradient_bytes: int  # of all student and head steps' exchanges, a step
    init_seconds: float  # of a step
    synthesis_seconds: float
    student_seconds: float


class Machine(NamedTuple):
    """What connects GPUs."""

    gpus_per_node: int = 8
    node_bytes: float = 25e9  # a second between nodes: 200 Gbit/s
    gpu_bytes: float = 200e9  # a second between GPUs of a node
    latency: float = 30e-6  # seconds of one hop of a collective
    disk_bytes: float = 1e9  # a second that a node reads from the shared disk


def hours(
    work: Work,
    gpus: int,
    machine: Machine,
    rounds_every: int = 1,
) -> Dict[str, float]:
    """Hours of the parts of a run.

    The images of an epoch's student steps stay the same in number, so that
    it has 1 / ``gpus`` as many steps. Every GPU makes one round before every
    ``rounds_every``-th epoch.

    Args:
        work (Work): What is to be done.
        gpus (int): Processes, of one GPU each.
        machine (Machine): What connects them.
        rounds_every (int): Defaults to 1, what configs do.

    Returns:
        dict[str, float]: ``initial``, ``rounds``, ``student``, ``exchange``,
        ``reading`` and ``total``.
    """
    nodes = math.ceil(gpus / machine.gpus_per_node)
    bandwidth = machine.node_bytes if nodes > 1 else machine.gpu_bytes
    steps = math.ceil(work.steps / gpus)
    rounds = work.epochs // rounds_every
    # A ring: each gradient passes twice, in 2 * (W - 1) hops.
    exchange = 0.0
    if gpus > 1:
        exchange = (
            2 * (gpus - 1) / gpus * work.gradient_bytes / bandwidth
            + 2 * (gpus - 1) * machine.latency
        )
    # Each node reads once what others wrote.
    made = work.init_rounds + rounds * gpus
    reading = 0.0
    if gpus > 1:
        reading = made * work.images * work.image_bytes / machine.disk_bytes
    seconds = dict(
        initial=math.ceil(work.init_rounds / gpus)
        * work.init_iters
        * work.init_seconds,
        rounds=rounds * work.iters * work.synthesis_seconds,
        student=work.epochs * steps * work.student_seconds,
        exchange=work.epochs * steps * exchange,
        reading=reading,
    )
    found = {name: value / 3600 for name, value in seconds.items()}
    found['total'] = sum(found.values())
    found['images'] = float(made * work.images)
    return found


# Multiplications of a pass forward of one image, in billions, as this
# project's tools count them; a pass back costs twice as much.
_G = dict(
    resnet34_32=1.16, resnet18_32=0.56, resnet50=4.09, resnet18=1.81, gen=2.38
)


def _seconds(g: float, flops: float) -> float:
    """Of a step: at so many operations a second, 10 ms at least."""
    return max(2e9 * g / flops, 0.01)


def schedules() -> Dict[str, Work]:
    """The paper's for CIFAR-10, and that of the ImageNet configs.

    A step of synthesis runs the teacher forward and back (3 passes), and with
    the student its views as well; one of the student runs teacher (1),
    student (3) and the head's views (1 each). Assumed are 20 TFLOP/s for
    images of 32 pixels and 150 in bfloat16 for those of 224.
    """
    g = _G
    return dict(
        cifar10=Work(
            *(400, 500, 100, 200, 2000, 200, 3 * 32 * 32),
            gradient_bytes=4 * 11_173_962,
            init_seconds=_seconds(200 * 3 * g['resnet34_32'], 20e12),
            synthesis_seconds=_seconds(
                200 * 3 * (g['resnet34_32'] + 4 * g['resnet18_32']), 20e12
            ),
            student_seconds=_seconds(
                128 * (g['resnet34_32'] + (3 + 4) * g['resnet18_32']), 20e12
            ),
        ),
        imagenet=Work(
            *(1094, 500, 400, 200, 1000, 128, 3 * 224 * 224),
            gradient_bytes=4 * 11_689_512,
            init_seconds=_seconds(
                128 * 3 * (g['resnet50'] + g['gen']), 150e12
            ),
            synthesis_seconds=_seconds(
                128 * 3 * (g['resnet50'] + g['gen'] + g['resnet18']), 150e12
            ),
            student_seconds=_seconds(
                100 * (g['resnet50'] + (3 + 1) * g['resnet18']), 150e12
            ),
        ),
    )


def model(numbers: List[int]) -> Dict[str, Any]:
    """Hours of both schedules on numbers of GPUs, and what was assumed."""
    machine = Machine()
    found: Dict[str, Any] = dict(machine=machine._asdict())
    for name, work in schedules().items():
        found[name] = dict(
            work=work._asdict(),
            hours={
                str(gpus): dict(
                    as_configured=hours(work, gpus, machine),
                    as_many_rounds_as_on_one=hours(
                        work, gpus, machine, min(gpus, work.epochs)
                    ),
                )
                for gpus in numbers
            },
        )
        for gpus in numbers:
            both = found[name]['hours'][str(gpus)]
            print(
                f'{name}, {gpus} GPUs: '
                + '; '.join(
                    f'{how} {each["total"]:.2f} h'
                    for how, each in both.items()
                )
            )
    return found


def main() -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    counting = commands.add_parser('count')
    counting.add_argument('config', help='train config file path')
    counting.add_argument(
        '--processes', type=in_range(int, 1), nargs='+', default=[2, 4]
    )
    counting.add_argument('--work-dir', required=True)
    counting.add_argument('--port', default='29573')
    counting.add_argument('--cfg-options', nargs='+', action=Options)
    modelling = commands.add_parser('model')
    modelling.add_argument(
        '--gpus',
        type=in_range(int, 1),
        nargs='+',
        default=[1, 2, 4, 8, 16, 32, 64],
    )
    for each in (counting, modelling):
        each.add_argument(
            '--out', type=json_to_write, help='JSON file to write'
        )
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with concise_errors():
        result = count(args) if args.command == 'count' else model(args.gpus)
        if args.out:
            text = json.dumps(result, indent=1) + '\n'
            write_file(args.out, text.encode())
