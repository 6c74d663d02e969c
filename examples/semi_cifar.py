"""Billion-scale semi-supervised learning in miniature: 1,000 labelled CIFAR-10 images, a pile of 60,000.

    python examples/semi_cifar.py CIFAR10.npz TINY_IMAGENET50.npz [--seeds 3] [--first-seed 0]
                                  [--rebalance] [--smoke]

Both packs hold JPEGs (arrays jpeg, offsets, split, label …). The labelled images are long-tailed; the
pile is the rest of CIFAR-10's training images and the training images of Tiny-ImageNet at 32 pixels,
two thirds of which show none of the classes. Tags, for the random control, are made up: of an image that
shows a class the right one with probability 0.4, else any. The same steps for everybody: a teacher (600),
then 1,500 on the picks and 800 of fine-tuning; the supervised control has all 2,900 on the labelled images.
--rebalance draws the labelled classes equally often in every training, because the test images are balanced.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from scipy.stats import t

from reteach.commands.evaluate import RunEvaluation, evaluate
from reteach.data.dataset import Dataset
from reteach.data.sources.base import open_source
from reteach.engine.evaluate import outputs, top_classes
from reteach.files import write_json
from reteach.labels import Single
from reteach.options.methods import METHODS
from reteach.options.runs import EvaluateOptions, RunEvaluationOptions
from reteach.options.shared import Data, Model, Output, Training
from reteach.relabel.selection.quotas import balanced
from reteach.relabel.selection.topk import RankingRule
from reteach.relabel.selection.topk_numpy import Candidates, best
from reteach.runs.checkpoint import load_models
from reteach.runs.config import Config
from reteach.runs.train import train
from reteach.tables import LabelTable, write_labels

KINDS = {
    "airplane": "n02691156", "automobile": "n02958343", "bird": "n01503061", "cat": "n02121808",
    "deer": "n02430045", "dog": "n02084071", "frog": "n01639765", "horse": "n02374451",
    "ship": "n04194289", "truck": "n04490091",
}  # fmt: skip
"""WordNet's name of each class of CIFAR-10: what of Tiny-ImageNet shows it."""
TOP, RIGHT_TAGS, TAIL = 5, 0.4, 20.0
SELECTIONS = ("balanced-ranked", "unbalanced-ranked", "balanced-with-tags")
STEPS = {"teacher": 600, "pretrain": 1500, "finetune": 800}
RATE = 1e-3
"""Of fine-tuning, found on other images of CIFAR-10's training set with another seed."""
PICKED = (200, 1000, 2500)
"""K whose label accuracy is looked at; the second is trained on."""


def images(pack: Path, rows: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) uint8."""
    with np.load(pack, allow_pickle=False) as content:
        jpeg, starts = content["jpeg"], content["offsets"]
    out = np.empty((len(rows), 32, 32, 3), np.uint8)
    for i, row in enumerate(rows.tolist()):
        image = Image.open(io.BytesIO(jpeg[starts[row] : starts[row + 1]].tobytes()))
        small = image if image.size == (32, 32) else image.resize((32, 32), Image.Resampling.BOX)
        out[i] = np.asarray(small.convert("RGB"))
    return out


def shown(tiny: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of Tiny-ImageNet's training images, and the class of CIFAR-10 that each shows, or -1."""
    with np.load(tiny, allow_pickle=False) as content:
        parents: dict[str, set[str]] = {}
        for parent, child in content["is_a"].tolist():
            parents.setdefault(child, set()).add(parent)
        kind = {KINDS[name]: index for index, name in enumerate(names)}

        def classes(wnid: str) -> set[int]:
            own = {kind[wnid]} if wnid in kind else set()
            return own.union(*(classes(parent) for parent in parents.get(wnid, ())))

        found = np.array([min(classes(wnid), default=-1) for wnid in content["wnid"].tolist()])
        rows = np.flatnonzero(content["split"] == 0)
        return rows, found[content["label"][rows]]


def prepare(
    folder: Path, cifar: Path, tiny: Path, seed: int, size: int, pile: int, test: int
) -> None:
    """labelled.npz, pile.npz, test.npz and tags.parquet as a user would have them, and truth.npy."""
    if (folder / "truth.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 2019])
    with np.load(cifar, allow_pickle=False) as content:
        label, names = content["label"].astype(np.int64), tuple(map(str, content["class_names"]))
        mixed = rng.permutation(np.flatnonzero(content["split"] == 0))
        last = np.flatnonzero(content["split"] == 1)[:test]
    weight = TAIL ** -(np.arange(10) / 9)
    sizes = np.maximum(1, np.floor(size * weight / weight.sum()).astype(int))
    sizes[0] += size - sizes.sum()
    long = rng.permutation(10)  # which classes are rare
    learn = np.concatenate([mixed[label[mixed] == c][:n] for c, n in zip(long, sizes, strict=True)])
    rest = mixed[~np.isin(mixed, learn)][:pile]
    others, other_label = shown(tiny, names)
    others, other_label = others[: 3 * pile], other_label[: 3 * pile]
    truth = np.concatenate([label[rest], other_label])
    items = [f"cifar/{i:05d}" for i in rest] + [f"tiny/{i:05d}" for i in others]
    right = (rng.random(len(truth)) < RIGHT_TAGS) & (truth >= 0)
    tags = Single(np.where(right, truth, rng.integers(0, 10, len(truth))), names)
    write_labels(folder / "tags.parquet", LabelTable(tuple(items), tags, "made up"))
    np.savez(folder / "pile.npz", items=items,
             images=np.concatenate([images(cifar, rest), images(tiny, others)]))  # fmt: skip
    for name, rows in (("labelled", learn), ("test", last)):
        np.savez(folder / f"{name}.npz", images=images(cifar, rows), labels=label[rows],
                 classes=names, items=[str(i) for i in rows])  # fmt: skip
    np.save(folder / "truth.npy", truth)


def run(
    folder: Path, method: str, steps: int, seed: int, rebalance: bool, **settings: object
) -> Path:
    """A finished run folder of this name; one that exists is not trained again."""
    data, out = folder / "data", folder / str(settings.pop("name"))
    if not (out / "models" / "index.json").exists():
        train(
            Config(
                method,
                METHODS[method].settings(**settings),
                Data(
                    str(data / "labelled.npz"),
                    val_fraction=0,
                    unlabeled=str(data / "pile.npz") if METHODS[method].unlabeled else None,
                    rebalance=rebalance,
                ),
                Model("reteach_mid", channels_last=True, device="cpu"),
                Training(
                    steps=steps, batch_size=128, optimizer="adam", augment="crop-flip", seed=seed
                ),
                Output(out),
            )
        )
    return out


def picks_accuracy(teacher: Path, data: Path) -> dict[str, float]:
    """Share of right labels among the K best, and among K random ones by tag and by first choice."""
    truth, rng = np.load(data / "truth.npy"), np.random.default_rng(0)
    source, saved = open_source(data / "pile.npz"), load_models(teacher, "cpu")
    scan = saved.scan(Dataset.unlabeled(source, saved.classes), 256, 0)
    table = np.concatenate(
        [out.numpy() for _, out in outputs(top_classes(saved.predictor, TOP), scan)]
    )
    cls = table[..., 0].astype(np.int64)
    row = np.repeat(np.arange(len(cls)), TOP)
    found = Candidates(row, cls.ravel(), table[..., 1].ravel(), table[..., 2].ravel())
    out = {}
    for k in PICKED:
        for by in ("score", "logit"):
            picks = best(found, source.items, balanced(k, 10), RankingRule(k, TOP, by))
            out[f"K = {k}, by {by}"] = float((truth[picks.row] == picks.cls).mean())
    first = [rng.permutation(np.flatnonzero(cls[:, 0] == c))[: PICKED[1]] for c in range(10)]
    right = np.concatenate([truth[rows] == c for c, rows in enumerate(first)])
    return out | {f"K = {PICKED[1]}, random by first choice": float(right.mean())}


def one_seed(
    folder: Path, seed: int, steps: dict[str, int], k: int, rebalance: bool
) -> dict[str, float]:
    """Every number of one seed: accuracies in percent, sizes of classes in images."""
    data, whole = folder / "data", sum(steps.values())
    teacher = run(folder, "softmax", steps["teacher"], seed, rebalance, name="teacher")
    supervised = run(folder, "softmax", whole, seed, rebalance, name="supervised")
    found = {
        name: accuracy(of, data)["model"]
        for name, of in (("teacher", teacher), ("supervised", supervised))
    }
    found |= {f"picks, {name}": 100 * v for name, v in picks_accuracy(teacher, data).items()}
    truth = dict(
        zip(open_source(data / "pile.npz").items, np.load(data / "truth.npy"), strict=True)
    )
    tuning = {"finetune_steps": steps["finetune"], "finetune_lr": (RATE,)}
    for kind in SELECTIONS:
        tags = kind == "balanced-with-tags"
        by = {"tags": data / "tags.parquet"} if tags else {"teacher_run": teacher, "top": TOP}
        out = run(folder, "semi", whole - steps["teacher"], seed, rebalance, name=kind, selection=kind,
                  per_class=k, **tuning, **by)  # fmt: skip
        found |= {f"{kind}, {name}": value for name, value in accuracy(out, data).items()}
        picks = pq.read_table(out / "picks.parquet").to_pydict()
        right = [truth[item] == c for item, c in zip(picks["item"], picks["class"], strict=True)]
        counts = np.bincount(picks["class"], minlength=10)
        found[f"{kind}, picks right"] = 100 * float(np.mean(right))
        found |= {
            f"{kind}, smallest class": int(counts.min()),
            f"{kind}, largest": int(counts.max()),
        }
    return found


def accuracy(folder: Path, data: Path) -> dict[str, float]:
    """Test accuracy of each of a run's models."""
    how = RunEvaluationOptions(str(data / "test.npz"), device="cpu")
    judged = evaluate(EvaluateOptions((folder,), run_options=how))
    assert isinstance(judged, RunEvaluation)
    return {name: 100 * numbers["accuracy"] for name, numbers in judged.metrics.items()}


def interval(values: list[float]) -> str:
    """Mean and 95% interval (Student's t)."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cifar", type=Path)
    parser.add_argument("tiny", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rebalance", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/semi-cifar"))
    parser.add_argument("--smoke", action="store_true")
    told = parser.parse_args()
    steps, sizes, k = STEPS, (1000, 50_000, 10_000), PICKED[1]
    if told.smoke:
        steps, sizes, k = {"teacher": 6, "pretrain": 6, "finetune": 2}, (60, 100, 60), 5
    results = []
    for number in range(1 if told.smoke else told.seeds):
        seed = told.first_seed + number
        folder = told.out / f"seed{seed}"
        prepare(folder / "data", told.cifar, told.tiny, seed, *sizes)
        results.append(one_seed(folder, seed, steps, k, told.rebalance))
    differences = {
        "fine-tuning": ("balanced-ranked, student", "balanced-ranked, pretrained"),
        "student - supervised": ("balanced-ranked, student", "supervised"),
        "balanced - unbalanced": ("balanced-ranked, student", "unbalanced-ranked, student"),
        "ranked - random by tag": ("balanced-ranked, student", "balanced-with-tags, student"),
    }
    for name, (a, b) in differences.items():
        for found in results:
            found[name] = found[a] - found[b]
    write_json(told.out / "results.json", results)
    for name in results[0]:
        values = [found[name] for found in results]
        print(f"{name:45} {interval(values):24} {' '.join(f'{v:.1f}' for v in values)}")
