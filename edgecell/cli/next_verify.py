"""What ``edgecell verify`` takes after a conversion: a run alone, else also the model and the images."""

from __future__ import annotations

from pathlib import Path

from edgecell.cli.flags import DATA
from edgecell.config import DataConfig
from edgecell.config_file import load_config
from edgecell.pipeline.vouching import find_run
from edgecell.rundir import TRAINED


def words(target: Path, folder: Path, data: DataConfig | None) -> list[str | Path]:
    """The words behind ``verify`` for the files in ``folder``, made from ``target`` with ``data``.

    What is not known here stands in capitals: the images of a conversion that needed none, and the
    model behind a .tflite file from elsewhere.
    """
    home = folder.parent
    if (home / "config.toml").is_file():
        return [home]
    model = target
    if (target / "config.toml").is_file():
        model = target / TRAINED
    run = find_run(model)
    if target.suffix == ".tflite":
        model = Path("MODEL") if run is None else run.path / TRAINED
    if data is None and run is not None:
        data = load_config(run.path / "config.toml").data
    return [home, "--reference", model, *(["--data", "IMAGES"] if data is None else flags(data))]


def flags(data: DataConfig) -> list[str]:
    """The flags that name these images: the source, and what is not as it is without a flag."""
    usual, found = DataConfig(), ["--data", data.source]
    for flag in DATA[1:]:
        key = flag.field.removeprefix("data.")
        value = getattr(data, key)
        if value != getattr(usual, key):
            found += [flag.name] if flag.switch else [flag.name, str(value)]
    return found
