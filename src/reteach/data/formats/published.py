"""Published lists of one label per image by the name of their format, for ``reteach convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...errors import UserError, closest
from ...tables import LabelTable
from ..sources import cifar
from . import lists

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

Published = Literal["cifar", "cifar10n", "cifar100n", "clothing1m", "tiny-imagenet", "webvision"]

SPLITS: dict[Published, tuple[str, ...]] = {
    "cifar": ("train", "test"),
    "cifar10n": ("worse_label", "aggre_label", "random_label1", "random_label2", "random_label3"),
    "cifar100n": ("noisy_label",),
    "clothing1m": get_args(lists.Clothing),
    "tiny-imagenet": ("train", "val"),
    "webvision": get_args(lists.Webvision),
}
"""The parts of each; the first is the default."""


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label table of the part that is asked for."""
    form: Any = options.format
    return read_published(form, source, options.split, options.first)


def read_published(
    form: Published, where: Path, split: str | None = None, first: int | None = None
) -> LabelTable:
    """The label table of one part.

    Args:
        where: the folder of the lists; of CIFAR-N the file of label sets.
        split: one of :data:`SPLITS`; of CIFAR-N the name of any label set in the file.
        first: of WebVision, only so many classes.

    Raises:
        UserError: no such part, a missing or damaged file, ``first`` for another format.
    """
    if first is not None and form != "webvision":
        raise UserError(f"--first takes the first classes of webvision's list, not of {form}")
    part: Any = split or SPLITS[form][0]
    if form == "cifar10n":
        return cifar.read_human_labels(where, part, cifar.CIFAR10)
    if form == "cifar100n":
        return cifar.read_human_labels(where, part, cifar.CIFAR100)
    if part not in SPLITS[form]:
        known = list(SPLITS[form])
        raise UserError(f"--split must be one of {', '.join(known)} for {form}, got {part!r}"
                        f"{closest(part, known)}")  # fmt: skip
    if form == "webvision":
        return lists.webvision(where, part, first)
    if form == "clothing1m":
        return lists.clothing1m(where, part)
    return (
        lists.tiny_imagenet(where, part)
        if form == "tiny-imagenet"
        else cifar.read_cifar(where, part)[1]
    )
