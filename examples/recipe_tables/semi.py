"""Billion-scale: pretraining on picks, fine-tuning on ImageNet; Kinetics; transfer to CUB-200-2011."""

from __future__ import annotations

from . import IMAGENET, Recipe, Settings

BATCH = 64 * 24
"""64 GPUs with 24 images each (Section 4.1)."""
PROCESSED = 1_000_000_000
"""Images of pretraining, each counted as often as it is processed (Section 4.1)."""
KINETICS = 246_000
"""Labelled videos, "∼246k" (Section 5.1)."""
VIDEOS = 490_000_000
"""Videos of pretraining, each counted as often (Supplement 4.2)."""
CUB = 5994
"""Labelled images (Section 5.2)."""

SECTION = "paper, Section 4.1"
STUDENTS = {
    "r18": "resnet18",
    "r50": "resnet50",
    "rx50": "resnext50_32x4d",
    "rx101-4": "resnext101_32x4d",
    "rx101-8": "resnext101_32x8d",
    "rx101-16": "resnext101_32x16d",
}
UNLABELED = {"unlabeled": "YFCC-100M, or shards of your own pile"}
TAGGED = {"unlabeled": "IG-1B-Targeted there: a billion images with hashtags, or your own pile"}
TAGS = {"tags": "a label table of `reteach relabel hashtags`"}
TEACHER = {
    "teacher-run": "a softmax run of resnext101_32x32d (32x48d there), or another, on the labelled images"
}
COUNTS = {"frequencies": "images per class by hashtag: --counts of `reteach relabel hashtags`"}
ITSELF = {"teacher-run": "a softmax run of the same network on the labelled images"}


def _scaled(rate: float, batch: int) -> float:
    """A rate per 256 images, for another batch."""
    return round(rate / 256 * batch, 6)


FINETUNE = round(30 * IMAGENET / BATCH)


def _stages(pretrain: int) -> Settings:
    return {
        "steps": (pretrain + FINETUNE, f"{SECTION}: {pretrain:,} of pretraining and fine-tuning"),
        "finetune-steps": (FINETUNE, f"{SECTION}: 30 epochs"),
    }


def _images(model: str, processed: int = PROCESSED, **changed: tuple[object, str]) -> Settings:
    """A student on picks of the pile, as in Section 4.1."""
    settings: Settings = {
        "model": (model, SECTION),
        "per-class": (16_000, "paper, Section 4.1: K = 16k"),
        "top": (10, "paper, Section 4.1: P = 10"),
        "batch-size": (BATCH, f"{SECTION}: 64 × 24"),
        "lr": (_scaled(0.1, BATCH), f"{SECTION}: 0.1/256 × 1536, after a warm-up from 0.1"),
        "finetune-lr": (_scaled(0.00025, BATCH), f"{SECTION}: 0.00025/256 × 1536"),
        "weight-decay": (1e-4, SECTION),
        "precision": ("bf16", "ours, for speed"),
    }
    settings |= _stages(round(processed / BATCH))
    return settings | {name.replace("_", "-"): value for name, value in changed.items()}


def _video(depth: int, frames: int) -> Settings:
    batch = 2048 if frames == 8 else 1024
    rate = 4.8e-4 if frames == 8 else 9.6e-4
    tune = round(72 * KINETICS / batch)
    pretrain = round(VIDEOS / batch)
    return {
        "model": (f"r2plus1d_{depth}", "paper, Section 5.1"),
        "frames": (frames, "paper, Section 5.1"),
        "per-class": (4000, "paper, Section 5.1: K = 4k"),
        "top": (4, "paper, Section 5.1: P = 4"),
        "batch-size": (batch, "paper, Table 11"),
        "lr": (_scaled(0.064, batch), "paper, Table 11"),
        "weight-decay": (1e-4, "paper, Supplement 4.2"),
        "steps": (pretrain + tune, "paper, Supplement 4.2: 490M videos, and fine-tuning"),
        "finetune-steps": (
            tune,
            "paper, Table 12: 72 epochs, a drop every 18 (there every 16, after a warm-up of 16)",
        ),
        "finetune-lr": (_scaled(rate, batch), "paper, Table 12"),
        "precision": ("bf16", "ours, for speed"),
    }


def _supervised(depth: int, frames: int) -> Settings:
    batch, rate = (2048, 0.16) if frames == 8 else (1024, 0.32)
    return {
        "model": (f"r2plus1d_{depth}", "paper, Table 12"),
        "frames": (frames, "paper, Table 12"),
        "batch-size": (batch, "paper, Table 11"),
        "lr": (_scaled(rate, batch), "paper, Table 12"),
        "epochs": (180, "paper, Table 12"),
        "warmup": (40 / 180, "paper, Table 12: 40 epochs"),
        "schedule": ("multistep", "paper, Table 12: three by 0.1"),
        "milestones": (
            (80 / 180, 120 / 180, 160 / 180),
            "paper, Table 12: [40] × 3, as we read it after 80, 120 and 160 epochs",
        ),
        "weight-decay": (1e-4, "paper, Supplement 4.2"),
        "precision": ("bf16", "ours, for speed"),
    }


WEAK_K = (64_000, "paper, Section 4.4: K = 64k")
HALF_K = (8000, "paper, Section 4.4: 8 million images")


def _twice(model: str) -> Settings:
    """Two rounds, each as long as one."""
    once = _images(model)
    steps = (2 * once["steps"][0], "paper, Section 4.2: a second round, as long as the first")  # type: ignore[operator]
    return once | {"steps": steps, "rounds": (2, "paper, Section 4.2: a second round")}


def _weakly(model: str, processed: int = PROCESSED) -> Settings:
    """A teacher of hashtags, fine-tuned on ImageNet, and its student, in one run."""
    settings = _images(model, processed, per_class=WEAK_K)
    weak = round(PROCESSED / BATCH)
    more: Settings = {
        "teacher": ("resnext101_32x32d", "ours; the paper's, Section 4.4, is 32x48d"),
        "weak-steps": (
            weak,
            "ours, as many as the pretraining of Section 4.1; the paper is silent",
        ),
        "teacher-steps": (FINETUNE, "ours, as the student's fine-tuning; the paper is silent"),
    }
    steps = weak + FINETUNE + round(processed / BATCH) + FINETUNE
    source = f"paper, Sections 4.1 and 4.4: {processed // 10**9}B images for the student; and the teacher's"
    return settings | more | {"steps": (steps, source)}


def _ranked_or_not(kind: str) -> Settings:
    """One row of Table 5; tags alone have no P."""
    settings = _images("resnet50", per_class=HALF_K, selection=(kind, "paper, Table 5"))
    return {k: v for k, v in settings.items() if (k, kind) != ("top", "balanced-with-tags")}


RECIPES: dict[str, Recipe] = (
    {
        f"semi-{short}": Recipe(
            "train semi", IMAGENET, _images(model), "Tables 2, 3 and 10", UNLABELED | TEACHER
        )
        for short, model in STUDENTS.items()
    }
    | {
        f"self-{short}": Recipe(
            "train semi", IMAGENET, _images(model), "Table 4", UNLABELED | ITSELF
        )
        for short, model in STUDENTS.items()
    }
    | {
        f"self-{short}-twice": Recipe(
            "train semi", IMAGENET, _twice(STUDENTS[short]), "Section 4.2", UNLABELED | ITSELF
        )
        for short in ("r50", "rx101-16")
    }
    | {
        f"semi-r50-{kind}": Recipe(
            "train semi",
            IMAGENET,
            _ranked_or_not(kind),
            "Table 5",
            TAGGED | needs,
        )
        for kind, needs in (
            ("balanced-ranked", TEACHER),
            ("unbalanced-ranked", TEACHER | COUNTS),
            ("balanced-with-tags", TAGS),
        )
    }
    | {
        f"semi-weakly-{short}": Recipe(
            "train semi", IMAGENET, _weakly(STUDENTS[short]), "Table 6", TAGGED | TAGS
        )
        for short in ("r50", "rx101-4", "rx101-8", "rx101-16")
    }
    | {
        "semi-weakly-r50-2b": Recipe(
            "train semi", IMAGENET, _weakly("resnet50", 2 * PROCESSED), "Table 6, †", TAGGED | TAGS
        )
    }
    | {
        f"video-{depth}-{frames}": Recipe(
            "train semi",
            KINETICS,
            _video(depth, frames),
            "Tables 7, 11 and 12",
            {
                "unlabeled": "a folder of videos",
                "teacher-run": "a weakly supervised run of r2plus1d_34 of 32 frames (train semi --selection "
                "balanced-with-tags)",
            },
        )
        for depth, frames in ((18, 8), (18, 32), (34, 8))
    }
    | {
        f"video-supervised-{depth}-{frames}": Recipe(
            "train softmax", KINETICS, _supervised(depth, frames), "Tables 7 and 12"
        )
        for depth, frames in ((18, 8), (18, 32), (34, 8))
    }
    | {
        "cub-full-ft": Recipe(
            "transfer",
            CUB,
            {
                "mode": ("full-ft", "paper, Section 5.2"),
                "epochs": (300, "paper, Table 13"),
                "batch-size": (768, "paper, Table 13"),
                "lr": (_scaled(0.0025, 768), "paper, Table 13"),
                "schedule": ("multistep", "paper, Table 13"),
                "milestones": (
                    (100 / 300, 200 / 300),
                    "paper, Table 13: [100] × 3, as we read it after 100 and 200 epochs; the last is the end",
                ),
                "weight-decay": (1e-3, "paper, Table 13"),
            },
            "Tables 8 and 13",
            {"": "a run of semi or softmax on ImageNet"},
        ),
        "cub-fc-only": Recipe(
            "transfer",
            CUB,
            {"mode": ("fc-only", "paper, Section 5.2")},
            "Table 8",
            {"": "a run of semi or softmax on ImageNet"},
        ),
    }
)  # fmt: skip
"""By name. Table 9 is semi-r50 with --top 1, 3, 5 and 10; Figure 3 with a part of the pile and --per-class
in proportion; Figure 4 with other --steps; Figure 5 with other --per-class."""
