"""The Excel workbook: numbers are numbers, names are names and never formulas."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from datetime import datetime

import numpy as np
import pytest
from openpyxl import Workbook as Book
from openpyxl import load_workbook

from edgecell.disk import atomic_write_json, atomic_write_text
from edgecell.errors import ArtifactError
from edgecell.evaluate import evaluate, write_artefacts
from edgecell.examples import examples
from edgecell.predictions import Predictions
from edgecell.record import Measurement
from edgecell.report import excel
from edgecell.rundir import RunDir
from edgecell.workbook import Workbook

EVIL = ['=HYPERLINK("http://evil","x")', "+1+1", "-2+3", "@SUM(A1:A9)", "#N/A", "\t=1", "=1"]


def formulas(path):
    """Formula elements and error cells in the sheets' own XML."""
    with zipfile.ZipFile(path) as archive:
        sheets = [archive.read(n).decode() for n in archive.namelist() if "/worksheets/" in n]
    return [found for text in sheets for found in re.findall(r'<f[ >/]|t="e"', text)]


def read(path):
    book = load_workbook(path)
    return {sheet.title: [[c.value for c in row] for row in sheet.rows] for sheet in book}


def test_no_name_becomes_a_formula(tmp_path):
    book = Workbook()
    book.add(EVIL[0], EVIL, [EVIL, [1, 2.5, True, None, "x", float("nan"), np.float32(0.5)]])
    path = book.save(tmp_path / "a.xlsx")
    assert formulas(path) == []
    (sheet,) = load_workbook(path)
    for row in list(sheet.rows)[:2]:
        for cell, text in zip(row, EVIL, strict=True):
            assert (cell.value, cell.data_type, cell.quotePrefix) == (text, "s", True)
    numbers = [cell.data_type for cell in list(sheet.rows)[2]]
    assert numbers == ["n", "n", "b", "n", "s", "s", "n"]


def test_openpyxl_by_itself_makes_formulas_of_them(tmp_path):
    """The partner that must fail: without our care the same names are formulas."""
    plain = Book(write_only=True)
    plain.create_sheet("a").append(EVIL)
    plain.save(tmp_path / "b.xlsx")
    assert len(formulas(tmp_path / "b.xlsx")) >= 3


def test_signs_that_xml_forbids_and_endless_texts_do_not_break_the_file(tmp_path):
    book = Workbook()
    book.add("a", ["name\x00"], [["bell\x07"], ["x" * 40_000], ["日本 ✓"]])
    (rows,) = read(book.save(tmp_path / "a.xlsx")).values()
    assert rows[0] == ["name\ufffd"] and rows[1] == ["bell\ufffd"]
    assert len(rows[2][0]) == 32_767 and rows[3] == ["日本 ✓"]


def test_sheets_have_titles_that_excel_takes(tmp_path):
    book = Workbook()
    for title in ("a/b:c[d]?*\\", "Confusion", "confusion", "y" * 40, "y" * 41, "", "'q'"):
        book.add(title, ["h"], [])
    titles = list(read(book.save(tmp_path / "a.xlsx")))
    assert titles[:3] == ["a-b-c-d----", "Confusion", "confusion (2)"]
    assert len({title.lower() for title in titles}) == 7
    assert all(0 < len(title) <= 31 for title in titles)


def test_header_stays_in_view_and_columns_fit_their_text(tmp_path):
    book = Workbook()
    book.add("a", ["short", "long"], [["x", "immature granulocyte"], [0.123456, "y" * 500]])
    (sheet,) = load_workbook(book.save(tmp_path / "a.xlsx"))
    assert sheet.freeze_panes == "A2"
    assert all(cell.font.bold for cell in sheet[1]) and not sheet["A2"].font.bold
    assert sheet.column_dimensions["A"].width == 8.0
    assert sheet.column_dimensions["B"].width == 62.0
    assert sheet["A3"].number_format == "0.0000"


def test_what_a_sheet_cannot_hold_goes_on_in_the_next(tmp_path):
    book = Workbook()
    book.add("P", ["n"], [[i] for i in range(7)], most_rows=4)
    found = read(book.save(tmp_path / "a.xlsx"))
    assert list(found) == ["P", "P (2)", "P (3)"]
    assert [row[0] for rows in found.values() for row in rows[1:]] == list(range(7))
    assert all(rows[0] == ["n"] for rows in found.values())


# ------------------------------------------------------------------------ what is written into it

NAMES = ["=cmd|' /C calc'!A0", "basophil", "+x"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with one evaluation and a training, as the pipeline writes them."""
    run = RunDir(tmp_path_factory.mktemp("runs") / "run")
    text = 'name = "r"\n[train]\nepochs = 3\nseed = 0\n[quantize]\nprecisions = ["int8"]\n'
    atomic_write_text(run.path / "config.toml", text)
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 50)
    probabilities = random.dirichlet(np.ones(3), 50).astype(np.float32)
    told = Predictions(NAMES, [f"=img{i}" for i in range(50)], labels, probabilities)
    results = evaluate(probabilities, labels, NAMES, resamples=50)
    results |= {"split": "val", "model": "model.keras", "examples": examples(told)}
    folder = run.stage("evaluate/model-val")
    written = write_artefacts(folder, results, told)
    history = [
        {"epoch": i + 1, "stage": "head", "loss": 1 / (i + 1), "val_accuracy": 0.5}
        for i in range(3)
    ]
    atomic_write_json(run.stage("train") / "history.json", history)
    accuracy = Measurement(0.5, "fraction", n=50).to_json()
    run.write_record(
        "train",
        inputs=[],
        outputs=[run.stage("train") / "history.json"],
        config={},
        results={"val_accuracy": accuracy, "epochs": 3},
    )
    run.write_record("evaluate/model-val", inputs=[], outputs=written, config={}, results=results)
    return run, results, told


@pytest.fixture
def evaluated(finished, tmp_path):
    """A copy that a test may change."""
    run, results, told = finished
    return RunDir(shutil.copytree(run.path, tmp_path / "run")), results, told


def test_the_workbook_of_an_evaluation_holds_its_numbers(evaluated):
    run, results, told = evaluated
    path = run.stage("evaluate/model-val") / "evaluation.xlsx"
    assert excel.write_evaluation(path, results, run, {}) == path
    assert formulas(path) == []
    found = read(path)
    assert list(found) == ["Summary", "Classes", "Confusion", "History", "Settings", "Predictions"]

    summary = {row[0]: row for row in found["Summary"][1:]}
    accuracy = results["accuracy"]
    wanted = [accuracy[key] for key in ("value", "low", "high", "n")]
    assert summary["accuracy"][1:5] == pytest.approx(wanted, rel=1e-14)  # openpyxl: 16 digits

    head, *rows = found["Classes"]
    assert [row[head.index("name")] for row in rows] == NAMES
    f1 = [row[head.index("f1")] for row in rows]
    assert f1 == pytest.approx([entry["f1"]["value"] for entry in results["classes"]], rel=1e-14)
    lows = [entry["f1"]["low"] for entry in results["classes"]]
    assert [row[head.index("f1 low")] for row in rows] == pytest.approx(lows, rel=1e-14)

    head, *rows = found["Confusion"]
    assert head[1:-1] == NAMES and [row[0] for row in rows] == NAMES
    assert [row[1:-1] for row in rows] == results["confusion"]
    assert sum(row[-1] for row in rows) == 50

    head, *rows = found["Predictions"]
    back = np.array([row[6:] for row in rows], np.float32)
    np.testing.assert_array_equal(back, told.probabilities)
    assert rows[3][1] == "=img3" and isinstance(rows[3][5], bool)

    assert [row[0] for row in found["History"][1:]] == [1, 2, 3]
    assert ["train.epochs", 3] in found["Settings"]
    assert ["quantize.precisions", "int8"] in found["Settings"]


def test_without_a_run_the_settings_are_those_of_the_evaluation(evaluated, tmp_path):
    _, results, _ = evaluated
    found = read(excel.write_evaluation(tmp_path / "a.xlsx", results, None, {"split": "val"}))
    assert list(found) == ["Summary", "Classes", "Confusion", "Settings"]
    assert found["Settings"][1:] == [["split", "val"]]


def test_the_workbook_of_a_run_holds_every_stage(evaluated):
    run, results, _ = evaluated
    run.write_record(
        "evaluate/model-test", inputs=[], outputs=[], config={}, results=results | {"split": "test"}
    )
    path = excel.write_run(run)
    assert path == run.path / "report.xlsx" and formulas(path) == []
    found = read(path)
    assert list(found) == [
        *("Summary", "Classes 1", "Confusion 1", "Classes 2", "Confusion 2"),
        *("History", "Settings", "Predictions 2"),
    ]
    stages = {row[0] for row in found["Summary"][1:]}
    assert stages == {"train", "evaluate/model-val", "evaluate/model-test"}
    split = found["Classes 1"][0].index("split")
    assert found["Classes 1"][1][split] == "test" and found["Classes 2"][1][split] == "val"
    created = load_workbook(path).properties.created
    newest = json.loads((run.path / "evaluate/model-test/record.json").read_text())["created"]
    assert created == datetime.strptime(newest, "%Y-%m-%dT%H:%M:%SZ")


def test_a_damaged_file_is_named(evaluated):
    run, results, _ = evaluated
    (run.path / "config.toml").write_text("= nonsense")
    with pytest.raises(ArtifactError, match=r"config\.toml cannot be read as TOML"):
        excel.write_run(run)
    assert not (run.path / "report.xlsx").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    book = Workbook()
    book.add("a", ["b"], [])
    with pytest.raises(ArtifactError, match="cannot write"):
        book.save(tmp_path / "file" / "a.xlsx")
