"""``reteach calibrate`` from the command line, and what predict and evaluate make of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from reteach import sealed
from reteach.cli import main
from reteach.data.synthetic import compose, sklearn_digits
from reteach.labels import Multi, Single, Soft
from reteach.runs.checkpoint import load_models
from reteach.tables import LabelTable, read_labels, write_labels

QUICK = ("--model", "reteach_tiny", "--workers", "0", "--device", "cpu", "--optimizer", "adam")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A softmax run on 2×2 grids of digits with one label each; new grids, and their label sets."""
    root = tmp_path_factory.mktemp("calibrate")
    cells, digits = sklearn_digits()
    learn = compose(cells[:1200], digits[:1200], 4000, 2, seed=0)
    other = compose(cells[1200:], digits[1200:], 600, 2, seed=1)
    names = np.array([str(i) for i in range(10)])
    for name, grids in (("learn", learn), ("other", other)):
        np.savez(root / f"{name}.npz", images=grids.images, labels=grids.given.index, classes=names)
    np.savez(root / "bare.npz", images=other.images)
    items = tuple(np.array([f"{i}" for i in range(600)]))
    data = load_items(root / "bare.npz")
    write_labels(root / "sets.parquet", LabelTable(data, other.truth, "made"))
    write_labels(root / "one.csv", LabelTable(data, other.given, "made"))
    del items
    words = ["train", "softmax", "--images", f"{root}/learn.npz", "--steps", "350"]
    words += ["--batch-size", "64", "--lr", "0.003", "--out", f"{root}/run", *QUICK]
    assert main(words) == 0
    return root


def load_items(file):
    from reteach.data.sources.base import open_source

    return tuple(open_source(str(file)).items)


def judged(root, out):
    words = ["evaluate", f"{root}/run", "--images", f"{root}/bare.npz"]
    words += ["--labels", f"{root}/sets.parquet", "--out", str(out), "--workers", "0"]
    assert main(words) == 0
    return json.loads(out.read_text())["metrics"]["model"]


def test_calibration_is_used_by_every_later_command(runs, tmp_path, capsys):
    before = judged(runs, tmp_path / "before.json")
    words = ["calibrate", f"{runs}/run", "--images", f"{runs}/bare.npz", "--workers", "0"]
    assert main([*words, "--labels", f"{runs}/one.csv", "--anyway"]) == 0
    told = capsys.readouterr().out
    assert "600 images" in told
    assert "labels per image" in told
    after = judged(runs, tmp_path / "after.json")
    assert after["f1@0.5"] > before["f1@0.5"] + 0.1
    assert after["map"] == pytest.approx(before["map"], abs=0.002)
    assert abs(after["labels_per_image"] - after["true_labels_per_image"]) < 2

    table = tmp_path / "labels.parquet"
    words = ["predict", f"{runs}/run", "--images", f"{runs}/bare.npz", "--out", str(table)]
    assert main([*words, "--workers", "0"]) == 0
    sets = read_labels(table).labels
    assert isinstance(sets, Multi)
    saved = load_models(runs / "run", "cpu")
    assert saved.predictor.link == "sigmoid"
    assert saved.threshold is None
    x = torch.randn(3, 1, 16, 16)
    raw = load_models(runs / "run", "cpu", calibrated=False).predictor
    assert raw.link == "softmax"
    assert torch.equal(saved.predictor.presence(raw.logits(x)), saved.predictor.logits(x))
    assert main([*words, "--tuned", "--workers", "0"]) == 2
    assert "calibrated" in capsys.readouterr().err

    page = (runs / "run" / "calibration.html").read_text()
    assert "never named" in page
    assert "labels per image as likely" in page


def test_the_runs_own_validation_images_are_the_default(runs, capsys):
    assert main(["calibrate", f"{runs}/run", "--workers", "0", "--anyway"]) == 0
    assert "400 images" in capsys.readouterr().out


def test_a_map_for_each_class_has_its_table_on_the_page(runs, tmp_path):
    page = tmp_path / "classes.html"
    words = ["calibrate", f"{runs}/run", "--images", f"{runs}/bare.npz", "--workers", "0"]
    words += ["--labels", f"{runs}/one.csv", "--anyway", "--scope", "classes"]
    try:
        assert main([*words, "--report", str(page)]) == 0
        assert "Per class" in page.read_text()
    finally:  # the other tests have a run without calibration, or make their own
        for file in (runs / "run" / "models").glob("*.presence.json"):
            file.unlink()


def test_folds_see_every_training_image_once(runs, tmp_path, capsys):
    words = ["train", "sigmoid", "--images", f"{runs}/other.npz", "--steps", "20"]
    words += ["--batch-size", "16", "--val-fraction", "0", "--out", f"{tmp_path}/small", *QUICK]
    assert main(words) == 0
    assert main(["calibrate", f"{tmp_path}/small"]) == 2
    assert "no validation images" in capsys.readouterr().err
    assert main(["calibrate", f"{tmp_path}/small", "--folds", "2", "--anyway"]) == 0
    assert "600 images" in capsys.readouterr().out
    stages = tmp_path / "small" / "calibration" / "stages"
    assert {"split", "fold-1", "fold-2"} <= {p.name for p in stages.iterdir()}


def test_folds_of_images_whose_label_is_shared_are_scored_and_unnamed(runs, tmp_path, capsys):
    """A review has said all classes of 30 images, which are taught as shares; the others keep their label."""
    one, sets = read_labels(runs / "one.csv").labels, read_labels(runs / "sets.parquet").labels
    share = np.eye(10, dtype=np.float32)[one.index]
    share[:30] = sets.array()[:30] / sets.array()[:30].sum(1, keepdims=True)
    several = int((np.count_nonzero(share, axis=1) > 1).sum())
    assert several > 20
    table = LabelTable(load_items(runs / "bare.npz"), Soft.from_dense(share, one.classes), "made")
    write_labels(tmp_path / "soft.parquet", table)
    words = [
        "train",
        "softmax",
        "--images",
        f"{runs}/bare.npz",
        "--labels",
        f"{tmp_path}/soft.parquet",
    ]
    words += [
        "--steps",
        "5",
        "--batch-size",
        "16",
        "--val-fraction",
        "0",
        "--out",
        f"{tmp_path}/shared",
    ]
    assert main([*words, *QUICK]) == 0
    capsys.readouterr()
    words = ["calibrate", f"{tmp_path}/shared", "--folds", "2", "--expected", "3"]
    assert main([*words, "--workers", "0"]) == 0
    assert f"600 images, labels {600 - several} of them" in capsys.readouterr().out


def test_what_an_image_is_named_after():
    from reteach.commands.calibrate import _named

    classes, single = ("a", "b", "c"), Single(np.array([2, -1]), ("a", "b", "c"))
    shares = Soft.from_dense(np.array([[0, 0.3, 0], [0.5, 0, 0.5]]), classes)
    assert _named(single) is single
    assert _named(shares).index.tolist() == [1, -1]
    assert _named(Multi(np.array([0, 1, 3]), np.array([0, 1, 2]), classes)).index.tolist() == [
        -1,
        -1,
    ]


def test_folds_of_label_sets_are_refused_with_what_to_do(runs, tmp_path, capsys):
    words = ["train", "sigmoid", "--images", f"{runs}/bare.npz", "--labels", f"{runs}/sets.parquet"]
    words += [
        "--steps",
        "1",
        "--batch-size",
        "8",
        "--val-fraction",
        "0",
        "--out",
        f"{tmp_path}/sets",
    ]
    assert main([*words, *QUICK]) == 0
    capsys.readouterr()
    assert main(["calibrate", f"{tmp_path}/sets", "--folds", "2"]) == 2
    assert "--images calibrates it" in capsys.readouterr().err


def test_doubts_stop_it_and_the_page_tells_why(runs, tmp_path, capsys):
    words = ["train", "sigmoid", "--images", f"{runs}/learn.npz", "--steps", "1"]
    assert main([*words, "--batch-size", "8", "--out", f"{tmp_path}/raw", *QUICK]) == 0
    assert main(["calibrate", f"{tmp_path}/raw", "--workers", "0"]) == 2
    told = capsys.readouterr().err
    assert "cannot tell present from absent" in told
    assert len(told.strip().splitlines()[-1:]) == 1
    assert not (tmp_path / "raw" / "models" / "model.presence.json").exists()
    assert "cannot tell" in (tmp_path / "raw" / "calibration.html").read_text()


def test_expected_stores_with_a_warning_what_the_data_alone_would_not_tell(runs, tmp_path, capsys):
    words = ["train", "sigmoid", "--images", f"{runs}/learn.npz", "--steps", "1"]
    assert main([*words, "--batch-size", "8", "--out", f"{tmp_path}/raw", *QUICK]) == 0
    capsys.readouterr()
    assert main(["calibrate", f"{tmp_path}/raw", "--workers", "0", "--expected", "4"]) == 0
    assert "but: " in capsys.readouterr().out
    assert (tmp_path / "raw" / "models" / "model.presence.json").exists()


def test_a_few_label_sets_say_how_many_labels_pass_the_half_without_anyway(runs, tmp_path, capsys):
    words = ["train", "softmax", "--images", f"{runs}/learn.npz", "--steps", "20"]
    assert main([*words, "--batch-size", "64", "--out", f"{tmp_path}/shy", *QUICK]) == 0
    sets = read_labels(runs / "sets.parquet")
    few = LabelTable(sets.items[:40], sets.labels.take(np.arange(40)), "made")
    write_labels(tmp_path / "few.csv", few)
    mean = float(few.labels.present().sum(1).mean())
    words = ["calibrate", f"{tmp_path}/shy", "--workers", "0", "--label-sets"]
    assert main([*words, f"{tmp_path}/few.csv"]) == 0
    told = capsys.readouterr().out
    assert f"{mean:.2f} labels per image" in told
    assert "as many labels pass a score of 0.5 as are expected" in told
    out = tmp_path / "p.csv"
    words = ["predict", f"{tmp_path}/shy", "--images", f"{runs}/bare.npz", "--out", str(out)]
    assert main([*words, "--workers", "0"]) == 0
    predicted = read_labels(out, kind="multi").labels.present().sum(1).mean()
    assert predicted == pytest.approx(mean, abs=0.4)


@pytest.mark.parametrize(
    ("table", "more", "says"),
    [
        ("one.csv", (), "these are not all labels of each image"),
        ("sets.parquet", ("--expected", "2"), "give one of them"),
    ],
)
def test_what_is_no_number_of_labels_is_one_line(runs, capsys, table, more, says):
    words = ["calibrate", f"{runs}/run", "--workers", "0", "--label-sets", f"{runs}/{table}"]
    assert main([*words, *more]) == 2
    assert says in capsys.readouterr().err


def test_the_half_is_a_choice_only_where_a_number_of_labels_is_given(runs, capsys):
    assert main(["calibrate", f"{runs}/run", "--half", "presence"]) == 2
    assert "--half has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        ("0.9999", "no class passes 0.9999 on any image (the highest score is"),
        ("0.0001", "which says nothing: the model has collapsed, or the threshold is too low"),
    ],
)
def test_labels_that_say_nothing_are_named_with_the_next_step(
    runs, tmp_path, capsys, threshold, says
):
    words = ["train", "sigmoid", "--images", f"{runs}/learn.npz", "--steps", "1"]
    assert main([*words, "--batch-size", "8", "--out", f"{tmp_path}/raw", *QUICK]) == 0
    words = ["predict", f"{tmp_path}/raw", "--images", f"{runs}/bare.npz", "--workers", "0"]
    assert main([*words, "--out", f"{tmp_path}/p.csv", "--threshold", threshold]) == 0
    told = capsys.readouterr().out
    assert says in told
    assert f"reteach calibrate {tmp_path}/raw" in told
    assert "--threshold" in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--folds", "1"], "--folds must be 0 or at least 2"),
        (["--folds", "3", "--images", "x"], "leave --images"),
        (["--labels", "x.csv"], "--labels needs --images"),
        (["--prior-strength", "-1"], "--prior-strength must not be negative"),
        (["--predictor", "modle"], "did you mean model"),
        (["--expected", "11"], "--expected must lie in [1, 10)"),
    ],
)
def test_bad_words_are_one_line(runs, words, says, capsys):
    assert main(["calibrate", f"{runs}/run", "--workers", "0", *words]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("reteach: ")]
    assert len(told) == 1
    assert says in told[0]


def test_label_sets_are_refused(runs, capsys):
    words = ["calibrate", f"{runs}/run", "--images", f"{runs}/bare.npz", "--workers", "0"]
    assert main([*words, "--labels", f"{runs}/sets.parquet"]) == 2
    assert "reteach: " in capsys.readouterr().err


def test_a_calibration_of_other_classes_is_refused(runs, capsys):
    file = runs / "run" / "models" / "model.presence.json"
    main(["calibrate", f"{runs}/run", "--workers", "0", "--anyway"])
    content = sealed.read_json(file, "")
    sealed.write_json(file, content | {"classes": [f"x{i}" for i in range(10)]})
    words = ["evaluate", f"{runs}/run", "--images", f"{runs}/other.npz", "--workers", "0"]
    assert main(words) == 2
    assert "another class list" in capsys.readouterr().err
    file.unlink()
    assert main(words) == 0


def test_names_of_other_classes_are_no_names(runs):
    """Images in folders of classes that the model does not know count as images without a label."""
    from reteach.commands.calibrate import _given
    from reteach.options.calibrate import CalibrateOptions

    saved = load_models(runs / "run", "cpu", calibrated=False)
    command = CalibrateOptions(runs / "run", images=f"{runs}/other.npz")
    labels = _given(command, saved, {}).labels
    assert isinstance(labels, Single)
    assert (labels.index >= 0).all()
