# Copyright (c) csd_mmrazor developers. All rights reserved.
"""YAML that people write, of which nothing is run or lost."""

from pathlib import Path
from typing import Any, Optional, Union

import yaml

from .files import check_depth

# Brackets within each other; the parser takes hours for many thousands.
_DEEPEST = 500


# Keys that stand for more than their text, such as << of a mapping that is
# merged into another.
_SPECIAL = ('tag:yaml.org,2002:merge', 'tag:yaml.org,2002:value')


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML keeps the last."""

    def compose_mapping_node(self, anchor: Optional[str]) -> yaml.MappingNode:
        # As it is written: what is merged into it may have the same names.
        node = super().compose_mapping_node(anchor)
        names = [
            key.value if key.tag in _SPECIAL else self.construct_object(key)
            for key, _ in node.value
        ]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f'{name} is there twice',
                    node.start_mark,
                )
        return node


# As MMEngine writes them into configs.
_Loader.add_constructor(
    'tag:yaml.org,2002:python/tuple',
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


def read_yaml(path: Union[str, Path]) -> Any:
    """A list of runs that somebody wrote.

    Args:
        path (str | Path): The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no YAML; says where.
    """
    try:
        return parse_yaml(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise type(error)(
            error.errno, f'{error.strerror}. The list cannot be read', path
        ) from error
    except ValueError as error:
        raise ValueError(f'{path} is not a list in YAML: {error}') from error


def parse_yaml(text: str) -> Any:
    """Read a text that anybody may have written.

    Args:
        text (str): The text.

    Raises:
        ValueError: If it is no YAML, has a name twice in one mapping, or is
            nested too deeply; says where.
    """
    check_depth(text, _DEEPEST)
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error
