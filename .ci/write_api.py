#!/usr/bin/env python3
"""Write what type checkers and editors know of the Python API, from the options of the commands.

    python .ci/write_api.py

A test holds the files to what this writes: run it where a setting or a command has changed.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from reteach.api.names import python_name
from reteach.api.values import TABLES
from reteach.cli import TABLE
from reteach.options.methods import METHODS
from reteach.options.shared import Data, Model, Output, Training

API = Path(__file__).resolve().parents[1] / "src" / "reteach" / "api"
HEADER = "Made by .ci/write_api.py from the options of the commands; not to be edited."
GROUPS = {
    Data: "DataKeywords",
    Model: "ModelKeywords",
    Training: "TrainingKeywords",
    Output: "OutputKeywords",
}
MARK = Positional[int].__metadata__[0]
BESIDE = {
    "predict": ("images",),
    "evaluate": ("images",),
    "relabel clean": ("images", "labels", "folds"),
}
"""Command -> settings that a function or method written by hand has in its signature, beside all others."""
HAND = ("train", "resume")
"""Commands whose functions are written by hand: they give a model."""


def main() -> None:
    for name, text in texts().items():
        (API / name).write_text(text)


def texts() -> dict[str, str]:
    """File -> its content, as ruff formats it."""
    made = {
        "keywords.py": keywords_file(),
        "functions.py": functions_file(),
        "public.py": public_file(),
        "../__init__.pyi": stub_file(),
    }
    return {name: _formatted(text) for name, text in made.items()}


def commands() -> dict[str, type[Any]]:
    """Every command but the methods of train -> its options."""
    found = {}
    for name, command in TABLE.items():
        if not name.startswith("train "):
            module, cls = command.options.split(":")
            found[name] = getattr(importlib.import_module(f"reteach.options.{module}"), cls)
    return found


def keywords_file() -> str:
    """The typed dictionaries: one for each group of settings, method and command."""
    parts = [_dictionary(name, (), _own(cls)) for cls, name in GROUPS.items()]
    parts.append(_dictionary("TrainKeywords", tuple(GROUPS.values()), _of_methods()))
    for name, cls in commands().items():
        bases = tuple(GROUPS[g] for g in _groups(cls) if g in GROUPS)
        own = [e for e in _all(cls) if not (set(_owners(e[0], cls)) & set(GROUPS)) and not e[3]]
        if name in BESIDE:
            asked = class_name(name).replace("Keywords", "Settings")
            parts.append(_dictionary(asked, bases, [e for e in own if e[0] not in BESIDE[name]]))
            bases, own = (asked,), [e for e in own if e[0] in BESIDE[name]]
        parts.append(_dictionary(class_name(name), bases, own))
    return (
        "\n\n\n".join([_head("What each call may be given by keyword", "keywords"), *parts]) + "\n"
    )


def functions_file() -> str:
    """A function for each command."""
    results = {name: _result(name) for name in commands() if name not in HAND}
    imports: dict[str, set[str]] = {}
    for found in results.values():
        for cls in found:
            imports.setdefault(cls.__module__, set()).add(cls.__name__)
    names = sorted({"TrainKeywords"} | {class_name(name) for name in results})
    lines = [
        f'"""The commands as functions, with types.\n\n{HEADER}\n"""',
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING, Literal, cast",
        "from ..options.train import TrainOptions",
        "from .calls import call, given, options_class, signed",
        "from .model import TrainedModel, trained",
        "if TYPE_CHECKING:\n    from typing import Unpack\n",
        *(
            f"    from ..{module.removeprefix('reteach.')} import {', '.join(sorted(found))}"
            for module, found in sorted(imports.items())
        ),
        f"    from .keywords import {', '.join(names)}",
        "    from .kinds import PathLike, TableLike",
        "",
        *_train(),
        *(
            _function(name, cls, results[name])
            for name, cls in commands().items()
            if name not in HAND
        ),
    ]
    return "\n".join(lines) + "\n"


PUBLIC = {
    "load": "api.model",
    "sklearn": "sklearn",
    "pred_probs": "api.held_out",
    "resume": "api.model",
    "train": "api.functions",
    "TrainedModel": "api.model",
    "Table": "frames",
    "InlinePage": "inline",
    "UserError": "errors",
    "Interrupted": "errors",
}
"""What is public beside the functions of commands -> the module that has it."""


def public() -> dict[str, str]:
    """Every public name -> its module."""
    made = {python_name(name): "api.functions" for name in commands() if name not in HAND}
    return dict(sorted((PUBLIC | made).items()))


def public_file() -> str:
    """The names at run time."""
    return (
        f'"""What ``import reteach`` offers, and where it is.\n\n{HEADER}\n"""\n\n'
        f"PUBLIC: dict[str, str] = {public()!r}\n"
    )


def stub_file() -> str:
    """The names for type checkers."""
    lines = [
        f"from .{'' if name == module else module} import {name} as {name}"
        for name, module in public().items()
    ]
    return "\n".join([f"# {HEADER}", *lines, "", "__version__: str", ""])


def _train() -> Iterator[str]:
    yield "@signed(TrainOptions)"
    yield "def train(method: str, **settings: Unpack[TrainKeywords]) -> TrainedModel:"
    yield '    """Train a method on images; as ``reteach train METHOD``, whose flags are the keywords.'
    yield ""
    yield "    Raises:"
    yield "        UserError: an unknown method or setting, or inputs that do not fit each other."
    yield '    """'
    yield '    return trained(method, cast("dict[str, object]", settings))'


def _function(name: str, cls: type[Any], results: tuple[type[Any], ...]) -> str:
    params, passed = [], []
    for key, hint, required, positional in _all(cls):
        if not positional:
            continue
        if typing.get_origin(_plain(hint)) is tuple:
            params.append(f"*{key}: {_words(typing.get_args(_plain(hint))[0], key)}")
        else:
            params.append(f"{key}: {_words(hint, key)}" + ("" if required else " = None"))
        passed.append(f'"{key}": {key}')
    optional = [k for k, _, required, positional in _all(cls) if positional and not required]
    given = f"{{**settings, {', '.join(passed)}}}" if passed else "settings"
    if optional:
        given = f"given(settings, {', '.join(f'{k}={k}' for k in optional)})"
    params.append(f"**settings: Unpack[{class_name(name)}]")
    result = " | ".join(r.__name__ for r in results)
    first = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    python = python_name(name)
    return (
        f'@signed(options_class("{name}"))\n'
        f"def {python}({', '.join(params)}) -> {result}:\n"
        f'    """{first}\n\n    As ``reteach {name}``, whose flags are the keywords.\n    """\n'
        f'    return cast("{result}", call("{name}", {given}))\n'
    )


def class_name(command: str) -> str:
    return "".join(w.capitalize() for w in python_name(command).split("_")) + "Keywords"


def _result(name: str) -> tuple[type[Any], ...]:
    module, function = TABLE[name].function.split(":")
    found = getattr(importlib.import_module(f"reteach.commands.{module}"), function)
    hint = typing.get_type_hints(found)["return"]
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _of_methods() -> list[Entry]:
    """The settings of all methods; of one name, what any of them takes."""
    found: dict[str, Any] = {}
    for method in METHODS.values():
        for name, hint, *_ in _own(method.settings):
            hint = _plain(hint)
            found[name] = found[name] | hint if name in found and found[name] != hint else hint
    return [(name, hint, False, False) for name, hint in found.items()]


Entry = tuple[str, Any, bool, bool]
"""Name, type, whether it has to be given, whether it is positional."""


def _own(cls: type[Any]) -> list[Entry]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return [_entry(f, hints[f.name]) for f in fields(cls) if not is_dataclass(hints[f.name])]


def _all(cls: type[Any]) -> list[Entry]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found: list[Entry] = []
    for field in fields(cls):
        hint = hints[field.name]
        found += _all(hint) if is_dataclass(hint) else [_entry(field, hint)]
    return found


def _groups(cls: type[Any]) -> list[type[Any]]:
    return [hint for hint in typing.get_type_hints(cls).values() if is_dataclass(hint)]


def _owners(name: str, cls: type[Any]) -> list[type[Any]]:
    return [g for g in _groups(cls) if name in {f.name for f in fields(g)}]


def _entry(field: Any, hint: Any) -> Entry:
    required = field.default is MISSING and field.default_factory is MISSING
    positional = MARK in getattr(hint, "__metadata__", ())
    return field.name, hint, required, positional


def _dictionary(name: str, bases: tuple[str, ...], entries: list[Entry]) -> str:
    lines = [f"class {name}({', '.join(bases or ('TypedDict',))}, total=False):"]
    for key, hint, required, _ in entries:
        words = _words(hint, key)
        lines.append(f"    {key}: {f'Required[{words}]' if required else words}")
        if name == "ModelKeywords" and key == "model":
            lines.append("    network: Network | None")
    return "\n".join(lines if entries else [*lines, "    pass"])


def _words(hint: Any, key: str) -> str:
    """A type as a call may give it."""
    hint = _plain(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        found = {_words(argument, key) for argument in arguments}
        return " | ".join(sorted(found, key=lambda word: (word == "None", word)))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is tuple:
        each = _words(arguments[0], key)
        if arguments[-1] is ...:
            return f"Sequence[{each}] | {each}"
        return f"tuple[{', '.join(_words(a, key) for a in arguments)}]"
    if key in ("augmentation", "loss"):
        return key.capitalize() if hint is str else "None"
    if key in ("images", "val_images", "test_images", "unlabeled") and hint is str:
        return "Images"
    if key == "classes" and hint is Path:
        return "PathLike | Sequence[str]"
    if hint is Path or (hint is str and key in ("ratings", "source", "init")):
        return "TableLike" if key in TABLES else "PathLike"
    if hint is type(None):
        return "None"
    return str(hint.__name__)


def _plain(hint: Any) -> Any:
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    return hint


def _head(title: str, kind: str) -> str:
    return (
        f'"""{title}.\n\n{HEADER}\n"""\n\nfrom __future__ import annotations\n\n'
        "from collections.abc import Sequence\nfrom typing import Literal, Required, TypedDict\n\n"
        "from .kinds import Augmentation, Images, Loss, Network, PathLike, TableLike"
    )


def _formatted(text: str) -> str:
    """As ruff has it: imports sorted, lines wrapped."""
    ruff = [sys.executable, "-m", "ruff"]
    for words in (["check", "--select", "I,F401", "--fix-only", "--quiet"], ["format", "--quiet"]):
        stdin = [*ruff, *words, "--stdin-filename", str(API / "x.py"), "-"]
        text = subprocess.run(stdin, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    main()
