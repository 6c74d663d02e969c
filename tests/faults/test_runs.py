"""A training whose disk fills, whose worker is killed, whose folder is taken or that fails unforeseen: one
line, nothing half-written, a run that is not called running, and a next attempt that succeeds."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import reteach
from reteach import files
from reteach.cli import main
from reteach.data.loading.reader import mapped
from reteach.engine.log import Log, read_records
from reteach.errors import UserError
from reteach.features import embed
from reteach.locks import only_writer
from reteach.runs import train as runs

QUICK = ["--model", "reteach_tiny", "--image-size", "16", "--workers", "0", "--device", "cpu"]
QUICK += ["--batch-size", "8", "--val-fraction", "0.25"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Sixteen small pictures in two class folders."""
    root = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    for number in range(16):
        file = root / ("dark", "light")[number % 2] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = chance.integers(0, 90, (16, 16, 3)) + 120 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    return root


def command(photos: Path, out: Path, steps: int = 4) -> list[str]:
    where = ["--images", str(photos), "--out", str(out)]
    return ["train", "sigmoid", *where, *QUICK, "--steps", str(steps)]


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(command(photos, out)) == 0
    return out


def status(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["status"])


def weights(folder: Path) -> bytes:
    return (folder / "models" / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def disk_full_of(monkeypatch):
    """Makes the disk full for files of a name: what they are written to is ``/dev/full``."""
    real = files.atomic_path

    def full_for(name: str, *modules: Any) -> None:
        from contextlib import contextmanager

        @contextmanager
        def path(target: Path):
            with real(target) as part:
                if Path(target).name == name:
                    part.symlink_to("/dev/full")
                yield part

        for module in modules:
            monkeypatch.setattr(module, "atomic_path", path)

    return full_for


def test_disk_full_in_torch_save_is_one_line_and_a_failed_run(
    photos, trained, tmp_path, capsys, disk_full_of, monkeypatch
):
    from reteach.engine import snapshot

    disk_full_of("snapshot.pt", snapshot)
    out = tmp_path / "run"
    assert main(command(photos, out)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("reteach: disk full while writing"), said
    assert "snapshot.pt" in said
    assert status(out) == "failed"
    assert not list(out.rglob("*.part"))
    monkeypatch.undo()
    assert main(command(photos, out)) == 0
    assert weights(out) == weights(trained)


def test_disk_full_in_the_best_model_is_one_line(photos, tmp_path, capsys, disk_full_of):
    from reteach.engine import best_model

    disk_full_of("best.pt", best_model)
    out = tmp_path / "run"
    assert main([*command(photos, out), "--patience", "3", "--eval-every", "2"]) == 2
    assert "disk full while writing" in capsys.readouterr().err
    assert status(out) == "failed"


def test_disk_full_in_the_log_is_one_line(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.symlink_to("/dev/full")
    log = Log()
    log.file = file
    with pytest.raises(UserError, match=r"disk full while writing .*metrics\.jsonl"):
        log.write({"stage": "train", "step": 1})


def test_full_disk_is_known_whoever_reports_it():
    import sqlite3

    def chained() -> Exception:
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            try:
                raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 768")
            except RuntimeError as error:
                return error

    assert files.out_of_space(chained())
    assert files.out_of_space(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert files.out_of_space(sqlite3.OperationalError("database or disk is full"))
    assert not files.out_of_space(RuntimeError("shapes differ"))


@dataclass(frozen=True)
class Killed:
    """A job that kills its process so many times."""

    marks: Path
    job: int
    times: int

    def __call__(self, job: int) -> int:
        done = len(list(self.marks.iterdir()))
        if job == self.job and done < self.times:
            (self.marks / str(done)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return job * job


def test_killed_decoding_worker_costs_nothing_but_time(tmp_path, capsys):
    """Torch would raise its death in the middle of whatever the trainer is doing."""
    assert list(mapped(Killed(tmp_path, 5, 1), range(12), 2)) == [n * n for n in range(12)]
    assert "killed; its work is done again" in capsys.readouterr().err


def test_job_that_kills_its_worker_twice_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"was killed twice at the same place .*fewer --workers"):
        list(mapped(Killed(tmp_path, 0, 9), range(3), 1))


def _hold(folder: Path, held: Any) -> None:
    with only_writer(folder):
        held.set()
        signal.pause()


@pytest.mark.parametrize("verb", ["train", "resume", "embed", "score", "compare"])
def test_two_commands_do_not_write_into_one_folder(photos, trained, tmp_path, capsys, verb):
    out = trained if verb == "resume" else tmp_path / "out"
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(out, held), daemon=True)
    process.start()
    assert held.wait(20)
    small = ["--workers", "0", "--device", "cpu"]
    words = {
        "train": command(photos, out),
        "resume": ["resume", str(out)],
        "embed": ["embed", str(trained), "--images", str(photos), *small, "--out", str(out)],
        "score": ["score", str(trained), "--images", str(photos), *small, "--out", str(out)],
        "compare": ["compare", "softmax", *command(photos, out)[2:]],
    }[verb]
    before = sorted(out.rglob("*"))
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"is being written by process {process.pid}" in error, error
    assert sorted(out.rglob("*")) == before
    process.kill()
    process.join()


def test_unforeseen_error_leaves_no_folder_that_blocks_its_name(photos, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "make_setup", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(command(photos, out))
    assert not out.exists()
    assert main(command(photos, out, steps=2)) == 0


def test_unforeseen_error_in_training_marks_the_run_failed(photos, tmp_path, monkeypatch):
    out = tmp_path / "run"
    recipe = runs.load_recipe

    def failing(name: str) -> Any:
        def train(*arguments: Any) -> Any:
            recipe(name)(*arguments)
            raise ZeroDivisionError("division by zero")

        return train

    with monkeypatch.context() as patch:
        patch.setattr(runs, "load_recipe", failing)
        with pytest.raises(ZeroDivisionError):
            main(command(photos, out))
    assert status(out) == "failed"
    assert "ZeroDivisionError" in json.loads((out / "run.json").read_text())["message"]
    assert main(command(photos, out)) == 0
    assert status(out) == "finished"


def test_embedding_that_fails_at_once_leaves_no_folder(photos, trained, tmp_path, monkeypatch):
    out = tmp_path / "features"
    given = ["embed", str(trained), "--images", str(photos), "--out", str(out)]
    given += ["--workers", "0", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(embed, "_compute", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(given)
    assert not out.exists()


def test_ctrl_c_twice_ends_a_run_at_once_in_one_line(photos, tmp_path):
    out, steps = tmp_path / "run", 100_000
    environment = {**os.environ, "PYTHONPATH": str(Path(reteach.__file__).parent.parent)}
    process = subprocess.Popen(
        [sys.executable, "-m", "reteach", *command(photos, out, steps)],
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert status(out) == "interrupted"
    assert "reteach resume" in said
    assert read_records(out / "metrics.jsonl")
    assert not list(out.rglob("*.part"))
    with only_writer(out):
        pass


@pytest.mark.skipif(
    os.environ.get("RETEACH_FAULTS") != "all", reason="RETEACH_FAULTS=all trains in two processes"
)
def test_one_rank_of_two_lost_is_one_line_and_the_next_attempt_succeeds(photos, tmp_path):
    """torchrun would end the other one itself; a scheduler with a machine per rank does not."""
    out = tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*command(photos, out, 400), "--snapshot-seconds", "0"]
    ranks = []
    for rank in range(2):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in told.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(Path(reteach.__file__).parent.parent)
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-m", "reteach", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                text=True,
            )
        )
    deadline = time.monotonic() + 300
    while not list(out.rglob("snapshot.pt")) and time.monotonic() < deadline:
        assert ranks[0].poll() is None, ranks[0].communicate()[1]
        time.sleep(0.05)
    ranks[1].kill()
    _, said = ranks[0].communicate(timeout=300)
    ranks[1].communicate()
    assert "Traceback" not in said, said
    assert ranks[0].returncode == 2, said
    assert "another process of this training has ended" in said.strip().splitlines()[-1]
    assert status(out) == "failed"
    assert not list(out.rglob("*.part"))
    assert main(["resume", str(out)]) == 0
    assert status(out) == "finished"
