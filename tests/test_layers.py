"""The house's one rule: imports go downwards in a fixed list of floors, so there is no circle.

Imports within a function and those for type checkers alone count like any other.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import reteach
from reteach.cli import TABLE

ROOT = Path(reteach.__file__).parent
FLOORS = [
    ("errors", "paged", "structured", "text_column"),
    ("storage",),
    (
        "files",
        "formatting",
        "item_index",
        "locks",
        "recorded",
        "rng",
        "scratch",
        "name_lists",
        "npz",
        "parquet",
        "progress",
        "quick_csv",
        "processes",
        "spreadsheet",
    ),
    ("sealed", "unreadable", "inline", "own"),
    ("frames",),
    ("labels", "records", "table_files"),
    ("options",),
    ("tables", "losses", "schedules"),
    ("scores",),
    ("metrics",),
    ("data", "models"),
    ("features",),
    ("relabel",),
    ("duplicates",),
    ("engine",),
    ("methods",),
    ("analysis",),
    ("report",),
    ("web",),
    ("rating",),
    ("runs",),
    ("compare", "scoring", "review"),
    ("commands",),
    ("command_line", "command_help", "completion"),
    ("cli",),
    ("api",),
    ("sklearn", "__main__"),
]
"""From the ground up; parts that stand on one floor do not know each other."""
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def _name(file: Path) -> str:
    parts = ("reteach", *file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(file): file for file in sorted(ROOT.rglob("*.py"))}


def _imported(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            inner = (f"{origin}.{alias.name}" for alias in node.names)
            modules |= {module if module in MODULES else origin for module in inner}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return (modules & MODULES.keys()) - {"reteach", name}


IMPORTS = {name: _imported(name) for name in MODULES}


def part_of(module: str) -> str:
    """The file or folder right below the package; the package itself: ""."""
    return [*module.split("."), ""][1]


def a_circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Names that import each other in a circle, the first one again at the end; none: empty."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_part_has_its_floor():
    assert {part_of(name) for name in MODULES} - {""} == FLOOR.keys()


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"reteach"}))
def test_imports_go_downwards(module):
    here = part_of(module)
    others = {part_of(name) for name in IMPORTS[module]} - {here}
    above = {part for part in others if FLOOR[part] >= FLOOR[here]}
    assert not above, f"{module} must not import from {above}"
    if here in ("report", "web", "rating"):
        assert "engine" not in others, f"{here} knows files, never the engine"


def test_no_parts_import_each_other_in_a_circle():
    parts: dict[str, set[str]] = {}
    for name, imported in IMPORTS.items():
        parts.setdefault(part_of(name), set()).update(map(part_of, imported))
    assert not a_circle({part: others - {part} for part, others in parts.items() if part})


def test_no_modules_import_each_other_in_a_circle():
    assert not a_circle(IMPORTS)


def test_a_circle_would_be_found():
    assert set(a_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert "reteach.options.train" in IMPORTS["reteach.commands.train"]


COMMANDS = {f"reteach.commands.{command.function.split(':')[0]}" for command in TABLE.values()}


def test_no_command_imports_another():
    assert MODULES.keys() >= COMMANDS
    for module in sorted(COMMANDS):
        assert not IMPORTS[module] & COMMANDS, f"{module} imports another command"


SHARED = {"supervised", "distill", "two_networks", "loss_mixtures"}
"""What several methods are made of."""


def test_methods_build_on_what_several_are_made_of_and_not_on_each_other():
    methods = {name for name in MODULES if part_of(name) == "methods"}
    for module in sorted(methods):
        stem = module.split(".")[-1]
        siblings = {name.split(".")[-1] for name in IMPORTS[module] & methods}
        own = {name for name in siblings if name.startswith(f"{stem.split('_')[0]}_")}
        assert siblings - own <= SHARED, module


@pytest.mark.parametrize("file", sorted((ROOT / "methods").glob("*.py")), ids=lambda f: f.stem)
def test_a_methods_file_is_read_in_one_go(file):
    """At most 160 lines beside the docstring that opens it: one idea, in the paper's order."""
    assert lines_of_code(file.read_text()) <= 160


def lines_of_code(text: str) -> int:
    """Lines beside the module's docstring, blank ones too: nothing is gained by squeezing."""
    first = next(iter(ast.parse(text).body), None)
    opens = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return len(text.splitlines()) - (first.end_lineno - first.lineno + 1 if opens else 0)


def test_the_docstring_is_not_counted():
    assert lines_of_code('"""One,\n\ntwo.\n"""\n\nx = 1\n') == 2
    assert lines_of_code("x = 1\n\ny = 2\n") == 3


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
        ("import reteach.commands.demo", ["numpy", "torch"]),
        ("import reteach.commands.demo_photos", ["numpy", "torch"]),
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


def test_no_class_name_stands_twice():
    where: dict[str, list[str]] = {}
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(name)
    assert not {n: at for n, at in where.items() if len(at) > 1}
