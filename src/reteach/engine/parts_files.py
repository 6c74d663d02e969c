"""The files of a snapshot of parts, by ``torch.distributed.checkpoint``.

That format's index is a pickle, and a pickle is a program: it is read with nothing but its own few classes
allowed, and may name nothing but tensors, which are read with ``weights_only``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.distributed.checkpoint import metadata as index
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ..errors import UserError

Told = dict[str, tuple[torch.dtype, torch.Size]]
"""Type and shape of each tensor by name."""
_PLAIN = {
    "torch.distributed.checkpoint.metadata": {
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {
        "Size",
        *(
            str(t).removeprefix("torch.")
            for t in vars(torch).values()
            if isinstance(t, torch.dtype)
        ),
    },
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath"},
    "pathlib._local": {"PosixPath", "WindowsPath"},
}


def write(place: Path, state: dict[str, Tensor]) -> None:
    """Write the parts that each process has; all of them call this."""
    with _as_user_error(place):
        save(state, storage_writer=FileSystemWriter(str(place)))


def read(place: Path, wanted: Callable[[Told], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that are wanted of those that are kept, filled with them; all processes call this."""
    reader = _PartsReader(str(place))
    found = wanted(reader.tensors())
    with _as_user_error(place):
        load(found, storage_reader=reader)
    return found


@contextmanager
def _as_user_error(place: Path) -> Iterator[None]:
    """What goes wrong while processes write or read together is one line, the same in all."""
    try:
        yield
    except CheckpointException as error:
        why = next(iter(error.failures.values()), (error, None))[0]
        raise UserError(
            f"{place} cannot be written or read: {str(why).splitlines()[0][:200]}"
        ) from None


@final
class _PartsReader(FileSystemReader):
    """A reader that builds nothing but what such an index is made of."""

    def read_metadata(self, *args: Any, **more: Any) -> index.Metadata:
        with open(Path(self.path) / ".metadata", "rb") as file:
            found = _Index(file).load()
        entries = getattr(found, "state_dict_metadata", {}).values()
        # of anything else torch would load a pickle with whatever is in it
        if not all(isinstance(entry, index.TensorStorageMetadata) for entry in entries):
            raise UserError(f"{self.path} holds other things than tensors: not read")
        found.storage_meta = found.storage_meta or index.StorageMeta()
        found.storage_meta.load_id = self.load_id
        return found  # type: ignore[no-any-return]

    def tensors(self) -> Told:
        """Type and shape of everything that was kept."""
        entries: Any = self.read_metadata().state_dict_metadata.items()
        return {name: (entry.properties.dtype, entry.size) for name, entry in entries}


@final
class _Index(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _PLAIN.get(module, ()):
            raise UserError(f"a snapshot's index asks for {module}.{name}"[:100] + ": not read")
        return super().find_class(module, name)
