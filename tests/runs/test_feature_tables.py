"""Features are images: a table of them is trained on, judged and predicted like any other source."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from pictures import folder
from reteach import sealed
from reteach.cli import main
from reteach.data.loading.batch import Normalize
from reteach.data.sources.base import ArraySource, open_source
from reteach.data.sources.feature_table import FORMAT, INDEX, FeatureShard, write_shard
from reteach.errors import UserError
from reteach.models import zoo
from reteach.models.feature_heads import FeatureNet
from reteach.runs import head_choice
from reteach.tables import read_labels

D, CLASSES = 12, ("cat", "dog", "owl")
SETTINGS = {
    "backbone": "resnet50",
    "weights": "abc",
    "image_size": 224,
    "views": 1,
    "batch_size": 8,
}

EMBED = "reteach embed --images FOLDER --pretrained --model resnet50 --image-size 224 --out more.features"


def table(
    out: Path, count: int, seed: int, *, views: int = 1, prefix: str = "i", **other: object
) -> Path:
    """Features of three classes with a direction each, and ``OUT.csv`` beside them."""
    noise = np.random.default_rng(seed)
    labels = noise.integers(0, 3, count)
    centres = np.random.default_rng(0).normal(0, 2, (3, D))
    features = (centres[labels][:, None] + noise.normal(0, 1, (count, views, D))).astype(np.float16)
    items = [f"{prefix}{n}" for n in range(count)]
    settings = {**SETTINGS, "views": views, **other}
    digest = write_shard(out / "part-000000.parquet", FeatureShard(settings, "p", items, features))
    said = {
        "format": FORMAT,
        "settings": settings,
        "complete": True,
        "shards": {"part-000000": digest},
    }
    sealed.write_json(out / INDEX, said)
    rows = [f"{item},{CLASSES[label]}" for item, label in zip(items, labels.tolist(), strict=True)]
    out.with_suffix(".csv").write_text("\n".join(["item,labels", *rows]) + "\n")
    return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("features")
    table(root / "train.features", 96, 1)
    table(root / "val.features", 60, 2, prefix="v")
    return root


def train(root: Path, out: str, *more: str, method: str = "softmax", steps: int = 60) -> Path:
    words = ["--images", f"{root}/train.features", "--labels", f"{root}/train.csv"]
    words += ["--val-images", f"{root}/val.features", "--val-labels", f"{root}/val.csv"]
    words += ["--batch-size", "16", "--steps", str(steps), "--out", str(root / out), *more]
    assert main(["train", method, *words]) == 0
    return root / out


def weights(run: Path) -> Path:
    return next((run / "models").glob("*/model.safetensors"))


@pytest.mark.parametrize(("resize", "said"), [("shorter", True), ("square", False)])
def test_label_sets_on_features_of_the_middle_are_told(tmp_path, capsys, resize, said):
    made = table(tmp_path / "t.features", 24, 1, resize=resize)
    rows = [f"i{n},cat;dog" if n % 2 else f"i{n},owl" for n in range(24)]
    (tmp_path / "sets.csv").write_text("\n".join(["item,labels", *rows]) + "\n")
    words = ["--images", f"{made}", "--labels", f"{tmp_path}/sets.csv", "--steps", "2"]
    assert main(["train", "sigmoid", *words, "--out", f"{tmp_path}/run"]) == 0
    assert ("--resize square takes the whole photo" in capsys.readouterr().err) == said


def test_a_run_on_features_says_how_those_of_further_images_are_made(world, capsys):
    run = train(world, "next", steps=2)
    *_, made, then = capsys.readouterr().out.strip().splitlines()
    assert made == f"next:   {EMBED}"
    assert then.split() == (
        f"reteach predict {run} --images more.features --out labels.parquet".split()
    )


def test_a_table_opens_as_a_source(world):
    source = open_source(world / "train.features")
    assert isinstance(source, ArraySource)
    assert source.channels == D
    assert source.features == SETTINGS
    pixels = source.batch(np.array([3, 5]))
    assert pixels.shape == (2, 1, 1, D)
    assert pixels.dtype == np.float16
    few = open_source(world / "train.features", ["i5", "i3"])
    assert np.array_equal(few.read(1), source.read(3))
    assert few.features == SETTINGS
    zero, one = (0.0,) * D, (1.0,) * D
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    assert torch.equal(Normalize(zero, one, D)(x), x.float()), "features keep their own scale"


def test_several_views_are_columns_of_one_picture(tmp_path):
    three = open_source(table(tmp_path / "v.features", 4, 1, views=3))
    assert three.read(0).shape == (1, 3, D)


def test_train_evaluate_predict(world, capsys):
    run = train(world, "softmax")
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert (run / "report.html").is_file()
    model = load_file(weights(run))
    assert model["fc.weight"].shape == (3, D)
    assert (
        main(["predict", str(run), "--images", f"{world}/val.features", "--out", f"{world}/p.csv"])
        == 0
    )
    truth, found = (read_labels(world / f"{n}.csv").labels.index for n in ("val", "p"))
    assert np.mean(np.asarray(truth) == np.asarray(found)) > 0.8, "chance is 0.33"
    assert (
        main(
            [
                "evaluate",
                str(run),
                "--images",
                f"{world}/val.features",
                "--labels",
                f"{world}/val.csv",
            ]
        )
        == 0
    )


def test_same_seed_same_weights_and_resume_is_exact(world, monkeypatch):
    first, second, other = (
        weights(train(world, name, "--seed", seed)).read_bytes()
        for name, seed in (("a", "4"), ("b", "4"), ("c", "5"))
    )
    assert first == second != other
    calls = 0
    forward = FeatureNet.forward_features

    def stopping(self: FeatureNet, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += self.training
        if calls == 25:
            calls += 1
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, x)

    monkeypatch.setattr(FeatureNet, "forward_features", stopping)
    words = ["--images", f"{world}/train.features", "--labels", f"{world}/train.csv"]
    words += ["--val-images", f"{world}/val.features", "--val-labels", f"{world}/val.csv"]
    words += ["--batch-size", "16", "--steps", "60", "--out", f"{world}/d", "--seed", "4"]
    assert main(["train", "softmax", *words]) == 130
    monkeypatch.undo()
    assert main(["resume", f"{world}/d"]) == 0
    assert weights(world / "d").read_bytes() == first


@pytest.mark.parametrize("method", ["mile", "nct", "elr", "sigmoid", "noisy-student"])
def test_methods_train_on_features(world, method):
    run = train(world, method, method=method, steps=12)
    assert (run / "report.html").is_file()


def test_an_mlp_has_a_hidden_layer(world):
    model = load_file(weights(train(world, "mlp", "--model", "mlp", steps=3)))
    assert model["hidden.0.weight"].shape == (512, D)


def test_standardised_features_do_not_depend_on_their_scale():
    net = zoo.create("linear", 3, in_chans=D, seed=0)
    x = torch.randn(64, D, 1, 1)
    torch.testing.assert_close(net(x), net(x * 7 + 3), rtol=1e-3, atol=1e-3)


def test_bad_input_is_one_line(world, tmp_path, capsys):
    table(tmp_path / "other.features", 20, 3, prefix="v", weights="xyz")
    folder(tmp_path / "photos" / "cat", ["a.png", "b.png"])
    folder(tmp_path / "photos" / "dog", ["c.png", "d.png"])
    images = ["--images", f"{world}/train.features", "--labels", f"{world}/train.csv"]
    photos = ["--images", f"{tmp_path}/photos"]
    other = ["--val-images", f"{tmp_path}/other.features", "--val-labels", f"{tmp_path}/other.csv"]
    for words, given in {
        "--val-images are other features than --images (weights: abc there, xyz now)": [
            *images,
            *other,
        ],
        "use --model linear or mlp": [*images, "--model", "resnet18"],
        "--image-size has no effect on features": [*images, "--image-size", "32"],
        "--pretrained has no effect on features": [*images, "--pretrained"],
        "--augment flip has no effect on features": [*images, "--augment", "flip"],
        "linear takes features and --images are images": [*photos, "--model", "linear"],
    }.items():
        assert main(["train", "softmax", *given, "--steps", "2", "--out", f"{tmp_path}/r"]) == 2, (
            words
        )
        told = capsys.readouterr().err.strip().splitlines()
        assert words in told[-1]
    run = train(world, "judged", steps=2)
    capsys.readouterr()
    for words, where in {
        f"the model takes features, and these are images: {EMBED} makes theirs": f"{tmp_path}/photos",
        "takes other features than these (weights: abc there, xyz now)": f"{tmp_path}/other.features",
    }.items():
        assert main(["predict", str(run), "--images", where, "--out", f"{tmp_path}/p.csv"]) == 2
        assert words in capsys.readouterr().err
    one = ["--images", f"{tmp_path}/other.features"]
    for words, given in {
        "reteach embed looks at pixels": ["embed", *one, "--pretrained"],
        "takes other features than these": ["score", str(run), *one],
        "--kind instance looks at pixels": [
            *("noise", *one, "--kind", "instance", "--labels", f"{tmp_path}/other.csv")
        ],
    }.items():
        assert main([*given, "--out", f"{tmp_path}/x.parquet"]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert words in told[-1]


def test_features_with_ids_twice_are_refused():
    with pytest.raises(UserError, match="stands for two images"):
        ArraySource(np.zeros((2, D), np.float16), ["a", "a"], features=SETTINGS)


def test_compare_on_features(world):
    """The network of --model auto is that of features there too, in every trial."""
    words = ["--images", f"{world}/train.features", "--labels", f"{world}/train.csv"]
    words += ["--val-images", f"{world}/val.features", "--val-labels", f"{world}/val.csv"]
    words += ["--steps", "12", "--batch-size", "16", "--seeds", "1", "--out", f"{world}/comparison"]
    assert main(["compare", "softmax", "elr", *words]) == 0


def copied(out: Path, source: Path, rows: list[int], prefix: str = "copy") -> Path:
    """A table with features of another one again, the second of them not quite the same."""
    known = open_source(source)
    assert isinstance(known, ArraySource)
    again = known.images[rows, 0, 0].copy()
    again[1] *= np.float16(1.001)
    again[1, 0] += np.float16(0.05)
    items = [f"{prefix}{row}" for row in rows]
    first = known.images[:, 0, 0] if prefix == "copy" else again[:0]
    names = [*known.items, *items] if prefix == "copy" else items
    shard = FeatureShard(SETTINGS, "p", names, np.concatenate([first, again])[:, None])
    digest = write_shard(out / "part-000000.parquet", shard)
    said = {"format": FORMAT, "settings": SETTINGS, "complete": True}
    sealed.write_json(out / INDEX, said | {"shards": {"part-000000": digest}})
    labels = read_labels(source.with_suffix(".csv"))
    name = dict(zip(labels.items, labels.labels.names(), strict=True))
    rows_ = [f"{i},{name[i][0]}" for i in known.items] if prefix == "copy" else []
    rows_ += [f"{item},{name[known.items[row]][0]}" for item, row in zip(items, rows, strict=True)]
    out.with_suffix(".csv").write_text("\n".join(["item,labels", *rows_]) + "\n")
    return out


def test_cleaning_chooses_no_rate_by_the_labels_that_it_holds_out(world, tmp_path, monkeypatch):
    def chosen(*_: object) -> None:
        raise AssertionError("the rate was chosen by all of the labels")

    monkeypatch.setattr(head_choice, "choose", chosen)
    words = [
        "relabel",
        "clean",
        "--images",
        f"{world}/val.features",
        "--folds",
        "3",
        "--steps",
        "3",
    ]
    words += ["--labels", f"{world}/val.csv", "--batch-size", "16", "--out", f"{tmp_path}/c.csv"]
    assert main(words) == 0


def test_cleaning_on_features_keeps_copies_together_and_finds_wrong_labels(world, tmp_path):
    images = copied(tmp_path / "both.features", world / "train.features", [3, 7, 11])
    table_ = read_labels(images.with_suffix(".csv"))
    wrong = [f"i{n}" for n in range(0, 60, 6)]
    lines = [
        f"{item},{CLASSES[(CLASSES.index(name) + (item in wrong)) % 3]}"
        for item, (name,) in zip(table_.items, map(tuple, table_.labels.names()), strict=True)
    ]
    (tmp_path / "given.csv").write_text("\n".join(["item,labels", *lines]) + "\n")
    out = tmp_path / "clean.csv"
    words = ["relabel", "clean", "--images", str(images), "--labels", f"{tmp_path}/given.csv"]
    words += ["--folds", "3", "--steps", "30", "--batch-size", "16", "--out", str(out)]
    truth = ["--truth", str(images.with_suffix(".csv"))]
    assert main([*words, *truth]) == 0
    (file,) = (tmp_path / "clean" / "stages" / "split").glob("*.npz")
    with np.load(file, allow_pickle=False) as split:
        np.testing.assert_array_equal(split["fold"][-3:], split["fold"][[3, 7, 11]])
    numbers = json.loads((tmp_path / "clean" / "clean.json").read_text())
    assert numbers["rule"] == "posterior"
    assert numbers["copies"] >= 3
    assert numbers["rules"]["posterior"]["f1"] > 0.6
    page = (tmp_path / "clean" / "suspects.html").read_text()
    for said in (
        "There are no pictures: the models looked at features",
        "equal features; at length 1 within 0.08",
        "the geometric mean of softmax, discriminant, neighbours and early learning",
    ):
        assert said in page
    assert "<img" not in page
    three = (tmp_path / "clean" / "scores.parquet").read_bytes()
    alone = [*words[:-1], str(tmp_path / "alone.csv"), "--judge", "model", "--rule", "agreement"]
    assert main(alone) == 0
    assert (tmp_path / "alone" / "scores.parquet").read_bytes() != three
    assert "Judged by" in (tmp_path / "alone" / "suspects.html").read_text()


def test_all_judges_are_for_features(tmp_path, capsys):
    folder(tmp_path / "photos" / "cat", ["a.png", "b.png"])
    folder(tmp_path / "photos" / "dog", ["c.png", "d.png"])
    words = ["relabel", "clean", "--images", f"{tmp_path}/photos", "--folds", "2", "--steps", "1"]
    words += ["--model", "reteach_tiny", "--out", f"{tmp_path}/c.csv", "--judge", "all"]
    assert main(words) == 2
    assert "--judge all is for features" in capsys.readouterr().err


def test_dedup_of_feature_tables_compares_their_features(world, tmp_path, capsys):
    against = copied(tmp_path / "again.features", world / "train.features", [3, 7], prefix="x")
    pairs, page = tmp_path / "pairs.parquet", tmp_path / "page.html"
    words = ["dedup", "--images", f"{world}/train.features", "--against", str(against)]
    words += ["--out", str(pairs), "--exclude", f"{tmp_path}/out.txt", "--within", "0.08"]
    assert main([*words, "--page", str(page)]) == 0
    assert "1 of them are near copies: within 0.08" in capsys.readouterr().out
    assert (tmp_path / "out.txt").read_text().split() == ["i3", "i7"]
    found = pq.read_table(pairs).to_pylist()
    assert [(p["item"], p["against"], p["same_bytes"]) for p in found[:2]] == [
        ("i3", "x3", True),
        ("i7", "x7", False),
    ]
    one, two = open_source(world / "train.features"), open_source(against)
    for pair in found[1:6]:
        a, b = (
            source.read(source.items.index(item))[0, 0].astype(np.float64)
            for source, item in ((one, pair["item"]), (two, pair["against"]))
        )
        apart = np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))
        assert pair["distance"] == pytest.approx(apart, abs=1e-4)
    assert "the features in train.features" in page.read_text()
    assert "no picture" in page.read_text()


def test_dedup_of_features_of_two_kinds_is_one_line(world, tmp_path, capsys):
    table(tmp_path / "other.features", 9, 3, weights="xyz")
    folder(tmp_path / "photos", ["a.png", "b.png"])
    images = ["--images", f"{world}/train.features"]
    for words, given in {
        "--against are other features than --images (weights: xyz there, abc now)": [
            *(*images, "--against", f"{tmp_path}/other.features"),
        ],
        "only --images are features": [*images, "--against", f"{tmp_path}/photos"],
        "--images are features already": [*images, "--pretrained"],
    }.items():
        assert main(["dedup", *given, "--out", f"{tmp_path}/p.parquet"]) == 2
        assert words in capsys.readouterr().err


def test_features_of_other_items_truncated_or_without_their_index_are_one_line(tmp_path, capsys):
    good = table(tmp_path / "a.features", 24, 0)
    table(tmp_path / "b.features", 24, 1, prefix="other")
    shard = good / "part-000000.parquet"
    whole, index = shard.read_bytes(), (good / INDEX).read_bytes()

    def refusal(labels: str = "a.csv") -> str:
        words = ["--images", f"{good}", "--labels", f"{tmp_path}/{labels}", "--steps", "2"]
        assert main(["train", "softmax", *words, "--out", f"{tmp_path}/run"]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        return said[0]

    assert "24 of 24 items are not among the images, first: 'other0'" in refusal("b.csv")
    shard.write_bytes(whole[: len(whole) // 2])
    assert "part-000000.parquet is damaged" in refusal()
    shard.write_bytes((tmp_path / "b.features" / shard.name).read_bytes())
    assert "part-000000.parquet is of other images" in refusal()
    shard.unlink()
    assert "part-000000.parquet is missing: run the same reteach embed again" in refusal()
    shard.write_bytes(whole)
    (good / INDEX).write_bytes(index[: len(index) // 2])
    assert f"{INDEX} is damaged" in refusal()
    (good / INDEX).unlink()
    assert f"holds shards of features and its {INDEX} is missing" in refusal()
