# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Fixtures that the tests share; helpers.py has what they import."""

import gc
import importlib
import json
import os
import subprocess
import sys
import uuid
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import NET, ROOT, TIMEOUT, build, free_port, hasten, network
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

# It may be a list, of which the first is meant here.
torch.set_num_threads(
    int(os.environ.get('OMP_NUM_THREADS', '2').partition(',')[0])
)
hasten()


# What `tools/run_tests.sh --fast` leaves out: folders, files, tests in files.
MARKS = dict(
    kill=(
        'test_cli/test_disks.py',
        'test_cli/test_kills.py',
        'test_cli/test_requeue.py',
        'test_datasets/test_bank_folder.py::test_killed_while_writing',
        'test_engine/test_rehearsal.py',
    ),
    dist=(
        'test_cli/test_benchmark_distributed.py',
        'test_cli/test_distributed.py',
        'test_cli/test_elastic.py',
        'test_cli/test_scaling.py',
        'test_cli/test_train_and_test.py::test_two_processes_on_the_cpu',
        'test_engine/test_synthesis/test_bank_targets.py',
        'test_engine/test_synthesis/test_persistent_state.py',
    ),
    slow=(
        'test_api/test_blocks.py',
        'test_api/test_call.py',
        'test_api/test_api_networks.py',
        'test_api/test_api_validation.py',
        'test_cli/test_bad_inputs.py',
        'test_cli/test_benchmark.py',
        'test_cli/test_commands.py',
        'test_cli/test_compare.py',
        'test_cli/test_crafted_checkpoints.py',
        'test_cli/test_estimate_command.py',
        'test_cli/test_label_free.py',
        'test_cli/test_locale_and_ctrl_c.py',
        'test_cli/test_plot_rounds.py',
        'test_cli/test_quantize.py',
        'test_cli/test_quickstart.py',
        'test_cli/test_report.py',
        'test_cli/test_train_and_test.py',
        'test_cli/test_what_is_tested.py',
        'test_compat',
        'test_configs/test_every_config.py',
        'test_configs/test_related_methods.py',
        'test_configs/test_results.py',
        'test_docs.py',
        'test_engine/test_agreement_hook.py',
        'test_engine/test_amp.py',
        'test_engine/test_checkpoint_hook.py',
        'test_engine/test_early_images.py',
        'test_engine/test_estimate.py',
        'test_engine/test_hook_states.py',
        'test_engine/test_loop_checks.py',
        'test_engine/test_memory.py',
        'test_engine/test_refit_hook.py',
        'test_engine/test_report_hook.py',
        'test_engine/test_resumption.py',
        'test_engine/test_shapes.py',
        'test_engine/test_run_timer_hook.py',
        'test_engine/test_stall_hook.py',
        'test_engine/test_synthesis_hook.py',
        'test_engine/test_teacher_blocks_hook.py',
        'test_export/test_export_networks.py',
        'test_export/test_onnx.py',
        'test_export/test_quantized.py',
        'test_export/test_source.py',
        'test_export/test_student.py',
        'test_export/test_student_config.py',
        'test_models/test_classifiers/test_pruned_network.py',
        'test_models/test_families.py',
        'test_models/test_synthesizers/test_compiled.py',
        'test_models/test_utils/test_fast_frozen_bn_networks.py',
        'test_notebook.py',
        'test_packaging.py',
        'test_report/test_browser.py',
        'test_your_networks.py',
        'test_utils/test_plain_pickle.py::test_mutants_are_loaded_as_data_or_refused',
    ),
)


def pytest_collection_modifyitems(items):
    """Mark the tests of :data:`MARKS`."""
    tests = ROOT / 'tests'
    of_file = defaultdict(list)
    for item in items:
        of_file[item.path].append(item)
    for mark, names in MARKS.items():
        for name in names:
            path, _, test = name.partition('::')
            assert (tests / path).exists(), name
            assert not test or f'def {test}(' in (tests / path).read_text()
            for file, found in of_file.items():
                if not file.is_relative_to(tests / path):
                    continue
                for item in found:
                    if test in ('', item.originalname):
                        item.add_marker(mark)


def pytest_collection_finish():
    """Let no collection of garbage look through all that was imported."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_draws_every_time():
    torch.manual_seed(0)


@pytest.fixture
def scope():
    """Build from MMRazor's registries without a prefix."""
    with DefaultScope.overwrite_default_scope('mmrazor'):
        yield


@pytest.fixture(scope='session')
def teacher_file(tmp_path_factory):
    """A checkpoint of ``network(base_channels=8)`` with lived-in BN layers."""
    torch.manual_seed(1)
    model = build(network(base_channels=8))
    model.init_weights()
    model.train()
    for _ in range(5):
        model(torch.randn(64, 1, 8, 8), mode='tensor')
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture
def tiny_config(tmp_path, teacher_file):
    """The quickstart's config with everything cut to seconds."""

    def make(
        work_dir='run',
        config=ROOT / 'configs/csd/csd_quickstart_digits.py',
        **options,
    ):
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(
            {
                'model.architecture': network(),
                'model.teachers.teacher.build_cfg': network(base_channels=8),
                'model.teachers.teacher.ckpt_path': str(teacher_file),
                'model.log_interval': 1,
                'default_hooks.synthesis.init_rounds': 2,
                'default_hooks.synthesis.init_iters': 2,
                'default_hooks.synthesis.synthesizer.batch_size': 16,
                'default_hooks.synthesis.synthesizer.iters': 2,
                'default_hooks.synthesis.synthesizer.generator.latent_dim': 16,
                'default_hooks.synthesis.synthesizer.generator'
                '.hidden_channels': 8,
                'train_dataloader.batch_size': 16,
                'train_dataloader.sampler.num_samples': 48,
                'train_cfg.max_epochs': 2,
                'default_hooks.logger.interval': 1,
                'env_cfg.mp_cfg.mp_start_method': 'fork',
                **options,
            }
        )
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.launcher = 'none'
        cfg.experiment_name = uuid.uuid4().hex
        return cfg

    return make


@pytest.fixture
def tiny_runner(tiny_config):
    """A Runner of :func:`tiny_config`.

    Without the report, which takes a seventh of its time, has tests of its
    own, and is written by all runs of ``forked``.
    """

    def make(
        work_dir='run', resume=False, rehearsal=False, report=False, **options
    ):
        cfg = tiny_config(work_dir, **options)
        cfg.resume = resume
        if not (report or any('hooks.report' in key for key in options)):
            cfg.default_hooks.pop('report', None)
        if cfg.default_hooks.get('synthesis'):
            cfg.default_hooks.synthesis.rehearsal = rehearsal
        return Runner.from_cfg(cfg)

    return make


@pytest.fixture
def run(tmp_path):
    """Run a command as a user would; returns its finished process."""

    def run(*command, timeout=TIMEOUT, check=True, **env):
        env = {
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': '1',
            **env,
        }
        command = [str(part) for part in command]
        if command[0].endswith('.py'):
            command.insert(0, sys.executable)
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(
                f'{" ".join(command)} returned {done.returncode}:\n'
                f'{done.stdout[-3000:]}\n{done.stderr[-6000:]}'
            )
        return done

    return run


@pytest.fixture(scope='session')
def fork_server():
    """A process that has imported everything; see fork_server.py."""
    process = subprocess.Popen(
        [
            sys.executable,
            '-W',
            'ignore',
            Path(__file__).with_name('fork_server.py'),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    yield process
    process.stdin.close()
    process.wait(10)


@pytest.fixture
def forked(fork_server, tmp_path):
    """Run a tool in real processes without their seconds of imports.

    Returns what they printed and their exit statuses, which for a killed
    one is minus the signal.
    """

    def forked(*argv, processes=1, launched=None, cwd=tmp_path, **request):
        envs = [dict(TMPDIR=str(tmp_path))]
        if launched or processes > 1:
            port = free_port()
            envs = [
                dict(
                    TMPDIR=str(tmp_path),
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(processes),
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=str(port),
                )
                for rank in range(processes)
            ]
            argv = (*argv, '--launcher', 'pytorch')
        out = tmp_path / f'{uuid.uuid4().hex}.out'
        request.update(
            argv=[str(arg) for arg in argv],
            cwd=str(cwd),
            out=str(out),
            envs=envs,
        )
        if fork_server.poll() is None and not hasattr(fork_server, 'ready'):
            fork_server.ready = fork_server.stdout.readline()
        fork_server.stdin.write(json.dumps(request) + '\n')
        fork_server.stdin.flush()
        answer = json.loads(fork_server.stdout.readline())
        stdout, stderr = out.read_text(), Path(f'{out}.err').read_text()
        return SimpleNamespace(
            stdout=stdout, stderr=stderr, output=stdout + stderr, **answer
        )

    return forked


@pytest.fixture(scope='session')
def home(tmp_path_factory):
    """A user's folder: my_net.py, t.pth, val/<class>/*.png."""
    folder = tmp_path_factory.mktemp('home')
    (folder / 'tiny_net_of_a_user.py').write_text(NET)
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module('tiny_net_of_a_user')
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    teacher = module.Net(16)
    optimizer = torch.optim.Adam(teacher.parameters(), 0.01)
    for _ in range(30):
        images, labels = draw(64)
        loss = torch.nn.functional.cross_entropy(teacher(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(teacher.state_dict(), folder / 't.pth')
    images, labels = draw(30)
    levels = ((images * 0.3 + 0.4).clamp(0, 1) * 255).round()
    for index, (image, label) in enumerate(zip(levels, labels.tolist())):
        path = folder / 'val' / 'abc'[label] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy().astype(np.uint8)).save(path)
    return folder


def draw(number):
    """Normalised images of 12x12 of three classes of brightness."""
    labels = torch.randint(3, (number,))
    images = torch.randn(number, 1, 12, 12) * 0.3
    return images + (labels - 1)[:, None, None, None], labels
