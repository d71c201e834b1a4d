"""Renews the table of docs/dependencies.md: ``python tests/dependencies_table.py``.

Versions are those of constraints.txt, licences what each installed package says of itself. A package that is not
installed keeps the licence that the table has.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from edgecell.sbom import licence_of

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/dependencies.md"
HEAD = "| package | version | licence |\n| --- | --- | --- |\n"
_ROW = re.compile(r"^\| (\S+) \| (\S+) \| (.+) \|$", flags=re.MULTILINE)


def pinned(constraints: str) -> dict[str, str]:
    """Package → version of a constraints file."""
    lines = [line.split("==") for line in constraints.splitlines() if "==" in line]
    return {name: version.strip() for name, version in lines}


def rows(page: str) -> dict[str, tuple[str, str]]:
    """Package → (version, licence) of the table of a page."""
    return {name: (version, licence) for name, version, licence in _ROW.findall(page)[2:]}


def licence(package: str) -> str | None:
    """What an installed package says of its licence, in a few words; None where it is not installed."""
    try:
        said = licence_of(metadata.metadata(package))
    except metadata.PackageNotFoundError:
        return None
    return (said or "not stated").replace("|", "/")


def renewed(page: str, constraints: str) -> str:
    """The page with its table made anew."""
    old = rows(page)
    lines = []
    for name, version in sorted(pinned(constraints).items(), key=lambda item: item[0].lower()):
        said = licence(name) or old.get(name, ("", "not looked up"))[1]
        lines.append(f"| {name} | {version} | {said} |\n")
    before = page[: page.index(HEAD)]
    return before + HEAD + "".join(lines)


if __name__ == "__main__":
    text = renewed(PAGE.read_text(encoding="utf-8"), (REPOSITORY / "constraints.txt").read_text())
    PAGE.write_text(text, encoding="utf-8")
