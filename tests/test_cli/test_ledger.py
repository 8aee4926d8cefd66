# Copyright (c) csd_mmrazor developers. All rights reserved.
import csv
import json

import pytest
from helpers import ROOT

from csd_mmrazor.cli.ledger import ledger_rows, main, make_ledger


def test_it_is_up_to_date():
    found = [
        (ROOT / 'docs' / name).read_text(encoding='utf-8')
        for name in ('ledger.csv', 'ledger.md')
    ]
    assert found == [*make_ledger(ROOT / 'docs')], (
        'Results were changed: python tools/ledger.py'
    )


def test_nothing_of_a_row_is_lost():
    """Each file can be had again from the ledger."""
    rows = ledger_rows(ROOT / 'docs')
    files = [
        *(ROOT / 'docs/results').glob('*.csv'),
        *(ROOT / 'docs/comparison').glob('*.csv'),
    ]
    assert {row['file'] for row in rows} == {
        path.relative_to(ROOT / 'docs').as_posix() for path in files
    }
    for path in files:
        name = path.relative_to(ROOT / 'docs').as_posix()
        own = [row for row in rows if row['file'] == name]
        with path.open(newline='', encoding='utf-8') as file:
            expected = list(csv.DictReader(file))
        assert len(own) == len(expected)
        for row, there in zip(own, expected):
            rest = json.loads(row['rest'])
            assert rest.items() <= there.items()
            assert row['seed'] == there.get('seed', '')
            assert row['top1'] == there.get('top1', '')
            leading = [
                value
                for key, value in there.items()
                if key not in {*rest, 'seed', 'top1'}
            ]
            # All that is not in the rest is in the row's name.
            assert row['row'] == ' '.join(filter(None, leading))


@pytest.fixture
def docs(tmp_path):
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results/a.csv').write_text(
        'method,budget,seed,top1,note\n'
        'x,,0,50,\nx,,1,70.5,"a, b"\ny|z,small,0,,\n'
    )
    (tmp_path / 'results/b.csv').write_text('what,value\nq,3\n')
    return tmp_path


def test_a_table_of_means(docs, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['ledger.py', str(docs)])
    main()
    page = (docs / 'ledger.md').read_text()
    assert '| x | 2 | 60.25 | 50.00 | 70.50 |\n' in page
    assert '| y\\|z small | 1 |  |  |  |\n' in page
    assert '## results/b.csv' in page and '| q | 1 |  |  |  |\n' in page
    with (docs / 'ledger.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == dict(
        file='results/a.csv',
        row='x',
        seed='1',
        top1='70.5',
        rest='{"note": "a, b"}',
    )
    assert rows[3]['rest'] == '{"value": "3"}'


@pytest.mark.parametrize('line', ['x,small', 'x,small,0,50,a,b'])
def test_rows_of_other_columns_are_named(docs, line):
    with (docs / 'results/a.csv').open('a') as file:
        file.write(f'{line}\n')
    with pytest.raises(ValueError, match='Row 5 of .*a.csv has other columns'):
        make_ledger(docs)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'first row of .*b.csv should have a name'),
        (b'\nq,3\n', 'first row of .*b.csv should have a name'),
        (b'what,\nq,3\n', 'first row of .*b.csv should have a name'),
        (b'what,what\nq,3\n', 'first row of .*b.csv .* each once'),
        (b'what,top1\nq,many\n', "Row 2 of .*b.csv has top1='many'"),
        (b'what,top1\nq,nan\n', "Row 2 of .*b.csv has top1='nan'"),
        (b'what\n\xe9\n', 'b.csv is no table in UTF-8'),
        (b'what\n' + b'x' * 200_000, 'b.csv is no table in UTF-8: field'),
    ],
)
def test_broken_files_are_named(docs, content, message):
    (docs / 'results/b.csv').write_bytes(content)
    with pytest.raises(ValueError, match=message):
        make_ledger(docs)


def test_without_results(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no results'):
        make_ledger(tmp_path)
