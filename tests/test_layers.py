"""The house's one rule: imports go upwards in a fixed list, so there is no cycle and no surprise."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import reteach

ROOT = Path(reteach.__file__).parent
LAYERS = [
    ("errors",),
    ("files", "formatting", "recorded", "rng", "progress", "processes", "sealed", "spreadsheet"),
    ("records",),
    ("labels", "options", "catalog", "table_files"),
    ("tables", "losses", "losses_asymmetric", "losses_partial", "schedules", "score_columns"),
    ("scores",),
    ("score_classes",),
    ("metrics",),
    ("data", "models"),
    ("relabel",),
    ("duplicates",),
    ("engine",),
    ("methods",),
    ("analysis",),
    ("report",),
    ("rating",),
    ("experiment",),
    ("commands",),
    ("cli",),
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FREE = {"__init__", "__main__"}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """The parts of the package that a file imports, also lazily, but not for type checking alone."""
    tree = ast.parse(file.read_text())
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    package = ("reteach", *file.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(tree):
        if id(node) in only_types:
            continue
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = ".".join([*base, *([node.module] if node.module else [])])
            paths = [names] if names != "reteach" else [f"reteach.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        else:
            continue
        found |= {p.split(".")[1] for p in paths if p.startswith("reteach.")}
    return found


def test_every_part_has_its_place():
    assert {part_of(file) for file in modules()} - FREE <= LEVEL.keys()


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_upwards(file):
    here = part_of(file)
    if here in FREE:
        return
    for part in imported(file) - {here, "__version__"}:
        assert LEVEL[part] <= LEVEL[here], f"{here} must not import {part}"
    if here == "methods":
        siblings = {
            node.module
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        }
        own = {name for name in siblings if name.startswith(f"{file.stem.split('_')[0]}_")}
        assert siblings - own <= {"supervised", "distill"}, "it builds on these two at most"
    if here in ("report", "rating"):
        assert "engine" not in imported(file), f"{here} knows files, never the engine"


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import reteach", ["numpy", "torch"]),
        ("from reteach.cli import main; main(['--help'])", ["numpy", "torch", "tyro"]),
        (
            "from reteach.cli import main\n"
            "try: main(['train', 'mile', '--help'])\n"
            "except SystemExit: pass",
            ["torch", "torchvision", "timm", "sklearn", "matplotlib"],
        ),
    ],
)
def test_starting_is_light(code, forbidden):
    tell = f"\nimport sys; print([m for m in {forbidden} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code + tell],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
