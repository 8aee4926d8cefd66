# Copyright (c) csd_mmrazor developers. All rights reserved.
"""YAML that people write, of which nothing is run or lost."""

from typing import Any, Optional

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
