"""docs/bundle.md says of other people's clients what was measured, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import clients_agree
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MEASURED = json.loads((REPOSITORY / "artifacts" / "clients.json").read_text())["rows"]


def test_the_page_has_the_measured_table():
    page = (REPOSITORY / "docs" / "bundle.md").read_text()
    assert f"\n\n{clients_agree.table(MEASURED)}\n\n" in page


def test_all_images_of_all_files_were_asked_of_all_clients():
    assert {row["n"] for row in MEASURED} == {1712}
    files = {f"{r}-{k}.tflite" for r in clients_agree.RUNS for k in clients_agree.kinds_of(r)}
    assert {row["file"] for row in MEASURED} == files
    assert len({row["client"] for row in MEASURED}) == 4
    assert len(MEASURED) == len(files) * 4 * 2


def test_the_models_own_pixels_give_the_same_answer_everywhere():
    own = [row for row in MEASURED if row["fed"] == clients_agree.MODEL_SIZED]
    assert clients_agree.below(own) == []
    assert clients_agree.below([own[0] | {"agreement": 0.9999}]) != []


def test_a_table_is_renewed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n| client | the model's own pixels | x |\n| --- | --- | --- |\n\nEnd.\n"
    )
    clients_agree.put_into(page, MEASURED)
    assert page.read_text() == f"# Page\n\n{clients_agree.table(MEASURED)}\n\nEnd.\n"
    clients_agree.put_into(page, MEASURED[:8])
    assert page.read_text() == f"# Page\n\n{clients_agree.table(MEASURED[:8])}\n\nEnd.\n"
    page.write_text("# Page\n")
    with pytest.raises(SystemExit, match="holds 0 tables"):
        clients_agree.put_into(page, MEASURED)
