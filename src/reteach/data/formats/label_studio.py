"""Label Studio's JSON of a project with one group of choices, and label tables as such tasks.

``convert`` has one label or label set per image; what several raters said is read by ``relabel consensus``.
Beside ``tasks.json`` lies the labelling interface, ``tasks.xml``: it holds the class list, and whether an
image may have several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final
from urllib.parse import quote, unquote

from ...errors import UserError
from ...files import atomic_write, plain_json
from ...labels import LabelSet, Single
from ...structured import parse_json
from ...tables import LabelTable
from .carry import unlabelled
from .sets import labels_of
from .xml_files import XmlReader, xml_text

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

MOST_BYTES = 1 << 24


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """A task per image, its labels as an annotation, or as a prediction (``--prelabels``).

    Raises:
        UserError: not a .json.
    """
    if out.suffix.lower() != ".json":
        raise UserError(f"{out}: Label Studio's tasks are a .json")
    prefix = options.url_prefix or ""
    open_ = unlabelled(table.labels).tolist()
    rows = zip(table.items, table.labels.names(), open_, strict=True)
    tasks: list[dict[str, Any]] = []
    for item, names, none in rows:
        task: dict[str, Any] = {"id": len(tasks) + 1}
        task["data"] = {"image": prefix + _quoted(item, prefix)}
        if not none:
            task |= _said(names, table.source, options.prelabels)
        tasks.append(task)
    config = out.with_suffix(".xml")
    atomic_write(config, "".join(_interface(table.labels)))
    atomic_write(out, plain_json(tasks, None))
    return (f"labelling interface for the project: {config}",)


def _said(names: list[str], source: str, prelabels: bool) -> dict[str, Any]:
    chosen = {"from_name": "label", "to_name": "image", "type": "choices"}
    result = {"result": [chosen | {"value": {"choices": names}}] if names else []}
    if prelabels:
        return {"predictions": [{"model_version": source or "reteach"} | result]}
    return {"annotations": [result]}


def _interface(labels: LabelSet) -> Iterator[str]:
    several = "single" if isinstance(labels, Single) else "multiple"
    yield '<View>\n  <Image name="image" value="$image"/>\n'
    yield f'  <Choices name="label" toName="image" choice="{several}">\n'
    for name in labels.classes:
        yield f'    <Choice value="{xml_text(name)}"/>\n'
    yield "  </Choices>\n</View>\n"


def _quoted(item: str, prefix: str) -> str:
    """The item in an address; prefixes such as ``/data/local-files/?d=`` and ``http://`` begin one."""
    return quote(item) if _is_address(prefix) else item


def _is_address(prefix: str) -> bool:
    return prefix.startswith(("http://", "https://", "/data/"))


def _item(image: str, prefix: str | None, where: str) -> str:
    if prefix is None:
        return unquote(image.partition("?d=")[2]) or image  # Label Studio's address of a local file
    if not image.startswith(prefix):
        raise UserError(f"{where}: image {image!r} does not begin with --url-prefix {prefix}")
    rest = image.removeprefix(prefix)
    return unquote(rest) if _is_address(prefix) else rest


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The annotation of each task, or with ``--prelabels`` its prediction; a task without is not labelled.

    Raises:
        UserError: damaged; annotations of one task that disagree.
    """
    try:
        tasks = parse_json(source.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror}") from None
    except ValueError:
        tasks = None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(
            f"{source}: not Label Studio's JSON, a list of tasks (JSON-MIN is not read)"
        )
    beside = source.with_suffix(".xml")
    interface = _Interface(beside) if beside.is_file() else None
    items: list[str] = []
    said: list[list[str] | None] = []
    for number, task in enumerate(tasks, 1):
        where = f"{source}: task {number}"
        data = task.get("data")
        image = (
            data.get(interface.key if interface else "image") if isinstance(data, dict) else None
        )
        if not isinstance(image, str) or not image:
            raise UserError(f"{where}: data has no 'image'")
        items.append(_item(image, options.url_prefix, where))
        said.append(_one_word(task, "predictions" if options.prelabels else "annotations", where))
    classes = interface.classes if interface and interface.classes else None
    several = None if interface is None else interface.several
    return labels_of(items, said, classes, several, f"label-studio: {source.name}", str(source))


def _one_word(task: dict[str, Any], key: str, where: str) -> list[str] | None:
    """The classes that a task was given; None: nobody has."""
    given = task.get(key) or []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise UserError(f"{where}: {key} are a list of objects")
    counted = [each for each in given if not each.get("was_cancelled")]
    counted = [each for each in counted if each.get("ground_truth")] or counted
    words = [sorted(_choices(each, where)) for each in counted]
    if any(word != words[0] for word in words):
        raise UserError(
            f"{where}: its {len(words)} {key} disagree; reteach relabel consensus makes labels of them"
        )
    return words[0] if words else None


def _choices(annotation: dict[str, Any], where: str) -> set[str]:
    names: dict[str, set[str]] = {}
    results = annotation.get("result") or []
    if not isinstance(results, list):
        raise UserError(f"{where}: the result of an annotation is no list")
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            names.setdefault(str(result.get("from_name")), set()).update(map(str, value["choices"]))
    if len(names) > 1:
        raise UserError(
            f"{where}: several groups of choices ({', '.join(names)}); reteach relabel consensus reads "
            "answers yes, maybe and no"
        )
    return next(iter(names.values()), set())


@final
class _Interface(XmlReader):
    """What a labelling interface says: the classes, whether several, and where the image stands."""

    def __init__(self, file: Path) -> None:
        self.classes: list[str] = []
        self.several, self.key = False, "image"
        super().__init__(file, "View", "a labelling interface of Label Studio", MOST_BYTES)

    def started(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        if path[-1] == "Choices":
            self.several = attributes.get("choice", "single") == "multiple"
        elif path[-1] == "Choice":
            self.classes.append(attributes.get("value", ""))
        elif path[-1] == "Image" and attributes.get("value", "").startswith("$"):
            self.key = attributes["value"][1:]
