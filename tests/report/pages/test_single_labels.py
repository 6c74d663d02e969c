"""The report of single labels: confusion matrix, classes by first choice, nothing of label sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import report_fakes as fakes
from report_pages import Element, anchors, rows, section
from reteach.cli import main
from reteach.report import run_report
from tests.report.pages.test_run import self_contained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A softmax run on three classes of colour, and what the command printed."""
    folder = tmp_path_factory.mktemp("single")
    draw = np.random.default_rng(0)
    for c, name in enumerate(("red", "green", "blue")):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = draw.integers(0, 160, (8, 8, 3))
            pixels[..., c] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{i}.png")
    words = f"train softmax --images {folder}/photos --val-fraction 0.4 --steps 4 --batch-size 8"
    words += f" --model reteach_tiny --image-size 8 --workers 0 --device cpu --out {folder}/run"
    capture = pytest.MonkeyPatch()
    said: list[str] = []
    with capture.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        assert main(words.split()) == 0
    return folder / "run", "\n".join(said)


def test_single_labels_have_a_confusion_matrix_and_no_label_set_metrics(
    trained: tuple[Path, str],
) -> None:
    folder, said = trained
    entry = json.loads((folder / "evaluation.json").read_text())["val"]["model"]
    cells = entry["confusion"]
    assert sum(n for _, _, n in cells) == 24
    right = sum(n for t, c, n in cells if t == c)
    assert entry["metrics"]["accuracy"] == pytest.approx(right / 24)
    tree = self_contained((folder / "report.html").read_text())
    assert {"confusion", "classes"} <= set(anchors(tree))
    assert "coverage" not in anchors(tree)
    for words in ("F1 at 0.", "Labels per image", "CF1", "labels/image", "F1@0.25"):
        assert words not in tree.text
        assert words not in said
    assert [dt.text for dt in tree.all("dl", "numbers")[0].all("dt")] == [
        "Accuracy", "mAP", "Calibration error",
    ]  # fmt: skip
    names = [row["class"] for row in entry["per_class"]]
    curves = entry["class_curves"]
    assert [one["class"] for one in curves] == names
    charts = section(tree, "classes").all("figure")
    assert len(charts) == 3
    for one, chart in zip(curves, charts, strict=True):
        assert one["class"] in chart.text
        assert one["recall"][-1] == 1
    grid = section(tree, "confusion").all("table")[0].all("tbody")[0].all("tr")
    for t, line in enumerate(grid):
        counts = [sum(n for a, b, n in cells if (a, b) == (t, c)) for c in range(3)]
        assert line.all("th")[0].text == names[t]
        shares = [td.text for td in line.all("td")]
        assert shares == [f"{100 * n / 8:.0f}" if n else "" for n in counts] + ["8"]
    f1s = []
    for name, found in rows(section(tree, "classes")).items():
        if name not in names:
            continue
        c = names.index(name)
        hit = sum(n for t, p, n in cells if t == p == c)
        chosen = sum(n for _, p, n in cells if p == c)
        assert found[2] == f"{100 * hit / 8:.1f}"
        f1s.append(2 * hit / (chosen + 8))
    assert len(f1s) == 3
    assert f1s == sorted(f1s)


def many(folder: Path, n: int) -> Element:
    """The page of a fake run on n classes with one label each."""
    fakes.run_folder(folder, n)
    draw = np.random.default_rng(1)
    found = json.loads((folder / "evaluation.json").read_text())
    for entry in found["val"].values():
        entry["confusion"] = [[c, c, 10 + c % 7] for c in range(n)]
        entry["confusion"] += [
            [c, (c + 1 + int(draw.integers(5))) % n, c % 5 + 1] for c in range(n)
        ]
        entry["metrics"] |= {"true_labels_per_image": 1.0}
        del entry["metrics"]["real_accuracy"]
    fakes.write_json(folder / "evaluation.json", found)
    return self_contained(run_report(folder).read_text())


def test_many_classes_are_capped_and_the_worst_come_first(tmp_path: Path) -> None:
    tree = many(tmp_path / "run", 300)
    grid = section(tree, "confusion").all("table")[0].all("tbody")[0].all("tr")
    assert len(grid) == 20
    assert "another class" in section(tree, "confusion").text
    assert "Of 300 classes the 20 with most errors" in section(tree, "confusion").text
    first, every = section(tree, "classes").all("table")
    assert len(first.all("tbody")[0].all("tr")) == 30
    assert len(every.all("tbody")[0].all("tr")) == 300
    f1 = [float(r.all("td")[3].text) for r in every.all("tbody")[0].all("tr")]
    assert f1 == sorted(f1)
