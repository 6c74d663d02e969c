"""What the command line makes of flags, before any command runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from reteach import cli
from reteach.command_line import parse
from reteach.errors import UserError
from reteach.options.shared import Data
from reteach.runs.config import build


def options_of(command: str) -> Any:
    return cli._load("options", cli.TABLE[command].options)


def flags(command: Any) -> Iterator[str]:
    """Every flag of a command, its groups' flags among them."""
    for field in fields(command):
        made = field.default_factory() if callable(field.default_factory) else None
        if is_dataclass(made):
            yield from flags(type(made))
        else:
            yield f"--{field.name.replace('_', '-')}"


@pytest.mark.parametrize("name", sorted(cli.TABLE))
def test_a_flag_given_twice_is_refused_for_every_option_of_every_command(name, capsys):
    command = options_of(name)
    for flag in flags(command):
        with pytest.raises(UserError, match=f"^{flag} is given twice, .* give it once"):
            parse(command, name, [flag, "1", "--something-else", flag, "2"])


@pytest.mark.parametrize(
    "words",
    [
        ["--k-t", "1", "--k_t", "2"],
        ["--k-t=1", "--k-t", "2"],
        ["--cache", "--no-cache"],
        ["--config", "a.yaml", "--config", "b.yaml"],
        ["--images", "a", "--images", "a"],
    ],
)
def test_other_spellings_of_a_flag_count_as_the_same(words, capsys):
    assert cli.main(["train", "mile", *words]) == 2
    assert "only the last would count" in capsys.readouterr().err


def parsed(command: str, *words: str) -> Any:
    return parse(options_of(command), command, list(words))


def test_several_values_after_one_flag_are_all_taken():
    assert parsed("train semi", "--finetune-lr", "0.1", "0.2").settings.finetune_lr == (0.1, 0.2)


def test_the_command_line_wins_over_a_file(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "finetune_lr: [0.1, 0.2]\ncache: true\nper_class: 5\nsteps: 7\nrebalance: true\n"
    )
    words = ["--finetune-lr", "0.3", "--no-cache", "--per-class", "6", "--no-rebalance"]
    for order in (["--config", str(file), *words], [*words, "--config", str(file)]):
        made = parsed("train semi", *order)
        assert made.settings.finetune_lr == (0.3,)
        assert made.settings.per_class == 6
        assert made.data.cache is False
        assert not made.data.rebalance
        assert made.training.steps == 7, "what the command line does not say is the file's"


@pytest.mark.parametrize(
    ("words", "exponent"),
    [
        ([], 0.0),
        (["--rebalance"], 1.0),  # the switch that it was
        (["--rebalance", "--cache"], 1.0),
        (["--rebalance", "0.5"], 0.5),
        (["--rebalance=0.5"], 0.5),
        (["--no-rebalance"], 0.0),
    ],
)
def test_rebalance_takes_an_exponent_and_is_still_a_switch(words, exponent, tmp_path):
    assert parsed("train mile", *words).data.rebalance == exponent
    old = build(Data, {"rebalance": bool(exponent)}, "config.yaml")
    assert old.rebalance == bool(exponent), "what older runs have in their config.yaml"


def test_a_setting_that_stands_twice_in_a_file_is_refused(tmp_path: Path):
    file = tmp_path / "c.yaml"
    for text in ("steps: 5\nsteps: 6\n", "k_t: 5\nk-t: 6\n"):
        file.write_text(text)
        with pytest.raises(UserError, match="stands there twice: give it once"):
            parsed("train mile", "--config", str(file))


def test_help_says_who_wins(capsys):
    assert cli.main(["--help"]) == 0
    assert "A flag given twice is an error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("trian", "train"),
        ("trian --images photos", "train"),
        ("trian mile", "train mile"),
        ("tarin photos/", "train"),
        ("Train", "train"),
        ("train mlie --images photos", "train mile"),
        ("train noisystudent", "train noisy-student"),
        ("train MILe", "train mile"),
        ("mile", "train mile"),
        ("softmx", "train softmax"),
        ("relable clean", "relabel clean"),
        ("relabel claen", "relabel clean"),
        ("hashtag tags.csv", "relabel hashtags"),
        ("evalute runs/mile-1", "evaluate"),
        ("predcit", "predict"),
        ("prob compression", "probe compression"),
        ("noise estimat", "noise estimate"),
    ],
)
def test_a_mistyped_command_is_told_the_one_that_is_meant(words, meant, capsys):
    assert cli.main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"; did you mean {meant}? (reteach --help lists all)" in line


@pytest.mark.parametrize("words", ["xyz", "xyz abc", "train xyzzy", "noise photos", "--steps 5"])
def test_words_that_are_near_no_command_get_no_hint(words, capsys):
    assert cli.main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reteach: unknown command")
    assert "did you mean" not in line


def test_half_a_command_says_what_it_lacks(capsys):
    assert cli.main(["train", "--images", "photos"]) == 2
    assert "reteach train needs one more word" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_under_torchrun_the_first_process_prints_the_result(more, tmp_path, monkeypatch, capsys):
    table = tmp_path / "right.csv"
    table.write_text("item,labels\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8)))
    words = ["noise", "--labels", str(table), "--out", str(tmp_path / "noisy.csv"), *more]
    printed = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(words) == 0
        printed[rank] = capsys.readouterr().out
    assert "noisy.csv" in printed["0"]
    assert printed["1"] == ""
