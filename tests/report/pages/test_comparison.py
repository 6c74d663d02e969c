"""The report of a comparison: means, deviations, who is best, what a trivial answer does."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

import report_fakes as fakes
from report_pages import Element, anchors, read, rows, section
from reteach.records.comparisons import COMPARISON, PairedDifference
from reteach.report import comparison_report
from reteach.report.pages.results_table import _Pair
from tests.report.pages.test_run import self_contained

Json = fakes.Json


def content(folder: Path) -> Json:
    return dict(json.loads((folder / "comparison.json").read_text()))


def line(tree: Element, start: str) -> Element:
    """The row of the methods' table whose name begins so."""
    lines = section(tree, "methods").all("tr")
    return next(r for r in lines if " ".join(r.children[0].text.split()).startswith(start))


def small(rows_: list[Json], **more: object) -> Json:
    names = list(dict.fromkeys(m for row in rows_ for m in row["values"]))
    return {"title": "t", "metrics": names, "rows": rows_, "seeds": [0]} | more


def row(name: str, values: Json, **more: object) -> Json:
    return {"name": name, "method": name, "settings": {}, "trivial": False, "values": values} | more


def page_of(folder: Path, plain: Json) -> Element:
    fakes.write_json(folder / "comparison.json", plain)
    return self_contained(comparison_report(folder).read_text())


def test_sections(comparison_page: str) -> None:
    tree = read(comparison_page)
    assert anchors(tree) == [
        "methods", "notes", "seeds", "differences", "curves", "examples", "configuration", "glossary",
    ]  # fmt: skip
    header = tree.all("header")[0].text
    assert "reteach demo" in header
    assert "mile, seed 1: collapse to every class present" in header
    for fact in ("1,500", "128", "0, 1, 2"):
        assert fact in header


def test_every_mean_and_deviation(comparison_page: str, comparison_folder: Path) -> None:
    tree, plain = read(comparison_page), content(comparison_folder)
    titles = {"softmax": "Softmax", "sigmoid": "Sigmoid", "mile": "MILe"}
    for entry in plain["rows"]:
        cells = line(tree, titles.get(entry["name"], entry["name"].replace("sig", "Sig"))).children
        for metric, cell in zip(plain["metrics"], cells[1:], strict=False):
            if metric not in entry["values"]:
                assert cell.text == "–"
                continue
            digits, scale = (2, 1) if metric == "labels_per_image" else (1, 100)
            values = [scale * v for v in entry["values"][metric]]
            expected = f"{statistics.mean(values):.{digits}f}"
            if len(set(values)) > 1:
                expected += f" ± {statistics.stdev(values):.{digits}f}"
            found = cell.text.replace(" (best)", "").split("▽")[0]
            assert found == expected, (entry["name"], metric)


def test_trivial_and_control_rows_stand_apart(comparison_page: str) -> None:
    (table,) = section(read(comparison_page), "methods").all("table")
    main, controls, trivial = table.all("tbody")
    assert [r.children[0].text for r in main.all("tr")] == ["Softmax", "Sigmoid", "MILe"]
    assert controls.all("tr")[0].text.startswith("Controls")
    assert "stopped at its best validation mAP" in controls.text
    assert trivial.all("tr")[0].text.startswith("Trivial")
    assert trivial.all("tr")[1].attributes["class"] == "trivial"


def test_best_is_only_a_competing_method_that_beats_the_trivial_answer(tmp_path: Path) -> None:
    tree = page_of(
        tmp_path,
        small(
            [
                row("a", {"map": [0.5], "f1@0.5": [0.2], "ece": [0.3], "labels_per_image": [1.0]}),
                row("b", {"map": [0.4], "f1@0.5": [0.3], "ece": [0.1], "labels_per_image": [2.0]}),
                row("c", {"map": [0.9], "f1@0.5": [0.9]}, control="stopped early"),
                row("d", {"map": [0.1], "f1@0.5": [0.5]}, trivial=True),
            ]
        ),
    )
    best = {
        name: [i for i, cell in enumerate(line(tree, name).children) if "best" in cell.text]
        for name in "abcd"
    }
    assert best == {"a": [1], "b": [3], "c": [], "d": []}  # a lower calibration error is better
    idle = {
        name: [i for i, cell in enumerate(line(tree, name).children) if "▽" in cell.text]
        for name in "abcd"
    }
    assert idle == {"a": [2], "b": [2], "c": [], "d": []}
    assert "no better than a trivial answer" in tree.text


def test_missing_and_unfinished_values(tmp_path: Path) -> None:
    rows_ = [
        row("a", {"map": [0.5, None, float("nan")], "accuracy": [None, None, None]}),
        row("b", {"map": [0.4, 0.4, 0.5]}, history=[[{"step": 1, "map": None}], []]),
    ]
    tree = page_of(tmp_path, small(rows_))
    assert [cell.text for cell in line(tree, "a").children] == ["a", "50.0 (best) of 1 seed"]
    assert anchors(tree) == ["methods", "seeds", "glossary"]
    assert "Accuracy" not in section(tree, "methods").text  # nobody has it


def test_an_empty_comparison(tmp_path: Path) -> None:
    assert anchors(page_of(tmp_path, {})) == []


def test_differences(comparison_page: str, comparison_folder: Path) -> None:
    plain = content(comparison_folder)
    tree = section(read(comparison_page), "differences")
    found = [
        [" ".join(cell.text.split()) for cell in r.children] for r in tree.all("table")[0].all("tr")
    ]
    assert len(found) - 1 == len(plain["paired"])
    (pair,) = (
        p for p in plain["paired"]
        if (p["metric"], p["a"], p["b"]) == ("map", "mile", "sigmoid")
    )  # fmt: skip
    numbers = [f"{100 * pair[key]:+.1f}".replace("-", "−") for key in ("mean", "low", "high")]
    expected = ["mAP", "MILe − Sigmoid", numbers[0], f"{numbers[1]} to {numbers[2]}", "3"]
    assert expected in found
    drawn = str(tree.all("svg")[0].attributes["aria-label"])
    assert "MILe − Sigmoid" in drawn
    assert "MILe − Sigmoid, stopped early" in drawn
    assert "Sigmoid − Sigmoid, stopped early" not in drawn  # in the table only


def test_a_control_is_what_is_subtracted(comparison_folder: Path) -> None:
    from reteach.report.entries import entries

    known = {e.name: e for e in entries(COMPARISON.parse(content(comparison_folder), ""))}
    plain = {"metric": "map", "a": "sigmoid, stopped early", "b": "mile"}
    pair = _Pair(PairedDifference(**plain, mean=-0.02, low=-0.05, high=0.01, n=3), known)
    assert pair.title == "MILe − Sigmoid, stopped early"
    assert (pair.mean, pair.low, pair.high) == (0.02, -0.01, 0.05)


@pytest.mark.parametrize(
    "sweep",
    [
        {"rho": [0.05, 0.1, 0.25]},
        {"targets": ["soft", "hard"]},
        {"k_t": [10, 100], "rho": [0.1, 0.25]},
        {"k_t": [10, 100], "rho": [0.1], "union": [True, False]},
    ],
)
def test_sweeps(tmp_path: Path, sweep: Json) -> None:
    plain = content(fakes.comparison(tmp_path, sweep))
    tree = self_contained(comparison_report(tmp_path).read_text())
    part = section(tree, "sweep")
    swept = [e for e in plain["rows"] if e["settings"]]
    means = [f"{100 * statistics.mean(e['values']['map']):.1f}" for e in swept]
    if len(sweep) == 1:
        labels = [str(svg.attributes.get("aria-label")) for svg in part.all("svg")]
        (label,) = (text for text in labels if text.startswith("mAP over"))
        assert f"MILe: {', '.join(means)}" in label
        assert "Sigmoid" in label  # a level to compare with
    elif len(sweep) == 2:
        (heat,) = (
            t for t in part.all("table", "heat") if t.all("caption")[0].text.startswith("mAP")
        )
        assert [cell.text for cell in heat.all("td")] == means
        assert [cell.text for cell in heat.all("th")][1:3] == ["0.1", "0.25"]
    else:
        found = [cell.text for r in part.all("tr") for cell in r.children]
        assert set(means) <= set(found)
        assert {"yes", "no"} <= set(found)


def test_many_entrants_stay_readable(tmp_path: Path) -> None:
    rows_ = [
        row(f"m{i}", {"map": [i / 100, i / 90]}, history=[[{"step": 1, "map": i / 100}]])
        for i in range(40)
    ]
    paired = [
        {"metric": "map", "a": f"m{i}", "b": f"m{j}", "mean": 0.1, "low": 0.0, "high": 0.2, "n": 2}
        for j in range(40)
        for i in range(j + 1, 40)
    ]
    tree = page_of(tmp_path, small(rows_, paired=paired, seeds=[0, 1]))
    assert len(rows(section(tree, "methods"))) == 41
    drawn = section(tree, "seeds").all("figure")[0].all("svg")[0]
    names = [text.text for text in drawn.all("text") if text.text.startswith("m")]
    assert names == [f"m{i}" for i in range(26, 40)]
    assert "Only the 14 best are drawn" in section(tree, "seeds").text
    assert len(section(tree, "curves").all("ul", "legend")[0].all("li")) == 7


def test_examples_side_by_side(comparison_page: str) -> None:
    card = section(read(comparison_page), "examples").all("article")[0]
    names = [name.text for name in card.all("dt")]
    assert names == ["given", "Softmax", "Sigmoid", "MILe", "truth"]


def test_configuration_tells_what_differs(comparison_page: str) -> None:
    part = section(read(comparison_page), "configuration")
    differs, shared = part.all("details")
    assert rows(differs)["Method"] == ["method"]
    assert "steps" in shared.text


def test_one_seed_has_no_interval_no_band_and_says_so(tmp_path: Path) -> None:
    history = [[{"step": s, "map": 0.3 + s / 100} for s in (1, 2, 3)]]

    def page(seeds: int) -> Element:
        made = [
            row(name, {"map": [0.4, 0.5, 0.6][:seeds]}, history=history * seeds)
            for name in ("softmax", "sigmoid")
        ]
        return page_of(tmp_path, small(made, seeds=list(range(seeds))))

    one, several = page(1), page(3)
    assert "±" not in one.text
    assert "interval leaves" not in one.text
    assert "One seed" in section(one, "methods").text
    assert "One seed" in section(one, "curves").text
    assert "band" not in section(one, "curves").text
    assert not bands(section(one, "curves"))
    assert "the bar their mean" not in section(one, "seeds").text
    assert "±" in section(several, "methods").text
    assert "band" in section(several, "curves").text
    assert bands(section(several, "curves"))


def bands(part: Element) -> list[Element]:
    """What is filled half-transparent in the charts."""
    paths = [p for svg in part.all("svg") for p in (*svg.all("path"), *svg.all("use"))]
    return [p for p in paths if "opacity:0.16" in (p.attributes.get("style") or "")]
