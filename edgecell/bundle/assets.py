"""The model as a file among an app's own, for samples that cannot read it from the bundle's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_bytes, atomic_write_json

ANDROID = "src/main/assets"


def make_android(card: dict[str, Any], bundle: Path, sample: Path) -> None:
    """Copy the model and what model.json says of it into the assets of the Gradle module."""
    model = card["model"]["file"]
    atomic_write_bytes(sample / ANDROID / model, (bundle / model).read_bytes())
    atomic_write_json(sample / ANDROID / "model.json", card)
