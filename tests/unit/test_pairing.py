"""Which model may judge which file: a run's verdicts are about its own, a foreign file scales as its model does."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras
import toys
from sabotage import with_class_broken

import edgecell.cli as command_line
from edgecell.config import Config, DataConfig
from edgecell.custody import audit_run
from edgecell.disk import sha256_file
from edgecell.errors import ArtifactError, ConfigError, ParityError
from edgecell.pipeline.confidence import calibrate_target
from edgecell.pipeline.lookup import judged_in, passing_hashes, trained_hash, verdict_on
from edgecell.pipeline.opening import open_model
from edgecell.pipeline.pairing import find_pair
from edgecell.pipeline.robustness import robustness_target
from edgecell.pipeline.targets import resolve
from edgecell.pipeline.verification import verify_target
from edgecell.progress import Silent
from edgecell.rundir import RunDir


def lenient(config: Config) -> Config:
    """Thirty-two images decide nothing about a hundredth; here it is about who judges."""
    budget = replace(config.verify, max_accuracy_drop=0.3, max_f1_drop=0.5, margin=0.3)
    return replace(config, verify=budget)


def verify(path: Path, reference: Path | None = None, output: Path | None = None):
    return verify_target(path, reference, lenient, None, output, Silent())


def int8(run: Path) -> Path:
    return run / "quantize/toy-int8.tflite"


def verdict(run: Path) -> str:
    return verdict_on(RunDir(run), sha256_file(int8(run)))


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with other weights: another model of the same form."""
    model = keras.models.clone_model(toys.trained())
    random = np.random.default_rng(1)
    model.set_weights(
        [
            w + 0.02 * random.standard_normal(w.shape).astype("f")
            for w in toys.trained().get_weights()
        ]
    )
    path = tmp_path_factory.mktemp("weak") / "weak.keras"
    model.save(path)
    return path


# ------------------------------------------------------------------------- a run and its own model


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("verb", ["verify", "calibrate", "robustness"])
def test_another_model_is_no_reference_in_a_run(toy_copy, weak, verb, whole):
    calls = {
        "verify": lambda path: verify(path, weak),
        "calibrate": lambda path: calibrate_target(
            path, weak, lenient, None, "val", None, Silent()
        ),
        "robustness": lambda path: robustness_target(
            path, weak, lenient, None, "val", None, Silent()
        ),
    }
    with pytest.raises(ConfigError, match=r"weak\.keras .* is not the model that .* trained") as no:
        calls[verb](toy_copy if whole else int8(toy_copy))
    assert "leave --reference out" in str(no.value) and "--output DIR" in str(no.value)
    assert not RunDir(toy_copy).has(verb)


def test_another_model_judges_a_single_file_elsewhere_only(toy_copy, weak, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(ConfigError, match="is not the model that"):
        verify(toy_copy, weak, elsewhere)
    assert not elsewhere.exists()
    record, _ = verify(int8(toy_copy), weak, elsewhere)
    assert record["inputs"]["weak.keras"] == sha256_file(weak)
    assert verdict(toy_copy) == "not verified"
    # Nor does a run take such a verdict in from a file that lies outside of it.
    lone = Path(shutil.copy(int8(toy_copy), tmp_path / "lone-int8.tflite"))
    with pytest.raises(ConfigError, match="is not the model that"):
        verify(lone, weak, toy_copy)
    assert not RunDir(toy_copy).has("verify")


def test_what_one_run_found_is_not_written_into_another(toy, toy_copy, weak):
    model = Path(shutil.copy(weak, toy_copy / "train/model.keras"))
    run = RunDir(toy_copy)
    results = run.read_record("train")["results"]
    run.write_record("train", inputs=[], outputs=[model], config={}, results=results)
    with pytest.raises(ConfigError, match=f"is not the model that {toy_copy} trained"):
        verify(toy, output=toy_copy)
    assert not run.has("verify")


def test_a_copy_of_the_run_s_model_is_the_run_s_model(toy_copy, tmp_path):
    copy = Path(shutil.copy(toy_copy / "train/model.keras", tmp_path / "copy.keras"))
    record, failure = verify(toy_copy, copy)
    assert failure is None
    assert record["inputs"]["train/model.keras"] == sha256_file(copy)
    assert verdict(toy_copy) == "passed"


def test_a_model_in_the_place_of_the_run_s_is_noticed_for_one_file_too(toy_copy, weak):
    shutil.copy(weak, toy_copy / "train/model.keras")
    with pytest.raises(ArtifactError, match=r"model\.keras was altered after 'train'"):
        verify(int8(toy_copy))


def judged_by(run: Path, name: str, digest: str) -> None:
    """Make the record of verify say that its reference was this one."""
    path = run / "verify/record.json"
    record = json.loads(path.read_text())
    record["inputs"].pop("train/model.keras")
    record["inputs"] = {name: digest} | record["inputs"]
    record.pop("seal")
    path.write_text(json.dumps(record))


def test_a_verdict_by_another_reference_opens_no_gate(toy_copy, weak):
    verify(toy_copy)
    assert verdict(toy_copy) == "passed"
    assert not audit_run(toy_copy).broken
    judged_by(toy_copy, "weak.keras", sha256_file(weak))  # as versions before recorded it
    assert verdict(toy_copy) == "not verified"
    assert passing_hashes(RunDir(toy_copy)) == {}
    [broken] = audit_run(toy_copy).broken
    assert (broken.kind, broken.path) == ("stale", "verify/record.json")
    assert "compared with another model than train/model.keras" in broken.said


def test_the_same_bytes_by_another_name_are_the_run_s_model(toy_copy):
    verify(toy_copy)
    judged_by(toy_copy, "copy.keras", str(trained_hash(RunDir(toy_copy))))
    assert verdict(toy_copy) == "passed"
    assert not audit_run(toy_copy).broken


def test_a_verdict_of_before_a_new_training_opens_no_gate(toy_copy, weak):
    run = RunDir(toy_copy)
    verify(toy_copy)
    train = run.read_record("train")
    shutil.copy(weak, toy_copy / "train/model.keras")
    run.write_record(
        "train",
        inputs=[],
        outputs=[toy_copy / "train/model.keras"],
        config={},
        results=train["results"],
    )
    assert verdict(toy_copy) == "not verified"


def test_a_bundle_says_nothing_of_what_another_reference_said(toy_copy, weak):
    from edgecell.pipeline.bundle_subject import subject_of

    def records() -> dict:
        target = resolve(int8(toy_copy))
        source, none = target.model.read_bytes(), {"licence": None, "intended_use": None}
        return subject_of(target, source, "not verified", None, **none).records

    verify(toy_copy)
    assert "verify" in records()
    judged_by(toy_copy, "weak.keras", sha256_file(weak))
    assert "verify" not in records()


# ------------------------------------------------------------------------ a model from elsewhere


@pytest.fixture(scope="module")
def elsewhere(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy behind another scaling, its images, and what the command converted it to."""
    folder = tmp_path_factory.mktemp("elsewhere")
    model = toys.model(keras.layers.Rescaling(1 / 127.5, -1.0, name="input_scaling"))
    model.set_weights(toys.trained().get_weights())
    model.save(folder / "foreign.h5")
    shutil.copy(toy.parent / "toy.npz", folder / "toy.npz")
    return folder


class Command:
    """Calls the command line in this process; exit code and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            command_line.main([str(word) for word in words])
        shown = self.capsys.readouterr()
        return int(end.value.code or 0), shown.out, shown.err


@pytest.fixture
def edgecell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> Command:
    monkeypatch.setattr(command_line.terminal, "quiet_native_output", lambda: sys.stderr)
    monkeypatch.chdir(elsewhere)
    return Command(capsys)


QUANTIZE = ["quantize", "foreign.h5", "--int8", "--float32", "--data", "toy.npz", "--limit", "60"]
BUDGET = ["--max-accuracy-drop", "0.3", "--max-f1-drop", "0.5", "--margin", "0.3"]


@pytest.fixture
def converted(edgecell: Command, elsewhere: Path) -> Path:
    """The folder that foreign.h5 was converted into."""
    folder = elsewhere / "conv"
    if not folder.exists():
        code, _, said = edgecell(*QUANTIZE, "--output", folder)
        assert code == 0, said
    return folder


def next_command(shown: str) -> list[str]:
    import shlex

    line = next(each for each in shown.splitlines() if each.startswith("next:"))
    words = shlex.split(line)
    assert words[:2] == ["next:", "edgecell"]
    return words[2:]


def test_the_command_printed_after_a_conversion_works_as_printed(edgecell, elsewhere):
    code, shown, said = edgecell(*QUANTIZE, "--output", "a folder")
    assert code == 0, said
    command = next_command(shown)
    assert command == [
        *("verify", "a folder", "--reference", "foreign.h5"),
        *("--data", "toy.npz", "--limit", "60"),
    ]
    code, shown, said = edgecell(*command)
    assert code == 0, said
    run = RunDir(elsewhere / "a folder")
    found = run.check_outputs("verify")["results"]["models"]
    assert sorted(entry["precision"] for entry in found) == ["float32", "int8"]
    assert all(entry["passed"] for entry in found)
    assert not audit_run(run.path).broken


def test_the_command_after_a_conversion_that_goes_elsewhere_names_the_run_s_model_and_images(
    edgecell, toy_copy
):
    code, shown, said = edgecell("quantize", toy_copy, "--float32", "--output", "out of the run")
    assert code == 0, said
    command = next_command(shown)
    assert command[2:4] == ["--reference", str(toy_copy / "train/model.keras")]
    code, _, said = edgecell(*command)
    assert code == 0, said


def test_images_that_are_not_known_are_asked_for(edgecell):
    code, shown, said = edgecell("quantize", "foreign.h5", "--float16", "--output", "halves")
    assert code == 0, said
    assert next_command(shown)[-2:] == ["--data", "IMAGES"]
    code, _, said = edgecell("verify", "halves")
    assert code == 2 and "name the Keras model with --reference" in said
    code, _, said = edgecell("verify", "halves", "--reference", "foreign.h5")
    assert code == 2 and "name the images with --data" in said


@pytest.mark.parametrize("where", ["beside its record", "alone"])
def test_a_foreign_file_must_scale_as_its_reference_does(
    edgecell, converted, toy, elsewhere, tmp_path, where
):
    path = converted / "quantize/foreign-int8.tflite"
    if where == "alone":
        path = Path(shutil.copy(path, tmp_path / "lone-int8.tflite"))
    flags = ["--data", "toy.npz", *BUDGET, "--output"]
    code, _, said = edgecell("verify", path, "--reference", "foreign.h5", *flags, tmp_path / "yes")
    assert code == 0, said
    # The same network behind edgecell's scaling: to it the file's input is a wrong one.
    own = Path(shutil.copy(toy / "train/model.keras", tmp_path / "own.keras"))
    code, _, said = edgecell("verify", path, "--reference", own, *flags, tmp_path / "no")
    assert code == 5
    assert "'structure': input scale 0.0078431377, allowed 0.0078125" in said
    # And the other way round: edgecell's own file is no file of the foreign model.
    wrong = Path(shutil.copy(int8(toy), tmp_path / "wrong-int8.tflite"))
    code, _, said = edgecell(
        "verify", wrong, "--reference", "foreign.h5", *flags, tmp_path / "also no"
    )
    assert code == 5
    assert "'structure': input scale 0.0078125, allowed 0.0078431373" in said


def test_a_foreign_file_that_lost_a_class_is_refused_still(edgecell, converted, tmp_path):
    broken = tmp_path / "broken-int8.tflite"
    broken.write_bytes(
        with_class_broken((converted / "quantize/foreign-int8.tflite").read_bytes(), 0)
    )
    data = DataConfig(source="toy.npz")
    reference = Path("foreign.h5")
    _, failure = verify_target(broken, reference, lenient, data, tmp_path / "out", Silent())
    assert isinstance(failure, ParityError) and "'dark red'" in str(failure)


def test_a_verdict_beside_a_conversion_opens_bench_and_bundle(edgecell, converted, tmp_path):
    folder = Path(shutil.copytree(converted, tmp_path / "conv"))
    shutil.rmtree(folder / "verify", ignore_errors=True)
    file, data = folder / "quantize/foreign-int8.tflite", ("--data", "toy.npz", "--limit", "60")
    bench = ("bench", "--model", file, *data, "--output", tmp_path / "benched", "--quick")
    bundle = ("bundle", file, "--target", "python", *data, "--output", tmp_path / "shipped")
    assert edgecell(*bench)[0] == edgecell(*bundle)[0] == 6
    assert open_model(file).classifier.verified == "not verified"

    code, _, said = edgecell("verify", folder, "--reference", "foreign.h5", *data, *BUDGET)
    assert code == 0, said
    code, _, said = edgecell(*bench, "--runs", 16, "--seconds", 0)
    assert code == 0, said
    benched = json.loads((tmp_path / "benched/bench/bench.json").read_text())
    assert [entry["verify"] for entry in benched["models"]] == ["passed"]
    code, _, said = edgecell(*bundle)
    assert code == 0, said
    told = json.loads((tmp_path / "shipped/foreign-int8-python/model.json").read_text())
    assert (told["verified"]["status"], told["model"]["precision"]) == ("passed", "int8")
    record = sha256_file(folder / "verify/record.json")
    assert told["records"]["verify"]["sha256"] == record
    assert open_model(file).classifier.verified == "passed"

    # The verdict is about these bytes at this place; other bytes under the name are not meant by it.
    file.write_bytes(with_class_broken(file.read_bytes(), 0))
    assert edgecell(*bench)[0] == 6


def test_a_verdict_beside_a_conversion_by_another_model_opens_nothing(
    edgecell, converted, weak, tmp_path
):
    folder = Path(shutil.copytree(converted, tmp_path / "conv"))
    file = folder / "quantize/foreign-int8.tflite"
    edgecell("verify", folder, "--reference", "foreign.h5", "--data", "toy.npz", *BUDGET)
    home, digest = judged_in(file, None), sha256_file(file)
    assert verdict_on(home, digest) == "passed"
    path = folder / "verify/record.json"
    record = json.loads(path.read_text())
    del record["inputs"]["foreign.h5"], record["seal"]
    record["inputs"]["weak.keras"] = sha256_file(weak)
    path.write_text(json.dumps(record))
    assert verdict_on(home, digest) == "not verified"


def test_a_converted_file_that_was_altered_is_refused(edgecell, converted, tmp_path):
    other = Path(shutil.copytree(converted, tmp_path / "conv"))
    path = other / "quantize/foreign-int8.tflite"
    path.write_bytes(with_class_broken(path.read_bytes(), 0))
    for target in (other, path):
        with pytest.raises(ArtifactError, match="was altered after 'quantize'"):
            find_pair(target, Path("foreign.h5"), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("x-mixed", "mixed"),
        ("x-int8-mixed", "mixed"),
        ("mixed_int8", "mixed"),
        ("mixed-cells-int8-search", "int8"),
        ("float32-int8", "int8"),
        ("x-int16x8", "int16x8"),
        ("cells_int8_28px", "int8"),
    ],
)
def test_the_precision_is_read_from_the_name(toy, tmp_path, name, precision):
    path = Path(shutil.copy(int8(toy), tmp_path / f"{name}.tflite"))
    pair = find_pair(path, toy / "train/model.keras", tmp_path / "out")
    assert [entry["precision"] for entry in pair.files] == [precision]


def test_a_name_without_a_precision_is_refused(toy, tmp_path):
    path = Path(shutil.copy(int8(toy), tmp_path / "cells.tflite"))
    with pytest.raises(ArtifactError, match="its name holds no precision"):
        find_pair(path, toy / "train/model.keras", tmp_path / "out")
