# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest

from csd_mmrazor.cli.run_source import Run


@pytest.mark.parametrize(
    'dataset, hook, bank',
    [
        (dict(type='mmrazor.ImageBank'), {}, 'run/bank'),
        (dict(type='mmrazor.ImageBank'), dict(bank_dir='b'), 'run/b'),
        # A finished one has its own place, other data no bank in it.
        (dict(type='mmrazor.ImageBank', data_root='a/bank'), {}, 'a/bank'),
        (dict(type='mmrazor.ImageBank', data_root=None), {}, 'run/bank'),
        (dict(type='CIFAR10', data_root='a'), {}, 'run/bank'),
        (None, {}, 'run/bank'),
    ],
)
def test_where_the_images_of_a_run_are(
    dataset, hook, bank, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    cfg = dict(
        model={},
        default_hooks=dict(synthesis=hook),
        train_dataloader=dataset and dict(dataset=dataset),
    )
    Path('run').mkdir()
    text = '\n'.join(f'{key} = {value!r}' for key, value in cfg.items())
    Path('run/config.py').write_text(text)
    assert Run('run', None).bank == Path(bank)
