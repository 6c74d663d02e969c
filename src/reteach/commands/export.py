"""``reteach relabel export``: the answers of a rating store as a file for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..errors import UserError
from ..files import atomic_write
from ..options.rate import ExportOptions
from ..rating.export import ratings_csv, verdicts_csv
from ..rating.label_studio_export import CONFIG, label_studio_json
from ..rating.store import open_store


@final
@dataclass(frozen=True)
class ExportResult:
    """The answers that were written.

    Args:
        out: their file.
        config: the labelling interface of Label Studio, beside a .json.
        answers_only: whether the columns have no place for pairs nobody answered, gold and images
            without a task.
    """

    out: Path
    config: Path | None = None
    answers_only: bool = False

    def lines(self) -> Iterator[str]:
        """What is not in the file, and the files."""
        if self.config is not None:
            yield f"labelling interface for the project: {self.config}"
        if self.answers_only:
            yield (
                "crowd-kit's columns list answers only: pairs nobody answered, gold they have, and images "
                "without a task are left out; the store and --columns reteach have them"
            )
        yield f"answers: {self.out}"


def export(options: ExportOptions) -> ExportResult:
    """Write the answers in a rating store for other programs.

    Raises:
        UserError: no such store, or a file of another kind.
    """
    store = open_store(options.ratings)
    ending = options.out.suffix.lower()
    result = ExportResult(options.out)
    if ending == ".json":
        config = options.out.with_suffix(".xml")
        atomic_write(options.out, label_studio_json(store))
        atomic_write(config, CONFIG)
        result = ExportResult(options.out, config)
    elif ending == ".csv" and store.settings.kind == "mistakes":
        if options.columns is not None:
            raise UserError("--columns has no effect on verdicts on mistakes; leave it out")
        atomic_write(options.out, verdicts_csv(store))
    elif ending == ".csv":
        atomic_write(options.out, ratings_csv(store, options.columns or "reteach"))
        result = ExportResult(options.out, answers_only=options.columns == "crowd-kit")
    else:
        raise UserError(f"{options.out}: answers are written as .csv or .json")
    store.close()
    return result
