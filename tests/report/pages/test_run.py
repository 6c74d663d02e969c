"""The report of a run: every number, every section, nothing from outside, safe names."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from pathlib import Path

import pytest

import report_fakes as fakes
from report_pages import Element, anchors, read, rows, section
from reteach.report import run_report
from reteach.report.kit.html import clean

ALL = [
    "results",
    "evaluations",
    "training",
    "coverage",
    "calibration",
    "examples",
    "classes",
    "quarantine",
    "configuration",
    "reproduce",
    "glossary",
]


def self_contained(page: str) -> Element:
    """Check what every page must be; returns its tree."""
    tree = read(page)
    without_pictures = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|@import|url\(|fetch\(", without_pictures)
    for name in ("link", "iframe", "object", "embed", "base", "form"):
        assert not tree.all(name)
    for image in tree.all("img"):
        assert str(image.attributes["src"]).startswith("data:image/")
        assert image.attributes["alt"]
    for link in tree.all("a"):
        assert str(link.attributes["href"]).startswith("#")
    identifiers = re.findall(r'\sid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    for link in tree.all("a"):
        assert str(link.attributes["href"])[1:] in identifiers
    for table in tree.all("table"):
        assert table.all("caption")[0].text
        assert all(head.attributes.get("scope") for head in table.all("th"))
    for chart in tree.all("div", "chart"):
        assert all(svg.attributes.get("aria-label") for svg in chart.all("svg"))
    assert tree.all("html")[0].attributes["lang"] == "en"
    assert not re.search(r"<[^>]* on[a-z]+=", re.sub(r'"[^"]*"', '""', page))
    return tree


def policy_holds(tree: Element) -> None:
    """The policy allows no source but data images and the one script, whose hash is right."""
    (meta,) = (m for m in tree.all("meta") if "http-equiv" in m.attributes)
    policy = dict(part.strip().split(" ", 1) for part in str(meta.attributes["content"]).split(";"))
    (script,) = tree.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_pages_are_self_contained(run_page: str, big_page: str, comparison_page: str) -> None:
    for page in (run_page, big_page, comparison_page):
        policy_holds(self_contained(page))


def test_all_sections_in_order_and_in_the_contents(run_page: str) -> None:
    tree = read(run_page)
    assert anchors(tree) == ALL
    (contents,) = tree.all("nav")
    assert [link.attributes["href"] for link in contents.all("a")] == [f"#{name}" for name in ALL]


def test_headline(run_page: str, tmp_path: Path) -> None:
    tree = read(run_page)
    (header,) = tree.all("header")
    assert tree.all("h1")[0].text == "MILe on 12,811 images, 10 classes"
    assert "finished" in header.all("span", "state")[0].text
    values = [value.text for value in header.all("dd", "big")]
    metrics = judged(tmp_path)["student"]["metrics"]
    names = ("real_accuracy", "accuracy", "map", "f1@0.25")
    assert values[:4] == [f"{100 * metrics[name]:.1f}%" for name in names]
    assert values[4:] == [f"{metrics['labels_per_image']:.2f}"]
    assert "truly 2.74" in header.text
    for fact in ("500", "1,500", "12 min 34 s", "2,546", "NVIDIA H200"):
        assert fact in [value.text for value in header.all("dd")]
    assert "collapse to every class present" in header.all("p", "notice")[0].text


@pytest.mark.parametrize(("true", "first"), [(1.0, "Accuracy"), (2.74, "mAP")])
def test_the_metric_that_fits_the_labels_comes_first(tmp_path, true, first) -> None:
    folder = fakes.run_folder(tmp_path / "run")
    file = folder / "evaluation.json"
    content = json.loads(file.read_text())
    for found in content["val"].values():
        found["metrics"]["true_labels_per_image"] = true
        del found["metrics"]["real_accuracy"]
    file.write_text(json.dumps(content))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in lines:
        if record.get("kind") == "eval":
            record["true_labels_per_image"] = true
            record.pop("real_accuracy", None)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tree = read(run_report(folder).read_text())
    assert tree.all("header")[0].all("abbr")[0].text == first
    assert section(tree, "results").all("abbr")[0].text == first
    assert section(tree, "evaluations").all("figure")[0].all("b")[0].text == first


def test_only_mile_has_turns(tmp_path) -> None:
    folder = fakes.run_folder(tmp_path / "run")
    assert "in turns" in section(read(run_report(folder).read_text()), "training").text
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"method": "softmax"}))
    assert "in turns" not in section(read(run_report(folder).read_text()), "training").text


def judged(folder: Path) -> dict[str, fakes.Json]:
    """What evaluation.json of the run behind ``run_page`` says."""
    content = json.loads((fakes.run_folder(folder / "again") / "evaluation.json").read_text())
    return dict(content["val"])


def test_every_metric_of_every_predictor_is_shown(run_page: str, tmp_path: Path) -> None:
    found = rows(section(read(run_page), "results"))
    judgement = judged(tmp_path)
    student, teacher = (judgement[name]["metrics"] for name in ("student", "teacher"))
    plain = {"threshold": "Tuned threshold", "strange_one": "strange one"}
    counts = {
        "labels_per_image": "Labels per image",
        "true_labels_per_image": "True labels per image",
    }
    titles = {
        "accuracy": "Accuracy",
        "top5": "Top-5 accuracy",
        "real_accuracy": "ReaL accuracy",
        "f1@0.25": "F1 at 0.25",
        "f1@0.5": "F1 at 0.5",
        "f1@tuned": "F1, tuned",
        "precision@0.25": "Precision at 0.25",
        "map": "mAP",
        "ece": "Calibration error",
        "ece_labels": "Calibration error, all labels",
        **{f"{name}@0.5": f"{name.upper()} at 0.5" for name in ("cp", "cr", "cf1")},
        **{f"{name}@0.8": f"{name.upper()} at 0.8" for name in ("op", "or")},
        "of1": "OF1 at 0.5",
    }
    shown = {**titles, **plain, **counts}
    assert set(student) - set(shown) == {"n", "labels_per_image@0.25"}  # the same number twice
    for name, title in shown.items():
        pair = student[name], teacher[name]
        if name in plain:
            expected = [f"{v:.4g}" for v in pair]
        elif name in counts:
            expected = [f"{v:.2f}" for v in pair]
        else:
            expected = ["–" if math.isnan(v) else f"{100 * v:.1f}" for v in pair]
        assert found[title] == expected, title


def test_classes_are_all_shown(run_page: str, tmp_path: Path) -> None:
    judgement = judged(tmp_path)
    found = rows(section(read(run_page), "classes"))
    other = {line["class"]: line["ap"] for line in judgement["teacher"]["per_class"]}
    for line in judgement["student"]["per_class"]:
        numbers = [line["ap"], other[line["class"]], line["precision"], line["recall"], line["f1"]]
        percents = ["–" if v is None or math.isnan(v) else f"{100 * v:.1f}" for v in numbers]
        assert found[line["class"]] == [str(line["support"]), *percents]


def test_a_thousand_classes(big_page: str) -> None:
    assert len(big_page) < 2_000_000
    part = section(read(big_page), "classes")
    (everything,) = part.all("details")
    names = fakes.classes(1000)
    shown = [line.children[0].text for line in everything.all("tr")[1:]]
    assert shown == [clean(name) for name in names]
    worst, best = part.all("div", "halves")[0].all("table")
    for table, rising in ((worst, True), (best, False)):
        aps = [float(line.children[2].text) for line in table.all("tr")[1:]]
        assert len(aps) == 20
        assert aps == sorted(aps, reverse=not rising)
    low = max(float(line.children[2].text) for line in worst.all("tr")[1:])
    every = [line.children[2].text for line in everything.all("tr")[1:]]
    assert sum(float(text) <= low for text in every if text != "–") <= 21


@pytest.mark.parametrize("name", fakes.EVIL)
def test_hostile_names_are_text(big_page: str, name: str) -> None:
    tree = read(big_page)
    assert len(tree.all("script")) == 1
    texts = {span.text for span in tree.all("span", "name")}
    assert clean(name) in texts
    if "<" in name:
        assert name not in big_page


def test_examples_mark_what_is_right_additional_and_missed(tmp_path: Path) -> None:
    example = {
        "item": "a/b.jpg",
        "image": fakes.picture(0),
        "given": ["sofa"],
        "predicted": [["cat", 0.91], ["hat", 0.33]],
        "truth": ["cat", "mat"],
    }
    outside = example | {"item": "c", "image": "https://evil.example/x.png", "truth": None}
    judgement = {"val": {"model": {"examples": [example, outside]}}}
    fakes.write_json(tmp_path / "run.json", {})
    fakes.write_json(tmp_path / "evaluation.json", judgement)
    cards = section(self_contained(run_report(tmp_path).read_text()), "examples").all("article")
    marks = {
        kind: [" ".join(chip.text.split()) for chip in cards[0].all("li", kind)]
        for kind in ("right", "extra", "missed")
    }
    assert marks == {
        "right": ["✓right: cat0.91"],
        "extra": ["+additional: hat0.33"],
        "missed": ["–missed: mat"],
    }
    assert "sofanot in the truth" in cards[0].text
    assert cards[0].all("img")[0].attributes["alt"] == "image a/b.jpg"
    assert not cards[1].all("img")  # a picture from elsewhere is left out
    assert not cards[1].all("li", "right")  # nothing is claimed where the truth is unknown
    assert "truth" not in [name.text for name in cards[1].all("dt")]


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        ("config.yaml", {"configuration"}),
        ("metrics.jsonl", {"evaluations", "training"}),
        ("quarantine.csv", {"quarantine"}),
        (
            "evaluation.json",
            {"results", "coverage", "calibration", "examples", "classes", "glossary"},
        ),
    ],
)
def test_a_missing_file_leaves_its_sections_out(tmp_path: Path, file: str, gone: set[str]) -> None:
    folder = fakes.run_folder(tmp_path)
    (folder / file).unlink()
    tree = self_contained(run_report(folder).read_text())
    assert anchors(tree) == [name for name in ALL if name not in gone]


def test_run_json_alone(tmp_path: Path) -> None:
    fakes.write_json(tmp_path / "run.json", {"status": "failed", "message": "loss <b>nan</b>"})
    tree = self_contained(run_report(tmp_path).read_text())
    assert anchors(tree) == ["reproduce"]
    assert tree.all("p", "notice")[0].text == "Failed. loss <b>nan</b>"
    assert "reteach resume" in tree.all("pre")[0].text


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    folder = fakes.run_folder(tmp_path)
    first = run_report(folder).read_text()
    assert run_report(folder).read_text() == first


def test_commands_can_be_pasted(run_page: str) -> None:
    command = section(read(run_page), "reproduce").all("pre")[0].text
    assert "reteach train mile \\\n" in command
    assert "--k-t 100 --k-s 50 --rho 0.1 --no-union" in command
    assert "--images 'photos with spaces/'" in command
    assert "--pretrained" in command
    assert "--init" not in command  # not set


def test_quarantine_is_named_without_the_spreadsheets_guard(run_page: str) -> None:
    found = rows(section(read(run_page), "quarantine"))
    assert found["photos/0012.jpg"] == ["image file is truncated (17 bytes not processed)"]
    assert "=cmd|' /C calc'!A0.png" in found
