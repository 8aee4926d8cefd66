# Copyright (c) csd_mmrazor developers. All rights reserved.
from types import SimpleNamespace

import pytest

from csd_mmrazor.datasets import ImageBank
from csd_mmrazor.engine.hooks.loop_checks import check_format

PLAIN = dict(keep_targets=False, memory_size=0)


@pytest.mark.parametrize('name', ['raw', 'png', 'jpeg', 'webp'])
@pytest.mark.parametrize(
    'channels, views, changed, message',
    [
        (3, 0, {}, None),
        (1, 0, {}, None),
        (4, 0, {}, '1 or 3 channels, but these have 4'),
        (3, 2, {}, 'target_views=2'),
        (3, 0, dict(keep_targets=True), 'keep_targets=True'),
        (3, 0, dict(memory_size=8), 'a loss'),
    ],
)
def test_formats_that_a_run_can_have(name, channels, views, changed, message):
    bank = ImageBank(image_format=name)
    synthesizer = SimpleNamespace(**{**PLAIN, **changed})
    is_fine = (
        message is None or name == 'raw' or (name == 'png' and channels == 3)
    )
    if is_fine:
        check_format(bank, (channels, 8, 8), synthesizer, views)
        return
    with pytest.raises(ValueError, match=f'{name}.*{message}'):
        check_format(bank, (channels, 8, 8), synthesizer, views)
