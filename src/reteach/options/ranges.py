"""Ranges of numeric settings, declared where the setting is and checked in one place.

``steps: Annotated[int, AtLeast(1)] = 100`` in a dataclass that is :class:`Checked` refuses 0 wherever the
value comes from: the command line, a YAML file or Python.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, final, get_args, get_origin, get_type_hints

from ..errors import UserError
from .conditions import changed, flag, refuse_idle


@final
@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be.

    Args:
        low: the least.
        high: the largest.
        ends: whether these two belong to it, as an interval is written: "[]", "[)", "(]" or "()".
        words: after "must".
        help: for ``--help``.
        but: one value outside that the setting may be too.
    """

    low: float
    high: float
    ends: str
    words: str
    help: str
    but: Any = None

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, int | float) or value == self.but:
            return True
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)


def AtLeast(low: int, but: int | None = None) -> Range:
    """From ``low`` on, or ``but``."""
    words = f"at least {low}" if but is None else f"{but} or at least {low}"
    said = "not be negative" if low == 0 and but is None else f"be {words}"
    return Range(low, math.inf, "[]", said, words, but)


def Positive() -> Range:
    """More than 0."""
    return Range(0, math.inf, "(]", "be positive", "above 0")


def Within(low: float, high: float, ends: str = "[]", but: str | None = None) -> Range:
    """Between the two, with or without them as ``ends`` says; or the word ``but``."""
    interval = f"{ends[0]}{low:g}, {high:g}{ends[1]}"
    more = "" if but is None else f" or be {but}"
    return Range(low, high, ends, f"lie in {interval}{more}", f"in {interval}", but)


class Checked:
    """Settings that are held against their ranges and conditions when they are made.

    A ``__post_init__`` of their own calls this one first.

    Raises:
        UserError: a number is outside of its range, or a setting without effect; names the flag.
    """

    def __post_init__(self) -> None:
        for name, allowed in ranges(type(self)).items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if number not in allowed:
                    got = f"{number:g}" if isinstance(number, float) else number
                    raise UserError(f"{flag(name)} must {allowed.words}, got {got}")
        refuse_idle(self, set(changed(self)))


def ranges(settings: type[Any]) -> dict[str, Range]:
    """The declared range of each setting of a dataclass that has one."""
    hints = get_type_hints(settings, include_extras=True)
    declared = {
        name: [m for m in _marks(hint) if isinstance(m, Range)] for name, hint in hints.items()
    }
    return {name: found[0] for name, found in declared.items() if found}


@cache
def show_ranges(settings: type[Any]) -> None:
    """Let ``--help`` say the ranges of a command's settings, those of its groups among them."""
    import tyro

    declared = ranges(settings)
    hints: dict[str, Any] = get_type_hints(settings, include_extras=True)
    for name, hint in hints.items():
        if name in declared:
            said = _Hint(declared[name].help)
            settings.__annotations__[name] = Annotated[hint, tyro.conf.arg(help_behavior_hint=said)]
        elif hasattr(hint, "__dataclass_fields__"):
            show_ranges(hint)


@final
@dataclass(frozen=True)
class _Hint:
    """What ``--help`` says behind a setting's explanation."""

    allowed: str

    def __call__(self, default: str) -> str:
        return f"(default: {default}; {self.allowed})"


def _marks(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()
