"""The numbers of a run in MLflow: by a stand-in as strict about names, and by MLflow where installed."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from reteach.engine.log import Log
from reteach.engine.mlflow import Mlflow, metric_name
from reteach.errors import UserError
from reteach.metrics.registry import REGISTRY

NAME = re.compile(r"[\w\-./ :]*")  # mlflow.utils.validation, without the words around it


class Refused(Exception):
    pass


@dataclass
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@dataclass
class Param:
    key: str
    value: str


class Client:
    """As much of mlflow.MlflowClient as is called, kept for all clients of a test."""

    experiments: ClassVar[list[str]]
    runs: ClassVar[dict[str, dict[str, Any]]]

    def get_experiment_by_name(self, name: str) -> Any:
        if name not in self.experiments:
            return None
        return SimpleNamespace(experiment_id=str(self.experiments.index(name)))

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return str(len(self.experiments) - 1)

    def create_run(self, experiment: str, run_name: str) -> Any:
        run = f"run{len(self.runs)}"
        self.runs[run] = {
            "of": experiment,
            "name": run_name,
            "state": "RUNNING",
            "params": {},
            "metrics": defaultdict(list),
        }
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def get_run(self, run: str) -> None:
        if run not in self.runs:
            raise Refused(f"Run {run!r} not\nfound")

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        for metric in metrics:
            if not NAME.fullmatch(metric.key):
                raise Refused(f"Invalid metric name {metric.key!r}")
            self.runs[run]["metrics"][metric.key].append((metric.step, metric.value))
        for param in params:
            if not NAME.fullmatch(param.key):
                raise Refused(f"Invalid param name {param.key!r}")
            self.runs[run]["params"][param.key] = param.value

    def update_run(self, run: str, status: str) -> None:
        self.runs[run]["state"] = status


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    Client.experiments, Client.runs = [], {}
    fake = {
        "mlflow": {"MlflowClient": Client},
        "mlflow.entities": {"Metric": Metric, "Param": Param},
        "mlflow.exceptions": {"MlflowException": Refused},
    }
    for name, content in fake.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return Client


def write(sink: Mlflow, step: int, value: float) -> None:
    record = {"stage": "train", "data": "val", "predictor": "student", "step": step, "kind": "val"}
    Log(None, (sink,)).write({**record, "f1@tuned": value, "loss": float("nan")})


def test_mlflow_gets_the_numbers_the_settings_and_the_end(service, tmp_path):
    sink = Mlflow(
        "noisy photos", tmp_path, {"method": "mile", "training": {"lr": 0.1, "seed": None}}
    )
    write(sink, 7, 0.5)
    sink.told("finished")
    (run,) = service.runs.values()
    assert run["params"] == {"method": "mile", "training.lr": "0.1"}
    assert run["metrics"] == {"train/val/student/f1 at tuned": [(7, 0.5)]}
    assert (run["name"], run["state"], service.experiments) == (
        tmp_path.name,
        "FINISHED",
        ["noisy photos"],
    )


def test_a_resumed_run_goes_on_in_the_same_one_of_mlflow(service, tmp_path):
    write(Mlflow("photos", tmp_path, {}), 7, 0.5)
    write(Mlflow("photos", tmp_path, {}), 8, 0.75)
    (run,) = service.runs.values()
    assert run["metrics"]["train/val/student/f1 at tuned"] == [(7, 0.5), (8, 0.75)]
    service.runs.clear()
    with pytest.raises(UserError, match=r"--mlflow photos: Run 'run0' not found"):
        Mlflow("photos", tmp_path, {})


def test_no_two_metrics_have_one_name_in_mlflow():
    names = {metric_name(name) for name in REGISTRY}
    assert len(names) == len(REGISTRY)
    assert all(NAME.fullmatch(name) for name in names)


def test_without_mlflow_one_line_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install 'reteach\[mlflow\]'"):
        Mlflow("photos", tmp_path, {})


def test_the_real_one_keeps_them(monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # a database takes half a minute to set up
    write(Mlflow("photos", tmp_path, {"method": "mile"}), 7, 0.5)
    sink = Mlflow("photos", tmp_path, {})
    sink.told("interrupted")
    run = sink._client.get_run(sink._run)
    assert (run.info.status, run.data.params) == ("KILLED", {"method": "mile"})
    (point,) = sink._client.get_metric_history(sink._run, "train/val/student/f1 at tuned")
    assert (point.step, point.value) == (7, 0.5)
