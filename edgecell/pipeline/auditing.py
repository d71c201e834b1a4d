"""``edgecell audit``: is everything in a run or a bundle still what its records say?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecell.bundle.custody import audit_bundle
from edgecell.bundle.reader import is_bundle
from edgecell.bundle.signing import public_key
from edgecell.custody import Custody, audit_run
from edgecell.errors import ArtifactError


def audit(path: Path, key_file: Path | None = None) -> Custody:
    """What was altered, is missing or does not fit in a run with its bundles, or in one bundle.

    Raises:
        ArtifactError: nothing there to audit, or an unreadable key; a run without any bundle where a
        key is given. ConfigError: a key without the package that knows keys.
    """
    key = None if key_file is None else public_key(key_file)
    if is_bundle(path):
        return audit_bundle(path, key)
    found = audit_run(path)
    for name in found.bundles:
        try:
            inner = audit_bundle(path / name, key)
        except ArtifactError as error:
            if not name.endswith(".zip"):  # a zip that is none of ours is a foreign file
                found.add("altered", name, str(error))
            continue
        found.files += inner.files
        found.findings = [
            finding
            for finding in found.findings
            if not (finding.kind == "foreign" and f"{finding.path}/".startswith(f"{name}/"))
        ]
        found.findings += [replace(each, path=f"{name}/{each.path}") for each in inner.findings]
    if key is not None and not found.bundles:
        raise ArtifactError(f"{path} holds no bundle; --key checks the signature of one")
    return found
