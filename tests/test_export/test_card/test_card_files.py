# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest
from card_helpers import export
from helpers import front_of

from csd_mmrazor.export.card.files import files_of


@pytest.mark.parametrize(
    'key, form', [('onnx', 'form of ONNX'), ('program', 'a program of `torch')]
)
@pytest.mark.parametrize(
    'inputs, mean, told',
    [
        ('images in [0, 1]', [3.0], 'images in [0, 1], which it normalises'),
        (
            'normalised',
            [3.0],
            '(image - mean) / std of images in [0, 255], with the mean and ',
        ),
        ('normalised', None, 'Its inputs are images in [0, 255].'),
    ],
)
def test_how_inputs_are_normalised(key, form, inputs, mean, told):
    description = {'mean': mean, key: dict(file='b.xyz', inputs=inputs)}
    text = files_of(Path('a.pth'), description)
    (line,) = (x for x in text.splitlines() if 'b.xyz' in x)
    assert line.startswith('`b.xyz` is ') and form in line and told in line


def test_all_that_there_is(tmp_path):
    exported = export(tmp_path)
    _, body = front_of(exported.card)
    files = body.partition('## Files')[2]
    for path in tmp_path.glob('out*'):
        assert f'`{path.name}`' in files, path
    assert 'out.onnx' not in files
