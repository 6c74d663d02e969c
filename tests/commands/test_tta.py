"""``--tta flip``: the mean of the probabilities of an image and of its mirror image, in all commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reteach.cli import main
from reteach.data.sources.base import open_source
from reteach.engine.learner import Predictor
from reteach.errors import UserError
from reteach.models.flips import Flipped
from reteach.runs.checkpoint import load_models
from tests.commands.test_train import photo


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of three classes beside its photos, which are brighter on the left."""
    root = tmp_path_factory.mktemp("tta")
    for i in range(12):
        photo(root / "photos" / ("dark", "grey", "light")[i % 3] / f"{i:02}.png", 70 * (i % 3), i)
    words = ["--images", f"{root}/photos", "--model", "reteach_tiny", "--image-size", "16"]
    words += ["--steps", "6", "--batch-size", "6", "--workers", "0", "--device", "cpu"]
    assert main(["train", "softmax", *words, "--out", f"{root}/run"]) == 0
    return root


def expected(root: Path) -> tuple[list[str], np.ndarray]:
    """Items and probabilities, image by image."""
    saved = load_models(root / "run", "cpu")
    source = open_source(f"{root}/photos")
    found = []
    view = saved.seen.view(False)
    for row in range(len(source)):
        x = saved.prepare(view(torch.from_numpy(source.read(row)).movedim(-1, 0), 0)[None])
        both = [saved.predictor.models[0](one).softmax(-1)[0] for one in (x, x.flip(-1))]
        found.append(((both[0] + both[1]) / 2).detach().numpy())
    return list(source.items), np.array(found)


def scores(path: Path) -> dict[tuple[str, int], float]:
    table = pq.read_table(path).to_pydict()
    return dict(zip(zip(table["item"], table["class"], strict=True), table["score"], strict=True))


def test_predict_and_score_average_the_flips(run, tmp_path):
    items, truth = expected(run)
    common = ["--images", f"{run}/photos", "--workers", "0", "--device", "cpu", "--batch-size", "5"]
    out = [*common, "--out", f"{tmp_path}/l.csv", "--scores", f"{tmp_path}/p.parquet", "--top", "3"]
    assert main(["predict", f"{run}/run", *out, "--tta", "flip"]) == 0
    assert main(["score", f"{run}/run", *common, "--out", f"{tmp_path}/s", "--tta", "flip"]) == 0
    assert main(["score", f"{run}/run", *common, "--out", f"{tmp_path}/plain"]) == 0
    (shard,), (plain,) = ((tmp_path / n).glob("*.parquet") for n in ("s", "plain"))
    for file in (tmp_path / "p.parquet", shard):
        found = scores(file)
        for item, row in zip(items, truth, strict=True):
            for name, value in enumerate(row):
                assert found[item, name] == pytest.approx(value, abs=1e-6)
    assert scores(plain) != scores(shard)


def test_score_does_not_go_on_with_or_without_flips(run, tmp_path, capsys):
    words = [
        "score",
        f"{run}/run",
        "--images",
        f"{run}/photos",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    words += ["--out", f"{tmp_path}/s"]
    assert main([*words, "--tta", "flip"]) == 0
    assert main(words) == 2
    assert "was made by another model" in capsys.readouterr().err


def test_evaluate_judges_the_flips_and_keeps_both_numbers(run):
    _, truth = expected(run)
    words = ["--images", f"{run}/photos", "--workers", "0", "--device", "cpu"]
    for more in ([], ["--tta", "flip"]):
        assert main(["evaluate", f"{run}/run", *words, *more]) == 0
    both = [
        json.loads((run / "run" / f"evaluation-photos{n}.json").read_text()) for n in ("", "-flip")
    ]
    assert "tta" not in both[0]
    assert both[1]["tta"] == "flip"
    labels = [
        ("dark", "grey", "light").index(item.split("/")[0])
        for item in open_source(f"{run}/photos").items
    ]
    right = 100 * float(np.mean(truth.argmax(1) == labels))
    assert both[1]["metrics"]["model"]["accuracy"] in (
        pytest.approx(right),
        pytest.approx(right / 100),
    )


def test_features_have_no_mirror_image(run):
    saved = load_models(run / "run", "cpu")
    assert saved.with_tta(None) is saved
    with pytest.raises(UserError, match="--tta flip has no effect on features; leave it out"):
        replace(saved, features={"backbone": "x"}).with_tta("flip")


def test_the_views_of_a_clip_are_flipped_too():
    class Clips(torch.nn.Module):
        def forward(self, x):
            return x.flatten(2).cumsum(-1)[..., :3]  # of two views, and not blind to flips

    x = torch.arange(24.0).view(2, 2, 6) / 7
    found = Predictor((Flipped(Clips()),), "softmax").scores(x)
    slow = [
        [
            sum(one) / 4
            for one in zip(
                *(
                    v[i].softmax(-1).tolist()
                    for p in (x, x.flip(-1))
                    for v in p.flatten(2).cumsum(-1)[..., :3].unbind(1)
                ),
                strict=True,
            )
        ]
        for i in range(2)
    ]
    assert torch.allclose(found, torch.tensor(slow))
