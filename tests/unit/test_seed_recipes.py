"""The recipes of the five existing projects, held against what those projects say of themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecell.cli.flags import MODEL
from edgecell.config import Config
from edgecell.data import load_dataset
from edgecell.errors import DataError
from edgecell.models import MODELS, build_model
from edgecell.models.registry import architecture_of, set_trainable
from edgecell.optimizers import make_optimizer
from edgecell.recipes import load_recipe, names, recipe_text
from edgecell.train import stages

SEEDS = [name for name in names() if name.startswith("seed-")]

# Field → value as the project's own description has it; what it does not say is not here.
SAID = {
    "seed-mobilenetv2-bloodmnist": {
        "data.source": "bloodmnist",
        "data.size": 28,
        "model.name": "mobilenet_v2",
        "model.image_size": 224,
        "model.weights": "imagenet",
        "model.dropout": 0.2,
        "augment.flip": True,
        "augment.rotation": 0.0,
        "train.optimizer": "adam",
        "train.schedule": "plateau",
        "train.fine_tune_layers": 60,
        "train.class_weights": True,
    },
    "seed-simplecnn": {
        "data.source": "bloodmnist",
        "data.size": 28,
        "model.name": "simple_cnn",
        "model.image_size": 28,
        "model.dropout": 0.5,
        "augment.flip": True,
        "augment.rotation": 15.0,
        "train.optimizer": "adam",
        "train.learning_rate": 0.001,
        "train.batch_size": 64,
        "train.epochs": 20,
        "train.seed": 42,
        "train.class_weights": False,
    },
    "seed-deepercnn": {
        "data.source": "bloodmnist",
        "data.size": 28,
        "model.name": "deeper_cnn",
        "model.image_size": 28,
        "model.dropout": 0.5,
        "augment.flip": True,
        "augment.rotation": 15.0,
        "train.optimizer": "adam",
        "train.learning_rate": 0.001,
        "train.batch_size": 64,
        "train.epochs": 20,
        "train.seed": 42,
        "train.class_weights": True,
    },
    "seed-bloodcells4-mobilenetv2": {
        "model.name": "mobilenet_v2",
        "model.weights": "imagenet",
        "train.epochs": 0,  # the backbone stays frozen
        "augment.flip": False,
    },
    "seed-resnet18-28": {
        "data.source": "bloodmnist",
        "data.size": 28,
        "model.name": "resnet18_28",
        "model.image_size": 28,
        "augment.flip": True,
        "augment.rotation": 10.0,
        "augment.brightness": 0.2,
        "augment.contrast": 0.2,
        "train.optimizer": "sgd",
        "train.learning_rate": 0.008,
        "train.momentum": 0.9,
        "train.batch_size": 128,
        "train.epochs": 60,
        "train.patience": 15,
        "train.mixup": 0.002,
        "train.seed": 42,
        "train.fine_tune_layers": 0,
    },
    "seed-efficientnet-xray": {
        "model.name": "efficientnet_b0",
        "model.weights": "imagenet",
        "train.schedule": "cosine",
        "train.class_weights": True,
    },
}
PUBLISHED = {
    "seed-mobilenetv2-bloodmnist": {"test_accuracy": 0.9374, "test_macro_f1": 0.931},
    "seed-simplecnn": {
        "parameters": 102_024,
        "test_accuracy": 0.8325,
        "test_macro_f1": 0.787,
        "val_accuracy": 0.8376,
    },
    "seed-deepercnn": {
        "parameters": 313_192,
        "test_accuracy": 0.9404,
        "test_macro_f1": 0.9319,
        "val_accuracy": 0.948,
    },
    "seed-bloodcells4-mobilenetv2": {"val_accuracy": 0.945},
    "seed-resnet18-28": {
        "test_accuracy_with_tta": 0.9719,
        "test_macro_f1_with_tta": 0.9693,
        "val_accuracy": 0.9696,
    },
    "seed-efficientnet-xray": {"test_accuracy": 0.7914, "test_macro_f1": 0.802},
}
CLASSES = dict.fromkeys(SEEDS, 8) | {
    "seed-bloodcells4-mobilenetv2": 4,
    "seed-efficientnet-xray": 3,
}


def value_of(config: Config, field: str):
    table, key = field.split(".")
    return getattr(getattr(config, table), key)


def test_each_project_has_its_recipe():
    assert set(SEEDS) == set(SAID) == set(PUBLISHED)
    assert {load_recipe(name).model.name for name in SEEDS} == set(MODELS)


@pytest.mark.parametrize("name", SEEDS)
def test_a_recipe_is_set_as_its_project_describes_itself(name):
    config = load_recipe(name)
    assert {field: value_of(config, field) for field in SAID[name]} == SAID[name]
    assert config.train.label_smoothing == 0.0  # none of them smooths
    assert config.train.ema == 0.0 and config.train.cutmix == 0.0
    assert config.augment.quarter_turns is False


@pytest.mark.parametrize("name", SEEDS)
def test_the_published_figures_stand_in_the_recipe_and_in_its_header(name):
    published = {f"published_{key}": value for key, value in PUBLISHED[name].items()}
    expected = load_recipe(name).expected
    assert {key: expected[key] for key in published} == published
    header = recipe_text(name).split("\nname = ")[0]
    for key, value in PUBLISHED[name].items():
        shown = f"{value:,}" if key == "parameters" else f"{value:.4f}"
        assert shown.rstrip("0") in header, f"{key} {shown}"


@pytest.mark.parametrize("name", SEEDS)
def test_a_recipe_builds_its_network(name):
    # Weights from elsewhere are another test's matter.
    settings = load_recipe(name).model
    assert architecture_of(settings) is MODELS[settings.name]
    model = build_model(replace(settings, weights="none"), CLASSES[name], 0.9)
    assert model.output_shape == (None, CLASSES[name])
    assert model.input_shape == (None, settings.image_size, settings.image_size, 3)
    if "parameters" in PUBLISHED[name]:
        assert set_trainable(model, 0) == PUBLISHED[name]["parameters"]


def test_stages_are_the_projects_own():
    planned = {
        name: [(stage.name, stage.last_layers) for stage in stages(load_recipe(name))]
        for name in SEEDS
    }
    assert planned == {
        "seed-mobilenetv2-bloodmnist": [("head", -1), ("fine-tune", 60)],
        "seed-simplecnn": [("fine-tune", 0)],
        "seed-deepercnn": [("fine-tune", 0)],
        "seed-bloodcells4-mobilenetv2": [("head", -1)],
        "seed-resnet18-28": [("fine-tune", 0)],
        "seed-efficientnet-xray": [("head", -1), ("fine-tune", 85)],
    }


def test_the_resnet_s_weight_decay_pulls_as_torch_s_does():
    """torch adds 5e-4 · w to the gradient; momentum sums that to 5e-4 / (1 − 0.9) · w in the long run."""
    settings = load_recipe("seed-resnet18-28").train
    assert settings.weight_decay * (1 - settings.momentum) == pytest.approx(5e-4)
    optimizer = make_optimizer(settings, settings.learning_rate)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 5e-3)


@pytest.mark.parametrize("name", ["seed-bloodcells4-mobilenetv2", "seed-efficientnet-xray"])
def test_a_recipe_without_downloadable_data_says_where_it_looked(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_recipe(name).data
    with pytest.raises(DataError, match=f"no file or folder at {data.source}; --data takes"):
        load_dataset(data)


def test_the_help_of_model_names_them_all():
    (flag,) = [flag for flag in MODEL if flag.field == "model.name"]
    assert all(name in flag.help for name in MODELS)
