"""docs/papers.md: no row without a state, no "small" without its page, every command parses."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "papers.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.count(" | ") == 4
]
ROWS = [row for row in ROWS if row[0] != "what"]
SPANS = sorted(set(re.findall(r"`([^`]+)`", PAGE)))
STATES = {"whole", "small", "shrunk", "none"}
TABLES = {
    "MILe": ({1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}),
    "ReaL": ({1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6, 7, 8}),
    "Billion": (set(range(1, 14)), {1, 2, 3, 4, 5}),
    "CPSD": ({1, 2, 3}, {1, 2, 3, 4}),
    "NCT": ({1, 2, 3, 4, 5, 6}, {1, 2, 3}),
}
"""Of each paper: its tables and its figures."""


@pytest.mark.parametrize("paper", TABLES)
def test_no_table_or_figure_is_left_out(paper):
    section = PAGE.split(f"## {paper}", 1)[1].split("\n## ", 1)[0]
    first = [row.split(" | ")[0] for row in section.splitlines() if row.startswith("| ")]
    for kind, wanted in zip(("Table", "Figure"), TABLES[paper], strict=True):
        named = set()
        for cell in first:
            for numbers in re.findall(rf"{kind}s? ((?:\d+\w?(?:, | and | to )?)+)", cell):
                named |= {int(n) for n in re.findall(r"\d+", numbers)}
        assert wanted <= named, f"{kind}s {sorted(wanted - named)} have no row"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_has_a_state_and_a_reason(row):
    what, shows, command, run, result = row
    assert run in STATES
    assert what
    assert shows
    if run == "none":
        assert command == "–"
        assert result, "why not?"
    else:
        assert "`" in command or command.startswith("as ")
    if run == "small" and "](" not in result:
        assert len(result) > 20 or command.startswith("as "), "where do the figures stand?"


def test_commands_of_the_page_parse(monkeypatch, tmp_path):
    from reteach import cli

    monkeypatch.chdir(tmp_path)
    parsed = []

    class Nothing:
        def lines(self):
            return iter(())

    monkeypatch.setattr(cli, "run", lambda told: parsed.append(told) or Nothing())
    commands = [span for span in SPANS if span.startswith("reteach ")]
    for command in commands:
        assert cli.main(shlex.split(command)[1:]) == 0, command
    assert len(parsed) == len(commands) > 20


def test_recipes_and_examples_of_the_page_exist():
    sys.path.append(str(ROOT / "examples"))
    from recipe_tables import cpsd, mile, nct, real, semi

    names = mile.RECIPES | real.RECIPES | semi.RECIPES | cpsd.RECIPES | nct.RECIPES | nct.RIVALS
    for span in SPANS:
        words = span.split()
        if words[0] == "recipes.py" and words[1] != "NAME":
            assert words[1] in names, span
        if words[:1] == ["python"]:
            assert (ROOT / words[1]).is_file(), span
