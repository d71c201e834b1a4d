"""The state of a fine-tuning in RUN/quantize, so that a killed one goes on and a finished one is read."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import Any

from edgecell import device, disk
from edgecell.checkpoint import Checkpoint
from edgecell.config import TuningConfig
from edgecell.pipeline.searching import Material


def state_key(material: Material, verb: str, settings: TuningConfig, before: str = "") -> str:
    """What the outcome depends on, as a hash; ``before`` is the key of the fine-tuning it follows."""
    config = material.config
    parts: dict[str, Any] = {
        "model": disk.sha256_file(material.target.model),
        "data": material.dataset.fingerprint,
        "calibration": material.chosen.manifest["images_sha256"],
        "augment": asdict(config.augment),
        "class_weights": config.train.class_weights,
        "label_smoothing": config.train.label_smoothing,
        verb: asdict(settings),
    }
    if before:
        parts["before"] = before
    return disk.sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def open_state(material: Material, name: str, key: str) -> Checkpoint:
    """The state of the fine-tuning ``name`` ("qat", "pruned0.5") with this ``key``.

    It stays when the training is finished: the same command again, say with another input type, does
    not train again. One with other settings replaces it.
    """
    folder = material.run.stage("quantize") / f"{name}-state"
    state = folder / key[:12]
    for other in folder.iterdir() if folder.is_dir() else ():
        if other.is_dir() and other.name != state.name:
            shutil.rmtree(other)
    return Checkpoint(state)


def seed(material: Material, settings: TuningConfig) -> None:
    """Seed TensorFlow for a fine-tuning."""
    device.configure(settings.seed, material.config.train.deterministic)
