"""A folder of images, one sub-folder per class, with or without train, val and test folders above.

    cells/train/monocyte/0001.jpg   or   cells/monocyte/0001.jpg

Images are decoded when they are read, so that a large folder does not fill the memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgecell.config import DataConfig
from edgecell.data.listing import EXTENSIONS, SPLIT_WORDS, Listing, natural, to_dataset
from edgecell.data.nesting import repeated_below, wrapping
from edgecell.data.own_output import is_own_output
from edgecell.data.sources import FileSource
from edgecell.data.splits import require_two
from edgecell.data.types import Dataset, Split
from edgecell.errors import DataError
from edgecell.naming import listed


@dataclass
class _Ignored:
    """What was passed over, for one note per kind."""

    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        lines = []
        if self.folders:
            lines.append(
                f"folders ignored, no split or class in them: {', '.join(self.folders[:8])}"
            )
        if self.files:
            lines.append(
                f"files ignored, hidden or no image: {len(self.files)} (for example {self.files[0]})"
            )
        if self.outside:
            lines.append(
                f"images ignored, outside any class folder: {len(self.outside)} (for example {self.outside[0]})"
            )
        if self.own:
            lines.append(f"folders ignored, written by edgecell: {listed(self.own)}")
        return lines


def load_folder(path: Path, config: DataConfig) -> Dataset:
    """An image folder as a data set; see :func:`list_folder` and :func:`to_dataset`."""
    return to_dataset(list_folder(path), config)


def list_folder(path: Path) -> Listing:
    """The images of a folder, with the splits it gives.

    Split folders may be in any case and be called training, valid, validation or testing; without
    any, all images are train. Class names are those of train, in natural order; other splits are
    matched to them regardless of case. Images may lie deeper inside their class folder; a note says
    where that looks as if the classes lay deeper. Links to folders are followed, but not back up.

    Raises:
        DataError: no images, no train folder, one class, a class that train lacks, an unreadable file.
    """
    ignored = _Ignored()
    split_folders = _split_folders(path, ignored)
    if split_folders:
        found = {
            name: _class_files(path, folder, ignored) for name, folder in split_folders.items()
        }
    else:
        found = {"train": _class_files(path, path, ignored)}
    if not any(found["train"].values()):
        raise DataError(_nothing_found(path, split_folders.get("train", path)))
    class_names = tuple(sorted(found["train"], key=natural))
    if len(class_names) < 2 and _wrapped(path):
        raise DataError(_nothing_found(path, path))
    if len(class_names) < 2 and not split_folders:
        _refuse_wrapping(path, class_names[0], found["train"][class_names[0]])
    require_two(str(split_folders.get("train", path)), class_names)
    nested = repeated_below(found["train"], depth=1 if split_folders else 0)
    return Listing(
        kind="folder",
        name=path.resolve().name,
        root=path,
        class_names=class_names,
        splits={name: _split(path, name, classes, class_names) for name, classes in found.items()},
        notes=[*ignored.notes(), *filter(None, [nested])],
    )


def images_below(folder: Path) -> tuple[list[Path], list[str]]:
    """All images below ``folder`` in natural order, whatever folders they lie in; and notes.

    Raises:
        DataError: a folder cannot be read.
    """
    ignored = _Ignored()
    found = _images_below(folder, folder, ignored)
    return [folder / path for path in found], ignored.notes()


def _split_folders(path: Path, ignored: _Ignored) -> dict[str, Path]:
    """The split folders by split, in the order train, val, test; empty when there are none."""
    folders = _subfolders(path)
    found: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_WORDS.get(folder.name.casefold())
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{path} has two folders for {split}: {found[split].name} and {folder.name}; keep one"
            )
        found[split] = folder
    if not found:
        return {}
    if "train" not in found:
        names = ", ".join(folder.name for folder in found.values())
        raise DataError(f"{path} has {names} but no train folder; add one, named train")
    others = [folder.name for folder in folders if folder not in found.values()]
    ignored.folders.extend(sorted(others, key=natural))
    ignored.outside.extend(_images_directly_in(path, ignored))
    return {name: found[name] for name in ("train", "val", "test") if name in found}


def _class_files(root: Path, folder: Path, ignored: _Ignored) -> dict[str, list[str]]:
    """Image paths below ``root`` by class folder name; a class folder without images is left out."""
    classes: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for class_folder in _subfolders(folder):
        if _leads_up(os.path.realpath(class_folder), os.path.realpath(folder)):
            ignored.folders.append(f"{class_folder.relative_to(root).as_posix()} (links back up)")
            continue
        if is_own_output(str(class_folder)):
            ignored.own.append(class_folder.relative_to(root).as_posix())
            continue
        key = class_folder.name.casefold()
        if key in seen:
            raise DataError(
                f"{folder} has the classes {seen[key]} and {class_folder.name}, which differ in case only; merge them"
            )
        seen[key] = class_folder.name
        files = _images_below(root, class_folder, ignored)
        if not files and not SPLIT_WORDS.get(key):
            ignored.folders.append(f"{class_folder.relative_to(root).as_posix()} (no images)")
        if files:
            classes[class_folder.name] = files
    ignored.outside.extend(_images_directly_in(folder, ignored))
    return classes


def _subfolders(path: Path) -> list[Path]:
    try:
        folders = [p for p in path.iterdir() if not p.name.startswith(".") and p.is_dir()]
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from error
    return sorted(folders, key=lambda p: natural(p.name))


def _images_directly_in(folder: Path, ignored: _Ignored) -> list[str]:
    images: list[str] = []
    for child in sorted(folder.iterdir()):
        if child.is_file():
            (images if _is_image(child.name) else ignored.files).append(child.name)
    return images


def _images_below(root: Path, folder: Path, ignored: _Ignored) -> list[str]:
    """Sorted image paths below ``folder``; linked folders are followed, each once."""
    images: list[str] = []
    top = os.path.realpath(folder)
    visited = {top}

    def unreadable(error: OSError) -> None:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for here, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        inside = Path(here).relative_to(root).as_posix()
        shown = [f for f in sorted(folders) if not f.startswith(".")]
        own = [f for f in shown if is_own_output(os.path.join(here, f))]  # noqa: PTH118
        ignored.own.extend(f"{inside}/{f}" for f in own)
        shown = [f for f in shown if f not in own]
        folders[:] = [f for f in shown if _first_visit(visited, here, f, top)]
        ignored.folders.extend(
            f"{inside}/{f} (links back up)" for f in shown if _leads_up(_real(here, f), top)
        )
        for name in files:
            (images if _is_image(name) else ignored.files).append(f"{inside}/{name}")
    return sorted(images, key=natural)


def _first_visit(visited: set[str], here: str, name: str, top: str) -> bool:
    real = _real(here, name)
    if real in visited or _leads_up(real, top):
        return False
    visited.add(real)
    return True


def _real(here: str, name: str) -> str:
    return os.path.realpath(os.path.join(here, name))  # noqa: PTH118


def _leads_up(real: str, top: str) -> bool:
    """Whether ``real`` is ``top`` or holds it: other classes' images would come in by that way."""
    return top == real or top.startswith(real.rstrip(os.sep) + os.sep)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122


def _split(
    root: Path, name: str, classes: dict[str, list[str]], class_names: tuple[str, ...]
) -> Split:
    number = {class_name.casefold(): i for i, class_name in enumerate(class_names)}
    unknown = [c for c in classes if c.casefold() not in number]
    if unknown:
        listed = ", ".join(f"'{c}'" for c in unknown[:8])
        raise DataError(
            f"{root}: {name} has the classes {listed}, which train has not; train has"
            f" {', '.join(class_names[:20])}"
        )
    rows = sorted(
        ((number[c.casefold()], path) for c, paths in classes.items() for path in paths),
        key=lambda r: r[0],
    )
    if not rows:
        raise DataError(
            f"{root}: the {name} folder has no images; fill it or remove it, then {name} is made from train"
        )
    return Split(
        name,
        FileSource(root, [path for _, path in rows]),
        np.array([label for label, _ in rows], np.int64),
    )


def _wrapped(path: Path) -> list[Path]:
    """Sub-folders that hold split folders themselves: the data set lies one level deeper."""
    return [
        p
        for p in _subfolders(path)
        if any(q.name.casefold() in SPLIT_WORDS for q in _subfolders(p))
    ]


def _refuse_wrapping(path: Path, only: str, images: list[str]) -> None:
    """Refuse a folder around all classes, taken for the one class there is."""
    around = wrapping(images)
    if around is not None:
        inner, folders = around
        raise DataError(
            f"{path} has one class only ('{only}'), a classifier needs at least 2; below it are the"
            f" folders {listed(folders)}; did you mean {path / inner}?"
        )


def _nothing_found(path: Path, folder: Path) -> str:
    inner = _wrapped(path)
    if inner:
        return f"{path} has no class folders with images; did you mean {inner[0]}?"
    return (
        f"{folder} has no class folders with images; wanted FOLDER/[train/]CLASS/*.png"
        f" (also {', '.join(sorted(e[1:] for e in EXTENSIONS - {'.png'}))})"
    )
