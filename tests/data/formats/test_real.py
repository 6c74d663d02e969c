"""ReaL's published file becomes a label table, and judges a model in one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo

from command import run
from reteach.data.formats.real import IMAGES, NAME, read_real, wordnet_ids
from reteach.errors import UserError
from reteach.options.convert import ConvertOptions
from reteach.options.methods import SoftmaxOptions
from reteach.options.runs import EvaluateOptions, RunEvaluationOptions
from reteach.options.shared import Data, Model, Output, Training
from reteach.runs.config import Config
from reteach.runs.train import train
from reteach.tables import read_labels


def published(**changed: Any) -> list[Any]:
    """A file of the published form: image n shows class n mod 1,000; but for what is given as n1=…"""
    sets: list[Any] = [[number % 1000] for number in range(IMAGES)]
    for name, labels in changed.items():
        sets[int(name[1:]) - 1] = labels
    return sets


def write(folder: Path, value: Any) -> Path:
    path = folder / "real.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_published_lists_are_the_label_sets_of_the_numbered_images(tmp_path: Path) -> None:
    found = read_real(write(tmp_path, published(n2=[795, 970], n3=[])))
    names = wordnet_ids()
    assert len(found.items) == IMAGES
    assert found.items[1] == "ILSVRC2012_val_00000002.JPEG"
    assert found.labels.names()[:4] == [[names[0]], [names[795], names[970]], [], [names[3]]]
    assert names == tuple(ImageNetInfo().label_names())


def test_images_may_lie_in_class_folders_and_be_few(tmp_path: Path) -> None:
    items = [
        f"n01751748/{NAME.format(7)}",
        f"n0/{NAME.format(2)}".replace("JPEG", "png"),
        NAME.format(5),
    ]
    words = [f"class {c}" for c in range(1000)]
    found = read_real(write(tmp_path, published()), items, words)
    assert found.items == tuple(items)
    assert found.labels.names() == [["class 6"], ["class 1"], ["class 4"]]


def test_the_published_file_is_what_the_votes_give(shared_data: Path) -> None:
    found = read_real(shared_data / "real" / "real.json")
    sizes = np.bincount(found.labels.pairs()[0], minlength=IMAGES)
    assert (sizes > 0).sum() == 46_837
    assert sizes.sum() == 57_553


def test_hostile_files_are_refused_in_one_line(tmp_path: Path) -> None:
    def refused(words: str, value: Any, items: Any = None, classes: Any = None) -> None:
        with pytest.raises(UserError, match=words) as caught:
            read_real(write(tmp_path, value), items, classes)
        assert "\n" not in str(caught.value)

    refused("not a readable JSON", "[[1], [2")
    refused("not a readable JSON", "[" * 100_000)
    refused("list of 50,000 lists, but dict", {"1": [1]})
    refused("but 49,999 entries", published()[:-1])
    refused("image 3 has '7' where a list", published(n3=7))
    refused("image 3 has class True", published(n3=[True]))
    refused("image 3 has class None", published(n3=[1, None]))
    refused("image 3 has class 1000, which is no index", published(n3=[4, 1000]))
    refused("image 3 has class -1", published(n3=[-1]))
    refused("image 3 has class 1.5", published(n3=[1.5]))
    refused("image 3 has class n01440764", published(n3=["n01440764"]))
    refused("image 3 has a class twice", published(n3=[4, 4]))
    refused("image 3 has class 9999", json.dumps(published(n3=["#"])).replace('"#"', "9" * 4000))
    refused("not a readable JSON", json.dumps(published(n3=["#"])).replace('"#"', "9" * 5000))
    refused("'cat.jpg' is not called like", published(), ["cat.jpg"])
    refused("00050001.JPEG' is not called like", published(), [NAME.format(50_001)])
    refused("the same image by their number", published(), [NAME.format(1), "n1/" + NAME.format(1)])
    refused("ReaL has 1,000 classes, the class list names 2", published(), None, ["a", "b"])
    with pytest.raises(UserError, match="does not exist"):
        read_real(tmp_path / "none.json")
    out = tmp_path / "x.csv"
    with pytest.raises(UserError, match="--split has no effect on real"):
        run(ConvertOptions("real", write(tmp_path, published()), out, split="val"))


def test_published_labels_judge_a_model_of_class_folders_in_one_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three images: the model is right by the set, wrong by it, and not judged where the set is empty."""
    names = wordnet_ids()
    for number, shade in ((1, 10), (2, 240), (3, 10)):
        place = tmp_path / "val" / names[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8, 3), shade, np.uint8)
        Image.fromarray(pixels).save(place / NAME.format(number), quality=95)
    (tmp_path / "classes.txt").write_text("\n".join(names))
    data = Data(
        str(tmp_path / "val"), classes=tmp_path / "classes.txt", val_fraction=0.0, workers=0
    )
    folder = tmp_path / "run"
    training = Training(steps=60, batch_size=3, optimizer="adam", lr=0.01, augment="none")
    train(Config("softmax", SoftmaxOptions(), data, Model("reteach_tiny", device="cpu"), training,
                 Output(folder)))  # fmt: skip
    assert read_truth(folder, tmp_path, capsys) == (2.0, 0.5)


def read_truth(folder: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    """(images judged, share whose first choice is in the set); the model says class 1, 0, 1."""
    real = write(root, published(n1=[1, 5], n2=[7], n3=[]))
    out = root / "real.parquet"
    run(ConvertOptions("real", real, out, images=root / "val"))
    assert "1 images have an empty set" in capsys.readouterr().out
    assert set(read_labels(out).items) == {f"n01443537/{NAME.format(n)}" for n in (1, 3)} | {
        f"n01440764/{NAME.format(2)}"
    }
    how = RunEvaluationOptions(str(root / "val"), empty="unknown", workers=0, device="cpu")
    metrics = run(EvaluateOptions((folder,), out, run_options=how)).metrics["model"]
    return metrics["n"], metrics["accuracy"]
