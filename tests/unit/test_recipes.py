from __future__ import annotations

import pytest

from edgecell.config_file import from_toml, to_toml
from edgecell.errors import ConfigError
from edgecell.recipes import load_recipe, names, recipe_text


def test_the_demo_s_recipe_is_there():
    assert "synthetic" in names()


@pytest.mark.parametrize("name", names())
def test_every_recipe_loads_and_its_header_says_what_to_expect(name):
    config = load_recipe(name)
    assert config.name == name
    assert from_toml(to_toml(config), "f") == config
    lines = recipe_text(name).splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert len(header) >= 2
    assert any("Expected" in line for line in header)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no recipe 'synthetics'; did you mean synthetic\?"):
        load_recipe("synthetics")
    with pytest.raises(ConfigError, match="no recipe 'zzz'; there are: .*synthetic"):
        load_recipe("zzz")


def test_a_recipe_may_come_from_an_editor_on_windows(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes("\ufeff# mine\r\n[train]\r\nepochs = 3\r\n".encode())
    assert load_recipe(str(path)).train.epochs == 3


def test_a_recipe_may_be_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text("name = 'mine'\n[train]\nepochs = 3\n")
    assert load_recipe(str(tmp_path / "mine.toml")).train.epochs == 3
    (tmp_path / "bad.toml").write_text("[train]\nepoch = 3\n")
    with pytest.raises(ConfigError, match=r"bad.toml: unknown key 'train.epoch'; did you mean"):
        load_recipe(str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_recipe(str(tmp_path / "none.toml"))
