"""Label tables: the one format that every part of reteach reads and writes.

==========  ==========================================================================
column      content
==========  ==========================================================================
``item``    the image: its path relative to the image folder, ``/`` between the parts
``labels``  class names; Parquet: a list of strings. CSV: one name, several separated
            by ``|`` or ``;``, or a JSON list. Empty: no label (see ``labels.py``)
``weight``  optional, one number per label in the same order (makes the table *soft*)
``score``   optional, one number per label in the same order: how sure the labeller was;
            for people and filters, the labels mean the same without it
``unknown`` optional, written like ``labels``: the classes of which nobody knows whether the
            image has them. All others that are not among its labels are absent
``kind``   what the labels are: ``single`` (at most one per item; an empty cell: unknown),
            ``multi`` (sets; an empty cell: none of the classes is present) or ``soft``
``classes`` the class list in its order, as JSON. Parquet: in every row (one entry of a
            dictionary); CSV: in the first
``source`` optional, where the labels come from ("human", "mile rho=0.25 …"); of a review who decided,
            when and how
``original`` optional, written like ``labels``: what stood there before a review; readers leave it alone
==========  ==========================================================================

What a table is stands in its columns, so that it survives any other program: rows may be sorted,
chosen and written again. In a table without these columns the kind is inferred, said on stderr where empty
cells depend on it, and the classes are the names that occur, sorted. Other columns are left alone by readers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .files import atomic_path, atomic_write
from .item_index import first_repeated, rows_among
from .labels import LabelSet, Multi, Single, Soft
from .parquet import CHECKED
from .progress import note
from .spreadsheet import to_csv
from .table_files import KINDS, Cells, Kind, changed_as_number, read_csv, read_parquet
from .text_column import TextColumn

# fmt: off
_MISSING = frozenset([
    "nan", "NaN", "NAN", "-nan", "-NaN", "null", "NULL", "Null", "None", "<NA>", "NA", "N/A", "n/a", "#NA",
    "#N/A", "#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "\\N",
])
# fmt: on
"""What programs write for a missing value: all that pandas reads as one, and databases' ``\\N``."""


@dataclass(frozen=True)
class LabelTable:
    """A label set with the names of its items and where it comes from."""

    items: Sequence[str]
    """A tuple; of a large CSV a sequence of texts that stay in Arrow's memory, equal to the tuple of them."""
    labels: LabelSet
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.items) != len(self.labels):
            raise ValueError(f"{len(self.items)} items but labels for {len(self.labels)}")

    def aligned(self, items: Sequence[str], what: str = "the label table") -> LabelSet:
        """The labels of ``items``, in their order.

        Items that the table does not have are unlabelled, which only a ``Single`` can say.

        Raises:
            UserError: the table names an item that is not among ``items``, or has none of them.
        """
        at = rows_among(self.items, items)
        if foreign := [self.items[i] for i in np.flatnonzero(at < 0).tolist()]:
            raise UserError(
                f"{what}: {len(foreign)} of {len(self.items)} items are not among the images, "
                f"first: {foreign[0]!r} (the images are called like {items[0]!r})"
                if items
                else f"{what}: there are no images"
            )
        rows = np.full(len(items), -1, np.int64)
        rows[at] = np.arange(len(self.items))
        if isinstance(self.labels, Single):
            return Single(np.append(self.labels.index, -1)[rows], self.labels.classes)
        if (rows < 0).any():
            missing = items[int(np.flatnonzero(rows < 0)[0])]
            raise UserError(
                f"{what}: {int((rows < 0).sum())} of {len(items)} images have no row, "
                f"first: {missing!r}; an image without any label needs a row with empty labels"
            )
        return self.labels.take(rows)

    def used_classes(self) -> list[str]:
        """The class names that occur among the labels, in the order of the class list."""
        used = np.unique(self.labels.pairs()[1])
        return [self.labels.classes[c] for c in used.tolist()]


def read_labels(
    path: str | Path, *, kind: Kind | None = None, classes: Sequence[str] | None = None
) -> LabelTable:
    """Read a label table (``.parquet`` or ``.csv``).

    Args:
        kind: what the labels are to be; where the file says otherwise, what becomes of its empty cells and
            weights is said on stderr. By default what the file says of itself; one that says nothing is
            *soft* when it has a ``weight`` column, *multi* when some item has two labels or it has an
            ``unknown`` column, else *single*; where empty cells depend on it, that is said on stderr too.
        classes: the class list to use; every name in the table must be in it.

    Raises:
        UserError: no such file, a missing column or item, an item twice, an unknown class, a label that
            looks like a missing value, rows of different kinds or class lists, rows without a kind beside
            others, a class list that is gone with the row that held it, bad weights.
    """
    path = Path(path)
    if not path.is_file():
        wrong = "is a folder, not a table" if path.is_dir() else "does not exist"
        raise UserError(f"label table {path} {wrong}")
    check_suffix(path)
    raw = read_csv(path) if path.suffix.lower() == ".csv" else read_parquet(path)
    _check_items(path, raw.items)
    if raw.list_lost and classes is None:
        raise UserError(
            f"{path}: the row that held the class list is gone: write it into the column classes of a row, "
            "name a list with --classes, or remove the column: the classes are then the names that occur"
        )
    used = raw.names.used() | (set() if raw.unknown is None else raw.unknown.used())
    table_classes = tuple(raw.classes if raw.classes is not None else sorted(used))
    _check_missing(
        path, raw.texts - set(table_classes if raw.classes is not None else classes or ())
    )
    if kind is None:
        _check_kinds(path, raw)
        kind = raw.kind or _inferred(path, raw)
    elif kind != raw.kind:
        _say_otherwise(path, raw, kind)
    if raw.nulls:
        meaning = "having none of the classes" if kind == "multi" else "not labelled"
        note(
            f"{path}: {raw.nulls:,} of {len(raw.items):,} rows have a null in place of a list of labels: "
            f"taken as {meaning}"
        )
    missing = used - set(table_classes)
    if missing:
        raise UserError(f"{path}: class {min(missing)!r} is not in the file's own class list")
    labels = _build(path, kind, raw, table_classes)
    if classes is not None:
        labels = labels.reorder(tuple(classes), what=str(path))
    items = raw.items if isinstance(raw.items, TextColumn) else tuple(raw.items)
    return LabelTable(items, labels, raw.source)


def _check_items(path: Path, items: list[str] | TextColumn) -> None:
    if isinstance(items, TextColumn):
        if items.surely_different():
            return
    elif all(items):
        # eight bytes for each, in place of a set of all; different texts of one hash are looked at below
        hashes = np.fromiter(map(hash, items), np.int64, len(items))
        hashes.sort()
        if not (hashes[1:] == hashes[:-1]).any():
            return
    seen: dict[str, int] = {}
    for row, item in enumerate(items):
        if not item:
            raise UserError(f"{path}: row {row + 1} names no item")
        if item in seen:
            raise UserError(
                f"{path}: item {item!r} stands in rows {seen[item] + 1} and {row + 1}; several labels "
                "of an item go into one row: cat|dog"
            )
        seen[item] = row


def _check_missing(path: Path, texts: set[str]) -> None:
    odd = sorted(texts & _MISSING)
    if odd:
        raise UserError(
            f"{path}: the label {odd[0]!r} looks like a missing value: leave the cell empty if it is one; "
            "if it is a class, name it in the class list (column classes, or --classes) or write "
            f"{json.dumps([odd[0]])}"
        )


def _check_kinds(path: Path, raw: Cells) -> None:
    if raw.kindless is not None:
        raise UserError(
            f"{path}: row {raw.kindless + 1} ({raw.items[raw.kindless]!r}) does not say its kind, others are "
            f"{raw.kind}: write it into the column kind of every row, or give --kind"
        )


def _inferred(path: Path, raw: Cells) -> Kind:
    """What the labels of a table are that does not say so itself; said where empty cells depend on it:
    without any, one label each means the same either way, and two labels leave no choice."""
    if raw.weights is not None:
        return "soft"
    several = raw.unknown is not None or raw.names.longest() > 1
    if empty := raw.names.empty():
        meaning = (
            f"label sets, and {empty:,} empty cells for none of the classes"
            if several
            else f"one label per image, and {empty:,} empty cells for not labelled"
        )
        note(
            f"{path} does not say what its labels are: taken as {meaning}; a column kind "
            f"({', '.join(KINDS)}) settles it"
        )
    return "multi" if several else "single"


def _say_otherwise(path: Path, raw: Cells, kind: Kind) -> None:
    """Say what becomes of what only another kind can hold, where labels are read as ``kind``."""
    empty, found = raw.names.empty(), []
    if raw.kind == "single" and empty:
        found.append(f"its {empty:,} images without a label are taken to have none of the classes")
    if raw.kind is not None and kind == "single" and empty:
        found.append(f"its {empty:,} images with none of the classes are taken as not labelled")
    if raw.weights is not None and kind != "soft":
        found.append("its weights are not looked at")
    if found:
        note(f"{path} is read as {kind}, not as {raw.kind or 'soft'}: {'; '.join(found)}")


def write_labels(
    path: str | Path,
    table: LabelTable,
    scores: NDArray[np.float32] | None = None,
    *,
    sources: Sequence[str] | None = None,
    originals: Sequence[list[str]] | None = None,
) -> None:
    """Write a label table as Parquet or CSV, after the ending of ``path``; whole or not at all.

    Args:
        scores: one per label, in the order of ``table.labels.pairs()``: the column ``score``.
        sources: of each item, in place of ``table.source``.
        originals: the classes that each item had before: the column ``original``, which readers leave alone.
    """
    path = Path(path)
    labels = table.labels
    rows, columns, weights = labels.pairs()
    starts = np.searchsorted(rows, np.arange(len(labels) + 1))
    names = [[labels.classes[c] for c in columns[a:b]] for a, b in pairwise(starts)]
    lists = {"labels": names}
    if isinstance(labels, Multi) and labels.unknown is not None:
        lists["unknown"] = labels.unknown.names()
    kind = labels.kind
    extra = {"weight": weights} if kind == "soft" else {}
    extra |= {} if scores is None else {"score": scores}
    numbers = {
        column: [values[a:b].tolist() for a, b in pairwise(starts)]
        for column, values in extra.items()
    }
    if path.suffix.lower() == ".csv":
        origins = sources if sources is not None else [table.source] * len(table.items)
        atomic_write(path, _to_csv(table, kind, lists, numbers, origins, originals))
        return
    check_suffix(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    n, listed = len(table.items), json.dumps(labels.classes)
    content: dict[str, Any] = {"item": pa.array(table.items, pa.string())}
    content |= {c: pa.array(values, pa.list_(pa.string())) for c, values in lists.items()}
    content |= {c: pa.array(values, pa.list_(pa.float32())) for c, values in numbers.items()}
    constant = {"kind": kind, "classes": listed, "source": table.source}
    content |= {column: repeated(text, n) for column, text in constant.items()}
    if sources is not None:
        content["source"] = pa.array(sources, pa.string()).dictionary_encode()
    if originals is not None:
        content["original"] = pa.array(originals, pa.list_(pa.string()))
    meta = {"reteach.classes": listed, "reteach.kind": kind}  # of a table without rows
    with atomic_path(path) as part:
        pq.write_table(pa.table(content).replace_schema_metadata(meta), part, **CHECKED)


def repeated(text: str, n: int) -> Any:
    """An Arrow column of n equal texts, kept once: copies of a long class list would fill the memory."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([text], pa.string()))


def check_suffix(path: Path) -> None:
    """Refuse a path that no label table is read from or written to.

    Raises:
        UserError: it ends in neither ``.parquet`` nor ``.csv``.
    """
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise UserError(f"{path}: a label table is a .parquet or .csv file")


def _build(path: Path, kind: Kind, raw: Cells, classes: tuple[str, ...]) -> LabelSet:
    names, weights = raw.names, raw.weights
    if raw.unknown is not None and kind != "multi" and raw.unknown.used():
        raise UserError(f"{path}: only label sets can have unknown classes, and this is {kind}")
    if (twice := first_repeated(classes)) is not None:
        raise UserError(f"{path}: class {twice!r} is listed twice in the class list")
    if kind == "single":
        if names.longest() > 1:
            lengths = names.lengths()
            row = int(np.flatnonzero(lengths > 1)[0])
            raise UserError(
                f"{path}: row {row + 1} has {lengths[row]} labels where a single one is needed; "
                "use a multi-label method (asl, cpsd) or keep one label per item"
            )
        return Single(names.single(classes), classes)
    rows, columns = names.entries(classes)
    if kind == "soft":
        given = weights if weights is not None else [[1.0] * len(entry) for entry in names]
        for row, (entry, weight) in enumerate(zip(names, given, strict=True)):
            if len(entry) != len(weight):
                raise UserError(
                    f"{path}: row {row + 1} has {len(entry)} labels but {len(weight)} weights"
                )
            if len(set(entry)) < len(entry):
                raise UserError(
                    f"{path}: row {row + 1} has the class {first_repeated(entry)!r} twice"
                )
            if not all(math.isfinite(w) and w >= 0 for w in weight):
                raise UserError(
                    f"{path}: row {row + 1}: weights must be finite and not negative, got {weight}"
                )
        starts = np.concatenate([[0], np.cumsum(names.lengths())])
        flat = np.array([w for weight in given for w in weight], np.float32)
        return Soft(starts, columns, classes, flat)
    multi = Multi.from_pairs(rows, columns, len(names), classes)
    if raw.unknown is None:
        return multi
    unknown = Multi.from_pairs(*raw.unknown.entries(classes), len(names), classes)
    try:
        return multi.with_unknown(unknown)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _to_csv(
    table: LabelTable,
    kind: Kind,
    lists: dict[str, list[list[str]]],
    numbers: dict[str, list[list[float]]],
    sources: Sequence[str],
    originals: Sequence[list[str]] | None,
) -> str:
    def row(number: int, item: str) -> list[str]:
        texts = [_cell(names[number]) for names in lists.values()]
        cells = ["|".join(f"{v:.9g}" for v in values[number]) for values in numbers.values()]
        listed = json.dumps(table.labels.classes, ensure_ascii=False) if number == 0 else ""
        before = [] if originals is None else [_cell(originals[number])]
        return [item, *texts, *cells, kind, listed, sources[number], *before]

    last = [] if originals is None else ["original"]
    header = ["item", *lists, *numbers, "kind", "classes", "source", *last]
    return to_csv(header, (row(number, item) for number, item in enumerate(table.items)))


def _cell(names: list[str]) -> str:
    """Class names as :func:`split_labels` reads them."""
    plain = all(
        name
        and name == name.strip()
        and not re.search(r"[|;\[]", name)
        and not _taken_for_value(name)
        for name in names
    )
    return "|".join(names) if plain else json.dumps(names, ensure_ascii=False)


def _taken_for_value(name: str) -> bool:
    """Whether a program that guesses types would read the name as another value and write that."""
    truth_or_date = re.fullmatch(r"(?i)true|false|\d+[-/.:][-\d/.:TZ+ ]*", name) is not None
    return truth_or_date or name in _MISSING or changed_as_number(name)
