# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging

import pytest
from mmengine.logging import MMLogger, print_log

from csd_mmrazor.api.distill_runner import Warned


@pytest.mark.parametrize('by', ['method', 'print_log'])
@pytest.mark.parametrize('ours', [True, False])
@pytest.mark.parametrize(
    'level, is_told',
    [
        (logging.INFO, False),
        (logging.WARNING, True),
        (logging.ERROR, True),
    ],
)
def test_what_is_collected(by, ours, level, is_told):
    """What this file logs, as if it were of the package, and once."""
    logger = MMLogger.get_instance(f'warned_{by}_{ours}_{level}')
    warned = Warned(__file__ if ours else '/elsewhere')
    logger.addHandler(warned)
    heard = []
    warned.listener = lambda: heard.append(list(warned.texts))
    for text in ('one', 'two', 'one'):
        if by == 'method':
            logger.log(level, '%s', text)
        else:
            print_log(text, logger, level)
    expected = ['one', 'two'] if ours and is_told else []
    assert warned.texts == expected
    assert heard == [expected[: n + 1] for n in range(len(expected))]
