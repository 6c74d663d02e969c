"""Measurements: JSON lines in the run folder, and other places where asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from ..errors import missing_extra
from ..files import atomic_write, writing
from ..storage import view
from ..structured import parse_json
from . import distributed

Record = dict[str, Any]
Sink = Callable[[Record], None]


@final
@dataclass(eq=False)
class Log:
    """Keeps records in ``metrics.jsonl`` and passes them on; only the first process writes.

    Args:
        file: the JSON-lines file; None keeps the records in memory alone.
        sinks: more places to send each new record to.
    """

    file: Path | None = None
    sinks: tuple[Sink, ...] = ()
    records: list[Record] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.file is not None:
            self.records = read_records(self.file)

    def write(self, record: Record) -> None:
        """Add one record; numbers that are not finite are written as null."""
        if distributed.rank() > 0:
            return
        clean = {
            k: (None if isinstance(v, float) and not math.isfinite(v) else v)
            for k, v in record.items()
        }
        self.records.append(clean)
        if self.file is not None:
            with writing(self.file):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with open(self.file, "a", encoding="utf-8") as out:
                    out.write(json.dumps(clean) + "\n")
            view.appended(self.file, json.dumps(clean) + "\n")
        for sink in self.sinks:
            sink(clean)

    def rewind(self, stage: str, step: int) -> None:
        """Forget what a stage logged after ``step``: the work that a crash threw away."""
        if distributed.rank() > 0:
            return
        kept = [r for r in self.records if r.get("stage") != stage or r.get("step", 0) <= step]
        if self.file is not None and self.file.exists():
            view.appended(self.file, json.dumps({view.REWIND: stage, "step": step}) + "\n")
            atomic_write(self.file, "".join(json.dumps(record) + "\n" for record in kept))
        self.records = kept


def read_records(file: Path) -> list[Record]:
    """The records of a JSON-lines file; a last line cut short by a crash is left out."""
    if not file.exists():
        return []
    records = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def tensorboard(folder: Path) -> Sink:
    """Scalars for TensorBoard, tagged stage/kind/name."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise missing_extra("--tensorboard", "tensorboard", "tensorboard") from None
    writer = SummaryWriter(str(folder))

    def sink(record: Record) -> None:
        for name, value in scalars(record):
            writer.add_scalar(name, value, record["step"])
        writer.flush()

    return sink


def wandb(project: str, folder: Path, config: dict[str, Any]) -> Sink:
    """Scalars for Weights & Biases."""
    try:
        import wandb as service
    except ImportError:
        raise missing_extra("--wandb", "wandb", "wandb") from None
    run = service.init(project=project, dir=str(folder), config=config, resume="allow")

    def sink(record: Record) -> None:
        run.log(dict(scalars(record)) | {"step": record["step"]})

    return sink


def scalars(record: Record) -> list[tuple[str, float]]:
    """The numbers of a record, named stage/data/predictor/name."""
    where = [record["stage"], record.get("data"), record.get("predictor")]
    prefix = "/".join(str(part) for part in where if part)
    return [
        (f"{prefix}/{name}", value)
        for name, value in record.items()
        if isinstance(value, int | float) and name != "step"
    ]
