"""A headless Chromium that shows one page, and nobody else on the machine its address."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_FLAGS = (
    *(
        "--headless=new",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--mute-audio",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # A page nobody looks at is slowed down, else.
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding"),
    "--disable-backgrounding-occluded-windows",
    # The address comes on descriptor 3, and the end of it ends the browser.
    *("--remote-debugging-pipe", "about:blank"),
)
_PIPES = 'exec "$@" 3<&0 4>/dev/null'  # what it has to say on 4 is of no use


@contextmanager
def showing(program: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """The browser with a profile of its own and the page at ``address``; gone at the end.

    The address is told through a pipe: every user of a machine can read every command line.
    """
    # Its sandbox needs a user other than root.
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    page = {"id": 1, "method": "Target.createTarget", "params": {"url": address}}
    with tempfile.TemporaryDirectory(prefix="edgecell-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *("sh", "-c", _PIPES, "sh", program),
                *(*sandbox, f"--user-data-dir={profile}", *_FLAGS),
            ],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        try:
            with suppress(
                BrokenPipeError
            ):  # it has ended already, which whoever waits for it notices
                process.stdin.write(json.dumps(page).encode() + b"\0")
            yield process
        finally:
            process.terminate()
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def version(program: str) -> str:
    """`Chromium 156.0.8078.79`, as the program itself says."""
    try:
        told = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        told = ""
    found = re.match(r"\s*([A-Za-z ]+?) (\d[\d.]*)", told)
    return f"{found[1]} {found[2]}" if found else "Chromium of unknown version"
