"""``--class-names``: names for classes that are numbers only, or the order of classes that have names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.disk import sha256_bytes
from edgecell.errors import ConfigError, DataError


def named(own: tuple[str, ...], given: str, where: str) -> tuple[str, ...]:
    """The typed names where the classes are numbers from 0 only; else ``own`` as it is.

    ``given`` is "" for none, ``A,B,C``, or the path of a text file with one name per line.

    Raises:
        ConfigError: empty or repeated names. DataError: the file cannot be read, or another number
            of names than of classes.
    """
    if not given or own != tuple(str(number) for number in range(len(own))):
        return own
    names = _parse(given)
    _same_number(names, own, where)
    return names


def ordered(dataset: Dataset, given: str) -> Dataset:
    """``dataset`` with its classes in the typed order and spelling; the labels follow.

    A changed order changes the fingerprint: a model keeps to the order it was trained with.

    Raises:
        as :func:`named`, and DataError where the names are not those of the data.
    """
    own = dataset.class_names
    numbered = named(own, given, dataset.name)
    if numbered != own:
        return replace(dataset, class_names=numbered)
    names = _parse(given) if given else own
    if names == own:
        return dataset
    _same_number(names, own, dataset.name)
    place = {name.casefold(): i for i, name in enumerate(names)}
    if sorted(place) != sorted(name.casefold() for name in own):
        raise DataError(
            f"--class-names says {_listing(names)}, but {dataset.name} names its classes itself:"
            f" {_listing(own)}; leave --class-names away, or give these in another order"
        )
    order = np.array([place[name.casefold()] for name in own], np.int64)
    parts = (dataset.split(name) for name in SPLITS)
    train, val, test = (_renumbered(part, order) for part in parts)
    origin = dict(dataset.origin)
    if order.tolist() != list(range(len(own))):
        origin["fingerprint"] = sha256_bytes(f"{dataset.fingerprint}{order.tolist()}".encode())
    return replace(dataset, class_names=names, train=train, val=val, test=test, origin=origin)


def _renumbered(split: Split, order: NDArray[np.int64]) -> Split:
    """``split`` with class, or label, i at the place ``order[i]``."""
    moved = split.labels[:, np.argsort(order)] if split.multi_label else order[split.labels]
    return replace(split, labels=moved)


def _same_number(names: tuple[str, ...], own: tuple[str, ...], where: str) -> None:
    if len(names) != len(own):
        raise DataError(
            f"--class-names has {len(names)} names and {where} {len(own)} classes"
            f" ({_listing(own)}); give one name per class, in the order of the labels"
        )


def _parse(given: str) -> tuple[str, ...]:
    names = _read(Path(given).expanduser()) if _is_path(given) else given.split(",")
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()  # a last line end or comma
    folded = [name.casefold() for name in names]
    if not names or not all(names) or len(set(folded)) < len(names):
        raise ConfigError(
            f"--class-names {given!r} has no, empty or repeated names; wanted A,B,C or a text file"
            " with one name per line"
        )
    return tuple(names)


def _is_path(given: str) -> bool:
    return "," not in given and (
        any(c in given for c in "/\\") or given.lower().endswith((".txt", ".labels", ".names"))
    )


def _read(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save the class names as UTF-8") from error
    except OSError as error:
        raise DataError(
            f"cannot read the class names in {path}: {error.strerror}; give --class-names A,B,C"
            " or a text file with one name per line"
        ) from error


def _listing(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown}, …" if len(names) > 10 else shown
