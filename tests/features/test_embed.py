"""Feature tables: the features that evaluation sees, restartable, whole or refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from command import run
from pictures import folder
from reteach.cli import main
from reteach.data.loading.batch import Normalize
from reteach.data.loading.decode import decode
from reteach.data.sources.base import open_source
from reteach.data.sources.feature_table import read_shard, read_table, write_shard
from reteach.engine.learner import Predictor
from reteach.errors import UserError
from reteach.features import embed as module
from reteach.features.embed import embed
from reteach.features.extractor import Extractor
from reteach.features.preprocessing import Preprocessing
from reteach.models import zoo
from reteach.models.features import pooled
from reteach.options.embed import EmbedOptions
from reteach.runs.checkpoint import save_models
from reteach.scoring.embedding import EmbeddingTask, EmbeddingWorker, extractor_for

SIDE = 16


def eyes(seed: int = 0, side: int = SIDE) -> Extractor:
    model = zoo.create("reteach_tiny", 3, seed=seed).eval()
    prepare = Normalize((0.5,) * 3, (0.25,) * 3, interpolation="bicubic")
    return Extractor(model, Preprocessing(side, None, prepare), "features")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = folder(tmp_path / "photos", [f"{i:02}.png" for i in range(10)])
    (root / "04.png").write_bytes(b"no picture")
    return root


def contents(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in out.iterdir()}


def test_features_are_those_of_each_image_alone(photos, tmp_path):
    total = embed(eyes(), str(photos), tmp_path / "x", block=4, batch_size=3, backend="folded")
    assert (total.images, total.shards, total.computed) == (9, 3, 9)
    table = read_table(tmp_path / "x")
    assert table.items == [f"{i:02}.png" for i in range(10) if i != 4]
    one = eyes()
    for item, found in zip(table.items, table.features, strict=True):
        pixels = torch.from_numpy(decode(photos / item)).permute(2, 0, 1)
        x = one.seen.prepare(one.seen.view(False)(pixels, 0)[None])
        expected = pooled(one.model)(x)[0].numpy()
        assert found.shape == (1, len(expected))
        assert found.dtype == np.float16
        np.testing.assert_allclose(found[0], expected, rtol=2e-3, atol=2e-3)


def test_unreadable_images_are_listed_and_said(photos, tmp_path):
    total = embed(eyes(), str(photos), tmp_path / "x", block=4)
    assert [item for item, _ in total.unreadable] == ["04.png"]
    assert "04.png" in (tmp_path / "x.quarantine.csv").read_text()
    again = embed(eyes(), str(photos), tmp_path / "x", block=4)
    assert again.unreadable == total.unreadable
    assert again.computed == 0
    empty = folder(tmp_path / "bad", ["a.png"])
    (empty / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of the images can be read"):
        embed(eyes(), str(empty), tmp_path / "y")


def test_views_are_the_image_its_flip_and_seeded_crops(photos, tmp_path):
    for name, seed, views in (("v1", 0, 1), ("v4", 0, 4), ("again", 0, 4), ("other", 1, 4)):
        embed(eyes(), str(photos), tmp_path / name, views=views, seed=seed)
    one, four, again, other = (
        read_table(tmp_path / n).features.astype(float) for n in ("v1", "v4", "again", "other")
    )
    assert four.shape[1] == 4
    np.testing.assert_allclose(four[:, :1], one, rtol=1e-2, atol=1e-3)
    assert np.array_equal(four, again)
    assert np.array_equal(four[:, :2], other[:, :2])
    assert not np.array_equal(four[:, 2:], other[:, 2:])
    flipped = tmp_path / "flipped"
    flipped.mkdir()
    from PIL import Image

    for file in photos.glob("*.png"):
        if file.name != "04.png":
            Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(flipped / file.name)
    embed(eyes(), str(flipped), tmp_path / "f")
    np.testing.assert_allclose(
        read_table(tmp_path / "f").features[:, 0].astype(float), four[:, 1], rtol=3e-2, atol=5e-3
    )


def _dies_in_the_third_shard(photos: Path, out: Path) -> None:
    written = 0

    def killed(path: Path, shard: object) -> str:
        nonlocal written
        written += 1
        if written == 3:
            path.with_name(f".{path.name}.half.part").write_bytes(b"PAR1 half a shard")
            os.kill(os.getpid(), signal.SIGKILL)
        return write_shard(path, shard)  # type: ignore[arg-type]

    module.write_shard = killed
    embed(eyes(), str(photos), out, block=2, batch_size=2, backend="folded")


def test_a_killed_job_goes_on_and_ends_in_the_same_bytes(photos, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    embed(eyes(), str(photos), whole, block=2, batch_size=2, backend="folded")
    process = multiprocessing.get_context("fork").Process(
        target=_dies_in_the_third_shard, args=(photos, broken)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(UserError, match="not finished: run the same reteach embed again"):
        read_table(broken)
    total = embed(eyes(), str(photos), broken, block=2)  # batch size and backend are the table's
    assert (total.earlier, total.computed) == (2, 5)
    parts = [name for name in contents(broken) if not name.endswith(".half.part")]
    assert {n: contents(broken)[n] for n in parts} == contents(whole)


def test_resume_pins_what_the_bytes_depend_on(photos, tmp_path):
    out = tmp_path / "x"
    embed(eyes(), str(photos), out, block=4, batch_size=3, backend="folded")
    index = json.loads((out / "_features.json").read_text())
    assert index["settings"]["backend"] == "folded"
    assert index["settings"]["batch_size"] == 3
    before = contents(out)
    embed(eyes(), str(photos), out, block=4)
    assert contents(out) == before
    for words, change in {
        r"batch_size: 3 there, 5 now": {"batch_size": 5},
        r"backend: folded there, eager now": {"backend": "eager"},
        r"views: 1 there, 2 now": {"views": 2},
    }.items():
        with pytest.raises(UserError, match=words):
            embed(eyes(), str(photos), out, block=4, **change)
    with pytest.raises(UserError, match="weights: "):
        embed(eyes(seed=1), str(photos), out, block=4)
    with pytest.raises(UserError, match="image_size: 16 there, 12 now"):
        embed(eyes(side=12), str(photos), out, block=4)
    more = folder(tmp_path / "more", [f"x{i:02}.png" for i in range(10)])
    with pytest.raises(UserError, match="of other images"):
        embed(eyes(), str(more), out, block=4)
    assert contents(out) == before


def test_damage_is_one_line_and_mended_by_running_again(photos, tmp_path):
    out = tmp_path / "x"
    embed(eyes(), str(photos), out, block=4)
    before = contents(out)
    file = out / "part-000001.parquet"
    for damage in (before[file.name][:-40], b"", before[file.name].replace(b"05.png", b"55.png")):
        file.write_bytes(damage)
        with pytest.raises(UserError, match=r"part-000001\.parquet is damaged") as error:
            read_table(out)
        assert "\n" not in str(error.value)
        embed(eyes(), str(photos), out, block=4)
        assert contents(out) == before
    file.unlink()
    with pytest.raises(UserError, match="missing: run the same reteach embed again"):
        read_table(out)
    embed(eyes(), str(photos), out, block=4)
    shard = read_shard(file)
    write_shard(file, replace(shard, settings=shard.settings | {"backbone": "resnet50"}))
    with pytest.raises(UserError, match=r"other features.*backbone: resnet50 there"):
        read_table(out)
    write_shard(file, replace(shard, items=["q.png", *shard.items[1:]]))
    with pytest.raises(UserError, match="of other images"):
        read_table(out)


def test_command_on_a_run_and_bad_input(photos, tmp_path, capsys):
    half = (0.5,) * 3
    run_folder = tmp_path / "run"
    save_models(
        run_folder,
        {"model": Predictor((zoo.create("reteach_tiny", 2, seed=3).eval(),), "softmax")},
        architecture="reteach_tiny", classes=("a", "b"), image_size=SIDE, frames=None,
        prepare=Normalize(half, half), threshold=None, method="softmax",
    )  # fmt: skip
    out = tmp_path / "r.features"
    found = run(EmbedOptions(str(photos), run_folder, out=out, workers=0))
    assert (found.images, found.backbone, found.parts) == (9, "reteach_tiny", 1)
    assert "1 could not be read, first: '04.png'" in capsys.readouterr().err
    for words, options in {
        "whose features": {},
        "are the run's own": {"run_folder": run_folder, "image_size": 3},
        "from --views 3 on": {"pretrained": True, "seed": 4},
    }.items():
        with pytest.raises(UserError, match=words):
            EmbedOptions(str(photos), out=out, **options)
    with pytest.raises(UserError, match="holds no feature table"):
        run(EmbedOptions(str(photos), run_folder, out=photos))


def test_class_folders_keep_their_labels_in_the_table(tmp_path):
    names = [f"{name}/{i}.png" for i in range(4) for name in ("cat", "dog")]
    photos = folder(tmp_path / "photos", names)
    (photos / "cat" / "2.png").write_bytes(b"no picture")
    embed(eyes(), str(photos), tmp_path / "x", block=3, batch_size=2)
    source = open_source(tmp_path / "x")
    assert len(source) == 7
    assert source.class_of == [item.split("/")[0] for item in source.items]
    flat = folder(tmp_path / "flat", ["a.png", "b.png"])
    embed(eyes(), str(flat), tmp_path / "y")
    assert open_source(tmp_path / "y").class_of is None
    asked = ["--images", str(tmp_path / "x"), "--steps", "2", "--batch-size", "2"]
    assert main(["train", "softmax", *asked, "--out", str(tmp_path / "run")]) == 0
    pixels = np.zeros((3, 20, 20, 3), np.uint8)
    for name, labels in (("one", [0, 1, 0]), ("other", [1, 1, 0])):
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=labels, classes=["p", "q"])
    embed(eyes(), str(tmp_path / "one.npz"), tmp_path / "z")
    assert open_source(tmp_path / "z").class_of == ["p", "q", "p"]
    with pytest.raises(UserError, match="of other images"):
        embed(eyes(), str(tmp_path / "other.npz"), tmp_path / "z")


@pytest.fixture
def weights(tmp_path: Path) -> list[str]:
    """Words that name a network by a file of its weights."""
    torch.save(zoo.create("test_resnet", 3, seed=1).state_dict(), tmp_path / "w.pth")
    return ["--model", "test_resnet", "--init", f"{tmp_path}/w.pth", "--image-size", "32"]


def test_ray_gives_the_same_bytes_and_goes_on(photos, weights, tmp_path, capsys):
    pytest.importorskip("ray", reason="ray is not installed")
    words = ["embed", "--images", f"{photos}", *weights, "--block", "3", "--batch-size", "2"]
    words += ["--backend", "folded", "--device", "cpu", "--workers", "0"]
    assert main([*words, "--out", f"{tmp_path}/here"]) == 0
    expected = contents(tmp_path / "here")
    assert len(expected) == 5
    shutil.copytree(tmp_path / "here", tmp_path / "ray")
    for shard in sorted((tmp_path / "ray").glob("*.parquet"))[1:]:  # as after a kill
        shard.unlink()
    capsys.readouterr()
    shared = [*words, "--out", f"{tmp_path}/ray", "--ray", "local", "--embedders", "2"]
    assert main(shared) == 0
    assert contents(tmp_path / "ray") == expected
    assert "(6 computed now" in capsys.readouterr().out
    (photos / "04.png").unlink()  # it is broken, and has no features
    pairs = ["dedup", "--images", f"{photos}"]  # no network: the table alone
    told = []
    for table in ("here", "ray"):
        out = tmp_path / f"{table}.parquet"
        assert main([*pairs, "--features", f"{tmp_path}/{table}", "--out", f"{out}"]) == 0
        told.append(pq.read_table(out).to_pylist())
    assert told[0] == told[1] != []


def test_embed_without_ray_names_the_extra(photos, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    words = ["embed", "--images", f"{photos}", *weights, "--workers", "0", "--device", "cpu"]
    assert main([*words, "--out", f"{tmp_path}/x", "--ray", "local"]) == 2
    assert "pip install 'reteach[ray]'" in capsys.readouterr().err
    assert main([*words, "--out", f"{tmp_path}/x", "--embedders", "2"]) == 2
    assert "--embedders has no effect without --ray" in capsys.readouterr().err


def test_a_worker_with_another_network_is_refused(photos, weights, tmp_path):
    options = EmbedOptions(
        images=str(photos),
        model="test_resnet",
        init=tmp_path / "w.pth",
        image_size=32,
        device="cpu",
    )
    settings = module.making(extractor_for(options)) | {"weights": "of another", "backend": "eager"}
    with pytest.raises(UserError, match="a worker has another network than the command"):
        EmbeddingWorker(EmbeddingTask(options, 4, settings, 0, 1))
