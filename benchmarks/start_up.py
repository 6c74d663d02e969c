"""How long a command or an import takes to be there, and how much memory it holds then.

Processor seconds of a whole process, Python's own start included.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.house import ONE_THREAD, Contender, Contest

_PEAK = (
    "\nhigh = [l for l in open('/proc/self/status') if l.startswith('VmHWM')][0].split()[1]"
    "\nimport sys; sys.__stderr__.write('\\n' + high)"
)


def started(code: str) -> Contender:
    """A process that runs some code and ends."""
    environment = os.environ | ONE_THREAD

    def run(number: int) -> dict[str, float]:
        process = subprocess.Popen(
            [sys.executable, "-c", code + _PEAK],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0, said
        return {"s": used.ru_utime + used.ru_stime, "MB": int(said.split()[-1]) / 1024}

    return run


def peer(code: str, package: str | None = None) -> Contender:
    """The same of a package.

    Raises:
        ImportError: it is not installed.
    """
    if package is not None and find_spec(package) is None:
        raise ImportError(name=package)
    return started(code)


def _command(words: str) -> str:
    return (
        "from reteach.cli import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit as e: assert not e.code"
    )


def command(folder: Path) -> Contest:
    """A row: a command's help, beside what cannot be had faster."""
    return Contest(
        "`reteach train mile --help`, from nothing to the whole text",
        started(_command("train mile --help")),
        {
            "bare Python": partial(peer, "pass"),
            "import numpy": partial(peer, "import numpy", "numpy"),
            "import torch": partial(peer, "import torch", "torch"),
        },
    )


def metrics(folder: Path) -> Contest:
    """A row: a metric that is ready to be updated."""
    return Contest(
        "importing mean average precision from a fresh process",
        started("from reteach.metrics.ranking import MeanAveragePrecision as M\nM()"),
        {
            "torchmetrics": partial(
                peer,
                "from torchmetrics.classification import MultilabelAveragePrecision as M\nM(80)",
                "torchmetrics",
            ),
            "scikit-learn": partial(
                peer, "from sklearn.metrics import average_precision_score", "sklearn"
            ),
        },
    )


def wrong_labels(folder: Path) -> Contest:
    """A row: the search for wrong labels, ready to be called."""
    return Contest(
        "importing the search for wrong labels from a fresh process",
        started("from reteach.relabel.noise.clean import keep_rule"),
        {
            "cleanlab": partial(peer, "from cleanlab.filter import find_label_issues", "cleanlab"),
        },
    )
