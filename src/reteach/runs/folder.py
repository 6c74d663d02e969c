"""A run folder is claimed once: by its configuration, which must be the same when it goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .. import storage
from ..data.sources.base import PREFIX
from ..engine import distributed
from ..errors import UserError
from ..files import local
from ..locks import numbered_folder, only_writer
from ..options import shared as options
from ..options.paths import refuse_taken
from . import config as configs


def new_folder(config: configs.Config) -> Path:
    """The run folder; a new number in ``runs`` when none is given."""
    if config.output.out is not None:
        return config.output.out
    return numbered_folder(Path("runs"), config.method)


def how_far(folder: Path | None) -> int:
    """How far a run has come in what is seen of it here; 0: there is none."""
    if folder is None or not (folder / "config.yaml").is_file():
        return 0
    log = folder / "metrics.jsonl"
    return 1 + (log.stat().st_size if log.is_file() else 0)


@contextmanager
def writing_run(config: configs.Config, resumed: bool = False) -> Iterator[Path]:
    """The run folder, in which no other process writes meanwhile.

    What an attempt leaves there that fails before the first stage goes again, so that the name stays free.

    Args:
        resumed: there is no other folder to take.
    """
    with ExitStack() as stack:
        folder = Path()
        with distributed.together():
            if distributed.rank() == 0:
                folder = new_folder(config)
                local(folder, "--out")
                lock = only_writer(
                    folder,
                    worth="stages",
                    otherwise="end it" if resumed else "use another --out",
                    made=config.output.out is None,
                )
                stack.enter_context(lock)
        told = distributed.share(storage.address_of(folder) or folder)
        # each machine has its own copy of what is at a store
        yield storage.path_of(told) if isinstance(told, storage.Address) else told


def open_run_folder(config: configs.Config, folder: Path, moved: bool = False) -> configs.Config:
    """Hold the configuration against the folder's own, or write it there; the first process does.

    Args:
        moved: the images may be elsewhere than they were.
    """
    local(folder, "--out")
    config = replace(
        config,
        output=replace(config.output, out=folder),
        data=_absolute(config.data),
        model=_absolute_paths(config.model),
        settings=_absolute_paths(config.settings),
    )
    refusal = ""
    if distributed.rank() == 0:
        try:
            _claim(config, folder, moved)
        except UserError as error:
            refusal = str(error)
    refusal = distributed.share(refusal)  # also lets the others wait for the folder
    if refusal:
        raise UserError(refusal)
    return config


def _claim(config: configs.Config, folder: Path, moved: bool) -> None:
    file = folder / "config.yaml"
    if file.exists():
        old = configs.load(file)
        if moved:
            old = replace(old, data=replace(old.data, images=config.data.images))
        changed = configs.difference(old, config)
        if changed:
            raise UserError(
                f"{folder} holds a run of another configuration ({changed}); use another --out"
            )
        print(f"going on with {folder}", file=sys.stderr)
        return
    refuse_taken(folder)
    folder.mkdir(parents=True, exist_ok=True)
    configs.save(config, file)


def _absolute_paths(settings: Any) -> Any:
    """Settings, their files absolute."""

    def absolute(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(absolute, value))
        return value.expanduser().absolute() if isinstance(value, Path) else value

    return replace(
        settings, **{f.name: absolute(getattr(settings, f.name)) for f in fields(settings)}
    )


def _absolute(data: options.Data) -> options.Data:
    """Local paths made absolute, so that a run can be resumed from anywhere."""

    def text(where: str | None) -> str | None:
        if where is None or where.startswith(("hf:", PREFIX)) or storage.address(where):
            return where
        if where.startswith("cifar:"):
            return f"cifar:{Path(where.removeprefix('cifar:')).expanduser().absolute()}"
        return str(Path(where).expanduser().absolute())

    def path(where: Path | None) -> Path | None:
        return None if where is None else where.expanduser().absolute()

    def both(given: str) -> str:
        name, images, labels = options.named_images(given, "--also-val")
        return f"{name}={text(images)}" + ("" if labels is None else f",{path(labels)}")

    return replace(
        data,
        images=text(data.images),
        also_val=tuple(map(both, data.also_val)),
        val_images=text(data.val_images),
        unlabeled=text(data.unlabeled),
        labels=path(data.labels),
        val_labels=path(data.val_labels),
    )
