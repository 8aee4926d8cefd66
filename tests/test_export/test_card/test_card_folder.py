# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from functools import partial

from card_helpers import export
from helpers import front_of

from csd_mmrazor.export import is_export, list_networks
from csd_mmrazor.export.card import card_path


def quantized(folder, name, **told):
    """What ``quantize`` leaves of a network, but for the ONNX file's bytes."""
    out = folder / f'{name}.onnx'
    out.write_bytes(bytes(2600))
    told = dict(quantized_by='csd_mmrazor 1', model='student', **told)
    out.with_suffix('.json').write_text(json.dumps(told))
    card_path(out, True).write_text(
        f'<!-- written by csd_mmrazor for {out.name} -->'
    )
    list_networks(folder)
    return out


def rows_of(readme):
    return [
        line.strip('| ').split(' | ')
        for line in readme.read_text().splitlines()
        if line.startswith('| `')
    ]


def test_each_network_of_a_folder_has_a_row(tmp_path):
    export_a = partial(export, tmp_path, 'a.pth')
    exported = export_a()
    readme = tmp_path / 'README.md'
    alone = readme.read_text()
    assert exported.card == readme and not rows_of(readme)
    export(tmp_path, 'b.pth')
    out = quantized(
        *(tmp_path, 'c'),
        **dict(bits=4, top1=91.5, agreement=98.765, compared_images=50),
    )
    (tmp_path / 'd.json').write_text('[1')
    (tmp_path / 'e.json').write_text('["quantized_by"]')
    (tmp_path / 'f.md').mkdir()
    list_networks(tmp_path)
    size = f'{exported.weights.stat().st_size / 1000:.0f}'
    assert rows_of(readme) == [
        ['`a.pth`', 'ImageClassifier', size, '', '[README.md](README.md)'],
        ['`b.pth`', 'ImageClassifier', size, '', '[b.md](b.md)'],
        [
            '`c.onnx`',
            'student, 4-bit weights',
            '3',
            'top-1 91.50 %; same class as before on 98.8 % of 50 images',
            '[c.md](c.md)',
        ],
    ]
    # What somebody adds below it stays, and each of them is there once,
    # whatever is written again, and none that is gone.
    readme.write_text(f'{readme.read_text()}\n## Limits\n\n| a | b |\n')
    for again in (partial(list_networks, tmp_path), export_a, export_a):
        again()
        assert readme.read_text().endswith(' |\n\n## Limits\n\n| a | b |\n')
        assert readme.read_text().count('Limits') == 1
        assert len(rows_of(readme)) == 3
    assert front_of(readme)[0]['model-index'][0]['name'] == 'a'
    out.unlink()
    (tmp_path / 'b.pth').unlink()
    for again in (partial(list_networks, tmp_path), export_a):
        again()
        text, _, below = readme.read_text().partition(
            '\n<!-- networks in this folder -->\n'
        )
        assert (text, below) == (alone, '\n## Limits\n\n| a | b |\n')
    readme.write_text(text)
    export_a()
    assert readme.read_text() == alone


def test_whatever_else_is_in_the_folder(tmp_path):
    (tmp_path / 'deep.json').write_text('[' * 100_000)
    assert export(tmp_path, 'a.pth').card.is_file()
    assert not is_export(tmp_path / 'deep.pth')


def test_a_readme_of_somebody_else_stays(tmp_path):
    readme = tmp_path / 'README.md'
    for content in (b'Mine', b'Mine, \xff'):
        readme.write_bytes(content)
        quantized(tmp_path, 'a', bits=8)
        quantized(tmp_path, 'b', bits=4)
        assert readme.read_bytes() == content
