"""The rating server behind nginx with TLS, as the documentation sets it up: its own lines are what runs."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rating_kit import Client, label_plan, links, new_store, own_port, photos, running, wait_for
from reteach.rating.app_state import Site
from reteach.rating.export import ratings_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    NGINX is None or shutil.which("openssl") is None, reason="nginx and openssl are not installed"
)


class Secure(Client):
    """A browser that knows the certificate."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(self.host, timeout=60, context=self.context)


def documented(certificate: Path, port: int, behind: int) -> str:
    """The documentation's server block, with names and ports of this machine."""
    found = re.search(r"^server \{$.*?^\}$", PAGE.read_text(), re.S | re.M)
    assert found is not None
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "rate.example.org;": "localhost;",
        "/etc/letsencrypt/live/rate.example.org/fullchain.pem": str(certificate / "cert.pem"),
        "/etc/letsencrypt/live/rate.example.org/privkey.pem": str(certificate / "key.pem"),
        "127.0.0.1:8765": f"127.0.0.1:{behind}",
    }
    text = found[0]
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, port: int, behind: int) -> Iterator[ssl.SSLContext]:
    """nginx in front of a port, with a certificate of its own."""
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*words.split(), *names], cwd=folder, check=True, capture_output=True)
    config = folder / "nginx.conf"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}\n{documented(folder, port, behind)}\n}}\n"
    )
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-c", str(config), "-e", str(folder / "error.log")])

    def answers() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(answers)
        yield ssl.create_default_context(cafile=folder / "cert.pem")
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Site, Secure]]:
    names = [f"{i:03d}.png" for i in range(4)]
    pictures = photos(tmp_path / "images", names)
    store = new_store(tmp_path / "ratings.db", label_plan())
    with own_port() as port, own_port() as behind, nginx(tmp_path, port, behind) as context:
        public = f"https://localhost:{port}"
        with running(store, pictures, port=behind, public=public) as site:
            client = Secure(context)
            client.host = f"localhost:{port}"
            yield site, client
            client.close()
    store.close()


def test_rating_over_tls_behind_nginx_as_documented(secure: tuple[Site, Secure]) -> None:
    site, client = secure
    link = links(site, "ann")["ann"]
    assert link.startswith("https://localhost:")
    client.get(link.partition(client.host)[2])
    assert client.status == 200
    page = client.get("/rate")
    client.get(page.images[0])
    assert client.headers["content-type"].startswith("image/")
    origin = f"https://{client.host}"  # what a browser says of a form of this very page
    fields = page.fields | dict.fromkeys(page.radios, "2")
    page = client.post(f"/rate/{page.task}", fields, Origin=origin)
    assert client.status == 200
    assert len(ratings_of(site.store).answer) == 3
    fields = page.fields | dict.fromkeys(page.radios, "2")
    client.post(f"/rate/{page.task}", fields, Origin="https://evil.example")
    assert client.status == 403
    assert len(ratings_of(site.store).answer) == 3


def test_cookies_behind_tls_are_sent_over_tls_alone(secure: tuple[Site, Secure]) -> None:
    site, client = secure
    raw = http.client.HTTPSConnection(client.host, timeout=60, context=client.context)
    raw.request("GET", links(site, "ben")["ben"].partition(client.host)[2])
    cookie = raw.getresponse().getheader("set-cookie") or ""
    raw.close()
    assert "Secure" in cookie
    assert "HttpOnly" in cookie


def test_nginx_keeps_too_large_requests(
    secure: tuple[Site, Secure],
) -> None:
    site, client = secure
    client.get(links(site, "ann")["ann"].partition(client.host)[2])
    client.post("/rate/0", {"form": "x" * 70_000})
    assert client.status == 413
