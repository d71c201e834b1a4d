"""What a sweep takes of a recipe that asks for more than the precisions it was given can have."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecell.cli.sweeping import sweep
from edgecell.config import Config, VerifyConfig
from edgecell.errors import ConfigError
from edgecell.pipeline import sweeping
from edgecell.pipeline.sweep_grid import Grid
from edgecell.progress import Silent


class Begun(Exception):
    """The sweep's settings are what they are; nothing is trained."""


def networks(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list:
    made: list = []

    def begin(config, plan, *_: object, **__: object) -> None:
        made.extend(plan.grid.networks(config).values())
        raise Begun

    monkeypatch.setattr(sweeping, "sweep_run", begin)
    with pytest.raises(Begun):
        CliRunner().invoke(sweep, arguments, catch_exceptions=False)
    return made


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "searching.toml"
    path.write_text('[quantize]\nprecisions = ["float32", "int8"]\nsearch = true\n')
    return str(path)


@pytest.mark.parametrize(
    ("flags", "precisions", "search"),
    [
        ("", ("float32", "int8"), True),
        ("--precision float16", ("float16",), False),
        ("--precision int8", ("int8",), True),
        ("--precision int8 --prune 0.5", ("int8",), False),
        ("--no-search", ("float32", "int8"), False),
    ],
)
def test_its_search_yields_to_what_the_command_line_asks_for(
    monkeypatch, recipe, flags, precisions, search
):
    (network,) = networks(monkeypatch, "--recipe", recipe, *flags.split())
    assert (network.quantize.precisions, network.quantize.search) == (precisions, search)


def test_without_a_recipe_the_precisions_are_the_sweep_s_own(monkeypatch):
    found = networks(monkeypatch, "--alpha", "0.35", "--image-size", "32,64")
    assert {each.quantize.precisions for each in found} == {("float16", "dynamic", "int8")}
    assert len(found) == 2


def test_a_search_that_is_asked_for_is_refused_where_it_has_nothing_to_find(monkeypatch):
    with pytest.raises(ConfigError, match="the search looks for an int8 file"):
        networks(monkeypatch, "--precision", "float16", "--search")


@pytest.mark.parametrize("split", ["test", "val+test"])
def test_verdicts_on_test_would_choose_and_are_refused_before_anything_is_made(tmp_path, split):
    config, output = Config(verify=VerifyConfig(split=split)), tmp_path / "out"
    grid = Grid(("mobilenet_v2",), (0.35,), (32,), ("float16",))
    with pytest.raises(ConfigError, match="val alone may judge them"):
        sweeping.sweep_run(config, sweeping.Plan(grid), output, Silent())
    assert not output.exists()
