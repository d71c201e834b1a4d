"""Who may ask: the page itself, from a name that no other site can take over.

A page on the internet can send requests to 127.0.0.1, and with DNS rebinding it can even read the
answers: its own name then points here. The Host header tells, because a browser sets it to the name
that the page came from (Jackson et al. 2007, "Protecting Browsers from DNS Rebinding Attacks").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

LOOPBACK = "127.0.0.1"
API = "/api/"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
"""Sent with every response."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::\d{1,5})?")


class Headers(Protocol):
    """What is asked of a request's headers."""

    def get_all(self, name: str) -> Sequence[str] | None:
        """All values of a header; None where it is not there."""
        ...


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: status and a sentence."""

    status: HTTPStatus
    said: str


@dataclass(frozen=True)
class Gate:
    """The rules for a server that listens on ``host``; ``machine`` is the computer's own name."""

    host: str = LOOPBACK
    machine: str = ""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or (_address(self.host) or _NOWHERE).is_loopback

    def refuses(self, path: str, headers: Headers) -> Refusal | None:
        """The refusal of a request, None for one that may be answered."""
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server is not known under that name; use the address that it printed",
            )
        origins = headers.get_all("Origin") or []
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return Refusal(HTTPStatus.FORBIDDEN, "asked by another site's page")
        sites = headers.get_all("Sec-Fetch-Site") or []
        if path.startswith(API) and any(s not in ("same-origin", "none") for s in sites):
            return Refusal(HTTPStatus.FORBIDDEN, "asked by another site's page")
        return None

    def _knows(self, host: str) -> bool:
        """Whether a Host header names this server. The port may be another: of an ssh tunnel."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower()
        if self.local:
            own = {"localhost", LOOPBACK, self.host, f"[{self.host}]"}
            return name in own
        # Listening for others: by number from wherever, for no name server is asked for a number.
        return name in ("localhost", self.host.lower(), self.machine.lower()) or bool(
            _address(name.strip("[]"))
        )


_NOWHERE = ipaddress.ip_address("0.0.0.0")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
