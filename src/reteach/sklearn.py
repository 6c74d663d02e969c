"""A method as an estimator of scikit-learn: ``rt.sklearn.Classifier(method="nct")``.

It learns from features (2-D arrays) or images (4-D arrays of uint8), in memory: no run folder is written.
It can be cloned, pickled, put into a pipeline, a ``GridSearchCV``, and cleanlab's ``CleanLearning``.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .api.calls import options
from .errors import UserError, closest

FEWEST_STEPS = 300
"""Of a training whose length is left open: ten epochs of few samples are next to nothing."""
EPOCHS = 10
PARAMETERS = {
    **{name: name for name in ("steps", "batch_size", "lr", "model", "device")},
    **{"seed": "random_state", "epochs": "steps"},
}
"""Keywords of ``rt.train`` -> the estimator's parameter for it."""


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """One label per sample, learned by any method that learns from such labels.

    Args:
        method: as in ``rt.train``: softmax, elr, nct, mile …
        steps: number of batches; by default ten epochs, and at least 300 steps.
        batch_size: samples per step.
        lr: learning rate; by default as ``rt.train`` chooses it.
        model: the network; by default ``linear`` on features, ``resnet18`` on images.
        random_state: seed of every random choice.
        device: auto, cpu, cuda, mps.
        settings: further keywords of ``rt.train`` for this method: ``{"target_variability": 0.2}``.

    Attributes:
        classes_: (C,) the labels, sorted.
        predictor_: the trained networks.
        n_features_in_: D, of features.
    """

    def __init__(
        self,
        method: str = "softmax",
        *,
        steps: int | None = None,
        batch_size: int = 128,
        lr: float | None = None,
        model: str = "auto",
        random_state: int = 0,
        device: str = "auto",
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.model = model
        self.random_state = random_state
        self.device = device
        self.settings = settings

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from samples.

        Args:
            X: (N, D) numbers, or uint8 images (N, H, W, C) or (N, C, H, W).
            y: (N,) labels.

        Raises:
            ValueError: one class, numbers that are not finite, or other shapes.
            UserError: what the method refuses.
        """
        images = _are_images(X)
        if images:
            X, y = np.asarray(X), np.asarray(y)
            if len(X) != len(y):
                raise ValueError(f"{len(X)} images, but {len(y)} labels")
        else:
            X, y = _validated(self, X, y)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("there is only one class (1 class), and a classifier needs two")
        self._images = images
        if not images:
            self._mean, self._scale = X.mean(0), X.std(0)
            self._scale[self._scale == 0] = 1
        self._train(X, index.astype(np.int64).ravel())
        return self

    def _train(self, X: NDArray[Any], index: NDArray[np.int64]) -> None:
        from .data.dataset import Dataset
        from .engine.run import Run
        from .features.preprocessing import Preprocessing
        from .labels import Single
        from .runs.checkpoint import choose_device
        from .runs.inputs import Inputs
        from .runs.setup import load_recipe, make_setup

        config = self._config(len(X))
        names = tuple(str(c) for c in range(len(self.classes_)))
        data = Dataset.of(self._source(X), Single(index, names))
        with contextlib.redirect_stderr(io.StringIO()):  # what matters of it is warned of below
            setup = make_setup(config, Inputs(data, None, None), choose_device(self.device))
            recipe = load_recipe(_method(self.method).recipe)
            algorithm = recipe(setup, config.settings, Run.memory(config.training.seed))
        for text in setup.warnings:
            warnings.warn(text, stacklevel=3)
        self.predictor_ = next(iter(algorithm.predictors().values()))
        made = None if self._images else data.source.features  # type: ignore[attr-defined]
        self._seen = Preprocessing(
            setup.image_size, setup.frames, setup.prepare, setup.resize, features=made
        )

    def _config(self, count: int) -> Any:
        from .options import train
        from .runs.config import Config

        _method(self.method)
        steps = self.steps
        if steps is None:
            steps = max(FEWEST_STEPS, round(EPOCHS * count / self.batch_size))
        model = "linear" if self.model == "auto" and not self._images else self.model
        given = {
            "steps": steps,
            "batch_size": self.batch_size,
            "model": model,
            "seed": self.random_state,
            "workers": 0,
            **({} if self.lr is None else {"lr": self.lr}),
            **(self.settings or {}),
        }
        if unfit := sorted({"images", "labels", "out"} & given.keys()):
            raise UserError(f"settings: {unfit[0]} has no effect in an estimator; leave it out")
        for name in sorted(PARAMETERS.keys() & (self.settings or {}).keys()):
            raise UserError(
                f"settings: leave {name} out, and give Classifier({PARAMETERS[name]}=…)"
            )
        asked = options(
            f"train {self.method}", getattr(train, self.method.replace("-", "_")), given
        )
        return Config(self.method, asked.settings, asked.data, asked.model, asked.training)

    def _source(self, X: NDArray[Any]) -> Any:
        from .data.sources.arrays import ArraySource

        if self._images:
            return ArraySource(X)
        scaled = np.clip((X - self._mean) / self._scale, -6e4, 6e4)  # they are kept as float16
        return ArraySource(scaled, features={"backbone": "array", "dimensions": X.shape[1]})

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(N, C) probabilities in the order of ``classes_``; rows add up to 1, also those of sigmoids."""
        from .data.dataset import Dataset
        from .engine.evaluate import scores

        check_is_fitted(self, "predictor_")
        if self._images != _are_images(X):
            takes = "images (4-D uint8)" if self._images else "features (2-D)"
            raise ValueError(f"this estimator was fitted to {takes}: X has another shape or type")
        X = np.asarray(X) if self._images else _validated(self, X)
        names = tuple(str(c) for c in range(len(self.classes_)))
        data = Dataset.unlabeled(self._source(X), names)
        _, found = scores(self.predictor_, self._seen.scan(data, 256, 0))
        p = np.asarray(found, np.float64)
        total = p.sum(1, keepdims=True)
        return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / p.shape[1])

    def predict(self, X: Any) -> NDArray[Any]:
        """(N,) labels: the most likely class of each sample."""
        p = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[p.argmax(1)]
        return found


def _method(name: str) -> Any:
    from .options.methods import METHODS

    able = [method for method, known in METHODS.items() if known.labels != "sets"]
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{closest(name, able)} (known: {', '.join(able)})")
    if name not in able:
        raise UserError(f"method {name!r} does not learn from one label each: {', '.join(able)}")
    return METHODS[name]


def _are_images(X: Any) -> bool:
    return getattr(X, "ndim", 0) == 4 and getattr(X, "dtype", None) == np.uint8


def _validated(estimator: Any, X: Any, *y: Any) -> Any:
    """What scikit-learn checks of features: finite, 2-D, as many as before."""
    how = {"dtype": np.float64, "reset": bool(y)}
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # before scikit-learn 1.6
        return estimator._validate_data(X, *y, **how)
    return validate_data(estimator, X, *y, **how)
