"""Label Studio's JSON read back, as :mod:`.label_studio_export` writes it or with one group of choices.

Each task is read as it stands in the file. In the usual single group of choices a ticked class is *yes*,
and one that was offered but not ticked is *no*. Offered are the classes in ``data.classes``, or, if that
is missing, those that any annotation or prediction of the task names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..item_index import ItemIndex
from ..progress import note
from ..relabel.raters.proposals import Proposals
from ..relabel.raters.ratings import ANSWERS, NO, YES, Ratings, Ruling
from ..relabel.raters.reference_labels import with_gold_sets
from ..structured import parse_json


@dataclass(frozen=True, eq=False)
class LabelStudio:
    """What a Label Studio file says: questions, experts' answers, and raters' answers."""

    items: list[str]
    classes: list[str]
    asked: list[tuple[int, int]]
    """(item, class) pairs, each once."""
    gold: dict[tuple[int, int], list[int]]
    """Experts' answers to a pair."""
    said: list[tuple[str, tuple[int, int], int]]
    """(rater, pair, answer)."""
    tasks: list[list[tuple[int, int]]]
    """The pairs that each task of the file asks about; a pair belongs to the first that names it."""
    original: dict[int, int]
    """Item -> class of its original label."""
    shares: dict[tuple[int, int], float]
    """Share of the experts who said yes, where the file tells it."""
    sets: dict[int, list[int]] = field(default_factory=dict)
    """Item -> its whole gold set, where the file tells it."""
    wanted: int | None = None
    """Answers that each pair needs; None where the file does not say, nor which items had no task."""
    agree: int | None = None
    """Answers that settle a pair on which raters agree."""
    ruled: dict[tuple[int, int], tuple[float, Ruling]] = field(default_factory=dict)
    """Pair -> the owner's ruling: whether the class is there, by whom and when."""

    def ratings(self) -> Ratings:
        """The answers; a golden pair's share is that of the experts who said yes."""
        row = {pair: i for i, pair in enumerate(self.asked)}
        names = ItemIndex()
        gold = np.full(len(row), np.nan)
        for pair, given in self.gold.items():
            gold[row[pair]] = np.mean([answer == YES for answer in given])
        for pair, share in self.shares.items():
            gold[row[pair]] = share
        original = [self.original.get(item, -1) for item in range(len(self.items))]
        found = Ratings(
            self.items,
            self.classes,
            np.array([item for item, _ in self.asked], np.int64),
            np.array([c for _, c in self.asked], np.int64),
            names.names,
            names.rows([rater for rater, _, _ in self.said], ""),
            np.array([row[pair] for _, pair, _ in self.said], np.int64),
            np.array([answer for _, _, answer in self.said], np.int8),
            gold,
            np.array(original, np.int64),
        )
        sets = [[self.classes[c] for c in names] for names in self.sets.values()]
        whole = with_gold_sets(found, [self.items[item] for item in self.sets], sets)
        known, before = whole.gold.copy(), whole.golden
        for pair, (there, _) in self.ruled.items():
            known[row[pair]] = there
        ruled = {row[pair]: by for pair, (_, by) in self.ruled.items() if not before[row[pair]]}
        return replace(whole, gold=known, ruled=ruled)

    def proposals(self) -> Proposals:
        """The questions, to be split into tasks."""
        pairs = np.array(sorted(self.asked), np.int64).reshape(-1, 2)
        none = np.zeros(len(pairs), np.int64)
        return Proposals(
            self.items,
            self.classes,
            [],
            pairs[:, 0],
            pairs[:, 1],
            none,
            none,
            np.array([self.original.get(int(i)) == c for i, c in pairs], np.bool_),
        )

    def answered(self) -> set[tuple[int, int]]:
        """The pairs that somebody answered."""
        return {pair for _, pair, _ in self.said}


def read_label_studio(path: Path) -> LabelStudio:
    """Read an export or a task list.

    Raises:
        UserError: not such a file, a task without an image, or one without classes to choose from.
    """
    if not path.is_file():
        raise UserError(f"Label Studio file {path} does not exist")
    try:
        entries = parse_json(path.read_bytes())
    except ValueError:
        raise UserError(f"{path}: not a JSON file") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: expected a JSON list of Label Studio tasks")
    whole = _whole(entries, path)
    images = ItemIndex([item for item, _ in whole.items])
    names = ItemIndex(whole.classes)
    asked: dict[tuple[int, int], None] = {}
    gold: dict[tuple[int, int], list[int]] = {}
    said: dict[tuple[str, tuple[int, int]], int] = {}
    original = {
        item: int(names.rows([label], "")[0])
        for item, (_, label) in enumerate(whole.items)
        if label is not None
    }
    shares: dict[tuple[int, int], float] = {}
    ruled: dict[tuple[int, int], tuple[float, Ruling]] = {}
    tasks_: list[list[tuple[int, int]]] = []
    not_offered: list[str] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: task {number}"
        image, offered = _task(entry, where)
        if whole.wanted is not None and image not in images:
            raise UserError(
                f"{where}: image {image[:60]!r} is not among those of the store that was "
                "exported: name images as there, or remove data.reteach (with gold, and images without task)"
            )
        item = int(images.rows([image], where)[0])
        pair = {name: (item, int(names.rows([name], where)[0])) for name in offered}
        tasks_.append([each for each in pair.values() if each not in asked])
        asked |= dict.fromkeys(pair.values())
        data = entry["data"]
        if isinstance(label := data.get("original"), str) and label:
            original[item] = int(names.rows([label], where)[0])
        if isinstance(said_by := data.get("rulings"), dict):
            ruled |= _ruled(said_by, pair, where)
        if isinstance(known := data.get("gold"), dict):
            shares |= _shares(known, pair, where)
        for annotation in _dicts(entry.get("annotations")):
            if annotation.get("was_cancelled"):
                continue
            expert = annotation.get("ground_truth") is True
            rater = _rater(annotation)
            answers, others = _answers(annotation, offered)
            not_offered += others
            for name, answer in answers.items():
                if expert:
                    gold.setdefault(pair[name], []).append(answer)
                else:
                    said[rater, pair[name]] = answer  # a rater's last word
    if not_offered:
        note(
            f"{path}: {len(not_offered):,} choices of classes that were not on offer in their task are left "
            f"out, first: {not_offered[0]!r}"
        )
    gold_items = images.rows([item for item, _ in whole.gold], "").tolist()
    sets = [names.rows(own, "").tolist() for _, own in whole.gold]
    return LabelStudio(
        images.names,
        names.names,
        list(asked),
        gold,
        [(rater, pair, answer) for (rater, pair), answer in said.items()],
        [task for task in tasks_ if task],
        original,
        shares,
        dict(zip(gold_items, sets, strict=True)),
        whole.wanted,
        whole.agree,
        ruled,
    )


@dataclass(frozen=True)
class _Whole:
    """What a store knows beside its tasks."""

    wanted: int | None = None
    classes: list[str] = field(default_factory=list)
    items: list[tuple[str, str | None]] = field(default_factory=list)
    """(name, original label)."""
    gold: list[tuple[str, list[str]]] = field(default_factory=list)
    """(item, its classes)."""
    agree: int | None = None


def _whole(entries: list[dict[str, Any]], path: Path) -> _Whole:
    blocks = (
        entry["data"].get("reteach") for entry in entries if isinstance(entry.get("data"), dict)
    )
    block = next((each for each in blocks if each is not None), None)
    if block is None:
        return _Whole()
    try:
        found = _Whole(
            int(block["wanted"]),
            [str(name) for name in block["classes"]],
            [(str(name), None if label is None else str(label)) for name, label in block["items"]],
            [(str(name), [str(each) for each in own]) for name, own in block["gold"]],
            int(block["agree"]) if block.get("agree") is not None else None,
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: data.reteach is not as reteach writes it: export again") from None
    return found


def _ruled(
    said: dict[Any, Any], pair: dict[str, tuple[int, int]], where: str
) -> dict[tuple[int, int], tuple[float, Ruling]]:
    """Pair -> the owner's ruling, from ``data.rulings``."""
    try:
        return {
            pair[name]: (float(there), Ruling(str(by), str(at)))
            for name, (there, by, at) in said.items()
        }
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{where}: data.rulings should be classes of the task with [true or false, who, when]"
        ) from None


def _shares(
    known: dict[Any, Any], pair: dict[str, tuple[int, int]], where: str
) -> dict[tuple[int, int], float]:
    """Pair -> share of experts who said yes, from ``data.gold``."""
    for name, share in known.items():
        if name not in pair or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise UserError(
                f"{where}: data.gold has {str(name)[:60]!r}: {share!r}; expected a class of the task "
                "and a share from 0 to 1"
            )
    return {pair[name]: float(share) for name, share in known.items()}


def _task(entry: dict[str, Any], where: str) -> tuple[str, list[str]]:
    """The image and the classes on offer."""
    data = entry.get("data")
    if not isinstance(data, dict):
        raise UserError(f"{where}: no 'data' (export as JSON, not as JSON-MIN)")
    image = data.get("image")
    if not isinstance(image, str) or not image:
        raise UserError(f"{where}: data has no 'image'")
    image = image.partition("?d=")[2] or image  # Label Studio's address of a local file
    listed = data.get("classes")
    if isinstance(listed, list):
        values = [each.get("value") if isinstance(each, dict) else each for each in listed]
        offered = [str(value) for value in values if value]
    else:
        seen = [*_dicts(entry.get("annotations")), *_dicts(entry.get("predictions"))]
        offered = [name for one in seen for _, names in _choices(one) for name in names]
    if not offered:
        raise UserError(f"{where}: no classes to choose from (data.classes, or a prediction)")
    return image, list(dict.fromkeys(offered))


def _answers(annotation: dict[str, Any], offered: list[str]) -> tuple[dict[str, int], list[str]]:
    """Class -> answer, and the choices that were not on offer, which do not count."""
    groups = list(_choices(annotation))
    if named := [(group, names) for group, names in groups if group in ANSWERS]:
        groups = named
        answers = {
            name: ANSWERS.index(group)
            for group, names in groups
            for name in names
            if name in offered
        }
    else:
        ticked = {name for _, names in groups for name in names}
        answers = {name: YES if name in ticked else NO for name in offered}
    return answers, [name for _, names in groups for name in names if name not in offered]


def _choices(annotation: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(name of the group, ticked classes) of each group of choices."""
    for result in _dicts(annotation.get("result")):
        value = result.get("value")
        if result.get("type") == "choices" and isinstance(value, dict):
            ticked = value.get("choices")
            if isinstance(ticked, list):
                yield str(result.get("from_name")), [str(name) for name in ticked]


def _rater(annotation: dict[str, Any]) -> str:
    for result in _dicts(annotation.get("result")):
        meta = result.get("meta")
        text = meta.get("text") if isinstance(meta, dict) else None
        if isinstance(text, list) and text:
            return str(text[0])
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return "anonymous" if who is None else str(who)


def _dicts(value: object) -> Iterable[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
