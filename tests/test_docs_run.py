"""Every command of the documentation runs, shrunk: small photos, few steps, page by page in one folder.

``RETEACH_DOCS=all`` runs all pages (minutes); without it the pages of QUICKLY alone, and the rest is parsed
(test_docs.py).
"""

from __future__ import annotations

import os
import re
import shlex
from glob import glob
from pathlib import Path

import pytest
import uvicorn

from doc_world import made_before, make_world, shrunk, shrunk_python, visit

from .test_docs import BLOCK, DOCS, NOTEBOOKS, PAGES, ROOT

ALL = os.environ.get("RETEACH_DOCS") == "all"
QUICKLY = ("papers/nct.md", "howto/raters.md")


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS if DOCS in page.parents else ROOT))


MARK = "tests/test_docs_run.py runs it on small photos"
"""What stands before a block of Python that needs what the commands of its page need."""


def steps(page: Path) -> list[str]:
    """The commands and the Python of a page, in its order, less blocks that say why they do not run."""
    found = []
    for block in BLOCK.finditer(page.read_text()):
        if block["kind"] == "python" and block["why"] == MARK:
            found.append(block["code"])
        elif block["kind"] in ("", "bash", "sh") and not block["why"]:
            lines = block["code"].replace("\\\n", " ").splitlines()
            lines = [re.sub(r"\s+", " ", line.split("  #")[0]).strip() for line in lines]
            found += [line for line in lines if line.startswith("reteach ")]
    return found


WITH_STEPS = [page for page in PAGES if steps(page)]
WHOLE = ("tutorial.md",)
"""Pages that make everything themselves."""


UNTRAINED = "the scores cannot tell present from absent"
"""What ``calibrate`` rightly says of a network that learned for six steps."""


def globbed(word: str) -> list[str]:
    """A word as a shell hands it on: lists of items by pattern; patterns of shards are reteach's."""
    return sorted(glob(word)) if word.endswith((".txt", ".parquet")) and "*" in word else [word]


def run(command: str, capsys) -> None:
    from reteach import cli

    small = shrunk(command)
    words = [name for word in shlex.split(small)[1:] for name in globbed(word)]
    status = cli.main(words)
    said = capsys.readouterr().err
    assert status == 0 or (words[0] == "calibrate" and UNTRAINED in said), (
        f"{command}\nshrunk: {small}\n{said}"
    )


def run_python(code: str, names: dict[str, object]) -> None:
    exec(shrunk_python(code), names)


def python_names() -> dict[str, object]:
    """What the pages have imported and read before their blocks."""
    import pandas as pd
    from cleanlab.filter import find_label_issues

    import reteach as rt

    labels = Path("labels.csv")
    frame = pd.read_csv(labels) if labels.exists() else None
    return {"rt": rt, "frame": frame, "find_label_issues": find_label_issues}


@pytest.mark.parametrize("page", WITH_STEPS, ids=name_of)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    if not ALL and name_of(page) not in QUICKLY:
        pytest.skip("RETEACH_DOCS=all runs the pages whose commands take longer")
    monkeypatch.chdir(tmp_path)
    if name_of(page) not in WHOLE:
        make_world(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(uvicorn.Server, "serving", uvicorn.Server.run, raising=False)
    monkeypatch.setattr(
        uvicorn.Server,
        "run",
        lambda server, sockets: visit(server, sockets, capsys.readouterr().out),
    )
    names: dict[str, object] = {}
    for step in steps(page):
        if not step.startswith("reteach "):
            names = names or python_names()
            run_python(step, names)
            continue
        for first in made_before(step):
            run(first, capsys)
        run(step, capsys)


@pytest.mark.parametrize("notebook", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    """The first of them by name needs photos: tests/api/test_notebook.py runs it."""
    if not ALL:
        pytest.skip("RETEACH_DOCS=all runs it")
    import nbformat
    from nbclient import NotebookClient

    assert NOTEBOOKS[0].stem == "first"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = nbformat.read(notebook, as_version=4)
    again = nbformat.read(notebook, as_version=4)
    NotebookClient(again, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for old, new in zip(kept.cells, again.cells, strict=True):
        assert {o.output_type for o in old.get("outputs", [])} <= {
            o.output_type for o in new.get("outputs", [])
        }
