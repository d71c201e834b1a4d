"""Flags that set a field of the configuration, declared once with the field they set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import click

from edgecell.config import ALPHAS, BENCH_PACES, PRECISIONS, SIZES, Config
from edgecell.errors import ConfigError
from edgecell.recipes import load_recipe


@dataclass(frozen=True)
class Flag:
    """A command-line flag and the configuration field ``table.key`` that it sets."""

    name: str
    field: str
    help: str
    type: Any = None
    switch: bool = False
    multiple: bool = False
    default: str = ""
    """What the help says where the default is not the configuration's."""

    @property
    def parameter(self) -> str:
        """The keyword under which click hands the value over."""
        return "set_" + self.field.replace(".", "__")


class _AutoSize(click.ParamType):
    """A whole number, or "auto", which the configuration writes as 0."""

    name = "integer or auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """The number; 0 for auto."""
        if value == "auto":
            return 0
        return int(click.INT.convert(value, param, ctx))


AUTO_SIZE = _AutoSize()

DATA = (
    Flag(
        "--data",
        "data.source",
        "MedMNIST 2D name, .npz file, image folder, CSV of paths and labels, or 'synthetic'.",
    ),
    Flag(
        "--size",
        "data.size",
        "Side of MedMNIST or synthetic images.",
        click.Choice([str(s) for s in SIZES]),
    ),
    Flag("--root", "data.root", "Where MedMNIST files are looked for and downloaded to."),
    Flag(
        "--val-fraction",
        "data.val_fraction",
        "Share of train that becomes val where there is none.",
        float,
    ),
    Flag(
        "--test-fraction",
        "data.test_fraction",
        "Share of train that becomes test where there is none.",
        float,
    ),
    Flag(
        "--split-seed", "data.seed", "Seed of splits that are made, and of synthetic images.", int
    ),
    Flag(
        "--strict-splits",
        "data.strict_splits",
        "Refuse images that stand in two splits.",
        switch=True,
    ),
    Flag("--limit", "data.limit", "Use only this many images of each split (0: all).", int),
    Flag(
        "--class-names",
        "data.class_names",
        "A,B,C or a text file with one name per line: names of numbered classes, or their order.",
    ),
    Flag(
        "--columns",
        "data.columns",
        "Which columns of a CSV are meant: path=FILE,label=CLASS[,split=NAME][,group=NAME].",
    ),
)
MODEL = (
    Flag(
        "--model",
        "model.name",
        "mobilenet_v2, efficientnet_b0, or one for 28 pixels: resnet18_28, simple_cnn, deeper_cnn.",
    ),
    Flag(
        "--alpha",
        "model.alpha",
        "Width of mobilenet_v2; the others have one width.",
        click.Choice([str(a) for a in ALPHAS]),
    ),
    Flag("--image-size", "model.image_size", "Side of the model's square input, pixels.", int),
    Flag(
        "--weights",
        "model.weights",
        "'imagenet' (mobilenet_v2, efficientnet_b0), 'none', a '…_no_top.h5' file, or a trained run.",
    ),
    Flag("--dropout", "model.dropout", "Dropout before the last layer.", float),
    Flag(
        "--fit",
        "model.fit",
        "How other aspect ratios become square.",
        click.Choice(["stretch", "crop"]),
    ),
    Flag(
        "--central-fraction",
        "model.central_fraction",
        "Share of each side that the model sees, in the middle (1: all).",
        float,
    ),
)
TRAIN = (
    Flag(
        "--head-epochs",
        "train.head_epochs",
        "Epochs with a frozen backbone; with --weights none they are added to --epochs.",
        int,
    ),
    Flag(
        "--epochs",
        "train.epochs",
        "Epochs of fine-tuning, with --weights none beside those of --head-epochs.",
        int,
    ),
    Flag(
        "--fine-tune-layers",
        "train.fine_tune_layers",
        "Fine-tune only the last N layers (0: all).",
        int,
    ),
    Flag("--batch-size", "train.batch_size", "Images in a batch, or 'auto': measured.", AUTO_SIZE),
    Flag("--optimizer", "train.optimizer", "Optimizer.", click.Choice(["adam", "adamw", "sgd"])),
    Flag("--learning-rate", "train.learning_rate", "Learning rate of fine-tuning.", float),
    Flag(
        "--head-learning-rate",
        "train.head_learning_rate",
        "Learning rate of the frozen stage.",
        float,
    ),
    Flag("--weight-decay", "train.weight_decay", "Decoupled weight decay (AdamW, SGD).", float),
    Flag("--momentum", "train.momentum", "Momentum of SGD.", float),
    Flag(
        "--schedule",
        "train.schedule",
        "Learning-rate schedule of fine-tuning.",
        click.Choice(["cosine", "plateau", "constant"]),
    ),
    Flag("--label-smoothing", "train.label_smoothing", "Label smoothing.", float),
    Flag(
        "--patience",
        "train.patience",
        "Stop after N epochs without a better val accuracy, or mean AUC of several labels (0: never).",
        int,
    ),
    Flag("--stop-at", "train.stop_at", "Stop once the val figure reaches this (0: never).", float),
    Flag(
        "--class-weights/--no-class-weights",
        "train.class_weights",
        "Balanced class weights.",
        switch=True,
    ),
    Flag(
        "--batchnorm-momentum",
        "train.batchnorm_momentum",
        "Momentum of BatchNorm statistics.",
        float,
    ),
    Flag("--seed", "train.seed", "Seed of initial weights, order, augmentation and dropout.", int),
    Flag(
        "--deterministic",
        "train.deterministic",
        "Bitwise repeatable operations (slower).",
        switch=True,
    ),
    Flag(
        "--strategy",
        "train.strategy",
        "Share each batch among all devices here, or among the workers that TF_CONFIG names.",
        click.Choice(["one", "mirrored", "multiworker"]),
    ),
    Flag("--flip/--no-flip", "augment.flip", "Mirror images at random.", switch=True),
    Flag(
        "--quarter-turns/--no-quarter-turns",
        "augment.quarter_turns",
        "Turn by 90° at random.",
        switch=True,
    ),
    Flag(
        "--brightness", "augment.brightness", "Largest change of brightness, share of 255.", float
    ),
    Flag("--contrast", "augment.contrast", "Largest relative change of contrast.", float),
    Flag("--saturation", "augment.saturation", "Largest relative change of saturation.", float),
    Flag("--shift", "augment.shift", "Largest shift, share of the side.", float),
    Flag(
        "--cache-features/--no-cache-features",
        "train.cache_features",
        "Compute a frozen backbone's features once, for 2 head epochs or more.",
        switch=True,
    ),
    Flag("--rotation", "augment.rotation", "Largest turn beside quarter turns, degrees.", float),
    Flag("--zoom", "augment.zoom", "Largest relative change of size.", float),
    Flag("--mixup", "train.mixup", "MixUp: the a of its Beta(a, a) (0: off).", float),
    Flag("--cutmix", "train.cutmix", "CutMix: the a of its Beta(a, a) (0: off).", float),
    Flag("--ema", "train.ema", "Running average of the weights, factor a step (0: off).", float),
    Flag(
        "--warmup-epochs", "train.warmup_epochs", "Epochs of rising rate before the cosine.", float
    ),
    Flag("--focal-gamma", "train.focal_gamma", "Weigh hard examples: focal loss (0: off).", float),
    Flag(
        "--first-layer-rate",
        "train.first_layer_rate",
        "The first layer's share of the learning rate, rising to 1 at the head.",
        float,
    ),
)
TEACHER = (
    Flag(
        "--teacher",
        "teacher.runs",
        "Learn from this run or .keras file too; repeatable: their mean.",
        multiple=True,
    ),
    Flag("--distillation", "teacher.distillation", "Share of the loss that follows it.", float),
    Flag("--temperature", "teacher.temperature", "Temperature of that share.", float),
    Flag(
        "--teacher-tta/--no-teacher-tta",
        "teacher.tta",
        "It answers for eight views of an image.",
        switch=True,
    ),
)
CALIBRATION = (
    Flag(
        "--calibration-images",
        "quantize.calibration_images",
        "Training images for the int8 ranges.",
        int,
    ),
    Flag("--calibration-seed", "quantize.seed", "Seed of their stratified sample.", int),
    Flag(
        "--input-type",
        "quantize.input_type",
        "Input of int8 files.",
        click.Choice(["uint8", "int8", "float32"]),
    ),
)
RESIZE = (
    Flag(
        "--resize-in-graph/--no-resize-in-graph",
        "quantize.resize_in_graph",
        "Also files that take the images in their own, smaller size and enlarge them inside.",
        switch=True,
    ),
)
SEARCH = (
    Flag(
        "--search/--no-search",
        "quantize.search",
        "Try post-training methods for int8, keep the best on val.",
        switch=True,
    ),
    Flag(
        "--split-channels/--no-split-channels",
        "quantize.split_channels",
        "--search also tries second copies of channels, where there is room for them.",
        switch=True,
    ),
    Flag(
        "--keep-float",
        "quantize.keep_float",
        "Also a mixed file: the N worst layers in float, or 'auto' for the fewest that pass verify.",
    ),
)
QAT = (
    Flag(
        "--qat/--no-qat",
        "qat.enabled",
        "Train the int8 file's rounding into the model first.",
        switch=True,
    ),
    Flag("--qat-epochs", "qat.epochs", "Epochs of quantization-aware training.", int),
    Flag("--qat-learning-rate", "qat.learning_rate", "Its learning rate, falling to 1 %.", float),
    Flag("--qat-batch-size", "qat.batch_size", "Its images in a batch.", int),
    Flag(
        "--qat-distillation", "qat.distillation", "Share of the loss that follows the model.", float
    ),
    Flag("--qat-temperature", "qat.temperature", "Temperature of that share.", float),
    Flag(
        "--qat-mixup", "qat.mixup", "Largest share of another image mixed into one (0: off).", float
    ),
    Flag(
        "--freeze-batchnorm-epochs",
        "qat.freeze_batchnorm_epochs",
        "Last epochs with BatchNorm's statistics and the ranges as they are.",
        int,
    ),
    Flag("--qat-seed", "qat.seed", "Seed of its order and augmentation.", int),
)
SLIM = (
    Flag(
        "--prune", "prune.sparsity", "Make this share of the weights zero first (0: none).", float
    ),
    Flag("--prune-epochs", "prune.epochs", "Epochs of pruning.", int),
    Flag("--prune-learning-rate", "prune.learning_rate", "Its learning rate.", float),
    Flag("--prune-batch-size", "prune.batch_size", "Its images in a batch.", int),
    Flag("--cluster", "cluster.clusters", "Leave each layer this many values (0: all).", int),
    Flag("--cluster-epochs", "cluster.epochs", "Epochs of weight clustering.", int),
    Flag("--cluster-learning-rate", "cluster.learning_rate", "Its learning rate.", float),
    Flag("--cluster-batch-size", "cluster.batch_size", "Its images in a batch.", int),
)
VERIFY = (
    Flag(
        "--max-accuracy-drop",
        "verify.max_accuracy_drop",
        "Largest allowed drop of accuracy, fraction.",
        float,
    ),
    Flag(
        "--max-f1-drop",
        "verify.max_f1_drop",
        "Largest allowed drop of any class's F1, and of its recall where significant, fraction.",
        float,
    ),
    Flag(
        "--max-auc-drop",
        "verify.max_auc_drop",
        "Largest allowed drop of the mean AUC of several labels, fraction.",
        float,
    ),
    Flag(
        "--max-label-auc-drop",
        "verify.max_label_auc_drop",
        "Largest allowed drop of any label's AUC, and of its recall and F1 where significant, fraction.",
        float,
    ),
    Flag(
        "--margin",
        "verify.margin",
        "Drop of accuracy, or of several labels' mean AUC, that still is equivalent, fraction.",
        float,
    ),
    Flag("--significance", "verify.alpha", "Level of the gate's tests, fraction.", float),
    Flag(
        "--require-equivalence",
        "verify.require_equivalence",
        "Exit with 5 also where the images cannot tell.",
        switch=True,
    ),
)
VERIFY_SPLIT = (
    Flag(
        "--split",
        "verify.split",
        "Images to compare on; test only where it is named.",
        click.Choice(["val", "val+test"]),
    ),
)
CONFIDENCE = (
    Flag(
        "--target-accuracy",
        "confidence.target_accuracy",
        "Accuracy wanted of the answers that are not abstained from, fraction.",
        float,
    ),
    Flag("--certainty", "confidence.certainty", "Certainty of that promise, fraction.", float),
    Flag(
        "--coverage",
        "confidence.coverage",
        "How often a conformal set must hold the right class, fraction.",
        float,
    ),
    Flag(
        "--sensitivity",
        "confidence.sensitivity",
        "Several labels to an image: share of a label's images that its threshold must find, fraction.",
        float,
    ),
)
ROBUSTNESS = (
    Flag("--images", "robustness.images", "Images of the split, drawn at random (0: all).", int),
    Flag("--corruption-seed", "robustness.seed", "Seed of that draw and of the noise.", int),
)
BENCH = (
    Flag("--runs", "bench.runs", "Least number of timed inferences.", int),
    Flag("--seconds", "bench.seconds", "Least time of measuring, seconds.", float),
    Flag("--warmup-runs", "bench.warmup_runs", "Inferences before the timing starts.", int),
    Flag(
        "--delegate",
        "bench.delegate",
        "What runs the operators: XNNPACK, or the built-in kernels alone.",
        click.Choice(["xnnpack", "none"]),
    ),
    Flag("--profile", "bench.profile", "Also the time of each operator.", switch=True),
)


def flags(*groups: tuple[Flag, ...]) -> Callable[[Any], Any]:
    """A decorator that adds the flags of ``groups``; a default is the configuration's, or what the flag says."""

    def decorate(command: Any) -> Any:
        for flag in reversed([flag for group in groups for flag in group]):
            default = flag.default or _shown(_lookup(Config(), flag.field))
            help_text = f"{flag.help} [default: {default}]"
            if flag.switch:
                kind: dict[str, Any] = {"is_flag": True}
                if "/" not in flag.name:
                    kind["flag_value"] = True
            else:
                kind = {"type": flag.type, "multiple": flag.multiple}
            option = click.option(flag.name, flag.parameter, help=help_text, default=None, **kind)
            command = option(command)
        return command

    return decorate


def run_data_flags(command: Any) -> Any:
    """The flags of DATA for a verb that is pointed at a run: the run's images are the default."""
    return flags((replace(DATA[0], default="the run's images"), *DATA[1:]))(command)


def configure(parameters: dict[str, Any], base: Config) -> Config:
    """``base`` with every flag that was given; removes the flags from ``parameters``.

    Raises:
        ConfigError: a value that is not allowed.
    """
    tables: dict[str, dict[str, Any]] = {}
    for name in [n for n in parameters if n.startswith("set_")]:
        value = parameters.pop(name)
        if value is None or value == ():
            continue
        table, key = name.removeprefix("set_").split("__")
        kind = get_type_hints(type(getattr(base, table)))[key]
        tables.setdefault(table, {})[key] = kind(value) if kind in (int, float, str) else value
    changed = {table: replace(getattr(base, table), **values) for table, values in tables.items()}
    return replace(base, **changed)


def names_data(parameters: dict[str, Any]) -> bool:
    """Whether the user named a data set on the command line."""
    return parameters.get("set_data__source") is not None


def base_config(recipe: str | None) -> Config:
    """The configuration that flags start from: a recipe by name or path, else the defaults.

    The environment variable EDGECELL_DETERMINISTIC (not empty, not 0) turns ``deterministic`` on.
    """
    config = load_recipe(recipe) if recipe else Config()
    if os.environ.get("EDGECELL_DETERMINISTIC", "0") in ("", "0"):
        return config
    return replace(config, train=replace(config.train, deterministic=True))


def precision_flags(command: Any) -> Any:
    """``--float32 --float16 --dynamic --int8 --int16x8``, any of them together."""
    meanings = {
        "float32": "Float weights, float kernels.",
        "float16": "Float16 weights, float kernels.",
        "dynamic": "int8 weights, float activations.",
        "int8": "int8 weights and activations, integer kernels only.",
        "int16x8": "int8 weights, int16 activations.",
    }
    for precision in reversed(PRECISIONS):
        option = click.option(
            f"--{precision}", f"make_{precision}", is_flag=True, help=meanings[precision]
        )
        command = option(command)
    return command


def take_precisions(parameters: dict[str, Any]) -> tuple[str, ...]:
    """The precisions that were asked for; removes their flags from ``parameters``."""
    return tuple(p for p in PRECISIONS if parameters.pop(f"make_{p}"))


def with_precisions(config: Config, precisions: tuple[str, ...]) -> Config:
    """``config`` with these precisions, or unchanged where none was asked for."""
    if not precisions:
        return config
    return replace(config, quantize=replace(config.quantize, precisions=precisions))


def configure_conversion(
    parameters: dict[str, Any], base: Config, precisions: tuple[str, ...]
) -> Config:
    """``base`` with flags and precisions; what only ``base`` asks for yields where it does not fit them.

    A recipe's search, training and layers in float are for its own int8 file: they are no reason to
    refuse other precisions, or a pruned model, that the command line asks for. Removes the flags from ``parameters``.

    Raises:
        ConfigError: a value that is not allowed, or split channels where nothing is searched.
    """
    said = {name for name, value in parameters.items() if value is not None}
    slim = any(parameters.get(f"set_{field}") for field in ("prune__sparsity", "cluster__clusters"))
    split = parameters.get("set_quantize__split_channels")
    config = with_precisions(configure(parameters, base), precisions)
    quantize, qat = config.quantize, config.qat
    integers = "int8" in quantize.precisions
    if "set_quantize__search" not in said and (slim or not integers):
        quantize = replace(quantize, search=False)
    if split and not quantize.search:
        raise ConfigError(
            "--split-channels is one of the methods that --search tries; add --search"
        )
    if "set_quantize__keep_float" not in said and (slim or (precisions and not integers)):
        quantize = replace(quantize, keep_float="none")
    if "set_qat__enabled" not in said and not integers:
        qat = replace(qat, enabled=False)
    return replace(config, quantize=quantize, qat=qat)


def pace_flags(command: Any) -> Any:
    """``--quick`` and ``--full``: how thoroughly latency is measured."""
    quick, full = (BENCH_PACES[name] for name in ("quick", "full"))
    for name, text in (
        (
            "full",
            f"Measure {full['runs']:,} runs and {full['seconds']:.0f} s with rests between models.",
        ),
        ("quick", f"Measure {quick['runs']} runs or {quick['seconds']:.0f} s, whichever is first."),
    ):
        command = click.option(f"--{name}", f"pace_{name}", is_flag=True, help=text)(command)
    return command


def take_pace(parameters: dict[str, Any]) -> None:
    """Make ``--quick`` or ``--full`` the flags they stand for; flags that were given keep their values.

    Raises:
        ConfigError: both.
    """
    wanted = [name for name in BENCH_PACES if parameters.pop(f"pace_{name}")]
    if len(wanted) > 1:
        raise ConfigError("--quick and --full exclude one another; give one of them")
    for name in wanted:
        for key, value in BENCH_PACES[name].items():
            if parameters.get(f"set_bench__{key}") is None:
                parameters[f"set_bench__{key}"] = value


def device_flags(command: Any) -> Any:
    """``--device`` and what some devices need."""
    for name, default, text in (
        ("--benchmark-model", "", "With adb: LiteRT's benchmark_model for Android."),
        ("--remote-python", "python3", "With ssh: the Python there that has ai-edge-litert."),
        (
            "--device",
            "host",
            "Where the files run: host, ssh:user@host[:port], adb[:serial], browser, qemu-arm64, or tflm.",
        ),
    ):
        shown = bool(default)
        command = click.option(name, default=default, show_default=shown, help=text)(command)
    return command


def output_to(default: str) -> Callable[[Any], Any]:
    """``--output DIR``, which without it is ``default``."""
    return click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=None,
        help=f"Folder to write to [default: {default}].",
    )


output_option = output_to("inside the run; without a run it has to be given")
"""``--output DIR`` of verbs that are pointed at a run."""
new_run_option = output_to("artifacts/runs/<name>-<UTC time>")
"""``--output DIR`` of verbs that make a run."""


def json_option(command: Any) -> Any:
    """``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the results as JSON on stdout."
    )(command)


def _lookup(config: Config, field: str) -> Any:
    table, key = field.split(".")
    return getattr(getattr(config, table), key)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ("", ()):
        return "none"
    return str(value)
