"""docs/reliability.md names tests that exist; docs/dependencies.md is about constraints.txt as it is."""

from __future__ import annotations

import re
from pathlib import Path

import dependencies_table

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def missing(page: str) -> list[str]:
    """Tests that a page names and that do not exist."""
    found = []
    for file, name in _TEST.findall(page):
        path = REPOSITORY / file
        if not path.is_file() or f"def {name}(" not in path.read_text(encoding="utf-8"):
            found.append(f"{file}::{name}")
    return found


def unheld(page: str) -> list[str]:
    """Rows of the tables of promises without a test."""
    promises = page[: page.index("## Figures")]
    rows = [line for line in promises.splitlines() if line.startswith("| ")]
    return [
        row for row in rows if not row.startswith(("| promise", "| ---")) and not _TEST.search(row)
    ]


def test_every_promise_has_a_test_that_exists() -> None:
    assert len(_TEST.findall(PAGE)) > 15
    assert missing(PAGE) == []
    assert unheld(PAGE) == []


def test_a_promise_without_its_test_is_found() -> None:
    renamed = PAGE.replace("test_one_changed_byte_is_found_once", "test_it_is_fine")
    assert missing(renamed) == ["tests/unit/test_custody.py::test_it_is_fine"]
    assert missing(PAGE.replace("unit/test_lock.py", "unit/test_locks.py"))[0].startswith(
        "tests/unit/test_locks.py"
    )
    assert unheld(
        "| promise | held by |\n| --- | --- |\n| all is well | trust us |\n## Figures"
    ) == ["| all is well | trust us |"]


def stale(page: str, constraints: str) -> set[tuple[str, str]]:
    """Package and version of rows and pins that have no partner."""
    listed = {(name, version) for name, (version, _) in dependencies_table.rows(page).items()}
    return listed ^ set(dependencies_table.pinned(constraints).items())


def test_the_table_of_dependencies_is_that_of_the_constraints() -> None:
    page = dependencies_table.PAGE.read_text(encoding="utf-8")
    constraints = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    assert len(dependencies_table.pinned(constraints)) > 50
    assert stale(page, constraints) == set()
    assert stale(page, constraints.replace("click==8", "click==9")) != set()
    assert stale(page, constraints + "leftpad==1.0\n") == {("leftpad", "1.0")}
    assert dependencies_table.rows(page)["click"][1] == "BSD-3-Clause"
