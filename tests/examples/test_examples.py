"""The examples run, shrunk."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments, "--smoke"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_multi_mnist(tmp_path):
    noise = np.random.default_rng(0)
    images = noise.integers(0, 255, (40, 28, 28), np.uint8)
    digits = np.arange(40, dtype=np.uint8) % 10
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(tmp_path / "m.npz", **dict(zip(names, (images, digits) * 2, strict=True)))
    run("multi_mnist.py", str(tmp_path / "m.npz"), "--out", str(tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"softmax", "sigmoid", "mile", "mile k_t=25", "every class present"} <= results.keys()
    assert {"elr", "noisy-student", "sigmoid, falling rate"} <= results.keys()
    assert "f1@top1" in results["softmax"], "the paper's softmax row"


@pytest.mark.parametrize("figure", ["schedule", "threshold", "targets"])
def test_sweeps(tmp_path, figure):
    run("mile_sweeps.py", figure, "--out", str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(content["sweep"]) in (1, 2)
    assert (tmp_path / "out" / "report.html").exists()


def test_a_sweep_on_fewer_pictures(monkeypatch):
    """Figure 3a by the size of the data: other numbers of pictures, as many steps."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    from mile_sweeps import data, plan

    told = argparse.Namespace(figure="teacher", smoke=False, images=None, fraction=4.0, out=None)
    told.seeds, told.processes = 1, 1
    assert data(told).n_train == 6000
    assert {one.config.training.steps for one in plan(told).variants} == {1500}
    lengths = [one.config.settings for one in plan(told).variants]
    assert [(own.k_t, own.k_s) for own in lengths] == [(k, 50) for k in (25, 50, 100, 200, 400)]
    told.images, told.fraction = "a.features", 0.25
    told.labels = told.classes = told.test_images = told.test_labels = None
    assert data(told).data.fraction == 0.25


def test_iirc_stream(tmp_path):
    """Twelve classes under four superclasses, in tasks of four; every member answers after each task."""
    words = np.array([f"thing {i}, other name" for i in range(12)])
    objects = {"label": np.arange(120) % 12, "split": np.arange(120) // 72, "words": words}
    np.savez(tmp_path / "t.npz", **pictures(120, (20, 20)), **objects)
    members = ["--members", "softmax", "MILe, ρ 0.25", "sigmoid, no exemplars", "complete"]
    small = ["--model", "reteach_tiny", "--side", "16", "--per-task", "6", "--exemplars", "1"]
    out = tmp_path / "out"
    told = run(
        "incremental.py", "--tiny", str(tmp_path / "t.npz"), *members, *small, "--out", str(out)
    )
    assert "| complete |" in told
    found = json.loads((out / "results.json").read_text())
    for each in found.values():
        assert len(each[0]["after each task"]) == 3
        assert 0 <= each[0]["first task"] <= 100


def test_the_ways_through_mile(tmp_path):
    run("mile_path.py", "--classes", "12", "--processes", "1", "--out", str(tmp_path))
    results = json.loads((tmp_path / "12" / "results.json").read_text())
    assert {"sigmoid", "mile student=continuing union=False"} <= results.keys()
    assert results["mile student=algorithm1 union=True"].keys() >= {"map", "f1@0.25", "f1@top1"}


def test_domains_left_out_one_by_one(tmp_path):
    """Three domains of other brightness; each is judged by a network that has not seen it."""
    noise = np.random.default_rng(0)
    given = []
    for number, name in enumerate(("dark", "grey", "light")):
        label = np.arange(30) % 3
        images = noise.integers(0, 60, (30, 8, 8)) + 60 * number + 20 * label[:, None, None]
        np.savez(tmp_path / f"{name}.npz", images=images.astype(np.uint8))
        rows = [f"{i},c{c}" for i, c in enumerate(label)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["item,labels", *rows]) + "\n")
        given += ["--domain", f"{name}={tmp_path}/{name}.npz,{tmp_path}/{name}.csv"]
    small = [
        "--model",
        "reteach_tiny",
        "--members",
        "softmax",
        "mile",
        "--out",
        str(tmp_path / "out"),
    ]
    told = run("domains.py", *given, *small)
    assert "| grey | mile |" in told
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found) == ["dark", "grey", "light"]
    assert all(list(members) == ["softmax", "mile"] for members in found.values())
    one = found["grey"]["softmax"][0]
    assert (one["left out"]["n"], one["in-domain"]["n"]) == (30, 12)


def pictures(count: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Noise as JPEG files, end to end."""
    draw = np.random.default_rng(0)
    files = []
    for _ in range(count):
        out = io.BytesIO()
        Image.fromarray(draw.integers(0, 255, (*size, 3), np.uint8)).save(out, "JPEG")
        files.append(np.frombuffer(out.getvalue(), np.uint8))
    offsets = np.cumsum([0, *(len(file) for file in files)])
    return {"jpeg": np.concatenate(files), "offsets": offsets}


def test_cpsd_ablation(tmp_path):
    draw = np.random.default_rng(0)
    label = np.arange(60) % 6
    words = np.array([f"thing {i}, other name" for i in range(6)])
    objects = {"label": label, "split": np.arange(60) // 40, "words": words}
    np.savez(tmp_path / "tiny_imagenet50.npz", **pictures(60, (64, 64)), **objects)
    names = np.array(["null", *(f"tag {i}" for i in range(14))])
    tags = draw.random((40, 15)) < 0.4
    np.savez(
        tmp_path / "ccp_multilabel.npz", **pictures(40, (96, 60)), labels=tags, label_names=names
    )
    chosen = ["--only", "baseline", "CPSD", "--out", str(tmp_path / "out")]
    run("cpsd_ablation.py", str(tmp_path), *chosen)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"baseline", "CPSD", "every class present"} <= results.keys()
    assert {"map", "cf1@0.5", "of1@0.5", "cf1@0.8", "of1@0.8"} <= results["CPSD"].keys()


def test_cpsd_networks(tmp_path):
    """Scenes of six kinds of things that go together in pairs; networks start from what they are."""
    words = np.array([f"thing {i}, other name" for i in range(6)])
    objects = {"label": np.arange(240) % 6, "split": np.arange(240) // 120, "words": words}
    np.savez(tmp_path / "tiny_imagenet50.npz", **pictures(240, (32, 32)), **objects)
    pairs = np.kron(np.eye(4, dtype=np.int64), np.ones((2, 2), np.int64)) * 30 + 5
    np.savez(tmp_path / "cooccurrence.npz", coco_counts=np.full(8, 40), coco_pairs=pairs,
             coco_names=np.array([f"kind {i}" for i in range(8)]))  # fmt: skip
    chosen = ["--only", "baseline", "SD", "--start", "objects", "--out", str(tmp_path / "out")]
    run("cpsd_networks.py", str(tmp_path), *chosen)
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    told = content["configuration"]
    assert told["SD"]["training"]["epochs"] == 2 * told["baseline"]["training"]["epochs"]
    assert (tmp_path / "out" / "data" / "backbone" / "report.html").exists()


def test_recipes():
    listed = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "recipes.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [line.split()[0] for line in listed.splitlines()]
    assert {"imagenet-r50-mile", "webvision-r50d-mile", "finetune-0.01-mile"} <= set(names)
    assert "model" in run("recipes.py", "webvision-r50-mile")
    for name in (
        "imagenet-r18-elr",
        "selfsup-0.01-distilled",
        "semi-r50-balanced-with-tags",
        "cpsd-coco-r101",
        "nct-webvision50",
    ):
        run("recipes.py", name)


def test_nct_beside_its_parts(tmp_path):
    """A pack in the published order, of one picture that stands for all."""
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(
        picture, "JPEG"
    )
    one = np.frombuffer(picture.getvalue(), np.uint8)
    n = 50_100
    np.savez(tmp_path / "c.npz", jpeg=np.tile(one, n), offsets=np.arange(n + 1) * len(one),
             label=np.arange(n) % 10, class_names=[f"class {i}" for i in range(10)])  # fmt: skip
    run("nct_cifar.py", str(tmp_path / "c.npz"), "--what", "parts", "--out", str(tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"variability", "nct target_variability=0.0", "dml"} <= results.keys()
    assert "nct balancing=constant" in results
    assert {"best", "last", "wrong_accuracy"} <= results["dml"].keys()
    more = ("--noise", "symmetric-keep", "--paper", "--judge", "noisy", "--r-max", "0.7")
    run(
        "nct_cifar.py",
        str(tmp_path / "c.npz"),
        "--what",
        "rivals",
        *more,
        "--out",
        str(tmp_path / "r"),
    )
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert {"mixup", "elr", "m-correction", "co-teaching", "divide-mix"} <= results.keys()
    told = json.loads((tmp_path / "r" / "comparison.json").read_text())["configuration"]
    assert told["nct"]["settings"]["target_variability"] == 0.7
    assert told["nct"]["training"]["nesterov"] is False


def test_nct_on_a_gpu_in_small_on_a_cpu(tmp_path):
    run("nct_gpu.py", "--out", str(tmp_path))
    content = json.loads((tmp_path / "50" / "comparison.json").read_text())
    assert [row["name"] for row in content["rows"][:2]] == ["ensemble", "nct"]
    assert content["configuration"]["nct"]["settings"]["target_variability"] == 0.5
    assert {"best", "last", "mean10", "wrong_accuracy"} <= set(content["metrics"])


def pack(file: Path, size: int, label: np.ndarray, split: np.ndarray, **more: object) -> Path:
    """Random JPEGs, end to end in one array."""
    noise = np.random.default_rng(len(label))
    files = []
    for _ in label:
        out = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (size, size, 3), np.uint8)).save(out, "JPEG")
        files.append(np.frombuffer(out.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(file, jpeg=np.concatenate(files), offsets=offsets, label=label, split=split, **more)
    return file


def test_semi(tmp_path):
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    cifar = pack(
        tmp_path / "c.npz", 32, np.arange(260) % 10, np.arange(260) // 200, class_names=names
    )
    # a goose is a bird, a salamander is nothing that CIFAR-10 knows
    tiny = pack(
        tmp_path / "t.npz", 64, np.arange(30) % 2, np.arange(30) // 20,
        wnid=["n01855672", "n01629819"], is_a=[["n01503061", "n01855672"]],
    )  # fmt: skip
    said = run("semi_cifar.py", str(cifar), str(tiny), "--out", str(tmp_path / "out"))
    assert "fine-tuning" in said
    (found,) = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"teacher", "supervised", "picks, K = 200, by score", "balanced-ranked, student"} <= set(
        found
    )
    truth = np.load(tmp_path / "out" / "seed0" / "data" / "truth.npy")
    assert truth[-20:].tolist() == [2, -1] * 10


def test_single_positive(tmp_path):
    """The arena on scikit-learn's digits, with three of the members."""
    members = ("--members", "softmax", "mile", "large-loss")
    told = run("single_positive.py", "--arena", "few", *members, "--out", str(tmp_path))
    found = json.loads((tmp_path / "few" / "results.json").read_text())
    assert {"every class present", "most frequent tags", "mile calibrated"} <= found.keys()
    assert "| mile calibrated, told |" in told
    assert found["softmax calibrated"][0]["map"] > 0.2


def test_advise_check(tmp_path):
    """Advice to clean and advice to calibrate, each against plain training."""
    noise = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", images=noise.integers(0, 255, (60, 8, 8), np.uint8))
    names = [f"{i % 3}" for i in range(60)]
    sets = [f"{i % 3};{(i + 1) % 3}" for i in range(60)]
    for file, labels in (("one.csv", names), ("sets.csv", sets)):
        rows = [f"{i},{label}" for i, label in enumerate(labels)]
        (tmp_path / file).write_text("\n".join(["item,labels", *rows]) + "\n")
    data = f"--images {tmp_path}/images.npz --labels {tmp_path}/one.csv --model reteach_tiny"
    plain = f"reteach train softmax {data} --optimizer adam --epochs 30"
    clean = f"reteach relabel clean {data} --folds 2 --rule confidence --out clean.parquet"
    sigmoid = f"reteach train sigmoid {data}"
    pieces = {
        "Take copies out": "reteach dedup --images nowhere",
        "Drop a few": clean,
        "One sigmoid; then reteach calibrate on the run": sigmoid,
    }
    advice = [{"title": title, "command": text} for title, text in pieces.items()]
    (tmp_path / "advice.json").write_text(json.dumps({"plain": plain, "advice": advice}))
    for truth, metrics in (("one.csv", {"accuracy"}), ("sets.csv", {"f1@0.5", "map"})):
        given = (str(tmp_path / name) for name in ("advice.json", "images.npz", truth))
        said = run("advise_check.py", *given, "--out", str(tmp_path / truth[:-4]))
        assert "| Drop a few |" in said
        found = json.loads((tmp_path / truth[:-4] / "results.json").read_text())
        longer = "plain, as many passes as Drop a few"
        assert found.keys() == {"plain", longer, *list(pieces)[1:]}
        assert found["plain"][0].keys() == metrics | {"refused"}


def tagged_features(folder: Path) -> list[str]:
    """A feature table of 60 images with eight tags, and its labels."""
    from reteach import sealed
    from reteach.data.sources.feature_table import FORMAT, INDEX, FeatureShard, write_shard
    from reteach.labels import Multi
    from reteach.tables import LabelTable, write_labels

    draw = np.random.default_rng(0)
    items = tuple(map(str, range(60)))
    made = {"backbone": "none"}
    shard = FeatureShard(made, "0", items, draw.normal(size=(60, 1, 12)).astype(np.float16))
    table = folder / "f.features"
    table.mkdir()
    digest = write_shard(table / "0.parquet", shard)
    index = {"format": FORMAT, "settings": made, "complete": True, "shards": {"0": digest}}
    sealed.write_json(table / INDEX, index)
    tags = Multi.from_dense(draw.random((60, 8)) < 0.4, [f"tag {i}" for i in range(8)])
    write_labels(folder / "tags.csv", LabelTable(items, tags))
    return [str(table), "--labels", str(folder / "tags.csv"), "--out", str(folder / "out.jsonl")]


def test_cpsd_on_features_goes_on_and_shows_pairs(tmp_path):
    words = [*tagged_features(tmp_path), "--what", "cheaper"]
    first = run("cpsd_features.py", *words)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert run("cpsd_features.py", *words) == first
    assert (tmp_path / "out.jsonl").read_text().splitlines() == lines, "nothing is computed again"
    assert "| snapshots | all | sum | free |" in first
    rows = [json.loads(line) for line in lines if "Row" in line]
    assert len(rows) == 2 * 11  # divisions × rows
    assert all(0 <= row["map"] <= 100 for row in rows)


def test_cpsd_on_features_keeps_to_its_budgets(tmp_path, monkeypatch):
    """Charged: teachers and student make E epochs together. Free: E, and a quarter of it per teacher."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import cpsd_features as script

    features, _, labels, _, _ = tagged_features(tmp_path)
    x, y, names = script.read([Path(features)], [Path(labels)])
    spent: list[float] = []
    real = script.fit

    def counted(x, loss, classes, epochs, *more, **others):
        spent.append(epochs * len(x))
        return real(x, loss, classes, epochs, *more, **others)

    monkeypatch.setattr(script, "fit", counted)
    teachers = {"SD": 1, "ten whole": 10, "CGPD": 2, "DGPD": 2, "CPSD": 4, "two random": 4}
    for kind, count in teachers.items():
        for images in ("all", "theirs"):
            for budget in ("free", "charged"):
                one = script.divide(x, y, names, 0)
                n = len(one.parts["train"][1])
                spent.clear()
                script.train(one, script.Row(kind, images, "sum", budget, k=2), 8, 1e-3)
                assert len(spent) == count + 1
                if budget == "charged":
                    assert sum(spent) == pytest.approx(8 * n)
                else:
                    assert spent[-1] == 8 * n
                    most = 2 * n * count
                    assert sum(spent[:-1]) == most if images == "all" else sum(spent[:-1]) <= most


def test_cpsd_on_features_chooses_on_validation_images_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import cpsd_features as script

    def judged(found, x, y):
        assert x == "val"
        return {"map": -abs(found[0] - 3e-3) * 1e5 - found[1]}

    monkeypatch.setattr(script, "train", lambda told, row, epochs, rate: (rate, epochs))
    monkeypatch.setattr(script, "judge", judged)
    parts = {name: (name, name) for name in ("train", "val", "test")}
    divisions = [script.Division(n, parts, ()) for n in range(4)]
    lines = script.Lines(tmp_path / "out.jsonl")
    assert script.choose(lines, divisions, script.Row("SD")) == (3e-3, 10)
    assert len(lines.known) == len(script.RATES) * len(script.EPOCHS) * script.CHOOSING
    assert script.Row("SD", imitation="mean").named() == script.Row("SD").named()
