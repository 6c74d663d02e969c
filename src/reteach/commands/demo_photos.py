"""``reteach demo photos``: photos on which experts were unsure, from files to a page in minutes."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ..errors import UserError, missing_extra
from ..files import atomic_write, local, write_json
from ..locks import only_writer
from ..options.demo import PhotosOptions
from ..options.shared import PRETRAINED, Model
from ..progress import note, progress
from .lines import table_lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..analysis.expert_doubt import Probability, RuleFound, Spread
    from ..compare.expert_labels import ExpertPhotos, ExpertStudy
    from ..data.sources.base import Source
    from ..features.extractor import Extractor
    from ..labels import Rows
    from ..relabel.noise.clean import Rule
    from ..report.pages.expert_doubt import DoubtedPhoto

EXTRA = "demo-photos"
CLASSES = ("fine", "defect")
RULE: Rule = "ratio"
"""Of one model's scores: between the strict rules and the gentle one."""
PICTURES = 36
"""So many of the suspects, and of the most doubtful photos, are shown."""
CREDIT = (
    "Photos: ELPV dataset (Buerhop-Lutz et al. 2018; Deitsch et al. 2019, 2021), CC BY-NC-SA 4.0: name its "
    "authors, no commercial use, share alike. That holds for pages with these photos too."
)


@final
@dataclass(frozen=True)
class PhotosResult:
    """What the photos show.

    Args:
        report: the page.
        numbers: the JSON file of the results.
        photos: N.
        features: the feature table.
        labels: label table of the likelier classes.
        soft_labels: label table of the experts' probabilities.
        rule: the default one of cleaning.
        rules: what each rule found of the labels made wrong, in [0, 1].
        taught: hard, soft and partly wrong labels -> number -> its spread over the seeds.
        mean_scores: the same -> the mean score at each of the experts' probabilities.
        levels: these probabilities.
        unsure_among_doubted: share of photos on which experts were unsure among the most doubtful
            labels; beside
        unsure: the share among all.
        seeds: repetitions.
    """

    report: Path
    numbers: Path
    photos: int
    features: Path
    labels: Path
    soft_labels: Path
    rule: str
    rules: Mapping[str, RuleFound]
    taught: Mapping[str, Mapping[str, Spread]]
    mean_scores: Mapping[str, Sequence[Spread]]
    levels: Sequence[float]
    unsure_among_doubted: Spread
    unsure: float
    seeds: int
    credit: str = field(default=CREDIT)

    def lines(self) -> Iterator[str]:
        """The rules, what the labels teach, the experts' doubt; then files and what to do next."""
        from ..report.pages.expert_doubt import NUMBERS, share

        over = f"mean ± deviation over {self.seeds} seeds" if self.seeds > 1 else "one seed"
        titles = ("wrong labels found", "dropped, %", "precision, %", "recall, %", "F1, %")
        yield from table_lines(
            titles,
            [
                (
                    f"{rule}, the default" if rule == self.rule else rule,
                    *(_short(n, 100) for n in (f.dropped, f.precision, f.recall, f.f1)),
                )
                for rule, f in self.rules.items()
            ],
        )
        yield from table_lines(
            ("taught", *(title for title, _, _ in NUMBERS.values())),
            [
                (name, *(_short(found[k], scale, d) for k, (_, scale, d) in NUMBERS.items()))
                for name, found in self.taught.items()
            ],
        )
        yield from table_lines(
            ("mean score, experts say", *map(share, self.levels)),
            [(name, *(_short(s, 1, 2) for s in found)) for name, found in self.mean_scores.items()],
        )
        yield (
            f"experts were unsure of {100 * self.unsure_among_doubted.mean:.0f}% of the most doubtful "
            f"labels, and of {100 * self.unsure:.0f}% of all ({over}; held-out photos)"
        )
        yield self.credit
        yield f"report: {self.report}"
        yield f"numbers: {self.numbers}"
        yield f"next:   reteach compare softmax elr --images {self.features} --labels {self.labels}"


def demo_photos(options: PhotosOptions) -> PhotosResult:
    """Find wrong labels, and teach soft ones, on 2,624 photos of solar cells.

    Raises:
        UserError: a package is missing, or a folder that cannot be written to.
    """
    local(options.out, "--out")
    if importlib.util.find_spec("elpv_dataset") is None:
        raise missing_extra("reteach demo photos", "elpv-dataset", EXTRA)
    print(
        "2,624 photos of solar cells; experts gave each a probability of a defect: 0, 1/3, 2/3 or 1.\n"
        f"{CREDIT}",
        file=sys.stderr,
        flush=True,
    )
    eyes = _eyes()
    note("reading the photos")
    from elpv_dataset.utils import load_dataset

    images, probability, _ = load_dataset()
    return show_photos(options, images, probability, eyes, CREDIT)


def _eyes() -> Extractor:
    """The pretrained network.

    Raises:
        UserError: no weights, neither from the hub nor installed.
    """
    from ..models.packages import package_of
    from ..runs.features import of_network

    package = package_of(PRETRAINED)
    assert package is not None
    try:
        return of_network(PRETRAINED, None, True, None, "auto")
    except UserError:
        if package.path is None:
            raise missing_extra("reteach demo photos", package.name, EXTRA) from None
        raise


def show_photos(
    options: PhotosOptions,
    images: Sequence[NDArray[np.uint8]],
    probability: Probability,
    eyes: Extractor,
    credit: str,
    head: Model | None = None,
) -> PhotosResult:
    """The demo on any photos with the experts' probabilities of a defect.

    Args:
        images: N, (H, W) or (H, W, 3) uint8.
        probability: (N,) in [0, 1].
        eyes: the network whose features are taken.
        head: what learns on the features; by default a linear layer.

    Raises:
        UserError: a folder that cannot be written to or holds other photos, or probabilities without
            two classes.
    """
    with only_writer(options.out, worth="photos/*"):
        return _shown(options, images, probability, eyes, credit, head)


def _shown(
    options: PhotosOptions,
    images: Sequence[NDArray[np.uint8]],
    probability: Probability,
    eyes: Extractor,
    credit: str,
    head: Model | None,
) -> PhotosResult:
    from ..compare.expert_labels import expert_study
    from ..data.sources.base import open_source
    from ..features.embed import embed
    from ..processes import decoders

    folder = _written(options.out, images)
    table = options.out / "photos.features"
    embed(eyes, str(folder), table, workers=decoders(None)).listed.tell()
    pictures = open_source(folder)
    photos = _photos(open_source(table), pictures, probability)
    _write_tables(options.out, photos)
    study = expert_study(
        photos, folds=options.folds, seeds=options.seeds, noise=options.noise, model=head
    )
    result = _result(options, table, study, credit)
    write_json(result.numbers, _numbers(options, result, photos))
    _write_page(options, study, result, pictures)
    return result


def _written(out: Path, images: Sequence[NDArray[np.uint8]]) -> Path:
    """A folder of the photos as PNG files; what is there already is left as it is.

    Raises:
        UserError: cannot be written to, or holds other files.
    """
    from PIL import Image

    folder = out / "photos"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name another folder") from None
    names = [f"{number:04}.png" for number in range(1, len(images) + 1)]
    there = {file.name for file in folder.iterdir()}
    if odd := sorted(there - set(names)):
        raise UserError(f"{folder / odd[0]} is none of the demo's photos; name another --out")
    with progress("writing photos", len(images)) as on_progress:
        for number, (name, pixels) in enumerate(zip(names, images, strict=True)):
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG", compress_level=1)
            file = folder / name
            if name not in there or file.read_bytes() != content.getvalue():
                atomic_write(file, content.getvalue())
            on_progress(number + 1)
    return folder


def _photos(features: Source, pictures: Source, probability: Probability) -> ExpertPhotos:
    """The features under the experts' probabilities, copies of a photo in one group."""
    import numpy as np

    from ..compare.expert_labels import ExpertPhotos
    from ..duplicates.find import groups
    from ..item_index import rows_among

    rows = rows_among(features.items, pictures.items)
    order = np.argsort(np.array(pictures.items))  # the photos were named in order
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    group = groups(pictures, rows)
    return ExpertPhotos(features, group, np.asarray(probability, np.float64)[place[rows]], CLASSES)


def _write_tables(out: Path, photos: ExpertPhotos) -> None:
    """The experts' word as label tables, to go on with."""
    from ..tables import LabelTable, write_labels

    items = tuple(photos.source.items)
    for name, labels, what in (
        ("labels.csv", photos.hard(), "the likelier class"),
        ("soft_labels.csv", photos.soft(), "the experts' probabilities"),
    ):
        write_labels(out / name, LabelTable(items, labels, f"reteach demo photos: {what}"))


def _result(options: PhotosOptions, table: Path, study: ExpertStudy, credit: str) -> PhotosResult:
    from ..analysis.expert_doubt import is_sure, levels
    from ..compare.expert_labels import TAUGHT

    probability = study.photos.probability
    return PhotosResult(
        report=options.out / "report.html",
        numbers=options.out / "results.json",
        photos=len(probability),
        features=table,
        labels=options.out / "labels.csv",
        soft_labels=options.out / "soft_labels.csv",
        rule=RULE,
        rules=study.by_rule(),
        taught={name: study.spreads(name) for name in TAUGHT},
        mean_scores={name: study.mean_scores(name) for name in TAUGHT},
        levels=levels(probability),
        unsure_among_doubted=study.unsure_among_doubted(),
        unsure=float((~is_sure(probability)).mean()),
        seeds=options.seeds,
        credit=credit,
    )


def _numbers(options: PhotosOptions, result: PhotosResult, photos: ExpertPhotos) -> dict[str, Any]:
    """``results.json``: all but the files, and the settings."""
    from dataclasses import asdict

    files = ("report", "numbers", "features", "labels", "soft_labels")
    found = {name: value for name, value in asdict(result).items() if name not in files}
    copies = len(photos.group) - len(set(photos.group.tolist()))
    return found | {"folds": options.folds, "noise": options.noise, "copies": copies}


def _write_page(
    options: PhotosOptions, study: ExpertStudy, result: PhotosResult, pictures: Source
) -> None:
    import numpy as np

    from ..analysis.expert_doubt import reliability
    from ..compare.expert_labels import HARD, NOISY
    from ..relabel.noise.clean import ranked
    from ..report.pages.expert_doubt import ExpertPage, write_expert_page

    p, first = study.photos.probability, study.seeds[0]
    suspects = ranked(first.scores[NOISY], first.noisy.index, first.kept(RULE))
    hard = study.photos.hard().index
    nothing = np.zeros(len(p), np.bool_)
    doubted = study.doubted()
    page = ExpertPage(
        credit=result.credit,
        classes=CLASSES,
        levels=[(level, int((p == level).sum())) for level in result.levels],
        noise=options.noise,
        rule=result.rule,
        rules=result.rules,
        suspects=_cards(
            study, pictures, suspects, first.noisy.index, first.scores[NOISY], first.wrong
        ),
        doubted=_cards(study, pictures, doubted, hard, first.scores[HARD], nothing),
        unsure=result.unsure_among_doubted,
        looked_at=len(doubted),
        unsure_share=result.unsure,
        taught=result.taught,
        mean_scores=result.mean_scores,
        reliability={name: reliability(first.scores[name][:, 1], p) for name in result.taught},
        about=[
            ("seeds", str(options.seeds)),
            ("folds", str(options.folds)),
            ("features of", _backbone(study.photos.source)),
        ],
    )
    write_expert_page(result.report, page)


def _cards(
    study: ExpertStudy,
    pictures: Source,
    rows: Rows,
    given: Rows,
    scores: NDArray[np.float32],
    wrong: NDArray[np.bool_],
) -> list[DoubtedPhoto]:
    """The first photos of ``rows``."""
    from ..item_index import rows_among
    from ..report.pages.expert_doubt import DoubtedPhoto
    from ..runs.gallery import data_url

    chosen = rows[:PICTURES].tolist()
    names = [study.photos.source.items[at] for at in chosen]
    return [
        DoubtedPhoto(
            name,
            data_url(pictures.read(int(row))),
            CLASSES[int(given[at])],
            float(scores[at, 1]),
            float(study.photos.probability[at]),
            bool(wrong[at]),
        )
        for name, at, row in zip(names, chosen, rows_among(names, pictures.items), strict=True)
    ]


def _short(found: Spread, scale: float = 1, digits: int = 1) -> str:
    """85.0±0.2, so that tables fit 80 columns."""
    from ..report.pages.expert_doubt import spread

    return spread(found, scale, digits).replace(" ± ", "±")


def _backbone(source: Source) -> str:
    from ..data.sources.base import features_of

    return str((features_of(source) or {}).get("backbone"))
