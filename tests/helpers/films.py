"""Small videos that tests encode themselves."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

Frames = np.ndarray
"""(T, H, W, 3) uint8."""


def encode(frames: Frames, codec: str = "ffv1", form: str = "matroska", rate: int = 25) -> bytes:
    """A video file; ffv1 loses nothing, mpeg4 does."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return out.getvalue()


def noise(seed: int, length: int = 12, height: int = 20, width: int = 28) -> Frames:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), np.uint8)


def moving_bar(seed: int, up: bool, length: int = 12, side: int = 24) -> Frames:
    """A bright bar that wanders up or down, from anywhere: no single frame tells which."""
    generator = np.random.default_rng(seed)
    start, colour = generator.integers(side), generator.integers(150, 256, 3)
    frames = generator.integers(0, 60, (length, side, side, 3)).astype(np.uint8)
    for t in range(length):
        rows = (start + (-2 if up else 2) * t + np.arange(5)) % side
        frames[t, rows] = colour
    return frames


def folder(root: Path, each: int = 8) -> Path:
    """``up/`` and ``down/`` with videos of moving bars."""
    for name in ("up", "down"):
        (root / name).mkdir(parents=True)
        for n in range(each):
            film = moving_bar(2 * n + (name == "up"), name == "up")
            (root / name / f"{n}.mkv").write_bytes(encode(film))
    return root
