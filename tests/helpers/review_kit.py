"""Small reviews with pictures that people can tell apart, and a server over them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rating_kit import wait_for
from reteach.labels import Multi
from reteach.review.prepare import ReviewItems, write_prepared
from reteach.review.session import open_session
from reteach.review.web.reviewers import Reviewers
from reteach.review.web.serving import close, new_site, review_app
from reteach.review.web.site import ReviewSite
from reteach.web.images import FolderImages
from reteach.web.serving import listen, web_server

SHAPES = ("circle", "square", "triangle", "ring")
INKS = ("#2563eb", "#dc2626", "#16a34a", "#ca8a04", "#9333ea", "#0891b2")


def picture(shape: int, seed: int, side: int = 96) -> Image.Image:
    """A shape of some size, place and colour."""
    rng = np.random.default_rng(seed)
    shade = int(rng.integers(215, 250))
    image = Image.new("RGB", (side, side), (shade, shade, shade))
    r = float(rng.uniform(0.2, 0.36)) * side
    x, y = (float(v) for v in rng.uniform(r, side - r, 2))
    draw, ink = ImageDraw.Draw(image), INKS[int(rng.integers(len(INKS)))]
    box = (x - r, y - r, x + r, y + r)
    if SHAPES[shape] == "circle":
        draw.ellipse(box, fill=ink)
    elif SHAPES[shape] == "square":
        draw.rectangle(box, fill=ink)
    elif SHAPES[shape] == "triangle":
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
    else:
        draw.ellipse(box, outline=ink, width=max(2, round(r / 3)))
    return image


def truth_of(count: int) -> NDArray[np.int64]:
    """(N,) the right class of each picture."""
    return np.arange(count) % len(SHAPES)


def wrong_of(count: int, share: float = 0.25) -> NDArray[np.int64]:
    """(N,) the given class of each: a share of them is another than the right one."""
    rng = np.random.default_rng(1)
    given = truth_of(count)
    off = rng.random(count) < share
    given[off] = (given[off] + rng.integers(1, len(SHAPES), off.sum())) % len(SHAPES)
    return given


def shape_review(
    folder: Path,
    count: int = 40,
    *,
    sets: bool = False,
    copies: int = 0,
    names: list[str] | None = None,
    classes: tuple[str, ...] = SHAPES,
) -> Path:
    """A prepared folder ``folder/shapes.review``; its pictures are in ``folder/photos``.

    Args:
        sets: label sets; every third item has a second class, which it lacks in the given labels.
        copies: so many pairs of neighbours count as copies.
    """
    names = [f"{i:04d}.png" for i in range(count)] if names is None else names
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    truth, given = truth_of(count), wrong_of(count)
    for i, name in enumerate(names):
        picture(int(truth[i]), i).save(photos / name)
    rng = np.random.default_rng(2)
    features = 4 * np.eye(len(SHAPES))[truth] + rng.normal(0, 1, (count, len(SHAPES)))
    if sets:
        second = (truth + 1) % len(SHAPES)
        features[::3] += 4 * np.eye(len(SHAPES))[second[::3]]
    group = np.arange(count)
    group[1 : 2 * copies : 2] -= 1
    write_prepared(
        folder / "shapes.review",
        ReviewItems(
            "multi" if sets else "single",
            names,
            Multi(np.arange(count + 1), given, classes=classes),
            features.astype(np.float16),
            images=str(photos),
            copies=group,
        ),
    )
    return folder / "shapes.review"


def review_site(
    prepared: Path, store: str | None = None, public: str = "http://localhost", learn_after: int = 0
) -> ReviewSite:
    """A site over a prepared folder, with two reviewers."""
    session = open_session(prepared, store, learn_after=learn_after)
    images = FolderImages(prepared.parent / "photos")
    return new_site(session, images, Reviewers(prepared, ("ann", "ben")), public)


@contextmanager
def reviewing(prepared: Path, store: str | None = None, **options: int) -> Iterator[ReviewSite]:
    """The app on a free port of loopback, in a thread."""
    listener = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    site = review_site(prepared, store, address, **options)
    server = web_server(review_app(site))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield site
    finally:
        server.should_exit = True
        thread.join(10)
        close(site)


def link_of(site: ReviewSite, name: str = "ann") -> str:
    """The address of a reviewer's link."""
    return f"{site.public}/r/{site.reviewers.token(name)}"
