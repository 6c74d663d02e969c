"""Starting a network from a weight file, and saying what of it was used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from ..errors import UserError
from ..structured import parse_json
from .selfsup import LAYOUTS, CheckpointLayout, bare, detect
from .tensorfiles import Tensors, read

PLAIN = CheckpointLayout("timm or torchvision", evidence="(?!)", rename=lambda key: key, hint="")
COUNTER = ".num_batches_tracked"  # of batch normalisation; it does not affect the outputs


@final
@dataclass(frozen=True)
class LoadReport:
    """What became of a weight file.

    Args:
        file: that was read.
        layout: in which its keys are named.
        loaded: weights of the network that it filled.
        missing: weights of the network that it does not hold; they keep their fresh values.
        unexpected: keys of the file that its layout does not know.
        dropped: keys of the file that are left out on purpose, such as projection heads.
    """

    file: Path
    layout: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        fresh = [name for name in self.missing if not name.endswith(COUNTER)]
        parts = [f"{self.file.name} ({self.layout}): {len(self.loaded)} tensors loaded"]
        for word, keys in (
            ("fresh", fresh),
            ("unexpected", self.unexpected),
            ("left out", self.dropped),
        ):
            if keys:
                parts.append(f"{word}: {_outline(keys)}")
        return "; ".join(parts)


def load(model: nn.Module, path: Path) -> LoadReport:
    """Fill a network from timm's or torchvision's weights or a self-supervised checkpoint.

    The backbone must fit exactly. The output layer is taken from plain weights if it fits, and never
    from self-supervised ones; counters of batches in batch normalisation may be absent.

    Args:
        model: of timm, or with timm's conventions; changed in place, or not at all on an error.
        path: see :func:`reteach.models.tensorfiles.read`.

    Raises:
        UserError: the file cannot be read, is of no known layout, or does not fit the network.
    """
    groups = {
        group: {bare(key): tensor for key, tensor in tensors.items()}
        for group, tensors in read(path).items()
    }
    state = model.state_dict()
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    layout, group = detect(groups) or (PLAIN, _plain_group(groups, state, path))
    keys: dict[str, str] = {}  # of the file, by the names of their weights in the network
    unexpected: list[str] = []
    dropped = [f"{other}.{key}" for other in groups if other != group for key in groups[other]]
    for key in groups[group]:
        name = layout.place(key)
        if name:
            keys[name] = key
        else:
            (unexpected if name is None else dropped).append(key)
    head = {name for name in state if _under(name, config.get("classifier"))}
    tensors = {name: groups[group][key] for name, key in keys.items()}
    if layout is not PLAIN or any(
        name not in tensors or tensors[name].shape != state[name].shape for name in head
    ):
        outputs = [name for name in tensors if _under(name, config.get("classifier"))]
        dropped += [keys[name] for name in outputs]
        tensors = {name: tensors[name] for name in tensors if name not in outputs}
    optional = head | {name for name in state if name.endswith(COUNTER)}
    if problem := misfit(tensors, state, optional):
        architecture = config.get("architecture") or type(model).__name__
        raise UserError(
            f"{path} ({layout.name}) does not fit {architecture}: {problem}{layout.hint}"
        )
    model.load_state_dict(tensors, strict=False)
    if normal := _normalisation_beside(Path(path)):
        set_config(model, config | normal)
    if layout.unit_range:
        set_config(model, config | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)})
    return LoadReport(
        Path(path),
        layout.name,
        loaded=tuple(name for name in state if name in tensors),
        missing=tuple(name for name in state if name not in tensors),
        unexpected=tuple(unexpected),
        dropped=tuple(dropped),
    )


def misfit(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor], optional: Iterable[str] = ()
) -> str | None:
    """The first reason why ``tensors`` cannot fill ``state`` but for ``optional``, or None."""
    spare = set(optional)
    for name, wanted in state.items():
        if name not in tensors:
            if name not in spare:
                return f"the file has no {name}"
        elif tensors[name].shape != wanted.shape:
            there, here = tuple(tensors[name].shape), tuple(wanted.shape)
            return f"{name} is {there} in the file and {here} in the model"
    extra = next((name for name in tensors if name not in state), None)
    return None if extra is None else f"the model has no {extra}"


def _normalisation_beside(path: Path) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation that the weights of a timm folder were trained with: its config.json."""
    try:
        return {key: tuple(float(v) for v in beside(path)[key]) for key in ("mean", "std")}
    except (ValueError, KeyError, TypeError):
        return {}


def beside(path: Path) -> dict[str, Any]:
    """timm's description of the weights in a folder of timm's layout; empty for others."""
    try:
        folder = path if path.is_dir() else path.parent
        kept = parse_json((folder / "config.json").read_bytes())["pretrained_cfg"]
        return kept if isinstance(kept, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def set_config(model: Any, config: dict[str, Any]) -> None:
    """Change timm's description of a network, under both of its names."""
    model.pretrained_cfg = model.default_cfg = config


def _plain_group(groups: Mapping[str, Tensors], state: Mapping[str, Tensor], path: Path) -> str:
    """The group that shares most names with the network; averaged weights before raw ones."""
    shared = {group: len(groups[group].keys() & state.keys()) for group in groups}
    best = max(sorted(shared, key=lambda group: "ema" not in group), key=lambda g: shared[g])
    if not shared[best]:
        layouts = ", ".join(layout.name for layout in LAYOUTS)
        keys = ", ".join(list(groups[best])[:3])
        raise UserError(
            f"{path} has neither the names of this model's weights nor a layout known here "
            f"({layouts}): its keys begin with {keys}"
        )
    return best


def _under(name: str, layers: Any) -> bool:
    """Whether a weight belongs to one of the named layers (a name, several, or None)."""
    layers = (layers,) if isinstance(layers, str) else layers or ()
    return any(name.startswith(f"{layer}.") for layer in layers)


def _outline(keys: Iterable[str]) -> str:
    """Keys by their layers: "encoder_k (320), fc (2), queue"."""
    counts = Counter(key.partition(".")[0] for key in keys)
    parts = [f"{name} ({n})" if n > 1 else name for name, n in counts.items()]
    return ", ".join(parts[:6]) + (" …" if len(parts) > 6 else "")
