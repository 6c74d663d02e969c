"""``--dry-run`` of every command: what would be read, what would be written, and how long it would train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, final

from ..data.sources.named import is_named, open_images
from ..data.sources.shards import is_shards
from ..errors import UserError
from ..options.paths import is_made, with_copies
from ..options.runs import PredictOptions
from ..options.train import TrainOptions
from ..runs.checks import check_unlabeled
from ..runs.config import Config
from ..runs.config_flags import settings as settings_of
from ..runs.inputs import open_inputs
from ..runs.setup import images_taught, steps_of

_SOURCES = {"unlabeled", "against", "ratings"}
"""Settings beside those of images that are text and name a file or folder."""


@final
@dataclass(frozen=True)
class DryRunResult:
    """What a command would do.

    Args:
        reads: setting -> what is there.
        writes: setting -> what would be made, and whether something is there already.
        images: of training or to be predicted, where that is known without the work.
        val_images: to validate on.
        unreadable: images that cannot be used.
        steps: of training.
    """

    reads: dict[str, str]
    writes: dict[str, str]
    images: int | None = None
    val_images: int | None = None
    unreadable: int | None = None
    steps: int | None = None

    def lines(self) -> Iterator[str]:
        """What is read, made and how long it takes."""
        yield from (f"reads   {flag} {what}" for flag, what in self.reads.items())
        yield from (f"writes  {flag} {what}" for flag, what in self.writes.items())
        if self.images is not None:
            val = "" if self.val_images is None else f", {self.val_images:,} to validate on"
            lost = f", {self.unreadable:,} unreadable" if self.unreadable else ""
            yield f"images  {self.images:,}{val}{lost}"
        if self.steps is not None:
            yield f"steps   {self.steps:,}"
        yield "nothing was done"


def dry_run(options: Any) -> DryRunResult:
    """Look at everything that a command names, and do nothing.

    Raises:
        UserError: something that would be read is not there, or does not fit.
    """
    reads: dict[str, str] = {}
    writes: dict[str, str] = {}
    options = with_copies(options)
    _walk(options, reads, writes)
    if isinstance(options, TrainOptions):
        config = Config(
            options.method,
            options.settings,
            options.data,
            options.model,
            options.training,
            options.output,
        )
        if options.output.out is None:
            writes["--out"] = f"runs/{options.method}-NUMBER (new)"
        check_unlabeled(config.method, config.data)
        inputs = open_inputs(config.data, config.training.seed)
        val = 0 if inputs.val is None else len(inputs.val)
        steps = steps_of(config.data, config.training, images_taught(config, inputs))
        return DryRunResult(reads, writes, len(inputs.train), val, len(inputs.quarantine), steps)
    if isinstance(options, PredictOptions):
        return DryRunResult(reads, writes, len(open_images(options.images)))
    return DryRunResult(reads, writes)


def _walk(settings: Any, reads: dict[str, str], writes: dict[str, str]) -> None:
    positional = {name for name, each in settings_of(type(settings)).items() if each.positional}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            _walk(value, reads, writes)
            continue
        flag = field.name.replace("_", "-")
        said = flag.upper() if field.name in positional else f"--{flag}"
        written = is_made(type(settings), field.name)
        for path in (each for each in _each(value) if isinstance(each, Path)):
            there = f"{path} ({'is there already' if path.exists() else 'new'})"
            what = there if written else _there(path, said)
            into = writes if written else reads
            into[said] = f"{into[said]}, {what}" if said in into else what
        if isinstance(value, str) and ("images" in field.name or field.name in _SOURCES):
            reads[said] = value if _elsewhere(value) else _there(Path(value), said)


def _elsewhere(value: str) -> bool:
    """Whether images or answers are no file or folder that can be looked for: a pattern, an address."""
    address = value.startswith(("hf:", "cifar:")) or "://" in value
    return address or is_shards(value) or is_named(value)


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from value
    else:
        yield value


def _there(path: Path, said: str) -> str:
    if not path.exists():
        raise UserError(f"{said} {path} does not exist")
    return f"{path} (folder)" if path.is_dir() else f"{path} ({path.stat().st_size:,} bytes)"
