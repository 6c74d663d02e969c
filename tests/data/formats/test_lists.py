"""The published lists in small, and class-balanced epochs."""

from __future__ import annotations

import numpy as np
import pytest

from reteach.data.formats.lists import clothing1m, tiny_imagenet, webvision
from reteach.data.loading.balanced import BalancedEpochs
from reteach.errors import UserError
from reteach.labels import Single


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


CLOTHING = {
    "category_names_eng.txt": "T-Shirt\nShirt\nDown Coat\n",
    "noisy_label_kv.txt": "images/0/1.jpg 2\nimages/0/2.jpg 0\nimages/7/3.jpg 1\n",
    "clean_label_kv.txt": "images/0/2.jpg 1\n",
    "noisy_train_key_list.txt": "images/7/3.jpg\nimages/0/1.jpg\n",
    "clean_test_key_list.txt": "images/0/2.jpg\n",
}
WEBVISION = {
    "info/synsets.txt": "n01 tench, Tinca tinca\nn02 goldfish\nn03 shark\n",
    "info/train_filelist_google.txt": "google/q0001/a b.jpg 0\ngoogle/q2/c.jpg 2\ngoogle/q3/d.jpg 1\n",
    "info/train_filelist_flickr.txt": "flickr/q0001/e.jpg 2\nflickr/q0002/f.jpg 0\n",
    "info/val_filelist.txt": "val000001.jpg 2\nval000002.jpg 0\n",
}
TINY = {
    "wnids.txt": "n02\nn01\n",
    "train/n01/images/n01_0.JPEG": "",
    "train/n02/images/n02_0.JPEG": "",
    "train/n02/images/n02_1.JPEG": "",
    "val/val_annotations.txt": "val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t5\t5\t9\t9\n",
}


def test_clothing1m(tmp_path):
    root = write(tmp_path, CLOTHING)
    table = clothing1m(root, "noisy_train")
    assert table.items == ("images/7/3.jpg", "images/0/1.jpg")
    assert table.labels.names() == [["Shirt"], ["Down Coat"]]
    assert table.source == "Clothing1M noisy_train"
    assert clothing1m(root, "clean_test").labels.names() == [["Shirt"]]


def test_webvision_and_its_first_classes(tmp_path):
    root = write(tmp_path, WEBVISION)
    assert webvision(root, "google").labels.names() == [["n01"], ["n03"], ["n02"]]
    table = webvision(root, "google", first=2)
    assert table.items == ("google/q0001/a b.jpg", "google/q3/d.jpg")
    assert table.labels.classes == ("n01", "n02")
    assert webvision(root, "val", first=2).items == ("val_images_256/val000002.jpg",)


def test_webvision_train_is_both_lists_google_and_flickr(tmp_path):
    root = write(tmp_path, WEBVISION)
    table = webvision(root, "train")
    assert table.items == (
        "google/q0001/a b.jpg", "google/q2/c.jpg", "google/q3/d.jpg",
        "flickr/q0001/e.jpg", "flickr/q0002/f.jpg",
    )  # fmt: skip
    assert table.labels.names() == [["n01"], ["n03"], ["n02"], ["n03"], ["n01"]]
    assert webvision(root, "train", first=1).items == ("google/q0001/a b.jpg", "flickr/q0002/f.jpg")
    assert webvision(root, "flickr").items == table.items[3:]
    (root / "info" / "train_filelist_flickr.txt").unlink()
    assert len(webvision(root, "google").items) == 3
    with pytest.raises(
        UserError, match=r"train_filelist_flickr.txt does not exist: .* --split google"
    ):
        webvision(root, "train")


def test_tiny_imagenet(tmp_path):
    root = write(tmp_path, TINY)
    train = tiny_imagenet(root, "train")
    assert train.items[0] == "train/n01/images/n01_0.JPEG"
    assert train.labels.names() == [["n01"], ["n02"], ["n02"]]
    val = tiny_imagenet(root, "val")
    assert val.items == ("val/images/val_0.JPEG", "val/images/val_1.JPEG")
    assert val.labels.index.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("files", "change", "read", "message"),
    [
        (CLOTHING, {"noisy_train_key_list.txt": "x.jpg"}, lambda r: clothing1m(r, "noisy_train"),
         "1 keys have no label, first: 'x.jpg'"),
        (CLOTHING, {"noisy_label_kv.txt": "x.jpg"}, lambda r: clothing1m(r, "noisy_train"),
         "noisy_label_kv.txt line 1: expected a path and a class number"),
        (CLOTHING, {"category_names_eng.txt": "a\nb"}, lambda r: clothing1m(r, "noisy_train"),
         r"label indices must lie in \[-1, 2\)"),
        (CLOTHING, {}, lambda r: clothing1m(r, "clean_val"), "cannot read .*clean_val_key_list"),
        (WEBVISION, {}, lambda r: webvision(r, "train", 9), "has 3 classes, cannot take the first 9"),
        (WEBVISION, {"info/val_filelist.txt": "a.jpg 5"}, lambda r: webvision(r, "val"),
         "class 5 of 3"),
        (TINY, {"val/val_annotations.txt": "a.JPEG\tn09\t0"}, lambda r: tiny_imagenet(r, "val"),
         "class 'n09' is not in wnids.txt"),
        (TINY, {"val/val_annotations.txt": "a.JPEG"}, lambda r: tiny_imagenet(r, "val"),
         "expected an image and a class"),
    ],
)  # fmt: skip
def test_bad_lists_are_named(tmp_path, files, change, read, message):
    write(tmp_path, files | change)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_every_epoch_is_balanced_and_nothing_is_repeated_too_soon():
    index = np.array([0] * 50 + [1] * 5 + [3] * 11 + [-1] * 4)
    order = BalancedEpochs(Single(index, tuple("abcd")), batches=7, seed=0)
    seen = [np.concatenate([order.rows(e * 7 + b, 9) for b in range(7)]) for e in range(3)]
    for rows in seen:
        assert np.bincount(index[rows], minlength=4).tolist() == [21, 21, 0, 21]
    together = np.concatenate(seen)
    counts = np.bincount(together, minlength=len(index))
    for cls in (0, 1, 3):
        of = counts[index == cls]
        assert of.max() - of.min() <= 1  # passes go through all before any is repeated
    again = BalancedEpochs(Single(index, tuple("abcd")), batches=7, seed=0)
    assert np.array_equal(again.rows(17, 9), order.rows(17, 9))  # a function of the step alone
    assert not np.array_equal(
        BalancedEpochs(Single(index, tuple("abcd")), 7, seed=1).rows(0, 9), order.rows(0, 9)
    )
