"""Settings that take effect only beside others, declared where the setting is.

``gold_rate: Annotated[float, OnlyWith("gold")] = 0.1`` refuses ``--gold-rate`` without ``--gold``, in
Python and in YAML where it differs from its default, on the command line wherever it is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any, final, get_type_hints

from ..errors import UserError


@final
@dataclass(frozen=True)
class Condition:
    """When a setting takes effect.

    Args:
        settings: the others, of which one is enough.
        values: that it must have; none: it is given at all.
        met: whether the setting takes effect with them, or without them.
        unless: values of the setting that are never refused: they say what happens anyway.
    """

    settings: tuple[str, ...]
    values: tuple[Any, ...]
    met: bool
    unless: tuple[Any, ...] = ()

    def holds(self, settings: Any, value: Any) -> bool:
        """Whether the setting takes effect among these; it does where they are of another group."""
        there = [getattr(settings, name) for name in self.settings if hasattr(settings, name)]
        return not there or value in self.unless or any(map(self._there, there)) == self.met

    def _there(self, value: Any) -> bool:
        return value in self.values if self.values else value not in (None, False, (), 0)

    def words(self, settings: Any) -> str:
        """Why it has no effect, after "has no effect"."""
        named = " or ".join(map(flag, self.settings))
        if self.values:
            value = self.values[0] if self.met else getattr(settings, self.settings[0])
            named += f" {value}"
        return f"without {named}" if self.met else f"with {named}"


@final
@dataclass(frozen=True)
class TakenBy:
    """A setting that some methods take: those for which this field of :class:`.methods.Method` is true."""

    trait: str


def OnlyWith(setting: str, *values: Any) -> Condition:
    """Only where the other setting has one of the values, or is given at all."""
    return Condition((setting,), values, met=True)


def OnlyWithAny(*settings: str) -> Condition:
    """Only where one of the other settings is given at all."""
    return Condition(settings, (), met=True)


def NotWith(setting: str, *values: Any, unless: tuple[Any, ...] = ()) -> Condition:
    """Not where the other setting has one of the values, or is given at all."""
    return Condition((setting,), values, met=False, unless=unless)


def changed(settings: Any) -> Iterator[str]:
    """The settings of a dataclass that are not as they are by default."""
    for field in fields(settings):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is not MISSING and getattr(settings, field.name) != default:
            yield field.name


def refuse_idle(settings: Any, given: Collection[str], among: Any = None) -> None:
    """Refuse settings that were given although nothing will look at them.

    Args:
        among: the settings of all groups, which conditions may name; by default those of this group.

    Raises:
        UserError: names the flag and why it has no effect.
    """
    among = settings if among is None else among
    for name, conditions in declared(type(settings)).items():
        value = getattr(settings, name)
        idle = [c for c in conditions if not c.holds(among, value)] if name in given else []
        if idle:
            off = value is False
            why = idle[0].words(among)
            raise UserError(f"{flag(name, off)} has no effect {why}; leave it out")


def refuse_idle_of_all(settings: Any, given: Collection[str]) -> None:
    """Refuse what was given without effect in any group of settings, even where it is the default.

    Args:
        settings: of a command, with the groups in them.
        given: names of the settings that somebody named.

    Raises:
        UserError: names the flag and why it has no effect.
    """
    groups = list(_groups(settings))
    everything = {name: value for group in groups for name, value in vars(group).items()}
    for group in groups:
        # its own go before others of a name
        refuse_idle(group, given, SimpleNamespace(**everything | vars(group)))


def _groups(settings: Any) -> Iterator[Any]:
    """The settings of a command, and those of the groups in them."""
    yield settings
    for value in vars(settings).values():
        if is_dataclass(value):
            yield from _groups(value)


def declared(settings: type[Any]) -> dict[str, list[Condition]]:
    """The conditions of each setting of a dataclass that has some."""
    hints = get_type_hints(settings, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    found = {name: [m for m in each if isinstance(m, Condition)] for name, each in marks.items()}
    return {name: each for name, each in found.items() if each}


def flag(name: str, off: bool = False) -> str:
    """A setting as the command line has it."""
    return f"--{'no-' if off else ''}{name.replace('_', '-')}"
