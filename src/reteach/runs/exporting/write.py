"""The files of an exported model."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from ... import sealed
from ...engine.learner import Predictor
from ...errors import UserError, missing_extra
from ...files import plain_json
from ...metrics.registry import REGISTRY, View
from ...models import zoo
from ...models.tensorfiles import CONFIG, SAFETENSORS
from ...options.export import Target
from ...records.runs import EVALUATION, RUN
from ..checkpoint import LoadedModels
from .card import card
from .network import Whole
from .scripts import script

_MEND = {
    "timm": "--to onnx or torch-export makes one network of them",
    "safetensors": "--to onnx or torch-export makes one network of them",
}


@final
@dataclass(frozen=True, eq=False)
class Export:
    """A model to be exported.

    Args:
        run: its folder.
        name: of the predictor.
        predictor: on the CPU.
        target: for whom.
    """

    run: Path
    saved: LoadedModels
    name: str
    predictor: Predictor
    target: Target

    def check(self) -> None:
        """Refuse models that the target cannot hold, and what is not installed, before any work.

        Raises:
            UserError: names it and the mend.
        """
        if self.saved.features is not None:
            raise UserError(
                f"{self.run} takes features, not images; train with --freeze in place of a feature table, "
                "and the run holds one network of images"
            )
        if self.saved.frames is not None:
            raise UserError(f"{self.run} takes videos, which are not exported")
        several = len(self.predictor.models)
        if several > 1 and self.target in _MEND:
            raise UserError(f"{self.name} is {several} networks: {_MEND[self.target]}")
        if self.target == "onnx":
            try:
                import onnx  # noqa: F401  # torch's exporter wants it
                import onnxruntime  # noqa: F401
            except ImportError as error:
                raise missing_extra("--to onnx", str(error.name), "onnx") from None

    def write(self, folder: Path) -> None:
        """All files but the card, which tells of the check."""
        if self.target in ("timm", "safetensors"):
            self._network(folder)
        else:
            self._graph(folder)
            text = plain_json(self.preprocessing())
            (folder / "preprocessing.json").write_text(text, "utf-8")
        (folder / "classes.json").write_text(
            json.dumps(self.saved.classes, ensure_ascii=False, indent=1), "utf-8"
        )
        ours = zoo.registration(str(self._config()["architecture"]))
        grey = self.saved.prepare.channels == 1
        text = script(self.target, self.predictor.link, ours, grey)
        (folder / "predict.py").write_text(text, "utf-8")

    def _config(self) -> dict[str, Any]:
        single = len(self.predictor.models) == 1
        place = f"models/{self.name}" if single else f"models/{self.name}-1"
        found: dict[str, Any] = sealed.read_json(self.run / place / CONFIG, "copy the run again")
        return found

    def _network(self, folder: Path) -> None:
        """The run's own folder of the network; plain weights are told how the network is built."""
        own = self.run / "models" / self.name
        shutil.copyfile(own / SAFETENSORS, folder / SAFETENSORS)
        if self.target == "timm":
            shutil.copyfile(own / CONFIG, folder / CONFIG)
        else:
            config = self._config()
            size = config["pretrained_cfg"]["input_size"][-1]
            fixed = zoo.fixed_size(config["architecture"])
            config["built_with"] = {"img_size": size} if fixed else {}
            (folder / CONFIG).write_text(plain_json(config), "utf-8")
        if self.predictor.presence is not None:
            text = plain_json(self.predictor.presence.plain(), None)
            (folder / "calibration.json").write_text(text, "utf-8")

    def _graph(self, folder: Path) -> None:
        whole = Whole(self.predictor, self.saved)
        example = torch.rand(2, 3, *self.size(), generator=torch.Generator().manual_seed(0))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # how the exporters look into a network
            try:
                (_onnx if self.target == "onnx" else _torch_export)(whole, example, folder)
            except Exception as error:  # whatever they cannot express
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise UserError(f"--to {self.target} cannot hold this network ({reason})") from None

    def size(self) -> tuple[int, int]:
        """(H, W) of the input."""
        if self.saved.image_size is not None:
            return self.saved.image_size, self.saved.image_size
        height, width = self._config()["pretrained_cfg"]["input_size"][1:]
        return int(height), int(width)

    def preprocessing(self) -> dict[str, Any]:
        """How photos become the input of a graph, as ``predict.py`` reads it."""
        size, prepare = self.saved.image_size, self.saved.prepare
        ways = {"square": "squeeze", "shorter": "shorter side, then centre"}
        return {
            "size": size if size is not None else list(self.size()),
            "resize": "none" if size is None else ways[self.saved.resize],
            "shorter_side": None if size is None else size * 256 // 224,
            "interpolation": prepare.interpolation,
            "antialias": True,
            "colours": "RGB",
            "range": [0, 1],
            "normalised_inside": {"mean": list(prepare.mean), "std": list(prepare.std)},
        }

    def write_card(self, folder: Path, checked: str) -> None:
        """``README.md``, which says what was checked."""
        config, record = self._config(), RUN.read(self.run)
        calibrated = self.predictor.presence is not None
        link = (
            "each class present or not" if self.predictor.link == "sigmoid" else "one class of all"
        )
        facts = {
            "architecture": str(config["architecture"]),
            "trained by": f"reteach, method {self.saved.method}",
            "input": " × ".join(map(str, self.size())),
            "probabilities": link + (", calibrated" if calibrated else ""),
            "checked": checked,
        }
        if record is not None:
            facts["training images"] = f"{record.n_train:,}"
        if not calibrated and self.saved.threshold is not None and self.predictor.link == "sigmoid":
            facts["threshold with the best F1 in validation"] = f"{self.saved.threshold:.4f}"
        metrics, images = self._metrics()
        text = card(self.target, self.run.name, self.saved.classes, facts, metrics, images)
        (folder / "README.md").write_text(text, "utf-8")

    def _metrics(self) -> tuple[Mapping[str, float], int]:
        """Validation results of the uncalibrated model; none of a calibrated one, which has others."""
        found = EVALUATION.read(self.run)
        own = (found or {}).get("val", {}).get(self.name)
        record = RUN.read(self.run)
        if own is None or record is None or self.predictor.presence is not None:
            return {}, 0
        view: View = "headline/single" if own.confusion else "headline"
        shown = {
            REGISTRY[key].title: value
            for key, value in own.metrics.items()
            if value is not None and key in REGISTRY and view in REGISTRY[key].shown
        }
        return shown, record.n_val


def _onnx(whole: Whole, example: torch.Tensor, folder: Path) -> None:
    torch.onnx.export(
        whole,
        (example,),
        folder / "model.onnx",
        dynamo=False,
        opset_version=17,
        input_names=["pixels"],
        output_names=["probabilities", "logits"],
        dynamic_axes={name: {0: "batch"} for name in ("pixels", "probabilities", "logits")},
    )


def _torch_export(whole: Whole, example: torch.Tensor, folder: Path) -> None:
    shapes = {"pixels": {0: torch.export.Dim("batch")}}
    program = torch.export.export(whole, (example,), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")
