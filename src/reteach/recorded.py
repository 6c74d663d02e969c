"""The names by which run folders record classes, functions and fields, whatever Python calls them.

A stage's record and its snapshots are read by later versions. Renaming a class or a field must not make
them unreadable, so nothing that is recorded goes by its Python name::

    @final
    @recorded("mile", fields={"labeler": "pseudo-labeler"})
    @dataclass(eq=False)
    class Mile(Algorithm): ...

To rename a class, leave its recorded name. To rename a field, map the new name to the recorded one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, final

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Recorded:
    """How a class or function is recorded.

    Args:
        name: unique in the package.
        fields: present name of a field or parameter -> recorded name, where they differ.
        free: present names of fields that may differ between a run and its resumption, because no number
            depends on them.
        since: present names of fields that earlier versions did not have -> the value that stands for what
            they did; a field of that value is left out of the record, so that their runs go on.
    """

    name: str
    fields: Mapping[str, str]
    free: frozenset[str]
    since: Mapping[str, Any] = field(default_factory=dict)

    def field(self, name: str) -> str:
        """The recorded name of a field or parameter."""
        return self.fields.get(name, name)


NAMES: dict[Any, Recorded] = {}
"""Class or function -> how it is recorded."""


def recorded(
    name: str,
    *,
    fields: Mapping[str, str] | None = None,
    free: Collection[str] = (),
    since: Mapping[str, Any] | None = None,
) -> Callable[[T], T]:
    """Give a class or function the name that run folders record; see :class:`Recorded`.

    Raises:
        ValueError: another class or function has that name.
    """

    def register(thing: T) -> T:
        for other, known in NAMES.items():
            if known.name == name and _where(other) != _where(thing):
                raise ValueError(
                    f"{_where(thing)} and {_where(other)} are both recorded as {name!r}"
                )
        NAMES[thing] = Recorded(name, dict(fields or {}), frozenset(free), dict(since or {}))
        return thing

    return register


def recorded_name(thing: Any) -> str:
    """The recorded name of a class or function; that of Python for those of other packages.

    Raises:
        TypeError: a class or function of this package has none.
    """
    if thing in NAMES:
        return NAMES[thing].name
    if _where(thing).startswith("reteach."):
        raise TypeError(
            f"{_where(thing)} stands in the record of a stage and has no recorded name: decorate it with "
            '@recorded("…") (reteach.recorded), so that it can be renamed without breaking resume'
        )
    return str(getattr(thing, "__qualname__", type(thing).__name__))


def recorded_fields(value: Any, *, free: bool) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass by recorded name, with or without those that are free to differ.

    Fields with a leading underscore can be computed again and are left out.
    """
    how = NAMES.get(type(value), _PLAIN)
    for one in fields(value):
        found = getattr(value, one.name)
        earlier = one.name in how.since and how.since[one.name] == found
        if not one.name.startswith("_") and not earlier and (free or one.name not in how.free):
            yield how.field(one.name), found


def recorded_arguments(function: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments by recorded name."""
    how = NAMES.get(function, _PLAIN)
    return {how.field(name): value for name, value in given.items()}


_PLAIN = Recorded("", {}, frozenset())


def _where(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing)}"
