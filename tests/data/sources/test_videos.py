"""Videos: decoding against what was encoded, damage by name, sources, and clips as pure functions."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import films
from pictures import verify
from reteach.data.loading.cache import CachedSource
from reteach.data.loading.clips import EvalClips, TrainClip, evaluation
from reteach.data.loading.decode import ImageError
from reteach.data.loading.reader import read
from reteach.data.sources import videos
from reteach.data.sources.base import SubsetSource, is_video, open_source, shrunk
from reteach.data.sources.contents import Contents
from reteach.data.sources.folders import FolderSource, VideoSource
from reteach.data.sources.videos import decode_video, still
from reteach.errors import UserError

pytest.importorskip("av")


def test_lossless_frames_come_back_bit_for_bit(tmp_path: Path) -> None:
    frames = films.noise(0)
    assert np.array_equal(decode_video(films.encode(frames)), frames)
    (tmp_path / "a.mkv").write_bytes(films.encode(frames))
    assert np.array_equal(decode_video(tmp_path / "a.mkv"), frames)
    assert np.array_equal(still(frames), frames[6])
    assert np.array_equal(still(frames[0]), frames[0])


@pytest.mark.parametrize(("codec", "form"), [("mpeg4", "mp4"), ("mpeg4", "avi")])
def test_usual_containers_give_all_frames(codec: str, form: str) -> None:
    flat = np.repeat(np.arange(10, 250, 20, dtype=np.uint8), 32 * 48 * 3).reshape(12, 32, 48, 3)
    found = decode_video(films.encode(flat, codec, form))
    assert found.shape == flat.shape
    assert np.abs(found.astype(int) - flat).max() <= 6


def test_frames_are_reduced_as_they_are_decoded() -> None:
    film = films.encode(films.noise(1, 3, 200, 320))
    assert decode_video(film, at_least=50).shape == (3, 50, 80, 3)
    assert decode_video(film, at_least=500).shape == (3, 200, 320, 3)
    assert decode_video(film, at_least=1).shape == (3, 16, 26, 3)
    mean = decode_video(film).mean()
    assert decode_video(film, at_least=50).mean() == pytest.approx(mean, abs=1)


def test_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = films.encode(films.noise(2, 60))
    scrambled = bytearray(films.encode(films.noise(2, 30), "mpeg4", "mp4"))
    scrambled[300:4000] = bytes(b ^ 0x5A for b in scrambled[300:4000])
    playlist = b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"
    cases = {
        b"": "empty file",
        b"no video at all": "not a readable video",
        bytes(scrambled): "not a readable video",
        good[: len(good) // 3]: "truncated file|not a readable video",
        playlist: "not a readable video",
    }
    for content, words in cases.items():
        with pytest.raises(ImageError, match=words) as error:
            decode_video(content)
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match="no such file"):
        decode_video(tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="a folder"):
        decode_video(tmp_path)
    monkeypatch.setattr(videos, "MAX_FRAMES", 10)
    with pytest.raises(ImageError, match="too long"):
        decode_video(good)
    monkeypatch.setattr(videos, "MAX_PIXELS", 100)
    with pytest.raises(ImageError, match="too large"):
        decode_video(good)


def test_without_av_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"needs the package 'av': pip install 'reteach\[video\]'"):
        open_source(tmp_path)


def test_a_folder_of_videos_is_a_source(tmp_path: Path) -> None:
    root = films.folder(tmp_path / "films", each=2)
    (root / "up" / "notes.txt").touch()
    (root / "down" / "0.mkv").write_bytes(b"broken")
    source = open_source(root)
    assert isinstance(source, VideoSource)
    assert is_video(source)
    assert source.items == ["down/0.mkv", "down/1.mkv", "up/0.mkv", "up/1.mkv"]
    assert source.class_of == ["down", "down", "up", "up"]
    assert source.read(3).shape == (12, 24, 24, 3)
    assert shrunk(source, 16).read(3).shape == (12, 16, 16, 3)
    (broken,) = verify(source, workers=0, cache=tmp_path / "cache")
    assert (broken.item, broken.reason[:20]) == ("down/0.mkv", "not a readable video")
    some = SubsetSource(source, np.array([3, 1]))
    assert is_video(some)
    assert np.array_equal(some.read(0), source.read(3))
    cached = CachedSource(source, 16, workers=0)
    assert is_video(cached)
    assert cached.read(1).shape == (12, 16, 16, 3)
    with pytest.raises(ImageError, match="not a readable video"):
        cached.read(0)
    assert Contents(source).content(0) == b"broken"
    assert Contents(source).size(0) == 6
    listed = open_source(root, ["up/1.mkv"])
    assert np.array_equal(listed.read(0), source.read(3))


def test_images_beside_videos_count_alone(tmp_path: Path) -> None:
    """A telephone's folder: its films are other files, as they always were."""
    films.folder(tmp_path, each=1)
    Image.new("RGB", (8, 8)).save(tmp_path / "up" / "photo.png")
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert (source.items, len(source.lost), is_video(source)) == (["up/photo.png"], 2, False)
    with pytest.raises(UserError, match=r"partly videos, such as 'up/0\.mkv'"):
        open_source(tmp_path, ["up/photo.png", "up/0.mkv"])


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            told = tarfile.TarInfo(name)
            told.size = len(data)
            tar.addfile(told, io.BytesIO(data))
    return path


def test_videos_inside_tars_are_a_source(tmp_path: Path) -> None:
    frames = [films.noise(n) for n in range(3)]
    stored = [films.encode(one) for one in frames]
    for number, one in enumerate(stored):
        members = {f"a{number}.mkv": one, f"a{number}.cls": f"c{number}".encode()}
        if number == 2:
            members |= {"b.mp4": b"broken", "b.cls": b"c0", "c.heic": b"x"}
        shard(tmp_path / f"{number}.tar", members)
    for cache in (tmp_path / "cache", tmp_path / "cache", None):  # the second time out of the index
        source = open_source(tmp_path / "*.tar", cache=cache)
        assert is_video(source)
        assert list(source.items) == ["0/a0", "1/a1", "2/a2", "2/b"]
        assert list(source.class_of or ()) == ["c0", "c1", "c2", "c0"]
        for row, one in enumerate(frames):
            assert np.array_equal(source.read(row), one)
        assert source.lost == [("2/c.heic", "HEIC is not read: convert it to JPEG")]
    assert shrunk(source, 16).read(1).shape == (12, 16, 22, 3)
    found = {each.item: each.reason for each in verify(source, workers=0)}
    assert found["2/b"].startswith("not a readable video")
    assert Contents(source).content(0) == stored[0]
    picked = open_source(tmp_path / "*.tar", items=["2/a2", "0/a0"])
    assert is_video(picked)
    assert np.array_equal(picked.read(1), frames[0])


def test_images_beside_videos_in_tars_count_alone(tmp_path: Path) -> None:
    still = io.BytesIO()
    Image.new("RGB", (8, 8)).save(still, "png")
    members = {"a.mkv": films.encode(films.noise(0)), "b.png": still.getvalue()}
    source = open_source(shard(tmp_path / "0.tar", members))
    assert (list(source.items), is_video(source)) == (["0/b"], False)
    assert source.lost == [("0/a.mkv", "a video among images")]


def test_what_is_no_video_to_us_is_named(tmp_path: Path) -> None:
    films.folder(tmp_path, each=1)
    (tmp_path / "up" / "b.3g2x").touch()
    (tmp_path / "up" / "notes.txt").touch()
    found = {each.item: each.reason for each in verify(open_source(tmp_path), workers=0)}
    assert found == {"up/b.3g2x": "not a video in a known format (.3g2x)"}


def numbered(length: int, height: int = 16, width: int = 16) -> torch.Tensor:
    """(3, T, H, W) of frames that say their number."""
    return torch.arange(length, dtype=torch.uint8).view(1, -1, 1, 1).expand(3, -1, height, width)


def numbers(clip: torch.Tensor) -> list[int]:
    return clip[0, :, 0, 0].tolist()


def test_training_clips_jitter_in_time_and_depend_on_the_seed_alone() -> None:
    clip = TrainClip(14, 4)
    found = [numbers(clip(numbered(10), seed)) for seed in range(300)]
    assert all(np.diff(one).tolist() == [1, 1, 1] for one in found)
    starts = np.bincount([one[0] for one in found])
    assert len(starts) == 7  # any frame from which four are left
    assert starts.min() > 20
    assert found == [numbers(clip(numbered(10), seed)) for seed in range(300)]
    assert numbers(clip(numbered(3), 5)) == [0, 1, 2, 0]  # too short: it begins again
    film = torch.from_numpy(films.noise(3)).movedim(-1, 0)
    batch = torch.stack([film, film])
    made = clip.batch(batch, np.array([7, 8]))
    assert made.shape == (2, 3, 4, 14, 14)
    assert made.dtype == torch.uint8
    assert torch.equal(made[0], clip(film, 7))
    assert torch.equal(made[1], clip(film, 8))


def test_crops_and_flips_are_the_same_for_all_frames_of_a_clip() -> None:
    picture = torch.from_numpy(films.noise(4, 1, 16, 16)[0]).movedim(-1, 0)
    film = picture[:, None].expand(-1, 9, -1, -1)
    seen = [TrainClip(14, 4)(film, seed) for seed in range(60)]
    assert all(torch.equal(clip[:, :1].expand_as(clip), clip) for clip in seen)
    wanted = {
        tuple((p.flip(-1) if flip else p)[:, None].flatten().tolist())
        for flip in (False, True)
        for y in range(3)
        for x in range(3)
        for p in [picture[:, y : y + 14, x : x + 14]]
    }
    found = {tuple(clip[:, 0].flatten().tolist()) for clip in seen}
    assert found <= wanted
    assert len(found) > 12
    assert all(torch.equal(TrainClip(14, 4, flip=1)(film, s), TrainClip(14, 4, flip=0)(film, s).flip(-1))
               for s in range(5))  # fmt: skip


def test_ten_uniformly_spaced_clips_one_after_the_other() -> None:
    clips = EvalClips(14, 4)(numbered(40), 0)
    assert clips.shape == (3, 40, 14, 14)
    starts = numbers(clips)[::4]
    assert starts == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert numbers(clips)[-4:] == [36, 37, 38, 39]
    assert numbers(EvalClips(14, 4)(numbered(7), 0))[::4] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert numbers(EvalClips(14, 4)(numbered(2), 0)) == [0, 1, 0, 1] * 10
    assert numbers(EvalClips(14, 4, clips=1)(numbered(9), 0)) == [2, 3, 4, 5]
    assert isinstance(evaluation(14, 4), EvalClips)
    picture = torch.from_numpy(films.noise(5, 1, 16, 20)[0]).movedim(-1, 0)
    middle = EvalClips(14, 1, 1)(picture[:, None], 0)
    assert torch.equal(middle[:, 0], picture[:, 1:15, 3:17])  # shorter side 16 = 8/7 of 14
    for bad in (lambda: TrainClip(14, 0), lambda: EvalClips(0, 4)):
        with pytest.raises(UserError, match="must be at least 1"):
            bad()


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_gives_clips_and_names_the_broken(tmp_path: Path, workers: int) -> None:
    root = films.folder(tmp_path, each=2)
    (root / "up" / "0.mkv").write_bytes(b"broken")
    jobs = [(np.arange(4), np.arange(4)), (np.array([3, 3]), np.array([1, 2]))]
    source = open_source(root)
    first, second = read(source, TrainClip(14, 4), jobs, workers)
    assert first[0].shape == (4, 3, 4, 14, 14)
    assert [position for position, _ in first[1]] == [2]
    assert not first[0][2].any()
    film = torch.from_numpy(source.read(3)).movedim(-1, 0)
    assert torch.equal(first[0][3], TrainClip(14, 4)(film, 3))
    assert torch.equal(second[0][1], TrainClip(14, 4)(film, 2))
