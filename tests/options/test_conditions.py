"""Settings without effect are refused wherever they come from, even where they say the default."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from reteach.cli import TABLE, _load, main
from reteach.errors import UserError
from reteach.options.conditions import NotWith, OnlyWith, declared, refuse_idle
from reteach.options.ranges import AtLeast, Checked
from reteach.options.shared import Data, Model, Output, Training
from tests.options.test_ranges import option_classes


@dataclass(frozen=True)
class Settings(Checked):
    gold: Path | None = None
    rate: Annotated[float, AtLeast(0), OnlyWith("gold")] = 0.1
    method: str | None = None
    ties: Annotated[str, OnlyWith("method", "majority")] = "keep"
    rounds: Annotated[int, NotWith("method", "golden", "majority")] = 100


def test_a_changed_setting_without_effect_is_refused() -> None:
    assert Settings(gold=Path("g"), rate=0.2).rate == 0.2
    with pytest.raises(UserError, match="--rate has no effect without --gold; leave it out"):
        Settings(rate=0.2)
    with pytest.raises(UserError, match="--ties has no effect without --method majority"):
        Settings(ties="drop")
    with pytest.raises(UserError, match="--rounds has no effect with --method golden"):
        Settings(rounds=5, method="golden")
    assert Settings(rounds=5).rounds == Settings(rounds=5, method="em").rounds == 5


def test_a_given_default_is_refused_as_well() -> None:
    refuse_idle(Settings(), {"gold", "method", "rounds"})
    with pytest.raises(UserError, match="--rate has no effect without --gold"):
        refuse_idle(Settings(), {"rate"})


def test_conditions_name_settings_that_exist() -> None:
    found = 0
    for options in option_classes():
        for name, conditions in declared(options).items():
            for condition in conditions:
                there = options.__dataclass_fields__.keys()
                if options in GROUPS:  # on the command line they are together
                    there = {field for group in GROUPS for field in group.__dataclass_fields__}
                assert {*condition.settings} <= there, (options, name)
                found += 1
    assert found > 20


def test_options_with_conditions_look_at_them() -> None:
    for options in option_classes():
        assert not declared(options) or issubclass(options, Checked), options


GROUPS = (Data, Model, Training, Output)

IDLE = [
    ("train softmax --images x --drop-at 0.9", "--drop-at"),
    ("train softmax --images x --schedule cosine --drop-at 0.9", "--drop-at"),
    ("train softmax --images x --optimizer adam --nesterov", "--nesterov"),
    ("train softmax --images x --pretrained --freeze --augment auto", "--augment"),
    ("train softmax --images x --probe-first", "--probe-first"),
    ("train softmax --images x --no-probe-first", "--no-probe-first"),
    ("train softmax --images x --pretrained --freeze --probe-first", "--probe-first"),
    ("relabel tasks --proposals p.parquet --out a.db --labels l.csv", "--labels"),
    ("relabel tasks --label-studio b.json --out a.db --most 3", "--most"),
    ("relabel tasks --proposals p.parquet --out a.db --gold-rate 0.1", "--gold-rate"),
    ("relabel export r.db --out x.json --columns reteach", "--columns"),
    ("relabel consensus r.db --method em --ties keep", "--ties"),
    ("relabel consensus r.db --method majority --iterations 100", "--iterations"),
    ("relabel consensus r.db --method majority --smoothing 1", "--smoothing"),
    ("predict runs/a --images x --tuned --threshold 0.5", "--threshold"),
    ("predict runs/a --images x --top 5", "--top"),
    ("calibrate runs/a --prior-strength 1000", "--prior-strength"),
    ("calibrate runs/a --scope pooled --prior-strength=1000", "--prior-strength"),
    ("score runs/a --images x --scorers 2", "--scorers"),
    ("score . --images s/{0..3}.tar --block 16384", "--block"),
    ("embed --pretrained --images s/{0..3}.tar --block 1024", "--block"),
    ("select s.parquet --seed 0", "--seed"),
    ("select s.parquet --shown cat", "--shown"),
    ("dedup --images x --only-bytes --neighbours 10", "--neighbours"),
    ("dedup --images x --shown 200", "--shown"),
    ("dedup --images x --search exact --recall 0.95", "--recall"),
    ("dedup --images x --search exact --memory 10", "--memory"),
    ("dedup --images x --batch-size 256", "--batch-size"),
    ("dedup --images x --device auto", "--device"),
    ("partition --labels l.csv --method spectral --smallest 2", "--smallest"),
    ("relabel propose --scores s.parquet --labels l.csv --out p.parquet --recall 0.97", "--recall"),
]


@pytest.mark.parametrize(("words", "flag"), IDLE, ids=[f"{w.split()[0]} {f}" for w, f in IDLE])
def test_flags_without_effect(words: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert f"{flag} has no effect" in said
    assert said.count("\n") == 1


def test_the_table_of_commands_loads() -> None:
    assert all(_load("options", command.options) for command in TABLE.values())


def test_a_condition_may_name_a_setting_of_another_group() -> None:
    frozen = Model(pretrained=True, freeze=True)
    refuse_idle(Training(augment="none"), {"augment"}, frozen)  # which says what happens anyway
    refuse_idle(Training(), {"augment"}, Model())
    refuse_idle(Training(), {"augment"})
    with pytest.raises(UserError, match="--augment has no effect with --freeze"):
        refuse_idle(Training(), {"augment"}, frozen)


def test_what_has_effect_is_taken_though_it_says_the_default() -> None:
    given = {"drop_at", "nesterov", "probe_first"}
    refuse_idle(Training(schedule="drop"), given)
    refuse_idle(Model(pretrained=True), given)
