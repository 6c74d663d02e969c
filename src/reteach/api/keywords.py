"""What each call may be given by keyword.

Made by .ci/write_api.py from the options of the commands; not to be edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Required, TypedDict

from .kinds import Augmentation, Images, Loss, Network, PathLike, TableLike


class DataKeywords(TypedDict, total=False):
    images: Images | None
    labels: TableLike | None
    kind: Literal["single", "multi", "soft"] | None
    classes: PathLike | Sequence[str] | None
    val_images: Images | None
    val_labels: TableLike | None
    val_empty: Literal["none", "unknown"]
    val_kind: Literal["single", "multi", "soft"] | None
    also_val: Sequence[str] | str
    val_fraction: float
    unlabeled: Images | None
    fraction: float
    rebalance: float
    balanced_epoch: int | None
    shuffle_shards: int | None
    on_error: Literal["report", "fail"]
    cache: bool
    resident: bool
    workers: int | None


class ModelKeywords(TypedDict, total=False):
    model: str
    network: Network | None
    image_size: int | None
    resize: Literal["square", "shorter"] | None
    frames: int | None
    init: PathLike | None
    pretrained: bool
    freeze: bool
    features_cache: PathLike | None
    probe_first: bool
    freeze_until: str | None
    batch_norm: Literal["auto", "keep", "update"]
    norm_over: Literal["all", "process"]
    shard_model: bool
    vectors: PathLike | None
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool
    device: str


class TrainingKeywords(TypedDict, total=False):
    epochs: float
    steps: int | None
    batch_size: int
    accumulate: int
    optimizer: Literal["sgd", "adam", "adamw"]
    nesterov: bool
    lr: float | None
    weight_decay: float | None
    schedule: Literal["cosine", "constant", "drop", "drops", "multistep", "halvings"]
    drop_at: float
    milestones: Sequence[float] | float
    warmup: float | None
    head_lr_scale: float | None
    layer_decay: float | None
    clip: float | None
    average: float | None
    augment: Literal["auto", "crop", "flip", "crop-flip", "none"]
    min_crop: float | None
    randaugment: int
    cutout: float
    mixup: float
    cutmix: float
    class_weights: str | None
    patience: int | None
    on_collapse: Literal["stop", "warn"]
    seed: int
    augmentation: Augmentation | None
    loss: Loss | None
    loss_targets: Literal["integer", "one-hot"] | None


class OutputKeywords(TypedDict, total=False):
    out: PathLike | None
    eval_every: int | None
    snapshot_seconds: float
    tensorboard: bool
    wandb: str | None
    mlflow: str | None


class TrainKeywords(DataKeywords, ModelKeywords, TrainingKeywords, OutputKeywords, total=False):
    smoothing: float
    class_sum: bool
    prior_bias: bool
    alpha: float
    gamma_neg: float
    gamma_pos: float
    shift: float
    focus_gradient: bool
    beta: float
    lam: float
    k_t: int | None
    k_s: int | None
    rho: Literal["mixture"] | float
    soft_sets: bool
    student: Literal["algorithm1", "continuing"] | str | None
    relabel: Literal["batch", "cycle"]
    targets: Literal["threshold", "soft", "hard"]
    temperature: float
    union: bool
    sample: bool
    at_copy: Literal["keep", "copy", "reset"]
    evaluated_model: Literal["student", "teacher"]
    expected: float | None
    estimates_lr: float
    negatives: float
    undecided: float
    rounds: int
    surprise: Literal["reject", "correct", "permanent"]
    share: float
    target: Literal["soft", "hard", "threshold"]
    teacher: PathLike | str | None
    teacher_predictor: str | None
    generations: int
    noise: int
    dropout: float
    drop_path: float
    least: float
    per_class: int | None
    top: int | None
    teacher_run: PathLike | None
    picks: PathLike | None
    selection: Literal["balanced-ranked", "unbalanced-ranked", "balanced-with-tags"]
    rank_by: Literal["score", "logit"]
    minimum: float | None
    frequencies: PathLike | None
    exclude: Sequence[PathLike] | PathLike
    tags: TableLike | None
    weak_steps: int
    teacher_steps: int | None
    finetune_steps: int | None
    finetune_lr: Sequence[float] | float
    pretrain_warmup: float
    target_variability: float
    least_variability: float
    quiet_epochs: float
    balancing: Literal["ramp", "constant"]
    ramp: float
    flip: Literal["other", "any"]
    predict: Literal["ensemble", "first", "second"]
    peer_model: str | None
    forget: float
    forget_epochs: float
    disagreement: float | None
    plain_share: float
    balance: float
    threshold: float
    sharpness: float
    unlabeled_weight: float
    unlabeled_epochs: float
    subsets: int
    sides: Literal["both", "co", "dis", "random", "two-random"]
    partition: PathLike | None
    partition_method: Literal["search", "spectral"]
    tau: float
    twins: bool
    teacher_images: Literal["all", "theirs"]
    teacher_share: float
    teacher_epochs: float | None
    imitation: Literal["sum", "mean", "kl"]
    imitation_weight: float
    parallel: int


class DemoKeywords(TypedDict, total=False):
    out: PathLike
    seeds: int
    steps: int
    processes: int | None


class DemoPhotosKeywords(TypedDict, total=False):
    out: PathLike
    seeds: int
    folds: int
    noise: float


class AdviseKeywords(TypedDict, total=False):
    images: Required[Images]
    labels: TableLike | None
    kind: Literal["single", "multi", "soft"] | None
    classes: PathLike | Sequence[str] | None
    val_images: Images | None
    val_labels: TableLike | None
    unlabeled: Images | None
    model: str | None
    probe_model: str | None
    sample: int
    folds: int | None
    steps: int | None
    mirror: Literal["auto", "yes", "no"]
    multi_label: Literal["auto", "yes", "no"]
    expected: float | None
    out: PathLike
    workers: int | None
    seed: int


class ResumeKeywords(TypedDict, total=False):
    images: Images | None
    quarantine_missing: bool


class EvaluateSettings(TypedDict, total=False):
    labels: TableLike | None
    kind: Literal["single", "multi", "soft"] | None
    original: TableLike | None
    empty: Literal["none", "unknown"] | None
    out: PathLike | None
    tta: Literal["flip"] | None
    batch_size: int
    workers: int | None
    device: str
    report: PathLike | None
    classes: PathLike | Sequence[str] | None
    exclude: PathLike | None
    results: tuple[PathLike, PathLike] | None
    verdicts: PathLike | None
    k: int
    ensemble: int


class EvaluateKeywords(EvaluateSettings, total=False):
    images: Images | None


class PredictSettings(TypedDict, total=False):
    out: PathLike
    threshold: float | None
    tuned: bool
    scores: PathLike | None
    top: int
    predictor: str | None
    tta: Literal["flip"] | None
    batch_size: int
    workers: int | None
    device: str


class PredictKeywords(PredictSettings, total=False):
    images: Required[Images]


class ExplainKeywords(TypedDict, total=False):
    images: Required[Images]
    classes: Required[Sequence[str] | str]
    labels: TableLike | None
    out: PathLike
    count: int
    map: Literal["auto", "gradient", "grad-cam", "attention"]
    batch_size: int
    workers: int | None
    device: str


class CalibrateKeywords(TypedDict, total=False):
    images: Images | None
    labels: TableLike | None
    folds: int
    scope: Literal["pooled", "classes"]
    prior_strength: float
    present: Literal["auto", "1", "2"]
    expected: float | None
    label_sets: TableLike | None
    half: Literal["count", "presence"]
    anyway: bool
    predictor: str | None
    report: PathLike | None
    batch_size: int
    workers: int | None
    device: str


class ExportKeywords(TypedDict, total=False):
    to: Required[Literal["timm", "onnx", "torch-export", "safetensors"]]
    out: PathLike | None
    predictor: str | None
    images: Images | None
    check: int


class ReportKeywords(TypedDict, total=False):
    out: PathLike | None


class TransferKeywords(DataKeywords, TrainingKeywords, OutputKeywords, total=False):
    mode: Literal["full-ft", "fc-only"]
    freeze: bool
    predictor: str | None
    folds: int
    device: str


class CompareKeywords(DataKeywords, ModelKeywords, TrainingKeywords, total=False):
    test_images: Images | None
    test_labels: TableLike | None
    test_original: TableLike | None
    clean: TableLike | None
    also_labels: Sequence[TableLike] | TableLike
    seeds: int
    set: Sequence[str] | str
    sweep: Sequence[str] | str
    early: bool
    out: PathLike | None
    processes: int | None


class NoiseKeywords(TypedDict, total=False):
    labels: Required[TableLike]
    out: Required[PathLike]
    kind: Literal["symmetric", "symmetric-keep", "pair", "matrix", "instance"] | None
    rate: float | None
    matrix: PathLike | None
    scores: PathLike | None
    images: Images | None
    seed: int
    classes: PathLike | Sequence[str] | None


class NoiseEstimateKeywords(TypedDict, total=False):
    labels: Required[TableLike]
    scores: Required[PathLike]
    out: Required[PathLike]
    classes: PathLike | Sequence[str] | None


class ProbeCompressionKeywords(TypedDict, total=False):
    images: Images | None
    labels: TableLike | None
    classes: int
    most: int
    epochs: int
    seeds: int
    predictor: str | None
    out: PathLike | None
    device: str


class ProposeKeywords(TypedDict, total=False):
    scores: Required[Sequence[PathLike] | PathLike]
    labels: Required[TableLike]
    out: Required[PathLike]
    per_item: float
    gold: TableLike | None
    recall: float
    classes: PathLike | Sequence[str] | None
    report: PathLike | None


class ConsensusKeywords(TypedDict, total=False):
    reassessed: PathLike | None
    out: PathLike
    scores: PathLike | None
    report: PathLike | None
    images: Images | None
    pictures: int
    unlabeled: PathLike | None
    labels: TableLike | None
    gold: TableLike | None
    classes: PathLike | Sequence[str] | None
    pending: Literal["keep", "drop"]
    wanted: int | None
    agree: int | None
    method: Literal["golden", "em", "mace", "glad", "crowdlab", "majority"] | None
    model_scores: PathLike | None
    trust_original: PathLike | None
    threshold: float | None
    precision: float | None
    recall: float | None
    ties: Literal["keep", "drop"]
    iterations: int
    smoothing: float
    seed: int


class TasksKeywords(TypedDict, total=False):
    proposals: PathLike | None
    predictions: Sequence[PathLike] | PathLike
    label_studio: PathLike | None
    labels: Sequence[TableLike] | TableLike
    out: str | None
    store: str | None
    hierarchy: PathLike | None
    limit: int
    raters: int | None
    agree: int | None
    gold: TableLike | None
    gold_rate: float
    names: PathLike | None
    examples: PathLike | None
    ratings: TableLike | None
    most: int | None
    seed: int


class RateKeywords(TypedDict, total=False):
    images: Images
    store: str | None
    raters: Sequence[str] | str
    host: str
    port: int
    public: str | None
    lease: float


class ExportAnswersKeywords(TypedDict, total=False):
    out: Required[PathLike]
    columns: Literal["reteach", "crowd-kit"] | None


class HashtagsKeywords(TypedDict, total=False):
    classes: Required[PathLike | Sequence[str]]
    names: PathLike | None
    out: PathLike
    counts: PathLike | None
    memory: int


class CleanSettings(ModelKeywords, TrainingKeywords, total=False):
    kind: Literal["single", "multi", "soft"] | None
    classes: PathLike | Sequence[str] | None
    method: str
    set: Sequence[str] | str
    judge: Literal["auto", "model", "all"]
    rule: Literal["auto", "agreement", "per-class", "confidence", "ratio", "posterior"]
    out: PathLike
    folder: PathLike | None
    report: PathLike | None
    pictures: int
    top: int
    truth: TableLike | None
    on_error: Literal["report", "fail"]
    cache: bool
    workers: int | None


class CleanKeywords(CleanSettings, total=False):
    images: Required[Images]
    labels: TableLike | None
    folds: int


class ReviewKeywords(TypedDict, total=False):
    images: Images | None
    labels: TableLike | None
    features: PathLike | None
    kind: Literal["single", "multi", "soft"] | None
    classes: PathLike | Sequence[str] | None
    out: PathLike | None
    store: str | None
    reviewers: Sequence[str] | str
    export: PathLike | None
    prepare: bool
    host: str
    port: int
    public: str | None
    browser: bool
    learn_after: int
    folds: int
    seed: int
    workers: int | None


class EmbedKeywords(TypedDict, total=False):
    images: Required[Images]
    out: PathLike
    model: str
    pretrained: bool
    init: PathLike | None
    image_size: int | None
    resize: Literal["square", "shorter"] | None
    views: int
    seed: int | None
    block: int | None
    batch_size: int | None
    backend: Literal["auto", "eager", "folded", "openvino", "onnx"]
    workers: int | None
    device: str
    ray: str | None
    embedders: int | None


class ScoreKeywords(TypedDict, total=False):
    images: Required[Images]
    out: PathLike
    top: int | None
    predictor: str | None
    tta: Literal["flip"] | None
    block: int | None
    batch_size: int
    workers: int | None
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool
    device: str
    ray: str | None
    scorers: int | None


class SelectKeywords(TypedDict, total=False):
    per_class: int | None
    out: PathLike
    top: int | None
    by: Literal["score", "logit", "random"]
    minimum: float | None
    frequencies: PathLike | None
    exclude: Sequence[PathLike] | PathLike
    classes: PathLike | Sequence[str] | None
    seed: int
    sample: float | None
    sample_seed: int
    part: bool
    incomplete: bool
    memory: int
    threads: int | None
    report: PathLike | None
    images: Images | None
    ranks: Sequence[int] | int
    shown: Sequence[str] | str


class PackKeywords(TypedDict, total=False):
    images: Required[Images]
    items: PathLike | None
    out: PathLike
    per_shard: int
    shuffle: bool


class DedupKeywords(TypedDict, total=False):
    images: Required[Images]
    against: str | None
    labels: TableLike | None
    against_labels: PathLike | None
    out: PathLike
    run_folder: PathLike | None
    model: str | None
    init: PathLike | None
    pretrained: bool
    image_size: int | None
    features: PathLike | None
    against_features: PathLike | None
    only_bytes: bool
    neighbours: int
    pairs: int
    part: str | None
    merge: Sequence[PathLike] | PathLike
    exclude: PathLike | None
    within: float | None
    first: int | None
    report: PathLike | None
    shown: int
    search: Literal["auto", "exact", "faiss"]
    recall: float
    memory: int
    batch_size: int
    workers: int | None
    device: str


class PartitionKeywords(TypedDict, total=False):
    labels: TableLike | None
    cooccurrence: PathLike | None
    subsets: str
    tau: float
    method: Literal["search", "spectral"]
    smallest: int | None
    seed: int
    out: PathLike
    report: PathLike | None


class ConvertKeywords(TypedDict, total=False):
    out: Required[PathLike]
    to: Literal[
        "labels",
        "coco",
        "voc",
        "cvat",
        "yolo",
        "label-studio",
        "fiftyone",
        "hf-folder",
        "hf-parquet",
        "cleanlab",
        "crowd-kit",
    ]
    split: str | None
    partition: PathLike | None
    first: int | None
    kind: Literal["single", "multi"] | None
    classes: PathLike | Sequence[str] | None
    drop_empty: bool
    images: PathLike | None
    label_column: str | None
    drop_issues: bool
    url_prefix: str | None
    prelabels: bool
