"""The rating server beside Label Studio: processor time of the server per answer, one rater after the other.

``label-studio`` must be on the PATH or beside this Python: it pins old versions of much, so it needs an
environment of its own. It runs as ``label-studio start`` runs it, on SQLite, and is asked through its API, by
which its own page asks: the next task, then the annotation. reteach's raters get whole pages, so the page is
counted there; Label Studio's is a script that runs in the browser. Neither is asked for images.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.house import ROOT, Contender, Contest, Missing
from benchmarks.rating import cpu_seconds
from reteach.rating.raters import add_raters

sys.path.append(str(ROOT / "tests" / "helpers"))

from rating_kit import Client, label_plan, new_store, own_port, photos, start_process

ANSWERS, CLASSES, ROUNDS = 25, 5, 12
TOKEN = (
    "0123456789abcdef0123456789abcdef01234567"  # of a server that lives for a minute, on loopback
)


def contest(folder: Path) -> Contest:
    """A row."""
    return Contest(
        f"the server's work per answer about {CLASSES} labels and the next task, {ANSWERS} answers a round",
        ours(folder),
        {"Label Studio": lambda: label_studio(folder)},
    )


def ours(folder: Path) -> Contender:
    """``reteach rate``."""
    plan = label_plan(ROUNDS * ANSWERS, CLASSES)
    where = str(folder / "ratings.db")
    store = new_store(where, plan, wanted=1)
    token = add_raters(store, ["ann"])["ann"]
    store.close()
    pictures = photos(folder / "images", list(plan.items))
    port = own_port()
    number = port.__enter__()
    server = start_process(where, pictures, number)
    atexit.register(server.kill)
    atexit.register(port.__exit__, None, None, None)
    client = Client(f"http://127.0.0.1:{number}/r/{token}")

    def run(_: int) -> dict[str, float]:
        client.close()  # the server ends a connection that waits too long for the other's turn
        page = client.get("/rate")
        before, chance = cpu_seconds(server.pid), random.Random(0)
        for _ in range(ANSWERS):
            page = client.answer(page, lambda name: chance.randrange(3))
            assert client.status == 200, client.status
        return {"ms": 1000 * (cpu_seconds(server.pid) - before) / ANSWERS}

    return run


def label_studio(folder: Path) -> Contender:
    """Its server.

    Raises:
        Missing: it is not installed, or does not start.
    """
    beside = Path(sys.executable).parent / "label-studio"
    program = str(beside) if beside.exists() else shutil.which("label-studio")
    if program is None:
        raise Missing("not installed (label-studio, in an environment of its own)")
    port = own_port()
    number = port.__enter__()
    port.__exit__(None, None, None)  # its server does not share a port
    words = [program, "start", "--no-browser", "--port", str(number), "--username", "a@example.org"]
    words += ["--password", "not-a-secret", "--user-token", TOKEN]
    told = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "label-studio"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
    }
    server = subprocess.Popen(
        words, env=os.environ | told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    atexit.register(server.kill)
    _wait(server, number)
    boxes = "".join(f'<Choice value="class {c}"/>' for c in range(CLASSES))
    project = _call(
        number,
        "projects/",
        title="ratings",
        label_config=f"<View><Image name='image' value='$image'/><Choices name='labels' toName='image' "
        f"choice='multiple'>{boxes}</Choices></View>",
    )["id"]
    tasks = [{"image": f"/{n:03d}.png"} for n in range(ROUNDS * ANSWERS)]
    _call(number, f"projects/{project}/import", tasks)
    answer = {"from_name": "labels", "to_name": "image", "type": "choices"}
    result = [answer | {"value": {"choices": ["class 1"]}}]

    def run(_: int) -> dict[str, float]:
        before = cpu_seconds(server.pid)
        for _ in range(ANSWERS):
            task = _call(number, f"projects/{project}/next")["id"]
            _call(number, f"tasks/{task}/annotations/", result=result, lead_time=1.0)
        return {"ms": 1000 * (cpu_seconds(server.pid) - before) / ANSWERS}

    return run


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
                return
        except OSError:
            time.sleep(0.5)
    raise Missing("does not start")


def _call(port: int, path: str, rows: Any = None, **fields: Any) -> Any:
    body = rows if rows is not None else fields or None
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.loads(reply.read())
