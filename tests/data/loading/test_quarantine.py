"""Finding images that cannot be used, in processes that may die, and writing them down harmlessly."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pictures import encoded, folder, picture, verify
from reteach.data.loading.decode import ImageError
from reteach.data.loading.quarantine import Broken, examine
from reteach.data.sources.base import ArraySource, open_source
from reteach.data.sources.folders import FolderSource
from reteach.processes import WorkerFailure, each
from reteach.unreadable import write_csv


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """24 images, of which four are broken in different ways."""
    root = folder(
        tmp_path / "images", [f"{c}/{i:02d}.jpg" for c in "ab" for i in range(12)], "JPEG"
    )
    whole = encoded(picture(300, 400), "JPEG")
    (root / "a" / "03.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "07.jpg").write_bytes(b"")
    (root / "b" / "00.jpg").write_text("<script>")
    (root / "b" / "11.jpg").unlink()
    (root / "b" / "11.jpg").symlink_to("nowhere")
    return root


FORMATS = "not an image in a known format"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_all_broken_images_are_found(damaged: Path, workers: int) -> None:
    source = open_source(damaged)
    seen: list[int] = []
    found = verify(source, workers=workers, on_progress=seen.append)
    assert [(b.row, b.item) for b in found] == [
        (3, "a/03.jpg"),
        (7, "a/07.jpg"),
        (12, "b/00.jpg"),
        (23, "b/11.jpg"),
    ]
    assert found[0].reason == "truncated file"
    assert found[1].reason == "empty file (0 bytes)"
    assert found[2].reason.startswith(FORMATS)
    assert found[3].reason == "no such file"
    assert seen == list(range(1, 25))
    for row in range(len(source)):  # at full size the answer is the same
        if row in (3, 7, 12, 23):
            with pytest.raises(ImageError):
                source.read(row)
        else:
            source.read(row)


def test_only_some_rows(damaged: Path) -> None:
    found = verify(open_source(damaged), rows=np.array([12, 1, 3, 12]), workers=0)
    assert [b.row for b in found] == [3, 12]


def test_arrays_are_never_broken() -> None:
    assert verify(ArraySource(np.zeros((3, 2, 2), np.uint8))) == []


def test_the_second_time_only_what_changed(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    source = open_source(damaged)
    first = verify(source, rows=range(20), workers=1, cache=cache)
    read: list[int] = []
    real = type(source).read

    def counting(self: object, row: int) -> NDArray[np.uint8]:
        read.append(row)
        return real(self, row)  # type: ignore[arg-type]

    monkeypatch.setattr(type(source), "read", counting)
    seen: list[int] = []
    assert verify(source, rows=range(20), workers=0, cache=cache, on_progress=seen.append) == first
    assert read == [3, 7, 12]  # what was broken may be mended
    assert seen == [18, 19, 20]
    read.clear()
    verify(source, workers=0, cache=cache)
    assert read == [3, 7, 12, 20, 21, 22, 23]
    read.clear()
    (damaged / "a" / "05.jpg").write_bytes(b"now it is broken")
    (damaged / "a" / "07.jpg").write_bytes(encoded(picture(), "JPEG"))
    found = verify(source, workers=0, cache=cache)
    assert [b.row for b in found] == [3, 5, 12, 23]
    assert read == [3, 5, 7, 12, 23]
    for file in cache.iterdir():
        file.write_bytes(b"PAR1 damaged")
    assert verify(source, workers=0, cache=cache) == found


@dataclass
class Trap:
    """Images that do things to the process that reads them."""

    deeds: dict[int, str]
    marks: Path

    def __call__(self, row: int) -> int:
        deed = self.deeds.get(row, "")
        if deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "kill once" and not (self.marks / str(row)).exists():
            (self.marks / str(row)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "exit":
            os._exit(3)
        if deed == "hang":
            time.sleep(60)
        if deed == "raise":
            raise ValueError("a fault in the program")
        return row * row


@pytest.mark.parametrize("workers", [1, 3])
def test_crashes_and_hangs_cost_only_their_row(tmp_path: Path, workers: int) -> None:
    deeds = {0: "kill", 5: "hang", 6: "kill", 20: "kill once", 39: "exit"}
    got = dict(each(Trap(deeds, tmp_path), range(40), workers, patience=0.5))
    assert sorted(got) == list(range(40))
    for row, result in got.items():
        if deeds.get(row, "kill once") == "kill once":
            assert result == row * row
    assert (
        got[0] == got[6] == WorkerFailure("reading it kills the process (signal 9; out of memory?)")
    )
    assert got[5] == WorkerFailure("reading it takes more than 0.5 s")
    assert got[39] == WorkerFailure("reading it kills the process (exit code 3; out of memory?)")


def test_a_fault_in_the_program_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a fault in the program"):
        list(each(Trap({7: "raise"}, tmp_path), range(20), 2))


def test_workers_go_when_nobody_wants_more(tmp_path: Path) -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    results: Iterator[object] = each(Trap({}, tmp_path), range(1000), 2)
    next(results)
    assert len(set(multiprocessing.active_children()) - before) == 2
    results.close()  # type: ignore[attr-defined]
    assert set(multiprocessing.active_children()) <= before


def test_big_results_do_not_block() -> None:
    got = dict(each(_megabyte, range(50), 2))
    assert all(len(got[row]) == 1_000_000 for row in range(50))  # type: ignore[arg-type]


def _megabyte(row: int) -> bytes:
    return bytes(1_000_000)


@dataclass
class Deadly:
    """A source with one image that kills whoever reads it."""

    items = ("good", "deadly", "fine")
    class_of = None
    lost = (("part.tar", "shard: gone"),)

    def __len__(self) -> int:
        return 3

    def read(self, row: int) -> NDArray[np.uint8]:
        if row == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return picture()


def test_an_image_that_kills_its_reader_is_reported() -> None:
    found = verify(Deadly(), workers=1)
    assert found[0] == Broken(-1, "part.tar", "shard: gone")
    assert (found[1].row, found[1].item) == (1, "deadly")
    assert "signal 9" in found[1].reason
    assert len(found) == 2


# -- quarantine.csv ----------------------------------------------------------------------------


def rows_of(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_csv_is_sorted_and_unique(tmp_path: Path) -> None:
    path = tmp_path / "run" / "quarantine.csv"
    write_csv(path, [("b", "y"), ('a, "x"', "z"), ("b", "y")])
    assert rows_of(path) == [["item", "reason"], ['a, "x"', "z"], ["b", "y"]]
    write_csv(path, [])
    assert path.read_text() == "item,reason\n"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("=cmd()", "'=cmd()"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        (" =1", "' =1"),
        ("\n=1", "'\\n=1"),
        ("＝1", "'＝1"),
        ("a\nb\rc\0d", "a\\nb\\rc\\x00d"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
        ("<script>", "<script>"),
        ("plain/ünï 🐈-=.jpg", "plain/ünï 🐈-=.jpg"),
    ],
)
def test_csv_executes_nothing(tmp_path: Path, item: str, expected: str) -> None:
    write_csv(tmp_path / "q.csv", [(item, item)])
    assert rows_of(tmp_path / "q.csv")[1] == [expected, expected]


@given(st.text(st.characters(exclude_categories=())))
def test_csv_cells_stay_cells(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "q.csv"
    write_csv(path, [(text, "reason")])
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    (header, (cell, reason)) = rows_of(path)
    assert (header, reason) == (["item", "reason"], "reason")
    assert not cell.strip() or cell.lstrip()[0] not in "=+-@\t\r＝＋－＠"


class Pair:
    """Two threads as two processes that share a task."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)
        self.values: list[Any] = [None, None]

    def member(self, rank: int) -> Any:
        def gather(value: Any) -> list[Any]:
            self.values[rank] = value
            self.barrier.wait(10)
            found = list(self.values)
            self.barrier.wait(10)
            return found

        team = SimpleNamespace(rank=rank, world=2, gather=gather)
        team.of_machine = lambda: team
        return team


def test_two_processes_share_the_look_and_learn_the_same(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = examine(open_source(damaged), workers=0)
    seen: list[tuple[int, int]] = []
    this = threading.local()
    read = FolderSource.read

    def counting(source: FolderSource, row: int) -> Any:
        seen.append((this.rank, row))
        return read(source, row)

    monkeypatch.setattr(FolderSource, "read", counting)

    def look(rank: int) -> Any:
        this.rank = rank
        source, cache = open_source(damaged), tmp_path / "cache"
        return examine(source, workers=0, cache=cache, team=pair.member(rank))

    for expected in (list(range(len(alone.digests))), [entry.row for entry in alone.broken]):
        pair = Pair()
        with ThreadPoolExecutor(2) as pool:
            for one in pool.map(look, (0, 1)):
                assert one.broken == alone.broken
                np.testing.assert_array_equal(one.digests, alone.digests)
        assert sorted(row for _, row in seen) == expected, "each image is decoded once"
        assert {rank for rank, _ in seen} == {0, 1}
        seen.clear()
