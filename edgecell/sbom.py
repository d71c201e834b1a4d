"""A software bill of materials of the Python that runs: every installed package, as CycloneDX.

With ``EDGECELL_SBOM=1`` it is written beside each record and listed among its outputs, so that the audit
vouches for it too. Of one environment it is always the same file. Format: CycloneDX 1.6, JSON (ECMA-424).
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import uuid
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

FILE = "sbom.cdx.json"

_LONGEST = 60
# Of packages that put the whole text of their licence where its name belongs: what the text begins with.
_TEXTS = (
    ("Apache License", "Apache-2.0"),
    ("Permission is hereby granted, free of charge", "MIT"),
    ("Redistribution and use in source and binary forms", "BSD"),
    ("PYTHON SOFTWARE FOUNDATION", "PSF-2.0"),
)


def bill(packages: Iterable[metadata.Distribution] | None = None) -> dict[str, Any]:
    """The bill as JSON types; by default of all packages that this Python finds.

    Components are sorted by name. A dependency that is not installed, an extra's for one, is no part of it.
    """
    found: dict[str, metadata.Distribution] = {}
    for package in metadata.distributions() if packages is None else packages:
        if package.metadata["Name"]:  # the first on the path is the one that is imported
            found.setdefault(canonicalize_name(package.metadata["Name"]), package)
    references = {name: _reference(name, package.version) for name, package in found.items()}
    components = [_component(references[name], found[name]) for name in sorted(found)]
    body = {
        "metadata": {"component": _interpreter(), "tools": {"components": [_ours()]}},
        "components": components,
        "dependencies": [
            {"ref": references[name], "dependsOn": _needs(found[name], references)}
            for name in sorted(found)
        ],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        **body,
    }


def licence_of(facts: metadata.PackageMetadata) -> str | None:
    """What a package says of its licence, in a few words; None where it says nothing."""
    short = _field(facts, "License-Expression") or _field(facts, "License")
    if short and len(short) <= _LONGEST and "\n" not in short:
        return short
    known = [name for text, name in _TEXTS if text.lower() in short.lower()]
    classified = [
        line.rpartition(" :: ")[2]
        for line in facts.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    return "; ".join(known or classified) or None


def _field(facts: metadata.PackageMetadata, name: str) -> str:
    return facts[name] if name in facts else ""  # noqa: SIM401  its type knows no get


def _reference(name: str, version: str) -> str:
    """The package URL, which is also how the bill refers to it."""
    return f"pkg:pypi/{name}@{re.sub(r'[^0-9A-Za-z.+_-]', '_', version).replace('+', '%2B')}"


def _component(reference: str, package: metadata.Distribution) -> dict[str, Any]:
    facts = package.metadata
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": facts["Name"],
        "version": package.version,
        "purl": reference,
    }
    expression, said = _field(facts, "License-Expression"), licence_of(facts)
    if expression:
        component["licenses"] = [{"expression": expression}]
    elif said:
        component["licenses"] = [{"license": {"name": said}}]
    return component


def _needs(package: metadata.Distribution, references: dict[str, str]) -> list[str]:
    """The installed packages that one needs without any extra."""
    needed = set()
    for line in package.requires or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue  # of a package older than the rule for such lines
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            needed.add(references.get(canonicalize_name(wanted.name), ""))
    return sorted(needed - {""})


def _interpreter() -> dict[str, Any]:
    return {
        "type": "platform",
        "bom-ref": "python",
        "name": platform.python_implementation(),
        "version": platform.python_version(),
        "properties": [
            {"name": "edgecell:system", "value": platform.system()},
            {"name": "edgecell:machine", "value": platform.machine()},
        ],
    }


def _ours() -> dict[str, Any]:
    from edgecell import __version__

    return {"type": "application", "name": "edgecell", "version": __version__}
