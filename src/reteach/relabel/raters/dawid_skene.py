"""Raters' consensus after Dawid & Skene: error rates of raters, and the truth behind their answers.

A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM
algorithm", Applied Statistics 28(1), 1979. T tasks have one of K truths each; W raters give one of
L answers to some of the tasks. Rater w answers l with probability ``confusion[w, k, l]`` where the
truth is k, independently of the others; truths follow ``prior``. Equations (2.3)-(2.5) there.

Everything is summed in the log domain and in a fixed order, so results are repeatable to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
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
        counts[counts.sum(1) == 0] = 1
        return np.asarray(counts / counts.sum(1, keepdims=True))


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
    return _expect(answers.matrix(), np.log(prior), _log_columns(confusion))[0].T.copy()


def count_confusions(answers: Answers, truth: Floats) -> Floats:
    """(W, K, L) expected counts: how often rater w answered l where the truth is k.

    Args:
        truth: (T, K) probability of each truth, one-hot where it is known.
    """
    return _count(answers.matrix(), truth.T, answers.choices)


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
    weight = np.bincount(pattern, minlength=len(row)).astype(np.float64)
    weight[np.diff(matrix.indptr) == 0] = 0  # unanswered tasks say nothing on the prior

    truths = start.shape[1]
    mean = 1.0 / np.bincount(pattern, minlength=len(row))
    posterior: Floats = np.stack(
        [np.bincount(pattern, start[:, k], minlength=len(row)) * mean for k in range(truths)]
    )

    total, n = weight.sum(), len(answers.answer)
    trace: list[float] = []
    converged = False
    weighted = posterior * weight
    for _ in range(iterations):
        prior, confusion = _maximize(matrix, weighted, total, answers.choices, smoothing)
        posterior, evidence = _expect(matrix, np.log(prior), _log_columns(confusion))
        weighted = posterior * weight
        trace.append(float(evidence @ weight))
        if len(trace) > 1 and abs(trace[-1] - trace[-2]) < tolerance * n:
            converged = True
            break
    prior, confusion = _maximize(matrix, weighted, total, answers.choices, smoothing)
    return DawidSkeneFit(posterior.T[pattern], prior, confusion, tuple(trace), converged)


def _maximize(
    matrix: csr_matrix, weighted: Floats, total: float, choices: int, smoothing: float
) -> tuple[Floats, Floats]:
    """Prior and confusions from the tasks' posteriors (Eq. 2.3, 2.4)."""
    prior = np.maximum(weighted.sum(1) / max(total, 1.0), FLOOR)
    return prior, normalize(_count(matrix, weighted, choices), smoothing)


def _expect(matrix: csr_matrix, log_prior: Floats, log_columns: Floats) -> tuple[Floats, Floats]:
    """(K, rows) posteriors, and (rows,) the log-probability of each row's answers."""
    joint = np.stack([matrix @ column for column in log_columns])
    joint += log_prior[:, None]
    top = joint.max(0)
    joint -= top
    np.exp(joint, out=joint)
    total = joint.sum(0)
    joint /= total
    return joint, top + np.log(total)


def _count(matrix: csr_matrix, weighted: Floats, choices: int) -> Floats:
    """(W, K, L) sums of the rows' weights (K, rows) over the answers of each rater."""
    columns = matrix.T  # a view in column order: no copy
    counts = np.stack([columns @ weights for weights in weighted])
    return np.ascontiguousarray(counts.reshape(len(weighted), -1, choices).transpose(1, 0, 2))


def _log_columns(confusion: Floats) -> Floats:
    """(W, K, L) as logs (K, W·L), in the order of the columns of :meth:`Answers.matrix`."""
    columns = np.ascontiguousarray(confusion.transpose(1, 0, 2)).reshape(confusion.shape[1], -1)
    with np.errstate(divide="ignore"):  # what a rater never answered is not looked up
        return np.log(columns)


def _patterns(matrix: csr_matrix) -> tuple[Indices, Indices]:
    """One row of each distinct pattern of answers, and the pattern of every row.

    Rows are told apart by a 64-bit hash, and every row is then compared with the representative of
    its pattern, entry by entry; should two patterns ever share a hash, all rows stay apart.
    """
    rows, lengths, starts = matrix.shape[0], np.diff(matrix.indptr), matrix.indptr[:-1]
    _, first, pattern = np.unique(_hashes(matrix), return_index=True, return_inverse=True)
    twin = first[pattern]
    same = np.array_equal(lengths, lengths[twin])
    if same:
        at = np.arange(matrix.nnz) + np.repeat(starts[twin] - starts, lengths)
        same = np.array_equal(matrix.indices, matrix.indices[at]) and np.array_equal(
            matrix.data, matrix.data[at]
        )
    return (first, pattern) if same else (np.arange(rows), np.arange(rows))


def _hashes(matrix: csr_matrix) -> NDArray[np.uint64]:
    """(rows,) the sum, modulo 2^64, of a well mixed number for each entry of the row."""
    code = matrix.indices.astype(np.uint64) * np.uint64(2**20) + matrix.data.astype(np.uint64)
    with np.errstate(over="ignore"):  # splitmix64: wrapping around is meant
        code = (code + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        code = (code ^ (code >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        code ^= code >> np.uint64(31)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(code, dtype=np.uint64)])
        return np.asarray(sums[matrix.indptr[1:]] - sums[matrix.indptr[:-1]])
