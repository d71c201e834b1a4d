"""Calibrate, robustness and the flags of the gate, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from easy import LENIENT, QUICK, Run

from edgecell.rundir import RunDir


def test_verify_joins_val_and_test_only_on_request(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("verify", run_copy, *LENIENT, "--margin", "0.3", "--split", "val+test")
    assert shown.code == 0, shown.err
    record = RunDir(run_copy).read_record("verify")
    gates = [entry["gate"] for entry in record["results"]["models"]]
    assert {gate["n"] for gate in gates} == {72} and record["results"]["split"] == "val+test"
    assert any(name.endswith(":val+test") for name in record["inputs"])
    assert gates[0]["verdict"] == "equivalent" and "equivalent at a margin of 0.3" in shown.out
    for entry in record["results"]["models"]:
        assert f"verify/{Path(entry['file']).stem}-gate.png" in record["outputs"]


def test_verify_looks_at_test_alone_and_bench_takes_its_verdict(
    edgecell: Run, run_copy: Path
) -> None:
    (file,) = (run_copy / "quantize").glob("*-int8.tflite")
    shown = edgecell("verify", file, *LENIENT, "--margin", "0.3", "--split", "test")
    assert shown.code == 0, shown.err
    record = RunDir(run_copy).read_record("verify")
    (entry,) = record["results"]["models"]
    assert entry["gate"]["n"] == 36 and record["results"]["split"] == "test"
    assert [n.split(":")[-1] for n in record["inputs"] if n.startswith("data:")] == ["test"]
    assert "on the same images (test)" in (run_copy / "report.html").read_text()
    benched = edgecell("bench", "--model", file, *QUICK)
    assert benched.code == 0, benched.err
    assert RunDir(run_copy).read_record("bench")["config"]["unverified"] == []


def test_cannot_tell_is_loud_and_fails_only_on_request(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("verify", run_copy, *LENIENT, "--margin", "0.001")
    assert shown.code == 0
    assert "!! verdict: cannot tell at a margin of 0.001 with 36 images" in shown.out
    strict = edgecell("verify", run_copy, *LENIENT, "--margin", "0.001", "--require-equivalence")
    assert strict.code == 5
    assert "equivalence of accuracy" in strict.err and "verify more images" in strict.err


def test_calibrate_leaves_thresholds_for_an_app(edgecell: Run, run_copy: Path) -> None:
    flags = ("--target-accuracy", "0.8", "--coverage", "0.9", "--split", "test")
    shown = edgecell("calibrate", run_copy, *flags, "--json")
    assert shown.code == 0, shown.err
    record = json.loads(shown.out)
    assert record == RunDir(run_copy).read_record("calibrate")
    # Of one label to an image nothing in it tells of several.
    keys = {"target_accuracy", "certainty", "coverage", "seed", "split"}
    assert set(record["config"]) == keys and set(record["results"]) == {"splits", "models"}
    assert record["results"]["splits"] == ["val", "test"]
    assert {name.split(":")[-1] for name in record["inputs"] if name.startswith("data:")} == {
        "val",
        "test",
    }
    int8 = next(m for m in record["results"]["models"] if m["precision"] == "int8")
    abstention = int8["abstention"]
    assert abstention["threshold_quanta"] == abstention["threshold"] * 256
    assert set(int8["conformal"]["class_thresholds"]) == {"red", "green", "blue"}
    assert int8["test"]["sets"]["coverage"]["n"] == 36
    assert "Confidence" in (run_copy / "report.html").read_text()


def test_calibrate_does_not_look_at_test_by_itself(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("calibrate", run_copy)
    assert shown.code == 0, shown.err
    record = RunDir(run_copy).read_record("calibrate")
    assert not any(name.endswith(":test") for name in record["inputs"])
    assert all("test" not in model for model in record["results"]["models"])
    # 36 images cannot promise 0.99; that is said, and no number made up.
    assert "no threshold holds 0.99 with certainty 0.95 on 36 images" in shown.out


def test_robustness_shows_every_model(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("robustness", run_copy, "--images", "12")
    assert shown.code == 0, shown.err
    record = RunDir(run_copy).read_record("robustness")
    results = record["results"]
    assert (results["n"], results["of"], results["split"]) == (12, 36, "val")
    assert len(results["conditions"]) == 1 + 7 * 5 and len(results["models"]) == 4
    assert {"robustness/curves.png", "robustness/strip.png"} <= set(record["outputs"])
    assert "falls faster than the trained model?" in shown.out
    assert "Robustness" in (run_copy / "report.html").read_text()


def test_wrong_settings_are_refused(edgecell: Run, run_copy: Path) -> None:
    for words, said in (
        (("verify", run_copy, "--margin", "0"), "verify.margin is 0.0; allowed: 0.0001 to 0.5"),
        (("calibrate", run_copy, "--coverage", "1"), "confidence.coverage is 1.0"),
        (("robustness", run_copy, "--images", "-1"), "robustness.images is -1"),
    ):
        refused = edgecell(*words)
        assert refused.code == 2 and said in refused.err
