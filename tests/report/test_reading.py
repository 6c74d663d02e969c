"""Damaged files are named in one line; what is missing is only missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import report_fakes as fakes
from reteach.errors import UserError
from reteach.report import comparison_report, run_report

DAMAGE = [
    ("run.json", "{"),
    ("run.json", "[]"),
    ("run.json", '{"warnings": 3}'),
    ("config.yaml", "a: [1"),
    ("config.yaml", "- 1"),
    ("metrics.jsonl", 'x\n{"step": 1}\n'),
    ("metrics.jsonl", "[1]\n"),
    ("evaluation.json", '{"val": 3}'),
    ("evaluation.json", '{"val": {"student": []}}'),
    ("evaluation.json", '{"val": {"student": {"metrics": 3}}}'),
    ("evaluation.json", '{"val": {"student": {"per_class": {}}}}'),
    ("evaluation.json", '{"val": {"student": {"examples": [1]}}}'),
    ("evaluation.json", '{"val": {"student": {"examples": [{"predicted": 1}]}}}'),
    ("evaluation.json", '{"val": {"student": {"labels_histogram": {"predicted": 1}}}}'),
    ("evaluation.json", '{"val": {"student": {"reliability": {"count": "x"}}}}'),
    ("evaluation.json", "[" * 100_000),
]


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        run_report(tmp_path)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "content", ["", "3", '{"rows": {}}', '{"rows": [{"values": {"map": 3}}]}', '{"sweep": []}']
)
def test_a_damaged_comparison_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(UserError, match=r"comparison\.json"):
        comparison_report(tmp_path)


def test_bytes_that_are_no_text_and_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        run_report(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*config\.yaml"):
        run_report(tmp_path)


def test_neither_run_nor_comparison(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a run folder: it has no run\.json"):
        run_report(tmp_path)
    with pytest.raises(UserError, match=r"it has no comparison\.json"):
        comparison_report(tmp_path / "nothing")


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"status": "running"}')
    records = '{"stage": "train", "step": 5, "kind": "train", "loss": 0.5}\n{"stage": "tr'
    (tmp_path / "metrics.jsonl").write_text(records)
    assert "Loss" in run_report(tmp_path).read_text()


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    folder = fakes.run_folder(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        run_report(folder, tmp_path / "file" / "page.html")
    out = run_report(folder, tmp_path / "new" / "page.html")
    assert out.read_text().startswith("<!doctype html>")
    assert not (folder / "report.html").exists()


def test_matplotlib_is_loaded_only_to_draw() -> None:
    code = (
        "import sys, reteach.report, reteach.report.pages.run, reteach.report.pages.comparison;"
        "print(sorted({'matplotlib', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
