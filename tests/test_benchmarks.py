"""The table of ratios: what a row says, and that no peer and no failure is left out."""

from __future__ import annotations

from importlib import import_module

import pytest
from benchmarks import house, rows
from benchmarks.__main__ import main
from benchmarks.house import Contest, Line, Missing, as_json, as_line, measured
from benchmarks.page import page, text


def took(seconds: float, quantity: str = "s"):
    return lambda number: {quantity: seconds * (1 + number)}  # later rounds are slower, for all


def row(ours, peers, **more) -> list[Line]:
    return measured("row", Contest("a task", ours, peers, **more), 0)


def test_ratio_above_1_is_better_for_less_time_and_for_more_f1():
    quicker, slower = row(took(2), {"slow": lambda: took(6), "quick": lambda: took(1)})
    assert (quicker.ratio, slower.ratio) == (3, 0.5)
    assert len(quicker.ratios) == house.FEWEST
    (better,) = row(took(0.9, "F1"), {"worse": lambda: took(0.6, "F1")})
    assert better.ratio == pytest.approx(1.5)


def test_ratios_are_of_pairs_within_a_round_so_that_a_slower_machine_changes_nothing():
    (line,) = row(took(2), {"peer": lambda: took(3)})
    assert set(line.ratios) == {1.5}


def test_contenders_take_turns_in_every_order_and_the_first_round_does_not_count():
    asked = []

    def noted(name):
        def run(number):
            asked.append((number, name))
            return {"s": 100.0 if number == 0 and name == "peer" else 1.0}

        return run

    (line,) = row(noted("ours"), {"peer": lambda: noted("peer")})
    assert line.ratios == (1.0,) * house.FEWEST
    firsts = {name for at, (_, name) in enumerate(asked) if at % 2 == 0}
    assert firsts == {"ours", "peer"}


def test_peer_that_is_missing_says_so_and_stays_in_the_table():
    def absent():
        raise ImportError(name="cleanlab")

    def refuses():
        raise Missing("does not start")

    lines = row(took(1), {"cleanlab": absent, "server": refuses, "there": lambda: took(2)})
    assert [line.note for line in lines] == ["not installed (cleanlab)", "does not start", ""]
    made = page(lines, "python -m benchmarks", 1)
    for name in ("| cleanlab |", "| server |", "| there |", "not installed (cleanlab)"):
        assert name in made


def test_goal_that_is_not_reached_is_marked_and_a_peer_that_wins_is_shown():
    lines = row(took(2), {"peer": lambda: took(1)}, goals={("peer", "s"): 0.6})
    assert "≥ 0.6 ✗" in text(lines)
    assert "0.5 ×" in text(lines)
    lines = row(took(2), {"peer": lambda: took(1)}, goals={("peer", "s"): 0.5})
    assert "✗" not in text(lines)


def test_row_that_fails_is_a_line_and_an_exit_code(monkeypatch, capsys):
    monkeypatch.setitem(rows.ROWS, "broken", "nowhere:contest")
    monkeypatch.setattr("sys.argv", ["benchmarks", "broken"])
    assert main() == 1  # the row's own process does not know it
    assert "failed: no row begins with 'broken'" in capsys.readouterr().out


def test_lines_come_back_from_their_process_as_they_were():
    (line,) = row(took(2), {"peer": lambda: took(1)})
    import json

    assert as_line(json.loads(as_json([line]))[0]) == line


def test_rows_are_chosen_by_how_their_names_begin():
    assert rows.chosen(["start-up", "consensus"]) == [
        "consensus",
        *(name for name in rows.ROWS if name.startswith("start-up")),
    ]
    assert rows.chosen([]) == list(rows.ROWS)
    with pytest.raises(SystemExit, match="no row begins with 'x'"):
        rows.chosen(["x"])


def test_every_row_names_a_file_and_a_function_in_it():
    for place in rows.ROWS.values():
        module, _, function = place.partition(":")
        file = house.ROOT / "benchmarks" / f"{module}.py"
        assert f"def {function}(folder: Path) -> Contest:" in file.read_text(), place


def test_small_contest_runs_whole(tmp_path):
    contest = import_module("benchmarks.clean").contest(tmp_path)
    assert contest.ours(0)["s"] > 0


def test_a_row_without_its_goal_says_why_where_that_is_known(monkeypatch):
    monkeypatch.setattr("benchmarks.page.WHY", {"row": "It cannot be had", "other": "No"})
    lines = row(took(1), {"peer": lambda: took(2)}, goals={("peer", "s"): 3})
    made = page(lines, "python -m benchmarks", 1)
    assert "* **row**: It cannot be had." in made
    assert "other" not in made
    reached = row(took(1), {"peer": lambda: took(4)}, goals={("peer", "s"): 3})
    assert "It cannot be had" not in page(reached, "python -m benchmarks", 1)


def test_each_reason_is_of_a_row_that_there_is():
    from benchmarks.page import WHY

    assert WHY.keys() <= rows.ROWS.keys()
