"""Axes on the command line, and how many trainings run at once."""

from __future__ import annotations

from typing import Any

import click
import pytest
import tensorflow as tf

from edgecell.cli.sweeping import _axes, sweep
from edgecell.config import Config, ModelConfig, QuantizeConfig
from edgecell.errors import ConfigError
from edgecell.pipeline import sweeping


def parsed(*words: str) -> dict[str, Any]:
    return sweep.make_context("sweep", list(words)).params


def test_axes_are_lists():
    found = parsed("--alpha", "0.35, 1,1.4", "--image-size", "32,96", "--precision", "int8")
    assert found["alphas"] == (0.35, 1.0, 1.4)
    assert found["sizes"] == (32, 96)
    assert found["precisions"] == ("int8",)
    assert found["models"] is None


@pytest.mark.parametrize("wrong", [("--alpha", "0.35,"), ("--image-size", "32;96")])
def test_a_list_that_is_none_is_refused(wrong):
    with pytest.raises(click.BadParameter):
        parsed(*wrong)


def test_an_axis_that_is_not_given_is_the_recipe_s_own_or_the_default():
    given = dict.fromkeys(("models", "alphas", "sizes", "precisions")) | {"sizes": (40,)}
    recipe = Config(
        model=ModelConfig(name="mobilenet_v2", alpha=0.5, image_size=96),
        quantize=QuantizeConfig(("int8",)),
    )
    assert _axes(given, recipe, named=True) == {
        "models": ("mobilenet_v2",),
        "alphas": (0.5,),
        "sizes": (40,),
        "precisions": ("int8",),
    }
    usual = _axes(given, Config(), named=False)
    assert usual["alphas"] == (0.35, 0.5, 0.75) and usual["sizes"] == (40,)
    assert usual["precisions"] == ("float16", "dynamic", "int8")


@pytest.mark.parametrize(
    ("cores", "gigabytes", "gpus", "networks", "expected"),
    [
        (2, 64, 0, 9, 1),
        (16, 64, 0, 9, 4),
        (16, 7, 0, 9, 2),
        (16, 1, 0, 9, 1),
        (16, 64, 0, 3, 3),
        (16, 64, 1, 9, 1),
        (16, None, 0, 9, 4),
    ],
)
def test_the_default_keeps_within_cores_memory_and_gpu(
    monkeypatch, cores, gigabytes, gpus, networks, expected
):
    free = None if gigabytes is None else gigabytes * 10**9
    monkeypatch.setattr(sweeping, "available_cores", lambda: cores)
    monkeypatch.setattr(sweeping, "free_memory", lambda: free)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * gpus)
    assert sweeping._jobs(0, networks) == expected
    assert sweeping._jobs(cores, 100) == cores
    with pytest.raises(ConfigError, match=f"--jobs is {cores + 1}; allowed: 1 to {cores}"):
        sweeping._jobs(cores + 1, networks)
