"""Video files to pixels: all frames as (T, H, W, 3) uint8, or one short reason why not.

PyAV (FFmpeg) decodes. What is done to a file, so that every video of a data set means the same:

* the first video stream counts; sound and subtitles are ignored;
* frames are reduced as they are decoded, so that a video of ten seconds takes 20 to 60 MB;
* the rotation that a telephone notes beside the pixels is applied;
* damaged files, and files that end well before the length they state, are refused.

Every frame is decoded, whatever clip is wanted of it: a video then is a function of its file alone, as
an image is, and caches and checks hold. For training on long videos cut them into short ones.
"""

from __future__ import annotations

import io
import os
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import missing_extra
from ..loading.decode import MAX_PIXELS, ImageError, opened

ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
    ".3gp",
)
"""Endings of the files that are taken for videos, in lower case."""

MAX_FRAMES = 3000
"""Longer videos are refused: two minutes at 25 frames per second."""

SHORT_SIDE = 256
"""Shorter side of decoded frames, unless told otherwise."""

# Formats that name other files or addresses to be opened (playlists, lists of parts) are not among them.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,asf,flv,ogg"
_WHOLE = 0.75
"""Share of the stated length that must be there."""


def need_av() -> Any:
    """The package ``av``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise missing_extra("reading videos", "av", "video") from None
    av.logging.set_level(av.logging.PANIC)  # every reason is in an exception
    return av


def decode_video(
    data: bytes | str | os.PathLike[str], *, at_least: int = SHORT_SIDE
) -> NDArray[np.uint8]:
    """Decode a video.

    Args:
        data: the content of a file, or its path.
        at_least: frames with a longer shorter side are reduced to this.

    Returns:
        (T, H, W, 3) uint8, T at least 1.

    Raises:
        ImageError: the file is missing, unreadable, no video, damaged, too large or too long.
    """
    if isinstance(data, bytes):
        return _decode(io.BytesIO(data), len(data), at_least)
    with opened(data) as file:
        return _decode(file, os.fstat(file.fileno()).st_size, at_least)


def still(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle frame (H, W, C) of a video (T, H, W, C); an image (H, W, C) itself."""
    return pixels[len(pixels) // 2] if pixels.ndim == 4 else pixels


def _decode(file: IO[bytes], size: int, at_least: int) -> NDArray[np.uint8]:
    if size == 0:
        raise ImageError("empty file (0 bytes)")
    av = need_av()
    strict = {"format_whitelist": _FORMATS, "err_detect": "explode"}
    try:
        with av.open(file, options=strict) as container:
            if not container.streams.video:
                raise ImageError("no pictures in it")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # worker processes share the cores already
            stream.codec_context.options = {"err_detect": "explode"}
            if stream.width * stream.height > MAX_PIXELS:
                raise ImageError(f"too large ({stream.width}×{stream.height} pixels)")
            scaler = (
                av.video.reformatter.VideoReformatter()
            )  # one for all frames: it keeps its tables
            frames: list[NDArray[np.uint8]] = []
            end = 0.0
            for frame in container.decode(stream):
                if len(frames) == MAX_FRAMES:
                    raise ImageError(f"too long (more than {MAX_FRAMES:,} frames): cut it")
                frames.append(_pixels(frame, at_least, scaler))
                end = frame.time if frame.time is not None else end
            if not frames:
                raise ImageError("no pictures in it")
            if end < _WHOLE * _length(av, container, stream) - 0.5:
                raise ImageError("truncated file")
            return np.stack(frames)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # decoders answer hostile bytes with nearly any type of exception
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ImageError(f"not a readable video ({text[:80] or type(error).__name__})") from None


def _pixels(frame: Any, at_least: int, scaler: Any) -> NDArray[np.uint8]:
    """(H, W, 3), upright, with its shorter side reduced."""
    scale = min(1.0, max(at_least, 16) / max(1, min(frame.width, frame.height)))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    # by default it starts a thread per core for every frame, and then waits for them on busy machines
    made = scaler.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
    small = made.to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(small, turns))


def _length(av: Any, container: Any, stream: Any) -> float:
    """Seconds that the file says the video lasts; 0 where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.duration is None else float(container.duration / av.time_base)
