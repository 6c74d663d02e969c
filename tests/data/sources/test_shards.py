"""Tar shards: the index against webdataset's own reading, damage, and hostile archives."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import encoded, picture, verify
from reteach.data.loading.decode import ImageError, decode
from reteach.data.loading.quarantine import Broken
from reteach.data.sources import shard_index, tars
from reteach.data.sources.base import open_source
from reteach.data.sources.shard_index import ShardIndex, ShardPart, load_index
from reteach.data.sources.shards import ShardSource, expand
from reteach.errors import UserError
from reteach.tables import read_labels


def write(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def image(seed: int) -> bytes:
    return encoded(picture(seed=seed))


def opened(where: object, **more: object) -> ShardSource:
    source = open_source(str(where), **more)  # type: ignore[arg-type]
    assert isinstance(source, ShardSource)
    return source


def three_shards(root: Path) -> str:
    for shard in range(3):
        members = []
        for i in range(shard * 4, shard * 4 + 4):
            members.append((f"{i:06d}.png", image(i)))
            members.append((f"{i:06d}.cls", str(i % 3).encode()))
        write(root / f"{shard:03d}.tar", members)
    return f"{root}/{{000..002}}.tar"


@pytest.mark.parametrize("pattern", ["{000..002}.tar", "*.tar", "00{0,1,2}.tar", "00?.tar"])
def test_images_and_classes(tmp_path: Path, pattern: str) -> None:
    three_shards(tmp_path)
    source = opened(tmp_path / pattern)
    assert source.items == [f"{i // 4:03d}/{i:06d}" for i in range(12)]
    assert source.class_of == [str(i % 3) for i in range(12)]
    copy = pickle.loads(pickle.dumps(source))
    for row in (0, 7, 11):
        np.testing.assert_array_equal(copy.read(row), picture(seed=row))
    assert not source.lost


def test_single_shard_and_selection(tmp_path: Path) -> None:
    three_shards(tmp_path)
    one, all_ = opened(tmp_path / "001.tar"), opened(tmp_path / "*.tar")
    assert one.items == all_.items[4:8], "an item has one name, whatever is opened with it"
    some = open_source(tmp_path / "*.tar", items=["002/000009", "000/000001"])
    assert some.class_of == ["0", "1"]
    np.testing.assert_array_equal(some.read(0), picture(seed=9))


NAMES = ["a/1.png", "a/1.cls", "a/b.c/2.PNG", "3.seg.png", "3.jpg", "noext", "4.txt", "4.jpeg"]
NAMES += [
    "__meta__/5.jpg",
    "__key__",
    "6.jpg",
    "6.json",
    "x" * 150 + "/7.jpg",
    "ünï.jpg",
    ".hid.jpg",
]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_index_is_what_webdataset_reads(tmp_path: Path, form: int) -> None:
    webdataset = pytest.importorskip("webdataset", reason="the extra 'webdataset' is not installed")
    names = [name for name in NAMES if form != tarfile.USTAR_FORMAT or len(name) < 100]
    members = [(name, f"content of {name}".encode()) for name in names]
    path = write(tmp_path / "x.tar", members, form)
    theirs = {
        sample["__key__"]: {k: v for k, v in sample.items() if not k.startswith("__")}
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    }
    found, reason = tars.scan(str(path))
    assert reason == ""
    raw = path.read_bytes()
    ours = {
        sample.key: {ext: raw[m.offset : m.offset + m.size] for ext, m in sample.parts.items()}
        for sample in tars.samples(found)
    }
    assert ours == theirs
    assert len(ours) > 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("ab./_é\n", min_size=1, max_size=120), st.binary(max_size=1200)),
        max_size=6,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_scan_finds_the_bytes_of_every_member(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]], form: int
) -> None:
    path = write(tmp_path_factory.mktemp("tar") / "x.tar", members, form)
    found, reason = tars.scan(str(path))
    assert reason == ""
    raw = path.read_bytes()
    with tarfile.open(path) as tar:
        listed = [member.name for member in tar]
    assert [member.name for member in found] == listed
    assert [raw[m.offset : m.offset + m.size] for m in found] == [data for _, data in members]


def test_which_members_are_images_and_labels(tmp_path: Path) -> None:
    members = [
        ("a.seg.png", image(0)),  # a mask, by the convention of two extensions
        ("a.JPG", image(1)),
        ("a.json", json.dumps({"label": "cat"}).encode()),
        ("b.json", b'{"label": "never used"}'),
        ("b.png", image(2)),
        ("b.cls", b" dog\n"),
        ("c.txt", b"no image"),
        ("d.png", image(3)),
        ("d.json", b"[1, 2"),
    ]
    source = opened(write(tmp_path / "x.tar", members))
    assert source.items == ["x/a", "x/b", "x/d"]
    np.testing.assert_array_equal(source.read(0), picture(seed=1))
    assert source.labels.to_pylist() == ["cat", "dog", None]
    with pytest.raises(UserError, match=r"1 of 3 samples have no \.cls, first: 'x/d'"):
        _ = source.class_of
    assert opened(write(tmp_path / "y.tar", members[7:])).class_of is None


def test_a_label_table_by_bare_keys_is_told_the_names(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "a.tar", [("0.png", image(0)), ("1.png", image(1))]))
    (tmp_path / "labels.csv").write_text("item,labels\n0,cat\n1,dog\n")
    with pytest.raises(UserError, match=r"first: '0' \(the images are called like 'a/0'\)"):
        read_labels(tmp_path / "labels.csv").aligned(source.items)


def test_keys_that_repeat(tmp_path: Path) -> None:
    for shard in "ab":
        write(tmp_path / f"{shard}.tar", [("0.png", image(0)), ("1.png", image(1))])
    assert opened(tmp_path / "*.tar").items == ["a/0", "a/1", "b/0", "b/1"]
    write(tmp_path / "b.tar", [("0.png", image(0)), ("1.png", image(1)), ("0.png", image(2))])
    with pytest.raises(UserError, match="the item 'b/0' occurs twice"):
        opened(tmp_path / "*.tar")


def test_a_damaged_shard_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    three_shards(tmp_path)
    whole = (tmp_path / "001.tar").read_bytes()
    with tarfile.open(tmp_path / "001.tar") as tar:
        third = tar.getmember("000006.png")
    cut = third.offset_data + third.size // 2
    header = bytearray(whole)
    header[third.offset + 150] ^= 255
    cases = {
        "truncated in member '000006.png'": whole[:cut],
        f"damaged header at byte {third.offset}": bytes(header),
        "not a tar file": b"x" * 2000,
        "empty file": b"",
        "compressed": gzip.compress(whole),
    }
    for reason, content in cases.items():
        (tmp_path / "001.tar").write_bytes(content)
        source = opened(tmp_path / "{000..003}.tar")
        assert [path for path, _ in source.lost] == [f"{tmp_path}/001.tar", f"{tmp_path}/003.tar"]
        assert reason in source.lost[0][1]
        assert "No such file" in source.lost[1][1]
        kept = 2 if "member" in reason or "header" in reason else 0
        numbers = [*range(4 + kept), *range(8, 12)]
        assert source.items == [f"{i // 4:03d}/{i:06d}" for i in numbers]
        for row, number in enumerate(numbers):
            np.testing.assert_array_equal(source.read(row), picture(seed=number))
        broken = verify(source, workers=0)
        assert [entry.row for entry in broken] == [-1, -1]
        assert broken[0] == Broken(-1, *source.lost[0])


def test_no_usable_shard(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"cannot be read: .*not a tar file"):
        opened(tmp_path / "a.tar")
    write(tmp_path / "a.tar", [("a.txt", b"")])
    with pytest.raises(UserError, match="no member ends in"):
        opened(tmp_path / "a.tar")


def test_a_shard_that_shrinks_while_in_use(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("0.png", image(0)), ("1.png", b"no image")])
    source = opened(path)
    with pytest.raises(ImageError, match="not an image"):
        source.read(1)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ImageError, match="truncated shard"):
        source.read(0)
    path.unlink()
    with pytest.raises(ImageError, match="No such file"):
        source.read(0)


def test_hostile_archives(tmp_path: Path) -> None:
    """Names are keys and never paths; links are no files; sizes that lead backwards end the scan."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../../escape.png", "/abs.png", "=cmd().png", "<script>.png", "a\nb.png"):
            info = tarfile.TarInfo(name)
            info.size = len(image(0))
            tar.addfile(info, io.BytesIO(image(0)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"link{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    source = opened(path)
    keys = ["../../escape", "/abs", "=cmd()", "<script>", "a\nb"]
    assert source.items == [f"x/{key}" for key in keys]
    assert source.read(0).shape == (24, 32, 3)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["x.tar"]

    info = tarfile.TarInfo("a.png")
    good = info.tobuf()
    for size in (-512, -1024, 1 << 62):
        evil = tarfile.TarInfo("evil.png")
        evil.size = size
        header = evil.tobuf(tarfile.GNU_FORMAT)
        path.write_bytes(good + header + bytes(1024))
        members, reason = tars.scan(str(path))
        assert [member.name for member in members] == ["a.png"]
        assert reason


def test_the_index_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, cache = three_shards(tmp_path / "data"), tmp_path / "cache"
    first = opened(where, cache=cache)
    scanned: list[str] = []
    real = tars.scan

    def counting(path: str) -> object:
        scanned.append(Path(path).name)
        return real(path)

    monkeypatch.setattr("reteach.data.sources.shard_index.scan", counting)
    again = opened(where, cache=cache)
    assert scanned == []
    assert (again.items, again.class_of) == (first.items, first.class_of)
    np.testing.assert_array_equal(again.read(11), picture(seed=11))
    write(tmp_path / "data" / "001.tar", [("new.png", image(50))])
    changed = opened(where, cache=cache)
    assert scanned == ["001.tar"]
    np.testing.assert_array_equal(changed.read(changed.items.index("001/new")), picture(seed=50))
    for file in cache.iterdir():
        file.unlink()  # who has it open keeps what was in it
        file.write_text("{damaged")
    assert opened(where, cache=cache).items == changed.items
    assert len(scanned) == 4


def test_a_flipped_bit_in_a_kept_index_is_seen(tmp_path: Path) -> None:
    where, cache = three_shards(tmp_path / "data"), tmp_path / "cache"
    first = opened(where, cache=cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    index = load_index(file)
    assert index is not None
    assert list(index.columns["item"].to_pylist()) == list(first.items)
    draw = np.random.default_rng(0)
    for at in [*draw.integers(0, len(whole), 150), whole.index(b"000/000001") + 9]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(draw.integers(8))
        file.write_bytes(damaged)
        source = opened(where, cache=cache)
        assert source.items == first.items
        assert source.class_of == first.class_of
        np.testing.assert_array_equal(source.offsets, first.offsets)
        np.testing.assert_array_equal(source.sizes, first.sizes)


def test_an_index_that_was_found_sound_is_not_read_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, cache = three_shards(tmp_path / "data"), tmp_path / "cache"
    items = list(opened(where, cache=cache).items)
    (file,) = cache.iterdir()
    read: list[bytes] = []
    whole = shard_index._crc

    def crc(about: bytes, columns: dict[str, pa.Array]) -> int:
        read.append(about)
        return whole(about, columns)

    monkeypatch.setattr(shard_index, "_crc", crc)
    assert opened(where, cache=cache).items == items
    assert len(read) == 1
    assert opened(where, cache=cache).items == items
    assert len(read) == 2, "of a file that is two seconds old nobody knows whether it was changed"
    monkeypatch.setattr(shard_index, "_RACY", -1)
    assert opened(where, cache=cache).items == items
    assert len(read) == 3
    assert opened(where, cache=cache).items == items
    assert len(read) == 3, "it was read whole before"
    damaged = bytearray(file.read_bytes())
    damaged[damaged.index(b"000/000001") + 9] ^= 1
    time.sleep(0.02)
    file.write_bytes(damaged)
    assert opened(where, cache=cache).items == items
    assert len(read) > 3, "and it is another file now"


def test_an_image_takes_24_bytes_beside_its_name_and_processes_share_them(tmp_path: Path) -> None:
    names = [f"{i // 1000:03d}/{i % 1000:06d}" for i in range(20_000)]
    table = pa.table(
        {
            "item": pa.array(names, pa.large_string()),
            "offset": pa.array(np.arange(20_000) * 512, pa.int64()),
            "size": pa.array(np.full(20_000, 300), pa.uint32()),
            "label": pa.array(["cat", "dog"] * 10_000).dictionary_encode(),
        },
        schema=shard_index.SCHEMA,
    )
    parts = [ShardPart(table.slice(i * 1000, 1000)) for i in range(20)]
    ShardIndex.of([str(i) for i in range(20)], parts).save(tmp_path / "x.arrow")
    before = pa.total_allocated_bytes()
    index = load_index(tmp_path / "x.arrow")
    assert index is not None
    assert pa.total_allocated_bytes() - before < 1000, "the columns are in the file"
    held = sum(column.nbytes for column in index.columns.values())
    assert held - sum(map(len, names)) <= 24 * 20_000 + 100
    assert index.columns["item"].to_pylist() == names
    assert index.parts()["7"].table.equals(table.slice(7000, 1000))


@pytest.mark.parametrize("stamp", [0, 1.5], ids=["plain", "extended headers"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_quick_scan_is_the_standard_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: int, stamp: float
) -> None:
    draw = np.random.default_rng(form)
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for i in range(30):
            info = tarfile.TarInfo(f"folder/{i:03d}.png")
            info.size, info.mtime = int(draw.integers(2000)), stamp
            tar.addfile(info, io.BytesIO(draw.bytes(info.size)))
    whole = path.read_bytes()
    with open(path, "rb") as file:
        quick = tars.plain_members(file)
    assert quick is not None
    assert len(quick) == 30
    contents = [whole, whole[:-5000], whole[: len(whole) // 2]]
    for at in draw.integers(0, len(whole), 60):
        contents.append(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    for content in contents:
        path.write_bytes(content)
        found = tars.scan(str(path))
        with monkeypatch.context() as patch:
            patch.setattr(tars, "plain_members", lambda file: None)
            assert found == tars.scan(str(path))


def test_many_shards_are_indexed_in_parallel(tmp_path: Path) -> None:
    for shard in range(12):
        write(
            tmp_path / f"{shard:02d}.tar", [(f"{shard}.png", image(shard)), (f"{shard}.cls", b"x")]
        )
    (tmp_path / "05.tar").write_bytes(b"no tar")
    source = opened(tmp_path / "{00..11}.tar")
    assert source.items == [f"{i:02d}/{i}" for i in range(12) if i != 5]
    assert len(source.lost) == 1
    np.testing.assert_array_equal(source.read(10), picture(seed=11))


def test_expand() -> None:
    assert expand("x/{08..11}.tar") == [f"x/{i}.tar" for i in ("08", "09", "10", "11")]
    assert expand("{9..11}.tar") == ["9.tar", "10.tar", "11.tar"]
    assert expand("{a,b}-{0..1}.tar") == ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]
    assert expand("{2..0}.tar") == ["2.tar", "1.tar", "0.tar"]
    with pytest.raises(UserError, match="more than"):
        expand("{0..99999999}.tar")


def test_real_photos(shared_data: Path, tmp_path: Path) -> None:
    with np.load(shared_data / "coco_mini.npz", allow_pickle=False) as pack:
        jpeg, offsets = pack["jpeg"], pack["offsets"][:21]
    files = [jpeg[a:b].tobytes() for a, b in pairwise(offsets)]
    source = opened(write(tmp_path / "x.tar", [(f"{i}.jpg", f) for i, f in enumerate(files)]))
    assert verify(source, workers=0) == []
    for row in (0, 19):
        np.testing.assert_array_equal(source.read(row), decode(files[row]))
