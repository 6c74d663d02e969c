"""What the commands of the documentation name, made small: photos, tables, runs; and the commands too."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import shlex
import tarfile
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from rating_kit import Client, wait_for
from reteach.labels import Multi
from reteach.options.methods import METHODS
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, write_labels
from review_kit import SHAPES, picture

COUNT = 60
"""Photos in each folder."""
TEST = 9000
"""Seed of the first photo of test/."""
CLASSES = (*SHAPES, "mouse", "truck")
"""The last two are called so after a command of methods.md, and look like the first two."""


def _picture(i: int, seed: int) -> Image.Image:
    return picture(i % len(CLASSES) % len(SHAPES), seed, 32)


def _name(i: int) -> str:
    return f"{i:03}.png"


def _photos(folder: Path, first: int) -> None:
    """COUNT photos, no two alike, of the classes in turn."""
    folder.mkdir()
    for i in range(COUNT):
        _picture(i, first + i).save(folder / _name(i))


def _classes(folder: Path) -> None:
    """A folder for each class."""
    for i in range(COUNT):
        place = folder / CLASSES[i % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        _picture(i, 5000 + i).save(place / _name(i))


def _shard(path: Path, first: int) -> None:
    """COUNT photos, of which two are also in test/."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i in range(COUNT):
            data = io.BytesIO()
            _picture(i, (TEST if i < 2 else first) + i).save(data, "PNG")
            entry = tarfile.TarInfo(f"{first + i:06}.png")
            entry.size = len(data.getvalue())
            tar.addfile(entry, io.BytesIO(data.getvalue()))


def _single(path: Path, wrong: int = 0) -> None:
    """One label each; so many of the first are wrong."""
    with path.open("w", newline="") as out:
        rows = [(_name(i), CLASSES[(i + (i < wrong)) % len(CLASSES)]) for i in range(COUNT)]
        csv.writer(out).writerows([("item", "labels"), *rows])


def _sets(path: Path, count: int = COUNT) -> None:
    """Label sets: the class of each, and of every third another."""
    sets = [[i % 6, (i + 1 + i // 12) % 6] if i % 3 == 0 else [i % 6] for i in range(count)]
    starts = np.cumsum([0, *map(len, sets)])
    labels = Multi(starts, np.array([c for one in sets for c in one]), classes=CLASSES)
    write_labels(path, LabelTable(tuple(_name(i) for i in range(count)), labels, "by hand"))


def _some(root: Path) -> None:
    """few.csv: labels of the first twelve photos; partly.csv: sets in which the last class is unknown."""
    with (root / "few.csv").open("w", newline="") as out:
        csv.writer(out).writerows(
            [("item", "labels"), *((_name(i), CLASSES[i % 6]) for i in range(12))]
        )
    with (root / "partly.csv").open("w", newline="") as out:
        rows = [(_name(i), "|".join(CLASSES[i % 3 : i % 3 + 2]), "truck") for i in range(COUNT)]
        rows[-1] = (_name(COUNT - 1), "mouse|truck", "")
        csv.writer(out).writerows([("item", "labels", "unknown"), *rows])


def _scores(path: Path, seed: int) -> None:
    """Every class of every photo, the right one mostly first."""
    draw = np.random.default_rng(seed)
    truth = np.eye(len(CLASSES))[np.arange(COUNT) % len(CLASSES)]
    logits = (2 * truth + draw.normal(0, 1, truth.shape)).astype(np.float32)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with ScoreWriter(path, CLASSES, logits=True) as out:
        out.write_dense([_name(i) for i in range(COUNT)], scores, logits)


def make_world(root: Path) -> None:
    """Everything below ``root``; the classes are CLASSES."""
    for number, folder in enumerate(("photos", "more", "val", "pile", "web", "unlabelled")):
        _photos(root / folder, 100 * number)
    _photos(root / "test", TEST)
    (root / "labelled").symlink_to(root / "photos")
    for folder in ("birds", "digits"):
        _classes(root / folder)
    for number, shard in enumerate(("000000", "000001", "z-000", "z-001", "z-002")):
        _shard(root / "shards" / f"{shard}.tar", 10_000 + 100 * number)
    for table in ("clean.csv", "trusted.csv", "one-each.csv", "one-label-each.csv", "more.csv"):
        _single(root / table)
    for table in ("labels.csv", "noisy.csv"):
        _single(root / table, wrong=6)
    _sets(root / "tags.parquet")
    _sets(root / "val_labels.parquet")
    _sets(root / "gold.csv", 8)
    _some(root)
    _scores(root / "a.parquet", 1)
    _scores(root / "b.parquet", 2)


REPLACED = {
    "--model resnet18 --pretrained": "--pretrained",
    "resnet18": "reteach_tiny",
    "resnet50": "reteach_tiny",
    "resnet101": "reteach_tiny",
    "{000000..009999}": "{000000..000001}",
    "--ray auto": "",  # tests/scoring starts clusters of its own
    "--top 10": "--top 3",
    "$n": "000",  # of a loop of the shell, which runs once,
    "z-{000..002}.tar": "z-000.tar",  # so that is the pile
    "--first 200": "--first 2",
    "FOLDER": "more",
    "--seeds 3": "--seeds 1",
    "--seeds 5": "--seeds 1",
    "--epochs 10": "",
    "--image-size 288": "",
    "--per-class 16000": "--per-class 4",
    "--folds 10": "--folds 3",
    "--folds 5": "--folds 3",
    "--expected 5.6": "--expected 1.3",
    "--subsets 5": "--subsets 2",
    "subsets=1,2,5": "subsets=1,2",
}
"""In every command."""

TINY = "--image-size 16 --batch-size 8 --workers 0"
QUICK = {
    "demo": "--seeds 1 --steps 150",
    "train": f"--steps 6 --val-fraction 0.4 {TINY}",
    "compare": f"--steps 6 --processes 1 {TINY}",
    "relabel clean": f"--steps 6 {TINY}",
    "transfer": "--steps 6 --batch-size 8 --workers 0",
    "review": "--no-browser --port 0 --folds 3 --workers 0",
    "rate": "--port 0",
}
"""Added to a command, unless it says so itself."""


def shrunk(command: str) -> str:
    """The command line, made small: a few steps, small pictures, one seed, a network of a few weights."""
    for written, small in REPLACED.items():
        command = command.replace(written, small)
    if importlib.util.find_spec("onnx") is None:
        command = command.replace("--to onnx", "--to safetensors")
    for name, added in QUICK.items():
        if f"{command} ".startswith(f"reteach {name} ") and "--export" not in command:
            return f"{command} {_fitting(command, added)}"
    return command


def _fitting(command: str, added: str) -> str:
    """The further settings, less those that the command has or that do not go with it."""
    words = command.split()
    pairs = [f"--{pair}".split() for pair in added.split("--")[1:]]
    if "--mode fc-only" in command:
        pairs = [pair for pair in pairs if pair[0] not in ("--steps", "--batch-size")]
    if any(word.endswith(".features") for word in words):
        pairs = [pair for pair in pairs if pair[0] != "--image-size"]
    elif "--freeze" in words or "--pretrained" in words:
        pairs = [["--image-size", "32"] if p[0] == "--image-size" else p for p in pairs]
    elif "--model" not in words and ("train" in words or "compare" in words or "clean" in words):
        pairs.append(["--model", "reteach_tiny"])
    return " ".join(" ".join(pair) for pair in pairs if pair[0] not in words)


SMALL = 'image_size=16, model="reteach_tiny", batch_size=8, workers=0, steps=60'


def shrunk_python(code: str) -> str:
    """As ``shrunk``, for calls that train; a head on pretrained features is small as it is."""
    code = code.replace("count, trusted = 1200, 400", "count, trusted = 60, 24")  # the tutorial
    code = code.replace("seeds=3", "seeds=1, processes=1").replace("folds=5", "folds=3")
    return re.sub(
        r"(rt\.(?:train|clean|compare|pred_probs)\((?:(?!pretrained).)*?)\)", rf"\1, {SMALL})", code
    )


def visit(server: Any, sockets: list[Any], printed: str) -> None:
    """In place of serving until Ctrl-C: open every link that the command printed; raters answer all tasks.

    Args:
        server: uvicorn's, not started.
        printed: what the command has said so far.
    """
    thread = threading.Thread(target=type(server).serving, args=(server, sockets), daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    links = re.findall(r"http://127\.0\.0\.1:\d+/\S+", printed)
    assert links, "no link was printed"
    for link in links:
        if "Rating " in printed and "/r/" in link:
            _rate(link)
        else:
            assert httpx.get(link, follow_redirects=True).status_code == 200, link
    server.should_exit = True
    thread.join(30)


def _rate(link: str) -> None:
    """One rater, who says yes to everything."""
    client = Client(link)
    page = client.get("/rate")
    while page.task is not None:
        page = client.answer(page, lambda name: 1)
    client.close()


RATED = (
    "reteach relabel propose --scores a.parquet b.parquet --labels labels.csv --out proposals.parquet",
    "reteach relabel tasks --proposals proposals.parquet --out consensus.db",
    "reteach rate consensus.db --images photos/",
)
PREPARED = {
    "clean/": ("reteach relabel clean --images photos/ --labels labels.csv --out clean.parquet",),
    "consensus.db": RATED,
    "scores/": (
        "reteach score runs/teacher --images 'shards/z-{000..002}.tar' --top 3 --out scores/",
    ),
    "scores/part-0/": (
        "reteach score runs/teacher --images shards/z-000.tar --top 3 --out scores/part-0/",
    ),
    "more.features": ("reteach embed --images more/ --pretrained --out more.features",),
    "picks.parquet": ("reteach select scores/ --per-class 4 --out picks.parquet",),
}
"""What makes a file or folder that a page takes for granted."""


def made_before(command: str) -> list[str]:
    """Commands that make what a command reads and no command before it has made."""
    found: list[str] = []
    for name in _reads(command):
        if Path(name).exists():
            continue
        if re.fullmatch(r"runs/[\w-]+", name):
            found.append(_training(name))
        for line in PREPARED.get(name, ()):
            found += [*([] if name in _reads(line) else made_before(line)), line]
    return found


def _reads(command: str) -> list[str]:
    return shlex.split(re.sub(r"--(out|report|exclude) \S+", "", command))


def _training(folder: str) -> str:
    """Of a run named after its method."""
    method = folder.removeprefix("runs/").split("-")[0]
    method = method if method in METHODS else "softmax"
    labels = "tags.parquet --subsets 2" if method == "cpsd" else "labels.csv"
    return f"reteach train {method} --images photos/ --labels {labels} --out {folder}"
