"""Images and labels: from a name, file or folder to disjoint train, val and test splits."""

from __future__ import annotations

from edgecell.data.grid import sample_grid, save_grid
from edgecell.data.load import load_dataset
from edgecell.data.medmnist_files import fetch, list_catalog
from edgecell.data.stats import describe
from edgecell.data.types import SPLITS, Dataset, ImageSource, Split, materialize

__all__ = [
    "SPLITS",
    "Dataset",
    "ImageSource",
    "Split",
    "describe",
    "fetch",
    "list_catalog",
    "load_dataset",
    "materialize",
    "sample_grid",
    "save_grid",
]
