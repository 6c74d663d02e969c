"""Three people rate forty images each, by keyboard alone, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import run
from rating_hands import Hands, chromium
from rating_kit import links, running
from reteach.options.rate import TasksOptions
from reteach.options.relabel import ConsensusOptions
from reteach.rating.export import ratings_of
from reteach.rating.overview import progress, rater_rows
from reteach.rating.store import open_store
from reteach.relabel.raters.proposals import Proposals
from reteach.tables import read_labels

TASKS, RATERS = 40, ("ann", "ben", "careless")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Path, Proposals]:
    """CIFAR-10 test images: 40 with four proposals each, 60 on which all models agree."""
    pack = np.load(shared_data / "cifar10.npz", allow_pickle=False)
    jpeg, offsets, label_of = pack["jpeg"], pack["offsets"], pack["label"]
    folder = tmp_path_factory.mktemp("cifar10")
    rng = np.random.default_rng(0)
    pairs: list[tuple[int, int, bool, int]] = []
    names = []
    for i, row in enumerate(range(50_000, 50_100)):
        data = jpeg[offsets[row] : offsets[row + 1]].tobytes()
        names.append(f"{i:03d}.jpg")
        (folder / names[-1]).write_bytes(data)
        label = int(label_of[row])
        others = [c for c in rng.permutation(10).tolist() if c != label]
        asked = [label, *others[:3]] if i < TASKS else [label]
        pairs += [(i, c, c == label, 1 + (i >= TASKS)) for c in sorted(asked)]
    item, cls, original, top1 = (np.array(column) for column in zip(*pairs, strict=True))
    classes = [str(name) for name in pack["class_names"]]
    votes = np.ones(len(pairs), np.int64)
    return folder, Proposals(names, classes, ["m", "n"], item, cls, votes, top1, original)


def test_forty_images_by_keyboard_alone(
    browser: Any, cifar: tuple[Path, Proposals], where: str, tmp_path: Path
) -> None:
    folder, proposals = cifar
    proposals.write(tmp_path / "proposals.parquet")
    run(TasksOptions(proposals=tmp_path / "proposals.parquet", out=where, raters=len(RATERS)))
    truth = {
        proposals.items[i]: proposals.classes[c]
        for i, c in zip(
            proposals.pair_item[proposals.original],
            proposals.pair_class[proposals.original],
            strict=True,
        )
    }
    store = open_store(where)
    rng = np.random.default_rng(0)
    with running(store, folder) as site:
        for name, link in links(site, *RATERS).items():
            hands = Hands(browser, link)
            assert "95% sure" in hands.page.inner_text("main")
            hands.turn("Enter")  # start
            for done in range(TASKS):
                right = truth[proposals.items[hands.item]]
                keys = ["y" if label == right else "n" for label in hands.names]
                if name == "careless":
                    keys = [
                        str(rng.choice(["y", "m", "n"])) if rng.random() < 0.3 else k for k in keys
                    ]
                if name == "ben" and done == 3:  # from the last to the first, by number
                    hands.press(*(k for i in reversed(range(4)) for k in (str(i + 1), keys[i])))
                    hands.turn("Enter")
                elif name == "ann" and done == 5:  # a slip, mended on the way back
                    slip = hands.item
                    hands.turn(*("y" if k == "n" else "n" for k in keys), "Enter")
                    hands.turn("Backspace")
                    assert hands.item == slip
                    hands.press(*(k for i, key in enumerate(keys) for k in (str(i + 1), key)))
                    hands.turn("Enter")
                elif name == "ann" and done == 8:
                    hands.press("p")
                    hands.page.wait_for_url("**/paused")
                    hands.turn("Enter")
                    assert hands.item in range(TASKS)
                    right = truth[proposals.items[hands.item]]
                    hands.turn(*("y" if label == right else "n" for label in hands.names), "Enter")
                else:
                    hands.turn(*keys, "Enter")
            assert "All done" in hands.heading
            hands.close()
        assert progress(store).done == TASKS
        assert [row.answered for row in rater_rows(store)] == [TASKS] * 3
    ratings = ratings_of(store)
    assert len(ratings.answer) == TASKS * 4 * len(RATERS)
    store.close()
    run(ConsensusOptions(where, out=tmp_path / "real.parquet", method="em"))
    table = read_labels(tmp_path / "real.parquet")
    rows, columns, _ = table.labels.pairs()
    found = {(table.items[i], proposals.classes[c]) for i, c in zip(rows, columns, strict=True)}
    assert found == set(truth.items())
