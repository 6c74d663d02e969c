"""``reteach dedup`` on folders: planted copies, features from a file, lists, the page, bad input."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reteach.commands.dedup import Dedup
from reteach.errors import UserError
from reteach.relabel.item_lists import read_items


def picture(path: Path, seed: int, **options: object) -> None:
    """Smooth random colours."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(path, **options)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """web/ and val/, one equal file, one recompressed copy, one damaged file each."""
    for i in range(12):
        picture(tmp_path / "web" / f"class{i % 2}" / f"{i}.png", i)
    for i in range(5):
        picture(tmp_path / "val" / "class0" / f"{i}.png", 100 + i)
    shutil.copy(tmp_path / "val/class0/3.png", tmp_path / "web/class1/<b>stolen.png")
    picture(tmp_path / "web/class0/again.jpg", 104, quality=40)
    (tmp_path / "web/class0/broken.png").write_bytes(b"no image")
    (tmp_path / "val/class0/broken.png").write_bytes(b"no picture")
    return tmp_path


def test_finds_equal_files_and_recompressed_copies(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Dedup(
        images=str(folders / "web"),
        against=str(folders / "val"),
        out=folders / "pairs.parquet",
        exclude=folders / "drop.txt",
        within=0.2,
        page=folders / "page.html",
    ).run()
    pairs = pq.read_table(folders / "pairs.parquet").to_pylist()
    assert pairs[0] == {
        "item": "class1/<b>stolen.png", "against": "class0/3.png", "distance": 0, "same_bytes": True,
        "label": "class1", "against_label": "class0",
    }  # fmt: skip
    assert (pairs[1]["item"], pairs[1]["against"]) == ("class0/again.jpg", "class0/4.png")
    assert pairs[1]["distance"] < 0.1 < 0.5 < pairs[2]["distance"]
    assert not any("broken" in pair["item"] + pair["against"] for pair in pairs)
    assert read_items(folders / "drop.txt") == ["class0/again.jpg", "class1/<b>stolen.png"]
    out = capsys.readouterr()
    assert "1 pairs of equal files" in out.out
    assert "2 images to remove" in out.out
    assert out.err.count("class0/broken.png cannot be used: not an image") == 2
    page = (folders / "page.html").read_text()
    assert "labels differ" in page
    assert "<b>stolen" not in page
    assert "&lt;b&gt;stolen" in page
    assert page.count("data:image/") >= 2 * len(pairs)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_within_one_set_each_pair_comes_once(folders: Path) -> None:
    Dedup(
        images=str(folders / "web"),
        out=folders / "pairs.parquet",
        exclude=folders / "drop.parquet",
        first=1,
    ).run()
    pairs = pq.read_table(folders / "pairs.parquet").to_pylist()
    assert len({frozenset((p["item"], p["against"])) for p in pairs}) == len(pairs)
    assert not any(pair["same_bytes"] for pair in pairs)
    assert read_items(folders / "drop.parquet") == [pairs[0]["item"]]


def test_given_features_decide(folders: Path) -> None:
    generator = np.random.default_rng(0)
    images = [str(p.relative_to(folders / "web")) for p in (folders / "web").rglob("*.*")]
    against = [str(p.relative_to(folders / "val")) for p in (folders / "val").rglob("*.*")]
    features = generator.normal(size=(len(images), 8))
    others = generator.normal(size=(len(against), 8))
    others[2] = 3 * features[5]  # the same direction
    np.savez(folders / "web.npz", items=np.array(images), features=features)
    np.savez(folders / "val.npz", items=np.array(against), features=others)
    Dedup(
        images=str(folders / "web"),
        against=str(folders / "val"),
        features=folders / "web.npz",
        against_features=folders / "val.npz",
        out=folders / "pairs.parquet",
    ).run()
    pairs = pq.read_table(folders / "pairs.parquet").to_pylist()
    assert pairs[0]["same_bytes"]
    assert (pairs[1]["item"], pairs[1]["against"]) == (images[5], against[2])
    assert pairs[1]["distance"] < 1e-6


def test_bad_input_is_one_clear_line(folders: Path) -> None:
    web = str(folders / "web")
    cases = {
        "--neighbours must be at least 1": {"neighbours": 0},
        "--within must not be negative": {"within": -1.0, "exclude": Path("x.txt")},
        "name its file": {"first": 3},
        "--recall must lie in": {"recall": 0.0},
        "goes with --features and --against": {"against_features": Path("x.npz")},
        "the pairs go into a .parquet file": {"out": Path("x.csv")},
    }
    for words, options in cases.items():
        with pytest.raises(UserError, match=re.escape(words)):
            Dedup(images=web, **options)
    with pytest.raises(UserError, match="does not exist"):
        Dedup(images=str(folders / "wep"), out=folders / "p.parquet").run()


def test_finds_the_planted_duplicates_of_tiny_imagenet(shared_data: Path, tmp_path: Path) -> None:
    """A goose of the training half is a stork of the validation half; an orange is also a lemon."""
    with np.load(shared_data / "tiny_imagenet50.npz", allow_pickle=False) as data:
        jpeg, offsets, split = data["jpeg"], data["offsets"], data["split"]
        names, wnids = data["name"], data["wnid"][data["label"]]
    chosen = np.random.default_rng(0).random(len(split)) < 0.04
    planted = ["n01855672_44", "val_2157", "n07747607_32", "n07749582_144"]
    chosen |= np.isin([Path(str(name)).stem for name in names], planted)
    for row in np.flatnonzero(chosen):
        folder = tmp_path / ("train" if split[row] == 0 else "val") / str(wnids[row])
        folder.mkdir(parents=True, exist_ok=True)
        content = jpeg[offsets[row] : offsets[row + 1]].tobytes()
        assert Image.open(io.BytesIO(content)).size == (64, 64)
        (folder / f"{Path(str(names[row])).stem}.jpg").write_bytes(content)
    out = tmp_path / "pairs.parquet"
    Dedup(images=str(tmp_path / "train"), against=str(tmp_path / "val"), out=out).run()
    first, second = pq.read_table(out).slice(0, 2).to_pylist()
    assert first["same_bytes"]
    assert Path(first["item"]).stem == "n01855672_44"
    assert Path(first["against"]).stem == "val_2157"
    assert first["label"] != first["against_label"]
    assert not second["same_bytes"]
    Dedup(images=str(tmp_path / "train"), out=out, only_bytes=True).run()
    (pair,) = pq.read_table(out).to_pylist()
    assert {Path(pair["item"]).stem, Path(pair["against"]).stem} == {
        "n07747607_32",
        "n07749582_144",
    }
    assert pair["label"] != pair["against_label"]
