"""Scoring on Ray in three ways, on the same shards: what an image costs, and what a lost worker costs.

    python -m benchmarks.ray_data [--shards 12] [--images 64] [--rounds 3] [--faults worker node …]

* **one process**: `reteach score`;
* **reteach**: `reteach score --ray`: Ray Data carries the numbers of shards, its pool of actors makes whole
  shards, and lost ones go out again in a dataset of their own;
* **data by shard**: the same with Ray Data's own retries;
* **data**: a Ray Data pipeline as its manual has it: `read_webdataset`, decoding in tasks, the forward pass
  in a pool of actors, `write_parquet`.

All use the same decoder, network and batch size. Processor time is that of all processes of the trial, Ray's
included, by /proc; an image costs what is taken from a quarter of the images on, so that starting Ray does
not count. Trials take turns. Faults: a `worker` is killed; a machine (`node`) goes and does not come back
(two of one core, the driver on a third); one shard kills whoever makes it (`poison`); the `driver` is killed,
and the command given again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

ENGINES = ("one process", "reteach", "data by shard", "data")
MARK = "RETEACH_TRIAL"
SIDE, BATCH, TOP = 224, 32, 10
PATIENCE = 420.0
"""Seconds without another image after which a trial counts as hung."""
POISON = 2
"""The shard that kills its worker."""


def prepared(folder: Path, shards: int, images: int) -> None:
    """Tar files of photos of 500 × 375, and a run whose small network is untrained."""
    from PIL import Image

    from benchmarks.scale import photo
    from benchmarks.score import run_folder

    whole = Image.open(io.BytesIO(photo(620, 495)))
    files = []
    for at in range(16):
        out = io.BytesIO()
        whole.crop((7 * at, 7 * at, 7 * at + 500, 7 * at + 375)).save(out, "JPEG", quality=92)
        files.append(out.getvalue())
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as tar:
            for number in range(images):
                info = tarfile.TarInfo(f"{number:06}.jpg")
                info.size = len(files[(number + shard) % 16])
                tar.addfile(info, io.BytesIO(files[(number + shard) % 16]))
    run_folder(folder / "run", "mobilenetv3_small_050", SIDE, 1000)


def the_task(folder: Path, out: Path, shards: int) -> Any:
    """What is to be scored."""
    from reteach.scoring.scorer import ScoringTask

    images = f"{folder}/{{000..{shards - 1:03}}}.tar"
    return ScoringTask(
        folder / "run", images, out, TOP, batch_size=BATCH, workers=0, device="cpu", threads=1
    )


def noted(folder: Path, images: int) -> None:
    """Note that so many images went through a network."""
    file = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{images}\n".encode())
    os.close(file)


def forwards(folder: Path) -> int:
    """Images that went through a network so far."""
    file = folder / "log"
    return sum(map(int, file.read_text().split())) if file.exists() else 0


class Maker:
    """reteach's scorer, which notes what it does, and dies of one shard where it is told to."""

    def __init__(self, task: Any) -> None:
        from reteach.scoring.scorer import Scorer

        self.scorer, self.folder = Scorer(task), task.out.parent
        self.poison = (self.folder / "poison").exists()

    def score(self, numbers: Sequence[int]) -> Iterator[Any]:
        from reteach.scoring.scorer import Step

        for event in self.scorer.score(numbers):
            if isinstance(event, Step):
                noted(self.folder, event.images)
                if self.poison and event.part == POISON:
                    os.kill(os.getpid(), signal.SIGKILL)
            yield event


def one_process(task: Any, todo: list[int], address: str) -> dict[str, Any]:
    """`reteach score`."""
    for _ in Maker(task).score(todo):
        pass
    return {}


def on_ray(task: Any, todo: list[int], address: str) -> dict[str, Any]:
    """`reteach score --ray`."""
    from reteach.scoring.ray import shared_out
    from reteach.scoring.scorer import ScoringReport

    told = [e for e in shared_out(Maker, task, todo, address, 2) if isinstance(e, ScoringReport)]
    return {"failed": [event.part for event in told if event.failed]}


class ByShard:
    """The same worker, for Ray Data."""

    def __init__(self, task: Any) -> None:
        self.maker = Maker(task)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        from reteach.scoring.scorer import ScoringReport

        for event in self.maker.score(batch["item"].tolist()):
            if isinstance(event, ScoringReport):
                yield {"part": np.array([event.part])}


def by_shard(task: Any, todo: list[int], address: str) -> dict[str, Any]:
    """Ray Data gives shards to a pool, and tries again what was lost."""
    with connected(address) as ray:
        data = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            ByShard,
            fn_constructor_args=(task,),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=2),
        )
        done = {row["part"] for row in data.iter_rows()}
        return {"failed": sorted(set(todo) - done), "sent": through_store(data)}


class Decode:
    """Bytes of photos -> pixels, as reteach's workers decode them."""

    def __init__(self, at_least: int | None, view: Any) -> None:
        self.at_least, self.view = at_least, view

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import torch

        from reteach.data.loading.decode import decode

        pixels = [
            self.view(
                torch.from_numpy(decode(bytes(data), at_least=self.at_least)).movedim(-1, 0), 0
            )
            for data in batch["jpg"]
        ]
        names = [
            f"{Path(url).stem}/{key}"
            for url, key in zip(batch["__url__"], batch["__key__"], strict=True)
        ]
        return {"item": np.array(names), "pixels": torch.stack(pixels).numpy()}


class Forward:
    """Pixels -> the best classes of each image."""

    def __init__(self, task: Any) -> None:
        from reteach.engine.evaluate import top_classes

        maker = Maker(task)
        self.folder, self.poison, self.saved = maker.folder, maker.poison, maker.scorer.saved
        self.of = top_classes(maker.scorer.predictor, TOP)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import torch

        found = self.of(self.saved.prepare(torch.from_numpy(batch["pixels"].copy())))
        noted(self.folder, len(found))
        if self.poison and any(name.startswith(f"{POISON:03}/") for name in batch["item"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"item": batch["item"], "scores": found.numpy()}


def pipeline(task: Any, todo: list[int], address: str) -> dict[str, Any]:
    """Ray Data as its manual has it."""
    from reteach.data.sources.shards import expand
    from reteach.scoring.scorer import Scorer

    scorer = Scorer(task)
    # less than a core each, or Ray Data would join decoding to the actors that it is to relieve
    view = scorer.saved.seen.view(False)
    with connected(address) as ray:
        data = (
            ray.data.read_webdataset(expand(task.images), decoder=None, include_paths=True)
            .map_batches(Decode(scorer.saved.seen.at_least, view), batch_size=BATCH, num_cpus=0.9)
            .map_batches(
                Forward,
                fn_constructor_args=(task,),
                batch_size=BATCH,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=1),
            )
        )
        data.write_parquet(str(task.out))
        return {"sent": through_store(data)}


WORK: dict[str, Callable[[Any, list[int], str], dict[str, Any]]] = {
    "one process": one_process,
    "reteach": on_ray,
    "data by shard": by_shard,
    "data": pipeline,
}


def through_store(data: Any) -> int:
    """Bytes of all blocks that the operators of an executed dataset put out."""
    units = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    found = re.findall(r"Output size bytes per block:.*?([\d.]+) ?([KMG]?i?B) total", data.stats())
    plain = re.findall(r"Output size bytes per block:.*?, (\d+) total", data.stats())
    return round(sum(float(n) * units[u] for n, u in found)) + sum(map(int, plain))


def connected(address: str) -> Any:
    """Ray as `reteach score --ray` opens it, Ray Data quiet."""
    import ray.data

    from reteach.scoring.ray import _connected

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return _connected(address)


def trial(told: argparse.Namespace) -> None:
    """In a process of its own: one engine, perhaps with a fault, and what it came to as JSON."""
    import ray

    folder, trial_folder = Path(told.folder), Path(told.trial)
    (trial_folder / "out").mkdir(parents=True, exist_ok=True)
    if told.fault == "poison":
        (trial_folder / "poison").touch()
    task = the_task(folder, trial_folder / "out", told.shards)
    there = {file.stem for file in task.out.glob("*.parquet")}
    todo = [n for n in range(told.shards) if f"{n:03}" not in there or told.trial_of == "data"]
    address, cluster = "local", None
    if told.fault == "node":
        from ray.cluster_utils import Cluster

        cluster = Cluster(True, head_node_args={"num_cpus": 0, "object_store_memory": 2**28})
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=2**28) for _ in range(2)]
        cluster.wait_for_nodes()
        address = cluster.address

    def strike() -> None:
        while forwards(trial_folder) < told.shards * told.images // 4:
            time.sleep(0.02)
        if told.fault == "node":
            cluster.remove_node(nodes[1], allow_graceful=False)
        elif told.fault == "driver":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            # whoever holds the network
            victims = [p for p in ours(os.environ[MARK]) if b"ray::MapWorker" in line(p)]
            os.kill(victims[0], signal.SIGKILL)

    if told.fault in ("node", "driver", "worker"):
        threading.Thread(target=strike, daemon=True).start()
    found = WORK[told.trial_of](task, todo, address)
    if cluster is not None:
        cluster.shutdown()
    del ray
    print(json.dumps(found))


def line(process: int) -> bytes:
    """The command line of a process."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def ours(mark: str, known: dict[int, bool] | None = None) -> list[int]:
    """All processes of a trial."""
    known = {} if known is None else known
    there = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    for gone in set(known) - there:
        del known[gone]
    for process in there:
        if not known.get(process):
            try:
                known[process] = (
                    f"{MARK}={mark}".encode() in Path(f"/proc/{process}/environ").read_bytes()
                )
            except OSError:
                known[process] = False
    return [process for process, is_ours in known.items() if is_ours]


def seconds_of(process: int) -> float:
    """Processor time of a process without its children, which are counted as such."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(folder: Path, engine: str, shards: int, images: int, fault: str = "") -> dict[str, Any]:
    """A trial, watched from outside."""
    with tempfile.TemporaryDirectory(prefix="trial-") as name:
        found = run_in(Path(name), folder, engine, shards, images, fault)
        if fault == "driver":
            before = found["forwards"]
            found = run_in(Path(name), folder, engine, shards, images, "")
            found["before"] = before
    return found


def run_in(
    name: Path, folder: Path, engine: str, shards: int, images: int, fault: str
) -> dict[str, Any]:
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    words = [
        "--trial-of",
        engine,
        "--folder",
        folder,
        "--trial",
        name,
        "--shards",
        shards,
        "--images",
        images,
    ]
    command = [sys.executable, "-m", "benchmarks.ray_data", *map(str, words), "--fault", fault]
    surroundings = os.environ | {
        MARK: mark,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": os.pathsep.join([os.getcwd(), f"{os.getcwd()}/src"]),
    }
    begun, taken, known = time.monotonic(), Counter(), {}
    moved, seen, marks = begun, 0, []
    with open(name / "said", "w+") as said, open(name / "errors", "w+") as errors:
        child = subprocess.Popen(command, stdout=said, stderr=errors, env=surroundings)
        while child.poll() is None and time.monotonic() - moved < PATIENCE:
            for process in ours(mark, known):
                taken[process] = max(taken[process], seconds_of(process))
            if (now := forwards(name)) != seen:
                moved, seen = time.monotonic(), now
                marks.append((now, sum(taken.values())))
            time.sleep(0.05)
        hung = child.poll() is None
        for process in ours(mark):
            ended(process)
        child.wait()
        said.seek(0)
        errors.seek(0)
        text, wrong = said.read(), errors.read()
    found = {}
    if child.returncode == 0:
        found = json.loads(text.strip().splitlines()[-1])
    elif not hung and fault != "driver":
        found["error"] = (wrong.strip().splitlines() or ["?"])[-1][:200]
    found |= {
        "hung": hung,
        "cpu": sum(taken.values()),
        "wall": time.monotonic() - begun,
        "forwards": forwards(name),
        "files": digests(name / "out"),
        "start": marks[0][1] if marks else 0.0,
    }
    if (quarter := next((m for m in marks if m[0] >= shards * images / 4), None)) is not None:
        beyond = max(1, forwards(name) - quarter[0])
        found["each"] = (sum(taken.values()) - quarter[1]) / beyond
    return found


def ended(process: int) -> None:
    """End a process of a trial."""
    with suppress(OSError):
        os.kill(process, signal.SIGKILL)


def digests(folder: Path) -> dict[str, str]:
    """File -> digest of what was written."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in sorted(folder.glob("*.parquet"))
    }


def told_of(found: dict[str, Any], wanted: dict[str, str], images: int) -> str:
    """A trial in words."""
    whole = sum(found["files"].get(name) == digest for name, digest in wanted.items())
    done = "hung" if found["hung"] else found.get("error", "ended")
    return (
        f"{done}; {found['forwards']} of {images} images through the network"
        + (f" after {found['before']} before the kill" if "before" in found else "")
        + f"; {whole} of {len(wanted)} shards as of one process"
        + (f", {len(found['files'])} files" if len(found["files"]) != len(wanted) else "")
        + (f"; given up: {found['failed']}" if found.get("failed") else "")
        + f"; {found['cpu']:.0f} s of processor, {found['wall']:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--images", type=int, default=64, help="of each shard")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--faults", nargs="*", default=["worker", "node", "poison", "driver"])
    parser.add_argument("--engines", nargs="*", default=list(ENGINES))
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    parser.add_argument("--trial-of", help=argparse.SUPPRESS)
    parser.add_argument("--fault", default="", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.trial:
        trial(told)
        return
    images = told.shards * told.images
    with tempfile.TemporaryDirectory(prefix="ray-data-") as name:
        folder = Path(name)
        prepared(folder, told.shards, told.images)
        wanted = run(folder, "one process", told.shards, told.images)["files"]
        costs: dict[str, list[float]] = {engine: [] for engine in told.engines}
        starts: dict[str, list[float]] = {engine: [] for engine in told.engines}
        print(f"{told.shards} shards of {told.images} photos, {SIDE} pixels, batches of {BATCH}")
        for round_ in range(told.rounds):
            order = [
                *told.engines[round_ % len(told.engines) :],
                *told.engines[: round_ % len(told.engines)],
            ]
            for engine in order:
                found = run(folder, engine, told.shards, told.images)
                costs[engine].append(1e3 * found["each"])
                starts[engine].append(found["start"])
                sent = (
                    f", {found['sent'] / images:,.0f} bytes an image through the object store"
                    if found.get("sent")
                    else ""
                )
                said = told_of(found, wanted, images)
                each, start = costs[engine][-1], starts[engine][-1]
                print(
                    f"{engine}: {each:.1f} ms of processor an image, start {start:.1f} s{sent}; {said}",
                    flush=True,
                )
        for engine in told.engines if told.rounds else []:
            each, all_of = median(costs[engine]), costs[engine]
            print(
                f"{engine}: {each:.1f} ms an image ({min(all_of):.1f} to {max(all_of):.1f}), "
                f"{1e3 / each:.0f} images per processor second, start {median(starts[engine]):.1f} s",
                flush=True,
            )
        for fault in told.faults:
            for engine in told.engines:
                if engine != "one process" or fault == "driver":
                    found = run(folder, engine, told.shards, told.images, fault)
                    print(f"{fault} lost, {engine}: {told_of(found, wanted, images)}", flush=True)


if __name__ == "__main__":
    main()
