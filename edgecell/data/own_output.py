"""Folders that edgecell itself wrote: their figures are no images to learn from."""

from __future__ import annotations

import os

_MARKS = ("record.json", "eda.json", "model.json")
"""What a stage of a run, a look at data and a bundle hold beside their images."""
_HEAD = 200
_SCHEMA = b'"schema": "edgecell/'


def is_own_output(folder: str) -> bool:
    """Whether ``folder`` is a stage of a run, what ``data eda`` wrote, or a bundle."""
    return any(_is_ours(os.path.join(folder, mark)) for mark in _MARKS)  # noqa: PTH118


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            return _SCHEMA in stream.read(_HEAD)
    except OSError:
        return False
