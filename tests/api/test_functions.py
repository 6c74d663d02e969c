"""The commands as Python functions: the same results, the flags as keywords, one line for every fault."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from torch import from_numpy
from torch.nn import Linear
from torch.utils.data import DataLoader

import reteach as rt
from reteach.api.calls import in_python, keywords, options_class
from reteach.api.names import python_name
from reteach.api.public import PUBLIC
from reteach.cli import TABLE
from reteach.cli import main as command_line
from reteach.tables import read_labels

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"model": "reteach_tiny", "steps": 6, "batch_size": 8, "workers": 0, "device": "cpu"}
NAMES = ("dark", "light")


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return pd.DataFrame({"item": [f"{i:02}.png" for i in range(24)], "labels": NAMES * 12})


@pytest.fixture(scope="module")
def photos(tmp_path_factory, labels) -> Path:
    folder = tmp_path_factory.mktemp("api") / "photos"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i, item in enumerate(labels["item"]):
        pixels = draw.integers(0, 90, (12, 12, 3)) + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / item)
    return folder


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(photos, labels, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("run") / "run"
        return rt.train("softmax", images=photos, labels=labels, out=out, **QUICK)


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_is_light_and_names_are_listed():
    heavy = ("torch", "numpy", "pandas", "pyarrow", "tyro", "PIL", "reteach.cli")
    code = f"import sys, reteach as rt; dir(rt); print([m for m in {heavy} if m in sys.modules])"
    assert in_a_fresh_process(code) == "[]"
    code = "import reteach as rt, sys; rt.clean, rt.UserError; print('torch' in sys.modules)"
    assert in_a_fresh_process(code) == "False"


def test_every_command_is_a_function_with_its_settings():
    for command in TABLE:
        if command.startswith("train "):
            continue
        function = getattr(rt, python_name(command))
        assert callable(function), command
        if command == "resume":
            continue
        found = inspect.signature(function).parameters
        settings = {k.name: k.default for k in keywords(options_class(command))}
        assert found.keys() == settings.keys(), command
        kinds = {p.kind for p in found.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, command


def test_parts_of_a_functions_name_do_not_hide_it():
    code = (
        "import reteach as rt; import reteach.compare, reteach.report, reteach.review\n"
        "print(callable(rt.compare), callable(rt.report), callable(rt.review))"
    )
    assert in_a_fresh_process(code) == "True True True"


def test_what_type_checkers_know_is_what_the_options_say():
    spec = importlib.util.spec_from_file_location("write_api", ROOT / ".ci" / "write_api.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    for name, text in writer.texts().items():
        assert (writer.API / name).read_text() == text, "run: python .ci/write_api.py"
    assert set(PUBLIC) <= set(dir(rt))


def test_python_and_the_command_line_train_the_same_model(photos, labels, model):
    labels.to_csv("labels.csv", index=False)
    words = [f"--{k.replace('_', '-')}={v}" for k, v in QUICK.items()]
    asked = ["train", "softmax", "--images", str(photos), "--labels", "labels.csv", "--out", "cli"]
    assert command_line([*asked, *words]) == 0
    other = rt.load("cli")
    assert other.metrics == model.metrics
    assert other.metrics["model"]["n"] == 2


def test_predictions_are_a_label_table_in_any_data_frame(photos, model):
    table = model.predict(photos, workers=0)
    assert model.classes == NAMES
    assert table.columns[:3] == ["item", "labels", "score"]
    pandas, polars, arrow = table.to_pandas(), table.to_polars(), table.to_arrow()
    assert len(pandas) == len(polars) == len(arrow) == 24
    assert [row[0] for row in pandas["labels"]] == [row[0] for row in table["labels"]]
    assert polars["item"].to_list() == pandas["item"].to_list() == sorted(pandas["item"])
    kept = read_labels(model.folder / "predictions" / "photos.parquet")
    assert kept.labels.kind == "single"
    assert table.unreadable.count == 0
    assert "<table>" in table._repr_html_()


def test_scores_are_the_probabilities_of_every_class(photos, model):
    from reteach.data.dataset import Dataset
    from reteach.data.sources.base import open_source
    from reteach.engine.evaluate import scores
    from reteach.runs.checkpoint import load_models

    found = model.scores(photos, workers=0).to_pandas()
    saved = load_models(model.folder, "cpu")
    source = open_source(photos)
    rows, wanted = scores(
        saved.predictor, saved.scan(Dataset.unlabeled(source, saved.classes), 8, 0)
    )
    assert found["item"].tolist() == [source.items[row] for row in rows.tolist()]
    np.testing.assert_allclose(found[list(NAMES)].to_numpy(), wanted, atol=1e-6)
    with pytest.raises(rt.UserError, match="leave top out"):
        model.scores(photos, top=1)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "mapping", "interchange", "result"])
def test_labels_may_be_any_data_frame(kind, photos, labels, model):
    class OnlyInterchange:
        def __dataframe__(self, nan_as_null=False, allow_copy=True):
            return pa.Table.from_pandas(labels).__dataframe__(nan_as_null, allow_copy)

    given = {
        "pandas": lambda: labels,
        "polars": lambda: pl.from_pandas(labels),
        "arrow": lambda: pa.Table.from_pandas(labels),
        "mapping": lambda: labels.to_dict("list"),
        "interchange": OnlyInterchange,
        "result": lambda: rt.noise(labels=labels, rate=0.0, out="same.csv"),
    }[kind]()
    found = model.evaluate(photos, labels=given, workers=0)
    wanted = sum(
        row == [name]
        for row, name in zip(model.predict(photos, workers=0)["labels"], NAMES * 12, strict=True)
    )
    assert found.metrics["model"]["accuracy"] == pytest.approx(wanted / 24)
    assert found.to_pandas()["model"].tolist() == ["model"]


def test_a_run_on_a_data_frame_goes_on_from_its_folder(photos, labels, tmp_path):
    model = rt.train("softmax", images=photos, labels=labels, out="run", **QUICK)
    again = rt.resume("run")
    assert again.metrics == model.metrics
    changed = labels.assign(labels=NAMES[::-1] * 12)
    with pytest.raises(rt.UserError, match="another configuration"):
        rt.train("softmax", images=photos, labels=changed, out="run", **QUICK)


def test_evaluation_without_images_is_of_the_validation_images(model, photos):
    assert model.evaluate().metrics == model.metrics
    with pytest.raises(rt.UserError, match="batch_size has no effect without images"):
        model.evaluate(batch_size=3)


def test_a_comparison_and_a_model_are_shown_in_a_notebook(photos, labels, model):
    found = rt.compare(
        *("softmax", "sigmoid"), images=photos, labels=labels, seeds=1, processes=1, **QUICK
    )
    table = found.to_pandas()
    assert set(table["method"]) >= {"softmax", "sigmoid"}
    accuracy = table[(table.method == "softmax") & (table.metric == "accuracy")]["mean"].item()
    assert accuracy == found.results["softmax"]["accuracy"]["mean"]
    for shown in (found._repr_html_(), model.report._repr_html_()):
        assert shown.count("<iframe") == 1
        assert "&lt;html" in shown
        assert "<script" not in re.sub('srcdoc="[^"]*"', "", shown)
    assert "accuracy" in model._repr_html_()
    assert str(model.folder) in repr(model)


def test_a_model_stands_for_its_folder(photos, model):
    found = rt.predict(model, images=photos, out="seen.csv", workers=0)
    assert found.to_pandas()["item"].tolist() == model.predict(photos, workers=0)["item"]


def test_a_note_about_a_data_frame_names_no_file_of_the_cache(photos, labels, capsys):
    some = labels.assign(labels=[None, *labels["labels"][1:]])
    rt.train("softmax", images=photos, labels=some, **QUICK)
    assert "reteach: the table given does not say what its labels are" in capsys.readouterr().err


def test_images_are_files_or_pixels_one_or_many(model, photos, labels):
    files = [photos / item for item in labels["item"][:3]]
    pictures = [Image.open(file).convert("RGB") for file in files]
    arrays = np.stack([np.asarray(picture) for picture in pictures])
    tensors = from_numpy(arrays).movedim(-1, 1)
    wanted = model.scores(photos, workers=0)["light"][:3]
    for many in (files, [str(file) for file in files], pd.Series(files), pictures, arrays, tensors):
        assert model.scores(many, workers=0)["light"] == wanted
    for one in (files[1], pictures[1], arrays[1], tensors[1], tensors[1].float() / 255):
        assert model.scores(one, workers=0)["light"] == wanted[1:2]
    assert model.predict(files, workers=0)["item"] == list(labels["item"][:3])


def test_files_and_pictures_can_be_learned_from(photos, labels):
    names = list(labels["labels"])
    files = [photos / item for item in labels["item"]]
    pictures = [Image.open(file) for file in files]
    made = [rt.train("softmax", images=x, labels=names, **QUICK) for x in (files, pictures)]
    assert made[0].classes == ("dark", "light")
    assert made[0].metrics == made[1].metrics
    found = made[1].evaluate(list(zip(pictures, names, strict=True)), workers=0)
    assert found.metrics
    assert found.numbers.name == "evaluation-builtins.list.json"


FRAME = pd.DataFrame({"item": ["a.png", "b.png"], "labels": ["cat", "dog"]})
LAZY = pl.from_pandas(FRAME).lazy()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: rt.train("mil", images="x"), "unknown method 'mil'; did you mean mile"),
        (lambda: rt.train("mile", imags="x"), "has no setting 'imags'; did you mean images"),
        (lambda: rt.train("mile", images="x", epochs="ten"), "epochs must be a number, got 'ten'"),
        (lambda: rt.train("mile", images="x", steps=1.5), "steps must be a whole number, or None"),
        (lambda: rt.train("mile", images="x", cache=1), "cache must be True or False, got 1"),
        (lambda: rt.train("mile", images="x", optimizer="sdg"), "optimizer must be one of 'sgd'"),
        (lambda: rt.train("mile", images="x", epochs=-1), "epochs must be positive, got -1"),
        (lambda: rt.train("mile", images=["x.png"]), "image x.png does not exist"),
        (lambda: rt.train("mile", images=[]), "the list of images is empty"),
        (lambda: rt.train("mile", images=3), "images must be where images are, or images:"),
        (lambda: rt.train("mile", images=(i for i in "ab")), "of a generator give list(…)"),
        (lambda: rt.train("mile", images=DataLoader([1])), "give its data set, loader.dataset"),
        (lambda: rt.train("mile", images=LAZY, labels=LAZY), "of a LazyFrame give list(…)"),
        (lambda: rt.train("mile", images="x", labels=LAZY), "has been computed (.collect())"),
        (lambda: rt.train("mile", images="x", labels=["a"]), "a data frame; a list goes with"),
        (lambda: rt.train("mile", images="x", labels={"a.png": "cat"}), "a mapping has columns, {"),
        (lambda: rt.train("mile", images="x", labels=FRAME["item"]), "a series is one column"),
        (
            lambda: rt.noise(labels=FRAME[["item"]], rate=0.2, out="x.csv"),
            "the table given: no column",
        ),
        (
            lambda: rt.train("mile", images="x", network=Linear(2, 2)),
            "got a Linear: give its class",
        ),
        (lambda: rt.load("."), ". is not a run folder: it has no config.yaml"),
        (lambda: rt.load(__file__), "is a file, not a run folder"),
        (lambda: rt.clean(labels="x"), "reteach relabel clean needs images=…"),
        (lambda: rt.clean(images="x", kind="multi"), "kind has no effect without labels"),
        (lambda: rt.consensus("r.csv", pictures=60), "pictures has no effect without images"),
        (lambda: rt.train("sgdx"), "unknown method"),
        (lambda: rt.predict("x", images="y", out="ftp://b/x.csv"), "out"),
        (lambda: rt.train("mile", images="x", out={"item": []}), "out is no table to read"),
        (lambda: rt.load("nowhere"), "run folder nowhere does not exist"),
    ],
)
def test_a_fault_is_one_line_that_speaks_of_keywords(ask, said):
    with pytest.raises(rt.UserError) as found:
        ask()
    text = str(found.value)
    assert said in text
    assert "\n" not in text
    assert "--" not in text


def test_flags_in_errors_become_keywords_where_there_are_such():
    known = ["val_images", "nesterov"]
    assert in_python("--val-images is missing", known) == "val_images is missing"
    assert in_python("leave --no-nesterov out", known) == "leave nesterov=False out"
    assert in_python("reteach embed --pretrained", known) == "reteach embed --pretrained"


def test_a_notebook_has_one_bar_that_moves(monkeypatch):
    from types import SimpleNamespace

    from reteach import progress

    drawn: list[str] = []
    handle = SimpleNamespace(update=drawn.append)
    display = SimpleNamespace(HTML=str, display=lambda bar, display_id: drawn.append(bar) or handle)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with progress.progress("training", 3) as on_progress:
        for done in (1, 2, 3):
            on_progress(done, "loss <1>")
    assert 'value="0" max="3"' in drawn[0]
    assert 'value="3" max="3"' in drawn[-1]
    assert "loss &lt;1&gt;" in drawn[-1]


def test_a_table_needs_no_pandas(monkeypatch, photos, model):
    table = model.predict(photos, workers=0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(rt.UserError, match="pip install pandas"):
        table.to_pandas()
    assert table.to_arrow().num_rows == 24
