"""Processes that wait for one another, of which one does not come: those that wait name it in one line."""

from __future__ import annotations

import os

import pytest
from torch.distributed import TCPStore

import nodes
from reteach.engine import meeting
from reteach.errors import UserError


def comes(absent: int) -> str:
    """Meets the others, or is the one that does not come."""
    if os.environ["RANK"] == str(absent):
        return "absent"
    try:
        met = meeting.meet()
    except UserError as error:
        return str(error)
    assert met is not None
    return f"{met.rank} of {met.world}"


@pytest.fixture
def agent(monkeypatch):
    """What keeps the words of all processes, as torchrun does beside them."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(nodes, "free_port", lambda: store.port)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    return store


@pytest.mark.parametrize("absent", [0, 2])
def test_who_does_not_come_is_named(agent, tmp_path, capfd, monkeypatch, absent):
    monkeypatch.setattr(meeting, "PATIENCE", 1.5)
    told = nodes.played(comes, tmp_path, 3, 2, absent)
    said = f"have not come within 0.025 minutes: {absent} (node {absent // 2}); see what"
    assert told.pop(absent) == "absent"
    assert all(text.startswith("of the 3 processes of this training, these ") for text in told)
    assert all(said in text for text in told)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("reteach: ")]
    assert len(lines) == (1 if absent == 0 else 0), "where it can, the command line says it of 0"


def test_who_comes_late_is_waited_for_and_an_earlier_attempt_left_no_trace(
    agent, tmp_path, monkeypatch
):
    monkeypatch.setattr(meeting, "PATIENCE", 20.0)
    for attempt in range(2):
        told = nodes.played(comes, tmp_path / str(attempt), 3, 2, -1)
        assert told == ["0 of 3", "1 of 3", "2 of 3"]


def test_nobody_to_meet_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(meeting, "PATIENCE", 1.0)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")  # and there is none
    (said,) = set(nodes.played(comes, tmp_path, 2, 1, -1))
    assert said.startswith("the processes of this training do not meet at 127.0.0.1:")
    assert "\n" not in said
