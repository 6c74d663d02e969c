"""``reteach review``: a prepared folder, made or opened, and the page on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..data.sources.feature_table import is_table
from ..errors import UserError
from ..inline import InNotebook
from ..labels import as_multi
from ..options.review import ReviewOptions
from ..progress import note
from ..review.export import ReviewExport
from ..review.prepare import ReviewItems, write_prepared
from ..review.prepared import Entries, Prepared, identity_of
from ..review.session import ReviewSession, open_session
from ..review.sources import (
    ReviewInputs,
    asked_of_folder,
    dataset_of,
    is_prepared,
    rated_items,
    review_items,
)

ENDING = ".review"
_FILES = (".db", ".sqlite", ".sqlite3", ".csv", ".json")
"""Endings of places where ratings are kept."""


@final
@dataclass(frozen=True)
class ReviewResult(InNotebook):
    """Where a review stands.

    Args:
        folder: the prepared folder.
        store: where the decisions are.
        items: in the review.
        reviewed: decided ones.
        changed: items whose labels are others now.
        labels, changes: what was exported.
        train: the next training, as one line.
    """

    folder: Path
    store: str
    items: int
    reviewed: int
    changed: int
    labels: Path | None = None
    changes: Path | None = None
    train: str | None = None

    def lines(self) -> Iterator[str]:
        """How far it is, where everything is, and how to go on."""
        yield f"{self.items:,} items, {self.reviewed:,} reviewed, {self.changed:,} changed"
        if self.labels is not None:
            yield f"labels: {self.labels}"
            yield f"changes: {self.changes}"
            yield f"train on them: {self.train}"
        else:
            yield f"go on: reteach review {self.folder}"
        yield f"decisions: {self.store}"


def review(options: ReviewOptions) -> ReviewResult:
    """Prepare what is not prepared, and serve the page until Ctrl-C, or export.

    Raises:
        UserError: inputs that do not go together, or an address that cannot be used.
    """
    folder = _folder(options)
    session = open_session(folder, options.store, learn_after=options.learn_after)
    if options.export is not None:
        found: ReviewExport | None = session.export(options.export)
    else:
        found = None
        if not options.prepare:
            _serve(options, session)
    progress = session.progress()
    session.close()
    return ReviewResult(
        folder,
        session.store.where,
        progress.count,
        progress.reviewed,
        progress.changed,
        *((None, None, None) if found is None else (found.labels, found.changes, found.train)),
    )


def _folder(options: ReviewOptions) -> Path:
    """The prepared folder, made if it is not there."""
    source = options.source
    if source is not None and is_prepared(Path(source)):
        unused = [
            f"--{name}"
            for name in ("labels", "features", "kind", "classes", "out")
            if getattr(options, name) is not None
        ]
        if unused:
            raise UserError(
                f"{unused[0]} has no effect: {source} is prepared already; leave it out"
            )
        return Path(source)
    asked = ReviewInputs(
        options.images or "",
        options.labels,
        options.features,
        options.kind,
        options.classes,
        options.workers,
    )
    if source is not None and _holds_ratings(source):
        return _made(options, _place(options, source), _rated(source, asked))
    if source is not None:
        if options.labels is not None:
            raise UserError(f"--labels has no effect: {source} says which they are; leave it out")
        asked = asked_of_folder(Path(source), asked)
    out = _place(options, source or str(options.labels or options.images))
    data = dataset_of(asked)
    if is_prepared(out):
        return _same(out, data.items, Entries.of(as_multi(data.labels)), data.classes)
    return _made(options, out, review_items(asked, data))


def _holds_ratings(source: str) -> bool:
    return "://" in source or source.lower().endswith(_FILES)


def _rated(source: str, asked: ReviewInputs) -> ReviewItems:
    if not asked.images:
        raise UserError(f"{source} holds answers: name the images they are about with --images")
    if asked.labels is not None:
        raise UserError(f"--labels has no effect: the raters of {source} say them; leave it out")
    return rated_items(source, asked)


def _place(options: ReviewOptions, source: str) -> Path:
    """Where the prepared folder is, or will be."""
    if options.out is not None:
        return options.out
    if "://" in source or source.startswith(("hf:", "cifar:")):
        raise UserError(f"name the folder of the review with --out: {source} is no place for it")
    path = Path(source)
    return path / "review" if (path / "config.yaml").is_file() else path.with_suffix(ENDING)


def _made(options: ReviewOptions, out: Path, items: ReviewItems) -> Path:
    if is_prepared(out):
        return _same(out, items.items, Entries.of(items.given), items.given.classes)
    write_prepared(out, items, folds=options.folds, seed=options.seed)
    note(f"prepared {len(items.items):,} items in {out}")
    return out


def _same(out: Path, items: object, given: Entries, classes: tuple[str, ...]) -> Path:
    """The folder that is there, if it is the review of the same items and labels."""
    import pyarrow as pa

    record = Prepared(out).record
    if identity_of(pa.array(items, pa.string()), classes, given) != record.identity:
        raise UserError(
            f"{out} is the review of other images or labels: name another --out, or 'reteach review {out}' "
            "to go on with it"
        )
    return out


def _serve(options: ReviewOptions, session: ReviewSession) -> None:
    from ..review.web import serve_review

    images = options.images or session.prepared.record.images
    serve_review(
        session,
        images=None if not images or is_table(Path(images)) else images,
        reviewers=options.reviewers,
        host=options.host,
        port=options.port,
        public=options.public,
        browser=options.browser,
    )
