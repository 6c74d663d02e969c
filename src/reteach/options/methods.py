"""Every method by name: its settings with their help texts, and the function that trains it.

Light to import: no torch here. The settings of data, network, budget and output, which all methods
share, are in :mod:`reteach.options.shared`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from ..errors import UserError
from ..progress import note
from ..recorded import recorded
from .conditions import NotWith, OnlyWith, TakenBy, changed, flag
from .paths import Exists
from .ranges import AtLeast, Checked, Positive, Within


@dataclass(frozen=True)
class SoftmaxOptions(Checked):
    """Softmax cross-entropy, the usual baseline."""

    smoothing: Annotated[float, Within(0, 1)] = 0.0
    """Label smoothing."""


@dataclass(frozen=True)
class SigmoidOptions(Checked):
    """One sigmoid per class with binary cross-entropy."""

    class_sum: bool = False
    """Sum the loss over the classes instead of averaging (C times the step size)."""
    prior_bias: bool = False
    """Start the output bias at the class frequencies."""
    smoothing: Annotated[float, Within(0, 1)] = 0.0
    """Label smoothing."""


@dataclass(frozen=True)
class MixupOptions(Checked):
    """Softmax on mixed images (Zhang et al. 2018): softmax --mixup, as a method to compare."""

    alpha: Annotated[float, Positive()] = 1.0
    """Images are mixed by shares from Beta(α, α); this is α: 1 for CIFAR in its paper, 32 in Arazo et al.
    against wrong labels."""


@dataclass(frozen=True)
class ElrOptions(Checked):
    """Early-learning regularisation (Liu et al. 2020), against label noise."""

    beta: Annotated[float, Within(0, 1)] = 0.7
    """How slowly the memory of predictions moves."""
    lam: Annotated[float, AtLeast(0)] = 3.0
    """Weight of the regulariser."""


@dataclass(frozen=True)
class MileOptions(Checked):
    """Multi-label iterated learning (Rajeswar et al. 2022): label sets out of single labels."""

    k_t: Annotated[int | None, AtLeast(1)] = None
    """Teacher steps per cycle (interaction); by default so many that whole cycles fill the budget: ten,
    or fewer where it is short."""
    k_s: Annotated[int | None, AtLeast(1)] = None
    """Student steps per cycle (imitation); by default about half of k_t, so that whole cycles fill it."""
    rho: Annotated[Literal["mixture"] | float, Within(0, 1, "()", but="mixture")] = 0.25
    """Threshold on the teacher's sigmoid for a pseudo-label; mixture: calibrate the teacher in each cycle
    and take what is more likely present than not."""
    soft_sets: bool = False
    """With --rho mixture: teach the probabilities of presence themselves."""
    student: Literal["algorithm1", "continuing"] = "algorithm1"
    """Algorithm 1, or the authors' code: one network runs on, its teacher is a frozen copy."""
    relabel: Literal["batch", "cycle"] = "batch"
    """Make pseudo-labels per batch, or once per cycle for all images."""
    targets: Literal["threshold", "soft", "hard"] = "threshold"
    """What a teacher passes on; soft and hard are the softmax controls of Figure 5."""
    temperature: Annotated[float, Positive()] = 1.0
    """Temperature of --targets soft."""
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
    evaluated_model: Literal["student", "teacher"] = "student"
    """Which of the two is the model."""


@dataclass(frozen=True)
class AnLsOptions(Checked):
    """What is not named is absent, with smoothed labels (Cole et al. 2021)."""

    smoothing: Annotated[float, Within(0, 0.5, "[)")] = 0.1
    """How far each label moves towards its opposite."""


@dataclass(frozen=True)
class WanOptions:
    """What is not named is absent, all of it together weighing as much as the label (Cole et al. 2021)."""


@dataclass(frozen=True)
class EprOptions(Checked):
    """Learn the named class, and how many there are per image (Cole et al. 2021)."""

    expected: Annotated[float | None, Positive()] = None
    """Classes per image; has to be given."""


@dataclass(frozen=True)
class RoleOptions(Checked):
    """Network and label estimates teach each other (Cole et al. 2021)."""

    expected: Annotated[float | None, Positive()] = None
    """Classes per image; has to be given."""
    estimates_lr: Annotated[float, Positive()] = 0.01
    """Rate of the label estimates (Adam)."""


@dataclass(frozen=True)
class EmAplOptions(Checked):
    """Undecided about what is not named, then pseudo-negatives (Zhou et al. 2022)."""

    alpha: Annotated[float, AtLeast(0)] = 0.1
    """Weight of the entropy of unknown labels."""
    beta: Annotated[float, AtLeast(0)] = 0.2
    """Weight of the pseudo-negatives."""
    negatives: Annotated[float, Within(0, 1)] = 0.9
    """Share of the unknown labels that become pseudo-negatives by the end."""
    undecided: Annotated[float, Within(0, 1)] = 0.5
    """Share of the training before the first of them."""
    rounds: Annotated[int, AtLeast(0)] = 5
    """In how many rounds they are made; 0: never (EM alone)."""


@dataclass(frozen=True)
class LargeLossOptions(Checked):
    """What is not named is absent, but for what surprises most (Kim et al. 2022)."""

    surprise: Literal["reject", "correct", "permanent"] = "reject"
    """The largest losses are left out, turned round, or turned round for good."""
    share: Annotated[float, Within(0, 1, "[)")] = 0.02
    """Share of all labels that are doubted at the end (permanent: that have been)."""


@dataclass(frozen=True)
class DistillOptions(Checked):
    """A student learns from a frozen teacher."""

    target: Literal["soft", "hard", "threshold"] = "soft"
    """softmax + KL, argmax + cross-entropy, or the sigmoid thresholded at rho + BCE."""
    temperature: Annotated[float, Positive()] = 1.0
    """Temperature of --target soft."""
    rho: Annotated[float, Within(0, 1, "()")] = 0.25
    """Threshold of --target threshold."""
    teacher: Annotated[Path | None, Exists("run folder")] = None
    """A finished run to learn from; by default a teacher is trained with half of the budget."""
    teacher_predictor: Annotated[str | None, OnlyWith("teacher")] = None
    """Which of that run's models; by default the first."""


@dataclass(frozen=True)
class NoisyStudentOptions(Checked):
    """Noisy student (Xie et al. 2020): generations of teachers and noised students."""

    generations: Annotated[int, AtLeast(1)] = 3
    """How many models one after the other, sharing the budget."""
    noise: Annotated[int, Within(0, 30)] = 9
    """Magnitude of the students' RandAugment, where --augment is crop; 0: none."""
    dropout: Annotated[float, Within(0, 1, "[)")] = 0.2
    """Dropout before the students' output layer, where the architecture has it."""
    drop_path: Annotated[float, Within(0, 1, "[)")] = 0.0
    """Stochastic depth of the students, where the architecture has it."""
    least: Annotated[float, Within(0, 1, "[)")] = 0.001
    """Soft labels below this are dropped."""


@dataclass(frozen=True)
class SemiOptions(Checked):
    """Billion-scale semi-supervised learning (Yalniz et al. 2019): teacher, picks, student, fine-tuning."""

    per_class: Annotated[int | None, AtLeast(1)] = None
    """K: unlabelled images picked for each class; by default as many as all picks together are 16% of the
    unlabelled images, the paper's ratio (16,000 of 100 million for 1,000 classes), but at least 10."""
    top: Annotated[int | None, AtLeast(1)] = None
    """P: how many classes of an image count; by default 10, or all where there are fewer."""
    student: str | None = None
    """Architecture of the student; by default --model."""
    teacher: str | None = None
    """Architecture of the teacher; by default that of the student: self-training."""
    teacher_run: Annotated[Path | None, Exists("run folder")] = None
    """A finished run whose model is the teacher: none is trained."""
    teacher_predictor: Annotated[str | None, OnlyWith("teacher_run")] = None
    """Which of that run's models, e.g. teacher; by default the first, of a run of semi its student."""
    picks: Annotated[Path | None, Exists()] = None
    """Picks that reteach select made: no teacher, no selection here."""
    selection: Literal["balanced-ranked", "unbalanced-ranked", "balanced-with-tags"] = (
        "balanced-ranked"
    )
    """K of each class by rank; sizes that follow --frequencies; or K at random among --tags."""
    rank_by: Literal["score", "logit"] = "score"
    """Rank by the softmax score or by the raw logit."""
    minimum: float | None = None
    """Lower scores are never picked."""
    frequencies: Annotated[Path | None, Exists("table of class frequencies")] = None
    """CSV with class, count, for unbalanced-ranked; by default those of the labelled images."""
    exclude: Annotated[tuple[Path, ...], Exists("item list")] = ()
    """Images never to pick, e.g. duplicates of test images: one or several .txt, .csv or .parquet files
    with item. A list of which no item is among the unlabelled images is an error."""
    tags: Annotated[Path | None, Exists()] = None
    """Weak labels of the unlabelled images, as reteach relabel hashtags writes them."""
    weak_steps: Annotated[int, AtLeast(0)] = 0
    """First pretrain the teacher on --tags for so many steps, then fine-tune it on the labels."""
    teacher_steps: Annotated[int | None, AtLeast(1)] = None
    """Steps in which the teacher learns from the labels; by default a fifth of the budget."""
    finetune_steps: Annotated[int | None, AtLeast(0)] = None
    """Steps of each fine-tuning; 0: none; by default a tenth of the budget for all. Pretraining has the
    rest of the budget."""
    finetune_lr: Annotated[tuple[float, ...], Positive()] = ()
    """Rate of fine-tuning; by default 1/400 of the highest (0.00025 per 256 images for sgd). Of several,
    that which is best on a held-out tenth of the labelled images."""
    pretrain_warmup: Annotated[float, Within(0, 1)] = 0.05
    """Share of the pretraining in which the rate rises from that for 256 images."""
    rounds: Annotated[int, AtLeast(1)] = 1
    """In a second round the student is the teacher."""


@dataclass(frozen=True)
class NctOptions(Checked):
    """Noisy concurrent training (Sarfraz et al. 2021): two networks against label noise."""

    target_variability: Annotated[float, Within(0, 1)] = 0.3
    """Share of labels that are changed at random at the end (r_max); more for noisier labels."""
    least_variability: Annotated[float, Within(0, 1)] = 0.0
    """The same at the beginning (r_min)."""
    quiet_epochs: Annotated[float, AtLeast(0)] = 1.0
    """Epochs before the share begins to rise (e_w)."""
    balancing: Literal["ramp", "constant"] = "ramp"
    """How the weight of the peer's predictions goes: rising to alpha, or alpha throughout."""
    alpha: Annotated[float, Within(0, 1)] = 0.9
    """Largest weight of the peer's predictions; the labels have the rest."""
    beta: Annotated[float, AtLeast(0)] = 0.65
    """How low that weight starts: exp(-beta) times alpha."""
    ramp: Annotated[float, Positive()] = 0.9
    """Share of the epochs after which the weight is alpha."""
    temperature: Annotated[float, Positive()] = 4.0
    """Temperature of the softmax that the peers compare."""
    flip: Literal["other", "any"] = "other"
    """A changed label is another one, or may by chance be the same."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""
    peer_model: str | None = None
    """Architecture of the second network; by default that of the first."""


@dataclass(frozen=True)
class DmlOptions(Checked):
    """Deep mutual learning (Zhang et al. 2018): two networks that imitate each other."""

    alpha: Annotated[float, Within(0, 1)] = 0.5
    """Weight of the peer's predictions; the labels have the rest."""
    temperature: Annotated[float, Positive()] = 1.0
    """Temperature of the softmax that the peers compare."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class VariabilityOptions(Checked):
    """Target variability alone: two separate networks, some labels changed at random for each."""

    target_variability: Annotated[float, Within(0, 1)] = 0.3
    """Share of labels that are changed at random at the end."""
    least_variability: Annotated[float, Within(0, 1)] = 0.0
    """The same at the beginning."""
    quiet_epochs: Annotated[float, AtLeast(0)] = 1.0
    """Epochs before the share begins to rise."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class EnsembleOptions:
    """Two networks trained independently, their logits averaged."""

    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class CoTeachingOptions(Checked):
    """Co-teaching (Han et al. 2018): two networks, each learns from what the other finds easy."""

    forget: Annotated[float, Within(0, 1, "[)")] = 0.2
    """Share of the images of a batch that are left out in the end: the share of wrong labels, as far as you
    know it."""
    forget_epochs: Annotated[float, AtLeast(0)] = 10.0
    """Epochs of each network over which the share rises from 0."""
    disagreement: Annotated[float | None, AtLeast(0)] = None
    """Epochs after which only images are learned from on which the networks disagree (co-teaching+, Yu et
    al. 2019, which takes 20 on CIFAR-10); by default never."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class MCorrectionOptions(Checked):
    """M-correction (Arazo et al. 2019): mixup, with labels corrected as far as their losses look wrong."""

    alpha: Annotated[float, Positive()] = 32.0
    """Images are mixed by shares from Beta(α, α); this is α."""
    plain_share: Annotated[float, Within(0, 1)] = 0.35
    """Share of the training before labels are corrected (105 of 300 epochs)."""
    balance: Annotated[float, AtLeast(0)] = 1.0
    """Weight of the term that keeps all classes predicted equally often."""


@dataclass(frozen=True)
class DivideMixOptions(Checked):
    """DivideMix (Li et al. 2020): two networks, doubted labels are guessed, as MixMatch learns."""

    threshold: Annotated[float, Within(0, 1)] = 0.5
    """Probability of being right above which a label is kept."""
    sharpness: Annotated[float, Positive()] = 0.5
    """Temperature of the sharpening of guesses; lower is sharper."""
    alpha: Annotated[float, Positive()] = 4.0
    """Images are mixed by shares from Beta(α, α); this is α."""
    unlabeled_weight: Annotated[float, AtLeast(0)] = 25.0
    """Weight of images whose label is not kept, in the end."""
    unlabeled_epochs: Annotated[float, Positive()] = 16.0
    """Epochs of each network over which that weight rises."""
    plain_share: Annotated[float, Within(0, 1)] = 0.033
    """Share of the training before labels are doubted (10 of 300 epochs)."""
    predict: Literal["ensemble", "first", "second"] = "ensemble"
    """What is the model: the mean of both networks' logits, or one network."""


@dataclass(frozen=True)
class AslOptions(Checked):
    """One sigmoid per class with the asymmetric loss (Ridnik et al. 2021)."""

    gamma_neg: Annotated[float, AtLeast(0)] = 4.0
    """How little easy negatives count; 2 for Q2L."""
    gamma_pos: Annotated[float, AtLeast(0)] = 0.0
    """The same for positives."""
    shift: Annotated[float, Within(0, 1, "[)")] = 0.05
    """Negatives below this probability count nothing; 0 for Q2L."""
    focus_gradient: bool = False
    """Let the gradient go through the focusing factors; by default they are held fixed, as in the code of
    ASL's and CPSD's authors."""
    prior_bias: bool = False
    """Start the output bias at the class frequencies."""


@dataclass(frozen=True)
class CpsdOptions(AslOptions):
    """Complementary parallel self-distillation (Xu et al. 2022): teachers of few classes each."""

    subsets: Annotated[int, AtLeast(0)] = 5
    """Subsets of the classes per side, each with a teacher; 1: self-distillation; 0: no teachers."""
    sides: Literal["both", "co", "dis", "random", "two-random"] = "both"
    """Partitions by co-occurrence and dis-occurrence, one of them, or random ones as controls."""
    partition: Annotated[Path | None, Exists("partition file")] = None
    """The subsets, a file of 'reteach partition', in place of --subsets and --tau."""
    partition_method: Literal["search", "spectral"] = "search"
    """Search for the smallest normalised cut, or spectral clustering alone (Eq. 2), whose subsets can be
    single classes."""
    tau: Annotated[float, Positive()] = 2.0
    """Smoothing of the affinities; 2 in the authors' code, 3 in the paper."""
    twins: bool = False
    """Train a subset that stands on both sides twice, from other weights: with --subsets 1 two whole
    teachers, a control."""
    teacher_images: Literal["all", "theirs"] = "all"
    """What a teacher sees: all images (the authors' code), or those with one of its classes (the paper's
    text)."""
    teacher_share: Annotated[float, Within(0, 1, "()"), NotWith("teacher_epochs")] = 0.5
    """Share of the budget that all teachers have together, each by the number of its images."""
    teacher_epochs: Annotated[float | None, Positive()] = None
    """Epochs of each teacher on its images (20 in the paper), in place of --teacher-share; the student has
    what they leave of the budget."""
    imitation: Literal["sum", "mean", "kl"] = "sum"
    """Squared error of the logits summed over the classes (Eq. 6 and the authors' code), its mean over
    them, or the KL divergence of the probabilities."""
    imitation_weight: Annotated[float, AtLeast(0)] = 1.0
    """Weight of the imitation beside the labels (1 in Eq. 7)."""
    temperature: Annotated[float, Positive()] = 1.0
    """Temperature of --imitation kl."""
    parallel: Annotated[int, AtLeast(1)] = 1
    """Teachers trained at a time, each in a process of its own; the result is the same. They share the
    images that one of them has decoded, in up to half of the free memory."""


@dataclass(frozen=True)
class Method:
    """What the command line, comparisons and run folders know of a method.

    Args:
        title: its name on a page, in the papers' spelling.
        settings: the dataclass of its own settings.
        recipe: "module:function" below ``reteach.methods`` that trains it: (setup, settings, run) ->
            algorithm.
        labels: what it can learn from: one label per image, label sets, or either.
        network: the setting that, where it is given, stands for --model.
        unlabeled: whether it also learns from images without labels.
        all_images: whether an epoch is a pass over these too.
        unknown: whether it leaves out classes of which it is unknown if an image has them.
        self_taught: whether it logs label sets that it teaches itself, by which a collapse is seen without
            validation images.
        networks: that share the steps, where ``head_loss`` is softmax or sigmoid.
        mixes: whether it learns from mixed images and targets (--mixup, --cutmix).
        weighs: whether its loss takes weights of the classes.
        own_loss: whether it can learn by a loss of the user's.
        head_loss: by which the rate and the weight decay of a linear layer are chosen: a common one, or the
            method's own; None: they are not chosen.
    """

    title: str
    settings: type[Any]
    recipe: str
    labels: Literal["one", "sets", "either"]
    network: str | None = None
    unlabeled: bool = False
    all_images: bool = False
    unknown: bool = False
    head_loss: Literal["softmax", "sigmoid", "own"] | None = None
    networks: int = 1
    mixes: bool = False
    weighs: bool = False
    self_taught: bool = False
    own_loss: bool = False

    @property
    def collapses(self) -> bool:
        """Whether it can end up saying that every class is present: it learns one sigmoid per class."""
        return self.labels != "one" or self.settings is DistillOptions

    @property
    def reads_shards(self) -> bool:
        """Whether it can read shards in turn; the teachers of cpsd share the images of a pass over all."""
        return self.settings is not CpsdOptions


METHODS: dict[str, Method] = {
    "softmax": Method(
        "Softmax",
        SoftmaxOptions,
        "supervised:train_softmax",
        "one",
        head_loss="softmax",
        mixes=True,
        weighs=True,
        own_loss=True,
    ),
    "sigmoid": Method(
        "Sigmoid",
        SigmoidOptions,
        "supervised:train_sigmoid",
        "either",
        unknown=True,
        head_loss="sigmoid",
        mixes=True,
        weighs=True,
        own_loss=True,
    ),
    "mixup": Method("Mixup", MixupOptions, "supervised:train_mixup", "one", head_loss="softmax"),
    "asl": Method("ASL", AslOptions, "supervised:train_asl", "sets", unknown=True, mixes=True),
    "elr": Method("ELR", ElrOptions, "elr:train", "one", head_loss="own"),
    "mile": Method(
        "MILe",
        MileOptions,
        "mile:train",
        "either",
        unlabeled=True,
        head_loss="sigmoid",
        networks=2,
        self_taught=True,
    ),
    "an-ls": Method("AN-LS", AnLsOptions, "assume_negative:train_smoothed", "either"),
    "wan": Method("WAN", WanOptions, "assume_negative:train_weak", "either"),
    "epr": Method("EPR", EprOptions, "expected_positive:train", "either"),
    "role": Method("ROLE", RoleOptions, "role:train", "either"),
    "em-apl": Method("EM + APL", EmAplOptions, "entropy_max:train", "either"),
    "large-loss": Method("Large loss", LargeLossOptions, "large_loss:train", "either"),
    "distill": Method(
        "Distillation", DistillOptions, "distill:train", "one", unlabeled=True, all_images=True
    ),
    "noisy-student": Method(
        "Noisy student",
        NoisyStudentOptions,
        "noisy_student:train",
        "one",
        unlabeled=True,
        head_loss="own",
    ),
    "semi": Method("semi", SemiOptions, "semi:train", "one", network="student", unlabeled=True),
    "nct": Method("NCT", NctOptions, "nct:train", "one", head_loss="own"),
    "dml": Method(
        "Deep mutual learning",
        DmlOptions,
        "nct:train_dml",
        "one",
        mixes=True,
        head_loss="own",
    ),
    "variability": Method(
        "Target variability alone",
        VariabilityOptions,
        "nct:train_variability",
        "one",
        head_loss="own",
    ),
    "ensemble": Method(
        "Two independent networks",
        EnsembleOptions,
        "nct:train_ensemble",
        "one",
        head_loss="softmax",
        networks=2,
        mixes=True,
    ),
    "co-teaching": Method(
        "Co-teaching",
        CoTeachingOptions,
        "co_teaching:train",
        "one",
        head_loss="softmax",
        networks=2,
    ),
    "m-correction": Method(
        "M-correction", MCorrectionOptions, "m_correction:train", "one", head_loss="softmax"
    ),
    "divide-mix": Method(
        "DivideMix",
        DivideMixOptions,
        "divide_mix:train",
        "one",
        head_loss="softmax",
        networks=2,
    ),
    "cpsd": Method("CPSD", CpsdOptions, "cpsd:train", "sets", unknown=True),
}
"""Every method by name."""

OWN = "reteach.methods"
"""The group of entry points by which other packages register methods."""


def add_registered() -> None:
    """Add the methods that installed packages register: entry points NAME = "module:object", of a Method.

    One that cannot be used is pointed out and left out: it must not keep anybody from using the others.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=OWN):
        try:
            method = entry.load()
        except Exception as error:  # a package of anybody's
            method = f"{type(error).__name__}: {error}"
        if wrong := _unusable(entry.name, method):
            note(f"the method {entry.name!r} ({entry.value}) cannot be used: {wrong}")
        else:
            METHODS[entry.name] = replace(method, recipe=f"{ABSOLUTE}{method.recipe}")


ABSOLUTE = "python:"
"""Begins a recipe of another package, whose module has its full name."""


def _unusable(name: str, method: object) -> str | None:
    if not isinstance(method, Method):
        return method if isinstance(method, str) else "it is no reteach.options.methods.Method"
    if name in METHODS:
        return "reteach has a method of this name"
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return "a name is of small letters, digits and hyphens"
    return None


add_registered()
for _name, _method in METHODS.items():
    recorded(f"{_name}-settings")(_method.settings)


def refuse_untaken(method: str, settings: Any) -> None:
    """Refuse shared settings that were changed although the method does not take them.

    Raises:
        UserError: names the flag and the methods that do.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for name in changed(settings):
        for mark in getattr(hints[name], "__metadata__", ()):
            if isinstance(mark, TakenBy) and not getattr(METHODS[method], mark.trait):
                able = [other for other, known in METHODS.items() if getattr(known, mark.trait)]
                few = len(able) < len(METHODS) / 2
                use = f", or use {', '.join(able[:-1])} or {able[-1]}" if few else ""
                raise UserError(f"{flag(name)} has no effect with {method}; leave it out{use}")


def method_title(name: str) -> str:
    """The name of a method on a page; one of another version is its own."""
    return METHODS[name].title if name in METHODS else name
