"""Who takes part in a comparison: methods under certain settings, also as the points of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final, get_type_hints

from ..errors import UserError, closest
from ..item_index import first_repeated
from ..options import shared as options
from ..options.methods import METHODS
from ..options.renamed import current
from ..runs.config import Config, parse


@final
@dataclass(frozen=True)
class Variant:
    """A method under certain settings; ``changed`` are those that a sweep gave it.

    ``labels`` is the table that it learns from, None: the arena's own labels.
    """

    name: str
    config: Config
    changed: dict[str, Any]
    labels: Path | None = None


def variants(
    methods: Sequence[str],
    model: options.Model,
    training: options.Training,
    settings: Sequence[str] = (),
    sweep: Sequence[str] = (),
) -> tuple[tuple[Variant, ...], dict[str, list[Any]]]:
    """The entrants of a comparison, and the swept values by setting.

    Args:
        settings: "name=value" or "method.name=value", for the methods that have such a setting.
        sweep: "name=value,value,…"; several of them make a grid.

    Raises:
        UserError: an unknown method, a setting that no method has, a value of the wrong type.
    """
    bases = []
    for method in methods:
        if method not in METHODS:
            raise UserError(
                f"unknown method {method!r}{closest(method, list(METHODS))} "
                f"(known: {', '.join(METHODS)})"
            )
        kind = METHODS[method].settings
        own = _own(method, methods, training)
        bases.append(Config(method, kind(), model=model, training=own))
    for text in settings:
        name, values = _assignment(text, "--set")
        bases = _apply(bases, name, values, "--set")
    grid: dict[str, list[str]] = {}
    for text in sweep:
        name, values = _assignment(text, "--sweep")
        grid[name.split(".")[-1]] = values.split(",")
        _apply(bases, name, values.split(",")[0], "--sweep")  # complains where nobody has it
    found: list[Variant] = []
    swept: dict[str, list[Any]] = {name: [] for name in grid}
    for base in bases:
        mine = [name for name in grid if _has(base, name)]
        for chosen in itertools.product(*(grid[name] for name in mine)):
            config, changed = base, {}
            for name, value in zip(mine, chosen, strict=True):
                config, changed[name] = _with(config, name, value, "--sweep")
                if changed[name] not in swept[name]:
                    swept[name].append(changed[name])
            words = [base.method, *(f"{name}={value}" for name, value in changed.items())]
            found.append(Variant(" ".join(words), config, changed))
    if first_repeated(variant.name for variant in found) is not None:
        raise UserError("a method is named twice")
    return tuple(found), swept


def _own(method: str, methods: Sequence[str], training: options.Training) -> options.Training:
    """The settings, without --on-collapse for a method that cannot collapse, beside others that can."""
    if METHODS[method].collapses or not any(METHODS[m].collapses for m in methods if m in METHODS):
        return training
    return replace(training, on_collapse="stop")


def for_each_table(
    found: Sequence[Variant], given: Path | None, more: Sequence[Path]
) -> tuple[tuple[Variant, ...], list[Any]]:
    """Every entrant with the labels that the comparison is given, and with each of ``more`` tables.

    Returns: the entrants, and the names of the tables, as if they had been swept under *labels*.

    Raises:
        UserError: two tables of one name.
    """
    names = ["given" if given is None else given.stem, *(path.stem for path in more)]
    if (twice := first_repeated(names)) is not None:
        raise UserError(
            f"two label tables are called {twice!r}: rename one, the names tell them apart in the results"
        )
    tables = zip(names, (None, *more), strict=True)
    out = [
        Variant(
            f"{variant.name} labels={name}",
            variant.config,
            {"labels": name, **variant.changed},
            table,
        )
        for name, table in tables
        for variant in found
    ]
    return tuple(out), names


def _assignment(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise UserError(f"{flag} wants name=value, got {text!r}")
    return name.strip().replace("-", "_"), value


def _has(config: Config, name: str) -> bool:
    groups = (config.settings, config.training, config.model)
    return any(name in {f.name for f in fields(group)} for group in groups)


def _with(config: Config, name: str, value: str, flag: str) -> tuple[Config, Any]:
    """The configuration with one setting changed, and the parsed value."""
    for group in ("settings", "training", "model"):
        old = getattr(config, group)
        if name in {f.name for f in fields(old)}:
            parsed = parse(value, get_type_hints(type(old))[name], f"{flag} {name}")
            return replace(config, **{group: replace(old, **{name: parsed})}), parsed
    raise KeyError(name)


def _apply(configs: list[Config], name: str, value: str, flag: str) -> list[Config]:
    method, _, setting = name.rpartition(".")
    for trained in dict.fromkeys(c.method for c in configs):
        setting = current(f"train {trained}", setting)
    chosen = [not method or c.method.replace("-", "_") == method for c in configs]
    hit = [use and _has(c, setting) for c, use in zip(configs, chosen, strict=True)]
    if not any(hit):
        known = sorted(
            {f.name for c in configs for g in (c.settings, c.training) for f in fields(g)}
        )
        raise UserError(f"{flag}: no method here has a setting {name!r}{closest(setting, known)}")
    return [
        _with(c, setting, value, flag)[0] if use else c for c, use in zip(configs, hit, strict=True)
    ]
