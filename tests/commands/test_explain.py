"""``reteach explain``: the page, which images stand on it, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from report_pages import Element, read, section
from reteach.cli import main
from reteach.data.loading.batch import Normalize
from reteach.engine.algorithm import Specialist
from reteach.engine.learner import Predictor
from reteach.labels import Multi
from reteach.models import zoo
from reteach.runs.checkpoint import load_models, load_specialists, save_models
from reteach.tables import LabelTable, write_labels

CLASSES = ("cat", "dog", "hat", "tie")
N = 30


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a bright corner per class, tags, and a finished run of CPSD with 2 + 2 teachers."""
    folder = tmp_path_factory.mktemp("explain")
    draw = np.random.default_rng(0)
    present = draw.random((N, 4)) < 0.4
    present[:, 1] |= present[:, 0]
    present[:, 3] |= present[:, 2]
    images = draw.integers(0, 90, (N, 16, 16, 3))
    for c, (y, x) in enumerate(((0, 0), (0, 8), (8, 0), (8, 8))):
        images[:, y : y + 8, x : x + 8] += 160 * present[:, c, None, None, None]
    (folder / "photos").mkdir()
    for i, image in enumerate(images.astype(np.uint8)):
        Image.fromarray(image).save(folder / "photos" / f"{i:02}.png")
    (folder / "photos" / "broken.png").write_bytes(b"no image")
    table = LabelTable(tuple(f"{i:02}.png" for i in range(N)), Multi.from_dense(present, CLASSES))
    write_labels(folder / "tags.parquet", table)
    words = (
        f"train cpsd --images {folder}/photos --labels {folder}/tags.parquet --subsets 2 --steps 8 "
        f"--batch-size 8 --model reteach_tiny --image-size 16 --workers 0 --out {folder}/run"
    )
    assert main([*words.split(), "--device", "cpu"]) == 0
    return folder


def explained(world: Path, out: Path, words: str = "", run: str = "run") -> Element:
    command = f"explain {world}/{run} --images {world}/photos --workers 0 --out {out} {words}"
    assert main(command.split()) == 0
    return read(out.read_text())


def pixels(url: str | None) -> np.ndarray:
    assert url is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def test_teachers_and_student_stand_side_by_side(world, tmp_path):
    page = explained(
        world, tmp_path / "cam.html", f"--classes cat tie --labels {world}/tags.parquet --count 3"
    )
    teachers = load_specialists(world / "run", "cpu")
    assert len(teachers) == 4
    for number, cls in enumerate(("cat", "tie"), 1):
        part = section(page, f"class-{number}")
        assert cls in part.text
        knowing = [name for name, teacher in teachers.items() if cls in teacher.classes]
        assert len(knowing) == 2
        rows = part.all("article")
        assert len(rows) == 3
        for row in rows:
            titles = [b.text for f in row.all("figure")[1:] for b in f.all("b")]
            assert titles == [*knowing, "student"]
            assert cls in [b.text for b in row.all("figure")[0].all("span", "name")]
            pictures = [pixels(image.attributes["src"]) for image in row.all("img")]
            assert all(picture.std() > 0 for picture in pictures)


def test_without_labels_the_surest_images_are_shown_and_the_page_says_so(world, tmp_path, capsys):
    page = explained(world, tmp_path / "cam.html", "--classes dog --count 4")
    rows = section(page, "class-1").all("article")
    shown = [row.all("figure")[-1].all("span")[0].text for row in rows]
    assert len(shown) == 4
    assert shown == sorted(shown, reverse=True)
    assert "broken.png" not in page.text
    assert f"Of {N} images the 4 that the model is surest of" in section(page, "class-1").text
    told = capsys.readouterr().out
    assert "they need not show the class" in told
    assert "4 images for 1 class\n" in told


def test_class_folders_are_labels(world, tmp_path):
    for cls, names in (("cat", ("00", "01")), ("dog", ("02", "03", "04"))):
        folder = tmp_path / "photos" / cls
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.png").write_bytes((world / "photos" / f"{name}.png").read_bytes())
    out = tmp_path / "cam.html"
    words = (
        f"explain {world}/run --images {tmp_path}/photos --workers 0 --out {out} --classes cat dog"
    )
    assert main(words.split()) == 0
    page = read(out.read_text())
    rows = [section(page, f"class-{number}").all("article") for number in (1, 2)]
    assert [len(each) for each in rows] == [2, 3]
    assert all("cat/" in row.text for row in rows[0])
    assert "images of the class" in section(page, "class-1").text


@pytest.mark.parametrize("resize", ["shorter", "square"])
def test_maps_lie_on_the_photo_at_its_own_resolution(tmp_path, resize):
    """Up to 1,024 pixels; only what the network saw is coloured: the middle, or the whole photo."""
    sizes = {"small.png": (300, 200), "large.png": (2048, 1024)}  # width, height
    (tmp_path / "photos").mkdir()
    for name, size in sizes.items():
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / "photos" / name)
    model = zoo.create("reteach_tiny", 2, seed=0)
    save_models(
        tmp_path / "run", {"model": Predictor((model,), "sigmoid")}, architecture="reteach_tiny",
        classes=("a", "b"), image_size=28, frames=None, prepare=Normalize((0.5,) * 3, (0.5,) * 3),
        threshold=None, method="asl", resize=resize,
    )  # fmt: skip
    page = explained(tmp_path, tmp_path / "cam.html", "--classes a --map gradient")
    rows = {row.all("b")[0].text: row.all("img") for row in section(page, "class-1").all("article")}
    for name, (width, height) in {"small.png": (300, 200), "large.png": (1024, 512)}.items():
        photo, look = (pixels(image.attributes["src"]).astype(int) for image in rows[name])
        assert photo.shape == look.shape == (height, width, 3)
        coloured = np.ptp(look, axis=-1) > 40  # the photo is grey, and JPEG is not exact
        share = 28 / 32 if resize == "shorter" else None
        top, left = (
            (0, 0) if share is None else (round((s - share * height) / 2) for s in (height, width))
        )
        inside = np.zeros((height, width), bool)
        inside[top : height - top, left : width - left] = True
        assert coloured[inside].mean() > 0.95
        assert coloured[~inside].sum() <= 0.02 * inside.sum()


@pytest.mark.parametrize("kind", ["gradient", "grad-cam"])
def test_other_maps(world, tmp_path, kind):
    page = explained(world, tmp_path / "cam.html", f"--classes dog --count 1 --map {kind}")
    assert len(section(page, "class-1").all("figure")) == 4


def test_a_network_with_class_tokens_shows_its_attention(world, tmp_path):
    models = [
        zoo.create(name, 4, seed=0, width=16, heads=2, **more)
        for name, more in (("resnet18_tf", {"depth": 1}), ("q2l_resnet18", {"hidden": 16}))
    ]
    with pytest.MonkeyPatch.context() as patch:  # narrow ones: their options are no defaults
        from reteach.runs import checkpoint as saved

        patch.setattr(saved, "_options", lambda model: options[id(model)])
        options = {
            id(models[0]): {"width": 16, "heads": 2, "depth": 1},
            id(models[1]): {"width": 16, "heads": 2, "hidden": 16},
        }
        save_models(
            tmp_path / "run",
            {"tf": Predictor((models[0],), "sigmoid"), "q2l": Predictor((models[1],), "sigmoid")},
            architecture="resnet18_tf",
            classes=CLASSES,
            image_size=64,
            frames=None,
            prepare=Normalize((0.5,) * 3, (0.5,) * 3),
            threshold=None,
            method="asl",
        )
    out = tmp_path / "cam.html"
    words = f"explain {tmp_path}/run --images {world}/photos --classes hat --count 2 --out {out}"
    assert main([*words.split(), "--workers", "0", "--map", "attention"]) == 0
    rows = section(read(out.read_text()), "class-1").all("article")
    assert [len(row.all("figure")) for row in rows] == [3, 3]


def test_hostile_names_are_text(tmp_path, world):
    model = zoo.create("reteach_tiny", 2, seed=0)
    classes = ("<b>", "x")
    predictor = Predictor((model,), "sigmoid")
    common = {"architecture": "reteach_tiny", "classes": classes, "image_size": 16, "frames": None,
              "prepare": Normalize((0.5,) * 3, (0.5,) * 3), "threshold": None, "method": "asl"}  # fmt: skip
    teacher = Specialist(predictor, classes)
    save_models(tmp_path / "run", {"model": predictor}, **common, specialists={"co-1": teacher})
    again = load_specialists(tmp_path / "run")
    assert again["co-1"].classes == classes
    assert load_models(tmp_path / "run").classes == classes
    out = tmp_path / "cam.html"
    words = f"explain {tmp_path}/run --images {world}/photos --workers 0 --out {out}"
    assert main([*words.split(), "--classes", "<b>"]) == 0
    assert "<b>" in read(out.read_text()).text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--classes cut", "knows no class 'cut'; did you mean cat?"),
        ("--classes cat --count 0", "--count must be at least 1"),
        ("--classes cat --batch-size 0", "--batch-size must be at least 1"),
        ("--classes cat --map attention", "has no class tokens: use gradient"),
        ("--classes cat --labels {w}/none.csv", "none.csv does not exist"),
        ("--classes cat --labels {w}/others.csv", "has no row for any of the images"),
        ("--classes cat --labels {w}/rare.csv", "no image has one of the classes"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(world, tmp_path, capsys, words, message):
    (world / "others.csv").write_text("item,labels\nelsewhere.png,cat\n")
    (world / "rare.csv").write_text("item,labels\n00.png,dog|tie\n")
    command = f"explain {world}/run --images {world}/photos --out {tmp_path}/cam.html"
    assert main([*command.split(), *words.format(w=world).split()]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "cam.html").exists()


def test_a_teacher_of_one_class_is_explained(world, tmp_path):
    """The class that stands alone in its subset has two teachers on its page like any other."""
    sides = {"co": [["cat"], ["dog", "hat", "tie"]], "dis": [["cat", "hat"], ["dog", "tie"]]}
    (tmp_path / "alone.json").write_text(json.dumps(sides))
    words = (
        f"train cpsd --images {world}/photos --labels {world}/tags.parquet --steps 8 --batch-size 8 "
        f"--partition {tmp_path}/alone.json --model reteach_tiny --image-size 16 --workers 0"
    )
    assert main([*words.split(), "--out", str(world / "alone"), "--device", "cpu"]) == 0
    page = explained(
        world, tmp_path / "cam.html", f"--classes cat --labels {world}/tags.parquet", run="alone"
    )
    titles = [b.text for b in section(page, "class-1").all("b")]
    assert {"co-1", "dis-1"} <= set(titles)
