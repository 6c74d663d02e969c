"""``--freeze``: a head on a frozen network's features, computed once; the run is one network of images."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from PIL import Image

from reteach.cli import main
from reteach.features import cache
from reteach.models import export, packages, zoo
from reteach.models.feature_heads import FeatureNet
from reteach.runs.checkpoint import load_models

SIDE = 32
NETWORK = "test_resnet"  # timm's smallest
CLASSES = ("dark", "light")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``photos/CLASS/N.png``, ``labels.csv`` of them, ``weights/`` of a network, ``run/`` with its head."""
    root = tmp_path_factory.mktemp("freeze")
    noise = np.random.default_rng(0)
    rows = []
    for number in range(48):
        name = CLASSES[number % 2]
        pixels = noise.integers(0, 150, (40, 48, 3)) + 100 * (number % 2)
        item = f"{name}/{number:02}.png"
        (root / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / item)
        rows.append(f"{item},{name}")
    (root / "labels.csv").write_text("\n".join(["item,labels", *rows]) + "\n")
    model = zoo.create(NETWORK, 5, image_size=SIDE, seed=7).eval()
    export.save(
        model, root / "weights", architecture=NETWORK, num_classes=5, in_chans=3,
        mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), classes=list("abcde"), image_size=SIDE,
        interpolation="bicubic", model_args={}, extra={},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETEACH_FEATURES", str(root / "cache"))
        assert train(root, "run") == 0
    return root


@pytest.fixture(autouse=True)
def kept(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETEACH_FEATURES", str(world / "cache"))
    return world / "cache"


def words(root: Path, out: str, *more: str) -> list[str]:
    return [
        *("--images", f"{root}/photos", "--labels", f"{root}/labels.csv", "--workers", "0"),
        *("--model", NETWORK, "--init", f"{root}/weights/model.safetensors", "--freeze"),
        *("--image-size", str(SIDE), "--batch-size", "8", "--steps", "30", "--lr", "0.5"),
        *("--out", f"{root}/{out}", *more),
    ]


def train(root: Path, out: str, *more: str, method: str = "softmax") -> int:
    return main(["train", method, *words(root, out, *more)])


def weights(run: Path) -> bytes:
    return next((run / "models").glob("*/model.safetensors")).read_bytes()


def predicted(file: Path) -> dict[str, str]:
    with open(file, newline="") as lines:
        return {row["item"]: row["labels"] for row in csv.DictReader(lines)}


def test_the_run_is_one_model_of_images_and_timm_alone_gives_the_same(world):
    run = world / "run"
    scores = f"{world}/s.parquet"
    asked = ["predict", str(run), "--images", f"{world}/photos", "--out", f"{world}/p.csv"]
    assert main([*asked, "--scores", scores, "--top", "2", "--workers", "0"]) == 0
    found = predicted(world / "p.csv")
    assert np.mean([found[item] == item.split("/")[0] for item in found]) > 0.9
    folder = run / "models" / "model"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert type(model).__name__ == type(timm.create_model(NETWORK)).__name__
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    saved = load_models(run, "cpu")
    from reteach.data.dataset import Dataset
    from reteach.data.sources.base import open_source

    source = open_source(world / "photos")
    data = Dataset.unlabeled(source, saved.classes)
    for rows, x in saved.scan(data, 16, 0):
        ours = saved.predictor.scores(x)
        images = [Image.open(world / "photos" / source.items[row]).convert("RGB") for row in rows]
        with torch.no_grad():
            theirs = model(torch.stack([transform(image) for image in images])).softmax(-1)
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-3)
        assert torch.equal(theirs.argmax(-1), ours.argmax(-1))
        assert [saved.classes[c] for c in theirs.argmax(-1)] == [
            found[source.items[row]] for row in rows
        ]


def test_backbone_weights_are_those_of_the_file_and_the_head_is_the_trained_one(world):
    whole, _ = export.load(world / "run" / "models" / "model")
    before, _ = export.load(world / "weights")
    head = ("fc.weight", "fc.bias")
    for name, tensor in before.state_dict().items():
        if name not in head:
            assert torch.equal(tensor, whole.state_dict()[name]), name
    assert whole.state_dict()["fc.weight"].shape[0] == len(CLASSES)


def test_standardisation_and_linear_layer_fold_into_one():
    head = zoo.create("linear", 3, in_chans=6, seed=0)
    assert isinstance(head, FeatureNet)
    x = torch.randn(50, 6, 1, 1) * torch.arange(1, 7)[:, None, None] + 3
    for _ in range(30):
        head.train()(x)
    weight, bias = head.as_linear()
    torch.testing.assert_close(x.flatten(1) @ weight.T + bias, head.eval()(x))


def test_evaluate_calibrate_score_and_explain_take_images(world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world / "run", run)
    images = ["--images", f"{world}/photos", "--workers", "0"]
    assert main(["evaluate", str(run), *images, "--labels", f"{world}/labels.csv"]) == 0
    score = ["score", str(run), *images, "--top", "2", "--out", f"{tmp_path}/s"]
    assert main(score) == 0
    explain = ["explain", str(run), *images, "--classes", "dark", "--count", "1"]
    assert main([*explain, "--out", f"{tmp_path}/e.html"]) == 0
    assert "data:image" in (tmp_path / "e.html").read_text()
    assert "data:image" in (run / "report.html").read_text(), "the report has pictures"


def test_the_second_run_computes_no_features(world, monkeypatch, capsys):
    monkeypatch.setattr(cache, "embed_parts", None)
    assert train(world, "again") == 0
    assert "features of 48 images: from" in capsys.readouterr().err
    assert weights(world / "again") == weights(world / "run")


def test_names_and_order_do_not_count_and_contents_do(world, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    rows = []
    for file in sorted((world / "photos").glob("*/*.png")):
        name = f"{99 - int(file.stem):02}.png"
        shutil.copy(file, tmp_path / "photos" / name)
        rows.append(f"{name},{file.parent.name}")
    (tmp_path / "labels.csv").write_text("\n".join(["item,labels", *rows]) + "\n")
    shutil.copytree(world / "weights", tmp_path / "weights")
    assert train(tmp_path, "run") == 0
    assert "features of 48 images: from" in capsys.readouterr().err
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / name)
    assert train(tmp_path, "other") == 0
    assert "computing the features" in capsys.readouterr().err


def test_config_says_freeze_and_another_configuration_is_refused(world, capsys):
    config = yaml.safe_load((world / "run" / "config.yaml").read_text())
    assert config["model"]["freeze"] is True
    asked = [word for word in words(world, "run") if word != "--freeze"]
    assert main(["train", "softmax", *asked]) == 2
    assert "freeze: True there, False now" in capsys.readouterr().err
    stage = json.loads(next((world / "run").glob("stages/*/record.json")).read_text())
    assert any(key.endswith("contents") for key in stage)


def test_a_run_killed_on_its_way_goes_on_exactly_with_an_empty_cache(world, tmp_path, monkeypatch):
    monkeypatch.setenv("RETEACH_FEATURES", str(tmp_path / "cache"))
    script = """
import os, signal, sys
from reteach import cli
from reteach.features import embed
from reteach.models.feature_heads import FeatureNet
calls, forward, write = [0], FeatureNet.forward_features, embed.write_shard
def stopping(self, x):
    calls[0] += self.training
    if calls[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, x)
def shard(path, what):
    if sys.argv[1] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, what)
FeatureNet.forward_features, embed.write_shard = stopping, shard
cli.main(sys.argv[2:])
"""
    out = ["--out", str(tmp_path / "run"), "--snapshot-seconds", "0"]
    asked = ["train", "softmax", *words(world, "unused")[:-2], *out]
    for when in ("0", "20"):
        done = subprocess.run([sys.executable, "-c", script, when, *asked], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (tmp_path / "run" / "stages").exists(), "the second one was killed in training"
    shutil.rmtree(tmp_path / "cache")
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert weights(tmp_path / "run") == weights(world / "run")


def test_resume_keeps_the_backend_and_refuses_another_backbone(world, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(world / "run", run)
    kept = json.loads((run / "features.json").read_text())
    assert kept["backend"] in ("folded", "eager")
    from reteach import sealed

    pinned = {key: value for key, value in kept.items() if key != "reteach_sha256"}
    sealed.write_json(run / "features.json", pinned | {"backend": "eager"})
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["output"]["out"] = str(run)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["resume", str(run)]) == 0
    assert list((world / "cache").glob("*-eager-8")), "computed as the run had begun it"
    sealed.write_json(run / "features.json", pinned | {"weights": "other"})
    assert main(["resume", str(run)]) == 2
    assert "was begun with another network (weights: other there" in capsys.readouterr().err


def test_what_was_not_used_for_longest_goes_first(world, tmp_path, monkeypatch):
    monkeypatch.setenv("RETEACH_FEATURES", str(tmp_path / "cache"))
    assert train(world, "e1") == 0
    (first,) = (p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    os.utime(first, (1, 1))
    size = sum(file.stat().st_size for file in first.iterdir())
    assert train(world, "e2", "--image-size", "40") == 2, "a flag given twice is an error"
    again = [word if word != str(SIDE) else "40" for word in words(world, "e2")]
    monkeypatch.setenv("RETEACH_FEATURES_GB", str(size * 1.5 / 1e9))
    assert main(["train", "softmax", *again]) == 0
    (left,) = (p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    assert left != first
    monkeypatch.setenv("RETEACH_FEATURES_GB", "much")
    assert train(world, "e3") == 2


def test_a_damaged_cache_is_mended(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RETEACH_FEATURES", str(tmp_path / "cache"))
    shutil.copytree(world / "cache", tmp_path / "cache")
    for shard in (tmp_path / "cache").glob("*/*.parquet"):
        shard.write_bytes(shard.read_bytes()[:-20] + bytes(20))
    assert train(world, "mended") == 0
    assert "damaged" in capsys.readouterr().err
    assert weights(world / "mended") == weights(world / "run")


def test_a_run_can_be_the_backbone(world):
    images = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", "--workers", "0"]
    init = ["--init", str(world / "run"), "--freeze", "--steps", "3", "--batch-size", "8"]
    assert main(["train", "sigmoid", *images, *init, "--out", f"{world}/onrun"]) == 0
    config = yaml.safe_load((world / "onrun" / "config.yaml").read_text())
    assert config["model"]["model"] == NETWORK


@pytest.mark.parametrize("method", ["mile", "nct"])
def test_methods_of_two_networks_train_with_freeze(world, method):
    assert train(world, method, method=method) == 0
    models = list((world / method / "models").glob("*/config.json"))
    assert len(models) >= 1
    assert {json.loads(file.read_text())["architecture"] for file in models} == {NETWORK}


def test_compare_with_freeze_judges_test_images_by_their_features(world, capsys):
    asked = words(world, "comparison")
    capsys.readouterr()
    assert main(["compare", "softmax", "elr", *asked, "--seeds", "1", "--processes", "1"]) == 0
    said = capsys.readouterr().err
    chosen = [line for line in said.splitlines() if " chosen on held-out " in line]
    assert chosen, "rate and weight decay of each training are said"
    assert all(line.startswith(("softmax, seed 0: --", "elr, seed 0: --")) for line in chosen)
    assert "features of" not in said, "that they are there is not said for every training"
    results = json.loads((world / "comparison" / "results.json").read_text())
    assert results["softmax"]["accuracy"]["mean"] > 0.5


def test_cleaning_judges_the_features_of_freeze_as_it_does_those_of_a_table(world, tmp_path):
    """By the rule and the four judges of features, not by the rule of pixels."""
    common = ["--labels", f"{world}/labels.csv", "--folds", "3", "--steps", "9", "--device", "cpu"]
    network = ["--model", NETWORK, "--init", f"{world}/weights/model.safetensors", "--freeze"]
    photos = ["--images", f"{world}/photos", *network, "--image-size", str(SIDE)]
    asked = {"photos": photos, "alone": [*photos, "--judge", "model"]}
    found = {}
    for name, words in asked.items():
        out = tmp_path / f"{name}.csv"
        assert main(["relabel", "clean", *words, *common, "--workers", "0", "--out", str(out)]) == 0
        assert json.loads((tmp_path / name / "clean.json").read_text())["rule"] == "posterior"
        judged = "the geometric mean of softmax, " if name == "photos" else "<dd>softmax</dd>"
        assert judged in (tmp_path / name / "suspects.html").read_text()
        scores = pq.read_table(tmp_path / name / "scores.parquet").to_pydict()
        found[name] = dict(
            zip(zip(scores["item"], scores["class"], strict=True), scores["score"], strict=True)
        )
    assert found["photos"].keys() == found["alone"].keys()
    apart = [abs(found["photos"][pair] - found["alone"][pair]) for pair in found["photos"]]
    assert max(apart) > 0.01, "the other judges are not heard"


def test_what_has_no_effect_with_freeze_is_one_line(world, tmp_path, monkeypatch, capsys):
    images = ["--images", f"{world}/photos", "--workers", "0", "--steps", "2", "--freeze"]
    own = ["--model", NETWORK, "--init", f"{world}/weights/model.safetensors"]
    monkeypatch.setattr(packages.Package, "path", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for told, method, given in (
        ("--freeze needs a trained network to keep as it is", "softmax", []),
        ("x.pth does not exist", "softmax", ["--init", f"{tmp_path}/x.pth"]),
        ("is neither a finished run nor", "softmax", ["--init", f"{tmp_path}"]),
        ("pip install 'reteach[pretrained]'", "softmax", ["--pretrained"]),
        ("--randaugment has no effect with --freeze", "softmax", [*own, "--randaugment", "5"]),
        ("--augment has no effect with --freeze", "softmax", [*own, "--augment", "flip"]),
        ("--cutout has no effect with --freeze", "softmax", [*own, "--cutout", "0.3"]),
        ("--cache has no effect with --freeze", "softmax", [*own, "--cache"]),
        ("--channels-last has no effect with --freeze", "softmax", [*own, "--channels-last"]),
        ("--peer-model names a network of its own", "nct", [*own, "--peer-model", "resnet18"]),
    ):
        assert main(["train", method, *images, *given, "--out", f"{tmp_path}/r"]) == 2, told
        lines = capsys.readouterr().err.strip().splitlines()
        assert told in lines[-1]
        assert not (tmp_path / "r").exists(), "the name stays free"
    asked = [*images[:-1], *own, "--features-cache", "x", "--out", f"{tmp_path}/r"]
    assert main(["train", "softmax", *asked]) == 2
    assert "--features-cache has no effect without --freeze" in capsys.readouterr().err
