# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import shutil

import numpy as np
import pytest

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.report import write_measurements

ATTEMPTS = ('20260101_100000', '20260101_120000')
CLASSES = ['cat', 'dog', 'frog']
CONFIG = """
train_cfg = dict(by_epoch=True, max_epochs=3)
model = dict(type='CSDDistillation', image_shape=(3, 8, 8))
default_hooks = dict(synthesis=dict(bank_dir='bank', init_rounds=2))
randomness = dict(seed=0)
"""


def measurements(scores=()):
    return dict(
        classes=CLASSES,
        networks=dict(
            teacher=dict(
                weights=4000,
                bytes=16000,
                multiplications=90000,
                milliseconds={1: 2.0, 32: 20.0},
            ),
            student=dict(
                weights=1000,
                bytes=4000,
                multiplications=30000,
                milliseconds={1: 1.0, 32: 5.0},
            ),
        ),
        machine='a machine',
        versions=dict(torch='2.11.0'),
        validation=dict(
            teacher=dict(counts=[[0, 0, 9], [1, 1, 10], [2, 2, 9], [2, 0, 1]]),
            student=dict(
                epoch=2, counts=[[0, 0, 8], [0, 1, 1], [1, 1, 10], [2, 0, 10]]
            ),
        ),
        images=dict(epoch=3, scores=list(scores)),
    )


@pytest.fixture
def work_dir(tmp_path):
    """A run of three epochs as files, without having been run."""
    path = tmp_path / 'run'
    for attempt in ATTEMPTS:
        (path / attempt / 'vis_data').mkdir(parents=True)
    lines = [{'initial/teacher_top1': 95.0, 'step': 0}]
    for epoch in range(3):
        lines += [
            {
                'synthesis/teacher_top1': 90.0 + epoch,
                'synthesis/student_top1': 40.0 + epoch,
                'synthesis/aux_loss': 2.5 - epoch,
                'synthesis/bank_balance': 0.9,
                'synthesis/loss_oh': 0.5,
                'step': epoch,
            },
            {'loss': 3.0 - epoch, 'architecture.lr': 0.1, 'epoch': epoch + 1,
             'step': 10 * epoch + 10},
            {'accuracy/top1': 50.0 + 10 * epoch, 'step': epoch + 1},
            {'time/student': 60.0, 'time/validation': 20.0, 'step': epoch},
        ]  # fmt: skip
    half = len(lines) // 2
    for attempt, part in zip(ATTEMPTS, (lines[:half], lines[half:])):
        folder = path / attempt
        (folder / 'vis_data/scalars.json').write_text(
            '\n'.join(map(json.dumps, part)) + '\n'
        )
        (folder / 'vis_data/config.py').write_text(CONFIG)
        (folder / f'{attempt}.log').write_text(
            '    PyTorch: 2.10.0\n    MMEngine: 0.10.7\n'
            '2026/01/01 10:00:01 - mmengine - INFO - Begin\n'
            '2026/01/01 10:00:02 - mmengine - WARNING - Beware of the dog\n'
        )
    bank = BankFolder(path / 'bank', (3, 8, 8), 3)
    rng = np.random.default_rng(0)
    scores = []
    for number, epoch in enumerate((-1, -1, 0, 1, 2)):
        images = rng.integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
        labels = np.arange(12) % 3
        shard = bank.append(images, labels, epoch, max(1 - number, 0), True)
        scores += [
            # The later, the harder; the teacher takes cats for dogs.
            [shard.name, i, number + i / 12, i % 3, max(i % 3, 1), 0.25]
            for i in range(12)
        ]
    write_measurements(path, measurements(scores))
    return path


@pytest.fixture(scope='session')
def browser():
    """A real browser; tests of pages are skipped where there is none."""
    api = pytest.importorskip('playwright.sync_api')
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        pytest.skip(f'no browser is installed: {", ".join(names)}')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found[0], args=['--no-sandbox']
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open a page as a person does, without a network.

    What it logs to the console, or asks the network for, is an error.
    """
    contexts, complaints = [], []

    def open_page(path, width=1200, height=900, **options):
        context = browser.new_context(
            viewport=dict(width=width, height=height), offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on('console', lambda message: complaints.append(message.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('dialog', lambda dialog: complaints.append(dialog.message))
        page.on(
            'request',
            lambda request: (
                request.url.startswith(('file:', 'data:'))
                or complaints.append(request.url)
            ),
        )
        page.goto(path.resolve().as_uri())
        page.wait_for_selector('.js-plotly-plot .main-svg')
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
