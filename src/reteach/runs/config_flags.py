"""The settings of a YAML file as flags of a command; a run's own ``config.yaml`` is such a file too."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, final

from tyro.conf import Positional

from ..errors import UserError, closest
from ..options.methods import METHODS
from ..options.renamed import current
from ..structured import parse_yaml
from .config import parse


@final
@dataclass(frozen=True)
class Setting:
    """What a command can be told.

    Args:
        hint: the type of its value.
        group: the group of settings that it stands in, as data or training; empty outside of them.
        positional: it is written on the command line without a flag.
    """

    hint: Any
    group: str
    positional: bool


def flags(file: Path, command: type[Any], name: str) -> dict[str, list[str]]:
    """The settings of a file: each one's name, and the words that say it on the command line.

    They stand alone or in the groups of a run's ``config.yaml``. Null stands for the default. A run's own
    file says what the run was told, but for its folder: that one is taken.

    Args:
        command: its dataclass.
        name: the command's, as ``train mile``.

    Raises:
        UserError: no such file, not YAML, of another method, or a setting that the command lacks, that
            stands there twice or whose value is of another type.
    """
    where = f"--config {file}"
    content = _read(file, where)
    known = settings(command)
    if "method" in content and "method" not in known:
        _same_method(content.pop("method"), name, where)
        if (file.parent / "run.json").is_file() and isinstance(content.get("output"), dict):
            content["output"].pop("out", None)
    found: dict[str, list[str]] = {}
    for setting, value in _ungrouped(content, known, _groups(command), where, name):
        if setting in found:
            raise UserError(f"{where}: {setting!r} stands there twice: give it once")
        found[setting] = [] if value is None else _words(setting, value, known[setting], where)
    return found


def settings(command: type[Any], group: str = "") -> dict[str, Setting]:
    """All settings of a command by name, those of its groups among them."""
    hints = typing.get_type_hints(command, include_extras=True)
    positional = Positional[int].__metadata__  # type: ignore[attr-defined]
    found: dict[str, Setting] = {}
    for field in fields(command):
        hint = hints[field.name]
        if is_dataclass(hint):
            found |= settings(typing.cast("type[Any]", hint), field.name)
        else:
            marks = getattr(hint, "__metadata__", ())
            plain = hint.__origin__ if marks else hint
            found[field.name] = Setting(plain, group, bool(set(positional) & set(marks)))
    return found


def _read(file: Path, where: str) -> dict[str, Any]:
    """The file as names and values, hyphens as underscores."""
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())[:150]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected settings as 'name: value' lines")
    return _underscored(content, where)


def _underscored(content: dict[Any, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if (name := _name(key)) in found:  # k-t beside k_t
            raise UserError(f"{where}: {name!r} stands there twice: give it once")
        found[name] = _underscored(value, where) if isinstance(value, dict) else value
    return found


def _name(key: Any) -> str:
    return str(key).replace("-", "_")


def _same_method(method: Any, name: str, where: str) -> None:
    """Refuse a file of ``reteach train`` for another method, or for another command."""
    if not isinstance(method, str) or method not in METHODS:
        raise UserError(
            f"{where}: unknown method {method!r}{closest(str(method), list(METHODS), 1)}"
        )
    if name != f"train {method}":
        raise UserError(
            f"{where} is of the method {method}, and this is reteach {name}: use reteach train {method}"
        )


def _groups(command: type[Any]) -> list[str]:
    """The groups of a command's settings; those of ``train wan`` have one that is empty."""
    hints = typing.get_type_hints(command)
    return sorted(field.name for field in fields(command) if is_dataclass(hints[field.name]))


def _ungrouped(
    content: dict[str, Any], known: dict[str, Setting], groups: list[str], where: str, name: str
) -> Iterator[tuple[str, Any]]:
    """Every setting with its value, once it is known that the command has it, and has it there."""
    where += f": reteach {name}"
    for key, value in content.items():
        if not isinstance(value, dict):
            key = current(name, key)
            _belongs(key, sorted(known), known, where)
            yield key, value
            continue
        if key not in groups:
            raise UserError(f"{where} has no group of settings {key!r}{closest(key, groups)}")
        there = sorted(each for each, setting in known.items() if setting.group == key)
        for old, one in value.items():
            inner = current(name, old)
            _belongs(inner, there, known, f"{where}, group {key},")
            yield inner, one


def _belongs(key: str, there: list[str], known: dict[str, Setting], where: str) -> None:
    if key not in there:
        other = known.get(key)
        hint = closest(key, there) if other is None else _elsewhere(other)
        raise UserError(f"{where} has no setting {key!r}{hint}")
    if known[key].positional:
        raise UserError(f"{where} takes {key!r} from the command line, not from a file")


def _elsewhere(setting: Setting) -> str:
    return f"; it belongs to {setting.group}" if setting.group else "; it stands in no group"


def _words(name: str, value: Any, setting: Setting, where: str) -> list[str]:
    """The flag that says a value; checked here, where the file can be named."""
    if isinstance(value, list) and None in value:
        raise UserError(f"{where}: {name} has an empty entry")
    typed = parse(value, setting.hint, f"{where}: {name}")
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool) and isinstance(typed, float) and name != "rebalance":
        raise UserError(
            f"{where}: {name} must be a number, got {value!r}"
        )  # rebalance was a switch
    if isinstance(typed, bool):
        return [flag if typed else f"--no-{flag[2:]}"]
    if isinstance(typed, tuple):
        return [flag, *map(str, typed)]
    return [] if typed is None else [f"{flag}={typed}"]
