#!/usr/bin/env python3
"""Print the oldest versions that pyproject.toml accepts, as constraints for pip.

    python .ci/lower_bounds.py [EXTRA …] >constraints.txt

Every ``name>=version`` of the base and of the extras named; what carries no bound carries no version to test.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def requirements(extras: list[str]) -> list[str]:
    """Those of the base and of the extras, extras of extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = re.fullmatch(r"reteach\[(.+)\]", line)
            found += requirements(own[1].split(",")) if own else [line]
    return list(dict.fromkeys(found))


def lower_bounds(extras: list[str]) -> list[str]:
    """``name==bound`` of each requirement that has one."""
    pattern = re.compile(r"([A-Za-z0-9_.-]+)(?:\[.*\])?>=([0-9.]+)(?:,.*)?")
    found = [pattern.fullmatch(line) for line in requirements(extras)]
    return [f"{each[1]}=={each[2]}" for each in found if each]


if __name__ == "__main__":
    print("\n".join(lower_bounds(sys.argv[1:])))
