"""Hugging Face image data sets: saved ones, Parquet files, splits, and what can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import encoded, picture
from reteach.data.loading.decode import ImageError
from reteach.data.sources.base import open_source
from reteach.data.sources.huggingface import HuggingFaceSource
from reteach.errors import UserError

datasets = pytest.importorskip("datasets", reason="the extra 'huggingface' is not installed")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def table(n: int = 4, **columns: Any) -> Any:
    cells = [{"bytes": encoded(picture(seed=i)), "path": None} for i in range(n)]
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    data = {"image": cells, "label": [i % 2 for i in range(n)]} | columns
    found = datasets.Dataset.from_dict({k: v for k, v in data.items() if v is not None})
    for name, kind in kinds.items():
        if name in found.features:
            found = found.cast_column(name, kind)
    return found


def opened(where: str) -> HuggingFaceSource:
    source = open_source(where)
    assert isinstance(source, HuggingFaceSource)
    return source


def test_saved_to_disk(tmp_path: Path) -> None:
    table().save_to_disk(tmp_path / "d")
    source = opened(f"hf:{tmp_path}/d")
    assert source.items == ["0", "1", "2", "3"]
    assert source.class_of == ["cat", "dog", "cat", "dog"]
    copy = pickle.loads(pickle.dumps(source))
    for row in range(4):
        np.testing.assert_array_equal(copy.read(row), picture(seed=row))


def test_splits(tmp_path: Path) -> None:
    parts = {"train": table(3), "test": table(2)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    assert opened(f"hf:{tmp_path}/d").items == ["train/0", "train/1", "train/2"]
    assert opened(f"hf:{tmp_path}/d:test").items == ["test/0", "test/1"]
    with pytest.raises(UserError, match=r"no split 'val' \(it has: train, test\)"):
        opened(f"hf:{tmp_path}/d:val")
    datasets.DatasetDict({"a": table(1), "b": table(1)}).save_to_disk(tmp_path / "e")
    with pytest.raises(UserError, match=r"has the splits a, b: say hf:.*/e:a"):
        opened(f"hf:{tmp_path}/e")


def test_parquet_and_arrow_files(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "x.parquet")
    assert opened(f"hf:{tmp_path}/x.parquet").class_of == ["cat", "dog", "cat", "dog"]
    table().save_to_disk(tmp_path / "d")
    arrow = next((tmp_path / "d").glob("*.arrow"))
    np.testing.assert_array_equal(opened(f"hf:{arrow}").read(2), picture(seed=2))
    with pytest.raises(UserError, match="has no splits: leave out ':train'"):
        opened(f"hf:{tmp_path}/x.parquet:train")


def test_parquet_of_other_tools(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": encoded(picture(seed=i)), "path": f"{i}.png"} for i in range(3)]
    pq.write_table(pa.table({"img": cells, "item": ["x", "y", "z"]}), tmp_path / "x.parquet")
    source = opened(f"hf:{tmp_path}/x.parquet")
    assert (source.column, source.class_of, source.items) == ("img", None, ["x", "y", "z"])
    np.testing.assert_array_equal(source.read(1), picture(seed=1))


def test_images_that_are_missing_or_damaged(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [
        {"bytes": b"no image", "path": None},
        {"bytes": None, "path": str(tmp_path / "gone.png")},
        None,
    ]
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    source = opened(f"hf:{tmp_path}/x.parquet")
    for row, reason in enumerate(["not an image", "no such file", "no image in this row"]):
        with pytest.raises(ImageError, match=reason):
            source.read(row)


def test_columns_must_be_clear(tmp_path: Path) -> None:
    cells = [{"bytes": encoded(picture()), "path": None}] * 4
    cases = {
        r"has no image column \(its columns: label\)": table(image=None),
        r"several image columns \(image, mask\)": table(mask=cells),
    }
    for error, data in cases.items():
        data.save_to_disk(tmp_path / "d")
        with pytest.raises(UserError, match=error):
            opened(f"hf:{tmp_path}/d")
    twice = table(other=[0, 1, 0, 1]).cast_column("other", datasets.ClassLabel(names=["a", "b"]))
    twice.save_to_disk(tmp_path / "twice")
    source = opened(f"hf:{tmp_path}/twice")
    with pytest.raises(UserError, match=r"several class columns \(label, other\)"):
        _ = source.class_of


def test_unlabelled_rows(tmp_path: Path) -> None:
    table(label=[-1] * 4).save_to_disk(tmp_path / "none")
    assert opened(f"hf:{tmp_path}/none").class_of is None
    table(label=[0, -1, 1, 0]).save_to_disk(tmp_path / "some")
    source = opened(f"hf:{tmp_path}/some")
    with pytest.raises(UserError, match="1 of 4 rows have no class"):
        _ = source.class_of


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened") as caught:
        opened(f"hf:{tmp_path}/missing")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        opened("hf:")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(UserError, match="cannot be opened"):
        opened(f"hf:{tmp_path}/x.parquet")


def test_shrunk(tmp_path: Path) -> None:
    cells = [{"bytes": encoded(picture(400, 600), "JPEG"), "path": None}] * 4
    table(image=cells).save_to_disk(tmp_path / "d")
    assert opened(f"hf:{tmp_path}/d").shrunk(50).read(0).shape == (50, 75, 3)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'reteach\[huggingface\]'"):
        open_source("hf:x")
