"""reteach: image classifiers from noisy, ambiguous or incomplete labels.

*teach → predict → relabel → teach again.* The labels are values, a method is a loop over them,
the images never change.

::

    import reteach as rt

    model = rt.train("mile", images="photos", labels="labels.csv")
    model.predict("more").to_pandas()

Every command is a function here; each is imported where it is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "__version__":
        found = globals()[name] = _version()
        return found
    from .api.public import PUBLIC

    if name not in PUBLIC:
        text = f"module 'reteach' has no attribute {name!r}"
        raise AttributeError(
            text, name=name, obj=sys.modules[__name__]
        )  # Python says which is near
    module = import_module(f"reteach.{PUBLIC[name]}")
    found = globals()[name] = module if name == PUBLIC[name] else getattr(module, name)
    return found


def __dir__() -> list[str]:
    from .api.public import PUBLIC

    return sorted({*globals(), *PUBLIC, "__version__"})


def _version() -> str:
    """What was installed: made of the tags when it was built. Read late, for it costs as much as the rest."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("reteach")
    except PackageNotFoundError:  # the sources are on the path, and nothing is installed
        return "0+unknown"


class _Package(ModuleType):
    """The package. Parts of it that are called like a function (``reteach.compare``) do not hide that."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in ("compare", "report", "review")):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
