"""``reteach train`` and ``reteach resume``: from a configuration to a finished run folder."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..engine import distributed
from ..engine.collapse import Collapsed
from ..engine.log import Log, Sink, tensorboard, wandb
from ..engine.meeting import meet
from ..engine.mlflow import Mlflow
from ..engine.run import Run
from ..engine.setup import Setup
from ..errors import Interrupted, Refused, UserError
from ..files import atomic_write
from ..models import weights
from ..options.methods import METHODS, SemiOptions
from ..options.paths import with_copies
from ..options.shared import refuse_unused
from ..progress import note
from ..records.runs import RUN, RunRecord
from ..report import run_report
from ..unreadable import write_csv
from . import config as configs
from . import evaluate as finish
from .checkpoint import choose_device
from .checks import check_unlabeled
from .fine_tuning import fine_tuned
from .folder import how_far, open_run_folder, writing_run
from .inputs import Inputs, open_inputs
from .originals import Originals, originals_of
from .setup import load_recipe, make_setup
from .sizes import SMALL, sizes_of


def train(
    config: configs.Config, *, resumed: bool = False, moved: bool = False, forgiving: bool = False
) -> Path:
    """Train, or go on with, the run that the configuration describes; returns its folder.

    Args:
        resumed: its folder was named, and it is there.
        moved: its images may be elsewhere than they were; they must be the same.
        forgiving: go on without the images that have vanished since it began.
    """
    method = METHODS[config.method]
    assert isinstance(config.settings, method.settings)
    check_unlabeled(config.method, config.data)
    device = choose_device(config.model.device)
    group = distributed.group(device, lambda: how_far(config.output.out))
    with group, writing_run(config, resumed) as folder:
        config = open_run_folder(config, folder, moved)
        originals = distributed.of_first(lambda: originals_of(folder, forgiving))
        if moved and not originals.before:
            raise UserError(f"{folder} kept nothing of its images to know them by: --images stays")
        inputs = open_inputs(
            config.data,
            config.training.seed,
            originals,
            _only_picks(config.settings),
            _only_tagged(config.settings),
        )
        originals.hold_files(config.model)
        originals.hold_files(config.settings)
        distributed.Ranks().agree(originals.digests(), "give every process the same inputs")
        if distributed.rank() == 0:
            originals.keep()
            if moved:
                configs.save(config, folder / "config.yaml")
        return _train(config, folder, inputs, device, method.recipe, originals)


def resume(folder: Path, images: str | None = None, forgiving: bool = False) -> Path:
    """Go on with an interrupted run from its last snapshot.

    Args:
        images: where its images are now.
        forgiving: go on without the images that have vanished since it began.
    """
    met = meet(lambda: how_far(folder))
    load = partial(configs.load, folder / "config.yaml")
    config = load() if met is None else met.of_first(load)
    config = replace(config, output=replace(config.output, out=folder))
    if images is not None:
        config = replace(config, data=replace(config.data, images=images))
    config = replace(
        config,
        data=with_copies(config.data),
        model=with_copies(config.model),
        settings=with_copies(config.settings),
    )
    return train(config, resumed=True, moved=images is not None, forgiving=forgiving)


def _only_picks(settings: Any) -> Path | None:
    """The picks outside which no unlabelled image is needed; None: all of them are."""
    if not isinstance(settings, SemiOptions) or settings.picks is None or settings.rounds > 1:
        return None
    return (
        settings.picks if settings.picks.is_file() else None
    )  # whoever reads it says what is wrong


def _only_tagged(settings: Any) -> Path | None:
    """The tags without which no unlabelled image is needed; None: a model looks at all of them."""
    if not isinstance(settings, SemiOptions) or settings.selection != "balanced-with-tags":
        return None
    return None if settings.picks is not None else settings.tags


def _train(
    config: configs.Config,
    folder: Path,
    inputs: Inputs,
    device: torch.device,
    recipe: str,
    originals: Originals,
) -> Path:
    setup = make_setup(config, inputs, device, folder=folder)
    if starts_from_scratch_on_photos(config, setup):
        note(
            f"{config.model.model} starts from scratch; on photos, --pretrained --freeze (features of a "
            "pretrained network, in minutes) or --pretrained (all of it trained) is nearly always better"
        )
    if warning := originals.warning():
        setup.warn(warning)
    setup.broken.update(originals.gone)
    if setup.judge is None:
        refuse_unused(config.output, "without validation images", "eval_every")
        blind = () if METHODS[config.method].self_taught else ("on_collapse",)
        refuse_unused(config.training, "without validation images", "patience", *blind)
    if (init := config.model.init) and setup.backbone is None and distributed.rank() == 0:
        print(f"starting from {weights.load(setup.build(seed=0), init)}", file=sys.stderr)
    classes = inputs.train.classes
    if unseen := [classes[c] for c in np.flatnonzero(inputs.train.labels.counts() == 0)]:
        setup.warn(
            f"{len(unseen)} of {len(classes)} classes have no training image, first: "
            f"{unseen[0]!r}; what the model says of them means nothing: label some images of them, "
            "or leave them out of the table's classes"
        )
    sinks: list[Sink] = []
    if distributed.rank() == 0:
        write_csv(folder / "quarantine.csv", sorted(inputs.quarantine.items()))
        if config.output.tensorboard:
            sinks.append(tensorboard(folder / "tensorboard"))
        if config.output.wandb:
            sinks.append(wandb(config.output.wandb, folder, asdict(config)))
        if config.output.mlflow:
            sinks.append(Mlflow(config.output.mlflow, folder, asdict(config)))
    log = Log(folder / "metrics.jsonl", tuple(sinks))
    run = Run(folder, config.training.seed, log, config.output.snapshot_seconds)
    facts = RunRecord(
        reteach=__version__,
        method=config.method,
        classes=classes,
        n_train=len(inputs.train),
        n_val=len(inputs.val) if inputs.val else 0,
        n_unlabeled=len(inputs.unlabeled) if inputs.unlabeled else 0,
        n_quarantined=len(inputs.quarantine),
        device=device_name(device),
        processes=distributed.world(),
        steps=setup.total,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )

    def status(state: str, message: str = "", **more: Any) -> None:
        if distributed.rank() == 0:
            said = (*run.warnings, *setup.warnings)
            now = {"status": state, "message": message, "warnings": said, **more}
            if run.collapse is not None:
                now["collapse"] = run.collapse.message()
            derived: dict[str, float | None] = {**setup.derived}
            RUN.write(folder, replace(facts, **now, derived=derived or None))
            for sink in sinks:
                if isinstance(sink, Mlflow):
                    sink.told(state)

    finished = _finished(folder)
    status("running")
    start = time.monotonic()
    try:
        algorithm = load_recipe(recipe)(setup, config.settings, run)
        seconds = time.monotonic() - start
        for part in distributed.gather_objects(setup.broken):  # each read other images
            inputs.quarantine.update(part)
        if distributed.rank() == 0:
            write_csv(folder / "quarantine.csv", sorted(inputs.quarantine.items()))
        cost = finish.finish(config, folder, inputs, setup, algorithm, run.best(algorithm))
    except Collapsed as error:
        status("collapsed", str(error))
        if distributed.rank() == 0:
            run_report(folder)
        raise
    except (Interrupted, KeyboardInterrupt) as error:
        message = str(error) or "stopped at once: what came after the last snapshot is lost"
        with suppress(UserError):
            status("interrupted", message)
        raise Interrupted(f"{message}; go on with: reteach resume {folder}") from None
    except UserError as error:
        if finished is None or not isinstance(error, Refused):
            with suppress(UserError):  # on a full disk: the first error is the one to tell
                status("failed", str(error))
        elif distributed.rank() == 0:  # what was refused takes nothing away from what is there
            atomic_write(folder / RUN.name, finished)
        raise
    except Exception as error:  # whatever it is: nobody shall take the run for one that goes on
        with suppress(UserError):
            status("failed", " ".join(f"{type(error).__name__}: {error}".split())[:300])
        raise
    made = setup.total - run.spared
    rate = made * config.training.batch_size / max(seconds, 1e-9)
    left_out = len(inputs.quarantine)
    numbers: dict[str, Any] = {"seconds": seconds, "images_per_second": rate}
    numbers |= {} if cost is None else asdict(cost)
    status("finished", **numbers, steps=made, n_quarantined=left_out)
    if distributed.rank() == 0:
        run_report(folder)
        if left_out:
            item, reason = min(inputs.quarantine.items())
            print(
                f"left out: {left_out} of the images cannot be used, first: {item!r} ({reason}); "
                f"all are in {folder / 'quarantine.csv'}",
                file=sys.stderr,
            )
    return folder


def starts_from_scratch_on_photos(config: configs.Config, setup: Setup) -> bool:
    """Whether a fresh network is trained on photos, as opposed to small images, videos and features."""
    sizes = sizes_of(setup.train)
    return (
        not fine_tuned(config.model)
        and sizes is not None
        and sizes.small is None
        and sizes.shorter > SMALL
    )


def _finished(folder: Path) -> str | None:
    """The record of a run that has finished, None of any other."""
    try:
        record = RUN.read(folder)
        finished = record is not None and record.status == "finished"
        return (folder / RUN.name).read_text(encoding="utf-8") if finished else None
    except (OSError, UserError):
        return None


def device_name(device: torch.device) -> str:
    """The device as people know it."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
