"""The page of suspects: which rule was applied."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from report_pages import read, section
from reteach.relabel.noise.balance import Balance
from reteach.report.pages.label_issues import Cleaning, RuleOutcome, write_suspects


def test_the_rule_that_was_applied_is_marked_in_words(tmp_path: Path) -> None:
    balance = Balance(
        labels=20, removed=0.1, noise=0.1, confident=0.1, confirmed=0.9, chance=0.5, least=0.05,
        surest=0.01, error=0.01,
    )  # fmt: skip
    rules = [
        RuleOutcome(name, name == "per-class", balance, None) for name in ("agreement", "per-class")
    ]
    dropped = np.array([[0, 1], [0, 0]])
    cleaning = Cleaning(20, rules, ("a", "b"), np.array([10, 10]), dropped, [], [])
    write_suspects(tmp_path / "suspects.html", cleaning)
    table = section(read((tmp_path / "suspects.html").read_text()), "rules")
    lines = [line.text for line in table.all("tbody")[0].all("tr")]
    assert ["applied" in line for line in lines] == [False, True]
    assert [row.attributes.get("class") for row in table.all("tbody")[0].all("tr")] == [
        None,
        "applied",
    ]
