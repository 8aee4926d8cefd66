# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Letters of other people's texts that command what shows them."""

import re

# Colours and the like of a terminal, and other control characters but line
# breaks and tabs.
_COMMANDS = re.compile(
    r'\x1b\[[\d;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]'
)
_BREAKS = re.compile(r'[\t\n\u2028\u2029]+')


def has_commands(text: str) -> bool:
    """Whether a text could change how a terminal shows what follows."""
    return bool(_COMMANDS.search(text))


def without_commands(text: str) -> str:
    """A text for a terminal, of which it shows all and does nothing."""
    return _COMMANDS.sub('', text)


def in_markdown(text: str) -> str:
    """A text as a part of one line of Markdown.

    Args:
        text (str): Such as the name of a network in a config.

    Returns:
        str: In one line, without HTML and links.
    """
    text = _BREAKS.sub(' ', without_commands(text))
    return text.replace('<', '&lt;').replace('](', '] (')
