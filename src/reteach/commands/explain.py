"""Where a run's models look: class activation maps of its teachers and its student side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..analysis.cam import cam, heat
from ..data.dataset import Dataset
from ..data.loading.augment import Eval
from ..data.loading.reader import Augment
from ..data.sources.base import Source, need_pixels, open_source
from ..engine.algorithm import Specialist
from ..engine.evaluate import outputs
from ..engine.learner import Predictor
from ..errors import UserError, closest
from ..formatting import plural
from ..labels import Rows
from ..options.explain import ExplainOptions
from ..processes import decoders
from ..progress import progress
from ..report.pages.explain import Explained, Look, Shown, write_explained
from ..runs.checkpoint import LoadedModels, load_models, load_specialists
from ..runs.gallery import data_url
from ..tables import read_labels
from ..unreadable import Unreadable, unreadable

Pixels = NDArray[np.uint8]
LONGEST, SMALLEST = 1024, 224
"""Longer side in pixels to which large photos are reduced on the page, and small ones enlarged."""
RAMP = np.array([[0, 0, 130], [0, 110, 255], [0, 230, 170], [255, 225, 0], [225, 20, 0]], float)
"""The colours of a map, from what says nothing to what speaks for the class."""


@final
@dataclass(frozen=True, eq=False)
class _Witness:
    """A model that knows the class, and at which of its outputs."""

    title: str
    classes: tuple[str, ...]
    predictor: Predictor
    column: int


@final
@dataclass(frozen=True)
class ExplainResult:
    """A page of activation maps.

    Args:
        report: the page.
        images: class -> how many images of it are shown.
        surest: whether they are those that the model is surest of, as no label says what they show.
        unreadable: what could not be read, of the images that were looked at.
        explained: what is on the page.
    """

    report: Path
    images: dict[str, int]
    surest: bool
    unreadable: Unreadable
    explained: list[Explained] = field(metadata={"json": False})

    def lines(self) -> Iterator[str]:
        """How many images are shown, and where."""
        shown = sum(len(one.shown) for one in self.explained)
        yield f"{plural(shown, 'image')} for {plural(len(self.explained), 'class', 'classes')}"
        if self.surest:
            yield (
                "these are the images that the model is surest of; they need not show the class: "
                "--labels names those that do"
            )
        yield f"report: {self.report}"


def explain(options: ExplainOptions) -> ExplainResult:
    """Write the page.

    Raises:
        UserError: a class that the run does not know, no image to show, or a network without a
            feature map.
    """
    saved = load_models(options.run_folder, options.device)
    _check(options, saved)
    teachers = load_specialists(options.run_folder, options.device)
    source = open_source(options.images)
    need_pixels(source, "reteach explain")
    data = Dataset.unlabeled(source, saved.classes)
    named = _named(options, source)
    if named:
        data = data.subset(np.array([item in named for item in source.items]))
    rows, scores, broken = _scores(saved, data, options)
    explained = []
    for cls in options.classes:
        column = saved.classes.index(cls)
        order = rows[np.argsort(-scores[:, column], kind="stable")]
        items = data.items
        if named:
            order = np.array([r for r in order.tolist() if cls in named[items[r]]], np.int64)
            order = order[
                np.linspace(0, len(order) - 1, min(options.count, len(order))).astype(int)
            ]
        order = order[: options.count]
        witnesses = _witnesses(saved, teachers, cls)
        few = data.subset(order)
        shown = _shown(saved, witnesses, few, named, options) if len(order) else []
        explained.append(Explained(cls, shown, None if named else len(rows)))
    if not any(one.shown for one in explained):
        raise UserError(f"{options.labels or options.images}: no image has one of the classes")
    write_explained(options.out, explained, options.run_folder.name, options.map)
    return ExplainResult(
        options.out,
        {one.name: len(one.shown) for one in explained},
        any(one.of is not None for one in explained),
        unreadable(options.out, broken, source=source),
        explained,
    )


def _named(options: ExplainOptions, source: Source) -> dict[str, list[str]]:
    """item -> its classes, from the label table or the images' own folders; empty if nobody said."""
    if options.labels is not None:
        table = read_labels(options.labels, kind="multi")
        named = dict(zip(table.items, table.labels.names(), strict=True))
        if not any(item in named for item in source.items):
            raise UserError(f"{options.labels} has no row for any of the images")
        return named
    own = source.class_of
    if own is None or not set(options.classes) & set(own):
        return {}  # no folders, or folders that are something else
    return {item: [cls] for item, cls in zip(source.items, own, strict=True)}


def _check(options: ExplainOptions, saved: LoadedModels) -> None:
    for cls in options.classes:
        if cls not in saved.classes:
            raise UserError(
                f"{options.run_folder} knows no class {cls!r}{closest(cls, list(saved.classes))}"
            )
    if not options.classes:
        raise UserError("--classes: name at least one")


def _scores(
    saved: LoadedModels, data: Dataset, options: ExplainOptions
) -> tuple[Rows, NDArray[np.float32], dict[str, str]]:
    """The readable rows (M,), the model's scores of them (M, C), and why the others are not."""
    scan = saved.scan(data, options.batch_size, decoders(options.workers))
    batches: list[tuple[Rows, NDArray[np.float32]]] = []
    with progress("looking for the classes", len(data)) as on_progress:
        for rows, out in outputs(saved.predictor.scores, scan):
            batches.append((rows, out.cpu().numpy()))
            on_progress(int(rows[-1]) + 1)
    if not batches:
        raise UserError(f"none of the images of {options.images} can be read")
    rows, seen = map(np.concatenate, zip(*batches, strict=True))
    return rows, seen, scan.broken


def _witnesses(saved: LoadedModels, teachers: dict[str, Specialist], cls: str) -> list[_Witness]:
    """The teachers that know a class, then the models for all classes."""
    specialists = [
        _Witness(name, teacher.classes, teacher.predictor, teacher.classes.index(cls))
        for name, teacher in teachers.items()
        if cls in teacher.classes
    ]
    column = saved.classes.index(cls)
    return specialists + [
        _Witness(name, (), predictor, column) for name, predictor in saved.predictors.items()
    ]


def _shown(
    saved: LoadedModels,
    witnesses: list[_Witness],
    data: Dataset,
    named: dict[str, list[str]],
    options: ExplainOptions,
) -> list[Shown]:
    """The images with what each model looks at."""
    looks: list[list[Look]] = [[] for _ in range(len(data))]
    photos: list[Pixels | None] = [None] * len(data)
    view = saved.seen.view(videos=False)
    for rows, x in saved.scan(data, options.batch_size, 0):
        for row in rows.tolist():
            photos[row] = _bounded(data.source.read(int(data.rows[row])))
        for witness in witnesses:
            # of several networks that predict together: the mean of their maps
            maps = [
                cam(model, x, [witness.column], options.map) for model in witness.predictor.models
            ]
            sure = witness.predictor.scores(x)[:, witness.column].tolist()
            for row, one, score in zip(rows.tolist(), torch.stack(maps).mean(0), sure, strict=True):
                photo = photos[row]
                assert photo is not None
                picture = _url(_overlaid(photo, one, view))
                looks[row].append(Look(witness.title, witness.classes, score, picture))
    return [
        Shown(item, _url(photo), tuple(named.get(item, ())), tuple(mine))
        for item, photo, mine in zip(data.items, photos, looks, strict=True)
        if photo is not None
    ]


def _bounded(photo: Pixels) -> Pixels:
    """(H, W, 1 or 3) with the longer side at most :data:`LONGEST` pixels."""
    scale = LONGEST / max(photo.shape[:2])
    if scale >= 1:
        return photo
    height, width = (max(1, round(scale * side)) for side in photo.shape[:2])
    image = Image.fromarray(photo[..., 0] if photo.shape[-1] == 1 else photo)
    small = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    return small.reshape(height, width, -1)


def _url(picture: Pixels) -> str:
    """The picture at its own size; only tiny ones are enlarged."""
    return data_url(picture, max(SMALLEST, *picture.shape[:2]))


def _overlaid(photo: Pixels, found: Tensor, view: Augment) -> Pixels:
    """A map (1, h, w) over the part of a photo (H, W, 1 or 3) that the network saw; the rest is grey."""
    height, width = photo.shape[:2]
    rows, columns = _seen(view, height, width)
    size = rows.stop - rows.start, columns.stop - columns.start
    out = np.repeat(photo.mean(-1, keepdims=True), 3, -1)
    warm = heat(found[None], size)[0, 0].cpu().numpy()
    out[rows, columns] = _over(photo[rows, columns], warm)
    return np.asarray(out.round(), np.uint8)


def _seen(view: Augment, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a photo that reach the network."""
    if not isinstance(view, Eval):
        return slice(0, height), slice(0, width)
    side = view.share() * min(height, width)
    return _middle(height, side), _middle(width, side)


def _middle(length: int, part: float) -> slice:
    start = round((length - part) / 2)
    return slice(start, max(start + 1, min(length, start + round(part))))


def _over(pixels: Pixels, warm: NDArray[np.float32]) -> Pixels:
    """A map (H, W) in [0, 1] in colours over a picture (H, W, 1 or 3) that has lost its own."""
    grey = pixels.mean(-1, keepdims=True)
    stops = np.linspace(0, 1, len(RAMP))
    colour = np.stack([np.interp(warm, stops, channel) for channel in RAMP.T], -1)
    return np.asarray((0.5 * grey + 0.5 * colour).round(), np.uint8)
