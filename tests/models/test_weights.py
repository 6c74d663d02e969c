"""Weight files of every kind and condition: read, or refused in one line, and nothing unpickled."""

from __future__ import annotations

import argparse
import os
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import nn

from reteach.errors import UserError
from reteach.models import weights
from reteach.models.tensorfiles import read


def tiny(n: int = 4) -> nn.Module:
    return timm.create_model("reteach_tiny", num_classes=n)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_groups_of_tensors(tmp_path: Path) -> None:
    w = torch.rand(3)
    torch.save(
        {"a": w, "n": 1, "model": {"b": w, "lr": 0.1}, "opt": {"state": {0: w}}}, tmp_path / "x"
    )
    assert {g: sorted(t) for g, t in read(tmp_path / "x").items()} == {"": ["a"], "model": ["b"]}
    torch.save({"a": w}, tmp_path / "old", _use_new_zipfile_serialization=False)
    assert torch.equal(read(tmp_path / "old")[""]["a"], w)
    save_file({"a": w}, tmp_path / "model.safetensors")
    assert torch.equal(read(tmp_path)[""]["a"], w)  # a folder


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    file, mark = tmp_path / "x.pth", tmp_path / "mark"
    state = {"w": torch.ones(2)}
    torch.save({"state_dict": state, "evil": Evil(f"touch {mark}")}, file)
    assert "system" in refusal(file)
    assert not mark.exists()
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1)}, file)
    assert "argparse.Namespace" in refusal(file)
    assert "re-save the weights alone" in refusal(file)
    torch.save({"state_dict": state, "best": np.float64(0.7)}, file)
    assert "multiarray.scalar" in refusal(file)
    torch.save(tiny(), file)
    assert "SmallNet" in refusal(file)
    file.write_bytes(pickle.dumps(Evil(f"touch {mark}")))
    refusal(file)
    assert not mark.exists()


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "x"
    assert "does not exist" in refusal(file)
    for content in (b"", b"hello", b"<!DOCTYPE html><html>", b"PK\x03\x04", b"\x00" * 100):
        file.write_bytes(content)
        assert "is not a weight file, or is damaged" in refusal(file)
    for value in ([torch.ones(2)], torch.ones(2), 5):
        torch.save(value, file)
        assert "not named weights" in refusal(file)
    torch.save({"epoch": 3, "state_dict": {}}, file)
    assert "no named weights" in refusal(file)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["safetensors", "torch"]))
def test_damage_never_gets_through(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    tensors = {"w": torch.ones(20), "b": torch.ones(3)}
    if kind == "torch":
        torch.save({"state_dict": tensors}, folder / "x")
    else:
        (folder / "x").write_bytes(save(tensors))
    content = bytearray((folder / "x").read_bytes())
    cut = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:cut]
    else:
        content[cut] ^= data.draw(st.integers(1, 255))
    (folder / "x").write_bytes(content)
    with suppress(UserError):  # nothing else; a changed number within a tensor cannot be noticed
        read(folder / "x")


def test_plain_weights_with_and_without_the_output_layer(tmp_path: Path) -> None:
    source = tiny(4)
    file = tmp_path / "w.pth"
    torch.save(
        {"state_dict": {f"module._orig_mod.{k}": t for k, t in source.state_dict().items()}}, file
    )
    same, fewer = tiny(4), tiny(3)
    report = weights.load(same, file)
    assert (report.missing, report.unexpected, report.dropped) == ((), (), ())
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(same.eval()(x), source.eval()(x))
    before = fewer.head.weight.clone()
    report = weights.load(fewer, file)
    assert report.missing == ("head.weight", "head.bias")
    assert report.dropped == ("head.weight", "head.bias")
    assert torch.equal(fewer.head.weight, before)
    assert torch.equal(fewer.eval().forward_features(x), source.forward_features(x))


def test_averaged_weights_before_raw_ones(tmp_path: Path) -> None:
    raw, averaged = tiny().state_dict(), tiny().state_dict()
    torch.save({"state_dict": raw, "state_dict_ema": averaged}, tmp_path / "w")
    model = tiny()
    weights.load(model, tmp_path / "w")
    assert torch.equal(model.state_dict()["head.weight"], averaged["head.weight"])


def test_strange_names_are_refused(tmp_path: Path) -> None:
    torch.save({"a.b": torch.ones(1), "c": torch.ones(1)}, tmp_path / "w")
    with pytest.raises(UserError, match=r"neither the names .*MoCo.* its keys begin with a.b, c$"):
        weights.load(tiny(), tmp_path / "w")
