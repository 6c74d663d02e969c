"""``--config FILE``: settings of a YAML file, and a run's own ``config.yaml``."""

from __future__ import annotations

import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from reteach import cli, command_line
from reteach.errors import UserError
from reteach.options.conditions import TakenBy
from reteach.options.methods import METHODS
from reteach.options.shared import Data, Model, Output, Training
from reteach.runs.config import Config, parse, save
from reteach.runs.config_flags import settings


def command(name: str) -> Any:
    return cli._load("options", cli.TABLE[name].options)


def parsed(name: str, *words: str) -> Any:
    return command_line.parse(command(name), name, list(words))


def other(hint: Any) -> Any:
    """A value of a type that no setting has by default."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if kind is not type(None)]
    choices = [word for kind in kinds for word in typing.get_args(kind) if isinstance(word, str)]
    if choices:
        return choices[-1]
    for kind in kinds:
        if typing.get_origin(kind) is tuple:
            return tuple(other(typing.get_args(kind)[0]) for _ in range(2))
        simple = {bool: True, int: 21, float: 2.5e-07, str: "-x y", Path: Path("/-a b/=c")}
        if kind in simple:
            return simple[kind]
    raise AssertionError(f"a new type of setting: {hint}")


def changed(group: Any, but: tuple[str, ...] = ()) -> Any:
    """Each setting of a group as it is not by default."""
    hints = typing.get_type_hints(type(group))
    values = {f.name: other(hints[f.name]) for f in fields(group) if f.name not in but}
    if "minimum" in values:
        values["minimum"] = -2.5e-07  # the one number that may be below zero
    if "also_val" in values:
        values["also_val"] = ("a=-x y", "b=/-a b/=c,d e.csv")  # each begins with a name
    values.pop("teacher_epochs", None)  # which stands in place of --teacher-share
    for ours in ("augmentation", "loss", "loss_targets"):  # of Python alone
        values.pop(ours, None)
    if values.pop("drop_at", None) is not None:
        values["schedule"] = "multistep"  # beside which alone the milestones have effect
    return replace(group, **values)


def untaken(method: str) -> list[str]:
    """The shared settings that the method does not take."""
    hints = typing.get_type_hints(Training, include_extras=True)
    marks = [(n, m) for n, hint in hints.items() for m in getattr(hint, "__metadata__", ())]
    return [n for n, m in marks if isinstance(m, TakenBy) and not getattr(METHODS[method], m.trait)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("usual", "spelling"), [(True, "--config {}"), (False, "--config={}")])
def test_a_runs_own_config_trains_the_same_again(method, usual, spelling, tmp_path):
    """Every setting of every method comes back as it was, for another folder."""
    told = Config(method, METHODS[method].settings(), output=Output(out=tmp_path))
    if not usual:
        groups = (told.settings, Data(), Model(), Training(), told.output)
        without = ("out", "shuffle_shards", *untaken(method))  # not beside --rebalance
        told = Config(method, *(changed(group, without) for group in groups))
    save(told, tmp_path / "config.yaml")
    (tmp_path / "run.json").write_text("{}")
    made = parsed(f"train {method}", *spelling.format(tmp_path / "config.yaml").split(" "))
    for group in ("settings", "data", "model", "training"):
        assert getattr(made, group) == getattr(told, group)
    assert made.output == replace(told.output, out=None), "the run's own folder is taken"


def test_shards_in_turn_come_back_from_a_config(tmp_path: Path):
    told = Config("softmax", METHODS["softmax"].settings(), Data(shuffle_shards=4))
    save(told, tmp_path / "config.yaml")
    made = parsed("train softmax", "--config", str(tmp_path / "config.yaml"))
    assert made.data == told.data


def test_a_files_idle_setting_is_refused_where_it_is_changed(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("drop-at: 0.9\nnesterov: true\n")
    file = ("--config", str(tmp_path / "mine.yaml"))
    assert parsed("train elr", *file, "--optimizer", "adam").training.nesterov
    with pytest.raises(UserError, match="--drop-at has no effect without --schedule drop"):
        parsed("train elr", *file, "--drop-at", "0.9")
    (tmp_path / "mine.yaml").write_text("drop-at: 0.5\n")
    with pytest.raises(UserError, match="--drop-at has no effect without --schedule drop"):
        parsed("train elr", *file)


def test_a_copy_of_a_runs_config_keeps_the_folder_that_it_names(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("method: elr\noutput: {out: runs/here}\nlam: 2\n")
    made = parsed("train elr", "--config", str(tmp_path / "mine.yaml"))
    assert made.output.out == Path("runs/here")
    assert made.settings.lam == 2.0


def test_groups_and_the_command_line_stand_together(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("model: reteach_tiny\nk_t: 5\ntraining: {batch-size: 4, steps: 7}\n")
    made = parsed("train mile", f"--config={file}", "--batch_size", "8")
    assert (made.model.model, made.settings.k_t) == ("reteach_tiny", 5)
    assert (made.training.batch_size, made.training.steps) == (8, 7)


def test_what_is_positional_keeps_its_place(tmp_path: Path):
    """No list of the file swallows it."""
    (tmp_path / "c.yaml").write_text("exclude: [a.txt, b.txt]\n")
    made = parsed("select", "--config", str(tmp_path / "c.yaml"), "scores", "--top", "2")
    assert (made.scores, made.exclude) == (Path("scores"), (Path("a.txt"), Path("b.txt")))


WRONG = {
    "a key": ("train mile", "imagse: x", "has no setting 'imagse'; did you mean images"),
    "of another method": ("train elr", "k_t: 5", "reteach train elr has no setting 'k_t'"),
    "in a group": (
        "train mile",
        "training: {stesp: 5}",
        "has no setting 'stesp'; did you mean steps",
    ),
    "in another group": ("train mile", "data: {steps: 5}", "'steps'; it belongs to training"),
    "a group": (
        "train mile",
        "trainig: {steps: 5}",
        "no group of settings 'trainig'; did you mean",
    ),
    "another method": (
        "train elr",
        "method: mile",
        "of the method mile, and this is reteach train elr",
    ),
    "a method": ("train mile", "method: mlie", "unknown method 'mlie'; did you mean mile?"),
    "another command": ("compare", "method: mile", "use reteach train mile"),
    "twice": ("train mile", "steps: 5\ntraining: {steps: 6}", "'steps' stands there twice"),
    "twice in hyphens": ("train mile", "k_t: 5\nk-t: 6", "'k_t' stands there twice"),
    "a type": ("train mile", "steps: many", "steps must be a int, got 'many'"),
    "a switch": ("train mile", "steps: yes", "steps must be a int, got True"),
    "a switch for a rate": ("train mile", "lr: true", "lr must be a number, got True"),
    "a list": ("train mile", "images: [a, b]", "images must be a str"),
    "a group in place of a value": ("train mile", "steps: {a: 1}", "no group of settings 'steps'"),
    "a choice": ("train mile", "targets: sotf", "must be one of threshold, soft, hard"),
    "positional": (
        "compare",
        "methods: [mile]",
        "reteach compare takes 'methods' from the command line",
    ),
    "no mapping": ("train mile", "- 5", "expected settings"),
    "not YAML": ("train mile", "a: [", "--config"),
}


@pytest.mark.parametrize(("name", "text", "said"), WRONG.values(), ids=WRONG)
def test_what_does_not_belong_into_a_config_is_one_line(name, text, said, tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text(text + "\n")
    for words in (["--config", str(file)], [f"--config={file}"]):
        assert cli.main([*name.split(), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert str(file) in line


@pytest.mark.parametrize("words", [["--config"], ["--config="], ["--config", "--steps", "5"]])
def test_config_needs_a_file(words, capsys):
    assert cli.main(["train", "mile", *words]) == 2
    assert "--config needs a YAML file" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(cli.TABLE))
def test_a_value_of_every_setting_of_every_command_can_stand_in_a_file(name, tmp_path: Path):
    """And is told to the command as it stands there."""
    for key, setting in settings(command(name)).items():
        if not setting.positional:
            value = other(setting.hint)
            assert parse(_plain(value), setting.hint, key) == value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def test_a_choice_may_look_like_a_number_or_a_switch(tmp_path: Path):
    """``yes`` and ``1`` are no words to YAML, and ``none`` is not always the default."""
    (tmp_path / "c.yaml").write_text("mirror: no\n")
    words = ["--images", "photos", "--config", str(tmp_path / "c.yaml")]
    assert parsed("advise", *words).mirror == "no"
    (tmp_path / "c.yaml").write_text("empty: none\n")
    made = parsed("evaluate", "runs/mile-1", "--config", str(tmp_path / "c.yaml"))
    assert made.run_options.empty == "none"


def test_refusals_stay_user_errors():
    with pytest.raises(UserError, match="must be a Path"):
        parse({"a": 1}, Path, "labels")
