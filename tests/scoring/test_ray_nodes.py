"""Two machines on this one, of which one goes and does not come back (minutes: `.ci/run --long`)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import store_world as world
from reteach.cli import main
from reteach.parquet import read_schema

pytestmark = pytest.mark.skipif(
    "RETEACH_NODES_LONG" not in os.environ, reason="minutes: RETEACH_NODES_LONG=1"
)


def _shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.parquet"))}


def test_a_machine_that_goes_for_good_is_not_waited_for(tmp_path: Path) -> None:
    """Each machine has one core; the driver is on a third, as on a cluster with a head node."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    world.make(tmp_path / "world")
    steps = world.steps(str(tmp_path / "world"), str(tmp_path))
    assert main(steps["teacher"]) == 0
    plain = [*steps["score"]]
    assert main(plain) == 0
    alone = _shards(tmp_path / "scores")
    out = tmp_path / "ray"
    plain[plain.index("--out") + 1] = str(out)
    cluster: Any = Cluster(True, head_node_args={"num_cpus": 0, "object_store_memory": 2**28})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=2**28) for _ in range(2)]
    cluster.wait_for_nodes()

    def strike() -> None:
        while not _shards(out):
            time.sleep(0.02)
        cluster.remove_node(nodes[1], allow_graceful=False)

    threading.Thread(target=strike, daemon=True).start()
    try:
        assert main([*plain, "--ray", cluster.address, "--scorers", "2"]) == 0
    finally:
        cluster.shutdown()
    assert _shards(out) == alone
    assert all(read_schema(file) for file in out.glob("*.parquet"))
