"""``reteach noise`` from files to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command import run
from reteach.cli import main
from reteach.errors import UserError
from reteach.labels import Single
from reteach.options.noise import NoiseOptions
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, read_labels, write_labels


@pytest.fixture
def table(tmp_path):
    index = np.repeat([0, 1, 2], 10)
    items = tuple(f"{i}.jpg" for i in range(30))
    write_labels(tmp_path / "clean.csv", LabelTable(items, Single(index, tuple("abc")), "people"))
    return tmp_path / "clean.csv"


def test_the_command_writes_a_table_that_says_where_it_is_from(table, tmp_path, capsys):
    out = tmp_path / "noisy.csv"
    words = ["noise", "--labels", str(table), "--kind", "symmetric", "--rate", "0.5"]
    assert main([*words, "--out", str(out)]) == 0
    noisy, clean = read_labels(out), read_labels(table)
    assert noisy.items == clean.items
    assert noisy.source == "symmetric noise, rate 0.5, seed 0; of people"
    assert (noisy.labels.index != clean.labels.index).sum() == 15
    assert "15 of 30 labels are wrong (50.0%)" in capsys.readouterr().out


def test_a_matrix_is_read_by_its_names(table, tmp_path):
    matrix = tmp_path / "m.csv"
    matrix.write_text("true,c,b,a\nb,0,1,0\na,1,0,0\nc,1,0,0\n")
    run(NoiseOptions(table, tmp_path / "out.parquet", "matrix", matrix=matrix))
    noisy = read_labels(tmp_path / "out.parquet")
    assert noisy.labels.index.tolist() == [2] * 10 + [1] * 10 + [2] * 10
    assert noisy.source == "noise by m.csv, seed 0; of people"


def test_the_kind_is_what_the_other_options_say(table, tmp_path):
    matrix, out = tmp_path / "m.csv", tmp_path / "out.csv"
    matrix.write_text("true,a,b,c\na,0,1,0\nb,1,0,0\nc,1,0,0\n")
    with ScoreWriter(tmp_path / "s.parquet", tuple("abc")) as scores:
        index = read_labels(table).labels.index
        scores.write_dense([f"{i}.jpg" for i in range(30)], np.eye(3)[index] * 0.9 + 0.1 / 3)
    pixels = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=pixels, items=[f"{i}.jpg" for i in range(30)])

    def source(**given):
        run(NoiseOptions(table, out, **given))
        return read_labels(out).source.split(";")[0]

    assert source() == "symmetric noise, rate 0.5, seed 0"
    assert source(matrix=matrix) == "noise by m.csv, seed 0"
    assert read_labels(out).labels.index.tolist() == [1] * 10 + [0] * 20
    assert source(scores=tmp_path / "s.parquet") == "noise by an estimate, seed 0"
    assert source(images=f"{tmp_path}/x.npz", rate=0.2) == "instance noise, rate 0.2, seed 0"


def test_noise_like_that_of_held_out_scores(table, tmp_path):
    index = np.repeat([1, 1, 2], 10)  # models see a 'b' wherever 'a' is said
    with ScoreWriter(tmp_path / "s.parquet", tuple("abc")) as out:
        out.write_dense([f"{i}.jpg" for i in range(30)], np.eye(3)[index] * 0.9 + 0.1 / 3)
    run(NoiseOptions(table, tmp_path / "out.csv", "matrix", scores=tmp_path / "s.parquet"))
    noisy = read_labels(tmp_path / "out.csv").labels.index
    assert np.bincount(noisy[10:20]).tolist() == [5, 5]  # half of the true 'b' are called 'a'


def test_an_estimate_is_written_and_can_be_applied(table, tmp_path, capsys):
    """Scores that name the true class, and labels of which every fifth is another one."""
    truth = read_labels(table)
    with ScoreWriter(tmp_path / "s.parquet", tuple("abc")) as out:
        out.write_dense(list(truth.items), np.eye(3)[truth.labels.index] * 0.9 + 0.1 / 3)
    given = truth.labels.index.copy()
    given[10:14] = 2  # four of ten 'b' are called 'c'
    labels = Single(given, tuple("abc"))
    write_labels(tmp_path / "given.csv", LabelTable(truth.items, labels))
    words = ["noise", "estimate", "--labels", f"{tmp_path / 'given.csv'}"]
    words += ["--scores", f"{tmp_path / 's.parquet'}", "--out", f"{tmp_path / 'm.csv'}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "about 13.3% of the labels seem to be wrong" in said
    assert "40.0% of 'b' are labelled 'c'" in said
    run(NoiseOptions(table, tmp_path / "again.csv", "matrix", matrix=tmp_path / "m.csv"))
    again = read_labels(tmp_path / "again.csv").labels.index
    assert np.bincount(again[10:20]).tolist() == [0, 6, 4]
    (tmp_path / "s.parquet").unlink()
    assert main(words) == 2
    assert "s.parquet" in capsys.readouterr().err


def test_noise_by_instance_reads_the_images(table, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=pictures, items=[f"{i}.jpg" for i in range(30)])
    run(NoiseOptions(table, tmp_path / "out.csv", "instance", 0.2, images=str(tmp_path / "x.npz")))
    noisy, clean = read_labels(tmp_path / "out.csv").labels, read_labels(table).labels
    assert np.bincount(clean.index[noisy.index != clean.index]).tolist() == [2, 2, 2]


def test_a_matrix_of_other_shares_is_named_by_its_file(table, tmp_path):
    rows = [",".join(["true", *"abc"]), "a,1,1,0", "b,0,1,0", "c,0,0,1"]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match=r"m\.csv: the row of 'a' is not shares"):
        run(NoiseOptions(table, tmp_path / "n.csv", matrix=tmp_path / "m.csv"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x,a,b", "a,0.5,0.5", "b,0,1", "a,1,0"], "line 4: a second row of class 'a'"),
        (["x,a,b,b", "a,0.5,0.5,0", "b,0,1,0"], "the column 'b' stands twice"),
    ],
)
def test_a_class_twice_in_a_matrix_is_an_error(tmp_path, lines, message):
    (tmp_path / "l.csv").write_text("item,labels\n1,a\n2,b\n")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    given = {"labels": tmp_path / "l.csv", "out": tmp_path / "n.csv", "matrix": tmp_path / "m.csv"}
    with pytest.raises(UserError, match=message):
        run(NoiseOptions(**given))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.5}, r"--rate must lie in \[0, 1\], got 1.5"),
        ({"kind": "matrix"}, "--kind matrix needs --matrix FILE.csv, or --scores"),
        ({"kind": "instance"}, "add --images"),
        ({"matrix": Path("m.csv"), "rate": 0.5}, "--rate has no effect beside --matrix"),
        ({"kind": "matrix", "scores": Path("s"), "rate": 0.2}, "--rate has no effect beside --sc"),
        ({"kind": "pair", "matrix": Path("m.csv")}, "--matrix is for --kind matrix, not pair"),
        ({"kind": "matrix", "images": "x"}, "--images is for --kind instance, not matrix"),
        ({"kind": "symmetric", "images": "x"}, "--images is for --kind instance, not symmetric"),
        ({"matrix": Path("m"), "images": "x"}, "--matrix and --images are of different noise"),
        ({"matrix": Path("m"), "scores": Path("s")}, "--matrix and --scores are of different"),
    ],
)
def test_bad_settings_are_named(table, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run(NoiseOptions(table, tmp_path / "out.csv", **settings))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true,a,b\na,1,0\nb,0,1\n", "class 'c' of the labels is not in the matrix"),
        ("true,a,b,c\na,1,0\n", "line 2 has 3 of 4 columns"),
        ("true,a,b,c\na,1,x,0\n", "is not a matrix with class names"),
        ("", "class .a. of the labels is not in the matrix"),
    ],
)
def test_bad_matrices_are_named(table, tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        run(NoiseOptions(table, tmp_path / "out.csv", "matrix", matrix=tmp_path / "m.csv"))


def test_images_without_a_label_are_counted_and_classes_can_be_listed(tmp_path, capsys):
    """Which class is the next one, and how many others there are, depends on the list."""
    (tmp_path / "clean.csv").write_text("item,labels\n0,a\n1,\n2,c\n")
    (tmp_path / "classes.txt").write_text("a\nnever\nc\n")
    words = ["noise", "--labels", f"{tmp_path}/clean.csv", "--kind", "pair", "--rate", "1"]
    out = ["--out", f"{tmp_path}/noisy.csv", "--classes", f"{tmp_path}/classes.txt"]
    assert main([*words, *out]) == 0
    noisy = read_labels(tmp_path / "noisy.csv").labels
    assert noisy.names() == [["never"], [], ["a"]]
    assert "1 of 3 images have no label, and get none" in capsys.readouterr().out
