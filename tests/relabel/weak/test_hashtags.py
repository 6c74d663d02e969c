"""Hashtags to classes: the paper's example, letter by letter, and tables against a plain loop."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reteach.commands.hashtags import hashtags
from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft
from reteach.options.relabel import HashtagsOptions
from reteach.relabel.weak.hashtags import Matcher, fold, forms, square_root, stems
from reteach.relabel.weak.tag_tables import label_tags, read_names
from reteach.tables import read_labels


def test_the_papers_example() -> None:
    found = forms("playing the guitar")
    assert {"playingtheguitar", "playguitar", "playingguitar", "guitarplaying"} <= found
    assert {"guitarplay", "playtheguitar"} <= found
    assert not {"playing", "guitar", "theplayingguitar", "guitar playing", ""} & found


@pytest.mark.parametrize(
    ("word", "base"),
    [("dancing", "dance"), ("running", "run"), ("horses", "horse"), ("buses", "bus"), ("babies", "baby"),
     ("tying", "ty"), ("cats", "cat"), ("skied", "sky"), ("parked", "park"), ("faced", "face")],
)  # fmt: skip
def test_stems_hold_the_base_form(word: str, base: str) -> None:
    assert stems(word)[0] == word
    assert base in stems(word)


@pytest.mark.parametrize("word", ["king", "ring", "string", "red", "glass", "bus", "gas", "bed"])
def test_words_that_only_look_inflected_stay(word: str) -> None:
    assert stems(word) == (word,)


@given(
    st.lists(
        st.sampled_from(["ox", "wild", "red", "crab", "fur"]), min_size=1, max_size=5, unique=True
    )
)
def test_all_permutations_and_no_part(words: list[str]) -> None:
    """Words without other stems: exactly the n! joined permutations."""
    assert forms(" ".join(words)) == {"".join(order) for order in permutations(words)}


def test_long_names_keep_their_order() -> None:
    name = "throwing the ball not baseball or american football cleanly"
    assert forms(name) == {
        "throwingtheballnotbaseballoramericanfootballcleanly",
        "throwetheballnotbaseballoramericanfootballcleanly",
        "throwingballnotbaseballamericanfootballcleanly",
        "throweballnotbaseballamericanfootballcleanly",
    }


def test_case_accents_and_signs_are_ignored() -> None:
    assert fold("#Café-au_Lait 2x!") == "cafeaulait2x"
    match = Matcher(["café au lait", "crème brûlée"])
    assert match("#CafeAuLait") == (0,)
    assert match("Brulee Creme") == (1,)
    assert match("#cafe") == ()


def test_one_hashtag_may_name_several_classes_and_commas_separate_names() -> None:
    match = Matcher(["crane (bird), crane", "crane", "goldfish, Carassius auratus"])
    assert match("#crane") == (0, 1)
    assert match("#birdcrane") == (0,)
    assert match("carassiusauratus") == match("GoldFish") == (2,)
    assert match("goldfishcarassiusauratus") == ()
    named = Matcher(["n1", "n2"], {"n1": "tench, Tinca tinca"})
    assert named("tincatinca") == (0,)
    assert named("n2") == (1,)
    with pytest.raises(UserError, match="class 'x', which is not in the class list"):
        Matcher(["n1"], {"x": "y"})
    with pytest.raises(UserError, match="class '--' has no name"):
        Matcher(["--"])


def test_imagenets_lemmas_match_themselves(shared_data: Path) -> None:
    """Every class of ImageNet is found by each of its own lemmas."""
    names = read_names(shared_data / "real" / "imagenet_classes.tsv")
    assert len(names) == 1000
    match = Matcher(list(names), names)
    for index, lemmas in enumerate(names.values()):
        for lemma in lemmas.split(","):
            assert index in match("#" + "".join(lemma.split()))


def _oracle(rows: list[tuple[str, list[str]]], match: Matcher) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for item, tags in rows:
        for tag in tags:
            for cls in match(tag):
                found.setdefault(item, Counter())[match.classes[cls]] += 1
    return found


def test_tables_in_every_layout_give_the_same_labels(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    generator = np.random.default_rng(0)
    match = Matcher(["red fox", "fox", "brown bear"])
    words = ["#redfox", "FoxRed", "fox", "brownbear", "bears", "sky", "Fox"]
    rows = [
        (f"{i}.jpg", [words[t] for t in generator.integers(0, 7, generator.integers(0, 5))])
        for i in range(300)
    ]
    wanted = _oracle(rows, match)
    lists = pa.table(
        {
            "item": [r[0] for r in rows],
            "tags": pa.array([r[1] for r in rows], pa.list_(pa.string())),
        }
    )
    pq.write_table(lists, tmp_path / "lists.parquet")
    (tmp_path / "folder").mkdir()
    for n in range(3):
        pq.write_table(lists.slice(n * 100, 100), tmp_path / "folder" / f"{n}.parquet")
    text = "".join(f'{item},"{" ".join(tags)}"\n' for item, tags in rows)
    (tmp_path / "text.csv").write_text("item,tags\n" + text)
    single = "".join(f"{tag},{item}\n" for item, tags in reversed(rows) for tag in tags)
    (tmp_path / "single.csv").write_text("tag,item\n" + single)
    for name in ("lists.parquet", "folder", "text.csv", "single.csv"):
        found = label_tags(tmp_path / name, tmp_path / "out.parquet", match)
        table = read_labels(tmp_path / "out.parquet")
        assert isinstance(table.labels, Soft)
        assert table.labels.classes == match.classes
        at, columns, weights = table.labels.pairs()
        got: dict[str, Counter[str]] = {item: Counter() for item in table.items}
        for row, column, weight in zip(
            at.tolist(), columns.tolist(), weights.tolist(), strict=True
        ):
            got[table.items[row]][match.classes[column]] = int(weight)
        assert got == wanted
        assert found.labelled == len(wanted)
        assert found.counts.tolist() == [
            sum(c in w for w in wanted.values()) for c in match.classes
        ]
        assert (found.tags, found.matched) == (7, 5)
        listed = [tags for _, tags in rows if tags or name != "single.csv"]  # a row per tag there
        assert found.images == len(listed)


def test_queries_have_spaces(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    (tmp_path / "q.csv").write_text(
        "item,query\na,how to play guitar\nb,Guitar playing\nc,guitar\n"
    )
    label_tags(tmp_path / "q.csv", tmp_path / "out.parquet", Matcher(["playing the guitar"]))
    assert read_labels(tmp_path / "out.parquet").items == ("b",)


def test_bad_tables_are_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    match, out = Matcher(["fox"]), tmp_path / "out.parquet"
    cases = {
        "a.csv": ("item,words\na,fox\n", "no column 'tags' or 'tag' or 'query'"),
        "b.csv": ("image,tags\na,fox\n", "no column 'item'"),
        "c.csv": ("item,tags\na,dog\n", "none of its 1 hashtags or queries names a class"),
        "d.txt": ("item,tags\na,dog\n", "tags are in a .csv"),
        "e.parquet": ("nothing", "reading the tags in .* failed"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=words) as error:
            label_tags(tmp_path / name, out, match)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="do not exist"):
        label_tags(tmp_path / "none", out, match)
    assert not out.exists()


def test_square_root_resampling() -> None:
    """100 of a, 25 of b, 1 of c: the classes are drawn as 10 : 5 : 1; the rarest class decides."""
    index = np.repeat([0, 1, 2, -1], [100, 25, 1, 4])
    drawn = square_root(Single(index, ("a", "b", "c")))
    by_class = np.bincount(index + 1, drawn)
    assert by_class == pytest.approx(np.array([0, 10, 5, 1]) / 16)
    several = Multi.from_pairs(np.array([0, 1, 2, 3, 3]), np.array([0, 0, 0, 0, 1]), 5, ("a", "b"))
    assert square_root(several) == pytest.approx(np.array([0.5, 0.5, 0.5, 1, 0]) / 2.5)
    with pytest.raises(UserError, match="at least one label"):
        square_root(Single(np.array([-1]), ("a",)))


def test_images_without_a_tag_are_counted_too(tmp_path: Path) -> None:
    """Three items in the table: one without any tag, one whose tags name no class."""
    pytest.importorskip("duckdb")
    (tmp_path / "t.csv").write_text("item,tags\na.jpg,#fox\nb.jpg,\nc.jpg,sky\n")
    rows = {"item": ["a.jpg", "b.jpg", "c.jpg"], "tags": [["fox"], [], ["sky"]]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    (tmp_path / "classes.txt").write_text("fox\n")
    for name in ("t.csv", "t.parquet"):
        out = tmp_path / "out.parquet"
        options = HashtagsOptions(tmp_path / name, classes=tmp_path / "classes.txt", out=out)
        found = hashtags(options)
        assert (found.images, found.labelled) == (3, 1)
        assert "1 of 3 images have a label" in next(iter(found.lines()))


def test_tags_of_no_item_and_two_columns_of_tags_are_errors(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    match, out = Matcher(["fox"]), tmp_path / "out.parquet"
    (tmp_path / "a.csv").write_text("item,tag\na.jpg,fox\n,fox\n")
    with pytest.raises(UserError, match="1 rows name no item"):
        label_tags(tmp_path / "a.csv", out, match)
    (tmp_path / "b.csv").write_text("item,tag,query\na.jpg,fox,wolf\n")
    with pytest.raises(UserError, match="'tag' and 'query' both hold tags"):
        label_tags(tmp_path / "b.csv", out, match)


def test_tables_of_tags_are_not_guessed_at(tmp_path: Path) -> None:
    """Items that begin like a comment, or with a guarded formula, and the names of a class in two rows."""
    pytest.importorskip("duckdb")
    (tmp_path / "t.csv").write_text("item,tag\n#1.jpg,fox\n'=2.jpg,fox\n007,fox\n")
    assert label_tags(tmp_path / "t.csv", tmp_path / "o.parquet", Matcher(["fox"])).images == 3
    assert set(read_labels(tmp_path / "o.parquet").items) == {"#1.jpg", "=2.jpg", "007"}
    (tmp_path / "n.csv").write_text("class,names\nfox,renard\nfox,fuchs\n")
    assert read_names(tmp_path / "n.csv") == {"fox": "renard,fuchs"}
