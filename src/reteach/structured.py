"""JSON and YAML that somebody else wrote: within bounds, and with one kind of error, ``ValueError``.

JSON takes memory in proportion to its text. YAML does not, where an alias stands for what stands elsewhere:
nine of nine of nine … is a file of a few lines that no memory holds. There is no use for aliases in settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MOST_DEEP = 100
"""Lists within lists, beyond which nothing is meant seriously and recursion ends in a crash."""
MOST_YAML = 256 * 1024
"""Characters of a YAML file; settings take a few thousand."""
_WALKED = 1 << 20
"""Characters of JSON up to which its depth is looked at: readers of larger files do not recurse."""


def parse_json(text: str | bytes) -> Any:
    """A value of JSON.

    Raises:
        ValueError: it is none, is no UTF-8, or lists and objects stand in each other too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if len(text) <= _WALKED and _too_deep(value):
        raise ValueError("nested too deeply")
    return value


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEEP):
        level = [inner for each in level for inner in _inner(each)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def parse_yaml(text: str) -> Any:
    """A value of YAML, without aliases and with each name once.

    Raises:
        ValueError: it is none, too large, nested too deeply, has an alias or a name that stands twice.
    """
    import yaml

    if len(text) > MOST_YAML:
        raise ValueError(f"larger than any settings ({MOST_YAML >> 10} kB)")
    try:
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except (
        OverflowError,
        TypeError,
        RecursionError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _loader() -> type[yaml.SafeLoader]:
    import yaml
    from yaml.composer import ComposerError

    class Bounded(yaml.SafeLoader):
        """Refuses while it reads, before anything grows."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ComposerError(None, None, "an alias (*) is not taken")
            self.depth += 1
            if self.depth > MOST_DEEP:
                raise ComposerError(None, None, "nested too deeply")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            names = [str(key.value) for key, _ in node.value]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ComposerError(None, None, f"{twice[:60]!r} stands there twice: give it once")
            return node

    return Bounded
