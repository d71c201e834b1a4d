"""The web sample's little server: whatever is asked of it, the next one is answered."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from web_page import served

from edgecell.bundle.targets import SAMPLES


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    bundle: Path = tmp_path_factory.mktemp("bundle")
    shutil.copytree(SAMPLES / "web", bundle / "samples" / "web")
    (bundle / "model.json").write_text("{}")
    (bundle.parent / "secret.txt").write_text("x")
    with served(bundle) as address:
        yield int(urlsplit(address).port or 0)


def asked(port: int, path: str, host: str = "localhost") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", path, skip_host=True)
        if host:
            connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/", 302), ("/model.json", 200), ("/samples/web/", 200), ("/samples/", 404)),
        *(("/%", 404), ("//", 404), ("/%00", 404), ("/..%2fsecret.txt", 404), ("*", 404)),
    ],
)
def test_every_path_has_its_answer_and_so_has_the_next(port, path, status):
    assert asked(port, path) == status
    assert asked(port, "/model.json") == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("LocalHost:9000", 200), ("127.0.0.1:8080", 200), ("[::1]:1", 200)),
        *(("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil:80", 421)),
        ("", 400),
    ],
)
def test_another_host_s_name_is_not_answered_to(port, host, status):
    """As in serve: the Host header is how a page of another site is told apart."""
    assert asked(port, "/model.json", host) == status
