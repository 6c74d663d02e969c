"""A run's whole configuration as one value, and as the file ``config.yaml``."""

from __future__ import annotations

import types
import typing
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

import yaml

from ..data.sources.feature_table import is_table
from ..errors import UserError, closest
from ..files import atomic_write
from ..options import shared as options
from ..options.methods import METHODS, refuse_untaken
from ..options.renamed import current_names
from ..records.runs import MODELS
from ..storage import address, path_of, shown
from ..structured import parse_json, parse_yaml

# What may change between two attempts at the same run, because it changes no number.
FREE = {
    "out",
    "workers",
    "device",
    "features_cache",
    "snapshot_seconds",
    "tensorboard",
    "wandb",
    "mlflow",
    "compile",
    "parallel",
}


@final
@dataclass(frozen=True)
class Config:
    """Everything that ``reteach train`` was told."""

    method: str
    settings: Any  # of the method's own kind, see options/methods.py
    data: options.Data = field(default_factory=options.Data)
    model: options.Model = field(default_factory=options.Model)
    training: options.Training = field(default_factory=options.Training)
    output: options.Output = field(default_factory=options.Output)

    def __post_init__(self) -> None:
        for group in (self.data, self.model, self.training, self.output):
            refuse_untaken(self.method, group)
        name = METHODS[self.method].network
        network = None if name is None else getattr(self.settings, name)
        model = with_network(self.model, self.data.images)
        object.__setattr__(
            self, "model", model if network is None else replace(model, model=network)
        )


def with_network(model: options.Model, images: str | None) -> options.Model:
    """The settings with a network in place of auto: what suits features, pretrained weights, or neither."""
    if model.model != "auto":
        return model
    if images is not None and is_table(Path(images)):
        return replace(model, model="linear")
    if model.freeze and model.init is not None and (known := _network_of_run(model.init)):
        return replace(model, model=known)
    usual = options.PRETRAINED if model.pretrained or model.freeze else options.SCRATCH
    return replace(model, model=usual)


def _network_of_run(folder: Path) -> str | None:
    """The architecture of a finished run's first network; None: it is no such run."""
    try:
        index = parse_json((folder / MODELS.name).read_bytes())
        place = next(iter(index["predictors"].values()))["models"][0]
        return str(parse_json((folder / place / "config.json").read_bytes())["architecture"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration):
        return None


def save(config: Config, path: Path) -> None:
    """Write ``config.yaml``."""
    plain = {"method": config.method} | {
        f.name: _plain(asdict(getattr(config, f.name)))
        for f in fields(config)
        if f.name != "method"
    }
    atomic_write(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def load(path: Path) -> Config:
    """Read ``config.yaml``.

    Raises:
        UserError: no such file, not YAML, an unknown or mistyped setting.
    """
    if not path.is_file():
        raise UserError(f"{path.parent} is not a run folder: it has no {path.name}")
    try:
        plain = parse_yaml(path.read_text(encoding="utf-8"))
        method = plain["method"]
        groups: dict[str, Any] = {
            "settings": METHODS[method].settings,
            "data": options.Data,
            "model": options.Model,
            "training": options.Training,
            "output": options.Output,
        }
        plain["settings"] = current_names(f"train {method}", plain["settings"])
        return Config(method, **{k: build(cls, plain[k], str(path)) for k, cls in groups.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:100] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged: {reason}") from None


def difference(old: Config, new: Config) -> str | None:
    """The first setting that would change the numbers, as "name: old there, new now"; or None."""
    if old.method != new.method:
        return f"method: {old.method} there, {new.method} now"
    for group in fields(Config):
        if group.name == "method":
            continue
        a, b = (_plain(asdict(getattr(each, group.name))) for each in (old, new))
        for name in a:
            if name not in FREE and a[name] != b[name]:
                return f"{name}: {a[name]} there, {b[name]} now"
    return None


def build(cls: type[Any], values: dict[str, Any], where: str) -> Any:
    """A dataclass from plain values, each turned into its field's type; None stands for the default."""
    known = {f.name for f in fields(cls)}
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}{closest(name, sorted(known))}")
    return cls(
        **{
            name: parse(value, hints[name], f"{where}: {name}")
            for name, value in values.items()
            if value is not None
        }
    )


def parse(value: Any, hint: Any, where: str) -> Any:
    """A plain value (or the text of one) as the annotated type of a setting."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if type(None) in arguments and (value is None or (value == "none" and not _choice(hint))):
            return None
        *others, last = (a for a in arguments if a is not type(None))
        for other in others:
            with suppress(UserError):
                return parse(value, other, where)
        return parse(value, last, where)
    if origin is typing.Literal:
        if (word := _word(value)) not in arguments:
            raise UserError(f"{where} must be one of {', '.join(arguments)}, got {value!r}")
        return word
    if origin is tuple:
        return tuple(parse(entry, arguments[0], where) for entry in _entries(value))
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    try:
        if isinstance(value, list | tuple | dict) or (hint is int and isinstance(value, bool)):
            raise TypeError
        if hint is Path and (there := address(str(value))) is not None:
            return path_of(there)
        if hint is Path or hint is str:
            return hint(value)
        if hint is int and float(value) == int(float(value)):
            return int(float(value))
        if hint is float:
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    name = getattr(hint, "__name__", str(hint))
    raise UserError(f"{where} must be a {name}, got {value!r}")


def _choice(hint: Any) -> bool:
    """Whether "none" is one of the values to choose from."""
    return any("none" in typing.get_args(argument) for argument in typing.get_args(hint))


def _word(value: Any) -> Any:
    """What YAML takes for a number or a truth value (1, yes), as the word that was meant."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else value


def _entries(value: Any) -> list[Any]:
    """A list, or one value in its place; nothing is an empty list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _without_paths(value) for name, value in values.items()}


def _without_paths(value: Any) -> Any:
    """Paths, also those in a list, as texts."""
    if isinstance(value, list | tuple):
        return [_without_paths(entry) for entry in value]
    return shown(str(value)) if isinstance(value, Path | str) else value
