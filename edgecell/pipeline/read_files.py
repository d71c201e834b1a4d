"""The files that a stage reads, watched: another process can replace them while it works."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgecell.disk import sha256_file
from edgecell.errors import ArtifactError


class ReadFiles:
    """Files as they are when a stage begins with them; to be made before they are opened.

    A record hashes what it names when it is written. Without this it would vouch for a model that
    ``quantize`` or ``train`` put in the place of the one that was judged.

    Raises:
        ArtifactError: a file that cannot be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(paths)
        self.digests = {path: sha256_file(path) for path in self.paths}

    def require_same(self, verb: str) -> None:
        """ArtifactError where one of them is another file now; ``verb`` then writes no record."""
        for path, digest in self.digests.items():
            if not path.exists() or sha256_file(path) != digest:
                raise ArtifactError(
                    f"{path.name} was replaced while '{verb}' was at it, so nothing is recorded; run"
                    f" 'edgecell {verb}' again when the process that writes it has ended"
                )
