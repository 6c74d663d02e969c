"""NUS-WIDE's lists become a label table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command import run
from reteach.data.formats.nuswide import read_nuswide
from reteach.errors import UserError
from reteach.options.convert import ConvertOptions
from reteach.tables import read_labels

TRAIN = [r"actor\0001_2124494179.jpg", r"zebra\0007_8.jpg ", r"sky\0003_1.jpg"]
TEST = [r"sky\0004_2.jpg"]
LABELS = {"airport": [0, 0, 0, 1], "sky": [1, 0, 1, 0], "person": [1, 0, 0, 0]}


def write(root: Path, deeper: bool = False, newline: str = "\r\n") -> Path:
    """The layout of the published archives; Windows line ends, as theirs."""

    def put(path: str, lines: list[str]) -> None:
        top = path.partition("/")[0]
        file = root / (f"{top}/{path}" if deeper else path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes("".join(line + newline for line in lines).encode())

    put("ImageList/Imagelist.txt", TRAIN + TEST)
    put("ImageList/TrainImagelist.txt", TRAIN)
    put("ImageList/TestImagelist.txt", TEST)
    put("ConceptsList/Concepts81.txt", ["airport", "sky", "person"])
    for name, values in LABELS.items():
        lines = [str(v) for v in values]
        put(f"Groundtruth/AllLabels/Labels_{name}.txt", lines)
        put(f"Groundtruth/TrainTestLabels/Labels_{name}_Train.txt", lines[:3])
        put(f"Groundtruth/TrainTestLabels/Labels_{name}_Test.txt", lines[3:])
    return root


@pytest.mark.parametrize("deeper", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_reads_each_split(tmp_path: Path, deeper: bool, newline: str) -> None:
    root = write(tmp_path / "nus", deeper, newline)
    train, test, everything = (read_nuswide(root, s) for s in ("train", "test", "all"))
    assert train.items == ("actor/0001_2124494179.jpg", "zebra/0007_8.jpg", "sky/0003_1.jpg")
    assert train.labels.classes == ("airport", "sky", "person")
    assert train.labels.names() == [["sky", "person"], [], ["sky"]]
    assert test.labels.names() == [["airport"]]
    assert everything.items == train.items + test.items
    np.testing.assert_array_equal(
        everything.labels.present(), np.stack(list(LABELS.values()), 1).astype(bool)
    )
    assert train.labels.unknown is None


def test_without_a_class_list_the_files_name_the_classes(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "ConceptsList/Concepts81.txt").unlink()
    assert read_nuswide(root, "test").labels.classes == ("airport", "person", "sky")


def test_converts_to_a_table_without_the_empty_ones(tmp_path: Path) -> None:
    run(ConvertOptions("nuswide", write(tmp_path), tmp_path / "tags.csv", drop_empty=True))
    table = read_labels(tmp_path / "tags.csv", kind="multi")
    assert table.items == ("actor/0001_2124494179.jpg", "sky/0003_1.jpg")
    with pytest.raises(UserError, match="--split must be train, test or all"):
        run(ConvertOptions("nuswide", tmp_path, tmp_path / "x.csv", split="val"))


def test_lists_that_do_not_fit_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "nus")
    labels = root / "Groundtruth/TrainTestLabels/Labels_sky_Train.txt"
    labels.write_text("1\n0\n")
    with pytest.raises(UserError, match=r"Labels_sky_Train.txt has 2 lines for 3 images"):
        read_nuswide(root)
    for wrong in ("1\n0\n2\n", "1\n01\n1\n", "1\n0\n-1\n", "yes\n"):
        labels.write_text(wrong)
        with pytest.raises(UserError, match="every line must be 0 or 1"):
            read_nuswide(root)
    labels.unlink()
    with pytest.raises(UserError, match=r"no Groundtruth/TrainTestLabels/Labels_sky_Train.txt"):
        read_nuswide(root)
    with pytest.raises(UserError, match=r"no ImageList/TrainImagelist.txt"):
        read_nuswide(root / "ConceptsList")
    with pytest.raises(UserError, match="does not exist"):
        read_nuswide(tmp_path / "none")
    (root / "ImageList/TestImagelist.txt").write_text("a.jpg\na.jpg\n")
    for name in LABELS:
        (root / f"Groundtruth/TrainTestLabels/Labels_{name}_Test.txt").write_text("1\n0\n")
    with pytest.raises(UserError, match=r"'a\.jpg' is listed twice"):
        read_nuswide(root, "test")
