"""Reading the images of a tar shard: in order, at random, as a stream; from a file, and from a store.

    python -m benchmarks.tar_reads [--images 2000] [--kb 47] [--rounds 5]

From a file: the bytes by reteach's index in the order of the shard, shuffled, and as tarfile streams them;
the index is timed by itself. From a store (moto's S3 server in a process of its own): a whole copy and then
the file; the images of a batch of 256 in one range; an image at a time. Requests are counted, and the
processor time is that of the reading process alone, without decoding. Ways take turns; the median round
counts.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from reteach.data.sources.shards import ShardSource, open_shards
from reteach.storage import objects, view
from reteach.storage import shards as at_store

BATCH = 256
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


def shard(file: Path, images: int, size: int) -> None:
    """A tar of random bytes under the names of images."""
    draw = np.random.default_rng(0)
    with tarfile.open(file, "w") as tar:
        for number in range(images):
            info = tarfile.TarInfo(f"{number:06}.jpg")
            info.size = size
            tar.addfile(info, io.BytesIO(draw.bytes(size)))


def read(source: ShardSource, rows: np.ndarray) -> int:
    """Bytes of these images, one by one."""
    return sum(len(source.content(row)) for row in rows.tolist())


def read_in_batches(source: ShardSource) -> int:
    """All, batch by batch, as decoding workers do."""
    total = 0
    for start in range(0, len(source), BATCH):
        rows = np.arange(start, min(start + BATCH, len(source)))
        total += read(source.gathered(rows), rows)
    return total


def streamed(file: Path) -> int:
    """As tarfile streams it."""
    with tarfile.open(file, "r|") as tar:
        return sum(len(tar.extractfile(member).read()) for member in tar)


def raced(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Processor seconds of each, the median round."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for do in ways.values():
        do()
    for round_ in range(rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            begun = time.process_time()
            ways[name]()
            took[name].append(time.process_time() - begun)
    return {name: median(times) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--kb", type=int, default=47)
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    size = told.kb * 1000
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "000.tar"
        shard(file, told.images, size)
        source = open_shards(str(file))
        shuffled = np.random.default_rng(0).permutation(told.images)
        took = raced(
            {
                "by the index, in order": lambda: read(source, np.arange(told.images)),
                "by the index, shuffled": lambda: read(source, shuffled),
                "a stream of tarfile": lambda: streamed(file),
                "making the index": lambda: open_shards(str(file)),
            },
            told.rounds,
        )
        print(f"a file of {told.images} images of {told.kb} kB, in the page cache")
        for way, seconds in took.items():
            print(f"  {way}: {1e6 * seconds / told.images:.1f} µs of processor an image")
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            from_store(file, server.stdout.readline().strip(), told, Path(name) / "scratch")
        finally:
            server.stdin.close()
            server.kill()


def from_store(file: Path, port: str, told: argparse.Namespace, scratch: Path) -> None:
    """The same shard as an object."""
    import boto3

    os.environ |= {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "RETEACH_SCRATCH": str(scratch),
    }
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    client.upload_file(
        str(file),
        "bucket",
        "000.tar",
        Config=boto3.s3.transfer.TransferConfig(multipart_threshold=2**32),
    )
    source = open_shards("s3://bucket/000.tar")
    copies = view.scratch() / "shards"
    asked = [0]
    tried = objects._tried

    def counted(where: Any, do: Any) -> Any:
        asked[0] += 1
        return tried(where, do)

    objects._tried = counted

    def dropped() -> None:
        for copy in copies.glob("*.tar"):
            copy.unlink()

    def copied() -> None:
        dropped()
        at_store.fetched(objects.Address("s3", "bucket/000.tar"))
        read(source, np.arange(told.images))

    def batches() -> None:
        dropped()
        read_in_batches(source)

    def singly() -> None:
        dropped()
        read(replace(source, held=None), np.arange(told.images))

    ways = {"a whole copy": copied, f"ranges of {BATCH} images": batches, "one by one": singly}
    requests = {}
    for way, do in ways.items():
        asked[0] = 0
        do()
        requests[way] = asked[0]
    took = raced(ways, told.rounds)
    print("a store on loopback")
    for way, seconds in took.items():
        print(
            f"  {way}: {requests[way]} requests, {1e6 * seconds / told.images:.0f} µs of processor an image"
        )


if __name__ == "__main__":
    main()
