"""A bundle on disk: a folder that appears whole, and a zip whose bytes are a function of its content."""

from __future__ import annotations

import io
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from edgecell.bundle.manifest import SCHEMA
from edgecell.bundle.targets import SAMPLES, SKIPPED, TARGETS
from edgecell.disk import TEMPORARY, atomic_write_bytes, read_json, sha256_file
from edgecell.errors import ArtifactError, ConfigError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``folder`` if all goes well; an older bundle there is replaced.

    Raises:
        ConfigError: ``folder`` holds something that is no bundle. ArtifactError: it cannot be written.
    """
    _refuse_foreign(folder)
    _remove_leftovers(folder)
    mark = f"{secrets.token_hex(4)}{TEMPORARY}"
    scratch, old = (folder.with_name(f".{folder.name}.{kind}{mark}") for kind in ("new", "old"))
    try:
        try:
            scratch.mkdir(parents=True)
            yield scratch
            if folder.exists():
                folder.rename(old)
            scratch.rename(folder)
        finally:
            _restore(old, folder)  # where an error or an interrupt came between the two
            for leftover in (scratch, old):
                with suppress(FileNotFoundError):
                    shutil.rmtree(leftover)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {folder}: {error.strerror or error}; choose another folder with --output"
        ) from error


def _restore(old: Path, folder: Path) -> None:
    """Put the older bundle back, where there was one and nothing has taken its place."""
    if old.exists() and not folder.exists():
        old.rename(folder)


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    manifest = folder / "model.json"
    found = read_json(manifest) if manifest.is_file() else None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ConfigError(
            f"{folder} exists and is no bundle; move it away or choose another folder with --output"
        )


def _remove_leftovers(folder: Path) -> None:
    """What a killed process left half-written."""
    for leftover in folder.parent.glob(f".{escape(folder.name)}.*{TEMPORARY}"):
        if leftover.name.startswith(f".{folder.name}.old"):
            _restore(leftover, folder)  # killed between the two renames
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def add_samples(bundle: Path, targets: Sequence[str], model: dict[str, Any]) -> None:
    """Copy the sample code of ``targets`` into ``bundle``/samples and make what has to be generated.

    ``model`` is model.json's content; the model and the golden images are in ``bundle`` already.
    """
    for name in targets:
        destination = bundle / "samples" / name
        shutil.copytree(SAMPLES / name, destination, ignore=shutil.ignore_patterns(*SKIPPED))
        make = TARGETS[name].make
        if make is not None:
            make(model, bundle, destination)


def file_hashes(bundle: Path) -> dict[str, str]:
    """sha256 of every file, by its path in the bundle."""
    return {path.relative_to(bundle).as_posix(): sha256_file(path) for path in _files(bundle)}


def write_zip(bundle: Path, path: Path) -> None:
    """Zip ``bundle`` under its own name: sorted, no dates, no owners.

    Raises:
        ArtifactError: a file cannot be read or the zip not be written.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(bundle):
            name = f"{bundle.name}/{file.relative_to(bundle).as_posix()}"
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made
            executable = file.stat().st_mode & 0o100
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, file.read_bytes())
    atomic_write_bytes(path, stream.getvalue())


def _files(bundle: Path) -> list[Path]:
    found: dict[str, Any] = {p.relative_to(bundle).as_posix(): p for p in bundle.rglob("*")}
    return [found[name] for name in sorted(found) if found[name].is_file()]
