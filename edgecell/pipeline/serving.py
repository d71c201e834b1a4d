"""``edgecell serve``: a local page for trying a model by drag and drop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecell.bundle.manifest import INTENDED_USE, NOTICE
from edgecell.bundle.reader import Bundle
from edgecell.bundle.selftest import self_test
from edgecell.bundle.targets import SAMPLES
from edgecell.classifier import Classifier
from edgecell.errors import ArtifactError
from edgecell.pipeline.opening import open_model
from edgecell.progress import Progress
from edgecell.runtime import TFLitePredictor
from edgecell.serve import server
from edgecell.serve.desk import Desk, SelfTest
from edgecell.serve.gate import LOOPBACK

ASSETS = Path(server.__file__).with_name("assets")
# The look is that of the web sample; what serve's page has beyond it is in serve.css.
_FILES = {
    "/": (ASSETS / "index.html", "text/html; charset=utf-8"),
    "/app.js": (ASSETS / "app.js", "text/javascript; charset=utf-8"),
    "/serve.css": (ASSETS / "serve.css", "text/css; charset=utf-8"),
    "/style.css": (SAMPLES / "web" / "style.css", "text/css; charset=utf-8"),
    "/icon.svg": (SAMPLES / "web" / "icon.svg", "image/svg+xml"),
}


def make_server(
    model: Path, *, host: str, port: int, threads: int, progress: Progress
) -> server.Server:
    """A server that listens, for the model at ``model``; its requests wait until it runs.

    Raises:
        ConfigError: the address cannot be listened on. ArtifactError: the model cannot be used.
    """
    opened = open_model(model, threads=threads)
    made = server.Server(
        desk_of(opened.classifier, opened.bundle),
        page(),
        host=host,
        port=port,
        report=progress.say,
    )
    if opened.classifier.warning is not None:
        progress.say(f"WARNING: {opened.classifier.warning}")
    for note in opened.classifier.notes:
        progress.say(f"note: {note}")
    if not made.gate.local:
        progress.say(
            f"WARNING: listening on {host}: whoever reaches this machine can use the model, and images"
            f" travel unencrypted. Without --host only this machine can ({LOOPBACK})"
        )
    return made


def page() -> dict[str, server.Asset]:
    """The files of the page, by the path they are asked for under."""
    return {
        path: server.Asset(content_type, file.read_bytes())
        for path, (file, content_type) in _FILES.items()
    }


def desk_of(classifier: Classifier, bundle: Bundle | None) -> Desk:
    """What the page can ask of a classifier; a bundle brings a self-test and its own words."""
    facts: dict[str, Any] = {"notice": NOTICE, "intended_use": INTENDED_USE}
    if bundle is None:
        return Desk(classifier, facts)
    facts = {key: str(bundle.card[key]) for key in facts if key in bundle.card}
    return Desk(classifier, facts, _tester(bundle, classifier))


def _tester(bundle: Bundle, classifier: Classifier) -> SelfTest | None:
    predictor = classifier.predictor
    if not isinstance(predictor, TFLitePredictor):
        return None

    def test() -> dict[str, Any]:
        try:
            return self_test(bundle, predictor).to_json()
        except ArtifactError as error:
            return {"passed": False, "count": 0, "stages": {}, "lines": [str(error)]}

    return test


def run(made: server.Server, ready: Callable[[], None]) -> None:
    """Answer until Ctrl-C or a termination signal; running requests are finished then. A second one kills.

    ``ready`` is called once a signal would end it so.
    """
    with _stopping_on_signals(made.stop):
        try:
            ready()
            made.serve_forever(poll_interval=0.2)
        finally:
            made.server_close()


@contextmanager
def _stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call ``stop`` from a thread of its own: it waits for the loop to end.

    The next one is the system's: no request, and nothing that a decoder is at, holds the program then.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)

    def end(*_: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=stop, daemon=True).start()

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
