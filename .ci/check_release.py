#!/usr/bin/env python3
"""Check what is in an sdist and a wheel; exits with one line where something is missing or too much.

python .ci/check_release.py dist/*
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ("src/", "docs/", "examples/", "tests/", "benchmarks/", "deploy/", ".ci/")
"""What the sdist holds all of."""
ALONE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "pyproject.toml")


def tracked() -> set[str]:
    """The files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name for name in listed.stdout.split("\0") if name}


def of_sdist(file: Path) -> set[str]:
    """Its files, without the folder around them."""
    with tarfile.open(file) as archive:
        return {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}


def of_wheel(file: Path) -> set[str]:
    """Its files, below src as in the repository, without its own description."""
    with zipfile.ZipFile(file) as archive:
        return {f"src/{n}" for n in archive.namelist() if ".dist-info/" not in n}


def check(what: str, missing: set[str], surplus: set[str]) -> None:
    """Stop with the first few of either."""
    for word, names in (("lacks", missing), ("should not hold", surplus)):
        if names:
            sys.exit(f"{what} {word} {len(names)} files: {', '.join(sorted(names)[:5])} …")


def main(files: list[Path]) -> None:
    """One sdist and one wheel."""
    known = tracked()
    (sdist,) = (f for f in files if f.name.endswith(".tar.gz"))
    (wheel,) = (f for f in files if f.suffix == ".whl")
    held = of_sdist(sdist)
    wanted = {n for n in known if n.startswith(WHOLE)} | set(ALONE)
    made = {n for n in held - known if ".egg-info/" not in n and n not in ("PKG-INFO", "setup.cfg")}
    check(sdist.name, wanted - held, made)
    sources = {n for n in known if n.startswith("src/reteach/")}
    inside = of_wheel(wheel)
    check(wheel.name, sources - inside, inside - sources)
    if "unknown" in wheel.name or "-0.0-" in wheel.name:
        sys.exit(f"{wheel.name}: built without git, so without a version")
    print(
        f"{sdist.name}: {len(held)} files, {sdist.stat().st_size / 1e6:.1f} MB, all that git knows"
    )
    print(f"{wheel.name}: {len(inside)} files, {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
