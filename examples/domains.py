"""One domain left out: how methods do on images of another kind than they learned from (MILe's supplement).

    python examples/domains.py --domain photos=pacs/photo --domain sketches=pacs/sketch --domain art=pacs/art
    python examples/domains.py --members sigmoid asl mile \\
        --domain masks=street.features,masks.csv --domain tags=street.features,tags.csv

A domain is a folder of class folders, or images and a label table (also a feature table of reteach embed).
Each domain is left out in turn. What is learned from is four fifths of every other domain; a fifth of them
judges *in-domain*, and all images of the one that is left out judge beside it. All members have the same
number of backward passes, and none is tuned on the domain that is left out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from reteach.compare.variants import variants
from reteach.data.dataset import Dataset
from reteach.data.sources.base import open_source
from reteach.data.sources.concat import ConcatSource
from reteach.engine.evaluate import Evaluation
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.files import write_json
from reteach.labels import LabelSet, Multi, Single
from reteach.options.methods import METHODS
from reteach.options.shared import Model, Training
from reteach.runs.config import with_network
from reteach.runs.inputs import Inputs, labelled_dataset
from reteach.runs.setup import load_recipe, make_setup

SHOWN = ("accuracy", "map", "f1@0.25", "f1@0.5")


def domain(text: str, classes: tuple[str, ...] | None) -> tuple[str, Dataset]:
    """Name and images of NAME=IMAGES[,LABELS]."""
    name, equals, where = text.partition("=")
    images, _, labels = where.partition(",")
    if not equals or not images:
        raise UserError(f"--domain wants NAME=IMAGES or NAME=IMAGES,LABELS, got {text!r}")
    table = Path(labels) if labels else None
    return name, labelled_dataset(open_source(images), table, images, classes).labelled()


def domains(texts: Sequence[str]) -> dict[str, Dataset]:
    """All of them over one class list, every class that occurs in any."""
    first = [domain(text, None)[1] for text in texts]
    classes = tuple(sorted({name for data in first for name in data.classes}))
    found = dict(domain(text, classes) for text in texts)
    if len(found) < 2 or len(found) < len(texts):
        raise UserError("leaving one domain out takes two or more, each with a name of its own")
    if len({data.labels.kind for data in found.values()}) > 1:
        raise UserError("some domains have one label per image and others label sets")
    return found


def joined(one: Dataset, two: Dataset) -> Dataset:
    """Both as one data set."""
    rows = np.concatenate([one.rows, two.rows + len(one.source)])
    return Dataset(ConcatSource(one.source, two.source), _both(one.labels, two.labels), rows)


def _both(one: LabelSet, two: LabelSet) -> LabelSet:
    if isinstance(one, Single) and isinstance(two, Single):
        return Single(np.concatenate([one.index, two.index]), one.classes)
    (a, b, _), (c, d, _) = one.pairs(), two.pairs()
    rows, columns = np.concatenate([a, c + len(one)]), np.concatenate([b, d])
    return Multi.from_pairs(rows, columns, len(one) + len(two), one.classes)


def left_out(
    found: Mapping[str, Dataset], name: str, member: str, options: argparse.Namespace, seed: int
) -> dict[str, dict[str, float]]:
    """The numbers of one member without one domain: on it, and on the others' held-out fifth."""
    halves = [data.split(0.2, seed=seed) for other, data in found.items() if other != name]
    learn, inside = (reduce(joined, [half[i] for half in halves]) for i in (0, 1))
    model = with_network(
        Model(options.model, device="cpu"), options.domain[0].split("=")[1].split(",")[0]
    )
    training = Training(
        steps=options.steps,
        batch_size=options.batch_size,
        optimizer="adam",
        lr=options.lr,
        seed=seed,
    )
    config = variants((member,), model, training, [s for s in options.set if s.startswith(member)])[
        0
    ][0].config
    setup = make_setup(config, Inputs(learn, None, None), torch.device("cpu"))
    trained = load_recipe(METHODS[member].recipe)(setup, config.settings, Run.memory(seed))
    predictor = next(iter(trained.predictors().values()))
    return {
        where: Evaluation(where, setup.scan(data))(predictor).compute()
        for where, data in (("in-domain", inside), ("left out", found[name]))
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Means and deviations over the seeds as Markdown, in percent."""
    heads = [f"{metric}, {where}" for metric in SHOWN for where in ("in-domain", "left out")]
    lines = ["| left out | | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for name, members in results.items():
        for member, each in members.items():
            cells = []
            for metric in SHOWN:
                for where in ("in-domain", "left out"):
                    v = 100 * np.array([one[where][metric] for one in each])
                    cells.append(
                        f"{v.mean():.1f}" + (f" ± {v.std(ddof=1):.1f}" if len(v) > 1 else "")
                    )
            lines.append(f"| {name} | {member} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domain", action="append", required=True, metavar="NAME=IMAGES[,LABELS]")
    parser.add_argument("--members", nargs="+", default=["softmax", "sigmoid", "mile"])
    parser.add_argument("--set", nargs="*", default=[], help="settings such as mile.rho=0.1")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/domains"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.steps, options.batch_size = 1, 6, 16
    torch.set_num_threads(1)
    found = domains(options.domain)
    results = {
        name: {
            member: [left_out(found, name, member, options, seed) for seed in range(options.seeds)]
            for member in options.members
        }
        for name in found
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "results.json", results)
    print(table(results))
