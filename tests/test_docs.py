"""Every code block in the documentation runs, or says why it does not."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"(<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<kind>\w*)\n(?P<code>.*?)```", re.S)


def blocks(kind: tuple[str, ...]) -> list:
    return [
        pytest.param(match, id=f"{page.name}-{number}")
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


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
