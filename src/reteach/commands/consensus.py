"""``reteach relabel consensus``: raters' answers in, labels out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..analysis.curves import OperatingPoint, operating_point, threshold_for
from ..analysis.outcome import Outcome, Sources
from ..data.loading.decode import ImageError
from ..data.sources.base import open_source
from ..errors import UserError
from ..files import atomic_write
from ..frames import TableFile
from ..inline import InNotebook
from ..options.relabel import ConsensusOptions
from ..progress import note
from ..relabel.raters import consensus as pooled
from ..relabel.raters import reassessed
from ..relabel.raters.agreement import Agreement, agreement
from ..relabel.raters.golden_scores import golden_scores
from ..relabel.raters.pair_models import by_crowdlab, by_glad, by_mace, model_probabilities
from ..relabel.raters.rating_tables import RatingTable, pairs_of, read_rating_table, votes_of
from ..relabel.raters.ratings import Ratings
from ..relabel.raters.reference_labels import gold_changed, with_gold, with_originals
from ..scores.classes import read_classes
from ..scores.table import ScoreWriter
from ..tables import LabelTable, read_labels, write_labels
from .consensus_classes import (
    ClassConsensusResult,
    agreement_lines,
    consensus_of_classes,
    write_unlabeled,
)


@final
@dataclass(frozen=True)
class ConsensusResult(InNotebook, TableFile):
    """The labels that were written.

    Args:
        out: the label table.
        unlabeled: label table of the items of which no asked class reached the threshold.
        pending: list of the items that still lack answers; None: there is none.
        scores: probability of every rated pair, where it was asked for.
        report: the page, where it was asked for.
        method: golden, em, mace, glad, crowdlab or majority.
        threshold: probability of a label at least.
        items: in the table.
        labels: on all of them.
        emptied_by_gold: items whose gold holds no class; their labels are known to be none.
        point: precision and recall on the golden pairs; None: they cannot tell.
        agreement: of the raters with each other, on all pairs that were answered.
        notes: what the user should know of the ratings.
        outcome: everything the labels follow from.
    """

    out: Path
    unlabeled: Path
    pending: Path | None
    scores: Path | None
    report: Path | None
    method: str
    threshold: float
    items: int
    labels: int
    emptied_by_gold: int
    point: OperatingPoint | None
    agreement: Agreement
    notes: list[str]
    outcome: Outcome = field(repr=False, metadata={"json": False})

    def lines(self) -> Iterator[str]:
        """The answers, how right the labels are on golden pairs, how many there are, and the files."""
        yield from self.notes
        outcome, ratings = self.outcome, self.outcome.sources.ratings
        rated = len(np.unique(ratings.pair_item))
        yield (
            f"{len(ratings.answer):,} answers of {len(ratings.raters)} raters on "
            f"{len(ratings.pair_item):,} pairs of {rated:,} items; method: {self.method}"
        )
        if likelihood := outcome.found.log_likelihood:
            yield f"log-likelihood {likelihood[-1]:.1f} after {len(likelihood)} iterations"
        yield from agreement_lines(self.agreement)
        yield from _on_golden_pairs(outcome)
        yield (
            f"{self.labels:,} labels on {int((np.diff(outcome.labels.starts) > 0).sum()):,} of "
            f"{self.items:,} items, the raters' at probability ≥ {self.threshold:.6g}: {self.out}"
        )
        if self.scores is not None:
            yield f"scores: {self.scores}"
        if outcome.gold_items:
            yield f"{outcome.gold_items:,} items carry their gold labels"
        if outcome.ruled:
            yield f"{outcome.ruled:,} pairs are as the owner ruled"
        if self.emptied_by_gold:
            yield f"{self.emptied_by_gold:,} items have no label by gold: none of the classes is in them"
        yield (
            f"{len(outcome.unlabeled):,} items left without labels, no class reached the threshold: "
            f"{self.unlabeled}"
        )
        if self.pending is not None:
            yield f"{_lack_answers(outcome)}; listed in {self.pending}"
        if self.report is not None:
            yield f"report: {self.report}"


def _on_golden_pairs(outcome: Outcome) -> Iterator[str]:
    point = outcome.point
    if point is not None and math.isnan(point.precision):
        yield (
            f"on golden pairs: no golden pair passes probability ≥ {outcome.threshold:.6g}, so recall is "
            "0% and precision unknown"
        )
    elif point is not None:
        p, r = point.precision_interval, point.recall_interval
        yield (
            f"on golden pairs: precision {point.precision:.1%} ({p[0]:.1%} to {p[1]:.1%}), "
            f"recall {point.recall:.1%} ({r[0]:.1%} to {r[1]:.1%}), 95% by image, "
            "scored with the votes that other pairs have"
        )
    elif outcome.sources.ratings.golden.any():
        yield "the golden pairs are too few to judge the consensus by"
    elif outcome.gold_unanswered:
        yield (
            f"none of the {outcome.gold_unanswered:,} golden pairs has been answered yet: precision and "
            "recall are unknown"
        )


def _lack_answers(outcome: Outcome) -> str:
    there = set(outcome.items)
    kept = sum(item in there for item in outcome.pending)
    left_out = len(outcome.pending) - kept
    what = [f"{kept:,} keep their original label"] if kept else []
    what += [f"{left_out:,} are left out of the table"] if left_out else []
    return (
        f"{len(outcome.pending):,} items lack answers (fewer than {outcome.sources.wanted} to some "
        f"class): {' and '.join(what)}"
    )


def consensus(options: ConsensusOptions) -> ConsensusResult | ClassConsensusResult:
    """Turn raters' answers into labels.

    Raises:
        UserError: no such ratings, no answers yet, or settings that these answers have no use for.
    """
    classes = None if options.classes is None else read_classes(options.classes)
    table = None
    if options.ratings is not None and options.ratings.lower().endswith(".csv"):
        table = read_rating_table(Path(options.ratings))
        if not table.binary:
            return consensus_of_classes(options, votes_of(table))
    sources, notes = _sources(options, table, classes)
    outcome = _decide(options, sources)
    if (
        options.method is None
        and outcome.found.method == "em"
        and outcome.sources.ratings.golden.any()
    ):
        notes.append(
            "the golden pairs are all true or all false, by which no rater can be judged: error rates "
            "are found together with the truth instead (--method em)"
        )
    return _write(options, outcome, notes)


def _sources(
    options: ConsensusOptions, table: RatingTable | None, classes: tuple[str, ...] | None
) -> tuple[Sources, list[str]]:
    """What there is to decide by, and what the user should know of it."""
    notes: list[str] = []
    group, experts, calibration, agree = None, None, None, options.agree
    wanted, final = options.wanted or 1, options.reassessed is None or options.gold is not None
    if options.reassessed is not None:
        names = None if classes is None else list(classes)
        ratings, calibration, experts = reassessed.load(
            options.reassessed, original=options.labels, classes=names
        )
        group = reassessed.animals()
    else:
        if table is not None:
            ratings, said = pairs_of(table, classes), table.answers_wanted()
            agree = agree or table.answers_that_agree()
        else:
            from ..rating.read import golden_by_pairs, read_wanted

            ratings, (said, settled) = read_wanted(str(options.ratings))
            agree = agree or settled
            if options.gold is None and (partly := golden_by_pairs(str(options.ratings))):
                notes.append(
                    f"{partly:,} items have gold for the classes that were asked about alone: if they show "
                    "other classes, give --gold"
                )
        ratings, wanted = ratings.in_order(), options.wanted or said or 1
        if table is not None and not table.lists_asked:
            notes.append(
                f"{table.path} lists answers only: pairs nobody answered are unknown, and an image counts as "
                "rated once all classes that the file names for it are"
            )
        elif said is None:
            notes.append(
                f"{options.ratings} does not say how many answers a class needs (taken: {wanted}; --wanted "
                "sets it), nor which images had no task"
            )
        if options.labels is not None:
            originals = read_labels(options.labels, kind="single", classes=classes)
            ratings = with_originals(ratings, originals)
    if options.gold is not None:
        before = ratings
        ratings = with_gold(before, read_labels(options.gold, kind="multi"))
        notes += _say_changed(gold_changed(before, ratings))
        calibration = experts = None
    if options.trust_original is not None:
        trusted = set(read_classes(options.trust_original))
        unknown = sorted(trusted - set(ratings.classes))
        if unknown:
            raise UserError(f"{options.trust_original}: no class is called {unknown[0]!r}")
        if (ratings.original < 0).all():
            raise UserError("--trust-original needs the original labels (--labels)")
        group = np.array([name in trusted for name in ratings.classes], np.bool_)
    if options.agree is not None and options.agree >= wanted:
        raise UserError(
            f"--agree {agree} has no effect: every class needs {wanted} answers (--wanted) as it is"
        )
    if ratings.ruled:
        notes.append(
            f"{len(ratings.ruled):,} pairs are decided by the owner's rulings; they judge no rater, because "
            "disputed pairs are harder than others"
        )
    if agree is not None and agree >= wanted:
        agree = None  # --wanted asks for no more than that of any class
    return Sources(ratings, calibration, experts, group, wanted, agree, final), notes


def _say_changed(items: list[str]) -> list[str]:
    if not items:
        return []
    return [
        f"--gold decides for {len(items):,} items where the ratings' own gold says otherwise, "
        f"first: {items[0]!r}"
    ]


def _decide(options: ConsensusOptions, asked: Sources) -> Outcome:
    full = asked.ratings
    sources = replace(asked, ratings=full.answered().without_rulings())
    ratings = sources.ratings
    if not len(ratings.answer):
        raise UserError("there are no answers yet")
    golden = ratings.golden
    known = sources.calibration or ratings
    usable = golden.any() and pooled.gold_can_judge(known)
    method = options.method or ("golden" if usable else "em")
    found = _found(options, method, sources)
    on_gold = _on_gold(options, sources, found)
    drawn = full.without_rulings().golden
    unanswered = 0 if golden.any() else int(drawn.sum())
    threshold = _threshold(options, method, sources, on_gold, unanswered)
    at, truth = None, sources.truth()[golden]
    if on_gold is not None and truth.any():
        at = operating_point(on_gold, truth, ratings.pair_item[golden], threshold)

    score = np.full(len(full.pair_item), np.nan)
    score[full.counts().sum(1) > 0] = found.score
    labels = pooled.labels(
        full,
        score,
        threshold,
        wanted=asked.wanted,
        agree=asked.agree,
        gold=asked.gold_is_final,
    )
    rated = np.bincount(full.pair_item, minlength=len(full.items)) > 0
    decided = pooled.decided(full, asked.wanted, asked.agree)
    pending, original = rated & ~decided, full.original >= 0
    written = decided | (original & ~(pending & (options.pending == "drop")))
    rows = np.flatnonzero(written)
    empty = np.flatnonzero(decided & (np.diff(labels.starts) == 0))
    if asked.gold_is_final:
        by_gold = np.bincount(full.pair_item[~full.golden], minlength=len(full.items)) == 0
        empty, emptied = empty[~by_gold[empty]], empty[by_gold[empty]]
    else:
        emptied = empty[:0]
    golden_item = np.bincount(full.pair_item[drawn], minlength=len(full.items)) > 0
    return Outcome(
        sources,
        found,
        threshold,
        [full.items[row] for row in rows.tolist()],
        labels.take(rows),
        [full.items[row] for row in empty.tolist()],
        [full.items[row] for row in np.flatnonzero(pending).tolist()],
        int((golden_item & decided).sum()) if asked.gold_is_final else 0,
        len(full.ruled),
        _agreement(ratings),
        at,
        on_gold,
        unanswered,
        len(emptied),
    )


def _found(options: ConsensusOptions, method: str, sources: Sources) -> pooled.Consensus:
    ratings, group, smoothing = sources.ratings, sources.group, options.smoothing
    if method == "golden":
        return pooled.golden(
            ratings, calibration=sources.calibration, group=group, smoothing=smoothing
        )
    if method == "em":
        return pooled.em(ratings, group=group, iterations=options.iterations, smoothing=smoothing)
    if method == "mace":
        return by_mace(ratings, group=group, iterations=options.iterations)
    if method == "glad":
        return by_glad(ratings, group=group, iterations=options.iterations)
    if method == "crowdlab":
        assert options.model_scores is not None
        return by_crowdlab(ratings, model_probabilities(options.model_scores, ratings), group=group)
    return pooled.majority(ratings)


def _agreement(ratings: Ratings) -> Agreement:
    return agreement(
        pooled.answers_of(ratings),
        ratings.raters,
        ratings.pair_item,
        ratings.pair_class,
        ratings.classes,
    )


def _on_gold(
    options: ConsensusOptions, sources: Sources, found: pooled.Consensus
) -> NDArray[np.float64] | None:
    """(D, G) scores of the golden pairs; None where there are too few to say anything."""
    if not sources.ratings.golden.any():
        return None
    try:
        return golden_scores(
            sources.ratings,
            found,
            calibration=sources.calibration,
            group=sources.group,
            smoothing=options.smoothing,
            votes=sources.wanted if sources.wanted > 1 else None,
            agree=sources.agree,
            seed=options.seed,
        )
    except UserError:
        if options.precision is not None or options.recall is not None:
            raise
        return None


def _threshold(
    options: ConsensusOptions,
    method: str,
    sources: Sources,
    on_gold: NDArray[np.float64] | None,
    unanswered: int,
) -> float:
    if options.precision is not None or options.recall is not None:
        if on_gold is None and unanswered:
            raise UserError(
                f"none of the {unanswered:,} golden pairs has been answered yet, and --precision and "
                "--recall are judged by answers: name a --threshold until then"
            )
        if on_gold is None:
            raise UserError(
                "--precision and --recall need golden pairs: name a --threshold instead"
            )
        truth = np.tile(sources.truth()[sources.ratings.golden], len(on_gold))
        return threshold_for(
            on_gold.ravel(), truth, precision=options.precision, recall=options.recall
        )
    if options.threshold is not None:
        return options.threshold
    if method == "majority":
        return 0.5 if options.ties == "keep" else float(np.nextafter(0.5, 1))
    return 0.8


def _pictures(images: str, ratings: Ratings) -> Callable[[str], str | None]:
    """Item -> a small picture as a data URL; None where it cannot be read.

    Raises:
        UserError: no rated item is among the images.
    """
    from ..runs.gallery import data_url

    source = open_source(images)
    at = {item: row for row, item in enumerate(source.items)}
    rated = [ratings.items[item] for item in np.unique(ratings.pair_item).tolist()]
    if missing := [item for item in rated if item not in at]:
        if len(missing) == len(rated):
            raise UserError(
                f"--images {images}: none of the rated items is there, as {rated[0]!r}; are they elsewhere?"
            )
        note(
            f"--images {images}: {len(missing):,} of {len(rated):,} rated items are not there, "
            f"first: {missing[0]!r}"
        )

    def picture(item: str) -> str | None:
        try:
            return data_url(source.read(at[item])) or None if item in at else None
        except ImageError:
            return None

    return picture


def _source(options: ConsensusOptions, outcome: Outcome) -> str:
    """What the labels come from, in the table's own column."""
    raters = len(outcome.sources.ratings.raters)
    parts = [f"{outcome.found.method} consensus of {raters} raters, ≥ {outcome.threshold:.6g}"]
    if outcome.gold_items:
        parts.append(f"gold on {outcome.gold_items} items")
    if outcome.ruled:
        parts.append(f"the owner's ruling on {outcome.ruled} pairs")
    if outcome.pending and options.pending == "keep":
        parts.append(f"original label on {len(outcome.pending)} items still being rated")
    return "; ".join(parts)


def _write(options: ConsensusOptions, outcome: Outcome, notes: list[str]) -> ConsensusResult:
    ratings, found, labels = outcome.sources.ratings, outcome.found, outcome.labels
    write_labels(options.out, LabelTable(tuple(outcome.items), labels, _source(options, outcome)))
    if options.scores is not None:
        with ScoreWriter(options.scores, ratings.classes, double=True) as out:
            out.write(ratings.items, ratings.pair_item, ratings.pair_class, found.score)
    pending = None
    if outcome.pending:
        pending = options.out.with_name(f"{options.out.stem}.pending.txt")
        atomic_write(pending, "".join(f"{item}\n" for item in outcome.pending))
    if options.report is not None:
        from ..report.pages.consensus import write_consensus

        picture = None if options.images is None else _pictures(options.images, ratings)
        write_consensus(options.report, outcome, picture, options.pictures)
    return ConsensusResult(
        options.out,
        write_unlabeled(options, outcome.unlabeled),
        pending,
        options.scores,
        options.report,
        found.method,
        outcome.threshold,
        len(labels),
        len(labels.columns),
        outcome.emptied_by_gold,
        outcome.point,
        outcome.agreement,
        notes,
        outcome,
    )
