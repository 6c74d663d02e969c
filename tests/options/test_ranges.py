"""Ranges declared on settings: refused in one place wherever a value comes from, and shown by --help."""

import importlib
import math
import pkgutil
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

import reteach.options
from reteach.cli import main
from reteach.errors import UserError
from reteach.options.methods import Method
from reteach.options.ranges import AtLeast, Checked, Positive, Range, Within, ranges
from reteach.options.shared import Training
from reteach.runs.config import build

ANYTHING = {("SelectOptions", "minimum"), ("SemiOptions", "minimum")}
"""Numbers that may be anything: a least score may be a logit."""


def option_classes() -> list[type[Any]]:
    """Every options dataclass of the package."""
    found: dict[type[Any], None] = {}
    for module in pkgutil.iter_modules(reteach.options.__path__):
        if module.name != "ranges":
            there = vars(importlib.import_module(f"reteach.options.{module.name}")).values()
            found |= dict.fromkeys(c for c in there if isinstance(c, type) and is_dataclass(c))
    found.pop(Method)  # says of a method what it is, and is told nothing
    return list(found)


def numeric(hint: Any) -> bool:
    return hint in (int, float) or any(numeric(part) for part in typing.get_args(hint))


def outside(allowed: Range) -> list[float]:
    """Numbers that a range does not hold, as near as they come."""
    low = allowed.low if allowed.ends[0] == "(" else allowed.low - 1
    high = allowed.high if allowed.ends[1] == ")" else allowed.high + 1
    return [low, math.nan, *([high] if math.isfinite(allowed.high) else [])]


def made(options: type[Any], **values: Any) -> Any:
    """An instance; what has no default is made up."""
    lacking = [f.name for f in fields(options) if f.default is f.default_factory is MISSING]
    return options(**dict.fromkeys(lacking, ()) | values)


DECLARED = [(c, name, allowed) for c in option_classes() for name, allowed in ranges(c).items()]


@pytest.mark.parametrize(("options", "name", "allowed"), DECLARED)
def test_values_outside_of_a_declared_range_are_refused_by_the_flags_name(
    options: type[Any], name: str, allowed: Range
) -> None:
    several = "tuple" in str(typing.get_type_hints(options)[name])
    for value in outside(allowed):
        with pytest.raises(UserError, match=rf"^--{name.replace('_', '-')} must .*, got "):
            made(options, **{name: (value,) if several else value})


def test_every_numeric_option_declares_a_range() -> None:
    free = {
        (options.__name__, name)
        for options in option_classes()
        for name, hint in typing.get_type_hints(options).items()
        if numeric(hint) and name not in ranges(options)
    }
    assert free == ANYTHING
    assert len(DECLARED) > 140


@dataclass(frozen=True)
class _Settings(Checked):
    """Settings of every kind."""

    steps: Annotated[int | None, AtLeast(1)] = None
    many: Annotated[int, AtLeast(0)] = 0
    folds: Annotated[int, AtLeast(2, but=0)] = 0
    rate: Annotated[float, Positive()] = 1
    rates: Annotated[tuple[float, ...], Positive()] = ()
    rho: Annotated[Literal["mixture"] | float, Within(0, 1, "()", but="mixture")] = 0.5
    share: Annotated[float, Within(0, 1, "[)")] = 0
    rest: Annotated[float, Within(0, 0.5)] = 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"many": -1}, "--many must not be negative, got -1"),
        ({"folds": 1}, "--folds must be 0 or at least 2, got 1"),
        ({"rate": 0.0}, "--rate must be positive, got 0"),
        ({"rate": math.nan}, "--rate must be positive, got nan"),
        ({"rates": (0.1, -2.5)}, "--rates must be positive, got -2.5"),
        ({"rho": 1.0}, "--rho must lie in (0, 1) or be mixture, got 1"),
        ({"share": 1}, "--share must lie in [0, 1), got 1"),
        ({"rest": 0.7}, "--rest must lie in [0, 0.5], got 0.7"),
    ],
)
def test_what_a_range_says(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        _Settings(**values)
    assert str(error.value) == said


def test_ends_of_a_range_and_values_beside_it_are_accepted() -> None:
    _Settings(1, 0, 0, 1e-9, (1,), "mixture", 0, 0.5)
    _Settings(None, 5, 2, math.inf, (), 0.999, 0.999, 0)


def test_ranges_hold_in_yaml_and_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="--batch-size must be at least 1, got 0"):
        build(Training, {"batch_size": 0}, "config.yaml")
    assert main(["train", "nct", "--alpha", "2"]) == 2
    assert "--alpha must lie in [0, 1], got 2\n" in capsys.readouterr().err
    file = tmp_path / "c.yaml"
    file.write_text("steps: 0")
    assert main(["train", "softmax", "--config", str(file)]) == 2
    assert "--steps must be at least 1, got 0\n" in capsys.readouterr().err


def test_help_shows_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["train", "cpsd", "--help"])
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "(default: 128; at least 1)" in shown
        assert "(default: 0.05; in [0, 1))" in shown
        assert "(default: 10.0; above 0)" in shown
