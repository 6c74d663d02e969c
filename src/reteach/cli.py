"""The command line: ``reteach COMMAND …``.

A command is a dataclass with a ``run`` method, named in one table; only the module of the command that
was called is imported, and the heavy libraries only when it runs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .catalog import METHODS
from .errors import Interrupted, UserError, closest

TABLE: dict[str, tuple[str, str]] = {
    "demo": (
        "reteach.commands.demo:Demo",
        "softmax, sigmoid and MILe on real digits, in two minutes",
    ),
    "advise": (
        "reteach.commands.advise:Advise",
        "what the labels are like, and which method is worth trying first",
    ),
    **{
        f"train {name}": (
            f"reteach.commands.train:{name}",
            str(method.settings.__doc__).splitlines()[0],
        )
        for name, method in METHODS.items()
    },
    "resume": ("reteach.commands.runs:Resume", "go on with an interrupted run"),
    "evaluate": (
        "reteach.commands.runs:Evaluate",
        "judge a run's model on labelled images, or score tables on reassessed labels",
    ),
    "predict": ("reteach.commands.runs:Predict", "write a label table of what a model sees"),
    "explain": (
        "reteach.commands.explain:Explain",
        "where a run's models look for a class: activation maps side by side",
    ),
    "calibrate": (
        "reteach.commands.calibrate:Calibrate",
        "probabilities of presence out of a model that learned from single labels",
    ),
    "report": ("reteach.commands.runs:Report", "make the HTML page of a run or comparison again"),
    "transfer": (
        "reteach.commands.transfer:Transfer",
        "a trained network on other classes: fine-tuned, or logistic regression on its features",
    ),
    "compare": (
        "reteach.commands.compare:Compare",
        "several methods under one budget, with intervals",
    ),
    "noise": ("reteach.commands.noise:Noise", "make some labels wrong on purpose, exactly so many"),
    "noise estimate": (
        "reteach.commands.noise:Estimate",
        "the noise matrix behind given labels, from held-out scores",
    ),
    "probe compression": (
        "reteach.commands.probe:Compression",
        "how hard random labels are to fit on a run's features",
    ),
    "relabel propose": (
        "reteach.commands.relabel:Propose",
        "which classes raters are to be asked about, from several models' scores",
    ),
    "relabel consensus": ("reteach.commands.relabel:Consensus", "raters' answers to labels"),
    "relabel tasks": (
        "reteach.commands.rate:Tasks",
        "proposals as tasks of similar classes, in a store for raters",
    ),
    "rate": ("reteach.commands.rate:Rate", "serve the tasks to raters as web pages"),
    "relabel export": (
        "reteach.commands.rate:Export",
        "write the answers of a rating store to a file",
    ),
    "relabel hashtags": (
        "reteach.commands.hashtags:Hashtags",
        "hashtags or search queries to classes",
    ),
    "relabel clean": (
        "reteach.commands.clean:Clean",
        "drop the labels that held-out models do not confirm",
    ),
    "score": (
        "reteach.commands.score:Score",
        "the best classes of very many images as a score table, shard by shard",
    ),
    "select": (
        "reteach.commands.select:Select",
        "the best images of every class out of a score table of any size",
    ),
    "dedup": ("reteach.commands.dedup:Dedup", "find images that are in two sets, or twice in one"),
    "partition": (
        "reteach.commands.partition:Partition",
        "split the classes by co-occurrence and dis-occurrence",
    ),
    "convert": (
        "reteach.commands.convert:Convert",
        "published annotations and label lists (COCO, VOC, CIFAR-N, Clothing1M …) as a label table",
    ),
}
"""Words of a command -> where its dataclass is, and one line of help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for an error of the user's, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(words)
    except (UserError, Interrupted) as error:
        if os.environ.get("RANK", "0") == "0":  # under torchrun all processes say the same
            print(f"reteach: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"reteach {__version__}")
        return 0
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in TABLE), None)
    if name is None:
        group = [n for n in TABLE if n.split()[0] == words[0]]
        if group and (len(words) == 1 or words[1] in ("-h", "--help")):
            print(_help(words[0]))
            return 0
        known = sorted(group or TABLE)
        said = " ".join(words[:2]) if group else words[0]
        raise UserError(
            f"unknown command {said!r}{closest(said, known)} (reteach --help lists all)"
        )
    module, attribute = TABLE[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute.replace("-", "_"))
    parsed = _parse(command, name, words[len(name.split()) :])
    _local(parsed)
    parsed.run()
    return 0


def _local(settings: Any, flag: str = "") -> None:
    """Refuse addresses where files are named, before anything is done."""
    from dataclasses import fields, is_dataclass

    from .files import local

    if isinstance(settings, tuple):
        for entry in settings:
            _local(entry, flag)
    elif isinstance(settings, Path):
        local(settings, flag)
    elif is_dataclass(settings):
        for field in fields(settings):
            _local(getattr(settings, field.name), f"--{field.name.replace('_', '-')}")


def _parse(command: Any, name: str, rest: list[str]) -> Any:
    import tyro

    _refuse_repeated_flags(rest)  # before --config puts its flags beside them
    return tyro.cli(
        command,
        args=_valued(_with_config(rest)),
        prog=f"reteach {name}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )


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


def _with_config(rest: list[str]) -> list[str]:
    """``--config FILE.yaml`` as the flags it stands for; flags given beside it come later and win."""
    if "--config" not in rest:
        return rest
    at = rest.index("--config")
    if at + 1 >= len(rest):
        raise UserError("--config needs a YAML file")
    return [*_flags(Path(rest[at + 1])), *rest[:at], *rest[at + 2 :]]


def _flags(file: Path) -> list[str]:
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
        _refuse_repeated_settings(yaml.compose(text, yaml.SafeLoader), file)
    except OSError as error:
        raise UserError(f"--config {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {file}: {' '.join(str(error).split())[:150]}") from None
    if not isinstance(settings, dict):
        raise UserError(f"--config {file}: expected settings as 'name: value' lines")
    flags: list[str] = []
    for name, value in settings.items():
        flag = f"--{str(name).replace('_', '-')}"
        if value is None:
            continue  # the default
        if isinstance(value, list) and None in value:
            raise UserError(f"--config {file}: {name} has an empty entry")
        if isinstance(value, dict):
            raise UserError(f"--config {file}: {name} must be a plain value, not a group")
        if isinstance(value, bool):
            flags.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            flags += [flag, *map(str, value)]
        else:
            flags += [flag, str(value)]
    return flags


def _refuse_repeated_settings(node: Any, file: Path) -> None:
    """A setting that stands twice in a YAML file is an error: its reader would take the last."""
    seen: set[str] = set()
    for key, value in node.value if getattr(node, "id", "") == "mapping" else ():
        name = _setting(f"--{key.value}")
        if name in seen:
            raise UserError(f"--config {file}: {name!r} stands there twice: give it once")
        seen.add(name)
        _refuse_repeated_settings(value, file)


def _help(group: str | None = None) -> str:
    shown = {n: line for n, (_, line) in TABLE.items() if group in (None, n.split()[0])}
    width = max(map(len, shown))
    lines = [f"  {name:{width}}  {line}" for name, line in shown.items()]
    return "\n".join(
        [
            "usage: reteach COMMAND … [--config FILE.yaml]",
            "",
            "Image classifiers from noisy, ambiguous or incomplete labels.",
            "",
            *lines,
            "",
            "reteach COMMAND --help explains its settings. To begin: reteach demo",
            "",
            "--config takes settings from a file, as 'name: value' lines; the command line wins over it.",
            "A flag given twice is an error; one that takes several values takes them all at once.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
