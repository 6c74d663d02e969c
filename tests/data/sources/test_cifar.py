"""The CIFAR files in both published forms, and pickles that want more than data."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from reteach.data.safe_pickle import read_plain
from reteach.data.sources.cifar import read_cifar, read_human_labels
from reteach.errors import UserError

TEN = [f"class {i}" for i in range(10)]


def pictures(n, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (n, 3072), np.uint8), generator.integers(0, 10, n).tolist()


@pytest.fixture(params=["binary", "pickle 2", "pickle 4"])
def ten(request, tmp_path):
    """A small CIFAR-10: five training files of three images, a test file of two."""
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        x, y = pictures(2 if name == "test_batch" else 3, number)
        if request.param == "binary":
            rows = [bytes([label]) + row.tobytes() for row, label in zip(x, y, strict=True)]
            (tmp_path / f"{name}.bin").write_bytes(b"".join(rows))
        else:
            content = {b"data": x, b"labels": y, b"batch_label": b"one", b"filenames": [b"a.png"]}
            data = pickle.dumps(content, protocol=int(request.param[-1]))
            (tmp_path / name).write_bytes(data)
    (tmp_path / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": TEN}, protocol=2))
    return tmp_path


def test_both_forms_of_cifar_10(ten):
    source, table = read_cifar(ten, "train")
    assert table.items == tuple(map(str, range(15))) == tuple(source.items)
    assert table.labels.classes == tuple(TEN)
    expected = [pictures(3, number) for number in range(5)]
    assert table.labels.index.tolist() == [label for _, y in expected for label in y]
    x = np.concatenate([x for x, _ in expected]).reshape(-1, 3, 32, 32)
    assert np.array_equal(source.images, x.transpose(0, 2, 3, 1))
    assert len(read_cifar(ten, "test")[0]) == 2


@pytest.mark.parametrize("form", ["binary", "pickle"])
def test_cifar_100_has_fine_labels(tmp_path, form):
    x, y = pictures(4)
    names = [f"fine {i}" for i in range(100)]
    if form == "binary":
        rows = [bytes([7, label]) + row.tobytes() for row, label in zip(x, y, strict=True)]
        (tmp_path / "train.bin").write_bytes(b"".join(rows))
        (tmp_path / "fine_label_names.txt").write_text("\n".join(names))
    else:
        content = {"data": x, "fine_labels": y, "coarse_labels": [7] * 4}
        (tmp_path / "train").write_bytes(pickle.dumps(content))
        (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}))
    source, table = read_cifar(tmp_path, "train")
    assert table.labels.index.tolist() == y
    assert table.source == "CIFAR-100 train"
    assert np.array_equal(source.images[0, 0, 0], x[0].reshape(3, 32, 32)[:, 0, 0])


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/reteach-was-here",)


class Quiet:
    def __reduce__(self):
        return Path, ("x",)


@pytest.mark.parametrize(
    "content",
    [Evil(), {"data": Evil()}, Quiet(), np.array([Evil()], object), np.array(["text"]), {1, 2}, 1j],
)
def test_a_pickle_that_wants_more_is_refused(content):
    with pytest.raises(UserError, match="f is not plain data: it asks for"):
        read_plain(pickle.dumps(content), "f")
    assert not Path("/tmp/reteach-was-here").exists()


def test_arrays_come_back_as_they_were():
    arrays = {
        "a": np.arange(12, dtype=">i4").reshape(3, 4),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "u": np.zeros((0, 5), np.uint8),
    }
    for protocol in (2, 3, 4):
        found = read_plain(pickle.dumps(arrays, protocol=protocol), "f")
        assert all(np.array_equal(found[k.encode() if k not in found else k], v)
                   for k, v in arrays.items())  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"not a pickle", pickle.dumps([1] * 9)[:-4]])
def test_a_damaged_pickle_is_one_line(data):
    with pytest.raises(UserError, match=r"^f cannot be read"):
        read_plain(data, "f")


def damage(folder, act):
    name = "data_batch_3"
    file = folder / (f"{name}.bin" if (folder / f"{name}.bin").exists() else name)
    act(file)


@pytest.mark.parametrize(
    "act",
    [
        lambda f: f.write_bytes(f.read_bytes()[:-7]),
        lambda f: f.unlink(),
        lambda f: f.write_bytes(b"") if f.suffix else f.write_bytes(pickle.dumps([1])),
    ],
)
def test_damaged_files_are_named(ten, act):
    damage(ten, act)
    with pytest.raises(UserError, match="data_batch_3"):
        read_cifar(ten, "train")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no CIFAR test data: neither test_batch nor"):
        read_cifar(tmp_path, "test")


@pytest.mark.parametrize("form", ["npz", "pt numpy", "pt tensor"])
def test_human_labels(tmp_path, form):
    worse, clean = np.array([3, 1, 2]), np.array([0, 1, 2], np.uint8)
    file = tmp_path / f"human.{form[:3].strip()}"
    if form == "npz":
        np.savez(file, worse_label=worse, clean_label=clean)
    else:
        as_kept = torch.from_numpy if form == "pt tensor" else np.asarray
        content = {"worse_label": as_kept(worse), "clean_label": as_kept(clean)}
        torch.save(content, file)
    table = read_human_labels(file, "worse_label", tuple(TEN))
    assert table.labels.index.tolist() == [3, 1, 2]
    assert table.items == ("0", "1", "2")
    assert read_human_labels(file, "clean_label", tuple(TEN)).labels.index.tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="no labels 'worst_label'; did you mean worse_label"):
        read_human_labels(file, "worst_label", tuple(TEN))
    with pytest.raises(UserError, match="worse_label runs to 3, there are 2 classes"):
        read_human_labels(file, "worse_label", ("a", "b"))


def test_a_label_file_is_not_executed(tmp_path):
    torch.save({"worse_label": Evil()}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x.pt cannot be read"):
        read_human_labels(tmp_path / "x.pt", "worse_label", tuple(TEN))
    assert not Path("/tmp/reteach-was-here").exists()
