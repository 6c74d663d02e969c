"""Files that other programs made are read as what they mean, and theirs read ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reteach.cli import main
from reteach.commands.convert import convert
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.options.convert import ConvertOptions
from reteach.tables import LabelTable, read_labels, write_labels

MADE = Path(__file__).parent / "made"
CLASSES = ("kite", "cup", "dog")


def read(form: str, source: Path, out: Path, **more: Any) -> LabelTable:
    convert(ConvertOptions(form, source, out / "read.csv", **more))
    return read_labels(out / "read.csv")


def test_fiftyones_files_are_read_and_its_nulls_are_not_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = read("fiftyone", MADE / "fiftyone_one", tmp_path)
    assert one.items == ("a.png", "sub/b.png", "c.png", "d.png")
    assert one.labels.classes == CLASSES
    assert one.labels.names() == [["cup"], ["kite"], [], ["cup"]]
    assert "confidences are not kept" in capsys.readouterr().err
    sets = read("fiftyone", MADE / "fiftyone_sets", tmp_path).labels
    assert isinstance(sets, Multi)
    assert sets.names() == [["kite", "cup"], [], [], ["cup"]]
    # FiftyOne writes null for an empty list: nobody can tell the two apart, which is said
    assert sets.known().tolist() == [True, False, False, True]
    assert "2 images are null: taken as not labelled" in capsys.readouterr().err


def test_cvats_tags_and_boxes_are_read(tmp_path: Path) -> None:
    found = read("cvat", MADE / "cvat.xml", tmp_path)
    assert found.items == ("a.jpg", "sub/b.jpg")
    assert found.labels.classes == ("kite", "cup & saucer", "dog")
    assert found.labels.names() == [["kite", "cup & saucer"], []]


def test_cvat_tracks_and_strange_labels_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text("<annotations><track id='0' label='dog'></track></annotations>")
    with pytest.raises(UserError, match="tracks of a video"):
        read("cvat", file, tmp_path)
    text = (MADE / "cvat.xml").read_text()
    file.write_text(text.replace('<tag label="cup &amp; saucer">', '<tag label="cow">'))
    with pytest.raises(UserError, match="class 'cow' is not among the labels of its task"):
        read("cvat", file, tmp_path)


@pytest.fixture(scope="module")
def hugging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Parquet files and an image folder, as ``datasets`` makes them."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    folder = tmp_path_factory.mktemp("hf")
    images = [Image.new("RGB", (8, 8), (60 * i, 0, 0)) for i in range(4)]
    label = datasets.ClassLabel(names=list(CLASSES))
    features = datasets.Features({"image": datasets.Image(), "label": label})
    one = {"image": images, "label": [1, 0, None, 1]}
    datasets.Dataset.from_dict(one, features=features).to_parquet(folder / "one.parquet")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": datasets.Sequence(label),
            "label": datasets.Value("string"),
            "labels": datasets.Value("string"),
        }
    )
    words = ["a", "b", None, "a"]
    sets = {"image": images, "objects": [[1, 0], [], None, [1]], "label": words, "labels": words}
    datasets.Dataset.from_dict(sets, features=features).to_parquet(folder / "sets.parquet")
    return folder


def test_parquet_of_datasets_with_class_labels_lists_of_them_and_strings(
    hugging: Path, tmp_path: Path
) -> None:
    one = read("hf-parquet", hugging / "one.parquet", tmp_path)
    assert one.labels.classes == CLASSES
    assert one.labels.names() == [["cup"], ["kite"], [], ["cup"]]
    assert one.items == ("0", "1", "2", "3")  # as --images hf:one.parquet calls them
    sets = read("hf-parquet", hugging / "sets.parquet", tmp_path, label_column="objects").labels
    assert isinstance(sets, Multi)
    assert sets.names() == [["kite", "cup"], [], [], ["cup"]]
    assert sets.known().tolist() == [True, True, False, True]
    words = read("hf-parquet", hugging / "sets.parquet", tmp_path, label_column="label").labels
    assert words.names() == [["a"], ["b"], [], ["a"]]
    with pytest.raises(UserError, match="both the columns label and labels: name one"):
        read("hf-parquet", hugging / "sets.parquet", tmp_path)
    with pytest.raises(UserError, match="no column 'class'"):
        read("hf-parquet", hugging / "one.parquet", tmp_path, label_column="class")


def test_shards_are_read_together_and_must_have_the_same_classes(
    hugging: Path, tmp_path: Path
) -> None:
    for number in range(2):
        shard = tmp_path / "data" / f"train-0000{number}-of-00002.parquet"
        shard.parent.mkdir(exist_ok=True)
        shard.write_bytes((hugging / "one.parquet").read_bytes())
    found = read("hf-parquet", tmp_path, tmp_path)
    assert found.items == tuple(f"train/{row}" for row in range(8))
    assert found.labels.names()[4:] == [["cup"], ["kite"], [], ["cup"]]
    shard.write_bytes((hugging / "sets.parquet").read_bytes())
    with pytest.raises(UserError, match="has other columns or classes than"):
        read("hf-parquet", tmp_path, tmp_path)


def written(tmp_path: Path, to: str, out: str) -> tuple[Path, Multi]:
    """Label sets written in a format with its images."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    items = ("b.png", "sub/a.png", "c.png")
    for item in items:
        Image.new("RGB", (8, 8)).save(photos / item)
    labels = Multi.from_dense(np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]]), CLASSES)
    write_labels(tmp_path / "in.parquet", LabelTable(items, labels))
    made = tmp_path / out
    convert(ConvertOptions("labels", tmp_path / "in.parquet", made, to=to, images=photos))
    return made, labels


def test_datasets_loads_the_parquet_and_train_takes_its_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    from reteach.data.sources.base import open_source

    made, labels = written(tmp_path, "hf-parquet", "made.parquet")
    table = datasets.Dataset.from_parquet(str(made), cache_dir=str(tmp_path / "cache"))
    assert table.features["labels"].feature.names == list(CLASSES)
    assert [[CLASSES[c] for c in row] for row in table["labels"]] == labels.names()
    assert table[0]["image"].size == (8, 8)
    assert list(open_source(f"hf:{made}").items) == ["b.png", "sub/a.png", "c.png"]


def test_datasets_loads_the_image_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    made, _ = written(tmp_path, "hf-folder", "made")
    table = datasets.load_dataset(
        "imagefolder", data_dir=str(made), split="train", cache_dir=str(tmp_path / "cache")
    )
    found = {Path(row["image"]["path"]).name: row["labels"] for row in
             table.cast_column("image", datasets.Image(decode=False))}  # fmt: skip
    assert found == {"b.png": ["kite", "cup"], "a.png": [], "c.png": ["cup"]}


def test_metadata_csv_with_names_and_numbers_without(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cup\nb.png,\n")
    assert read("hf-folder", tmp_path, tmp_path).labels.names() == [["cup"], []]
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "label": 3}\n')
    with pytest.raises(UserError, match="label 3 is a number, and nothing says what it is called"):
        read("hf-folder", tmp_path, tmp_path)


def test_cleanlabs_findings_become_unlabelled_images(tmp_path: Path) -> None:
    cleanlab = pytest.importorskip("cleanlab.classification", reason="cleanlab is not installed")
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 20)
    x = rng.normal(size=(60, 2)) * 0.1 + np.array([[0, 0], [3, 0], [0, 3]])[truth]
    given = truth.copy()
    given[5] = 2
    found = cleanlab.CleanLearning(LogisticRegression(), seed=0).find_label_issues(x, given)
    found.insert(0, "item", [f"{i}.jpg" for i in range(60)])
    found.to_csv(tmp_path / "issues.csv", index=False)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    named = {"classes": tmp_path / "classes.txt"}
    table = read("cleanlab", tmp_path / "issues.csv", tmp_path, drop_issues=True, **named)
    flagged = np.flatnonzero(~table.labels.known()).tolist()
    assert flagged == np.flatnonzero(found["is_label_issue"]).tolist() == [5]
    assert table.labels.names()[:6] == [["kite"]] * 5 + [[]]
    whole = read("cleanlab", tmp_path / "issues.csv", tmp_path, **named)
    assert whole.labels.names()[5] == ["dog"]
    column = {"label_column": "predicted_label"}
    assert read("cleanlab", tmp_path / "issues.csv", tmp_path, **named, **column).labels.names()[
        5
    ] == ["kite"]


def test_crowd_kits_answers_become_shares_and_its_majority_reads_ours(tmp_path: Path) -> None:
    kit = pytest.importorskip("crowdkit.aggregation", reason="crowd-kit is not installed")
    import pandas as pd

    file = tmp_path / "a.csv"
    file.write_text("task,worker,label\na,w1,cup\na,w2,cup\na,w3,dog\nb,w1,dog\n")
    soft = read("crowd-kit", file, tmp_path)
    np.testing.assert_allclose(soft.labels.array(), [[2 / 3, 1 / 3], [0, 1]], atol=1e-6)
    majority = kit.MajorityVote().fit_predict(pd.read_csv(file))
    write_labels(tmp_path / "in.csv", read_one(majority.to_dict()))
    convert(ConvertOptions("labels", tmp_path / "in.csv", tmp_path / "out.csv", to="crowd-kit"))
    again = kit.MajorityVote().fit_predict(pd.read_csv(tmp_path / "out.csv"))
    assert again.to_dict() == {"a": "cup", "b": "dog"}
    file.write_text("task,worker,label\na,w1,cup\na,w1,dog\n")
    with pytest.raises(UserError, match="'w1' answers 'a' twice"):
        read("crowd-kit", file, tmp_path)


def read_one(labels: dict[str, str]) -> LabelTable:
    from reteach.data.formats.sets import labels_of

    return labels_of(list(labels), [[v] for v in labels.values()], None, False, "kit", "kit")


TASK = {
    "id": 7,
    "data": {"image": "/data/local-files/?d=photos/a%20b.jpg"},
    "annotations": [
        {
            "id": 3,
            "completed_by": 1,
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": 3.2,
            "result": [
                {
                    "value": {"choices": ["cup"]},
                    "id": "x1",
                    "from_name": "label",
                    "to_name": "image",
                    "type": "choices",
                    "origin": "manual",
                }
            ],
        }
    ],
    "predictions": [
        {"model_version": "m", "score": 0.5, "result": [
            {"value": {"choices": ["dog", "kite"]}, "from_name": "label", "to_name": "image",
             "type": "choices"}]}
    ],
}  # fmt: skip
"""A task of Label Studio's JSON export, by its documented layout."""


def test_label_studio_annotations_and_prelabels_with_a_url_prefix(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([TASK]))
    prefix = {"url_prefix": "/data/local-files/?d=photos/"}
    found = read("label-studio", file, tmp_path, **prefix)
    assert found.items == ("a b.jpg",)
    assert found.labels.names() == [["cup"]]
    assert read("label-studio", file, tmp_path).items == ("photos/a b.jpg",)
    before = read("label-studio", file, tmp_path, prelabels=True, **prefix)
    assert before.labels.names() == [["dog", "kite"]]
    with pytest.raises(UserError, match="does not begin with --url-prefix s3://"):
        read("label-studio", file, tmp_path, url_prefix="s3://")
    other = json.loads(json.dumps(TASK["annotations"][0]).replace("cup", "dog"))
    file.write_text(json.dumps([TASK | {"annotations": [*TASK["annotations"], other]}]))
    with pytest.raises(UserError, match="its 2 annotations disagree; reteach relabel consensus"):
        read("label-studio", file, tmp_path)


def test_prelabels_are_predictions_in_label_studio(tmp_path: Path) -> None:
    write_labels(tmp_path / "in.csv", read_one({"a b.jpg": "cup"}))
    out, words = tmp_path / "t.json", {"prelabels": True, "url_prefix": "https://host/x/"}
    convert(ConvertOptions("labels", tmp_path / "in.csv", out, to="label-studio", **words))
    (task,) = json.loads(out.read_text())
    assert task["data"]["image"] == "https://host/x/a%20b.jpg"
    assert "annotations" not in task
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["cup"]}
    assert read("label-studio", out, tmp_path, **words).labels.names() == [["cup"]]
    assert not read("label-studio", out, tmp_path, url_prefix="https://host/x/").labels.known()[0]


def test_a_setting_without_effect_on_either_format_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = str(MADE / "cvat.xml"), str(tmp_path / "o.csv")
    for words in (["--prelabels"], ["--images", "x"], ["--label-column", "x"], ["--split", "x"]):
        assert main(["convert", "cvat", source, "--out", out, *words]) == 2
        assert f"{words[0]} has no effect on cvat to labels" in capsys.readouterr().err
    assert main(["convert", "cvat", source, "--to", "yolo", "--out", f"{tmp_path}/y"]) == 2
    assert "yolo cannot say more or fewer than one label" in capsys.readouterr().err
