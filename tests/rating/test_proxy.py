"""The rating server behind nginx and Caddy with TLS, as the documentation sets them up: its own lines run."""

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
CADDY = shutil.which("caddy")


class Secure(Client):
    """A browser that knows the certificate."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(self.host, timeout=60, context=self.context)


def documented(begins: str, changes: dict[str, str]) -> str:
    """A block of the documentation, with names and ports of this machine."""
    found = re.search(rf"^{begins} \{{$.*?^\}}$", PAGE.read_text(), re.S | re.M)
    assert found is not None
    text = found[0]
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx_lines(certificate: Path, port: int, behind: int) -> str:
    """The server of nginx."""
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "rate.example.org;": "localhost;",
        "/etc/letsencrypt/live/rate.example.org/fullchain.pem": str(certificate / "cert.pem"),
        "/etc/letsencrypt/live/rate.example.org/privkey.pem": str(certificate / "key.pem"),
        "127.0.0.1:8765": f"127.0.0.1:{behind}",
    }
    return documented("server", changes)


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
        f"events {{}}\nhttp {{\naccess_log off;\n{places}\n{nginx_lines(folder, port, behind)}\n}}\n"
    )
    assert NGINX is not None
    words = [NGINX, "-c", str(config), "-e", str(folder / "error.log")]
    with process(words, port, folder / "error.log"):
        yield ssl.create_default_context(cafile=folder / "cert.pem")


@contextmanager
def caddy(folder: Path, port: int, behind: int) -> Iterator[ssl.SSLContext]:
    """Caddy in front of a port; for this machine's own name it makes the certificate itself."""
    changes = {"rate.example.org": f"localhost:{port}", "127.0.0.1:8765": f"127.0.0.1:{behind}"}
    own = f"admin off\nskip_install_trust\nauto_https disable_redirects\nstorage file_system {folder}/caddy"
    config = folder / "Caddyfile"
    config.write_text(f"{{\n{own}\n}}\n{documented('rate.example.org', changes)}\n")
    assert CADDY is not None
    with process([CADDY, "run", "--config", str(config)], port, folder / "error.log"):
        root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        wait_for(root.exists)
        yield ssl.create_default_context(cafile=root)


@contextmanager
def process(words: list[str], port: int, log: Path) -> Iterator[None]:
    """A web server that listens on a port by now."""
    with log.with_suffix(".out").open("wb") as out:
        server = subprocess.Popen(words, stderr=out, stdout=out)

    def answers() -> bool:
        assert server.poll() is None, log.with_suffix(".out").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(answers)
        yield
    finally:
        server.terminate()
        server.wait(20)


PROXIES = {"nginx": (nginx, NGINX and shutil.which("openssl")), "caddy": (caddy, CADDY)}


@pytest.fixture(params=PROXIES)
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Secure]]:
    proxy, installed = PROXIES[request.param]
    if not installed:
        pytest.skip(f"{request.param} is not installed (nginx also needs openssl)")
    names = [f"{i:03d}.png" for i in range(4)]
    pictures = photos(tmp_path / "images", names)
    store = new_store(tmp_path / "ratings.db", label_plan())
    with own_port() as port, own_port() as behind, proxy(tmp_path, port, behind) as context:
        public = f"https://localhost:{port}"
        with running(store, pictures, port=behind, public=public) as site:
            client = Secure(context)
            client.host = f"localhost:{port}"
            yield site, client
            client.close()
    store.close()


def test_rating_over_tls_behind_a_proxy_as_documented(secure: tuple[Site, Secure]) -> None:
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


def test_requests_that_are_too_large_are_refused(secure: tuple[Site, Secure]) -> None:
    site, client = secure
    client.get(links(site, "ann")["ann"].partition(client.host)[2])
    client.post("/rate/0", {"form": "x" * 70_000})
    assert client.status == 413
