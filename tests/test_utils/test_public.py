# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest

from csd_mmrazor.utils.public import public, public_name, public_text


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
        ('https://me:token@host/a.pth?Signature=b', 'https://host/a.pth'),
        (Path('/home/me/w.pth'), 'w.pth'),
        (r'C:\Users\me\w.pth', 'w.pth'),
        (r'C:\Users\me\net.py:Net', 'net.py:Net'),
        (r'\\server\me\w.pth', 'w.pth'),
        ('file:///home/me/w.pth', 'w.pth'),
        ('weights=/home/me/w.pth,k=3', 'weights=w.pth,k=3'),
        ('a:b', 'a:b'),
        (
            dict(a=[1, '/home/me/w.pth'], b=('x/y', 0.5)),
            dict(a=[1, 'w.pth'], b=('x/y', 0.5)),
        ),
    ],
)
def test_what_of_a_network_is_public(value, told):
    assert public(value) == told


@pytest.mark.parametrize(
    'text, told',
    [
        ("'/home/me/w.pth'", "'w.pth'"),
        ("['/home/me/a b/w.pth', '~/x/y', 3]", "['w.pth', 'y', 3]"),
        ("dict(a='/data', b='/my data/')", "dict(a='data', b='my data/')"),
        ("'file:///home/me/w.pth'", "'w.pth'"),
        (
            'No file "/home/me/my net.py", line 3',
            'No file "my net.py", line 3',
        ),
        ('/usr/lib/a.py:33: UserWarning: b', 'a.py:33: UserWarning: b'),
        ('(see /home/me/run/seed0.log)', '(see seed0.log)'),
        ('Saved ~me/run/a.pth, /tmp/x/b.', 'Saved a.pth, b.'),
        ('in /home/me/run/: stop', 'in run/: stop'),
        (r'of C:\Users\me\w.pth, 3', 'of w.pth, 3'),
        (repr(r'C:\Users\me\w.pth'), "'w.pth'"),
        (r'\\server\me\w.pth', 'w.pth'),
        ("a='/home/me/cut sho", "a='cut sho"),
        # What says nothing of the machine.
        ('and/or 5 / 3, 1/2/3', 'and/or 5 / 3, 1/2/3'),
        (
            'work_dirs/a/b.pth, ../a/b, ./a/b',
            'work_dirs/a/b.pth, ../a/b, ./a/b',
        ),
        ('https://host/a/b.pth', 'https://host/a/b.pth'),
        (
            "from 'https://me:a@b@host:80/c?d=e/f@g', s3://k?l#m ftp://me@n",
            "from 'https://host:80/c', s3://k ftp://n",
        ),
        ("s3://a/b, 'a/b c/d'", "s3://a/b, 'a/b c/d'"),
    ],
)
def test_what_of_a_sentence_is_public(text, told):
    assert public_text(text) == told
    assert public_text(told) == told


@pytest.mark.parametrize(
    'path, name',
    [
        ('https://host/a/w.pth?Signature=b/c&d=e', 'w.pth'),
        ('https://me:token@host/w.pth#key', 'w.pth'),
        ('torchvision://resnet18', 'resnet18'),
        ('/home/me/w#1?.pth', 'w#1?.pth'),
        (Path('a/w.pth'), 'w.pth'),
    ],
)
def test_the_name_of_what_a_url_is_of(path, name):
    assert public_name(path) == name
