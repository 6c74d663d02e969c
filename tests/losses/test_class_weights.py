"""Weights of classes: scikit-learn's and PyTorch's, slow sums, and files that do not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft
from reteach.losses.class_weights import WeightedBce, WeightedXent, balanced, class_weights
from reteach.losses.standard import sigmoid_bce, sigmoid_bce_sum, softmax_xent

CLASSES = ("a", "b", "c", "d")


def test_balanced_weights_of_single_labels_are_scikit_learns():
    index = np.array([0, 0, 0, 0, 1, 1, 3, -1])
    found = balanced(Single(index, CLASSES), "softmax")
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=index[:-1])
    assert np.allclose(found[[0, 1, 3]], theirs)
    assert found[2] == 1  # it does not occur
    soft = Soft.from_dense(np.eye(4)[index[:-1]], CLASSES)
    assert np.allclose(balanced(soft, "softmax"), found)


def test_balanced_weights_of_sets_are_absent_to_present_where_known():
    present = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 0]], bool)
    known = np.ones((5, 4), bool)
    known[0, 1] = known[2, 0] = False
    found = balanced(Multi.from_dense(present, CLASSES, known), "sigmoid")
    assert found.tolist() == [0.0, 3.0, 1.0, 1.5]
    assert balanced(Multi.from_dense(present, CLASSES), "sigmoid").tolist() == [0.25, 4.0, 1.0, 1.5]
    single = Single(np.array([0, 0, 1, -1]), CLASSES)
    assert balanced(single, "sigmoid").tolist() == [0.5, 2.0, 1.0, 1.0]


def test_weighted_losses_are_pytorchs_and_their_slow_sums():
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32))
    weights = np.array([0.5, 2.0, 1.0, 3.0], np.float32)
    index = torch.tensor([0, 1, 2, 3, 1, 0])
    one_hot = F.one_hot(index, 4).float()
    theirs = F.cross_entropy(z, index, torch.from_numpy(weights), reduction="none")
    assert torch.allclose(WeightedXent(weights)(z, one_hot), theirs, atol=1e-6)
    y = torch.from_numpy(rng.random((6, 4)).astype(np.float32))
    known = torch.from_numpy(rng.integers(0, 2, (6, 4)).astype(bool))
    found = WeightedBce(weights)(z, y, known)
    for i in range(6):
        total = 0.0
        for c in range(4):
            p = 1 / (1 + math.exp(-z[i, c]))
            term = -weights[c] * y[i, c] * math.log(p) - (1 - y[i, c]) * math.log(1 - p)
            total += float(term) * bool(known[i, c]) / 4
        assert found[i].item() == pytest.approx(total, rel=1e-4)
    ones = np.ones(4, np.float32)
    assert torch.allclose(WeightedXent(ones)(z, y), softmax_xent(z, y))
    assert torch.allclose(WeightedBce(ones)(z, y, known), sigmoid_bce(z, y, known))
    assert torch.allclose(WeightedBce(ones, summed=True)(z, y), sigmoid_bce_sum(z, y))


def test_a_file_of_weights_names_each_class_once(tmp_path):
    labels, file = Single(np.array([0, 1]), CLASSES[:2]), tmp_path / "w.csv"
    file.write_text("class,weight\nb,2\na,0.5\n")
    assert class_weights(str(file), labels, "softmax").tolist() == [0.5, 2.0]
    for text, words in {
        "class,weight\na,1\n": "class 'b' has no weight",
        "class,weight\na,1\nb,1\nx,1\n": "line 4: class 'x' is not in the class list",
        "class,weight\na,1\nb,1\nb,1\n": "line 4: class 'b' is listed twice",
        "class,weight\na,1\nb,-1\n": "line 3: '-1' is not a number of at least 0",
        "class,weight\na,1\nb,nan\n": "line 3: 'nan' is not a number",
        "class,weight\na,0\nb,0\n": "all weights are 0",
        "class,w\na,0\n": "no column 'weight'",
    }.items():
        file.write_text(text)
        with pytest.raises(UserError, match=words):
            class_weights(str(file), labels, "softmax")
    with pytest.raises(UserError, match="missing"):
        class_weights(str(tmp_path / "missing.csv"), labels, "softmax")
