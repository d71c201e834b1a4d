"""An interrupt is told as one, also where the error of somebody's clean-up lies over it."""

from __future__ import annotations

import importlib.abc
import signal
import sys
import time

import click
import pytest

from edgecell.__main__ import main as start
from edgecell.cli import cli, main
from edgecell.errors import DataError, EdgecellError
from edgecell.interrupts import InterruptsUncovered


@pytest.fixture(autouse=True)
def heard():
    """A shell lets what it starts in the background ignore SIGINT; these tests send themselves one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


class Finalised:
    """Python prints what is raised in here, and goes on."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_a_finaliser_swallows_comes_again(capfd):
    ended = []
    with pytest.raises(KeyboardInterrupt), InterruptsUncovered():
        Finalised()
        for _ in range(3000):
            time.sleep(0.01)
        ended.append("by itself")
    assert ended == [] and capfd.readouterr().err == ""
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_it_comes_once_and_leaves_the_clean_up_alone():
    cleaned = []
    with pytest.raises(KeyboardInterrupt), InterruptsUncovered():
        try:
            Finalised()
            time.sleep(30)
        finally:
            time.sleep(0.3)
            cleaned.append("all")
    assert cleaned == ["all"]


def test_and_where_nothing_is_left_to_be_interrupted_it_still_counts():
    with pytest.raises(KeyboardInterrupt), InterruptsUncovered():
        Finalised()
    with pytest.raises(KeyboardInterrupt), InterruptsUncovered():
        Finalised()
        raise DataError("no images")


def test_what_else_goes_wrong_in_a_finaliser_is_said_as_ever(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)

    class Broken:
        def __del__(self):
            raise ValueError("a bug")

    with InterruptsUncovered():
        Broken()
    assert [lost.exc_type for lost in said] == [ValueError]
    assert sys.unraisablehook == said.append


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
    assert capfd.readouterr().err == "edgecell: interrupted\n"
    output = [click.Option(["--output"])]
    resumable = click.Command("stop", callback=lambda **_: raised(), params=output)
    monkeypatch.setitem(cli.commands, "stop", resumable)
    with pytest.raises(SystemExit):
        main(["stop", "--output", "runs"])
    said = capfd.readouterr().err
    assert said == "edgecell: interrupted; the same command with the same --output goes on\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "out of memory; lower --batch-size or --image-size or --limit"),
        (["data", "eda"], "out of memory; lower --limit"),
        (["predict"], "out of memory"),
        (["inspect"], "out of memory"),
    ],
)
def test_only_flags_of_the_verb_are_named(monkeypatch, capfd, words, said):
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(cli), "invoke", full)
    monkeypatch.setenv("EDGECELL_VERBOSE", "1")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert capfd.readouterr().err == f"edgecell: {said}\n"


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
