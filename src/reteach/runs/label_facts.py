"""The facts that ``reteach advise`` goes by, out of all that was measured of the labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..analysis import facts as measured
from ..analysis.facts import Facts, ShareRange
from ..analysis.intervals import wilson
from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, Source
from ..duplicates.find import Copies
from ..labels import Single
from ..models import zoo
from ..options.advise import AdviseOptions
from . import copies
from .label_judge import Probe, small_network


def facts_of(
    options: AdviseOptions,
    data: Dataset,
    probe: Probe,
    held: NDArray[np.float32] | None,
    fitted: float | None,
    per_image: ShareRange | None,
    within: Copies | None,
    across: Copies | None,
    pile: Source | None,
) -> Facts:
    """What is known of a labelled data set.

    Args:
        held: (N, C) held-out scores of the probe's images; fitted: accuracy where it was learned.
        within, across: copies within the images, and of validation images in them.
        pile: images without labels.
    """
    counts = data.labels.counts()
    used = counts[counts > 0]
    accuracy = noise = None
    confused: tuple[measured.Confusion, ...] = ()
    if held is not None:
        labels = probe.data.labels
        assert isinstance(labels, Single)
        readable = np.isfinite(held[:, 0])
        given, seen = labels.index[readable], held[readable]
        hits = int((seen.argmax(1) == given).sum())
        low, high = wilson(hits, len(given))
        accuracy = ShareRange(hits / len(given), float(low), float(high))
        noise = measured.noise_range(seen, given, strong=probe.on_features)
        if noise is not None:
            confused = measured.confused(seen, given, data.classes)
    array = isinstance(data.source, ArraySource)
    features = _trains_on_features(options, probe)
    source = probe.data.source if features else data.source
    model = options.model or _usual_model(options, data, features)
    channels = source.read(0 if features else int(data.rows[0])).shape[-1]
    network = zoo.create(model, data.labels.num_classes, in_chans=channels, seed=0)
    return Facts(
        images=len(data),
        classes=len(used),
        sets=not isinstance(data.labels, Single),
        unknown=data.labels.known_entries() is not None and not isinstance(data.labels, Single),
        smallest=int(used.min()),
        largest=int(used.max()),
        effective=measured.effective_classes(used),
        repeated=None if within is None else len(within.equal),
        conflicting=copies.conflicting(None if within is None else within.equal, data),
        across=0 if across is None else len(np.unique(across.equal.row)),
        alike=None if within is None or within.alike is None else len(within.alike),
        alike_conflicting=copies.conflicting(None if within is None else within.alike, data),
        alike_across=0
        if across is None or across.alike is None
        else len(np.setdiff1d(across.alike.row, across.equal.row)),
        unlabelled=0 if pile is None else len(pile),
        accuracy=accuracy,
        fitted=fitted,
        noise=noise,
        per_image=per_image,
        confused=confused,
        told={"auto": None, "yes": True, "no": False}[options.multi_label],
        mirror=channels > 1 if options.mirror == "auto" else options.mirror == "yes",
        model=model,
        weights=sum(p.numel() for p in network.parameters()),
        judge=probe.words,
        judged=0 if held is None else int(np.isfinite(held[:, 0]).sum()),
        features=features,
        augmented=not array,
        expected=options.expected,
    )


def _trains_on_features(options: AdviseOptions, probe: Probe) -> bool:
    """Whether the advice is for a head on features: they are given, or the judge has them."""
    return probe.on_features and (options.model is None or zoo.takes_features(options.model))


def _usual_model(options: AdviseOptions, data: Dataset, features: bool) -> str:
    if features:
        return "linear"
    array = isinstance(data.source, ArraySource)
    return options.probe_model or small_network(data) if array else "resnet18"
