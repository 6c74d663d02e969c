"""The command line as a user meets it: whole jobs on small photos, and one clear line for every fault."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from reteach.cli import main
from reteach.commands.lines import metric_lines
from reteach.labels import Multi, Single
from reteach.options.methods import MileOptions
from reteach.options.shared import Data, Model
from reteach.runs.config import build, load
from reteach.runs.inputs import open_inputs
from reteach.tables import LabelTable, read_labels, write_labels
from words import override

SMALL = ["--model", "reteach_tiny", "--image-size", "16", "--workers", "0", "--device", "cpu"]
QUICK = [*SMALL, "--steps", "12", "--batch-size", "8"]


def photo(file: Path, brightness: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = noise.integers(0, 80, (24, 20, 3)) + brightness
    Image.fromarray(pixels.astype(np.uint8)).save(file)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """photos/ with labels.csv (and two files that are no photos), val/ in class folders, sets.parquet."""
    root = tmp_path_factory.mktemp("world")
    names = ("dark", "grey", "light")
    lines = ["item,labels"]
    for i in range(36):
        photo(root / "photos" / f"{i:02}.png", 70 * (i % 3), i)
        lines.append(f"{i:02}.png,{names[i % 3]}")
        if i < 12:
            photo(root / "val" / names[i % 3] / f"{i}.jpg", 70 * (i % 3), 100 + i)
    (root / "photos" / "=1+1.png").write_text("not a photo")
    (root / "photos" / "cut.png").write_bytes((root / "photos" / "00.png").read_bytes()[:60])
    lines += ["=1+1.png,dark", "cut.png,light"]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    items = tuple(f"{names[i % 3]}/{i}.jpg" for i in range(12))
    sets = Multi.from_dense(np.eye(3)[np.arange(12) % 3] + np.eye(3)[0], names)
    write_labels(root / "sets.parquet", LabelTable(items, sets, "by hand"))
    return root


@pytest.fixture(scope="session")
def trained(world) -> Path:
    out = world / "run"
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", "--out", str(out)]
    assert main(["train", "mile", *given, *QUICK, "--k-t", "4", "--k-s", "2"]) == 0
    return out


def test_a_run_folder_has_everything(trained, world):
    facts = json.loads((trained / "run.json").read_text())
    assert facts["status"] == "finished"
    assert (facts["n_train"], facts["n_val"], facts["n_quarantined"]) == (33, 3, 2)
    quarantine = (trained / "quarantine.csv").read_text().splitlines()
    assert quarantine[0] == "item,reason"
    assert sorted(line.split(",")[0] for line in quarantine[1:]) == ["'=1+1.png", "cut.png"]
    judged = json.loads((trained / "evaluation.json").read_text())["val"]
    assert list(judged) == ["student", "teacher"]
    assert len(judged["student"]["examples"]) == 3
    assert "<html" in (trained / "report.html").read_text()
    kinds = {json.loads(line)["kind"] for line in (trained / "metrics.jsonl").open()}
    assert kinds == {"train", "eval"}


def test_timm_loads_the_trained_network(trained, world):
    import reteach.models.small  # noqa: F401

    folder = trained / "models" / "student"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    snapshot = torch.load(trained / "stages/train/snapshot.pt", weights_only=True)["state"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, snapshot[f"algorithm.student.model.{name}"])


def test_predict_writes_a_label_table_that_training_takes(trained, world, capsys):
    table, scores = world / "predicted.parquet", world / "scores.parquet"
    given = ["--images", f"{world}/photos", "--workers", "0", "--device", "cpu"]
    asked = ["--out", str(table), "--scores", str(scores), "--top", "2", "--threshold", "0.4"]
    assert main(["predict", str(trained), *given, *asked]) == 0
    found = read_labels(table)
    assert isinstance(found.labels, Multi)
    assert len(found.items) == 36
    assert found.labels.classes == ("dark", "grey", "light")
    rows = pq.read_table(scores)
    assert len(rows) == 72
    given = (1 / (1 + np.exp(-rows["logit"].to_numpy()))).astype(np.float32)  # MILe's are sigmoids
    np.testing.assert_allclose(rows["score"].to_numpy(), given, rtol=1e-5)
    assert json.loads(rows.schema.metadata[b"reteach.classes"]) == ["dark", "grey", "light"]
    above = sum(s > 0.4 for s in rows["score"].to_pylist())
    assert above == min(above, len(found.labels.columns))
    again = ["--out", str(world / "again"), "--val-fraction", "0.2"]
    images = ["--images", f"{world}/photos", "--labels", str(table)]
    assert main(["train", "sigmoid", *images, *QUICK, *again]) == 0


def test_evaluate_with_sets_and_originals(trained, world, capsys):
    given = ["--images", f"{world}/val", "--labels", f"{world}/sets.parquet"]
    original = world / "original.csv"
    names = ("dark", "grey", "light")
    original.write_text(
        "item,labels\n" + "".join(f"{names[i % 3]}/{i}.jpg,{names[i % 3]}\n" for i in range(12))
    )
    out = world / "numbers.json"
    more = ["--original", str(original), "--out", str(out), "--workers", "0", "--device", "cpu"]
    assert main(["evaluate", str(trained), *given, *more]) == 0
    numbers = json.loads(out.read_text())["metrics"]["student"]
    assert {"accuracy", "real_accuracy", "f1@0.25", "map"} <= numbers.keys()
    assert numbers["true_labels_per_image"] == pytest.approx(20 / 12)
    assert "ReaL" in capsys.readouterr().out
    assert main(["evaluate", str(trained), "--images", f"{world}/val", "--workers", "0"]) == 0


def test_the_output_says_over_how_many_images_each_number_is(trained, world, tmp_path, capsys):
    """Two reassessed sets are empty: nobody could tell, unless the user says that nothing is there."""
    table = read_labels(world / "sets.parquet")
    names = table.labels.classes
    present = table.labels.present()
    present[[3, 7]] = False
    write_labels(
        tmp_path / "sets.parquet", LabelTable(table.items, Multi.from_dense(present, names))
    )
    lines = [f"{item},{item.split('/')[0]}\n" for item in table.items]
    (tmp_path / "original.csv").write_text("item,labels\n" + "".join(lines))
    where = ["--images", f"{world}/val", "--labels", f"{tmp_path}/sets.parquet", "--workers", "0"]
    where += ["--device", "cpu", "--out", f"{tmp_path}/numbers.json"]
    original = ["--original", f"{tmp_path}/original.csv"]

    def judged(*more: str) -> tuple[dict[str, float], str]:
        assert main(["evaluate", str(trained), *where, *more]) == 0
        said = capsys.readouterr().out
        return json.loads((tmp_path / "numbers.json").read_text())["metrics"]["student"], said

    found, said = judged(*original)
    assert [found[k] for k in ("n", "n_accuracy", "n_real_accuracy", "n_sets")] == [12, 12, 10, 10]
    assert "of 12 images: accuracy over 12, ReaL accuracy over 10, all else over 10" in said
    assert "F1 top-1" in said
    found, said = judged(*original, "--empty", "none")
    assert "of 12 images: accuracy over 12, ReaL accuracy over 10, all else over 12" in said
    found, said = judged()
    assert "of 12 images: accuracy over 10, all else over 12" in said
    found, said = judged("--empty", "unknown")
    assert "over 10 images" in said


def test_validation_images_of_an_empty_set_count_unless_nobody_could_tell(world, tmp_path):
    lines = [f"{i:02}.png,{'dark|grey' if i % 3 else ''}" for i in range(6)]
    (tmp_path / "val.csv").write_text("\n".join(["item,labels", *lines]) + "\n")
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", *QUICK]
    given += ["--val-labels", f"{tmp_path}/val.csv"]
    for more, n in (([], 6), (["--val-empty", "unknown"], 4)):
        out = tmp_path / f"run{n}"
        assert main(["train", "sigmoid", *given, *more, "--out", str(out)]) == 0
        (found,) = json.loads((out / "evaluation.json").read_text())["val"].values()
        assert found["metrics"]["n_sets"] == n
        assert json.loads((out / "run.json").read_text())["n_train"] == 30


def test_what_an_empty_set_says_is_not_asked_of_single_labels(trained, world, tmp_path, capsys):
    """No option without an effect."""
    where = ["--images", f"{world}/val", "--workers", "0", "--device", "cpu"]
    assert main(["evaluate", str(trained), *where, "--empty", "unknown"]) == 2
    assert "--empty is about label sets" in capsys.readouterr().err
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", *QUICK]
    given += ["--val-empty", "unknown", "--out", f"{tmp_path}/run"]
    assert main(["train", "sigmoid", *given]) == 2
    assert "--val-empty unknown is about label sets" in capsys.readouterr().err


def test_the_metric_that_fits_the_labels_comes_first():
    numbers = {"accuracy": 0.5, "f1@0.25": 0.4, "map": 0.3, "labels_per_image": 1.0}
    numbers |= {"cf1@0.5": 0.2, "cf1@0.8": 0.1}
    for true, real, first, last in (
        (1.0, {}, "accuracy", "mAP"),  # nothing of label sets
        (2.5, {}, "mAP", "labels/image"),
        (2.5, {"real_accuracy": 0.6}, "accuracy", "labels/image"),
    ):
        shown = metric_lines({"model": numbers | real | {"true_labels_per_image": true}})
        head = "\n".join(shown).strip().splitlines()[0].split()
        assert [head[1], head[-1]] == [first, last]


def test_resuming_a_finished_run_changes_nothing(trained):
    before = (trained / "models/student/model.safetensors").read_bytes()
    log = (trained / "metrics.jsonl").read_bytes()
    assert main(["resume", str(trained)]) == 0
    assert (trained / "models/student/model.safetensors").read_bytes() == before
    assert (trained / "metrics.jsonl").read_bytes() == log


def test_a_run_that_goes_on_still_knows_its_warnings(world, trained):
    out = world / "warned"
    shutil.copytree(trained, out)
    full = [{"stage": "train", "step": s, "kind": "train", "pseudo_labels": 3.0} for s in (1, 2, 3)]
    with open(out / "metrics.jsonl", "a") as log:
        log.writelines(json.dumps(record) + "\n" for record in full)
    assert main(["resume", str(out)]) == 0
    warnings = json.loads((out / "run.json").read_text())["warnings"]
    assert any("collapse to every class present" in warning for warning in warnings)


def test_ctrl_c_leaves_a_run_that_resume_finishes(world):
    """In a process of its own: interrupted by SIGINT, resumed here, equal to one that was not."""
    out, whole = world / "interrupted", world / "whole"
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", *SMALL]
    given += ["--steps", "600", "--batch-size", "8", "--k-t", "20"]
    command = [sys.executable, "-m", "reteach", "train", "mile", *given, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = out / "metrics.jsonl"
    for _ in range(600):
        if log.exists() and log.stat().st_size > 0:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert f"reteach resume {out}" in told
    assert "after step" in told
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert main(["resume", str(out)]) == 0
    assert main(["train", "mile", *given, "--out", str(whole)]) == 0
    weights = "models/student/model.safetensors"
    assert (out / weights).read_bytes() == (whole / weights).read_bytes()


def test_a_signal_to_the_whole_group_is_for_the_run_alone(world):
    """As a terminal's Ctrl-C or ``timeout`` sends it: the workers get none of it, the run stops in order."""
    out = world / "group"
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", *SMALL]
    given += ["--workers", "1", "--steps", "6000", "--batch-size", "8", "--out", str(out)]
    command = [sys.executable, "-m", "reteach", *override("train", "softmax", *given)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    log = out / "metrics.jsonl"
    for _ in range(900):
        if log.exists() and log.stat().st_size > 0:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert f"reteach resume {out}" in told
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"


def test_unusable_images_are_named_on_the_terminal(world, capsys):
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv"]
    assert main(["train", "softmax", *given, *QUICK, "--out", str(world / "named")]) == 0
    told = capsys.readouterr().err
    assert "left out: 2 of the images cannot be used, first: '=1+1.png' (" in told
    assert "quarantine.csv" in told


@pytest.mark.parametrize("method", ["softmax", "elr", "distill", "noisy-student"])
def test_every_method_trains_on_photos(world, method):
    out = world / f"run-{method}"
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", "--out", str(out)]
    extra = {
        "softmax": ["--rebalance", "--average", "0.9", "--cache", "--clip", "1"],
        "elr": ["--accumulate", "2", "--optimizer", "adamw", "--schedule", "drops"],
        "distill": ["--target", "threshold", "--rho", "0.3", "--fraction", "0.5"],
        "noisy-student": ["--unlabeled", f"{world}/val", "--generations", "2"],
    }[method]
    assert main(["train", method, *given, *QUICK, *extra]) == 0
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_mile_on_labelled_and_unlabelled_images(world):
    out = world / "run-semi"
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", "--out", str(out)]
    more = ["--unlabeled", f"{world}/val", "--k-t", "3", "--union", "--relabel", "cycle"]
    assert main(["train", "mile", *given, *QUICK, *more]) == 0
    assert json.loads((out / "run.json").read_text())["n_unlabeled"] == 12


def test_mile_on_label_sets_and_unlabelled_images(world):
    """Nothing is known of the unlabelled ones: they reach the student alone."""
    table, out = world / "sets.csv", world / "run-sets"
    names = (world / "labels.csv").read_text().splitlines()[1:]
    classes = sorted({line.split(",")[1] for line in names})
    both = [f"{line.split(',')[0]},{';'.join(classes)}" for line in names[:3]]
    table.write_text("\n".join(["item,labels", *both, *names[3:]]) + "\n")
    given = ["--images", f"{world}/photos", "--labels", str(table), "--out", str(out)]
    more = ["--unlabeled", f"{world}/val", "--rebalance", "--union"]
    assert main(["train", "mile", *given, *QUICK, *more]) == 0
    found = json.loads((out / "run.json").read_text())
    assert found["n_unlabeled"] == 12


def test_a_teacher_from_another_run(world, trained):
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv"]
    teacher = ["--teacher", str(trained), "--out", str(world / "student")]
    assert main(["train", "distill", *given, *QUICK, *teacher, "--target", "threshold"]) == 0
    assert main(["train", "distill", *given, *QUICK, *teacher[:2], "--out", str(world / "no")]) == 2


def test_settings_from_yaml(world, capsys):
    settings = world / "settings.yaml"
    settings.write_text(
        f"images: {world}/photos\nlabels: {world}/labels.csv\nmodel: reteach_tiny\nimage_size: 16\n"
        "workers: 0\nsteps: 6\nbatch_size: 8\ncache: true\nk_t: 2\n"
    )
    out = world / "yaml"
    assert main(["train", "mile", "--config", str(settings), "--out", str(out), "--k-t", "3"]) == 0
    assert "k_t: 3" in (out / "config.yaml").read_text()
    settings.write_text("imagse: x\n")
    assert main(["train", "mile", "--config", str(settings)]) == 2
    assert "'imagse'; did you mean images" in capsys.readouterr().err


def test_a_runs_own_config_trains_it_again(trained, tmp_path, monkeypatch):
    """Into a new folder, and to the same weights."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "mile", f"--config={trained / 'config.yaml'}"]) == 0
    again = tmp_path / "runs/mile-1"
    old, new = load(trained / "config.yaml"), load(again / "config.yaml")
    assert replace(new, output=old.output) == old
    weights = "models/student/model.safetensors"
    one, two = load_file(trained / weights), load_file(again / weights)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_null_in_yaml_is_the_default(world, tmp_path):
    """Not a file called None."""
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "k_t: null\ninit:\nvectors: null\nlr: null\nunlabeled: ~\nval_images: null\nmodel: null\nwandb:\n"
    )
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv"]
    out = tmp_path / "run"
    told = ["--config", str(settings), *QUICK, "--out", str(out)]
    assert main(["train", "mile", *given, *told]) == 0
    kept = load(out / "config.yaml")
    assert kept.settings == MileOptions()
    assert (kept.model.init, kept.data.unlabeled, kept.output.wandb) == (None, None, None)
    assert build(Model, {"model": None, "init": None}, "here") == Model()
    settings.write_text("finetune_lr: [0.1, null]\n")
    assert main(["train", "semi", "--config", str(settings)]) == 2


FAULTS = {
    "unlabeled": (["train elr {d} --unlabeled {w}/val"], "has no effect with elr"),
    "two budgets": (["train softmax {d} --epochs 3"], "--epochs has no effect beside --steps"),
    "drop at": (["train softmax {d} --drop-at 0.5"], "has no effect without --schedule drop"),
    "cutout": (["train softmax {d} --augment none --cutout 0.5"], "without --augment crop"),
    "two validations": (
        ["train softmax {d} --val-images {w}/val --val-fraction 0.2"],
        "--val-fraction has no effect beside --val-images",
    ),
    "nobody judges": (["train softmax {d} --val-fraction 0 --eval-every 2"], "without validation"),
    "missing folder": (["train mile --images {w}/nowhere"], "does not exist"),
    "empty folder": (["train mile --images {w}/empty"], "no images"),
    "no labels": (["train mile --images {w}/photos"], "--labels is needed"),
    "no images": (["train mile"], "--images is missing"),
    "unknown item": (["train mile --images {w}/photos --labels {w}/foreign.csv"], "'nope.png'"),
    "unknown class": (
        ["train mile --images {w}/photos --labels {w}/labels.csv --val-labels {w}/other.csv"],
        "'purple'",
    ),
    "one class": (["train mile --images {w}/photos --labels {w}/one.csv"], "only one class"),
    "wrong column": (
        ["train mile --images {w}/photos --labels {w}/column.csv"],
        "no column 'labels'",
    ),
    "unknown model": (["train mile {d} --model resnet19"], "did you mean resnet18"),
    "k_t": (["train mile {d} --k-t 0"], "--k-t"),
    "long k_t": (["train mile {d} --k-t 12"], "never learn"),
    "rho": (["train mile {d} --rho 1"], "rho"),
    "another configuration": (["train mile {d} --out {w}/run --k-t 5"], "k_t: 4 there, 5 now"),
    "not a run folder": (["train mile {d} --out {w}/photos"], "not a run folder"),
    "no run": (["resume {w}/nowhere"], "nowhere does not exist"),
    "no model": (["predict {w}/photos --images {w}/photos"], "no trained model"),
    "batch size": (["train mile {d} --batch-size 0"], "at least 1"),
    "learning rate": (["train mile {d} --lr -1"], "positive"),
    "epochs": (["train softmax {d} --epochs -1"], "--epochs must be positive, got -1"),
    "weight decay": (["train mile {d} --weight-decay -1"], "must not be negative, got -1"),
    "seed": (["train mile {d} --seed -1"], "--seed must not be negative, got -1"),
    "fraction": (["train mile {d} --fraction 2"], "--fraction must lie in (0, 1], got 2"),
    "warmup": (["train mile {d} --warmup -1"], "--warmup must lie in [0, 1], got -1"),
    "clip": (["train mile {d} --clip -1"], "--clip must not be negative, got -1"),
    "average": (["train mile {d} --average 1.5"], "--average must lie in [0, 1), got 1.5"),
    "eval every": (["train mile {d} --eval-every 0"], "--eval-every must be at least 1, got 0"),
    "no images at a time": (
        ["predict {w}/run --images {w}/val --batch-size 0"],
        "at least 1, got 0",
    ),
    "workers": (["predict {w}/run --images {w}/val --workers -2"], "not be negative, got -2"),
    "a folder for a file": (["report {w}/run --out {w}/photos"], "Is a directory"),
    "threshold": (["predict {w}/run --images {w}/val --threshold 2"], "must lie in [0, 1), got 2"),
    "no label table": (["predict {w}/run --images {w}/val --out x.txt"], "a .parquet or .csv"),
    "device": (["train mile {d} --device warp"], "'warp'"),
    "fail at once": (["train mile {d} --on-error fail"], "2 of 38 images"),
    "label sets": (
        ["train softmax --images {w}/val --labels {w}/sets.parquet --steps 2 --workers 0"],
        "use sigmoid or mile",
    ),
    "no baseline": (["train distill {d} --teacher {w}/photos"], "no trained model"),
    "unknown command": (["trian mile"], "unknown command"),
    "unknown method": (["train milo"], "did you mean"),
    "sweep": (["compare mile {d} --sweep rhoo=1,2"], "no method here has a setting"),
    "sweep value": (["compare mile {d} --sweep rho=a,b"], "must be a float"),
    "report": (["report {w}/photos"], "neither a run folder nor a comparison"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line_and_exit_code_2(world, trained, capsys, fault):
    (world / "empty").mkdir(exist_ok=True)
    (world / "foreign.csv").write_text("item,labels\n00.png,dark\nnope.png,light\n")
    (world / "other.csv").write_text("item,labels\n00.png,purple\n")
    (world / "one.csv").write_text("item,labels\n00.png,dark\n01.png,dark\n")
    (world / "column.csv").write_text("item,label\n00.png,dark\n")
    (template,), words = FAULTS[fault]
    whole = f"--images {world}/photos --labels {world}/labels.csv {' '.join(QUICK)}"
    command = template.replace("{d}", whole).replace("{w}", str(world)).split()
    before = set((world / "runs").glob("*")) if (world / "runs").exists() else set()
    os.chdir(world)
    assert main(override(*command)) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(told) == 1, told
    assert words in told[0]
    after = set((world / "runs").glob("*")) if (world / "runs").exists() else set()
    assert before == after, "a refused command leaves nothing behind"


def test_unreadable_snapshots_and_full_disks(world, capsys, monkeypatch):
    out = world / "damaged"
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", "--out", str(out)]
    assert main(["train", "softmax", *given, *QUICK]) == 0
    (out / "stages/train/snapshot.pt").write_bytes(b"nonsense")
    assert main(["resume", str(out)]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "snapshot" in told
    assert "is damaged" in told
    (out / "stages/train/snapshot.pt").unlink()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    assert main(["resume", str(out)]) == 2
    assert "disk full" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    monkeypatch.undo()
    assert main(["resume", str(out)]) == 0


def test_help_and_version(capsys):
    assert main([]) == 0
    assert "reteach demo" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert main(["train"]) == 0
    assert "train mile" in capsys.readouterr().out


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_torchrun_trains_the_same_network(world):
    """The same command in two processes: one folder, written once, the weights of one process."""
    given = ["--images", f"{world}/photos", "--labels", f"{world}/labels.csv", *QUICK, "--k-t", "4"]
    alone, together = world / "alone", world / "together"
    assert main(["train", "mile", *given, "--out", str(alone)]) == 0
    command = ["torchrun", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *command[1:],
        str(free_port()),
        "-m",
        "reteach",
    ]
    done = subprocess.run(
        [*command, "train", "mile", *given, "--out", str(together)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((together / "run.json").read_text())["processes"] == 2
    one, two = (load_file(f / "models/student/model.safetensors") for f in (alone, together))
    assert all(torch.allclose(one[n].float(), two[n].float(), atol=1e-4) for n in one)
    lines = [json.loads(line) for line in (together / "metrics.jsonl").open()]
    assert [r["step"] for r in lines] == [
        r["step"] for r in map(json.loads, (alone / "metrics.jsonl").open())
    ]


def test_predicted_sets_train_on_as_many_images_from_every_file(world, tmp_path, capfd):
    """'None present' is a label set: n_train is the same through CSV and every dataframe library."""
    duckdb, pandas, polars = map(pytest.importorskip, ("duckdb", "pandas", "polars"))
    photos = ["--images", f"{world}/photos"]
    out = tmp_path / "sigmoid"
    labels = ["--labels", f"{world}/labels.csv"]
    assert main(["train", "sigmoid", *photos, *labels, "--out", str(out), *QUICK]) == 0
    scores = tmp_path / "scores.parquet"
    predict = ["predict", str(out), *photos, "--out"]
    assert main([*predict, f"{tmp_path}/x.csv", "--scores", str(scores)]) == 0
    second = pandas.read_parquet(scores).groupby("item")["score"].nlargest(2).groupby("item").min()
    cut = [
        "--threshold",
        str(float(np.float32(second.max()))),
    ]  # nobody has two labels, many have none
    files = {ending: tmp_path / f"ours.{ending}" for ending in ("parquet", "csv")}
    for file in files.values():
        assert main([*predict, str(file), *cut]) == 0
    for name in ("pandas", "polars", "duckdb"):
        files |= {f"{name} {e}": tmp_path / f"{name}.{e}" for e in ("parquet", "csv")}
    ours, plain = files["parquet"], files["csv"]
    pandas.read_parquet(ours).sample(frac=1).to_parquet(files["pandas parquet"])
    pandas.read_csv(plain).iloc[::-1].to_csv(files["pandas csv"], index=False)
    polars.read_parquet(ours).reverse().write_parquet(files["polars parquet"])
    polars.read_csv(plain).reverse().write_csv(files["polars csv"])
    for of in ("parquet", "csv"):
        duckdb.sql(f"copy (from '{files[of]}' order by hash(item)) to '{files[f'duckdb {of}']}'")
    counts = read_labels(ours).labels.counts()
    assert 0 < counts.sum() < len(read_labels(ours).items)
    capfd.readouterr()
    sizes = {}
    for name, file in files.items():
        inputs = open_inputs(Data(images=f"{world}/photos", labels=file, workers=0), seed=0)
        sizes[name] = (len(inputs.train), len(inputs.val), inputs.train.classes)
    assert set(sizes.values()) == {(33, 3, ("dark", "grey", "light"))}
    assert "does not say" not in capfd.readouterr().err
    run = tmp_path / "run"
    given = ["--labels", str(plain), "--out", str(run), *QUICK]
    assert main(["train", "sigmoid", *photos, *given]) == 0
    assert json.loads((run / "run.json").read_text())["n_train"] == 33


def test_softmax_learns_from_what_softmax_predicted(world, tmp_path):
    photos = ["--images", f"{world}/photos"]
    out = tmp_path / "first"
    assert (
        main(
            [
                "train",
                "softmax",
                *photos,
                "--labels",
                f"{world}/labels.csv",
                "--out",
                str(out),
                *QUICK,
            ]
        )
        == 0
    )
    for name in ("labels.csv", "labels.parquet"):
        assert main(["predict", str(out), *photos, "--out", f"{tmp_path}/{name}"]) == 0
        assert isinstance(read_labels(tmp_path / name).labels, Single)
        again = ["--labels", f"{tmp_path}/{name}", "--out", f"{tmp_path}/run-{name}", *QUICK]
        assert main(["train", "softmax", *photos, *again]) == 0


def test_images_without_a_label_are_counted_aloud(world, tmp_path, capfd):
    lines = (world / "labels.csv").read_text().splitlines()
    item = lines[1].split(",")[0]
    (tmp_path / "few.csv").write_text("\n".join([lines[0], f"{item},", *lines[2:]]) + "\n")
    given = [
        "--images",
        f"{world}/photos",
        "--labels",
        f"{tmp_path}/few.csv",
        "--out",
        f"{tmp_path}/r",
    ]
    assert main(["train", "softmax", *given, *QUICK]) == 0
    said = capfd.readouterr().err
    assert "1 empty cells for not labelled" in said
    assert re.search(r"[1-9]\d* of \d+ images have no label and are left out of training", said)
    assert main(["train", "sigmoid", *given[:-1], f"{tmp_path}/s", "--kind", "multi", *QUICK]) == 0
    facts = [json.loads((tmp_path / run / "run.json").read_text()) for run in ("r", "s")]
    assert facts[1]["n_train"] + facts[1]["n_val"] == facts[0]["n_train"] + facts[0]["n_val"] + 1
    (tmp_path / "classes.txt").write_text("never\n" + "\n".join(facts[0]["classes"]) + "\n")
    listed = ["--classes", f"{tmp_path}/classes.txt", "--out", f"{tmp_path}/c"]
    assert main(["train", "softmax", *given[:-2], *listed, *QUICK]) == 0
    assert json.loads((tmp_path / "c" / "run.json").read_text())["classes"][0] == "never"
    capfd.readouterr()
    assert main(["train", "softmax", "--images", f"{world}/val", "--kind", "single"]) == 2
    assert "--kind says what --labels holds" in capfd.readouterr().err
