"""Shell completion, made of the settings of the commands: commands, flags, and values where there are few."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, final

SHELLS = ("bash", "zsh", "fish")
ALWAYS = ("--help", "--json", "--quiet", "--dry-run", "--print-config", "--config")
"""Flags that every command takes."""


@final
@dataclass(frozen=True)
class Words:
    """What can stand behind a command.

    Args:
        flags: flag -> its values; none: a file, or anything.
        first: values of its words without a flag.
    """

    flags: dict[str, tuple[str, ...]]
    first: tuple[str, ...] = ()


def words_of(settings: Mapping[str, Any]) -> Words:
    """The flags of a command.

    Args:
        settings: as :func:`reteach.runs.config_flags.settings` has them.
    """
    flags: dict[str, tuple[str, ...]] = dict.fromkeys(ALWAYS, ())
    first: tuple[str, ...] = ()
    for name, setting in settings.items():
        values = tuple(_values(setting.hint))
        if setting.positional:
            first += values
            continue
        flags[f"--{name.replace('_', '-')}"] = values
        if setting.hint is bool:
            flags[f"--no-{name.replace('_', '-')}"] = ()
    return Words(flags, first)


def _values(hint: Any) -> Iterator[str]:
    """The words that a setting may be, where it is one of a few."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        yield from map(str, typing.get_args(hint))
    elif origin is not None:
        for inner in typing.get_args(hint):
            if inner not in (NoneType, Ellipsis):
                yield from _values(inner)


def script(shell: str, commands: Mapping[str, Words]) -> str:
    """The text for a shell to read.

    Args:
        shell: one of :data:`SHELLS`.
        commands: name -> what can stand behind it.
    """
    if shell == "fish":
        return "\n".join([*_fish(commands), ""])
    text = "\n".join([*_bash(commands), ""])
    return text if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{text}"


def _firsts(commands: Mapping[str, Words]) -> dict[str, list[str]]:
    """First word -> second words."""
    found: dict[str, list[str]] = {}
    for name in commands:
        first, _, second = name.partition(" ")
        found.setdefault(first, []).extend([second] if second else [])
    return found


def _bash(commands: Mapping[str, Words]) -> Iterator[str]:
    yield "_reteach() {"
    yield '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '  local first="${COMP_WORDS[1]}" two="${COMP_WORDS[1]} ${COMP_WORDS[2]}"'
    yield '  local name="$first" flags="" begin="" values=""'
    yield "  COMPREPLY=()"
    firsts = _firsts(commands)
    yield "  if [[ $COMP_CWORD == 1 ]]; then"
    yield f'    COMPREPLY=($(compgen -W "{" ".join(firsts)}" -- "$cur")); return'
    yield "  fi"
    pairs = "|".join(f'"{name}"' for name in commands if " " in name)
    yield f'  case "$two" in {pairs}) [[ $COMP_CWORD > 2 ]] && name="$two";; esac'
    yield '  if [[ $COMP_CWORD == 2 ]]; then case "$first" in'
    yield from (f'    {f}) begin="{" ".join(more)}";;' for f, more in firsts.items() if more)
    yield "  esac; fi"
    yield '  case "$name" in'
    for name, words in commands.items():
        first = f' begin="$begin {" ".join(words.first)}"' if words.first else ""
        yield f'    "{name}") flags="{" ".join(words.flags)}"{first};;'
    yield "  esac"
    yield '  case "$name:$prev" in'
    for name, words in commands.items():
        for flag, values in words.flags.items():
            if values:
                yield f'    "{name}:{flag}") values="{" ".join(values)}";;'
    yield "  esac"
    yield '  if [[ -n $values ]]; then COMPREPLY=($(compgen -W "$values" -- "$cur"))'
    yield '  elif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$cur"))'
    yield '  elif [[ -n $begin ]]; then COMPREPLY=($(compgen -W "$begin" -- "$cur")); fi'
    yield "}"
    yield "complete -o default -o bashdefault -F _reteach reteach"


def _fish(commands: Mapping[str, Words]) -> Iterator[str]:
    yield "function __reteach_at"
    yield "  set -l words (commandline -opc)"
    yield '  test "$words[2..(math 1 + (count $argv))]" = "$argv"'
    yield "end"
    firsts = _firsts(commands)
    first = " ".join(firsts)
    yield f'complete -c reteach -n "test (count (commandline -opc)) = 1" -f -a "{first}"'
    for word, more in firsts.items():
        if more:
            at = f'"__reteach_at {word}; and test (count (commandline -opc)) = 2"'
            yield f'complete -c reteach -n {at} -f -a "{" ".join(more)}"'
    for name, words in commands.items():
        at = f'-n "__reteach_at {name}"'
        if words.first:
            yield f'complete -c reteach {at} -a "{" ".join(words.first)}"'
        for flag, values in words.flags.items():
            takes = f' -x -a "{" ".join(values)}"' if values else ""
            yield f"complete -c reteach {at} -l {flag[2:]}{takes}"
