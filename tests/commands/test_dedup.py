"""``reteach dedup`` on folders: planted copies, features from a file, lists, the page, bad input."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import pictures
import report_pages
from command import run
from report_pages import Element
from reteach.cli import main
from reteach.commands import dedup as duplicates
from reteach.data.loading.augment import Eval
from reteach.data.loading.batch import Normalize
from reteach.data.sources.base import open_source
from reteach.duplicates.neighbours import Neighbours
from reteach.engine.learner import Predictor
from reteach.errors import UserError
from reteach.models import zoo
from reteach.options.dedup import DedupOptions
from reteach.relabel.selection.item_lists import read_items
from reteach.runs import features
from reteach.runs.checkpoint import save_models


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
    run(
        DedupOptions(
            images=str(folders / "web"),
            against=str(folders / "val"),
            out=folders / "pairs.parquet",
            exclude=folders / "drop.txt",
            within=0.2,
            report=folders / "page.html",
        )
    )
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
    assert "2 could not be read, first: 'class0/broken.png' (not an image" in out.err
    listed = (folders / "pairs.quarantine.csv").read_text()
    assert [listed.count(f"(of {option})") for option in ("--images", "--against")] == [1, 1]
    page = (folders / "page.html").read_text()
    assert "labels differ" in page
    assert "<b>stolen" not in page
    assert "&lt;b&gt;stolen" in page
    assert page.count("data:image/") >= 2 * len(pairs)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_dedup_does_not_propose_the_flag_that_was_given(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for within, hinted in ((None, True), (0.01, True), (0.1, False), (0.2, False)):
        run(
            DedupOptions(
                images=str(folders / "web"),
                against=str(folders / "val"),
                out=folders / "pairs.parquet",
                exclude=folders / "drop.txt",
                within=within,
            )
        )
        said = capsys.readouterr().out
        assert (
            "1 of them are near copies: within 0.1, where clean and advise take pictures for copies"
            in said
        )
        assert ("to remove these too: --within 0.1" in said) == hinted, within


def test_no_number_of_other_labels_is_claimed_where_none_is_known(tmp_path: Path) -> None:
    pictures.folder(tmp_path / "flat", ["a.png", "b.png"])
    (tmp_path / "flat" / "again.png").write_bytes((tmp_path / "flat" / "a.png").read_bytes())
    words = f"dedup --images {tmp_path}/flat --only-bytes --out {tmp_path}/pairs.parquet"
    assert main([*words.split(), "--report", str(tmp_path / "page.html")]) == 0
    page = report_pages.read((tmp_path / "page.html").read_text())
    names, values = page.all("dl", "numbers")[0].all("dt"), page.all("dd", "big")
    shown = {n.text: v.text for n, v in zip(names, values, strict=True)}
    assert (shown["Same file"], shown["Other labels"]) == ("1", "–")


def test_labels_of_tables_are_shown_counted_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of flat folders, single labels and sets; what a table lacks has none."""
    pictures.folder(tmp_path / "web", ["a.png", "b.png", "c.png", "d.png"])
    (tmp_path / "val").mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(tmp_path / f"web/{name}.png", tmp_path / f"val/of {name}.png")
    (tmp_path / "web.csv").write_text("item,labels\na.png,cat\nb.png,dog|cat\nd.png,cat\n")
    (tmp_path / "val.csv").write_text("item,labels\nof a.png,dog\nof b.png,cat|dog\nof c.png,dog\n")
    words = f"dedup --images {tmp_path}/web --labels {tmp_path}/web.csv --against {tmp_path}/val"
    words += f" --only-bytes --out {tmp_path}/pairs.parquet --report {tmp_path}/page.html"
    assert main([*words.split(), "--against-labels", str(tmp_path / "val.csv")]) == 0
    pairs = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    found = {pair["item"]: (pair["label"], pair["against_label"]) for pair in pairs}
    assert found == {
        "a.png": ("cat", "dog"),
        "b.png": ("cat|dog", "cat|dog"),
        "c.png": (None, "dog"),
    }
    assert "1 pairs of equal files have different labels" in capsys.readouterr().out
    page = report_pages.read((tmp_path / "page.html").read_text())
    names, values = page.all("dl", "numbers")[0].all("dt"), page.all("dd", "big")
    shown = {n.text: v.text for n, v in zip(names, values, strict=True)}
    assert shown["Other labels"] == "1"
    assert main([*words.split(), "--against-labels", str(tmp_path / "web.csv")]) == 2
    said = capsys.readouterr().err
    assert (
        "web.csv: none of its items is among the images, which are called like 'of a.png'" in said
    )


def test_the_page_shows_duplicates_first_and_counts_pairs_that_are_only_neighbours(
    folders: Path,
) -> None:
    def page(*words: str) -> Element:
        common = (
            f"dedup --images {folders}/web --against {folders}/val --out {folders}/pairs.parquet"
        )
        assert main([*common.split(), "--report", str(folders / "page.html"), *words]) == 0
        return report_pages.read((folders / "page.html").read_text())

    def numbers(page: Element) -> dict[str, str]:
        names, values = page.all("dl", "numbers")[0].all("dt"), page.all("dd", "big")
        return {n.text: v.text for n, v in zip(names, values, strict=True)}

    found = page("--shown", "9")
    pairs = pq.read_table(folders / "pairs.parquet").num_rows
    assert numbers(found) == {
        "Same file": "1", "Copies": "1", "Only neighbours": str(pairs - 2), "Other labels": "1",
        "To remove": "1",
    }  # fmt: skip
    assert "2 pairs of duplicates" in found.all("h1")[0].text
    assert len(report_pages.section(found, "pairs").all("article")) == 2
    others = report_pages.section(found, "neighbours")
    assert len(others.all("article")) == 7
    assert f"{pairs - 2} pairs of pictures that are only each other's neighbours" in others.text
    wide = numbers(page("--exclude", str(folders / "drop.txt"), "--within", "2"))
    assert (wide["Copies"], wide["Only neighbours"]) == (str(pairs - 1), "0")
    bytes_only = page("--only-bytes")
    assert "No others were looked for" in bytes_only.text
    assert numbers(bytes_only)["Only neighbours"] == "0"


@pytest.mark.parametrize("words", [["--page", "PAGE"], ["--page=PAGE"]])
def test_page_was_the_name_of_report(
    folders: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    page = folders / "page.html"
    words = [word.replace("PAGE", str(page)) for word in words]
    out = folders / "pairs.parquet"
    assert main(["dedup", "--images", f"{folders}/val", "--out", f"{out}", *words]) == 0
    assert page.exists()
    assert "--page is now called --report; the old name goes" in capsys.readouterr().err


def test_within_one_set_each_pair_comes_once(folders: Path) -> None:
    run(
        DedupOptions(
            images=str(folders / "web"),
            out=folders / "pairs.parquet",
            exclude=folders / "drop.parquet",
            first=1,
        )
    )
    pairs = pq.read_table(folders / "pairs.parquet").to_pylist()
    assert len({frozenset((p["item"], p["against"])) for p in pairs}) == len(pairs)
    assert not any(pair["same_bytes"] for pair in pairs)
    assert read_items(folders / "drop.parquet") == [pairs[0]["item"]]


def test_given_features_decide(folders: Path) -> None:
    generator = np.random.default_rng(0)
    images = [str(p.relative_to(folders / "web")) for p in (folders / "web").rglob("*.*")]
    against = [str(p.relative_to(folders / "val")) for p in (folders / "val").rglob("*.*")]
    mine = generator.normal(size=(len(images), 8))
    others = generator.normal(size=(len(against), 8))
    others[2] = 3 * mine[5]  # the same direction
    np.savez(folders / "web.npz", items=np.array(images), features=mine)
    np.savez(folders / "val.npz", items=np.array(against), features=others)
    run(
        DedupOptions(
            images=str(folders / "web"),
            against=str(folders / "val"),
            features=folders / "web.npz",
            against_features=folders / "val.npz",
            out=folders / "pairs.parquet",
        )
    )
    pairs = pq.read_table(folders / "pairs.parquet").to_pylist()
    assert pairs[0]["same_bytes"]
    assert (pairs[1]["item"], pairs[1]["against"]) == (images[5], against[2])
    assert pairs[1]["distance"] < 1e-6


def network(path: Path) -> Path:
    """A weight file of random features, which copies share all the same."""
    torch.save(zoo.create("reteach_small", 7, seed=3).state_dict(), path)
    return path


def literal(model: Any, source: Any, row: int, side: int) -> Any:
    """The pooled features of one image at length 1, step by step."""
    pixels = torch.from_numpy(source.read(row)).permute(2, 0, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in zoo.normalisation(model))
    x = (Eval(side)(pixels, 0) / 255 - mean) / std
    with torch.no_grad():
        found = model.forward_head(model.forward_features(x[None]), pre_logits=True)[0].double()
    return found / found.norm()


def test_features_of_a_network(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Distances are those of L2-normalised pooled features, all pairs sorted globally."""
    weights = network(folders / "w.pth")
    run(
        DedupOptions(
            images=str(folders / "web"),
            against=str(folders / "val"),
            out=folders / "pairs.parquet",
            model="reteach_small",
            init=weights,
            image_size=32,
            batch_size=4,
            report=folders / "page.html",
            device="cpu",
        )
    )
    pairs = pq.read_table(folders / "pairs.parquet").to_pylist()
    assert [pair["same_bytes"] for pair in pairs[:2]] == [True, False]
    assert (pairs[1]["item"], pairs[1]["against"]) == ("class0/again.jpg", "class0/4.png")
    apart = [pair["distance"] for pair in pairs]
    assert apart == sorted(apart)
    model = zoo.create("reteach_small", 7, init=weights, seed=0).eval()
    web, val = open_source(folders / "web"), open_source(folders / "val")
    for pair in pairs[1:40:6]:
        one = literal(model, web, web.items.index(pair["item"]), 32)
        other = literal(model, val, val.items.index(pair["against"]), 32)
        assert pair["distance"] == pytest.approx(float((one - other).norm()), abs=1e-5)
    assert not any("broken" in pair["item"] + pair["against"] for pair in pairs)
    assert "the features of reteach_small" in (folders / "page.html").read_text()
    assert "2 could not be read, first: 'class0/broken.png'" in capsys.readouterr().err


def test_pretrained_alone_compares_features_of_the_usual_network(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def network(*how: object) -> object:
        asked.append(how)
        raise UserError("enough")

    monkeypatch.setattr("reteach.runs.features.of_network", network)
    options = DedupOptions(
        images=str(folders / "web"), out=folders / "pairs.parquet", pretrained=True
    )
    with pytest.raises(UserError, match="enough"):
        run(options)
    assert asked == [("tf_efficientnet_lite0", None, True, None, "auto")]


def test_features_of_a_run_in_a_temporary_file(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.create("reteach_small", 2, seed=3)
    half = (0.5,) * 3
    save_models(
        folders / "run", {"model": Predictor((model,), "softmax")}, architecture="reteach_small",
        classes=("a", "b"), image_size=32, frames=None, prepare=Normalize(half, half), threshold=None,
        method="softmax",
    )  # fmt: skip
    options: dict[str, Any] = {"images": str(folders / "web"), "against": str(folders / "val")}
    options |= {"run_folder": folders / "run", "device": "cpu"}
    run(DedupOptions(**options, out=folders / "memory.parquet"))
    monkeypatch.setattr(features, "IN_MEMORY", 0)
    run(DedupOptions(**options, out=folders / "new" / "file.parquet"))
    memory, file = (
        pq.read_table(folders / name) for name in ("memory.parquet", "new/file.parquet")
    )
    assert memory.equals(file)
    assert {path.name for path in (folders / "new").iterdir()} == {
        "file.parquet",
        "file.quarantine.csv",
    }
    assert memory["against"][1].as_py() == "class0/4.png"


def test_an_index_says_what_it_finds(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    generator = np.random.default_rng(0)
    items = [str(p.relative_to(folders / "web")) for p in sorted((folders / "web").rglob("*.*"))]
    made = generator.normal(size=(len(items), 8)).astype(np.float32)
    np.savez(folders / "web.npz", items=np.array(items), features=made)
    for search in ("exact", "faiss"):
        run(
            DedupOptions(
                images=str(folders / "web"),
                features=folders / "web.npz",
                search=search,
                out=folders / f"{search}.parquet",
            )
        )
    exact, index = (pq.read_table(folders / f"{name}.parquet") for name in ("exact", "faiss"))
    assert exact.equals(index)
    assert "recall" not in capsys.readouterr().out  # one list is exact
    worse = Neighbours(np.ones((5, 1), np.float32), np.zeros((5, 1), np.int64), 0.8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "nearest", lambda *_, **__: worse)
        run(DedupOptions(images=str(folders / "web"), out=folders / "p.parquet"))
    said = capsys.readouterr()
    assert "nearest pictures by FAISS: recall 80.0% on a sample" in said.out
    assert "warning: the index does not reach a recall of 95%" in said.err


def test_what_is_excluded_is_not_selected(folders: Path) -> None:
    """dedup --exclude feeds select --exclude."""
    pytest.importorskip("duckdb")
    from reteach.options.scale import SelectOptions

    run(
        DedupOptions(
            images=str(folders / "web"),
            against=str(folders / "val"),
            out=folders / "pairs.parquet",
            exclude=folders / "drop.parquet",
            only_bytes=True,
        )
    )
    items = open_source(folders / "web").items
    scores = {"item": list(items), "class": pa.array([0] * len(items), pa.int32())}
    scores["score"] = pa.array([1 - i / 100 for i in range(len(items))], pa.float32())
    pq.write_table(pa.table(scores), folders / "scores.parquet")
    kept = {}
    for name, exclude in (("all", ()), ("clean", (folders / "drop.parquet",))):
        out = folders / f"{name}.parquet"
        run(SelectOptions(folders / "scores.parquet", 100, out, exclude=exclude))
        kept[name] = pq.read_table(out)["item"].to_pylist()
    assert kept["all"] == items
    assert kept["clean"] == [item for item in items if item != "class1/<b>stolen.png"]


def test_bad_input_is_one_clear_line(folders: Path) -> None:
    web = str(folders / "web")
    cases = {
        "--neighbours must be at least 1": {"neighbours": 0},
        "--within must not be negative": {"within": -1.0, "exclude": Path("x.txt")},
        "name its file": {"first": 3},
        "--recall must lie in": {"recall": 0.0},
        "goes with --features and --against": {"against_features": Path("x.npz")},
        "the pairs go into a .parquet file": {"out": Path("x.csv")},
        "--memory must be at least 1": {"memory": 0},
        "--batch-size must be at least 1": {"batch_size": 0},
        "one of --features, --run-folder, --model": {"model": "resnet18", "run_folder": Path("r")},
        "--only-bytes": {"model": "resnet18", "only_bytes": True},
        "--init is for --model: name it": {"init": Path("w.pth")},
        "--image-size is for --model or --pretrained": {"image_size": 32},
        "--model or --pretrained, and --only-bytes": {"pretrained": True, "only_bytes": True},
    }
    for words, options in cases.items():
        with pytest.raises(UserError, match=re.escape(words)):
            DedupOptions(images=web, **options)
    for words, options in {
        "--model resnet18 needs weights": {"model": "resnet18"},
        "did you mean resnet18": {"model": "resnet81", "pretrained": True},
        "run folder .* does not exist": {"run_folder": folders / "none"},
        "these are still images": {"model": "reteach_video", "init": folders / "v.pth"},
    }.items():
        torch.save(zoo.create("reteach_video", 2, seed=0).state_dict(), folders / "v.pth")
        with pytest.raises(UserError, match=words):
            run(DedupOptions(images=web, out=folders / "p.parquet", **options))
    with pytest.raises(UserError, match="does not exist"):
        run(DedupOptions(images=str(folders / "wep"), out=folders / "p.parquet"))


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
    run(DedupOptions(images=str(tmp_path / "train"), against=str(tmp_path / "val"), out=out))
    first, second = pq.read_table(out).slice(0, 2).to_pylist()
    assert first["same_bytes"]
    assert Path(first["item"]).stem == "n01855672_44"
    assert Path(first["against"]).stem == "val_2157"
    assert first["label"] != first["against_label"]
    assert not second["same_bytes"]
    run(DedupOptions(images=str(tmp_path / "train"), out=out, only_bytes=True))
    (pair,) = pq.read_table(out).to_pylist()
    assert {Path(pair["item"]).stem, Path(pair["against"]).stem} == {
        "n07747607_32",
        "n07749582_144",
    }
    assert pair["label"] != pair["against_label"]
