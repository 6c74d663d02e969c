"""Raters' consensus after Dawid & Skene: error rates of raters, and the truth behind their answers.

A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM
algorithm", Applied Statistics 28(1), 1979. T tasks have one of K truths each; W raters give one of
L answers to some of the tasks. Rater w answers l with probability ``confusion[w, k, l]`` where the
truth is k, independently of the others; truths follow ``prior``. Equations (2.3)-(2.5) there.

Everything is summed in the log domain and in a fixed order, so results are repeatable to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

FLOOR = 1e-10  # least expected count of an answer that was given, and least prior


@dataclass(frozen=True, eq=False)
class Answers:
    """R answers of W raters on T tasks; ``task``, ``rater`` and ``answer`` are (R,) indices."""

    task: Indices
    rater: Indices
    answer: NDArray[Any]
    tasks: int
    """T."""
    raters: int
    """W."""
    choices: int
    """L."""

    def matrix(self) -> csr_matrix:
        """(T, W·L) how often the task got answer l from rater w, in column w·L + l."""
        from scipy.sparse import csr_matrix

        column = np.asarray(self.rater, np.int64) * self.choices + self.answer
        ones = np.ones(len(column))
        shape = (self.tasks, self.raters * self.choices)
        matrix = csr_matrix((ones, (self.task, column)), shape=shape)  # sums repeated answers
        matrix.sort_indices()
        return matrix

    def shares(self) -> Floats:
        """(T, L) share of each answer among those of a task; uniform where nobody answered."""
        key = np.asarray(self.task, np.int64) * self.choices + self.answer
        counts = np.bincount(key, minlength=self.tasks * self.choices).astype(np.float64)
        counts = counts.reshape(self.tasks, self.choices)
        each = counts @ np.ones(self.choices)
        counts[each == 0] = 1
        each[each == 0] = self.choices
        counts /= each[:, None]
        return counts


@dataclass(frozen=True, eq=False)
class DawidSkeneFit:
    """Truths and raters as the votes show them."""

    posterior: Floats
    """(T, K) probability of each truth."""
    prior: Floats
    """(K,) how frequent the truths are."""
    confusion: Floats
    """(W, K, L) probability that rater w answers l where the truth is k."""
    log_likelihood: tuple[float, ...]
    """log p(answers) of the parameters before each iteration; never falls without smoothing."""
    converged: bool


def normalize(counts: Floats, smoothing: float = 0.0) -> Floats:
    """(W, K, L) confusions from counts, with ``smoothing`` added to each cell.

    Without smoothing, an answer that a rater never gave has probability 0, one that the rater gave
    has at least a tiny one under every truth, and a rater who gave none has equal ones.
    """
    given = counts.sum(1, keepdims=True) > 0
    counts = counts + smoothing
    counts = np.where(given, np.maximum(counts, FLOOR), counts)
    idle = counts.sum(-1, keepdims=True) == 0
    counts = np.where(idle, 1.0, counts)
    return np.asarray(counts / counts.sum(-1, keepdims=True))


def truths_given(answers: Answers, prior: Floats, confusion: Floats) -> Floats:
    """(T, K) posterior of each task's truth for known raters: the E-step once (Eq. 2.5).

    Args:
        confusion: (W, K, L) without zeros where an answer was given.
    """
    votes = _AnswerPairs(answers.matrix(), None)
    odds, scale, _ = _expect(votes, np.log(prior), _log_columns(confusion))
    return (odds / scale).T.copy()


def count_confusions(answers: Answers, truth: Floats) -> Floats:
    """(W, K, L) expected counts: how often rater w answered l where the truth is k.

    Args:
        truth: (T, K) probability of each truth, one-hot where it is known.
    """
    return _count(_AnswerPairs(answers.matrix(), None), truth.T, answers.choices)


def dawid_skene(
    answers: Answers,
    start: Floats,
    *,
    iterations: int = 100,
    tolerance: float = 1e-9,
    smoothing: float = 0.0,
) -> DawidSkeneFit:
    """Maximum-likelihood error rates and truths by EM.

    Tasks that got the very same answers from the same raters have the same posterior always, so
    each such pattern is computed once and counted as often as it occurs.

    Args:
        start: (T, K) first guess of the posteriors, e.g. :meth:`Answers.shares` where K = L.
        iterations: at most so many.
        tolerance: stop when the log-likelihood changes by less than this per answer;
            below zero: never stop early.
        smoothing: added to each cell of the expected counts (a Dirichlet prior on confusions).
    """
    matrix = answers.matrix()
    row, pattern = _patterns(matrix)
    matrix = matrix[row]
    size = np.bincount(pattern, minlength=len(row)).astype(np.float64)
    weight = size * (np.diff(matrix.indptr) > 0)  # unanswered tasks say nothing on the prior
    votes = _AnswerPairs.of(matrix)

    posterior: Floats = np.stack([np.bincount(pattern, each, len(row)) / size for each in start.T])
    total, n = weight.sum(), len(answers.answer)
    trace: list[float] = []
    converged = False
    weighted = posterior * weight
    for _ in range(iterations):
        prior, confusion = _maximize(votes, weighted, total, answers.choices, smoothing)
        odds, scale, evidence = _expect(votes, np.log(prior), _log_columns(confusion))
        trace.append(float(evidence @ weight))
        np.multiply(odds, weight / scale, out=weighted)
        if len(trace) > 1 and abs(trace[-1] - trace[-2]) < tolerance * n:
            converged = True
            break
    if trace:
        posterior = odds / scale
    prior, confusion = _maximize(votes, weighted, total, answers.choices, smoothing)
    by_pattern = np.ascontiguousarray(posterior.T)
    return DawidSkeneFit(by_pattern.take(pattern, 0), prior, confusion, tuple(trace), converged)


@final
@dataclass(frozen=True, eq=False)
class _AnswerPairs:
    """The matrix of answers as a product: few pairs of answers come together again and again.

    ``rows`` (T, G) has the groups, of one or two answers, that a task got, ``groups`` (G, W·L) their answers.
    """

    rows: csr_matrix
    groups: csr_matrix | None
    """None: every answer is a group of its own."""

    @classmethod
    def of(cls, matrix: csr_matrix) -> _AnswerPairs:
        """Each row's entries two by two, in their order; as they are where that saves nothing."""
        if not (matrix.data == 1).all():
            return cls(matrix, None)
        starts, code = _pair_up(matrix)
        groups = pa.array(code).dictionary_encode()
        if 2 * len(groups.dictionary) > len(code):
            return cls(matrix, None)
        second, first = np.divmod(groups.dictionary.to_numpy(), matrix.shape[1])
        answers = np.stack([first, second - 1], 1)
        there = answers >= 0
        ends = np.concatenate([[0], np.cumsum(there.sum(1))])
        shape = (len(matrix.indptr) - 1, len(answers))
        return cls(
            _ones(groups.indices.to_numpy(), starts, shape),
            _ones(answers[there], ends, (len(answers), matrix.shape[1])),
        )

    def sums(self, column: Floats) -> Floats:
        """(T,) for each row the sum of the numbers (W·L,) of its answers."""
        return np.asarray(self.rows @ (column if self.groups is None else self.groups @ column))

    def counts(self, weights: Floats) -> Floats:
        """(K, W·L) for each answer the sums of the weights (K, T) of the rows that have it."""
        rows = self.rows.T  # a view in column order: no copy
        found = np.stack([rows @ each for each in weights])
        return found if self.groups is None else np.asarray((self.groups.T @ found.T).T)


def _ones(columns: Indices, ends: Indices, shape: tuple[int, int]) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(columns)), columns, ends), shape=shape)


def _pair_up(matrix: csr_matrix) -> tuple[Indices, Indices]:
    """Where each row's groups start (T + 1,), and each group as a number: first + (1 + second) · columns."""
    lengths = np.diff(matrix.indptr)
    each = (lengths + 1) // 2
    starts = np.concatenate([[0], np.cumsum(each, dtype=np.int64)])
    entry = 2 * np.arange(starts[-1]) - np.repeat(2 * starts[:-1] - matrix.indptr[:-1], each)
    second = np.append(matrix.indices, 0).astype(np.int64)[entry + 1] + 1
    second[(starts[1:] - 1)[lengths % 2 == 1]] = 0  # an odd row ends with a single answer
    return starts, second * matrix.shape[1] + matrix.indices[entry]


def _maximize(
    votes: _AnswerPairs, weighted: Floats, total: float, choices: int, smoothing: float
) -> tuple[Floats, Floats]:
    """Prior and confusions from the tasks' posteriors (Eq. 2.3, 2.4)."""
    prior = np.maximum(weighted.sum(1) / max(total, 1.0), FLOOR)
    return prior, normalize(_count(votes, weighted, choices), smoothing)


def _expect(
    votes: _AnswerPairs, log_prior: Floats, log_columns: Floats
) -> tuple[Floats, Floats, Floats]:
    """(K, rows) odds, (rows,) their sums, and (rows,) the log-probability of each row's answers.

    The posterior is odds / sums.
    """
    joint = np.empty((len(log_prior), votes.rows.shape[0]))
    for out, column, prior in zip(joint, log_columns, log_prior, strict=True):
        np.add(votes.sums(column), prior, out=out)
    top = joint.max(0)
    joint -= top
    np.exp(joint, out=joint)
    scale = joint.sum(0)
    top += np.log(scale)
    return joint, scale, top


def _count(votes: _AnswerPairs, weighted: Floats, choices: int) -> Floats:
    """(W, K, L) sums of the rows' weights (K, rows) over the answers of each rater."""
    counts = votes.counts(weighted)
    return np.ascontiguousarray(counts.reshape(len(weighted), -1, choices).transpose(1, 0, 2))


def _log_columns(confusion: Floats) -> Floats:
    """(W, K, L) as logs (K, W·L), in the order of the columns of :meth:`Answers.matrix`."""
    columns = np.ascontiguousarray(confusion.transpose(1, 0, 2)).reshape(confusion.shape[1], -1)
    with np.errstate(divide="ignore"):  # what a rater never answered is not looked up
        return np.log(columns)


def _patterns(matrix: csr_matrix) -> tuple[Indices, Indices]:
    """The first row of each distinct pattern of answers, and the pattern of every row.

    Rows are told apart by a 64-bit hash, and every row is then compared with the representative of
    its pattern, entry by entry; should two patterns ever share a hash, all rows stay apart.
    """
    pattern = pa.array(_hashes(matrix)).dictionary_encode().indices.to_numpy()
    first = np.flatnonzero(np.diff(np.maximum.accumulate(pattern), prepend=-1))
    twin = first[pattern]
    other = np.flatnonzero(twin != np.arange(len(twin)))
    if _same(matrix[other], matrix[twin[other]]):
        return first, pattern
    return np.arange(len(twin)), np.arange(len(twin))


def _same(a: csr_matrix, b: csr_matrix) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("indptr", "indices", "data"))


def _hashes(matrix: csr_matrix) -> NDArray[np.uint64]:
    """(rows,) the sum, modulo 2^64, of a well mixed number for each answer of the row."""
    with np.errstate(over="ignore"):  # splitmix64: wrapping around is meant
        code = np.arange(1, matrix.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        code = (code ^ (code >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        code ^= code >> np.uint64(31)
        return np.asarray(matrix.astype(np.uint64) @ code)
