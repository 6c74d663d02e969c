#!/usr/bin/env python3
"""The licences of what the base brings, as the installed packages state them: a table for docs/install.md.

python .ci/licences.py            print it
python .ci/licences.py --write    put it into the page, between its two marks
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import metadata

from lower_bounds import ROOT, requirements

PAGE = ROOT / "docs" / "install.md"
MARKS = ("<!-- licences, written by .ci/licences.py -->\n", "<!-- end -->")


def licence(package: str) -> str:
    """As its own metadata has it: the SPDX expression, else a short field, else the classifiers."""
    told = metadata(package)
    field = (told["License"] or "").strip()
    classes = [c for c in told.get_all("Classifier") or () if c.startswith("License")]
    named = ", ".join(c.rpartition(" :: ")[2] for c in classes)
    short = field if "\n" not in field and len(field) < 60 else ""
    return told["License-Expression"] or short or named or "not stated"


def table() -> str:
    """Package, oldest version accepted, licence."""
    lines = ["| package | from version | licence |", "|---|---|---|"]
    for line in requirements([]):
        name, _, bound = line.partition(">=")
        lines.append(f"| {name} | {bound} | {licence(name)} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The page with the table of today."""
    before, rest = page.split(MARKS[0])
    return before + MARKS[0] + table() + MARKS[1] + re.split(MARKS[1], rest, maxsplit=1)[1]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")
