"""``reteach advise``: facts from the files, the labels and a cheap held-out training; then the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from ..analysis import advice
from ..analysis.advice import Given
from ..analysis.facts import Facts
from ..analysis.image_issues import ImageIssue, image_issues
from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, Source, SubsetSource, features_of, open_source
from ..duplicates.find import Copies, find
from ..duplicates.neighbours import EXACT_BELOW
from ..errors import Interrupted
from ..files import write_json
from ..inline import InNotebook
from ..item_index import rows_among
from ..labels import Single
from ..options.advise import AdviseOptions
from ..options.methods import SoftmaxOptions
from ..options.shared import Data, Model, Output, Training
from ..report.pages.advice import AdvicePiece, Page, write_advice
from ..runs import copies
from ..runs.config import Config
from ..runs.folder import open_run_folder, writing_run
from ..runs.held_out import FOLDS, check_enough, folds_of, look_at
from ..runs.inputs import open_inputs
from ..runs.label_facts import facts_of
from ..runs.label_judge import BATCH, Probe, choose_probe
from ..runs.label_pictures import confused, most_doubted, oddest, of_several_classes
from ..tables import LabelTable, write_labels
from ..unreadable import Unreadable, left_out

LISTED = 100
"""Images of each odd kind that the JSON file names."""
COPIES = 4
"""InNotebook of the copies within the images, and of those across the sets."""
SHOWN = 3


@final
@dataclass(frozen=True)
class AdviseResult(InNotebook):
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
            yield from (f"   {command}" for command in (piece.command, *piece.then))
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
    with writing_run(config):
        return _advised(options, config, folder)


def _advised(options: AdviseOptions, config: Config, folder: Path) -> AdviseResult:
    inputs = open_inputs(config.data, options.seed)
    data = inputs.train
    check_enough(data, options.folds or FOLDS)
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
        folds = folds_of(options, probe)
        config = probe.configured(config, options.steps)
        held, fitted, per_image = look_at(options, config, folder, inputs, probe, folds)
    except Interrupted as error:
        raise Interrupted(f"{error}; to go on, give the same command again") from None
    other = None if options.val_images is None else open_source(options.val_images)
    within, across = _copies(data.source, other, options.workers)
    pile = None if options.unlabeled is None else open_source(options.unlabeled)
    leaked = _leaked(pile, other, options.workers)
    listing = folder / "quarantine.csv"
    lost = Unreadable.of(
        listing,
        {**probe.broken, **(within.broken if within else {}), **inputs.quarantine},
        {} if across is None else _from("--val-images", across.broken.items()),
        _from("--val-images", left_out(other)),
        _from("--unlabeled", left_out(pile)),
    ).listed(listing)
    facts = facts_of(options, data, probe, held, fitted, per_image, within, across, pile)
    facts = replace(facts, leaked=leaked)
    given = _given(options, facts, probe, folder, data, bool(inputs.quarantine), other)
    pieces = [
        AdvicePiece(
            rule.title,
            advice.command(rule, facts, given),
            rule.finding,
            rule.page,
            rule.section,
            advice.further(rule, facts, given),
        )
        for rule in advice.matching(facts)
    ]
    plain = advice.plain_command(given, facts)
    prepare = advice.embed_commands(given)
    missing = advice.gaps(facts, options.images)
    if not _shows_pixels(data):
        missing.append(
            f"Odd images: looked for in photos only, and in at most {EXACT_BELOW:,} of them."
        )
    steps = config.training.steps or 0
    how = (facts.judge, steps, folds)
    seen = data.subset(probe.rows)
    doubted, mixed = most_doubted(seen, held), confused(facts, seen, held)
    pairs = [] if within is None else copies.pictures(within.all(), data, None, COPIES)
    shared = None if across is None else copies.pictures(across.all(), data, other, COPIES)
    issues = _issues(data, options.workers)
    page = Page(
        facts,
        pieces,
        plain,
        prepare,
        missing,
        doubted,
        mixed,
        of_several_classes(seen, held) if advice.doubt(facts) else [],
        pairs,
        shared,
        [(issue.name, issue.rule, len(issue.rows), oddest(data, issue)) for issue in issues],
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


def _copies(
    source: Source, other: Source | None, workers: int | None
) -> tuple[Copies | None, Copies | None]:
    """Copies within the images, and of validation images in them; features do not show them."""
    if features_of(source) is not None:
        return None, None
    across = None if other is None else find(source, other, workers)
    return find(source, workers=workers), across


def _leaked(pile: Source | None, other: Source | None, workers: int | None) -> int | None:
    """Unlabelled images that are validation images, or look like them; None: not looked for."""
    if pile is None or other is None or features_of(pile) is not None:
        return None
    return len(np.unique(find(pile, other, workers).all().row))


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
        None if options.labels is None else str(options.labels),
        None if options.val_labels is None else str(options.val_labels),
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


def _shows_pixels(data: Dataset) -> bool:
    """Whether the images are looked at for odd ones."""
    return features_of(data.source) is None and len(data) <= EXACT_BELOW


def _issues(data: Dataset, workers: int | None) -> list[ImageIssue]:
    """Issues of the labelled images; none for features, and for so many that nobody waits for it."""
    if not _shows_pixels(data):
        return []
    return image_issues(SubsetSource(data.source, data.rows), workers)


def _listed(data: Dataset, issue: ImageIssue) -> dict[str, Any]:
    """An issue for the JSON file: its rule, how many images, and the oddest of them."""
    items = list(data.subset(issue.rows[:LISTED]).items)
    return {"rule": issue.rule, "images": len(issue.rows), "first": items}
