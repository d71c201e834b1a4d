"""An interrupt is told as one, also where the error of somebody's clean-up lies over it."""

from __future__ import annotations

import importlib.abc
import sys

import click
import pytest

from edgecell.__main__ import main as start
from edgecell.cli import cli, main
from edgecell.errors import DataError, EdgecellError, InterruptsUncovered


def covered_by_a_clean_up() -> None:
    """As TensorFlow's tracer does: its own check fails on the way out."""
    try:
        raise KeyboardInterrupt
    finally:
        raise AssertionError("Concurrent access?")


def covered_by_a_cause() -> None:
    try:
        covered_by_a_clean_up()
    except AssertionError as error:
        raise DataError("the images cannot be read") from error


def covered_without_a_word() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise RuntimeError("stopped") from None


COVERED = [covered_by_a_clean_up, covered_by_a_cause, covered_without_a_word]


@pytest.mark.parametrize("raised", COVERED)
def test_what_covers_an_interrupt_is_taken_off(raised):
    with pytest.raises(KeyboardInterrupt), InterruptsUncovered():
        raised()


@pytest.mark.parametrize("error", [DataError("no images"), AssertionError("a bug"), SystemExit(3)])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as seen, InterruptsUncovered():
        raise error
    assert seen.value is error


def test_errors_that_point_at_one_another_come_to_an_end():
    first, second = DataError("a"), DataError("b")
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(EdgecellError, match="^a$"), InterruptsUncovered():
        raise first


@pytest.mark.parametrize("raised", [pytest.param(f, id=f.__name__) for f in COVERED])
def test_the_command_line_says_interrupted_and_ends_with_130(monkeypatch, capfd, raised):
    monkeypatch.setitem(cli.commands, "stop", click.Command("stop", callback=raised))
    monkeypatch.setenv("EDGECELL_VERBOSE", "1")  # the stream that the test hears
    with pytest.raises(SystemExit) as ended:
        main(["stop"])
    assert ended.value.code == 130
    said = capfd.readouterr().err
    assert said == "edgecell: interrupted; the same command with the same --output goes on\n"


class Interrupting(importlib.abc.MetaPathFinder):
    """Ctrl-C while one module is looked for."""

    def find_spec(self, fullname, path, target=None):
        if fullname == "edgecell.cli":
            raise KeyboardInterrupt


def test_an_interrupt_while_the_command_line_is_loaded_is_one_line(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "edgecell.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 130
    assert capfd.readouterr().err == "edgecell: interrupted before it began\n"
