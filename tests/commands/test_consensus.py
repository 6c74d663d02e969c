"""``reteach relabel consensus`` on small tables of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reteach.cli import main
from reteach.tables import read_labels


def written(path: Path, rows: list[str], header: str = "task,rater,answer,item,class") -> Path:
    """A CSV."""
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def said(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """The result of a command as JSON."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def answers(item: str, cls: str, words: str) -> list[str]:
    """One row for each letter of ``words``: the answers of raters r0, r1, … to one pair."""
    names = {"y": "yes", "m": "maybe", "n": "no"}
    return [f"{item}#{cls},r{w},{names[a]},{item},{cls}" for w, a in enumerate(words) if a in names]


def test_an_item_that_gold_empties_did_not_miss_a_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        *answers("a.jpg", "cat", "yyy"),
        *answers("b.jpg", "cat", "nnn"),  # the raters find nothing
        *answers("c.jpg", "cat", "yyn"),  # the owner knows that nothing is there
    ]
    ratings = written(tmp_path / "ratings.csv", rows)
    gold = written(tmp_path / "gold.csv", ["a.jpg,cat,multi", "c.jpg,,multi"], "item,labels,kind")
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    words = ("relabel", "consensus", ratings, "--gold", gold, "--out", out, "--report", page)
    found = said(capsys, *words)
    assert read_labels(Path(found["unlabeled"])).items == ("b.jpg",)
    assert found["emptied_by_gold"] == 1
    assert read_labels(out).labels.names() == [["cat"], [], []]  # its row stays, known to be empty
    assert main([*map(str, words)]) == 0
    text = capsys.readouterr().out
    assert "1 items have no label by gold" in text
    assert "1 items left without labels" in text
    assert "c.jpg" not in page.read_text().partition("Left without labels")[2]
