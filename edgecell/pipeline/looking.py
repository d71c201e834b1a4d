"""``edgecell data show``: facts about a data set and a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.config import DataConfig
from edgecell.data import load_dataset
from edgecell.data.grid import sample_grid, save_grid
from edgecell.data.stats import describe
from edgecell.disk import atomic_write_json
from edgecell.progress import Progress

FOLDER = Path("artifacts/data")


def show_data(
    config: DataConfig, output: Path | None, per_class: int, progress: Progress
) -> tuple[dict[str, Any], Path]:
    """Describe a data set; writes ``<name>.json`` and ``<name>-samples.png``.

    Raises:
        DataError: images that cannot be used. ArtifactError: the folder cannot be written.
    """
    dataset = load_dataset(config, progress=True)
    total = sum(len(dataset.split(name)) for name in ("train", "val", "test"))
    progress.begin("reading images", total)
    facts = describe(dataset, progress=progress.advance).to_json()
    progress.advance(total)
    folder = output or FOLDER
    picture = folder / f"{dataset.name}-samples.png"
    save_grid(sample_grid(dataset, per_class), picture)
    atomic_write_json(folder / f"{dataset.name}.json", facts)
    return facts, picture
