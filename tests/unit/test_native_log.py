"""Lines of native code: known chatter disappears, all else is passed on or collected."""

from __future__ import annotations

import os

import pytest

from edgecell.native_log import known_chatter_held_back, overheard

CHATTER = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def test_known_chatter_is_dropped_and_the_rest_shown(capfd):
    with known_chatter_held_back():
        os.write(2, CHATTER + b"ERROR: out of memory\n")
    assert capfd.readouterr().err == "ERROR: out of memory\n"


def test_the_rest_is_shown_where_the_work_fails(capfd):
    with pytest.raises(RuntimeError), known_chatter_held_back():
        os.write(2, b"ERROR: a bad operator\n" + CHATTER)
        raise RuntimeError
    assert capfd.readouterr().err == "ERROR: a bad operator\n"


def test_what_is_overheard_is_not_shown(capfd):
    lines: list[bytes] = []
    with overheard(lines):
        os.write(2, b"one\ntwo\n")
    os.write(2, b"three\n")
    assert lines == [b"one\n", b"two\n"]
    assert capfd.readouterr().err == "three\n"
