from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import host as host_module
from benchmarks import report
from benchmarks.precision import precision_of
from benchmarks.run import BenchOptions, _drift_warnings, bench, thread_settings, write_artefacts
from edgecell import tflite_file
from edgecell.errors import ArtifactError, ConfigError, DataError

NAMES = ["basophil", "a|b", "platelet"]
QUICK = BenchOptions(runs=5, seconds=0.0, warmup_runs=1, loads=1, memory=False, resamples=50)


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
    found = bench(paths, images, labels, NAMES, QUICK, lambda text, share: shares.append(share))
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
            assert timing["n"] >= 5
            for key in ("p50", "p90", "p99", "mean", "first", "load"):
                assert timing[key]["unit"] == "ms"
                assert timing[key]["value"] > 0
    assert any("not phone latency" in note for note in data["notes"])
    assert data["schema_version"] == 1


def test_ratio_is_to_the_first_float32_model(result):
    models = result.to_json()["models"]
    for i in range(len(models[0]["latency"])):
        assert models[1]["latency"][i]["ratio"]["value"] == 1.0
        expected = models[0]["latency"][i]["p50"]["value"] / models[1]["latency"][i]["p50"]["value"]
        assert models[0]["latency"][i]["ratio"]["value"] == pytest.approx(expected)


def test_without_float32_the_ratio_has_a_reason(tiny_files, test_set):
    found = bench([tiny_files["int8"]], *test_set, NAMES, QUICK).to_json()
    assert found["models"][0]["latency"][0]["ratio"]["reason"] == "no float32 model in this bench"


def test_rows_share_their_columns_and_markdown_escapes(result):
    rows = result.rows()
    assert len(rows) == 3
    assert len({tuple(row) for row in rows}) == 1
    text = result.markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 5
    bars = {line.replace("\\|", "").count("|") for line in table}
    assert bars == {len(rows[0]) + 1}
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
