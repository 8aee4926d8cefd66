# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.utils.control import (
    has_commands,
    in_markdown,
    without_commands,
)


@pytest.mark.parametrize(
    'text, shown',
    [
        ('a\n\tb, grün, 猫\u3000犬\xa0', None),
        ('\x1b[31mred\x1b[0m', 'red'),
        ('\x1b[2J\x1b[Hgone', 'gone'),
        ('right\rwrong', 'rightwrong'),
        ('\x1b]0;title\x07', ']0;title'),
        ('\x9b31m', '31m'),
    ],
)
def test_what_a_terminal_shows(text, shown):
    assert has_commands(text) == (shown is not None)
    assert without_commands(text) == (text if shown is None else shown)


def test_one_line_of_markdown():
    text = 'Net\n\n# Licence\n<script>a()</script> [b](c) \x1b[1m`d`'
    assert in_markdown(text) == (
        'Net # Licence &lt;script>a()&lt;/script> [b] (c) `d`'
    )
