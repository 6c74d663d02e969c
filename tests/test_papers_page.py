"""docs/papers.md: no row without a state, no "small" without its page, every command parses."""

from __future__ import annotations

import argparse
import re
import runpy
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
    assert len(result) > 8, "what came out, or why not?"
    if run == "none":
        assert command == "–"
    else:
        assert "`" in command or command.startswith("as ")
    if run == "small":
        assert "](" in result, "where do the figures stand?"


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


def test_recipes_of_the_page_parse_with_what_follows_them(monkeypatch, tmp_path):
    sys.path.append(str(ROOT / "examples"))
    import recipes

    monkeypatch.chdir(tmp_path)
    parsed = []

    class Nothing:
        def lines(self):
            return iter(())

    monkeypatch.setattr("reteach.cli.run", lambda told: parsed.append(told) or Nothing())
    commands = [span.split()[1:] for span in SPANS if span.startswith("recipes.py ")]
    commands = [words for words in commands if words[0] != "NAME"]
    for name, *rest in commands:
        needs = [f"--{flag}" if flag else "" for flag in recipes.RECIPES[name].needs]
        given = [word for flag in needs if flag not in rest for word in (flag, "yours") if word]
        assert recipes.run(name, [*given, *rest]) == 0, (name, rest)
    assert len(parsed) == len(commands) > 20


class Parsed(Exception):
    """What an example makes of its command line."""


def test_examples_of_the_page_parse(monkeypatch):
    """By their own parsers; files that a command is about are named, not left out."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, *given, **more):
        raise Parsed(parse(self, *given, **more))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.syspath_prepend(ROOT / "examples")
    commands = [shlex.split(span)[1:] for span in SPANS if span.startswith("python ")]
    commands = [words for words in commands if "NAME" not in words]
    assert len(commands) > 15
    for words in commands:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(Parsed) as told:
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        settings = vars(told.value.args[0])
        positional = {"train", "test", "pack", "mnist", "features", "figure"} & settings.keys()
        assert all(settings[name] is not None for name in positional), words
