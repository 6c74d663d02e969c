"""Peak memory of the steps that go over very many items, at two sizes: does it grow with them?

    python -m benchmarks.memory --folder /tmp/big weak picks index select score tags

Each step runs in a process of its own. *Anonymous* memory is what the process itself holds (the largest
``RssAnon`` seen, looked at every 5 ms); pages of mapped files are counted apart (the largest ``RssFile``),
since the system takes them back when somebody else needs the room. The items are those of tar shards of
10,000 images, as the kept index names them; but for ``score`` no image is there or looked at. ``score`` sees
tar files, all of them links to one file of 10,000 tiny images, of which all but the last 200,000 have their
scores already: so the images that it looks at are as many at every size, and the parts that it knows are not.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from reteach.data.dataset import Dataset
    from reteach.data.loading.samplers import Sampler
    from reteach.scoring.scorer import ScoringTask

SIZES = (1_000_000, 10_000_000)
SHARD = 10_000
CLASSES = tuple(f"class{c:03d}" for c in range(1000))
SCORED = 200_000
"""Images that ``score`` looks at, of any number."""
_BLOCK = 2**17


def names(rows: Iterable[int]) -> pa.Array:
    """Item ids, shard by shard."""
    found = [f"z-{i // SHARD:06d}/{i % SHARD:06d}" for i in rows]
    return pa.array(found, pa.large_string())


def make_index(folder: Path, n: int) -> Path:
    """The kept index of n images."""
    from reteach.data.sources.shard_index import SCHEMA, ShardIndex, ShardPart

    file = folder / f"index-{n}.arrow"
    if not file.exists():
        parts = []
        for first in range(0, n, SHARD):
            columns = {
                "item": names(range(first, first + SHARD)),
                "offset": pa.array(np.arange(SHARD) * 512, pa.int64()),
                "size": pa.array(np.full(SHARD, 300), pa.uint32()),
                "label": pa.nulls(SHARD, pa.string()).dictionary_encode(),
            }
            parts.append(ShardPart(pa.table(columns, schema=SCHEMA)))
        keys = [f"/data/z-{shard:06d}.tar\nstamp" for shard in range(len(parts))]
        ShardIndex.of(keys, parts).save(file)
    return file


def make_tags(folder: Path, n: int) -> Path:
    """The hashtags of n images, three each of 3,000."""
    file = folder / f"tags-{n}.parquet"
    if not file.exists():
        words = pa.array(
            [f"{kind}{c:03d}" for kind in ("class", "sky", "sea") for c in range(1000)]
        )
        draw = np.random.default_rng(0)
        schema = pa.schema([("item", pa.string()), ("tags", pa.list_(pa.string()))])
        with pq.ParquetWriter(file, schema) as out:
            for first in range(0, n, _BLOCK):
                count = min(_BLOCK, n - first)
                drawn = words.take(pa.array(draw.integers(0, 3000, 3 * count)))
                tags = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * 3, drawn)
                columns = [names(range(first, first + count)).cast(pa.string()), tags]
                out.write_table(pa.table(columns, schema=schema))
    return file


def make_weak(folder: Path, n: int) -> Path:
    """The table that ``relabel hashtags`` makes of them."""
    from reteach.relabel.weak.hashtags import Matcher
    from reteach.relabel.weak.tag_tables import label_tags

    file = folder / f"weak-{n}.parquet"
    if not file.exists():
        label_tags(make_tags(folder, n), file, Matcher(CLASSES))
    return file


def make_scores(folder: Path, n: int) -> Path:
    """Ten scores of each of n images, in shards of a million."""
    out = folder / f"scores-{n}"
    if not out.exists():
        out.mkdir()
        draw = np.random.default_rng(0)
        meta = {"reteach.classes": json.dumps(CLASSES), "reteach.top": "10"}
        for first in range(0, n, 1_000_000):
            count = min(1_000_000, n - first)
            first_class = draw.integers(0, 1000, count)
            cls = (first_class[:, None] + 97 * np.arange(10)) % 1000
            score = np.sort(draw.dirichlet(np.full(10, 0.3), count).astype(np.float32))[:, ::-1]
            columns = {
                "item": pa.array(np.repeat(np.arange(first, first + count), 10)),
                "class": pa.array(cls.ravel().astype(np.int32)),
                "score": pa.array(score.ravel()),
            }
            table = pa.table(columns).replace_schema_metadata(meta)
            pq.write_table(table, out / f"{first // 1_000_000:05d}.parquet")
    return out


def make_picks(folder: Path, n: int) -> Path:
    """100 picks for each of 1,000 classes, spread over n images."""
    file = folder / f"picks-{n}.parquet"
    if not file.exists():
        rows = np.random.default_rng(0).choice(n, 100_000, replace=False)
        columns = {
            "item": names(rows.tolist()).cast(pa.string()),
            "class": pa.array(np.repeat(np.arange(1000, dtype=np.int32), 100)),
            "score": pa.array(np.full(100_000, 0.5, np.float32)),
            "rank": pa.array(np.tile(np.arange(1, 101, dtype=np.int32), 1000)),
        }
        meta = {"reteach.classes": json.dumps(CLASSES)}
        pq.write_table(pa.table(columns).replace_schema_metadata(meta), file)
    return file


def make_tars(folder: Path, n: int) -> Path:
    """n images in tar files, which are all one."""
    from PIL import Image

    tars = folder / f"tars-{n}"
    if not tars.exists():
        tars.mkdir()
        draw, first = np.random.default_rng(0), tars / "z-000000.tar"
        with tarfile.open(first, "w") as tar:
            for number in range(SHARD):
                held = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(held, "JPEG")
                about = tarfile.TarInfo(f"{number:06d}.jpg")
                about.size = held.tell()
                tar.addfile(about, io.BytesIO(held.getvalue()))
        for shard in range(1, n // SHARD):
            os.link(first, tars / f"z-{shard:06d}.tar")
    return tars


def make_run(folder: Path, n: int) -> Path:
    """A run folder with a tiny untrained network for 1,000 classes."""
    from benchmarks.score import run_folder

    run = folder / "run"
    return run if run.exists() else run_folder(run, "reteach_tiny", 8, len(CLASSES))


def make_scored(folder: Path, n: int) -> Path:
    """The scores of all images but for the last 200,000: shards of no rows, which say what they are of."""
    from reteach.scores.table import ScoreWriter
    from reteach.scoring.scorer import UNREADABLE, Scorer

    task = _task(folder, n)
    task.out.mkdir(exist_ok=True)
    scorer = Scorer(task)
    for number, name in enumerate(scorer.parts.names):
        file = task.out / f"{name}.parquet"
        if number >= (n - SCORED) // SHARD:
            file.unlink(missing_ok=True)
        elif not file.exists():
            meta = scorer.metadata(number) | {UNREADABLE: "[]"}
            with ScoreWriter(file, scorer.saved.classes, logits=True, metadata=meta):
                pass
    return task.out


def _task(folder: Path, n: int) -> ScoringTask:
    from reteach.scoring.scorer import ScoringTask

    images = f"{make_tars(folder, n)}/z-{{000000..{n // SHARD - 1:06d}}}.tar"
    run, out = make_run(folder, n), folder / f"scored-{n}"
    return ScoringTask(run, images, out, 10, workers=0, device="cpu", threads=1)


def source(folder: Path, n: int) -> object:
    """n images in tar shards, as a process opens them."""
    from reteach.data.sources.shard_index import load_index
    from reteach.data.sources.shards import ShardSource
    from reteach.text_column import TextColumn

    index = load_index(make_index(folder, n))
    assert index is not None
    columns = index.columns
    return ShardSource(
        [key.partition("\n")[0] for key in index.keys],
        TextColumn(columns["item"]),
        index.starts,
        columns["offset"].to_numpy(),
        columns["size"].to_numpy(),
        columns["label"],
    )


def index(folder: Path, n: int) -> None:
    """Opening the kept index."""
    source(folder, n)


def tags(folder: Path, n: int) -> None:
    """``relabel hashtags``: hashtags to labels, with 256 MB for DuckDB."""
    from reteach.relabel.selection.database import Limits
    from reteach.relabel.weak.hashtags import Matcher
    from reteach.relabel.weak.tag_tables import label_tags

    label_tags(make_tags(folder, n), folder / "out.parquet", Matcher(CLASSES), Limits(256, 1))


def _drawn(images: Dataset, order: Sampler) -> None:
    """The images are recorded as a stage does it, and a thousand batches of 256 drawn with their targets."""
    import torch

    from reteach.data.loading.dense_labels import DenseLabels
    from reteach.engine.fingerprint import describe

    describe({"dataset": images, "order": order})
    targets = DenseLabels(images.labels, "cpu")
    for step in range(1000):
        rows = order.rows(step, 256)
        targets.of(rows, torch.from_numpy(rows))


def weak(folder: Path, n: int) -> None:
    """What ``train semi --tags`` does with the labels before and while it trains: matched to the images,
    recorded, and a thousand batches of 256 drawn with their targets."""
    from reteach.data.dataset import Dataset
    from reteach.data.loading.samplers import WeightedSampler
    from reteach.relabel.weak.hashtags import square_root
    from reteach.relabel.weak.weak_labels import weak_labels

    pile = Dataset.unlabeled(source(folder, n), CLASSES)  # type: ignore[arg-type]
    found = weak_labels(make_weak(folder, n), pile.items, CLASSES)
    tagged = pile.take(found.shares(), found.rows)
    order = WeightedSampler(square_root(found.labels), 0, "weak")
    _drawn(tagged, order)


def picks(folder: Path, n: int) -> None:
    """What ``train semi --picks`` does: the picked images of the pile, recorded, and a thousand batches."""
    from reteach.data.dataset import Dataset
    from reteach.data.loading.samplers import Epochs, every
    from reteach.labels import Single
    from reteach.relabel.selection.topk_numpy import read_picks
    from reteach.runs.inputs import _picked

    table = make_picks(folder, n)
    pile = Dataset.unlabeled(source(folder, n), CLASSES)  # type: ignore[arg-type]
    pile = pile.subset(_picked(table, pile.source.items))
    given, _ = read_picks(table, pile.items, CLASSES)
    chosen = pile.take(Single(given.cls, CLASSES), given.row)
    order = Epochs(every(len(chosen)), 0)
    _drawn(chosen, order)


def select(folder: Path, n: int) -> None:
    """``select`` of 100 images for each class, out of ten scores of each image."""
    from reteach.cli import main

    scores = make_scores(folder, n)
    words = ["select", str(scores), "--per-class", "100", "--part", "--threads", "1"]
    assert main([*words, "--out", str(folder / "out.parquet")]) == 0


def score(folder: Path, n: int) -> None:
    """``score`` of the last 200,000 images, the others having their scores."""
    from reteach.scoring.score import score

    found = score(_task(folder, n))
    assert found.images == SCORED
    assert not found.failed
    assert not found.unreadable


STEPS: dict[str, Callable[[Path, int], None]] = {
    "index": index,
    "tags": tags,
    "weak": weak,
    "picks": picks,
    "select": select,
    "score": score,
}
_INPUTS = {
    "index": [make_index],
    "tags": [make_tags],
    "weak": [make_index, make_weak],
    "picks": [make_index, make_picks],
    "select": [make_scores],
    "score": [make_scored],
}


def _watched(step: str, folder: Path, n: int) -> None:
    """Run a step and print its largest anonymous and file-backed memory in MB, and its CPU seconds."""
    most = {"RssAnon": 0, "RssFile": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            for line in Path("/proc/self/status").read_text().splitlines():
                key, _, value = line.partition(":")
                if key in most:
                    most[key] = max(most[key], int(value.split()[0]) // 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    try:
        STEPS[step](folder, n)
    finally:
        over.set()
        watcher.join()
    cpu = time.process_time() - start
    print(json.dumps({"anonymous": most["RssAnon"], "mapped": most["RssFile"], "cpu": cpu}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", default=list(STEPS))
    parser.add_argument("--folder", type=Path, required=True, help="for inputs; they stay there")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.run:
        _watched(options.steps[0], options.folder, options.sizes[0])
        return
    for step in options.steps:
        for n in options.sizes:
            for make in _INPUTS[step]:
                make(options.folder, n)
            words = [step, "--folder", str(options.folder), "--sizes", str(n), "--run"]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", *words],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                print(f"{step:8} {n:>12,} items: {done.stderr.splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{step:8} {n:>12,} items: {found['anonymous']:>6,} MB anonymous, "
                f"{found['mapped']:>6,} MB of mapped files, {found['cpu']:.1f} s of CPU",
                flush=True,
            )


if __name__ == "__main__":
    main()
