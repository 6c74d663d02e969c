"""What changes between stop and resume is named; what is the same goes on to the same weights."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import toys
from reteach import sealed
from reteach.cli import main
from reteach.data.loading.quarantine import examine
from reteach.data.sources.base import open_source
from reteach.engine import run as engine
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.models import export

QUICK = [
    *("--model", "reteach_tiny", "--image-size", "16", "--workers", "0", "--device", "cpu"),
    *("--steps", "8", "--batch-size", "8", "--snapshot-seconds", "0"),
]
NAMES = ("dark", "light")


def photo(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 90, (20, 18, 3)) + 120 * (seed % 2)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def table(file: Path, names: list[str], flip: bool = False) -> None:
    rows = [f"{name},{NAMES[(int(name[:2]) + flip) % 2]}" for name in names]
    file.write_text("item,labels\n" + "\n".join(rows) + "\n")


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """As if Ctrl-C was pressed in the fourth step."""
    calls = iter(range(1000))
    yield lambda: next(calls) >= 3


def stopped(given: list[str], out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "noting_signals", stopping)
        assert main(["train", "sigmoid", *given, "--out", str(out), *QUICK]) == 130


def weights(run: Path) -> bytes:
    return (run / "models" / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ with labels.csv and val.csv, ``run`` stopped half-way, ``whole`` as it should end."""
    root = tmp_path_factory.mktemp("begun")
    names = [f"{i:02}.png" for i in range(16)]
    for i, name in enumerate(names):
        photo(root / "photos" / name, i)
    table(root / "labels.csv", names)
    table(root / "val.csv", names[-4:])
    given = [
        *("--images", str(root / "photos"), "--labels", str(root / "labels.csv")),
        *("--val-labels", str(root / "val.csv")),
    ]
    stopped(given, root / "run")
    assert main(["train", "sigmoid", *given, "--out", str(root / "whole"), *QUICK]) == 0
    return root


@pytest.fixture
def world(begun: Path, tmp_path: Path) -> Iterator[Path]:
    """The same, at the same place, as it was; whatever a test does is undone."""
    shutil.copytree(begun, tmp_path / "kept")
    yield begun
    shutil.rmtree(begun)
    shutil.copytree(tmp_path / "kept", begun)


def refused(run: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert main(["resume", str(run), *more]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("reteach: ")
    return told


def test_nothing_changed_goes_on_to_the_same_weights(world, capsys):
    for file in (world / "photos").iterdir():
        os.utime(file, (1, 1))  # touched, and yet the same
    assert main(["resume", str(world / "run")]) == 0
    assert weights(world / "run") == weights(world / "whole")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("run", ["run", "whole"])
def test_overwritten_images_are_named(world, capsys, run):
    photo(world / "photos" / "03.png", 97)
    photo(world / "photos" / "04.png", 98)
    told = refused(world / run, capsys)
    assert "image '03.png' (and 1 more)" in told
    assert "put the old files back" in told


@pytest.mark.parametrize("name", ["labels.csv", "val.csv"])
def test_changed_labels_are_named(world, capsys, name):
    file = world / name
    names = [line.split(",")[0] for line in file.read_text().splitlines()[1:]]
    table(file, names, flip=True)
    told = refused(world / "run", capsys)
    assert str(file) in told
    assert "other labels" in told


def test_an_added_image_is_named(world, capsys):
    photo(world / "photos" / "50.png", 50)
    assert "image '50.png' in" in refused(world / "run", capsys)


def test_a_vanished_image_is_named_and_can_be_done_without(world, capsys):
    (world / "photos" / "02.png").unlink()
    told = refused(world / "run", capsys)
    assert "image '02.png' in" in told
    assert f"reteach resume {world / 'run'} --quarantine-missing" in told
    assert main(["resume", str(world / "run"), "--quarantine-missing"]) == 0
    facts = json.loads((world / "run" / "run.json").read_text())
    assert (facts["status"], facts["n_train"], facts["n_quarantined"]) == ("finished", 12, 1)
    assert any("not those of the undisturbed run" in text for text in facts["warnings"])
    assert "02.png" in (world / "run" / "vanished.csv").read_text()
    assert weights(world / "run") != weights(world / "whole")
    shutil.copytree(world / "photos", world / "copy")
    photo(world / "photos" / "02.png", 2)  # back again: what was trained without it stays said
    assert main(["resume", str(world / "run")]) == 0
    assert json.loads((world / "run" / "run.json").read_text())["warnings"]


def test_files_that_are_no_images_stay_listed_when_one_has_vanished(world):
    (world / "photos" / "IMG.HEIC").write_bytes(b"not for us")
    (world / "photos" / "02.png").unlink()
    assert main(["resume", str(world / "run"), "--quarantine-missing"]) == 0
    assert "IMG.HEIC" in (world / "run" / "quarantine.csv").read_text()


def test_a_model_of_another_run_is_named(world, tmp_path, capsys):
    assert main(["resume", str(world / "run")]) == 0
    weights(world / "run")
    shutil.copytree(world / "run", tmp_path / "other")
    other = next((tmp_path / "other" / "models").glob("*/model.safetensors"))
    model, info = export.load(other.parent)
    for parameter in model.parameters():
        parameter.data += 1
    export.save(
        model, other.parent, architecture=info.architecture, num_classes=len(info.classes),
        in_chans=info.in_chans, mean=info.mean, std=info.std, classes=info.classes,
        image_size=info.image_size, model_args=info.model_args, extra=info.extra,
    )  # fmt: skip
    shutil.rmtree(world / "run" / "models" / other.parent.name)
    shutil.copytree(other.parent, world / "run" / "models" / other.parent.name)
    capsys.readouterr()
    assert main(["predict", str(world / "run"), "--images", str(world / "photos")]) == 2
    assert "holds another model than this run saved" in capsys.readouterr().err


def test_all_models_of_another_run_are_named(world, tmp_path, capsys):
    """With their index: what the stages were asked says whose they are."""
    shutil.rmtree(world / "whole" / "models")
    main(["resume", str(world / "run")])
    shutil.copytree(world / "run" / "models", tmp_path / "models")
    record = next((world / "whole" / "stages").glob("**/record.json"))
    record.write_text(record.read_text().replace('"seed": "', '"seed": "1'))
    shutil.copytree(tmp_path / "models", world / "whole" / "models")
    capsys.readouterr()
    assert main(["predict", str(world / "whole"), "--images", str(world / "photos")]) == 2
    assert "is of another run" in capsys.readouterr().err


def test_a_moved_folder_is_found_with_images_and_held_against_the_old_contents(world, capsys):
    shutil.move(world / "photos", world / "elsewhere")
    assert "does not exist" in refused(world / "run", capsys)
    shutil.copytree(world / "elsewhere", world / "others")
    photo(world / "others" / "00.png", 70)
    told = refused(world / "run", capsys, "--images", str(world / "others"))
    assert "image '00.png' in" in told
    assert main(["resume", str(world / "run"), "--images", str(world / "elsewhere")]) == 0
    assert weights(world / "run") == weights(world / "whole")
    assert main(["resume", str(world / "run")]) == 0, "it remembers where they are"


def test_a_run_of_an_earlier_version_goes_on_and_it_is_said(world, capsys):
    run = world / "run"
    (run / "inputs.npz").unlink()
    assert main(["resume", str(run)]) == 0
    assert "kept nothing of its inputs" in capsys.readouterr().err
    assert weights(run) == weights(world / "whole")


def test_a_damaged_record_of_the_inputs_is_refused(world, capsys):
    file = world / "run" / "inputs.npz"
    data = bytearray(file.read_bytes())
    data[200] ^= 4
    file.write_bytes(data)
    assert "inputs.npz is damaged" in refused(world / "run", capsys)


def pack(file: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 8, 8), np.uint8)
    np.savez(file, images=pixels, labels=np.arange(16) % 2)


def shard(file: Path, photos: Path, changed: int | None = None) -> None:
    with tarfile.open(file, "w") as tar:
        for i in range(16):
            photo(photos / f"{i:02}.png", 60 if i == changed else i)
            (photos / f"{i:02}.cls").write_text(NAMES[i % 2])
            tar.add(photos / f"{i:02}.cls", f"{i:02}.cls")
            tar.add(photos / f"{i:02}.png", f"{i:02}.png")


def test_a_changed_array_is_noticed(tmp_path, capsys):
    pack(tmp_path / "a.npz", 0)
    stopped(["--images", str(tmp_path / "a.npz")], tmp_path / "run")
    pack(tmp_path / "a.npz", 1)
    assert "(and 15 more) in" in refused(tmp_path / "run", capsys)


def test_a_changed_image_in_a_shard_is_noticed(tmp_path, capsys):
    shard(tmp_path / "a.tar", tmp_path / "photos")
    stopped(["--images", str(tmp_path / "a.tar")], tmp_path / "run")
    shard(tmp_path / "a.tar", tmp_path / "photos", changed=5)
    assert "image 'a/05' in" in refused(tmp_path / "run", capsys)


def with_contents(change: int = 0) -> Any:
    data = toys.dataset()
    digests = np.zeros((len(data), 16), np.uint8)
    digests[7] += change
    return type(data)(data.source, data.labels, data.rows, digests)


def test_kept_arrays_and_finished_stages_are_not_those_of_changed_images(tmp_path):
    def kept(data: Any) -> None:
        Run(tmp_path / "once", quiet=True).once("a", lambda: {"x": np.ones(1)}, images=data)

    def stage(data: Any) -> None:
        run = Run(tmp_path / "stage", quiet=True)
        run.train("train", toys.ALGORITHMS["sigmoid"](), toys.stream(data), steps=2)

    for begin in (kept, stage):
        begin(with_contents())
        begin(with_contents())
        with pytest.raises(UserError, match="content has changed"):
            begin(with_contents(1))


def test_a_run_of_the_older_record_format_opens_and_refuses_to_resume(world, capsys):
    """Its stages were recorded by Python's names of classes: what it holds is read, and it stays as it is."""
    for name in ("run", "whole"):
        record = world / name / "stages" / "train" / "record.json"
        known = json.loads(record.read_text())
        assert known.pop("format")
        record.write_text(json.dumps(known | {"algorithm": "Supervised"}))
    index = world / "whole" / "models" / "index.json"
    models = sealed.read_json(index, "")
    assert models.pop("stages")  # earlier versions did not keep it
    sealed.write_json(index, models)
    images, out = str(world / "photos"), str(world / "predicted.csv")
    assert main(["report", str(world / "whole")]) == 0
    assert main(["predict", str(world / "whole"), "--images", images, "--out", out]) == 0
    before = (world / "whole" / "run.json").read_text()
    for name in ("run", "whole"):
        told = refused(world / name, capsys)
        assert f"{world / name} was begun by an earlier version of reteach" in told
        assert "finish it with that version, or use another --out" in told
    assert (world / "whole" / "run.json").read_text() == before


def test_an_image_whose_time_was_set_back_is_read_again(world, tmp_path):
    """Of the same size and modification time, as unpacked archives have them: a new run sees it too."""
    file = world / "photos" / "01.bmp"
    draw = np.random.default_rng(0)

    def drawn() -> bytes:
        Image.fromarray(draw.integers(0, 255, (20, 18, 3)).astype(np.uint8)).save(file)
        os.utime(file, (10**9, 10**9))
        source = open_source(world / "photos")
        found = examine(source, workers=0, cache=tmp_path / "cache")
        return found.digests[list(source.items).index("01.bmp")].tobytes()

    assert drawn() != drawn()


def test_a_changed_weight_file_is_noticed_and_a_refused_run_stays_finished(world, tmp_path, capsys):
    shutil.copytree(world / "whole", tmp_path / "other")
    init = tmp_path / "init.safetensors"
    shutil.copy(tmp_path / "other" / "models" / "model" / "model.safetensors", init)
    given = [*("--images", str(world / "photos"), "--labels", str(world / "labels.csv"))]
    given += ["--val-labels", str(world / "val.csv"), "--init", str(init)]
    stopped(given, tmp_path / "run")
    assert main(["train", "sigmoid", *given, "--out", str(tmp_path / "done"), *QUICK]) == 0
    content = bytearray(init.read_bytes())
    content[-1] ^= 1
    init.write_bytes(content)
    before = (tmp_path / "done" / "run.json").read_text()
    for run in ("run", "done"):
        assert f"--init {init} is not what it was" in refused(tmp_path / run, capsys)
    assert (tmp_path / "done" / "run.json").read_text() == before
    record = tmp_path / "done" / "stages" / "train" / "record.json"
    shutil.copy(tmp_path / "other" / "models" / "model" / "model.safetensors", init)
    known = json.loads(record.read_text())
    record.write_text(json.dumps({k: v for k, v in known.items() if k != "parts"}))
    assert "was begun by another version of reteach" in refused(tmp_path / "done", capsys)
    assert json.loads((tmp_path / "done" / "run.json").read_text())["status"] == "finished"


def test_only_files_with_another_stamp_are_read_again(world, tmp_path, monkeypatch):
    def look() -> Any:
        return examine(open_source(world / "photos"), workers=0, cache=tmp_path / "cache")

    first = look()
    assert first.digests.any(1).all()
    os.utime(world / "photos" / "01.png", (1, 1))
    read: list[str] = []
    from reteach.data.sources import folders

    real = folders.decode
    monkeypatch.setattr(
        folders,
        "decode",
        lambda path, **more: (read.append(Path(path).name), real(path, **more))[1],
    )
    assert (look().digests == first.digests).all()
    assert read == ["01.png"]
