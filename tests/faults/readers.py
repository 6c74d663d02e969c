"""Every reader of the package, each with good files to be broken: the table that the fuzzing goes through."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "helpers"))  # where pytest does not do it

ITEMS = [f"{n:02}.png" for n in range(8)]
CLASSES = ("ant", "bee", "cat")


@dataclass(frozen=True)
class Reader:
    """A reader.

    Args:
        make: writes good files into an empty folder; returns those that are broken, one at a time.
        read: reads the folder.
        sealed: checksums stand in the files: whatever is read is what was written.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    sealed: bool = False


def _labels(kind: str, suffix: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        from reteach.labels import Multi, Single, Soft
        from reteach.tables import LabelTable, write_labels

        chance = np.random.default_rng(0)
        labels: Any = Single(np.arange(8) % 3, CLASSES)
        if kind == "multi":
            labels = Multi.from_dense(chance.integers(0, 2, (8, 3)).astype(bool), CLASSES)
        elif kind == "soft":
            labels = Soft.from_dense(chance.dirichlet(np.ones(3), 8).astype(np.float32), CLASSES)
        file = folder / f"labels{suffix}"
        write_labels(file, LabelTable(tuple(ITEMS), labels, "by hand"))
        return [file]

    return make


def _read_labels(folder: Path) -> Any:
    from reteach.tables import read_labels

    (file,) = folder.glob("labels.*")
    table = read_labels(file)
    return table.items, table.labels.digest()


def _scores(folder: Path) -> list[Path]:
    from reteach.scores.table import ScoreWriter

    chance = np.random.default_rng(0)
    with ScoreWriter(folder / "s.parquet", CLASSES, logits=True) as writer:
        rows = np.repeat(np.arange(8), 3)
        writer.write(
            ITEMS, rows, np.tile(np.arange(3), 8), chance.random(24), chance.normal(size=24)
        )
    return [folder / "s.parquet"]


def _read_scores(folder: Path) -> Any:
    from reteach.item_index import ItemIndex
    from reteach.relabel.selection.score_shards import open_shards
    from reteach.scores.table import dense_scores, open_scores

    table = open_scores(folder / "s.parquet")
    for _ in table.batches(ItemIndex(ITEMS), CLASSES):
        pass
    dense_scores(folder / "s.parquet", ITEMS, CLASSES)
    return open_shards(folder / "s.parquet")


def _features(folder: Path) -> list[Path]:
    from reteach import sealed
    from reteach.data.sources.feature_table import FORMAT, INDEX, FeatureShard, write_shard

    settings = {"backbone": "x", "image_size": 8}
    values = np.arange(48, dtype=np.float16).reshape(8, 1, 6)
    shard = FeatureShard(settings, "part", ITEMS, values, [("x.png", "truncated")])
    digest = write_shard(folder / "0.parquet", shard)
    said = {"format": FORMAT, "settings": settings, "complete": True, "shards": {"0": digest}}
    sealed.write_json(folder / INDEX, said)
    return [folder / "0.parquet", folder / INDEX]


def _read_features(folder: Path) -> Any:
    from reteach.data.sources.feature_table import read_table

    table = read_table(folder)
    return table.settings, table.items, table.features.tobytes()


def _ratings(folder: Path) -> list[Path]:
    lines = ["task,rater,answer,item,class,gold,original,wanted"]
    for n in range(8):
        for rater in ("ada", "bo"):
            answer = ("yes", "no", "maybe")[n % 3]
            lines.append(f"{n},{rater},{answer},{ITEMS[n]},{CLASSES[n % 3]},{n % 2},ant,2")
    (folder / "r.csv").write_text("\n".join(lines))
    return [folder / "r.csv"]


def _read_ratings(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from reteach.rating.read import read_ratings

        return read_ratings(folder / name)

    return read


def _label_studio(folder: Path) -> list[Path]:
    def result(choice: str) -> dict[str, Any]:
        value = {"choices": [choice]}
        return {"from_name": "ant", "to_name": "image", "type": "choices", "value": value}

    tasks = [
        {
            "id": n,
            "data": {"image": f"/data/{item}", "classes": list(CLASSES), "original": "ant"},
            "annotations": [
                {"completed_by": {"email": "a@b.c"}, "result": [result("ant")], "id": n}
            ],
        }
        for n, item in enumerate(ITEMS[:4])
    ]
    (folder / "l.json").write_text(json.dumps(tasks))
    return [folder / "l.json"]


def _store(folder: Path) -> list[Path]:
    import rating_kit

    store = rating_kit.new_store(folder / "s.sqlite", rating_kit.label_plan(4, 3, (1,)))
    rater = rating_kit.add_raters(store, ["ada"])
    assert rater
    from reteach.rating.assignment import Flow

    flow = Flow(store, lambda _: None)
    held = flow.hand(1)
    if held:
        from reteach.rating.schema import questions

        with store.read() as connection:
            asked = connection.execute(
                questions.select().where(questions.c.task_id == held[0].task)
            ).all()
        flow.submit(1, held[0].task, {q.id: 2 for q in asked}, 0)
    store.close()
    return [folder / "s.sqlite"]


def _read_store(folder: Path) -> Any:
    from reteach.rating.overview import rater_rows, task_rows
    from reteach.rating.read import golden_by_pairs, read_ratings
    from reteach.rating.store import open_store

    where = folder / "s.sqlite"
    store = open_store(where)
    try:
        rater_rows(store)
        task_rows(store, "all", 0)
    finally:
        store.close()
    golden_by_pairs(where)
    return read_ratings(where)


def _text(name: str, content: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        (folder / name).write_text(content)
        return [folder / name]

    return make


def _reads(where: str, name: str, *more: Any) -> Callable[[Path], Any]:
    """``module:function`` of one file."""

    def read(folder: Path) -> Any:
        import importlib

        module, function = where.split(":")
        found = getattr(importlib.import_module(f"reteach.{module}"), function)
        return found(folder / name, *more)

    return read


def _record(kind: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        from reteach.records import comparisons, runs

        if kind == "run":
            record: Any = runs.RunRecord("1", classes=CLASSES, derived={"a": 1.5}, seconds=1.5)
            file: Any = runs.RUN
        elif kind == "evaluation":
            rows = tuple(runs.ClassRow(name, 3, 0.5, 0.5, None, 0.1) for name in CLASSES)
            example = runs.Example("a.png", "data:,", ("ant",), (("bee", 0.5),), None)
            found = runs.PredictorEvaluation({"map": 0.5}, rows, examples=(example,))
            record, file = {"val": {"student": found}}, runs.EVALUATION
        else:
            record, file = (
                comparisons.ComparisonRecord("t", "d", seeds=(0,)),
                comparisons.COMPARISON,
            )
        file.write(folder, record)
        return [folder / file.name]

    return make


def _read_record(kind: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from reteach.records import comparisons, runs

        files: dict[str, Any] = {
            "run": runs.RUN,
            "evaluation": runs.EVALUATION,
            "comparison": comparisons.COMPARISON,
        }
        return files[kind].read(folder)

    return read


def _run_page(folder: Path) -> list[Path]:
    """A run as its page reads it."""
    made = [*_record("run")(folder), *_record("evaluation")(folder), *_config(folder)]
    lines = [
        json.dumps({"stage": "train", "step": n, "kind": "train", "loss": 1 / (n + 1)})
        for n in range(6)
    ]
    lines.append(
        json.dumps(
            {"stage": "train", "step": 5, "kind": "eval", "data": "val", "predictor": "student"}
            | {"map": 0.5}
        )
    )
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "quarantine.csv").write_text("item,reason\nx.png,truncated\n")
    return [*made, folder / "metrics.jsonl", folder / "quarantine.csv"]


def _read_run_page(folder: Path) -> Any:
    from reteach.report import run_report

    return run_report(folder)


def _config(folder: Path) -> list[Path]:
    from reteach.options.methods import MileOptions
    from reteach.options.shared import Data, Output
    from reteach.runs import config

    where = Output(out=Path("runs/x"))
    config.save(
        config.Config("mile", MileOptions(), Data(images="photos"), output=where),
        folder / "config.yaml",
    )
    return [folder / "config.yaml"]


def _read_flags(folder: Path) -> Any:
    from reteach.options.train import mile
    from reteach.runs.config_flags import flags

    return flags(folder / "config.yaml", mile, "train mile")


def _opened(file: Path) -> Path:
    """The content of a sealed file as JSON of its own, to be broken and sealed again: a right checksum."""
    content = json.loads(file.read_text())
    del content["reteach_sha256"]
    plain = file.with_suffix(".plain.json")
    plain.write_text(json.dumps(content))
    return plain


def _read_sealed_again(folder: Path) -> Any:
    from reteach import sealed

    for plain in folder.rglob("*.plain.json"):
        file = plain.with_name(plain.name.replace(".plain", ""))
        try:
            sealed.write_json(file, dict(json.loads(plain.read_bytes())))
        except (ValueError, TypeError, RecursionError):  # no program writes that
            return None
    return _read_models(folder)


def _models(checked: bool) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        from reteach.data.loading.batch import Normalize
        from reteach.engine.learner import Predictor
        from reteach.models import zoo
        from reteach.runs.checkpoint import save_models

        model = zoo.create("reteach_tiny", 3, in_chans=1, image_size=8, seed=0)
        save_models(
            folder,
            {"model": Predictor((model,), "sigmoid")},
            architecture="reteach_tiny",
            classes=CLASSES,
            image_size=8,
            frames=None,
            prepare=Normalize((0.5,), (0.25,), channels=1),
            threshold=0.5,
            method="sigmoid",
        )
        files = [folder / "models/index.json", folder / "models/model/config.json"]
        if not checked:
            return [_opened(file) for file in files]
        return [*files, folder / "models/model/model.safetensors"]

    return make


def _read_models(folder: Path) -> Any:
    import torch

    from reteach.runs.checkpoint import load_models

    found = load_models(folder, "cpu")
    x = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    outputs = {
        name: one.models[0](x).detach().numpy().tobytes() for name, one in found.predictors.items()
    }
    return found.classes, found.threshold, outputs


def _snapshot(folder: Path) -> list[Path]:
    import toys
    from reteach.engine import snapshot

    snapshot.save(folder / "snapshot.pt", toys.ALGORITHMS["sigmoid"](), 3, "stamp")
    return [folder / "snapshot.pt"]


def _read_snapshot(folder: Path) -> Any:
    import toys
    from reteach.engine import snapshot

    algorithm = toys.ALGORITHMS["sigmoid"]()
    step = snapshot.load(folder / "snapshot.pt", algorithm, "stamp")
    return step, {k: v.numpy().tobytes() for k, v in snapshot.leaves(algorithm).items()}


def _weights(folder: Path) -> list[Path]:
    import torch

    torch.save({"state_dict": {"a": torch.ones(3, 2), "b": torch.zeros(2)}}, folder / "w.pt")
    return [folder / "w.pt"]


def _safetensors(folder: Path) -> list[Path]:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3, 2), "b": torch.zeros(2)}, folder / "w.safetensors")
    return [folder / "w.safetensors"]


def _picture(number: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def _image(kind: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        (folder / "image").write_bytes(_picture(0, kind))
        return [folder / "image"]

    return make


def _read_image(folder: Path) -> Any:
    from reteach.data.loading.decode import decode

    return decode(folder / "image").shape


def _folder_of_images(folder: Path) -> list[Path]:
    for number in range(3):
        (folder / f"{number}.png").write_bytes(_picture(number))
    return [folder / "1.png"]


def _read_folder(folder: Path) -> Any:
    from reteach.data.loading.decode import ImageError
    from reteach.data.sources.base import open_source

    source = open_source(str(folder))
    for row in range(len(source)):
        with suppress(ImageError):
            source.read(row)
    return source.items


def _tar(folder: Path) -> list[Path]:
    with tarfile.open(folder / "s.tar", "w") as archive:
        for number in range(3):
            for suffix, content in (
                ("png", _picture(number)),
                ("cls", b"ant"),
                ("json", b'{"a": 1}'),
            ):
                member = tarfile.TarInfo(f"x/{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return [folder / "s.tar"]


def _read_tar(folder: Path) -> Any:
    from reteach.data.loading.decode import ImageError
    from reteach.data.sources.shards import open_shards

    source = open_shards(str(folder / "s.tar"), folder / "cache")
    for row in range(len(source)):
        with suppress(ImageError):
            source.read(row)
    return open_shards(str(folder / "s.tar"), folder / "cache").items


def _arrays(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 6, 3), np.uint8)
    np.savez(folder / "a.npz", images=pixels, labels=np.arange(4) % 3, classes=np.array(CLASSES))
    return [folder / "a.npz"]


def _npz_features(folder: Path) -> list[Path]:
    np.savez(folder / "f.npz", items=np.array(ITEMS), features=np.ones((8, 3), np.float32))
    return [folder / "f.npz"]


def _cooccurrence(folder: Path) -> list[Path]:
    pairs = np.array([[0, 2, 1], [2, 0, 0], [1, 0, 0]])
    np.savez(folder / "c.npz", counts=np.array([5, 4, 3]), pairs=pairs, names=np.array(CLASSES))
    return [folder / "c.npz"]


def _proposals(folder: Path) -> list[Path]:
    from reteach.relabel.raters.proposals import Proposals

    n = np.arange(8)
    found = Proposals(ITEMS, list(CLASSES), ["m"], n, n % 3, n % 2, n % 2, n % 3 == 0)
    found.write(folder / "p.parquet")
    return [folder / "p.parquet"]


def _coco(folder: Path) -> list[Path]:
    content = {
        "images": [{"id": n, "file_name": item} for n, item in enumerate(ITEMS)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES)],
        "annotations": [{"image_id": n, "category_id": n % 3} for n in range(8)],
    }
    (folder / "c.json").write_text(json.dumps(content))
    return [folder / "c.json"]


def _voc(folder: Path) -> list[Path]:
    for n in range(2):
        thing = f"<object><name>{CLASSES[n]}</name><difficult>{n}</difficult></object>"
        (folder / f"{n}.xml").write_text(
            f"<annotation><filename>{n}.jpg</filename>{thing}</annotation>"
        )
    (folder / "list.txt").write_text("0\n1\n")
    return [folder / "0.xml", folder / "list.txt"]


def _read_voc(folder: Path) -> Any:
    from reteach.data.formats.voc import read_voc

    return read_voc(folder, folder / "list.txt")


_FORMATS = {
    "voc": ("v", ("v/labelmap.txt", "v/Annotations/0.xml")),
    "cvat": ("a.xml", ("a.xml",)),
    "label-studio": ("t.json", ("t.json", "t.xml")),
    "fiftyone": ("fo", ("fo/labels.json",)),
    "hf-folder": ("hf", ("hf/metadata.jsonl",)),
    "hf-parquet": ("hf.parquet", ("hf.parquet",)),
    "cleanlab": ("c.csv", ("c.csv",)),
    "crowd-kit": ("k.csv", ("k.csv",)),
}
"""Formats that convert writes: what is written, and which of its files are broken."""


def _written(form: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        from PIL import Image

        from reteach.commands.convert import convert
        from reteach.labels import Single
        from reteach.options.convert import ConvertOptions
        from reteach.options.formats import FORMATS
        from reteach.tables import LabelTable, write_labels

        items = tuple(f"{n}.png" for n in range(4))
        (folder / "photos").mkdir()
        for item in items:
            Image.new("RGB", (4, 4)).save(folder / "photos" / item)
        write_labels(folder / "in.csv", LabelTable(items, Single(np.arange(4) % 3, tuple(CLASSES))))
        out, files = _FORMATS[form]
        takes = "images" in FORMATS[form].writes_with
        more: dict[str, Any] = {"images": folder / "photos"} if takes else {}
        convert(ConvertOptions("labels", folder / "in.csv", folder / out, to=form, **more))
        return [folder / name for name in files]

    return make


def _read_format(form: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from reteach.commands.convert import _read
        from reteach.options.convert import ConvertOptions

        return _read(ConvertOptions(form, folder / _FORMATS[form][0], folder / "read.csv"))

    return read


def _nuswide(folder: Path) -> list[Path]:
    files = {
        "ImageList/TrainImagelist.txt": "a\\1.jpg\na\\2.jpg\n",
        "ConceptsList/Concepts81.txt": "ant\nbee\n",
        "Groundtruth/TrainTestLabels/Labels_ant_Train.txt": "0\n1\n",
        "Groundtruth/TrainTestLabels/Labels_bee_Train.txt": "1\n1\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return [folder / name for name in files]


def _clothing(folder: Path) -> list[Path]:
    files = {
        "category_names_eng.txt": "ant\nbee\n",
        "noisy_label_kv.txt": "i/1.jpg 0\ni/2.jpg 1\n",
        "noisy_train_key_list.txt": "i/1.jpg\ni/2.jpg\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return [folder / name for name in files]


def _webvision(folder: Path) -> list[Path]:
    (folder / "info").mkdir()
    (folder / "info/synsets.txt").write_text("n1 ant\nn2 bee\n")
    (folder / "info/val_filelist.txt").write_text("1.jpg 0\n2.jpg 1\n")
    return [folder / "info/synsets.txt", folder / "info/val_filelist.txt"]


def _tiny(folder: Path) -> list[Path]:
    (folder / "val").mkdir()
    (folder / "wnids.txt").write_text("n1\nn2\n")
    (folder / "val/val_annotations.txt").write_text("1.JPEG\tn1\t0\t0\n2.JPEG\tn2\t0\t0\n")
    return [folder / "wnids.txt", folder / "val/val_annotations.txt"]


def _cifar(folder: Path) -> list[Path]:
    record = bytes([1]) + bytes(range(256)) * 12
    (folder / "test_batch.bin").write_bytes(record * 2)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(record)
    (folder / "batches.meta.txt").write_text("\n".join(f"c{n}" for n in range(10)))
    return [folder / "data_batch_1.bin", folder / "batches.meta.txt"]


def _human(folder: Path) -> list[Path]:
    import torch

    torch.save({"worse_label": np.arange(10)}, folder / "h.pt")
    return [folder / "h.pt"]


def _partition(folder: Path) -> list[Path]:
    content = {"co": [["ant", "bee"], ["cat"]], "dis": [["ant"], ["bee", "cat"]]}
    (folder / "p.json").write_text(json.dumps(content))
    return [folder / "p.json"]


def _http(folder: Path) -> list[Path]:
    """A request, as the lines that it is made of."""
    import rating_kit

    names = [f"{n:03}.png" for n in range(4)]
    rating_kit.photos(folder / "photos", names)
    request = {
        "method": "POST",
        "path": "/rate/1",
        "query": "small=1",
        "headers": {"host": "127.0.0.1:1", "cookie": "COOKIE=TOKEN", "origin": "http://127.0.0.1:1"}
        | {"content-type": "application/x-www-form-urlencoded"},
        "body": "form=FORM&version=0&q1=2&q2=0&q3=1",
    }
    (folder / "request.json").write_text(json.dumps(request))
    return [folder / "request.json"]


_SITES: dict[Path, tuple[Any, str, str]] = {}


def _site(folder: Path) -> tuple[Any, str, str]:
    """The app over a store in memory, with a rater's token; one per folder."""
    if folder not in _SITES:
        import rating_kit
        from reteach.rating.app_state import Site
        from reteach.rating.assignment import Flow
        from reteach.rating.server import create_app
        from reteach.web.images import FolderImages, Gallery

        _SITES.clear()
        where = folder.parent / "http.sqlite"
        where.unlink(missing_ok=True)
        store = rating_kit.new_store(where, rating_kit.label_plan())
        token = rating_kit.add_raters(store, ["ada"])["ada"]
        gallery = Gallery(FolderImages(folder / "photos"))
        flow = Flow(store, gallery.why_missing)
        site = Site(store, flow, gallery, "owner", "http://127.0.0.1:1")
        site.door.calls.burst = site.door.guesses.burst = 10**9
        _SITES[folder] = create_app(site), site.door.cookie("rater"), token
    return _SITES[folder]


def _review_requests(folder: Path) -> list[Path]:
    """A small review, and requests of every kind to it."""
    import review_kit

    review_kit.shape_review(folder.parent / f"{folder.name}-review", 12, copies=2)
    headers = {"host": "localhost", "cookie": "COOKIE=TOKEN", "origin": "http://localhost"}
    headers |= {"x-form": "FORM", "content-type": "application/json", "accept": "application/json"}
    bodies = {
        "decide": {"rows": [1, 2], "kind": "is", "label": "square", "shown": [1, 2, 3]},
        "undo": {},
        "tag": {"rows": [3], "name": "odd", "shown": []},
        "save": {"name": "a view", "view": "?label=square", "rows": [1]},
        "lasso": {"shapes": [[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]]},
    }
    views = {
        "view": ("/", "label=square&status=open&order=margin&start=2"),
        "item": ("/item/3", "part=true"),
        "rows": ("/rows", "q=a&given=square&predicted=circle"),
        "live": ("/live", "seen=1:x,2:y&order=doubt"),
    }
    asked = [
        (name, {"method": "POST", "path": f"/do/{name}", "query": "", "headers": headers}
         | {"body": json.dumps({"request": "fuzz-request", **body})})
        for name, body in bodies.items()
    ]  # fmt: skip
    asked += [
        (name, {"method": "GET", "path": path, "query": query, "headers": headers, "body": ""})
        for name, (path, query) in views.items()
    ]
    for name, request in asked:
        (folder / f"{name}.json").write_text(json.dumps(request))
    return sorted(folder.glob("*.json"))


_REVIEWS: dict[Path, tuple[Any, str, str, str]] = {}


def _review(folder: Path) -> tuple[Any, str, str, str]:
    """The app, and a reviewer's cookie, secret and form value; one per folder."""
    if folder not in _REVIEWS:
        import review_kit
        from reteach.review.web.serving import review_app
        from reteach.web.security import form_token

        prepared = folder.parent / f"{folder.name}-review" / "shapes.review"
        site = review_kit.review_site(prepared)
        site.door.calls.burst = site.door.guesses.burst = 10**9
        token = site.reviewers.token("ann")
        _REVIEWS.clear()
        _REVIEWS[folder] = review_app(site), site.door.cookie("reviewer"), token, form_token(token)
    return _REVIEWS[folder]


def _read_review_requests(folder: Path) -> Any:
    """Send the requests past the socket."""
    app, cookie, token, form = _review(folder)
    for file in sorted(folder.glob("*.json")):
        _send(app, file, {"COOKIE": cookie, "TOKEN": token, "FORM": form})
    return None


def _read_http(folder: Path) -> Any:
    """Send the request past the socket."""
    app, cookie, token = _site(folder)
    _send(app, folder / "request.json", {"COOKIE": cookie, "TOKEN": token})
    return None


def _send(app: Any, file: Path, secrets: Mapping[str, str]) -> None:
    """A request from a file; 500 is an error that nobody foresaw."""
    try:
        request = json.loads(file.read_bytes())
        method, path = str(request["method"]), str(request["path"])
        headers = {str(k): str(v) for k, v in dict(request["headers"]).items()}
        body, query = str(request["body"]), str(request.get("query", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # it could not be sent
    for name in ("cookie", "x-form"):
        for word, secret in secrets.items():
            if name in headers:
                headers[name] = headers[name].replace(word, secret)
    raw = [
        (k.lower().encode("utf-8", "replace"), v.encode("utf-8", "replace"))
        for k, v in headers.items()
    ]
    content = body.encode("utf-8", "replace")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query.encode("utf-8", "replace"),
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 1),
    }
    status: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    asyncio.run(app(scope, receive, send))
    assert status[:1] != [500], "answered 500"


LISTING = "item\na.png\nb.png\n"
READERS: dict[str, Reader] = {
    **{
        f"labels {kind}{suffix}": Reader(_labels(kind, suffix), _read_labels)
        for kind in ("single", "multi", "soft")
        for suffix in (".csv", ".parquet")
    },
    "scores": Reader(_scores, _read_scores),
    "feature table": Reader(_features, _read_features, sealed=True),
    "features .npz": Reader(
        _npz_features, _reads("duplicates.feature_files:read_features", "f.npz", ITEMS)
    ),
    "ratings .csv": Reader(_ratings, _read_ratings("r.csv")),
    "ratings Label Studio": Reader(_label_studio, _read_ratings("l.json")),
    "ratings store": Reader(_store, _read_store),
    "hierarchy": Reader(
        _text("h.txt", "animal ant\nanimal bee\nbee cat\n"),
        _reads("relabel.raters.hierarchy:read_hierarchy", "h.txt"),
    ),
    "proposals": Reader(_proposals, _reads("relabel.raters.proposals:read_proposals", "p.parquet")),
    "snapshot": Reader(_snapshot, _read_snapshot, sealed=True),
    "models": Reader(_models(True), _read_models, sealed=True),
    "models under right checksums": Reader(_models(False), _read_sealed_again),
    "weights .pt": Reader(_weights, _reads("models.tensorfiles:read", "w.pt")),
    "weights .safetensors": Reader(
        _safetensors, _reads("models.tensorfiles:read", "w.safetensors")
    ),
    **{
        f"record {kind}": Reader(_record(kind), _read_record(kind))
        for kind in ("run", "evaluation", "comparison")
    },
    "page of a run": Reader(_run_page, _read_run_page),
    "config": Reader(_config, _reads("runs.config:load", "config.yaml")),
    "--config": Reader(_config, _read_flags),
    "COCO": Reader(_coco, _reads("data.formats.coco:read_coco", "c.json")),
    "VOC": Reader(_voc, _read_voc),
    **{f"format {form}": Reader(_written(form), _read_format(form)) for form in _FORMATS},
    "NUS-WIDE": Reader(_nuswide, _reads("data.formats.nuswide:read_nuswide", ".")),
    "Clothing1M": Reader(_clothing, _reads("data.formats.lists:clothing1m", ".", "noisy_train")),
    "WebVision": Reader(_webvision, _reads("data.formats.lists:webvision", ".", "val")),
    "Tiny-ImageNet": Reader(_tiny, _reads("data.formats.lists:tiny_imagenet", ".", "val")),
    "CIFAR": Reader(_cifar, _reads("data.sources.cifar:read_cifar", ".", "train")),
    "CIFAR-N": Reader(
        _human,
        _reads("data.sources.cifar:read_human_labels", "h.pt", "worse_label", tuple("abcdefghij")),
    ),
    "item list .csv": Reader(
        _text("i.csv", LISTING), _reads("relabel.selection.item_lists:read_items", "i.csv")
    ),
    "item list .txt": Reader(
        _text("i.txt", "a.png\nb.png\n"), _reads("relabel.selection.item_lists:read_items", "i.txt")
    ),
    "frequencies": Reader(
        _text("f.csv", "class,count\nant,3\nbee,2\n"),
        _reads("relabel.selection.quotas:read_frequencies", "f.csv"),
    ),
    "class list": Reader(
        _text("c.csv", "class,name\nant,Ant\nbee,Bee\n"),
        _reads("scores.classes:read_classes", "c.csv"),
    ),
    "class names": Reader(
        _text("n.tsv", "class\tnames\nant\tant, ants\n"),
        _reads("relabel.weak.tag_tables:read_names", "n.tsv"),
    ),
    "noise matrix": Reader(
        _text("m.csv", ",ant,bee\nant,0.9,0.1\nbee,0.2,0.8\n"),
        _reads("commands.noise:_read_matrix", "m.csv", ("ant", "bee")),
    ),
    "co-occurrence": Reader(
        _cooccurrence, _reads("relabel.partition.cooccurrence:read_cooccurrence", "c.npz")
    ),
    "partition": Reader(
        _partition, _reads("relabel.partition.decomposition:read_subsets", "p.json", CLASSES)
    ),
    "images .npz": Reader(_arrays, _reads("data.sources.arrays:open_npz", "a.npz")),
    **{
        f"image {kind}": Reader(_image(kind), _read_image)
        for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")
    },
    "folder of images": Reader(_folder_of_images, _read_folder),
    "tar of images": Reader(_tar, _read_tar),
    "request": Reader(_http, _read_http),
    "requests to a review": Reader(_review_requests, _read_review_requests),
}
