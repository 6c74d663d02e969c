"""The pipeline with nothing local but a scratch folder gives the bytes that it gives on a local disk."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import store_world as world
from loopback_s3 import Store
from reteach.cli import main
from reteach.options.paths import with_addresses
from reteach.scoring import embedding, ray

ONLY_LONG = pytest.mark.skipif(
    not os.environ.get("RETEACH_STORES_LONG"),
    reason="RETEACH_STORES_LONG=1: minutes, and many kills",
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world, and in ``out`` what the pipeline makes of it on a local disk."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        world.make(folder / "world")
        for words in world.steps(str(folder / "world"), str(folder / "out")).values():
            assert main([*words, "--quiet"]) == 0
    return folder


def _same_bytes(store: Store, local: Path) -> None:
    for name in world.COMPARED:
        there = store.content("bucket", f"out/{name}")
        assert world.digest(there) == world.digest((local / "out" / name).read_bytes()), name


def _kept_to_itself(store: Store, tmp_path: Path) -> None:
    """Neither the scratch folder nor a secret is in any object."""
    for name in store.names("bucket"):
        content = store.content("bucket", name)
        assert str(tmp_path).encode() not in content, name
        assert b"a-secret" not in content, name
        assert not name.endswith((".part", ".lock")), name


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(0.0, id="undisturbed", marks=ONLY_LONG),
        pytest.param(0.05, id="5% of requests fail"),
    ],
)
def test_whole_pipeline_with_nothing_local_but_scratch_same_bytes(
    store, local, tmp_path, monkeypatch, capsys, failing
):
    store.upload(local / "world", "bucket", "world")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store.fail(failing)
    for words in world.steps("s3://bucket/world", "s3://bucket/out").values():
        assert main([*words]) == 0
    store.fail(0)
    _same_bytes(store, local)
    _kept_to_itself(store, tmp_path)
    assert not list((tmp_path / "here").iterdir())
    said = "".join(capsys.readouterr())
    assert "s3://bucket/out/student" in said
    assert str(tmp_path / "scratch") not in said
    assert "a-secret" not in said
    assert b"s3://bucket/world/labels.parquet" in store.content("bucket", "out/student/config.yaml")
    assert "out/student/report.html" in store.names("bucket")


def _elsewhere(tmp_path, monkeypatch):
    """Ray's workers, but here, and each as on a machine of its own: with an empty scratch folder."""

    def shared_out(of, task, numbers, address, workers):
        travels = pickle.dumps((of, with_addresses(task)))
        assert str(tmp_path).encode() not in travels
        for number in numbers:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RETEACH_SCRATCH", str(tmp_path / f"scratch-{number}"))
                events = list(ray._Worker(*pickle.loads(travels)).reports([number]))
            yield from events

    monkeypatch.setattr(ray, "shared_out", shared_out)
    monkeypatch.setattr(embedding, "shared_out", shared_out)


@pytest.mark.parametrize("command", ["score", "embed"])
def test_workers_of_ray_with_other_scratch_folders_same_shards(
    store, local, tmp_path, monkeypatch, command
):
    store.upload(local / "world", "bucket", "world")
    store.upload(local / "out", "bucket", "out")
    _elsewhere(tmp_path, monkeypatch)
    (tmp_path / "here").mkdir()
    words = f"{command} {{}}/out/teacher --images {{}}/world/shards/{{{{000..002}}}}.tar --out {{}}/made"
    words += f" {world.SMALL} --quiet" + (" --backend eager" if command == "embed" else " --top 3")
    assert main([*words.format(*["s3://bucket"] * 3).split(), "--ray", "local"]) == 0
    assert main(words.format(local, local, tmp_path / "here").split()) == 0
    made = sorted(file for file in (tmp_path / "here" / "made").iterdir() if file.is_file())
    assert store.names("bucket", "made/") == [f"made/{file.name}" for file in made]
    for file in made:
        if file.suffix == ".parquet":  # in whose metadata stands where the images are
            there = pq.read_table(pa.BufferReader(store.content("bucket", f"made/{file.name}")))
            assert there.equals(pq.read_table(file)), file.name


@ONLY_LONG
@pytest.mark.parametrize("fresh", [False, True], ids=["same scratch", "another machine's scratch"])
def test_driver_killed_and_resumed_with_failing_requests_same_bytes(store, local, tmp_path, fresh):
    store.upload(local / "world", "bucket", "world")
    store.fail(0.05)
    kills = 0
    for number, words in enumerate(world.steps("s3://bucket/world", "s3://bucket/out").values()):
        out = words[words.index("--out") + 1] if "--out" in words else ""
        for attempt in range(40):
            scratch = tmp_path / (f"scratch-{number}-{attempt}" if fresh else "scratch")
            begun = f"{out.removeprefix('s3://bucket/')}/config.yaml" in store.names("bucket")
            told = ["resume", out] if begun and words[0] == "train" else words
            process = _started(told, store, scratch, tmp_path)
            pause = 4.0 + 0.5 * attempt
            try:
                assert process.wait(pause if attempt < 12 else 120) == 0
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        else:
            pytest.fail(f"{words} never ended")
    store.fail(0)
    assert kills >= 5
    _same_bytes(store, local)
    _kept_to_itself(store, tmp_path)


def _started(
    words: list[str], store: Store, scratch: Path, tmp_path: Path
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **store.environment, "RETEACH_SCRATCH": str(scratch)}
    return subprocess.Popen(
        [sys.executable, "-m", "reteach", *words],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )


def test_killed_owner_lock_is_taken_over_at_once_on_this_machine(store, tmp_path):
    code = (
        "from reteach.locks import only_writer\n"
        "from reteach.storage import address, path_of\n"
        "import time\n"
        "with only_writer(path_of(address('s3://bucket/run'))):\n"
        "    print('mine', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, **store.environment, "RETEACH_SCRATCH": str(tmp_path / "other")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"mine\n"
    from reteach.errors import UserError
    from reteach.locks import only_writer
    from reteach.storage import address, path_of

    where = address("s3://bucket/run")
    assert where is not None
    with (
        pytest.raises(UserError, match="is being written by process") as refused,
        only_writer(path_of(where)),
    ):
        pass
    assert str(refused.value).startswith("s3://bucket/run ")
    process.kill()
    process.wait()
    start = time.monotonic()
    with only_writer(path_of(where)):
        assert time.monotonic() - start < 5
    assert store.names("bucket") == []
