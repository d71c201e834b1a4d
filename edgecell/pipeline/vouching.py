"""Whether a run's record vouches for a model file; what nothing vouches for is tried in quarantine first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py

from edgecell import quarantine
from edgecell.disk import sha256_file
from edgecell.errors import ArtifactError
from edgecell.rundir import RunDir
from edgecell.tflite_file import check_file

_WRITERS = ("train", "quantize")


def admit(path: Path, run: RunDir | None) -> None:
    """Nothing where the model at ``path`` may be opened in this process.

    A file whose sha256 stands among the outputs of ``run`` is one that edgecell made. Any other is
    tried in a child process, and what that says is believed.

    Raises:
        ArtifactError: another file than the run recorded under this name; one that cannot be opened,
            crashes, or takes too much time or memory; a damaged record.
    """
    if path.suffix.lower() == ".tflite":
        check_file(path)
    digest = sha256_file(path)
    recorded = _recorded(run) if run else {}
    name = run.relative(path) if run else ""
    if name in recorded and recorded[name] != digest:
        verb = name.split("/")[0]
        raise ArtifactError(
            f"{path} was altered after '{verb}': sha256 {digest[:12]}…, recorded"
            f" {recorded[name][:12]}…; run 'edgecell {verb}' again, or copy the file out of the run to"
            " use it as a stranger's"
        )
    if digest not in recorded.values():
        quarantine.try_file(path)


def find_run(path: Path) -> RunDir | None:
    """The run that a file belongs to: the nearest folder above it with a config.toml."""
    for parent in list(path.resolve().parents)[:3]:
        if (parent / "config.toml").is_file():
            return RunDir.open(parent)
    return None


def admit_weights(paths: Iterable[Path]) -> None:
    """:func:`admit` for what a training starts from: a trained model, or a backbone's .h5 file.

    Raises:
        ArtifactError: as :func:`admit` and ``quarantine.try_weights``. A file that is missing, or none
            of weights, is left to whoever opens it.
    """
    for path in paths:
        if path.suffix == ".keras" and path.exists():
            admit(path, find_run(path))
        elif path.is_file() and h5py.is_hdf5(path):
            quarantine.try_weights(path)


def _recorded(run: RunDir) -> dict[str, str]:
    """Name → sha256 of what the stages that write models wrote."""
    found: dict[str, str] = {}
    for verb in _WRITERS:
        if run.has(verb):
            found |= run.read_record(verb)["outputs"]
    return found
