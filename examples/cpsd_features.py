"""CPSD's Table 3 and Figure 3 on frozen features that are there already, in pairs and under two budgets.

    python examples/cpsd_features.py photos.features [more.features] --labels tags.csv [more.csv]
           --out clothes.jsonl [--what table|published|subsets|cheaper] [--divisions 10]
           [--same RATE EPOCHS] [--smoke]

The features are tables of `reteach embed`, the labels tables of sets. Networks are a hidden layer of 256 over
the 256 principal directions of the training images' features. The partition, the losses and the metrics
are reteach's own; the training is a plain loop here, so that rows that need the same teachers share them,
which makes hundreds of cells affordable. The same seeds, batches and starts in every row of a division.

Budgets, in epochs over all images: *charged*, teachers and student together make E; *free*, the student
makes E and each teacher a quarter of that on its images (the paper's 80 and 20). The rate and E are chosen
from RATES and EPOCHS once for each kind of row, budget and data set, with summed squares and teachers of all
images, by the mAP of the validation images of the first two divisions; --same takes one pair for all rows,
which is a control (give it an --out of its own). Every number goes to a line of
--out; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.stats import t as student_t
from torch import Tensor, nn

from reteach.data.sources.feature_table import read_table
from reteach.labels import Multi
from reteach.losses.asymmetric import asymmetric
from reteach.metrics.counts import CountsAt
from reteach.metrics.ranking import average_precision
from reteach.relabel.partition.sides import partition_sides
from reteach.rng import fold
from reteach.tables import read_labels

RATES, EPOCHS = (1e-3, 3e-3), (10, 20)
DROPPED = ("null", "skin", "hair")
"""Tags of nearly every photo of a person."""
CHOOSING = 2
"""Divisions on whose validation images rates and epochs are chosen."""
WHOLE = {"SD": 1, "two whole": 2, "five whole": 5, "ten whole": 10}
"""Whole teachers of a kind."""
CUT: dict[str, Any] = {"two random": "two-random", "CGPD": "co", "DGPD": "dis", "CPSD": "both"}
"""The sides of a kind with specialists."""
CHEAP = ("ten narrow", "CPSD narrow", "snapshots", "dropout views", "SD, long")
"""Teachers at about the price of one; the last at the price of ten."""


@dataclass(frozen=True)
class Row:
    """A cell of the table."""

    kind: str
    images: str = "all"
    imitation: str = "sum"
    budget: str = "free"
    k: int = 5

    def named(self) -> str:
        """What the choice of rate and epochs is made for."""
        return f"{self.kind} sum {self.budget} k={self.k}"


def rows_of(what: str) -> list[Row]:
    """The cells to compute, the baseline first."""
    budgets, base = ("free", "charged"), Row("baseline")
    if what == "table":
        return [base] + [
            Row(kind, images, imitation, budget)
            for budget in budgets
            for imitation in ("sum", "mean")
            for kind in ("SD", "ten whole", *CUT)
            for images in (("all",) if kind in WHOLE else ("all", "theirs"))
        ]
    if what == "published":
        kinds = ("SD", "ten whole", "two random", "CPSD")
        return [base] + [Row(kind, budget=budget) for budget in budgets for kind in kinds]
    if what == "subsets":
        return [base] + [Row(kind, k=k) for kind in CUT for k in (2, 5, 8)]
    return [base] + [Row(k) for k in ("SD", "two whole", "five whole", "ten whole", "CPSD", *CHEAP)]


@dataclass
class Division:
    """One random division of the images into training, validation and test.

    Args:
        number: of the division; seeds every draw.
        parts: features and label sets of the three.
        classes: names.
    """

    number: int
    parts: dict[str, tuple[Tensor, Tensor]]
    classes: tuple[str, ...]
    taught: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    cuts: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def masks(self, kind: str, k: int) -> dict[str, Tensor]:
        """(C,) bool per specialist of each side, by its name."""
        sides = self.cut(CUT[kind.removesuffix(" narrow")], k)
        return {
            f"{side}-{t}": torch.from_numpy(of == t)
            for side, of in sides.items()
            for t in range(of.max() + 1)
        }

    def cut(self, sides: Any, k: int) -> dict[str, Any]:
        """Eqs. 1-2 by side."""
        if sides == "both":
            return self.cut("co", k) | self.cut("dis", k)
        if (sides, k) not in self.cuts:
            present = self.parts["train"][1].numpy() > 0
            labels = Multi.from_dense(present, self.classes)
            self.cuts[sides, k] = partition_sides(
                labels, sides, k, tau=2.0, how="search", file=None, seed=self.number
            )
        return self.cuts[sides, k]


class Head(nn.Sequential):
    """One hidden layer."""

    def __init__(self, inputs: int, classes: int, hidden: int = 256, drop: float = 0.3) -> None:
        super().__init__(
            nn.Linear(inputs, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(drop),
            nn.Linear(hidden, classes),
        )


def batches(n: int, steps: int, seed: int, size: int = 64) -> Iterator[Tensor]:
    """Rows of so many batches, pass after pass."""
    draw, left = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(left) < min(size, n):
            left = torch.cat([left, torch.randperm(n, generator=draw)])
        yield left[:size]
        left = left[size:]


def fit(
    x: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    classes: int,
    epochs: float,
    rate: float,
    seed: int,
    hidden: int = 256,
    ends: Callable[[nn.Module], None] | None = None,
    cycles: int = 1,
) -> nn.Module:
    """A network on the images x (N, D).

    Args:
        loss: (logits, rows) -> mean loss.
        ends: told of the network at the end of each of ``cycles`` cosines.
    """
    torch.manual_seed(seed)
    net = Head(x.shape[1], classes, hidden)
    steps = max(1, round(epochs * len(x) / 64))
    long = max(1, math.ceil(steps / cycles))
    optimizer = torch.optim.Adam(net.parameters(), rate, fused=True)
    for step, rows in enumerate(batches(len(x), steps, fold(seed, "batches"))):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * (step % long) / long)) / 2
        optimizer.zero_grad()
        loss(net(x[rows]), rows).backward()
        optimizer.step()
        if ends is not None and ((step + 1) % long == 0 or step + 1 == steps):
            ends(net.eval())
            net.train()
    return net.eval()


@torch.no_grad()
def views(net: nn.Module, x: Tensor, count: int) -> Tensor:
    """Mean logits under so many draws of dropout, the statistics fixed."""
    for layer in net.modules():
        layer.train(isinstance(layer, nn.Dropout))
    return torch.stack([net(x) for _ in range(count)]).mean(0)


def teach(
    told: Division, name: str, mask: Tensor, row: Row, epochs: float, rate: float, **more: Any
) -> Tensor:
    """A teacher's logits (N, C) on the training images, 0 outside of its classes."""
    x, y = told.parts["train"]
    asked = (name, row.images, epochs, rate, *map(bool, mask.tolist()), *more.items())
    if asked not in told.taught:
        rows = slice(None) if row.images == "all" else y[:, mask].any(1).nonzero()[:, 0]
        seen, labels = x[rows], y[rows]

        def loss(logits: Tensor, at: Tensor) -> Tensor:
            return asymmetric(logits, labels[at], mask.float()[None]).mean()

        dropout, cycles = more.pop("dropout", 0), more.pop("cycles", 1)
        said: list[Tensor] = []

        @torch.no_grad()
        def ends(net: nn.Module) -> None:
            said.append(net(x))

        seed = fold(told.number, "teacher", name)
        net = fit(seen, loss, y.shape[1], epochs, rate, seed, ends=ends, cycles=cycles, **more)
        logits = views(net, x, dropout) if dropout else torch.stack(said).mean(0)
        told.taught[asked] = logits * mask
    return told.taught[asked]


def targets(told: Division, row: Row, epochs: float, rate: float) -> Tensor:
    """What the teachers say on average of the sides (N, C), whose square is Eq. 6 but for a constant."""
    y = told.parts["train"][1]
    everything = torch.ones(y.shape[1], dtype=torch.bool)
    if row.kind in WHOLE:
        count = WHOLE[row.kind]
        each = epochs / 4 if row.budget == "free" else epochs / 2 / count
        said = [teach(told, str(n), everything, row, each, rate) for n in range(count)]
        return torch.stack(said).mean(0)
    if row.kind == "SD, long":
        return teach(told, "0", everything, row, epochs * 2.5, rate)
    if row.kind == "snapshots":
        return teach(told, "0", everything, row, epochs / 4, rate, cycles=5)
    if row.kind == "dropout views":
        return teach(told, "0", everything, row, epochs / 4, rate, dropout=10)
    more = {"hidden": 26} if "narrow" in row.kind else {}
    if row.kind == "ten narrow":
        narrow = [teach(told, str(n), everything, row, epochs / 4, rate, **more) for n in range(10)]
        return torch.stack(narrow).mean(0)
    masks = told.masks(row.kind, row.k)
    images = [len(y) if row.images == "all" else int(y[:, m].any(1).sum()) for m in masks.values()]
    each = epochs / 4 if row.budget == "free" else epochs / 2 * len(y) / sum(images)
    sides = sum(int(m[0]) for m in masks.values())  # each side has class 0 once
    specialists = [teach(told, name, m, row, each, rate, **more) for name, m in masks.items()]
    return torch.stack(specialists).sum(0) / sides


def train(told: Division, row: Row, epochs: float, rate: float) -> nn.Module:
    """The student."""
    x, y = told.parts["train"]
    said = None if row.kind == "baseline" else targets(told, row, epochs, rate)
    scale = 1.0 if row.imitation == "sum" else 1 / y.shape[1]

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        own = asymmetric(logits, y[rows]).mean()  # Eq. 4
        if said is None:
            return own
        return own + scale * (logits - said[rows]).square().sum(1).mean()  # Eq. 7

    own = epochs / 2 if said is not None and row.budget == "charged" else epochs
    return fit(x, loss, y.shape[1], own, rate, fold(told.number, "student"))


@torch.no_grad()
def judge(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """mAP over the classes that are there, CF1 and OF1, in percent."""
    scores, truth = torch.sigmoid(net(x)).numpy(), y.numpy() > 0
    found = {"map": float(np.nanmean(average_precision(scores, truth)))}
    for threshold in (0.5, 0.8):
        counts = CountsAt(threshold)
        counts.update(scores, truth)
        got = counts.compute()
        found |= {f"cf1@{threshold}": got["cf1"], f"of1@{threshold}": got["of1"]}
    return {name: 100 * value for name, value in found.items()}


def divide(x: np.ndarray, y: np.ndarray, names: tuple[str, ...], number: int) -> Division:
    """The three parts, 65, 15 and 20 of 100, in the 256 principal directions of the first."""
    order = np.random.default_rng(number).permutation(len(y))
    cuts = (len(y) * np.array([0, 0.65, 0.8, 1])).astype(int)
    rows = {
        n: order[a:b] for n, a, b in zip(("train", "val", "test"), cuts, cuts[1:], strict=False)
    }
    middle = x[rows["train"]].mean(0)
    _, _, turned = np.linalg.svd(x[rows["train"]] - middle, full_matrices=False)
    found = {n: (x[r] - middle) @ turned[:256].T for n, r in rows.items()}
    scale = found["train"].std()
    parts = {
        n: (torch.from_numpy((found[n] / scale).astype(np.float32)),
            torch.from_numpy(y[r].astype(np.float32))) for n, r in rows.items()
    }  # fmt: skip
    return Division(number, parts, names)


def read(
    features: list[Path], labels: list[Path]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Features (N, D), label sets (N, C), names; classes of at least 1 in 42 images, or 50."""
    found, present, classes = [], [], None
    for folder, file in zip(features, labels, strict=True):
        table, given = read_table(folder), read_labels(file, kind="multi")
        place = {item: n for n, item in enumerate(given.items)}
        rows = np.array([place[item] for item in table.items if item in place])
        kept = [n for n, item in enumerate(table.items) if item in place]
        found.append(table.features[kept, 0].astype(np.float32))
        dense = given.labels.present()[rows]
        here = {name: n for n, name in enumerate(given.labels.classes)}
        classes = classes or list(here)
        classes += [name for name in here if name not in classes]
        present.append((dense, here))
    y = np.concatenate(
        [
            np.stack([d[:, h[c]] if c in h else np.zeros(len(d), bool) for c in classes], 1)
            for d, h in present
        ]
    )
    return np.concatenate(found), y, tuple(classes)


class Lines:
    """The file of results: what is there is not computed again."""

    def __init__(self, file: Path) -> None:
        self.file, self.known = file, {}
        for line in file.read_text().splitlines() if file.exists() else ():
            told = json.loads(line)
            self.known[told["asked"]] = told

    def once(self, asked: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The line of this question."""
        if asked not in self.known:
            told = {"asked": asked, **compute()}
            with self.file.open("a") as out:
                out.write(json.dumps(told) + "\n")
            self.known[asked] = told
        return self.known[asked]


def choose(lines: Lines, divisions: list[Division], row: Row) -> tuple[float, int]:
    """Rate and epochs with the highest mean mAP of the validation images."""

    def tried(rate: float, epochs: int) -> float:
        found = []
        for told in divisions[:CHOOSING]:

            def run(told: Division = told) -> dict[str, Any]:
                net = train(told, row, epochs, rate)
                return {"val": judge(net, *told.parts["val"])["map"]}

            asked = f"choose {row.named()} {rate:g} {epochs} {told.number}"
            found.append(lines.once(asked, run)["val"])
        return float(np.mean(found))

    grid = [(rate, epochs) for rate in RATES for epochs in EPOCHS]
    if len(grid) == 1:
        return grid[0]
    return max(grid, key=lambda pair: tried(*pair))


def interval(values: np.ndarray) -> str:
    """Mean ± half of the 95% interval."""
    n = len(values)
    half = student_t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return f"{values.mean():.2f} ± {half:.2f}"


def table(rows: list[Row], found: dict[Row, list[dict[str, Any]]]) -> Iterator[str]:
    """Markdown."""
    of = {row: np.array([f["map"] for f in found[row]]) for row in rows}
    base = of[rows[0]]
    head = ["kind", "images", "imitation", "budget", "k", "rate, epochs", "mAP"]
    head += ["CF1@0.5", "OF1@0.5", "OF1@0.8", "mAP − baseline", "mAP − SD"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        each, first = found[row], found[row][0]
        sd = of.get(Row("SD", "all", row.imitation, row.budget))
        means = " | ".join(
            f"{np.mean([f[m] for f in each]):.1f}" for m in ("cf1@0.5", "of1@0.5", "of1@0.8")
        )
        against = "" if sd is None or row.kind in ("SD", "baseline") else interval(of[row] - sd)
        gain = "" if row is rows[0] else interval(of[row] - base)
        cells = [row.kind, row.images, row.imitation, row.budget, str(row.k)]
        cells += [f"{first['rate']:g}, {first['epochs']}", interval(of[row]), means, gain, against]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", type=Path, nargs="+")
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="of the results, a line each")
    choices = ["table", "published", "subsets", "cheaper"]
    parser.add_argument("--what", choices=choices, default="table")
    parser.add_argument("--divisions", type=int, default=10)
    parser.add_argument(
        "--least", type=int, default=50, help="images of a class, or it is left out"
    )
    parser.add_argument("--same", type=float, nargs=2, help="rate and epochs of all rows")
    parser.add_argument("--smoke", action="store_true")
    told = parser.parse_args()
    global RATES, EPOCHS
    if told.smoke:
        RATES, EPOCHS, told.divisions, told.least = (3e-3,), (1,), 2, 1
    if told.same:
        RATES, EPOCHS = (told.same[0],), (int(told.same[1]),)
    torch.set_num_threads(1)
    x, y, names = read(told.features, told.labels)
    kept = (y.sum(0) >= told.least) & ~np.isin(names, DROPPED)
    y, names = y[:, kept], tuple(np.array(names)[kept].tolist())
    print(f"{len(y)} images, {len(names)} classes, {y.sum(1).mean():.2f} per image", flush=True)
    lines = Lines(told.out)
    divisions = [divide(x, y, names, n) for n in range(told.divisions)]
    rows, found = rows_of(told.what), {}
    chosen = {}
    for row in rows:
        if row.named() not in chosen:
            chosen[row.named()] = choose(
                lines, divisions, Row(row.kind, budget=row.budget, k=row.k)
            )
    for one in divisions:
        one.taught.clear()
    for one in divisions:
        for row in rows:
            rate, epochs = chosen[row.named()]

            def run(
                one: Division = one, row: Row = row, rate: float = rate, epochs: int = epochs
            ) -> dict[str, Any]:
                net = train(one, row, epochs, rate)
                test = judge(net, *one.parts["test"])
                return {
                    **asdict(row),
                    "division": one.number,
                    "rate": rate,
                    "epochs": epochs,
                    **test,
                }

            found.setdefault(row, []).append(lines.once(f"{row} {one.number}", run))
        one.taught.clear()
    print(*table(rows, found), sep="\n")


if __name__ == "__main__":
    main()
