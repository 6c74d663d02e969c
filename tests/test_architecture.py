"""The worked examples of docs/architecture.md, followed to the letter in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import reteach

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
BLOCK = re.compile(r"```python\n# (new:|append to) (src/[\w/]+\.py)[^\n]*\n(.*?)```", re.S)
MAIN = '\n\nif __name__ == "__main__":'


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with all that the page adds, and a few digits."""
    root = tmp_path_factory.mktemp("architecture")
    shutil.copytree(
        Path(reteach.__file__).parent,
        root / "src" / "reteach",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    places = BLOCK.findall(PAGE.read_text())
    assert len(places) == 7
    for how, name, code in places:
        file = root / name
        assert file.exists() == (how == "append to"), f"{how} {name}"
        old = file.read_text() if file.exists() else ""
        before, main, after = old.partition(MAIN)
        file.write_text(f"{before}\n\n{code}{main}{after}" if old else code)
    generator = np.random.default_rng(0)
    label = np.arange(40) % 2
    pixels = generator.integers(0, 60, (40, 16, 16, 1)) + 150 * label[:, None, None, None]
    items = np.array([f"{i:02}" for i in range(40)])
    np.savez(root / "x.npz", images=pixels.astype(np.uint8), items=items)
    rows = [f"{item},{'ab'[c]}" for item, c in zip(items, label.tolist(), strict=True)]
    (root / "labels.csv").write_text("\n".join(["item,labels", *rows]) + "\n")
    return root


def reteach_in(copy: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reteach", *words],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_few_places_are_touched() -> None:
    """Beside tests and docs: at most four for a method or a command, three for a metric."""
    parts = PAGE.read_text().split("## To add a ")[1:]
    count = {part.split("\n")[0]: len({p for _, p, _ in BLOCK.findall(part)}) for part in parts}
    assert count == {"method": 2, "command": 3, "metric": 2, "page": 0}


def test_the_command_is_there(copy: Path) -> None:
    assert "how many labels a table has" in reteach_in(copy, "--help")
    said = reteach_in(copy, "count", "--labels", "labels.csv")
    assert said == "40 of 40 images are labelled\n"
    found = json.loads(reteach_in(copy, "count", "--labels", "labels.csv", "--json"))
    assert found == {"images": 40, "labelled": 40}


def test_the_method_learns_and_the_metric_is_shown(copy: Path) -> None:
    words = "--images x.npz --labels labels.csv --model reteach_tiny --steps 12 --batch-size 8"
    more = "--temperature 1.5 --workers 0 --device cpu --out run --optimizer adam --lr 0.01"
    said = reteach_in(copy, "train", "warm", *words.split(), *more.split())
    assert "Hamming" in said
    found = json.loads((copy / "run" / "evaluation.json").read_text())["val"]["model"]["metrics"]
    assert 0 <= found["hamming"] <= 1
    page = (copy / "run" / "report.html").read_text()
    assert "Warm softmax" in page
    assert "Hamming loss" in page
