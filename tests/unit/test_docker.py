"""The Dockerfile cannot be built in a test; what it copies, installs and starts can be looked up."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import pytest

from edgecell.cli import options
from edgecell.config import Config

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"\\\n", " ", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} (.*)$", TEXT, flags=re.MULTILINE)


def test_everything_it_copies_is_there_and_all_packages_are_copied():
    copied = [source for line in instructions("COPY") for source in shlex.split(line)[:-1]]
    assert copied
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []
    assert {"edgecell", "converters", "benchmarks", "constraints.txt", "setup.cfg"} <= set(copied)
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    assert not set(copied) & set(ignored)


def test_it_starts_an_installed_command_and_knows_the_extra():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    [entry] = instructions("ENTRYPOINT")
    command = re.fullmatch(r'\["(\w+)"\]', entry)
    assert command is not None
    assert f"{command[1]} = " in setup["options.entry_points"]["console_scripts"]
    assert "gpu" in setup["options.extras_require"]
    assert "[gpu]" in TEXT and "constraint constraints.txt" in TEXT
    assert instructions("USER") == ["edgecell"]


@pytest.mark.parametrize(("value", "strict"), [("1", True), ("0", False), ("", False)])
def test_the_strict_mode_is_an_environment_variable(monkeypatch, value, strict):
    monkeypatch.setenv("EDGECELL_DETERMINISTIC", value)
    assert options.base_config(None).train.deterministic is strict
    assert options.base_config("synthetic").train.deterministic is strict
    monkeypatch.delenv("EDGECELL_DETERMINISTIC")
    assert options.base_config(None) == Config()
