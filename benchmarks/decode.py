"""JPEG decoders beside reteach's own (Pillow): processor time of an image, and how far the pixels are apart.

    python -m benchmarks.decode [--photos FOLDER] [--rounds 7] [--pack PACK.npz] [--turbojpeg PATH]

Photos: the JPEGs of a pack, if it is there; the two that scikit-learn brings, as they are; and mosaics of
these at two larger sizes, so that fine detail keeps the size that it has in photos. *Decoding* is bytes to
an array (H, W, 3), at full size, and at a reduced one (`at_least`, 448 for a network of 224 pixels:
libjpeg's scaled DCT). *Whole* is all that the processor does for an image of `reteach score` on a GPU:
reading it out of a tar, decoding, the view of the network. One thread; decoders take turns, and the median
of the rounds counts. simplejpeg: `pip install simplejpeg`; PyTurboJPEG: `pip install PyTurboJPEG`, which
wants libturbojpeg 3, or `'PyTurboJPEG<2'` with the 2.1 of Debian 12. nvJPEG is tried where there is a GPU,
and named as absent where there is none.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from reteach.data.loading.augment import Eval
from reteach.data.loading.decode import decode

Decoder = Callable[[bytes, int | None], NDArray[np.uint8]]
AT_LEAST, SIDE = 448, 224


def reteach(data: bytes, at_least: int | None) -> NDArray[np.uint8]:
    """What reteach does: Pillow, orientation and all."""
    return decode(data, at_least=at_least)


def pillow(data: bytes, at_least: int | None) -> NDArray[np.uint8]:
    """Pillow alone."""
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    if at_least is not None:
        image.draft("RGB", (at_least, at_least))
    return np.array(image.convert("RGB"))


def torchvision() -> Decoder:
    """torchvision.io, which knows no reduced size."""
    from torchvision.io import ImageReadMode, decode_jpeg

    def of(data: bytes, at_least: int | None) -> NDArray[np.uint8]:
        pixels = decode_jpeg(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB
        )
        return pixels.permute(1, 2, 0).contiguous().numpy()

    return of


def simplejpeg(eighths: bool = False) -> Decoder:
    """simplejpeg, which brings libjpeg-turbo.

    Args:
        eighths: reduce to any number of eighths, as libjpeg-turbo can; else to 1/2, 1/4 and 1/8, as
            Pillow does.
    """
    import simplejpeg as library

    def of(data: bytes, at_least: int | None) -> NDArray[np.uint8]:
        height = width = 0
        if at_least is not None and eighths:
            height = width = at_least
        elif at_least is not None:
            height, width = library.decode_jpeg_header(data)[:2]
            by = next((n for n in (8, 4, 2) if min(width, height) // n >= at_least), 1)
            height, width = -(-height // by), -(-width // by)
        return library.decode_jpeg(
            data,
            "RGB",
            fastdct=False,
            fastupsample=False,
            min_height=height,
            min_width=width,
            min_factor=1,
        )

    return of


def turbojpeg(path: str | None) -> Decoder:
    """PyTurboJPEG, over the system's libturbojpeg."""
    from turbojpeg import TJPF_RGB, TurboJPEG

    library = TurboJPEG(path)

    def of(data: bytes, at_least: int | None) -> NDArray[np.uint8]:
        scale = None
        if at_least is not None:
            width, height = library.decode_header(data)[:2]
            fits = [n for n in (8, 4, 2) if min(width, height) // n >= at_least]
            scale = (1, fits[0]) if fits else None
        return library.decode(data, pixel_format=TJPF_RGB, scaling_factor=scale)

    return of


def nvjpeg() -> Decoder:
    """nvJPEG through torchvision, on the first GPU."""
    if not torch.cuda.is_available():
        raise ImportError("no GPU here")
    from torchvision.io import ImageReadMode, decode_jpeg

    def of(data: bytes, at_least: int | None) -> NDArray[np.uint8]:
        coded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels = decode_jpeg(coded, ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()
        return pixels.permute(1, 2, 0).cpu().numpy()

    return of


def photos(pack: Path | None, folder: Path | None) -> dict[str, list[bytes]]:
    """Groups of JPEG files: what they are -> their bytes."""
    import sklearn.datasets

    found: dict[str, list[bytes]] = {}
    if folder is not None:
        found[f"of {folder.name}"] = [
            file.read_bytes() for file in sorted(folder.rglob("*.jp*g"))[:64]
        ]
    if pack is not None and pack.exists():
        there = np.load(pack)
        ends = there["offsets"]
        found[f"{pack.stem}, 320 pixels"] = [
            there["jpeg"][ends[i] : ends[i + 1]].tobytes() for i in range(0, len(ends) - 1, 8)
        ][:32]
    place = Path(sklearn.datasets.__file__).parent / "images"
    two = [file.read_bytes() for file in sorted(place.glob("*.jpg"))]
    found["640 × 427"] = two
    pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in two]
    for times in (2, 4):
        rows = [
            np.concatenate(
                [np.roll(pictures[(a + b) % 2], 61 * (a * times + b), 1) for b in range(times)], 1
            )
            for a in range(times)
        ]
        out = io.BytesIO()
        whole = Image.fromarray(np.concatenate(rows))
        whole.save(out, "JPEG", quality=90)
        found[f"{whole.width} × {whole.height}"] = [out.getvalue()]
    return found


def apart(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> tuple[float, int] | None:
    """Mean and largest difference; None: they differ in size."""
    if ours.shape != theirs.shape:
        return None
    gap = np.abs(ours.astype(np.int16) - theirs)
    return float(gap.mean()), int(gap.max())


def raced(work: dict[str, Callable[[], Any]], rounds: int, least: float) -> dict[str, float]:
    """Milliseconds of processor of one call of each: the median round, taking turns."""
    took: dict[str, list[float]] = {name: [] for name in work}
    repeats = {}
    for name, do in work.items():
        begun = time.process_time()
        do()
        repeats[name] = max(1, round(least / max(1e-4, time.process_time() - begun)))
    names = list(work)
    for round_ in range(rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            begun = time.process_time()
            for _ in range(repeats[name]):
                work[name]()
            took[name].append(1e3 * (time.process_time() - begun) / repeats[name])
    return {name: median(times) for name, times in took.items()}


def decoding(decoder: Decoder, files: list[bytes], asked: int | None) -> Callable[[], object]:
    """Each of these files, decoded."""
    return lambda: [decoder(data, asked) for data in files]


def whole(decoder: Decoder, tar: Path, places: list[tuple[int, int]]) -> Callable[[], None]:
    """All that the processor does for the images of a shard: read, decode, bring to the network's size."""
    view = Eval(SIDE)

    def of() -> None:
        made = []
        for start, size in places:
            with open(tar, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, start)
            made.append(view(torch.from_numpy(decoder(data, AT_LEAST)).movedim(-1, 0), 0))
        torch.stack(made)

    return of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--pack", type=Path, default=Path("../shared/data/coco_mini.npz"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--least", type=float, default=0.2, help="seconds of each measurement")
    parser.add_argument(
        "--turbojpeg", help="path of libturbojpeg, where the system does not find it"
    )
    told = parser.parse_args()
    torch.set_num_threads(1)
    decoders: dict[str, Decoder] = {"reteach": reteach, "Pillow": pillow}
    for name, make in {
        "torchvision.io": torchvision,
        "simplejpeg": simplejpeg,
        "simplejpeg in eighths": lambda: simplejpeg(True),
        "PyTurboJPEG": lambda: turbojpeg(told.turbojpeg),
        "nvJPEG": nvjpeg,
    }.items():
        try:
            decoders[name] = make()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name}: not measured ({str(error).splitlines()[0]})")
    for group, files in photos(told.pack, told.photos).items():
        kb = sum(map(len, files)) / len(files) / 1e3
        print(f"\n{group}: {len(files)} photos of {kb:.0f} kB")
        for asked, size in ((None, "full size"), (AT_LEAST, f"at least {AT_LEAST}")):
            few = {
                n: d
                for n, d in decoders.items()
                if asked is None or n not in ("torchvision.io", "nvJPEG")
            }
            times = raced(
                {n: decoding(d, files, asked) for n, d in few.items()}, told.rounds, told.least
            )
            for name, decoder in few.items():
                gaps = [apart(pillow(data, asked), decoder(data, asked)) for data in files]
                known = [gap for gap in gaps if gap is not None]
                said = (
                    f"mean {np.mean([g[0] for g in known]):.3f}, max {max(g[1] for g in known)}"
                    if known
                    else ""
                )
                other = (
                    f"; {len(gaps) - len(known)} of other sizes" if len(known) < len(gaps) else ""
                )
                ms, ratio = times[name] / len(files), times["reteach"] / times[name]
                print(
                    f"  decoding, {size}: {name} {ms:.2f} ms, {ratio:.2f} × as fast; {said}{other}",
                    flush=True,
                )
        with tempfile.TemporaryDirectory() as folder:
            tar = Path(folder) / "photos.tar"
            with tarfile.open(tar, "w") as out:
                for number, data in enumerate(files):
                    info = tarfile.TarInfo(f"{number}.jpg")
                    info.size = len(data)
                    out.addfile(info, io.BytesIO(data))
            with tarfile.open(tar) as found:
                places = [(member.offset_data, member.size) for member in found]
            times = raced(
                {n: whole(d, tar, places) for n, d in decoders.items()}, told.rounds, told.least
            )
        for name in decoders:
            ms, ratio = times[name] / len(files), times["reteach"] / times[name]
            print(f"  whole: {name} {ms:.2f} ms, {ratio:.2f} × as fast", flush=True)


if __name__ == "__main__":
    main()
