"""What to try first: a table of rules about :mod:`.facts`, which stand on measured results.

A rule names the finding it stands on and the page and section of ``docs/`` where that was measured. Where
nothing was measured there is no rule, and :func:`gaps` says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from ..duplicates.neighbours import EXACT_BELOW
from ..duplicates.thumbnails import ALIKE
from .facts import Facts


@final
@dataclass(frozen=True)
class Rule:
    """Advice under a condition.

    Args:
        when: of the facts.
        command: words of the command; ``{data}``, ``{images}``, ``{val}``, ``{unlabelled}`` and ``{r}`` stand
            for what the user gave or was measured; ``{network}`` for the network and how long it is trained,
            ``{model}`` for it alone, ``{pair}`` and ``{folds}`` for two networks and for those of folds.
        then: the commands after it, likewise.
        finding: the measured result.
        page, section: where in ``docs/``; an empty section is the whole page.
    """

    name: str
    title: str
    when: Callable[[Facts], bool]
    command: str
    finding: str
    page: str
    section: str = ""
    then: tuple[str, ...] = ()


SEVERAL_FINDING = (
    "On street photos with one of their 5.6 tags each such sets have an F1 of 40.8 at 0.5; the most "
    "frequent tags for every photo have 35.9."
)
WHOLE_SIZE = 288
"""Side at which whole photos of several objects are seen: more than the 224 of the weights' training."""
FEW_SETS = "few.csv"
"""A table in a command, that the user has to make."""
SEVERAL_RUN = "runs/several"
_ALIKE = (
    "At this distance of grey thumbnails all 1,000 planted copies through JPEG 75 were found in five sets of "
    "images, and 25 of 71,353 other pictures (strokes of a 1) were wrongly taken for copies; crops and "
    "mirror images are not found."
)

RULES: tuple[Rule, ...] = (
    Rule(
        "tags",
        "A head on features of whole photos; the number of labels per image makes the sets",
        lambda f: f.features and f.perhaps_several,
        "train softmax {whole} --out {run}",
        SEVERAL_FINDING,
        "photos.md",
        "Measured: street photos, one tag each",
        (
            "calibrate {run} --folds 5 {number}",
            "predict {run} --images {more} --out labels.parquet",
        ),
    ),
    Rule(
        "mile",
        "MILe; then reteach calibrate --folds 5 on the run",
        lambda f: f.several and f.memorises and not f.features,
        "train mile {data} {model} --steps 1500 --schedule constant --k-t 100 --k-s 50 --rho 0.1",
        "On 1,500 memorised pictures MILe with these settings ranks better than sigmoid (mAP 80.9 against "
        "73.9), and calibrated by five folds it reaches F1 68.9 at 0.5; sigmoid so reaches 51.6.",
        "results-single-positive.md",
        "1,500 memorised grids, all members",
    ),
    Rule(
        "calibrate",
        "One sigmoid per class; then reteach calibrate on the run",
        lambda f: f.several and not f.features,
        "train sigmoid {data} {network}",
        "On plentiful pictures of digits calibrated sigmoid comes within 0.5 points of the threshold that is "
        "tuned on label sets (F1 92.3, 87.2 and 88.7 in three arenas), 22 points over MILe.",
        "results-single-positive.md",
    ),
    Rule(
        "head",
        "ELR on features, ten passes and no more",
        lambda f: f.noisy(0.1) and f.features,
        "train elr {data} {model} --epochs 10",
        "With 40% of raters' labels wrong a linear head on features that ELR trains reaches 71.2, plain "
        "training 71.0, with 9% wrong 76.2 and 75.7, each at its own rate. With 40% wrong its scores are far "
        "better, too: ECE 3 beside 28 and mAP 80.7 beside 78.3.",
        "results-features.md",
        "CIFAR-10N, 5,000 photos",
    ),
    Rule(
        "suspects",
        "Look at the labels that held-out heads do not confirm",
        lambda f: f.noisy(0.01) and f.features,
        "relabel clean {table} --model linear --folds 5 --out clean.parquet",
        "Look at them, do not drop them: with 40% of raters' labels wrong, dropping what cleaning doubts "
        "cost a head on features 0.8 points. Labels looked up in the order of reteach review, ELR and the "
        "best of an unlabelled pile together gained 0.8 over as many labels at random, nothing dropped.",
        "results-pipeline.md",
        'CIFAR-10N "worse": 40% of the labels wrong',
    ),
    Rule(
        "augment",
        "Augment first: two networks under crop + flip",
        lambda f: f.noisy(0.1) and f.mirror and not f.features and not f.augmented,
        "train ensemble {data} {pair} --augment {augment}",
        "With half of the labels wrong at random the plain ensemble under crop + flip reaches 40.3, NCT "
        "without augmentation 36.0; with crop + flip NCT loses 3.7 points to it. Both underfit there and "
        "NCT's r_max was not tuned, so this does not show that augmentation alone decides: compare both.",
        "results-nct.md",
        "With crop + flip",
    ),
    Rule(
        "nct",
        "NCT: two networks that agree memorise less",
        lambda f: (
            f.noisy(0.1) and f.memorises and not f.mirror and not f.features and not f.augmented
        ),
        "train nct {data} {pair} --augment none --target-variability {r}",
        "Without augmentation, where plain training memorises, NCT's last epoch is 5 to 12 points better "
        "than the ensemble's.",
        "results-nct.md",
        "Where the sign turns",
    ),
    Rule(
        "clean",
        "Drop the labels that held-out models do not confirm",
        lambda f: f.noisy(0.2) and not f.features,
        "relabel clean {table} {folds} --folds 5 --out clean.parquet",
        "Where 40% of raters' labels are wrong, training on what the rule keeps gains 4.8 points (3.8 to "
        "5.7) over all labels.",
        "results-cleaning.md",
        "Does it help? 6,000 CIFAR-10 images with raters' labels",
    ),
    Rule(
        "confidence",
        "Drop a few labels, by the gentle rule",
        lambda f: f.noisy(0.01) and not f.noisy(0.2) and not f.features,
        "relabel clean {table} {folds} --folds 5 --rule confidence --out clean.parquet",
        "Where 9% are wrong the confidence rule gains 1.2 points (0.7 to 1.8); the agreement rule hurts.",
        "results-cleaning.md",
        "Does it help? 6,000 CIFAR-10 images with raters' labels",
    ),
    Rule(
        "asl",
        "The asymmetric loss; CPSD is not worth its price",
        lambda f: f.sets,
        "train asl {data} {network}",
        "On features of clothes CPSD loses 0.9 points of mAP to ASL where its teachers are counted in the "
        "price; uncounted it gains 0.9, and ten whole teachers 1.2. Sigmoid and ASL rank alike on features "
        "of street photos.",
        "results-cpsd.md",
        "In pairs, teachers charged and free",
    ),
    Rule(
        "semi",
        "A teacher picks from the unlabelled pile",
        lambda f: not f.sets and not f.several and f.unlabelled >= 10 * f.images,
        "train semi {data} {network} --unlabeled {unlabelled} --rebalance 1",
        "The teacher decides. A small student of a head on pretrained features was 5.7 points better than "
        "supervised training with as many steps; of a teacher of its own size 1.1 points worse. Where such a "
        "head can run, it is 22 points better than that student. Drawing classes equally often, fine-tuning "
        "adds 5.4 points.",
        "results-semi.md",
        "A strong teacher, a small student of pixels: the student wins",
    ),
    Rule(
        "weights",
        "Let rare classes weigh more, if all classes are to count alike",
        lambda f: f.features and not f.sets and not f.perhaps_several and f.imbalance >= 5,
        "train softmax {data} {model} --epochs 20 --class-weights balanced",
        "On features, with 500 images of the commonest class down to 5 of the rarest and as many test images "
        "of each, class weights gained 10.6 points of accuracy (10.3 to 10.8, five seeds), at an ECE of 4.6 "
        "in place of 13.1. For images to come that are as imbalanced it was not measured.",
        "results-features.md",
        "Mixup and class weights",
    ),
    Rule(
        "rebalance",
        "Draw every class equally often",
        lambda f: not f.features and not f.sets and not f.perhaps_several and f.imbalance >= 5,
        "train softmax {data} {network} --rebalance 1",
        "On long-tailed labels and balanced test images supervised training reached 43.7 to 44.9 with "
        "rebalancing and 40.6 to 43.3 without, on other seeds: no paired comparison.",
        "results-semi.md",
        "The same with labelled classes drawn equally often",
    ),
    Rule(
        "leak",
        "Take the validation images out of the training images",
        lambda f: f.across > 0,
        "dedup --images {images}{named} --against {val}{val_named} --only-bytes --exclude duplicates.txt "
        "--report duplicates.html",
        "Equal files are found without a model, also across sets. What they cost was not measured; a "
        "score on images that were learned from is no held-out score.",
        "results-scale.md",
        "Duplicates",
    ),
    Rule(
        "leak-unlabelled",
        "Take the validation images out of the unlabelled pile",
        lambda f: bool(f.leaked),
        f"dedup --images {{pile}} --against {{val}} --within {ALIKE} --exclude duplicates.txt "
        "--report duplicates.html",
        _ALIKE,
        "results-advise.md",
        "Changed copies",
    ),
    Rule(
        "conflict",
        "Look at the equal files that carry different labels",
        lambda f: f.conflicting > 0,
        "dedup --images {images}{named} --only-bytes --exclude duplicates.txt --report duplicates.html",
        "Two pairs of equal files with different labels, in Tiny ImageNet, are found without a model. One "
        "label of each such pair is wrong, or both are right.",
        "results-scale.md",
        "Duplicates",
    ),
    Rule(
        "leak-alike",
        "Look at the training images that look like validation images",
        lambda f: f.alike_across > 0,
        f"dedup --images {{images}}{{named}} --against {{val}}{{val_named}} --within {ALIKE} "
        "--exclude duplicates.txt --report duplicates.html",
        _ALIKE,
        "results-advise.md",
        "Changed copies",
    ),
    Rule(
        "conflict-alike",
        "Look at the pictures that look alike and carry different labels",
        lambda f: f.alike_conflicting > 0,
        f"dedup --images {{images}}{{named}} --within {ALIKE} --exclude duplicates.txt "
        "--report duplicates.html",
        _ALIKE,
        "results-advise.md",
        "Changed copies",
    ),
)
"""In order of what to try first."""
COPIES = ("leak", "leak-unlabelled", "conflict", "leak-alike", "conflict-alike")
MANY = 0.01
"""Share of the images from which copies come before what is said of the labels."""


def matching(facts: Facts) -> list[Rule]:
    """The rules whose condition holds, what to try first first.

    Labels before copies, unless these are more than :data:`MANY` of the images.
    """
    found = [rule for rule in RULES if rule.when(facts)]
    if (
        facts.leaked or 0
    ) + facts.across + facts.conflicting + facts.alike_across + facts.alike_conflicting > (
        MANY * facts.images
    ):
        found.sort(key=lambda rule: rule.name not in COPIES)
    return found


def doubt(facts: Facts) -> str | None:
    """What the user can tell by looking, and the scores cannot: are they wrong labels, or second classes?"""
    if facts.several and facts.features and facts.expected is None:
        return (
            "How many of the classes does an image hold? Give it with --expected; or write down all classes "
            "of 20 or more images, by hand or with reteach relabel tasks and rate, and give that table to "
            f"calibrate as --label-sets {FEW_SETS}."
        )
    if facts.told is not None or facts.per_image is not None or facts.sets:
        return None
    if facts.noise is None or facts.noisy(0.05):
        return (
            "From here wrong labels and second classes of an image look the same. If an image can hold "
            "several of the classes, give --multi-label yes: the advice is another then."
        )
    return (
        "Can an image hold several of the classes? The scores cannot tell. If it can, give --multi-label "
        "yes: the advice is another then; if not, --multi-label no."
    )


def gaps(facts: Facts, images: str) -> list[str]:
    """What is not known of these data, or not measured for their like.

    Args:
        images: as the user gave them, for a command.
    """
    found = []
    if facts.sets:
        found.append("How many labels are wrong: there is no estimate for label sets.")
    elif facts.per_image is None and facts.told is not False:
        found.append(
            "Labels per image: the held-out scores cannot tell present from absent classes."
        )
    if facts.several:
        found.append(
            "How many labels are wrong: another class of the image looks like a wrong label to the "
            "estimate, which is therefore not used."
        )
    elif facts.noise is None and not facts.sets:
        found.append(
            "How many labels are wrong: the held-out models contradict most labels even where they are "
            "surest. More --steps, or a better --probe-model, may tell."
        )
    elif facts.noise is not None and facts.noise.low <= 0.01 < facts.noise.high - 0.02:
        found.append(
            "Whether labels are wrong at all: a model this weak may be wrong about all that it doubts."
        )
    if facts.alike is None:
        found.append(
            f"Pictures that look alike: not looked for among more than {EXACT_BELOW:,} images. Do it with: "
            f"reteach dedup --images {shlex.quote(images)} --report duplicates.html"
        )
    if facts.weights > 10**6:
        found.append(f"Large networks: {facts.model} has more weights than any that was measured.")
    return found


@final
@dataclass(frozen=True)
class FeatureCommands:
    """Frozen features that commands take in place of photos.

    Args:
        folder: where the tables are.
        image_size: side of the pictures that the network sees; None: its own.
        whole: the table of the images is there and has all of them.
    """

    folder: str
    image_size: int | None
    whole: bool

    def table(self, which: str) -> str:
        """The folder of a table: of the images, the validation images or the unlabelled ones."""
        sampled = which == "photos" and not self.whole
        return f"{self.folder}/{'all' if sampled else which}.features"

    def command(self, images: str, which: str) -> str:
        """What makes a table, or goes on with it."""
        size = "" if self.image_size is None else f" --image-size {self.image_size}"
        q = shlex.quote
        return f"reteach embed --images {q(images)} --pretrained{size} --out {q(self.table(which))}"


@final
@dataclass(frozen=True)
class Given:
    """What the user gave, to be put into commands.

    Args:
        val_labelled: the validation images have labels, from a table or from class folders; without
            labels they are of no use to a training.
        frozen: trainings take features in place of the images.
        table, val_table: the label tables that came with the images themselves; ``labels`` and ``val_labels``
            may be others, made for features.
    """

    images: str
    labels: str | None
    val_images: str | None
    val_labels: str | None
    val_labelled: bool
    unlabeled: str | None
    model: str
    arrays: bool
    frozen: FeatureCommands | None = None
    table: str | None = None
    val_table: str | None = None

    def trained(self, images: str, which: str) -> str:
        """What a training takes: the images, or the table of their features."""
        return images if self.frozen is None else self.frozen.table(which)


def embed_commands(given: Given) -> list[str]:
    """What makes the feature tables that the commands take and that are not there yet."""
    if given.frozen is None:
        return []
    wanted = [] if given.frozen.whole else [(given.images, "photos")]
    if given.val_images and given.val_labelled:
        wanted.append((given.val_images, "val"))
    if given.unlabeled:
        wanted.append((given.unlabeled, "unlabeled"))
    return [given.frozen.command(images, which) for images, which in wanted]


def command(rule: Rule, facts: Facts, given: Given) -> str:
    """The rule's command with the user's own paths, quoted for a shell."""
    return _filled(rule.command, facts, given)


def further(rule: Rule, facts: Facts, given: Given) -> tuple[str, ...]:
    """The commands after it."""
    return tuple(_filled(text, facts, given) for text in rule.then)


def _whole(given: Given, data: str) -> str:
    """Whole photos under a frozen network; a table of features as it is."""
    q = shlex.quote
    held = "" if given.val_images or given.val_labels else " --val-fraction 0"
    if given.frozen is None:
        return f"{data} --model {q(given.model)}{held}"
    words = f"--images {q(given.images)}" + (f" --labels {q(given.labels)}" if given.labels else "")
    if given.val_images and given.val_labelled:
        words += f" --val-images {q(given.val_images)}"
    words += f" --val-labels {q(given.val_labels)}" if given.val_labels else ""
    side = given.frozen.image_size or WHOLE_SIZE
    return f"{words} --pretrained --freeze --resize square --image-size {side}{held}"


def _filled(text: str, facts: Facts, given: Given) -> str:
    q = shlex.quote
    table = f"--images {q(given.trained(given.images, 'photos'))}"
    table += f" --labels {q(given.labels)}" if given.labels else ""
    data = table
    if given.val_images and given.val_labelled:
        data += f" --val-images {q(given.trained(given.val_images, 'val'))}"
    data += f" --val-labels {q(given.val_labels)}" if given.val_labels else ""
    noise = facts.noise.value if facts.noise else 0.0
    model = f"--model {q(given.model)}" + (" --optimizer adam" if given.arrays else "")
    # on small images as it was measured: 30 passes of each of two networks, 20 of batches of 64 in folds
    network, pair, folds = (
        model + (more if given.arrays else "")
        for more in (
            " --epochs 30",
            " --epochs 60 --schedule constant",
            " --epochs 20 --batch-size 64",
        )
    )
    number = (
        f"--label-sets {FEW_SETS}" if facts.expected is None else f"--expected {facts.expected:g}"
    )
    return "reteach " + text.format(
        whole=_whole(given, data),
        run=SEVERAL_RUN,
        number=number,
        more=q(given.val_images or given.unlabeled or given.images),
        data=data,
        table=table,
        model=model,
        network=network,
        pair=pair,
        folds=folds,
        images=q(given.images),
        named=f" --labels {q(given.table)}" if given.table else "",
        val_named=f" --against-labels {q(given.val_table)}" if given.val_table else "",
        pile=q(given.unlabeled or ""),
        val=q(given.val_images or ""),
        unlabelled=q(given.trained(given.unlabeled or "", "unlabeled")),
        augment="crop-flip" if given.arrays else "crop",
        r=0.1 if noise < 0.1 else 0.3 if noise < 0.35 else 0.5,
    )


def plain_command(given: Given, facts: Facts) -> str:
    """Plain training: what everything else has to beat, and the advice where no rule speaks."""
    method = "sigmoid" if facts.sets or facts.several else "softmax"
    rule = Rule("plain", "", lambda _: True, f"train {method} {{data}} {{network}}", "", "")
    return command(rule, facts, given)
