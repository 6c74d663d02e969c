"""One self-contained HTML file from a run folder or from the folder of a comparison.

The pages need no network, no server and no script: they can be mailed, printed and kept.
"""

from __future__ import annotations

from pathlib import Path


def run_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run (by default ``<folder>/report.html``) and return where it is.

    Only ``run.json`` must be there; a section whose file is missing is left out.

    Raises:
        UserError: not a run folder; a file in it is damaged; the page cannot be written.
    """
    from .pages.run import page

    return _write(Path(folder), out, page(Path(folder)))


def comparison_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a comparison from ``comparison.json`` and return where it is.

    Raises:
        UserError: no comparison there; the file is damaged; the page cannot be written.
    """
    from .pages.comparison import page

    return _write(Path(folder), out, page(Path(folder)))


def _write(folder: Path, out: Path | None, content: str) -> Path:
    from ..files import atomic_write
    from ..storage import shown

    file = folder / "report.html" if out is None else Path(out)
    atomic_write(file, shown(content))
    return file
