"""Label tables: what is written is read, and every fault is one clear line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reteach.data.sources.base import open_source
from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft, as_multi
from reteach.tables import LabelTable, read_labels, write_labels

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)
HOSTILE = st.sampled_from(
    ["nan", "NaN", "null", "None", "", " ", "a|b", "a;b", "[a", '["a"]', "=1+1", "\uff1d1+1", " =1+1",
     "'=1", "''x", "+a", "-a", "@a", "\t=1", "\r", "a\rb", "a\nb", '"', ",", "\u2028", "\x00a"]
)  # fmt: skip
NAMES = TEXT | HOSTILE


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@given(
    classes=st.lists(NAMES, min_size=2, max_size=5, unique=True),
    sets=st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=1, max_size=6),
    names=st.lists(NAMES.filter(bool), min_size=6, max_size=6, unique=True),
    single=st.booleans(),
)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip_with_hostile_names(tmp_path, ending, classes, sets, names, single):
    """Kind, class list, items and names come back as they were, from a CSV too."""
    sets = [[c for c in sorted(s) if c < len(classes)][: 1 if single else None] for s in sets]
    rows = np.array([i for i, s in enumerate(sets) for _ in s], np.int64)
    columns = np.array([c for s in sets for c in s], np.int64)
    labels = Multi.from_pairs(rows, columns, len(sets), tuple(classes))
    labels = labels.as_single() if single else labels
    table = LabelTable(tuple(names[: len(sets)]), labels, "test")
    file = tmp_path / f"t.{ending}"
    write_labels(file, table)
    back = read_labels(file)
    assert back.items == table.items
    assert type(back.labels) is type(labels)
    assert back.labels.classes == labels.classes
    assert back.labels.digest() == labels.digest()
    if ending == "csv":
        rows = list(csv.reader(file.open(newline="", encoding="utf-8")))
        assert not [c for row in rows for c in row if c.strip()[:1] in tuple("=+-@\uff1d")]


def through_pandas(source, out):
    frame = pandas.read_parquet(source)
    frame.sample(frac=1, random_state=0).to_parquet(out)


def through_polars(source, out):
    polars.read_parquet(source).reverse().write_parquet(out)


def through_duckdb(source, out):
    duckdb.sql(f"copy (select * from '{source}' order by hash(item)) to '{out}' (format parquet)")


def through_csv(source, out):
    write_labels(out.with_suffix(".csv"), read_labels(source))
    pandas.read_csv(out.with_suffix(".csv")).iloc[::-1].to_csv(out.with_suffix(".csv"), index=False)
    out.with_suffix(".csv").rename(out)


@pytest.mark.parametrize("kind", ["single", "multi", "soft"])
@pytest.mark.parametrize("program", [through_pandas, through_polars, through_duckdb, through_csv])
def test_kind_classes_and_empty_sets_survive_other_programs(tmp_path, program, kind, capfd):
    """Every row at most one label, some none, a class without any: all that is easily lost."""
    index = np.array([0, -1, 2, 0, -1, 2])
    labels = Single(index, ("zebra", "never", "ant"))
    sets = {"single": labels, "multi": as_multi(labels)}
    weights = np.eye(3, dtype=np.float32)[index] * (index >= 0)[:, None] * 0.5
    labels = sets.get(kind) or Soft.from_dense(weights, labels.classes)
    items = tuple(f"{i}.jpg" for i in range(6))
    write_labels(tmp_path / "a.parquet", LabelTable(items, labels))
    out = tmp_path / ("b.csv" if program is through_csv else "b.parquet")
    program(tmp_path / "a.parquet", out)
    back = read_labels(out)
    order = [back.items.index(item) for item in items]
    assert back.items != items
    assert back.labels.classes == labels.classes
    assert back.labels.take(np.array(order)).digest() == labels.digest()
    assert back.labels.known().sum() == labels.known().sum()
    assert capfd.readouterr().err == ""


def test_a_bare_table_says_what_its_empty_cells_were_taken_for(tmp_path, capfd):
    file = tmp_path / "t.csv"
    file.write_text("item,labels\na,cat\nb,\n")
    assert isinstance(read_labels(file).labels, Single)
    assert "one label per image, and 1 empty cells for not labelled" in capfd.readouterr().err
    file.write_text("item,labels\na,cat|dog\nb,\n")
    assert isinstance(read_labels(file).labels, Multi)
    assert "label sets, and 1 empty cells for none of the classes" in capfd.readouterr().err
    file.write_text("item,labels,kind\na,cat,multi\nb,,multi\n")
    assert read_labels(file).labels.known().tolist() == [True, True]
    assert capfd.readouterr().err == ""


def test_what_another_kind_cannot_hold_is_said(tmp_path, capfd):
    """Labels that a command reads as another kind: empty cells change their meaning, weights are lost."""
    file = tmp_path / "t.csv"
    for declared, kind, words in [
        ("single", "multi", "its 1 images without a label are taken to have none of the classes"),
        ("multi", "single", "its 1 images with none of the classes are taken as not labelled"),
        ("multi", "multi", ""),
        ("single", "single", ""),
    ]:
        file.write_text(f"item,labels,kind\na,cat,{declared}\nb,,{declared}\n")
        read_labels(file, kind=kind)
        said = capfd.readouterr().err
        assert words in said if words else not said
    file.write_text("item,labels,weight\na,cat|dog,1|2\n")
    read_labels(file, kind="multi")
    assert "its weights are not looked at" in capfd.readouterr().err


def test_a_class_list_that_went_with_its_row_is_missed(tmp_path):
    """A CSV has its class list in one row: whoever filters that row out is told, not given fewer classes."""
    file = tmp_path / "t.csv"
    write_labels(file, LabelTable(("a", "b"), Single(np.array([0, 2]), ("x", "never", "y"))))
    header, first, second = file.read_text().splitlines()
    file.write_text(f"{header}\n{second}\n")
    with pytest.raises(UserError, match="the row that held the class list is gone"):
        read_labels(file)
    assert read_labels(file, classes=("x", "never", "y")).labels.classes == ("x", "never", "y")
    file.write_text(f"{header}\n{second}\n{first}\n")
    assert read_labels(file).labels.classes == ("x", "never", "y")


def test_rows_that_contradict_each_other(tmp_path):
    file = tmp_path / "t.csv"
    for text, words in [
        ("item,labels,kind\na,x,multi\nb,y,single\n", "rows of different kinds"),
        ("item,labels,kind\na,x,many\n", "kind 'many' is none of single, multi, soft"),
        ('item,labels,classes\na,x,"[""x""]"\nb,y,"[""y""]"\n', "different class lists"),
        ("item,labels,classes\na,x,x|y\n", "the class list is damaged"),
        ("item,labels\na.jpg,Bread, white\n", "line 2 has 3 cells for 2 columns"),
        ("item,labels\na,nan\n", "'nan' looks like a missing value"),
        ("item,labels\na,x|null\n", "'null' looks like a missing value"),
        ('item,labels\na,"[""cat"",null]"\n', "labels are names"),
        ("item,labels\n,x\n", "row 1 names no item"),
    ]:
        file.write_text(text)
        with pytest.raises(UserError, match=words):
            read_labels(file)
    pq.write_table(pa.table({"item": ["a"], "labels": [["cat", None]]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="row 1 has a null among its labels"):
        read_labels(tmp_path / "t.parquet")
    file.write_text('item,labels\na,"[""nan""]"\nb,x\n')
    assert read_labels(file).labels.classes == ("nan", "x")
    file.write_text("item,labels\na,null\nb,x\n")  # Clothing Co-Parsing has a class of this name
    assert read_labels(file, classes=("x", "null")).labels.names() == [["null"], ["x"]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_kinds_and_scores(tmp_path, ending):
    file = tmp_path / f"t.{ending}"
    single = Single(np.array([1, -1, 0]), ("a", "b"))
    write_labels(file, LabelTable(("x", "y", "z"), single), np.array([0.9, 0.4], np.float32))
    back = read_labels(file).labels
    assert isinstance(back, Single)
    assert back.index.tolist() == [1, -1, 0]
    soft = Soft.from_dense(np.array([[0.25, 0.75], [0, 0.5], [0, 0]], np.float32), ("a", "b"))
    write_labels(file, LabelTable(("x", "y", "z"), soft))
    back = read_labels(file).labels
    assert isinstance(back, Soft)
    assert np.allclose(back.array(), soft.array())


def test_csv_forms(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('item,labels\na,cat\nb,cat|dog\nc,"[""x|y"", ""z""]"\nd,\ne,cat; dog\n')
    table = read_labels(file)
    assert table.labels.names() == [["cat"], ["cat", "dog"], ["x|y", "z"], [], ["cat", "dog"]]
    file.write_text("item;labels\na;b\n")
    with pytest.raises(UserError, match="no column 'item'"):
        read_labels(file)


def test_alignment():
    table = LabelTable(("b", "a"), Single(np.array([0, 1]), ("x", "y")))
    aligned = table.aligned(["a", "b", "c"])
    assert isinstance(aligned, Single)
    assert aligned.index.tolist() == [1, 0, -1]
    with pytest.raises(UserError, match="1 of 2 items are not among the images, first: 'b'"):
        table.aligned(["a"])
    sets = LabelTable(("a",), Multi.from_dense(np.ones((1, 2)), ("x", "y")))
    with pytest.raises(UserError, match=r"no row, first: 'b'"):
        sets.aligned(["a", "b"])


def test_faults(tmp_path):
    def fault(words: str, name: str = "t.csv", text: str | None = None, **options: object) -> None:
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        with pytest.raises(UserError, match=words) as caught:
            read_labels(file, **options)
        assert "\n" not in str(caught.value)

    fault("does not exist", "none.csv")
    fault("no column 'labels'", text="item,label\na,b\n")
    fault("rows 1 and 2", text="item,labels\na,x\na,y\n")
    fault("line 3 has 1 of 2", text="item,labels\na,x\nb\n")
    fault("JSON list", text='item,labels\na,"[x"\n')
    fault("not a number", text="item,labels,weight\na,x,high\n")
    fault("1 labels but 2 weights", text="item,labels,weight\na,x,1|2\n")
    fault("2 labels where a single", text="item,labels\na,x|y\n", kind="single")
    fault("'x'", text="item,labels\na,x\n", classes=("y", "z"))
    fault(r"\.parquet or \.csv", "t.txt", "item,labels\n")
    fault("not a readable Parquet", "t.parquet", "not parquet")
    bad = pa.table({"item": ["a"], "labels": [["x"]]}).replace_schema_metadata(
        {"reteach.classes": json.dumps(["y"])}
    )
    pq.write_table(bad, tmp_path / "t.parquet")
    fault("not in the file's own class list", "t.parquet")


def test_other_tools_parquet(tmp_path):
    """A plain string column, as a data frame would write it."""
    pq.write_table(pa.table({"item": ["a", "b"], "labels": ["x", None]}), tmp_path / "t.parquet")
    table = read_labels(tmp_path / "t.parquet")
    assert table.labels.names() == [["x"], []]


def test_a_crash_leaves_the_old_table(tmp_path, monkeypatch):
    file = tmp_path / "t.parquet"
    table = LabelTable(("a",), Single(np.array([0]), ("x", "y")))
    write_labels(file, table)
    before = file.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(UserError, match="disk full"):
        write_labels(file, LabelTable(("b",), Single(np.array([1]), ("x", "y"))))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@given(
    classes=st.lists(NAMES, min_size=2, max_size=5, unique=True),
    sets=st.lists(st.lists(st.sampled_from("yn?"), min_size=5, max_size=5), min_size=1, max_size=6),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_unknown_entries_make_the_round_trip(tmp_path, ending, classes, sets):
    said = np.array(sets)[:, : len(classes)]
    labels = Multi.from_dense(said == "y", tuple(classes), said != "?")
    items = tuple(f"{i}.jpg" for i in range(len(sets)))
    file = tmp_path / f"t.{ending}"
    write_labels(file, LabelTable(items, labels, "test"))
    read = read_labels(file, kind="multi", classes=classes)
    assert read.labels.digest() == labels.digest()


def test_an_unknown_column_makes_a_table_of_sets(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("item,labels,unknown\na,x,y|z\nb,y,\n")
    labels = read_labels(file).labels
    assert isinstance(labels, Multi)
    assert labels.classes == ("x", "y", "z")
    assert labels.unknown.names() == [["y", "z"], []]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item,labels,unknown\na,x,x\n", "row 0 has class 'x' as present and as unknown"),
        ("item,labels,weight,unknown\na,x,1,y\n", "only label sets can have unknown classes"),
    ],
)
def test_contradictions_about_unknown_entries(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_labels(tmp_path / "t.csv")


def read_and_write(program, source, out):
    """A table through another program, each with its own guesses about types and empty cells."""
    a, b = source.suffix, out.suffix
    if program == "pandas":
        frame = pandas.read_csv(source) if a == ".csv" else pandas.read_parquet(source)
        frame.to_csv(out, index=False) if b == ".csv" else frame.to_parquet(out)
    elif program == "polars":
        rows = polars.read_csv(source) if a == ".csv" else polars.read_parquet(source)
        if b == ".csv":  # it refuses lists in a CSV: people join them
            lists = [c for c, t in rows.schema.items() if t == polars.List]
            joined = [polars.col(c).cast(polars.List(polars.String)).list.join("|") for c in lists]
            rows.with_columns(joined).write_csv(out)
        else:
            rows.write_parquet(out)
    else:
        duckdb.sql(f"copy (select * from '{source}') to '{out}' (format {b[1:]})")


CLASS_LISTS = {
    "words": ("cat", "dog", "never"),
    "digits": ("1", "2", "10"),
    "zeros": ("007", "7", "1.0"),
    "countries": ("NA", "DE", "null"),
    "truth": ("True", "False", "true"),
    "dates": ("2020-01-02", "2020-01-03", "2020-1-2"),
    "hostile": ("=1+1", "a|b", "\u200e=x"),
}
ITEM_LISTS = {"paths": ("a.jpg", "=b.jpg", "c/d.jpg", "e.jpg"), "numbers": ("007", "8", "9", "10")}
SETS = {
    "single": [[0], [], [2], [0]],
    "multi": [[0, 1], [], [2], [0]],
    "multi with unknown": [[0, 1], [], [2], [0]],
    "soft": [[0, 1], [], [2], [0]],
    "one soft weight each": [[0], [], [2], [0]],
}


def made(kind, classes):
    rows = np.array([row for row, entry in enumerate(SETS[kind]) for _ in entry])
    sets = Multi.from_pairs(rows, np.concatenate(SETS[kind]).astype(int), 4, classes)
    if kind == "single":
        return sets.as_single()
    if kind == "multi with unknown":
        return sets.with_unknown(Multi.from_pairs(np.array([1, 3]), np.array([0, 2]), 4, classes))
    return Soft.from_dense(sets.array() * np.float32(0.5), classes) if "soft" in kind else sets


def read_or_refusal(file):
    try:
        return read_labels(file)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("program", ["pandas", "polars", "duckdb"])
@pytest.mark.parametrize("ways", [("csv", "parquet"), ("parquet", "parquet"), ("csv", "csv"),
                                  ("parquet", "csv")])  # fmt: skip
def test_through_any_program_and_container_the_same_table_or_one_line(tmp_path, program, ways):
    """Never another table: cells of text are read alike, and damage that can be seen is named."""
    source, out = (tmp_path / f"{name}.{way}" for name, way in zip("ab", ways, strict=True))
    same = []
    cases = [("words", kind, "paths") for kind in SETS] + [("words", "single", "numbers")]
    cases += [(what, kind, "paths") for what in CLASS_LISTS for kind in ("single", "multi")]
    for what, kind, called in cases:
        classes, items = CLASS_LISTS[what], ITEM_LISTS[called]
        labels = made(kind, classes)
        write_labels(source, LabelTable(items, labels))
        read_and_write(program, source, out)
        back = read_or_refusal(out)
        if isinstance(back, str):
            assert "\n" not in back
            assert ways == ("parquet", "csv") or (what, called) != ("words", "paths"), back
            continue
        if called == "numbers" and ways[1] == "csv":  # 7 in that CSV, as if it had been written so
            continue
        assert back.items == items, (what, kind)
        assert type(back.labels) is type(labels), (what, kind)
        assert back.labels.classes == classes, (what, kind)
        assert back.labels.digest() == labels.digest(), (what, kind)
        same.append((what, kind))
    if ways != ("parquet", "csv"):
        assert {kind for what, kind in same if what == "words"} == set(SETS)


def test_cells_of_text_in_parquet_are_read_as_in_csv(tmp_path):
    """As a data frame that came from a CSV writes them, without the columns kind and classes."""
    file = tmp_path / "t.parquet"
    cells = {"item": ["a", "b"], "labels": ["cat|dog", '["x|y"]'], "weight": ["0.5|0.25", "1"]}
    pq.write_table(pa.table(cells), file)
    read = read_labels(file).labels
    assert read.names() == [["cat", "dog"], ["x|y"]]
    assert read.pairs()[2].tolist() == [0.5, 0.25, 1.0]
    for column, values, words in [
        ("labels", [1.0, None], "row 1: label 1.0 is no longer text"),
        ("labels", [True, False], "row 1: label True is no longer text"),
        ("labels", [[1.5], []], "row 1: label 1.5 is no longer text"),
        ("item", [1.0, 2.0], "row 1: item 1.0 is no longer text"),
        ("weight", [[None], [1.0]], "row 1: weight is not a number"),
        ("weight", ["0,5", "1"], "row 1: weight is not a number"),
        ("labels", ["NA", "x"], "'NA' looks like a missing value"),
    ]:
        pq.write_table(pa.table(cells | {column: values}), file)
        with pytest.raises(UserError, match=words):
            read_labels(file)


def test_a_row_without_a_kind_beside_rows_with_one(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("item,labels,kind\na,cat,multi\nb,,\n")
    with pytest.raises(UserError, match=r"row 2 \('b'\) does not say its kind, others are multi"):
        read_labels(file)
    assert read_labels(file, kind="multi").labels.known().all()
    lists = pa.array([["cat"], []], pa.list_(pa.string()))
    parquet = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"item": ["a", "b"], "labels": lists, "kind": ["multi", None]}), parquet
    )
    with pytest.raises(UserError, match=r"row 2 \('b'\) does not say its kind"):
        read_labels(parquet)


def test_all_texts_that_pandas_reads_as_missing_are_no_class_unless_declared(tmp_path):
    from pandas._libs.parsers import STR_NA_VALUES

    file = tmp_path / "t.csv"
    for text in sorted(STR_NA_VALUES - {""} | {"\\N"}):
        file.write_text(f"item,labels\na,{text}\nb,x\n")
        with pytest.raises(UserError, match="looks like a missing value") as caught:
            read_labels(file)
        assert "leave the cell empty" in str(caught.value)
        assert "--classes" in str(caught.value)
        assert read_labels(file, classes=("x", text)).labels.names() == [[text], ["x"]]
        write_labels(file, LabelTable(("a",), Single(np.array([0]), (text,))))
        assert read_labels(file).labels.names() == [[text]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item,labels,weight\na,x,1\nb,y,-1\n", r"row 2: weights must be finite and not negative"),
        ("item,labels,weight\na,x,inf\nb,y,1\n", r"row 1: weights must be finite"),
        ("item,labels,weight\na,x|x,1|2\n", r"row 1 has the class 'x' twice"),
        ('item,labels,classes\na,x,"[""x"",""x""]"\n', r"class 'x' is listed twice"),
    ],
)
def test_bad_weights_and_doubled_classes_are_named_with_their_file(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=rf"t\.csv: {words}"):
        read_labels(tmp_path / "t.csv")


def test_doubled_classes_of_arrays_are_named_with_their_file(tmp_path: Path) -> None:
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])
    np.savez(tmp_path / "x.npz", images=images, labels=labels, classes=["a", "a"])
    with pytest.raises(UserError, match=r"x\.npz: class 'a' is listed twice"):
        open_source(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_that_differ_in_case_alone_are_refused(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        path.write_text("item,Labels,labels\na.jpg,cat,dog\n")
    else:
        pq.write_table(pa.table({"item": ["a.jpg"], "Labels": ["cat"], "labels": ["dog"]}), path)
    with pytest.raises(UserError, match="the columns 'labels' and 'Labels' differ in case alone"):
        read_labels(path)


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [("multi", "having none of the classes"), ("single", "not labelled"), ("soft", "not labelled")],
)
def test_null_lists_of_labels_are_counted_and_said(tmp_path, capsys, kind, meaning):
    column = pa.array([["cat"], None, [], None], pa.list_(pa.string()))
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"item": list("abcd"), "labels": column, "kind": [kind] * 4}), path)
    assert len(read_labels(path).items) == 4
    said = capsys.readouterr().err
    assert f"2 of 4 rows have a null in place of a list of labels: taken as {meaning}" in said
    column = pa.array([["cat"], [], [], []], pa.list_(pa.string()))
    pq.write_table(pa.table({"item": list("abcd"), "labels": column, "kind": [kind] * 4}), path)
    read_labels(path)
    assert "null" not in capsys.readouterr().err
