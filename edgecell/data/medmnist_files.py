"""An official MedMNIST file on disk: found under the root and checked, else downloaded."""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import pooch
from tqdm import tqdm

from edgecell.data.catalog import SIZES, CatalogEntry, RemoteFile, catalog
from edgecell.disk import TEMPORARY
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.lock import claimed, left_behind

RETRIES = 2
TIMEOUT_SECONDS = 30
LARGE_FILE_BYTES = 200_000_000
_CHUNK = 1 << 20


def fetch(name: str, size: int, root: str | Path, progress: bool = False) -> Path:
    """The path of an official file whose MD5 is right; downloaded when it is not under ``root``.

    Downloads go to a temporary file that takes its name only after its MD5 was checked.
    ``progress`` shows a bar on stderr.

    Raises:
        ConfigError: a size that MedMNIST does not have.
        DataError: no such 2D set; a file with another MD5 is there (it is left alone); no download.
    """
    entry = catalog().get(name.lower())
    if entry is None:
        raise DataError(f"no MedMNIST 2D set '{name}'; see 'edgecell data list'")
    if size not in entry.files:
        raise ConfigError(
            f"{entry.name} has no size {size}; allowed: {', '.join(map(str, entry.files))}"
        )
    remote = entry.files[size]
    folder = Path(root).expanduser()
    path = folder / remote.file_name
    if path.is_file():
        _check(path, remote, progress)
        _clear(folder, remote)
        return path
    _download(entry, remote, folder, str(root), progress)
    return path


def list_catalog(root: str | Path) -> list[dict]:
    """Each 2D set as a JSON-able row; ``present`` lists the sizes whose file is under ``root``."""
    folder = Path(root).expanduser()
    return [
        {
            "name": entry.name,
            "task": entry.task,
            "supported": True,
            "classes": len(entry.class_names),
            "class_names": list(entry.class_names),
            "channels": entry.channels,
            "samples": entry.samples,
            "sizes": list(entry.files),
            "present": [
                size
                for size in SIZES
                if size in entry.files and (folder / entry.files[size].file_name).is_file()
            ],
        }
        for entry in catalog().values()
    ]


def _check(path: Path, remote: RemoteFile, progress: bool) -> None:
    try:
        found = _md5(path, progress and path.stat().st_size > LARGE_FILE_BYTES)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if found != remote.md5:
        raise DataError(
            f"{path} is not the official file: its MD5 is {found}, the official one {remote.md5};"
            " move it away to download it again, or give it by its path (--data FILE.npz) if it is yours"
        )


def _md5(path: Path, progress: bool) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    size = path.stat().st_size
    with (
        path.open("rb") as stream,
        tqdm(
            total=size,
            unit="B",
            unit_scale=True,
            desc=f"checking {path.name}",
            disable=not progress,
        ) as bar,
    ):
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _download(
    entry: CatalogEntry, remote: RemoteFile, folder: Path, typed: str, progress: bool
) -> None:
    logging.getLogger("pooch").setLevel(logging.WARNING)
    scratch = _scratch(folder, remote)
    store = pooch.create(
        path=scratch,
        base_url="",
        registry={remote.file_name: f"md5:{remote.md5}"},
        urls={remote.file_name: remote.url},
        retry_if_failed=RETRIES,
    )
    downloader = pooch.HTTPDownloader(
        progressbar=progress, chunk_size=_CHUNK, timeout=TIMEOUT_SECONDS
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with claimed(folder, _stage(remote)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                store.fetch(remote.file_name, downloader=downloader)
                (scratch / remote.file_name).replace(folder / remote.file_name)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except (
        OSError,
        ValueError,
    ) as error:  # requests' errors are OSErrors, a wrong MD5 is a ValueError
        raise DataError(
            f"{remote.file_name} is not under {typed} and could not be downloaded ({_reason(error)});"
            f" get it from the official MedMNIST record on Zenodo ({remote.url}, MD5 {remote.md5})"
            f" and name its folder with --root"
        ) from error


def _clear(folder: Path, remote: RemoteFile) -> None:
    """Remove what a download leaves that was killed after its file had its name."""
    if not left_behind(folder, _stage(remote)):
        return
    # One that is at its end just now clears up itself, and a folder that is only read stays as it is.
    with suppress(ArtifactError), claimed(folder, _stage(remote)):
        shutil.rmtree(_scratch(folder, remote), ignore_errors=True)


def _stage(remote: RemoteFile) -> str:
    return f"fetch {remote.file_name}"


def _scratch(folder: Path, remote: RemoteFile) -> Path:
    """A folder of its own: a download that is killed leaves nothing that the next does not find."""
    return folder / f".{remote.file_name}{TEMPORARY}"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError) and "hash" in str(error).lower():
        return "the file that came has another MD5"
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return {
        "ConnectionError": "no connection",
        "ProxyError": "no connection through the proxy",
        "SSLError": "no secure connection",
        "ConnectTimeout": "the server did not answer",
        "ReadTimeout": "the server stopped answering",
        "ChunkedEncodingError": "the connection broke",
    }.get(type(error).__name__, type(error).__name__)
