"""Label sets from single labels: calibration, MILe and the single-positive family in one honest arena.

    python examples/single_positive.py DATA [--arena grids2 …] [--members sigmoid …] [--seeds 3]
                                       [--first-seed 0] [--precision fp32|bf16] [--out FOLDER] [--smoke]

DATA is a folder with mnist.npz, cifar10.npz, ccp_multilabel.npz and coco_mini.npz; the grids of
scikit-learn's digits (grids2, grids3, few, never) need none of it. Every member learns from one label per
image, under one budget of backward passes. A row named "… calibrated" is the same network behind
``reteach calibrate``, fitted to the single labels of the validation images; their label sets serve only the
column "tuned" and the trivial rows. "… by folds" is calibrated on the training images instead, by five
networks of which each has not seen a fifth. epr, role and "told" are given the true number of labels per
image, which nobody has who has no label sets. "default" is the calibrated sigmoid or, where it is refused
("doubts"), the calibrated MILe. "never": how often the class that is never named is found.

What has been trained is kept in --out, so that the same command goes on and adds.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from reteach.compare.variants import variants
from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource
from reteach.data.synthetic import compose, sklearn_digits
from reteach.engine.evaluate import outputs
from reteach.engine.run import Run
from reteach.files import write_json
from reteach.labels import Multi, Single
from reteach.metrics.summary import Summary, trivial_every_class
from reteach.models.presence import odds
from reteach.options.methods import METHODS
from reteach.options.shared import Model, Training
from reteach.relabel.calibration.logit_histogram import LogitHistogram
from reteach.relabel.calibration.presence import calibrate
from reteach.runs.inputs import Inputs
from reteach.runs.setup import load_recipe, make_setup

SHOWN = ("f1@0.25", "f1@0.5", "f1@tuned", "map", "labels", "true", "ece_labels", "never")
FAMILY = ("an-ls", "wan", "epr", "role", "em-apl", "large-loss")
THREE = ("softmax", "sigmoid", "mile")
MIXTURES = {"mile-mixture": ("rho=mixture",), "mile-soft": ("rho=mixture", "soft_sets=True")}
"""MILe with its teacher calibrated in each cycle, and with the probabilities of presence as targets."""
FOLDS = 5
Cells = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class World:
    """One arena with one seed: what is learned from, calibrated and tuned on, and judged by.

    ``val`` and ``test`` carry label sets; ``named`` (M,) is the one label of each validation image.
    """

    train: Dataset
    val: Dataset
    named: NDArray[np.int64]
    test: Dataset


@dataclass(frozen=True)
class Arena:
    """How a world is made, and the budget in it."""

    title: str
    model: str
    steps: int
    batch_size: int
    open: Callable[[Path, int, bool], World]
    members: tuple[str, ...] = THREE
    mile: tuple[str, ...] = ("k_t=100", "k_s=50", "rho=0.1")
    augment: str = "none"
    never: int | None = None
    lr: float = 1e-3
    schedule: Any = "constant"
    precision: Any = "fp32"


def grids(
    side: int,
    n: int,
    cells: Callable[[Path], tuple[Cells, Cells, tuple[str, ...]]],
    never: int | None = None,
) -> Any:
    """Grids of cells of which those for validation and for the test are never learned from.

    The class ``never`` stands in the pictures, but pictures whose one label it would be are left out.
    """

    def made(data: Path, seed: int, smoke: bool) -> World:
        learn, rest, names = cells(data)
        mixed = np.random.default_rng(0).permutation(len(rest[0]))
        halves = [(rest[0][at], rest[1][at]) for at in np.array_split(mixed, 2)]
        sizes = (200, 60, 100) if smoke else (n, 2000 if n > 5000 else 500, 4000)
        train = compose(*learn, sizes[0], side, seed, names=names)
        val = compose(*halves[0], sizes[1], side, seed=1_000_001 + seed, names=names)
        test = compose(*halves[1], sizes[2], side, seed=1_000_002, names=names)
        learn, tune = (np.flatnonzero(part.given.index != never) for part in (train, val))
        return World(
            Dataset.of(ArraySource(train.images[learn]), train.given.take(learn)),
            Dataset.of(ArraySource(val.images[tune]), val.truth.take(tune)),
            val.given.index[tune],
            Dataset.of(ArraySource(test.images), test.truth),
        )

    return made


def digits(data: Path) -> tuple[Cells, Cells, tuple[str, ...]]:
    """scikit-learn's, half for learning."""
    images, classes = sklearn_digits()
    half = len(images) // 2
    return (images[:half], classes[:half]), (images[half:], classes[half:]), tuple("0123456789")


def mnist(data: Path) -> tuple[Cells, Cells, tuple[str, ...]]:
    """MNIST's own split."""
    with np.load(data / "mnist.npz") as pack:
        learn, rest = (
            (pack[f"{part}_images"], pack[f"{part}_labels"].astype(np.int64))
            for part in ("train", "test")
        )
    return learn, rest, tuple("0123456789")


def twenty(data: Path) -> tuple[Cells, Cells, tuple[str, ...]]:
    """MNIST and CIFAR-10 together: twenty classes, of which a picture has three or four."""
    (a, b), (c, d), names = mnist(data)
    with np.load(data / "cifar10.npz") as pack:
        jpeg, offsets, label = pack["jpeg"], pack["offsets"], pack["label"].astype(np.int64)
        more = tuple(str(n) for n in pack["class_names"])
    parts = []
    for cells, classes, rows in ((a, b, np.arange(20_000)), (c, d, np.arange(50_000, 55_000))):
        chosen = np.random.default_rng(0).permutation(len(cells))[: len(rows)]
        grey = np.pad(cells[chosen], ((0, 0), (2, 2), (2, 2)))[..., None].repeat(3, -1)
        photos = np.stack([_pixels(jpeg, offsets, i, 32) for i in rows.tolist()])
        both = np.concatenate([grey, photos]), np.concatenate([classes[chosen], 10 + label[rows]])
        parts.append(both)
    return parts[0], parts[1], (*names, *more)


def photos(salient: bool) -> Any:
    """Street photos with all their tags (Clothing Co-Parsing), of which one is kept for learning.

    The tag is drawn uniformly, or by the area that it covers, of the photos with masks.
    """

    def made(data: Path, seed: int, smoke: bool) -> World:
        with np.load(data / "ccp_multilabel.npz") as pack:
            jpeg, offsets, names = pack["jpeg"], pack["offsets"], pack["label_names"]
            tags, area = pack["labels"] > 0, pack["pixel_fraction"].astype(np.float64)
            masked = pack["label_source"] == 0
        used = (tags.sum(0) >= 40) & ~np.isin(names, ["null", "skin", "hair"])
        rows = np.flatnonzero((masked if salient else True) & tags[:, used].any(1))
        rows = np.random.default_rng(7).permutation(rows)[: 150 if smoke else None]
        tags, area = tags[rows][:, used], area[rows][:, used]
        weight = (area + 1e-4) * tags if salient else tags.astype(np.float64)
        generator = np.random.default_rng(seed)
        named = np.array([generator.choice(len(w), p=w / w.sum()) for w in weight])
        images = np.stack([_pixels(jpeg, offsets, i, 64) for i in rows.tolist()])
        return split(images, tags, named, tuple(str(n) for n in names[used]))

    return made


def coco(data: Path, seed: int, smoke: bool) -> World:
    """353 photos of COCO with one category each, drawn uniformly: few, but real."""
    with np.load(data / "coco_mini.npz") as pack:
        jpeg, offsets, names = pack["jpeg"], pack["offsets"], pack["label_names"]
        tags = pack["labels"] > 0
    used = tags.sum(0) >= 10
    rows = np.random.default_rng(7).permutation(np.flatnonzero(tags[:, used].any(1)))
    tags = tags[rows][:, used]
    generator = np.random.default_rng(seed)
    named = np.array([generator.choice(np.flatnonzero(row)) for row in tags])
    images = np.stack([_pixels(jpeg, offsets, i, 64) for i in rows.tolist()])
    return split(images, tags, named, tuple(str(n) for n in names[used]))


def split(
    images: NDArray[np.uint8],
    tags: NDArray[np.bool_],
    named: NDArray[np.int64],
    classes: tuple[str, ...],
) -> World:
    """Three fifths for learning, a fifth for validation, a fifth for the test."""
    truth, n = Multi.from_dense(tags, classes), len(images)
    cut = (0, int(0.6 * n), int(0.8 * n), n)
    part = [slice(a, b) for a, b in itertools.pairwise(cut)]
    source = [ArraySource(images[at]) for at in part]
    return World(
        Dataset.of(source[0], Single(named[part[0]], classes)),
        Dataset.of(source[1], truth.take(part[1])),
        named[part[1]],
        Dataset.of(source[2], truth.take(part[2])),
    )


def _pixels(jpeg: Any, offsets: Any, i: int, side: int) -> NDArray[np.uint8]:
    from PIL import Image

    image = Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB")
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


EVERY = (*THREE, *FAMILY)
ARENAS = {
    "grids2": Arena("2×2 digits, 60,000", "reteach_tiny", 3000, 128, grids(2, 60_000, digits), EVERY),
    "grids3": Arena("3×3 digits, 60,000", "reteach_tiny", 3000, 128, grids(3, 60_000, digits)),
    "multi-mnist": Arena("Multi-MNIST", "reteach_max", 3000, 128, grids(3, 60_000, mnist), lr=3e-3,
                         schedule="cosine"),
    "few": Arena("2×2 digits, 1,500", "reteach_tiny", 1500, 128, grids(2, 1500, digits),
                 (*EVERY, *MIXTURES)),
    "sparse": Arena("2×2 of 20 classes", "reteach_small", 1200, 128, grids(2, 20_000, twenty)),
    "photos": Arena("street photos", "reteach_small", 600, 64, photos(False), EVERY,
                    augment="crop-flip"),
    "salient": Arena("street photos, salient tags", "reteach_small", 600, 64, photos(True), EVERY,
                     augment="crop-flip"),
    "coco": Arena("COCO, 353 photos", "reteach_small", 200, 64, coco, augment="crop-flip"),
    "never": Arena("2×2 digits, 9 never named", "reteach_tiny", 3000, 128,
                   grids(2, 60_000, digits, never=9), never=9),
}  # fmt: skip


def scores(
    arena: Arena, world: World, method: str, seed: int, folder: Path, smoke: bool
) -> dict[str, Any]:
    """Log-odds (N, C) of the validation and the test images; trained once and kept."""
    truth = world.val.labels.present().sum(1).mean()
    steps = 12 if smoke else arena.steps
    model = Model(arena.model, channels_last=True, precision=arena.precision, device="cpu")
    training = Training(
        steps=steps,
        batch_size=8 if smoke else arena.batch_size,
        optimizer="adam",
        lr=arena.lr,
        schedule=arena.schedule,
        augment=arena.augment,
        seed=seed,
    )
    cycles = ("k_t=6", "k_s=3", "rho=0.1") if smoke else arena.mile
    settings = {"mile": cycles} | {name: (*cycles, *more) for name, more in MIXTURES.items()}
    settings |= dict.fromkeys(("epr", "role"), (f"expected={truth:.3f}",))
    method, chosen = "mile" if method in MIXTURES else method, settings.get(method, ())
    (entrant,), _ = variants((method,), model, training, chosen)
    setup = make_setup(entrant.config, Inputs(world.train, None, None), torch.device("cpu"))
    run = Run(folder, seed, quiet=True)

    def computed() -> dict[str, Any]:
        algorithm = load_recipe(METHODS[method].recipe)(
            setup, entrant.config.settings, Run.memory(seed)
        )
        predictor = next(iter(algorithm.predictors().values()))
        kept: dict[str, Any] = {"softmax": np.array(predictor.link == "softmax")}
        for name, data in (("val", world.val), ("test", world.test)):
            found = outputs(lambda x: odds(predictor.logits(x), predictor.link), setup.scan(data))
            kept[name] = np.concatenate([z.numpy() for _, z in found])
        return kept

    return run.once("scores", computed, config=repr(entrant.config), images=world.train)


def judged(world: World, val: Any, test: Any) -> dict[str, float]:
    """The metrics of probabilities (N, C) on the test images; the threshold tuned on validation sets."""
    tuning, summary = Summary(world.val.classes), None
    tuning.update(val, world.val.labels.present())
    summary = Summary(world.test.classes, (0.5, 0.25), tuning.tuned_threshold())
    summary.update(test, world.test.labels.present())
    found = summary.compute()
    return found | {"labels": found["labels_per_image"], "true": found["true_labels_per_image"]}


def trivial(world: World) -> dict[str, dict[str, float]]:
    """Every class, and the most frequent tags in the single labels, as many as do best in validation."""
    every = trivial_every_class(world.test.labels.present())
    order = np.argsort(-world.train.labels.counts(), kind="stable")
    best = {"f1@0.5": -1.0}
    best_val = -1.0
    for k in range(1, len(order) + 1):
        row = np.zeros(len(order), np.float32)
        row[order[:k]] = 1
        each = [np.tile(row, (len(d), 1)) for d in (world.val, world.test)]
        on_val = Summary(world.val.classes, (0.5,))
        on_val.update(each[0], world.val.labels.present())
        if (now := on_val.compute()["f1@0.5"]) > best_val:
            best_val, best = now, judged(world, *each)
    every |= {"labels": every["labels_per_image"], "true": every["true_labels_per_image"]}
    return {"every class present": every, "most frequent tags": best}


def held_out(
    arena: Arena, world: World, method: str, seed: int, folder: Path, smoke: bool
) -> LogitHistogram:
    """Scores of the training images by networks that have not learned from them."""
    sketch, each = LogitHistogram(world.train.classes), np.arange(len(world.train)) % FOLDS
    for fold in range(FOLDS):
        rest, own = (world.train.subset(np.flatnonzero(at)) for at in (each != fold, each == fold))
        part = World(rest, own, world.named, own)
        where = folder.with_name(f"{folder.name}-fold{fold}")
        kept = scores(arena, part, method, seed, where, smoke)
        sketch.add(kept["val"], own.labels.index)
    return sketch


def rows(arena: Arena, name: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """All rows of an arena with one seed."""
    world = arena.open(options.data, seed, options.smoke)
    out: dict[str, Any] = dict(trivial(world))

    def judge(val: Any, test: Any) -> dict[str, float]:
        row = judged(world, _p(val), _p(test))
        if arena.never is not None:
            there = world.test.labels.present()[:, arena.never]
            row["never"] = float((test[there, arena.never] > 0).mean())
        return row

    for member in options.members or arena.members:
        folder = options.out / name / f"{member}-{seed}"
        kept = scores(arena, world, member, seed, folder, options.smoke)
        val, test = kept["val"], kept["test"]
        out[member] = judge(val, test)
        if member in FAMILY:
            continue
        link = "softmax" if kept["softmax"] else "sigmoid"
        sketch = LogitHistogram(world.train.classes)
        sketch.add(val, world.named)
        expected = float(world.val.labels.present().sum(1).mean())
        forms: dict[str, tuple[LogitHistogram, dict[str, Any]]] = {
            " calibrated": (sketch, {}),
            " calibrated, told": (sketch, {"expected": expected}),
        }
        if name == "few" and member in ("sigmoid", "mile"):
            more = held_out(arena, world, member, seed, folder, options.smoke)
            forms[" calibrated by folds"] = more, {}
        for words, (seen, settings) in forms.items():
            found = calibrate(seen, link, **settings)
            both = [found.presence.of_odds(torch.from_numpy(z)).numpy() for z in (val, test)]
            out[f"{member}{words}"] = judge(*both) | {"doubts": float(len(found.warnings))}
        print(f"{name} {member} seed {seed}", flush=True)
    if {"sigmoid", "mile"} <= out.keys():
        first, second = out["sigmoid calibrated"], out["mile calibrated"]
        out["default"] = second if first["doubts"] else first
    return out


def _p(z: NDArray[Any]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-z.astype(np.float64)))).astype(np.float32)


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Means and deviations over the seeds as Markdown; fractions in percent."""
    lines = ["| | " + " | ".join((*SHOWN, "doubts")) + " |", "|---" * (len(SHOWN) + 2) + "|"]
    for name, each in found.items():
        cells = []
        for metric in SHOWN:
            v = np.array([e.get(metric, np.nan) for e in each]) * (
                1 if metric in ("labels", "true") else 100
            )
            spread = f" ± {v.std(ddof=1):.1f}" if len(v) > 1 else ""
            cells.append("–" if np.isnan(v).any() else f"{v.mean():.1f}{spread}")
        doubts = sum(e.get("doubts", 0) > 0 for e in each)
        cells.append(f"{doubts}/{len(each)}" if "doubts" in each[0] else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def against(
    found: dict[str, list[dict[str, float]]], base: str, metric: str = "f1@0.5"
) -> list[str]:
    """Differences to a row, seed by seed, with their 95% interval (Student's t)."""
    from scipy.stats import t

    out = []
    for name, each in found.items():
        pairs = zip(each, found[base], strict=True)
        d = 100 * np.array([a[metric] - b[metric] for a, b in pairs])
        if name != base and len(d) > 1:
            half = float(t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5)
            out.append(
                f"{name} − {base}: {d.mean():+.1f} [{d.mean() - half:+.1f}, {d.mean() + half:+.1f}]"
            )
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=Path("data"))
    parser.add_argument("--arena", nargs="+", default=list(ARENAS), choices=list(ARENAS))
    parser.add_argument(
        "--members", nargs="+", choices=[*EVERY, *MIXTURES], help="by default the arena's own"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32",
                        help="bf16 only where the processor computes with it (AVX-512)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/single-positive"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name in options.arena:
        seeds = options.first_seed + np.arange(1 if options.smoke else options.seeds)
        arena = replace(ARENAS[name], precision=options.precision)
        each = [rows(arena, name, options, seed) for seed in seeds.tolist()]
        results[name] = {row: [e[row] for e in each] for row in each[0]}
        print(f"\n## {ARENAS[name].title} ({name}), {len(each)} seeds\n\n{table(results[name])}\n")
        for base in (*THREE, "most frequent tags"):
            if base in results[name]:
                print(f"F1 at 0.5 against {base}:", *against(results[name], base), sep="\n")
        write_json(options.out / name / "results.json", results[name])
