"""Images decoded by whoever wants them first: the same pixels everywhere, each decoded once."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import encoded, folder, picture
from reteach.data.loading.cache import CachedSource
from reteach.data.loading.decode import ImageError
from reteach.data.loading.resident import in_memory
from reteach.data.loading.shared import SharedSource
from reteach.data.sources.base import ArraySource, open_source

N = 13


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = folder(tmp_path / "images", [f"{c}/{i}.png" for c in "ab" for i in range(6)])
    (root / "a" / "2.png").write_bytes(b"broken")
    (root / "b" / "wide.png").write_bytes(encoded(picture(20, 90)))
    return root


@dataclass(frozen=True)
class Counted:
    """A source that notes in a file what was read; a read of ``fatal`` kills the process."""

    source: Any
    notes: Path
    fatal: int = -1

    def __len__(self) -> int:
        return len(self.source)

    def read(self, row: int) -> np.ndarray:
        with open(self.notes, "a") as file:
            file.write(f"{row}\n")
        if row == self.fatal and "dies" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read(row)

    def seen(self) -> list[int]:
        return sorted(map(int, self.notes.read_text().split()))


def same(shared: Any, source: Any, rows: list[int]) -> None:
    for row in rows:
        if row == 2:
            with pytest.raises(ImageError, match="not an image"):
                shared.read(row)
        else:
            np.testing.assert_array_equal(shared.read(row), source.read(row))


def test_each_image_is_decoded_once_by_all_processes_together(images, tmp_path):
    source = open_source(images)
    counted = Counted(source, tmp_path / "notes")
    shared = SharedSource(counted, 10**6)
    orders = [np.random.default_rng(seed).permutation(N).tolist() for seed in range(3)]
    context = get_context("spawn")
    crew = [context.Process(target=same, args=(shared, source, order * 3)) for order in orders]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert [process.exitcode for process in crew] == [0, 0, 0]
    seen = counted.seen()
    assert [row for row in seen if row != 2] == [row for row in range(N) if row != 2]
    assert shared.nbytes == sum(source.read(row).nbytes for row in range(N) if row != 2)
    same(shared, source, list(range(N)))


def test_what_does_not_fit_is_decoded_again(images, tmp_path):
    source = open_source(images)
    counted = Counted(source, tmp_path / "notes")
    most = 3 * source.read(0).nbytes
    shared = SharedSource(counted, most)
    for _ in range(2):
        same(shared, source, [0, 1, 3, 4, 5])
    assert counted.seen() == [0, 1, 3, 4, 4, 5, 5]
    assert shared.nbytes == most


def test_a_process_that_is_killed_holds_nobody_up(images, tmp_path, monkeypatch):
    source = open_source(images)
    shared = SharedSource(Counted(source, tmp_path / "notes", fatal=4), 10**6)
    monkeypatch.setenv("dies", "yes")
    process = get_context("spawn").Process(target=same, args=(shared, source, [0, 4, 5]))
    process.start()
    process.join()
    monkeypatch.delenv("dies")
    assert process.exitcode == -signal.SIGKILL
    same(shared, source, list(range(N)))


def test_what_is_read_is_a_copy(images):
    shared = SharedSource(open_source(images), 10**6)
    before = shared.read(0)
    shared.read(0)[:] = 0
    np.testing.assert_array_equal(shared.read(0), before)
    assert (shared.items, shared.class_of) == (shared.source.items, shared.source.class_of)


def test_what_needs_no_sharing(images):
    source = open_source(images)
    assert not in_memory(source)
    assert in_memory(CachedSource(source, workers=0))
    assert in_memory(ArraySource(np.zeros((2, 4, 4, 3), np.uint8)))
