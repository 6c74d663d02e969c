"""The table of the rows, for a terminal and as a page of the documentation."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count, getloadavg
from pathlib import Path

from benchmarks.house import Line

PACKAGES = (
    *(
        "reteach",
        "torch",
        "torchvision",
        "timm",
        "numpy",
        "scipy",
        "pyarrow",
        "scikit-learn",
        "duckdb",
    ),
    *("polars", "pandas", "faiss-cpu", "onnxruntime", "torchmetrics", "cleanlab", "crowd-kit"),
    *("imagededup", "webdataset"),
)
UNITS = {"s": "CPU time", "ms": "CPU time per answer", "MB": "peak memory"}
WHY = {
    "consensus": (
        "Of 128 ms (2026-11-30, a load of 12) a sixth makes the matrix of answers and a sixth finds "
        "the rows that are alike; the 20 iterations take 75 ms, three quarters of it products with "
        "sparse matrices of 0.3 million entries, at 1 to 2 ns an entry. A product with all classes at "
        "once, or with the matrix transposed beforehand, takes no less: 1.05 and 1.09 ms for 0.9"
    ),
    "image input, 500 px": (
        "Of 2.6 ms an image (2026-11-30, a load of 9) decoding takes 1 ms, and 0.9 at a reduced size: "
        "photos of 500 px are hardly larger than what is needed of them. The rest is opening, copying "
        "out of Pillow, torchvision's crop and resizing, and normalising, which others do too"
    ),
    "image input, 1600 px": (
        "Decoding at a reduced size (libjpeg's own) is in use: 5.3 to 6 ms an image in place of 9, of "
        "7.7 in all (2026-11-30, a load of 9). What is left is decoding"
    ),
}
"""Why a goal is not reached, as a profile showed it."""
HEAD = ("row", "beside", "of", "ratio", "lowest … highest", "goal", "reteach", "peer")


def cells(line: Line) -> tuple[str, ...]:
    """A line's cells under :data:`HEAD`."""
    if not line.ratios:
        return (line.row, line.peer, "", line.note, "", "", "", "")
    goal = "" if line.goal is None else f"≥ {line.goal:g}" + ("" if reached(line) else " ✗")
    return (
        line.row,
        line.peer,
        UNITS.get(line.quantity, line.quantity),
        f"{short(line.ratio)} ×",
        f"{short(min(line.ratios))} … {short(max(line.ratios))}",
        goal,
        f"{short(line.ours)} {line.quantity}",
        f"{short(line.theirs)} {line.quantity}",
    )


def reached(line: Line) -> bool:
    """Whether the median is at the goal."""
    return line.goal is None or line.ratio >= line.goal


def short(value: float) -> str:
    """About three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def text(lines: Sequence[Line]) -> str:
    """The table for a terminal."""
    table = [HEAD, *map(cells, lines)]
    widths = [max(len(row[c]) for row in table if row[4] or row is HEAD) for c in range(len(HEAD))]
    rows = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(row.rstrip() for row in rows)  # fmt: skip


def page(lines: Sequence[Line], command: str, minutes: float) -> str:
    """``docs/benchmarks.md``."""
    return "\n".join([*_preface(command, minutes), *_table(lines), "", *_tasks(lines), ""])


def _preface(command: str, minutes: float) -> list[str]:
    today = datetime.now(UTC).date().isoformat()
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return [
        "# Beside its peers",
        "",
        "<!-- made by `python -m benchmarks --write docs/benchmarks.md`; do not edit -->",
        "Every number is a ratio within one run: **above 1, reteach is better by this factor**, below 1",
        "the peer is. All contenders take turns on the same data, on one core and with one thread; of each",
        "round a ratio is taken, and the table has the median, the lowest and the highest. A peer is listed",
        "whoever wins, and one that is not installed says so.",
        "",
        f"{today}, {_processor()}, {cpu_count()} cores of which one is used, load average "
        f"{getloadavg()[0]:.1f} at the end,",
        f"{minutes:.0f} minutes. Python {platform.python_version()}, {packages}.",
        "",
        "<!-- not run: it takes minutes -->",
        "```",
        command,
        "```",
        "",
    ]


def _table(lines: Sequence[Line]) -> Iterable[str]:
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + "---|" * len(HEAD)
    for line in lines:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(line)) + " |"


def _tasks(lines: Sequence[Line]) -> Iterable[str]:
    """What each row is."""
    yield "✗: the goal is not reached. The rows:"
    yield ""
    for row in dict.fromkeys(line.row for line in lines):
        first = next(line for line in lines if line.row == row)
        note = next(
            (line.note for line in lines if line.row == row and line.ratios and line.note), ""
        )
        yield f"* **{row}**: {first.what}{'. ' + note if note else ''}"
    missed = {line.row for line in lines if line.ratios and not reached(line)}
    if missed & WHY.keys():
        yield ""
        yield "Why goals are not reached:"
        yield ""
        yield from (f"* **{row}**: {why}." for row, why in WHY.items() if row in missed)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
