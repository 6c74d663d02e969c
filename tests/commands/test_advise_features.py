"""``reteach advise`` on feature tables and on folders of photos: what judges, and commands that are whole."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from pictures import encoded
from reteach import sealed
from reteach.analysis.image_issues import KINDS
from reteach.cli import main
from reteach.data.loading.batch import Normalize
from reteach.data.sources.feature_table import FORMAT, INDEX, FeatureShard, write_shard
from reteach.features.extractor import Extractor
from reteach.features.preprocessing import Preprocessing
from reteach.models import zoo
from reteach.runs import label_judge as probe
from reteach.runs import sample_features as sample
from reteach.tables import read_labels

NAMES = ("ant", "bee", "cat", "dog")


def features(folder: Path, true: np.ndarray, seed: int = 0, prefix: str = "") -> None:
    """A table of features in four clusters, which a head tells apart."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(4, 24))
    values = centres[true] * 1.5 + generator.normal(size=(len(true), 24))
    settings = {"backbone": "test", "weights": "w", "mean": [0.5] * 3, "std": [0.5] * 3}
    items = [f"{prefix}{i:04}.jpg" for i in range(len(true))]
    shard = FeatureShard(settings, "p", items, values[:, None].astype(np.float16))
    folder.mkdir()
    digest = write_shard(folder / "part-000000.parquet", shard)
    said = {"format": FORMAT, "settings": settings, "complete": True}
    sealed.write_json(folder / INDEX, said | {"shards": {"part-000000": digest}})


def table(file: Path, labels: np.ndarray, prefix: str = "") -> None:
    rows = [f"{prefix}{i:04}.jpg,{NAMES[label]}" for i, label in enumerate(labels)]
    file.write_text("\n".join(["item,labels", *rows]) + "\n")


def planted(true: np.ndarray, share: float) -> np.ndarray:
    generator = np.random.default_rng(1)
    wrong = generator.random(len(true)) < share
    return np.where(wrong, (true + generator.integers(1, 4, len(true))) % 4, true)


@pytest.fixture
def tables(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    true = np.random.default_rng(0).integers(0, 4, 1200)
    features(tmp_path / "my photos.features", true)
    table(tmp_path / "noisy.csv", planted(true, 0.3))
    table(tmp_path / "clean.csv", true)
    more = np.random.default_rng(5).integers(0, 4, 80)
    features(tmp_path / "val.features", more, 5, "v")
    table(tmp_path / "val.csv", more, "v")
    return tmp_path


def advised(capsys, *words: str) -> tuple[dict, str]:
    assert main(["advise", *words]) == 0
    said = capsys.readouterr()
    return json.loads(Path("advice.json").read_text()), said.out + said.err


def short(command: str) -> list[str]:
    """The words of a command, for three steps in place of its epochs."""
    words = shlex.split(command)[1:]
    if "--epochs" in words:
        at = words.index("--epochs")
        del words[at : at + 2]
    return [*words, "--steps", "3"] if words[0] in ("train", "relabel") else words


def test_a_feature_table_is_judged_by_a_head_and_every_printed_command_runs(tables, capsys):
    found, said = advised(
        capsys,
        *("--images", "my photos.features", "--labels", "noisy.csv", "--folds", "2"),
        *("--val-images", "val.features", "--val-labels", "val.csv", "--multi-label", "no"),
    )
    assert "judged by: a linear head on features of test" in said
    noise = found["facts"]["noise"]
    assert noise["low"] < 0.3 < noise["high"]
    assert noise["high"] - noise["low"] <= 0.15 + 1e-9
    assert [piece["command"].split()[1] for piece in found["advice"]] == ["train", "relabel"]
    commands = [piece["command"] for piece in found["advice"]] + [found["plain"]]
    for number, command in enumerate(commands):
        words = short(command)
        if words[0] == "train":
            assert "--val-images" in words
            assert "--val-labels" in words
            words += ["--out", f"runs/{number}"]
        assert main(words) == 0, command
    assert "not looked for in features" in Path("advice.html").read_text()


def test_one_tag_each_ends_in_label_sets_at_one_half_without_anyway(tables, capsys):
    """Every printed command as it is; two features of three clusters in each image, one of them named."""
    draw = np.random.default_rng(2)
    sets = np.array([draw.permutation(4)[:2] for _ in range(400)])
    centres = np.random.default_rng(99).normal(size=(4, 24))
    values = centres[sets].sum(1) + draw.normal(size=(400, 24))
    settings = {"backbone": "test", "weights": "w", "mean": [0.5] * 3, "std": [0.5] * 3}
    items = [f"{i:04}.jpg" for i in range(400)]
    Path("two.features").mkdir()
    shard = FeatureShard(settings, "p", items, values[:, None].astype(np.float16))
    digest = write_shard(Path("two.features/part-000000.parquet"), shard)
    said = {"format": FORMAT, "settings": settings, "complete": True}
    sealed.write_json(Path("two.features") / INDEX, said | {"shards": {"part-000000": digest}})
    table(Path("one.csv"), sets[:, 0])
    words = ("--images", "two.features", "--labels", "one.csv", "--folds", "2", "--steps", "20")
    found, said = advised(capsys, *words, "--multi-label", "yes", "--expected", "2")
    piece = found["advice"][0]
    assert "--expected 2" in said
    for text in (piece["command"], *piece["then"]):
        assert f"   {text}" in said.splitlines()
        assert "--anyway" not in text
        assert main([*shlex.split(text)[1:], "--workers", "0"]) == 0, text
    labels = read_labels(Path("labels.parquet")).labels
    assert labels.present().sum(1).mean() == pytest.approx(2, abs=0.3)
    right = labels.present()[np.arange(400)[:, None], sets]
    assert right.mean() > 0.6


def test_right_labels_on_features_get_no_cure(tables, capsys):
    found, _ = advised(
        capsys, "--images", "my photos.features", "--labels", "clean.csv", "--folds", "2"
    )
    assert found["facts"]["noise"]["low"] == 0
    assert found["advice"] == []


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """48 photos in two class folders, and 8 to validate on."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for root, count in (("photos", 24), ("val", 4)):
        for name, channel in (("red", 0), ("blue", 2)):
            (tmp_path / root / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 90, (20, 24, 3)).astype(np.uint8)
                pixels[..., channel] += 120
                (tmp_path / root / name / f"{root}{i}.png").write_bytes(encoded(pixels))
    return tmp_path


def test_validation_images_in_the_unlabelled_pile_are_found(photos, capsys, monkeypatch):
    monkeypatch.setattr(probe, "at_hand", lambda: True)
    monkeypatch.setattr(sample, "of_network", small_eyes)
    Path("pile").mkdir()
    generator = np.random.default_rng(7)
    for i in range(3):
        pixels = generator.integers(0, 255, (20, 24, 3)).astype(np.uint8)
        Path(f"pile/{i}.png").write_bytes(encoded(pixels))
    Path("pile/again.png").write_bytes(Path("val/red/val2.png").read_bytes())
    asked = ("--images", "photos", "--val-images", "val", "--unlabeled", "pile", "--folds", "2")
    found, _ = advised(capsys, *asked, "--workers", "0", "--steps", "2")
    assert found["facts"]["leaked"] == 1
    title = "Take the validation images out of the unlabelled pile"
    piece = next(piece for piece in found["advice"] if piece["title"] == title)
    assert main(shlex.split(piece["command"])[1:]) == 0
    assert "again.png" in Path("duplicates.txt").read_text()
    Path("pile/again.png").unlink()
    assert main(["advise", *asked, "--workers", "0", "--steps", "2", "--out", "clean.html"]) == 0
    assert json.loads(Path("clean.json").read_text())["facts"]["leaked"] == 0


def small_eyes(*_: object) -> Extractor:
    model = zoo.create("reteach_tiny", 1, seed=0).eval()
    return Extractor(model, Preprocessing(16, None, Normalize((0.5,) * 3, (0.25,) * 3)), "features")


def test_photos_are_judged_on_frozen_features_and_the_commands_take_them(
    photos, capsys, monkeypatch
):
    monkeypatch.setattr(probe, "at_hand", lambda: True)
    monkeypatch.setattr(sample, "of_network", small_eyes)
    asked = ("--images", "photos", "--val-images", "val", "--workers", "0", "--folds", "2")
    found, said = advised(capsys, *asked)
    assert "judged by: a linear head on frozen features of tf_efficientnet_lite0" in said
    assert found["features"] == [
        "reteach embed --images val --pretrained --image-size 160 --out advice/val.features"
    ]
    assert set(found["image_issues"]) == {kind.name for kind in KINDS}
    page = Path("advice.html").read_text()
    assert "Odd images" in page
    assert "near copies" in page
    assert "--images advice/photos.features --labels advice/labels.csv" in found["plain"]
    assert "--val-images advice/val.features --val-labels advice/val-labels.csv" in found["plain"]
    sample.embed(small_eyes(), "val", Path("advice/val.features"), workers=0)
    assert main(short(found["plain"])) == 0

    monkeypatch.setattr(sample, "of_network", small_eyes)
    again, _ = advised(capsys, *asked)
    assert again == found


def test_a_broken_photo_is_said_once(photos, capsys, monkeypatch):
    monkeypatch.setattr(probe, "at_hand", lambda: True)
    monkeypatch.setattr(sample, "of_network", small_eyes)
    (photos / "photos/red/broken.png").write_bytes(b"no image")
    advised_on = "advise --images photos --workers 0 --folds 2 --steps 2 --out advice.html --json"
    assert main(advised_on.split()) == 0
    said = capsys.readouterr()
    assert said.err.count("could not be read") == 1
    assert "advice/quarantine.csv" in said.err
    assert json.loads(said.out)["unreadable"]["count"] == 1


def test_of_more_photos_than_the_sample_a_random_part_is_judged(photos, capsys, monkeypatch):
    monkeypatch.setattr(probe, "at_hand", lambda: True)
    monkeypatch.setattr(sample, "of_network", small_eyes)
    found, said = advised(
        capsys, "--images", "photos", "--workers", "0", "--folds", "2", "--sample", "30"
    )
    assert "on a random sample of 30 of 48 images" in said
    assert found["facts"]["judged"] == 30
    assert found["facts"]["images"] == 48
    assert found["features"][0].endswith("--out advice/all.features")
    assert "--images advice/all.features" in found["plain"]


def test_without_weights_at_hand_small_networks_judge_and_it_is_said(photos, capsys, monkeypatch):
    monkeypatch.setattr(probe, "at_hand", lambda: False)
    found, said = advised(
        capsys, "--images", "photos", "--workers", "0", "--folds", "2", "--steps", "2"
    )
    assert "judged by: reteach_small, trained from scratch" in said
    assert "pip install 'reteach[pretrained]'" in said
    assert found["features"] == []
    assert "--images photos" in found["plain"]


def test_weights_are_at_hand_only_where_nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr(zoo, "_cached", lambda config: None)
    monkeypatch.setattr(zoo, "_WITHOUT_HUB", set())
    monkeypatch.setattr(zoo.packages, "package_of", lambda name: None)
    assert not zoo.without_download("tf_efficientnet_lite0")
    monkeypatch.setattr(zoo, "_cached", lambda config: "file")
    assert zoo.without_download("tf_efficientnet_lite0")
