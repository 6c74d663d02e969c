"""Files that are no images to us are named by every command that opens images, whatever it does then."""

from __future__ import annotations

import re
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from reteach.cli import main
from reteach.data.sources import base as sources
from reteach.data.sources.base import open_source
from reteach.progress import note
from tests.commands.test_train import photo

STRANGERS = ("a/IMG_1.HEIC", "a/film.mp4", "b/raw.CR2")
RUN = "{run} --device cpu --images {there}"
TRAIN = "--images {there} --model reteach_tiny --image-size 16 --workers 0 --device cpu"
COMMANDS = {
    "train": f"train softmax {TRAIN} --steps 2 --out {{out}}",
    "train --val-images": (
        "train softmax --images {good} --val-images {there} --model reteach_tiny --image-size 16 "
        "--workers 0 --device cpu --steps 2 --out {out}"
    ),
    "train --unlabeled": (
        "train mile --images {good} --unlabeled {there} --model reteach_tiny --image-size 16 "
        "--workers 0 --device cpu --steps 8 --out {out}"
    ),
    "compare": f"compare softmax elr {TRAIN} --steps 2 --out {{out}}",
    "compare --test-images": (
        "compare softmax elr --images {good} --test-images {there} --model reteach_tiny "
        "--image-size 16 --workers 0 --device cpu --steps 2 --out {out}"
    ),
    "relabel clean": f"relabel clean {TRAIN} --folds 2 --steps 2 --out {{out}}.csv",
    "advise": "advise --images {there} --workers 0 --out {out}.html",
    "advise --unlabeled": "advise --images {good} --unlabeled {there} --workers 0 --out {out}.html",
    "predict": f"predict {RUN} --workers 0 --out {{out}}.csv",
    "evaluate": f"evaluate {RUN} --workers 0 --out {{out}}.json",
    "explain": f"explain {RUN} --workers 0 --classes a --out {{out}}.html",
    "score": f"score {RUN} --workers 0 --top 2 --out {{out}}",
    "transfer": f"transfer {RUN} --mode fc-only --workers 0 --out {{out}}",
    "calibrate": f"calibrate {RUN}",
    "probe compression": "probe compression {run} --device cpu --images {there}",
    "dedup": "dedup --images {there} --workers 0",
    "dedup --against": "dedup --images {good} --against {there} --workers 0",
}


class Told(BaseException):
    """What a command says of its images; nothing catches it, and it ends the command."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of photos, one with three strangers, a tar with the same, and a run."""
    root = tmp_path_factory.mktemp("strangers")
    for where in ("good", "odd"):
        for i in range(12):
            photo(root / where / "ab"[i % 2] / f"{i:02}.png", 120 * (i % 2), i)
    for name in STRANGERS:
        (root / "odd" / name).write_bytes(b"not for us")
    with tarfile.open(root / "odd.tar", "w") as tar:
        for file in sorted((root / "odd").rglob("*.*")):
            label = root / "label.cls"
            label.write_text(file.parent.name)
            tar.add(file, file.name)
            tar.add(label, f"{file.stem}.cls")
    words = f"train softmax {TRAIN} --steps 2 --out {root}/run".format(there=f"{root}/good")
    assert main(words.split()) == 0
    return {name: f"{root}/{name}" for name in ("good", "odd", "odd.tar", "run")}


@pytest.mark.parametrize("kind", ["odd", "odd.tar"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_the_files_that_are_no_images_to_it(
    world: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    kind: str,
) -> None:
    def told(message: str) -> None:
        note(message)
        raise Told

    monkeypatch.setattr(sources, "note", told)
    words = COMMANDS[name].format(there=world[kind], out=tmp_path / "out", **world)
    with suppress(Told):
        main(words.split())
    said = capfd.readouterr().err
    assert f"reteach: {world[kind]}: 3 files are left out" in said
    for file in STRANGERS:
        assert Path(file).name in said


def test_images_are_opened_in_one_place_only() -> None:
    """No command goes round the one that names what is left out."""
    package = Path(sources.__file__).parents[2]
    calls = re.compile(
        r"\b(open_folder|open_hf|open_cifar|open_npz)\(|sources\.shards import (?!is_shards\b)"
    )
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if calls.search(file.read_text()) and "data" not in file.relative_to(package).parts
    }
    assert found <= {"runs/originals.py"}, "which lists vanished images beside those found"


def test_whole_folders_say_nothing(
    world: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    open_source(world["good"])
    assert capsys.readouterr().err == ""


def test_texts_beside_images_in_a_shard_are_not_named_but_labels_without_an_image_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "1.png", 50, 0)
    for name in ("1.cls", "1.json", "2.json", "3.cls", "3.json", "classes.txt"):
        (tmp_path / name).write_text("5")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for file in sorted(tmp_path.glob("*.*[!r]")):
            tar.add(file, file.name)
    for _ in range(2):  # scanned, and from the kept index
        source = open_source(tmp_path / "s.tar", cache=tmp_path / "cache")
        assert source.lost == [("s/3.cls", "a label without an image")]  # type: ignore[attr-defined]
        said = capsys.readouterr().err
        assert said.endswith(
            "1 file is left out as not readable here: 's/3.cls' (a label without an image)\n"
        )
