"""A training from JPEG files, beside timm's own loop on the same network and the same batches of files.

timm's script (``train.py``) is not in its package; the loop here has its parts, in its order:
``create_dataset``, ``create_loader``, ``create_optimizer_v2``, ``create_scheduler_v2``, and per step forward,
loss, backward, optimizer and the average of the losses.
"""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks import image_input, pictures
from benchmarks.house import Contender, Contest, timed
from reteach.engine.learner import Learner
from reteach.engine.run import Run
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised
from reteach.models import zoo
from reteach.schedules import Constant

IMAGES, SIDE, MODEL = 64, 112, "resnet10t"
STEPS = IMAGES // image_input.BATCH


def contest(folder: Path) -> Contest:
    """A row."""
    files = pictures.write(folder / "photos", IMAGES, 500, 375)
    stream = image_input.stream(files, IMAGES, False, SIDE)
    model = zoo.create(MODEL, 4, image_size=SIDE, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    method = Supervised(Learner(model, optimizer, Constant(0.01)), softmax_xent, "softmax")

    def ours() -> None:
        Run.memory().train("train", method, stream, steps=STEPS)

    return Contest(
        f"an epoch of {IMAGES} JPEGs of 500 × 375 through {MODEL} at {SIDE} px: decoding, "
        "augmentation, steps",
        timed(ours),
        {"timm's loop": lambda: timm_loop(files)},
    )


def timm_loop(files: Path) -> Contender:
    """The parts of timm's ``train.py``."""
    import timm
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import AverageMeter

    loader = image_input.timm_loader(files, SIDE)
    model = timm.create_model(MODEL, num_classes=4).train()
    optimizer = create_optimizer_v2(model, "sgd", lr=0.01, momentum=0.9)
    schedule, _ = create_scheduler_v2(optimizer, num_epochs=100, updates_per_epoch=STEPS)
    loss_of = torch.nn.CrossEntropyLoss()

    def work() -> None:
        losses = AverageMeter()
        for number, (x, y) in enumerate(loader):
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.update(loss.item(), len(x))
            schedule.step_update(number, metric=losses.avg)

    return timed(work)
