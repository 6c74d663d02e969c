"""The released answers: all published labels, and what the paper reports of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command import run
from rating_cases import released_folder
from reteach.data.formats.real import wordnet_ids
from reteach.errors import UserError
from reteach.options.relabel import ConsensusOptions
from reteach.relabel.raters import consensus, reassessed
from reteach.relabel.raters.ratings import Ratings
from reteach.tables import read_labels


@pytest.fixture(scope="module")
def released(shared_data: Path) -> Path:
    folder = shared_data / "real"
    if not (folder / "raters.npz").is_file():
        pytest.skip("the released rater answers are not on this machine")
    return folder


@pytest.fixture(scope="module")
def loaded(released: Path) -> tuple[Ratings, Ratings]:
    ratings, calibration, _ = reassessed.load(released)
    return ratings, calibration


@pytest.fixture(scope="module")
def published(released: Path) -> list[set[int]]:
    return [set(labels) for labels in json.loads((released / "real.json").read_text())]


def test_all_published_labels(
    released: Path, published: list[set[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, the label table and the score table; twice, to the bit."""
    import pyarrow.parquet as pq

    for name in ("one", "two"):
        run(
            ConsensusOptions(
                reassessed=released,
                out=tmp_path / f"{name}.parquet",
                scores=tmp_path / f"{name}.scores.parquet",
            )
        )
    said = capsys.readouterr().out
    assert "57,553 labels on 46,837 of 50,000 items" in said
    assert "precision 89.9%" in said

    table = read_labels(tmp_path / "one.parquet")
    assert list(table.items) == [reassessed.NAME.format(i + 1) for i in range(50_000)]
    assert table.labels.classes == wordnet_ids(), "as convert real names them"
    number = {name: c for c, name in enumerate(table.labels.classes)}
    found = [{number[name] for name in names} for names in table.labels.names()]
    assert sum(a != b for a, b in zip(found, published, strict=True)) == 0
    assert sum(map(len, found)) == 57_553
    assert sum(map(bool, found)) == 46_837

    scores = pq.read_table(tmp_path / "one.scores.parquet")
    assert scores.column_names == ["item", "class", "score"]
    assert scores.num_rows == 184_962
    first = (tmp_path / "one.scores.parquet").read_bytes()
    assert first == (tmp_path / "two.scores.parquet").read_bytes()

    unlabeled = read_labels(tmp_path / "one.unlabeled.csv")
    assert len(unlabeled.items) == 3_163
    assert set(unlabeled.items) == {
        table.items[i] for i, labels in enumerate(published) if not labels
    }


def test_em_comes_near_the_published_labels(
    loaded: tuple[Ratings, Ratings], published: list[set[int]]
) -> None:
    ratings, calibration = loaded
    truth = np.array(
        [
            c in published[i]
            for i, c in zip(ratings.pair_item.tolist(), ratings.pair_class.tolist(), strict=True)
        ]
    )
    supervised = consensus.golden(ratings, calibration=calibration, group=reassessed.animals())
    for iterations in (5, 30):
        found = consensus.em(
            ratings, group=reassessed.animals(), iterations=iterations, tolerance=-1
        )
        kept = found.score >= 0.8
        assert (kept & truth).sum() / (kept | truth).sum() >= 0.937
        assert np.corrcoef(found.score, supervised.score)[0, 1] >= 0.994


def test_majority_vote_of_the_paper(loaded: tuple[Ratings, Ratings]) -> None:
    ratings, _ = loaded
    golden = ratings.golden
    kept = consensus.majority(ratings).score[golden] >= 0.5
    truth = ratings.gold[golden] > consensus.EXPERTS
    assert round(100 * (kept & truth).sum() / kept.sum(), 2) == 90.82
    assert round(100 * (kept & truth).sum() / truth.sum(), 2) == 71.77
    assert truth.sum() == 248


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_stays_below_300_mb(released: Path, tmp_path: Path) -> None:
    program = (
        "import re, sys; from pathlib import Path;"
        "from reteach.cli import run; from reteach.options.relabel import ConsensusOptions;"
        "run(ConsensusOptions(reassessed=Path(sys.argv[1]), out=Path(sys.argv[2]), method='em'));"
        "print(int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(released), str(tmp_path / "out.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 300


def test_a_folder_in_miniature(tmp_path: Path) -> None:
    ratings, calibration, experts = reassessed.load(released_folder(tmp_path))
    with np.load(tmp_path / "raters.npz") as raw:
        dense = np.zeros_like(raw["tensor"])
        dense[ratings.rater, ratings.pair, ratings.answer] = 1
        np.testing.assert_array_equal(dense, raw["tensor"])
        names = [ratings.items[i] for i in ratings.pair_item]
        assert names == raw["info"][:, 0].tolist()
        assert ratings.pair_class.tolist() == raw["info"][:, 1].astype(int).tolist()
        assert ratings.raters == [str(i) for i in raw["ids"]]
    np.testing.assert_allclose(calibration.gold, (experts == 2).mean(0))
    assert ratings.golden.sum() == calibration.golden.sum() == 15


@pytest.mark.parametrize("name", ["raters", "golden", "raters_golden", "imagenet_val"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    file = released_folder(tmp_path) / f"{name}.npz"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x05\x06" + bytes(18)):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{name}.npz"):
            reassessed.load(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=f"{name}.npz"):
        reassessed.load(tmp_path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    released_folder(tmp_path)
    with np.load(tmp_path / "raters.npz") as raw:
        arrays = dict(raw)
    np.savez(tmp_path / "raters.npz", **(arrays | {"info": arrays["info"].astype(object)}))
    with pytest.raises(UserError, match=r"raters\.npz"):
        reassessed.load(tmp_path)
    np.savez(tmp_path / "raters.npz", **(arrays | {"tensor": arrays["tensor"][:, :7]}))
    with pytest.raises(UserError, match="'tensor' should be"):
        reassessed.load(tmp_path)


def test_unknown_images_and_classes(tmp_path: Path) -> None:
    released_folder(tmp_path)
    with np.load(tmp_path / "raters.npz") as raw:
        arrays = dict(raw)
    for column, cell, words in (
        (0, "strange.JPEG", "no row for 'strange.JPEG'"),
        (1, "1000", "999"),
    ):
        info = arrays["info"].copy()
        info[3, column] = cell
        np.savez(tmp_path / "raters.npz", **(arrays | {"info": info}))
        with pytest.raises(UserError, match=words):
            reassessed.load(tmp_path)
