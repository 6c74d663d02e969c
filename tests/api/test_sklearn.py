"""The estimator: scikit-learn's own checks, a grid search, and cleanlab, which finds wrong labels with it."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import reteach as rt

QUICK = {"steps": 60, "lr": 0.3, "device": "cpu"}
SHORT = (
    *("check_estimator_cloneable", "check_no_attributes_set_in_init", "check_fit2d_1sample"),
    *("check_estimators_pickle", "check_classifiers_one_label", "check_n_features_in"),
    *("check_estimators_nan_inf", "check_dict_unchanged", "check_classifiers_classes"),
)
"""The checks of the short tier; RETEACH_SKLEARN_LONG=1 runs all of them."""


@parametrize_with_checks([rt.sklearn.Classifier(steps=100, lr=0.3, device="cpu")])
def test_scikit_learns_checks(estimator, check):
    name = getattr(check, "func", check).__name__
    if name not in SHORT and "RETEACH_SKLEARN_LONG" not in os.environ:
        pytest.skip("the long tier runs all checks: RETEACH_SKLEARN_LONG=1")
    check(estimator)


@pytest.fixture(scope="module")
def blobs():
    x, y = make_blobs(240, n_features=6, centers=3, random_state=0)
    return x, np.array(["ant", "bee", "cat"])[y]


@pytest.mark.parametrize("method", ["softmax", "nct", "mile"])
def test_methods_of_one_label_classify_features(method, blobs):
    x, y = blobs
    model = rt.sklearn.Classifier(method, **QUICK).fit(x[::2], y[::2])
    assert model.score(x[1::2], y[1::2]) > 0.9
    p = model.predict_proba(x)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert (model.classes_[p.argmax(1)] == model.predict(x)).all()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), p)
    assert (clone(model).fit(x[::2], y[::2]).predict_proba(x) == p).all()


def test_features_of_any_scale_are_learned(blobs):
    """Half floats end at 65504: what is far from 0 is standardised first."""
    x, y = blobs
    far = 1e7 + 1e5 * x
    assert rt.sklearn.Classifier(**QUICK).fit(far, y).score(far, y) > 0.9


def test_images_are_learned():
    draw = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = (draw.integers(0, 90, (40, 8, 8, 3)) + 150 * y[:, None, None, None]).astype(np.uint8)
    model = rt.sklearn.Classifier(model="reteach_tiny", **QUICK).fit(x, y)
    assert model.score(x, y) > 0.9
    with pytest.raises(ValueError, match="fitted to images"):
        model.predict(x.reshape(40, -1).astype(float))


def test_a_grid_search_goes_over_methods_and_settings(blobs):
    x, y = blobs
    grid = {"method": ["softmax"], "settings": [None, {"smoothing": 0.1}], "lr": [1e-9, 0.3]}
    found = GridSearchCV(rt.sklearn.Classifier(steps=40, device="cpu"), grid, cv=2).fit(x, y)
    assert found.best_params_["lr"] == 0.3
    assert found.best_score_ > 0.9
    assert not np.isnan(found.cv_results_["mean_test_score"]).any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "cpsd"}, "does not learn from one label each"),
        ({"settings": {"smoothng": 0.1}}, "has no setting 'smoothng'; did you mean smoothing"),
        ({"settings": {"out": "x"}}, "out has no effect in an estimator"),
        ({"settings": {"epochs": 3}}, r"leave epochs out, and give Classifier\(steps=…\)"),
        ({"settings": {"steps": 3}}, r"leave steps out, and give Classifier\(steps=…\)"),
        ({"method": "erl"}, "unknown method 'erl'; did you mean .*elr"),
        ({"method": "asl"}, "method 'asl' does not learn from one label each"),
    ],
)
def test_a_fault_is_one_line(given, said, blobs):
    with pytest.raises(rt.UserError, match=said):
        rt.sklearn.Classifier(**QUICK, **given).fit(*blobs)


def wrong_labels(y, share=0.1):
    wrong = np.random.default_rng(0).random(len(y)) < share
    names = np.unique(y)
    return np.where(wrong, names[(np.searchsorted(names, y) + 1) % len(names)], y), wrong


def test_cleanlab_finds_wrong_labels_with_it(blobs):
    classification = pytest.importorskip("cleanlab.classification", reason="cleanlab is not here")
    x, y = blobs
    given, wrong = wrong_labels(np.searchsorted(np.unique(y), y))
    judge = classification.CleanLearning(rt.sklearn.Classifier(**QUICK), cv_n_folds=3)
    found = judge.find_label_issues(x, given)["is_label_issue"].to_numpy()
    assert (found & wrong).sum() / wrong.sum() > 0.8
    assert (found & wrong).sum() / found.sum() > 0.8


def test_held_out_probabilities_are_dense_and_point_at_wrong_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    kind = np.arange(60) % 3
    x = (draw.integers(0, 60, (60, 8, 8, 1)) + 90 * kind[:, None, None, None]).astype(np.uint8)
    given, wrong = wrong_labels(kind)
    names = np.array(["a", "b", "c"])
    quick = {"model": "reteach_tiny", "steps": 60, "batch_size": 16, "workers": 0, "device": "cpu"}
    found = rt.pred_probs(x, names[given], folds=2, optimizer="adam", lr=0.01, **quick)
    assert found.pred_probs.shape == (60, 3)
    np.testing.assert_allclose(found.pred_probs.sum(1), 1)
    assert found.items == tuple(map(str, range(60)))
    assert (found.labels == given).all()
    assert found.classes == ("a", "b", "c")
    assert (found.pred_probs.argmax(1) == kind).mean() > 0.8
    own = found.pred_probs[np.arange(60), given]
    assert own[wrong].max() < np.median(own[~wrong])
    assert found.table().to_pandas()["label"].tolist() == names[given].tolist()
