"""The work of ``reteach relabel consensus``: raters' answers in, labels out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..analysis.curves import operating_point, threshold_for
from ..analysis.outcome import Outcome, Sources
from ..errors import UserError
from ..files import atomic_write
from ..labels import Multi, Single
from ..relabel.raters import consensus as agree
from ..relabel.raters import reassessed
from ..relabel.raters.dawid_skene import Answers, dawid_skene
from ..relabel.raters.golden_scores import golden_scores
from ..relabel.raters.rating_tables import RatingTable, Votes, pairs_of, read_rating_table, votes_of
from ..relabel.raters.reference_labels import gold_changed, with_gold, with_originals
from ..scores.classes import read_classes
from ..scores.table import ScoreWriter
from ..tables import LabelTable, read_labels, write_labels

if TYPE_CHECKING:
    from ..options.relabel import ConsensusOptions

LEAST = 1e-6  # smaller probabilities of one of many classes are not written


def consensus(command: ConsensusOptions) -> Iterator[str]:
    """Do it; yields the lines to print."""
    classes = None if command.classes is None else read_classes(command.classes)
    if command.ratings is not None and command.ratings.lower().endswith(".csv"):
        table = read_rating_table(Path(command.ratings))
        if not table.binary:
            yield from _name_classes(command, votes_of(table))
            return
    else:
        table = None
    sources, lines = _sources(command, table, classes)
    yield from lines
    outcome = _decide(command, sources)
    yield from _write(command, outcome)


def _sources(
    command: ConsensusOptions, table: RatingTable | None, classes: tuple[str, ...] | None
) -> tuple[Sources, list[str]]:
    """What there is to decide by, and what has to be said about it."""
    lines: list[str] = []
    group, experts, calibration = None, None, None
    wanted, final = command.wanted or 1, command.reassessed is None or command.gold is not None
    if command.reassessed is not None:
        names = None if classes is None else list(classes)
        ratings, calibration, experts = reassessed.load(
            command.reassessed, original=command.labels, classes=names
        )
        group = reassessed.animals()
    else:
        if table is not None:
            ratings, said = pairs_of(table, classes), table.answers_wanted()
        else:
            from ..rating.export import golden_by_pairs, read_wanted

            ratings, said = read_wanted(str(command.ratings))
            if command.gold is None and (partly := golden_by_pairs(str(command.ratings))):
                lines.append(
                    f"{partly:,} items have gold for the classes that were asked about alone: if they show "
                    "other classes, give --gold"
                )
        ratings, wanted = ratings.in_order(), command.wanted or said or 1
        if table is not None and not table.lists_asked:
            lines.append(
                f"{table.path} lists answers only: pairs nobody answered are unknown, and an image counts as "
                "rated once all classes that the file names for it are"
            )
        elif said is None:
            lines.append(
                f"{command.ratings} does not say how many answers a class needs (taken: {wanted}; --wanted "
                "sets it), nor which images had no task"
            )
        if command.labels is not None:
            originals = read_labels(command.labels, kind="single", classes=classes)
            ratings = with_originals(ratings, originals)
    if command.gold is not None:
        before = ratings
        ratings = with_gold(before, read_labels(command.gold, kind="multi"))
        lines += _say_changed(gold_changed(before, ratings))
        calibration = experts = None
    if command.trust_original is not None:
        trusted = set(read_classes(command.trust_original))
        unknown = sorted(trusted - set(ratings.classes))
        if unknown:
            raise UserError(f"{command.trust_original}: no class is called {unknown[0]!r}")
        if (ratings.original < 0).all():
            raise UserError("--trust-original needs the original labels (--labels)")
        group = np.array([name in trusted for name in ratings.classes], np.bool_)
    return Sources(ratings, calibration, experts, group, wanted, final), lines


def _say_changed(items: list[str]) -> list[str]:
    if not items:
        return []
    return [
        f"--gold decides for {len(items):,} items where the ratings' own gold says otherwise, "
        f"first: {items[0]!r}"
    ]


def _decide(command: ConsensusOptions, asked: Sources) -> Outcome:
    full = asked.ratings
    sources = replace(asked, ratings=full.answered())
    ratings, group = sources.ratings, sources.group
    if not len(ratings.answer):
        raise UserError("there are no answers yet")
    golden = ratings.golden
    method = command.method or ("golden" if golden.any() else "em")
    if method == "golden":
        found = agree.golden(
            ratings, calibration=sources.calibration, group=group, smoothing=command.smoothing
        )
    elif method == "em":
        found = agree.em(
            ratings, group=group, iterations=command.iterations, smoothing=command.smoothing
        )
    else:
        found = agree.majority(ratings)

    on_gold = _on_gold(command, sources, found)
    unanswered = 0 if golden.any() else int(full.golden.sum())
    threshold = _threshold(command, method, sources, on_gold, unanswered)
    at, truth = None, sources.truth()[golden]
    if on_gold is not None and truth.any():
        at = operating_point(on_gold, truth, ratings.pair_item[golden], threshold)

    score = np.full(len(full.pair_item), np.nan)
    score[full.counts().sum(1) > 0] = found.score
    labels = agree.labels(full, score, threshold, wanted=asked.wanted, gold=asked.gold_is_final)
    rated = np.bincount(full.pair_item, minlength=len(full.items)) > 0
    decided = agree.decided(full, asked.wanted)
    pending, original = rated & ~decided, full.original >= 0
    written = decided | (original & ~(pending & (command.pending == "drop")))
    rows = np.flatnonzero(written)
    empty = np.flatnonzero(decided & (np.diff(labels.starts) == 0))
    golden_item = np.bincount(full.pair_item[full.golden], minlength=len(full.items)) > 0
    return Outcome(
        sources,
        found,
        threshold,
        [full.items[row] for row in rows.tolist()],
        labels.take(rows),
        [full.items[row] for row in empty.tolist()],
        [full.items[row] for row in np.flatnonzero(pending).tolist()],
        int((golden_item & decided).sum()) if asked.gold_is_final else 0,
        at,
        on_gold,
        unanswered,
    )


def _on_gold(
    command: ConsensusOptions, sources: Sources, found: agree.Consensus
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
            smoothing=command.smoothing,
            votes=sources.wanted if sources.wanted > 1 else None,
            seed=command.seed,
        )
    except UserError:
        if command.precision is not None or command.recall is not None:
            raise
        return None


def _threshold(
    command: ConsensusOptions,
    method: str,
    sources: Sources,
    on_gold: NDArray[np.float64] | None,
    unanswered: int,
) -> float:
    if command.precision is not None or command.recall is not None:
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
            on_gold.ravel(), truth, precision=command.precision, recall=command.recall
        )
    if command.threshold is not None:
        return command.threshold
    if method == "majority":
        return 0.5 if command.ties == "keep" else float(np.nextafter(0.5, 1))
    return 0.8


def _source(command: ConsensusOptions, outcome: Outcome) -> str:
    """What the labels come from, in the table's own column."""
    raters = len(outcome.sources.ratings.raters)
    parts = [f"{outcome.found.method} consensus of {raters} raters, ≥ {outcome.threshold:.6g}"]
    if outcome.gold_items:
        parts.append(f"gold on {outcome.gold_items} items")
    if outcome.pending and command.pending == "keep":
        parts.append(f"original label on {len(outcome.pending)} items still being rated")
    return "; ".join(parts)


def _write(command: ConsensusOptions, outcome: Outcome) -> Iterator[str]:
    ratings, found, labels = outcome.sources.ratings, outcome.found, outcome.labels
    write_labels(command.out, LabelTable(tuple(outcome.items), labels, _source(command, outcome)))
    rated = len(np.unique(ratings.pair_item))
    yield (
        f"{len(ratings.answer):,} answers of {len(ratings.raters)} raters on "
        f"{len(ratings.pair_item):,} pairs of {rated:,} items; method: {found.method}"
    )
    if found.log_likelihood:
        yield (
            f"log-likelihood {found.log_likelihood[-1]:.1f} "
            f"after {len(found.log_likelihood)} iterations"
        )
    if outcome.point is not None and math.isnan(outcome.point.precision):
        yield (
            f"on golden pairs: no golden pair passes probability ≥ {outcome.threshold:.6g}, so recall is "
            "0% and precision unknown"
        )
    elif outcome.point is not None:
        p, r = outcome.point.precision_interval, outcome.point.recall_interval
        yield (
            f"on golden pairs: precision {outcome.point.precision:.1%} ({p[0]:.1%} to {p[1]:.1%}), "
            f"recall {outcome.point.recall:.1%} ({r[0]:.1%} to {r[1]:.1%}), 95% by image, "
            "scored with the votes that other pairs have"
        )
    elif ratings.golden.any():
        yield "the golden pairs are too few to judge the consensus by"
    elif outcome.gold_unanswered:
        yield (
            f"none of the {outcome.gold_unanswered:,} golden pairs has been answered yet: precision and "
            "recall are unknown"
        )
    yield (
        f"{len(labels.columns):,} labels on {len(labels) - len(outcome.unlabeled):,} of "
        f"{len(labels):,} items at probability ≥ {outcome.threshold:.6g}: {command.out}"
    )
    if command.scores is not None:
        with ScoreWriter(command.scores, ratings.classes, double=True) as out:
            out.write(ratings.items, ratings.pair_item, ratings.pair_class, found.score)
        yield f"scores: {command.scores}"
    if outcome.gold_items:
        yield f"{outcome.gold_items:,} items carry their gold labels"
    yield from _list_unlabeled(command, outcome.unlabeled)
    yield from _list_pending(command, outcome)
    if command.report is not None:
        from ..report.pages.consensus import write_consensus

        write_consensus(command.report, outcome)
        yield f"report: {command.report}"


def _name_classes(command: ConsensusOptions, votes: Votes) -> Iterator[str]:
    """Raters who name one of many classes per item: one label per item, ties left open."""
    for option in ("gold", "trust_original", "precision", "recall", "report"):
        if getattr(command, option) is not None:
            flag = option.replace("_", "-")
            raise UserError(f"--{flag} needs answers that are yes, maybe or no to one class")
    if command.method == "golden":
        raise UserError("--method golden needs answers that are yes, maybe or no to one class")
    answers: Answers = votes.answers
    posterior = answers.shares()
    if command.method != "majority":
        posterior = dawid_skene(
            answers,
            posterior,
            iterations=command.iterations,
            smoothing=command.smoothing,
            tolerance=agree.TOLERANCE,
        ).posterior
    best = posterior.max(1, keepdims=True)
    tied = (posterior == best).sum(1) > 1
    low = best[:, 0] < (command.threshold or 0.0)
    label = Single(np.where(tied | low, -1, posterior.argmax(1)), tuple(votes.classes))
    method = command.method or "em"
    source = f"{method} consensus of {len(votes.raters)} raters"
    write_labels(command.out, LabelTable(tuple(votes.items), label, source))
    yield (
        f"{len(answers.answer):,} answers of {len(votes.raters)} raters who name one of "
        f"{len(votes.classes)} classes; method: {method}"
    )
    yield f"{int(label.known().sum()):,} of {len(label):,} items labelled: {command.out}"
    if command.scores is not None:
        rows, columns = np.nonzero(posterior >= LEAST)
        with ScoreWriter(command.scores, votes.classes, double=True) as out:
            out.write(votes.items, rows, columns, posterior[rows, columns])
        yield f"scores: {command.scores}"
    unlabeled = np.flatnonzero(~label.known()).tolist()
    yield from _list_unlabeled(command, [votes.items[row] for row in unlabeled])


def _list_unlabeled(command: ConsensusOptions, items: list[str]) -> Iterator[str]:
    """A label table of these items, without labels: what is left to decide by hand."""
    path = command.unlabeled or command.out.with_name(f"{command.out.stem}.unlabeled.csv")
    empty = np.zeros(len(items) + 1, np.int64)
    table = LabelTable(tuple(items), Multi(empty, empty[:0], ()), "left without labels")
    write_labels(path, table)
    yield f"{len(items):,} items without labels: {path}"


def _list_pending(command: ConsensusOptions, outcome: Outcome) -> Iterator[str]:
    """The items that still lack answers, by name in a file."""
    if not outcome.pending:
        return
    path = command.out.with_name(f"{command.out.stem}.pending.txt")
    atomic_write(path, "".join(f"{item}\n" for item in outcome.pending))
    there = set(outcome.items)
    kept = sum(item in there for item in outcome.pending)
    left_out = len(outcome.pending) - kept
    what = [f"{kept:,} keep their original label"] if kept else []
    what += [f"{left_out:,} are left out of the table"] if left_out else []
    yield (
        f"{len(outcome.pending):,} items lack answers (fewer than {outcome.sources.wanted} to some "
        f"class): {' and '.join(what)}; listed in {path}"
    )
