"""COCO's instances JSON becomes a label table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import run
from reteach.data.formats.coco import read_coco
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.options.convert import ConvertOptions
from reteach.tables import read_labels


def content() -> dict[str, Any]:
    """The form of the published files, with ids that have gaps and no order."""
    return {
        "info": {"year": 2014},
        "licenses": [],
        "images": [
            {"id": 57870, "file_name": "COCO_train2014_000000057870.jpg", "height": 480},
            {"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "height": 480},
            {"id": 21, "file_name": "COCO_train2014_000000000021.jpg", "height": 480},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 62, "iscrowd": 0, "bbox": [0, 0, 1, 1]},
            {"id": 2, "image_id": 9, "category_id": 62, "iscrowd": 0, "bbox": [2, 0, 1, 1]},
            {"id": 3, "image_id": 57870, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 1, 1]},
            {"id": 4, "image_id": 9, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1]},
        ],
        "categories": [
            {"id": 62, "name": "chair", "supercategory": "furniture"},
            {"id": 1, "name": "person", "supercategory": "person"},
            {"id": 13, "name": "stop sign", "supercategory": "outdoor"},
        ],
    }


def write(folder: Path, value: Any) -> Path:
    path = folder / "instances_train2014.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_classes_of_each_image_in_the_order_of_their_ids(tmp_path: Path) -> None:
    found = read_coco(write(tmp_path, content()))
    assert found.labels.classes == ("person", "stop sign", "chair")
    assert [item[-7:] for item in found.items] == ["870.jpg", "009.jpg", "021.jpg"]
    assert found.labels.names() == [["person"], ["person", "chair"], []]
    assert found.labels.unknown is None


def test_converts_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, content())
    (tmp_path / "classes.txt").write_text("chair\nperson\nstop sign\n")
    run(
        ConvertOptions(
            "coco",
            source,
            tmp_path / "tags.parquet",
            classes=tmp_path / "classes.txt",
            drop_empty=True,
        )
    )
    table = read_labels(tmp_path / "tags.parquet")
    assert isinstance(table.labels, Multi)
    assert table.labels.classes == ("chair", "person", "stop sign")
    assert len(table.items) == 2
    np.testing.assert_array_equal(table.labels.present(), [[0, 1, 0], [1, 1, 0]])
    assert "2 images, 3 classes, 1.50 per image" in capsys.readouterr().out
    assert table.labels.unknown is None


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    def refused(words: str, value: Any) -> None:
        with pytest.raises(UserError, match=words) as caught:
            read_coco(write(tmp_path, value))
        assert "\n" not in str(caught.value)

    refused("not a readable JSON", "{")
    refused("not a readable JSON", "[" * 100_000)
    refused("no list 'images'", [1])
    refused("no list 'categories'", {k: v for k, v in content().items() if k != "categories"})
    captions = content()
    captions["annotations"] = [{"id": 1, "image_id": 9, "caption": "A chair."}]
    refused("no 'category_id'", captions)
    stray = content()
    stray["annotations"][0]["image_id"] = 5
    refused("image 5, which is not listed", stray)
    stray = content()
    stray["annotations"][0]["category_id"] = 5
    refused("category 5", stray)
    twice = content()
    twice["images"][1]["file_name"] = twice["images"][0]["file_name"]
    refused("listed twice", twice)
    twice = content()
    twice["images"][1]["id"] = twice["images"][0]["id"]
    refused("the same id", twice)
    twice = content()
    twice["categories"][1]["name"] = "chair"
    refused("'chair' is listed twice", twice)
    refused("no image is listed", {"images": [], "annotations": [], "categories": []})
    with pytest.raises(UserError, match="does not exist"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(UserError, match="--split has no effect on coco"):
        run(ConvertOptions("coco", tmp_path, tmp_path / "x.csv", split="train"))
