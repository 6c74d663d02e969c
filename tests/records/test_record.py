"""Records come back as they were written; older files open, later and damaged ones are named in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import report_fakes as fakes
from reteach.errors import UserError
from reteach.records.comparisons import (
    COMPARISON,
    TRIAL,
    ComparisonRecord,
    ComparisonRow,
    PairedDifference,
    TrialResult,
)
from reteach.records.record import OPTIONAL, RecordFile
from reteach.records.runs import (
    EVALUATION,
    MODELS,
    RUN,
    ClassRow,
    Example,
    LabelsHistogram,
    Measurement,
    ModelIndex,
    PredictorEvaluation,
    ReliabilityBins,
    RunRecord,
    SavedPredictor,
)
from reteach.report import comparison_report, run_report
from reteach.sealed import Damaged

PICTURE = Example("a.png", fakes.picture(0, 8), ("cat",), (("cat", 0.5), ("dog", None)), None)
WRITTEN: list[tuple[RecordFile[Any], Any]] = [
    (
        RUN,
        RunRecord(method="mile", classes=("a", "b"), n_train=3, warnings=("w",), derived={"k": 2}),
    ),
    (
        EVALUATION,
        {
            "val": {
                "student": PredictorEvaluation(
                    {"map": 0.5, "ece": None},
                    (ClassRow("cat", 3, 0.5, None, 0.25, 0.1),),
                    LabelsHistogram((1, 2), (0, 3)),
                    ReliabilityBins((0.5,), (0.4,), (3,)),
                    (PICTURE,),
                )
            }
        },
    ),
    (
        TRIAL,
        TrialResult(1.5, 20, {"map": 0.5}, ({"step": 10, "map": 0.2},), (), ("w",), {}, (PICTURE,)),
    ),
    (
        COMPARISON,
        ComparisonRecord(
            title="t",
            seeds=(0, 1),
            metrics=("map",),
            rows=(ComparisonRow("a", "mile", {"rho": 0.1}, values={"map": (0.5, None)}),),
            paired=(PairedDifference("map", "a", "b", 0.1, -0.1, 0.3, 2),),
            sweep={"rho": (0.1, "mixture")},
            configuration={"a": {"training": {"steps": 3}}},
        ),
    ),
    (
        MODELS,
        ModelIndex(
            predictors={"model": SavedPredictor("sigmoid", ("models/model",), ("0f",))},
            specialists={"s": SavedPredictor("softmax", ("models/s",), (), ("a",))},
            classes=("a", "b"),
            image_size=None,
            mean=(0.5,),
            std=(1.0,),
            channels=1,
            threshold=None,
            method="mile",
        ),
    ),
]


@pytest.mark.parametrize(("file", "record"), WRITTEN, ids=lambda p: getattr(p, "name", ""))
def test_a_record_comes_back_as_it_was_written(
    tmp_path: Path, file: RecordFile[Any], record: Any
) -> None:
    assert file.read(tmp_path) is None
    file.write(tmp_path, record)
    content = json.loads((tmp_path / file.name).read_text())
    assert content["format"] == 1
    assert file.read(tmp_path) == record
    content["a key of another version"] = 3
    assert file.kind == EVALUATION.kind or file.parse(content, "") == record


@pytest.mark.parametrize(("file", "record"), WRITTEN, ids=lambda p: getattr(p, "name", ""))
def test_a_file_of_a_later_version_is_refused_in_one_line(
    tmp_path: Path, file: RecordFile[Any], record: Any
) -> None:
    file.write(tmp_path, record)
    path = tmp_path / file.name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(UserError, match="later version of reteach") as error:
        file.read(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, Damaged)  # another version reads it


def test_files_of_before_there_was_a_format_number_open(tmp_path: Path) -> None:
    fakes.run_folder(tmp_path / "run")
    fakes.comparison(tmp_path / "comparison")
    for folder, files in (("run", (RUN, EVALUATION)), ("comparison", (COMPARISON,))):
        make = run_report if folder == "run" else comparison_report
        page = make(tmp_path / folder).read_text()
        for file in files:
            path = tmp_path / folder / file.name
            old = json.loads(path.read_text())
            assert "format" not in old
            file.write(tmp_path / folder, file.read(tmp_path / folder))
            assert json.loads(path.read_text())["format"] == 1
        assert make(tmp_path / folder).read_text() == page


@pytest.mark.parametrize(
    "line",
    [
        {"stage": "train", "step": 5, "kind": "train", "loss": 0.5, "rate": None},
        {
            "stage": "2",
            "step": 5,
            "kind": "eval",
            "data": "val",
            "predictor": "student",
            "map": 0.5,
        },
    ],
)
def test_a_line_of_measurements_comes_back_as_it_was_written(line: dict[str, Any]) -> None:
    assert Measurement.of(line).line() == line
    assert list(Measurement.of(line).line()) == list(line)
    odd = Measurement.of({"loss": "much", "map": float("nan")})
    assert (odd.kind, odd.step, dict(odd.values)) == ("train", 0, {"loss": None, "map": None})


@dataclass(frozen=True)
class Box:
    """For the cases below."""

    name: str
    size: float
    sides: tuple[int, int] = (1, 1)
    class_: str = ""
    said: str | None = field(default=None, metadata=OPTIONAL)
    known: float | None = None


BOX = RecordFile("box.json", Box, version=3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "expected names and values, got a list"),
        ("{", "Expecting property name"),
        ('{"size": 1}', "'name' is missing"),
        ('{"name": "a", "size": "large"}', "expected a number, got text"),
        ('{"name": "a", "size": NaN}', "expected a number"),
        ('{"name": ["a"], "size": 1}', "expected text, got a list"),
        ('{"name": "a", "size": 1, "sides": [1, 2, 3]}', "expected 2 values, got 3"),
        ('{"name": "a", "size": 1, "sides": 4}', "expected a list, got a int"),
        ('{"name": "a", "size": 1, "format": "x"}', "its format is 'x'"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_a_damaged_record_is_named_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "box.json").write_text(content)
    with pytest.raises(Damaged) as error:
        BOX.read(tmp_path)
    assert words in str(error.value)
    assert str(tmp_path / "box.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_what_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "box.json").write_text('{"name": null, "size": 2, "known": "?", "class": "c"}')
    assert BOX.read(tmp_path) == Box("", 2, (1, 1), "c", None, None)
    content = BOX.content(Box("a", 2.0))
    assert content == {
        "format": 3, "name": "a", "size": 2.0, "sides": [1, 1], "class": "", "known": None,
    }  # fmt: skip
    assert next(iter(content)) == "format"
