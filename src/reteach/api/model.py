"""A trained model as an object: a finished run folder, and what can be asked of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ..errors import UserError, closest
from ..files import at_home, missing
from ..frames import Table
from ..inline import InlinePage
from ..own import Own, find, given
from .calls import call
from .objects import IMAGES, as_own

if TYPE_CHECKING:
    from typing import Unpack

    from ..commands.calibrate import CalibrateResult
    from ..commands.evaluate import RunEvaluation
    from ..commands.trained import TrainResult
    from ..records.runs import RunRecord
    from .keywords import CalibrateKeywords, EvaluateSettings, PredictSettings, ResumeKeywords
    from .kinds import Augmentation, Images, Loss, Network, PathLike


@final
class TrainedModel:
    """The model of a finished run. It can be given wherever a run folder is asked for.

    Args:
        result: what the training came to.
        objects: the data sets, network … of the user's that it needs.
    """

    def __init__(self, result: TrainResult, objects: Mapping[str, Own] | None = None) -> None:
        self._result = result
        self._objects = objects or {}

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._result.folder

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """Model -> metric -> its value on the run's validation images; empty without such images."""
        return self._result.metrics

    @property
    def unreadable(self) -> Any:
        """The images that could not be read; see :class:`reteach.unreadable.Unreadable`."""
        return self._result.unreadable

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names, in the order of the outputs."""
        return tuple(self._record.classes)

    @property
    def method(self) -> str:
        """The method that trained it."""
        return self._record.method

    @cached_property
    def _record(self) -> RunRecord:
        from ..records.runs import RUN

        record = RUN.read(self.folder)
        assert record is not None
        return record

    @property
    def report(self) -> InlinePage:
        """The page of the run; a notebook shows it."""
        return InlinePage(self._result.report)

    def predict(self, images: Images, **settings: Unpack[PredictSettings]) -> Table:
        """The labels that the model sees in images, as a label table.

        Args:
            images: where they are.
            settings: as ``reteach predict`` has them. ``out`` is by default a table in the run folder,
                ``predictions/IMAGES.parquet``.

        Returns: columns item, labels (lists of class names), score (a number for each), kind, classes,
            source; N rows, and beside them what could not be read.

        Raises:
            UserError: no such images, or none that can be read.
        """
        found = self._predicted(images, dict(settings))
        return Table(found.table().to_arrow(), found.unreadable)

    def scores(self, images: Images, **settings: Unpack[PredictSettings]) -> Table:
        """The probability of every class in images.

        Returns: a column item, and one of float32 for each of the C classes, in their order; N rows.

        Raises:
            UserError: as :meth:`predict`, or a class that is called "item".
        """
        import numpy as np
        import pyarrow as pa

        from ..frames import read_table

        if "item" in self.classes:
            raise UserError('a class is called "item", as the first column would be: take .predict')
        given = dict(settings)
        if "top" in given:
            raise UserError("scores gives all classes: leave top out")
        place = self.folder / "predictions" / f"{_stem(images)}.scores.parquet"
        given.setdefault("scores", place)
        found = self._predicted(images, given | {"top": len(self.classes)})
        table = read_table(found.scores)
        count = len(self.classes)
        wide = np.empty((len(table) // count, count), np.float32)
        at = table["class"].to_numpy()
        assert len(at) == wide.size, "all classes of each image, image by image"
        wide[np.arange(len(at)) // count, at] = table["score"].to_numpy()
        items = table["item"].combine_chunks().take(np.arange(0, len(at), count))
        columns = {"item": items.cast(pa.string())}
        columns |= {name: pa.array(wide[:, c]) for c, name in enumerate(self.classes)}
        return Table(pa.table(columns), found.unreadable)

    def _predicted(self, images: Images, settings: dict[str, Any]) -> Any:
        settings.setdefault("out", self.folder / "predictions" / f"{_stem(images)}.parquet")
        for name in ("out", "scores"):
            if name in settings:
                Path(settings[name]).parent.mkdir(parents=True, exist_ok=True)
        return self._call("predict", settings | {"run_folder": self.folder, "images": images})

    def evaluate(
        self, images: Images | None = None, **settings: Unpack[EvaluateSettings]
    ) -> RunEvaluation:
        """How good the model is on labelled images; without images, on the run's validation images.

        Args:
            images: where they are; class folders, or with ``labels``.
            settings: as ``reteach evaluate`` has them.

        Raises:
            UserError: no labels, or a run without validation images.
        """
        if images is not None:
            found: RunEvaluation = self._call(
                "evaluate", {**settings, "of": (self.folder,), "images": images}
            )
            return found
        if settings:
            raise UserError(f"{min(settings)} has no effect without images; leave it out")
        if not self.metrics:
            raise UserError(f"{self.folder} has no validation images: name others (images=…)")
        from ..commands.evaluate import RunEvaluation
        from ..records.runs import EVALUATION

        metrics = {name: dict(values) for name, values in self.metrics.items()}
        return RunEvaluation(metrics, self.folder / EVALUATION.name, self.unreadable)

    def calibrate(self, **settings: Unpack[CalibrateKeywords]) -> CalibrateResult:
        """Make the scores probabilities of presence, from now on; as ``reteach calibrate``.

        Raises:
            UserError: scores that cannot be calibrated.
        """
        found: CalibrateResult = self._call("calibrate", {**settings, "run_folder": self.folder})
        return found

    def _call(self, command: str, settings: Mapping[str, Any]) -> Any:
        with given(self._objects):
            return call(command, settings)

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    def __repr__(self) -> str:
        return f"<{self.method} model of {len(self.classes)} classes in {self.folder}>"

    def _repr_html_(self) -> str:
        lines = "\n".join(self._result.lines())
        return f"<pre>{escape(repr(self))}\n{escape(lines)}</pre>"


def load(run_folder: PathLike, *, network: Network | None = None) -> TrainedModel:
    """The model of a finished run.

    Args:
        network: the factory of its network, where that was the user's own.

    Raises:
        UserError: no such folder, or a run that has not finished.
    """
    from ..commands.trained import TrainResult
    from ..records.runs import MODELS, RUN

    folder = at_home(Path(run_folder))
    if folder.is_file():
        raise UserError(f"{folder} is a file, not a run folder")
    if not folder.is_dir():
        raise UserError(missing(folder, "run folder"))
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder} is not a run folder: it has no config.yaml")
    record = RUN.read(folder)
    if record is None or not (folder / MODELS.name).is_file():
        raise UserError(
            f"{folder} holds no trained model; finish it with: rt.resume({str(folder)!r})"
        )
    objects = as_own({"network": network})[1]
    _refuse_others(folder, objects)
    return TrainedModel(TrainResult.of(folder), objects)


def _refuse_others(folder: Path, objects: Mapping[str, Own]) -> None:
    """Refuse objects that are not those of the run.

    Raises:
        UserError: it was begun with another one, or with none.
    """
    if not objects:
        return
    from ..models.own import is_own
    from ..runs.config import load as read_config

    config = read_config(folder / "config.yaml")
    model = config.model.model
    said = {
        **{name: getattr(config.data, name, None) for name in IMAGES},
        "network": model if is_own(model) else None,
        "augmentation": config.training.augmentation,
        "loss": config.training.loss,
    }
    with given(objects):
        for name in objects:
            if (text := said[name]) is None:
                raise UserError(f"{folder} was begun without {name}; leave it out")
            find(name, text)


def _stem(images: Images) -> str:
    """A name for what comes of these images."""
    if isinstance(images, str | os.PathLike):
        return Path(os.fspath(images).rstrip("/")).stem or "images"
    return "images"


def trained(method: str, settings: Mapping[str, Any]) -> TrainedModel:
    """The model of a method that is trained now.

    Raises:
        UserError: an unknown method or setting, or inputs that do not fit each other.
    """
    from ..options.methods import METHODS

    if method not in METHODS:
        known = list(METHODS)
        raise UserError(
            f"unknown method {method!r}{closest(method, known)} (known: {', '.join(known)})"
        )
    said, objects = as_own(settings)
    with given(objects):
        return TrainedModel(call(f"train {method}", said), objects)


def resume(
    run_folder: PathLike,
    *,
    network: Network | None = None,
    augmentation: Augmentation | None = None,
    loss: Loss | None = None,
    val_images: Images | None = None,
    unlabeled: Images | None = None,
    **settings: Unpack[ResumeKeywords],
) -> TrainedModel:
    """Go on with an interrupted run from its last snapshot; as ``reteach resume``.

    Args:
        network: the object that the run was begun with, if it was one of yours; so of all others, and of
            ``images``.
        augmentation: as ``network``.
        loss: as ``network``.
        val_images: as ``network``.
        unlabeled: as ``network``.

    Raises:
        UserError: no run folder, or inputs that have changed since the run began.
    """
    hooks = {"network": network, "augmentation": augmentation, "loss": loss}
    images = {"val_images": val_images, "unlabeled": unlabeled, "images": settings.get("images")}
    _, objects = as_own({k: v for k, v in (hooks | images).items() if v is not None})
    _refuse_others(Path(run_folder), objects)
    said = {k: v for k, v in settings.items() if k not in objects}
    with given(objects):
        return TrainedModel(call("resume", {**said, "run_folder": run_folder}), objects)
