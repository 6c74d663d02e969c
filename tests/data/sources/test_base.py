"""Sources: folders, arrays and .npz files, and what open_source makes of a path."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import encoded, folder, picture, verify
from reteach.data.item_ids import file_name, is_escaped, item_id
from reteach.data.loading.decode import ImageError
from reteach.data.sources.base import ArraySource, Source, open_source, shrunk
from reteach.data.sources.folders import FolderSource
from reteach.errors import UserError
from reteach.text_column import TextColumn


def opened(where: Path, **more: object) -> FolderSource:
    source = open_source(where, **more)  # type: ignore[arg-type]
    assert isinstance(source, FolderSource)
    return source


# -- folders -----------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    names = ["dog/b.png", "cat/2.PNG", "cat/10.png", "dog/deep/er/a.png"]
    folder(tmp_path, names)
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.png").touch()
    (tmp_path / "cat" / "._10.png").touch()
    source = opened(tmp_path)
    assert source.items == ["cat/10.png", "cat/2.PNG", "dog/b.png", "dog/deep/er/a.png"]
    assert source.class_of == ["cat", "cat", "dog", "dog"]
    assert source.lost == []  # a text is no image that somebody misses
    for row, item in enumerate(source.items):
        np.testing.assert_array_equal(source.read(row), picture(seed=names.index(item)))


def test_what_is_no_image_to_us_is_named(tmp_path: Path) -> None:
    """HEIC, RAW, films and unknown endings are listed with a reason; companions and hidden files not."""
    folder(tmp_path, ["cat/a.png", "dog/b.png"])
    odd = ["cat/IMG_1.HEIC", "cat/p.CR2", "cat/v.mov", "dog/c.psd", "dog/noending"]
    for name in [*odd, "cat/labels.csv", "cat/x.json", "dog/README", "dog/Thumbs.db", ".DS_Store"]:
        (tmp_path / name).touch()
    source = opened(tmp_path)
    assert source.items == ["cat/a.png", "dog/b.png"]
    found = {each.item: each.reason for each in verify(source, workers=0)}
    assert sorted(found) == odd
    for item, word in zip(odd, ("HEIC", "RAW", "video", "(.psd)", "(no ending)"), strict=True):
        assert word in found[item]


def test_a_flat_or_mixed_folder_has_no_classes(tmp_path: Path) -> None:
    assert opened(folder(tmp_path / "flat", ["a.png", "b.png"])).class_of is None
    mixed = opened(folder(tmp_path / "mixed", ["a.png", "cat/b.png"]))
    assert mixed.items == ["a.png", "cat/b.png"]
    assert mixed.class_of is None


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root = folder(tmp_path / "root", ["a/1.png", "a/b/2.png"])
    folder(tmp_path / "elsewhere", ["3.png"])
    (root / "a" / "b" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(".")
    (root / "a" / "itself").symlink_to("itself")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "d").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "gone.png").symlink_to("nowhere")
    source = opened(root)
    assert source.items == ["a/1.png", "a/b/2.png", "a/gone.png", "c/3.png", "d/3.png"]
    with pytest.raises(ImageError, match="no such file"):
        source.read(2)


HOSTILE = [
    "=cmd().png",
    "<script>alert(1)</script>.png".replace("/", ""),
    "new\nline.png",
    "tab\tquote\"'.png",
    "ünï→🐈.png",
    "e\u0301.png",
    "\u202egnp.exe.png",
    "back\\slash.png",
    "literal\\udce9.png",
    " space .png",
    "a=1&b=%2e%2e.png",
]


def test_hostile_names_survive(tmp_path: Path) -> None:
    folder(tmp_path, [f"ca\nt/{name}" for name in HOSTILE])
    latin = os.fsencode(tmp_path) + b"/ca\nt/caf\xe9.png"
    Path(os.fsdecode(latin)).write_bytes(encoded(picture(seed=99)))
    source = opened(tmp_path)
    assert set(source.items) == {f"ca\nt/{name}" for name in HOSTILE} | {"ca\nt/caf\\udce9.png"}
    assert source.class_of == ["ca\nt"] * len(source)
    for row, item in enumerate(source.items):
        item.encode()  # valid text
        name = item.removeprefix("ca\nt/")
        seed = HOSTILE.index(name) if name in HOSTILE else 99
        np.testing.assert_array_equal(source.read(row), picture(seed=seed))


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, ["caf\\udce9.png", os.fsdecode(b"caf\xe9.png")])
    with pytest.raises(UserError, match="two files would have the item id"):
        open_source(tmp_path)


@given(st.binary(min_size=1, max_size=40))
def test_item_ids_are_text_and_lead_back(name: bytes) -> None:
    raw = os.fsdecode(name)
    item = item_id(raw)
    item.encode()
    assert file_name(item) == raw or "\\udc" in raw
    assert item == raw or is_escaped(item)


def test_only_the_listed_items(tmp_path: Path) -> None:
    folder(tmp_path, ["cat/1.png", "cat/2.png", "dog/3.png"])
    source = opened(tmp_path, items=["dog/3.png", "cat/1.png", "cat/missing.png"])
    assert source.items == ["dog/3.png", "cat/1.png", "cat/missing.png"]
    assert source.class_of == ["dog", "cat", "cat"]
    np.testing.assert_array_equal(source.read(0), picture(seed=2))
    with pytest.raises(ImageError, match="no such file"):
        source.read(2)
    for items, error in [
        (["/etc/passwd"], "outside"),
        (["../x.png"], "outside"),
        (["cat/../../x.png"], "outside"),
        (["cat/1.png", "cat/1.png"], "twice"),
        ([], "no items"),
    ]:
        with pytest.raises(UserError, match=error):
            open_source(tmp_path, items=items)


def test_the_order_does_not_depend_on_the_disk(tmp_path: Path) -> None:
    names = [f"c{i % 3}/{i}.png" for i in range(12)]
    folder(tmp_path / "one", names)
    folder(tmp_path / "two", names[::-1])
    assert (
        open_source(tmp_path / "one").items == open_source(tmp_path / "two").items == sorted(names)
    )


def test_names_of_a_folder_take_8_bytes_beside_their_letters(tmp_path: Path) -> None:
    names = [f"{n % 7}/é{n:05d}.png" for n in range(2000)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = open_source(tmp_path)
    assert isinstance(source.items, TextColumn)
    letters = sum(len(name.encode()) for name in names)
    assert source.items.array.nbytes <= letters + 8 * len(names) + 8
    assert list(source.items) == sorted(names)


def test_a_walk_is_fast(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / str(i)).mkdir()
        for j in range(250):
            os.close(os.open(tmp_path / str(i) / f"{j}.jpg", os.O_CREAT))
    start = time.process_time()
    assert len(open_source(tmp_path)) == 5000
    assert time.process_time() - start < 0.5  # a million in well under 100 s, on a slow machine


def test_sources_are_picklable_and_shrink(tmp_path: Path) -> None:
    root = folder(tmp_path, ["a/1.jpg"], "JPEG")
    (root / "a" / "big.jpg").write_bytes(encoded(picture(400, 600), "JPEG"))
    source = pickle.loads(pickle.dumps(open_source(root)))
    assert source.read(1).shape == (400, 600, 3)
    assert shrunk(source, 100).read(1).shape == (100, 150, 3)
    arrays = ArraySource(np.zeros((2, 4, 4), np.uint8))
    assert shrunk(arrays, 2) is arrays


def test_reading_needs_no_torch() -> None:
    """Worker processes that only look at images start in a moment."""
    code = (
        "import sys, reteach.data.loading.quarantine, reteach.data.loading.cache;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- arrays ------------------------------------------------------------------------------------


def test_array_shapes() -> None:
    grey = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    rgb = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    for images, expected in [
        (grey, grey[..., None]),
        (grey[..., None], grey[..., None]),
        (grey[:, None], grey[..., None]),
        (rgb, rgb),
        (rgb.transpose(0, 3, 1, 2), rgb),
    ]:
        source = ArraySource(images)
        assert source.channels == expected.shape[-1]
        assert source.items == ["0", "1"]
        np.testing.assert_array_equal(source.read(1), expected[1])
        np.testing.assert_array_equal(source.batch(np.array([1, 0, 1])), expected[[1, 0, 1]])


def test_what_is_read_does_not_change_the_source() -> None:
    images = np.zeros((2, 3, 3), np.uint8)
    images.setflags(write=False)
    source = ArraySource(images)
    source.read(0)[:] = 1
    source.batch(np.array([0]))[:] = 1
    assert not source.images.any()


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (np.zeros((2, 4, 4)), "uint8"),
        (np.zeros((2, 4, 4), np.int64), "uint8"),
        (np.zeros((4, 4), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 4), np.uint8), "shape"),
        (np.zeros((0, 4, 4), np.uint8), "no pixels"),
        (np.zeros((2, 0, 4), np.uint8), "no pixels"),
    ],
)
def test_bad_arrays(images: np.ndarray, error: str) -> None:
    with pytest.raises(UserError, match=error):
        ArraySource(images)


def test_array_names_must_fit() -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(UserError, match="2 images, but 1 labels"):
        ArraySource(images, class_of=["a"])
    with pytest.raises(UserError, match="'x' stands for two"):
        ArraySource(images, items=["x", "x"])


def test_npz(tmp_path: Path) -> None:
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    path = tmp_path / "x.npz"
    np.savez(path, images=images, labels=[1, 0, 1], classes=["cat", "dog"], items=["a", "b", "c"])
    source = open_source(path)
    assert isinstance(source, ArraySource)
    assert source.items == ["a", "b", "c"]
    assert source.class_of == ["dog", "cat", "dog"]
    some = open_source(path, items=["c", "a"])
    assert isinstance(some, ArraySource)
    assert some.class_of == ["dog", "dog"]
    np.testing.assert_array_equal(some.images[..., 0], images[[2, 0]])
    for labels, expected in [
        ([2, 0, 10], ["2", "0", "10"]),
        (["x", "y", "x"], ["x", "y", "x"]),
        (np.eye(3, dtype=np.uint8), None),  # label sets belong into a table
    ]:
        np.savez(path, images=images, labels=labels)
        assert open_source(path).class_of == expected


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64])
def test_npz_labels_of_any_integer_type(tmp_path: Path, kind: type) -> None:
    images = np.zeros((3, 4, 4), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.array([2, 0, 1], kind))
    assert open_source(tmp_path / "x.npz").class_of == ["2", "0", "1"]


def test_bad_npz(tmp_path: Path) -> None:
    images = np.zeros((3, 4, 4), np.uint8)

    def refused(error: str, **arrays: object) -> None:
        np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=error) as caught:
            open_source(tmp_path / "x.npz")
        assert "x.npz" in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(r"no array 'images' \(it has: labels, other\)", other=[1], labels=[1])
    refused("uint8", images=images / 255)
    refused(r"labels must lie in \[0, 2\)", images=images, labels=[0, 1, 2], classes=["a", "b"])
    refused(r"labels must lie in \[0, 2\), got -1", images=images, labels=[0, 1, -1])
    refused("class indices or names", images=images, labels=[0.5, 1, 1])
    refused("3 images, but 2 labels", images=images, labels=[0, 1])
    refused("not a readable .npz", images=np.array([{"evil": 1}], dtype=object))
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match="not a readable"):
        open_source(tmp_path / "x.npz")


# -- open_source -------------------------------------------------------------------------------


def test_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").touch()
    (tmp_path / "a.zip").touch()
    for name, error in [
        ("fotos", "does not exist; did you mean photos"),
        ("photos", "has no images; images end in .jpg"),
        ("texts", r"has no images; images end in"),
        ("shards", r"holds tar shards: write '.*/shards/\*.tar'"),
        ("saved", "is a Hugging Face data set: write hf:"),
        ("a.zip", "is none of: a folder of images, .npz, .tar shards, hf:NAME"),
        ("missing.npz", "does not exist"),
        ("none/{0..3}.tar", "no images in the 4 shards.*No such file"),
        ("none/*.tar", "no tar shards match"),
        ("n" * 5000, "does not exist"),
        ("nul\0l", "does not exist"),
    ]:
        with pytest.raises(UserError, match=error) as caught:
            open_source(f"{tmp_path}/{name}")
        assert "\n" not in str(caught.value)


def test_items_that_are_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4), np.uint8))
    for items, error in [(["0", "7"], "1 items are not there, first: '7'"), (["0", "0"], "twice")]:
        with pytest.raises(UserError, match=error):
            open_source(tmp_path / "x.npz", items=items)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, unique=True))
def test_a_selection_reads_like_its_source(rows: list[int]) -> None:
    from reteach.data.sources.base import SubsetSource

    images = np.arange(5 * 2 * 2, dtype=np.uint8).reshape(5, 2, 2)
    whole: Source = ArraySource(images, class_of=list("abcde"))
    some = SubsetSource(whole, np.array(rows))
    assert len(some) == len(rows)
    assert some.items == [str(row) for row in rows]
    assert some.class_of == ["abcde"[row] for row in rows]
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(some.read(i), whole.read(row))
