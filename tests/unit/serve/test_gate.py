"""Who may ask: names, origins and sites, without a server."""

from __future__ import annotations

from email.message import Message
from http import HTTPStatus

import pytest

from edgecell.serve.gate import HEADERS, Gate


def refusal(gate: Gate, path: str = "/", **headers: str | list[str]):
    message = Message()
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return gate.refuses(path, message)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "localhost:9999"]
)
def test_the_own_names_are_answered(host):
    assert refusal(Gate(), Host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.5"),
        *("", "127.0.0.1:8000:1", "127.0.0.1 ", "user@127.0.0.1", "127.1", "[::1]:8000", "0.0.0.0"),
        "localhost:99999999",
    ],
)
def test_other_names_are_not(host):
    found = refusal(Gate(), Host=host)
    assert found is not None and found.status == HTTPStatus.MISDIRECTED_REQUEST


def test_one_name_and_no_more():
    assert refusal(Gate()) is not None
    assert refusal(Gate(), Host=["127.0.0.1", "127.0.0.1"]) is not None


@pytest.mark.parametrize(
    ("origin", "answered"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", False),  # another origin than the one that is asked
        ("http://127.0.0.1:8001", False),
        ("https://127.0.0.1:8000", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_the_page_s_own_origin_only(origin, answered):
    found = refusal(Gate(), Host="127.0.0.1:8000", Origin=origin)
    assert (found is None) == answered
    assert answered or found.status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("path", "site", "answered"),
    [
        ("/api/model", "same-origin", True),
        ("/api/model", "none", True),
        ("/api/model", "cross-site", False),
        ("/api/model", "same-site", False),
        ("/", "cross-site", True),  # a link to the page may be followed
    ],
)
def test_other_sites_do_not_reach_the_interface(path, site, answered):
    found = refusal(Gate(), path, Host="localhost", Sec_Fetch_Site=site)
    assert (found is None) == answered


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.0.0.2", True)),
        *(("0.0.0.0", False), ("192.168.1.5", False), ("::", False), ("box.lan", False)),
    ],
)
def test_what_is_local(host, local):
    assert Gate(host).local == local


def test_a_server_for_others_answers_to_numbers_and_its_own_name_only():
    gate = Gate("0.0.0.0", "Lab-PC")
    for host in ("192.168.1.5:8000", "[fe80::1]:8000", "lab-pc:8000", "localhost"):
        assert refusal(gate, Host=host) is None, host
    for host in ("evil.example", "192.168.1.5.evil.example", "lab-pc.evil.example"):
        assert refusal(gate, Host=host) is not None, host


def test_a_server_on_ipv6_answers_to_its_number():
    assert refusal(Gate("::1"), Host="[::1]:8000") is None


def test_the_policy_allows_nothing_from_elsewhere():
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    for word in ("unsafe", "http:", "https:", "*", "data:"):
        assert word not in policy
