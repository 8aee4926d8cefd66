# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.export.public import public


@pytest.mark.parametrize(
    'value, told',
    [
        ('/home/me/net.py:Net', 'net.py:Net'),
        ('net.py:Net', 'net.py:Net'),
        ('timm.create_model', 'timm.create_model'),
        ('lent:student', 'lent:student'),
        (None, None),
        ('~/data/cats', 'cats'),
        ('../../me/cats', 'cats'),
        ('data/cats', 'data/cats'),
        ('https://host/a.pth', 'https://host/a.pth'),
        (
            dict(a=[1, '/home/me/w.pth'], b=('x/y', 0.5)),
            dict(a=[1, 'w.pth'], b=['x/y', 0.5]),
        ),
    ],
)
def test_what_of_a_network_is_public(value, told):
    assert public(value) == told
