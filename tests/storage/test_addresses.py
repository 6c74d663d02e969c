"""Which addresses are taken where, and what is said of those that are not: no server is needed."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from reteach.api.calls import options_class
from reteach.cli import TABLE
from reteach.errors import UserError
from reteach.files import local
from reteach.options import paths
from reteach.storage import address, address_of, path_of, shown


def _settings(kind, where=""):
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _settings(hint, f"{where}{field.name}.")
        elif "Path" in str(hint) or paths.inputs(kind).get(field.name):
            yield kind, field.name


ALL = sorted(
    {each for name in TABLE for each in _settings(options_class(name))},
    key=lambda each: (each[0].__name__, each[1]),
)


@pytest.mark.parametrize(("kind", "name"), ALL, ids=[f"{k.__name__}.{n}" for k, n in ALL])
def test_every_path_setting_of_every_command_takes_an_address_or_refuses_it(
    kind, name, monkeypatch, tmp_path
):
    monkeypatch.setenv("RETEACH_SCRATCH", str(tmp_path))
    monkeypatch.setattr("reteach.storage.view.fetch", lambda where, *a, **k: path_of(where))
    monkeypatch.setattr("reteach.storage.fetch", lambda where, *a, **k: path_of(where))
    monkeypatch.setattr("reteach.storage.address_holds_file", lambda where: False)
    monkeypatch.setattr("reteach.storage.refuse_no_bucket", lambda where: None)
    mark, made = paths.inputs(kind).get(name), paths.is_made(kind, name)
    images = isinstance(mark, paths.ImagesExist)
    is_text = "Path" not in str(get_type_hints(kind)[name])
    value = "s3://bucket/a/b" if is_text else Path("s3://bucket/a/b")
    if isinstance(mark, paths.LocalOnly) or getattr(mark, "local_only", ""):
        with pytest.raises(UserError, match=r"^s3://bucket/a/b: .*; name a place on this machine"):
            paths._copy(value, mark, made)
        return
    found = paths._copy(value, mark, made)
    if images:
        assert found == "s3://bucket/a/b"
    else:
        assert address_of(found) == address("s3://bucket/a/b")
        assert shown(f"{found} x") == "s3://bucket/a/b x"


@pytest.mark.parametrize(
    "given",
    [
        "s3://key:secret-word@bucket/labels.csv",
        "s3://bucket/labels.csv?X-Amz-Signature=secret-word",
        "https://user:secret-word@host/labels.csv?token=secret-word",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(given):
    with pytest.raises(UserError) as refused:
        local(Path(given), "--labels")
    assert "secret-word" not in str(refused.value)


def test_file_addresses_are_paths():
    assert paths._copy(Path("file:///tmp/x"), None, False) == Path("/tmp/x")
    assert paths._copy("file:///tmp/x", paths.ImagesExist(), False) == "/tmp/x"
