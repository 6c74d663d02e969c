"""Pages made once for all tests of the reports."""

from __future__ import annotations

from pathlib import Path

import pytest

import report_fakes as fakes
from reteach.report import comparison_report, run_report


@pytest.fixture(scope="session")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a finished run with 10 classes."""
    return run_report(fakes.run_folder(tmp_path_factory.mktemp("run"))).read_text()


@pytest.fixture(scope="session")
def big_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of an interrupted run with 1,000 classes, some with hostile names."""
    folder = fakes.run_folder(tmp_path_factory.mktemp("big"), 1000, "interrupted")
    return run_report(folder).read_text()


@pytest.fixture(scope="session")
def comparison_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three methods, a control and a trivial answer."""
    return fakes.comparison(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="session")
def comparison_page(comparison_folder: Path) -> str:
    """Its report."""
    return comparison_report(comparison_folder).read_text()
