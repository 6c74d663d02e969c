"""Numbers as people read them. Whatever is no finite number becomes a dash."""

from __future__ import annotations

import math
from typing import Any

DASH = "–"


def finite(value: Any) -> float | None:
    """The value as a float, or None if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return number if math.isfinite(number) else None


def decimal(value: float | None, digits: int = 2) -> str:
    """2.13"""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text if float(text.replace(",", "")) else text.lstrip("-")  # no "-0.0"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent, without the sign: 63.4"""
    return decimal(None if value is None else 100 * value, digits)


def whole_percent(value: float) -> str:
    """A fraction of something in whole percent: 0% only of nothing, 100% only of all of it."""
    shown = round(100 * value)
    if 0 < value < 1:
        shown = min(max(shown, 1), 99)
    return f"{shown}%"


def signed(value: float | None, digits: int = 1) -> str:
    """+5.3, −0.2 (with a real minus sign)."""
    text = decimal(value, digits)
    if text == DASH or not float(text.replace(",", "")):
        return text
    return text.replace("-", "−") if text.startswith("-") else f"+{text}"


def count(value: float | None) -> str:
    """12,345"""
    return decimal(value, 0)


def general(value: float | None) -> str:
    """Four significant digits of a number of unknown size."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.4g}"


def short(value: float) -> str:
    """A tick: 500, 1.5k, 20k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """850 ms, 12.3 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def plural(number: int, word: str, many: str | None = None) -> str:
    """1 image, 2 images"""
    return f"{number:,} {word if number == 1 else many or word + 's'}"
