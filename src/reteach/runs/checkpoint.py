"""What a finished run keeps of its models, and how it comes back: ``models/<predictor>[/<n>]``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, final

import torch

from .. import sealed
from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.loading.stream import Scan
from ..engine.algorithm import Specialist
from ..engine.learner import Predictor
from ..errors import UserError, closest
from ..features.preprocessing import Preprocessing
from ..models import export
from ..models.class_heads import class_head_of
from ..models.flips import Flipped
from ..models.presence import load_presence
from ..models.video import VideoNet
from ..options.shared import Resize, Tta
from ..progress import note
from ..records.runs import MODELS, RUN, ModelIndex, RunRecord, SavedPredictor


@final
@dataclass(frozen=True, eq=False)
class LoadedModels:
    """A trained model, ready to predict.

    Args:
        predictors: by name; the first is *the* model.
        classes: of the outputs, in order.
        image_size: side of the input, None: images keep their size.
        frames: of a clip, of a model of videos.
        prepare: normalisation.
        threshold: tuned on the run's validation images, or None; a calibration has no use for it.
        method: that trained it.
        resize: how photos become squares; runs of before it was kept had ``shorter``.
        features: how they were made, of a model of features; None: it takes images.
    """

    predictors: dict[str, Predictor]
    classes: tuple[str, ...]
    image_size: int | None
    frames: int | None
    prepare: Normalize
    threshold: float | None
    method: str
    resize: Resize = "shorter"
    features: Mapping[str, Any] | None = None

    @property
    def predictor(self) -> Predictor:
        """The model."""
        return next(iter(self.predictors.values()))

    def named(self, name: str | None) -> tuple[str, Predictor]:
        """A predictor and its name; by default the model.

        Raises:
            UserError: there is none of this name.
        """
        name = next(iter(self.predictors)) if name is None else name
        if name not in self.predictors:
            known = list(self.predictors)
            raise UserError(
                f"the run has no model {name!r}{closest(name, known)} (it has: {', '.join(known)})"
            )
        return name, self.predictors[name]

    def with_tta(self, tta: Tta | None) -> LoadedModels:
        """The same models, asked about each image and its mirror image; None: as they are.

        Raises:
            UserError: models of features, which have no mirror image.
        """
        if tta is None:
            return self
        if self.features is not None:
            raise UserError("--tta flip has no effect on features; leave it out")
        flipped = {
            name: replace(one, models=tuple(map(Flipped, one.models)))
            for name, one in self.predictors.items()
        }
        return replace(self, predictors=flipped)

    @property
    def seen(self) -> Preprocessing:
        """How images reach the model."""
        return Preprocessing(
            self.image_size, self.frames, self.prepare, self.resize, features=self.features
        )

    def scan(self, dataset: Dataset, batch_size: int, workers: int) -> Scan:
        """A pass over images as this model sees them; see :class:`.preprocessing.Preprocessing`."""
        return self.seen.scan(dataset, batch_size, workers)


def fingerprint(saved: LoadedModels, predictor: Predictor) -> str:
    """A hash of everything that a model's scores depend on, but for the machine."""
    settings: tuple[Any, ...] = (
        predictor.link,
        predictor.precision,
        saved.image_size,
        saved.frames,
        saved.classes,
    )
    if saved.resize != "shorter":  # which models of before it was kept did not say
        settings = (*settings, saved.resize)
    if saved.prepare.interpolation != "bilinear":
        settings = (*settings, saved.prepare.interpolation)
    normal = (saved.prepare.mean, saved.prepare.std, saved.prepare.channels)
    digest = hashlib.blake2b(repr((settings, normal)).encode(), digest_size=8)
    for model in predictor.models:
        for name, tensor in model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_models(
    folder: Path,
    predictors: dict[str, Predictor],
    *,
    architecture: str,
    classes: tuple[str, ...],
    image_size: int | None,
    frames: int | None,
    prepare: Normalize,
    threshold: float | None,
    method: str,
    resize: Resize = "shorter",
    own_size: tuple[int, int] | None = None,
    specialists: dict[str, Specialist] | None = None,
    features: Mapping[str, Any] | None = None,
) -> None:
    """Write each model of each predictor in timm's layout, and what is needed to use them.

    Args:
        own_size: (H, W) of images that keep their size.
    """

    def kept(name: str, predictor: Predictor, outputs: tuple[str, ...]) -> SavedPredictor:
        single = len(predictor.models) == 1
        places, digests = [], []
        for number, model in enumerate(predictor.models, 1):
            places.append(f"models/{name}" if single else f"models/{name}-{number}")
            digest = export.save(
                model,
                folder / places[-1],
                architecture=_architecture(model) or architecture,
                num_classes=len(outputs),
                in_chans=prepare.channels,
                mean=prepare.mean,
                std=prepare.std,
                classes=outputs,
                image_size=image_size,
                own_size=own_size,
                resize=resize,
                interpolation=prepare.interpolation,
                model_args=_options(model),
                extra={"link": predictor.link, "method": method},
            )
            digests.append(digest)
        return SavedPredictor(predictor.link, tuple(places), tuple(digests))

    index = ModelIndex(
        predictors={name: kept(name, predictor, classes) for name, predictor in predictors.items()},
        specialists={
            name: replace(kept(name, one.predictor, one.classes), classes=one.classes)
            for name, one in (specialists or {}).items()
        },
        classes=classes,
        image_size=image_size,
        frames=frames,
        resize=resize,
        mean=prepare.mean,
        std=prepare.std,
        channels=prepare.channels,
        interpolation=prepare.interpolation,
        threshold=threshold,
        method=method,
        stages=_stages(folder),
        features=None if features is None else dict(features),
    )
    sealed.write_json(folder / MODELS.name, MODELS.content(index))


def _options(model: torch.nn.Module) -> dict[str, Any]:
    """What the architecture must be built with beside its name, so that the weights fit."""
    if isinstance(model, VideoNet):
        return {"frames": model.frames}
    head = class_head_of(model)
    if head is None or head.classes.vectors is None:
        return {}
    return {"vector_size": head.classes.vectors.shape[1]}


def _architecture(model: torch.nn.Module) -> str | None:
    """timm's own name of a network: the peers of a run may be of different architectures."""
    known: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    return known.get("architecture")


def presence_file(folder: Path, predictor: str) -> Path:
    """Where the calibration of a run's predictor is."""
    return folder / "models" / f"{predictor}.presence.json"


def load_models(folder: Path, device: str = "auto", *, calibrated: bool = True) -> LoadedModels:
    """The models of a finished run, with their calibrations where there are any.

    Args:
        calibrated: False leaves the calibrations out.

    Raises:
        UserError: not a run folder, not finished, or its files are damaged.
    """
    index, where = _index(folder), choose_device(device)
    if (record := _record(folder)) is not None and record.collapse:
        note(f"{folder}: {record.collapse}")
    predictors = {name: _opened(folder, one, where) for name, one in index.predictors.items()}
    if calibrated:
        predictors = {n: _calibrated(p, folder, n, index.classes) for n, p in predictors.items()}
    plain = next(iter(predictors.values())).presence is None
    return LoadedModels(
        predictors,
        index.classes,
        index.image_size,
        index.frames,
        Normalize(
            index.mean,
            index.std,
            index.channels,
            str(where),
            interpolation=index.interpolation,
        ),
        index.threshold if plain else None,
        index.method,
        index.resize,
        index.features,
    )


def load_specialists(folder: Path, device: str = "auto") -> dict[str, Specialist]:
    """The models of a finished run that are for some of the classes, by name; most runs have none.

    Raises:
        UserError: as :func:`load_models`.
    """
    index, where = _index(folder), choose_device(device)
    return {
        name: Specialist(_opened(folder, one, where), one.classes or ())
        for name, one in index.specialists.items()
    }


def _index(folder: Path) -> ModelIndex:
    """What a run says of its models."""
    file = folder / MODELS.name
    if not folder.is_dir():
        raise UserError(f"run folder {folder} does not exist")
    if not file.is_file():
        hint = (
            f"; finish it with: reteach resume {folder}"
            if (folder / "config.yaml").exists()
            else ""
        )
        if (record := _record(folder)) is not None and record.status == "collapsed":
            hint = f": {record.message}"
        raise UserError(f"{folder} holds no trained model{hint}")
    found = sealed.read_json(file, f"delete it and go on with: reteach resume {folder}")
    index = MODELS.parse(found, f"{file}")
    if not index.predictors:
        raise UserError(f"{file} names no model: copy it back, or train again")
    if index.stages and (asked := _stages(folder)) and asked != index.stages:
        raise UserError(
            f"{file} is of another run than {folder / 'stages'}: copy this run's own models back, or train "
            "again"
        )
    return index


def _record(folder: Path) -> RunRecord | None:
    """What was trained, and how it ended; None: nothing can be read."""
    try:
        return RUN.read(folder)
    except (OSError, UserError):
        return None


def _stages(folder: Path) -> str:
    """A digest of what the stages of a run were asked, which is of this run alone; empty without stages."""
    found = hashlib.sha256()
    files = sorted((folder / "stages").glob("**/record.json"))
    for file in files:
        found.update(f"{file.parent.relative_to(folder).as_posix()}\0".encode())
        found.update(file.read_bytes())
    return found.hexdigest()[:32] if files else ""


def _opened(folder: Path, saved: SavedPredictor, device: torch.device) -> Predictor:
    models = []
    if saved.digests and len(saved.digests) != len(saved.models):
        raise UserError(f"{folder / MODELS.name} is damaged: not one digest for each model")
    # an earlier version kept no digests
    for place, digest in zip_longest(saved.models, saved.digests):
        model, info = export.load(folder / place)
        if digest is not None and info.digest != digest:
            raise UserError(
                f"{folder / place} holds another model than this run saved: copy its own back, or train again"
            )
        models.append(model.to(device).eval())
    return Predictor(tuple(models), saved.link)


def _calibrated(
    predictor: Predictor, folder: Path, name: str, classes: tuple[str, ...]
) -> Predictor:
    """The predictor with its calibration, where it has one."""
    file = presence_file(folder, name)
    if not file.exists():
        return predictor
    return Predictor(predictor.models, "sigmoid", presence=load_presence(file, classes))


def choose_device(name: str) -> torch.device:
    """``auto`` is the first GPU there is, else the CPU.

    Under ``torchrun`` each process takes the GPU of its local rank.
    """
    import os

    if name == "auto":
        if torch.cuda.is_available():
            name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        else:
            mps = getattr(torch.backends, "mps", None)
            name = "mps" if mps is not None and mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
