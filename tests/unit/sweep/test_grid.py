"""Which networks a grid asks for, and what is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecell.config import Config, ModelConfig, QuantizeConfig
from edgecell.errors import ArtifactError, ConfigError
from edgecell.pipeline.sweep_grid import Grid, task_of

PLAIN = Config(model=ModelConfig(weights="none"))


def grid(**axes) -> Grid:
    usual = {"models": ("mobilenet_v2",), "alphas": (0.35, 0.5), "sizes": (32, 40)}
    return Grid(**(usual | {"precisions": ("int8", "float16")} | axes))


def test_every_combination_is_a_network_and_its_precisions_are_settings_of_it():
    networks = grid().networks(PLAIN)
    assert list(networks) == [
        *("mobilenet_v2-0.35-32", "mobilenet_v2-0.35-40"),
        *("mobilenet_v2-0.5-32", "mobilenet_v2-0.5-40"),
    ]
    for name, network in networks.items():
        assert network.name == name
        assert network.quantize.precisions == ("int8", "float16")
    last = networks["mobilenet_v2-0.5-40"].model
    assert (last.alpha, last.image_size) == (0.5, 40)


def test_a_network_of_one_width_is_there_once():
    networks = grid(models=("simple_cnn", "mobilenet_v2"), sizes=(32,)).networks(PLAIN)
    assert list(networks) == ["simple_cnn-32", "mobilenet_v2-0.35-32", "mobilenet_v2-0.5-32"]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"sizes": (32, 28)}, "model.image_size is 28; mobilenet_v2 takes 32 or more"),
        ({"sizes": (32, 1000)}, "model.image_size is 1000; allowed: 28 to 512"),
        ({"alphas": (0.35, 0.36)}, "model.alpha is 0.36; allowed: 0.35"),
        ({"models": ("mobilnet_v2",)}, "unknown model 'mobilnet_v2'; did you mean mobilenet_v2?"),
        ({"precisions": ("int8", "int4")}, "quantize.precisions is int4; allowed: float32"),
        ({"sizes": (32, 40, 32)}, "the axis 'sizes' of the sweep names 32 twice"),
        ({"alphas": ()}, "the axis 'alphas' of the sweep is empty"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(axes, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        grid(**axes).networks(PLAIN)


def test_a_search_for_int8_needs_int8_among_the_precisions():
    config = replace(PLAIN, quantize=QuantizeConfig(search=True))
    with pytest.raises(ConfigError, match="the search looks for an int8 file"):
        grid(precisions=("float16",)).networks(config)


def test_weights_can_be_named_for_each_network(tmp_path):
    for alpha in (0.35, 0.5):
        (tmp_path / f"mobilenet_v2_{alpha}_32.h5").write_text(f"weights of {alpha}")
    named = str(tmp_path / "{model}_{alpha}_{size}.h5")
    config = Config(model=ModelConfig(weights=named))
    networks = grid(sizes=(32,)).networks(config)
    assert networks["mobilenet_v2-0.5-32"].model.weights.endswith("mobilenet_v2_0.5_32.h5")
    # The task names the content, not the path: machines may keep it elsewhere.
    tasks = [task_of(network) for network in networks.values()]
    assert tasks[0]["weights"] != tasks[1]["weights"]
    assert str(tmp_path) not in str(tasks)
    (tmp_path / "mobilenet_v2_0.5_32.h5").unlink()
    with pytest.raises(ArtifactError, match="no weights at .*0.5_32.h5, which mobilenet_v2-0.5-32"):
        grid(sizes=(32,)).networks(config)
    with pytest.raises(
        ConfigError, match=r"cannot be filled in \('width'\); allowed in it: {model}"
    ):
        grid().networks(Config(model=ModelConfig(weights="{width}.h5")))


def test_one_file_of_weights_does_not_fit_two_widths(tmp_path):
    path = tmp_path / "some.h5"
    path.write_text("weights")
    config = Config(model=ModelConfig(weights=str(path)))
    with pytest.raises(
        ConfigError, match="some.h5 fits one network of one width, and 2 are asked for"
    ):
        grid().networks(config)
    assert len(grid(alphas=(0.35,)).networks(config)) == 2


def test_a_task_tells_networks_precisions_and_weights_apart():
    [first, *_] = grid().networks(PLAIN).values()
    assert task_of(first) == {
        "network": "mobilenet_v2-0.35-32",
        "precisions": ["int8", "float16"],
        "weights": "none",
    }
