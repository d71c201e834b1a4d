"""The flags that set a field of the configuration: tables of what they are called and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from edgecell.config import ALPHAS, SIZES


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
    Flag(
        "--class-margin",
        "verify.class_margin",
        "Drop of each class's recall, or label's AUC, that has to be excluded too, fraction (0: not asked).",
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
        click.Choice(["val", "val+test", "test"]),
    ),
)
CONFIDENCE = (
    Flag(
        "--target-accuracy",
        "confidence.target_accuracy",
        "Accuracy wanted of the answers that are not abstained from, fraction.",
        float,
    ),
    Flag(
        "--certainty",
        "confidence.certainty",
        "Certainty of that promise and of lower bounds, fraction.",
        float,
    ),
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
