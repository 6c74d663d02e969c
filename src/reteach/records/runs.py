"""The records of a run folder: ``run.json``, ``evaluation.json`` and ``models/index.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, final

from ..formatting import finite
from .record import OPTIONAL, RecordFile

Number = float | None
Prediction = tuple[str, Number]
"""A class and its score."""


@final
@dataclass(frozen=True)
class RunRecord:
    """What was trained on what, and how far it is.

    Args:
        reteach: the version that trained it.
        processes: that trained together.
        status: running, finished, interrupted, collapsed or failed; ``message`` says why.
        collapse: of a finished run whose model is that of a step before it drifted to every class present:
            what happened.
        derived: settings that the method derived from the data.
        parameters, multiply_adds: of the model, the latter for one image or clip.
    """

    reteach: str = ""
    kind: str = "train"
    method: str = ""
    classes: tuple[str, ...] = ()
    n_train: int = 0
    n_val: int = 0
    n_unlabeled: int = 0
    n_quarantined: int = 0
    device: str = ""
    processes: int = 1
    steps: int = 0
    created: str = ""
    status: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    seconds: Number = field(default=None, metadata=OPTIONAL)
    images_per_second: Number = field(default=None, metadata=OPTIONAL)
    derived: dict[str, Number] | None = field(default=None, metadata=OPTIONAL)
    collapse: str | None = field(default=None, metadata=OPTIONAL)
    parameters: Number = field(default=None, metadata=OPTIONAL)
    multiply_adds: Number = field(default=None, metadata=OPTIONAL)


@final
@dataclass(frozen=True)
class ClassRow:
    """A class in an evaluation: how many images have it, average precision, and the rest at 0.5."""

    class_: str = ""
    support: Number = None
    ap: Number = None
    precision: Number = None
    recall: Number = None
    f1: Number = None


@final
@dataclass(frozen=True)
class ClassCurve:
    """Points of a class's precision–recall curve, from the highest threshold down."""

    class_: str = ""
    recall: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()
    threshold: tuple[float, ...] = ()


@final
@dataclass(frozen=True)
class LabelsHistogram:
    """How many images have 0, 1, 2 … predicted labels, and true ones."""

    predicted: tuple[Number, ...] = ()
    true: tuple[Number, ...] = ()


@final
@dataclass(frozen=True)
class ReliabilityBins:
    """Mean score, share that is right and number of images in each bin of the top score."""

    confidence: tuple[Number, ...] = ()
    accuracy: tuple[Number, ...] = ()
    count: tuple[Number, ...] = ()


@final
@dataclass(frozen=True)
class Example:
    """A picture (a data URL) with its given, predicted and true classes; ``truth`` None: unknown."""

    item: str = ""
    image: str = ""
    given: tuple[str, ...] = ()
    predicted: tuple[Prediction, ...] = ()
    truth: tuple[str, ...] | None = None


@final
@dataclass(frozen=True)
class PredictorEvaluation:
    """Everything that a report shows of one predictor on one data set.

    Args:
        confusion: (class, first choice, images), by their places in ``per_class``, where images have one
            label each; empty where they do not, and in files of earlier versions.
        class_curves: of the classes of lowest AP, where there is a confusion.
    """

    metrics: dict[str, Number] = field(default_factory=dict)
    per_class: tuple[ClassRow, ...] = ()
    labels_histogram: LabelsHistogram = LabelsHistogram()
    reliability: ReliabilityBins = ReliabilityBins()
    examples: tuple[Example, ...] = ()
    confusion: tuple[tuple[int, int, int], ...] = ()
    class_curves: tuple[ClassCurve, ...] = ()


@final
@dataclass(frozen=True)
class SavedPredictor:
    """The folders of a predictor's models, digests of their weights, and what makes scores of outputs.

    ``digests``: none in files of earlier versions. ``classes``: of a specialist, those that it is for.
    """

    link: Literal["softmax", "sigmoid"]
    models: tuple[str, ...]
    digests: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)


@final
@dataclass(frozen=True, kw_only=True)
class ModelIndex:
    """What is needed to use a run's models.

    Args:
        image_size, frames: of what they see; None where images keep their size, or are no videos.
        mean, std, channels: how pixels are normalised.
        interpolation: how photos are resized before.
        features: how they were made, of models that take features.
        threshold: tuned on the validation images.
        stages: digest of what the stages of the run were asked; empty where there are none, and in files of
            earlier versions.
    """

    predictors: dict[str, SavedPredictor]
    specialists: dict[str, SavedPredictor] = field(default_factory=dict)
    classes: tuple[str, ...]
    image_size: int | None
    frames: int | None = None
    resize: Literal["square", "shorter"] = "shorter"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    threshold: float | None
    method: str
    stages: str = ""
    features: dict[str, Any] | None = None


@final
@dataclass(frozen=True)
class Measurement:
    """A line of ``metrics.jsonl``: means of training since the line before, or an evaluation.

    Args:
        stage, step: when; steps count from the beginning of the stage.
        kind: train or eval.
        phase: of training, as some earlier versions told it apart.
        data, predictor: of an evaluation: what was judged on which data set.
    """

    stage: str
    step: float
    kind: str
    values: Mapping[str, Number]
    phase: str = ""
    data: str = ""
    predictor: str = ""

    def line(self) -> dict[str, Any]:
        """As it stands in the file, its values beside the rest."""
        words = {key: getattr(self, key) for key in _WHERE if getattr(self, key)}
        return {"stage": self.stage, "step": self.step, "kind": self.kind, **words, **self.values}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Self:
        """A line of the file; what is no finite number is no value."""
        known = {key: str(line.get(key) or "") for key in _WHERE}
        taken = {"stage", "step", "kind", *_WHERE}
        values = {key: finite(value) for key, value in line.items() if key not in taken}
        step, stage = finite(line.get("step")) or 0.0, str(line.get("stage", ""))
        return cls(stage, step, str(line.get("kind", "train")), values, **known)


_WHERE = ("phase", "data", "predictor")

Evaluations = dict[str, dict[str, PredictorEvaluation]]
"""Data set -> predictor -> what was found."""

RUN = RecordFile("run.json", RunRecord)
EVALUATION = RecordFile("evaluation.json", Evaluations)
MODELS = RecordFile("models/index.json", ModelIndex)
