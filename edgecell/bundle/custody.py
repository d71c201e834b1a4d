"""What of a bundle is as it was made: every file against model.json, and the signature over all."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from edgecell.bundle.reader import MANIFEST, MOST_BYTES, Files, card_of, files_of
from edgecell.bundle.signing import SIGNATURE, SUMS, is_signed, sums
from edgecell.custody import Custody
from edgecell.disk import sha256_bytes
from edgecell.errors import ArtifactError
from edgecell.record import seal

_MOST_FILES = 10_000


def audit_bundle(path: Path, key: Any = None) -> Custody:
    """Hash every file of a bundle's folder or zip; with a public ``key``, check who signed it.

    Nothing may be in a bundle that model.json does not list. Without a key a signature is said to be
    there and not checked.

    Raises:
        ArtifactError: no bundle, one of a later version, or one that cannot be read.
    """
    files = files_of(path)
    card = card_of(files, path)
    found = Custody()
    names = files.names()
    if len(names) > _MOST_FILES:
        raise ArtifactError(f"{path} holds {len(names)} files; this is no bundle of edgecell")
    if "seal" not in card:
        found.add(
            "note", MANIFEST, "has no seal (made by an older edgecell): its text is not vouched for"
        )
    elif card["seal"] != seal(card):
        found.add("altered", MANIFEST, "was altered: its seal is not that of its content")
    hashes = _hashes(files, names, found)
    _check_listed(card, hashes, names, found)
    _check_signature(files, hashes, names, key, found)
    return found


def _hashes(files: Files, names: list[str], found: Custody) -> dict[str, str]:
    """sha256 of every file that can be read and is part of the content."""
    hashes, left = {}, MOST_BYTES
    for name in names:
        if name in (SUMS, SIGNATURE):
            continue
        if ".." in PurePosixPath(name).parts:
            found.add("altered", name, "lies outside the bundle's folder")
            continue
        try:
            data = files.read(name, left)
        except (ArtifactError, ValueError) as error:
            found.add("altered", name, f"cannot be read ({error})")
            continue
        left -= len(data)
        hashes[name] = sha256_bytes(data)
    return hashes


def _check_listed(
    card: dict[str, Any], hashes: dict[str, str], names: list[str], found: Custody
) -> None:
    listed = card.get("files")
    if not isinstance(listed, dict):
        found.add("altered", MANIFEST, "has no list of files")
        return
    for name, digest in sorted(listed.items()):
        if name not in names:
            found.add("missing", name, "is missing; model.json lists it")
        elif name in hashes and hashes[name] != digest:
            said = f"was altered: sha256 {hashes[name][:12]}…, model.json says {str(digest)[:12]}…"
            found.add("altered", name, said)
        elif name in hashes:
            found.files += 1
    for name in sorted(set(hashes) - set(listed) - {MANIFEST}):
        found.add("altered", name, "was added: model.json does not list it")
    model = card.get("model")
    file = model.get("file") if isinstance(model, dict) else None
    if not isinstance(model, dict) or model.get("sha256") != listed.get(file):
        found.add("altered", MANIFEST, "says two different things of its model")


def _check_signature(
    files: Files, hashes: dict[str, str], names: list[str], key: Any, found: Custody
) -> None:
    signed = {SUMS, SIGNATURE} & set(names)
    if not signed:
        if key is not None:
            found.add("missing", SIGNATURE, "is missing: the bundle is not signed")
        return
    if len(signed) == 1:
        found.add(
            "missing", ({SUMS, SIGNATURE} - signed).pop(), "is missing, its other half is there"
        )
        return
    text, signature = files.read(SUMS, MOST_BYTES), files.read(SIGNATURE, 1_000)
    if text != sums(hashes):
        found.add("altered", SUMS, f"does not fit the files: {_difference(text, hashes)}")
    if key is None:
        found.add("note", SIGNATURE, "was not checked; name the signer's key with --key PUBLIC.pem")
    elif not is_signed(text, signature, key):
        found.add("altered", SIGNATURE, "is not a signature by the owner of that key")
    else:
        found.files += 2


def _difference(text: bytes, hashes: dict[str, str]) -> str:
    stated = set(text.decode("utf-8", "replace").splitlines())
    wanted = set(sums(hashes).decode().splitlines())
    names = sorted({line.partition("  ")[2] for line in stated ^ wanted})
    return json.dumps(names[:3], ensure_ascii=False) if names else "the order of its lines"
