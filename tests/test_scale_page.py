"""docs/scale.md: every figure of its costs follows from its units; the measured ones stand in the results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCALE = {"kB": 1e3, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def table(page: str, name: str) -> list[list[str]]:
    """The rows of the table after a comment, cell by cell, without its header."""
    lines = page.split(f"<!-- {name} -->")[1].strip().split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def units(page: str) -> dict[str, float]:
    return {row[0]: float(row[2]) for row in table(page, "units")}


def shown(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def wrong(page: str) -> list[str]:
    """What of the table of costs is not what its products and units say."""
    unit, found = units(page), []
    costs = {row[0]: row[1:] for row in table(page, "costs")}
    sums = dict.fromkeys((0, 1, 3, 4, 5), 0.0)
    products = table(page, "products")
    for step, *formulas in products:
        values = [
            None if f == "–" else float(eval(f.strip("`"), {"__builtins__": {}}, dict(unit)))
            for f in formulas
        ]
        core, gpu, _, reads, writes = (value or 0.0 for value in values)
        asked = None if values[3] is None and values[4] is None else (reads + writes) / 1000
        money = core * unit["core_hour"] + gpu * unit["gpu_hour"]
        money += reads * unit["read_price"] + writes * unit["write_price"]
        due = {0: values[0], 1: values[1], 3: values[2], 4: asked, 5: money}
        for place, value in due.items():
            wanted = "–" if value is None else shown(value)
            sums[place] += value or 0.0
            if costs[step][place].lstrip("$") != wanted:
                found.append(f"{step}: {costs[step][place]}, not {wanted}")
    for place, value in sums.items():
        if costs["all"][place].lstrip("$") != shown(value):
            found.append(f"all: {costs['all'][place]}, not {shown(value)}")
    assert set(costs) == {"all", *(row[0] for row in products)}
    month = f"{shown(sums[3])} GB, ${shown(sums[3] * unit['month'])}."
    return found if month in page else [*found, f"a month: not {month}"]


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "scale.md").read_text(encoding="utf-8")


def test_every_product_of_the_costs_follows_from_the_units(page: str) -> None:
    assert wrong(page) == []


def test_a_figure_that_does_not_follow_is_found(page: str) -> None:
    assert "| 2.6e-3 |" in page
    assert wrong(page.replace("| 2.6e-3 |", "| 2.7e-3 |"))
    score = next(row for row in table(page, "costs") if row[0].startswith("score"))
    line = "| " + " | ".join(score)
    for place in (1, 2, 4, 5, 6):
        other = [*score]
        other[place] += "1"
        assert wrong(page.replace(line, "| " + " | ".join(other)))


def test_every_unit_is_used_and_says_what_it_follows_from(page: str) -> None:
    used = " ".join(cell for row in table(page, "products") for cell in row[1:])
    for symbol, _, _, source in table(page, "units"):
        assert source.startswith(("measured", "assumed")), symbol
        prices = ("core_hour", "gpu_hour", "read_price", "write_price", "month")
        assert re.search(rf"\b{symbol}\b", used) or symbol in prices, symbol


def test_measured_figures_stand_in_the_results(page: str) -> None:
    results = (DOCS / "results-scale.md").read_text(encoding="utf-8")
    for symbol, _, figure, source in table(page, "units"):
        if not source.startswith("measured"):
            continue
        (words,) = re.findall('"(.*)"', source)
        assert words in results, symbol
        said = re.match(r"([\d.]+) ?(\w+|µs)?", words)
        assert said is not None
        value = float(said[1]) * SCALE.get(said[2] or "", 1.0)
        assert float(figure) == pytest.approx(value), symbol


def test_memory_of_the_costs_is_that_of_the_results(page: str) -> None:
    results = (DOCS / "results-scale.md").read_text(encoding="utf-8")
    for step, _, _, memory, *_ in table(page, "costs"):
        assert memory == "–" or memory.removesuffix(" MB") + " MB" in results, step
