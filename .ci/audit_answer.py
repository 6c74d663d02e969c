#!/usr/bin/env python3
"""What pip-audit's answers are worth; exits with 1 where a package is vulnerable, or none was looked up.

python .ci/audit_answer.py KNOWN.json FOUND.json   # of a package that has some, and of the environment
python .ci/audit_answer.py --folders               # where this python finds packages
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Package = dict[str, Any]


def folders() -> Iterator[str]:
    """The folders of ``sys.path`` that hold installed packages; a venv may have several."""
    for entry in dict.fromkeys(sys.path):
        if entry and any(Path(entry).glob("*.dist-info")):
            yield entry


def packages(file: Path) -> list[Package]:
    """Those of an answer; none where there is no answer."""
    try:
        return list(json.loads(file.read_text())["dependencies"])
    except (OSError, ValueError, KeyError):
        return []


def main(known: Path, found: Path) -> int:
    """The exit status; says what was looked up."""
    if not any(package.get("vulns") for package in packages(known)):
        print("not audited: the list of vulnerabilities cannot be reached from here")
        return 0
    everything = packages(found)
    audited = [package for package in everything if "vulns" in package]
    for package in everything:
        if (reason := package.get("skip_reason")) is not None:
            print(f"not audited: {package['name']}: {reason}")
    if not audited:
        print("nothing was audited")
        return 1
    bad = [package for package in audited if package["vulns"]]
    for package in bad:
        for each in package["vulns"]:
            mend = ", ".join(each.get("fix_versions") or ["none yet"])
            print(f"{package['name']} {package['version']}: {each['id']}, mended in: {mend}")
    print(f"{len(audited)} packages audited, {len(bad)} with known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--folders"]:
        print("\n".join(folders()))
    else:
        sys.exit(main(*map(Path, sys.argv[1:])))
