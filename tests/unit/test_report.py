from __future__ import annotations

import copy
import dataclasses
import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from benched import NAMES, predictions, result

from benchmarks.devices.interface import no_latency
from benchmarks.footprint import no_memory
from benchmarks.quality import unknown
from benchmarks.run import BenchResult
from benchmarks.run import write_artefacts as write_bench
from edgecell import plots
from edgecell.disk import atomic_write_json, atomic_write_text
from edgecell.errors import ArtifactError
from edgecell.evaluate import evaluate, write_artefacts
from edgecell.examples import examples
from edgecell.lock import claimed
from edgecell.pipeline.reporting import write_report
from edgecell.predictions import Predictions
from edgecell.record import Measurement
from edgecell.report import elements, render, write
from edgecell.report.bench import headline
from edgecell.report.bench_page import render_bench
from edgecell.rundir import RunDir


def build_run(path: Path) -> RunDir:
    """A run with every stage, as the pipeline writes them."""
    run = RunDir(path)
    atomic_write_text(
        path / "config.toml", 'name = "pbc"\n[data]\nsource = "pbc28.npz"\n[train]\nepochs = 29\n'
    )
    _train(run)
    _evaluate(run)
    _quantize(run)
    _verify(run)
    _bench(run)
    return run


def _train(run: RunDir):
    folder = run.stage("train")
    history = [
        {
            "epoch": i + 1,
            "stage": "head" if i < 1 else "fine-tune",
            "loss": 0.3 + 1.2 * 0.8**i,
            "accuracy": 0.99 - 0.4 * 0.8**i,
            "val_loss": 0.33 + 1.2 * 0.8**i,
            "val_accuracy": 0.98 - 0.4 * 0.8**i,
            "learning_rate": 1e-3 * (1 - i / 31),
            "seconds": 20.0,
        }
        for i in range(30)
    ]
    atomic_write_text(folder / "model.keras", "weights")
    atomic_write_json(folder / "history.json", history)
    curves = plots.save(plots.learning_curves(history), folder / "curves.png")
    results = {
        "val_accuracy": Measurement(0.9784, "fraction", n=1712).to_json(),
        "best_epoch": 27,
        "epochs": 30,
        "seconds": 612.0,
        "device": "CPU",
        "parameters": 418_000,
        "class_names": NAMES,
        "data": {"name": "pbc28", "notes": []},
        "images": {"train": 11959, "val": 1712, "test": 1712},
    }
    run.write_record(
        "train", inputs=[], outputs=[folder / "model.keras", curves], config={}, results=results
    )


def _evaluate(run: RunDir):
    probabilities, labels = predictions(0, 3.5)
    results = evaluate(probabilities, labels, NAMES, resamples=100) | {
        "split": "test",
        "model": "model.keras",
    }
    folder = run.stage("evaluate") / "model-test"
    told = Predictions(NAMES, [f"test[{i}]" for i in range(1712)], labels, probabilities)
    results["examples"] = examples(told)
    tiles = np.random.default_rng(1).integers(0, 256, (1712, 8, 8, 3)).astype(np.uint8)
    written = write_artefacts(folder, results, told, tiles)
    run.write_record("evaluate/model-test", inputs=[], outputs=written, config={}, results=results)


def _quantize(run: RunDir):
    folder = run.stage("quantize")
    models = []
    operators = {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "ADD": 10}
    for precision, size in (("float32", 1_650_312), ("float16", 850_120), ("int8", 635_104)):
        atomic_write_text(folder / f"pbc-{precision}.tflite", f"pbc-{precision}")
        audit = {"passed": True, "violations": [], "operators": operators}
        models.append(
            {
                "file": f"pbc-{precision}.tflite",
                "precision": precision,
                "size_bytes": size,
                "seconds": 6.2,
                "input_type": "uint8",
                "audit": audit,
            }
        )
    calibration = {"images": 512, "seed": 0, "split": "train", "per_class": [64] * 8}
    results = {"models": models, "calibration": calibration}
    outputs = [folder / model["file"] for model in models]
    run.write_record("quantize", inputs=[], outputs=outputs, config={}, results=results)


def _verify(run: RunDir):
    folder, models, pictures = run.stage("verify"), [], []
    for precision, worst in (("float16", 0.001), ("int8", 0.034)):
        drops = np.r_[np.linspace(-0.002, 0.008, 7), worst]
        classes = [
            {
                "name": name,
                "support": 214,
                "reference": 0.97,
                "converted": 0.97 - d,
                "drop": d,
                "passed": bool(d <= 0.02),
            }
            for name, d in zip(NAMES, drops.tolist(), strict=True)
        ]
        figure = plots.score_drops(classes, allowed=0.02)
        pictures.append(plots.save(figure, folder / f"pbc-{precision}-f1-drop.png"))
        good = worst < 0.02
        checks = [
            {
                "name": "reference alive",
                "passed": True,
                "measured": "8 classes, accuracy 0.978",
                "allowed": "≥ 2 classes, > 0.194",
            },
            {
                "name": "top-1 agreement",
                "passed": None,
                "measured": "0.991",
                "allowed": "not judged",
            },
            {
                "name": "F1 of every class",
                "passed": good,
                "measured": f"drop {worst:.3f}",
                "allowed": "≤ 0.020",
            },
        ]
        models.append(
            {
                "file": f"pbc-{precision}.tflite",
                "precision": precision,
                "passed": good,
                "checks": checks,
                "classes": classes,
                "verdict": "equivalent within budget" if good else "refused: F1 of every class",
                "agreement": Measurement(0.991, "fraction", n=1712).to_json(),
            }
        )
    files = [run.stage("quantize") / model["file"] for model in models]
    for path in files:
        atomic_write_text(path, path.stem)
    run.write_record(
        "verify", inputs=files, outputs=pictures, config={}, results={"models": models}
    )


def _bench(run: RunDir):
    _record_bench(run, "bench", result())


def _record_bench(run: RunDir, verb: str, found: BenchResult):
    written = write_bench(run.stage(verb), found)
    run.write_record(verb, inputs=[], outputs=written, config={}, results=found.to_json())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build_run(tmp_path_factory.mktemp("runs") / "pbc-0.35-96-20260101T000000Z")


@pytest.fixture(scope="module")
def page(run):
    return render(run)


class Checker(HTMLParser):
    """Balanced tags, unique ids, sources of pictures and links."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.sources, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert tag not in ("script", "link", "iframe")
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if "src" in found:
            self.sources.append(found["src"])
            assert found["alt"]
        if "href" in found:
            self.links.append(found["href"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def bench_elsewhere(run: RunDir, *, knows: bool):
    """Add what another device said of the run's files: all but its memory, or why it said nothing."""
    here = run.read_record("bench")["results"]
    why, labels = "it has no way to say", np.arange(1712) % 8
    missing = {
        key: Measurement.missing("fraction", why).to_json() for key in ("top1", "equal_outputs")
    }
    missing["largest_difference"] = Measurement.missing("quanta", why).to_json()
    close = {
        "top1": Measurement(0.999, "fraction", n=1712, low=0.997, high=1.0).to_json(),
        "equal_outputs": Measurement(0.98, "fraction", n=13696).to_json(),
        "largest_difference": Measurement(1.0, "quanta", n=13696).to_json(),
    }
    models = [
        model
        | {"agreement": close if knows else missing}
        | {"footprint": model["footprint"] | {"memory": no_memory("nobody looked")}}
        | ({} if knows else {"quality": unknown(labels, NAMES, why), "latency": [no_latency(why)]})
        for model in here["models"]
    ]
    device = {"kind": "browser" if knows else "adb", "name": "Example <Device> 7"}
    facts = here["host"] | {"board": "Example Board"}
    found = BenchResult(models, device, facts, {}, 1712, NAMES, [])
    _record_bench(run, f"bench/{device['kind']}", found)


def test_other_devices_stand_in_sections_of_their_own(tmp_path):
    run = RunDir(tmp_path)
    _bench(run)
    before = render(run)
    assert "Benchmark: " not in before
    bench_elsewhere(run, knows=True)
    bench_elsewhere(run, knows=False)
    page = render(run)
    assert page.count("<h2>Benchmark") == 3
    for said in (
        "Benchmark: browser, Example &lt;Device&gt; 7",
        "Benchmark: adb, Example &lt;Device&gt; 7",
        "0.999 [0.997, 1.000]",
        "1 quanta",
        "it has no way to say",
    ):
        assert said in page, said
    assert 'id="bench"' in page and 'id="bench-adb"' in page
    text = (run.stage("bench/adb") / "bench.md").read_text()
    assert "adb: Example Board, Example CPU" in text
    assert (
        "**Not measured:** accuracy, agreement, p50, p90, p99, first, load, delegate: it has"
        in text
    )
    assert "**Not measured:** memory: nobody looked" in text
    assert "Not measured" not in (run.stage("bench") / "bench.md").read_text()
    assert not (run.stage("bench/adb") / "size_accuracy.png").exists()
    assert (run.stage("bench/browser") / "latency_accuracy.png").exists()


def test_a_device_s_own_page(tmp_path):
    run = RunDir(tmp_path)
    _bench(run)
    for knows, kind in ((True, "browser"), (False, "adb")):
        bench_elsewhere(run, knows=knows)
        page = render_bench("run", run.read_record(f"bench/{kind}")["results"])
        assert f"test images and {kind}, Example &lt;Device&gt; 7" in page
        assert "Answers against the host&#x27;s" in page
        assert ('id="matrices"' in page) is knows
        assert (
            "agreement, p50, p90, p99, first, load, delegate: it has no way" in page
        ) is not knows
    here = render_bench("run", run.read_record("bench")["results"])
    assert "the same machine" in here
    assert "Answers against" not in here


def test_a_device_alone_makes_no_headline(tmp_path):
    run = RunDir(tmp_path)
    _bench(run)
    bench_elsewhere(run, knows=False)
    (run.stage("bench") / "record.json").unlink()
    page = render(run)
    assert "Benchmark: adb" in page
    assert "Test accuracy" not in page


def test_page_is_whole_and_needs_nothing_else(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert {link.removeprefix("#") for link in checker.links} <= set(checker.ids)
    assert len(checker.sources) == 1 + 7 + 2 + 2
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    assert "http" not in re.sub(r'src="[^"]*"', "", page)
    assert len(page.encode()) < 5_000_000
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page


def test_page_tells_what_each_stage_found(page):
    for wanted in (
        "Benchmark",
        "refused: F1 of every class",
        "not phone latency",
        "0.978 (n=1712)",
        "Calibration",
        "weakest class",
        "other programs used 40%",
        "1 of 2",
    ):
        assert wanted in page, wanted


def test_headline_is_of_a_verified_file_and_the_table_names_refused_ones(page):
    assert "Test accuracy, float16<" in page  # int8 is smaller and was refused
    assert [
        page.count(f"{verdict}</span>") for verdict in ("✓ verified", "✗ refused", "– not verified")
    ] == [1, 1, 1]


def test_without_verification_the_headline_says_so(tmp_path):
    run = RunDir(tmp_path / "run")
    _bench(run)
    assert "Test accuracy, int8 (not verified)" in render(run)


def test_of_two_verbs_that_end_together_the_last_report_has_both(tmp_path):
    run = RunDir(tmp_path)
    atomic_write_text(tmp_path / "config.toml", 'name = "pbc"\n')
    _train(run)
    report = threading.Thread(target=write_report, args=(run,))
    with claimed(tmp_path, "report"):  # the other verb is at it
        report.start()
        report.join(0.5)
        assert not (tmp_path / "report.html").exists()
        _verify(run)
    report.join()
    assert 'id="verify"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / ".report.lock").exists()


def test_names_are_escaped(page):
    assert "<b>platelet" not in page
    assert "&lt;b&gt;platelet&lt;/b&gt; &amp; co" in page


def test_stages_that_are_missing_are_left_out(tmp_path):
    empty = RunDir(tmp_path / "empty")
    page = render(empty)
    assert "none finished" in page
    assert 'id="bench"' not in page
    _train(empty)
    page = render(empty)
    assert 'id="train"' in page
    assert 'id="bench"' not in page
    assert "Validation accuracy" in page


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda record: record["results"].pop("models"),
            "cannot be shown.*models.*run 'edgecell verify'",
        ),
        (lambda record: record["results"]["models"][0].pop("verdict"), "cannot be shown.*verdict"),
        (lambda record: record.pop("environment"), "lacks its 'environment'"),
        (
            lambda record: record["outputs"].update({"verify/none.png": "0"}),
            "cannot read the picture",
        ),
        (
            lambda record: record["results"]["models"][0].update(
                extra={"unit": "fraction", "value": "x"}
            ),
            "not a measurement",
        ),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, damage, message):
    run = RunDir(tmp_path / "run")
    _verify(run)
    assert "refused" in render(run)
    path = run.stage("verify") / "record.json"
    record = json.loads(path.read_text())
    damage(record)
    if "none.png" in str(record["outputs"]):
        record["results"]["models"][0]["file"] = "none.tflite"
    path.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match=message):
        write(run)
    assert not (run.path / "report.html").exists()


def test_no_picture_that_is_none(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"GIF89a")
    with pytest.raises(ArtifactError, match="is not a PNG"):
        elements.Pictures().figure(path, "a")


def test_a_sheet_of_photographs_is_light_and_takes_the_whole_width(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 90, 90, 3)).astype(np.uint8)
    rows = [{"index": i, "label": "a", "predicted": "b", "confidence": 0.5} for i in range(24)]
    figure = plots.confident_mistakes(noise, {"mistakes": rows, "wrong": 24})
    path = plots.save(figure, tmp_path / "sheet.png")
    shown = elements.Pictures().figure(path, "sheet")
    assert "data:image/jpeg;base64," in shown and 'class="wide"' in shown
    assert len(shown) < path.stat().st_size
    diagram = plots.confusion_matrix(np.eye(2, dtype=int), ["a", "b"])
    shown = elements.Pictures().figure(plots.save(diagram, tmp_path / "a.png"), "diagram")
    assert "data:image/png;base64," in shown and "wide" not in shown


def test_pictures_over_the_budget_are_named(tmp_path):
    path = plots.save(plots.confusion_matrix(np.eye(2, dtype=int), ["a", "b"]), tmp_path / "a.png")
    pictures = elements.Pictures(budget=int(path.stat().st_size * 4 / 3) + 10)
    assert "<img" in pictures.figure(path, "first")
    assert "too large" in pictures.figure(path, "second")


def test_added_keys_show_up():
    shown = elements.value(
        {
            "new_score": Measurement(0.5, "fraction", n=3, low=0.25, high=0.75).to_json(),
            "list": [1, 2],
            "flag": True,
            "rows": [{"a": 1}, {"b": "<"}],
            "none": None,
            "gone": Measurement.missing("ms", "no clock").to_json(),
        }
    )
    for wanted in (
        "new score",
        "0.500 [0.250, 0.750] (n=3)",
        "1, 2",
        "yes",
        "&lt;",
        "none: no clock",
    ):
        assert wanted in shown


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"value": 635_104, "unit": "bytes"}, "635.1 kB"),
        ({"value": 0.1314, "unit": "ms", "n": 200}, "0.131 ms (n=200)"),
        ({"value": 2.0, "unit": "quanta", "kind": "estimated"}, "2.000 quanta estimated"),
    ],
)
def test_measurements_as_text(data, wanted):
    assert elements.measurement(data) == wanted


def test_written_file_is_the_page(run, page):
    assert write(run).read_text() == page
    assert [p.name for p in run.path.iterdir() if p.name.startswith(".")] == []


def headlined(models: list[tuple[str, str, int, float]]) -> str:
    """The kind that the cards are about, given (name, precision, bytes, p50 in ms) of each file."""
    listed = []
    for name, precision, size, p50 in models:
        entry = copy.deepcopy(result().models[0])
        entry["footprint"]["size"]["value"], entry["latency"][0]["p50"]["value"] = size, p50
        listed.append(entry | {"name": name, "precision": precision, "sha256": name})
    results = result().to_json() | {"models": listed}
    title = re.search(r"Test accuracy, ([\w-]+) ", str(headline(results, {})[0]))
    assert title
    return title[1]


@pytest.mark.parametrize(
    ("other", "size", "said"),
    [
        ("float32", 2_000_000, "2.0 × smaller than float32"),
        ("int8", 2_000_000, "2.0 × smaller than the largest benched"),
        ("int8", 1_004_000, "about as large as the largest benched"),  # a resize inside, say
    ],
)
def test_the_size_is_compared_with_what_is_larger(other, size, said):
    small, large = (copy.deepcopy(result().models[0]) for _ in range(2))
    for entry, precision, count, p50 in (
        (small, "int8", 1_000_000, 0.5),
        (large, other, size, 9.0),
    ):
        entry["footprint"]["size"]["value"], entry["latency"][0]["p50"]["value"] = count, p50
        entry |= {"precision": precision, "name": f"{precision}-{count}", "sha256": f"{count}"}
    results = result().to_json() | {"models": [small, large]}
    assert said in str(headline(results, {})[2])


def test_of_small_files_the_fast_one_is_headlined():
    int8, dynamic = ("a-int8", "int8", 629_000, 0.7), ("a-dynamic", "dynamic", 553_000, 2.0)
    assert headlined([dynamic, int8]) == "int8"
    assert headlined([int8, ("a-dynamic", "dynamic", 450_000, 2.0)]) == "dynamic"
    assert headlined([int8, ("a-float32", "float32", 1_600_000, 0.1)]) == "int8"


def test_files_of_one_precision_have_columns_of_their_own(tmp_path):
    def heads(names: list[tuple[str, str]]) -> list[str]:
        listed = [
            copy.deepcopy(entry) | {"name": name, "precision": precision}
            for entry, (name, precision) in zip(result().models, names, strict=False)
        ]
        run = RunDir(tmp_path / names[-1][0])
        _record_bench(run, "bench", dataclasses.replace(result(), models=listed))
        part = render(run).split("F1 per class</h3>")[1].split("</tr>")[0]
        return re.findall(r"<th[^>]*>([^<]*)</th>", part)[2:]

    assert heads([("a-float32", "float32"), ("a-int8", "int8")]) == ["float32", "int8"]
    twice = [("a-float32", "float32"), ("a-int8", "int8"), ("a-int8-search", "int8")]
    assert heads(twice) == ["float32", "int8", "int8-search"]


@pytest.mark.parametrize(("count", "folded"), [(100, False), (101, True)])
def test_a_table_of_very_many_classes_begins_with_the_lowest(count: int, folded: bool) -> None:
    rows = [[f"class {i}", i] for i in range(count)]
    page = elements.long_table(["Class", "F1"], rows, [-i for i in range(count)])
    assert ("<details>" in page) == folded
    first = re.findall(r"<td[^>]*>(class \d+)", page)[0]
    assert first == ("class 100" if folded else "class 0")
    assert page.count(">class 0<") == 1
