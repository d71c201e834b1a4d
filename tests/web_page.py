"""The web sample on loopback, from its own server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import Tab


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """The page's address, as 'npm start' serves it."""
    server = subprocess.Popen(
        ["node", "serve.mjs"],
        cwd=bundle / "samples" / "web",
        env={**os.environ, "PORT": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def visited(tab: Tab, bundle: Path) -> Iterator[str]:
    """The page's address while it is served, for a tab that is elsewhere before the server goes.

    What a page still asks for would find no server, and be an error of the test that has the tab next.
    """
    with served(bundle) as address:
        try:
            yield address
        finally:
            tab.show("about:blank")
