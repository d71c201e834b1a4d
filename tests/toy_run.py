"""A run of the toy on its own images: trained and quantized, as the pipeline leaves it, in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import toys

from edgecell.config import Config, DataConfig, ModelConfig, QuantizeConfig
from edgecell.config_file import to_toml
from edgecell.data import load_dataset
from edgecell.data.channels import measure
from edgecell.disk import atomic_write_text
from edgecell.pipeline.conversion import quantize_target
from edgecell.progress import Silent
from edgecell.record import Measurement
from edgecell.rundir import RunDir
from edgecell.tasks import MULTI_CLASS

CALIBRATED_ON = 32


def save_images(path: Path) -> Path:
    """Images of the toy's four classes in MedMNIST layout: 64 for training, 32, and 48 for test."""
    arrays: dict[str, np.ndarray] = {"class_names": np.array(toys.CLASSES)}
    for seed, (split, count) in enumerate({"train": 64, "val": 32, "test": 48}.items()):
        arrays[f"{split}_images"], labels = toys.images(count, seed=seed + 5)
        arrays[f"{split}_labels"] = labels[:, None]
    np.savez(path, **arrays)
    return path


def make(folder: Path) -> Path:
    """``folder`` as a run with a trained model, a float32 and an int8 file."""
    folder.mkdir(parents=True)
    data = DataConfig(source=str(save_images(folder.parent / "toy.npz")))
    config = Config(
        name="toy",
        data=data,
        model=ModelConfig(weights="none"),
        quantize=QuantizeConfig(precisions=("float32", "int8"), calibration_images=CALIBRATED_ON),
    )
    atomic_write_text(folder / "config.toml", to_toml(config))
    run = RunDir(folder)
    model = run.stage("train") / "model.keras"
    model.parent.mkdir()
    toys.trained().save(model)
    dataset = load_dataset(data)
    results = {
        "val_accuracy": Measurement(1.0, "fraction", n=len(dataset.val)).to_json(),
        **{"best_epoch": 12, "epochs": 12, "seconds": 3.0, "device": "CPU"},
        "parameters": int(toys.trained().count_params()),
        "class_names": list(toys.CLASSES),
        "data": {
            "name": "toy",
            "task": MULTI_CLASS,
            "fingerprint": dataset.fingerprint,
            "notes": [],
        },
        "images": {name: len(dataset.split(name)) for name in ("train", "val", "test")},
        "channels": measure(*toys.images(64, seed=5)).to_json(),
    }
    run.write_record("train", inputs=[], outputs=[model], config={}, results=results)
    quantize_target(folder, lambda found: found, None, None, Silent())
    return folder
