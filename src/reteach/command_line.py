"""The words of a command line as the options of its command; what is refused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import UserError


def parse(command: Any, name: str, rest: list[str]) -> Any:
    """The options in these words.

    Args:
        command: makes the options: a dataclass.
        name: of the command.

    Raises:
        UserError: a flag twice, one without effect, an address where a file is named, a bad ``--config``.
    """
    import tyro

    from .options.conditions import refuse_idle_of_all
    from .options.ranges import show_ranges
    from .options.renamed import current_flags

    show_ranges(command)
    rest = current_flags(name, rest)
    _refuse_repeated_flags(rest)  # before --config puts its flags beside them
    words = _valued(_with_config(rest, command, name))
    options = tyro.cli(
        command,
        args=words,
        prog=f"reteach {name}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    # a run's own file says every setting: what it has by default was not asked for
    given = {_setting(w.partition("=")[0]) for w in rest if w.startswith("--")}
    refuse_idle_of_all(options, {name.replace("-", "_") for name in given})
    refuse_addresses(options)
    return options


def config_text(options: Any) -> str:
    """The settings of a command as a file that ``--config`` takes; what the command line alone says is left
    to it, and what is open is left out."""
    import yaml

    from .runs.config_flags import settings

    content: dict[str, Any] = {}
    for name, setting in settings(type(options)).items():
        group = getattr(options, setting.group) if setting.group else options
        value = getattr(group, name)
        if not setting.positional and value is not None and value != ():
            content[name] = _plain(value)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _refuse_repeated_flags(words: list[str]) -> None:
    """A flag given twice is an error: the parser would take the last and say nothing.

    Spellings of one flag count together: ``--k-t 1``, ``--k_t=1``, ``--cache`` and ``--no-cache``.
    """
    seen: dict[str, str] = {}
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            flag = word.partition("=")[0]
            if (first := seen.get(_setting(flag))) is not None:
                what = (
                    f"{flag} is given twice" if flag == first else f"{first} and {flag} are given"
                )
                raise UserError(
                    f"{what}, and only the last would count: give it once, with all its values"
                )
            seen[_setting(flag)] = flag


def _setting(flag: str) -> str:
    """The setting that a flag is for, as one spelling."""
    return flag.removeprefix("--").replace("_", "-").removeprefix("no-")


def _valued(words: list[str]) -> list[str]:
    """``--rebalance`` without a number as ``--rebalance 1``, and ``--no-rebalance`` as 0: it was a switch."""
    made: list[str] = []
    for word, after in zip(words, [*words, ""][1:], strict=True):
        made.append("--rebalance=0" if word == "--no-rebalance" else word)
        if word == "--rebalance" and not _number(after):
            made[-1] = "--rebalance=1"
    return made


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _with_config(rest: list[str], command: Any, name: str) -> list[str]:
    """``--config FILE.yaml`` as the flags it stands for, without what the command line says itself."""
    at = next((i for i, word in enumerate(rest) if word.partition("=")[0] == "--config"), None)
    if at is None:
        return rest
    equals, file = rest[at].partition("=")[1:]
    after = at + 1 if equals else at + 2
    file = file if equals else "".join(rest[at + 1 : after])
    if not file or (not equals and file.startswith("--")):
        raise UserError("--config needs a YAML file")
    from .runs.config_flags import flags

    rest = rest[:at] + rest[after:]
    said = {_setting(word.partition("=")[0]) for word in rest if word.startswith("--")}
    told = flags(Path(file), command, name)
    more = [word for key, words in told.items() if _setting(key) not in said for word in words]
    return [*rest, *more]


def refuse_addresses(settings: Any, flag: str = "") -> None:
    """Refuse addresses where files are named, before anything is done."""
    from dataclasses import fields, is_dataclass

    from .files import local

    if isinstance(settings, tuple):
        for entry in settings:
            refuse_addresses(entry, flag)
    elif isinstance(settings, Path):
        local(settings, flag)
    elif is_dataclass(settings):
        for field in fields(settings):
            refuse_addresses(getattr(settings, field.name), f"--{field.name.replace('_', '-')}")
