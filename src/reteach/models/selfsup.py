"""Where self-supervised checkpoints keep their ResNet: the key layouts in which they are published.

A layout is recognised by its keys, never by the name of the file. What belongs to pre-training alone
(projection heads, momentum twins, queues, prototypes, linear probes) is left out.

===============  =================================================================================
MoCo (v1, v2)    facebookresearch/moco: ``module.encoder_q.*``, the MLP in ``encoder_q.fc.0/2``
SwAV             facebookresearch/swav: ``module.*`` with ``projection_head`` and ``prototypes``;
                 Lightning Bolts puts the same under ``model.``
SimCLR v2        Separius/SimCLRv2-Pytorch, converted from TensorFlow: ``{"resnet", "head"}`` with
                 ``net.<stage>.blocks.<block>.net.<n>``; with selective kernels (sk1) for
                 :mod:`reteach.models.selective`
SimCLR           Lightning Bolts: ``encoder.*``, ``projection.*``
BYOL             yaox12/BYOL-PyTorch: ``{"online_backbone": ...}``, and its present code like
                 Lightning Bolts: ``online_network.encoder.*``
MMSelfSup        OpenMMLab's and solo-learn's models of all kinds: ``backbone.*``
===============  =================================================================================

Conversions that name their weights as torchvision does need no layout, since timm's ResNets use the
same names: SimCLR v1 (tonylins/simclr-converter) and DeepMind's BYOL (ajtejankar/byol-convert).
Nothing in such a file tells that SimCLR was trained on pixels in [0, 1] without normalisation; for
SimCLR v2 it is known, and set. Both conversions from TensorFlow pad strided layers a little
differently than the original did, which their authors measured to cost under a point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

_CHILDREN = {"0": "conv1", "1": "bn1"} | {str(n + 3): f"layer{n}" for n in (1, 2, 3, 4)}


def _children(key: str) -> str:
    """Names in ``nn.Sequential(*resnet.children())`` as torchvision's; those pass unchanged."""
    head, _, tail = key.partition(".")
    return f"{_CHILDREN.get(head, head)}.{tail}"


def _simclr_v2(key: str) -> str:
    """Names in the converted SimCLR-v2 ResNet as torchvision's: conv, norm + ReLU, conv, …"""
    if stem := re.fullmatch(r"net\.0\.(0|1\.0)\.(\w+)", key):
        return f"{'conv1' if stem[1] == '0' else 'bn1'}.{stem[2]}"
    if not (block := re.fullmatch(r"net\.([1-4])\.blocks\.(\d+)\.(.+)\.(\w+)", key)):
        return key
    stage, number, layer, tensor = block.groups()
    if layer in ("projection.shortcut", "projection.bn.0"):
        name = f"downsample.{0 if layer == 'projection.shortcut' else 1}"
    elif conv := re.fullmatch(r"net\.([024])", layer):
        name = f"conv{int(conv[1]) // 2 + 1}"
    elif norm := re.fullmatch(r"net\.([135])\.0", layer):
        name = f"bn{int(norm[1]) // 2 + 1}"
    else:
        return key
    return f"layer{stage}.{number}.{name}.{tensor}"


_SELECTIVE = {
    "projection.shortcut.2": "shortcut",
    "projection.bn.0": "shortcut_bn",
    "net.0": "conv1",
    "net.1.0": "bn1",
    "net.2.main_conv.0": "conv2.conv",
    "net.2.main_conv.1.0": "conv2.bn",
    "net.2.mixing_conv.0": "conv2.reduce",
    "net.2.mixing_conv.1.0": "conv2.reduce_bn",
    "net.2.mixing_conv.2": "conv2.select",
    "net.3": "conv3",
    "net.4.0": "bn3",
}
"""Layers of a block with selective kernels: in the conversion, and in :mod:`reteach.models.selective`."""


def _simclr_v2_selective(key: str) -> str:
    """Names in the converted SimCLR-v2 ResNet with selective kernels as those of ``resnet50_sk1``."""
    if stem := re.fullmatch(r"net\.0\.([024])\.(\w+)|net\.0\.([135])\.0\.(\w+)", key):
        number = int(stem[1] or stem[3])
        return f"stem.{number // 2 * 3 + number % 2}.{stem[2] or stem[4]}"
    block = re.fullmatch(r"net\.([1-4])\.blocks\.(\d+)\.(.+)\.(\w+)", key)
    if block is None or (layer := _SELECTIVE.get(block[3])) is None:
        return key
    return f"stages.{int(block[1]) - 1}.{block[2]}.{layer}.{block[4]}"


@final
@dataclass(frozen=True)
class CheckpointLayout:
    """Where a checkpoint keeps its backbone.

    Args:
        name: for messages.
        evidence: a regular expression that matches the start of a key in this layout alone.
        prefix: of the backbone's keys.
        aside: matches the start of the keys that belong to pre-training alone.
        group: the name of the dictionary in the file; None: any.
        rename: a key without its prefix -> torchvision's name.
        unit_range: it was trained on pixels in [0, 1] without normalisation.
        hint: ends the message when the backbone does not fit.
    """

    name: str
    evidence: str
    prefix: str = ""
    aside: str = "(?!)"
    group: str | None = None
    rename: Callable[[str], str] = _children
    unit_range: bool = False
    hint: str = "; such a file is for the architecture that it was trained as, mostly resnet50"

    def place(self, key: str) -> str | None:
        """torchvision's name of a key of the network; "" to leave it out; None if unknown."""
        if re.match(self.aside, key):
            return ""
        return self.rename(key.removeprefix(self.prefix)) if key.startswith(self.prefix) else None


LAYOUTS = (
    CheckpointLayout(
        "MoCo",
        r"encoder_q\.conv1\.",
        prefix="encoder_q.",
        aside=r"encoder_k\.|queue",
    ),
    CheckpointLayout(
        "SwAV",
        r"(projection_head|prototypes)\.",
        aside=r"projection_head\.|prototypes\.",
    ),
    CheckpointLayout(
        "SwAV (Lightning Bolts)",
        r"model\.(projection_head|prototypes)\.",
        prefix="model.",
        aside=r"model\.(projection_head|prototypes)\.",
    ),
    CheckpointLayout(
        "SimCLR v2, sk1",
        r"net\.0\.2\.weight",
        group="resnet",
        rename=_simclr_v2_selective,
        unit_range=True,
        hint="; with selective kernels resnet50_sk1 takes r50_1x_sk1, resnet50x2_sk1 takes r50_2x_sk1",
    ),
    CheckpointLayout(
        "SimCLR v2",
        r"net\.0\.0\.weight",
        group="resnet",
        rename=_simclr_v2,
        unit_range=True,
        hint="; timm's resnet50 takes the file r50_1x_sk0 (wider networks without selective kernels have no "
        "counterpart)",
    ),
    CheckpointLayout(
        "SimCLR (Lightning Bolts)",
        r"encoder\.conv1\.",
        prefix="encoder.",
        aside=r"projection\.|projector\.|non_linear_evaluator\.",
    ),
    CheckpointLayout(
        "BYOL",
        r"conv1\.weight",
        group="online_backbone",
    ),
    CheckpointLayout(
        "BYOL (online_network)",
        r"online_network\.encoder\.",
        prefix="online_network.encoder.",
        aside=r"online_network\.(?!encoder)|target_network\.|predictor\.",
    ),
    CheckpointLayout(
        "MMSelfSup or solo-learn",
        r"backbone\.conv1\.",
        prefix="backbone.",
        aside=r"(online_net|target_net|encoder_[qk]|momentum_\w+|projector|predictor|prototypes"
        r"|neck|head|classifier)\.|queue",
    ),
)


def bare(key: str) -> str:
    """A key without what DistributedDataParallel and ``torch.compile`` put before it."""
    while key.startswith(("module.", "_orig_mod.")):
        key = key.partition(".")[2]
    return key


def detect(groups: Mapping[str, Iterable[str]]) -> tuple[CheckpointLayout, str] | None:
    """The layout of a file and the group that holds the backbone, or None.

    Args:
        groups: the bare keys of each dictionary in the file.
    """
    for layout in LAYOUTS:
        for group, keys in groups.items():
            if layout.group in (None, group) and any(re.match(layout.evidence, k) for k in keys):
                return layout, group
    return None
