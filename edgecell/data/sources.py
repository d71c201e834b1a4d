"""Where pixels come from: an array in memory, files on disk, or some of another source.

Beside the ImageSource protocol each source here has ``digests()``: one digest per image, equal for
equal content, which the duplicate search and the fingerprints share.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.data.npz_member import FileArray
from edgecell.data.types import ImageSource
from edgecell.documents import DocumentError, read_regular
from edgecell.errors import DataError
from edgecell.preprocess import MAX_BYTES, decode_file, to_rgb

DIGEST_BYTES = 16
THREADED_ABOVE = 20_000


class ArraySource:
    """uint8 (N, h, w) or (N, h, w, 1|3|4), in memory or on disk; images are named ``label[index]``."""

    def __init__(self, images: NDArray[np.uint8] | FileArray, label: str) -> None:
        self.images = images
        self.label = label
        self._digests: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> NDArray[np.uint8]:
        """The image as RGB uint8 (h, w, 3); DataError when it cannot be decoded."""
        return to_rgb(self.images[index])

    def name(self, index: int) -> str:
        """A name a person can find the image by."""
        return f"{self.label}[{index}]"

    def digests(self) -> list[bytes]:
        """Digest of each image's pixels."""
        if self._digests is None:
            self._digests = [
                digest_bytes(np.ascontiguousarray(image).data) for image in self.images
            ]
        return self._digests


class FileSource:
    """Image files, decoded each time they are read; named by their path below ``root``."""

    def __init__(self, root: Path, paths: list[str]) -> None:
        self.root = root
        self.paths = paths
        self._digests: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> NDArray[np.uint8]:
        """The image as RGB uint8 (h, w, 3); DataError when it cannot be decoded."""
        return decode_file(self.root / self.paths[index])

    def name(self, index: int) -> str:
        """A name a person can find the image by."""
        return self.paths[index]

    def digests(self) -> list[bytes]:
        """Digest of each file's bytes.

        The same picture saved twice with other settings differs; finding that needs a perceptual
        hash, not an exact one.

        Raises:
            DataError: a file cannot be read.
        """
        if self._digests is None:
            workers = cpu_count() or 1
            if len(self.paths) > THREADED_ABOVE and workers > 1:
                with ThreadPoolExecutor(workers) as pool:
                    self._digests = list(pool.map(self._digest, self.paths, chunksize=256))
            else:
                self._digests = [self._digest(path) for path in self.paths]
        return self._digests

    def _digest(self, path: str) -> bytes:
        try:
            return digest_bytes(read_regular(self.root / path, MAX_BYTES))
        except DocumentError as error:
            raise DataError(f"{self.root / path} cannot be used: {error}; remove it") from error
        except OSError as error:
            raise DataError(
                f"cannot read {self.root / path}: {error.strerror}; remove it or allow reading it"
            ) from error


class SubsetSource:
    """Some images of another source, in the order of ``indices``."""

    def __init__(self, source: ImageSource, indices: NDArray[np.int64]) -> None:
        self.source = source
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> NDArray[np.uint8]:
        """The image as RGB uint8 (h, w, 3); DataError when it cannot be decoded."""
        return self.source.read(int(self.indices[index]))

    def name(self, index: int) -> str:
        """A name a person can find the image by."""
        return self.source.name(int(self.indices[index]))

    def digests(self) -> list[bytes]:
        """The digests of the images that are in the subset."""
        whole = digests(self.source)
        return [whole[i] for i in self.indices]


def digest_bytes(data: Any) -> bytes:
    """BLAKE2b of a bytes-like object, short enough to hold a million of them."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def digests(source: ImageSource) -> list[bytes]:
    """One digest per image; of the decoded RGB pixels for a source that has no digests of its own."""
    if isinstance(source, ArraySource | FileSource | SubsetSource):
        return source.digests()
    return [digest_bytes(np.ascontiguousarray(source.read(i)).data) for i in range(len(source))]


def subset(source: ImageSource, indices: NDArray[np.int64]) -> SubsetSource:
    """``source`` at ``indices``; a subset of a subset points at the first source."""
    indices = np.asarray(indices, np.int64)
    if isinstance(source, SubsetSource):
        return SubsetSource(source.source, source.indices[indices])
    return SubsetSource(source, indices)
