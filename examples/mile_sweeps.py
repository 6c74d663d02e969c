"""MILe's Figures 3 and 5 on pictures of four digits, or on your own features: schedules, thresholds, targets.

    python examples/mile_sweeps.py schedule|teacher|threshold|targets [--smoke]
    python examples/mile_sweeps.py threshold --images train.features --labels one.csv \
        --test-images test.features --test-labels sets.csv
    python examples/mile_sweeps.py teacher --fraction 0.25

schedule: k_t × k_s as a heat map (Figure 3a). teacher: k_t alone, finer, at a k_s of 50. threshold: ρ as a
curve (Figure 3b). targets: what a teacher passes on (softmax + KL, argmax + cross-entropy, thresholded sets),
in one cycle, in two and in many (Figure 5). --fraction: as many steps on fewer images, of grids also on more:
the paper says that the best k_t depends on the size of the data. On features a linear head is trained for
1,000 steps; its rate is chosen on held-out given labels.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import ComparisonSpec, DigitGrids, OwnData
from reteach.compare.variants import variants
from reteach.options.shared import Data, Model, Training

SWEEPS = {
    "schedule": ((("rho=0.1",), ("k_t=25,100,400", "k_s=25,50,200")),),
    "teacher": ((("rho=0.1", "k_s=50"), ("k_t=25,50,100,200,400",)),),
    "threshold": ((("k_t=100", "k_s=50"), ("rho=0.05,0.1,0.15,0.25,0.4,0.6",)),),
    "targets": (
        ((), ("targets=soft,hard", "k_t=100,500,1000")),
        (("rho=0.1",), ("targets=threshold", "k_t=100,500,1000")),
    ),
}
"""The parts of each figure: (settings, swept settings). Of 1,500 steps a k_t of 100 makes ten cycles,
500 two, 1,000 one."""
ON_FEATURES = {
    "schedule": SWEEPS["schedule"],
    "teacher": SWEEPS["teacher"],
    "threshold": SWEEPS["threshold"],
    "targets": (
        ((), ("targets=soft,hard", "k_t=67,333,667")),
        (("rho=0.1",), ("targets=threshold", "k_t=67,333,667")),
    ),
}
"""The same with two thirds of the steps."""


def plan(options: argparse.Namespace) -> ComparisonPlan:
    """One figure's sweep."""
    figure, smoke, arena = options.figure, options.smoke, data(options)
    model, training = setting(arena, smoke)
    chosen, swept = (), {}
    for settings, sweep in (SWEEPS if isinstance(arena, DigitGrids) else ON_FEATURES)[figure]:
        if smoke:
            sweep = tuple(",".join(text.split(",")[:2]) for text in sweep)
            sweep = tuple(text.replace(",500", "").replace(",333", "") for text in sweep)
        more, values = variants(("mile",), model, training, settings, sweep)
        chosen += more
        for name, found in values.items():
            swept[name] = list(dict.fromkeys([*swept.get(name, []), *found]))
    if isinstance(arena, DigitGrids):
        about = f"{arena.n_train:,} 2×2 grids of handwritten digits under one label each."
    else:
        about = f"{options.images}, labels {options.labels}, {options.fraction:.0%} of them."
    return ComparisonPlan(
        f"MILe: {figure}",
        about,
        options.out or Path(f"runs/{figure}"),
        arena,
        chosen,
        seeds=(0,) if smoke else tuple(range(options.seeds)),
        sweep=swept,
        processes=options.processes,
    )


def data(options: argparse.Namespace) -> ComparisonSpec:
    """Grids of digits, or the images that are named."""
    if options.images is None:
        all_of_them = DigitGrids(2, 200, 100, 100) if options.smoke else DigitGrids()
        return replace(all_of_them, n_train=round(options.fraction * all_of_them.n_train))
    own = Data(
        images=options.images,
        labels=options.labels,
        classes=options.classes,
        fraction=options.fraction,
    )
    return OwnData(own, options.test_images, options.test_labels)


def setting(arena: ComparisonSpec, smoke: bool) -> tuple[Model, Training]:
    """The network and its budget."""
    if isinstance(arena, DigitGrids):
        model = Model("reteach_tiny", channels_last=True, device="cpu")
        steps, batch = (120, 8) if smoke else (1500, 128)
        return model, Training(
            steps=steps, batch_size=batch, optimizer="adam", lr=1e-3, schedule="constant"
        )
    return Model("linear", device="cpu"), Training(steps=80 if smoke else 1000, batch_size=128)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=list(SWEEPS))
    parser.add_argument(
        "--images", help="a feature table of reteach embed; by default grids of digits"
    )
    parser.add_argument("--labels", type=Path, help="one label per image")
    parser.add_argument("--classes", type=Path, help="the class list, where a class is never named")
    parser.add_argument("--test-images", help="a feature table to judge on")
    parser.add_argument("--test-labels", type=Path, help="its label sets")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the images to learn from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    made = plan(parser.parse_args())
    print(*CompareResult.of(made.folder, compare(made)).lines(), sep="\n")
