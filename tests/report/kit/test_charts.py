"""Charts: the same bytes for the same data, safe names, honest positions."""

from __future__ import annotations

import math
import re

import matplotlib
import pytest

from report_fakes import EVIL
from report_pages import read
from reteach.report.kit.charts import Line, histogram, legend, lines, reliability
from reteach.report.kit.dotplots import Row, dots, forest
from reteach.report.kit.html import Html, clean
from reteach.report.kit.plane import Points, plane


def every_kind(name: str = "student") -> list[Html]:
    curve = Line(name, [1, 2, 3, 4], [0.1, math.nan, 0.3, 0.4], 1, [0.0] * 4, [0.5] * 4)
    return [
        lines([curve], name, rule=(0.45, name), marks=[(0, name), (2, name)], x_label=name),
        lines([Line(name, [0, 1], [1, 1e4])], name, ticks=[name, "b"], log_y=True),
        lines([Line(name, [1, 10, 100], [3, 3, 3])], name, log_x=True),
        histogram([name, "1"], [40, 60], name, outline=[10, 90], x_label=name),
        reliability([0.2, 0.8], [0.1, 0.9], [0.5, 0.5], name, 0),
        dots([Row(name, [1, 2]), Row("b", [3], None, True)], name, show=str, rule=(2.5, name)),
        forest([(name, 1.0, 0.5, 1.5), ("b", -0.1, -1, 1)], name, show=str),
        legend([(name, 1)]),
    ]


def test_same_data_same_bytes_whatever_the_user_configured() -> None:
    first = every_kind()
    with matplotlib.rc_context(
        {"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path", "text.usetex": True}
    ):
        assert every_kind() == first


@pytest.mark.parametrize("name", [*EVIL, "", "x" * 500, "$$", "$^$", "\\LaTeX{"])
def test_any_name_is_drawn_and_escaped(name: str) -> None:
    for chart in every_kind(name):
        tree = read(chart)
        assert not tree.all("script")
        assert not tree.all("img")
        if chart.startswith("<svg"):
            (svg,) = tree.children
            assert svg.attributes["aria-label"] == clean(name)
            assert svg.attributes["role"] == "img"


def test_svg_is_lean_and_follows_the_style_sheet() -> None:
    for chart in every_kind():
        assert len(chart) < 12_000
        assert "#00000" not in chart.replace("#000000", "")  # stand-in colours are all replaced
        assert "nan" not in chart
        assert "font-family" not in chart
        assert "http" not in chart
        assert "clip-path" not in chart


def test_ids_are_those_that_are_used_and_differ_between_charts() -> None:
    charts = every_kind()
    ids = [set(re.findall(r' id="([^"]+)"', chart)) for chart in charts]
    used = [set(re.findall(r' href="#([^"]+)"', chart)) for chart in charts]
    assert ids == used
    assert sum(map(len, ids)) == len(set().union(*ids)) > 0


def test_points_stand_where_their_values_are() -> None:
    chart = dots([Row("a", [10.0, 20.0, 40.0])], "a", show=str)
    x = [float(v) for v in re.findall(r'<use [^>]*?x="([\d.]+)"', chart)]
    assert len(x) == 3
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(2, abs=0.01)


def test_intervals_that_leave_zero_out_are_filled() -> None:
    clear = forest([("a", 2.0, 1.0, 3.0)], "a", show=str)
    unclear = forest([("a", 2.0, -1.0, 5.0)], "a", show=str)
    assert "fill:var(--c1)" in clear
    assert "fill:var(--paper)" in unclear
    assert "fill:var(--c1)" not in unclear


def test_gaps_do_not_hide_a_lone_point() -> None:
    y = [math.nan, 0.5, math.nan, *[0.1] * 9]
    chart = lines([Line("a", list(range(12)), y)], "a")
    assert chart.count("<use ") == 1


def test_nothing_but_zeros_has_an_axis_for_people() -> None:
    chart = lines([Line("a", [5, 10, 15], [0.0, 0.0, 0.0])], "a")
    assert "e-" not in "".join(text.text for text in read(chart).all("text"))
    chart = lines([Line("a", [5, 10], [1e-12, 1e-12])], "a")  # so small is no zero
    assert "e-12" in "".join(text.text for text in read(chart).all("text"))


def test_steps_are_whole() -> None:
    chart = lines([Line("a", [2, 5, 8, 11, 14], [1.0, 2, 3, 4, 5])], "a")
    assert not [t.text for t in read(chart).all("text") if re.fullmatch(r"\d+\.5", t.text)]
    chart = lines([Line("a", [0.1, 0.2, 0.3], [1.0, 2, 3])], "a")
    assert "0.1" in {t.text for t in read(chart).all("text")}


def numbers(chart: Html) -> list[float]:
    """Every number that is written in a chart."""
    words = re.findall(r"<text[^>]*>([^<]*)</text>", str(chart))
    return [float(w.replace("−", "-")) for w in words if re.fullmatch(r"[−-]?\d+(\.\d+)?", w)]


def test_an_axis_of_shares_ends_at_0_and_100() -> None:
    corners = [Points("a", [0.0, 1.0], [0.02, 1.0]), Points("b", [0.3], [0.98], 1, "ring", 130)]
    charts = [plane(corners, "l", "recall", "precision", square=s) for s in (True, False)]
    for values in ([0.0, 100.0], [97.0, 99.9], [0.2, 3.0]):
        charts.append(lines([Line("c", [1, 2], values)], "l", shares=True))
    for chart in charts:
        assert len(numbers(chart)) > 4
        assert 0 <= min(numbers(chart)) <= max(numbers(chart)) <= 100
