"""Does the advice win? The commands of an advice.json against its plain training, judged by true labels.

    python examples/advise_check.py ADVICE.json IMAGES LABELS [--seeds 3] [--most 2] [--out FOLDER] [--smoke]

IMAGES and LABELS are held out and true: one label each, or label sets. Every command is run as it stands;
where one has other passes than plain training, a second plain training has as many. Advice to clean is
followed by plain training on what it keeps, and its folds count. Where the title says "then reteach
calibrate", that is done as it says; where it is refused, the run is judged as it is. Interrupted, the same
command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from reteach.cli import main
from reteach.commands.evaluate import RunEvaluation, evaluate
from reteach.files import write_json
from reteach.options.runs import EvaluateOptions, RunEvaluationOptions

SINGLE, SETS = ("accuracy",), ("f1@0.5", "map")


def done(words: list[str]) -> None:
    if main(words) != 0:
        raise SystemExit(f"this failed: reteach {shlex.join(words)}")


def contenders(advice: dict[str, Any], most: int) -> dict[str, tuple[str, bool]]:
    """Name -> (command, whether calibration follows)."""
    chosen = [p for p in advice["advice"] if not p["command"].startswith("reteach dedup")][:most]
    return {"plain": (advice["plain"], False)} | {
        piece["title"]: (piece["command"], "calibrate" in piece["title"]) for piece in chosen
    }


def trained(text: str, plain: str, seed: int, folder: Path, smoke: bool) -> Path:
    """Run a command, and plain training on the labels that it keeps if it cleans."""
    words = shlex.split(text)[1:]
    if words[0] == "relabel":
        kept = folder / "clean.parquet"
        at = words.index("--out")
        words[at : at + 2] = ["--out", str(kept), "--seed", str(seed)]
        if not kept.exists():
            done(short(words) if smoke else words)
        words = shlex.split(plain)[1:]
        words[words.index("--labels") + 1] = str(kept)
    run = folder / "run"
    done([*(short(words) if smoke else words), "--seed", str(seed), "--out", str(run)])
    return run


def short(words: list[str]) -> list[str]:
    """The same command with three steps as its whole budget."""
    words = list(words)
    for option in ("--epochs", "--steps"):
        while option in words:
            del words[words.index(option) : words.index(option) + 2]
    return [*words, "--steps", "3"]


def judged(
    name: str, text: str, then: bool, plain: str, seed: int, options: argparse.Namespace
) -> dict[str, float]:
    """The metrics of a command on the held-out images; whatever is finished is loaded."""
    folder = options.out / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
    file = folder / "result.json"
    if not file.exists():
        run = trained(text, plain, seed, folder, options.smoke)
        folds = ["--folds", "5"] if "--folds 5" in name else []
        refused = then and main(["calibrate", str(run), *folds]) != 0
        how = RunEvaluationOptions(images=options.images)
        judged = evaluate(EvaluateOptions((run,), options.labels, run_options=how))
        assert isinstance(judged, RunEvaluation)
        first = next(iter(judged.metrics.values()))
        keys = SETS if first.get("true_labels_per_image", 1) > 1 else SINGLE
        numbers = {key: float(first[key]) for key in keys}
        write_json(file, numbers | {"refused": float(refused)})
    return dict(json.loads(file.read_text()))


def as_long(plain: str, text: str) -> str | None:
    """Plain training with the passes and the schedule of another command, where it has others."""
    words, other = shlex.split(plain), shlex.split(text)
    if "--epochs" not in words:
        return None

    def option(name: str) -> str | None:
        return other[other.index(name) + 1] if name in other else None

    at = words.index("--epochs")
    own, epochs, steps = words[at + 1], option("--epochs"), option("--steps")
    if other[1] == "relabel":  # five folds learn from four fifths each, and then comes the training
        words[at + 1] = f"{float(own) + 4 * float(epochs or 10):g}"
    elif steps is not None:
        words[at : at + 2] = ["--steps", steps]
    elif epochs is not None and epochs != own:
        words[at + 1] = epochs
    else:
        return None
    schedule = option("--schedule")
    return shlex.join([*words, *(["--schedule", schedule] if schedule else [])])


def shown(numbers: dict[str, float]) -> list[str]:
    """The metrics."""
    return [key for key in numbers if key != "refused"]


def line(name: str, each: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    """Mean ± deviation, and the difference to plain training, seed by seed."""
    cells = []
    for key in shown(each[0]):
        values, others = (100 * np.array([r[key] for r in rows]) for rows in (each, base))
        spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
        gain = "" if each is base else f" ({(values - others).mean():+.1f})"
        cells.append(f"{values.mean():.1f}{spread}{gain}")
    refused = int(sum(row["refused"] for row in each))
    return f"| {name} | {' | '.join(cells)} | {refused or ''} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("advice", type=Path)
    parser.add_argument("images")
    parser.add_argument("labels", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=2, help="pieces of advice that are tried")
    parser.add_argument("--out", type=Path, default=Path("runs/advise-check"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    advice = json.loads(options.advice.read_text())
    plain = advice["plain"]
    tried = contenders(advice, options.most)
    for title, (text, _) in list(tried.items()):
        if (long := as_long(plain, text)) is not None:
            tried[f"plain, as many passes as {title.split(';')[0]}"] = (long, False)
    seeds = range(1 if options.smoke else options.seeds)
    found = {
        name: [judged(name, text, then, plain, seed, options) for seed in seeds]
        for name, (text, then) in tried.items()
    }
    write_json(options.out / "results.json", found)
    columns = shown(found["plain"][0])
    print(f"| | {' | '.join(columns)} | refused |", "|---" * (len(columns) + 2) + "|", sep="\n")
    print(*(line(name, each, found["plain"]) for name, each in found.items()), sep="\n")
