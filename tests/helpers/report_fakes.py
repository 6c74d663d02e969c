"""Run folders and comparisons that look like real ones, without any training."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

EVIL = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "$\\frac{1}{0$ & ]]> -->",
    '=HYPERLINK("x")',
    "caf\u00e9 \u732b \u202egnp.exe",
    "a\x00b\ud800c\nd",
    "</style></title></details>",
    "{{7*7}} javascript:alert(1)",
)
Json = dict[str, Any]


def classes(n: int) -> list[str]:
    """Class names; the first ones are hostile when there are more than 20."""
    base = ["ant", "bowl", "church", "daisy", "eagle", "fence", "goose", "hammer", "island", "jeep"]
    names = [base[i % 10] + ("" if i < 10 else f" {i // 10}") for i in range(n)]
    return [*EVIL, *names[len(EVIL) :]] if n > 20 else names


def picture(seed: int, side: int = 64) -> str:
    """A small PNG as a data URL."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def run_folder(folder: Path, n_classes: int = 10, status: str = "finished") -> Path:
    """A MILe run of 1,500 steps with every file."""
    rng = np.random.default_rng(n_classes)
    names = classes(n_classes)
    folder.mkdir(parents=True, exist_ok=True)
    _config(folder)
    run = {
        "reteach": "0.1.0",
        "kind": "train",
        "method": "mile",
        "classes": names,
        "n_train": 12_811,
        "n_val": 500,
        "n_quarantined": 2,
        "n_unlabeled": 0,
        "device": "NVIDIA H200",
        "status": status,
        "message": "stopped after step 900 of 1500 (train)" if status == "interrupted" else "",
        "created": "2026-03-04T09:41:00+00:00",
        "seconds": 754.2,
        "steps": 1500,
        "images_per_second": 2545.6,
        "warnings": ["collapse to every class present: 9.4 pseudo-labels per image of 10 classes"],
    }
    write_json(folder / "run.json", run)
    records = _training(rng) + _evaluations(rng)
    lines = [json.dumps(record) + "\n" for record in records]
    (folder / "metrics.jsonl").write_text("".join(lines))
    with open(folder / "quarantine.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "reason"])
        writer.writerow(["photos/0012.jpg", "image file is truncated (17 bytes not processed)"])
        writer.writerow(["'=cmd|' /C calc'!A0.png", "cannot identify image file"])
    predictors = {
        "student": predictor(rng, names, 0.62, 0.9),
        "teacher": predictor(rng, names, 0.56, 0.45),
    }
    write_json(folder / "evaluation.json", {"val": predictors})
    return folder


def predictor(rng: np.random.Generator, names: list[str], level: float, share: float) -> Json:
    """What evaluation.json says of one predictor."""
    ap = np.clip(rng.beta(8 * level, 8 * (1 - level), len(names)), 0, 1)
    support = rng.integers(20, 90, len(names))
    per_class = [
        {
            "class": name,
            "support": int(n),
            "ap": float(a),
            "precision": float(min(1, a * rng.uniform(0.9, 1.2))),
            "recall": float(a * share * rng.uniform(0.8, 1.0)),
            "f1": float(a * 0.8),
        }
        for name, a, n in zip(names, ap, support, strict=True)
    ]
    per_class[-1] |= {"ap": float("nan"), "support": 0, "precision": None}
    metrics = {
        "n": 500.0,
        "accuracy": level + 0.021,
        "top5": level + 0.3,
        "real_accuracy": level + 0.2,
        "f1@0.25": level * share + 0.05,
        "f1@0.5": level * share,
        "f1@tuned": level + 0.04,
        "threshold": 0.137,
        "map": float(np.nanmean(ap)),
        "labels_per_image@0.25": 2.7 * share,
        "labels_per_image": 2.7 * share,
        "true_labels_per_image": 2.74,
        "precision@0.25": 0.7012,
        "cp@0.5": 0.71,
        "cr@0.5": 0.6 * share,
        "cf1@0.5": float("nan"),
        "op@0.8": 0.72,
        "or@0.8": 0.61 * share,
        "of1": 0.64,  # of an earlier version
        "ece": 0.08 / share,
        "ece_labels": 0.021,
        "strange_one": 3.14159,
    }
    centres = (np.arange(15) + 0.5) / 15
    return {
        "metrics": metrics,
        "per_class": per_class,
        "labels_histogram": {
            "predicted": np.histogram(rng.binomial(5, 0.54 * share, 500), range(7))[0].tolist(),
            "true": np.histogram(1 + rng.binomial(3, 0.58, 500), range(7))[0].tolist(),
        },
        "reliability": {
            "confidence": [float("nan"), *centres[1:].tolist()],
            "accuracy": [None, *np.clip(centres[1:] * share + 0.05, 0, 1).tolist()],
            "count": [0, *rng.integers(3, 90, 14).tolist()],
        },
        "examples": examples(rng, names, share),
    }


def examples(rng: np.random.Generator, names: list[str], share: float, n: int = 12) -> list[Json]:
    """Pictures with given, predicted and true labels."""
    out = []
    for i in range(n):
        pick = np.random.default_rng(i).permutation(min(len(names), 24))
        truth = [names[c] for c in pick[: 1 + i % 4]]
        kept = [t for t in truth if rng.random() < share]
        extra = [names[pick[-1]]] if i % 3 == 0 else []
        scores = sorted(rng.uniform(0.26, 0.99, len(kept + extra)), reverse=True)
        out.append(
            {
                "item": f"val/{i:04d}.jpg" if i else EVIL[1],
                "image": picture(i),
                "given": [truth[0] if i % 5 else names[pick[-2]]],
                "predicted": [[c, round(s, 2)] for c, s in zip(kept + extra, scores, strict=True)],
                "truth": truth,
            }
        )
    return out


def comparison(folder: Path, sweep: Json | None = None) -> Path:
    """A comparison of three methods, with a control and the trivial row; swept where asked."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = ["f1@0.25", "f1@0.5", "f1@tuned", "map", "accuracy", "labels_per_image"]
    levels = {
        "softmax": [0.440, 0.390, 0.619, 0.703, 0.616, 1.21],
        "sigmoid": [0.367, 0.315, 0.619, 0.701, 0.612, 0.94],
        "mile": [0.576, 0.516, 0.658, 0.754, 0.604, 2.31],
    }
    rows, configuration = [], {}
    for method, values in levels.items():
        for settings in _grid(sweep or {}, method):
            shift = sum(0.02 * i for i, _ in settings.values())
            chosen = {k: v for k, (_, v) in settings.items()}
            name = " ".join([method, *(f"{k}={v}" for k, v in chosen.items())])
            rows.append(_row(rng, name, method, chosen, metrics, [v + shift for v in values]))
            configuration[name] = {"method": method, "training": {"steps": 1500}}
            configuration[name]["settings"] = chosen or {"rho": 0.1}
    control = _row(
        rng, "sigmoid, stopped early", "sigmoid", {}, metrics, [0.52, 0.46, 0.64, 0.72, 0.61, 1.7]
    )
    rows.append(
        control | {"control": "stopped at its best validation mAP", "history": [], "seconds": []}
    )
    rows.append(
        {
            "name": "every class present",
            "method": "",
            "settings": {},
            "trivial": True,
            "values": {"f1@0.25": [0.508] * 3, "f1@0.5": [0.508] * 3, "f1@tuned": [0.508] * 3,
                       "map": [0.344] * 3, "labels_per_image": [10.0] * 3},
            "history": [],
            "seconds": [],
        }
    )  # fmt: skip
    content = {
        "title": "reteach demo",
        "description": "2×2 grids of handwritten digits under one label each: 1,500 to learn from.",
        "budget": {"steps": 1500, "batch_size": 128},
        "seeds": [0, 1, 2],
        "metrics": metrics,
        "rows": rows,
        "paired": _paired(rows, metrics),
        "sweep": sweep or {},
        "examples": _compared(rng, [r["name"] for r in rows[:3]]),
        "warnings": ["mile, seed 1: collapse to every class present"],
        "notes": [
            "MILe's pseudo-labels are cut at ρ = 0.1.",
            "The networks memorise 1,500 pictures.",
        ],
        "configuration": configuration,
    }
    write_json(folder / "comparison.json", content)
    return folder


def _grid(sweep: Json, method: str) -> list[dict[str, tuple[int, Any]]]:
    out: list[dict[str, tuple[int, Any]]] = [{}]
    for name, values in sweep.items():
        if method == "mile":
            out = [one | {name: (i, v)} for one in out for i, v in enumerate(values)]
    return out


def _row(
    rng: np.random.Generator,
    name: str,
    method: str,
    settings: Json,
    metrics: list[str],
    means: list[float],
) -> Json:
    values = {
        m: [float(v * (1 + 0.015 * rng.normal())) for _ in range(3)]
        for m, v in zip(metrics, means, strict=True)
    }
    history = [
        [
            {"step": step, "n": 1000, "true_labels_per_image": 2.74}
            | {m: values[m][s] * (1 - 0.8 * np.exp(-step / 300)) for m in metrics}
            for step in range(100, 1600, 100)
        ]
        for s in range(3)
    ]
    seconds = [11.2, 11.4, 10.9]
    return {"name": name, "method": method, "settings": settings, "trivial": False,
            "values": values, "history": history, "seconds": seconds}  # fmt: skip


def _paired(rows: list[Json], metrics: list[str]) -> list[Json]:
    out = []
    main = [row for row in rows if not row["trivial"]]
    for i, b in enumerate(main):
        for a in main[i + 1 :]:
            for m in metrics:
                d = np.subtract(a["values"][m], b["values"][m])
                half = 4.303 * d.std(ddof=1) / 3**0.5
                entry = {"metric": m, "a": a["name"], "b": b["name"], "mean": d.mean(), "n": 3}
                out.append(entry | {"low": d.mean() - half, "high": d.mean() + half})
    return out


def _compared(rng: np.random.Generator, names: list[str]) -> list[Json]:
    each = [examples(rng, classes(10), share, 6) for share in (0.3, 0.4, 0.9)]
    return [
        picture | {"predicted": {n: e[i]["predicted"] for n, e in zip(names, each, strict=True)}}
        for i, picture in enumerate(each[0])
    ]


def _training(rng: np.random.Generator) -> list[Json]:
    out = []
    for step in range(15, 1501, 15):
        fall = 0.12 + 0.5 * np.exp(-step / 250)
        record: Json = {"stage": "train", "step": step, "kind": "train"}
        if step % 150 <= 100:
            record |= {"teacher_loss": fall + 0.02 * rng.normal(), "rate": 1e-3}
        else:
            record |= {
                "student_loss": fall * 1.3,
                "pseudo_labels": 2 + 0.2 * rng.normal(),
                "rate": 1e-3,
            }
        out.append(record)
    return out


def _evaluations(rng: np.random.Generator) -> list[Json]:
    out = []
    for step in range(50, 1501, 50):
        for name, top, count in (("student", 0.64, 2.4), ("teacher", 0.57, 1.2)):
            rise = 1 - np.exp(-step / 300)
            noise = 0.008 * rng.normal()
            out.append(
                {
                    "stage": "train",
                    "step": step,
                    "kind": "eval",
                    "data": "val",
                    "predictor": name,
                    "accuracy": top * rise + noise,
                    "f1@0.25": (top - 0.05) * rise + noise,
                    "f1@0.5": (top - 0.12) * rise + noise,
                    "map": (top + 0.1) * rise + noise,
                    "labels_per_image": count * rise,
                    "true_labels_per_image": 2.74,
                    "ece": None,
                }
            )
    return out


def _config(folder: Path) -> None:
    config = {
        "method": "mile",
        "settings": {"k_t": 100, "k_s": 50, "rho": 0.1, "union": False, "targets": "threshold"},
        "data": {"images": "photos with spaces/", "labels": "labels.csv", "val_fraction": 0.1},
        "model": {"model": "resnet18", "image_size": None, "pretrained": True, "init": None},
        "training": {"epochs": 10.0, "steps": 1500, "batch_size": 128, "lr": 0.001, "seed": 0},
        "output": {"out": "runs/mile-1", "tensorboard": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def write_json(file: Path, content: Json) -> None:
    """Write a file of a run folder."""
    file.write_text(json.dumps(content))
