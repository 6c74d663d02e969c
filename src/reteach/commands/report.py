"""``reteach report``: the page of a run or a comparison once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..errors import UserError
from ..options.runs import ReportOptions
from ..report import comparison_report, run_report


@final
@dataclass(frozen=True)
class ReportResult:
    """A page that was written.

    Args:
        report: the page.
    """

    report: Path

    def lines(self) -> Iterator[str]:
        """Where the page is."""
        yield f"report: {self.report}"


def report(options: ReportOptions) -> ReportResult:
    """Write the page.

    Raises:
        UserError: the folder is neither a run nor a comparison.
    """
    folder = options.run_folder
    if (folder / "comparison.json").is_file():
        return ReportResult(comparison_report(folder, options.out))
    if (folder / "run.json").is_file():
        return ReportResult(run_report(folder, options.out))
    raise UserError(f"{folder} is neither a run folder nor a comparison")
