"""What every command has beside its settings: examples, completion, --quiet, --dry-run, --print-config."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import folder
from reteach import cli
from reteach.command_help import EXAMPLES, GROUPS, examples, overview
from reteach.command_line import config_text, parse
from reteach.completion import script, words_of
from reteach.errors import UserError
from reteach.runs.config_flags import settings
from reteach.tables import read_labels

NAMES = sorted(cli.TABLE)


def options_of(command: str) -> Any:
    return cli._load("options", cli.TABLE[command].options)


def test_every_command_stands_in_one_group_of_the_help(capsys):
    lines = list(overview({name: command.help for name, command in cli.TABLE.items()}))
    assert "More:" not in lines
    shown = [line[2:].split("  ")[0] for line in lines if line.startswith("  ")]
    assert sorted(shown) == NAMES
    members = {name for names in GROUPS.values() for name in names}
    assert members - {"train", "completion"} <= set(NAMES)
    assert set(EXAMPLES) - {"completion"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_help_ends_in_examples_that_parse(name, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        cli.main([*name.split(), "--help"])
    shown = capsys.readouterr().out.split("examples:\n")[1].strip().splitlines()
    assert [line.strip() for line in shown] == list(examples(name))
    for line in examples(name):
        words = shlex.split(line.rpartition("| ")[2])[1:]
        assert cli._named(words) == name
        rest = [word for word in words[len(name.split()) :] if word not in cli.ALWAYS]
        assert parse(options_of(name), name, rest) is not None


def test_the_page_of_commands_has_every_command_and_says_what_its_help_says():
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()
    for name in NAMES:
        if not name.startswith("train "):
            assert f"| `{name}` | {cli.TABLE[name].help} |" in page
    assert all(f"`{name.split()[1]}`" in page for name in NAMES if name.startswith("train "))
    assert all(f"## {title}\n" in page for title in GROUPS)
    assert all(f"`{flag}`" in page for flag in cli.ALWAYS)


WORDS = {
    "train mile": "--images p --labels l.csv --steps 7 --k-t 5 --rebalance 0.5 --no-nesterov --test-x",
    "train semi": "--images p --finetune-lr 0.1 0.2 --per-class 5",
    "predict": "runs/x --images p --threshold 0.3",
    "compare": "softmax mile --images p --seeds 2",
    "convert": "coco a.json --out b.csv --drop-empty",
    "dedup": "--images a --out b.parquet",
}


@pytest.mark.parametrize("name", WORDS)
def test_printed_settings_are_a_config_that_gives_the_same_options(name, tmp_path):
    words = [word for word in WORDS[name].split() if word != "--test-x"]
    first = parse(options_of(name), name, words)
    file = tmp_path / "c.yaml"
    file.write_text(config_text(first))
    known = settings(options_of(name))
    plain = [word for word in words[:2] if not word.startswith("--")]
    positional = plain if any(setting.positional for setting in known.values()) else []
    again = parse(options_of(name), name, [*positional, "--config", str(file)])
    assert again == first


def test_print_config_does_nothing_else(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "run", lambda options: pytest.fail("it was run"))
    assert cli.main(["train", "mile", "--images", "nowhere", "--steps", "7", "--print-config"]) == 0
    assert "steps: 7\n" in capsys.readouterr().out
    assert cli.main(["train", "mile", "--images", "nowhere", "--print-config", "--json"]) == 2
    assert "--json has no effect with --print-config" in capsys.readouterr().err
    assert cli.main(["train", "mile", "--images", "nowhere", "--dry-run", "--quiet"]) == 2
    assert "--quiet has no effect with --dry-run" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    names = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(10)]
    return folder(tmp_path / "photos", names)


QUICK = "--model reteach_tiny --image-size 16 --batch-size 4 --workers 0 --device cpu"


def test_a_dry_run_says_what_training_would_take_and_makes_nothing(photos, tmp_path, capsys):
    (photos / "dog" / "9.png").write_bytes(b"broken")
    line = f"train softmax --images {photos} {QUICK} --epochs 3 --out {tmp_path}/run"
    assert cli.main([*line.split(), "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"] + said["val_images"], said["unreadable"]) == (19, 1)
    assert not (tmp_path / "run").exists()
    assert "run (new)" in said["writes"]["--out"]
    assert cli.main(line.split()) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["n_train"], run["steps"]) == (said["images"], said["steps"])
    capsys.readouterr()
    assert (
        cli.main(f"relabel export {tmp_path}/no.db --out {tmp_path}/o.csv --dry-run".split()) == 2
    )
    assert f"RATINGS {tmp_path}/no.db does not exist" in capsys.readouterr().err
    assert (
        cli.main(f"embed --pretrained --images {tmp_path}/no --out {tmp_path}/f --dry-run".split())
        == 2
    )
    assert f"--images {tmp_path}/no does not exist" in capsys.readouterr().err
    line = f"noise --labels {tmp_path}/no.csv --rate 0.2 --out {tmp_path}/o.csv --dry-run"
    assert cli.main(line.split()) == 2
    assert "no.csv does not exist" in capsys.readouterr().err


def test_quiet_says_nothing_and_json_still_gives_its_object(photos, tmp_path, capsys):
    line = f"train softmax --images {photos} {QUICK} --steps 2 --out {tmp_path}/"
    assert cli.main([*f"{line}a".split(), "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "%" not in said.err
    assert cli.main([*f"{line}b".split(), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"].endswith("b")
    assert "RETEACH_QUIET" not in __import__("os").environ
    assert cli.main([*f"{line}a/b/c".split(), "--images", "x", "--quiet"]) == 2
    assert "given twice" in capsys.readouterr().err, "errors are never quiet"


def predicted(run: Path, images: str, out: Path) -> tuple[str, ...]:
    words = ["predict", str(run), "--images", images, "--out", str(out), "--workers", "0"]
    assert cli.main([*words, "--device", "cpu"]) == 0
    return read_labels(out).items


def test_predict_takes_one_image_a_pattern_or_a_list(photos, tmp_path, capsys, monkeypatch):
    line = f"train softmax --images {photos} {QUICK} --steps 2 --out {tmp_path}/run"
    assert cli.main(line.split()) == 0
    run, out = tmp_path / "run", tmp_path / "o.csv"
    assert predicted(run, str(photos / "cat" / "1.png"), out) == ("1.png",)
    assert predicted(run, f"{photos}/*/[12].png", out) == (
        "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png",
    )  # fmt: skip
    monkeypatch.chdir(photos)
    monkeypatch.setattr("sys.stdin", io.StringIO("dog/3.png\ncat/4.png\n\n"))
    assert predicted(run, "-", out) == ("dog/3.png", "cat/4.png")
    for text, told in (("", "no file is listed"), ("cat/1.png\n./cat/1.png\n", "is listed twice"),
                       ("cat/99.png\n", "'cat/99.png' does not exist")):  # fmt: skip
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert cli.main(["predict", str(run), "--images", "-", "--out", str(out)]) == 2
        assert told in capsys.readouterr().err
    assert cli.main(["predict", str(run), "--images", "*.gif", "--out", str(out)]) == 2
    assert "no image fits this pattern" in capsys.readouterr().err


def completed(bash: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    line = " ".join(shlex.quote(word) for word in words)
    code = f"source {bash}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _reteach; "
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_bash_completes_commands_flags_and_values(tmp_path, capsys):
    assert cli.main(["completion", "bash"]) == 0
    file = tmp_path / "reteach.bash"
    file.write_text(capsys.readouterr().out)
    assert completed(file, "reteach", "ex") == ["explain", "export"]
    assert completed(file, "reteach", "train", "cp") == ["cpsd"]
    assert completed(file, "reteach", "train", "mile", "--k-") == ["--k-t", "--k-s"]
    assert completed(file, "reteach", "export", "run", "--to", "t") == ["timm", "torch-export"]
    assert completed(file, "reteach", "convert", "hf") == ["hf-folder", "hf-parquet"]
    assert completed(file, "reteach", "noise", "--dry") == ["--dry-run"]
    assert completed(file, "reteach", "noise", "est") == ["estimate"]


def test_all_shells_know_every_command_and_flag(capsys):
    known = {name: words_of(settings(options_of(name))) for name in NAMES}
    for shell in ("bash", "zsh", "fish"):
        text = script(shell, known)
        for name, words in known.items():
            assert name in text
            spelt = [f"-l {f[2:]}" if shell == "fish" else f for f in words.flags]
            assert all(flag in text for flag in spelt)
    assert cli.main(["completion", "tcsh"]) == 2
    assert "needs one shell: bash, zsh, fish" in capsys.readouterr().err
    assert cli.main(["completion"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_no_color_is_followed(monkeypatch, capsys):
    """In what we print, and in what tyro prints of a command."""
    from rich.console import Console

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    text = capsys.readouterr().out
    assert not any(f"\x1b[{code}" in text for code in ("3", "9", "1;3"))
    assert Console(force_terminal=True).no_color
    assert np.ndim(text) == 0


def test_errors_of_dry_runs_are_users_errors(tmp_path):
    from reteach.commands.dry_run import dry_run

    with pytest.raises(UserError, match="does not exist"):
        dry_run(parse(options_of("report"), "report", [str(tmp_path / "none")]))
