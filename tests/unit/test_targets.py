"""The images of a run, looked for from another folder than the one it was trained from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys

from edgecell.config import Config, DataConfig
from edgecell.errors import DataError
from edgecell.pipeline.targets import Target, load_data
from edgecell.rundir import RunDir


@pytest.mark.parametrize("source", ["cells", "data/cells", "cells.npz"])
def test_images_that_are_not_there_are_the_run_s_and_no_flag(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    config = Config(name="cells", data=DataConfig(source=source))
    target = Target(Path("run/train/model.keras"), RunDir(Path("run")), config)
    with pytest.raises(
        DataError, match=f"run was trained on are not at '{source}' as seen"
    ) as told:
        load_data(target, None, progress=False)
    assert "call edgecell from the folder it was trained from" in str(told.value)
    with pytest.raises(DataError, match="--data takes"):  # a flag is spoken of where one was given
        load_data(target, config.data, progress=False)


def test_images_that_are_there_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays: dict[str, np.ndarray] = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"], labels = toys.images(8, seed=seed)
        arrays[f"{split}_labels"] = labels[:, None]
    np.savez("cells.npz", **arrays)
    config = replace(Config(name="cells"), data=DataConfig(source="cells.npz"))
    target = Target(Path("run/train/model.keras"), RunDir(Path("run")), config)
    assert len(load_data(target, None, progress=False).val) == 8
