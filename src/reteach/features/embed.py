"""The work of ``reteach embed``: images in, a feature table out, one shard for each part of the images.

A shard is a function of its part and of the settings, and written whole or not at all. A job that was
stopped goes on with the parts that have none, with the backend and the batch size it was begun with.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import rng, sealed
from ..data.loading.augment import Train
from ..data.loading.reader import Augment
from ..data.sources.base import ArraySource, is_video, need_pixels
from ..data.sources.feature_table import (
    FORMAT,
    INDEX,
    OLD_INDEX,
    FeatureShard,
    Half,
    first_difference,
    is_table,
    read_index,
    read_shard,
    write_shard,
)
from ..data.sources.parts import Failed, Parts, open_parts, read_parts
from ..errors import UserError
from ..files import remove_parts
from ..locks import entries, only_writer
from ..models.forward import Backend, Forward, forward
from ..models.heads import classifier_of
from ..progress import note, progress
from ..storage import present
from ..unreadable import Unreadable, beside, left_out
from .extractor import Extractor

BLOCK = 1024
"""Images per shard where they are not in tar files."""


@final
@dataclass(frozen=True)
class Views:
    """An image as V views, one after the other in the channels: as it is, flipped, random crops.

    The crops are a function of the pixels and the seed, so that they do not depend on names and order.

    Args:
        view: how evaluation sees images.
        crop: of the third view and later ones.
        count: V.
        seed: of the crops.
    """

    view: Augment
    crop: Augment | None
    count: int
    seed: int

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (V · C, S, S)."""
        plain = self.view(image, 0)
        found = [plain, plain.flip(-1)][: self.count]
        if self.crop is not None:
            own = zlib.crc32(np.ascontiguousarray(image.numpy()).data)
            seeds = (rng.fold(self.seed, "views", own, number) for number in range(2, self.count))
            found += [self.crop(image, one) for one in seeds]
        return torch.cat(found)

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> (B, V · C, S, S)."""
        return torch.stack([self(image, 0) for image in images])


@final
@dataclass(eq=False)
class EmbeddedTotal:
    """What a job came to."""

    shards: int
    settings: dict[str, Any]
    earlier: int = 0
    """Shards that were there before."""
    images: int = 0
    """In the table."""
    computed: int = 0
    """How many of them were computed now."""
    dimensions: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(part, reason) of tar files that cannot be read."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(item, reason) of what is not in the table."""
    listed: Unreadable = field(default_factory=Unreadable)
    """Those and the parts that failed."""


Elsewhere = Callable[[dict[str, Any], list[int]], Iterator[tuple[int, str]]]
"""(settings, numbers of parts) -> each part whose shard is written by another process, and why it is not
("": it is)."""


@final
@dataclass(frozen=True, eq=False)
class Embedder:
    """A network that writes the features of parts of the images.

    Args:
        eyes: the network, and how images reach it.
        of: its fast forward pass.
        parts: of the images.
        settings: what the features depend on.
        workers: processes that decode.
    """

    eyes: Extractor
    of: Forward
    parts: Parts
    settings: dict[str, Any]
    workers: int

    def shards(self, numbers: Sequence[int]) -> Iterator[tuple[int, FeatureShard | Failed | int]]:
        """Each part's shard or why there is none, and in between how many images are done."""
        prepare, views = self.eyes.seen.prepare, self.settings["views"]
        items: list[str] = []
        classes: list[str] = []
        found: list[Half] = []
        unreadable: list[tuple[str, str]] = []
        for read in self._decoded(numbers):
            if isinstance(read, Failed):
                yield read.part, read
                continue
            pixels, broken = read.pixels
            kept = sorted(set(range(len(read.items))) - {at for at, _ in broken})
            unreadable += [(read.items[at], reason) for at, reason in broken]
            items += [read.items[at] for at in kept]
            classes += [read.class_of[at] for at in kept] if read.class_of is not None else []
            if kept:
                x = pixels[kept].view(len(kept) * views, -1, *pixels.shape[2:])
                with torch.inference_mode():
                    found.append(_half(self.of(prepare(x)), items[-len(kept) :], views))
            yield read.part, len(read.items)
            if read.last:
                if read.lost:
                    unreadable.append((self.parts.names[read.part], read.lost))
                unreadable += read.others
                none = np.zeros((0, views, self.of.dimensions), np.float16)
                table = np.concatenate([none, *found])
                identity = _identity(self.parts, read.part)
                named = classes if read.class_of is not None else None
                shard = FeatureShard(self.settings, identity, items, table, unreadable, named)
                yield read.part, shard
                items, classes, found, unreadable = [], [], [], []

    def _decoded(self, numbers: Sequence[int]) -> Iterator[Any]:
        seen, views = self.eyes.seen, self.settings["views"]
        shared = self.parts.shared
        if seen.frames is not None or (shared is not None and is_video(shared)):
            raise UserError(
                "reteach embed takes still images, and these are videos or a model of them"
            )
        crop = None
        if views > 2:
            if seen.image_size is None:
                raise UserError("--views of crops need a model with an image size of its own")
            crop = Train(
                seen.image_size, scale=(0.35, 1.0), interpolation=seen.prepare.interpolation
            )
        augment = Views(seen.view(False), crop, views, self.settings["seed"])
        size = self.settings["batch_size"]
        return read_parts(
            self.parts, numbers, augment, size, workers=self.workers, at_least=seen.at_least
        )


def _identity(parts: Parts, number: int) -> str:
    """What tells a part from others: its items, and their classes where an array file names these."""
    shared = parts.shared
    if not isinstance(shared, ArraySource) or shared.class_of is None:
        return parts.identity(number)
    first = sum(parts.sizes[:number])
    named = "\0".join(shared.class_of[first : first + parts.sizes[number]])
    digest = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{parts.identity(number)} classes {digest}"


def _half(features: Tensor, items: Sequence[str], views: int) -> Half:
    """(B · V, D) -> (B, V, D) float16."""
    with np.errstate(over="ignore"):
        half = features.cpu().numpy().astype(np.float16).reshape(len(items), views, -1)
    if not np.isfinite(half).all():
        at = int(np.flatnonzero(~np.isfinite(half).all((1, 2)))[0])
        raise UserError(f"the features of {items[at]!r} are not finite in 16 bits")
    return half


def embed(
    eyes: Extractor,
    images: str | Parts,
    out: Path,
    *,
    views: int = 1,
    seed: int = 0,
    block: int = BLOCK,
    batch_size: int | None = None,
    backend: Backend | None = None,
    workers: int = 0,
    elsewhere: Elsewhere | None = None,
) -> EmbeddedTotal:
    """Write the features of all images that have none yet.

    Args:
        eyes: the network.
        images: what :func:`~reteach.data.sources.base.open_source` opens, or parts that are open.
        out: folder of the table.
        views: V.
        block: images per shard where they are not in tar files.
        batch_size: images at a time; None takes that of the table, or what suits the device.
        backend: of the forward pass; None takes that of the table, or the fastest.
        elsewhere: lets other processes write the shards; None: this one does.

    Raises:
        UserError: the folder holds another table, or nothing can be read.
    """
    parts = open_parts(images, block) if isinstance(images, str) else images
    need_pixels(parts.shared, "reteach embed")
    return embed_parts(
        eyes,
        parts,
        out,
        views=views,
        seed=seed,
        block=block,
        batch_size=batch_size,
        backend=backend,
        workers=workers,
        elsewhere=elsewhere,
    )


def embed_parts(
    eyes: Extractor,
    parts: Parts,
    out: Path,
    *,
    views: int = 1,
    seed: int = 0,
    block: int = 1024,
    batch_size: int | None = None,
    backend: Backend | None = None,
    workers: int = 0,
    elsewhere: Elsewhere | None = None,
) -> EmbeddedTotal:
    """The same for images that are open; see :func:`embed`."""
    with only_writer(out, worth="*.parquet"):
        begun = read_index(out)["settings"] if is_table(out) else {}
        if not begun and entries(out):
            raise UserError(f"{out} is not empty and holds no feature table; use another --out")
        device = eyes.seen.prepare.device
        usual = begun.get("batch_size") or (8 if device == "cpu" else 256)
        count = sum(parts.sizes) if parts.unit == "images" else None
        of = forward(eyes.model, input_of(eyes, parts), backend or begun.get("backend"), count)
        settings = making(eyes) | {
            "views": views,
            "seed": seed,
            "block": block if parts.shared is not None else None,
            "backend": of.backend,
            "dtype": "float32",
            "batch_size": batch_size or usual,
        }
        if begun and begun != settings:
            raise UserError(
                f"{out} was begun with other settings ({first_difference(begun, settings)}); "
                "use another --out"
            )
        embedder = Embedder(eyes, of, parts, settings, workers)
        total = EmbeddedTotal(len(parts.names), settings)
        total.unreadable += left_out(parts.shared)
        digests = _there(embedder, out, total)
        _keep(out, settings, digests, complete=False)
        if elsewhere is None:
            _compute(embedder, out, total, digests)
        else:
            _gather(embedder, out, total, digests, elsewhere)
        if not total.images:
            name, reason = next(iter([*total.failed, *total.unreadable]), ("", "there are none"))
            raise UserError(f"none of the images can be read, first: {name}: {reason}")
        order = {name: digests[name] for name in parts.names if name in digests}
        _keep(out, settings, order, complete=not total.failed)
        (out / "unreadable.csv").unlink(missing_ok=True)  # where it was in earlier versions
        listing = beside(out)
        total.listed = Unreadable.of(listing, total.failed, total.unreadable).written(listing)
        return total


def _compute(embedder: Embedder, out: Path, total: EmbeddedTotal, digests: dict[str, str]) -> None:
    names = embedder.parts.names
    todo = [number for number, name in enumerate(names) if name not in digests]
    start, done = time.monotonic(), 0
    counted = embedder.parts.unit == "images"
    work = sum(embedder.parts.sizes[number] if counted else 1 for number in todo)
    with progress("features", work) as on_progress:
        for number, what in embedder.shards(todo):
            if isinstance(what, Failed):
                total.failed.append((names[number], what.reason))
                note(f"{names[number]} cannot be read: {what.reason}")
            elif isinstance(what, FeatureShard):
                digests[names[number]] = write_shard(out / f"{names[number]}.parquet", what)
                _count(what, total)
                total.computed += len(what.items)
            done += (what if counted else 0) if isinstance(what, int) else (0 if counted else 1)
            rate = total.computed / max(time.monotonic() - start, 1e-9)
            on_progress(done, f"{rate:,.1f} images/s" if total.computed else "")
    total.seconds = time.monotonic() - start


def _gather(
    embedder: Embedder,
    out: Path,
    total: EmbeddedTotal,
    digests: dict[str, str],
    elsewhere: Elsewhere,
) -> None:
    """Let other processes write the missing shards, and read what they wrote."""
    parts, start = embedder.parts, time.monotonic()
    todo = [number for number, name in enumerate(parts.names) if name not in digests]
    done, work = 0.0, sum(parts.sizes[number] for number in todo)
    with progress("features", round(work)) as show:
        for number, why in elsewhere(embedder.settings, todo) if todo else ():
            name = parts.names[number]
            if why:
                total.failed.append((name, why))
                note(f"{name} cannot be read: {why}")
            else:
                shard = read_shard(present(out / f"{name}.parquet"))
                digests[name] = shard.digest()
                _count(shard, total)
                total.computed += len(shard.items)
            done += parts.sizes[number]
            show(round(done))
    total.seconds = time.monotonic() - start


def _count(shard: FeatureShard, total: EmbeddedTotal) -> None:
    total.images += len(shard.items)
    total.unreadable += shard.unreadable
    total.dimensions = max(total.dimensions, shard.features.shape[-1])


def _there(embedder: Embedder, out: Path, total: EmbeddedTotal) -> dict[str, str]:
    """The digests of the shards that are there, by part; damaged ones are made anew."""
    number = {name: at for at, name in enumerate(embedder.parts.names)}
    found: dict[str, str] = {}
    remove_parts(out)  # what a kill left half-written
    for file in sorted(out.glob("*.parquet")):
        if file.stem not in number:
            raise UserError(f"{file} is of no part of these images; use another --out")
        try:
            shard = read_shard(file)
        except sealed.Damaged:
            note(f"{file} is damaged and made anew")
            continue
        if shard.settings != embedder.settings:
            differs = first_difference(shard.settings, embedder.settings)
            raise UserError(f"{file} holds other features ({differs}); use another --out")
        if shard.part != _identity(embedder.parts, number[file.stem]):
            raise UserError(f"{file} is of other images; use another --out")
        if image := embedder.parts.newer(number[file.stem], file):
            note(f"{image} was written after {file}, which is made anew")
            continue
        found[file.stem] = shard.digest()
        total.earlier += 1
        _count(shard, total)
    return found


def _keep(out: Path, settings: dict[str, Any], shards: dict[str, str], *, complete: bool) -> None:
    said = {"format": FORMAT, "settings": settings, "complete": complete, "shards": shards}
    sealed.write_json(out / INDEX, said)
    (out / OLD_INDEX).unlink(missing_ok=True)


def making(eyes: Extractor) -> dict[str, Any]:
    """What the features of an image depend on, but for views and backend."""
    seen = eyes.seen
    known: dict[str, Any] = getattr(eyes.model, "pretrained_cfg", None) or {}
    return {
        "backbone": known.get("architecture") or type(eyes.model).__name__,
        "weights": weights_digest(eyes.model),
        "image_size": seen.image_size,
        "resize": seen.resize if seen.image_size is not None else None,
        "interpolation": seen.prepare.interpolation,
        "mean": list(seen.prepare.mean),
        "std": list(seen.prepare.std),
    }


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of a network's weights but for its output layer."""
    try:
        head = {id(parameter) for parameter in classifier_of(model).parameters()}
    except UserError:
        head = set()
    found = hashlib.sha256()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in head:
            found.update(name.encode())
            data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            found.update(data.numpy().tobytes())
    return found.hexdigest()


def input_of(eyes: Extractor, parts: Parts) -> tuple[int, int, int]:
    """(channels, H, W) of what reaches the network."""
    channels, side = eyes.seen.prepare.channels, eyes.seen.image_size
    if side is not None:
        return channels, side, side
    if parts.shared is None:
        raise UserError("the model keeps the size of its images, which tar shards do not say")
    height, width = parts.shared.read(0).shape[-3:-1]
    return channels, height, width


def resized(eyes: Extractor, resize: Any) -> Extractor:
    """The same network, which sees photos resized in another way."""
    return eyes if resize is None else replace(eyes, seen=replace(eyes.seen, resize=resize))
