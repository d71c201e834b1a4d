"""The MedMNIST 2D data sets: what they hold, and where their official files are.

The facts come from the medmnist package. Its ``info.py`` is loaded alone: importing the whole
package pulls in torch where there is one, and prints a plea to install it where there is none.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from edgecell.errors import DataError

SIZES = (28, 64, 128, 224)


@dataclass(frozen=True)
class RemoteFile:
    """One official .npz file."""

    file_name: str
    url: str
    md5: str


@dataclass(frozen=True)
class CatalogEntry:
    """One data set. ``task`` in MedMNIST's words; ``samples`` per split; ``files`` by image size."""

    name: str
    task: str
    class_names: tuple[str, ...]
    channels: int
    samples: dict[str, int]
    files: dict[int, RemoteFile]

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels at once."""
        return self.task.startswith("multi-label")

    @property
    def ordinal(self) -> bool:
        """Whether the classes are grades of one scale."""
        return self.task == "ordinal-regression"


@cache
def catalog() -> dict[str, CatalogEntry]:
    """Every 2D set by name, in MedMNIST's order.

    Raises:
        DataError: the medmnist package is missing or is not what it was.
    """
    info = _load_info().INFO
    return {name: _entry(name, facts) for name, facts in info.items() if "3d" not in name}


@cache
def names_3d() -> tuple[str, ...]:
    """The names of the volume sets, which edgecell refuses."""
    return tuple(name for name in _load_info().INFO if "3d" in name)


def official_entry(stem: str) -> CatalogEntry | None:
    """The entry that a file called ``stem``.npz belongs to (``bloodmnist``, ``bloodmnist_64``), or None.

    Raises:
        DataError: the name has MedMNIST's form but the medmnist package is missing.
    """
    match = re.fullmatch(r"([a-z]+mnist)(?:_(?:64|128|224))?", stem.lower())
    return catalog().get(match[1]) if match else None


def _entry(name: str, facts: dict) -> CatalogEntry:
    files = {}
    for size in SIZES:
        suffix = "" if size == 28 else f"_{size}"
        if f"url{suffix}" in facts:
            files[size] = RemoteFile(
                f"{name}{suffix}.npz", facts[f"url{suffix}"], facts[f"MD5{suffix}"].lower()
            )
    labels = facts["label"]
    return CatalogEntry(
        name=name,
        task=facts["task"],
        class_names=tuple(_short(labels[str(i)]) for i in range(len(labels))),
        channels=facts["n_channels"],
        samples=dict(facts["n_samples"]),
        files=files,
    )


def _short(label: str) -> str:
    """A class name without its closing remark in brackets, so that it fits a table."""
    return re.sub(r"\s*\(.*\)$", "", label.strip()) or label


def _load_info() -> ModuleType:
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise DataError(
            "the medmnist package, which lists the official files, is not installed;"
            " install it with: pip install --no-deps medmnist"
        )
    path = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("edgecell_medmnist_info", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DataError(
            f"the medmnist package has no {path.name}; install it again: pip install --no-deps medmnist"
        )
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it cannot make its own default folder
        spec.loader.exec_module(module)
    if not isinstance(getattr(module, "INFO", None), dict):
        raise DataError(
            "the medmnist package lists no data sets; install it again: pip install --no-deps medmnist"
        )
    return module
