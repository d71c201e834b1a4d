"""What a person reads first: --help, the README, and how quickly they come."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from easy import Run

from edgecell.cli import cli

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
VERBS = sorted(cli.commands)


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command as the words that call it."""
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += leaves(command, (*path, name))
        else:
            found.append((*path, name))
    return found


@pytest.mark.parametrize("words", [(), *leaves(cli)])
def test_help_of_every_command(edgecell: Run, words: tuple[str, ...]) -> None:
    shown = edgecell(*words, "--help")
    assert shown.code == 0
    assert "Usage: edgecell" in shown.out
    assert all(line == line.rstrip() or len(line) <= 110 for line in shown.out.splitlines())


def test_one_is_told_how_the_shell_finds_edgecell() -> None:
    """'make' installs into .venv, which no shell looks into by itself."""
    tutorial = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
    for text in (README, tutorial.read_text(encoding="utf-8")):
        assert text.index("`. .venv/bin/activate`") < text.index("```sh\nedgecell ")


MAKE_THEIR_OWN = {("demo",), ("run",), ("train",), ("tune",), ("sweep",)}


@pytest.mark.parametrize("words", leaves(cli))
def test_help_says_where_images_and_results_are_without_a_flag(words: tuple[str, ...]) -> None:
    """Only what takes no run begins with synthetic images, or writes elsewhere than into one."""
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    said = {p.name: p.help or "" for p in command.params if isinstance(p, click.Option)}
    of_a_run = words not in MAKE_THEIR_OWN and words[0] != "data"
    if "set_data__source" in said:
        images = "the run's images" if of_a_run else "synthetic"
        assert said["set_data__source"].endswith(f"[default: {images}]")
    if words[0] in ("train", "run", "demo"):
        assert "[default: artifacts/runs/<name>-<UTC time>]" in said["output"]
    elif of_a_run and "output" in said and words != ("compare",):
        assert "inside the run" in said["output"] and "artifacts" not in said["output"]
    else:
        assert "inside the run" not in said.get("output", "")


def test_help_imports_no_tensorflow() -> None:
    code = (
        "import sys\nfrom edgecell.cli import main\ntry:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "bad = {'tensorflow', 'tf_keras', 'ai_edge_litert', 'sklearn', 'matplotlib',"
        " 'scipy'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: edgecell" in done.stdout


@pytest.mark.parametrize("words", leaves(cli))
def test_readme_mentions_every_command(words: tuple[str, ...]) -> None:
    assert f"edgecell {' '.join(words)}" in README


def readme_commands() -> list[str]:
    """Every edgecell command line in the README's code blocks, continuation lines joined."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", README, flags=re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip().startswith("edgecell ")]


@pytest.mark.parametrize("line", readme_commands())
def test_readme_commands_parse(line: str) -> None:
    """Each documented command names existing verbs and flags (parsed, not run)."""
    words = shlex.split(line)[1:]
    group: click.Command = cli
    context = click.Context(cli)
    while isinstance(group, click.Group):
        name = words.pop(0)
        assert name in group.commands, line
        group = group.commands[name]
    context = click.Context(group, resilient_parsing=False)
    group.parse_args(context, words)


def test_recipes_and_doctor(edgecell: Run) -> None:
    assert "synthetic" in edgecell("recipes").out
    shown = edgecell("recipes", "synthetic")
    assert 'source = "synthetic"' in shown.out
    facts = edgecell("doctor")
    assert facts.code == 0
    assert "tf_keras" in facts.out
    assert "torch" not in facts.out


def test_nothing_pulls_in_torch() -> None:
    import importlib.util

    assert importlib.util.find_spec("torch") is None


def test_data_verbs(edgecell: Run, easy_npz: Path, tmp_path: Path) -> None:
    shown = edgecell("data", "show", "--data", easy_npz, "--output", tmp_path / "look")
    assert shown.code == 0, shown.err
    assert "red" in shown.out
    assert (tmp_path / "look" / "easy-samples.png").read_bytes().startswith(b"\x89PNG")
    seen = edgecell("data", "eda", "--data", easy_npz, "--output", tmp_path / "eda")
    assert seen.code == 0, seen.err
    assert "near-duplicates: 0 pairs of 312 images" in seen.out
    assert (tmp_path / "eda" / "index.html").is_file()
    assert edgecell("data", "eda", "--data", easy_npz, "--near-bits", "65").code == 2
    assert "bloodmnist" in edgecell("data", "list").out
    assert edgecell("data", "fetch", "bloodmist").code == 3
