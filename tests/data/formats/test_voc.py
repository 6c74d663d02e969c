"""Pascal VOC's XML becomes a label table with unknown entries; hostile XML is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command import run
from reteach.data.formats.voc import read_voc
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.options.convert import ConvertOptions
from reteach.tables import read_labels

PART = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"


def annotation(name: str, *objects: tuple[str, int]) -> str:
    things = "".join(
        f"<object><name>{n}</name><pose>Left</pose><truncated>1</truncated>"
        f"<difficult>{d}</difficult>{PART if n == 'person' else ''}</object>\n"
        for n, d in objects
    )
    return (
        f"<annotation>\n\t<folder>VOC2012</folder><filename>{name}</filename>"
        f"<source><annotation>x</annotation></source>{things}</annotation>\n"
    )


def write(folder: Path) -> Path:
    folder.mkdir()
    for stem, objects in {
        "2007_000027": [("person", 0), ("dog", 1)],
        "2007_000032": [("aeroplane", 0), ("person", 0), ("person", 1)],
        "2007_000033": [("dog", 1)],
    }.items():
        (folder / f"{stem}.xml").write_text(annotation(f"{stem}.jpg", *objects))
    return folder


def test_difficult_objects_are_unknown_unless_another_is_plain(tmp_path: Path) -> None:
    found = read_voc(write(tmp_path / "Annotations"))
    assert found.items == ("2007_000027.jpg", "2007_000032.jpg", "2007_000033.jpg")
    assert found.labels.classes == ("aeroplane", "dog", "person")
    assert found.labels.names() == [["person"], ["aeroplane", "person"], []]
    np.testing.assert_array_equal(found.labels.known_entries(), [[1, 0, 1], [1, 1, 1], [1, 0, 1]])


def test_a_list_chooses_and_orders(tmp_path: Path) -> None:
    folder = write(tmp_path / "Annotations")
    (tmp_path / "val.txt").write_text("2007_000033 -1\n2007_000027  1\n")
    found = read_voc(folder, tmp_path / "val.txt")
    assert found.items == ("2007_000033.jpg", "2007_000027.jpg")
    (tmp_path / "val.txt").write_text("../secret\n")
    with pytest.raises(UserError, match="is no image name"):
        read_voc(folder, tmp_path / "val.txt")
    (tmp_path / "val.txt").write_text("2007_000099\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_voc(folder, tmp_path / "val.txt")


def test_converts_to_a_table_with_an_unknown_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ConvertOptions("voc", write(tmp_path / "Annotations"), tmp_path / "tags.parquet"))
    labels = read_labels(tmp_path / "tags.parquet").labels
    assert isinstance(labels, Multi)
    assert labels.names() == [["person"], ["aeroplane", "person"], []]
    assert labels.unknown is not None
    assert labels.unknown.names() == [["dog"], [], ["dog"]]
    assert "2 entries are unknown" in capsys.readouterr().out


def test_hostile_and_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "Annotations"
    folder.mkdir()
    file = folder / "x.xml"

    def refused(words: str, content: str | bytes) -> None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(UserError, match=words) as caught:
            read_voc(folder)
        assert "\n" not in str(caught.value)

    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    stolen = annotation("x.jpg", ("&e;", 0))
    entity = f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{secret}">]>'
    refused("document type", entity + stolen)
    refused("document type", (entity + stolen).encode("utf-16"))
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    refused("document type", f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]>' + stolen)
    refused("not a readable XML", annotation("x.jpg", ("dog", 0))[:-20])
    refused("not a readable XML", b"\xff\xfe\x00")
    refused("not a readable XML", stolen)  # an entity that nothing declares
    refused("not an annotation of Pascal VOC", "<html></html>")
    refused("an object has no name", annotation("x.jpg", ("", 0)))
    refused("deeper than", "<annotation>" + "<a>" * 100_000)
    file.unlink()
    with pytest.raises(UserError, match=r"has no \.xml files"):
        read_voc(folder)
    with pytest.raises(UserError, match="does not exist"):
        read_voc(tmp_path / "none")


def test_the_image_name_loses_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "1.xml").write_text(annotation(r"C:\photos\dog 1.png", ("dog", 0)))
    (folder / "2.xml").write_text(annotation("", ("dog", 0)))
    assert read_voc(folder).items == ("dog 1.png", "2.jpg")
