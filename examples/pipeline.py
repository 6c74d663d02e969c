"""One pipeline out of the five papers, judged as one: beside each part alone, and beside cleanlab.

    python examples/pipeline.py TRAIN.features TEST.features --test-labels test.csv
        --given worse.csv --truth true.csv | --one-of tags.csv
        [--learn 5000] [--pile 10000] [--lookups 500] [--seeds 5] [--first-seed 0] [--epochs 10]
        [--only NAME …] [--out DIR]
    python examples/pipeline.py --smoke

Feature tables come from `reteach embed`. Each seed draws the images that are learned from and, beside
them, a pile without labels. --given: one label each, some of them wrong, and a table of the true ones,
which only a simulated rater reads: he looks up --lookups images and says what they show. --one-of: of each
image's tags one is drawn anew by every seed; the rater says all tags of the images that he looks up.

Everybody has as many looked-up labels. Rate and weight decay are chosen once for each method, on a draw
of its own and on held-out given labels, by the search of `reteach train`; no true label and no test image
has a say.

The whole, of single labels: `relabel clean`; the rater looks at what `review` shows first; what stays
suspect is dropped; ELR learns; `select` takes the best of the pile for each class; ELR learns from both.
Of tags: a softmax head, the same selection, and `calibrate` with the raters' sets; rows with the review take
them of the photos that it shows first, and teach them as equal shares. Rows "but …" leave one link out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import t

from reteach import sealed
from reteach.cli import run
from reteach.data.sources.feature_table import (
    FORMAT,
    INDEX,
    FeatureShard,
    FeatureTable,
    read_table,
    write_shard,
)
from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft, as_multi
from reteach.options import train as methods
from reteach.options.calibrate import CalibrateOptions
from reteach.options.relabel import CleanOptions
from reteach.options.review import ReviewOptions
from reteach.options.runs import EvaluateOptions, PredictOptions, RunEvaluationOptions
from reteach.options.scale import SelectOptions
from reteach.options.shared import Data, Output, Training
from reteach.review.decisions import ReviewVerdict
from reteach.review.session import open_session
from reteach.review.values import Query
from reteach.tables import LabelTable, read_labels, write_labels

ROUNDS = 5
"""The rater looks in so many rounds; heads learn again between them."""
PILOT = 100
"""The seed of the draw on which rates are chosen; nobody is judged on it."""
SHOWN = {"given": ("accuracy", "map", "ece"), "one-of": ("map", "f1@0.5", "f1@top1")}

Labels = Mapping[str, int]
"""item -> class."""


def write_features(out: Path, table: FeatureTable, rows: np.ndarray) -> Path:
    """A feature table of some of the items."""
    items = [table.items[row] for row in rows.tolist()]
    out.mkdir(parents=True, exist_ok=True)
    digest = write_shard(
        out / "part-000000.parquet",
        FeatureShard(table.settings, "part-000000", items, table.features[rows]),
    )
    index = {"format": FORMAT, "settings": table.settings, "complete": True}
    sealed.write_json(out / INDEX, index | {"shards": {"part-000000": digest}})
    return out


@dataclass(frozen=True)
class Case:
    """One seed's images.

    Args:
        folder: holds learn.features, pile.features, all.features and whatever is made of them.
        given: a class of each image that is learned from.
        sets: what the rater would say of it: its true class, or all of its tags.
        rates: method -> (rate, weight decay); one that is missing is chosen anew.
    """

    folder: Path
    classes: tuple[str, ...]
    given: Labels
    sets: Mapping[str, frozenset[int]]
    test: tuple[str, Path]
    kind: str
    lookups: int
    epochs: float
    seed: int
    rates: Mapping[str, tuple[float, float]]

    def features(self, which: str) -> str:
        """learn, pile or all."""
        return str(self.folder / f"{which}.features")

    def table(self, name: str, labels: Labels) -> Path:
        """A label table of one class each."""
        out = self.folder / f"{name}.parquet"
        index = np.array([*labels.values()], np.int64)
        write_labels(out, LabelTable(tuple(labels), Single(index, self.classes)))
        return out

    def fit(
        self, name: str, method: str, labels: Labels | Path, *, images: str = "learn", **more: Any
    ) -> Path:
        """The run of a method on these labels."""
        table = labels if isinstance(labels, Path) else self.table(name, labels)
        lr, decay = self.rates.get(method, (None, None))
        options = getattr(methods, method)
        epochs, settings = more.pop("epochs", self.epochs), options().settings
        run(
            options(
                settings=replace(settings, **more.pop("settings", {})),
                data=Data(self.features(images), table, val_fraction=0.0, **more),
                training=Training(epochs=epochs, lr=lr, weight_decay=decay, seed=self.seed),
                output=Output(self.folder / name),
            )
        )
        return self.folder / name

    def judge(self, found: Path) -> dict[str, float]:
        """The numbers of a run on the test images."""
        images, labels = self.test
        judged = run(EvaluateOptions((found,), labels, run_options=RunEvaluationOptions(images)))
        numbers = next(iter(judged.metrics.values()))
        return {name: 100 * numbers[name] for name in SHOWN[self.kind] if name in numbers}


# --- links ------------------------------------------------------------------------------------------------


def at_random(case: Case) -> list[str]:
    """What a rater looks up who has no order."""
    rng = np.random.default_rng([case.seed, 7])
    return rng.permutation(sorted(case.given))[: case.lookups].tolist()


def looked_up(case: Case, labels: Labels, items: Sequence[str]) -> dict[str, int]:
    """The labels after the rater has said the class of some images."""
    return {**labels, **{item: min(case.sets[item]) for item in items}}


def cleaned(case: Case) -> tuple[Path, dict[str, int]]:
    """The folder of ``relabel clean``, and the labels that it keeps."""
    out = case.folder / "clean.parquet"
    if not out.exists():
        table = case.table("given", case.given)
        run(CleanOptions(images=case.features("learn"), labels=table, folds=5, out=out))
    kept = read_labels(out, kind="single", classes=case.classes)
    return out.with_suffix(""), {item: case.given[item] for item in kept.items}


def reviewed(case: Case, name: str, labels: Labels, source: Path | None, images: str) -> list[str]:
    """What a rater looks up who takes what the review shows first, in rounds; done once for each ``name``."""
    folder, list_of = case.folder / f"{name}.review", case.folder / f"{name}.seen.json"
    if list_of.exists():
        return list(json.loads(list_of.read_text()))
    shutil.rmtree(folder, ignore_errors=True)
    told = ReviewOptions(out=folder, prepare=True, seed=case.seed, source="-")
    if source is None:
        table = case.table(f"{name}-before", labels)
        told = replace(told, source=None, images=case.features(images), labels=table)
    else:
        told = replace(told, source=str(source))
    run(told)
    session, seen = open_session(folder, learn_after=0), []
    for number in range(ROUNDS):
        size = case.lookups * (number + 1) // ROUNDS - len(seen)
        rows = session.rows(Query(status="open"))[:size]
        names = [one.name for one in session.items(rows)]
        for row, item in zip(rows.tolist(), names, strict=True):
            given, shown = case.given[item], case.sets[item]
            true = case.classes[given if given in shown else min(shown)]
            session.decide("rater", [row], ReviewVerdict("is", true), item)
        seen += names
        if number + 1 < ROUNDS:
            session.relearn()
            session.wait()
    session.close()
    list_of.write_text(json.dumps(seen))
    return seen


def picked(case: Case, name: str, teacher: Path) -> dict[str, int]:
    """The best of the pile for each class; an image that is picked for several has that of its best score."""
    scores, out = case.folder / f"{name}-scores.parquet", case.folder / f"{name}-picks.parquet"
    run(
        PredictOptions(
            teacher,
            case.features("pile"),
            case.folder / f"{name}-pile.parquet",
            scores=scores,
            top=min(10, len(case.classes)),
        )
    )
    run(SelectOptions(scores, out=out))
    found: dict[str, tuple[float, int]] = {}
    for row in pq.read_table(out, columns=["item", "class", "score"]).to_pylist():
        old = found.get(row["item"], (-1.0, 0))
        found[row["item"]] = max(old, (row["score"], row["class"]))
    return {item: cls for item, (_, cls) in found.items()}


def with_pile(case: Case, name: str, method: str, labels: Labels) -> Path:
    """Teacher, picks, and a student that learns from both."""
    teacher = case.fit(f"{name}-teacher", method, labels)
    return case.fit(name, method, {**labels, **picked(case, name, teacher)}, images="all")


def cleanlab_issues(case: Case) -> list[str]:
    """What cleanlab holds for mislabelled, as its tutorials use it, the least sure first."""
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    table = read_table(Path(case.features("learn")))
    items = list(table.items)
    x = StandardScaler().fit_transform(table.features[:, 0].astype(np.float32))
    _, y = np.unique([case.given[item] for item in items], return_inverse=True)
    model = LogisticRegression(C=1 / (0.1 * len(x)), max_iter=60)
    scores = cross_val_predict(model, x, y, cv=5, method="predict_proba")
    ranked = find_label_issues(y, scores, return_indices_ranked_by="self_confidence")
    return [items[row] for row in ranked.tolist()]


def by_cleanlab(case: Case) -> dict[str, int]:
    """The rater mends what cleanlab ranks first, the other issues go."""
    issues = cleanlab_issues(case)
    gone = set(issues[case.lookups :])
    mended = looked_up(case, case.given, issues[: case.lookups])
    return {item: cls for item, cls in mended.items() if item not in gone}


def kept_or_seen(case: Case, kept: Labels, seen: Sequence[str]) -> dict[str, int]:
    """Labels that cleaning keeps, and those that the rater has said."""
    return looked_up(case, kept, seen)


# --- rows of the table ------------------------------------------------------------------------------------


def whole(
    case: Case,
    name: str,
    *,
    clean: bool = True,
    order: bool = True,
    method: str = "elr",
    pile: bool = True,
) -> Path:
    """The chain, or the chain without a link."""
    source, kept = cleaned(case) if clean else (None, dict(case.given))
    which = "cleaned" if clean else "given"
    seen = reviewed(case, which, case.given, source, "learn") if order else at_random(case)
    labels = kept_or_seen(case, kept, seen)
    return (with_pile if pile else Case.fit)(case, name, method, labels)


def papers_student(case: Case, name: str) -> Path:
    """The billion-scale paper's way: pretrained on the picks alone, then fine-tuned."""
    settings = {"finetune_lr": (0.05, 0.005, 0.0005)}
    return case.fit(name, "semi", random_labels(case), unlabeled=case.features("pile"), settings=settings,
                    epochs=3 * case.epochs)  # fmt: skip


def random_labels(case: Case) -> dict[str, int]:
    return looked_up(case, case.given, at_random(case))


SINGLE: dict[str, Callable[[Case, str], Path]] = {
    "plain, nothing looked up": lambda c, n: c.fit(n, "softmax", c.given),
    "plain": lambda c, n: c.fit(n, "softmax", random_labels(c)),
    "plain, three times as long": lambda c, n: c.fit(
        n, "softmax", random_labels(c), epochs=3 * c.epochs
    ),
    "cleanlab + plain": lambda c, n: c.fit(n, "softmax", by_cleanlab(c)),
    "clean alone": lambda c, n: c.fit(n, "softmax", kept_or_seen(c, cleaned(c)[1], at_random(c))),
    "ELR alone": lambda c, n: c.fit(n, "elr", random_labels(c)),
    "NCT alone": lambda c, n: c.fit(n, "nct", random_labels(c)),
    "select alone": lambda c, n: with_pile(c, n, "softmax", random_labels(c)),
    "semi (the paper's student) alone": papers_student,
    "review alone": lambda c, n: whole(c, n, clean=False, method="softmax", pile=False),
    "THE WHOLE": whole,
    "but no cleaning": lambda c, n: whole(c, n, clean=False),
    "but looked up at random": lambda c, n: whole(c, n, order=False),
    "but softmax for ELR": lambda c, n: whole(c, n, method="softmax"),
    "but NCT for ELR": lambda c, n: whole(c, n, method="nct"),
    "but no pile": lambda c, n: whole(c, n, pile=False),
    "all labels right (the ceiling)": lambda c, n: c.fit(
        n, "softmax", looked_up(c, c.given, list(c.given))
    ),
}


def calibrated(case: Case, found: Path, seen: Sequence[str] | None = None) -> Path:
    """Scores of presence, by the mean number of tags that the rater sees, in ``seen`` or at random."""
    items = at_random(case) if seen is None else seen
    sets = [sorted(case.sets[item]) for item in items]
    starts = np.cumsum([0, *map(len, sets)])
    table = case.folder / f"{found.name}-sets.parquet"
    labels = Multi(starts, np.concatenate(sets), case.classes)
    write_labels(table, LabelTable(tuple(items), labels))
    run(CalibrateOptions(found, folds=5, label_sets=table))
    return found


def sets_taught(
    case: Case,
    name: str,
    seen: Sequence[str] | None = None,
    method: str = "softmax",
    picks: Labels | None = None,
    kept: Labels | None = None,
) -> Path:
    """The rater's sets in place of the one tag, as equal shares; and what was picked from the pile.

    ``kept``: the labels that are taught, all given ones by default.
    """
    taught = case.given if kept is None else kept
    told = {item: {cls} for item, cls in {**taught, **(picks or {})}.items()}
    told |= {item: set(case.sets[item]) for item in (at_random(case) if seen is None else seen)}
    share = np.zeros((len(told), len(case.classes)), np.float32)
    for row, found in enumerate(told.values()):
        share[row, sorted(found)] = 1 / len(found)
    table = case.folder / f"{name}-soft.parquet"
    write_labels(table, LabelTable(tuple(told), Soft.from_dense(share, case.classes)))
    return case.fit(name, method, table, images="learn" if picks is None else "all")


def reviewed_sets(
    case: Case, name: str, method: str = "softmax", pile: bool = False, clean: bool = False
) -> Path:
    """The rater says all tags of the photos that the review shows first; they are taught, and calibrate."""
    source, kept = cleaned(case) if clean else (None, case.given)
    seen = reviewed(case, "cleaned" if clean else "given", case.given, source, "learn")
    picks = None
    if pile:
        teacher = sets_taught(case, f"{name}-teacher", seen, method, kept=kept)
        picks = picked(case, name, teacher)
    return calibrated(case, sets_taught(case, name, seen, method, picks, kept), seen)


def cleanlab_sets(case: Case, name: str) -> Path:
    """The rater says all tags of what cleanlab ranks first, the other issues go; of few, others at random."""
    issues = cleanlab_issues(case)
    seen = list(dict.fromkeys([*issues, *at_random(case)]))[: case.lookups]
    gone = set(issues[case.lookups :])
    kept = {item: cls for item, cls in case.given.items() if item not in gone}
    return calibrated(case, sets_taught(case, name, seen, kept=kept), seen)


TAGS: dict[str, Callable[[Case, str], Path]] = {
    "plain": lambda c, n: c.fit(n, "softmax", c.given),
    "calibrate alone": lambda c, n: calibrated(c, c.fit(n, "softmax", c.given)),
    "clean, calibrate": lambda c, n: calibrated(c, c.fit(n, "softmax", cleaned(c)[1])),
    "ELR, calibrate": lambda c, n: calibrated(c, c.fit(n, "elr", c.given)),
    "NCT, calibrate": lambda c, n: calibrated(c, c.fit(n, "nct", c.given)),
    "sigmoid, calibrate": lambda c, n: calibrated(c, c.fit(n, "sigmoid", c.given)),
    "THE WHOLE": lambda c, n: calibrated(c, with_pile(c, n, "softmax", c.given)),
    "every link (clean and ELR too)": lambda c, n: calibrated(
        c, with_pile(c, n, "elr", cleaned(c)[1])
    ),
    "the rater's sets taught": sets_taught,
    "the rater's sets taught, calibrate": lambda c, n: calibrated(c, sets_taught(c, n)),
    "review, its sets taught, calibrate": reviewed_sets,
    "the same with ELR": lambda c, n: reviewed_sets(c, n, "elr"),
    "the same with select": lambda c, n: reviewed_sets(c, n, pile=True),
    "the same with ELR and select": lambda c, n: reviewed_sets(c, n, "elr", pile=True),
    "every link, the review too": lambda c, n: reviewed_sets(c, n, "elr", pile=True, clean=True),
    "cleanlab, calibrate": lambda c, n: calibrated(
        c, c.fit(n, "softmax", by_cleanlab(replace(c, lookups=0)))
    ),
    "cleanlab, its sets taught, calibrate": cleanlab_sets,
}


# --- draws, seeds, the table ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """What the draws are from: features, and what the tables say of them."""

    table: FeatureTable
    classes: tuple[str, ...]
    given: dict[str, int] | None
    sets: dict[str, frozenset[int]]

    def case(self, folder: Path, seed: int, told: argparse.Namespace, rates: Any) -> Case:
        """The images of one seed, written once."""
        rng = np.random.default_rng([seed, 16])
        known = [row for row, item in enumerate(self.table.items) if self.sets.get(item)]
        if told.learn + told.pile > len(known):
            raise UserError(
                f"--learn and --pile ask for more than the {len(known):,} images there are"
            )
        rows = rng.permutation(known)[: told.learn + told.pile]
        learn = [self.table.items[row] for row in rows[: told.learn].tolist()]
        if self.given is not None:
            given = {item: self.given[item] for item in learn}
        else:
            given = {item: int(rng.choice(sorted(self.sets[item]))) for item in learn}
        for name, part in (
            ("learn", rows[: told.learn]),
            ("pile", rows[told.learn :]),
            ("all", rows),
        ):
            if not (folder / f"{name}.features" / INDEX).exists():
                write_features(folder / f"{name}.features", self.table, part)
        kind = "one-of" if self.given is None else "given"
        return Case(folder, self.classes, given, self.sets, (str(told.test), told.test_labels), kind,
                    told.lookups, told.epochs, seed, rates)  # fmt: skip


def pool(told: argparse.Namespace) -> Pool:
    """The feature table with its label tables."""
    table = read_table(told.train)
    if told.one_of is not None:
        tags = read_labels(told.one_of, kind="multi")
        names = zip(tags.items, tags.labels.names(), strict=True)
        sets = {i: frozenset(map(tags.labels.classes.index, n)) for i, n in names}
        return Pool(table, tags.labels.classes, None, sets)
    true = read_labels(told.truth, kind="single")
    classes = true.labels.classes
    given = read_labels(told.given, kind="single", classes=classes)

    def of(found: LabelTable) -> dict[str, int]:
        index = as_multi(found.labels).as_single().index
        return {i: c for i, c in zip(found.items, index.tolist(), strict=True) if c >= 0}

    shown, said = of(true), of(given)
    sets = {i: frozenset([c]) for i, c in shown.items() if i in said}
    return Pool(table, classes, said, sets)


def chosen_rates(case: Case, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """What the search of ``reteach train`` takes for each method on the pilot's given labels."""
    found = {}
    for method in names:
        head = json.loads(
            (case.fit(f"rate-{method}", method, case.given) / "head.json").read_text()
        )
        found[method] = (head["lr"], head["weight_decay"])
    return found


def main(told: argparse.Namespace) -> None:
    whole_pool = pool(told)
    rows = SINGLE if told.one_of is None else TAGS
    if unknown := set(told.only) - rows.keys():
        raise UserError(f"--only {min(unknown)!r}: no such row; known: {', '.join(rows)}")
    if told.only:
        rows = {name: do for name, do in rows.items() if name in told.only}
    told.out.mkdir(parents=True, exist_ok=True)
    file = told.out / "rates.json"
    if not file.exists():
        wanted = ["softmax", "elr", "nct", *(["sigmoid"] if told.one_of is not None else [])]
        pilot = whole_pool.case(told.out / "pilot", PILOT, told, {})
        file.write_text(json.dumps(chosen_rates(pilot, wanted)))
    rates = json.loads(file.read_text())
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in rows}
    for seed in range(told.first_seed, told.first_seed + told.seeds):
        case = whole_pool.case(told.out / f"seed{seed}", seed, told, rates)
        for name, do in rows.items():
            results[name][str(seed)] = one(case, name, do)
        if not told.keep:
            shutil.rmtree(case.folder / "all.features", ignore_errors=True)
    (told.out / "results.json").write_text(json.dumps(results, indent=1))
    show(results, SHOWN["one-of" if told.one_of is not None else "given"])


def one(case: Case, name: str, do: Callable[[Case, str], Path]) -> dict[str, float]:
    """The numbers of a row and a seed; those that are there are not made again."""
    slug = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
    file = case.folder / f"result-{slug}.json"
    if not file.exists():
        for old in case.folder.glob(f"{slug}*"):
            shutil.rmtree(old, ignore_errors=True)
        began = time.process_time()
        try:
            found = case.judge(do(case, slug))
        except ModuleNotFoundError as error:
            print(f"{name}: not run, {error}", file=sys.stderr)
            return {}
        file.write_text(json.dumps(found | {"seconds": time.process_time() - began}))
    return json.loads(file.read_text())


def show(results: dict[str, dict[str, dict[str, float]]], metrics: Sequence[str]) -> None:
    """Means with 95% intervals, and paired differences of the first metric to the whole and to plain."""
    first = metrics[0]
    print(
        f"{'':34}"
        + "".join(f"{m:>16}" for m in metrics)
        + f"{'beside plain':>16}{'beside the whole':>18}"
    )
    for name, seeds in results.items():
        if not all(seeds.values()):
            continue
        cells = [interval([s[m] for s in seeds.values()]) if m in next(iter(seeds.values())) else "–"
                 for m in metrics]  # fmt: skip
        for other in ("plain", "THE WHOLE"):
            if other in results and other != name and all(results[other].values()):
                cells.append(
                    interval([seeds[s][first] - results[other][s][first] for s in seeds], "+")
                )
            else:
                cells.append("–")
        seconds = np.mean([s["seconds"] for s in seeds.values()])
        print(f"{name:34}" + "".join(f"{c:>16}" for c in cells) + f"  {seconds:.0f} s")


def interval(values: Sequence[float], sign: str = "") -> str:
    """Mean ± half of a 95% interval (Student's t)."""
    mean = f"{np.mean(values):{sign}.1f}"
    if len(values) < 2:
        return mean
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean} ± {half:.1f}"


def made_up(told: argparse.Namespace, folder: Path) -> None:
    """Small feature tables of Gaussian classes, for --smoke."""
    rng = np.random.default_rng(0)
    names, width = tuple("abcd"), 12
    for name, n in (("train", 160), ("test", 60)):
        y = rng.integers(0, 4, n)
        x = (np.eye(4, width)[y] * 4 + rng.normal(size=(n, width))).astype(np.float16)
        items = [f"{name}{i}.png" for i in range(n)]
        settings = {"dimensions": width, "views": 1}
        write_features(
            folder / f"{name}.features", FeatureTable(settings, items, x[:, None]), np.arange(n)
        )
        wrong = np.where(rng.random(n) < 0.3, rng.integers(0, 4, n), y)
        tags = Multi.from_dense(np.eye(4)[y] + np.eye(4)[wrong] > 0, names)
        told_of = {"true": Single(y, names), "given": Single(wrong, names), "tags": tags}
        for kind, labels in told_of.items():
            write_labels(folder / f"{name}-{kind}.csv", LabelTable(tuple(items), labels))
    told.train, told.test = folder / "train.features", folder / "test.features"
    told.learn, told.pile, told.lookups, told.seeds, told.epochs = 100, 60, 30, 1, 10
    if told.one_of is None:
        told.given, told.truth = folder / "train-given.csv", folder / "train-true.csv"
        told.test_labels = folder / "test-true.csv"
    else:
        told.one_of, told.test_labels = folder / "train-tags.csv", folder / "test-tags.csv"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--given", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--one-of", type=Path)
    parser.add_argument("--test-labels", type=Path)
    parser.add_argument("--learn", type=int, default=5000)
    parser.add_argument("--pile", type=int, default=10_000)
    parser.add_argument("--lookups", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument(
        "--keep", action="store_true", help="keep the tables of learned and piled images"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/pipeline"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        with tempfile.TemporaryDirectory() as scratch:
            made_up(options, Path(scratch))
            options.out = Path(scratch) / "out"
            main(options)
    else:
        main(options)
