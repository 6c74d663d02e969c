"""One definition of a copy: what clean's folds, dedup and advise take for one, and what it costs them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageEnhance

from command import run
from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource, open_source
from reteach.duplicates import alike as searched
from reteach.duplicates.alike import alike, close_pairs
from reteach.duplicates.find import find, groups
from reteach.duplicates.neighbours import normalised
from reteach.duplicates.pairs import Pairs
from reteach.duplicates.thumbnails import ALIKE
from reteach.labels import Single
from reteach.options import shared as options
from reteach.options.dedup import DedupOptions
from reteach.runs.folds import split_of

PLANTED, OTHERS = 20, 100


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert(image.mode)


def scaled(image: Image.Image, by: float) -> Image.Image:
    width, height = (round(side * by) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a tenth less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.9),
    "a tenth darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "a tenth brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "another JPEG": lambda image: jpeg(image, 75),
    "three quarters of the size": lambda image: scaled(image, 0.75),
    "half the size": lambda image: scaled(image, 0.5),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "the same file": lambda image: image,
}


def photos(n: int) -> list[Image.Image]:
    """Smooth blobs of colour, as different from one another as photos are."""
    generator = np.random.default_rng(0)
    noise = generator.integers(40, 216, (n, 6, 6, 3), np.uint8)
    return [Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC) for one in noise]


def torn(images: list[Image.Image], folder: Path) -> tuple[int, Dataset, dict[str, Any]]:
    """How many of the pairs (i, i + OTHERS) stand in two folds, by the split of ``relabel clean``."""
    for number, image in enumerate(images):
        image.save(folder / f"{number:04d}.png")
    labels = Single(np.arange(len(images)) % 4, tuple("abcd"))  # copies carry other labels
    data = Dataset.of(open_source(folder), labels)
    config: Any = SimpleNamespace(data=options.Data(workers=0), training=options.Training(seed=1))
    split = split_of(data, 10, config)
    apart = split["fold"][:PLANTED] != split["fold"][-PLANTED:]
    return int(apart.sum()), data, split


@pytest.mark.parametrize("change", CHANGES)
def test_no_copy_is_torn_across_folds_and_all_commands_agree(change: str, tmp_path: Path) -> None:
    images = photos(OTHERS)
    images += [CHANGES[change](image) for image in images[:PLANTED]]
    (tmp_path / "photos").mkdir()
    lost, data, split = torn(images, tmp_path / "photos")
    assert lost == 0
    wanted = {(OTHERS + i, i) for i in range(PLANTED)}
    assert len(set(split["group"].tolist())) == OTHERS, "and no other picture is taken for a copy"
    found = find(data.source, workers=0).all()
    assert {*zip(found.row.tolist(), found.against.tolist(), strict=True)} == wanted
    out = tmp_path / "pairs.parquet"
    run(DedupOptions(str(tmp_path / "photos"), out=out, workers=0))
    close = pq.read_table(out, filters=[("distance", "<=", ALIKE)]).to_pylist()
    name = "{:04d}.png".format
    assert {(p["item"], p["against"]) for p in close} == {(name(a), name(b)) for a, b in wanted}


def test_no_copy_of_a_real_small_picture_is_torn(shared_data: Path, tmp_path: Path) -> None:
    """CIFAR-10's 32 pixels are few; they are what most people clean first."""
    with np.load(shared_data / "cifar10.npz", allow_pickle=False) as pack:
        jpegs, offsets = pack["jpeg"], pack["offsets"]
    files = [jpegs[offsets[i] : offsets[i + 1]].tobytes() for i in range(OTHERS)]
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    for number, change in enumerate(CHANGES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        lost, _, _ = torn([*images, *map(change, images[:PLANTED])], folder)
        assert lost == 0


def test_crops_and_mirrors_are_no_copies_by_this_definition() -> None:
    images = photos(40)
    images += [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images[:20]]
    images += [image.crop((12, 12, 64, 64)) for image in images[:20]]
    pixels = np.stack([np.asarray(image.resize((64, 64))) for image in images])
    assert len(find(ArraySource(pixels), workers=0).all()) == 0


def test_flat_pictures_show_nothing_to_compare(tmp_path: Path) -> None:
    """Red and blue are no copies of one another; equal files of them are."""
    colours = np.zeros((6, 16, 16, 3), np.uint8)
    colours[[0, 2, 4], ..., 0] = np.array([90, 200, 90])[:, None, None]
    colours[[1, 3, 5], ..., 2] = np.array([90, 200, 90])[:, None, None]
    colours[5, 0, 0] = 91
    source = ArraySource(colours)
    assert groups(source, np.arange(6), 0).tolist() == [0, 1, 2, 3, 0, 4]
    found = find(source, workers=0).all()
    assert [*zip(found.row, found.against, found.same_bytes, strict=True)] == [(4, 0, True)]
    np.savez(tmp_path / "flat.npz", images=colours)
    run(DedupOptions(str(tmp_path / "flat.npz"), out=tmp_path / "pairs.parquet", workers=0))
    assert len(pq.read_table(tmp_path / "pairs.parquet")) == 1


def test_groups_follow_chains_and_repeated_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends of a chain that are not alike themselves are of one group."""
    generator = np.random.default_rng(3)
    start, step = generator.normal(size=(2, 256))
    chain = normalised(np.stack([start + i * 0.08 * step for i in range(4)]))
    others = normalised(generator.normal(size=(3, 256)))
    thumbs = np.concatenate([others[:1], chain[:2], others[1:], chain[2:]])
    apart = np.linalg.norm(chain[0] - chain[3])
    assert apart > ALIKE
    from reteach.duplicates import find as module

    monkeypatch.setattr(module, "looks", lambda *_: thumbs.copy())
    monkeypatch.setattr(searched, "_BLOCK", 2)
    pixels = generator.integers(0, 255, (7, 4, 4, 1), np.uint8)
    rows = np.array([0, 1, 2, 3, 4, 5, 6, 2, 0])
    assert groups(ArraySource(pixels), rows, 0).tolist() == [0, 1, 1, 2, 3, 1, 1, 1, 0]


def literal(thumbs: np.ndarray, distance: float) -> set[tuple[int, int]]:
    """Every pair, one by one."""
    shown = [i for i in range(len(thumbs)) if np.abs(thumbs[i]).sum() > 0]
    return {
        (i, j)
        for i in shown
        for j in shown
        if i < j and np.linalg.norm(thumbs[i].astype(float) - thumbs[j]) <= distance
    }


@pytest.mark.parametrize(("block", "hits"), [(7, 2**21), (1024, 2**21), (1024, 20)])
@pytest.mark.parametrize("distance", [0.1, 0.7])
def test_close_pairs_are_those_of_all_pairs(
    block: int, hits: int, distance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searched, "_BLOCK", block)
    monkeypatch.setattr(searched, "_FIRST", 32)
    monkeypatch.setattr(searched, "_HITS", hits)
    monkeypatch.setattr(searched, "_AT_ONCE", 5)
    generator = np.random.default_rng(1)
    base = generator.normal(size=(40, 24))
    near = base[:30] + generator.normal(size=(30, 24)) * np.geomspace(0.003, 0.3, 30)[:, None]
    thumbs = normalised(np.concatenate([base, near, base[:9]]))
    thumbs[[3, 50]] = 0
    found = [
        (min(a, b), max(a, b))
        for one, other, _ in close_pairs(thumbs, distance)
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
    ]
    assert len(found) == len(set(found))
    assert set(found) == literal(thumbs, distance)
    assert len(found) > 15


def test_pairs_across_two_sets_are_the_nearest_and_not_the_known_ones() -> None:
    generator = np.random.default_rng(2)
    base = normalised(generator.normal(size=(30, 24)))
    queries = normalised(base[[4, 5, 6, 7]] + 0.004 * generator.normal(size=(4, 24)))
    queries = np.concatenate([queries, base[8:9], normalised(generator.normal(size=(3, 24)))])
    known = Pairs(np.array([5]), np.array([1]), np.zeros(1, np.float32), np.ones(1, bool))
    found = alike(base, queries.astype(np.float32), known, most=10)
    pairs = [*zip(found.row.tolist(), found.against.tolist(), strict=True)]
    assert set(pairs) == {(8, 4), (4, 0), (6, 2), (7, 3)}
    assert pairs[0] == (8, 4)
    assert (np.diff(found.distance) >= 0).all()
    assert len(alike(base, queries.astype(np.float32), known, most=2)) == 2
