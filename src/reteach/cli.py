"""The command line: ``reteach COMMAND …``.

A command is a function from its options to a typed result, named in one table; only the modules of the
command that was called are imported, those of the function once its options are right.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from types import FrameType
from typing import Any

from .command_help import examples_text, overview
from .command_line import config_text, parse
from .errors import Interrupted, UserError
from .options.methods import METHODS
from .progress import QUIET, telling_of_imports


@dataclass(frozen=True)
class Command:
    """What the command line knows of a command.

    Args:
        options: "module:Class" below ``reteach.options``: its settings.
        function: "module:function" below ``reteach.commands``: options -> result.
        help: one line.
    """

    options: str
    function: str
    help: str


TABLE = {
    "demo": Command(
        "demo:DemoOptions",
        "demo:demo",
        "softmax, sigmoid and MILe on real digits, in two minutes",
    ),
    "demo photos": Command(
        "demo:PhotosOptions",
        "demo_photos:demo_photos",
        "real photos on which experts were unsure: wrong labels found, soft labels learned",
    ),
    "advise": Command(
        "advise:AdviseOptions",
        "advise:advise",
        "what the labels are like, and which method is worth trying first",
    ),
    **{
        f"train {name}": Command(
            f"train:{name.replace('-', '_')}",
            "train:train",
            str(method.settings.__doc__).splitlines()[0],
        )
        for name, method in METHODS.items()
    },
    "resume": Command("runs:ResumeOptions", "resume:resume", "go on with an interrupted run"),
    "evaluate": Command(
        "runs:EvaluateOptions",
        "evaluate:evaluate",
        "judge a run's model on labelled images, or score tables on reassessed labels",
    ),
    "predict": Command(
        "runs:PredictOptions", "predict:predict", "write a label table of what a model sees"
    ),
    "explain": Command(
        "explain:ExplainOptions",
        "explain:explain",
        "where a run's models look for a class: activation maps side by side",
    ),
    "calibrate": Command(
        "calibrate:CalibrateOptions",
        "calibrate:calibrate",
        "probabilities of presence out of a model that learned from single labels",
    ),
    "export": Command(
        "export:ModelExportOptions",
        "export_model:export_model",
        "a run's model for timm, ONNX or torch.export, checked against the run",
    ),
    "report": Command(
        "runs:ReportOptions", "report:report", "make the HTML page of a run or comparison again"
    ),
    "transfer": Command(
        "transfer:TransferOptions",
        "transfer:transfer",
        "a trained network on other classes: fine-tuned, or logistic regression on its features",
    ),
    "compare": Command(
        "compare:CompareOptions",
        "compare:compare",
        "several methods under one budget, with intervals",
    ),
    "noise": Command(
        "noise:NoiseOptions", "noise:noise", "make some labels wrong on purpose, exactly so many"
    ),
    "noise estimate": Command(
        "noise:EstimateOptions",
        "noise_estimate:noise_estimate",
        "the noise matrix behind given labels, from held-out scores",
    ),
    "probe compression": Command(
        "probe:CompressionOptions",
        "probe:compression",
        "how hard random labels are to fit on a run's features",
    ),
    "relabel propose": Command(
        "relabel:ProposeOptions",
        "propose:propose",
        "which classes raters are to be asked about, from several models' scores",
    ),
    "relabel consensus": Command(
        "relabel:ConsensusOptions", "consensus:consensus", "raters' answers to labels"
    ),
    "relabel tasks": Command(
        "rate:TasksOptions",
        "tasks:tasks",
        "proposals as tasks of similar classes, in a store for raters",
    ),
    "rate": Command("rate:RateOptions", "rate:rate", "serve the tasks to raters as web pages"),
    "relabel export": Command(
        "rate:ExportOptions", "export:export", "write the answers of a rating store to a file"
    ),
    "relabel hashtags": Command(
        "relabel:HashtagsOptions", "hashtags:hashtags", "hashtags or search queries to classes"
    ),
    "relabel clean": Command(
        "relabel:CleanOptions", "clean:clean", "drop the labels that held-out models do not confirm"
    ),
    "review": Command(
        "review:ReviewOptions",
        "review:review",
        "look at doubtful labels on a page, mend them in bulk, and learn again",
    ),
    "embed": Command(
        "embed:EmbedOptions",
        "embed:embed",
        "the features of images by a pretrained network or a run, once, as a table",
    ),
    "score": Command(
        "scale:ScoreOptions",
        "score:score",
        "the best classes of very many images as a score table, shard by shard",
    ),
    "select": Command(
        "scale:SelectOptions",
        "select:select",
        "the best images of every class out of a score table of any size",
    ),
    "pack": Command(
        "pack:PackOptions",
        "pack:pack",
        "copy images, or only picked ones, into tar shards of their own",
    ),
    "dedup": Command(
        "dedup:DedupOptions", "dedup:dedup", "find images that are in two sets, or twice in one"
    ),
    "partition": Command(
        "partition:PartitionOptions",
        "partition:partition",
        "split the classes by co-occurrence and dis-occurrence",
    ),
    "convert": Command(
        "convert:ConvertOptions",
        "convert:convert",
        "labels of other programs (COCO, CVAT, Label Studio, Hugging Face …) in and out",
    ),
}
"""Words of a command -> where it is."""


def run(options: Any) -> Any:
    """The result of the command whose options these are."""
    from .options.paths import check_inputs, with_copies

    options = with_copies(options)
    check_inputs(options)  # before anything heavy is imported
    entry = next(c for c in TABLE.values() if c.options.split(":")[1] == type(options).__name__)
    with telling_of_imports():
        function: Callable[[Any], Any] = _load("commands", entry.function)
        return function(options)


def _load(floor: str, where: str) -> Any:
    module, name = where.split(":")
    return getattr(importlib.import_module(f"reteach.{floor}.{module}"), name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for an error of the user's, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with _terminated_like_interrupted(), _showing_addresses(words):
            return _main(words)
    except (UserError, Interrupted) as error:
        _tell(str(error))
        return 2 if isinstance(error, UserError) else 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if (told := _of_the_machine(error)) is None:
            raise
        _tell(told)
        return 2


@contextmanager
def _showing_addresses(words: list[str]) -> Iterator[None]:
    """Where objects are named, what is said names them too, not their copies."""
    from . import storage

    if not any("://" in word for word in words) and not Path(storage.scratch()).exists():
        yield
        return
    with storage.telling():
        yield


def _tell(error: str) -> None:
    from .storage import shown

    error = shown(error)
    if os.environ.get("RANK", "0") == "0":  # under torchrun all processes say the same
        said = error if len(error) <= _LONGEST else f"{error[:_LONGEST]} …"
        print(f"reteach: {said}", file=sys.stderr)


_LONGEST = 2000
"""Characters of an error; a name may be longer."""


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is half-written is removed on the way."""
    ours = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != ours:  # a process forked from this one, which ends at once
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _of_the_machine(error: Exception) -> str | None:
    """What the machine refused, in one line: disk, memory, files. None: something else, a fault of ours."""
    from .files import out_of_space

    if out_of_space(error):
        return "the disk is full: free some space, then run the same again"
    if isinstance(error, MemoryError):
        return "out of memory: use a smaller --batch-size, fewer --workers, or a larger machine"
    if isinstance(error, OSError) and error.errno is not None and error.errno in _MACHINE:
        where = f" {os.fsdecode(error.filename)!r}:" if error.filename is not None else ""
        return f"the system refuses:{where} {os.strerror(error.errno)}"
    return None


_MACHINE = {
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOLCK, errno.EFBIG),
}


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version"):
        from . import __version__

        print(f"reteach {__version__}")
        return 0
    if words[0] == COMPLETION:
        print(_completion(words[1:]), end="")
        return 0
    if words[0] not in TABLE and _begins(words[0]) and (words[1:] or ["-h"])[0] in ("-h", "--help"):
        print(_help(words[0]))
        return 0
    name = _named(words)
    rest = words[len(name.split()) :]
    asked = {word for word in rest if word in ALWAYS}
    _refuse_together(asked)
    as_json, quiet = "--json" in asked, "--quiet" in asked
    command = _load("options", TABLE[name].options)
    with _help_with_examples(name):
        options = parse(command, name, [word for word in rest if word not in ALWAYS])
    if "--print-config" in asked:
        print(config_text(options), end="")
        return 0
    dry = "--dry-run" in asked
    with _said_on_the_way(as_json, quiet):
        result = _load("commands", "dry_run:dry_run")(options) if dry else run(options)
    if as_json or not quiet:
        _print(result, as_json)
    return 0


ALWAYS = ("--json", "--quiet", "--dry-run", "--print-config")
"""Flags that every command takes beside its own."""
COMPLETION = "completion"


def _refuse_together(asked: set[str]) -> None:
    """Refuse flags of which one would have no effect."""
    for one, others in (("--print-config", asked), ("--dry-run", asked & {"--quiet"})):
        for other in sorted(others - {one}) if one in asked else ():
            raise UserError(f"{other} has no effect with {one}; leave it out")


@contextmanager
def _said_on_the_way(as_json: bool, quiet: bool) -> Iterator[None]:
    """A command may say things on the way: with --json they go to stderr, so that the object stands alone.

    With --quiet there are neither these nor progress; warnings and errors stay.
    """
    if not quiet:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            yield
        return
    before = os.environ.get(QUIET)
    os.environ[QUIET] = "1"
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        os.environ.pop(QUIET) if before is None else os.environ.update({QUIET: before})


@contextmanager
def _help_with_examples(name: str) -> Iterator[None]:
    """Examples below what --help says, before the command line ends."""
    try:
        yield
    except SystemExit as end:
        if end.code in (0, None):
            print(examples_text(name))
        raise


def _completion(words: list[str]) -> str:
    """The script of a shell.

    Raises:
        UserError: not one of the shells.
    """
    from .completion import SHELLS, script, words_of
    from .runs.config_flags import settings

    if words in ([], ["-h"], ["--help"]):
        lines = ["usage: reteach completion {bash,zsh,fish}", "", TELLS_COMPLETION]
        return "\n".join([*lines, examples_text(COMPLETION), ""])
    if len(words) != 1 or words[0] not in SHELLS:
        raise UserError(f"reteach completion needs one shell: {', '.join(SHELLS)}")
    known = {name: words_of(settings(_load("options", c.options))) for name, c in TABLE.items()}
    return script(words[0], known)


TELLS_COMPLETION = "commands and flags at the press of Tab, for bash, zsh or fish"


def _print(result: Any, as_json: bool) -> None:
    """A result on standard output; under torchrun the first process prints."""
    if os.environ.get("RANK", "0") != "0":
        return
    from .commands.result import to_json

    for line in [to_json(result)] if as_json else result.lines():
        print(line)


def _begins(word: str) -> bool:
    """Whether there are commands of two words of which this is the first."""
    return any(name.startswith(f"{word} ") for name in TABLE)


def _named(words: list[str]) -> str:
    """The command that the words begin with.

    Raises:
        UserError: there is none; says which could be meant.
    """
    if " ".join(words[:2]) in TABLE:
        return " ".join(words[:2])
    first, second = words[0], "".join(word for word in words[1:2] if not word.startswith("-"))
    if _begins(first) and (second or first not in TABLE):
        raise UserError(_unknown_second(first, second))
    if first not in TABLE:
        raise UserError(_unknown(first, second))
    return first


def _unknown_second(first: str, second: str) -> str:
    """What to say where commands begin with this word and none goes on like this."""
    if not second:
        return f"reteach {first} needs one more word (reteach {first} --help lists them)"
    named = {n.split()[1]: n for n in TABLE if n.startswith(f"{first} ")}
    return f"unknown command '{first} {second}'{_meant([second], named)} (reteach --help lists all)"


def _unknown(first: str, second: str) -> str:
    """What to say where no command begins with this word.

    It may be a first word, a second one whose first was forgotten, or both words may be mistyped.
    """
    named = {n.split()[0]: n.split()[0] for n in TABLE} | {n: n for n in TABLE}
    named = {n.split()[-1]: n for n in TABLE} | named
    said = [first, f"{first} {second}"] if second else [first]
    return f"unknown command {first!r}{_meant(said, named)} (reteach --help lists all)"


def _meant(said: list[str], named: dict[str, str]) -> str:
    """A hint of the commands whose words are nearest to what was said.

    Args:
        named: words -> the command that they stand for.
    """
    nearness: dict[str, float] = {}
    for word, command in named.items():
        ratio = max(SequenceMatcher(None, text.lower(), word).ratio() for text in said)
        nearness[command] = max(ratio, nearness.get(command, 0.0))
    order = sorted(nearness, key=lambda command: -nearness[command])
    best = nearness[order[0]]
    near = [command for command in order[:3] if nearness[command] >= best - 0.05]
    return f"; did you mean {' or '.join(near)}?" if best >= 0.6 else ""


def _help(group: str | None = None) -> str:
    shown = {n: command.help for n, command in TABLE.items() if group in (None, n.split()[0])}
    if group is None:
        shown[COMPLETION] = TELLS_COMPLETION
    lines = list(overview(shown))
    return "\n".join(
        [
            "usage: reteach COMMAND … [--config FILE.yaml]",
            "",
            "Image classifiers from noisy, ambiguous or incomplete labels.",
            "",
            *lines,
            "reteach COMMAND --help explains its settings. To begin: reteach demo",
            "",
            "--config takes settings from a file, as 'name: value' lines; the command line wins over it.",
            "A run's own is one: reteach train mile --config runs/mile-1/config.yaml trains it once more.",
            "--json prints the result as one JSON object instead of lines; --quiet only warnings and errors.",
            "--dry-run says what would be read and made, and how many steps; --print-config the settings.",
            "NO_COLOR=1 in the environment leaves colours out.",
            "A flag given twice is an error; one that takes several values takes them all at once.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
