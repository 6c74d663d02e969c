"""``reteach train METHOD``: one command per method, made from the method's settings."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any

from ..errors import UserError
from .methods import METHODS
from .shared import Data, Model, Output, Training


@dataclass(frozen=True)
class TrainOptions:
    """The settings that every method has, and its own."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)
    settings: Any = None

    def __post_init__(self) -> None:
        name = METHODS[self.method].network
        network = None if name is None else getattr(self.settings, name)
        if network is not None and self.model.model not in (Model.model, network):
            raise UserError(
                f"--model {self.model.model} has no effect beside --{name} {network}: leave it out"
            )

    @property
    def method(self) -> str:
        """The method's name: the class is called after it."""
        return type(self).__name__.replace("_", "-")


for _name, _method in METHODS.items():
    _identifier = _name.replace("-", "_")
    globals()[_identifier] = make_dataclass(
        _identifier,
        [("settings", _method.settings, field(default_factory=_method.settings))],
        bases=(TrainOptions,),
        frozen=True,
        namespace={"__doc__": _method.settings.__doc__, "__module__": __name__},
    )
