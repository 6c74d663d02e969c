"""FiftyOne's image classification data sets on disk: ``data/`` and ``labels.json``.

``fiftyone.types.FiftyOneImageClassificationDataset`` reads and writes it. An image is known by its path in
``data/`` without ending; its target is a class or its number, a list of them, or null where nobody labelled
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import new_folder, plain_json
from ...item_index import first_repeated
from ...labels import Single
from ...progress import note
from ...structured import parse_json
from ...tables import LabelTable
from ..sources.base import open_source
from .carry import unlabelled
from .images import copy, image_files
from .sets import labels_of

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """Labels of the images in ``data/``; items are relative to it. Confidences are not kept, which is said.

    Raises:
        UserError: not such a folder, an image that is not in it, a class that is not listed.
    """
    file = source / "labels.json"
    try:
        content = parse_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        content = None
    targets = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(targets, dict):
        raise UserError(f"{file}: no object 'labels'; FiftyOneImageClassificationDataset is read")
    classes = content.get("classes")
    if classes is not None and not isinstance(classes, list):
        raise UserError(f"{file}: 'classes' is no list")
    listed = None if classes is None else [str(name) for name in classes]
    files = _by_stem(source / "data")
    if odd := [key for key in targets if key not in files]:
        raise UserError(f"{file}: image {odd[0]!r} is not in {source / 'data'}")
    said = [_names(target, listed, file) for target in targets.values()]
    if any("confidence" in each for each in _dicts(targets.values())):
        note(f"{file}: confidences are not kept; a score table has them (reteach predict --scores)")
    several = any(isinstance(target, list) for target in targets.values())
    if several and (nulls := sum(target is None for target in targets.values())):
        note(
            f"{file}: {nulls:,} images are null: taken as not labelled, though FiftyOne writes an "
            "empty list so too"
        )
    items = [files[key] for key in targets]
    return labels_of(items, said, listed, several, f"fiftyone: {source.name}", str(file))


def _by_stem(folder: Path) -> dict[str, str]:
    """Path without ending -> item."""
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist")
    items = open_source(folder).items
    stems = [_stem(item) for item in items]
    if (twice := first_repeated(stems)) is not None:
        raise UserError(f"{folder}: two images are called {twice!r} but for their ending")
    return dict(zip(stems, items, strict=True))


def _stem(item: str) -> str:
    head, slash, name = item.rpartition("/")
    return f"{head}{slash}{name.rpartition('.')[0] or name}"


def _dicts(targets: Any) -> list[dict[str, Any]]:
    each = [one for target in targets for one in (target if isinstance(target, list) else [target])]
    return [one for one in each if isinstance(one, dict)]


def _names(target: Any, classes: list[str] | None, file: Path) -> list[str] | None:
    if target is None:
        return None
    return [
        _name(each, classes, file) for each in (target if isinstance(target, list) else [target])
    ]


def _name(target: Any, classes: list[str] | None, file: Path) -> str:
    value = target.get("label") if isinstance(target, dict) else target
    if isinstance(value, str):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{file}: a target is {str(value)[:60]!r}; expected a class or its number")
    if classes is None or not 0 <= value < len(classes):
        raise UserError(f"{file}: class {value} of {len(classes or ())}")
    return classes[value]


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """The folder, images copied.

    Raises:
        UserError: no ``--images``; two images that differ in their ending alone.
    """
    files = image_files(options.images, table.items, "fiftyone")
    stems = [_stem(item) for item in table.items]
    if (twice := first_repeated(stems)) is not None:
        raise UserError(f"fiftyone names images without ending: two would be called {twice!r}")
    one = isinstance(table.labels, Single)
    column = {name: i for i, name in enumerate(table.labels.classes)}
    numbers = [[column[name] for name in names] for names in table.labels.names()]
    targets: dict[str, Any] = {
        stem: None if nobody else (given[0] if one else given)
        for stem, given, nobody in zip(
            stems, numbers, unlabelled(table.labels).tolist(), strict=True
        )
    }
    with new_folder(out) as folder:
        (folder / "data").mkdir()
        for file, item in zip(files, table.items, strict=True):
            copy(file, folder / "data" / item)
        text = plain_json({"classes": list(table.labels.classes), "labels": targets}, None)
        (folder / "labels.json").write_text(text, "utf-8")
    return ()
