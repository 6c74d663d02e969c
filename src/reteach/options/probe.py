"""``reteach probe compression RUN …``: what the features of trained networks still hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from ..errors import UserError
from .ranges import AtLeast, Checked

if TYPE_CHECKING:
    from ..data.dataset import Dataset


@dataclass(frozen=True)
class CompressionOptions(Checked):
    """How hard random labels are to fit on frozen features: the harder, the better compressed."""

    run_folders: Positional[tuple[Path, ...]]
    """Finished runs."""
    images: str | None = None
    """Images to put random labels on; by default those that each run was trained on."""
    labels: Path | None = None
    """Their label table, to choose the classes by; class folders need none."""
    classes: Annotated[int, AtLeast(0)] = 2
    """Take the images of the first so many classes; 0: all images."""
    most: Annotated[int, AtLeast(1)] = 10_000
    """At most so many images."""
    epochs: Annotated[int, AtLeast(1)] = 30
    """Passes of the perceptron over them."""
    seeds: Annotated[int, AtLeast(1)] = 3
    """Repetitions with other random labels."""
    predictor: str | None = None
    """Which of a run's models; of an ensemble the first network. By default the first predictor."""
    out: Path | None = None
    """Also write the accuracies after each epoch as JSON."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run_folders:
            raise UserError("name at least one run folder")

    def run(self) -> None:
        """Print the training accuracy on random labels for each run."""
        from ..files import write_json

        found = {str(folder): self._curves(folder) for folder in self.run_folders}
        print("training accuracy on random binary labels (lower: better compressed)")
        for folder, curves in found.items():
            last = [100 * curve[-1] for curve in curves]
            mean = sum(last) / len(last)
            spread = f" ({min(last):.1f} to {max(last):.1f})" if len(last) > 1 else ""
            print(f"{folder}: {mean:.1f}%{spread}")
        if self.out is not None:
            write_json(self.out, {"epochs": self.epochs, "accuracy": found})

    def _curves(self, folder: Path) -> list[list[float]]:
        from ..analysis.compression import features, fit_random_labels
        from ..progress import progress
        from ..runs.checkpoint import load_models

        saved = load_models(folder, self.device)
        _, predictor = saved.named(self.predictor)
        data = self._images(folder)
        if self.classes:
            data = data.restrict(data.classes[: self.classes])
        data = data.subset(slice(self.most))
        x = features(predictor.models[0], saved.scan(data, 256, 0))
        curves = []
        with progress("fitting random labels", self.seeds) as show:
            for seed in range(self.seeds):
                curves.append(fit_random_labels(x, self.epochs, seed).tolist())
                show(seed + 1)
        return curves

    def _images(self, folder: Path) -> Dataset:
        """The images that were asked for, or the run's own."""
        from ..data.sources.base import open_source
        from ..runs import config
        from ..runs.inputs import labelled_dataset, open_inputs

        if self.images is not None:
            return labelled_dataset(open_source(self.images), self.labels, self.images)
        if self.labels is not None:
            raise UserError("--labels needs --images: the images that it labels")
        of = config.load(folder / "config.yaml")
        return open_inputs(of.data, of.training.seed).train
