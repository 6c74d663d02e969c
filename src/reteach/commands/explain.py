"""Where a run's models look: class activation maps of its teachers and its student side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..analysis.cam import cam, heat
from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.sources.base import Source, open_source
from ..engine.algorithm import Specialist
from ..engine.evaluate import outputs
from ..engine.learner import Predictor
from ..errors import UserError, closest
from ..labels import Rows
from ..processes import decoders
from ..progress import progress
from ..report.pages.explain import Explained, Look, Shown, write_explained
from ..runs.checkpoint import TrainedModel, load_models, load_specialists
from ..runs.gallery import data_url
from ..tables import read_labels

if TYPE_CHECKING:
    from ..options.explain import ExplainOptions

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


def explain(command: ExplainOptions) -> list[Explained]:
    """Write the page; returns what is on it.

    Raises:
        UserError: a class that the run does not know, no image to show, or a network without a
            feature map.
    """
    saved = load_models(command.run_folder, command.device)
    _check(command, saved)
    teachers = load_specialists(command.run_folder, command.device)
    source = open_source(command.images)
    data = Dataset.unlabeled(source, saved.classes)
    named = _named(command, source)
    if named:
        data = data.subset(np.array([item in named for item in source.items]))
    rows, scores = _scores(saved, data, command)
    explained = []
    for cls in command.classes:
        column = saved.classes.index(cls)
        order = rows[np.argsort(-scores[:, column], kind="stable")]
        items = data.items
        if named:
            order = np.array([r for r in order.tolist() if cls in named[items[r]]], np.int64)
            order = order[
                np.linspace(0, len(order) - 1, min(command.count, len(order))).astype(int)
            ]
        order = order[: command.count]
        witnesses = _witnesses(saved, teachers, cls)
        few = data.subset(order)
        shown = _shown(saved, witnesses, few, named, command) if len(order) else []
        explained.append(Explained(cls, shown, None if named else len(rows)))
    if not any(one.shown for one in explained):
        raise UserError(f"{command.labels or command.images}: no image has one of the classes")
    write_explained(command.out, explained, command.run_folder.name, command.map)
    return explained


def _named(command: ExplainOptions, source: Source) -> dict[str, list[str]]:
    """item -> its classes, from the label table or the images' own folders; empty if nobody said."""
    if command.labels is not None:
        table = read_labels(command.labels, kind="multi")
        named = dict(zip(table.items, table.labels.names(), strict=True))
        if not any(item in named for item in source.items):
            raise UserError(f"{command.labels} has no row for any of the images")
        return named
    own = source.class_of
    if own is None or not set(command.classes) & set(own):
        return {}  # no folders, or folders that are something else
    return {item: [cls] for item, cls in zip(source.items, own, strict=True)}


def _check(command: ExplainOptions, saved: TrainedModel) -> None:
    for cls in command.classes:
        if cls not in saved.classes:
            raise UserError(
                f"{command.run_folder} knows no class {cls!r}{closest(cls, list(saved.classes))}"
            )
    if not command.classes:
        raise UserError("--classes: name at least one")


def _scores(
    saved: TrainedModel, data: Dataset, command: ExplainOptions
) -> tuple[Rows, NDArray[np.float32]]:
    """The readable rows (M,) and the model's scores of them (M, C)."""
    scan = saved.scan(data, command.batch_size, decoders(command.workers))
    found: list[tuple[Rows, NDArray[np.float32]]] = []
    with progress("looking for the classes", len(data)) as show:
        for rows, out in outputs(saved.predictor.scores, scan):
            found.append((rows, out.cpu().numpy()))
            show(int(rows[-1]) + 1)
    if not found:
        raise UserError(f"none of the images of {command.images} can be read")
    return np.concatenate([r for r, _ in found]), np.concatenate([s for _, s in found])


def _witnesses(saved: TrainedModel, teachers: dict[str, Specialist], cls: str) -> list[_Witness]:
    """The teachers that know a class, then the models for all classes."""
    found = [
        _Witness(name, teacher.classes, teacher.predictor, teacher.classes.index(cls))
        for name, teacher in teachers.items()
        if cls in teacher.classes
    ]
    column = saved.classes.index(cls)
    return found + [
        _Witness(name, (), predictor, column) for name, predictor in saved.predictors.items()
    ]


def _shown(
    saved: TrainedModel,
    witnesses: list[_Witness],
    data: Dataset,
    named: dict[str, list[str]],
    command: ExplainOptions,
) -> list[Shown]:
    """The images with what each model looks at."""
    looks: list[list[Look]] = [[] for _ in range(len(data))]
    photos = [""] * len(data)
    for rows, x in saved.scan(data, command.batch_size, 0):
        pictures = _pixels(x, saved.prepare)
        for row, picture in zip(rows.tolist(), pictures, strict=True):
            photos[row] = data_url(picture, 224)
        for witness in witnesses:
            # of several networks that predict together: the mean of their maps
            maps = [
                cam(model, x, [witness.column], command.map) for model in witness.predictor.models
            ]
            warm = heat(torch.stack(maps).mean(0), (x.shape[-2], x.shape[-1]))[:, 0].cpu().numpy()
            sure = witness.predictor.scores(x)[:, witness.column].tolist()
            for row, picture, at, score in zip(rows.tolist(), pictures, warm, sure, strict=True):
                look = Look(
                    witness.title, witness.classes, score, data_url(_over(picture, at), 224)
                )
                looks[row].append(look)
    return [
        Shown(item, photo, tuple(named.get(item, ())), tuple(mine))
        for item, photo, mine in zip(data.items, photos, looks, strict=True)
        if photo
    ]


def _pixels(x: Tensor, prepare: Normalize) -> NDArray[np.uint8]:
    """(B, H, W, channels) uint8: the images as the network saw them."""
    mean = torch.tensor(prepare.mean, device=x.device).view(1, -1, 1, 1)
    std = torch.tensor(prepare.std, device=x.device).view(1, -1, 1, 1)
    pixels = ((x * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _over(pixels: NDArray[np.uint8], warm: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map (H, W) in [0, 1] in colours over a picture (H, W, 1 or 3) that has lost its own."""
    grey = pixels.mean(-1, keepdims=True)
    stops = np.linspace(0, 1, len(RAMP))
    colour = np.stack([np.interp(warm, stops, channel) for channel in RAMP.T], -1)
    return np.asarray((0.5 * grey + 0.5 * colour).round(), np.uint8)
