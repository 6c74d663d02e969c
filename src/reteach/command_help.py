"""What ``--help`` says of the commands: in groups by task, and an example or two of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

GROUPS: dict[str, tuple[str, ...]] = {
    "Begin": ("demo", "demo photos", "advise"),
    "Data": ("convert", "pack", "dedup", "embed", "partition", "noise", "noise estimate"),
    "Teach": ("train", "resume", "transfer", "compare"),
    "Look": ("predict", "evaluate", "explain", "calibrate", "report", "probe compression"),
    "Relabel": ("relabel clean", "relabel hashtags", "score", "select"),
    "People": (
        *("review", "relabel propose", "relabel tasks", "rate"),
        *("relabel export", "relabel consensus"),
    ),
    "Ship": ("export", "completion"),
}
"""Title -> commands, or the first word of several; others come last."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("reteach demo",),
    "demo photos": ("reteach demo photos",),
    "advise": (
        "reteach advise --images photos/ --labels labels.csv",
        "reteach advise --images photos/ --labels one-each.csv --multi-label yes --expected 5.6",
    ),
    "resume": ("reteach resume runs/softmax-1",),
    "evaluate": (
        "reteach evaluate runs/softmax-1 --images val/ --labels val_labels.parquet",
        "reteach evaluate scores/a.parquet scores/b.parquet --labels real.csv --original val.csv",
    ),
    "predict": (
        "reteach predict runs/softmax-1 --images photos/ --out labels.parquet",
        "reteach predict runs/softmax-1 --images photo.jpg --out one.csv",
        "reteach predict runs/softmax-1 --images 'photos/2026-*.jpg' --out some.csv",
        "find photos -newer last | reteach predict runs/softmax-1 --images - --out new.csv",
    ),
    "explain": ("reteach explain runs/softmax-1 --images photos/ --classes cat --out cat.html",),
    "calibrate": (
        "reteach calibrate runs/sigmoid-1",
        "reteach calibrate runs/sigmoid-1 --folds 5 --expected 5.6",
    ),
    "report": ("reteach report runs/softmax-1",),
    "export": (
        "reteach export runs/softmax-1 --to onnx",
        "reteach export runs/softmax-1 --to timm --images photos/ --check 500 --out model/",
    ),
    "transfer": (
        "reteach transfer runs/softmax-1 --images flowers/ --mode fc-only --out runs/flowers",
    ),
    "compare": (
        "reteach compare softmax sigmoid mile --images photos/ --labels labels.csv --seeds 3",
        "reteach compare softmax elr nct --images photos/ --labels labels.csv --pretrained --freeze",
    ),
    "noise": ("reteach noise --labels labels.csv --rate 0.2 --out noisy.csv",),
    "noise estimate": (
        "reteach noise estimate --labels labels.csv --scores held_out.parquet --out matrix.csv",
    ),
    "probe compression": ("reteach probe compression runs/softmax-1",),
    "relabel propose": (
        "reteach relabel propose --scores a.parquet b.parquet --labels val.csv --out proposals.parquet",
    ),
    "relabel consensus": ("reteach relabel consensus ratings.csv --out real.parquet",),
    "relabel tasks": ("reteach relabel tasks --proposals proposals.parquet --out ratings.db",),
    "rate": ("reteach rate ratings.db --images photos/",),
    "relabel export": ("reteach relabel export ratings.db --out ratings.csv",),
    "relabel hashtags": (
        "reteach relabel hashtags tags.csv --classes classes.txt --out labels.parquet",
    ),
    "relabel clean": ("reteach relabel clean --images photos/ --labels labels.csv --out kept.csv",),
    "review": ("reteach review --images photos/ --labels labels.csv",),
    "embed": ("reteach embed --images photos/ --pretrained --out photos.features",),
    "score": ("reteach score runs/softmax-1 --images 'pile/{0000..0999}.tar' --out scores/",),
    "select": ("reteach select scores/ --per-class 16000 --out picks.parquet",),
    "pack": ("reteach pack --images photos/ --items labels.csv --out packed/",),
    "dedup": (
        "reteach dedup --images photos/ --against test/ --out pairs.parquet",
        "reteach dedup --images photos/ --labels labels.csv --report duplicates.html",
    ),
    "partition": ("reteach partition --labels sets.parquet --subsets 4 --out partition.json",),
    "convert": (
        "reteach convert coco instances_train.json --out labels.parquet",
        "reteach convert labels labels.parquet --to cvat --out annotations.xml",
        "reteach convert labels labels.csv --to yolo --images photos/ --out data/train",
    ),
    "completion": ("reteach completion bash > ~/.local/share/bash-completion/completions/reteach",),
}
"""Command -> lines to paste; those of ``train METHOD`` are made for each method."""


def examples(name: str) -> tuple[str, ...]:
    """Lines to paste that begin with the command."""
    if name.startswith("train "):
        more = " --teacher runs/softmax-1" if name == "train distill" else ""
        return (
            f"reteach {name} --images photos/ --labels labels.csv{more}",
            f"reteach {name} --images photos/ --labels labels.csv{more} --dry-run",
        )
    return EXAMPLES.get(name, ())


def examples_text(name: str) -> str:
    """The examples below the settings of a command."""
    shown = [f"  {line}" for line in examples(name)]
    return "\n".join(["", "examples:", *shown]) if shown else ""


def grouped(commands: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """(title, names) of the groups that have some of the commands.

    Args:
        commands: name -> one line.
    """
    left = list(commands)
    for title, members in GROUPS.items():
        among = [
            n for m in members for n in left if n == m or (m == "train" and n.startswith("train "))
        ]
        left = [name for name in left if name not in among]
        if among:
            yield title, among
    if left:
        yield "More", left


def overview(commands: Mapping[str, str]) -> Iterator[str]:
    """The lines of all commands, in their groups."""
    width = max(map(len, commands))
    for title, names in grouped(commands):
        yield f"{title}:"
        yield from (f"  {name:{width}}  {commands[name]}" for name in names)
        yield ""
