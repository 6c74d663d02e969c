"""MILe's Figures 3 and 5 on pictures of four digits: schedules, thresholds, targets.

    python examples/mile_sweeps.py schedule|threshold|targets [--smoke]

schedule: k_t × k_s as a heat map (Figure 3a). threshold: ρ as a curve (Figure 3b). targets: what a
teacher passes on (softmax + KL, argmax + cross-entropy, thresholded sets), once and in many
generations (Figure 5).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import DigitGrids
from reteach.compare.variants import variants
from reteach.options.shared import Model, Training

SWEEPS = {
    "schedule": ((("rho=0.1",), ("k_t=25,50,100,200,400", "k_s=25,50,100,200")),),
    "threshold": ((("k_t=100", "k_s=50"), ("rho=0.05,0.1,0.15,0.25,0.4,0.6",)),),
    "targets": (
        ((), ("targets=soft,hard", "k_t=100,1000")),
        (("rho=0.1",), ("targets=threshold", "k_t=100,1000")),
    ),
}
"""The parts of each figure: (settings, swept settings)."""


def plan(figure: str, out: Path, smoke: bool) -> ComparisonPlan:
    """One figure's sweep."""
    model = Model("reteach_tiny", channels_last=True, device="cpu")
    steps = 120 if smoke else 1500
    training = Training(
        steps=steps, batch_size=8 if smoke else 128, optimizer="adam", lr=1e-3, schedule="constant"
    )
    chosen, swept = (), {}
    for settings, sweep in SWEEPS[figure]:
        if smoke:
            sweep = tuple(",".join(text.removesuffix(",1000").split(",")[:2]) for text in sweep)
        more, values = variants(("mile",), model, training, settings, sweep)
        chosen += more
        for name, found in values.items():
            swept[name] = list(dict.fromkeys([*swept.get(name, []), *found]))
    return ComparisonPlan(
        f"MILe: {figure}",
        "2×2 grids of handwritten digits under one label each, as in the demo.",
        out,
        DigitGrids(2, 200, 100, 100) if smoke else DigitGrids(),
        chosen,
        seeds=(0,) if smoke else (0, 1, 2),
        sweep=swept,
        processes=os.cpu_count() or 1,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=list(SWEEPS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    made = plan(options.figure, options.out or Path(f"runs/{options.figure}"), options.smoke)
    print(*CompareResult.of(made.folder, compare(made)).lines(), sep="\n")
