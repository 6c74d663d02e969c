"""``reteach export``: what leaves gives the run's answers, without reteach where timm knows the network."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pictures import folder
from reteach import sealed
from reteach.cli import main
from reteach.commands.export_model import ModelExportResult, export_model
from reteach.data.loading.batch import Normalize
from reteach.engine.learner import Predictor
from reteach.errors import UserError
from reteach.models import zoo
from reteach.models.presence import Presence
from reteach.options.export import ModelExportOptions
from reteach.runs.checkpoint import load_models, presence_file, save_models
from reteach.runs.exporting import network
from reteach.runs.exporting.network import Whole

ITEMS = [f"{i}.png" for i in range(6)]
CLASSES = ("cat", "dog | hound", "emu")
TARGETS = ("onnx", "timm", "torch-export", "safetensors")


def need(to: str) -> None:
    if to == "onnx":
        pytest.importorskip("onnx", reason="onnx is not installed")
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def make_run(
    where: Path, *, link: Any = "softmax", networks: int = 1, name: str = "test_resnet", **more: Any
) -> Path:
    """A run folder with random networks: answers differ from image to image."""
    models = tuple(
        zoo.create(name, len(CLASSES), seed=seed, image_size=32) for seed in range(networks)
    )
    for model in models:
        with torch.no_grad():
            list(model.parameters())[-2].mul_(200)  # the output layer: not all alike
        model.eval()
    save_models(
        where, {"model": Predictor(models, link)}, architecture=name, classes=CLASSES, image_size=32,
        frames=None, prepare=Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)), threshold=None, method="toy",
        **more,
    )  # fmt: skip
    return where


def calibrate(run: Path, link: Any, rows: int) -> None:
    rng = np.random.default_rng(0)
    table = np.sort(rng.normal(size=(rows, 9)).cumsum(1).astype(np.float32), 1)
    found = Presence(CLASSES, link, -4.0, 1.0, table)
    sealed.write_json(presence_file(run, "model"), found.plain(), indent=None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder(tmp_path / "photos", ITEMS)


def export(run: Path, to: Any, photos: Path, **more: Any) -> ModelExportResult:
    return export_model(ModelExportOptions(run, to, images=str(photos), **more))


def by_script(where: Path, photos: Path) -> NDArray[Any]:
    """The probabilities by the folder's predict.py."""
    predict = runpy.run_path(str(where / "predict.py"))["predict"]
    found: NDArray[Any] = predict([photos / item for item in ITEMS])
    return found


def without_reteach(folders: Sequence[Path], photos: Path) -> list[NDArray[Any]]:
    """The same of several folders, in a process that cannot import reteach; of the first not torch either."""
    code = (
        "import sys, json, runpy\n"
        "sys.modules['reteach'] = sys.modules['torch'] = None\n"
        f"for where in {[str(each) for each in folders]!r}:\n"
        "    predict = runpy.run_path(where + '/predict.py')['predict']\n"
        f"    print(json.dumps(predict({[str(photos / item) for item in ITEMS]!r}).tolist()))\n"
        "    if sys.modules['torch'] is None: del sys.modules['torch']\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [np.array(json.loads(line)) for line in done.stdout.splitlines()]


def expected(run: Path, photos: Path, tmp_path: Path) -> NDArray[Any]:
    """The probabilities by ``reteach predict``."""
    words = f"predict {run} --images {photos} --out {tmp_path}/p.csv --scores {tmp_path}/s.parquet"
    assert main(f"{words} --top 3 --workers 0 --device cpu".split()) == 0
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "s.parquet").to_pydict()
    found = np.zeros((len(ITEMS), 3))
    for item, column, score in zip(table["item"], table["class"], table["score"], strict=True):
        found[ITEMS.index(item), column] = score
    return found


def test_exported_models_give_the_runs_probabilities_without_reteach(
    photos: Path, tmp_path: Path
) -> None:
    need("onnx")
    run = make_run(tmp_path / "run", resize="shorter")
    made = [export(run, to, photos) for to in TARGETS]
    wanted = expected(run, photos, tmp_path)
    assert np.ptp(wanted, axis=0).max() > 0.01, "a constant answer would agree with anything"
    found = without_reteach([each.out for each in made], photos)
    for result, theirs in zip(made, found, strict=True):
        assert result.images == result.agree == len(ITEMS)
        np.testing.assert_allclose(theirs, wanted, atol=result.tolerance)
        assert json.loads((result.out / "classes.json").read_text()) == list(CLASSES)
        card = (result.out / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: ")
        assert "6 of 6 images have the run's first choice" in card


@pytest.mark.parametrize(
    ("to", "link", "rows"), [("onnx", "softmax", 3), ("timm", "sigmoid", 1), ("timm", "softmax", 3),
                             ("torch-export", "sigmoid", 3)],
)  # fmt: skip
def test_a_calibrated_runs_exported_probabilities_are_the_calibrated_ones(
    to: str, link: str, rows: int, photos: Path, tmp_path: Path
) -> None:
    need(to)
    run = make_run(tmp_path / "run", link=link, resize="square", name="reteach_tiny")
    plain = expected(run, photos, tmp_path)
    calibrate(run, link, rows)
    wanted = expected(run, photos, tmp_path)
    assert np.abs(wanted - plain).max() > 0.05
    made = export(run, to, photos)
    assert made.calibrated
    np.testing.assert_allclose(by_script(made.out, photos), wanted, atol=made.tolerance)


def test_several_networks_are_one_in_a_graph_and_refused_as_weights(
    photos: Path, tmp_path: Path
) -> None:
    need("onnx")
    run = make_run(tmp_path / "run", networks=2, link="sigmoid", name="reteach_tiny")
    made = export(run, "onnx", photos)
    np.testing.assert_allclose(
        by_script(made.out, photos), expected(run, photos, tmp_path), atol=1e-4
    )
    with pytest.raises(UserError, match="model is 2 networks: --to onnx or torch-export makes one"):
        export(run, "timm", photos)


def test_an_export_that_gives_other_answers_is_refused_and_leaves_no_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", name="reteach_tiny")
    right = Whole.forward

    def wrong(self: Whole, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return right(self, pixels * 1.2)

    monkeypatch.setattr(network.Whole, "forward", wrong)
    with pytest.raises(
        UserError, match=r"the exported model is not the run's: .* nothing is written"
    ):
        export(run, "torch-export", photos)
    assert not (run / "exported" / "torch-export").exists()
    assert not list((run / "exported").iterdir())


def test_a_missing_package_is_named_with_its_extra(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run(tmp_path / "run", name="reteach_tiny")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(f"export {run} --to onnx --images {photos}".split()) == 2
    assert "pip install 'reteach[onnx]'" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said_in_one_line(photos: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "features", features={"network": "x"}, name="reteach_tiny")
    with pytest.raises(UserError, match="takes features, not images; train with --freeze"):
        export(run, "timm", photos)
    run = make_run(tmp_path / "run", name="reteach_tiny")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("mine")
    with pytest.raises(UserError, match="taken is there already: name a new folder"):
        export(run, "timm", photos, out=tmp_path / "taken")
    assert load_models(run).classes == CLASSES
