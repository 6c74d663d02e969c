"""``reteach compare METHOD METHOD …``: one data set, one budget, the same seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..errors import UserError
from .ranges import AtLeast, Checked
from .shared import Data, Model, Training


@dataclass(frozen=True)
class CompareOptions(Checked):
    """Several methods under one budget of backward passes, with the same seeds and batches."""

    methods: Positional[tuple[str, ...]]
    """softmax, sigmoid, mile, … : those of reteach train (reteach --help lists them)."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    test_images: str | None = None
    """Images to judge on; without them, half of the validation images (the other half tunes the
    threshold)."""
    test_labels: Path | None = None
    """Their label table; alone, it names test images among --images, which then nobody learns from."""
    test_original: Path | None = None
    """Original single labels of the test images, where --test-labels are reassessed sets: accuracy is
    against these then, and ReaL accuracy against the sets."""
    clean: Path | None = None
    """Label table of true labels where --labels are known to be noisy: to judge by, and to see what
    is memorised; never learned from. Adds the best, the last and the mean of the last ten epochs."""
    also_labels: tuple[Path, ...] = ()
    """Further label tables of the same images, such as cleaned ones: each method also learns from each of
    these, and is judged on the same images by the same labels. An epoch passes over the images that the
    table labels; with --steps all have the same number of batches."""
    seeds: Annotated[int, AtLeast(1)] = 3
    """Repetitions: other weights, batches and augmentation on the same images."""
    set: tuple[str, ...] = ()
    """Settings of methods: rho=0.1, mile.k_t=100, …"""
    sweep: tuple[str, ...] = ()
    """Settings to vary: rho=0.05,0.1,0.25; two of them make a grid."""
    early: bool = True
    """Also show the supervised baselines as they were at their best validation mAP."""
    out: Path | None = None
    """Folder of the comparison, or an .html file for its page; by default runs/compare-NUMBER."""
    processes: Annotated[int | None, AtLeast(1)] = None
    """Trainings at a time; by default one per core on a CPU, one on a GPU."""

    def run(self) -> None:
        """Compare, print the table and say where the page is."""
        if not self.methods:
            raise UserError(
                "name the methods to compare, e.g.: reteach compare softmax sigmoid mile"
            )
        from ..compare.compare import ComparisonPlan, compare
        from ..compare.data import OwnData
        from ..compare.variants import for_each_table, variants
        from ..processes import cores
        from ..runs.checkpoint import choose_device

        chosen, sweep = variants(self.methods, self.model, self.training, self.set, self.sweep)
        if self.also_labels:
            chosen, names = for_each_table(chosen, self.data.labels, self.also_labels)
            sweep = {"labels": names, **sweep}
        processes = self.processes
        if processes is None:
            on_cpu = choose_device(self.model.device).type == "cpu"
            processes = cores() if on_cpu else 1
        folder, page = self._folder()
        baselines = [e.name for e in chosen if e.config.method in ("softmax", "sigmoid", "asl")]
        plan = ComparisonPlan(
            f"{', '.join(self.methods)}",
            f"{self.data.images}, labels {self.data.labels or 'from its class folders'}.",
            folder,
            OwnData(self.data, self.test_images, self.test_labels, self.clean, self.test_original),
            chosen,
            tuple(range(self.training.seed, self.training.seed + self.seeds)),
            sweep,
            early=tuple(baselines) if self.early else (),
            processes=processes,
        )
        results = compare(plan)
        if page is not None:
            from ..files import atomic_write
            from ..report import comparison_report

            comparison_report(folder, page)
            atomic_write(page.with_name("results.json"), (folder / "results.json").read_text())
        show_results(results, folder, page)

    def _folder(self) -> tuple[Path, Path | None]:
        if self.out is not None and self.out.suffix == ".html":
            return self.out.with_suffix(""), self.out
        if self.out is not None:
            return self.out, None
        number = 1
        while (folder := Path("runs") / f"compare-{number}").exists():
            number += 1
        return folder, None


def show_results(
    results: dict[str, dict[str, dict[str, float]]], folder: Path, page: Path | None = None
) -> None:
    """A table on standard output: methods in rows, mean ± deviation in columns."""
    from ..metrics.registry import columns as titles_of
    from .runs import show_table

    clean = any("best" in row for row in results.values())
    titles = titles_of("table/clean") if clean else titles_of("table", "table/sets")
    # As on the page: what the comparison is about comes first.
    columns = list(dict.fromkeys(key for row in results.values() for key in row if key in titles))
    rows = [(name, *(_cell(row.get(key)) for key in columns)) for name, row in results.items()]
    show_table(("", *(titles[key] for key in columns)), rows)
    print(f"report: {page or folder / 'report.html'}")
    print(f"numbers: {(page.parent if page else folder) / 'results.json'}")


def _cell(entry: dict[str, float] | None) -> str:
    if entry is None:
        return ""
    return f"{entry['mean']:.1f}" + (f"±{entry['std']:.1f}" if entry["n"] > 1 else "")
