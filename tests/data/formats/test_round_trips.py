"""A label table goes out in every format that is written, and comes back as it was; or it is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reteach.commands.convert import convert
from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft
from reteach.labels.base import LabelSet
from reteach.options.convert import ConvertOptions
from reteach.options.formats import FORMATS, WRITTEN
from reteach.tables import LabelTable, read_labels, write_labels

CLASSES = ("kite", "apple tree", "cup; blue|red", "never seen")
"""Not sorted, one that no image has, one with the marks that part labels in CSVs."""
ITEMS = ("one.jpg", "dos 2.jpg", "drei.png", "vier_é.jpg")
SETS = Multi.from_dense(np.array([[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]), CLASSES)
ONE = Single(np.array([2, 0, 1, 0]), CLASSES)
UNLABELLED = Single(np.array([2, -1, 1, 0]), CLASSES)
UNKNOWN = SETS.with_unknown(
    Multi.from_dense(np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]), CLASSES)
)
WEIGHTS = Soft(np.array([0, 2, 3, 4, 5]), np.array([0, 1, 0, 1, 2]), CLASSES,
               np.array([0.5, 0.5, 1, 1, 1], np.float32))  # fmt: skip
TABLES: dict[str, LabelSet] = {
    "one": ONE,
    "sets": SETS,
    "unlabelled": UNLABELLED,
    "unknown": UNKNOWN,
    "weights": WEIGHTS,
}


@dataclass(frozen=True)
class Case:
    """How a format is written and read again in these tests."""

    out: str
    images: bool = False
    write: dict[str, Any] = field(default_factory=dict)
    read: dict[str, Any] = field(default_factory=dict)


PREFIX = {"url_prefix": "/data/local-files/?d=my photos/"}
CASES = {
    "labels": Case("again.csv"),
    "coco": Case("instances.json"),
    "voc": Case("voc"),
    "cvat": Case("annotations.xml", images=True),
    "yolo": Case("train", images=True),
    "label-studio": Case("tasks.json", write=PREFIX, read=PREFIX),
    "fiftyone": Case("fo", images=True),
    "hf-folder": Case("hf", images=True),
    "hf-parquet": Case("hf.parquet", images=True),
    "cleanlab": Case("cleanlab.csv"),
    "crowd-kit": Case("answers.csv"),
}


def test_every_written_format_has_its_round_trip() -> None:
    assert CASES.keys() == set(WRITTEN)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The images of the items, each of another size."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, item in enumerate(ITEMS):
        Image.new("RGB", (8 + i, 9), (40 * i, 0, 0)).save(folder / item)
    return folder


def there_and_back(labels: LabelSet, to: str, photos: Path, **more: Any) -> LabelTable:
    """The table that a table written as ``to`` is read as."""
    case, folder = CASES[to], photos.parent
    write_labels(folder / "in.parquet", LabelTable(ITEMS, labels, "test"))
    out, again = folder / case.out, folder / "again.parquet"
    images = {"images": photos} if case.images else {}
    convert(ConvertOptions("labels", folder / "in.parquet", out, to=to, **case.write, **images))
    kind = {"kind": "single"} if labels.kind == "single" else {}
    listed = out.with_name(f"{out.name}.classes.txt")
    kind |= {"classes": listed} if listed.is_file() else {}
    convert(ConvertOptions(to, out, again, **{**kind, **case.read, **more}))
    return read_labels(again)


@pytest.mark.parametrize("what", TABLES)
@pytest.mark.parametrize("to", WRITTEN)
def test_labels_come_back_from_every_format_or_are_refused(
    to: str, what: str, photos: Path, tmp_path: Path
) -> None:
    labels = TABLES[what]
    needs = {"one": set(), "unknown": {"unknown", "sets"}}.get(what, {what})
    if needs - FORMATS[to].says:
        with pytest.raises(UserError, match=f"^{to} cannot say .* images need it, first: ") as told:
            there_and_back(labels, to, photos)
        assert not (tmp_path / CASES[to].out).exists(), "refused, and yet written"
        assert "\n" not in str(told.value)
        return
    found = there_and_back(labels, to, photos)
    names = {f"{n[0]}/{item}": item for n, item in zip(labels.names(), ITEMS, strict=True) if n}
    items = [names.get(item, item) if to == "yolo" else item for item in found.items]
    order = [items.index(item) for item in ITEMS]
    back = found.labels.take(np.array(order))
    assert len(found.items) == len(ITEMS)
    assert back.classes == labels.classes
    assert back.digest() == labels.digest()


def test_pycocotools_finds_the_images_of_a_class(photos: Path, tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    there_and_back(SETS, "coco", photos)
    file = tools.COCO(str(tmp_path / "instances.json"))
    assert [c["name"] for c in file.loadCats(file.getCatIds())] == list(CLASSES)
    (kite,) = file.getCatIds(catNms=["kite"])
    assert [ITEMS[i - 1] for i in sorted(file.getImgIds(catIds=[kite]))] == ["one.jpg", "dos 2.jpg"]
    assert len(file.getAnnIds(imgIds=[2])) == 3
