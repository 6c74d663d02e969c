"""Batch t is a function of (seed, name, t): no worker, restart or neighbour changes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import toys
from reteach.data.loading import dense_labels, samplers
from reteach.data.loading import stream as stream_module
from reteach.data.loading.batch import Normalize
from reteach.data.loading.samplers import AlternatingSampler, Epochs, WeightedSampler, every
from reteach.engine.fingerprint import describe
from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft, rebalanced
from reteach.schedules import Cycles


def batches(stream, start=0, stop=12):
    return list(stream.batches(start, stop))


def same(a, b):
    return all(
        x.step == y.step
        and torch.equal(x.x, y.x)
        and torch.equal(x.rows, y.rows)
        and torch.equal(x.y, y.y)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_restarts_change_nothing(workers):
    whole = batches(toys.stream())
    assert same(whole, batches(toys.stream(workers=workers)))
    assert same(whole[5:9], batches(toys.stream(workers=workers), 5, 9))
    before = torch.random.get_rng_state()
    batches(toys.stream(workers=workers))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("size", [8, 7])  # of 8 images a batch is aligned in memory, of 7 it is not
def test_batches_made_together_are_those_made_alone(monkeypatch, size):
    monkeypatch.setattr(stream_module, "_BYTES", 4 * 5 * size * 64)
    stream = toys.stream(batch_size=size)
    assert stream._at_once(size) == 5
    together, middle = batches(stream), batches(stream, 3, 12)
    assert all(b.x.data_ptr() % 64 == 0 for b in together)
    monkeypatch.setattr(stream_module, "_BYTES", 0)
    alone = batches(stream)
    assert same(alone, together)
    assert same(alone[3:], middle)
    assert all(b.complete and torch.equal(b.readable, torch.ones(size)) for b in together)


@pytest.mark.parametrize("kind", ["single", "multi", "unknown", "soft"])
@pytest.mark.parametrize("entries", [2**24, 0])
def test_targets_are_the_labels_of_the_rows(monkeypatch, kind, entries):
    monkeypatch.setattr(dense_labels, "ENTRIES", entries)
    present = np.random.default_rng(0).integers(0, 2, (40, 3)).astype(bool)
    known = np.random.default_rng(1).integers(0, 2, (40, 3)).astype(bool)
    labels = {
        "single": Single(np.arange(40) % 4 - 1, toys.CLASSES),
        "multi": Multi.from_dense(present, toys.CLASSES),
        "unknown": Multi.from_dense(present, toys.CLASSES, known),
        "soft": Soft.from_dense(present * 0.3, toys.CLASSES),
    }[kind]
    order = Epochs(np.arange(40), 0)
    for batch in toys.stream(toys.dataset().with_labels(labels), order=order).batches(0, 12):
        rows = batch.rows.numpy()
        assert np.array_equal(batch.y.numpy(), labels.array()[rows])
        assert (batch.known is None) == (kind != "unknown")
        if batch.known is not None:
            assert np.array_equal(batch.known.numpy(), known[rows])


def test_seed_and_name_matter():
    whole = batches(toys.stream())
    assert not same(whole, batches(toys.stream(seed=1)))
    other = toys.stream(order=Epochs(np.arange(40), 0, "other"))
    assert not same(whole, batches(other))


@pytest.mark.parametrize(("n", "batch_size"), [(40, 8), (7, 3), (5, 12), (1, 4)])
def test_each_epoch_has_every_item_once(n, batch_size):
    order = Epochs(np.arange(n) + 100, seed=3)
    rows = np.concatenate([order.rows(t, batch_size) for t in range(20)])
    for epoch in range(len(rows) // n):
        assert sorted(rows[epoch * n : (epoch + 1) * n]) == list(range(100, 100 + n))
    # and batches can be asked for in any order
    assert np.array_equal(order.rows(2, batch_size), rows[2 * batch_size : 3 * batch_size])


def test_rebalanced_draws():
    data = toys.dataset(300)
    weights = rebalanced(data.labels)
    order = WeightedSampler(weights, seed=0)
    rows = np.concatenate([order.rows(t, 50) for t in range(200)])
    share = np.bincount(data.labels.index[rows], minlength=3) / len(rows)
    assert np.abs(share - 1 / 3).max() < 0.02
    assert np.array_equal(order.rows(7, 50), rows[350:400])


def test_turns():
    first, second = Epochs(np.arange(10), 0, "a"), Epochs(np.arange(100, 130), 0, "b")
    order = AlternatingSampler(first, second, Cycles.of(2, 3))
    got = [order.rows(t, 5) for t in range(10)]
    expected = [first, first, second, second, second] * 2
    number = {id(first): 0, id(second): 0}
    for rows, source in zip(got, expected, strict=True):
        assert np.array_equal(rows, source.rows(number[id(source)], 5))
        number[id(source)] += 1


def test_preparation():
    pixels = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    three = Normalize((0.5, 0.25, 0.0), (0.5, 0.5, 1.0))(pixels)
    assert three.shape == (1, 3, 1, 2)
    assert three.flatten().tolist() == pytest.approx([-1, 1, -0.5, 1.5, 0, 1])
    colours = torch.tensor([[[[30]], [[60]], [[90]]]], dtype=torch.uint8)
    assert Normalize((0.0,), (1.0,), channels=1)(colours).item() == pytest.approx(60 / 255)
    assert Normalize((0.0,) * 3, (1.0,) * 3, channels_last=True)(
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    ).is_contiguous(memory_format=torch.channels_last)


def test_splitting_keeps_everything():
    (batch,) = toys.stream().batches(0, 1)
    parts = list(batch.split(4))
    assert [p.part for p in parts] == [0, 1, 2, 3]
    assert torch.equal(torch.cat([p.x for p in parts]), batch.x)
    assert torch.equal(torch.cat([p.y for p in parts]), batch.y)


def test_scan_goes_once_in_order():
    found = list(toys.scan())
    assert np.array_equal(np.concatenate([rows for rows, _ in found]), np.arange(40))
    assert [len(x) for _, x in found] == [16, 16, 8]


def test_bad_batches():
    with pytest.raises(UserError, match="at least 1"):
        toys.stream(batch_size=0)
    with pytest.raises(UserError, match="cannot be shared equally by 3"):
        toys.stream(batch_size=8, world=3)
    with pytest.raises(UserError, match="no images"):
        toys.stream(order=Epochs(np.arange(0), 0)).rows(0)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_normalising_leaves_the_pixels_as_they_were(kind):
    pixels = (torch.rand(2, 3, 4, 4) * (1 if kind == torch.float32 else 255)).to(kind)
    before = pixels.clone()
    top = 255.0 if kind == torch.uint8 else 1.0
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
    found = Normalize(mean, std)(pixels)
    assert torch.equal(pixels, before)
    for channel in range(3):
        slow = (before[:, channel].float() - mean[channel] * top) / (std[channel] * top)
        assert torch.allclose(found[:, channel], slow, atol=1e-5)


def test_very_many_items_are_shuffled_without_an_array_of_them(monkeypatch):
    """Of 10 million on; said by size alone, the same on every rank and wherever a run goes on."""
    n = 10**9
    order = Epochs(every(n), seed=3)
    assert order.keyed
    assert isinstance(order.of, range)
    first = np.concatenate([order.rows(step, 512) for step in range(8)])
    again = Epochs(every(n), seed=3)
    assert np.array_equal(again.rows(5, 512), first[5 * 512 : 6 * 512]), "also from the middle"
    assert len(np.unique(first)) == len(first)
    assert not np.isin(Epochs(every(n), seed=4).rows(0, 512), first).any()
    assert not Epochs(every(samplers.KEYED - 1), seed=3).keyed
    monkeypatch.setattr(samplers, "KEYED", 40)
    for of in (np.arange(50) + 100, range(100, 150)):
        small = Epochs(of, seed=3)
        rows = np.concatenate([small.rows(step, 20) for step in range(5)])
        for start in (0, 50):
            assert np.array_equal(np.sort(rows[start : start + 50]), np.arange(100, 150))
        assert not np.array_equal(rows[:50], rows[50:])
        assert np.array_equal(small.epoch(1), rows[50:])


def test_how_an_epoch_is_shuffled_stands_in_the_record():
    """So that a run of an earlier version with very many items does not go on in another order."""
    plain = describe(Epochs(np.arange(5), 0))
    assert "keyed" not in " ".join(plain)
    assert describe(Epochs(np.arange(5), 0, keyed=True))[".keyed"] == "True"
