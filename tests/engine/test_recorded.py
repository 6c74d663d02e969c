"""Recorded names: a rename in Python changes nothing that is written, and a resumed run goes on exactly."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import pytest
from torch import nn

import reteach
import toys
from reteach.data.loading.batch import Batch
from reteach.data.loading.samplers import Sampler
from reteach.data.loading.stream import Stream
from reteach.engine.algorithm import Algorithm
from reteach.engine.fingerprint import describe
from reteach.engine.learner import Learner, Predictor
from reteach.engine.run import Run
from reteach.errors import Refused
from reteach.losses.standard import softmax_xent
from reteach.methods.distill import exceeding
from reteach.methods.supervised import Supervised
from reteach.models.heads import Headed
from reteach.options.methods import METHODS
from reteach.recorded import NAMES, Recorded, recorded, recorded_name

GOLDEN = Path(__file__).with_name("recorded_names.txt")
ADVICE = f"""
What run folders record has changed, so that folders begun before cannot be resumed.
* A renamed class or function: give it the name that it was recorded by, @recorded("…").
* A renamed field: @recorded("…", fields={{"present name": "recorded name"}}).
* Something new, or a change that is meant: this writes {GOLDEN.name} anew:
  PYTHONPATH=src:tests/helpers python tests/engine/test_recorded.py"""


def everything() -> dict[Any, Recorded]:
    """All that the package gives a recorded name."""
    root = Path(reteach.__file__).parent
    for file in root.rglob("*.py"):
        if "@recorded(" in file.read_text() and file.stem != "recorded":
            importlib.import_module(
                ".".join(["reteach", *file.relative_to(root).with_suffix("").parts])
            )
    return {
        t: r for t, r in NAMES.items() if t.__module__ is None or t.__module__.startswith("reteach")
    }


def as_recorded() -> Iterator[str]:
    """Each name with its fields; each path in the contract table's records, with the name there."""
    found = everything()
    for thing, how in sorted(found.items(), key=lambda pair: pair[1].name):
        names = [f.name for f in fields(thing)] if is_dataclass(thing) else []
        kept = [how.field(n) for n in names if n not in how.free and not n.startswith("_")]
        yield " ".join([f"{how.name}:", *kept])
    names, paths = {how.name for how in found.values()}, set[str]()
    for method, make in toys.ALGORITHMS.items():
        stream = toys.STREAMS.get(method, toys.stream)()
        for path, value in (describe(make(), "algorithm") | describe(stream, "stream")).items():
            paths.add(f"{path} {value}" if value in names else path)
    yield from ["", *sorted(paths)]


def test_what_is_recorded_is_what_was_recorded():
    assert "\n".join(as_recorded()) + "\n" == GOLDEN.read_text(), ADVICE


def test_every_class_that_can_be_recorded_has_a_name():
    """Of those that stand in the contract table a record itself would complain."""
    everything()

    def of(base: type) -> Iterator[type]:
        for child in base.__subclasses__():
            yield child
            yield from of(child)

    classes = [c for base in (Algorithm, Sampler, Headed) for c in of(base)]
    classes += [method.settings for method in METHODS.values()]
    ours = [c for c in classes if c.__module__.startswith("reteach.") and not c.__subclasses__()]
    assert len(ours) > 30
    assert [c for c in ours if c not in NAMES] == []


def test_a_forgotten_name_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.delitem(NAMES, Supervised)
    with pytest.raises(TypeError, match=r'methods\.supervised\.Supervised .* @recorded\("…"\)'):
        describe(toys.ALGORITHMS["softmax"](), "algorithm")
    monkeypatch.delitem(NAMES, softmax_xent)
    with pytest.raises(TypeError, match="softmax_xent"):
        describe({"loss": softmax_xent})


def test_two_things_cannot_have_one_name():
    with pytest.raises(ValueError, match="both recorded as 'mile'"):
        recorded("mile")(recorded_name)


def test_other_packages_keep_their_own_names():
    def mine() -> None:
        pass

    assert recorded_name(nn.Linear) == "Linear"
    assert recorded_name(mine).endswith("mine")


def test_the_argument_of_a_partial_is_recorded():
    a, b = (describe(partial(exceeding, rho=rho), "of") for rho in (0.25, 0.5))
    assert a == {"of": "exceeding", "of.rho": "0.25"}
    assert b == {"of": "exceeding", "of.rho": "0.5"}
    assert describe(partial(exceeding, 7), "of") == {"of": "exceeding", "of.0": "7"}


@final
@dataclass(eq=False)
class Before(Algorithm):
    learner: Learner
    loss: Any
    device: str = "here"

    def step(self, batch: Batch) -> dict[str, Any]:
        loss = batch.mean(self.loss(self.learner(batch.x), batch.y))
        self.learner.update(loss, batch)
        return {"loss": loss.detach()}

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("softmax")}


@final
@dataclass(eq=False)
class After(Algorithm):
    criterion: Any
    student: Learner
    place: str = "there"

    def step(self, batch: Batch) -> dict[str, Any]:
        loss = batch.mean(self.criterion(self.student(batch.x), batch.y))
        self.student.update(loss, batch)
        return {"loss": loss.detach()}

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.student.predictor("softmax")}


def test_a_renamed_class_with_renamed_fields_resumes_exactly(tmp_path, monkeypatch):
    def trained(folder: Path | None, make: Callable[[], Algorithm], steps: int) -> Any:
        run = Run(folder, seed=3, quiet=True, snapshot_seconds=0)
        return toys.weights(run.train("train", make(), toys.stream(), steps=steps))

    def stops(self: Stream, start: int, stop: int) -> Iterator[Batch]:
        yield from whole(self, start, 5)
        raise MemoryError

    def before() -> Algorithm:
        return Before(toys.learner(), softmax_xent)

    def after() -> Algorithm:
        return After(softmax_xent, toys.learner())

    whole, count = Stream.batches, len(NAMES)
    with monkeypatch.context() as patch:
        patch.setitem(NAMES, Before, Recorded("toy", {}, frozenset({"device"})))
        patch.setattr(Stream, "batches", stops)
        with pytest.raises(MemoryError):
            trained(tmp_path, before, 9)
    assert Run(tmp_path).trained("train") > 0
    with monkeypatch.context() as patch:
        renamed = {"student": "learner", "criterion": "loss", "place": "device"}
        patch.setitem(NAMES, After, Recorded("toy", renamed, frozenset({"place"})))
        found = trained(tmp_path, after, 9)
        assert found.keys() == trained(None, after, 9).keys()
        assert toys.same(found, trained(None, after, 9))
    assert len(NAMES) == count
    with pytest.raises(Refused):
        trained(tmp_path, after, 9)  # without its recorded name


@pytest.mark.parametrize("version", [None, "99"])
def test_a_stage_of_another_format_is_refused_in_one_line(tmp_path, version):
    def train() -> None:
        algorithm = toys.ALGORITHMS["softmax"]()
        Run(tmp_path, quiet=True).train("train", algorithm, toys.stream(), steps=2)

    train()
    file = tmp_path / "stages/train/record.json"
    record = json.loads(file.read_text())
    del record["format"]
    file.write_text(json.dumps(record if version is None else record | {"format": version}))
    whose = "an earlier" if version is None else "another"
    with pytest.raises(Refused, match=f"begun by {whose} version .* use another --out") as caught:
        train()
    assert "\n" not in str(caught.value)


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(as_recorded()) + "\n")
