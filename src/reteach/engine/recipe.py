"""What trains a method: (setup, its settings, run) -> the trained algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .algorithm import Algorithm
from .run import Run

if TYPE_CHECKING:
    from .setup import Setup

Recipe = Callable[["Setup", Any, Run], Algorithm]
