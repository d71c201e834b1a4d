"""Every verb on one small run: what it prints, what it writes, what it skips and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from easy import CLASSES, COUNTS, LENIENT, QUICK, SMALL, Run
from openpyxl import load_workbook
from sabotage import with_class_broken

from edgecell.disk import sha256_file
from edgecell.rundir import RunDir


def model(run: Path, precision: str) -> Path:
    """A converted file of the run."""
    (path,) = (run / "quantize").glob(f"*-{precision}.tflite")
    return path


def results(run: Path, verb: str) -> dict:
    """The results in a stage's record."""
    return RunDir(run).read_record(verb)["results"]


def test_a_run_leaves_every_record_and_a_report(finished_run: Path) -> None:
    run = RunDir(finished_run)
    for verb in ("train", "evaluate/model-val", "quantize", "verify", "bench"):
        record = run.check_outputs(verb)
        assert record["outputs"], verb
        assert "/" not in "".join(record["inputs"]).replace("quantize/", "").replace("train/", "")
    html = (finished_run / "report.html").read_text(encoding="utf-8")
    assert all(name in html for name in CLASSES)
    assert "data:image/png;base64," in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_a_run_learns_and_its_files_agree_with_it(finished_run: Path) -> None:
    trained = results(finished_run, "train")
    assert trained["val_accuracy"]["n"] == COUNTS["val"]
    assert trained["val_accuracy"]["value"] > 0.8  # a third is chance
    verified = {entry["precision"]: entry for entry in results(finished_run, "verify")["models"]}
    assert set(verified) == {"float32", "float16", "int8"}
    assert verified["float32"]["measurements"]["agreement"]["value"] == 1.0
    benched = results(finished_run, "bench")["models"]
    assert [entry["precision"] for entry in benched] == ["float32", "float16", "int8"]
    assert all(entry["verify"] == "passed" for entry in benched)
    assert all(entry["quality"]["n"] == COUNTS["test"] for entry in benched)
    # MobileNetV2's weights in int8 are a quarter of float32, plus scales and graph.
    size = {entry["precision"]: entry["footprint"]["size"]["value"] for entry in benched}
    assert size["int8"] < 0.45 * size["float32"]


def test_no_record_holds_a_path_of_this_machine(finished_run: Path, easy_npz: Path) -> None:
    for record in finished_run.rglob("record.json"):
        text = record.read_text(encoding="utf-8").replace(json.dumps(str(easy_npz)), "")
        assert str(finished_run.parent) not in text, record
        assert str(Path.home()) not in text, record


def test_running_again_skips_what_is_unchanged(
    edgecell: Run, run_copy: Path, easy_npz: Path
) -> None:
    flags = ["--data", easy_npz, *SMALL, *LENIENT, *QUICK, "--float32", "--float16", "--int8"]
    before = sha256_file(run_copy / "train/model.keras")
    again = edgecell("run", *flags, "--output", run_copy)
    assert again.code == 0, again.err
    for verb in ("train", "evaluate", "quantize", "verify", "bench"):
        assert f"{verb}: unchanged, skipped" in again.err
    assert sha256_file(run_copy / "train/model.keras") == before

    stricter = edgecell("run", *flags, "--max-f1-drop", "0.29", "--output", run_copy)
    assert stricter.code == 0, stricter.err
    assert "verify: unchanged" not in stricter.err
    assert "quantize: unchanged, skipped" in stricter.err
    assert results(run_copy, "verify")["models"][0]["budget"]["max_f1_drop"] == 0.29


def test_a_run_folder_is_not_overwritten_by_other_settings(
    edgecell: Run, run_copy: Path, easy_npz: Path
) -> None:
    other = edgecell("train", "--data", easy_npz, *SMALL[:2], "--seed", "5", "--output", run_copy)
    assert other.code == 2
    assert "holds a run with other settings" in other.err


def test_evaluate_says_the_same_as_bench(edgecell: Run, run_copy: Path) -> None:
    on_test = edgecell("evaluate", model(run_copy, "int8"), "--split", "test", "--json")
    assert on_test.code == 0, on_test.err
    found = json.loads(on_test.out)
    benched = {e["precision"]: e["quality"] for e in results(run_copy, "bench")["models"]}
    assert found["accuracy"] == benched["int8"]["accuracy"]
    assert found["split"] == "test"
    files = {
        p.name for p in (run_copy / "evaluate" / f"{model(run_copy, 'int8').stem}-test").iterdir()
    }
    assert {"evaluation.json", "confusion.png", "reliability.png", "record.json"} <= files


def test_evaluate_looks_at_val_unless_told(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("evaluate", run_copy)
    assert shown.code == 0, shown.err
    assert f"on val, n={COUNTS['val']}" in shown.out
    assert all(name in shown.out for name in CLASSES)


def test_evaluate_shows_its_answers(edgecell: Run, run_copy: Path) -> None:
    folder = run_copy / "evaluate/model-val"
    first = edgecell("evaluate", run_copy, "--csv", "--xlsx")
    assert first.code == 0, first.err
    found = json.loads((folder / "evaluation.json").read_text())
    (official,) = folder.glob("*@*.csv")
    auc, accuracy = found["auc"]["value"], found["accuracy"]["value"]
    start, name = f"easy_val_[AUC]{auc:.3f}_[ACC]{accuracy:.3f}@", official.name
    assert name.startswith(start)
    assert len(official.read_text().splitlines()) == COUNTS["val"]
    record = RunDir(run_copy).check_outputs("evaluate/model-val")
    written = {Path(path).name for path in record["outputs"]}
    assert {name, "predictions.csv", "predictions.json", "mistakes.png", "examples.png"} <= written
    assert "evaluation.xlsx" in written and (folder / "evaluation.xlsx").is_file()
    counted = [row["right"] + row["wrong"] for row in found["examples"]["classes"]]
    assert counted == [COUNTS["val"] // 3] * 3
    # Not asked for again, it is not left behind as if it were of this evaluation.
    assert edgecell("evaluate", run_copy).code == 0
    assert not list(folder.glob("*@*.csv")) and not (folder / "evaluation.xlsx").exists()


def test_quantize_adds_files_and_keeps_the_others(edgecell: Run, run_copy: Path) -> None:
    kept = sha256_file(model(run_copy, "float32"))
    made = edgecell("quantize", run_copy, "--dynamic", "--json")
    assert made.code == 0, made.err
    precisions = [entry["precision"] for entry in json.loads(made.out)["results"]["models"]]
    assert precisions == ["float32", "float16", "dynamic", "int8"]
    assert sha256_file(model(run_copy, "float32")) == kept
    assert RunDir(run_copy).check_outputs("quantize")


def test_calibration_is_written_down(finished_run: Path) -> None:
    manifest = json.loads((finished_run / "quantize/calibration.json").read_text())
    assert manifest["split"] == "train"
    assert len(manifest["indices"]) == manifest["count"] == 32
    assert set(manifest["per_class"]) == {"0", "1", "2"}
    int8 = results(finished_run, "quantize")["models"][-1]
    assert (int8["audit"]["input"]["scale"], int8["audit"]["input"]["zero_point"]) == (1 / 128, 128)


def test_verify_fails_with_5_and_names_the_class(edgecell: Run, run_copy: Path) -> None:
    """A file that never says one of its classes is still a proper int8 file, and wrong."""
    path = model(run_copy, "int8")
    path.write_bytes(with_class_broken(path.read_bytes(), 0))
    altered = edgecell("verify", path)
    assert altered.code == 6  # the quantize record knows its hash
    assert "was altered" in altered.err

    lone = run_copy.parent / "lone-int8.tflite"
    shutil.copy(path, lone)
    refused = edgecell(
        "verify", lone, "--reference", run_copy / "train/model.keras",
        "--data", RunDir(run_copy).read_record("train")["results"]["data"]["source"],
        "--output", run_copy.parent / "verdict",
    )  # fmt: skip
    assert refused.code == 5
    assert refused.err.strip().splitlines()[-1].startswith("edgecell: lone-int8.tflite is refused")
    assert "'red'" in refused.err
    recorded = RunDir(run_copy.parent / "verdict").read_record("verify")
    assert recorded["results"]["models"][0]["passed"] is False


def test_a_float_file_given_as_int8_is_refused(edgecell: Run, run_copy: Path) -> None:
    fake = run_copy.parent / "fake-int8.tflite"
    shutil.copy(model(run_copy, "float32"), fake)
    refused = edgecell(
        "verify", fake, "--reference", run_copy / "train/model.keras",
        "--data", RunDir(run_copy).read_record("train")["results"]["data"]["source"],
        "--output", run_copy.parent / "verdict",
    )  # fmt: skip
    assert refused.code == 5
    assert "structure" in refused.err


def test_bench_refuses_what_was_not_verified(edgecell: Run, run_copy: Path) -> None:
    shutil.rmtree(run_copy / "verify")
    refused = edgecell("bench", "--model", model(run_copy, "int8"), *QUICK)
    assert refused.code == 6
    assert "no passing verify" in refused.err
    allowed = edgecell(
        "bench", "--model", model(run_copy, "int8"), *QUICK, "--unverified", "--json"
    )
    assert allowed.code == 0, allowed.err
    record = json.loads(allowed.out)
    assert record["config"]["unverified"] == [model(run_copy, "int8").name]
    assert record["results"]["models"][0]["verify"] == "not verified"


def test_bench_takes_the_data_of_the_run(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell(
        "bench", "--model", model(run_copy, "int8"), "--model", model(run_copy, "float32"), *QUICK
    )
    assert shown.code == 0, shown.err
    assert "not phone latency" in shown.out
    data = json.loads((run_copy / "bench/bench.json").read_text())
    assert [len(entry["latency"]) for entry in data["models"]][0] >= 1
    assert all(t["n"] >= 10 for entry in data["models"] for t in entry["latency"])
    assert (run_copy / "bench/bench.md").read_text().count("|") > 20


def test_changed_images_are_noticed(edgecell: Run, run_copy: Path, easy_npz: Path) -> None:
    import numpy as np

    config = run_copy / "config.toml"
    other = run_copy.parent / "other.npz"
    arrays = dict(np.load(easy_npz))
    arrays["train_images"] = arrays["train_images"][::-1]
    np.savez(other, **arrays)
    config.write_text(config.read_text().replace(str(easy_npz), str(other)))
    refused = edgecell("evaluate", run_copy)
    assert refused.code == 3
    assert "is not the data set of the run any more" in refused.err


def test_report_can_be_written_anew(edgecell: Run, run_copy: Path) -> None:
    (run_copy / "report.html").unlink()
    shown = edgecell("report", run_copy)
    assert shown.code == 0
    assert Path(shown.out.strip()).is_file()
    both = edgecell("report", run_copy, "--xlsx").out.split()
    assert [Path(path).name for path in both] == ["report.html", "report.xlsx"]
    sheets = load_workbook(both[1], read_only=True).sheetnames
    assert {"Summary", "Classes", "Benchmark", "Verification", "Conversion"} <= set(sheets)


@pytest.mark.parametrize("verb", ["train", "quantize", "verify", "bench"])
def test_a_damaged_record_is_an_artifact_error(edgecell: Run, run_copy: Path, verb: str) -> None:
    (run_copy / verb / "record.json").write_text("{ half a rec")
    shown = edgecell("report", run_copy)
    assert shown.code == 6
    assert "record.json" in shown.err
    assert shown.err.count("\n") == 1
