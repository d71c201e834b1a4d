"""What a stage leaves behind: measurements with units, in a versioned JSON envelope."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from edgecell.errors import ArtifactError

SCHEMA_VERSION = 1
UNITS = ("fraction", "ms", "s", "bytes", "nat", "quanta", "count", "images/s", "1")

Kind = Literal["measured", "estimated"]


@dataclass(frozen=True)
class Measurement:
    """A number with its unit, sample size and interval, or the reason why there is none.

    Exactly one of ``value`` and ``reason`` is set. ``low`` and ``high`` are the ends of a 95 %
    interval in the same unit; ``n`` is the number of images or runs behind the value.

    Raises:
        ValueError: neither or both of value and reason, a non-finite value, an unknown unit or
            kind, an interval upside down.
    """

    value: float | None
    unit: str
    n: int | None = None
    low: float | None = None
    high: float | None = None
    kind: Kind = "measured"
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a measurement has a value or a reason, exactly one of them")
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}; allowed: {', '.join(UNITS)}")
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a measurement must be finite, got {number}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval [{self.low}, {self.high}] is upside down")
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind {self.kind!r}; allowed: {', '.join(get_args(Kind))}")

    @classmethod
    def within(
        cls, value: float, unit: str, n: int, interval: tuple[float, float] | None
    ) -> Measurement:
        """A measurement with the ends of its interval, or without where there is none."""
        low, high = interval or (None, None)
        return cls(value, unit, n, low, high)

    @classmethod
    def missing(cls, unit: str, reason: str) -> Measurement:
        """A measurement that could not be made, with the reason a reader will see."""
        return cls(None, unit, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; absent fields are left out, so that none is ever null by accident."""
        if self.reason is not None:
            return {"reason": self.reason, "unit": self.unit}
        out: dict[str, Any] = {"value": self.value, "unit": self.unit, "kind": self.kind}
        for key in ("n", "low", "high"):
            if getattr(self, key) is not None:
                out[key] = getattr(self, key)
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Measurement:
        """The inverse of :meth:`to_json`; ArtifactError when the object is not a measurement."""
        try:
            return cls(
                data.get("value"),
                data["unit"],
                data.get("n"),
                data.get("low"),
                data.get("high"),
                data.get("kind", "measured"),
                data.get("reason"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"not a measurement: {data!r} ({error})") from error


def envelope(
    verb: str,
    *,
    created: str,
    inputs: dict[str, str],
    outputs: dict[str, str],
    environment: dict[str, Any],
    config: dict[str, Any],
    results: dict[str, Any],
) -> dict[str, Any]:
    """The record of one stage: what it read and wrote (path → sha256), where, how, and the outcome."""
    data = {
        "schema": f"edgecell/{verb.split('/')[0]}",
        "schema_version": SCHEMA_VERSION,
        "verb": verb,
        "created": created,
        "inputs": inputs,
        "outputs": outputs,
        "environment": environment,
        "config": config,
        "results": results,
    }
    return data | {"seal": seal(data)}


def seal(document: dict[str, Any]) -> str:
    """sha256 of a JSON object without its own "seal": nothing in it was changed since it was written.

    It finds accidents and careless edits. Who edits on purpose can seal anew; only a signature
    (``edgecell bundle --sign``) tells who wrote.
    """
    plain = json.loads(json.dumps({k: v for k, v in document.items() if k != "seal"}))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# What a document of another form raises where it is read as ours.
MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


@contextmanager
def of_our_form(what: str) -> Iterator[None]:
    """Around reading from records: one of another form is an error of the file, not of the program.

    Raises:
        ArtifactError: a part that is missing, or of another type.
    """
    try:
        yield
    except MISSHAPEN as error:
        raise ArtifactError(
            f"{what} is not of the form that edgecell writes ({type(error).__name__}:"
            f" {str(error)[:120]}); make it again with the command that wrote it"
        ) from error


def is_inside(name: str) -> bool:
    """Whether a file name in a document leads to a file below the document's own folder."""
    path = PurePosixPath(name)
    return not ("\0" in name or path.is_absolute() or ".." in path.parts)


def anew(verb: str) -> str:
    """What to do about a record that cannot be read; a stage reads its own former record too."""
    return f"delete it and run 'edgecell {verb}' again"


def check_envelope(data: Any, verb: str, where: str) -> dict[str, Any]:
    """Return ``data`` when it is a record of ``verb`` that this version can read.

    Raises:
        ArtifactError: another schema, a newer version, or missing parts.
    """
    if not isinstance(data, dict) or data.get("schema") != f"edgecell/{verb.split('/')[0]}":
        raise ArtifactError(f"{where} is not an edgecell record of '{verb}'; {anew(verb)}")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactError(
            f"{where} has schema version {data.get('schema_version')}, this edgecell reads"
            f" {SCHEMA_VERSION}; {anew(verb)}"
        )
    for key in ("inputs", "outputs", "environment", "config", "results"):
        if not isinstance(data.get(key), dict):
            raise ArtifactError(f"{where} lacks its '{key}' part; {anew(verb)}")
    for key in ("inputs", "outputs"):
        if not all(isinstance(digest, str) for digest in data[key].values()):
            raise ArtifactError(f"{where}: not all of its {key} are hashes; {anew(verb)}")
    return data
