"""Making the prepared folder: items, given labels and features in, arrays and the first opinion out."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..labels import Multi
from .estimate import guess, worst_entry
from .heads import Lesson, Moments, folds_of, out_of_fold
from .prepared import (
    LEARNED,
    REVIEW,
    Entries,
    Floats,
    Half,
    Kind,
    LearnedRecord,
    Opinion,
    Prepared,
    ReviewRecord,
    identity_of,
    save_learned,
    write_items,
)

NEAR = 32
"""Directions in which images are looked for that are like one."""


@final
@dataclass(frozen=True, eq=False)
class ReviewItems:
    """What is to be reviewed: N items.

    Args:
        items: their names.
        given: their labels; of single ones, sets of one class or none.
        features: (N, D), finite.
        images, labels: where pictures and labels are from, for people and for the next training.
        words: what the features are.
        settings: as the feature table has them.
        copies: (N,) the group of copies of each item; None: none are known.
        dispute: (N,) how far raters disagree.
        second: what another model says.
        opinion: out of fold, if it is known; None: heads learn.
    """

    kind: Kind
    items: Sequence[str]
    given: Multi
    features: Half
    images: str = ""
    labels: str = ""
    words: str = "features"
    settings: dict[str, Any] = field(default_factory=dict)
    copies: NDArray[np.int64] | None = None
    dispute: Floats | None = None
    second: Opinion | None = None
    opinion: Opinion | None = None
    source: str = "images"
    train: tuple[str, ...] = ()


def write_prepared(out: Path, of: ReviewItems, *, folds: int = 5, seed: int = 0) -> Prepared:
    """Write a prepared folder, whole or not at all.

    Raises:
        UserError: there is something, or features and labels do not go together.
    """
    import pyarrow as pa

    if out.exists():
        raise UserError(f"{out} exists already: name another --out, or remove it")
    given = Entries.of(of.given)
    _check(of, folds)
    out.parent.mkdir(parents=True, exist_ok=True)
    names = pa.array(of.items, pa.string())
    record = ReviewRecord(
        kind=of.kind,
        count=len(of.items),
        classes=of.given.classes,
        identity=identity_of(names, of.given.classes, given),
        images=of.images,
        labels=of.labels,
        features=of.words,
        settings=of.settings,
        source=of.source,
        train=of.train,
        folds=folds,
        seed=seed,
    )
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        part = Path(scratch) / "review"
        part.mkdir()
        write_items(part, names)
        given.save(part, "given")
        if of.given.unknown is not None:
            Entries.of(of.given.unknown).save(part, "unknown")
        np.save(part / "features.npy", np.asarray(of.features, np.float16))
        Moments.of(of.features, seed).save(part)
        near = directions(of.features, NEAR)
        np.save(part / "near.npy", near)
        np.save(part / "map.npy", np.ascontiguousarray(near[:, :2]))
        copies = np.arange(len(names)) if of.copies is None else of.copies
        np.save(part / "copies.npy", copies.astype(np.int32))
        if of.dispute is not None:
            np.save(part / "dispute.npy", of.dispute.astype(np.float32))
        if of.second is not None:
            of.second.save(part, "opinion-")
        REVIEW.write(part, record)
        _first_opinion(part, of, given, record)
        os.rename(part, out)
    return Prepared(out)


def _first_opinion(part: Path, of: ReviewItems, given: Entries, record: ReviewRecord) -> None:
    began = time.monotonic()
    opinion = of.opinion
    prepared = Prepared(part)
    if opinion is None:
        nothing = np.zeros(record.count, np.bool_)
        usable = given.sizes > 0 if of.kind == "single" else ~nothing
        fold = folds_of(prepared.copies, record.folds, record.seed)
        classes, moments = len(record.classes), Moments.load(part)
        lesson = Lesson(
            of.kind,
            prepared.features,
            moments,
            given,
            usable,
            nothing,
            classes,
            fold,
            record.seed,
        )
        opinion = out_of_fold(lesson, given)
    doubt = worst_entry(of.kind, given, opinion)
    no_rows = np.zeros(0, np.int64)
    guessed = guess(of.kind, len(record.classes), given, opinion, doubt, given, no_rows)
    folder = part / LEARNED / "0"
    folder.mkdir(parents=True)
    save_learned(folder, LearnedRecord(0, time.monotonic() - began, 0), opinion, guessed)


def _check(of: ReviewItems, folds: int) -> None:
    n = len(of.items)
    if len(of.given) != n or len(of.features) != n:
        raise ValueError(f"{n} items, {len(of.given)} label sets, {len(of.features)} features")
    if n < 2 * folds:
        raise UserError(f"a review needs at least {2 * folds} items ({folds} folds), got {n}")
    if len(of.given.classes) < 2:
        raise UserError("a review needs at least two classes")
    if of.kind == "single" and not len(of.given.columns):
        raise UserError("a review needs labelled items, and none of these has a label")
    bad = _not_finite(of.features)
    if bad is not None:
        raise UserError(f"the features of {of.items[bad]!r} are not finite numbers")


def _not_finite(features: Half) -> int | None:
    """The first row with a feature that is no finite number."""
    for start in range(0, len(features), 1 << 14):
        odd = ~np.isfinite(features[start : start + (1 << 14)]).all(1)
        if odd.any():
            return start + int(odd.argmax())
    return None


def directions(features: Half, count: int) -> Floats:
    """(N, ``count``) the features in the directions in which a sample differs most."""
    n, width = features.shape
    some = np.sort(np.random.default_rng(0).permutation(n)[: min(n, 20_000)])
    x = np.asarray(features[some], np.float32)
    mean = x.mean(0)
    _, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    take = vectors[:, ::-1][:, : min(count, width)]
    out = np.empty((n, take.shape[1]), np.float32)
    for start in range(0, n, 1 << 14):
        part = slice(start, start + (1 << 14))
        out[part] = (np.asarray(features[part], np.float32) - mean) @ take
    return out
