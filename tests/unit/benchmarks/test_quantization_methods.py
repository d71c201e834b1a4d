"""The table of all methods, on the toy: its figures against scikit-learn, what it makes, what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import sabotage
import toys
from sklearn.metrics import accuracy_score, f1_score

from benchmarks import quantization_methods
from benchmarks.latency import Pace
from benchmarks.method_rows import compare
from benchmarks.quantization_methods import METHODS, main, make, methods_in
from converters.tflite import PRECISIONS
from edgecell.cli import cli
from edgecell.config import Config, DataConfig
from edgecell.config_file import to_toml
from edgecell.data import load_dataset
from edgecell.packing import deflated_bytes
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor, TFLitePredictor

BROKEN = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    """A run of the toy with three files, one of which has lost a class."""
    folder = tmp_path_factory.mktemp("methods")
    arrays = {"class_names": np.array(toys.CLASSES)}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"], labels = toys.images(120, 10 + seed)
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(folder / "toy.npz", **arrays)
    config = Config(name="toy-net", data=DataConfig(source=str(folder / "toy.npz")))
    made = RunDir.at(folder / "run")
    (made.path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    model = made.stage("train") / "model.keras"
    model.parent.mkdir()
    toys.trained().save(model)
    fingerprint = load_dataset(config.data).fingerprint
    results = {"data": {"fingerprint": fingerprint}}
    made.write_record("train", inputs=[], outputs=[model], config={}, results=results)
    int8 = toys.converted("int8")
    files = {
        "float32": toys.converted("float32"),
        "int8": int8,
        "int8-search": sabotage.with_class_broken(int8, BROKEN),
    }
    made.stage("quantize").mkdir()
    entries = []
    for method, data in files.items():
        path = made.stage("quantize") / f"toy-net-{method}.tflite"
        path.write_bytes(data)
        entries.append({"file": path.name, "precision": method.split("-")[0]})
    made.write_record(
        "quantize",
        inputs=[model],
        outputs=[made.stage("quantize") / entry["file"] for entry in entries],
        config={},
        results={"models": entries},
    )
    return made


def test_figures_are_those_of_scikit_learn(run):
    files = methods_in(run)
    assert list(files) == ["float32", "int8", "int8-search"]
    x, y = toys.images(200, seed=7)
    reference = KerasPredictor(toys.trained(), "toy")
    rows = {row.method: row for row in compare(reference, files, x, y, toys.CLASSES, Pace(8, 0.0))}
    expected = reference.predict(x).argmax(1)
    for method, path in files.items():
        row, found = rows[method], TFLitePredictor(path).predict(x).argmax(1)
        assert row.accuracy.value == pytest.approx(accuracy_score(y, found))
        assert row.macro_f1.value == pytest.approx(f1_score(y, found, average="macro"))
        assert row.agreement.value == pytest.approx(accuracy_score(expected, found))
        assert row.accuracy_drop.value == pytest.approx(
            accuracy_score(y, expected) - accuracy_score(y, found)
        )
        before, after = (f1_score(y, p, average=None) for p in (expected, found))
        assert row.worst_class_drop.value == pytest.approx((before - after).max())
        for measured in (row.accuracy, row.macro_f1, row.agreement, row.accuracy_drop):
            assert measured.n == 200 and measured.low <= measured.value <= measured.high
        assert row.size_bytes == path.stat().st_size
        assert row.packed_bytes == deflated_bytes(path.read_bytes())
        assert row.ratio.value > 0 and row.ratio.n >= 8
    assert rows["float32"].ratio.value == 1.0
    assert rows["float32"].agreement.value == 1.0
    broken = rows["int8-search"]
    assert broken.worst_class == toys.CLASSES[BROKEN] and broken.worst_class_drop.low > 0
    assert broken.accuracy_drop.low > 0 and broken.worst_class_drop.n == 50


def test_without_a_float32_file_there_is_no_ratio(run):
    files = {"int8": methods_in(run)["int8"]}
    x, y = toys.images(40, seed=7)
    (row,) = compare(KerasPredictor(toys.trained(), "toy"), files, x, y, toys.CLASSES, Pace(8, 0.0))
    assert row.ratio.reason == "no float32 file"


def test_the_program_prints_a_table_and_writes_json(run, tmp_path, capsys):
    output = tmp_path / "methods.json"
    main([str(run.path), "--runs", "8", "--seconds", "0", "--output", str(output)])
    printed = capsys.readouterr().out
    assert output.with_suffix(".md").read_text(encoding="utf-8") == printed
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["Keras model", *methods_in(run)]
    assert len({line.count("|") for line in lines}) == 1
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["n"] == 120 and found["split"] == "test" and len(found["rows"]) == 3
    assert "n = 120" in printed and f"{found['rows'][1]['size_bytes']:,}" in lines[4]
    assert found["reference"]["accuracy"]["n"] == 120
    main([str(run.path), "--runs", "8", "--seconds", "0", "--methods", "float32,int8"])
    assert "int8-search" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--methods", "int8,int4"], 6, "has no file of int4; it has float32, int8, int8-search"),
        (["--qat-epochs", "2"], 2, "flags of quantize go with --make"),
        (["--make", "--methods", "int4"], 2, "no method int4; allowed: float32"),
    ],
)
def test_what_it_refuses(run, capsys, words, code, said):
    with pytest.raises(SystemExit) as end:
        main([str(run.path), *words])
    assert end.value.code == code
    assert said in capsys.readouterr().err


def test_other_images_than_trained_on_are_refused(run, tmp_path, capsys):
    folder = tmp_path / "run"
    text = (run.path / "config.toml").read_text(encoding="utf-8")
    shutil.copytree(run.path, folder)
    arrays = dict(np.load(run.path.parent / "toy.npz"))
    arrays["test_images"] = 255 - arrays["test_images"]
    np.savez(run.path.parent / "other.npz", **arrays)
    (folder / "config.toml").write_text(text.replace("toy.npz", "other.npz"), encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main([str(folder)])
    assert end.value.code == 3
    assert "is not the data set" in capsys.readouterr().err


def test_only_what_is_missing_is_made(run, monkeypatch):
    called = []

    def pretend(command, **_):
        called.append(command)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(quantization_methods.subprocess, "run", pretend)
    wanted = ["int8", "int8-qat", "int16x8"]
    assert make(run, wanted, ["--qat-epochs", "2"]) == ["int8-qat", "int16x8"]
    assert [command[3:] for command in called] == [
        ["quantize", str(run.path), "--int8", "--no-search", "--qat", "--qat-epochs", "2"],
        ["quantize", str(run.path), "--int16x8", "--qat-epochs", "2"],
    ]
    monkeypatch.setattr(
        quantization_methods.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 4})
    )
    with pytest.raises(SystemExit, match="making int8-qat failed with exit code 4"):
        make(run, wanted, [])


@pytest.mark.parametrize("method", METHODS)
def test_the_flags_of_a_method_are_those_of_quantize(method):
    context = cli.commands["quantize"].make_context("quantize", ["run", *METHODS[method]])
    asked = [p for p in PRECISIONS if context.params[f"make_{p}"]]
    assert asked == (["int8"] if method == "mixed" else [method.split("-")[0]])
    words = method.split("-")
    assert bool(context.params["set_prune__sparsity"]) == ("pruned0.5" in words)
    assert bool(context.params["set_cluster__clusters"]) == ("clustered16" in words)
    assert bool(context.params["set_qat__enabled"]) == ("qat" in words)
    assert bool(context.params["set_quantize__search"]) == ("search" in words)
    assert (context.params["set_quantize__keep_float"] is not None) == (method == "mixed")
