"""The pages of proposals, consensus and reassessment: whole, safe, and with the right numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from command import run
from reteach.commands.evaluate_scores import evaluate_scores
from reteach.labels import Multi, Single
from reteach.options.relabel import ConsensusOptions, ProposeOptions
from reteach.options.runs import EvaluateOptions, ScoreEvaluationOptions
from reteach.relabel.raters.rating_tables import write_ratings
from reteach.relabel.raters.ratings import MAYBE, NO, YES, Ratings
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, write_labels

EVIL = '<script>alert("x")</script>'
CLASSES = (EVIL, "b & c", "'d'", "e")


class Tags(HTMLParser):
    """Counts the tags and sees that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in ("meta", "br", "img", "input", "hr", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(path: Path) -> str:
    """The page's text, after what every page must be."""
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.seen["h1"] == 1
    assert tags.seen.get("script", 0) <= 1  # the page's own
    assert EVIL not in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert "default-src &#x27;none&#x27;" in text
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven models' scores, original and reassessed labels of 60 images with hostile names."""
    path = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    items = [f"{EVIL[:8]}{i}.jpg" for i in range(60)]
    present = rng.random((60, 4)) < 0.4
    original = np.where(present.any(1), present.argmax(1), 0)
    write_labels(
        path / "real.parquet", LabelTable(tuple(items), Multi.from_dense(present, CLASSES))
    )
    write_labels(path / "original.parquet", LabelTable(tuple(items), Single(original, CLASSES)))
    for m in range(7):
        logit = rng.normal(size=(60, 4)) + present * m * 0.5
        with ScoreWriter(path / f"model<{m}>.parquet", CLASSES, logits=True) as out:
            out.write_dense(items, np.exp(logit) / np.exp(logit).sum(1, keepdims=True), logit)
    return path


def test_reassessment(folder: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "v.csv"
    verdicts.write_text(
        f'model,labels,item,answer\n"{EVIL.replace(chr(34), "")}",original,i,undecidable\n'
    )
    results = tmp_path / "r.csv"
    results.write_text("model,top1\n" + "".join(f"m{i},{50 + i}.5\n" for i in range(9)))
    models = sorted(folder.glob("model*.parquet"))
    page = tmp_path / "page.html"
    how = ScoreEvaluationOptions(page, results=(results, results), verdicts=verdicts)
    options = EvaluateOptions(
        tuple(models),
        folder / "real.parquet",
        original=folder / "original.parquet",
        score_options=how,
    )
    lines = list(evaluate_scores(options).lines())
    text = checked(page)
    best = next(line for line in lines if " + " in line)
    assert best.split()[-5].rstrip("%")[:-1] in text
    for words in ("Who is right?", "Better than unbiased", "The remaining mistakes", "9 published"):
        assert words in text
    assert "slope 1.00 ± 0.00, then 1.00 ± 0.00" in text
    again = tmp_path / "again.html"
    evaluate_scores(replace(options, score_options=ScoreEvaluationOptions(again)))
    assert "published models" not in checked(again)


def test_figure_7_shows_what_mistakes_remain_over_several_models(
    folder: Path, tmp_path: Path
) -> None:
    """A chart for each verdict; a model without scores has no accuracy, and that is said."""
    models = sorted(folder.glob("model*.parquet"))
    rows = ["model,labels,item,answer"]
    for number, name in enumerate([*(m.stem for m in models[:3]), "elsewhere"]):
        for labels in ("original", "reassessed"):
            for item in range(4):
                said = "clear mistake" if item <= number else "not a mistake"
                rows.append(f"{name},{labels},{item},{said}")
    verdicts = tmp_path / "v.csv"
    verdicts.write_text("\n".join(rows) + "\n")
    page = tmp_path / "page.html"
    options = EvaluateOptions(
        tuple(models),
        folder / "real.parquet",
        original=folder / "original.parquet",
        score_options=ScoreEvaluationOptions(page, verdicts=verdicts),
    )
    evaluate_scores(options)
    text = checked(page).split('id="mistakes"', 1)[1]
    for verdict in ("clear mistake", "not a mistake", "undecidable"):
        assert f"raters call {verdict}, over original accuracy" in text
    assert "1 model without a score table: not in the charts." in text
    assert "mistakes by the reassessed labels" in text
    verdicts.write_text("\n".join(rows[:9]) + "\n")  # of one model
    evaluate_scores(options)
    assert "raters call" not in checked(page)


def test_one_model_is_enough(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    (model, *_) = folder.glob("model*.parquet")
    how = ScoreEvaluationOptions(page, k=1)
    sets, original = folder / "real.parquet", folder / "original.parquet"
    evaluate_scores(EvaluateOptions((model,), sets, original=original, score_options=how))
    assert "1 model by" in checked(page)


def test_subsets(folder: Path, tmp_path: Path) -> None:
    command = ProposeOptions(
        scores=tuple(sorted(folder.glob("model*.parquet"))),
        labels=folder / "original.parquet",
        out=tmp_path / "proposals.parquet",
        per_item=1.0,
        gold=folder / "real.parquet",
        recall=0.7,
        report=tmp_path / "page.html",
    )
    run(command)
    text = checked(tmp_path / "page.html")
    assert re.search(r"Subsets tried</dt><dd>127<", text)
    assert "model&lt;6&gt;" in text


def test_consensus(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs, raters = 200, 6
    truth = rng.random(pairs) < 0.3
    pair = np.repeat(np.arange(pairs), 3)
    rater = np.concatenate([rng.permutation(raters)[:3] for _ in range(pairs)])
    answer = np.where((rng.random(600) < 0.85) == truth[pair], YES, NO)
    answer[rng.random(600) < 0.1] = MAYBE
    ratings = Ratings(
        [f"{EVIL[:8]}{i}" for i in range(50)],
        list(CLASSES),
        np.arange(pairs) // 4,
        np.arange(pairs) % 4,
        [f"{EVIL[:8]}r{w}" for w in range(raters)],
        rater,
        pair,
        answer.astype(np.int8),
        np.where(np.arange(pairs) < 80, truth, np.nan),
        rng.integers(0, 4, 50),
    )
    write_ratings(tmp_path / "gold.csv", ratings)
    base = ConsensusOptions(
        ratings=str(tmp_path / "gold.csv"),
        out=tmp_path / "out.parquet",
        report=tmp_path / "page.html",
    )
    run(base)
    text = checked(tmp_path / "page.html")
    assert "Against the gold" in text
    assert "Judged by the golden pairs" in text
    assert "&lt;script&gt;r0" in text
    run(replace(base, method="em"))
    assert "Convergence" in checked(tmp_path / "page.html")

    write_ratings(tmp_path / "plain.csv", replace(ratings, gold=np.full(pairs, np.nan)))
    for method in ("em", "majority"):
        run(replace(base, ratings=str(tmp_path / "plain.csv"), method=method))
        text = checked(tmp_path / "page.html")
        assert "Against the gold" not in text
        assert "for want of golden pairs" in text
