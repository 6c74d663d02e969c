"""From the keywords of a Python call to the options of a command, and to its result.

The command line and Python have one definition of every setting: the dataclasses of
:mod:`reteach.options`. A keyword is the command line's flag with underscores for hyphens.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, final, get_type_hints

from .. import own
from ..cli import TABLE, run
from ..command_line import refuse_addresses
from ..errors import UserError, closest
from ..options.conditions import refuse_idle_of_all
from ..options.shared import Model
from ..storage import shown, telling
from .objects import as_own
from .values import as_type, as_value, without_kept_files


@final
@dataclass(frozen=True)
class Keyword:
    """One setting of a command.

    Args:
        name: of the keyword.
        hint: the type that its option has.
        default: ``inspect.Parameter.empty`` where it has to be given.
    """

    name: str
    hint: Any
    default: Any


def options_class(command: str) -> type[Any]:
    """The dataclass of a command's settings."""
    module, name = TABLE[command].options.split(":")
    found: type[Any] = getattr(importlib.import_module(f"reteach.options.{module}"), name)
    return found


def keywords(cls: type[Any]) -> Iterator[Keyword]:
    """All settings of a command, those of its groups among them."""
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from keywords(hint)  # type: ignore[arg-type]
        else:
            default = _default(field)
            empty = inspect.Parameter.empty
            yield Keyword(field.name, hint, empty if default is MISSING else default)
            if cls is Model and field.name == "model":
                yield Keyword("network", Callable[..., Any], None)


def call(command: str, settings: Mapping[str, Any]) -> Any:
    """The result of a command with these settings.

    Raises:
        UserError: an unknown or missing keyword, a value of another type, or whatever the command refuses;
            it speaks of keywords, not of flags.
    """
    cls = options_class(command)
    known = [keyword.name for keyword in keywords(cls)]
    try:
        settings, objects = as_own(settings)
        with own.given(objects), telling(_told):
            return run(options(command, cls, settings))
    except UserError as error:
        raise type(error)(in_python(_told(str(error)), known)) from None


def _told(text: str) -> str:
    """What is said, with addresses and tables in the place of the files that stand for them."""
    return without_kept_files(shown(text))


def options(command: str, cls: type[Any], settings: Mapping[str, Any]) -> Any:
    """The options of a command.

    Raises:
        UserError: as :func:`call`.
    """
    from ..options.renamed import current_names

    settings = current_names(command, dict(settings))
    known = {keyword.name: keyword for keyword in keywords(cls)}
    for name in settings:
        if name not in known:
            raise UserError(
                f"reteach {command} has no setting {name!r}{closest(name, list(known))}"
            )
    for name, keyword in known.items():
        if keyword.default is inspect.Parameter.empty and name not in settings:
            raise UserError(f"reteach {command} needs {name}=…")
    typed = {
        name: as_type(as_value(name, value), known[name].hint, name)
        for name, value in settings.items()
    }
    made = _made(cls, typed)
    refuse_idle_of_all(made, set(typed))
    refuse_addresses(made)
    return made


def _made(cls: type[Any], given: Mapping[str, Any]) -> Any:
    """A dataclass of settings, and the groups within it."""
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):
        if is_dataclass(hints[field.name]):
            values[field.name] = _group(_default(field), given)
        elif field.name in given:
            values[field.name] = given[field.name]
    return cls(**values)


def _group(usual: Any, given: Mapping[str, Any]) -> Any:
    changed: dict[str, Any] = {}
    for field in fields(usual):
        value = getattr(usual, field.name)
        if is_dataclass(value):
            changed[field.name] = _group(value, given)
        elif field.name in given:
            changed[field.name] = given[field.name]
    return replace(usual, **changed)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def in_python(text: str, known: list[str]) -> str:
    """The words of an error with keywords in place of flags: ``val_images`` for ``--val-images``."""

    def keyword(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        if name in known:
            return name
        off = name.removeprefix("no_")
        return f"{off}=False" if off != name and off in known else flag[0]

    return re.sub(r"(?<![\w-])--([a-z][a-z0-9-]*)", keyword, text)


F = TypeVar("F", bound=Callable[..., Any])


def signed(cls: type[Any]) -> Callable[[F], F]:
    """Every setting of a command in the signature of its function, for help and completion."""

    def sign(function: F) -> F:
        *own, rest = inspect.signature(function).parameters.values()
        taken = {parameter.name for parameter in own}
        more = [
            inspect.Parameter(
                k.name, inspect.Parameter.KEYWORD_ONLY, default=k.default, annotation=plain(k.hint)
            )
            for k in keywords(cls)
            if k.name not in taken and k.hint is not Any
        ]
        left = [rest] if any(k.hint is Any for k in keywords(cls)) else []
        vars(function)["__signature__"] = inspect.Signature([*own, *more, *left])
        return function

    return sign


def plain(hint: Any) -> Any:
    """A setting's type without the marks of the command line."""
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    return hint


def given(settings: Mapping[str, Any], **positional: Any) -> dict[str, Any]:
    """The settings with those that may be left out, where they are given."""
    return {**settings, **{name: value for name, value in positional.items() if value is not None}}
