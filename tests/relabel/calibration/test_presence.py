"""The mixture against scikit-learn and a literal float64 EM, and calibration on worlds with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reteach.errors import UserError
from reteach.files import write_json
from reteach.models.presence import Presence, load_presence, odds
from reteach.relabel.calibration.logit_histogram import NAMED, UNKNOWN, UNNAMED, LogitHistogram
from reteach.relabel.calibration.mixture import (
    LOST,
    Mixture,
    _round,
    fit,
    own_names,
    per_class,
    plausible,
)
from reteach.relabel.calibration.presence import apart, calibrate, known_order, plain


def world(n: int, classes: int = 10, seed: int = 0, gap: float = 3.5) -> tuple[np.ndarray, ...]:
    """Logits, names and truth of images with two to five classes, the first of them named with p = 0.6."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-5, 0.8, (n, classes))
    truth = np.zeros((n, classes), bool)
    named = np.empty(n, np.int64)
    for i in range(n):
        some = generator.permutation(classes)[: generator.integers(2, 6)]
        z[i, some] = generator.normal(-5 + gap, 1.0, len(some))
        z[i, some[0]] = generator.normal(-2 + gap, 1.0)
        truth[i, some] = True
        named[i] = some[0] if generator.random() < 0.6 else generator.choice(some[1:])
    return z.astype(np.float32), named, truth


def sketch_of(z: np.ndarray, named: np.ndarray | None = None, bins: int = 1024) -> LogitHistogram:
    histogram = LogitHistogram(tuple(f"c{i}" for i in range(z.shape[1])), bins)
    histogram.add(z, named)
    return histogram


def mixture(scale: float = 1.0) -> Mixture:
    return Mixture(
        np.array([0.6, 0.3, 0.1]),
        np.array([-5.0, -2.0, 1.0]) * scale,
        np.array([0.8, 1.2, 1.0]),
        np.array([0.0, 0.15, 0.7]),
    )


def test_a_round_is_em_in_loops():
    """Responsibilities and weighted moments, bin by bin in Python floats."""
    generator = np.random.default_rng(0)
    z = np.linspace(-7, 3, 12)
    counts = generator.integers(0, 20, (3, 12)).astype(float)
    start = mixture()
    found, likelihood = _round(z, counts, start, 0.01, None, None)
    n, first, second, hits = [0.0] * 3, [0.0] * 3, [0.0] * 3, [0.0] * 3
    known, total = [0.0] * 3, 0.0
    for g in range(12):
        normal = [
            w / (s * math.sqrt(2 * math.pi)) * math.exp(-0.5 * ((z[g] - m) / s) ** 2)
            for w, m, s in zip(start.weight, start.mean, start.sd, strict=True)
        ]
        for kind in (UNNAMED, NAMED, UNKNOWN):
            odds_ = {
                UNNAMED: [d * (1 - v) for d, v in zip(normal, start.named, strict=True)],
                NAMED: [d * v for d, v in zip(normal, start.named, strict=True)],
                UNKNOWN: normal,
            }[kind]
            total += counts[kind, g] * math.log(sum(odds_))
            for k in range(3):
                r = counts[kind, g] * odds_[k] / sum(odds_)
                n[k], first[k], second[k] = n[k] + r, first[k] + r * z[g], second[k] + r * z[g] ** 2
                known[k] += r if kind != UNKNOWN else 0.0
                hits[k] += r if kind == NAMED else 0.0
    mean = [f / m for f, m in zip(first, n, strict=True)]
    assert likelihood == pytest.approx(total)
    assert start.log_likelihood(z, counts) == pytest.approx(total)
    assert found.weight == pytest.approx([v / sum(n) for v in n], rel=1e-6)
    assert found.mean == pytest.approx(mean, rel=1e-6)
    deviations = [math.sqrt(s / m - a**2) for s, m, a in zip(second, n, mean, strict=True)]
    assert found.sd == pytest.approx(deviations, rel=1e-6)
    assert found.named == pytest.approx([h / k for h, k in zip(hits, known, strict=True)], rel=1e-6)
    assert found.named[0] == 0


def test_without_names_em_is_that_of_scikit_learn():
    """The same likelihood as GaussianMixture on the scores themselves, from the same start."""
    from sklearn.mixture import GaussianMixture

    generator = np.random.default_rng(1)
    x = np.concatenate([generator.normal(-4, 1, 3000), generator.normal(1, 1.5, 2000)])
    peer = GaussianMixture(
        2, means_init=[[-3.0], [0.0]], weights_init=[0.5, 0.5], tol=1e-8, max_iter=2000
    ).fit(x[:, None])
    edges = np.linspace(x.min(), x.max() + 1e-9, 801)
    z = (edges[1:] + edges[:-1]) / 2
    counts = np.zeros((3, 800))
    counts[UNKNOWN] = np.histogram(x, edges)[0]
    current = Mixture(np.full(2, 0.5), np.array([-3.0, 0.0]), np.ones(2), np.array([0.0, 0.5]))
    for _ in range(2000):
        current, likelihood = _round(z, counts, current, 0.01, None, None)
    order = peer.means_.ravel().argsort()
    assert current.mean == pytest.approx(peer.means_.ravel()[order], abs=0.01)
    assert current.sd == pytest.approx(np.sqrt(peer.covariances_.ravel()[order]), abs=0.01)
    assert likelihood / len(x) == pytest.approx(peer.score(x[:, None]), abs=1e-3)


def test_rounds_never_lose_likelihood():
    z, named, _ = world(200)
    histogram = sketch_of(z, named, 256)
    counts, current, last = histogram.counts().sum(1), mixture(), -np.inf
    for _ in range(60):
        current, likelihood = _round(histogram.centres(), counts, current, 0.01, None, None)
        assert likelihood >= last - 1e-6
        last = likelihood


def test_the_fit_finds_what_made_the_scores():
    generator = np.random.default_rng(4)
    true = mixture()
    which = generator.choice(3, 40_000, p=true.weight)
    x = generator.normal(true.mean[which], true.sd[which])
    hit = generator.random(len(x)) < true.named[which]
    edges = np.linspace(x.min(), x.max() + 1e-9, 301)
    counts = np.zeros((3, 300))
    for kind, mine in ((NAMED, hit), (UNNAMED, ~hit)):
        counts[kind] = np.histogram(x[mine], edges)[0]
    found, _ = fit((edges[1:] + edges[:-1]) / 2, counts)
    assert found.weight == pytest.approx(true.weight, abs=0.03)
    assert found.mean == pytest.approx(true.mean, abs=0.2)
    assert found.named == pytest.approx(true.named, abs=0.05)


def test_calibration_finds_the_labels_without_having_seen_any_set():
    z, named, truth = world(1500)
    found = calibrate(sketch_of(z, named), "sigmoid")
    p = found.presence(torch.from_numpy(z)).sigmoid().numpy()
    assert not found.warnings
    assert found.labels_per_image == pytest.approx(truth.sum(1).mean(), rel=0.05)
    assert ((p > 0.5) == truth).mean() > 0.95
    for low in np.arange(0, 1, 0.2):
        mine = (p >= low) & (p < low + 0.2)
        assert truth[mine].mean() == pytest.approx(p[mine].mean(), abs=0.1)
    own = 1 / (1 + np.exp(-z))
    assert ((own > 0.5) == truth).mean() < 0.85  # what there was to mend


def test_a_fit_to_few_images_is_doubted():
    z, named, _ = world(1500)
    found = calibrate(sketch_of(z[:99], named[:99]), "sigmoid")
    assert any("99 images are too few" in doubt for doubt in found.warnings)
    assert not any("too few" in d for d in calibrate(sketch_of(z, named), "sigmoid").warnings)


def test_unlabelled_images_help_and_may_be_all_there_is():
    z, named, truth = world(1500, seed=1)
    few = np.where(np.arange(1500) < 150, named, -1)
    for names in (few, None):
        found = calibrate(sketch_of(z, names), "sigmoid")
        assert found.labels_per_image == pytest.approx(truth.sum(1).mean(), rel=0.15)


def test_the_order_of_images_and_classes_stays():
    z, named, _ = world(300, seed=2)
    z = z * 4  # far into both ends
    found = calibrate(sketch_of(z, named), "sigmoid")
    out = found.presence(torch.from_numpy(z)).double().numpy()
    order = np.argsort(z.ravel(), kind="stable")
    assert (np.diff(out.ravel()[order]) >= 0).all()
    assert (np.diff(found.presence.table[0]) > 0).all()


def test_a_class_of_its_own_is_shrunk_towards_all():
    """Without borrowing each class is fitted alone, with very much it is the pooled fit."""
    z, named, truth = world(2000, classes=6, seed=3)
    z[:, 0] -= 1.5  # a class that the model is timid about
    histogram = sketch_of(z, named)
    pooled = calibrate(histogram, "sigmoid", present=2)
    alone = calibrate(histogram, "sigmoid", present=2, scope="classes", prior_strength=100)
    much = calibrate(histogram, "sigmoid", present=2, scope="classes", prior_strength=1e9)
    assert alone.each is not None
    assert much.each is not None
    assert much.each.mean[0] == pytest.approx(pooled.pooled.mean, abs=1e-3)
    assert alone.each.mean[0, 0] == pytest.approx(-6.5, abs=0.2)
    assert alone.each.mean[1, 0] == pytest.approx(-5.0, abs=0.2)
    wrong = []
    for found in (pooled, alone):
        p = found.presence(torch.from_numpy(z)).sigmoid().numpy()
        wrong.append(((p > 0.5) != truth)[:, 0].mean())
        rows = np.argsort(z[:, 0], kind="stable")
        assert (np.diff(p[rows, 0]) >= 0).all()
    assert wrong[1] < wrong[0]


def test_per_class_is_em_for_each_class_with_borrowed_counts():
    z, named, _ = world(400, classes=3, seed=5)
    histogram = sketch_of(z, named, 128)
    x, counts, pooled = histogram.centres(), histogram.counts(), mixture()
    together = per_class(x, counts, pooled, 50.0)
    for c in range(3):
        single = per_class(x, counts[:, [c]], pooled, 50.0)
        assert together.mean[c] == pytest.approx(single.mean[0], abs=0.02)
        assert together.weight[c] == pytest.approx(single.weight[0], abs=0.02)


def test_the_number_of_labels_may_be_told():
    z, named, truth = world(600, seed=6, gap=1.5)
    told = calibrate(sketch_of(z, named), "sigmoid", expected=truth.sum(1).mean())
    assert told.labels_per_image == pytest.approx(truth.sum(1).mean(), rel=0.05)
    assert told.pooled.weight[1:].sum() == pytest.approx(truth.mean(), rel=1e-6)


def test_one_present_component_where_all_are_named_alike():
    generator = np.random.default_rng(7)
    truth = generator.random((1500, 8)) < 0.3
    truth[~truth.any(1), 0] = True
    z = np.where(truth, generator.normal(-1, 1, truth.shape), generator.normal(-5, 1, truth.shape))
    named = np.array([generator.choice(np.flatnonzero(row)) for row in truth])
    found = calibrate(sketch_of(z.astype(np.float32), named), "sigmoid")
    assert len(found.pooled.weight) == 2
    assert found.labels_per_image == pytest.approx(truth.sum(1).mean(), rel=0.05)


def test_what_cannot_be_told_is_said():
    generator = np.random.default_rng(8)
    noise = generator.normal(-3, 1, (400, 10)).astype(np.float32)
    found = calibrate(sketch_of(noise, generator.integers(0, 10, 400)), "sigmoid")
    assert found.warnings


def test_plausible_shares_end_where_the_likelihood_is_lost():
    z, named, truth = world(200, seed=10, gap=1.5)
    histogram = sketch_of(z, named, 64)
    x, counts = histogram.centres(), histogram.counts().sum(1)
    best, most = fit(x, counts)
    low, high = plausible(x, counts)
    assert low < best.weight[1:].sum() < high
    assert low < truth.mean() < high
    for end in (low, high):
        assert most - fit(x, counts, 2, end)[1] == pytest.approx(LOST, abs=0.8)


def test_few_labels_or_many_that_explain_the_scores_alike_are_said():
    """Present but seldom named classes like the absent ones: nobody can count them."""
    z, named, _ = world(60, seed=11, gap=0.3)
    found = calibrate(sketch_of(z, named), "sigmoid")
    assert found.range[1] > 2.5 * found.range[0]
    assert any("labels per image explains the scores" in doubt for doubt in found.warnings)


def test_a_model_that_knows_only_how_frequent_classes_are_is_found_out():
    generator = np.random.default_rng(12)
    rate = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    named = generator.choice(5, 600, p=rate)
    z = (np.log(rate / (1 - rate)) + generator.normal(0, 0.3, (600, 5))).astype(np.float32)
    found = calibrate(sketch_of(z, named), "sigmoid")
    assert any("hardly knows which images" in doubt for doubt in found.warnings)


def test_known_order_is_the_area_under_the_curve_of_each_class():
    from sklearn.metrics import roc_auc_score

    z, named, _ = world(400, classes=4, seed=13, gap=1.0)
    histogram = sketch_of(z, named, 4096)
    areas = [roc_auc_score(named == c, z[:, c]) for c in range(4)]
    expected = np.average(areas, weights=np.bincount(named, minlength=4))
    assert known_order(histogram.counts()) == pytest.approx(expected, abs=1e-3)


def test_apart_is_the_share_of_pairs_in_order():
    generator = np.random.default_rng(9)
    m = mixture()
    a, b = (generator.normal(m.mean[k], m.sd[k], 200_000) for k in (0, 1))
    assert apart(m) == pytest.approx((a < b).mean(), abs=0.005)


def test_own_probabilities_stand_in_for_names():
    z, counts = np.array([-1.0, 2.0]), np.array([[3.0, 0], [0, 1], [4, 5]])
    found = own_names(z, counts)
    rates = [1 / (1 + math.e), 1 / (1 + math.exp(-2))]
    assert found[NAMED] == pytest.approx([7 * rates[0], 6 * rates[1]])
    assert found.sum(0) == pytest.approx(counts.sum(0))


@pytest.mark.parametrize(
    ("z", "words"),
    [
        (np.full((50, 4), -2.0), "all but constant"),
        (np.zeros((0, 4)), "no image"),
        (np.random.default_rng(0).normal(0, 1, (5, 4)), "5 images are too few"),
        (np.random.default_rng(0).normal(0, 1, (50, 1)), "needs two or more"),
    ],
)
def test_bad_scores_are_one_clear_line(z, words):
    with pytest.raises(UserError, match=words):
        calibrate(sketch_of(z.astype(np.float32)), "sigmoid")


@pytest.mark.parametrize("expected", [0.5, 10])
def test_an_impossible_number_of_labels(expected):
    z, named, _ = world(50)
    with pytest.raises(UserError, match=r"--expected must lie in \[1, 10\)"):
        calibrate(sketch_of(z, named), "sigmoid", expected=expected)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_odds_are_those_of_the_probabilities(link):
    logits = torch.tensor([[1.0, -2.0, 0.5], [30.0, 0.0, -4.0], [3.0, 3.0, 3.0]])
    found = odds(logits, link)
    for row, values in zip(logits.double().tolist(), found.tolist(), strict=True):
        for c, value in enumerate(values):
            others = math.log(sum(math.exp(v) for i, v in enumerate(row) if i != c))
            expected = row[c] - others if link == "softmax" else row[c]
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_class_that_is_never_named_does_not_spoil_the_others():
    """Its logits are far below; without it they would be what is absent, and all others present."""
    z, named, truth = world(2000, seed=13)
    z[:, 0] -= 4
    kept = named != 0
    found = calibrate(sketch_of(z[kept], named[kept]), "sigmoid")
    assert not found.warnings
    others = truth[kept][:, 1:].sum(1).mean()
    assert found.labels_per_image == pytest.approx(others, rel=0.1)


def test_a_second_heap_of_absent_classes_is_no_presence():
    """One class per image; of the others the model is sure of half, and of half it is not."""
    generator = np.random.default_rng(3)
    named = generator.integers(0, 20, 1000)
    z = np.where(generator.random((1000, 20)) < 0.5, -8.0, -4.0) + generator.normal(
        0, 0.8, (1000, 20)
    )
    z[np.arange(1000), named] = generator.normal(-1, 1.0, 1000)
    found = calibrate(sketch_of(z.astype(np.float32), named), "sigmoid")
    assert found.labels_per_image > 5
    assert any("all but never named" in doubt for doubt in found.warnings)


def test_a_map_is_interpolation():
    table = np.array([[-4.0, -1.0, 3.0], [-5.0, 0.0, 1.0]], np.float32)
    presence = Presence(("a", "b"), "sigmoid", -2.0, 2.0, table)
    z = torch.tensor([[-3.0, -1.0], [0.0, 1.0], [5.0, 4.0]])
    knots = np.array([-2.0, 0.0, 2.0])
    inside = presence(z[1:2]).numpy()
    assert inside[0, 0] == pytest.approx(np.interp(0.0, knots, table[0]))
    assert inside[0, 1] == pytest.approx(np.interp(1.0, knots, table[1]))
    assert presence(z)[0].tolist() == pytest.approx([-5.5, -2.5])  # the outer pieces go on
    assert presence(z)[2].tolist() == pytest.approx([9.0, 2.0])
    shared = Presence(("a", "b"), "sigmoid", -2.0, 2.0, table[:1])
    assert shared(z)[1].tolist() == pytest.approx([-1.0, 1.0])


def test_what_is_stored_comes_back(tmp_path):
    z, named, _ = world(100)
    found = calibrate(sketch_of(z, named), "softmax", scope="classes")
    file = tmp_path / "model.presence.json"
    write_json(file, plain(found))
    back = load_presence(file, found.presence.classes)
    logits = torch.from_numpy(z)
    assert torch.allclose(back(logits), found.presence(logits), atol=1e-3)
    with pytest.raises(UserError, match="another class list"):
        load_presence(file, ("x", *found.presence.classes[1:]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"classes": ["a"]}',
        '{"classes": ["a"], "link": "tanh", "low": 0, "step": 1, "table": [[1, 2]]}',
        '{"classes": ["a"], "link": "sigmoid", "low": 0, "step": 0, "table": [[1, 2]]}',
        '{"classes": ["a"], "link": "sigmoid", "low": 0, "step": 1, "table": [[1], [2]]}',
    ],
)
def test_a_damaged_file_is_said_to_be(tmp_path, text):
    file = tmp_path / "model.presence.json"
    file.write_text(text)
    with pytest.raises(UserError, match="damaged"):
        load_presence(file, ("a",))
