"""Augmentation: a pure function of (image, seed), alone or in a batch, here or in another process."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pictures import picture
from reteach.data.loading.augment import CropFlip, Eval, Flip, Plain, Square, Then, Train
from reteach.errors import UserError

TRANSFORMS = [
    Plain(),
    Eval(12),
    Eval(10, resize=10),
    CropFlip(24),
    CropFlip(16, padding=2, mode="reflect"),
    CropFlip(24, padding=0),
    Train(16),
    Train(16, randaugment=9),
    Train(16, scale=(0.5, 0.9), flip=0.0, cutout=0.5),
    Train(16, randaugment=30, cutout=1.0),
    Square(12),
    Then(Square(16), Flip()),
    Then(Square(16), Flip(randaugment=9, cutout=0.3)),
    Then(Square(20), CropFlip(20)),
]


def tensor(height: int = 24, width: int = 24, seed: int = 0, channels: int = 3) -> Tensor:
    return torch.from_numpy(picture(height, width, seed)[..., :channels].copy()).permute(2, 0, 1)


def seeds(n: int, start: int = 0) -> np.ndarray:
    return np.random.default_rng(start).integers(0, 2**63, n)


def side(augment: Any) -> int:
    """Of what a transform gives; plain ones keep the 24 pixels of the images here."""
    return side(augment.first) if isinstance(augment, Then) else getattr(augment, "size", 24)


@pytest.mark.parametrize("augment", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_its_single_images(augment: Any, channels: int) -> None:
    images = torch.stack([tensor(seed=i, channels=channels) for i in range(20)])
    keys = seeds(20)
    batch = augment.batch(images, keys)
    assert batch.dtype == torch.uint8
    for i in range(20):
        single = augment(images[i], int(keys[i]))
        assert torch.equal(batch[i], single)
        assert single.shape == (
            channels,
            side(augment),
            side(augment),
        )
    # and the memory layout does not matter
    other = augment.batch(images.contiguous(memory_format=torch.channels_last), keys)
    assert torch.equal(batch, other)


@pytest.mark.parametrize("augment", TRANSFORMS, ids=repr)
def test_only_the_seed_counts(augment: Any) -> None:
    image = tensor()
    kept = image.clone()
    outcomes = []
    for state in range(3):
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        before = torch.get_rng_state(), random.getstate()
        outcomes.append(augment(image, 7))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
    assert torch.equal(outcomes[0], outcomes[1])
    assert torch.equal(outcomes[0], outcomes[2])
    assert torch.equal(image, kept)


@pytest.mark.parametrize(
    "augment", [t for t in TRANSFORMS if isinstance(t, CropFlip | Train)], ids=repr
)
def test_seeds_make_a_difference(augment: Any) -> None:
    outcomes = {augment(tensor(), int(seed)).numpy().tobytes() for seed in seeds(20)}
    few = isinstance(augment, CropFlip) and augment.padding == 0
    assert len(outcomes) >= (2 if few else 10)


def _digest(queue: Any) -> None:
    torch.set_num_threads(1)
    queue.put(_digests())


def _digests() -> list[str]:
    images = torch.stack([tensor(40, 50, seed=i) for i in range(4)])
    return [
        hashlib.sha256(t.batch(images, seeds(4)).contiguous().numpy().tobytes()).hexdigest()
        for t in TRANSFORMS
    ]


def test_the_same_pixels_in_a_spawned_process() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_digest, args=(queue,))
    process.start()
    theirs = queue.get(timeout=900)  # it imports PyTorch, also on a busy machine
    process.join()
    assert theirs == _digests()


SIZES = [(1, 1), (1, 40), (40, 1), (3, 5), (24, 200), (1, 3000), (500, 20)]


@pytest.mark.parametrize("augment", TRANSFORMS[1:], ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size(augment: Any, channels: int) -> None:
    for height, width in SIZES:
        for seed in (0, 2**63 - 1):
            out = augment(tensor(height, width, channels=channels), seed)
            assert out.shape == (channels, side(augment), side(augment))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 20))
def test_eval_is_resize_and_centre_crop(height: int, width: int, size: int, more: int) -> None:
    from torchvision.transforms import v2

    if max(height, width) > 8 * min(height, width):
        return
    image = tensor(height, width)
    photo = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = v2.Compose([v2.Resize(size + more), v2.CenterCrop(size), v2.PILToTensor()])(photo)
    assert torch.equal(Eval(size, size + more)(image, 0), expected)
    squeezed = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])(photo)
    assert torch.equal(Square(size)(image, 0), squeezed)


def test_eval_default_is_the_usual_ratio() -> None:
    image = tensor(256, 300)
    assert torch.equal(Eval(224)(image, 0), image[:, 16:240, 38:262])


def crop_flip_oracle(image: np.ndarray, size: int, padding: int, mode: str) -> list[bytes]:
    """Every outcome there can be, (top, left, flipped) by (top, left, flipped)."""
    widths = ((0, 0), (padding, padding), (padding, padding))
    padded = np.pad(image, widths, "reflect" if mode == "reflect" else "constant")
    outcomes = []
    for top in range(padded.shape[1] - size + 1):
        for left in range(padded.shape[2] - size + 1):
            for step in (1, -1):
                crop = padded[:, top : top + size, left : left + size][..., ::step]
                outcomes.append(np.ascontiguousarray(crop).tobytes())
    return outcomes


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_crop_flip_takes_every_outcome_equally_often(mode: Any) -> None:
    image = np.random.default_rng(0).integers(1, 255, (2, 6, 6), dtype=np.uint8)
    outcomes = crop_flip_oracle(image, 6, 1, mode)
    assert len(set(outcomes)) == 18
    n = 18 * 400
    images = torch.from_numpy(image).expand(n, -1, -1, -1)
    got = CropFlip(6, 1, mode).batch(images, seeds(n)).numpy()
    counts = dict.fromkeys(outcomes, 0)
    for crop in got:
        counts[crop.tobytes()] += 1
    chi2 = sum((count - 400) ** 2 / 400 for count in counts.values())
    assert chi2 < 45  # 17 degrees of freedom: exceeded by chance once in 4,000


def test_train_is_torchvision_under_that_seed() -> None:
    from torchvision.transforms import v2

    image = tensor(100, 80)
    pipeline = v2.Compose(
        [v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v2.RandAugment(2, 9)]
    )
    for seed in range(10):
        torch.manual_seed(seed)
        expected = pipeline(image)
        assert torch.equal(Train(32, randaugment=9)(image, seed), expected)


def test_cutout() -> None:
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    areas = set()
    for seed in range(200):
        out = Train(20, scale=(1.0, 1.0), cutout=0.25)(image, seed)
        assert set(out.unique().tolist()) <= {0, 128}
        erased = (out == 128).all(0)
        rows, columns = erased.any(1).nonzero(), erased.any(0).nonzero()
        assert erased.sum() == len(rows) * len(columns)  # one rectangle
        areas.add(int(erased.sum()))
    assert max(areas) == 25
    assert min(areas) < 25  # centres at the border: a part falls outside


def test_values_are_values() -> None:
    assert Train(8) == Train(8)
    assert repr(CropFlip(8)) == "CropFlip(size=8, padding=4, mode='zero', interpolation='bilinear')"
    assert repr(Eval(8)) == "Eval(size=8, resize=None, interpolation='bilinear')"
    assert "randaugment=9" in repr(Train(8, randaugment=9))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Eval(0),
        lambda: Train(-1),
        lambda: Eval(32, resize=31),
        lambda: CropFlip(8, padding=-1),
        lambda: CropFlip(4, padding=4, mode="reflect"),
        lambda: Train(8, scale=(0.0, 1.0)),
        lambda: Train(8, scale=(0.9, 0.5)),
        lambda: Train(8, randaugment=31),
        lambda: Train(8, cutout=1.5),
        lambda: Train(8, flip=-0.1),
    ],
)
def test_impossible_settings(build: Any) -> None:
    with pytest.raises(UserError):
        build()
