"""What a run was begun with: the content of its images and its labels, in the run folder's ``inputs.npz``.

A run that goes on holds what it finds against this, and names what has changed. A digest of each image is
made when all images are looked at before the first step; later only files whose size or time of change
is another one are read again, so that a file which was merely touched is no change.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from .. import sealed
from ..data.dataset import Dataset
from ..data.loading.quarantine import Examined
from ..data.sources.base import Source, open_source
from ..data.sources.contents import DIGEST
from ..data.sources.folders import FolderSource, VideoSource, open_folder
from ..errors import UserError
from ..files import atomic_path
from ..labels import Rows
from ..unreadable import write_csv

FILE, VANISHED = "inputs.npz", "vanished.csv"


@final
@dataclass(frozen=True, eq=False)
class KnownImages:
    """The images that an option names.

    Args:
        items: N item ids.
        digests: (N, 16) uint8; 0: the image could not be used.
        labels: a digest of their labels.
    """

    items: Sequence[str]
    digests: NDArray[np.uint8]
    labels: str


@final
@dataclass(eq=False)
class Originals:
    """Holds the inputs of a run against those that it was begun with.

    Args:
        folder: of the run, None: of none, and nothing is held against anything.
        forgiving: go on without images that have vanished.
        before: what the run was begun with, by option; empty: it is only now begun.
        now: what is found, by option.
        gone: item -> reason of the images that have vanished since.
    """

    folder: Path | None = None
    forgiving: bool = False
    before: dict[str, KnownImages] = field(default_factory=dict)
    now: dict[str, KnownImages] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)

    def open(self, option: str, where: str, cache: Path) -> Source:
        """The images of an option, those included that have vanished and are forgiven.

        Raises:
            UserError: as ``open_source``; or an image that the run was begun with is not there.
        """
        source = open_source(where, cache=cache)
        if option not in self.before:
            return source
        there = set(source.items)
        missing = [item for item in self.before[option].items if item not in there]
        if not missing:
            return source
        if not isinstance(source, FolderSource | VideoSource):
            raise UserError(
                f"{self._named(missing, where)} gone since {self.folder} was begun: put the old file back, "
                "or train anew with another --out"
            )
        if not self.forgiving:
            raise self._vanished(missing, where)
        found = open_folder(Path(where), sorted({*source.items, *missing}))
        if isinstance(source, FolderSource) and isinstance(found, FolderSource):
            return replace(found, others=source.others)
        return found

    def hold(
        self,
        option: str,
        where: str,
        table: Path | None,
        data: Dataset,
        found: Examined,
        rows: Rows,
    ) -> tuple[Dataset, dict[str, str]]:
        """The data set with the digests of its images, and item -> reason of those to leave out.

        Args:
            rows: of the source, ascending, that were looked at: those of the data set, and further ones
                that are used elsewhere.

        Raises:
            UserError: labels or images are not those that the run was begun with.
        """
        items = [data.source.items[row] for row in rows.tolist()]
        reasons = {entry.item: entry.reason for entry in found.broken}
        digests = found.digests.copy()
        self.now[option] = KnownImages(items, digests[rows], labels_digest(data))
        if option in self.before:
            before = self.before[option]
            if table is not None:
                self.hold_labels(option, table, data)
            old = dict(zip(before.items, before.digests, strict=True))
            if added := [item for item in items if item not in old]:
                raise UserError(
                    f"{self._named(added, where)} not there when {self.folder} was begun: "
                    "take out what was added, or train anew with another --out"
                )
            was = np.array([old[item] for item in items], np.uint8).reshape(-1, DIGEST)
            usable, is_now = was.any(1), digests[rows].any(1)
            self._hold_contents(was, digests[rows], items, where)
            lost = [items[at] for at in np.flatnonzero(usable & ~is_now)]
            if lost and not self.forgiving:
                raise self._vanished(lost, where)
            self.gone |= {
                item: f"since the run began: {reasons.get(item, 'gone')}" for item in lost
            }
            digests[rows] = was
            reasons |= {
                items[at]: "could not be used when the run began"
                for at in np.flatnonzero(~usable & is_now)
            }
            reasons = {item: why for item, why in reasons.items() if item not in self.gone}
        return Dataset(data.source, data.labels, data.rows, digests), reasons

    def hold_labels(self, option: str, table: Path, data: Dataset) -> None:
        """Note the labels of a table, or hold them against those that the run was begun with.

        Raises:
            UserError: they are others.
        """
        what = f"{table} has other labels than when {self.folder} was begun: put the old table back"
        self._hold(option, labels_digest(data), what)

    def hold_files(self, settings: Any) -> None:
        """Note the content of each file that a setting names, such as ``--init``, or hold it against what the
        run was begun with.

        Args:
            settings: a dataclass; settings that name folders keep their own record.

        Raises:
            UserError: a file is another one.
        """
        for each in fields(settings):
            value = getattr(settings, each.name)
            files = value if isinstance(value, tuple) else (value,)
            paths = [path for path in files if isinstance(path, Path) and not path.is_dir()]
            if not all(path.is_file() for path in paths) or not paths:
                continue  # whoever reads it says what is wrong
            option = f"--{each.name.replace('_', '-')}"
            found = hashlib.sha256()
            for path in paths:
                with path.open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
            what = f"{option} {paths[0]} is not what it was when {self.folder} was begun"
            self._hold(option, found.hexdigest()[:32], f"{what}: put the old file back")

    def _hold(self, option: str, digest: str, what: str) -> None:
        if option in self.before and self.before[option].labels != digest:
            raise UserError(f"{what}, or train anew with another --out")
        self.now.setdefault(option, KnownImages([], np.zeros((0, DIGEST), np.uint8), digest))

    def digests(self) -> dict[str, str]:
        """What stands for the inputs of each option: names and contents of its images, and labels."""
        found: dict[str, str] = {}
        for option, images in self.now.items():
            text = "\0".join(images.items).encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(text + images.digests.tobytes(), digest_size=8).hexdigest()
            found |= {f"what {option} names": digest, f"the labels of {option}": images.labels}
        return found

    def keep(self) -> None:
        """Write what the run was begun with, and what has vanished since."""
        assert self.folder is not None
        if not self.before:
            arrays = {}
            for option, images in self.now.items():
                blob = "\0".join(images.items).encode("utf-8", "surrogatepass")
                arrays[f"{option}.items"] = np.frombuffer(blob, np.uint8)
                arrays[f"{option}.digests"] = images.digests
                arrays[f"{option}.labels"] = np.array(images.labels)
            with atomic_path(self.folder / FILE) as part:
                with open(part, "wb") as out:
                    np.savez(out, **arrays)  # type: ignore[arg-type]
                sealed.seal(part)
        if self.gone:
            write_csv(self.folder / VANISHED, sorted(self.gone.items()))

    def warning(self) -> str:
        """What is to be known of images that have vanished, now or earlier; empty if none has."""
        if self.folder is None or not (self.folder / VANISHED).exists():
            return ""
        return (
            f"images have vanished since the run began ({self.folder / VANISHED}): from then on they add "
            "nothing to the loss and are left out of what is judged, so that weights and numbers are not "
            "those of the undisturbed run"
        )

    def _hold_contents(
        self, was: NDArray[np.uint8], now: NDArray[np.uint8], items: list[str], where: str
    ) -> None:
        changed = np.flatnonzero(was.any(1) & now.any(1) & (was != now).any(1))
        if len(changed):
            raise UserError(
                f"{self._named([items[at] for at in changed], where)} not what it was when "
                f"{self.folder} was begun: put the old files back, or train anew with another --out"
            )

    def _vanished(self, items: list[str], where: str) -> UserError:
        return UserError(
            f"{self._named(items, where)} gone since {self.folder} was begun, or cannot be read: put the "
            f"old files back, or go on without: reteach resume {self.folder} --quarantine-missing"
        )

    def _named(self, items: list[str], where: str) -> str:
        others = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
        return f"image {items[0]!r}{others} in {where} is"


def labels_digest(data: Dataset) -> str:
    """A hash of the items that have a label, and of their labels."""
    known = data.labelled()
    digest = hashlib.sha256("\0".join(known.items).encode("utf-8", "surrogatepass"))
    digest.update(known.labels.digest().encode())
    return digest.hexdigest()[:32]


def originals_of(folder: Path, forgiving: bool = False) -> Originals:
    """What the run in a folder was begun with; nothing where no stage of it has begun.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / FILE
    if not (folder / "stages").exists():
        return Originals(folder, forgiving)
    if not file.exists():
        print(
            f"warning: an earlier version began {folder} and kept nothing of its inputs: what has changed "
            "in them since cannot be noticed",
            file=sys.stderr,
        )
        return Originals(folder, forgiving)
    then = "delete it and resume; then changes of the inputs until now go unnoticed"
    sealed.check(file, then)
    try:
        with np.load(file, allow_pickle=False) as kept:
            options = [name.removesuffix(".labels") for name in kept if name.endswith(".labels")]
            before = {option: _images(kept, option) for option in options}
    except Exception:  # its CRCs are right, and yet it is something else
        raise sealed.Damaged(f"{file} cannot be read: {then}") from None
    return Originals(folder, forgiving, before)


def _images(kept: np.lib.npyio.NpzFile, option: str) -> KnownImages:
    digests = kept[f"{option}.digests"]
    text = kept[f"{option}.items"].tobytes().decode("utf-8", "surrogatepass")
    return KnownImages(
        text.split("\0") if len(digests) else [], digests, str(kept[f"{option}.labels"])
    )
