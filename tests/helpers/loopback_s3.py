"""An S3 server on this machine, and a proxy before it that fails on purpose: in processes of their own.

``python loopback_s3.py`` prints the address of the proxy and of the server, and serves until its standard
input ends. Faults are told by a file, so that they can change while it runs.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEYS = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
FAULTS = ("drop", "503", "slow", "half")


class Store:
    """The server as tests see it."""

    def __init__(self, proxy: str, server: str, faults: Path) -> None:
        self.proxy, self.server, self.faults = proxy, server, faults

    @property
    def environment(self) -> dict[str, str]:
        """What lets a process find the server, through the proxy."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.proxy}

    def fail(self, share: float, *kinds: str, seed: int = 0, only: str = "") -> None:
        """Let a share of the requests fail from now on, of the given kinds or of all.

        Args:
            only: of those whose method and path hold this.
        """
        told = {"share": share, "kinds": kinds or FAULTS, "seed": seed, "only": only}
        part = self.faults.with_suffix(".part")
        part.write_text(json.dumps(told))
        os.replace(part, self.faults)

    def asked(self, *, begin: bool = False) -> list[str]:
        """Method, path and byte range of the requests through the proxy, since it was told to ``begin``."""
        file = self.faults.with_suffix(".asked")
        lines = file.read_text().splitlines() if file.exists() else []
        if begin:
            file.write_text("")
        return lines

    def client(self) -> Any:
        """A client that goes past the proxy."""
        import boto3

        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.server, **keys)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of all objects."""
        pages = (
            self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        )
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def content(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        data: bytes = self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object."""
        self.client().put_object(Bucket=bucket, Key=key, Body=data)

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Write the files below a folder."""
        client = self.client()
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            name = f"{prefix}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket=bucket, Key=name, Body=file.read_bytes())


@contextmanager
def serving(faults: Path) -> Iterator[Store]:
    """A server and its proxy, for as long as the context lasts."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(faults)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        proxy, server = process.stdout.readline().split()
        yield Store(proxy, server, faults)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_port = 0
    faults = Path()
    draws = random.Random(0)
    lock = threading.Lock()
    told = ""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""

    def _fault(self) -> str:
        kind = type(self)
        try:
            text = kind.faults.read_text()
        except OSError:
            return ""
        with kind.lock:
            told = json.loads(text)
            if text != kind.told:
                kind.told, kind.draws = text, random.Random(told["seed"])
            if told["only"] not in f"{self.command} {self.path}":
                return ""
            if kind.draws.random() >= told["share"]:
                return ""
            return str(kind.draws.choice(told["kinds"]))

    def _pass(self) -> None:
        with self.lock, open(self.faults.with_suffix(".asked"), "a") as file:
            file.write(
                f"{self.command} {self.path} {self.headers.get('Range') or ''}".strip() + "\n"
            )
        length = int(self.headers.get("Content-Length") or 0)
        fault = self._fault()
        if fault == "drop" or (fault == "half" and self.command in ("PUT", "POST")):
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(length)
        if fault == "503":
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            self.send_response(503)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text if self.command != "HEAD" else b"")
            return
        if fault == "slow":
            time.sleep(0.3)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (
                "transfer-encoding",
                "connection",
                "content-length",
                "server",
                "date",
            ):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        if fault == "half" and data:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            self.connection.close()
            return
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass


def _main(faults: str) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    _Proxy.server_port, _Proxy.faults = port, Path(faults)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{proxy.server_port} http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1])
