"""``reteach score``: shards against a slow oracle, resumed after kills, on Ray, and with broken input."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from reteach.cli import main
from reteach.data.sources.base import open_source
from reteach.errors import UserError
from reteach.options.scale import ScoreOptions
from reteach.relabel.selection.score_shards import open_shards
from reteach.runs.checkpoint import load_models
from reteach.scores.table import open_scores
from reteach.scoring.score import Total, _follow
from reteach.scoring.scorer import Again, ScoringReport, Step
from reteach.unreadable import beside
from tests.commands.test_train import photo
from words import override

NAMES = ("dark", "grey", "light")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """web/ with 40 images of which two are broken; shards/ with 8 tars of 5 images; two runs."""
    root = tmp_path_factory.mktemp("score")
    lines = ["item,labels"]
    for i in range(24):
        photo(root / "labelled" / f"{i:02}.png", 70 * (i % 3), i)
        lines.append(f"{i:02}.png,{NAMES[i % 3]}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    for i in range(40):
        photo(root / "web" / f"{i:02}.jpg", 70 * (i % 3), 100 + i)
    for number in range(8):
        tar(
            root / "shards" / f"{number:03}.tar",
            [root / "web" / f"{5 * number + k:02}.jpg" for k in range(5)],
        )
    (root / "web" / "17.jpg").write_bytes(b"no image")
    (root / "web" / "18.jpg").write_bytes((root / "web" / "18.jpg").read_bytes()[:300])
    for seed in ("0", "1"):
        words = [
            "train",
            "softmax",
            "--images",
            f"{root}/labelled",
            "--labels",
            f"{root}/labels.csv",
        ]
        words += [
            "--model",
            "reteach_tiny",
            "--image-size",
            "16",
            "--workers",
            "0",
            "--device",
            "cpu",
        ]
        words += [
            "--steps",
            "12",
            "--batch-size",
            "8",
            "--seed",
            seed,
            "--out",
            f"{root}/run{seed}",
        ]
        assert main(words) == 0
    return root


def tar(path: Path, files: list[Path], prefix: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as out:
        for file in files:
            info = tarfile.TarInfo(prefix + file.name)
            content = file.read_bytes()
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))


def command(world: Path, images: str, out: Path, *more: str) -> list[str]:
    given = ["score", f"{world}/run0", "--images", f"{world}/{images}", "--out", str(out)]
    usual = ["--top", "2", "--workers", "0", "--batch-size", "4", "--device", "cpu"]
    return override(*given, *usual, *more)


def shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


SHARDS = "shards/{000..007}.tar"


@pytest.fixture(scope="module")
def whole(world: Path) -> dict[str, bytes]:
    """The shards of a job that nobody stopped."""
    assert main(command(world, SHARDS, world / "whole")) == 0
    return shards(world / "whole")


def oracle(world: Path) -> list[tuple[str, int, float, float]]:
    """Item, class, score and logit of the two best classes, image by image in plain loops."""
    saved = load_models(world / "run0", "cpu")
    out = []
    source = open_source(world / SHARDS)
    for row, item in enumerate(source.items):
        small = torch.from_numpy(source.read(row)).permute(2, 0, 1)
        from reteach.data.loading.augment import Eval

        x = saved.prepare(Eval(16)(small, 0)[None])
        logits = saved.predictor.logits(x)[0].double().tolist()
        weights = [np.exp(v - max(logits)) for v in logits]
        ranked = sorted(range(3), key=lambda c: (-logits[c], c))[:2]
        out += [(item, c, weights[c] / sum(weights), logits[c]) for c in ranked]
    return out


def test_shards_are_what_the_model_says(world, whole, tmp_path):
    table = open_scores(world / "whole")
    assert table.classes == NAMES
    assert len(table.files) == 8
    rows = [row for file in table.files for row in pq.read_table(file).to_pylist()]
    wanted = oracle(world)
    assert [(r["item"], r["class"]) for r in rows] == [(i, c) for i, c, _, _ in wanted]
    np.testing.assert_allclose([r["score"] for r in rows], [s for _, _, s, _ in wanted], atol=1e-6)
    np.testing.assert_allclose([r["logit"] for r in rows], [z for _, _, _, z in wanted], atol=1e-5)
    pytest.importorskip("duckdb")
    out = tmp_path / "picks.parquet"
    assert (
        main(["select", f"{world}/whole", "--per-class", "4", "--top", "2", "--out", str(out)]) == 0
    )
    meta = {k.decode(): v.decode() for k, v in pq.read_schema(out).metadata.items()}
    assert meta["reteach.teacher"].startswith("model ")
    assert pq.read_schema(world / "whole" / "000.parquet").metadata[b"reteach.top"] == b"2"


@pytest.mark.parametrize("more", [["--workers", "2"], ["--batch-size", "4"]])
def test_the_bytes_do_not_depend_on_the_workers(world, whole, tmp_path, more):
    assert main(command(world, SHARDS, tmp_path, *more)) == 0
    assert shards(tmp_path) == whole


def test_a_folder_goes_in_blocks_and_broken_images_are_named(world, tmp_path, capsys):
    assert main(command(world, "web", tmp_path, "--block", "16")) == 0
    assert sorted(shards(tmp_path)) == [f"part-{n:06}.parquet" for n in range(3)]
    items = [
        r["item"] for f in sorted(tmp_path.glob("*.parquet")) for r in pq.read_table(f).to_pylist()
    ]
    assert sorted(set(items)) == sorted({f"{i:02}.jpg" for i in range(40)} - {"17.jpg", "18.jpg"})
    assert len(items) == 2 * 38
    said = capsys.readouterr()
    assert "38 images scored" in said.out
    assert "2 could not be read" in said.err
    unreadable = beside(tmp_path).read_text()
    assert unreadable.splitlines()[1].startswith("17.jpg,")
    assert main(command(world, "web", tmp_path, "--block", "16")) == 0
    assert beside(tmp_path).read_text() == unreadable, "also when nothing is left to do"


def test_fewer_classes_than_ten_are_all_kept_by_default(world, tmp_path):
    words = command(world, "web", tmp_path / "s", "--block", "16")
    at = words.index("--top")
    del words[at : at + 2]
    assert main(words) == 0
    file = sorted((tmp_path / "s").glob("*.parquet"))[0]
    assert pq.read_schema(file).metadata[b"reteach.top"] == b"3"
    rows = pq.read_table(file).to_pylist()
    assert len(rows) == 3 * len({row["item"] for row in rows})


def test_predict_and_score_agree(world, tmp_path):
    assert main(command(world, "web", tmp_path / "s", "--block", "16")) == 0
    words = [
        "predict",
        f"{world}/run0",
        "--images",
        f"{world}/web",
        "--out",
        f"{tmp_path}/l.parquet",
    ]
    words += [
        "--scores",
        f"{tmp_path}/p.parquet",
        "--top",
        "2",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    assert main(words) == 0
    a = pq.read_table(tmp_path / "p.parquet").to_pandas().set_index(["item", "class"])["score"]
    files = sorted((tmp_path / "s").glob("*.parquet"))
    rows = [r for f in files for r in pq.read_table(f).to_pylist()]
    assert len(a) == len(rows)
    for row in rows:
        assert a[row["item"], row["class"]] == pytest.approx(row["score"], abs=1e-5)


def test_kill_minus_nine_and_go_on(world, whole, tmp_path):
    """No shard twice, none missing, none different."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    slow = (
        "import sys, time\n"
        "from reteach.scoring import scorer\n"
        "whole = scorer.Scorer._write\n"
        "def write(self, *given):\n"
        "    whole(self, *given)\n"
        "    time.sleep(0.3)\n"
        "scorer.Scorer._write = write\n"
        "from reteach.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *command(world, SHARDS, out)], env=environment
    )
    while len(shards(out)) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen = {file.name: file.stat().st_mtime_ns for file in out.glob("*.parquet")}
    assert 3 <= len(seen) < 8
    for reads in (open_shards, open_scores):
        with pytest.raises(
            UserError, match="does not hold all scores yet: run the same reteach sc"
        ):
            reads(out)
    half = out / ".007.parquet.elsewhere-99-a1b2.part"  # of another machine, long ago
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    assert main(command(world, SHARDS, out)) == 0
    assert shards(out) == whole
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in seen.items())
    assert not [*out.glob(".*"), *out.glob("_*")]


def test_unreadable_shards_are_named_and_the_rest_goes_on(world, tmp_path, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    for number in range(4):
        source = world / "shards" / f"{number:03}.tar"
        (bad / source.name).write_bytes(source.read_bytes())
    (bad / "001.tar").write_bytes(b"not a tar at all" * 100)
    content = (bad / "002.tar").read_bytes()
    (bad / "002.tar").write_bytes(content[: len(content) // 2])
    words = command(world, "", tmp_path / "out")
    words[words.index("--images") + 1] = f"{bad}/{{000..004}}.tar"
    assert main(words) == 0
    said = capsys.readouterr()
    assert "3 of 5 shards are there" in said.out
    assert "warning: 001 cannot be read: " in said.err
    assert "warning: 004 cannot be read: " in said.err
    lost = (tmp_path / "out.quarantine.csv").read_text()
    assert "truncated in member" in lost
    assert len(lost.splitlines()) == 4
    assert sorted(shards(tmp_path / "out")) == ["000.parquet", "002.parquet", "003.parquet"]
    (bad / "001.tar").write_bytes((world / "shards" / "001.tar").read_bytes())
    assert main(words) == 0
    assert "001.parquet" in shards(tmp_path / "out"), "what was mended is scored the next time"
    words[words.index("--images") + 1] = f"{bad}/004.tar"
    words[words.index("--out") + 1] = f"{tmp_path}/none"
    assert main(words) == 2
    assert "none of the 1 shards can be read, first: 004: " in capsys.readouterr().err


def test_shards_that_count_from_zero_are_told_apart(world, tmp_path):
    for number in range(3):
        files = [world / "web" / f"{k:02}.jpg" for k in range(3)]
        tar(tmp_path / "in" / f"a{number}.tar", files)
    words = command(world, "", tmp_path / "out")
    words[words.index("--images") + 1] = f"{tmp_path}/in/a*.tar"
    assert main(words) == 0
    items = {
        r["item"]
        for f in (tmp_path / "out").glob("*.parquet")
        for r in pq.read_table(f).to_pylist()
    }
    assert items == set(open_source(f"{tmp_path}/in/a*.tar").items)
    assert items == {f"a{n}/{k:02}" for n in range(3) for k in range(3)}


def test_later_shards_that_repeat_keys_are_told_apart(world, tmp_path, capsys):
    """The first two shards share no key, the others do: each image keeps a name of its own."""
    for number, first in enumerate((0, 3, 0, 3, 0)):
        files = [world / "web" / f"{first + k:02}.jpg" for k in range(3)]
        tar(tmp_path / "in" / f"a{number}.tar", files)
    words = command(world, "", tmp_path / "out")
    words[words.index("--images") + 1] = f"{tmp_path}/in/a*.tar"
    assert main(words) == 0
    assert "15 images scored" in capsys.readouterr().out
    items = [r["item"] for f in shards(tmp_path / "out") for r in rows_of(tmp_path / "out" / f)]
    assert len(set(items)) == 15
    assert set(items) == set(open_source(f"{tmp_path}/in/a*.tar").items)
    one = command(world, "", tmp_path / "one")
    one[one.index("--images") + 1] = f"{tmp_path}/in/a2.tar"
    assert main(one) == 0
    alone = {r["item"] for r in rows_of(tmp_path / "one" / "a2.parquet")}
    assert alone == set(open_source(f"{tmp_path}/in/a2.tar").items)
    assert alone <= set(items), "an image is called the same, whatever is scored with it"


def rows_of(file: Path) -> list[dict[str, Any]]:
    return pq.read_table(file).to_pylist()


def smooth(seed: int) -> Image.Image:
    """A picture unlike any other."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC)


def test_the_recipe_of_scale_picks_no_test_image(world, tmp_path, capsys):
    """docs/scale.md: score all shards, dedup each against the test images, select with all lists."""
    pytest.importorskip("duckdb")
    (tmp_path / "test").mkdir()
    (tmp_path / "all").mkdir()
    for number in range(10):
        smooth(number).save(tmp_path / "test" / f"{number}.png")
    planted = set()
    for shard in range(3):
        files = []
        for k in range(10):
            file = tmp_path / "all" / f"{shard}-{k}.jpg"
            smooth(1000 + 10 * shard + k).save(file)
            if k < 3 + (shard == 0):  # ten in all: another encoding of a test image
                smooth(3 * shard + (shard > 0) + k).save(file, quality=60)
                planted.add(f"z-{shard:03}/{k:06}")
            files.append(file)
        named(tmp_path / "web" / f"z-{shard:03}.tar", files)
    assert len(planted) == 10
    web = f"{tmp_path}/web/z-{{000..002}}.tar"
    words = command(world, "", tmp_path / "scores")
    words[words.index("--images") + 1] = web
    assert main(words) == 0
    lists = [str(tmp_path / f"drop-{shard}.txt") for shard in range(3)]
    for shard in range(3):
        given = ["--images", f"{tmp_path}/web/z-{shard:03}.tar", "--against", f"{tmp_path}/test"]
        given += ["--within", "0.1", "--exclude", lists[shard], "--workers", "0"]
        assert main(["dedup", *given, "--out", f"{tmp_path}/pairs-{shard}.parquet"]) == 0
    select = ["select", f"{tmp_path}/scores", "--per-class", "40", "--part", "--out"]
    assert main([*select, f"{tmp_path}/all.parquet"]) == 0
    picked = {row["item"] for row in rows_of(tmp_path / "all.parquet")}
    assert planted <= picked, "else the rest shows nothing"
    capsys.readouterr()
    assert main([*select, f"{tmp_path}/picks.parquet", "--exclude", *lists]) == 0
    said = capsys.readouterr().out
    assert f"excluded: {lists[0]}: 4 of its 4 items are in the scores" in said
    picked = {row["item"] for row in rows_of(tmp_path / "picks.parquet")}
    assert not picked & planted
    assert len(picked) == 20
    known = set(open_source(web).items)
    assert picked | planted == known, "and training finds them under these names"


def named(path: Path, files: list[Path]) -> None:
    """A tar whose keys count from zero."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as out:
        for number, file in enumerate(files):
            out.add(file, f"{number:06}{file.suffix}")


def test_images_count_once_however_often_their_worker_dies():
    """3,344 of 3,000 images were scored, by the log, after one had been killed."""
    events = [Step(0, 5, 0.5), Step(1, 4, 0.4), Again(0), Step(0, 5, 0.5), Step(1, 6, 0.6)]
    events += [ScoringReport(1), Step(0, 5, 0.5), ScoringReport(0)]
    events += [
        Step(2, 3, 0.3),
        Again(2),
        Step(2, 7, 0.7),
        ScoringReport(2, failed="it kills its worker"),
    ]
    total, seen = Total(3), []
    parts = SimpleNamespace(names=["a", "b", "c"], sizes=[1, 1, 1])
    _follow(events, parts, total, lambda done, words="": seen.append(done))
    assert total.images == 20
    assert total.failed == [("c", "it kills its worker")]
    assert max(seen) <= 3


@pytest.mark.parametrize("out", ["ftp://host/scores", "https://host/x", "hdfs://host:9/x"])
def test_an_address_is_no_folder(world, tmp_path, capsys, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    words = command(world, SHARDS, Path("x"))
    words[words.index("--out") + 1] = out
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"reteach: --out {out}: files are read and written on local")
    assert main(["select", "scores", "--per-class", "1", "--exclude", "a.txt", f"{out}.txt"]) == 2
    assert f"--exclude {out}.txt: files are" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="--out ftp://host/x: files are"):
        ScoreOptions(Path("run"), "images", Path("ftp://host/x"))


def test_shards_of_another_job_are_refused(world, whole, tmp_path, capsys):
    def refused(*words: str) -> str:
        assert main([*words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("use another --out")
        return line

    out = world / "whole"
    other = command(world, SHARDS, out)
    other[1] = f"{world}/run1"
    assert "was made by another model: model " in refused(*other)
    words = command(world, SHARDS, out)
    words[words.index("--top") + 1] = "3"
    assert "with another --top: 2 there, 3 now" in refused(*words)
    assert "000.parquet was made by another model" in refused(
        *command(world, SHARDS, out, "--precision", "bf16")
    )
    assert "is of no part of" in refused(*command(world, "shards/{000..006}.tar", out))
    (tmp_path / "shards").mkdir()
    for file in (world / "shards").glob("*.tar"):
        (tmp_path / "shards" / file.name).write_bytes(file.read_bytes())
    words = command(world, SHARDS, out)
    words[words.index("--images") + 1] = f"{tmp_path}/{SHARDS}"
    assert "was made from other images" in refused(*words)
    assert shards(out) == whole
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "000.parquet").write_bytes(b"damaged")
    assert main(command(world, SHARDS, foreign)) == 0
    assert "not a readable Parquet file" in (said := capsys.readouterr().err)
    assert "made anew" in said
    assert shards(foreign) == whole


def test_images_that_were_added_are_noticed(world, tmp_path, capsys):
    for i in range(20):
        photo(tmp_path / "in" / f"{i:02}.png", 70, i)
    words = command(world, "", tmp_path / "out", "--block", "8")
    words[words.index("--images") + 1] = f"{tmp_path}/in"
    assert main(words) == 0
    photo(tmp_path / "in" / "00b.png", 70, 99)
    assert main(words) == 2
    assert "made from other images: 8 images " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--top", "0"], "--top must be at least 1, got 0"),
        (["--top", "4"], "--top 4: the model has only 3 classes"),
        (["--block", "0"], "--block must be at least 1, got 0"),
        (["--scorers", "2"], "--scorers has no effect without --ray"),
        (["--predictor", "modle"], "the run has no model 'modle'; did you mean model?"),
        (["--images", "missing/{0..3}.tar"], "none of the 4 shards can be read"),
        (["--images", "missing"], "missing does not exist"),
    ],
)
def test_faults_are_one_line(world, tmp_path, capsys, more, words):
    assert main(command(world, SHARDS, tmp_path / "out", *more)) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("reteach:")]
    assert words in line


def test_scores_that_are_not_finite_are_refused(world, tmp_path, monkeypatch, capsys):
    from reteach.scoring import scorer

    monkeypatch.setattr(
        scorer,
        "top_classes",
        lambda predictor, top: lambda x: torch.full((len(x), top, 3), torch.nan),
    )
    assert main(command(world, SHARDS, tmp_path)) == 2
    assert "scores that are not finite numbers for '000/00'" in capsys.readouterr().err
    assert not shards(tmp_path)


def _ray_workers() -> list[int]:
    """Processes of Ray that score, by their names."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"ray::MapWorker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_two_workers_on_ray_and_a_killed_one_change_nothing(world, whole, tmp_path, capsys):
    pytest.importorskip("ray")
    words = [*command(world, SHARDS, tmp_path / "out"), "--ray", "local", "--scorers", "2"]
    before = set(_ray_workers())
    killed: list[int] = []

    def kill() -> None:
        while not killed and not done.is_set():
            if shards(tmp_path / "out"):
                for process in set(_ray_workers()) - before:
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
                    break
            time.sleep(0.01)

    done = threading.Event()
    hunter = threading.Thread(target=kill)
    hunter.start()
    try:
        assert main(words) == 0
    finally:
        done.set()
        hunter.join()
    assert killed, "the job was over too soon"
    assert shards(tmp_path / "out") == whole
    assert "40 images scored" in capsys.readouterr().out


class FakePool:
    """A pool without processes: in each round some parts are lost with their worker."""

    count = 2

    def __init__(self, lost: list[set[int]]) -> None:
        self.lost = lost
        self.rounds: list[tuple[list[int], int]] = []

    def reports(self, numbers: list[int], size: int) -> Any:
        gone = self.lost[len(self.rounds)]
        self.rounds.append((list(numbers), size))
        for number in reversed(numbers):
            if number not in gone:
                yield ScoringReport(number, images=5)


def test_parts_of_lost_workers_go_out_one_by_one_and_the_guilty_one_is_named() -> None:
    """The others are not held up by it, and each is told of once."""
    from reteach.scoring import ray

    pool = FakePool([{3, 4, 5}, {4, 5}, {5}])
    numbers = list(range(20))
    told = list(ray._rounds(pool, numbers))
    done = [event for event in told if isinstance(event, ScoringReport)]
    assert sorted(event.part for event in done) == numbers, "each once"
    assert [event.part for event in done if event.failed] == [5]
    assert "killed its worker 3 times" in done[-1].failed
    assert [event.part for event in told if isinstance(event, Again)] == [3, 4, 5, 4, 5]
    assert not any(isinstance(event, Step) for event in told)
    assert pool.rounds == [(numbers, 2), ([3, 4, 5], 1), ([4, 5], 1)]


@dataclass
class Told:
    """What a worker is told: nothing of paths."""


def test_an_error_in_a_worker_ends_the_job_and_is_no_lost_part() -> None:
    from reteach.scoring.ray import _report, _Worker

    class Wrong:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def score(self, numbers: list[int]) -> Any:
            yield ScoringReport(7, unreadable=(("a", "torn"),))
            raise self.error

    def refuses(task: Any) -> Any:
        raise UserError("no such run")

    def rows(of: Any) -> list[Any]:
        return [{"said": row["said"][0]} for row in _Worker(of, Told())({"item": np.array([7])})]

    first, second = rows(lambda task: Wrong(UserError("disk full")))
    assert _report(first) == ScoringReport(7, unreadable=(("a", "torn"),))
    with pytest.raises(UserError, match=r"^disk full$"):
        _report(second)
    with pytest.raises(RuntimeError, match=r"(?s)a worker has failed:.*ValueError: odd"):
        _report(rows(lambda task: Wrong(ValueError("odd")))[1])
    with pytest.raises(UserError, match=r"^no such run$"):
        _report(rows(refuses)[0])


def test_a_gpu_gets_all_cores_that_go_with_it() -> None:
    from reteach.scoring.ray import _cores_of_a_gpu, decoders_beside

    nodes = [
        {"Alive": True, "Resources": {"CPU": 96.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 40.0, "GPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 4.0}},
    ]
    assert _cores_of_a_gpu(nodes) == 10
    assert decoders_beside(10, True) == 9
    assert decoders_beside(1, True) == 1
    assert decoders_beside(64, True) == 16
    assert decoders_beside(8, False) == 1


def test_a_worker_tells_of_parts_alone() -> None:
    """Not of each batch: a driver of hundreds of GPUs would do nothing else than listen."""
    from reteach.scoring.ray import _Worker

    class Three:
        def score(self, numbers: list[int]) -> Any:
            for number in numbers:
                yield Step(number, 3, 0.5)
                yield Step(number, 2, 0.5)
                yield ScoringReport(number, failed="torn" if number == 1 else "")

    told = list(_Worker(lambda task: Three(), Told()).reports([0, 1, 2]))
    assert [(one.part, one.images, one.failed) for one in told] == [
        (0, 5, ""),
        (1, 0, "torn"),
        (2, 5, ""),
    ]
    total = Total(3)
    _follow(told, SimpleNamespace(names=["a", "b", "c"], sizes=[5, 5, 5]), total, lambda *_: None)  # type: ignore[arg-type]
    assert (total.images, total.failed) == (10, [("b", "torn")])


def test_channels_last_and_compiled_scores_are_those_of_the_model(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def compile(model: Any) -> Any:
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile)
    plain = command(world, SHARDS, tmp_path / "plain")
    other = command(world, SHARDS, tmp_path / "other", "--channels-last", "--compile")
    seen: list[bool] = []
    from reteach.engine.learner import Predictor

    outputs = Predictor.outputs

    def look(self: Predictor, x: torch.Tensor) -> torch.Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous())
        return outputs(self, x)

    monkeypatch.setattr(Predictor, "outputs", look)
    assert main(plain) == 0
    assert not any(seen)
    seen.clear()
    assert main(other) == 0
    assert all(seen)
    assert len(compiled) == 1
    rows = [
        [row for file in sorted((tmp_path / f).glob("*.parquet")) for row in rows_of(file)]
        for f in ("plain", "other")
    ]
    assert [r["item"] for r in rows[0]] == [r["item"] for r in rows[1]]
    np.testing.assert_allclose(*([r["logit"] for r in some] for some in rows), atol=1e-4)
    words = override(*plain, "--out", str(tmp_path / "other"))
    assert main(words) == 2
    assert "channels-last compiled there" in capsys.readouterr().err

    def broken(x: Any) -> Any:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(Predictor, "outputs", lambda self, x: broken(x))
    assert main(override(*other, "--out", str(tmp_path / "third"))) == 2
    assert (
        "--compile does not work for this network here (RuntimeError: no C"
        in capsys.readouterr().err
    )


def test_ray_faults_are_one_line(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*command(world, SHARDS, tmp_path), "--ray", "local"]) == 2
    assert "pip install 'reteach[ray]'" in capsys.readouterr().err


def test_large_photos_get_the_same_scores_from_predict(world: Path, tmp_path: Path) -> None:
    """Both decode them at reduced size, as training does; at full size these scores would differ."""
    rng = np.random.default_rng(0)
    (tmp_path / "large").mkdir()
    for i in range(3):
        noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "large" / f"{i}.jpg", quality=95)
    images = f"{tmp_path}/large"
    few = ["--images", images, "--workers", "0", "--device", "cpu", "--top", "3"]
    assert main(["score", f"{world}/run0", *few, "--out", f"{tmp_path}/scores"]) == 0
    table = f"{tmp_path}/predicted.parquet"
    out = ["--out", f"{tmp_path}/labels.csv", "--scores", table]
    assert main(["predict", f"{world}/run0", *few, *out]) == 0
    (shard,) = (tmp_path / "scores").glob("*.parquet")
    kept = [pq.read_table(path).to_pylist() for path in (shard, table)]
    of = [{(row["item"], row["class"]): row["logit"] for row in rows} for rows in kept]
    assert len(of[0]) == 9
    assert of[0].keys() == of[1].keys()
    assert [of[0][key] for key in of[0]] == pytest.approx([of[1][key] for key in of[0]], abs=1e-5)
