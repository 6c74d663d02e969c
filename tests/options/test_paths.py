"""A mistyped path is answered before anything heavy is imported, by one look for all commands."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from PIL import Image

from reteach import files
from reteach.cli import TABLE, main
from reteach.errors import UserError
from reteach.files import refuse_missing_images
from reteach.options.paths import inputs, refuse_taken

WRITTEN = {
    *("out", "report", "exclude", "features", "against_features", "features_cache", "folder"),
    *("counts", "export"),
}
"""Settings that name what a command writes or keeps; two of them are read elsewhere, and marked there."""
OF_A_FORMAT = "ConvertOptions"
"""What its files are depends on the format, which is light to read and says it."""
OTHERS = {
    ("ConsensusOptions", "unlabeled"),  # written
    ("ConsensusOptions", "scores"),
    ("PredictOptions", "scores"),
    ("RateOptions", "images"),  # the present folder
}


def groups(options: type[Any]) -> Iterator[type[Any]]:
    yield options
    for hint in get_type_hints(options).values():
        if is_dataclass(hint):
            yield from groups(hint)


def options_of(name: str) -> type[Any]:
    module, cls = TABLE[name].options.split(":")
    found: type[Any] = getattr(importlib.import_module(f"reteach.options.{module}"), cls)
    return found


EVERY = sorted({group for name in TABLE for group in groups(options_of(name))}, key=str)


@pytest.mark.parametrize("group", EVERY, ids=lambda group: group.__name__)
def test_every_setting_that_names_a_path_says_whether_it_must_be_there(group):
    hints = get_type_hints(group)
    for field in fields(group):
        hint = hints[field.name]
        images = hint in (str, str | None) and field.name.endswith(
            ("images", "unlabeled", "against")
        )
        known = field.name in WRITTEN or (group.__name__, field.name) in OTHERS
        known |= group.__name__ == OF_A_FORMAT
        if ("Path" in str(hint) or images) and not known:
            assert field.name in inputs(group), f"{group.__name__}.{field.name}"


COMMANDS = [
    ["advise", "--images", "GONE", "--labels", "HERE"],
    ["advise", "--images", "FOLDER", "--labels", "GONE"],
    *(["train", m, "--images", "GONE"] for m in ("softmax", "mile", "semi", "cpsd")),
    ["train", "softmax", "--images", "FOLDER", "--labels", "GONE"],
    ["train", "softmax", "--images", "FOLDER", "--val-images", "GONE"],
    ["train", "distill", "--images", "FOLDER", "--teacher", "GONE"],
    ["train", "softmax", "--images", "FOLDER", "--init", "GONE"],
    ["resume", "GONE"],
    ["evaluate", "GONE", "--images", "FOLDER"],
    ["predict", "GONE", "--images", "FOLDER"],
    ["export", "GONE", "--to", "onnx"],
    ["pack", "--images", "GONE"],
    ["predict", "FOLDER", "--images", "GONE"],
    ["explain", "GONE", "--images", "FOLDER", "--classes", "a"],
    ["calibrate", "GONE"],
    ["report", "GONE"],
    ["transfer", "GONE", "--images", "FOLDER"],
    ["transfer", "FOLDER", "--images", "GONE"],
    ["compare", "softmax", "mile", "--images", "GONE"],
    ["compare", "softmax", "mile", "--images", "FOLDER", "--test-images", "GONE"],
    ["probe", "compression", "GONE", "--images", "FOLDER"],
    ["relabel", "clean", "--images", "GONE"],
    ["relabel", "propose", "--scores", "GONE", "--labels", "HERE", "--out", "x.csv"],
    ["review", "--images", "GONE"],
    ["embed", "--images", "GONE", "--pretrained"],
    ["score", "GONE", "--images", "FOLDER"],
    ["dedup", "--images", "GONE"],
    ["noise", "--labels", "GONE", "--out", "x.csv"],
    ["noise", "estimate", "--labels", "HERE", "--scores", "GONE", "--out", "x.csv"],
    ["partition", "--labels", "GONE"],
]

ALL = """
import io, json, sys
from contextlib import redirect_stderr
from reteach.cli import main
answers = []
for words in json.loads(sys.argv[1]):
    with redirect_stderr(io.StringIO()) as said:
        try:
            code = main(words)
        except SystemExit as error:  # of the parser
            code = f"exit {error.code}"
    heavy = sorted({"torch", "pandas", "scipy", "duckdb", "pyarrow", "timm"} & set(sys.modules))
    answers.append([code, said.getvalue(), heavy])
print(json.dumps(answers))
"""


def answers(commands: list[list[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    """What one process says to all of them, and which heavy modules it has imported by then."""
    done = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
    )
    found: list[tuple[int, str, list[str]]] = json.loads(done.stdout)
    return found


def test_mistyped_paths_are_answered_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "labels.csv").write_text("item,labels\n")
    words = {"GONE": "mistyped/there.csv", "HERE": "labels.csv", "FOLDER": "photos"}
    commands = [[words.get(word, word) for word in command] for command in COMMANDS]
    for command, (code, said, heavy) in zip(commands, answers(commands, tmp_path), strict=True):
        assert code == 2, (command, said)
        assert said.startswith("reteach: "), said
        assert "mistyped/there.csv does not exist" in said, (command, said)
        assert said.count("\n") == 1
        assert not heavy, (command, heavy)


def test_a_folder_that_is_taken_is_refused_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    ((code, said, heavy),) = answers(
        [["train", "softmax", "--images", "mine", "--out", "mine"]], tmp_path
    )
    assert (code, heavy) == (2, [])
    assert said == "reteach: mine exists and is not a run folder; use another --out\n"


def test_a_similar_name_is_offered_and_other_sources_are_left_to_whoever_opens_them(tmp_path):
    (tmp_path / "photos").mkdir()
    for where in ("hf:nobody/nothing", "cifar:gone", "s/{000..009}.tar", f"{tmp_path}/photos"):
        refuse_missing_images(where)
    with pytest.raises(Exception, match="did you mean photos"):
        refuse_missing_images(f"{tmp_path}/photo")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "train softmax --images photos --labels label.csv",
            "label table label.csv does not exist; did you mean labels.csv?",
        ),
        (
            "train softmax --images photos --labels phots/mine.csv",
            "label table phots/mine.csv does not exist; did you mean photos?",
        ),
        (
            "train softmax --images photo --labels labels.csv",
            "folder photo does not exist; did you mean photos?",
        ),
        ("calibrate runs/softmax1", "run folder runs/softmax1 does not exist; did you mean softmax-1?"),
        ("train softmax --images array.npz", "array.npz does not exist; did you mean arrays.npz?"),
        ("train softmax --images photos --labels ~/label.csv", "did you mean labels.csv?"),
        ("train softmax --images photos --labels n/o/thing.csv", "n/o/thing.csv does not exist\n"),
    ],
)  # fmt: skip
def test_a_mistyped_path_is_answered_with_what_is_there(
    command, said, tmp_path, monkeypatch, capsys
):
    for folder in ("photos", "runs/softmax-1"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("labels.csv", "arrays.npz"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(command.split()) == 2
    assert said in capsys.readouterr().err


def test_no_more_names_are_held_against_a_mistyped_one_than_is_quick(tmp_path, monkeypatch):
    """A table beside very many photos is found all the same."""
    compared = []

    def closest(name, known):
        compared.extend(known)
        return ""

    monkeypatch.setattr(files, "closest", closest)
    monkeypatch.setattr(files, "names_in", lambda _: [*map("{}.jpg".format, range(9999)), "a.CSV"])
    assert files.missing(tmp_path / "b.csv") == f"{tmp_path}/b.csv does not exist"
    assert "a.CSV" in compared
    assert len(compared) <= 1000


@pytest.mark.parametrize("name", ["nul\0l/there.csv", "n" * 5000 + "/there.csv", "/"])
def test_paths_that_no_system_has_are_missing_too(name):
    assert files.missing(name).startswith(f"{name} does not exist")


def test_home_folders_that_the_shell_leaves_are_found(tmp_path, monkeypatch, capsys):
    """bash expands ``--labels ~/x`` and not ``--labels=~/x``."""
    (tmp_path / "photos").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "photos/a.png")
    rows = "\n".join(f"{i},{'ab'[i % 2]}" for i in range(20))
    (tmp_path / "labels.csv").write_text(f"item,labels\n{rows}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--rate", "0.5", "--seed", "1", "--out=~/noisy.csv"]
    assert main(["noise", "--labels=~/labels.csv", *words]) == 0
    assert (tmp_path / "noisy.csv").exists()
    assert (
        main(
            ["dedup", "--images=~/photos", "--only-bytes", "--report=~/d.html", "--out=~/d.parquet"]
        )
        == 0
    )
    assert main(["noise", "--labels=~nobody-at-all/x.csv", *words]) == 2
    assert main(["dedup", "--images=~nobody-at-all/x"]) == 2
    assert capsys.readouterr().err.count("there is no home folder ~nobody-at-all;") == 2


def test_a_file_that_is_called_like_a_home_folder_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~odd").touch()
    assert files.at_home("~odd") == f"{tmp_path}/~odd"


@pytest.mark.parametrize("name", ["config.yaml", "transfer.json"])
def test_a_folder_that_was_begun_is_left_to_the_command(name, tmp_path):
    """A transfer that was killed goes on in its folder."""
    (tmp_path / "models").mkdir()
    with pytest.raises(UserError, match="exists and is not a run folder"):
        refuse_taken(tmp_path)
    (tmp_path / name).write_text("{}")
    refuse_taken(tmp_path)
