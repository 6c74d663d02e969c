"""Good bytes made bad: by bits and blocks, as text, and field by field of the formats that we read."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Chance = random.Random

TEXTS = (
    *(
        "",
        " ",
        ",",
        '"',
        "'",
        "a,b",
        'a"b',
        "a|b",
        "a;b",
        "\t",
        "\0",
        "\ufeff",
        "é",
        "=1+1",
        "~",
        "*",
    ),
    *(
        "<script>alert(1)</script>",
        "\u202egnp.exe",
        "a\nb",
        "a\r\nb",
        "a\rb",
        "\u2028",
        "日本",
        "🙂",
    ),
    *("é" * 127, "x" * 255, "x" * 5000, "../../evil", "/etc/passwd", "..", "C:\\x", "a/b", "%s%n"),
    *("[", "]", "{", "[]", "{}", "[[", '["a"', "[" * 300, "[" * 5000, '{"a":' * 400, "[" * 100_000),
    *("nan", "inf", "-inf", ".inf", ".nan", "1e999", "-1", "0", "1.0", "1e5", "007", "0x", "1_0"),
    *(
        str(2**31),
        str(2**63),
        str(2**64),
        "9" * 5000,
        "true",
        "null",
        "None",
        "no",
        "&a [*a]",
        "*a",
    ),
    *("!!python/object:os.system", "2020-13-45", "2020-01-01", "1:99:99", "? a", "- - -", "<<: *a"),
    "a: &a [x]\nb: &b [" + "*a," * 9 + "]\nc: [" + "*b," * 9 + "]",
)
VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, 1.5, -0.0, 1e308),
    *(float("nan"), float("inf"), "", "x", "0", [], {}, [[]], [None], {"a": None}, ["a", 1], [{}]),
)


def mutated(data: bytes, suffix: str, chance: Chance, bits: bool = False) -> bytes:
    """The bytes of a file, broken in one to three ways.

    Args:
        bits: as disks and networks do it: not field by field.
    """
    ways: list[Callable[[bytes, Chance], bytes]] = [BYTES[chance.randrange(len(BYTES))]]
    own = FIELDS.get(suffix)
    if own is not None and not bits and chance.random() < 0.6:
        ways = [own]
    if suffix in TEXT and not bits and chance.random() < 0.5:
        ways.append(_text)
    if chance.random() < 0.1:
        ways.append(BYTES[chance.randrange(len(BYTES))])
    for way in ways:
        try:
            data = way(data, chance)
        except Exception:  # it was broken before in a way that this one does not understand
            data = _flip(data, chance)
    return data


def _at(data: bytes, chance: Chance) -> int:
    """A place, often near one of the ends, where headers and footers are."""
    if chance.random() < 0.4:
        near = chance.randrange(min(len(data), 64) + 1)
        return near if chance.random() < 0.5 else len(data) - near
    return chance.randrange(len(data) + 1)


def _flip(data: bytes, chance: Chance) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 1, 4, 16))):
        out[min(_at(data, chance), len(out) - 1)] ^= 1 << chance.randrange(8)
    return bytes(out)


def _set(data: bytes, chance: Chance) -> bytes:
    at = _at(data, chance)
    block = chance.choice((b"\0", b"\xff", b"\x7f", b"\0" * 8, b"\xff" * 8, b"\x80\0\0\0"))
    return data[:at] + block + data[at + len(block) :]


def _cut(data: bytes, chance: Chance) -> bytes:
    return data[: _at(data, chance)]


def _drop(data: bytes, chance: Chance) -> bytes:
    a, b = sorted((_at(data, chance), _at(data, chance)))
    return data[:a] + data[min(b, a + 200) :]


def _double(data: bytes, chance: Chance) -> bytes:
    a, b = sorted((_at(data, chance), _at(data, chance)))
    return data[:b] + data[a:b] + data[b:]


def _swap(data: bytes, chance: Chance) -> bytes:
    a, b, c = sorted(_at(data, chance) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _insert(data: bytes, chance: Chance) -> bytes:
    at = _at(data, chance)
    return data[:at] + chance.choice(TEXTS).encode("utf-8", "surrogatepass") + data[at:]


def _bad_utf8(data: bytes, chance: Chance) -> bytes:
    at = _at(data, chance)
    return data[:at] + chance.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88")) + data[at:]


BYTES = (_flip, _flip, _set, _cut, _drop, _double, _swap, _insert, _bad_utf8)
TEXT = {".csv", ".tsv", ".json", ".jsonl", ".yaml", ".txt", ".xml"}


def _text(data: bytes, chance: Chance) -> bytes:
    """A cell, a line or a separator of a text file."""
    lines = data.decode("utf-8", "replace").split("\n")
    row = chance.randrange(len(lines))
    kind = chance.randrange(6)
    if kind == 0:
        mark = chance.choice((",", ":", " ", "|", ";", '"'))
        cells = lines[row].split(mark)
        cells[chance.randrange(len(cells))] = chance.choice(TEXTS)
        lines[row] = mark.join(cells)
    elif kind == 1:
        lines.insert(row, lines[chance.randrange(len(lines))])
    elif kind == 2:
        del lines[row]
    elif kind == 3:
        lines[row] = lines[row].replace(
            chance.choice((",", "|", '"', ":", " ")), chance.choice((",,", ";", '""', "\t", ""))
        )
    elif kind == 4:
        other = chance.randrange(len(lines))
        lines[row], lines[other] = lines[other], lines[row]
    else:
        lines[row] = chance.choice(TEXTS)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything within a value."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        each = todo.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each))
        for key in keys:
            found.append((each, key))
            if isinstance(each[key], dict | list):
                todo.append(each[key])
    return found


def _edited(value: Any, chance: Chance) -> Any:
    """The value with something in it replaced, removed, renamed or doubled."""
    places = _places(value) if isinstance(value, dict | list) else []
    if not places:
        return chance.choice(VALUES)
    where, key = places[chance.randrange(len(places))]
    kind = chance.randrange(6)
    if kind < 3:
        where[key] = chance.choice(VALUES if kind else TEXTS)
    elif kind == 3:
        del where[key]
    elif isinstance(where, list):
        where.insert(key, where[chance.randrange(len(where))])
    elif kind == 4:
        where[chance.choice(TEXTS)] = where.pop(key)
    else:
        other, at = places[chance.randrange(len(places))]
        where[key] = json.loads(json.dumps(other[at]))
    return value


def _json(data: bytes, chance: Chance) -> bytes:
    return json.dumps(_edited(json.loads(data), chance)).encode()


def _jsonl(data: bytes, chance: Chance) -> bytes:
    lines = data.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = _json(lines[at], chance)
    return b"\n".join(lines)


def _yaml(data: bytes, chance: Chance) -> bytes:
    import yaml

    return yaml.safe_dump(_edited(yaml.safe_load(data), chance), sort_keys=False).encode()


def _parquet(data: bytes, chance: Chance) -> bytes:
    """A column of another type, with other cells, under another name, twice or not at all; other metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    at = chance.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    kind = chance.randrange(8)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.rename_columns(
            [chance.choice(TEXTS) if n == name else n for n in table.column_names]
        )
    elif kind == 2:
        table = table.append_column(name, column)
    elif kind in (3, 4):
        cells = column.to_pylist()
        for _ in range(chance.choice((1, 1, len(cells) or 1))):
            if cells:
                cells[chance.randrange(len(cells))] = chance.choice(
                    (*VALUES[:12], *TEXTS[:30], None)
                )
        types: tuple[Any, ...] = (
            column.type,
            pa.string(),
            None,
            pa.binary(),
            pa.list_(pa.string()),
        )
        table = table.set_column(at, name, pa.array(cells, chance.choice(types)))
    elif kind == 5:
        wanted = (
            pa.string(),
            pa.int64(),
            pa.float64(),
            pa.int8(),
            pa.timestamp("us"),
            pa.large_string(),
        )
        table = table.set_column(at, name, column.cast(chance.choice(wanted)))
    elif kind == 6:
        table = table.slice(0, chance.choice((0, 1)))
    meta = dict(table.schema.metadata or {})
    if meta and (kind == 7 or chance.random() < 0.2):
        key = chance.choice(sorted(meta))
        try:
            meta[key] = _json(meta[key], chance)
        except ValueError:
            meta[key] = chance.choice(TEXTS).encode("utf-8", "surrogatepass")
        if chance.random() < 0.2:
            del meta[key]
        table = table.replace_schema_metadata(meta)
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _sqlite(data: bytes, chance: Chance) -> bytes:
    """A cell of another type, a row or a table that is missing, a column under another name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.sqlite")
        file.write_bytes(data)
        with sqlite3.connect(file) as connection:
            names = [
                r[0]
                for r in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            table = chance.choice(names)
            columns = [r[1] for r in connection.execute(f"PRAGMA table_info({table})")]
            column, kind = chance.choice(columns), chance.randrange(8)
            connection.execute("PRAGMA foreign_keys = OFF")
            if kind == 0:
                connection.execute(f"DROP TABLE {table}")
            elif kind == 1:
                connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
            elif kind == 2:
                connection.execute(f"DELETE FROM {table}")
            else:
                value = chance.choice((*VALUES[:9], 1.5, *TEXTS[:20], b"\xff", "9" * 300))
                connection.execute(
                    f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid IN "
                    f"(SELECT rowid FROM {table} LIMIT 1 OFFSET ?)",
                    (value, chance.randrange(8) if kind < 7 else 0),
                )
        connection.close()
        return file.read_bytes()


def _npz(data: bytes, chance: Chance) -> bytes:
    with np.load(io.BytesIO(data)) as arrays:
        found = dict(arrays)
    name = chance.choice(sorted(found))
    kind = chance.randrange(7)
    if kind == 0:
        del found[name]
    elif kind == 1:
        found[name] = found[name].ravel()[:-1] if found[name].size else found[name]
    elif kind == 2:
        types = chance.choice(("f8", "i1", "U3", "S2", "c8", "M8[s]", "?"))
        found[name] = found[name].astype(types)
    elif kind == 3:
        found[name] = np.array(chance.choice(TEXTS[:30]))
    elif kind == 4 and found[name].dtype.kind in "fiu" and found[name].size:
        found[name].ravel()[chance.randrange(found[name].size)] = (
            -1 if chance.random() < 0.5 else 99
        )
    elif kind == 5:
        found[name] = np.zeros((0, *found[name].shape[1:]), found[name].dtype)
    else:
        found[chance.choice(("x", "images", "labels", "items"))] = found[name][None]
    out = io.BytesIO()
    np.savez(out, **found)
    return out.getvalue()


def _tar(data: bytes, chance: Chance) -> bytes:
    """A member with another name, of another kind, or with other bytes in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w") as new:
        members = old.getmembers()
        target = chance.randrange(len(members))
        for number, member in enumerate(members):
            content = old.extractfile(member)
            inside = b"" if content is None else content.read()
            if number == target:
                kind = chance.randrange(5)
                if kind == 0:
                    member.name = chance.choice(TEXTS)[:200] or "x"
                elif kind == 1:
                    member.type = chance.choice(
                        (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
                    )
                    member.linkname, inside = "../../evil", b""
                elif kind == 2:
                    inside = chance.choice(BYTES)(inside, chance)
                elif kind == 3:
                    member.name = members[0].name
                else:
                    continue
            member.size = len(inside)
            new.addfile(member, io.BytesIO(inside))
    return out.getvalue()


def _zip(data: bytes, chance: Chance) -> bytes:
    """A member of an archive, such as a snapshot, broken where its CRC is right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        target = chance.choice(names)
        for name in names:
            inside = old.read(name)
            new.writestr(name, chance.choice(BYTES)(inside, chance) if name == target else inside)
    return out.getvalue()


FIELDS: dict[str, Callable[[bytes, Chance], bytes]] = {
    **{".json": _json, ".jsonl": _jsonl, ".yaml": _yaml, ".parquet": _parquet, ".sqlite": _sqlite},
    **{".npz": _npz, ".tar": _tar, ".pt": _zip, ".csv": _text, ".tsv": _text, ".txt": _text},
}
warnings.filterwarnings("ignore", module="zipfile")
