"""Small ratings for the tests: random ones, and a released folder in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reteach.relabel.raters.ratings import MAYBE, NO, YES, Ratings


def random_ratings(seed: int = 0, images: int = 60, classes: int = 6, raters: int = 7) -> Ratings:
    """Three answers per pair; pairs of the first third of the images are golden."""
    rng = np.random.default_rng(seed)
    original = rng.integers(0, classes, images)
    asked = [
        (i, c)
        for i in range(images - 5)  # the last five are not rated
        for c in sorted({int(original[i]), *rng.choice(classes, 3, replace=False).tolist()})
    ]
    pair_item, pair_class = np.array(asked).T
    truth = (pair_class == original[pair_item]) | (rng.random(len(asked)) < 0.2)
    skill = rng.uniform(0.6, 0.95, raters)
    pair = np.repeat(np.arange(len(asked)), 3)
    rater = np.concatenate([rng.permutation(raters)[:3] for _ in asked])
    right = rng.random(len(pair)) < skill[rater]
    answer = np.where(right == truth[pair], YES, NO)
    answer[rng.random(len(pair)) < 0.1] = MAYBE
    gold = np.where(
        pair_item < images // 3, (truth * 3 + rng.integers(0, 3, len(asked))) / 5, np.nan
    )
    return Ratings(
        [f"img/{i:03d}.jpg" for i in range(images)],
        [f"class {c}" for c in range(classes)],
        pair_item,
        pair_class,
        [f"r{w}" for w in range(raters)],
        rater,
        pair,
        answer,
        gold,
        original,
    )


def released_folder(path: Path, pairs: int = 40, raters: int = 6) -> Path:
    """``raters.npz`` and the others in the layout of the released files."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 1000, 20)
    rows = [(i, int(label[i])) for i in range(20)] + [
        (i, int(label[i] + 1) % 1000) for i in range(20)
    ]
    info = np.array([(f"ILSVRC2012_val_{i + 1:08d}.JPEG", str(c)) for i, c in rows[:pairs]])
    tensor = np.zeros((raters, len(info), 3))
    for p in range(len(info)):
        for w in rng.permutation(raters)[:5]:
            tensor[w, p, rng.choice(3, p=[0.3, 0.1, 0.6])] = 1
    golden = np.sort(rng.permutation(len(info))[:15])
    experts = np.zeros((5, 15, 3))
    for w in range(5):
        experts[
            w, np.arange(15), np.where(np.arange(15) % 3 == 0, 2, rng.integers(0, 2, 15) * 2)
        ] = 1
    calibration = np.zeros((raters - 1, 15, 3))
    for w in range(raters - 1):
        calibration[w, np.arange(15), rng.integers(0, 3, 15)] = 1
    np.savez(path / "raters.npz", tensor=tensor, info=info, ids=np.arange(100, 100 + raters))
    np.savez(path / "golden.npz", tensor=experts, info=info[golden], ids=np.arange(5))
    np.savez(
        path / "raters_golden.npz",
        tensor=calibration,
        info=info[golden],
        ids=np.arange(100, 99 + raters),
    )
    np.savez(path / "imagenet_val.npz", label=label.astype(np.int16))
    return path
