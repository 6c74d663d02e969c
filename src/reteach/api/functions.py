"""The commands as functions, with types.

Made by .ci/write_api.py from the options of the commands; not to be edited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from ..options.train import TrainOptions
from .calls import call, given, options_class, signed
from .model import TrainedModel, trained

if TYPE_CHECKING:
    from typing import Unpack

    from ..commands.advise import AdviseResult
    from ..commands.calibrate import CalibrateResult
    from ..commands.clean import CleanResult
    from ..commands.compared import CompareResult
    from ..commands.consensus import ConsensusResult
    from ..commands.consensus_classes import ClassConsensusResult
    from ..commands.convert import ConvertResult
    from ..commands.dedup import DedupResult
    from ..commands.demo_photos import PhotosResult
    from ..commands.embed import EmbedResult
    from ..commands.evaluate import RunEvaluation
    from ..commands.evaluate_scores import ScoreEvaluation
    from ..commands.explain import ExplainResult
    from ..commands.export import ExportResult
    from ..commands.export_model import ModelExportResult
    from ..commands.hashtags import HashtagsResult
    from ..commands.noise import NoiseResult
    from ..commands.noise_estimate import NoiseEstimate
    from ..commands.pack import PackResult
    from ..commands.partition import PartitionResult
    from ..commands.predict import PredictResult
    from ..commands.probe import CompressionResult
    from ..commands.propose import ProposeResult
    from ..commands.rate import RateResult
    from ..commands.report import ReportResult
    from ..commands.review import ReviewResult
    from ..commands.score import ScoreResult
    from ..commands.select import SelectResult
    from ..commands.tasks import TasksResult
    from ..commands.trained import TrainResult
    from ..commands.transfer import TransferResult
    from .keywords import (
        AdviseKeywords,
        CalibrateKeywords,
        CleanKeywords,
        CompareKeywords,
        ConsensusKeywords,
        ConvertKeywords,
        DedupKeywords,
        DemoKeywords,
        DemoPhotosKeywords,
        EmbedKeywords,
        EvaluateKeywords,
        ExplainKeywords,
        ExportAnswersKeywords,
        ExportKeywords,
        HashtagsKeywords,
        NoiseEstimateKeywords,
        NoiseKeywords,
        PackKeywords,
        PartitionKeywords,
        PredictKeywords,
        ProbeCompressionKeywords,
        ProposeKeywords,
        RateKeywords,
        ReportKeywords,
        ReviewKeywords,
        ScoreKeywords,
        SelectKeywords,
        TasksKeywords,
        TrainKeywords,
        TransferKeywords,
    )
    from .kinds import PathLike, TableLike


@signed(TrainOptions)
def train(method: str, **settings: Unpack[TrainKeywords]) -> TrainedModel:
    """Train a method on images; as ``reteach train METHOD``, whose flags are the keywords.

    Raises:
        UserError: an unknown method or setting, or inputs that do not fit each other.
    """
    return trained(method, cast("dict[str, object]", settings))


@signed(options_class("demo"))
def demo(**settings: Unpack[DemoKeywords]) -> CompareResult:
    """Softmax, sigmoid and MILe on pictures of four real digits that carry one label each.

    As ``reteach demo``, whose flags are the keywords.
    """
    return cast("CompareResult", call("demo", settings))


@signed(options_class("demo photos"))
def demo_photos(**settings: Unpack[DemoPhotosKeywords]) -> PhotosResult:
    """Photos of solar cells on which experts were unsure: wrong labels found, soft labels learned.

    As ``reteach demo photos``, whose flags are the keywords.
    """
    return cast("PhotosResult", call("demo photos", settings))


@signed(options_class("advise"))
def advise(**settings: Unpack[AdviseKeywords]) -> AdviseResult:
    """Look at a data set with a held-out model and say what to try first, and what that stands on.

    As ``reteach advise``, whose flags are the keywords.
    """
    return cast("AdviseResult", call("advise", settings))


@signed(options_class("evaluate"))
def evaluate(
    *of: PathLike, **settings: Unpack[EvaluateKeywords]
) -> RunEvaluation | ScoreEvaluation:
    """Judge a run's model on labelled images, or models by score tables on reassessed labels.

    As ``reteach evaluate``, whose flags are the keywords.
    """
    return cast("RunEvaluation | ScoreEvaluation", call("evaluate", {**settings, "of": of}))


@signed(options_class("predict"))
def predict(run_folder: PathLike, **settings: Unpack[PredictKeywords]) -> PredictResult:
    """Write a label table of what a run's model sees in images.

    As ``reteach predict``, whose flags are the keywords.
    """
    return cast("PredictResult", call("predict", {**settings, "run_folder": run_folder}))


@signed(options_class("explain"))
def explain(run_folder: PathLike, **settings: Unpack[ExplainKeywords]) -> ExplainResult:
    """Show where a run's models look for a class: class activation maps, side by side.

    As ``reteach explain``, whose flags are the keywords.
    """
    return cast("ExplainResult", call("explain", {**settings, "run_folder": run_folder}))


@signed(options_class("calibrate"))
def calibrate(run_folder: PathLike, **settings: Unpack[CalibrateKeywords]) -> CalibrateResult:
    """Make a run's scores probabilities of presence, without a single multi-label.

    As ``reteach calibrate``, whose flags are the keywords.
    """
    return cast("CalibrateResult", call("calibrate", {**settings, "run_folder": run_folder}))


@signed(options_class("export"))
def export(run_folder: PathLike, **settings: Unpack[ExportKeywords]) -> ModelExportResult:
    """Write a run's model for programs that do not know reteach, and hold it against the run on photos.

    As ``reteach export``, whose flags are the keywords.
    """
    return cast("ModelExportResult", call("export", {**settings, "run_folder": run_folder}))


@signed(options_class("report"))
def report(run_folder: PathLike, **settings: Unpack[ReportKeywords]) -> ReportResult:
    """Make the HTML page of a run or a comparison again.

    As ``reteach report``, whose flags are the keywords.
    """
    return cast("ReportResult", call("report", {**settings, "run_folder": run_folder}))


@signed(options_class("transfer"))
def transfer(
    run_folder: PathLike, **settings: Unpack[TransferKeywords]
) -> TrainResult | TransferResult:
    """See how well what a run has learned serves for other classes: fine-tuned, or with a new last layer.

    As ``reteach transfer``, whose flags are the keywords.
    """
    return cast(
        "TrainResult | TransferResult", call("transfer", {**settings, "run_folder": run_folder})
    )


@signed(options_class("compare"))
def compare(*methods: str, **settings: Unpack[CompareKeywords]) -> CompareResult:
    """Several methods under one budget of backward passes, with the same seeds and batches.

    As ``reteach compare``, whose flags are the keywords.
    """
    return cast("CompareResult", call("compare", {**settings, "methods": methods}))


@signed(options_class("noise"))
def noise(**settings: Unpack[NoiseKeywords]) -> NoiseResult:
    """Make some labels of a table wrong: the same number in every run, the same ones for a seed.

    As ``reteach noise``, whose flags are the keywords.
    """
    return cast("NoiseResult", call("noise", settings))


@signed(options_class("noise estimate"))
def noise_estimate(**settings: Unpack[NoiseEstimateKeywords]) -> NoiseEstimate:
    """Estimate the noise matrix behind given labels, from scores of models that did not see the items.

    As ``reteach noise estimate``, whose flags are the keywords.
    """
    return cast("NoiseEstimate", call("noise estimate", settings))


@signed(options_class("probe compression"))
def probe_compression(
    *run_folders: PathLike, **settings: Unpack[ProbeCompressionKeywords]
) -> CompressionResult:
    """How hard random labels are to fit on frozen features: the harder, the better compressed.

    As ``reteach probe compression``, whose flags are the keywords.
    """
    return cast(
        "CompressionResult", call("probe compression", {**settings, "run_folders": run_folders})
    )


@signed(options_class("relabel propose"))
def propose(**settings: Unpack[ProposeKeywords]) -> ProposeResult:
    """Collect the classes that raters are to be asked about, from the scores of several models.

    As ``reteach relabel propose``, whose flags are the keywords.
    """
    return cast("ProposeResult", call("relabel propose", settings))


@signed(options_class("relabel consensus"))
def consensus(
    ratings: TableLike | None = None, **settings: Unpack[ConsensusKeywords]
) -> ConsensusResult | ClassConsensusResult:
    """Turn raters' answers into labels.

    As ``reteach relabel consensus``, whose flags are the keywords.
    """
    return cast(
        "ConsensusResult | ClassConsensusResult",
        call("relabel consensus", given(settings, ratings=ratings)),
    )


@signed(options_class("relabel tasks"))
def tasks(**settings: Unpack[TasksKeywords]) -> TasksResult:
    """Make a rating store: tasks for raters, from proposals or from models' mistakes.

    As ``reteach relabel tasks``, whose flags are the keywords.
    """
    return cast("TasksResult", call("relabel tasks", settings))


@signed(options_class("rate"))
def rate(ratings: TableLike | None = None, **settings: Unpack[RateKeywords]) -> RateResult:
    """Serve the rating pages, until Ctrl-C.

    As ``reteach rate``, whose flags are the keywords.
    """
    return cast("RateResult", call("rate", given(settings, ratings=ratings)))


@signed(options_class("relabel export"))
def export_answers(ratings: TableLike, **settings: Unpack[ExportAnswersKeywords]) -> ExportResult:
    """Write the answers in a rating store for other programs.

    As ``reteach relabel export``, whose flags are the keywords.
    """
    return cast("ExportResult", call("relabel export", {**settings, "ratings": ratings}))


@signed(options_class("relabel hashtags"))
def hashtags(tags: TableLike, **settings: Unpack[HashtagsKeywords]) -> HashtagsResult:
    """Label images by the hashtags or search queries that name a class (weak supervision).

    As ``reteach relabel hashtags``, whose flags are the keywords.
    """
    return cast("HashtagsResult", call("relabel hashtags", {**settings, "tags": tags}))


@signed(options_class("relabel clean"))
def clean(**settings: Unpack[CleanKeywords]) -> CleanResult:
    """Drop doubtful labels: train on K - 1 folds, predict the K-th, keep what the prediction confirms.

    As ``reteach relabel clean``, whose flags are the keywords.
    """
    return cast("CleanResult", call("relabel clean", settings))


@signed(options_class("review"))
def review(source: PathLike | None = None, **settings: Unpack[ReviewKeywords]) -> ReviewResult:
    """Look at doubtful labels on a page, mend them in bulk, and let heads learn again.

    As ``reteach review``, whose flags are the keywords.
    """
    return cast("ReviewResult", call("review", given(settings, source=source)))


@signed(options_class("embed"))
def embed(run_folder: PathLike | None = None, **settings: Unpack[EmbedKeywords]) -> EmbedResult:
    """Write the features of images as a table, shard by shard.

    As ``reteach embed``, whose flags are the keywords.
    """
    return cast("EmbedResult", call("embed", given(settings, run_folder=run_folder)))


@signed(options_class("score"))
def score(run_folder: PathLike, **settings: Unpack[ScoreKeywords]) -> ScoreResult:
    """Write the best classes of each of very many images as a score table, shard by shard.

    As ``reteach score``, whose flags are the keywords.
    """
    return cast("ScoreResult", call("score", {**settings, "run_folder": run_folder}))


@signed(options_class("select"))
def select(scores: PathLike, **settings: Unpack[SelectKeywords]) -> SelectResult:
    """Pick the images with the best scores for every class, out of a score table of any size.

    As ``reteach select``, whose flags are the keywords.
    """
    return cast("SelectResult", call("select", {**settings, "scores": scores}))


@signed(options_class("pack"))
def pack(**settings: Unpack[PackKeywords]) -> PackResult:
    """Copy images into tar shards of their own, so that a training opens nothing else.

    As ``reteach pack``, whose flags are the keywords.
    """
    return cast("PackResult", call("pack", settings))


@signed(options_class("dedup"))
def dedup(**settings: Unpack[DedupKeywords]) -> DedupResult:
    """Find images that stand in two sets, or twice in one: equal files, then equal-looking ones.

    As ``reteach dedup``, whose flags are the keywords.
    """
    return cast("DedupResult", call("dedup", settings))


@signed(options_class("partition"))
def partition(**settings: Unpack[PartitionKeywords]) -> PartitionResult:
    """Split the classes by which of them share images, and by which do not (CPSD).

    As ``reteach partition``, whose flags are the keywords.
    """
    return cast("PartitionResult", call("partition", settings))


@signed(options_class("convert"))
def convert(
    format: Literal[
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
        "nuswide",
        "celeba",
        "cifar",
        "cifar10n",
        "cifar100n",
        "clothing1m",
        "tiny-imagenet",
        "webvision",
        "real",
    ],
    source: PathLike,
    **settings: Unpack[ConvertKeywords],
) -> ConvertResult:
    """Turn annotations or label lists of another program into a label table, or a label table into theirs.

    As ``reteach convert``, whose flags are the keywords.
    """
    return cast("ConvertResult", call("convert", {**settings, "format": format, "source": source}))
