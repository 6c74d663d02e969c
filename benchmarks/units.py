"""What one more image, and one more shard at an object store, costs: the units of docs/scale.md.

    python -m benchmarks.units [--images 1000] [--rounds 3]

Processor time per image of indexing a tar file and of packing photos of 47 kB, all from and to a local disk;
and requests per shard at an S3 server on this machine: half of what a command on four shards asks beyond two.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scale import photo
from benchmarks.score import run_folder

PER_SHARD = 16
"""Photos in a shard at the store; a quarter of them is packed, into as many shards as they come from."""
KEYS = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "loopback",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def tar(file: Path, count: int, jpeg: bytes) -> None:
    """A shard of so many photos, which are all one."""
    with tarfile.open(file, "w") as out:
        for number in range(count):
            about = tarfile.TarInfo(f"{number:06d}.jpg")
            about.size = len(jpeg)
            out.addfile(about, io.BytesIO(jpeg))


def per_image(work: Callable[[Path], object], count: int, rounds: int) -> float:
    """Least processor seconds for each of ``count`` images; each round has a folder of its own."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            start = time.process_time()
            work(Path(name))
            found.append(time.process_time() - start)
    return min(found) / count


@contextmanager
def store() -> Iterator[tuple[str, Counter[str]]]:
    """The address of an S3 server, and its requests so far by their method."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    asked: Counter[str] = Counter()
    inner = DomainDispatcherApplication(create_backend_app)

    def counted(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        listing = environ["REQUEST_METHOD"] == "GET" and "list-type" in environ["QUERY_STRING"]
        asked["LIST" if listing else environ["REQUEST_METHOD"]] += 1
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, counted, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def requests(folder: Path, jpeg: bytes) -> dict[str, dict[str, float]]:
    """Command -> method -> requests for each further shard."""
    import boto3

    run = run_folder(folder / "run", "reteach_tiny", 8, 10)
    with store() as (where, asked):
        client = boto3.client("s3", endpoint_url=where, region_name="us-east-1",
                              aws_access_key_id="x", aws_secret_access_key="x")  # fmt: skip
        client.create_bucket(Bucket="bucket")
        for number in range(4):
            tar(folder / f"{number}.tar", PER_SHARD, jpeg)
            client.upload_file(str(folder / f"{number}.tar"), "bucket", f"z/{number}.tar")

        def commands(shards: int) -> dict[str, list[str]]:
            images = f"s3://bucket/z/{{0..{shards - 1}}}.tar"
            items = [f"{n}/{i:06d}" for n in range(shards) for i in range(0, PER_SHARD, 4)]
            picks = folder / f"picks-{shards}.parquet"
            pq.write_table(pa.table({"item": items}), picks)
            out = f"s3://bucket/out-{shards}"
            whole = ["--batch-size", "8", "--workers", "0"]
            score = ["score", str(run), "--images", images, "--out", f"{out}/s"]
            pack = ["pack", "--images", images, "--items", str(picks), "--out", f"{out}/pack"]
            embed = ["embed", str(run), "--images", images, "--out", f"{out}/f"]
            look = f"from reteach.data.sources.shards import open_shards; open_shards({images!r})"
            return {
                "index": ["-c", look],
                "score": ["-m", "reteach", *score, *whole],
                "embed": ["-m", "reteach", *embed, *whole],
                "pack": ["-m", "reteach", *pack, "--per-shard", str(PER_SHARD // 4)],
            }  # fmt: skip

        found: dict[int, dict[str, Counter[str]]] = {}
        for shards in (2, 4):
            for name, words in commands(shards).items():
                asked.clear()
                scratch = folder / f"scratch-{shards}-{name}"
                done = subprocess.run(
                    [sys.executable, *words], capture_output=True, text=True,
                    env=os.environ | KEYS | {"AWS_ENDPOINT_URL": where, "RETEACH_SCRATCH": str(scratch),
                                             "XDG_CACHE_HOME": str(scratch / "cache")},
                )  # fmt: skip
                if done.returncode:
                    raise RuntimeError(f"{' '.join(words)}: {done.stderr[-2000:]}")
                found.setdefault(shards, {})[name] = Counter(asked)
    return {
        name: {
            method: (found[4][name][method] - found[2][name][method]) / 2
            for method in sorted(found[4][name])
        }
        for name in found[2]
    }


def main() -> None:
    from reteach.cli import main as reteach
    from reteach.data.sources.shard_index import index_shard

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    jpeg = photo()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many, few = folder / "many.tar", folder / "few.tar"
        tar(many, told.images, jpeg)
        tar(few, 16, jpeg)
        index_shard(str(few))  # imports
        index = per_image(lambda _: index_shard(str(many)), told.images, told.rounds)
        print(f"index  {1e6 * index:8.1f} µs an image", flush=True)
        words = ["pack", "--images", str(many), "--per-shard", str(told.images), "--quiet", "--out"]
        reteach(["pack", "--images", str(few), "--quiet", "--out", str(folder / "warm")])
        pack = per_image(lambda out: reteach([*words, str(out / "p")]), told.images, told.rounds)
        print(f"pack   {1e6 * pack:8.1f} µs an image of {len(jpeg) / 1e3:.0f} kB", flush=True)
        for command, methods in requests(folder, jpeg).items():
            listed = ", ".join(f"{count:g} {method}" for method, count in methods.items() if count)
            print(f"{command}: {listed or 'none'} for each shard", flush=True)


if __name__ == "__main__":
    main()
