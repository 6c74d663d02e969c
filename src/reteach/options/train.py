"""``reteach train METHOD``: one command per method, made from the method's settings."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any

from ..errors import UserError
from .methods import METHODS
from .shared import Data, Model, Output, Training


@dataclass(frozen=True)
class _TrainOptions:
    """The settings that every method has."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)

    def run(self) -> None:
        """Train, and say where the result is."""
        from ..runs.config import Config
        from ..runs.train import train
        from .runs import announce

        method = type(self).__name__.replace("_", "-")
        settings: Any = self.settings  # type: ignore[attr-defined]
        self._refuse_two_networks(METHODS[method].network, settings)
        announce(train(Config(method, settings, self.data, self.model, self.training, self.output)))

    def _refuse_two_networks(self, name: str | None, settings: Any) -> None:
        network = None if name is None else getattr(settings, name)
        if network is not None and self.model.model not in (Model.model, network):
            raise UserError(
                f"--model {self.model.model} has no effect beside --{name} {network}: leave it out"
            )


for _name, _method in METHODS.items():
    _identifier = _name.replace("-", "_")
    globals()[_identifier] = make_dataclass(
        _identifier,
        [("settings", _method.settings, field(default_factory=_method.settings))],
        bases=(_TrainOptions,),
        frozen=True,
        namespace={"__doc__": _method.settings.__doc__, "__module__": __name__},
    )
