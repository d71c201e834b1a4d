from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import host as host_module
from benchmarks import report
from benchmarks.devices.session import thread_settings
from benchmarks.latency import Pace
from benchmarks.options import BenchOptions
from benchmarks.precision import precision_of
from benchmarks.run import _drift_warnings, bench, write_artefacts
from benchmarks.throughput import throughput
from edgecell import tflite_file
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.runtime import TFLitePredictor

NAMES = ["basophil", "a|b", "platelet"]
PACE = Pace(runs=16, seconds=0.0, warmup_runs=1)
FULL = BenchOptions(PACE, batches=(3,), loads=1, memory=False, resamples=50)
QUICK = replace(FULL, threads=(1,), batches=())


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_precision_is_read_from_the_file(tiny_files, precision):
    path = tiny_files[precision]
    assert "_int8" in path.name
    assert precision_of(tflite_file.read(path)) == precision


@pytest.fixture(scope="module")
def result(tiny_files):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 40)
    paths = [tiny_files[key] for key in ("int8", "float32", "float16")]
    shares = []
    found = bench(paths, images, labels, NAMES, FULL, lambda text, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return found


def test_every_model_is_measured_alike(result):
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [model["precision"] for model in data["models"]] == ["int8", "float32", "float16"]
    for model in data["models"]:
        assert model["quality"]["n"] == data["images"] == 40
        assert [t["threads"] for t in model["latency"]] == thread_settings((1, 0))
        for timing in model["latency"]:
            assert timing["n"] >= 16
            assert timing["rounds"] >= 8  # a slow run ends its turn early
            for key in ("p50", "p90", "p99", "mean", "first", "load"):
                assert timing[key]["unit"] == "ms"
                assert timing[key]["value"] > 0
    assert any("not phone latency" in note for note in data["notes"])
    assert data["schema_version"] == 2
    assert [entry["threads"] for entry in data["background"]] == thread_settings((1, 0))
    assert data["host"]["versions"]["ai-edge-litert"][0].isdigit()


def test_ratio_is_to_the_first_float32_model(result):
    models = result.to_json()["models"]
    for i in range(len(models[0]["latency"])):
        assert models[1]["latency"][i]["ratio"]["value"] == 1.0
        for model in models:
            ratio = model["latency"][i]["ratio"]
            assert ratio["n"] == model["latency"][i]["rounds"]
            assert ratio["low"] <= ratio["value"] <= ratio["high"]


def test_a_result_is_labelled_with_what_really_ran(tiny_files, test_set, result):
    labels = {
        model["precision"]: model["latency"][0]["delegate"]["label"] for model in result.models
    }
    assert labels["float32"] == "XNNPACK"
    taken, working = labels["int8"].removeprefix("XNNPACK ").split(" of ")
    assert 0 < int(taken) < int(working)  # it leaves the change from uint8 and softmax alone
    assert not any("took no operator" in line for line in result.warnings)
    wide = bench([tiny_files["int16x8"]], *test_set, NAMES, QUICK)
    assert wide.models[0]["latency"][0]["delegate"]["label"] == "built-in kernels"
    assert any("XNNPACK took no operator of" in line for line in wide.warnings)
    without = bench([tiny_files["float32"]], *test_set, NAMES, replace(QUICK, xnnpack=False))
    delegate = without.models[0]["latency"][0]["delegate"]
    assert (delegate["label"], delegate["asked"]) == ("built-in kernels", None)
    assert not any("took no operator" in line for line in without.warnings)


def test_operators_are_counted(result):
    by_precision = {model["precision"]: model["operators"] for model in result.models}
    # 15 × 15 × 48 values of 27 weights, 15 × 15 × 32 of 48, 3 of 32
    macs = 15 * 15 * 48 * 27 + 15 * 15 * 32 * 48 + 3 * 32
    assert {entry["macs"]["value"] for entry in by_precision.values()} == {macs}
    # the weights' DEQUANTIZE runs once, when the file is opened
    assert by_precision["float16"]["counts"]["DEQUANTIZE"] > 0
    assert by_precision["float16"]["others"] == by_precision["float32"]["others"] == {}
    assert by_precision["int8"]["others"]["QUANTIZE"] >= 2  # from uint8, and back


def test_throughput_or_the_reason_why_not(result, tiny_files, test_set, monkeypatch):
    for model in result.models:
        assert [entry["threads"] for entry in model["throughput"]] == thread_settings((1, 0))
        for entry in model["throughput"]:
            assert (entry["batch"], entry["rate"]["unit"]) == (3, "images/s")
            assert entry["rate"]["value"] > 0
    other = TFLitePredictor.predict

    def confused(self, images):
        return np.roll(other(self, images), self.batch - 1, axis=0)

    monkeypatch.setattr(TFLitePredictor, "predict", confused)
    (found,) = throughput([tiny_files["float32"]], [test_set[0]], 3, 1, PACE)
    assert found.startswith("answers in a batch of 3 differ by ")


def test_without_float32_the_ratio_has_a_reason(tiny_files, test_set):
    found = bench([tiny_files["int8"]], *test_set, NAMES, QUICK).to_json()
    assert found["models"][0]["latency"][0]["ratio"]["reason"] == "no float32 model in this bench"


def test_rows_share_their_columns_and_markdown_escapes(result):
    rows = result.rows()
    assert len(rows) == 3
    assert len({tuple(row) for row in rows}) == 1
    text = result.markdown()
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    for table, columns in zip(tables, (rows[0], result.details()[0]), strict=True):
        assert len(table) == 5
        assert {line.replace("\\|", "").count("|") for line in table} == {len(columns) + 1}
    assert "host" in text
    assert "not phone latency" in text


def test_artefacts(result, tmp_path):
    written = write_artefacts(tmp_path / "bench", result)
    assert [p.name for p in written] == [
        "bench.json",
        "bench.md",
        "size_accuracy.png",
        "latency_accuracy.png",
    ]
    assert json.loads(written[0].read_text())["models"][0]["sha256"]
    assert str(tmp_path) not in written[0].read_text()


def test_images_by_size_are_asked_for(tiny_files, test_set):
    sizes = []

    def images(size):
        sizes.append(size)
        return test_set[0]

    bench([tiny_files["int8"], tiny_files["float32"]], images, test_set[1], NAMES, QUICK)
    assert sizes == [(32, 32)]  # once per size, not once per model


def test_names_tell_files_of_one_name_apart(tiny_files, test_set, tmp_path):
    paths = []
    for folder in ("one", "two"):
        paths.append(tmp_path / folder / "m.tflite")
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(tiny_files["int8"].read_bytes())
    found = bench(paths, *test_set, NAMES, QUICK)
    assert [model["name"] for model in found.models] == ["one/m", "two/m"]


def test_bad_requests(tiny_files, test_set, tmp_path):
    images, labels = test_set
    with pytest.raises(ConfigError, match="no model to bench"):
        bench([], images, labels, NAMES, QUICK)
    path = tiny_files["int8"]
    with pytest.raises(ConfigError, match="given twice"):
        bench([path, path], images, labels, NAMES, QUICK)
    with pytest.raises(DataError, match="2 class names"):
        bench([path], images, labels, NAMES[:2], QUICK)
    with pytest.raises(DataError, match="uint8"):
        bench([path], images[:, :16], labels, NAMES, QUICK)
    text = tmp_path / "text.tflite"
    text.write_text("not a model at all")
    with pytest.raises(ArtifactError, match="not a TFLite file"):
        bench([path, text], images, labels, NAMES, QUICK)


def test_busy_machine_is_said():
    quiet = {"cores": 4, "busy_before": 0.02, "load_average_1min": 3.9}
    assert host_module.load_warnings(quiet) == []  # our own training a minute ago is no disturbance
    busy = quiet | {"busy_before": 0.6}
    assert "60%" in host_module.load_warnings(busy)[0]
    unknown = quiet | {"busy_before": None}
    assert "load average 3.9 on 4 cores" in host_module.load_warnings(unknown)[0]


def test_work_of_others_during_the_timing_is_said():
    def background(*shares):
        return [{"threads": i + 1, "others": {"value": v}} for i, v in enumerate(shares)]

    assert host_module.background_warnings(background(0.02, 0.1)) == []
    assert host_module.background_warnings([{"threads": 1, "others": {"reason": "unknown"}}]) == []
    (line,) = host_module.background_warnings(background(0.05, 0.4))
    assert "40% with 2 of ours" in line


def test_what_others_use_is_told_from_what_we_use(monkeypatch):
    ticks = iter([(1000, 8000), (1500, 9000)])  # half of 1000 ticks were busy
    own = iter([2.0, 4.0])  # of which ours were 200 at 100 a second
    monkeypatch.setattr(host_module, "_ticks", lambda: next(ticks))
    monkeypatch.setattr(host_module.time, "process_time", lambda: next(own))
    monkeypatch.setattr(host_module.os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    assert host_module.Others().share().value == 0.3
    monkeypatch.setattr(host_module, "_ticks", lambda: None)
    monkeypatch.setattr(host_module.time, "process_time", lambda: 0.0)
    assert "cannot be read" in host_module.Others().share().reason


def test_busy_fraction_sees_work():
    found = host_module.busy_fraction(0.05)
    assert found is None or 0.0 <= found <= 1.0


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123")]
)
def test_milliseconds_have_three_digits(value, text):
    assert report.milliseconds({"value": value}) == text


def test_drift_is_said_once_for_all():
    def entry(name, *drifts):
        timings = [{"threads": i + 1, "drift": drift} for i, drift in enumerate(drifts)]
        return {"name": name, "latency": timings}

    quiet = {"value": 0.05}
    assert _drift_warnings([entry("a", quiet, {"reason": "2 runs are too few"})]) == []
    (line,) = _drift_warnings([entry("a", quiet, {"value": -0.46}), entry("b", {"value": 0.2})])
    assert line.endswith("a -46% at 2 threads, b +20% at 1 thread")
