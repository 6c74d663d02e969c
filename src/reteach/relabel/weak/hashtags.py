"""Weak labels: hashtags and search queries that say a class's name in some form.

Billion-scale semi-supervised learning (Yalniz et al. 2019), Section 3.3 and supplement 4.1: "we take
the original and stemmed version of every word in the label and concatenate them in different
permutations", e.g. *playing the guitar*: playingtheguitar, playguitar, playingguitar, guitarplaying.
A hashtag or query that is one of these strings gives the class; several classes may share one.

Where the paper is silent:

* words like *the* may be left out (its second example does); with them, the order is kept;
* up to five content words are permuted; longer names keep their order, all words as they are or all
  as stems;
* a *stem* is what people would type: the word without its plural or -ing/-ed ending, with the
  doubled consonant or the dropped *e* put right both ways (*dancing*: danc, dance; *running*: runn,
  runne, run). Strings that nobody types match nothing, so too many do no harm;
* a class has several names if they are separated by commas, as WordNet's lemmas are;
* case, accents and everything but letters and digits are ignored.

The resampling is that of Mahajan et al. (2018), "Exploring the limits of weakly supervised
pretraining": a class of frequency f is seen in proportion to √f.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...labels import LabelSet
from ...scratch import zeros

_SMALL = frozenset(
    {"a", "an", "and", "at", "by", "for", "from", "in", "into", "of", "on", "or", "over", "the"}
    | {"to", "up", "with"}
)
_MOST = 5
"""Content words that are permuted."""
_VOWEL = re.compile("[aeiouy]")


def fold(text: str) -> str:
    """What counts of a text: its letters and digits, small and without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if c.isalnum())


@lru_cache(maxsize=65536)
def stems(word: str) -> tuple[str, ...]:
    """The word itself and what may be its base form: *dancing*, danc, dance."""
    found = [word]
    if word.endswith("ies") and len(word) > 4:
        found.append(word[:-3] + "y")
    elif word.endswith("es") and len(word) > 4:
        found += [word[:-1], word[:-2]]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        found.append(word[:-1])
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) > 1 and _VOWEL.search(root):
            found += [root, root + "e"]
            if root[-1] == root[-2]:
                found.append(root[:-1])
            if root.endswith("i"):
                found.append(root[:-1] + "y")
    return tuple(dict.fromkeys(found))


def forms(name: str) -> set[str]:
    """All strings without spaces that say the name, as in the module's description."""
    words = [w for part in re.split(r"[\W_]+", name) if (w := fold(part))]
    content = [word for word in words if word not in _SMALL] or words
    if len(content) > _MOST:
        return {"".join(stems(w)[end] for w in way) for way in (words, content) for end in (0, -1)}
    ordered = product(*(stems(w) if w in content else (w, "") for w in words))
    permuted = (c for order in permutations(map(stems, content)) for c in product(*order))
    return {"".join(chosen) for way in (ordered, permuted) for chosen in way} - {""}


class Matcher:
    """From a hashtag or query to the classes that it names.

    Args:
        classes: the class list.
        names: further names per class, separated by commas; by default the class names themselves.

    Raises:
        UserError: ``names`` has an unknown class, or a class whose names have no letter or digit.
    """

    def __init__(self, classes: Sequence[str], names: Mapping[str, str] | None = None) -> None:
        self.classes = tuple(classes)
        given = {name: name for name in classes} if names is None else dict(names)
        unknown = next((name for name in given if name not in set(classes)), None)
        if unknown is not None:
            raise UserError(
                f"names are given for class {unknown!r}, which is not in the class list"
            )
        table: dict[str, set[int]] = {}
        for index, cls in enumerate(self.classes):
            own = {form for name in given.get(cls, cls).split(",") for form in forms(name)}
            if not own:
                raise UserError(f"class {cls!r} has no name that a hashtag could match")
            for form in own:
                table.setdefault(form, set()).add(index)
        self._table = {form: tuple(sorted(found)) for form, found in table.items()}

    def __call__(self, tag: str) -> tuple[int, ...]:
        """Indices of the classes that this hashtag or query names, in order; often none."""
        return self._table.get(fold(tag), ())


def square_root(labels: LabelSet) -> NDArray[np.float64]:
    """(N,) sampling probabilities under which a class of frequency f is drawn about √f often.

    An item counts for the rarest of its classes, as in Mahajan et al. (2018); items without labels are
    never drawn. ``reteach.labels.rebalanced`` draws all classes equally often.

    Raises:
        UserError: there are no labels.
    """
    frequency = np.zeros(labels.num_classes, np.int64)
    for _, _, _, cls, weight in labels.blocks():
        frequency += np.bincount(cls[weight > 0], minlength=labels.num_classes)
    if not frequency.any():
        raise UserError("class resampling needs at least one label")
    share = zeros(len(labels), np.float64)
    for _, _, at, cls, weight in labels.blocks():
        use = weight > 0
        np.maximum.at(share, at[use], frequency[cls[use]] ** -0.5)
    share /= share.sum()
    return share
