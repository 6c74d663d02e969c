"""A frozen network under a trained head: images become features once, and the two become one network."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from .. import sealed
from ..data.dataset import Dataset
from ..data.loading.quarantine import ALONE, Team
from ..data.sources.base import ArraySource, features_of, is_video
from ..data.sources.contents import DIGEST, Contents
from ..errors import UserError
from ..models.feature_heads import FeatureNet
from ..models.features import pooled
from ..models.heads import classifier_of
from .cache import PINNED, Embedded, embedded
from .embed import making
from .extractor import Extractor

FILE = "features.json"
"""In a run folder: how the features were made that its head was trained on."""
TOLERANCE = 1e-3


@final
@dataclass(eq=False)
class FrozenBackbone:
    """Turns images into features, and a head on features into a network of images.

    Args:
        extractor: the network.
        place: folder of the cache of features; None: the usual one.
        folder: where it is kept how the features were made, so that who goes on makes them so; None: nowhere.
        workers: processes that decode.
        team: processes that need the same features; the first one makes them.
    """

    extractor: Extractor
    place: Path | None
    folder: Path | None
    workers: int
    team: Team = ALONE

    def __post_init__(self) -> None:
        self._known: dict[str, Embedded] = {}
        self._made = making(self.extractor)

    def features(self, data: Dataset) -> Dataset:
        """The same items under the same labels, features in place of images; features as they are.

        Raises:
            UserError: videos, an image that cannot be read, or other weights than the run was begun with.
        """
        if features_of(data.source) is not None:
            return data
        if is_video(data.source):
            raise UserError("--freeze takes still images, and these are videos")
        digests = _digests(data) if data.digests is None else data.digests
        found = self._embedded(data, digests)
        rows, at = np.unique(data.rows, return_inverse=True)
        own = np.array([found.row_of[digests[row].tobytes()] for row in rows.tolist()], np.int64)
        names = data.source.items
        source = ArraySource(
            found.features[own],
            [names[row] for row in rows.tolist()],
            features=found.settings,
        )
        return Dataset(source, data.labels, at, _mixed(digests[rows], self._made))

    def _embedded(self, data: Dataset, digests: np.ndarray[Any, Any]) -> Embedded:
        key = hashlib.sha256(digests.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = self.team.of_first(lambda: self._computed(data, digests))
        return self._known[key]

    def _computed(self, data: Dataset, digests: np.ndarray[Any, Any]) -> Embedded:
        pinned = self._pinned()
        found = embedded(
            self.extractor,
            data.source,
            digests,
            place=self.place,
            pinned=pinned,
            workers=self.workers,
        )
        if self.folder is not None and pinned is None:
            said = {name: found.settings[name] for name in (*self._made, *PINNED)}
            sealed.write_json(self.folder / FILE, said)
        return found

    def _pinned(self) -> Mapping[str, Any] | None:
        """How the features of the run were made; None: it is only now begun."""
        if self.folder is None or not (self.folder / FILE).is_file():
            return None
        file = self.folder / FILE
        kept = sealed.read_json(file, "train again with another --out", old=False)
        for name, now in self._made.items():
            if kept.get(name) != now:
                raise UserError(
                    f"{self.folder} was begun with another network ({name}: {kept.get(name)} there, {now} "
                    "now): put the old weights back, or train anew with another --out"
                )
        return kept

    def whole(self, head: nn.Module) -> nn.Module:
        """The network with the head as its output layer: standardisation and linear layer are one layer.

        Args:
            head: on the features; linear.
        """
        assert isinstance(head, FeatureNet)
        weight, bias = head.as_linear()
        whole = copy.deepcopy(self.extractor.model).eval()
        old = _output_layer(whole)
        layer = nn.Linear(weight.shape[1], weight.shape[0]).to(old.weight.device)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        name = next(name for name, module in whole.named_modules() if module is old)
        parent, _, last = name.rpartition(".")
        setattr(whole.get_submodule(parent), last, layer)
        whole.num_classes = weight.shape[0]  # type: ignore[assignment]
        return whole


def _output_layer(model: nn.Module) -> nn.Linear:
    layer = classifier_of(model)
    if layer.bias is None:
        raise UserError(
            "--freeze needs a network whose output layer has a bias: choose another --model"
        )
    return layer


def check(backbone: FrozenBackbone) -> None:
    """Refuse a network whose output layer does not see its pooled features as they are.

    Raises:
        UserError: it does not.
    """
    model, seen = backbone.extractor.model, backbone.extractor.seen
    side = seen.image_size or 32
    where = next(model.parameters()).device
    noise = torch.randn(
        (2, seen.prepare.channels, side, side), generator=torch.Generator().manual_seed(0)
    ).to(where)
    features = pooled(model)(noise)
    with torch.no_grad():
        expected, found = model(noise), _output_layer(model)(features)
    if expected.shape != found.shape or not torch.allclose(
        expected, found, atol=TOLERANCE * float(expected.abs().max().clamp(min=1e-6))
    ):
        raise UserError(
            f"--freeze cannot put a head on {seen.whose}: its output layer does not see its features as they "
            "are; choose another --model"
        )


def _digests(data: Dataset) -> np.ndarray[Any, Any]:
    """(rows of the source, 16) of the images of a data set; 0 elsewhere."""
    found = np.zeros((len(data.source), DIGEST), np.uint8)
    contents = Contents(data.source)
    for row in np.unique(data.rows).tolist():
        found[row] = np.frombuffer(contents.digest(row), np.uint8)
    return found


def _mixed(digests: np.ndarray[Any, Any], made: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Digests that change with the images, and with how features are made of them."""
    salt = json.dumps(made, sort_keys=True).encode()
    found = [hashlib.sha256(row.tobytes() + salt).digest()[:DIGEST] for row in digests]
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, DIGEST)
