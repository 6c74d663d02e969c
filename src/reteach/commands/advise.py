"""``reteach advise``: facts from the files, the labels and a cheap held-out training; then the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..analysis import advice
from ..analysis import facts as measured
from ..analysis.advice import Given
from ..analysis.facts import Facts, ShareRange
from ..analysis.intervals import wilson
from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, Source, open_source
from ..duplicates.find import Copies, find
from ..duplicates.thumbnails import DEFINITION
from ..engine.algorithm import Algorithm
from ..engine.evaluate import scores
from ..engine.run import Run
from ..engine.setup import Setup
from ..errors import Interrupted, UserError
from ..files import write_json
from ..labels import Single
from ..methods.clean import held_out_scores
from ..models import zoo
from ..options.advise import AdviseOptions
from ..options.methods import METHODS, SigmoidOptions, SoftmaxOptions
from ..options.shared import Data, Output, Training
from ..recorded import recorded
from ..relabel.calibration import presence
from ..relabel.calibration.logit_histogram import LogitHistogram
from ..relabel.noise import clean
from ..report.pages.advice import AdvicePiece, Doubted, Page, write_advice
from ..runs import copies
from ..runs.checkpoint import choose_device
from ..runs.config import Config
from ..runs.folder import open_run_folder
from ..runs.folds import split_of
from ..runs.gallery import data_url, sample_rows
from ..runs.inputs import Inputs, open_inputs
from ..runs.setup import load_recipe, make_setup
from ..unreadable import Unreadable, left_out

BATCH, PASSES, MOST_STEPS = 64, 10, 1000
SAMPLE = 2000
"""Images of each fold's training on which its fit is looked at."""
PICTURES = 12
PAIRS = 4
"""Shown of the copies within the images, and of those across the sets; pictures of the confused classes."""
SHOWN = 3
_SURE = 1e-7


@final
@dataclass(frozen=True)
class AdviseResult:
    """What was measured, and what to try first.

    Args:
        report: the page.
        numbers: the JSON file.
        facts: what was measured.
        advice: what the facts speak for, the most promising first.
        plain: the command of plain training.
        unreadable: what could not be read.
    """

    report: Path
    numbers: Path
    facts: Facts
    advice: list[AdvicePiece]
    plain: str
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """The first recommendations, and where the page is."""
        facts = self.facts
        if facts.noise is not None and not facts.several:
            yield f"wrong labels: {facts.noise.low:.0%} to {facts.noise.high:.0%}"
        if (note := advice.doubt(facts)) is not None:
            yield note
        if facts.per_image is not None:
            yield f"labels per image: {facts.per_image.value:.2f}"
        for number, piece in enumerate(self.advice[:SHOWN], 1):
            where = f"docs/{piece.page}{', ' if piece.section else ''}{piece.section}"
            yield f"{number}. {piece.title}  ({where})"
            yield f"   {piece.command}"
        if not self.advice:
            yield "Nothing that was measured speaks for more than plain training:"
            yield f"   {self.plain}"
        yield f"page: {self.report}"


def advise(options: AdviseOptions) -> AdviseResult:
    """Measure, and write the page.

    Raises:
        UserError: no labels, one class, too few images, or images that cannot be used.
    """
    config, folder = _config(options), options.out.with_suffix("")
    inputs = open_inputs(config.data, options.seed)
    data = inputs.train
    small = options.probe_model or _small(data)
    steps = options.steps or min(MOST_STEPS, max(1, PASSES * len(data) // BATCH))
    config = replace(
        config,
        model=replace(config.model, model=small, image_size=_side(data)),
        training=replace(config.training, steps=steps),
    )
    _enough(data, options.folds)
    config = open_run_folder(config, folder)
    try:
        held, fitted, per_image = _looked_at(options, config, folder, inputs)
    except Interrupted as error:
        raise Interrupted(f"{error}; to go on, give the same command again") from None
    other = None if options.val_images is None else open_source(options.val_images)
    within = find(data.source, workers=options.workers)
    across = None if other is None else find(data.source, other, options.workers)
    pile = None if options.unlabeled is None else open_source(options.unlabeled)
    listing = folder / "quarantine.csv"
    lost = Unreadable.of(
        listing,
        {**within.broken, **inputs.quarantine},
        {} if across is None else _from("--val-images", across.broken.items()),
        _from("--val-images", left_out(other)),
        _from("--unlabeled", left_out(pile)),
    ).listed(listing)
    facts = _facts(options, data, held, fitted, per_image, within, across, pile)
    given = Given(
        options.images,
        None if options.labels is None else str(options.labels),
        options.val_images,
        None if options.val_labels is None else str(options.val_labels),
        options.val_labels is not None or (other is not None and other.class_of is not None),
        options.unlabeled,
        facts.model,
        isinstance(data.source, ArraySource),
    )
    pieces = [
        AdvicePiece(
            rule.title,
            advice.command(rule, facts, given),
            rule.finding,
            rule.page,
            rule.section,
        )
        for rule in advice.matching(facts)
    ]
    plain = advice.plain_command(given, facts)
    missing = advice.gaps(facts)
    how = (small, steps, options.folds)
    doubted, mixed = _pictures(data, held), _mixed(facts, data, held)
    pairs = copies.pictures(within.all(), data, None, PAIRS)
    shared = None if across is None else copies.pictures(across.all(), data, other, PAIRS)
    page = Page(facts, pieces, plain, missing, doubted, mixed, pairs, shared, how)
    numbers = options.out.with_suffix(".json")
    write_json(
        numbers,
        {
            "facts": asdict(facts),
            "advice": [asdict(piece) for piece in pieces],
            "plain": plain,
            "not_known": missing,
            "small": small,
            "steps": steps,
            "folds": options.folds,
            "seed": options.seed,
        },
    )
    write_advice(options.out, page)
    return AdviseResult(options.out, numbers, facts, pieces, plain, lost)


def _from(option: str, found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(item, reason) of images that are not those of --images, which may be called the same."""
    return [(item, f"{reason} (of {option})") for item, reason in found]


def _config(options: AdviseOptions) -> Config:
    data = Data(
        images=options.images,
        labels=options.labels,
        kind=options.kind,
        classes=options.classes,
        val_fraction=0.0,
        workers=options.workers,
    )
    training = Training(batch_size=BATCH, optimizer="adam", augment="none", seed=options.seed)
    folder = Output(out=options.out.with_suffix(""))
    return Config("softmax", SoftmaxOptions(), data=data, training=training, output=folder)


def _small(data: Dataset) -> str:
    if not isinstance(data.source, ArraySource):
        return "reteach_small"
    side = min(data.source.read(int(data.rows[0])).shape[:2])
    return "reteach_tiny" if side < 24 else "reteach_mid" if side < 48 else "reteach_small"


def _side(data: Dataset) -> int | None:
    return None if isinstance(data.source, ArraySource) else 64


def _enough(data: Dataset, folds: int) -> None:
    if not isinstance(data.labels, Single):
        return
    used = int(np.count_nonzero(data.labels.counts()))
    if len(data) < folds * used:
        raise UserError(
            f"{len(data)} labelled images are too few to hold out {folds} folds of {used} classes: "
            f"{folds * used} are needed; lower --folds, or label more"
        )


def _looked_at(
    options: AdviseOptions, config: Config, folder: Path, inputs: Inputs
) -> tuple[NDArray[np.float32] | None, float | None, ShareRange | None]:
    """Held-out scores (N, C), the fit of what was learned, and classes per image."""
    data = inputs.train
    if not isinstance(data.labels, Single):
        sizes = np.bincount(data.labels.pairs()[0], minlength=len(data))
        mean, error = float(sizes.mean()), float(sizes.std() / len(sizes) ** 0.5)
        return None, None, ShareRange(mean, mean - 2 * error, mean + 2 * error)
    setup = make_setup(config, inputs, choose_device("auto"))
    run = Run(folder, options.seed)
    split = run.once(
        "split",
        lambda: split_of(data, options.folds, config),
        images=data,
        folds=options.folds,
        copies=DEFINITION,
    )
    recipe = Watched(load_recipe(METHODS["softmax"].recipe))
    held = held_out_scores(setup, recipe, config.settings, split["fold"], run)
    fits = [float(np.load(file)) for file in sorted(folder.glob("folds/*/fitted.npy"))]
    asked = options.multi_label != "no"  # who knows that there is one does not want an estimate
    per_image = _per_image(held, data.labels, "softmax") if asked else None
    if options.multi_label == "yes" or (per_image is not None and per_image.low > measured.SEVERAL):
        # softmax shares its probability out among the classes of an image: ask sigmoids how many. Where
        # they cannot tell, nothing is claimed: many wrong labels look like several classes to softmax
        other = Run(folder / "sigmoid", options.seed)
        sigmoid = load_recipe(METHODS["sigmoid"].recipe)
        second = held_out_scores(setup, sigmoid, SigmoidOptions(), split["fold"], other)
        per_image = _per_image(second, data.labels, "sigmoid")
    inputs.quarantine.update(setup.broken)
    return held, float(np.mean(fits)), per_image


@final
@recorded("watched-recipe")
@dataclass(frozen=True)
class Watched:
    """A recipe that leaves behind how well the trained model fits what it learned from."""

    recipe: Any

    def __call__(self, setup: Setup, settings: Any, run: Run) -> Algorithm:
        algorithm: Algorithm = self.recipe(setup, settings, run)
        data = setup.train.subset(sample_rows(len(setup.train), SAMPLE))
        assert isinstance(data.labels, Single)
        rows, seen = scores(next(iter(algorithm.predictors().values())), setup.scan(data))
        if run.folder is not None:
            run.folder.mkdir(parents=True, exist_ok=True)
            np.save(run.folder / "fitted.npy", (seen.argmax(1) == data.labels.index[rows]).mean())
        return algorithm


def _per_image(held: NDArray[np.float32], labels: Single, link: Any) -> ShareRange | None:
    """Classes per image from calibrated held-out scores; None where they cannot tell."""
    readable = np.isfinite(held[:, 0])
    p = np.clip(held[readable].astype(np.float64), _SURE, 1 - _SURE)
    histogram = LogitHistogram(labels.classes)
    histogram.add((np.log(p) - np.log1p(-p)).astype(np.float32), labels.index[readable])
    try:
        calibration = presence.calibrate(histogram, link)
    except UserError:
        return None
    if calibration.warnings:
        return None
    mean = calibration.labels_per_image
    return ShareRange(mean, *sorted([*calibration.range, mean])[::2])


def _facts(
    options: AdviseOptions,
    data: Dataset,
    held: NDArray[np.float32] | None,
    fitted: float | None,
    per_image: ShareRange | None,
    within: Copies,
    across: Copies | None,
    pile: Source | None,
) -> Facts:
    counts = data.labels.counts()
    used = counts[counts > 0]
    accuracy = noise = None
    confused: tuple[measured.Confusion, ...] = ()
    if held is not None:
        assert isinstance(data.labels, Single)
        readable = np.isfinite(held[:, 0])
        given, seen = data.labels.index[readable], held[readable]
        hits = int((seen.argmax(1) == given).sum())
        low, high = wilson(hits, len(given))
        accuracy = ShareRange(hits / len(given), float(low), float(high))
        noise = measured.noise_range(seen, given)
        if noise is not None:
            confused = measured.confused(seen, given, data.classes)
    array = isinstance(data.source, ArraySource)
    model = options.model or (options.probe_model or _small(data) if array else "resnet18")
    channels = data.source.read(int(data.rows[0])).shape[-1]
    network = zoo.create(model, data.labels.num_classes, in_chans=channels, seed=0)
    return Facts(
        images=len(data),
        classes=len(used),
        sets=not isinstance(data.labels, Single),
        unknown=data.labels.known_entries() is not None and not isinstance(data.labels, Single),
        smallest=int(used.min()),
        largest=int(used.max()),
        effective=measured.effective_classes(used),
        repeated=len(within.equal),
        conflicting=copies.conflicting(within.equal, data),
        across=0 if across is None else len(np.unique(across.equal.row)),
        alike=None if within.alike is None else len(within.alike),
        alike_conflicting=copies.conflicting(within.alike, data),
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
    )


def _pictures(data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images whose label the held-out models doubt most."""
    if held is None:
        return []
    assert isinstance(data.labels, Single)
    gap = clean.suspicion(np.nan_to_num(held, nan=-1.0), data.labels.index)
    rows = np.argsort(-gap, kind="stable")[:PICTURES]
    return _shown(data, held, rows[gap[rows] > 0])


def _mixed(facts: Facts, data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images of the two classes that are confused most which the models take for the other one."""
    if held is None or not facts.confused:
        return []
    assert isinstance(data.labels, Single)
    seen, given = np.nan_to_num(held, nan=-1.0), data.labels.index
    pair = [data.classes.index(name) for name in (facts.confused[0].one, facts.confused[0].other)]
    choice, gap = seen.argmax(1), clean.suspicion(seen, given)
    sides = [np.flatnonzero((given == a) & (choice == b)) for a, b in (pair, pair[::-1])]
    each = [rows[np.argsort(-gap[rows], kind="stable")][: PAIRS // 2] for rows in sides]
    return _shown(data, held, np.concatenate(each))


def _shown(data: Dataset, held: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Doubted]:
    assert isinstance(data.labels, Single)
    return [
        (
            data_url(data.source.read(int(data.rows[row]))),
            data.source.items[int(data.rows[row])],
            data.classes[data.labels.index[row]],
            data.classes[int(held[row].argmax())],
        )
        for row in rows.tolist()
    ]
