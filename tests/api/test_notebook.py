"""The notebook of the documentation runs, shows what it promises, and is short."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "first.ipynb"


@pytest.fixture
def photos(tmp_path) -> Path:
    """photos/ and more/ of two kinds, and labels.csv."""
    draw = np.random.default_rng(0)
    lines = ["item,labels"]
    for i in range(40):
        folder = tmp_path / ("photos" if i < 30 else "more")
        folder.mkdir(exist_ok=True)
        pixels = draw.integers(0, 90, (32, 32, 3)) + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
        if i < 30:
            lines.append(f"{i:02}.png,{('dark', 'light')[i % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def cells() -> list[str]:
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def test_the_notebook_is_at_most_twelve_lines():
    lines = [line for cell in cells() for line in cell.splitlines() if line.strip()]
    assert len(lines) <= 12
    assert lines[0] == "import reteach as rt"


def test_the_notebook_goes_from_a_folder_to_a_frame_and_an_inline_report(photos, monkeypatch):
    """In a kernel where there is one, else cell by cell: the values of the cells are what is shown."""
    monkeypatch.chdir(photos)
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos / "cache"))
    shown = in_a_kernel(photos) if kernel() else in_this_process()
    model, report, frame, scores = shown
    assert "softmax model of 2 classes" in model
    assert "accuracy" in model
    assert "\x1b" not in "".join(shown), "codes of a terminal"
    assert report.count("<iframe") == 1
    assert "30.png" in frame
    assert "light" in scores


def kernel() -> bool:
    try:
        import ipykernel  # noqa: F401
        import nbclient  # noqa: F401
    except ImportError:
        return False
    return True


def in_a_kernel(folder: Path) -> list[str]:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    bars = [o for o in code[0].outputs if "<progress" in str(o.get("data", ""))]
    assert bars, "a bar is shown"
    return [
        next(o["data"]["text/html"] for o in cell.outputs if o["output_type"] == "execute_result")
        for cell in code
    ]


def in_this_process() -> list[str]:
    names: dict[str, object] = {}
    shown = []
    for cell in cells():
        *before, last = cell.splitlines()
        exec("\n".join(before), names)
        shown.append(eval(last, names)._repr_html_())
    return shown
