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
from ..analysis.image_issues import ImageIssue, image_issues
from ..analysis.intervals import wilson
from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, Source, SubsetSource, features_of, open_source
from ..duplicates.find import Copies, find
from ..duplicates.looks import definition
from ..duplicates.neighbours import EXACT_BELOW
from ..engine.algorithm import Algorithm
from ..engine.evaluate import scores
from ..engine.run import Run
from ..engine.setup import Setup
from ..errors import Interrupted, UserError
from ..files import write_json
from ..item_index import rows_among
from ..labels import Single
from ..methods.clean import held_out_scores
from ..models import zoo
from ..options.advise import AdviseOptions
from ..options.methods import METHODS, SigmoidOptions, SoftmaxOptions
from ..options.shared import Data, Model, Output, Training
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
from ..runs.label_judge import BATCH, Probe, choose_probe, small_network
from ..runs.setup import load_recipe, make_setup
from ..tables import LabelTable, write_labels
from ..unreadable import Unreadable, left_out

SAMPLE = 2000
"""Images of each fold's training on which its fit is looked at."""
FOLDS, HEAD_FOLDS = 4, 8
PICTURES, LISTED = 12, 100
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
        features: commands that these need first: features of the images.
        image_issues: how many images are odd in each way; empty where pixels were not looked at.
        unreadable: what could not be read.
    """

    report: Path
    numbers: Path
    facts: Facts
    advice: list[AdvicePiece]
    plain: str
    features: list[str]
    image_issues: dict[str, int]
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """The first recommendations, and where the page is."""
        facts = self.facts
        if not facts.sets:
            yield f"judged by: {facts.judge}"
        if facts.noise is not None and not facts.several:
            yield f"wrong labels: {facts.noise.low:.0%} to {facts.noise.high:.0%}"
        if (note := advice.doubt(facts)) is not None:
            yield note
        if facts.per_image is not None:
            yield f"labels per image: {facts.per_image.value:.2f}"
        if odd := [f"{count:,} {name}" for name, count in self.image_issues.items() if count]:
            yield f"odd images: {', '.join(odd)}"
        if self.features:
            yield "features, once (the commands below use them):"
            yield from (f"   {command}" for command in self.features)
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
    _enough(data, options.folds or FOLDS)
    open_run_folder(config, folder)
    try:
        probe = choose_probe(
            options.images,
            data,
            options.probe_model,
            folder,
            options.sample,
            options.seed,
            options.workers,
        )
        folds = _folds(options, probe)
        config = probe.configured(config, options.steps)
        held, fitted, per_image = _looked_at(options, config, folder, inputs, probe, folds)
    except Interrupted as error:
        raise Interrupted(f"{error}; to go on, give the same command again") from None
    other = None if options.val_images is None else open_source(options.val_images)
    within, across = _copies(data.source, other, options.workers)
    pile = None if options.unlabeled is None else open_source(options.unlabeled)
    listing = folder / "quarantine.csv"
    lost = Unreadable.of(
        listing,
        {**(within.broken if within else {}), **inputs.quarantine},
        {} if across is None else _from("--val-images", across.broken.items()),
        _from("--val-images", left_out(other)),
        _from("--unlabeled", left_out(pile)),
    ).listed(listing)
    facts = _facts(options, data, probe, held, fitted, per_image, within, across, pile)
    given = _given(options, facts, probe, folder, data, bool(inputs.quarantine), other)
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
    prepare = advice.embed_commands(given)
    missing = advice.gaps(facts)
    if not _shows_pixels(data):
        missing.append(
            f"Odd images: looked for in photos only, and in at most {EXACT_BELOW:,} of them."
        )
    steps = config.training.steps or 0
    how = (facts.judge, steps, folds)
    seen = data.subset(probe.rows)
    doubted, mixed = _pictures(seen, held), _mixed(facts, seen, held)
    pairs = [] if within is None else copies.pictures(within.all(), data, None, PAIRS)
    shared = None if across is None else copies.pictures(across.all(), data, other, PAIRS)
    issues = _issues(data, options.workers)
    page = Page(
        facts,
        pieces,
        plain,
        prepare,
        missing,
        doubted,
        mixed,
        _several(seen, held) if advice.doubt(facts) else [],
        pairs,
        shared,
        [(issue.name, issue.rule, len(issue.rows), _examples(data, issue)) for issue in issues],
        how,
    )
    numbers = options.out.with_suffix(".json")
    write_json(
        numbers,
        {
            "facts": asdict(facts),
            "advice": [asdict(piece) for piece in pieces],
            "plain": plain,
            "features": prepare,
            "image_issues": {issue.name: _listed(data, issue) for issue in issues},
            "not_known": missing,
            "judge": facts.judge,
            "steps": steps,
            "folds": folds,
            "seed": options.seed,
        },
    )
    write_advice(options.out, page)
    return AdviseResult(
        options.out,
        numbers,
        facts,
        pieces,
        plain,
        prepare,
        {issue.name: len(issue.rows) for issue in issues},
        lost,
    )


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
    training = Training(batch_size=BATCH, augment="none", seed=options.seed, steps=options.steps)
    model = Model(options.probe_model or "auto")
    folder = Output(out=options.out.with_suffix(""))
    return Config(
        "softmax", SoftmaxOptions(), data=data, model=model, training=training, output=folder
    )


def _folds(options: AdviseOptions, probe: Probe) -> int:
    """Heads are cheap, and of few images each should learn from nearly all."""
    used = int(np.count_nonzero(probe.data.labels.counts()))
    many = probe.on_features and len(probe.data) >= HEAD_FOLDS * used
    return options.folds or (HEAD_FOLDS if many else FOLDS)


def _copies(
    source: Source, other: Source | None, workers: int | None
) -> tuple[Copies | None, Copies | None]:
    """Copies within the images, and of validation images in them; features do not show them."""
    if features_of(source) is not None:
        return None, None
    across = None if other is None else find(source, other, workers)
    return find(source, workers=workers), across


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
    options: AdviseOptions,
    config: Config,
    folder: Path,
    inputs: Inputs,
    probe: Probe,
    folds: int,
) -> tuple[NDArray[np.float32] | None, float | None, ShareRange | None]:
    """Held-out scores (N, C), the fit of what was learned, and classes per image."""
    data = probe.data
    if not isinstance(data.labels, Single):
        sizes = np.bincount(data.labels.pairs()[0], minlength=len(data))
        mean, error = float(sizes.mean()), float(sizes.std() / len(sizes) ** 0.5)
        return None, None, ShareRange(mean, mean - 2 * error, mean + 2 * error)
    setup = make_setup(config, replace(inputs, train=data), choose_device("auto"))
    run = Run(folder, options.seed)
    split = run.once(
        "split",
        lambda: split_of(data, folds, config),
        images=data,
        folds=folds,
        copies=definition(data.source),
    )
    recipe = Watched(load_recipe(METHODS["softmax"].recipe))
    held = held_out_scores(setup, recipe, config.settings, split["fold"], run)
    fits = [float(np.load(file)) for file in sorted(folder.glob("folds/*/fitted.npy"))]
    asked = options.multi_label != "no"  # who knows that there is one does not want an estimate
    per_image = _per_image(held, data.labels, "softmax") if asked else None
    many = per_image is not None and per_image.low > measured.SEVERAL
    if probe.on_features and many and options.multi_label != "yes":
        per_image = None  # there sigmoids, too, take 40% of wrong labels for five classes per image
    elif options.multi_label == "yes" or many:
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
    probe: Probe,
    held: NDArray[np.float32] | None,
    fitted: float | None,
    per_image: ShareRange | None,
    within: Copies | None,
    across: Copies | None,
    pile: Source | None,
) -> Facts:
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
    )


def _given(
    options: AdviseOptions,
    facts: Facts,
    probe: Probe,
    folder: Path,
    data: Dataset,
    lost: bool,
    other: Source | None,
) -> Given:
    """What the user gave; with a head on features of photos, tables of these in the advice's folder."""
    labelled = options.val_labels is not None or (other is not None and other.class_of is not None)
    frozen = facts.features and probe.table is not None
    labels, val_labels = (
        None if given is None else str(given) for given in (options.labels, options.val_labels)
    )
    if frozen:
        labels = _own_labels(options.labels, data, lost, folder / "labels.csv")
        if options.val_labels is None and (val := _folder_labels(other)) is not None:
            val_labels = _own_labels(None, val, False, folder / "val-labels.csv")
    return Given(
        options.images,
        labels,
        options.val_images,
        val_labels,
        labelled,
        options.unlabeled,
        facts.model,
        isinstance(data.source, ArraySource) and not facts.features,
        advice.FeatureCommands(str(folder), probe.image_size, probe.whole) if frozen else None,
    )


def _own_labels(asked: Path | None, data: Dataset, lost: bool, file: Path) -> str | None:
    """The label table for a feature table, which has no class folders, and not what cannot be read."""
    if asked is not None and not lost:
        return str(asked)
    write_labels(file, LabelTable(tuple(data.items), data.labels, "advise"))
    return str(file)


def _folder_labels(source: Source | None) -> Dataset | None:
    """Images under the labels of their class folders."""
    if source is None or source.class_of is None:
        return None
    names = tuple(sorted(set(source.class_of)))
    return Dataset.of(source, Single(rows_among(source.class_of, names), names))


def _trains_on_features(options: AdviseOptions, probe: Probe) -> bool:
    """Whether the advice is for a head on features: they are given, or the judge has them."""
    return probe.on_features and (options.model is None or zoo.takes_features(options.model))


def _usual_model(options: AdviseOptions, data: Dataset, features: bool) -> str:
    if features:
        return "linear"
    array = isinstance(data.source, ArraySource)
    return options.probe_model or small_network(data) if array else "resnet18"


def _pictures(data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images whose label the held-out models doubt most."""
    if held is None:
        return []
    assert isinstance(data.labels, Single)
    gap = clean.suspicion(np.nan_to_num(held, nan=-1.0), data.labels.index)
    rows = np.argsort(-gap, kind="stable")[:PICTURES]
    return _shown(data, held, rows[gap[rows] > 0])


def _several(data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images whose label the models confirm beside another class: what speaks for several of them."""
    if held is None:
        return []
    assert isinstance(data.labels, Single)
    both = np.nan_to_num(held, nan=-1.0)
    at = np.arange(len(both))
    own = both[at, data.labels.index].copy()
    both[at, data.labels.index] = -1
    other = np.minimum(own, both.max(1))
    rows = np.argsort(-other, kind="stable")[:PAIRS]
    return _shown(data, np.asarray(both, np.float32), rows[other[rows] > 0])


def _shows_pixels(data: Dataset) -> bool:
    """Whether the images are looked at for odd ones."""
    return features_of(data.source) is None and len(data) <= EXACT_BELOW


def _issues(data: Dataset, workers: int | None) -> list[ImageIssue]:
    """Issues of the labelled images; none for features, and for so many that nobody waits for it."""
    if not _shows_pixels(data):
        return []
    return image_issues(SubsetSource(data.source, data.rows), workers)


def _examples(data: Dataset, issue: ImageIssue) -> list[Doubted]:
    """The oddest images under their labels."""
    shown = data.subset(issue.rows[:PAIRS])
    return [
        (data_url(data.source.read(row)), item, ", ".join(names), "")
        for row, item, names in zip(
            shown.rows.tolist(), shown.items, shown.labels.names(), strict=True
        )
    ]


def _listed(data: Dataset, issue: ImageIssue) -> dict[str, Any]:
    """An issue for the JSON file: its rule, how many images, and the oddest of them."""
    items = data.subset(issue.rows[:LISTED]).items
    return {"rule": issue.rule, "images": len(issue.rows), "first": items}


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
