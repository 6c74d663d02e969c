"""Every code block in the documentation runs, or says why it does not."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
BLOCK = re.compile(r"(<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<kind>\w*)\n(?P<code>.*?)```", re.S)


def blocks(kind: tuple[str, ...]) -> list:
    return [
        pytest.param(
            match, id=f"{page.relative_to(DOCS) if DOCS in page.parents else page.name}-{number}"
        )
        for page in PAGES
        for number, match in enumerate(BLOCK.finditer(page.read_text()))
        if match["kind"] in kind
    ]


@pytest.mark.parametrize("block", blocks(("python",)))
def test_python_runs(block, tmp_path):
    if block["why"]:
        pytest.skip(block["why"])
    done = subprocess.run(
        [sys.executable, "-c", block["code"]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks(("", "bash", "sh")))
def test_commands_exist_with_these_settings(block, tmp_path, monkeypatch):
    """Each `reteach …` line is parsed as typed; those that need nothing but time are run elsewhere."""
    from reteach import cli

    monkeypatch.chdir(tmp_path)
    parsed = []

    class Nothing:
        def lines(self):
            return iter(())

    def run(options):
        parsed.append(options)
        return Nothing()

    monkeypatch.setattr(cli, "run", run)
    lines = block["code"].replace("\\\n", " ").splitlines()
    commands = [line.split("#")[0].strip() for line in lines]
    commands = [c for c in commands if c.startswith("reteach ")]
    for command in commands:
        words = shlex.split(command.replace("…", "x"))[1:]
        assert cli.main(words) == 0, command
    assert len(parsed) == len(commands)


def site_url() -> str:
    """Where pyproject.toml says the documentation is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["urls"]["Documentation"]


def file_of(page: Path, target: str) -> Path | None:
    """The file that a link of a page leads to; None: it leads out of the project."""
    if not target.startswith(site_url()):
        return None if target.startswith("http") else page.parent / target
    path = target.removeprefix(site_url()).split("#")[0]
    if path in ("contributing/", "changelog/"):  # made by .ci/site_pages.py
        return ROOT / f"{path.rstrip('/').upper()}.md"
    return DOCS / (f"{path.rstrip('/')}.md" if path.endswith("/") else path)


def targets(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


def test_links_lead_somewhere():
    for page in PAGES:
        for target in targets(page):
            if not target.startswith("#"):
                file = file_of(page, target.split("#")[0])
                assert file is None or file.is_file(), f"{page.name}: {target}"


def test_no_page_of_the_site_links_to_a_file_that_is_not_in_it():
    """The strict build knows files below docs/ alone, and lets others pass."""
    for page in DOCS.rglob("*.md"):
        for target in targets(page):
            file = None if target.startswith("#") else file_of(page, target.split("#")[0])
            if file is not None:
                assert file.resolve().is_relative_to(DOCS), f"{page.name}: {target}"


def test_a_link_below_the_site_is_held_against_its_file():
    assert file_of(ROOT / "README.md", site_url() + "papers/nct/#x") == DOCS / "papers/nct.md"
    assert file_of(ROOT / "README.md", site_url() + "images/a.png") == DOCS / "images/a.png"
    assert file_of(ROOT / "README.md", "https://example.org/x.md") is None


def test_readme_has_no_relative_link_so_that_pypi_shows_it():
    found = targets(ROOT / "README.md")
    assert len(found) > 20
    assert [target for target in found if not target.startswith("https://")] == []


class Site(yaml.SafeLoader):
    """mkdocs.yml, whose own tags (an anchor's maker, a variable) are no matter here."""


Site.add_multi_constructor("!", lambda loader, suffix, node: None)
Site.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), Site)


def in_navigation(entry) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for one in inner for page in in_navigation(one)]


def test_the_navigation_names_every_page_once():
    pages = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    made = ["index.md", "contributing.md", "changelog.md"]  # by .ci/site_pages.py
    there = sorted([*made, *(str(page.relative_to(DOCS)) for page in pages)])
    assert sorted(in_navigation(SITE["nav"])) == there


def test_the_reference_shows_every_public_function():
    from reteach.api.public import PUBLIC

    shown = set(re.findall(r"^::: (\S+)", (DOCS / "reference/python.md").read_text(), re.M))
    missing = [
        name
        for name, module in PUBLIC.items()
        if not {f"reteach.{module}", f"reteach.{module}.{name}"} & shown
    ]
    assert missing == []


NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs_and_names_nobodys_folders(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert sum(bool(cell.get("outputs")) for cell in cells) >= 3
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} <= {"execute_result", "stream"}, (
        "no error, no bar"
    )
    assert not re.search(r"/(tmp|root|home|Users|work)/", json.dumps(outputs))


def test_no_two_notebooks_are_the_same():
    sources = ["".join(map(str, json.loads(n.read_text())["cells"])) for n in NOTEBOOKS]
    assert len(set(sources)) == len(NOTEBOOKS) >= 3


def test_the_site_is_where_pyproject_says():
    assert SITE["site_url"] == site_url()
