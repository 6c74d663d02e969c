"""``reteach select`` and ``reteach relabel hashtags`` as the command line runs them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tyro
from PIL import Image

import score_shards as toy
from command import run as run_options
from reteach.errors import UserError
from reteach.options.relabel import HashtagsOptions
from reteach.options.renamed import current_flags
from reteach.options.scale import SelectOptions
from reteach.relabel.weak.weak_labels import weak_labels

pytest.importorskip("duckdb")

CLASSES = ["ant", "<bee>", "cat", "dog", "eel", "fox", "gnu"]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A folder of two shards."""
    table = toy.rows(0, items=60)
    for n in (0, 1):
        part = table[n * 120 : n * 120 + 120]
        toy.write(tmp_path / "scores" / f"{n}.parquet", part, classes=CLASSES)
    return tmp_path / "scores"


def run(command: Any, *arguments: object) -> None:
    run_options(tyro.cli(command, args=[str(a) for a in arguments]))


def test_the_issue_command(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picks.parquet"
    run(SelectOptions, scores, "--per-class", 5, "--top", 3, "--out", out)
    wanted = toy.oracle(toy.rows(0, items=60), dict.fromkeys(range(7), 5), 3)
    assert toy.read(out) == wanted
    said = capsys.readouterr()
    assert "35 picks for 7 of 7 classes, out of 240 rows" in said.out
    assert f"picks: {out}" in said.out
    assert "warning" not in said.err


def test_k_by_the_papers_ratio_and_k_that_is_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3,000 images, ten classes, all ten of which are kept of each image: as score writes them."""
    table = toy.rows(1, items=3_000, classes=10, per_item=10, levels=10**6)
    names = [f"c{n}" for n in range(10)]
    written, known = tmp_path / "s.parquet", tmp_path / "known.parquet"
    toy.write(written, table, classes=names)
    toy.write(known, table, classes=names, top="10")
    out = tmp_path / "o.parquet"
    for scores in (written, known):  # counted, and from the metadata
        run(SelectOptions, scores, "--out", out)
        assert "K = 48 per class, by the paper's ratio" in capsys.readouterr().out
        assert toy.read(out) == toy.oracle(table, dict.fromkeys(range(10), 48))
    out.unlink()
    for scores, k, words in (
        (written, 16_000, "picks each of 3,000 images for 10.0 of 10 classes"),
        (known, 16_000, "more than the 3,000 unlabelled images"),
        (known, 2_000, "too many of 3,000 images for 10 classes"),
    ):
        with pytest.raises(UserError, match=f"{words}.*give --per-class 48$"):
            run(SelectOptions, scores, "--per-class", k, "--out", out)
        assert not out.exists()


def test_a_part_may_hold_what_a_whole_may_not(tmp_path: Path) -> None:
    """Merged, the picks of 8 parts of 10 images are those of the whole, 20 per class."""
    whole = toy.rows(2, items=80, classes=5, per_item=5, levels=10**6)
    names = [f"c{n}" for n in range(5)]
    parts = tmp_path / "parts"
    parts.mkdir()
    for n in range(8):
        part = toy.write(tmp_path / f"{n}.parquet", whole[50 * n : 50 * n + 50], classes=names)
        run(SelectOptions, part, "--per-class", 20, "--part", "--out", parts / f"{n}.parquet")
    with pytest.raises(UserError, match=r"picks each of 10 images for 5\.0 of 5 classes"):
        run(SelectOptions, part, "--per-class", 20, "--out", tmp_path / "o.parquet")
    with pytest.raises(UserError, match="do not tell how many images there were: give --per-class"):
        run(SelectOptions, parts, "--out", tmp_path / "o.parquet")
    run(SelectOptions, parts, "--per-class", 20, "--out", tmp_path / "o.parquet")
    assert toy.read(tmp_path / "o.parquet") == toy.oracle(whole, dict.fromkeys(range(5), 20))
    with pytest.raises(UserError, match="--part needs --per-class"):
        run(SelectOptions, parts, "--part")


def test_what_is_missing_is_said(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [row for row in toy.rows(0, items=60) if row[1] != 1]
    toy.write(scores / "0.parquet", table, classes=CLASSES)
    (scores / "1.parquet").write_bytes(b"not a shard at all")
    (tmp_path / "drop.txt").write_text("".join(f"{row[0]}\n" for row in table if row[1] == 4))
    drop, out = tmp_path / "drop.txt", tmp_path / "o.parquet"
    words = [scores, "--per-class", 30, "--exclude", drop, "--out", out]
    with pytest.raises(
        UserError, match=r"1\.parquet cannot be read .* go without it with --incomplete"
    ):
        run(SelectOptions, *words)
    (scores / "1.parquet").rename(tmp_path / "1.parquet")
    (scores / "_UNFINISHED").touch()  # as score leaves it until it is done
    with pytest.raises(UserError, match="not hold all scores yet: run the same reteach score"):
        run(SelectOptions, *words)
    assert not out.exists()
    (tmp_path / "1.parquet").rename(scores / "1.parquet")
    run(SelectOptions, *words, "--incomplete")
    said = capsys.readouterr().err
    assert "does not hold all scores yet, and is selected from as it is" in said
    assert "1.parquet cannot be read and is left out" in said
    assert "no image was picked for 2 classes: '<bee>', 'eel'" in said
    assert "classes with fewer images than asked for: 5" in said


def test_frequencies_come_from_hashtags(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    rows = ["item,tags", "1,#ant #ants", "2,ANT cat", "3,fox gnu", "4,sky", "5,ant", "6,a fox"]
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    counts = tmp_path / "counts.csv"
    run(HashtagsOptions, tmp_path / "tags.csv", "--classes", tmp_path / "classes.txt",
        "--out", tmp_path / "weak.parquet", "--counts", counts)  # fmt: skip
    said = capsys.readouterr().out
    assert "5 of 6 images have a label: 5 of 8 different tags name a class" in said
    assert "3 of 7 classes have no image: '<bee>', 'dog', 'eel'" in said
    with open(counts, newline="") as file:
        assert [row["count"] for row in csv.DictReader(file)] == ["3", "0", "1", "0", "0", "2", "1"]
    seen = weak_labels(tmp_path / "weak.parquet", ["5", "7", "1"], CLASSES)  # for train semi --tags
    assert (seen.rows.tolist(), seen.shares().names()) == ([2, 0], [["ant"], ["ant"]])
    run(
        SelectOptions,
        scores,
        "--per-class",
        2,
        "--frequencies",
        counts,
        "--out",
        tmp_path / "o.parquet",
    )
    picked = np.bincount([row[1] for row in toy.read(tmp_path / "o.parquet")], minlength=7)
    assert picked.tolist() == [6, 0, 2, 0, 0, 4, 2]
    run(
        SelectOptions,
        tmp_path / "weak.parquet",
        "--per-class",
        1,
        "--by",
        "random",
        "--out",
        tmp_path / "o.parquet",
    )
    drawn = toy.read(tmp_path / "o.parquet")
    assert [row[1] for row in drawn] == ["ant", "cat", "fox", "gnu"]


def test_the_page_shows_images_at_chosen_ranks(scores: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "o.parquet", tmp_path / "page.html"
    (tmp_path / "images").mkdir()
    for item in {row[0] for row in toy.rows(0, items=60)}:
        pixels = np.random.default_rng(len(item)).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / item)
    run(
        SelectOptions,
        scores,
        "--per-class",
        12,
        "--out",
        out,
        "--report",
        page,
        "--images",
        tmp_path / "images",
    )
    text = page.read_text()
    assert text.count("data:image/png") == 7 * 3  # ranks 1, 10 and 12
    for rank in ("rank 1<", "rank 10<", "rank 12<"):
        assert rank in text
    assert "&lt;bee&gt;" in text
    assert "<bee>" not in text
    first = next(row for row in toy.read(out) if row[1] == 2 and row[3] == 1)
    assert first[0] in text
    (tmp_path / "images" / first[0]).write_bytes(b"gone")
    run(SelectOptions, scores, "--per-class", 12, "--out", out, "--report", page,
        "--images", tmp_path / "images", "--ranks", 1, 4, 99, "--shown", "cat", "dog")  # fmt: skip
    text = page.read_text()
    assert text.count("data:image/png") == 3
    assert "not an image" in text
    with pytest.raises(UserError, match="no class is called 'cta'; did you mean cat"):
        run(SelectOptions, scores, "--per-class", 12, "--out", out, "--report", page,
            "--images", tmp_path / "images", "--shown", "cta")  # fmt: skip


def test_page_of_select_was_the_name_of_report() -> None:
    words = ["--page", "p.html", "--out", "page"]
    assert current_flags("select", words) == ["--report", "p.html", "--out", "page"]


def test_bad_options_are_one_clear_line(scores: Path, tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "both --report and --images": {"report": tmp_path / "p.html"},
        "--memory must be at least": {"memory": 1},
        "--threads must be at least": {"threads": 0},
        "--ranks must be at least 1": {"ranks": (0,)},
    }
    for words, options in cases.items():
        with pytest.raises(UserError, match=words):
            SelectOptions(scores, 5, **options)
    for words, k, top in (("got 0", 0, None), ("got -1", 1, -1), ("only 7 classes", 1, 8)):
        with pytest.raises(UserError, match=words):
            run_options(SelectOptions(scores, k, tmp_path / "o.parquet", top))
    with pytest.raises(UserError, match=r"\.parquet file"):
        HashtagsOptions(tmp_path / "t.csv", tmp_path / "c.txt", out=tmp_path / "o.csv")
    for name, content in (("x.csv", "image\na\n"), ("x.json", "{}")):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=r"no column 'item'|an item list is"):
            run_options(
                SelectOptions(scores, 5, tmp_path / "o.parquet", exclude=(tmp_path / name,))
            )


def test_metadata_of_the_picks(scores: Path, tmp_path: Path) -> None:
    run(SelectOptions, scores, "--per-class", 5, "--out", tmp_path / "o.parquet")
    schema = pq.read_schema(tmp_path / "o.parquet")
    assert schema.names == ["item", "class", "score", "rank"]
    assert [str(t) for t in schema.types] == ["string", "int32", "float", "int32"]
    assert b"reteach.classes" in schema.metadata


def test_an_exclude_list_of_other_names_is_an_error(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would exclude nothing, and the test images would be picked without a word."""
    items = sorted({row[0] for row in toy.rows(0, items=60)})
    (tmp_path / "right.txt").write_text("\n".join([*items[:3], "elsewhere"]))
    (tmp_path / "wrong.csv").write_text("item\nshard/" + items[5] + "\n")
    (tmp_path / "none.txt").write_text("")
    out = tmp_path / "o.parquet"
    with pytest.raises(
        UserError, match=r"wrong\.csv: none of its 1 items is in the scores"
    ) as found:
        run(SelectOptions, scores, "--per-class", 60, "--top", 1, "--out", out, "--exclude",
            tmp_path / "right.txt", tmp_path / "wrong.csv")  # fmt: skip
    assert f"first: 'shard/{items[5]}'; items there are called like" in str(found.value)
    assert not out.exists()
    run(SelectOptions, scores, "--per-class", 60, "--top", 1, "--out", out, "--exclude",
        tmp_path / "right.txt", tmp_path / "none.txt")  # fmt: skip
    said = capsys.readouterr().out
    assert "right.txt: 3 of its 4 items are in the scores" in said
    assert "none.txt: 0 of its 0 items are in the scores" in said
    assert {row[0] for row in toy.read(out)} == set(items[3:])


def test_an_exclude_list_without_items_is_an_error(scores: Path, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("")
    (tmp_path / "none.csv").write_text("item\n")
    out = tmp_path / "o.parquet"
    for names in (["none.txt"], ["none.csv"], ["none.txt", "none.csv"]):
        with pytest.raises(UserError, match="lists no items and excludes nothing"):
            run(SelectOptions, scores, "--per-class", 60, "--top", 1, "--out", out, "--exclude",
                *(tmp_path / name for name in names))  # fmt: skip
    assert not out.exists()


def test_an_exclude_list_of_other_parts_is_said_not_refused(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.txt").write_text("of another part")
    out = tmp_path / "o.parquet"
    run(SelectOptions, scores, "--per-class", 60, "--top", 1, "--out", out, "--part", "--exclude",
        tmp_path / "other.txt")  # fmt: skip
    said = capsys.readouterr().out
    assert "other.txt: none of its 1 items is in this part, first: 'of another part'; items" in said
    assert "right only if all of them are in other parts" in said
    assert out.exists()
