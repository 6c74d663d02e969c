"""``reteach transfer``: a trained network on other images with other classes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from .ranges import AtLeast, Checked
from .shared import Data, Output, Training, refuse_unused


def _birds() -> Training:
    """The paper's settings on CUB-200-2011 (Table 13)."""
    return Training(epochs=300, schedule="drops", weight_decay=1e-3)


@dataclass(frozen=True)
class TransferOptions(Checked):
    """See how well what a run has learned serves for other classes: fine-tuned, or with a new last layer.

    Images reach the network as in the run: image size, clip length, normalisation.
    """

    run_folder: Positional[Path]
    """The run whose network is taken."""
    mode: Literal["full-ft", "fc-only"] = "full-ft"
    """Fine-tune the whole network, or fit a logistic regression on its frozen features."""
    predictor: str | None = None
    """Which of the run's models, e.g. pretrained; by default the first."""
    folds: Annotated[int, AtLeast(2)] = 5
    """Of the cross-validation that chooses fc-only's regularisation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=_birds)
    output: Output = field(default_factory=Output)

    def run(self) -> None:
        """Train, and say how good it is on held-out images."""
        from ..commands.transfer import fc_only, full_ft
        from .runs import announce, show_metrics

        training = self._used()
        if self.mode == "full-ft":
            announce(
                full_ft(
                    self.run_folder,
                    self.predictor,
                    self.data,
                    training,
                    self.output,
                    self.device,
                )
            )
            return
        out = self.output.out or _fresh()
        seed = self.training.seed
        found = fc_only(
            self.run_folder, self.predictor, self.data, self.folds, seed, out, self.device
        )
        for strength, accuracy in found["cross_validation"].items():
            print(f"C = {strength:>6}: {100 * accuracy:.1f}% over {self.folds} folds")
        show_metrics(
            {"fc-only": found["metrics"]}, f"{found['val']} held-out images, C = {found['C']:g}"
        )
        print(f"numbers: {out}/transfer.json")
        print(f"next:    reteach predict {out} --images FOLDER --out labels.parquet")

    def _used(self) -> Training:
        """The settings of the training; what this mode would not look at is refused."""
        training, why = self.training, f"with --mode {self.mode}"
        refuse_unused(self.data, why, "unlabeled")
        if self.mode == "full-ft":
            refuse_unused(self, why, "folds")
            if training.steps is None:
                return training
            why = "beside --steps, which says how long"
            refuse_unused(training, why, "epochs", usual=_birds())
            return replace(training, epochs=Training.epochs)
        names = [f.name for f in fields(training) if f.name != "seed"]
        refuse_unused(training, why, *names, usual=_birds())
        refuse_unused(self.data, why, "rebalance", "balanced_epoch", "cache", "resident")
        refuse_unused(self.output, why, *(f.name for f in fields(Output) if f.name != "out"))
        return training


def _fresh() -> Path:
    number = 1
    while (folder := Path("runs") / f"transfer-{number}").exists():
        number += 1
    return folder
