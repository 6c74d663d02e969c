"""``reteach compare METHOD METHOD …``: one data set, one budget, the same seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..compare import compare as comparison
from ..compare.data import OwnData
from ..compare.variants import for_each_table, variants
from ..files import atomic_write
from ..options.compare import CompareOptions
from ..options.shared import refuse_unused
from ..processes import cores
from ..report import comparison_report
from ..runs.checkpoint import choose_device
from ..runs.config import with_network
from ..unreadable import Unreadable
from .compared import CompareResult

BASELINES = ("softmax", "sigmoid", "asl")
"""The methods that --early also shows as they were at their best."""


def compare(options: CompareOptions) -> CompareResult:
    """Train every method with every seed, and compare them on the same images.

    Raises:
        UserError: an unknown method or setting, inputs that do not fit each other, a training that fails.
    """
    folder, page = _folder(options.out)
    plan = _plan(options, folder)
    result = CompareResult.of(folder, comparison.compare(plan))
    assert isinstance(plan.arena, OwnData)
    listing = folder / "quarantine.csv"
    lost = Unreadable.of(listing, plan.arena.unreadable).listed(listing)
    result = replace(result, unreadable=lost)
    if page is None:
        return result
    comparison_report(folder, page)
    numbers = page.with_name("results.json")
    atomic_write(numbers, result.numbers.read_text())
    return replace(result, report=page, numbers=numbers)


def _plan(options: CompareOptions, folder: Path) -> comparison.ComparisonPlan:
    why = "in a comparison, whose methods have the same budget"
    refuse_unused(options.training, why, "patience")
    refuse_unused(options.data, "in a comparison, which judges on --test-…", "also_val")
    model = with_network(options.model, options.data.images)
    chosen, sweep = variants(options.methods, model, options.training, options.set, options.sweep)
    data, seed = options.data, options.training.seed
    if options.also_labels:
        chosen, names = for_each_table(chosen, data.labels, options.also_labels)
        sweep = {"labels": names, **sweep}
    processes = options.processes
    if processes is None:
        on_cpu = choose_device(options.model.device).type == "cpu"
        processes = cores() if on_cpu else 1
    baselines = tuple(variant.name for variant in chosen if variant.config.method in BASELINES)
    return comparison.ComparisonPlan(
        f"{', '.join(options.methods)}",
        f"{data.images}, labels {data.labels or 'from its class folders'}.",
        folder,
        OwnData(
            data, options.test_images, options.test_labels, options.clean, options.test_original
        ),
        chosen,
        tuple(range(seed, seed + options.seeds)),
        sweep,
        early=baselines if options.early else (),
        processes=processes,
    )


def _folder(out: Path | None) -> tuple[Path, Path | None]:
    """The folder of the comparison, and its page where that is to be elsewhere."""
    if out is not None:
        return (out.with_suffix(""), out) if out.suffix == ".html" else (out, None)
    number = 1
    while (folder := Path("runs") / f"compare-{number}").exists():
        number += 1
    return folder, None
