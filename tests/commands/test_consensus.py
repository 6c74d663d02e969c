"""``reteach relabel consensus`` on small tables of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import raters_oracle as oracle
from reteach.cli import main
from reteach.labels import Single
from reteach.scores.table import ScoreWriter
from reteach.tables import read_labels


def written(path: Path, rows: list[str], header: str = "task,rater,answer,item,class") -> Path:
    """A CSV."""
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def said(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """The result of a command as JSON."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def answers(item: str, cls: str, words: str) -> list[str]:
    """One row for each letter of ``words``: the answers of raters r0, r1, … to one pair."""
    names = {"y": "yes", "m": "maybe", "n": "no"}
    return [f"{item}#{cls},r{w},{names[a]},{item},{cls}" for w, a in enumerate(words) if a in names]


def test_an_item_that_gold_empties_did_not_miss_a_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        *answers("a.jpg", "cat", "yyy"),
        *answers("b.jpg", "cat", "nnn"),  # the raters find nothing
        *answers("c.jpg", "cat", "yyn"),  # the owner knows that nothing is there
    ]
    ratings = written(tmp_path / "ratings.csv", rows)
    gold = written(tmp_path / "gold.csv", ["a.jpg,cat,multi", "c.jpg,,multi"], "item,labels,kind")
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    words = ("relabel", "consensus", ratings, "--gold", gold, "--out", out, "--report", page)
    found = said(capsys, *words)
    assert read_labels(Path(found["unlabeled"])).items == ("b.jpg",)
    assert found["emptied_by_gold"] == 1
    assert read_labels(out).labels.names() == [["cat"], [], []]  # its row stays, known to be empty
    assert main([*map(str, words)]) == 0
    text = capsys.readouterr().out
    assert "1 items have no label by gold" in text
    assert "1 items left without labels" in text
    assert "c.jpg" not in page.read_text().partition("Left without labels")[2]


@pytest.fixture
def rated(tmp_path: Path) -> Path:
    """Four images with answers of five raters about cat and dog, and their original labels."""
    rows = [
        *answers("a.png", "cat", "yyyyy"),
        *answers("a.png", "dog", "yyyny"),  # added
        *answers("b.png", "cat", "nnnnm"),
        *answers("b.png", "dog", "yyymy"),  # changed
        *answers("c.png", "cat", "nnnnn"),
        *answers("c.png", "dog", "ynnyn"),  # emptied, and disputed
        *answers("d.png", "cat", "yyyyy"),
        *answers("d.png", "dog", "nnnnn"),  # kept
    ]
    written(tmp_path / "labels.csv", [f"{i}.png,cat" for i in "abcd"], "item,labels")
    return written(tmp_path / "ratings.csv", rows)


def test_agreement_is_in_the_result_and_in_its_lines_and_on_the_page(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    words = ("relabel", "consensus", rated, "--out", tmp_path / "o.csv", "--report", page)
    found = said(capsys, *words)["agreement"]
    units = [[2] * 5, [2, 2, 2, 0, 2], [0, 0, 0, 0, 1], [2, 2, 2, 1, 2]]
    units += [[0] * 5, [2, 0, 0, 2, 0], [2] * 5, [0] * 5]
    alpha = oracle.krippendorff(units)
    assert found["alpha"]["value"] == pytest.approx(alpha)
    assert found["kappa"]["value"] == pytest.approx(oracle.fleiss(units, 3))
    assert found["classes"]["dog"]["value"] == pytest.approx(oracle.krippendorff(units[1::2]))
    assert {(each["first"], each["second"], each["both"]) for each in found["raters"]} == {
        (f"r{a}", f"r{b}", 8) for a in range(5) for b in range(a + 1, 5)
    }
    assert main([*map(str, words)]) == 0
    assert f"Krippendorff's α {alpha:.3f}" in capsys.readouterr().out
    assert "Agreement" in page.read_text()


def test_one_rater_has_no_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratings = written(tmp_path / "ratings.csv", answers("a.png", "cat", "y"))
    words = ["relabel", "consensus", ratings, "--out", tmp_path / "o.csv"]
    assert said(capsys, *words)["agreement"]["alpha"]["value"] is None
    assert main([*map(str, words)]) == 0
    assert "agreement" not in capsys.readouterr().out


def test_pictures_of_changed_added_emptied_and_disputed_labels(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for k, name in enumerate("abcd"):
        Image.new("RGB", (8, 8), (60 * k, 0, 0)).save(tmp_path / "photos" / f"{name}.png")
    page = tmp_path / "page.html"
    words = ["relabel", "consensus", rated, "--labels", tmp_path / "labels.csv"]
    words += ["--out", tmp_path / "o.csv", "--report", page]
    said(capsys, *words, "--images", tmp_path / "photos", "--method", "majority")
    text = page.read_text()
    parts = {name: text.partition(f'id="{name}"')[2] for name in ("changed", "added", "emptied")}
    for name, item in (("changed", "b.png"), ("added", "a.png"), ("emptied", "c.png")):
        section = parts[name].partition("<h2")[0]
        assert section.count("<article") == 1
        assert f'alt="image {item}"' in section
        assert "data:image/png" in section
    disputed = text.partition('id="disputed"')[2].partition("<h2")[0]
    order = [disputed.index(f'title="{item}"') for item in ("c.png", "a.png", "b.png")]
    assert min(order) == order[0]  # 2 against 3 is the most even
    assert 'title="d.png"' not in disputed  # all agree
    changes = text.partition('id="changes"')[2].partition("<h2")[0]
    assert "1 changed, 1 added, 1 emptied, 1 kept" in changes
    cells = [c.partition("<")[0] for c in changes.partition(">dog<")[2].split('class="n">')[1:5]]
    assert cells == ["0", "0", "2", "2"]  # dog: none before, none removed, two added, two now
    (tmp_path / "photos" / "b.png").unlink()
    said(capsys, *words, "--images", tmp_path / "photos")
    assert "no picture" in page.read_text()
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "z.png")
    assert main([*map(str, words), "--images", str(tmp_path / "empty")]) == 2
    assert "none of the rated items is there" in capsys.readouterr().err


def scores_of(path: Path, values: dict[tuple[str, str], float], classes: list[str]) -> Path:
    items = sorted({item for item, _ in values})
    with ScoreWriter(path, classes) as out:
        keys = list(values)
        out.write(
            items,
            np.array([items.index(i) for i, _ in keys]),
            np.array([classes.index(c) for _, c in keys]),
            np.array([values[key] for key in keys], np.float32),
        )
    return path


@pytest.mark.parametrize("method", ["mace", "glad", "crowdlab", "em", "majority"])
def test_every_method_finds_the_planted_labels(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five raters of known quality, some golden images: labels, and precision on gold as on the rest."""
    rng = np.random.default_rng(0)
    skill, names = [0.95, 0.9, 0.85, 0.8, 0.55], {0: "no", 1: "yes"}
    rows, truth, scores = [], {}, {}
    for i in range(120):
        for cls in ("cat", "dog"):
            item, there = f"{i:03d}.png", rng.random() < 0.5
            truth[item, cls] = there
            scores[item, cls] = float(np.clip(there * 0.6 + rng.normal(0.2, 0.15), 0, 1))
            gold = ("1" if there else "0") if i < 30 else ""
            for w in range(5):
                said_ = int(there if rng.random() < skill[w] else not there)
                rows.append(f"{item}#{cls},r{w},{names[said_]},{item},{cls},{gold}")
    ratings = written(tmp_path / "r.csv", rows, "task,rater,answer,item,class,gold")
    words = ["relabel", "consensus", ratings, "--out", tmp_path / "o.csv", "--method", method]
    words += ["--threshold", "0.5", "--report", tmp_path / "page.html"]
    if method == "crowdlab":
        words += ["--model-scores", scores_of(tmp_path / "s.parquet", scores, ["cat", "dog"])]
    found = said(capsys, *words)
    table = read_labels(tmp_path / "o.csv")
    got = dict(zip(table.items, map(set, table.labels.names()), strict=True))
    right = [(cls in got[item]) == there for (item, cls), there in truth.items()]
    assert np.mean(right) > 0.96
    assert found["method"] == method
    assert found["point"]["precision"] > (0.85 if method == "majority" else 0.9)
    own = {"mace": "competence", "glad": "ability", "crowdlab": "weight"}
    assert (own.get(method, "no such") in (tmp_path / "page.html").read_text()) == (method in own)


def test_crowdlab_wants_a_probability_of_every_pair(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["relabel", "consensus", str(rated), "--out", str(tmp_path / "o.csv")]
    assert main([*words, "--method", "crowdlab"]) == 2
    assert "--model-scores" in capsys.readouterr().err
    some = scores_of(tmp_path / "s.parquet", {("a.png", "cat"): 0.5}, ["cat", "dog"])
    assert main([*words, "--model-scores", str(some)]) == 2
    assert "--method crowdlab" in capsys.readouterr().err
    assert main([*words, "--method", "crowdlab", "--model-scores", str(some)]) == 2
    assert "no score of 7 of 8 rated pairs, first: 'a.png', 'dog'" in capsys.readouterr().err
    odd = {(f"{i}.png", c): 3.0 for i in "abcd" for c in ("cat", "dog")}
    wrong = scores_of(tmp_path / "w.parquet", odd, ["dog", "cat"])
    assert main([*words, "--method", "crowdlab", "--model-scores", str(wrong)]) == 2
    assert "probabilities from 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["mace", "glad", "crowdlab", "em"])
def test_raters_who_name_classes_have_every_method_and_their_agreement(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    names = ["cat", "dog", "owl"]
    truth = rng.integers(0, 3, 90)
    rows, scores = [], {}
    for i, t in enumerate(truth):
        for w, skill in enumerate((0.95, 0.85, 0.8, 0.4)):
            k = int(t) if rng.random() < skill else int(rng.integers(3))
            rows.append(f"{i:02d},r{w},{names[k]}")
        p = rng.dirichlet(np.where(np.arange(4) == t, 8, 1))  # the model knows one class more
        scores |= {(f"{i:02d}", c): float(p[k]) for k, c in enumerate([*names, "yak"])}
    ratings = written(tmp_path / "r.csv", rows, "task,rater,answer")
    words = ["relabel", "consensus", ratings, "--out", tmp_path / "o.csv", "--method", method]
    if method == "crowdlab":
        table = scores_of(tmp_path / "s.parquet", scores, [*names, "yak"])
        words += ["--model-scores", table]
    found = said(capsys, *words)
    labels = read_labels(tmp_path / "o.csv")
    assert isinstance(labels.labels, Single)
    got = [labels.labels.classes[k] if k >= 0 else "" for k in labels.labels.index]
    assert np.mean([names[t] == g for t, g in zip(truth, got, strict=True)]) > 0.93
    assert 0 < found["agreement"]["alpha"]["value"] < 1
    assert set(found["agreement"]["classes"]) == set(names)
    for option in ("--agree", "--wanted"):
        assert main([*map(str, words), option, "2"]) == 2
        assert "needs answers that are yes, maybe or no" in capsys.readouterr().err


def test_fewer_answers_that_agree_decide_an_item_where_the_file_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        *answers("a.png", "cat", "yyy"),
        *answers("b.png", "cat", "nnn"),
        *answers("c.png", "cat", "yyn"),  # still open: two more will be asked
    ]
    header = "task,rater,answer,item,class,wanted"
    ratings = written(tmp_path / "r.csv", [f"{row},5" for row in rows], header)
    words = ["relabel", "consensus", ratings, "--out", tmp_path / "o.csv", "--method", "majority"]
    said(capsys, *words)
    assert read_labels(tmp_path / "o.csv").items == ()
    said(capsys, *words, "--agree", "3")
    assert read_labels(tmp_path / "o.csv").items == ("a.png", "b.png")
    ratings = written(tmp_path / "r.csv", [f"{row},5,3" for row in rows], header + ",agree")
    page = tmp_path / "page.html"
    said(capsys, *words, "--report", page)
    assert read_labels(tmp_path / "o.csv").labels.names() == [["cat"], []]
    assert "disputed ones have more answers and weigh more here" in page.read_text()
    said(capsys, *words, "--wanted", "3")  # the user's word over the file's
    assert read_labels(tmp_path / "o.csv").items == ("a.png", "b.png", "c.png")
    assert main([*map(str, words), "--agree", "5"]) == 2
    assert "--agree 5 has no effect" in capsys.readouterr().err
