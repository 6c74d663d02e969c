"""The first word comes before what takes long, and the first line of progress soon."""

from __future__ import annotations

import io
import sys

import pytest

from reteach import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_at(*seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with progress.progress("training", 100) as on_progress:
        for number, second in enumerate(seconds):
            now[0] = second
            on_progress(number + 1)
    return out.getvalue().splitlines()


def test_a_file_gets_its_first_line_after_two_seconds_then_every_twenty(monkeypatch):
    found = lines_at(0.5, 1.9, 2.1, 10, 22, 22.2, 30, 42.3, monkeypatch=monkeypatch)
    assert [line.split()[1] for line in found] == ["3/100", "6/100", "8/100"]


@pytest.fixture
def slow_module(tmp_path, monkeypatch):
    (tmp_path / "a_large_module.py").write_text("import sys; print('loaded', file=sys.stderr)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "a_large_module"
    sys.modules.pop("a_large_module", None)


@pytest.mark.parametrize(("out", "first"), [(Terminal(), ["loading it …"]), (io.StringIO(), [])])
def test_the_first_word_is_said_before_the_import_begins_on_a_terminal(
    slow_module, monkeypatch, out, first
):
    monkeypatch.setattr(sys, "stderr", out)
    before = list(sys.meta_path)
    with progress.telling_of_imports({slow_module: "it"}):
        assert out.getvalue() == ""
        __import__(slow_module)
    assert out.getvalue().splitlines() == [*first, "loaded"]
    assert sys.meta_path == before


def test_quiet_says_nothing_of_imports(slow_module, monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv(progress.QUIET, "1")
    with progress.telling_of_imports({slow_module: "it"}):
        __import__(slow_module)
    assert out.getvalue() == "loaded\n"


def test_what_is_never_imported_is_never_spoken_of(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    before = list(sys.meta_path)
    with progress.telling_of_imports({"a_module_that_nobody_has": "it"}):
        pass
    assert (out.getvalue(), sys.meta_path) == ("", before)
