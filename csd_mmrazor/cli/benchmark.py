# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Time a config's steps against their lower bound, the bare passes.

The sides run in turn, in blocks of some steps each; the first step of a block
does not count, and the median over the blocks is taken. The teacher's weights
are drawn at random, so no checkpoint is needed.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from datetime import date
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Dict, Iterator, Optional

import torch
from mmengine.device import utils as device_utils
from mmengine.runner import Runner
from PIL import Image

from ..engine.calls import kernel_calls
from ..engine.flops import operations
from ..engine.hooks.synthesis_hook import synthesis_hooks
from ..engine.synthesis import RoundRunner
from ..models import Networks
from ..models.synthesizers.step_graph import WARM_UP
from ..models.utils import frozen, recorded_outputs, submodule
from ..utils import write_file
from ..utils.public import public
from .config import enable_amp, load_measured
from .errors import concise_errors
from .options import Options
from .parser import Parser
from .ranges import in_range, json_to_write

PART = 'part:'
# Events of torch's profiler that are parts by themselves.
NAMED_EVENTS = {
    '_ScaleShiftSums': 'BN statistics',
    'Optimizer.step': 'optimizer',
    'enumerate(DataLoader)': 'bank',
}


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--out', type=json_to_write, help='JSON file to write')
    parser.add_argument('--amp', choices=('bfloat16', 'float16'))
    parser.add_argument(
        '--blocks', type=in_range(int, 1), default=5, help='1 or more'
    )
    parser.add_argument(
        '--steps',
        type=in_range(int, 1),
        default=3,
        help='of a block, 1 or more',
    )
    parser.add_argument(
        '--round',
        type=in_range(int, 1),
        nargs=2,
        default=(4, 8),
        metavar=('SYNTHESIS', 'STUDENT'),
        help='steps of the end-to-end round, 1 or more',
    )
    parser.add_argument(
        '--bank',
        type=in_range(int, 1),
        default=100_000,
        help='images in the bank, 1 or more',
    )
    parser.add_argument(
        '--against',
        metavar='FILE.py',
        help='another implementation: synthesis(parts) and student(parts) '
        'return a function that runs so many steps of it',
    )
    parser.add_argument(
        '--startup',
        action='store_true',
        help='time tools/train.py to its first step as well',
    )
    parser.add_argument('--cfg-options', nargs='+', action=Options)
    return parser.parse_args()


class Parts:
    """What a config makes, on the device, with random teachers and images.

    Attributes:
        teacher, student, aux_head, align (nn.Module): The networks.
        hook (SynthesisHook): With the synthesizer.
        loader (DataLoader): Of the image bank.
        optim_wrapper (OptimWrapperDict): Of student and head.
        autocast (Callable): Context of the precision asked for.
    """

    def __init__(self, args: argparse.Namespace, work_dir: str) -> None:
        cfg = load_measured(args)
        if args.amp:
            enable_amp(cfg, args.amp)
        if not cfg.model.get('aux_head'):
            raise ValueError(
                f'{args.config}: the auxiliary head is measured too; give a '
                'config that has one, such as '
                'configs/csd/csd_quickstart_digits.py.'
            )
        for teacher in cfg.model.teachers.values():
            teacher.ckpt_path = 'none'
        # A student of a random teacher is not to diverge meanwhile.
        for wrapper in cfg.optim_wrapper.values():
            if isinstance(wrapper, dict):
                wrapper.optimizer.lr = 1e-6
        cfg.model.log_interval = 10**9
        cfg.work_dir, cfg.launcher, cfg.log_level = work_dir, 'none', 'ERROR'
        cfg.default_hooks.synthesis.progress_interval = 10**9
        self.device = torch.device(args.device)
        device_utils.DEVICE = self.device.type  # where MMEngine puts models
        self.runner = runner = Runner.from_cfg(cfg)
        self.model = runner.model
        self.model.init_weights()
        self.hook = synthesis_hooks(runner)[0]
        self.synthesizer = self.hook.synthesizer.to(self.device)
        self.networks = Networks.from_algorithm(self.model)
        self.teacher = self.networks.each_teacher[0]
        self.student = self.model.student
        self.aux_head = self.model.aux_head
        self.align = self.model.distiller.connectors['align']
        self.loader = runner.train_dataloader
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        self.optim_wrapper = runner.optim_wrapper
        self.optim_wrapper.initialize_count_status(self.model, 0, 10**9)
        self.num_classes, self.image_shape = self.synthesizer.check(
            self.networks
        )
        self.bank = self.loader.dataset
        self.bank.open(
            Path(work_dir, 'bank'), self.image_shape, self.num_classes
        )
        self._fill(args.bank)
        dtype = getattr(torch, args.amp or 'bfloat16')
        self.autocast = lambda: torch.autocast(
            args.device, dtype, enabled=args.amp is not None
        )

    def _fill(self, num: int) -> None:
        self.bank.reserve(num)
        for index, start in enumerate(range(0, num, 10_000)):
            size = min(10_000, num - start)
            self.bank.append(
                torch.randint(
                    256, (size, *self.image_shape), dtype=torch.uint8
                ),
                torch.randint(self.num_classes, (size,)),
                -1,
                index,
            )

    def sync(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()

    def batch(self) -> dict:
        """A batch of the bank, over and over."""
        if not hasattr(self, '_batches'):
            self._batches = iter(self.loader)
        try:
            return next(self._batches)
        except StopIteration:
            del self._batches
            return self.batch()


class Clock:
    """Seconds a step of a block, without the first ones."""

    def __init__(self, parts: Parts, first: int = 1) -> None:
        self.sync = parts.sync
        self.first = first
        self.steps = 0

    def tick(self, *_) -> None:
        self.steps += 1
        if self.steps == self.first:
            self.sync()
            self.start = time.perf_counter()

    def seconds(self) -> float:
        self.sync()
        return (time.perf_counter() - self.start) / (self.steps - self.first)


def back(*outputs: torch.Tensor) -> None:
    """A bare backward pass, from gradients that are there already."""
    torch.autograd.backward(outputs, [torch.ones_like(o) for o in outputs])


def synthesis_bound(parts: Parts, with_student: bool):
    """The passes of generator, teacher, student on all views, and head."""
    synthesizer, head = parts.synthesizer, parts.aux_head
    generator, num = synthesizer.generator, synthesizer.batch_size
    views = head.task.num_views

    def run(steps: int) -> float:
        clock = Clock(parts)
        latent = torch.randn(num, generator.latent_dim, device=parts.device)
        latent.requires_grad_()
        generator.train()
        with frozen(*parts.networks.modules):
            for _ in range(steps + 1):
                with parts.autocast():
                    images = generator(latent)
                    outputs = [parts.teacher(images, mode='tensor')]
                    if with_student:
                        features = parts.student.extract_feat(
                            images.repeat(views, 1, 1, 1), stage='pre_logits'
                        )
                        outputs.append(head(features))
                generator.zero_grad()
                back(*outputs)
                clock.tick()
        return clock.seconds()

    return run


def student_bound(parts: Parts):
    """Teacher, student both ways, alignment both ways, views, and head."""
    head = parts.aux_head
    num, views = parts.loader.batch_size, head.task.num_views
    inputs = torch.randn(num, *parts.image_shape, device=parts.device)
    recorder = parts.model.distiller.student_recorders.get_recorder('feature')
    # The one hook is there to find the map that the alignment takes.
    source = submodule(parts.student, recorder.source)

    def run(steps: int) -> float:
        clock = Clock(parts)
        parts.model.train()
        for _ in range(steps + 1):
            with parts.autocast():
                with torch.no_grad():
                    parts.teacher(inputs, mode='tensor')
                with recorded_outputs(source) as maps:
                    logits = parts.student(inputs, mode='tensor')
                feature = maps[0]
                if isinstance(feature, tuple):
                    feature = feature[-1]
                aligned = parts.align(feature)
            back(logits, aligned)
            parts.student.eval()
            with parts.autocast():
                with torch.no_grad():
                    features = parts.student.extract_feat(
                        inputs.repeat(views, 1, 1, 1), stage='pre_logits'
                    )
                logits = head(features)
            back(logits)
            parts.student.train()
            parts.model.zero_grad(set_to_none=True)
            clock.tick()
        return clock.seconds()

    return run


def our_synthesis(parts: Parts, with_student: bool):
    """Steps of the synthesizer as the hook runs it."""
    # A graph is captured after these, and replayed from then on.
    first = WARM_UP + 1 if getattr(parts.synthesizer, 'graph', 0) else 1

    def run(steps: int) -> float:
        clock = Clock(parts, first)
        parts.synthesizer.synthesize(
            parts.networks,
            parts.num_classes,
            seed=0,
            iters=steps + first,
            with_student=with_student,
            on_step=clock.tick,
        )
        return clock.seconds()

    return run


def our_student(parts: Parts):
    """Batches of the bank to ``train_step``."""

    def run(steps: int) -> float:
        clock = Clock(parts)
        parts.model.train()
        for _ in range(steps + 1):
            parts.model.train_step(parts.batch(), parts.optim_wrapper)
            clock.tick()
        return clock.seconds()

    return run


class KeptStudent:
    """Student steps on a batch whose targets are kept with the bank.

    Args:
        parts (Parts): Of which the losses that look at the teacher's logits
            count.
        with_maps (bool): Whether its feature maps are kept as well, so that
            all losses count.
    """

    views = 2  # that are kept of each image

    def __init__(self, parts: Parts, with_maps: bool) -> None:
        self.parts, self.with_maps = parts, with_maps
        model = parts.model
        kept_maps = model.check_targets(True)
        of_logits = {*model._records}
        self.mappings = {
            loss: mapping
            for loss, mapping in model.distiller.loss_forward_mappings.items()
            if with_maps
            or all(
                record['from_student'] or record['recorder'] in of_logits
                for record in mapping.values()
            )
        }
        batch = dict(parts.batch())
        number, views = len(batch['labels']), ()
        augment = getattr(model.data_preprocessor, 'augment', None)
        if augment is not None:
            if not hasattr(augment, 'draws'):
                raise ValueError(
                    f'views by {type(augment).__name__} of data_preprocessor '
                    'cannot be kept, those by RandomCropFlip can.'
                )
            views = (self.views,)
            drawn = [augment.draws(number) for _ in range(self.views)]
            batch['draws'] = torch.stack(drawn, 1)
        batch['targets'] = torch.randn(number, *views, parts.num_classes)
        batch['targets'] = batch['targets'].half()
        if with_maps:
            maps = torch.randn(number, *views, kept_maps.size)
            batch['maps'] = maps.half()
        self.batch = batch
        self._forget()

    @classmethod
    def sides(cls, parts: Parts) -> dict:
        """Those that there can be; a line says why others cannot."""
        found = {}
        for name, with_maps in (('kept_targets', False), ('kept_maps', True)):
            try:
                found[f'student_step_{name}'] = cls(parts, with_maps)
            except ValueError as error:
                print(f'student_step_{name}: {error}', file=sys.stderr)
        return found

    def _forget(self) -> None:
        """Let the algorithm find out again what its losses look at."""
        self.parts.model._records = {}

    def steps(self, number: int) -> Iterator[None]:
        """Take so many."""
        model = self.parts.model
        distiller = model.distiller
        before = distiller.loss_forward_mappings
        distiller.loss_forward_mappings = self.mappings
        self._forget()
        model.train()
        try:
            for _ in range(number):
                yield model.train_step(self.batch, self.parts.optim_wrapper)
        finally:
            distiller.loss_forward_mappings = before
            self._forget()

    def __call__(self, steps: int) -> float:
        """Seconds of a step."""
        clock = Clock(self.parts)
        for _ in self.steps(steps + 1):
            clock.tick()
        return clock.seconds()


def bank_batch(parts: Parts):
    """A random batch of the bank to inputs."""

    def run(steps: int) -> float:
        clock = Clock(parts)
        for _ in range(10 * steps + 1):
            parts.model.data_preprocessor(parts.batch(), True)
            clock.tick()
        return clock.seconds()

    return run


def our_round(parts: Parts, synthesis: int, student: int):
    """A whole round: images, bank, report, head, and student steps."""
    hook, runner = parts.hook, parts.runner
    hook.round_runner = RoundRunner(
        parts.synthesizer,
        parts.networks,
        parts.bank,
        parts.num_classes,
        seed=0,
        progress_interval=10**9,
    )
    parts.synthesizer.iters = synthesis

    def run(steps: int) -> float:
        parts.sync()
        start = time.perf_counter()
        hook.before_train_epoch(runner)
        runner.train_loop._epoch += 1
        parts.model.train()
        for _ in range(student):
            parts.model.train_step(parts.batch(), parts.optim_wrapper)
        parts.sync()
        return time.perf_counter() - start

    return run


def measure(sides: dict, blocks: int, steps: int) -> dict:
    """Median, least and most seconds a step of each side, run in turn."""
    seconds = {name: [] for name in sides}
    for side in sides.values():
        side(1)  # once before it counts
    for block in range(blocks):
        # Every other time in the other order.
        for name in list(sides)[:: 1 if block % 2 == 0 else -1]:
            seconds[name].append(sides[name](steps))
        print(f'block {block + 1}/{blocks} done', file=sys.stderr)
    return {
        name: dict(
            median=median(values),
            min=min(values),
            max=max(values),
            blocks=blocks,
        )
        for name, values in seconds.items()
    }


@contextmanager
def named(modules: dict):
    """Give the time of modules their names in a profile."""
    open_ranges, handles = [], []

    def enter(name, *_):
        open_ranges.append(torch.profiler.record_function(name))
        open_ranges[-1].__enter__()

    def leave(*_):
        open_ranges.pop().__exit__(None, None, None)

    for module, name in modules.items():
        handles.append(
            module.register_forward_pre_hook(partial(enter, PART + name))
        )
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def part_of(event) -> Optional[str]:
    """The innermost part that an event of the forward pass belongs to."""
    while event is not None:
        for start, name in NAMED_EVENTS.items():
            if event.name.startswith(start):
                return name
        if event.name.startswith(PART):
            return event.name[len(PART) :]
        event = event.cpu_parent
    return None


def time_by_part(run, parts: Parts, steps: int) -> dict:
    """Share of each part in the time of a side, by torch's profiler.

    Operators of the backward pass count for the part whose forward pass they
    belong to; they share its sequence number.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    clock = 'self_cpu_time_total'
    if parts.device.type == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        clock = 'self_device_time_total'
    networks, synthesizer = parts.networks, parts.synthesizer
    modules = {
        synthesizer.generator: 'generator',
        synthesizer.augment: 'augmentation',
        parts.model.data_preprocessor: 'augmentation',
        parts.align: 'alignment',
        networks.aux_head: 'head',
        **dict.fromkeys(networks.each_teacher, 'teacher'),
        **dict.fromkeys(networks.student.children(), 'student'),
        **dict.fromkeys(synthesizer.losses.values(), 'losses'),
    }
    modules.pop(None, None)
    with (
        named(modules),
        torch.profiler.profile(activities=activities) as profile,
    ):
        run(steps)
    events = profile.events()
    forward = {
        event.sequence_nr: part
        for event in events
        if event.sequence_nr >= 0 and (part := part_of(event))
    }
    shares = Counter()
    for event in events:
        part, ancestor = part_of(event), event
        while part is None and ancestor is not None:
            part = forward.get(ancestor.sequence_nr)
            ancestor = ancestor.cpu_parent
        shares[part or 'rest'] += getattr(event, clock)
    total = sum(shares.values())
    return {name: time / total for name, time in shares.most_common()}


def peak_memory(run, parts: Parts) -> float:
    """MiB that a side allocates, at its peak, above what there was."""
    if parts.device.type == 'cuda':
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run(2)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(profile_memory=True) as profile:
        run(2)
    events = profile.profiler.kineto_results.events()
    sizes = [
        event.nbytes()
        for event in sorted(events, key=lambda event: event.start_ns())
        if event.name() == '[memory]'
    ]
    return max(accumulate(sizes), default=0) / 2**20


def images_seen(networks: dict, function) -> Counter:
    """Images that each network is given in a call, by its first layer."""
    seen, handles = Counter(), []

    def see(name, layer, args):
        seen[name] += len(args[0])

    for name, network in networks.items():
        first = next(layer for layer in network.modules() if layer._parameters)
        handles.append(first.register_forward_pre_hook(partial(see, name)))
    try:
        function()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def cost_of_steps(parts: Parts, kept: Dict[str, KeptStudent]) -> dict:
    """As :func:`_cost_of_steps`, but step by step: replays show no calls."""
    before = parts.synthesizer.graph, parts.model.replayed
    parts.synthesizer.graph, parts.model.replayed = False, None
    try:
        return _cost_of_steps(parts, kept)
    finally:
        parts.synthesizer.graph, parts.model.replayed = before


def _cost_of_steps(parts: Parts, kept: Dict[str, KeptStudent]) -> dict:
    """What steps come to by counting, which no machine blurs.

    Calls are those that become kernels; operations are of convolutions and
    matrix products. Passes are images through a network, forward, for each
    image of the step; every view counts.
    """
    batch = parts.batch()

    def train(steps: int) -> None:
        parts.model.train()
        for _ in range(steps):
            parts.model.train_step(batch, parts.optim_wrapper)

    of_batch = len(batch['labels'])
    found = {}
    for name, run, size in (
        (
            'synthesis_step',
            our_synthesis(parts, True),
            parts.synthesizer.batch_size,
        ),
        ('student_step', train, of_batch),
        *(
            (name, lambda number, side=side: [*side.steps(number)], of_batch)
            for name, side in kept.items()
        ),
    ):
        # What a round does once drops out of the difference.
        fewer, more = partial(run, 1), partial(run, 2)
        found[f'{name}_calls'] = sum(kernel_calls(more).values()) - sum(
            kernel_calls(fewer).values()
        )
        found[f'{name}_gflop'] = (operations(more) - operations(fewer)) / 1e9
        networks = dict(
            generator=parts.synthesizer.generator,
            teacher=parts.teacher,
            student=parts.student,
        )
        seen = images_seen(networks, more)
        seen.subtract(images_seen(networks, fewer))
        found[f'{name}_passes'] = {
            network: count / size for network, count in seen.items()
        }
    return found


def startup(args: argparse.Namespace, parts: Parts, work_dir: str) -> dict:
    """Seconds of tools/train.py to its first step, and of bare imports.

    Returns:
        dict: ``startup_seconds``, ``startup_cpu_seconds`` where the system
        counts them for processes that have ended, and their ratios.
    """
    teacher = Path(work_dir, 'teacher.pth')
    torch.save(parts.teacher.state_dict(), teacher)
    given = getattr(args, 'cfg_options_texts', {})
    options = [
        *(f'{key}={text}' for key, text in given.items()),
        'default_hooks.synthesis.progress_interval=0',
        f'model.teachers.{[*parts.model.teachers][0]}.ckpt_path={teacher}',
    ]
    loader = parts.runner.cfg.get('val_dataloader') or {}
    if 'data_root' in loader.get('dataset', {}):
        options.append(f'val_dataloader.dataset.data_root={work_dir}')
        channels, *size = parts.image_shape
        image = Image.new('L' if channels == 1 else 'RGB', size[::-1])
        for label in range(parts.num_classes):
            folder = Path(work_dir, 'test', str(label))
            folder.mkdir(parents=True)
            image.save(folder / '0.png')
    # Beside the script that this was started by.
    train = [str(Path(sys.argv[0]).with_name('train.py')), args.config]
    train += ['--amp', args.amp] if args.amp else []
    sides = dict(
        imports=['-c', 'import torch, mmpretrain, mmrazor'],
        first_step=[*train, '--no-rehearsal', '--cfg-options', *options],
    )
    seconds = {name: [] for name in sides}
    cpu = {name: [] for name in sides}
    for turn in range(args.blocks):
        for name, command in sides.items():
            if name == 'first_step':
                run = Path(work_dir, f'run{turn}')
                command = [*command[:2], '--work-dir', str(run), *command[2:]]
            start, cpu_start = time.perf_counter(), _cpu_seconds_of_ended()
            with subprocess.Popen(
                [sys.executable, '-W', 'ignore', *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                lines = []
                for line in process.stdout:
                    lines.append(line)
                    if 'Synthesis, ' in line:
                        break
                else:
                    if name == 'first_step' or process.wait():
                        sys.exit(f'{command} failed:\n{"".join(lines[-20:])}')
                seconds[name].append(time.perf_counter() - start)
                process.kill()
            cpu[name].append(_cpu_seconds_of_ended() - cpu_start)
    result = {}
    for key, values in dict(startup=seconds, startup_cpu=cpu).items():
        medians = {name: median(values[name]) for name in sides}
        if medians['imports']:
            result[f'{key}_seconds'] = medians
            result[f'{key}_over_imports'] = (
                medians['first_step'] / medians['imports']
            )
    return result


def _cpu_seconds_of_ended() -> float:
    """Of all processes started here that have ended; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Run the command line."""
    args = parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('--device cuda: there is no GPU here.')
    with concise_errors(), tempfile.TemporaryDirectory() as work_dir:
        parts = Parts(args, work_dir)
        result = benchmark(args, parts)
        if args.startup:
            result.update(startup(args, parts, work_dir))
        show(result)
        if args.out:
            write_file(args.out, json.dumps(result, indent=1).encode())


def benchmark(args: argparse.Namespace, parts: Parts) -> dict:
    """Run all sides; returns what is written to ``--out``."""
    kept = KeptStudent.sides(parts)
    sides = dict(
        synthesis_bound=synthesis_bound(parts, True),
        synthesis_step=our_synthesis(parts, True),
        synthesis_bound_without_student=synthesis_bound(parts, False),
        synthesis_step_without_student=our_synthesis(parts, False),
        student_bound=student_bound(parts),
        student_step=our_student(parts),
        **kept,
        bank_batch=bank_batch(parts),
        round=our_round(parts, *args.round),
    )
    if args.against:
        spec = importlib.util.spec_from_file_location('other', args.against)
        other = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(other)
        for name in ('synthesis', 'student'):
            sides[f'other_{name}'] = getattr(other, name)(parts)
    times = measure(sides, args.blocks, args.steps)

    def ratio(a: str, b: str) -> float:
        return times[a]['median'] / times[b]['median']

    synthesis, student = args.round
    of_round = (
        synthesis * times['synthesis_bound']['median']
        + student * times['student_bound']['median']
    )
    without = '_without_student'
    ratios = dict(
        synthesis_step_over_bound=ratio('synthesis_step', 'synthesis_bound'),
        synthesis_step_without_student_over_bound=ratio(
            f'synthesis_step{without}', f'synthesis_bound{without}'
        ),
        student_step_over_bound=ratio('student_step', 'student_bound'),
        bank_batch_over_student_step=ratio('bank_batch', 'student_step'),
        round_over_bound=times['round']['median'] / of_round,
        **{
            f'{name}_over_student_step': ratio(name, 'student_step')
            for name in kept
        },
    )
    if args.against:
        for name in ('synthesis', 'student'):
            ratios[f'other_{name}_over_ours'] = ratio(
                f'other_{name}', f'{name}_step'
            )
    batch = parts.synthesizer.batch_size
    return dict(
        **ratios,
        seconds=times,
        **cost_of_steps(parts, kept),
        images_per_second=dict(
            synthesis_steps=batch / times['synthesis_step']['median'],
            student_steps=parts.loader.batch_size
            / times['student_step']['median'],
        ),
        peak_memory_mib={
            name: peak_memory(side, parts)
            for name, side in sides.items()
            if name.endswith(('_step', '_bound'))
            or 'other' in name
            or name in kept
        },
        time_by_part={
            name: time_by_part(sides[name], parts, args.steps)
            for name in ('synthesis_step', 'student_step')
        },
        config=public(args.config),
        options=public(args.cfg_options),
        synthesis_batch_size=batch,
        student_batch_size=parts.loader.batch_size,
        precision=args.amp or 'float32',
        device=torch.cuda.get_device_name()
        if args.device == 'cuda'
        else ' '.join(
            (
                platform.machine(),
                torch.backends.cpu.get_cpu_capability() + ',',
                f'{torch.get_num_threads()} threads',
            )
        ),
        date=str(date.today()),
        torch=torch.__version__,
        python=platform.python_version(),
    )


def show(result: dict) -> None:
    """Print a table."""
    print(f'\n{"":<34}{"median":>10}{"min":>10}{"max":>10}  milliseconds')
    for name, row in result['seconds'].items():
        values = ''.join(
            f'{1000 * row[key]:10.2f}' for key in ('median', 'min', 'max')
        )
        print(f'{name:<34}{values}')
    print()
    for name, value in result.items():
        if isinstance(value, float):
            print(f'{name:<44}{value:8.3f}')
        elif name.endswith('_calls'):
            print(f'{name:<44}{value:8}')
    for name, digits in (
        *((name, 2) for name in result if name.endswith('_passes')),
        ('images_per_second', 0),
        ('peak_memory_mib', 0),
    ):
        print(f'\n{name}')
        for side, value in result[name].items():
            print(f'  {side:<42}{value:8.{digits}f}')
    for side, shares in result['time_by_part'].items():
        print(f'\ntime by part: {side}')
        for part, share in shares.items():
            print(f'  {part:<42}{share:8.1%}')
