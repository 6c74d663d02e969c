"""The numbers of a run in MLflow, as one run of it, however often ours is resumed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from ..errors import UserError, missing_extra
from ..files import atomic_write
from .log import Record, scalars

STATES = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED"}
"""Of our runs, in MLflow's words; any other is FAILED."""


@final
class Mlflow:
    """A sink; where the numbers go is MLflow's own ``MLFLOW_TRACKING_URI``, by default beside you.

    Args:
        experiment: its name; made where it is not there.
        folder: of the run; keeps in ``mlflow.txt`` which of MLflow's runs is its own.
        config: nested settings, which become parameters (``training.lr``).

    Raises:
        UserError: MLflow is missing, or refuses.
    """

    def __init__(self, experiment: str, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric
        except ImportError:
            raise missing_extra("--mlflow", "mlflow", "mlflow") from None
        self._experiment = experiment
        self._metric = Metric
        kept = folder / "mlflow.txt"
        with self._asking():
            self._client = MlflowClient()
            if kept.exists():
                self._run: str = kept.read_text(encoding="utf-8").strip()
                self._client.get_run(self._run)
            else:
                self._run = self._begin(folder.name, config)
                atomic_write(kept, self._run + "\n")

    def __call__(self, record: Record) -> None:
        now = int(time.time() * 1000)
        with self._asking():
            self._client.log_batch(
                self._run,
                metrics=[
                    self._metric(metric_name(name), value, now, record["step"])
                    for name, value in scalars(record)
                ],
            )

    def told(self, state: str) -> None:
        """The run has come to this state (``finished``, ``failed`` …)."""
        with self._asking():
            self._client.update_run(self._run, status=STATES.get(state, "FAILED"))

    def _begin(self, name: str, config: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(self._experiment)
        where = found.experiment_id if found else self._client.create_experiment(self._experiment)
        run: str = self._client.create_run(where, run_name=name).info.run_id
        self._client.log_batch(run, params=[Param(key, value) for key, value in flat(config)])
        return run

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise UserError(
                f"--mlflow {self._experiment}: {' '.join(str(error).split())}"
            ) from None


def flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (``group.name``, text); what is not set is left out."""
    found: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{prefix}{name}.")
        elif value is not None:
            found.append((prefix + name, str(value)))
    return found


def metric_name(name: str) -> str:
    """Ours in the letters that MLflow takes: ``f1@tuned`` is ``f1 at tuned``."""
    return re.sub(r"[^\w\-./ ]", "_", name.replace("@", " at "))
