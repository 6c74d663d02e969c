"""``README.md`` of an exported folder: a model card as the Hugging Face hub takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

_LIBRARY = {"timm": "timm", "onnx": "onnx", "torch-export": "pytorch", "safetensors": "timm"}


def card(
    target: str,
    name: str,
    classes: Sequence[str],
    facts: Mapping[str, str],
    metrics: Mapping[str, float],
    images: int,
) -> str:
    """The text.

    Args:
        target: of ``reteach export``.
        name: of the model.
        facts: lines of a table.
        metrics: title -> value on the run's validation images; none: it had none.
        images: of validation.
    """
    return "\n".join(_lines(target, name, classes, facts, metrics, images))


def _lines(
    target: str,
    name: str,
    classes: Sequence[str],
    facts: Mapping[str, str],
    metrics: Mapping[str, float],
    images: int,
) -> Iterator[str]:
    yield "---"
    yield f"library_name: {_LIBRARY[target]}"
    yield "pipeline_tag: image-classification"
    yield "tags:"
    yield from (
        f"- {tag}" for tag in dict.fromkeys(["image-classification", _LIBRARY[target], "reteach"])
    )
    yield "---"
    yield f"# {name}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {key} | {_cell(value)} |" for key, value in facts.items())
    yield ""
    yield "```python"
    yield "from predict import CLASSES, predict  # predict.py of this folder"
    yield ""
    yield 'probabilities = predict(["photo.jpg"])  # (N, C)'
    yield "```"
    yield ""
    if metrics:
        yield f"On the run's {images:,} validation images:"
        yield ""
        yield "| metric | value |"
        yield "|---|---|"
        yield from (f"| {title} | {value:.4f} |" for title, value in metrics.items())
        yield ""
    yield f"## {len(classes)} classes"
    yield ""
    yield ", ".join(_cell(each) for each in classes)
    yield ""
    yield "To share it, with your own client and account: `hf upload USER/NAME .`"
    yield ""


def _cell(text: str) -> str:
    """A text that Markdown shows as it is."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    return "".join(f"\\{c}" if c in "|*_`<>[]" else c for c in plain)
