"""``edgecell inspect``: what any .tflite file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.inspection import inspect
from edgecell.tflite_file import read_bytes


def inspect_file(path: Path) -> dict[str, Any]:
    """Everything that is shown of the file at ``path``, in JSON types.

    Raises:
        ArtifactError: missing, unreadable, not a TFLite file, or a damaged one.
    """
    return inspect(read_bytes(path), path.name)
