"""From options to data sets: which images are trained on, and which validated on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reteach.errors import UserError
from reteach.options.shared import Data
from reteach.runs.inputs import open_inputs
from reteach.runs.originals import Originals

TRAIN = {"0.png": "cat|dog", "1.png": "dog", "2.png": "cat|dog"}
VAL = {"3.png": "cat|dog", "4.png": "cat", "5.png": "dog"}


def table(file: Path, rows: dict[str, str]) -> Path:
    """Label sets."""
    lines = [f"{item},{labels.replace('|', ';')}" for item, labels in rows.items()]
    file.write_text("item,labels\n" + "\n".join(lines) + "\n")
    return file


@pytest.fixture
def photos(tmp_path: Path) -> Data:
    """Six photos: three that the training table names, and three others to validate on."""
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for item in TRAIN | VAL:
        pixels = draw.integers(0, 255, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / item)
    return Data(
        str(tmp_path / "photos"),
        table(tmp_path / "train.csv", TRAIN),
        kind="multi",
        val_labels=table(tmp_path / "val.csv", VAL),
        val_kind="multi",
        workers=0,
    )


def test_validation_images_that_the_training_table_does_not_name_are_validated_on(photos, tmp_path):
    inputs = open_inputs(photos, 0)
    assert inputs.val is not None
    assert (inputs.train.items, inputs.val.items) == (list(TRAIN), list(VAL))
    assert inputs.val.digests is not None
    assert inputs.val.digests[inputs.val.rows].any(1).all(), "their contents are remembered"
    table(tmp_path / "val.csv", VAL | {"2.png": "dog"})
    inputs = open_inputs(photos, 0)
    assert inputs.val is not None
    assert (inputs.train.items, inputs.val.items) == (
        ["0.png", "1.png"],
        ["3.png", "4.png", "5.png", "2.png"],
    )


def test_a_run_that_goes_on_knows_them(photos, tmp_path):
    begun = Originals(tmp_path / "run")
    open_inputs(photos, 0, begun)

    def goes_on() -> None:
        open_inputs(photos, 0, Originals(tmp_path / "run", before=begun.now))

    goes_on()
    photo = tmp_path / "photos" / "4.png"
    Image.new("RGB", (12, 12)).save(photo)
    with pytest.raises(UserError, match=r"image '4\.png' in .* is not what it was"):
        goes_on()
    photo.unlink()
    with pytest.raises(UserError, match=r"image '4\.png' in .* is gone since"):
        goes_on()


def test_they_are_checked_like_all_others(photos, tmp_path):
    (tmp_path / "photos" / "4.png").write_bytes(b"no image")
    inputs = open_inputs(photos, 0)
    assert inputs.val is not None
    assert inputs.val.items == ["3.png", "5.png"]
    assert list(inputs.quarantine) == ["4.png"]
    with pytest.raises(UserError, match=r"1 of 6 images cannot be used, first: '4\.png'"):
        open_inputs(replace(photos, on_error="fail"), 0)
    for item in VAL:
        (tmp_path / "photos" / item).write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 3 images can be used"):
        open_inputs(photos, 0)


def test_images_are_not_validated_on_themselves(photos):
    with pytest.raises(UserError, match="--val-images are --images"):
        open_inputs(replace(photos, val_images=photos.images), 0)


def test_the_share_held_out_is_of_labelled_images_only(tmp_path, capsys):
    """Nine in ten are without a label: none of them is validated on, and the others are split as ever."""
    images = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    names = [f"{i},{'ab'[i % 2] if i < 40 else ''}" for i in range(200)]
    (tmp_path / "y.csv").write_text("item,labels\n" + "\n".join(names) + "\n")
    data = Data(f"{tmp_path}/x.npz", tmp_path / "y.csv", kind="single", val_fraction=0.25)
    inputs = open_inputs(data, 0)
    assert inputs.val is not None
    assert inputs.val.labels.known().all()
    assert inputs.val.labels.counts().tolist() == [5, 5]
    assert len(inputs.train) == 30
    assert not set(inputs.train.items) & set(inputs.val.items)
    said = capsys.readouterr().err
    assert "160 of 200 images have no label and are left out of training and validation" in said
