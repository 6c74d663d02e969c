"""Bad input at a store: one line, and nothing half-written under its final name."""

from __future__ import annotations

import json
import sys

import pytest

import store_world as world
from loopback_s3 import Store
from reteach.cli import main
from reteach.errors import UserError
from reteach.files import atomic_write
from reteach.locks import only_writer
from reteach.options.paths import with_copies
from reteach.options.shared import Data
from reteach.storage import address, fetch, objects, path_of

NOISE = "noise --labels {} --rate 0.5 --out s3://bucket/noisy.parquet --quiet"


def _one_line(capsys, words: str) -> str:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_no_credentials_no_bucket_no_object_half_a_table_are_one_line(
    store, capsys, monkeypatch, tmp_path
):
    world.make(tmp_path / "world")
    table = (tmp_path / "world" / "labels.parquet").read_bytes()
    store.put("bucket", "half.parquet", table[: len(table) // 2])
    store.put("bucket", "whole.parquet", table)
    said = _one_line(capsys, NOISE.format("s3://no-such-bucket/labels.parquet"))
    assert said == "reteach: s3://no-such-bucket: there is no such bucket"
    said = _one_line(capsys, NOISE.format("s3://bucket/none.parquet"))
    assert said == "reteach: label table s3://bucket/none.parquet does not exist"
    said = _one_line(capsys, NOISE.format("s3://bucket/half.parquet"))
    assert said.startswith("reteach: s3://bucket/half.parquet: not a readable Parquet file")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    said = _one_line(capsys, NOISE.format("s3://bucket/whole.parquet"))
    assert said.startswith("reteach: s3://bucket/whole.parquet: no credentials: set AWS_ACCESS_KEY")
    assert store.names("bucket") == ["half.parquet", "whole.parquet"]


def test_no_bucket_to_write_to_is_said_before_anything_is_made(store, capsys, tmp_path):
    world.make(tmp_path / "world")
    store.upload(tmp_path / "world", "bucket", "world")
    lost = "reteach: s3://no-such-bucket: there is no such bucket"
    for words in (
        "noise --labels s3://bucket/world/labels.parquet --rate 0.5 --out s3://no-such-bucket/n.csv",
        "pack --images s3://bucket/world/photos --out s3://no-such-bucket/packed",
        f"train softmax --images s3://bucket/world/photos {world.NET} --out s3://no-such-bucket/run",
    ):
        assert _one_line(capsys, words) == lost
    where = address("s3://no-such-bucket/a.csv")  # and where it goes while a command runs
    assert where is not None
    for write in (objects.write, objects.create):
        with pytest.raises(UserError, match="s3://no-such-bucket: there is no such bucket"):
            write(where, b"a")
    with pytest.raises(UserError, match="s3://no-such-bucket: there is no such bucket"):
        atomic_write(path_of(where), "a")
    assert not path_of(where).exists()


@pytest.mark.parametrize("kind", ["drop", "503", "half"])
def test_a_store_that_only_fails_leaves_nothing_under_the_name(store, monkeypatch, kind):
    monkeypatch.setattr(objects, "TRIES", 2)
    where = address("s3://bucket/table.csv")
    assert where is not None
    store.fail(1.0, kind, only="PUT")
    with pytest.raises(
        UserError, match=r"s3://bucket/table\.csv: the store failed 2 times in a row"
    ):
        atomic_write(path_of(where), "item\n")
    store.fail(0)
    assert store.names("bucket") == []
    assert not path_of(where).exists()
    atomic_write(path_of(where), "item\n")
    assert store.content("bucket", "table.csv") == b"item\n"


def test_a_record_read_in_an_empty_scratch_folder_fetches_what_it_names(store):
    store.put("bucket", "labels.csv", b"item,labels\na.jpg,cat\n")
    where = address("s3://bucket/labels.csv")
    assert where is not None
    labels = path_of(where)  # as config.yaml is read by a machine that resumes
    assert not labels.exists()
    assert with_copies(Data(labels=labels)).labels == labels
    assert labels.read_bytes() == store.content("bucket", "labels.csv")


def test_other_bytes_than_were_written_are_refused(store, monkeypatch):
    monkeypatch.setattr(objects, "TRIES", 2)
    where = address("s3://bucket/a.csv")
    assert where is not None
    atomic_write(path_of(where), "abc")
    meta = store.client().head_object(Bucket="bucket", Key="a.csv")["Metadata"]
    store.client().put_object(Bucket="bucket", Key="a.csv", Body=b"abd", Metadata=meta)
    with pytest.raises(UserError, match="not the bytes that were written"):
        fetch(where)
    assert path_of(where).read_text() == "abc"


def _lock_of_another_machine(store: Store, job: str) -> None:
    held = {"owner": "process 7 on node1", "machine": "another", "pid": 7, "job": job}
    store.put("bucket", "run/.reteach.lock", json.dumps(held).encode())


def test_torchrun_on_other_machines_waits_for_the_lock_of_the_attempt_before(
    store, monkeypatch, capsys
):
    module, stale = sys.modules["reteach.storage.lease"], iter([False, False, True])
    monkeypatch.setattr(module, "_LOOK", 0.01)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    monkeypatch.setenv("WORLD_SIZE", "2")
    where = address("s3://bucket/run")
    assert where is not None
    _lock_of_another_machine(store, "other")
    with (
        pytest.raises(UserError, match="is being written by process 7 on node1"),
        only_writer(path_of(where)),
    ):
        pass
    assert not capsys.readouterr().err
    monkeypatch.setattr(module._Owner, "_stale", lambda owner, claim: next(stale))
    _lock_of_another_machine(store, "mine")
    with only_writer(path_of(where)):
        atomic_write(path_of(where) / "a.txt", "a")
    assert "was written by process 7 on node1, an earlier attempt" in capsys.readouterr().err
    assert store.names("bucket") == ["run/a.txt"]


def test_who_reads_what_a_process_of_this_machine_writes_takes_nothing_away_from_it(store):
    """A reader's listing may be older than what was written meanwhile."""
    where = address("s3://bucket/run")
    assert where is not None
    with only_writer(path_of(where)):
        atomic_write(path_of(where) / "a.txt", "a")
        store.client().delete_object(Bucket="bucket", Key="run/a.txt")  # not in the listing yet
        assert fetch(where) == path_of(where)
        assert (path_of(where) / "a.txt").read_text() == "a"
    store.put("bucket", "run/b.txt", b"b")
    assert fetch(where) == path_of(where)
    assert sorted(file.name for file in path_of(where).iterdir()) == ["b.txt"]


def test_a_shard_that_vanished_is_named_and_the_rest_goes_on(store, capsys, tmp_path):
    from reteach.data.sources.base import open_source
    from reteach.data.sources.shards import ShardSource

    world.make(tmp_path / "world")
    store.upload(tmp_path / "world", "bucket", "world")
    store.client().delete_object(Bucket="bucket", Key="world/shards/001.tar")
    source = open_source("s3://bucket/world/shards/{000..002}.tar")
    assert isinstance(source, ShardSource)
    assert len(source) == 12
    (name, reason), *_ = source.lost
    assert name == "s3://bucket/world/shards/001.tar"
    assert "s3://bucket/world/shards/001.tar does not exist" in reason
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(open_source("s3://bucket/world/shards/*.tar")) == 12
    said = "^s3://bucket/world/shards/001.tar does not exist$"
    with pytest.raises(UserError, match=said):
        open_source("s3://bucket/world/shards/001.tar")
