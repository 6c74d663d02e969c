"""From an app to a running server: the socket, its public address, the loop."""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from ..errors import UserError
from .patience import few_lines, most_connections, patient_protocol


def web_server(app: ASGIApp) -> uvicorn.Server:
    """The server of an app; the caller gives it a socket and runs it."""
    few_lines()
    config = uvicorn.Config(
        app,
        http=patient_protocol(most_connections()),
        ws="none",
        access_log=False,  # it would write the secrets of the links
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server.

    Raises:
        UserError: the address is taken, or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms here) off only where the protocol is named
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {host}:{port}: {why}") from None
    return listener


def public_address(host: str, port: int, public: str | None) -> str:
    """The address in the links."""
    if public is not None:
        parts = urlsplit(public)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise UserError(f"--public should be like https://rate.example.org, got {public!r}")
        return f"{parts.scheme}://{parts.netloc}"
    if host != "localhost" and not _loopback(host):
        raise UserError(
            f"to listen on {host}, name the address that visitors use: --public https://…"
        )
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
