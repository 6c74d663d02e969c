"""Command lines for tests."""

from __future__ import annotations


def override(*words: str) -> list[str]:
    """Words in which the last of a flag counts; the command line itself refuses a flag given twice."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    last = {group[0]: n for n, group in enumerate(groups[1:], 1)}
    kept = [group for n, group in enumerate(groups[1:], 1) if last[group[0]] == n]
    return [*groups[0], *(word for group in kept for word in group)]
