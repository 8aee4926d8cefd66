# Copyright (c) csd_mmrazor developers. All rights reserved.
import inspect
import re

import pytest

from csd_mmrazor import distill


@pytest.mark.parametrize(
    'args, kwargs, message',
    [
        (('t', 's', (1, 8, 8)), {}, 'all else by name: image_shape=(1, 8, 8)'),
        (('t', 's'), dict(buget='1h'), "'buget'. Did you mean 'budget'?"),
        (('t', 's'), dict(batch=8), 'Did you mean schedule=dict(batch=...)?'),
        (('t', 's'), dict(out='a'), 'Did you mean work_dir=...?'),
        (('t', 's'), dict(qqq=1), "distill() has no argument 'qqq'."),
        (('t', 's'), {}, "'image_shape'"),
    ],
)
def test_the_message(args, kwargs, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        distill(*args, **kwargs)


def test_the_signature_stays():
    assert 'image_shape' in inspect.signature(distill).parameters
    assert distill.__doc__.startswith('Train a small network')
