"""A bundle on disk: whole or not at all, and the same bytes for the same content."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from edgecell.bundle.targets import SAMPLES, TARGETS, Samples, chosen
from edgecell.bundle.writer import file_hashes, fresh_folder, write_zip
from edgecell.errors import ArtifactError, ConfigError


def fill(folder: Path, text: str) -> None:
    with fresh_folder(folder) as scratch:
        (scratch / "golden").mkdir()
        (scratch / "golden" / "00.png").write_text(text)
        (scratch / "model.json").write_text(json.dumps({"schema": "edgecell/bundle"}))


def test_it_appears_whole_and_replaces_an_older_one(tmp_path):
    fill(tmp_path / "a", "old")
    fill(tmp_path / "a", "new")
    assert (tmp_path / "a" / "golden" / "00.png").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


@pytest.mark.parametrize("error", [Interrupted, ConfigError, ZeroDivisionError])
def test_an_interruption_leaves_the_older_one(tmp_path, error):
    fill(tmp_path / "a", "old")
    with pytest.raises(error), fresh_folder(tmp_path / "a") as scratch:
        (scratch / "model.json").write_text("half")
        raise error("stop")
    assert (tmp_path / "a" / "golden" / "00.png").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["old", "new"])
@pytest.mark.parametrize("after", [False, True])
def test_nor_does_one_between_the_two_renames(tmp_path, monkeypatch, kind, after):
    """``kind`` becomes its new name, or would have, when the interrupt comes."""
    fill(tmp_path / "a", "old")
    rename = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if f".{kind}" not in (to.name if kind == "old" else self.name):
            return rename(self, to)
        monkeypatch.setattr(Path, "rename", rename)
        if after:
            rename(self, to)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "a", "new")
    expected = "new" if (kind, after) == ("new", True) else "old"
    assert (tmp_path / "a" / "golden" / "00.png").read_text() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_was_killed_between_them_comes_back(tmp_path):
    fill(tmp_path / "a", "old")
    (tmp_path / "a").rename(tmp_path / ".a.old0123.tmp")
    (tmp_path / ".a.new0123.tmp").mkdir()
    with pytest.raises(ConfigError), fresh_folder(tmp_path / "a"):
        raise ConfigError("stop")
    assert (tmp_path / "a" / "golden" / "00.png").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".a.new0123.tmp" / "golden").mkdir(parents=True)
    (tmp_path / ".ab.new0123.tmp").mkdir()  # of another bundle, which may be at work
    fill(tmp_path / "a", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ab.new0123.tmp", "a"]


@pytest.mark.parametrize("content", ['{"schema": "mine"}', "[1]", None])
def test_somebody_s_folder_is_left_alone(tmp_path, content):
    (tmp_path / "a").mkdir()
    if content is not None:
        (tmp_path / "a" / "model.json").write_text(content)
    with pytest.raises(ConfigError, match="exists and is no bundle"):
        fill(tmp_path / "a", "new")
    assert not (tmp_path / "a" / "golden").exists()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write .*choose another folder with --output"):
        fill(tmp_path / "file" / "a", "new")


def test_the_zip_hangs_on_the_content_alone(tmp_path):
    for name, when in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        fill(tmp_path / name / "a", "pixels")
        for path in (tmp_path / name / "a").rglob("*"):
            os.utime(path, (when, when))
        write_zip(tmp_path / name / "a", tmp_path / name / "a.zip")
    first, second = ((tmp_path / name / "a.zip").read_bytes() for name in ("one", "two"))
    assert first == second
    fill(tmp_path / "two" / "a", "other")
    write_zip(tmp_path / "two" / "a", tmp_path / "two" / "a.zip")
    assert (tmp_path / "two" / "a.zip").read_bytes() != first
    with zipfile.ZipFile(tmp_path / "one" / "a.zip") as archive:
        assert archive.namelist() == ["a/golden/00.png", "a/model.json"]


def test_every_file_is_hashed(tmp_path):
    fill(tmp_path / "a", "pixels")
    assert list(file_hashes(tmp_path / "a")) == ["golden/00.png", "model.json"]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_has_its_samples_and_a_readme(name):
    assert (SAMPLES / name / "README.md").is_file()
    takes_any = {side: {"dtype": "float32"} for side in ("input", "output")}
    assert chosen(name, takes_any) == Samples((name,), {})
    assert TARGETS[name].title and TARGETS[name].needs


def test_no_samples_without_a_target():
    folders = {path.name for path in SAMPLES.iterdir() if path.is_dir()} - {"__pycache__"}
    takes_any = {side: {"dtype": "uint8"} for side in ("input", "output")}
    assert folders == set(TARGETS) == set(chosen("all", takes_any).targets)
