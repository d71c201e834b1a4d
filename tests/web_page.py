"""The web sample on loopback, from its own server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
