"""Every setting of a training, with its help text. Light to import: no torch here.

Each group is a frozen dataclass; the command line and the YAML files are made from them, and a run
folder keeps them whole in ``config.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Data:
    """Images and labels."""

    images: str | None = None
    """A folder of class folders, a flat folder, an .npz file, tar shards ('s/{000..009}.tar'), or
    hf:NAME[:SPLIT] for a Hugging Face data set."""
    labels: Path | None = None
    """Label table (.csv or .parquet: item, labels). Without it, class folders give the labels."""
    val_images: str | None = None
    """Images to validate on; by default those of --images that --val-labels names."""
    val_labels: Path | None = None
    """Label table of the validation images, with one or several labels each."""
    val_fraction: float = 0.1
    """Share of the labelled images held out for validation where no --val-… is given; 0: none."""
    unlabeled: str | None = None
    """More images, without labels (mile, noisy-student)."""
    fraction: float = 1.0
    """Train on this share of each class's labelled images (0.01, 0.05, 0.1, 1 in MILe)."""
    rebalance: bool = False
    """Draw every class equally often, as MoPro and MILe do on WebVision."""
    on_error: Literal["report", "fail"] = "report"
    """Unreadable images: leave out and list in quarantine.csv, or stop at once."""
    cache: bool = False
    """Keep the decoded images in memory."""
    workers: int | None = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""


@dataclass(frozen=True)
class Model:
    """The network."""

    model: str = "resnet18"
    """Any architecture of timm, or reteach_tiny / reteach_small for small images."""
    image_size: int | None = None
    """Side of the square input in pixels; by default the model's own, or the arrays' size."""
    init: Path | None = None
    """Start from this weight file: timm's, or MoCo-v2, SimCLR, BYOL, SwAV (ResNet-50)."""
    pretrained: bool = False
    """Start from timm's published weights (downloaded)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the forward pass."""
    channels_last: bool = False
    """Store images channels-last; often faster for convolutions."""
    compile: bool = False
    """Use torch.compile."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True)
class Training:
    """Budget, optimiser and augmentation."""

    epochs: float = 10.0
    """Passes over the training images; both models of a method count together."""
    steps: int | None = None
    """Number of batches (backward passes) instead of --epochs."""
    batch_size: int = 128
    """Images per step, over all processes."""
    accumulate: int = 1
    """Compute each batch in so many equal parts, to save memory."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """sgd has Nesterov momentum 0.9."""
    lr: float | None = None
    """Learning rate; by default 0.1 per 256 images for sgd, 0.001 for adam and adamw."""
    weight_decay: float | None = None
    """By default 0.0001 for sgd, 0 for adam, 0.05 for adamw."""
    schedule: Literal["cosine", "constant", "drops", "halvings"] = "cosine"
    """drops: 3 times by 0.1, equally spaced; halvings: 13 times by 0.5."""
    warmup: float = 0.0
    """Share of the steps in which the rate rises linearly."""
    head_lr_scale: float = 1.0
    """Multiplies the rate of the output layer (fine-tuning)."""
    clip: float | None = None
    """Largest gradient norm."""
    average: float | None = None
    """Decay of an exponential moving average of the weights, e.g. 0.999."""
    augment: Literal["auto", "crop", "crop-flip", "none"] = "auto"
    """crop: random resized crop + flip; crop-flip: shift by 4 pixels + flip, for small images; auto:
    crop for photos, none for arrays of small images."""
    randaugment: int = 0
    """Magnitude of RandAugment; 0: off."""
    cutout: float = 0.0
    """Side of the erased square as a share of the image; 0: off."""
    seed: int = 0
    """Of every random choice."""


@dataclass(frozen=True)
class Output:
    """Where the run goes."""

    out: Path | None = None
    """The run folder; by default runs/METHOD-NUMBER."""
    eval_every: int | None = None
    """Steps between validations; by default once per epoch, at most 50 in all."""
    snapshot_seconds: float = 30.0
    """How much work a crash may cost."""
    tensorboard: bool = False
    """Also write TensorBoard events."""
    wandb: str | None = None
    """Also log to this Weights & Biases project."""


@dataclass(frozen=True)
class Softmax:
    """Softmax cross-entropy, the usual baseline."""

    smoothing: float = 0.0
    """Label smoothing."""


@dataclass(frozen=True)
class Sigmoid:
    """One sigmoid per class with binary cross-entropy."""

    class_sum: bool = False
    """Sum the loss over the classes instead of averaging (C times the step size)."""
    prior_bias: bool = False
    """Start the output bias at the class frequencies."""
    smoothing: float = 0.0
    """Label smoothing."""


@dataclass(frozen=True)
class Elr:
    """Early-learning regularisation (Liu et al. 2020), against label noise."""

    beta: float = 0.7
    """How slowly the memory of predictions moves."""
    lam: float = 3.0
    """Weight of the regulariser."""


@dataclass(frozen=True)
class Mile:
    """Multi-label iterated learning (Rajeswar et al. 2022): label sets out of single labels."""

    k_t: int | None = None
    """Teacher steps per cycle (interaction); by default a 15th of all steps: ten cycles."""
    k_s: int | None = None
    """Student steps per cycle (imitation); by default half of k_t."""
    rho: float = 0.25
    """Threshold on the teacher's sigmoid for a pseudo-label."""
    student: Literal["algorithm1", "continuing"] = "algorithm1"
    """Algorithm 1, or the authors' code: one network runs on, its teacher is a frozen copy."""
    relabel: Literal["batch", "cycle"] = "batch"
    """Make pseudo-labels per batch, or once per cycle for all images."""
    lesson: Literal["threshold", "soft", "hard"] = "threshold"
    """What a teacher passes on; soft and hard are the softmax controls of Figure 5."""
    temperature: float = 1.0
    """Of the soft lesson."""
    union: bool = False
    """Add the given label to the pseudo-labels."""
    sample: bool = False
    """Draw pseudo-labels from the teacher's probabilities instead of the threshold."""
    class_sum: bool = False
    """Sum the loss over the classes instead of averaging (C times the step size)."""
    prior_bias: bool = False
    """Start the output bias at the class frequencies."""
    at_copy: Literal["keep", "copy", "reset"] = "keep"
    """The teacher's optimiser state when it takes over the student's weights."""
    judged: Literal["student", "teacher"] = "student"
    """Which of the two is the model."""


@dataclass(frozen=True)
class Distill:
    """A student learns from a frozen teacher."""

    target: Literal["soft", "hard", "threshold"] = "soft"
    """softmax + KL, argmax + cross-entropy, or the sigmoid thresholded at rho + BCE."""
    temperature: float = 1.0
    """Of the soft target."""
    rho: float = 0.25
    """Of the thresholded target."""
    teacher: Path | None = None
    """A finished run to learn from; by default a teacher is trained with half of the budget."""


@dataclass(frozen=True)
class NoisyStudent:
    """Noisy student (Xie et al. 2020): generations of teachers and noised students."""

    generations: int = 3
    """How many models one after the other, sharing the budget."""
    noise: int = 9
    """Magnitude of the students' RandAugment (RGB images); 0: none."""
    dropout: float = 0.2
    """Dropout before the students' output layer, where the architecture has it."""
    drop_path: float = 0.0
    """Stochastic depth of the students, where the architecture has it."""
    least: float = 0.001
    """Soft labels below this are dropped."""


@dataclass(frozen=True)
class Nct:
    """Noisy concurrent training (Sarfraz et al. 2021): two networks against label noise."""

    target_variability: float = 0.3
    """Share of labels that are changed at random at the end (r_max); more for noisier labels."""
    least_variability: float = 0.0
    """The same at the beginning (r_min)."""
    quiet_epochs: float = 1.0
    """Epochs before the share begins to rise (e_w)."""
    balancing: Literal["ramp", "constant"] = "ramp"
    """How the weight of the peer's predictions goes: rising to alpha, or alpha throughout."""
    alpha: float = 0.9
    """Largest weight of the peer's predictions; the labels have the rest."""
    beta: float = 0.65
    """How low that weight starts: exp(-beta) times alpha."""
    ramp: float = 0.9
    """Share of the epochs after which the weight is alpha."""
    temperature: float = 4.0
    """Of the softmax that the peers compare."""
    flip: Literal["other", "any"] = "other"
    """A changed label is another one, or may by chance be the same."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""
    peer_model: str | None = None
    """Architecture of the second network; by default that of the first."""


@dataclass(frozen=True)
class Dml:
    """Deep mutual learning (Zhang et al. 2018): two networks that imitate each other."""

    alpha: float = 0.5
    """Weight of the peer's predictions; the labels have the rest."""
    temperature: float = 1.0
    """Of the softmax that the peers compare."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class Variability:
    """Target variability alone: two separate networks, some labels changed at random for each."""

    target_variability: float = 0.3
    """Share of labels that are changed at random at the end."""
    least_variability: float = 0.0
    """The same at the beginning."""
    quiet_epochs: float = 1.0
    """Epochs before the share begins to rise."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class Ensemble:
    """Two networks trained independently, their logits averaged."""

    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


Method = (
    Softmax | Sigmoid | Elr | Mile | Distill | NoisyStudent | Nct | Dml | Variability | Ensemble
)

METHODS: dict[str, tuple[type[Method], str]] = {
    "softmax": (Softmax, "reteach.methods.supervised:train_softmax"),
    "sigmoid": (Sigmoid, "reteach.methods.supervised:train_sigmoid"),
    "elr": (Elr, "reteach.methods.elr:train"),
    "mile": (Mile, "reteach.methods.mile:train"),
    "distill": (Distill, "reteach.methods.distill:train"),
    "noisy-student": (NoisyStudent, "reteach.methods.noisy_student:train"),
    "nct": (Nct, "reteach.methods.nct:train"),
    "dml": (Dml, "reteach.methods.nct:train_dml"),
    "variability": (Variability, "reteach.methods.nct:train_variability"),
    "ensemble": (Ensemble, "reteach.methods.nct:train_ensemble"),
}
"""Each method's settings, and the function that trains it."""
