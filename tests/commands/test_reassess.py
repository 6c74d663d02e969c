"""``reteach evaluate`` on score tables: the lines, the page, and one clear line for what does not go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reteach.cli import main
from reteach.labels import Multi, Single
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, write_labels

CLASSES = ("ant", "bee", "cat")
N = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Two models, reassessed sets and original labels; the first is right on the sets, always."""
    folder = tmp_path_factory.mktemp("scores")
    items = tuple(f"{i}.png" for i in range(N))
    truth = np.arange(N) % 3
    original = np.where(np.arange(N) % 5 == 0, (truth + 1) % 3, truth)
    write_labels(folder / "original.csv", LabelTable(items, Single(original, CLASSES)))
    write_labels(
        folder / "real.parquet", LabelTable(items, Multi.from_dense(np.eye(3)[truth], CLASSES))
    )
    for name, best in (("good", truth), ("copycat", original)):
        scores = 0.1 + 0.7 * np.eye(3, dtype=np.float32)[best]
        with ScoreWriter(folder / f"{name}.parquet", CLASSES) as out:
            out.write_dense(items, scores)
    return folder


def asked(world: Path, *more: str) -> list[str]:
    tables = [f"{world}/good.parquet", f"{world}/copycat.parquet"]
    return ["evaluate", *tables, "--labels", f"{world}/real.parquet", *more]


def test_models_are_judged_by_both_labels_and_shown(world, tmp_path, capsys):
    page = tmp_path / "page.html"
    more = ["--original", f"{world}/original.csv", "--report", str(page)]
    assert main(asked(world, *more)) == 0
    lines = {line.split()[0]: line.split()[1:3] for line in capsys.readouterr().out.splitlines()}
    assert lines["good"] == ["80.00%", "100.00%"]
    assert lines["copycat"] == ["100.00%", "80.00%"]
    assert "copycat" in page.read_text()


def test_without_all_classes_there_is_no_ensemble(world, tmp_path, capsys):
    """What ``reteach predict --top 2`` writes is enough for all the rest."""
    for name in ("one", "two"):
        with ScoreWriter(tmp_path / f"{name}.parquet", CLASSES) as out:
            for item in range(N):
                out.write([f"{item}.png"], np.zeros(2, int), np.array([0, 2]), np.array([0.6, 0.3]))
    given = ["--labels", f"{world}/real.parquet", "--original", f"{world}/original.csv"]
    more = ["--ensemble", "2", "--report", str(tmp_path / "page.html")]
    assert (
        main(["evaluate", f"{tmp_path}/one.parquet", f"{tmp_path}/two.parquet", *given, *more]) == 0
    )
    said = capsys.readouterr().out
    assert "no ensemble: it needs all 3 classes of each image" in said
    assert "(reteach predict --top 3)" in said
    assert ">nan" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a run folder, or score tables"),
        (["x.parquet"], "score tables need --labels (reassessed) and --original"),
        (
            ["x.parquet", "--images", "photos"],
            "--images and what goes with it are for a run folder",
        ),
        (["photos"], "--images is missing"),
        (["runs/none", "--images", "photos"], "runs/none does not exist"),
        (["photos", "--report", "x.html"], "are for score tables, not a run folder"),
    ],
)
def test_options_that_do_not_go_together_are_named(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "x.parquet").touch()
    assert main(["evaluate", *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert words in err
    assert "\n" not in err
