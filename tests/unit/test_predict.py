"""predict: the answers are those of the training's own path, and odd files harm no other."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
import toys_labels
from asked import (
    ABSTAIN_BELOW,
    TEMPERATURE,
    as_the_training_reads,
    calibration,
    label_calibration,
    make_bundle,
    make_run,
    save_pictures,
)
from PIL import Image

from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.pipeline import predicting
from edgecell.pipeline.opening import open_model
from edgecell.progress import Silent
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL, ORDINAL


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "toy"
    return make_run(folder, toys.converted("int8"), calibrated=calibration())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_pictures(tmp_path_factory.mktemp("pictures"), 70)


def ask(model: Path, paths: list[Path], table: Path | None = None):
    """The rows and their tally."""
    rows: list[predicting.Row] = []
    classifier = open_model(model).classifier
    found, _ = predicting.find_images(paths)
    tally = predicting.predict_files(classifier, found, table, Silent(), rows.append)
    return rows, tally


def test_probabilities_are_those_of_the_training_s_path(file, pictures):
    """More than a batch, in order, each equal to the loader of training data and the plain predictor."""
    rows, tally = ask(file, pictures)
    predictor = TFLitePredictor(toys.converted("int8"))
    expected = np.concatenate([predictor.predict(as_the_training_reads(p)) for p in pictures])
    np.testing.assert_array_equal([row.answer.probabilities for row in rows], expected)
    assert [row.image for row in rows] == [str(path) for path in pictures]
    assert len(np.unique(expected.argmax(axis=1))) == 4  # it is alive
    assert (
        tally.images == 70 and not tally.unreadable and tally.said.total() + tally.abstained == 70
    )


def test_another_preprocessing_would_show(file, pictures):
    predictor = TFLitePredictor(toys.converted("int8"))
    rows, _ = ask(file, pictures[:8])
    size = (toys.SIZE, toys.SIZE)
    other = np.stack(
        [np.asarray(Image.open(p).resize(size, Image.Resampling.NEAREST)) for p in pictures[:8]]
    )
    assert not np.array_equal([r.answer.probabilities for r in rows], predictor.predict(other))


def test_the_fit_of_the_training_is_used(tmp_path):
    """A wide picture, red left and right of a blue middle: cut out it is blue, as a whole it is not."""
    pixels = np.full((32, 96, 3), (230, 150, 150), np.uint8)
    pixels[:, 32:64] = (150, 150, 230)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    said = {}
    for fit, fraction in (("stretch", 1.0), ("crop", 1.0), ("stretch", 1 / 3)):
        name = f"{fit} {fraction:.1f}"
        model = make_run(tmp_path / name, toys.converted("int8"), fit=fit, fraction=fraction)
        [row], _ = ask(model, [tmp_path / "wide.png"])
        said[name] = row.answer.probabilities
    for name in ("crop 1.0", "stretch 0.3"):
        assert said[name].argmax() == toys.CLASSES.index("bright blue")
        assert not np.array_equal(said[name], said["stretch 1.0"])


def test_bundle_folder_zip_and_file_answer_alike(file, pictures, tmp_path):
    folder = make_bundle(tmp_path)
    expected, _ = ask(file, pictures[:20])
    for model in (folder, folder.with_suffix(".zip"), folder / "model.tflite"):
        rows, _ = ask(model, pictures[:20])
        assert [r.to_json(4) for r in rows] == [r.to_json(4) for r in expected], model
    opened = open_model(folder.with_suffix(".zip"))
    assert opened.bundle is not None and opened.classifier.notes == ()
    assert opened.classifier.rules == open_model(file).classifier.rules


def test_what_calibrate_found_is_applied(file):
    classifier = open_model(file).classifier
    assert classifier.notes == () and classifier.verified == "passed"
    assert classifier.rules.abstain_below == ABSTAIN_BELOW
    assert classifier.rules.temperature == TEMPERATURE
    assert classifier.rules.floor == 1 / 512


def test_what_is_missing_is_said(tmp_path):
    data = toys.converted("int8")
    bare = open_model(make_run(tmp_path / "a", data, passed=None)).classifier
    assert "has not passed verify" in bare.warning and "is not calibrated" in bare.notes[0]
    failed = open_model(make_run(tmp_path / "b", data, passed=False)).classifier
    assert "FAILED verify" in failed.warning and failed.verified == "failed"
    loose = calibration(threshold=None)
    always = open_model(make_run(tmp_path / "c", data, calibrated=loose)).classifier
    assert always.warning is None and always.notes == (
        "it always answers: no threshold holds 0.99",
    )
    alone = shutil.copy(make_run(tmp_path / "d", data), tmp_path / "alone.tflite")
    stranger = open_model(Path(alone)).classifier
    assert stranger.rules.labels == ("class 0", "class 1", "class 2", "class 3")
    assert any("classes are numbered" in note for note in stranger.notes)


def test_an_unverified_bundle_is_said_to_be_one(tmp_path):
    folder = make_bundle(tmp_path, verdict="failed")
    assert "FAILED verify" in open_model(folder).classifier.warning


def test_another_file_than_the_one_calibrated_gets_none_of_it(tmp_path):
    """A record belongs to a hash, not to a name."""
    file = make_run(tmp_path, toys.converted("int8"), calibrated=calibration())
    file.write_bytes(toys.converted("float32"))
    classifier = open_model(file).classifier
    assert classifier.rules.abstain_below is None and classifier.verified == "not verified"


def test_a_file_of_other_classes_is_refused(tmp_path):
    file = make_run(tmp_path, toys.converted("int8"), labels=("a", "b"))
    with pytest.raises(ArtifactError, match="has 4 outputs and its run 2 classes"):
        open_model(file)


def test_several_labels_at_once(tmp_path):
    file = make_run(tmp_path, toys_labels.converted("int8"), toys_labels.LABELS, task=MULTI_LABEL)
    pixels, _ = toys_labels.images(40, seed=8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    rows, tally = ask(file, sorted(tmp_path.glob("*.png")))
    probabilities = TFLitePredictor(toys_labels.converted("int8")).predict(pixels)
    for row, p in zip(rows, probabilities, strict=True):
        assert sorted(row.answer.said) == list(np.flatnonzero(p > 0.5))
        assert not row.answer.abstained and row.answer.members is None
    assert len({len(row.answer.said) for row in rows}) >= 3  # none, one and several
    [note] = [note for note in open_model(file).classifier.notes if "calibrated" in note]
    assert "it calls each label above 0.5; 'edgecell calibrate' finds thresholds" in note
    assert tally.said.total() == (probabilities > 0.5).sum()
    none = int((probabilities <= 0.5).all(axis=1).sum())
    assert tally.without_label == tally.to_json()["without_label"] == none > 0


def test_the_confidence_of_several_labels_is_that_of_the_least_sure(tmp_path):
    file = make_run(tmp_path, toys_labels.converted("int8"), toys_labels.LABELS, task=MULTI_LABEL)
    pixels, _ = toys_labels.images(40, seed=8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    said = TFLitePredictor(toys_labels.converted("int8")).predict(pixels)
    ask(file, sorted(tmp_path.glob("*.png")), tmp_path / "t.csv")
    table = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    for cells, p in zip(table, said, strict=True):
        # Of red 0.99 and frame 0.53 the answer is no surer than 0.53.
        wanted = str(float(p[p > 0.5].min())) if (p > 0.5).any() else ""
        assert cells["confidence"] == wanted and (cells["answer"] == "none") == (wanted == "")


def test_labels_are_called_from_their_thresholds_on(tmp_path):
    low = dict(zip(toys_labels.LABELS, (0.125, 0.125, None, 0.125), strict=True))
    found = label_calibration(low)
    data = toys_labels.converted("int8")
    file = make_run(tmp_path, data, toys_labels.LABELS, task=MULTI_LABEL, calibrated=found)
    pixels, _ = toys_labels.images(24, seed=8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    p = TFLitePredictor(data).predict(pixels)
    called = p >= np.array([0.125, 0.125, np.nextafter(0.5, 1), 0.125])
    assert (called != (p > 0.5)).sum() > 5
    rows, _ = ask(file, sorted(tmp_path.glob("*.png")), tmp_path / "t.csv")
    for row, expected in zip(rows, called, strict=True):
        assert sorted(row.answer.said) == list(np.flatnonzero(expected))
    [note] = open_model(file).classifier.notes
    assert note == "too few images to choose a threshold for blue blob: called above 0.5"
    table = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    kept = p.astype(float).clip(1 / 512, 1 - 1 / 512)
    shown = 1 / (1 + np.exp(-(0.5 * np.log(kept / (1 - kept)) - 0.25)))
    for line, own, scaled in zip(table, p, shown, strict=True):
        for i, name in enumerate(toys_labels.LABELS):
            assert float(line[f"p({name})"]) == pytest.approx(own[i])
            assert float(line[f"calibrated({name})"]) == pytest.approx(scaled[i])


def test_grades(tmp_path, pictures):
    file = make_run(tmp_path, toys.converted("float32"), task=ORDINAL)
    [row], _ = ask(file, pictures[:1])
    p = row.answer.probabilities
    assert row.answer.mean_grade == pytest.approx((p * [0, 1, 2, 3]).sum() / p.sum())


# ----------------------------------------------------------------------------- odd files


@pytest.fixture
def mixed(tmp_path: Path, pictures: list[Path]) -> Path:
    """A folder with three good images among what people have in folders."""
    folder = tmp_path / "mixed"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(pictures[0], folder / "a.png")
    shutil.copy(pictures[1], folder / "deeper" / "b.png")
    shutil.copy(pictures[2], folder / "=z.png")
    (folder / "broken.png").write_bytes(pictures[3].read_bytes()[:60])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    (folder / "notes.txt").write_text("left out")
    (folder / ".hidden.png").write_bytes(pictures[3].read_bytes())
    os.mkfifo(folder / "pipe.png")
    return folder


def test_unreadable_files_are_told_and_the_others_answered(file, mixed, monkeypatch):
    monkeypatch.chdir(mixed.parent)
    rows, tally = ask(file, [Path("mixed"), Path("nowhere.png")])
    good = {Path(row.image).name for row in rows if row.answer}
    assert good == {"a.png", "b.png", "=z.png"}
    problems = {Path(row.image).name: row.problem for row in tally.unreadable}
    assert set(problems) == {"broken.png", "empty.jpg", "text.png", "pipe.png", "nowhere.png"}
    assert "corrupt" in problems["broken.png"] and "no image at" in problems["nowhere.png"]
    assert "not a file" in problems["pipe.png"]
    error = predicting.refuse(tally)
    assert isinstance(error, DataError) and "5 of 8 images could not be read" in str(error)
    _, notes = predicting.find_images([Path("mixed")])
    assert len(notes) == 1 and ("notes.txt" in notes[0] or ".hidden" in notes[0])


def test_an_image_too_large_for_the_memory_harms_no_other(file, pictures, monkeypatch):
    right = predicting.resize

    def short_of_memory(image: np.ndarray, spec) -> np.ndarray:
        if image.shape == (7, 5, 3):
            raise MemoryError
        return right(image, spec)

    monkeypatch.setattr(predicting, "resize", short_of_memory)
    monkeypatch.setattr(
        predicting,
        "decode_file",
        lambda path: np.zeros((7, 5, 3) if path == pictures[1] else (9, 9, 3), np.uint8),
    )
    rows, tally = ask(file, pictures[:3])
    assert [row.answer is None for row in rows] == [False, True, False]
    [row] = tally.unreadable
    assert row.problem == f"{pictures[1]} takes more memory than there is; shrink it first"
    assert predicting.refuse(tally).exit_code == 3


def test_a_line_of_a_million_rows_is_named(file, tmp_path):
    Image.new("L", (2, 7_000_000)).save(tmp_path / "line.png")
    [row], _ = ask(file, [tmp_path / "line.png"])
    assert row.problem.startswith(f"{tmp_path / 'line.png'} cannot be resized: 2×7000000 pixels")


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        predicting.find_images([tmp_path])


def test_the_csv_holds_every_file_and_every_probability(file, mixed, tmp_path, monkeypatch):
    monkeypatch.chdir(mixed)
    rows, _ = ask(file, [Path("a.png"), Path("=z.png"), Path("empty.jpg")], tmp_path / "t.csv")
    table = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [row["image"] for row in table] == ["a.png", "./=z.png", "empty.jpg"]
    assert Path(table[1]["image"]).is_file()  # the same file, and no formula
    assert table[2]["status"] == "unreadable" and "empty.jpg" in table[2]["problem"]
    for cells, row in zip(table[:2], rows, strict=False):
        own = [float(cells[f"p({name})"]) for name in toys.CLASSES]
        np.testing.assert_allclose(own, row.answer.probabilities, rtol=1e-7)
        shown = [float(cells[f"calibrated({name})"]) for name in toys.CLASSES]
        assert sum(shown) == pytest.approx(1, abs=1e-6) and shown != own
        assert float(cells["confidence"]) == max(shown)
        assert cells["status"] == ("not sure" if row.answer.abstained else "answered")


def test_a_problem_is_no_formula_either(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = '=HYPERLINK("http:evil","x").png'
    Path(name).write_text("no image")
    ask(file, [Path(name)], Path("t.csv"))
    [row] = csv.DictReader(io.StringIO(Path("t.csv").read_text()))
    assert row["image"] == f"./{name}" and row["problem"].startswith(f"'{name} is not an image")


def test_labels_are_no_formulas_either(tmp_path, pictures):
    labels = ("=HYPERLINK(1)", "+cmd", "-1.5", "@x")
    file = make_run(tmp_path / "r", toys.converted("int8"), labels)
    ask(file, pictures[:4], tmp_path / "t.csv")
    table = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert {row["answer"] for row in table} == {"'=HYPERLINK(1)", "'+cmd", "-1.5", "'@x"}


def test_a_csv_that_cannot_be_written_leaves_nothing(file, pictures, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    advice = r"cannot write .*t\.csv: .*; name a file in another folder with --csv$"
    with pytest.raises(ArtifactError, match=advice):
        ask(file, pictures[:1], blocked / "t.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["blocked"]


def test_an_interrupt_leaves_no_half_csv(file, pictures, tmp_path):
    def stop(row: predicting.Row) -> None:
        raise KeyboardInterrupt

    classifier = open_model(file).classifier
    with pytest.raises(KeyboardInterrupt):
        predicting.predict_files(classifier, pictures, tmp_path / "t.csv", Silent(), stop)
    assert list(tmp_path.iterdir()) == []


def test_few_images_wait_whatever_their_number(file, monkeypatch):
    """Decoding stops where as many wait as are allowed."""
    spec = open_model(file).classifier.spec
    started = []
    monkeypatch.setattr(predicting, "WAITING_BYTES", 5 * toys.SIZE * toys.SIZE * 3)
    monkeypatch.setattr(predicting, "_pixels", lambda path, spec: started.append(path) or "no")
    read = predicting.decoded((Path(str(n)) for n in range(10_000)), spec)
    for _ in range(3):
        next(read)
    read.close()
    assert 3 <= len(started) <= 8


# --------------------------------------------------------------------------- command line


@pytest.fixture
def call(capsys, monkeypatch):
    """The command line in this process: exit code, stdout, stderr."""
    import sys

    import edgecell.cli as command_line

    monkeypatch.setattr(command_line.terminal, "quiet_native_output", lambda: sys.stderr)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            command_line.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def test_json_is_one_document(call, file, pictures):
    code, out, err = call("predict", *pictures[:3], "--model", file, "--json", "--top", "2")
    told = json.loads(out)
    assert code == 0 and err == ""
    assert (told["schema"], told["schema_version"]) == ("edgecell/answers", 1)
    assert told["verified"] == "passed" and told["abstain_below"] == ABSTAIN_BELOW
    assert [len(row["top"]) for row in told["images"]] == [2, 2, 2]
    assert told["unreadable"] == [] and told["summary"]["images"] == 3
    rows, _ = ask(file, pictures[:3])
    assert told["images"] == [row.to_json(2) for row in rows]


def test_unreadable_files_make_exit_code_3_and_lose_nothing(call, file, mixed):
    code, out, err = call("predict", mixed, "--model", file, "--json")
    told = json.loads(out)
    assert code == 3 and "4 of 7 images could not be read" in err
    assert len(told["images"]) == 3 and len(told["unreadable"]) == 4
    code, out, err = call("predict", mixed, "--model", file, "--csv", mixed.parent / "t.csv")
    assert code == 3 and out.count("not read: ") == 4 and "written: " in out
    assert len((mixed.parent / "t.csv").read_text().splitlines()) == 8


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("folder", "a folder"),
        ("pipe", "not a regular file"),
        ("model", "the model"),
        ("image", "one of the images"),
        ("link", "one of the images"),
    ],
)
def test_a_table_replaces_nothing_but_a_table(call, file, pictures, tmp_path, table, what):
    """It is said before a model answers: nothing is printed, not half of a JSON document."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    shutil.copy(file, tmp_path / "model")
    shutil.copy(pictures[0], tmp_path / "image")
    (tmp_path / "link").symlink_to("image")
    before = {p.name: p.read_bytes() for p in (tmp_path / "model", tmp_path / "image")}
    (tmp_path / "model").rename(tmp_path / "model.tflite")
    (tmp_path / "model").symlink_to("model.tflite")
    asked = ("predict", tmp_path / "image", "--model", tmp_path / "model.tflite", "--json")
    code, out, err = call(*asked, "--csv", tmp_path / table)
    assert (code, out) == (2, "") and f"--csv {tmp_path / table} is {what}; name another" in err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_no_file_of_the_model_s_folder_is_replaced_but_a_table(tmp_path, pictures):
    folder = make_bundle(tmp_path)
    for name in ("model.tflite", "model.json"):
        with pytest.raises(ConfigError, match=f"{name} is the model; name another file"):
            predicting.table_at(folder / name, folder, pictures)
    (folder / "answers.csv").write_text("old")
    assert predicting.table_at(folder / "answers.csv", folder, pictures) == folder / "answers.csv"
    assert predicting.table_at(folder / "new", folder, pictures) == folder / "new"


def test_a_link_stays_one_and_its_file_becomes_the_table(call, file, pictures, tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    code, out, _ = call("predict", pictures[0], "--model", file, "--csv", tmp_path / "link.csv")
    assert code == 0 and f"written: {tmp_path / 'link.csv'}" in out
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("image,status,")
    assert predicting.table_at(tmp_path / "loop.csv", file, []).name == "loop.csv"


def test_a_table_that_cannot_be_written_leaves_no_half_document(call, file, pictures, tmp_path):
    (tmp_path / "blocked").write_text("a file")
    table = tmp_path / "blocked" / "t.csv"
    code, out, err = call("predict", pictures[0], "--model", file, "--csv", table, "--json")
    assert (code, out) == (6, "") and "cannot write" in err
    code, out, _ = call("predict", tmp_path / "blocked", "--model", file, "--json")
    assert code == 3 and json.loads(out)["images"] == []


def test_of_files_none_of_which_was_read_no_answers_are_promised(file, tmp_path):
    _, tally = ask(file, [tmp_path / "a.png"])
    assert str(predicting.refuse(tally)).startswith("the image could not be read: no image at")
    _, tally = ask(file, [tmp_path / "a.png", tmp_path / "b.png"])
    said = str(predicting.refuse(tally))
    assert said.startswith("all 2 images could not be read, the first: ") and "other" not in said


def test_the_table_names_what_it_shows(call, file, pictures):
    code, out, _ = call("predict", *pictures[:4], "--model", file)
    assert code == 0
    for word in ("calibrated with temperature 1.700", "set (0.9)", "cell 000.png", "4 images: "):
        assert word in out
    assert any(name in out for name in toys.CLASSES)


def test_a_long_table_is_cut_and_says_so(call, file, pictures, monkeypatch):
    from edgecell.cli import asking

    monkeypatch.setattr(asking, "MOST_ROWS", 5)
    code, out, _ = call("predict", pictures[0].parent, "--model", file)
    assert code == 0 and out.count(".png") == 5 and "… and 65 more" in out


def test_a_model_that_is_not_there(call, tmp_path, pictures):
    code, _, err = call("predict", pictures[0], "--model", tmp_path / "x.tflite")
    assert code == 6 and "no run folder or model at" in err


def test_a_stdout_of_another_encoding_loses_no_answer(file, pictures, tmp_path):
    """A name that it cannot write is escaped, in JSON as JSON does."""
    image = Path(shutil.copy(pictures[0], tmp_path / "Zelle ä 细胞 😀.png"))
    command = [sys.executable, "-m", "edgecell", "predict", str(image), "--model", str(file)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for extra in ([], ["--json"]):
        done = subprocess.run(command + extra, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr.decode()
        said = done.stdout.decode("ascii")
        if extra:
            assert json.loads(said)["images"][0]["image"] == str(image)
        else:
            assert "Zelle \\xe4 \\u7ec6\\u80de" in said
