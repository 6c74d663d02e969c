"""Processes that train as one, each in a working folder of its own, as on machines without a common disk.

They are forks of this process, which spares each the import of torch.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which training in several processes imports: once here, not in every child

PATIENCE = 600.0 if os.environ.get("RETEACH_NODES_LONG") else 60.0
"""Seconds after which processes that wait for each other for ever are ended."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def play(
    scene: Callable[..., str],
    number: int,
    world: int,
    per_node: int,
    turned: int,
    port: int,
    folder: Path,
    args: tuple[Any, ...],
) -> None:
    """One of the processes: ``scene(*args)``, told by its environment what torchrun would tell it."""
    rank = (number + turned * per_node) % world
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(rank % per_node),
        LOCAL_WORLD_SIZE=str(per_node),
        GROUP_RANK=str(rank // per_node),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    node = folder / f"node{number // per_node}"
    node.mkdir(parents=True, exist_ok=True)
    os.chdir(node)
    try:
        said = scene(*args)
    except BaseException as error:  # whatever it is: the others would not end by themselves
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
    (folder / f"{number}.txt").write_text(said)
    os._exit(0)


def played(
    scene: Callable[..., str],
    folder: Path,
    world: int = 2,
    per_node: int = 1,
    *args: Any,
    turned: int = 0,
    lost: tuple[int, ...] = (),
) -> list[str]:
    """What each process said: what the scene returned, or the error that it ended with.

    Args:
        turned: by how many nodes the ranks are turned, as after a restart: the first node has not rank 0.
        lost: processes that are killed, and say nothing.
    """
    context, port = multiprocessing.get_context("fork"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    every = [
        context.Process(
            target=play, args=(scene, number, world, per_node, turned, port, folder, args)
        )
        for number in range(world)
    ]
    for process in every:
        process.start()
    end = time.monotonic() + PATIENCE
    while any(p.is_alive() for p in every) and time.monotonic() < end:
        time.sleep(0.02)
    for process in every:
        process.kill()
        process.join()
    files = [folder / f"{number}.txt" for number in range(world) if number not in lost]
    assert all(file.exists() for file in files), "they wait for each other, or one was killed"
    said = [file.read_text() for file in files]
    for file in files:
        file.unlink()
    return said
