"""The settings of a run: frozen dataclasses.

Each field's default is what the command line uses; ``RECIPE`` files and ``config.toml`` hold the
same tables, see config_file. A value that is not allowed is a ConfigError that says what is.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgecell.errors import ConfigError

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int16x8")
CORRUPTIONS = ("blur", "jpeg", "bright", "dark", "warm", "cool", "noise")
SIZES = (28, 64, 128, 224)
MAX_SEED = 2**32 - 1
"""NumPy's legacy generator takes no larger seed, and none of the generators a negative one."""

InputType = Literal["uint8", "int8", "float32"]


@dataclass(frozen=True)
class DataConfig:
    """Which images: a MedMNIST name, an .npz, an image folder, a CSV of paths, or "synthetic".

    ``class_names`` is "A,B,C" or a text file of one name per line, in the order of the labels.
    ``columns`` says which columns of a CSV are meant, "path=FILE,label=CLASS,split=…,group=…".
    """

    source: str = "synthetic"
    size: int = 28
    root: str = "~/.medmnist"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0
    strict_splits: bool = False
    limit: int = 0
    class_names: str = ""
    columns: str = ""

    def __post_init__(self) -> None:
        _one_of("data.size", self.size, SIZES)
        _between("data.val_fraction", self.val_fraction, 0.01, 0.9)
        _between("data.test_fraction", self.test_fraction, 0.01, 0.9)
        _between("data.limit", self.limit, 0, 10_000_000)
        _between("data.seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and what of an image it sees.

    ``weights`` is "imagenet", "none", a backbone's .h5 file or a trained run. ``fit`` and
    ``central_fraction`` are those of :class:`edgecell.preprocess.PreprocessSpec`.
    """

    name: str = "mobilenet_v2"
    alpha: float = 0.35
    image_size: int = 96
    weights: str = "imagenet"
    dropout: float = 0.2
    fit: Literal["stretch", "crop"] = "stretch"
    central_fraction: float = 1.0

    def __post_init__(self) -> None:
        _between("model.central_fraction", self.central_fraction, 0.1, 1.0)
        _one_of("model.alpha", self.alpha, ALPHAS)
        _between("model.image_size", self.image_size, 28, 512)
        _between("model.dropout", self.dropout, 0.0, 0.9)

    def settings(self) -> dict[str, Any]:
        """What records and saved states compare: ``central_fraction`` only where it cuts.

        So those that were made before there was one are still of the same settings.
        """
        found = asdict(self)
        if self.central_fraction == 1.0:
            del found["central_fraction"]
        return found


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training images; each magnitude 0 switches its change off.

    ``brightness`` is the largest added offset as a fraction of 255; ``contrast`` and ``saturation``
    the largest relative change; ``shift`` the largest move as a fraction of the side; ``rotation``
    the largest turn in degrees beside the quarter turns; ``zoom`` the largest relative change of size.
    """

    flip: bool = True
    quarter_turns: bool = True
    brightness: float = 0.06
    contrast: float = 0.1
    saturation: float = 0.1
    shift: float = 0.06
    rotation: float = 0.0
    zoom: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "shift", "zoom"):
            _between(f"augment.{name}", getattr(self, name), 0.0, 0.9)
        _between("augment.rotation", self.rotation, 0.0, 180.0)


@dataclass(frozen=True)
class TrainConfig:
    """How to train: a frozen stage for the head, then fine-tuning of the last layers or of all.

    ``mixup`` and ``cutmix`` are the a of Beta(a, a), 0 for off; ``ema`` the factor of the running
    average of the weights that is validated and kept, 0 for none; ``focal_gamma`` weighs hard
    examples; ``first_layer_rate`` is the first layer's share of the learning rate, rising
    geometrically to 1 at the head; ``warmup_epochs`` rise to the learning rate before the cosine.
    ``batch_size`` 0 is "auto": measured, and written down as what was found. ``cache_features``
    computes a frozen backbone's features once where the head has 2 epochs or more; it then sees
    images as they are, without augmentation. ``stop_at`` ends the training at the first epoch whose
    val figure reaches it, 0 never. ``strategy`` "mirrored" shares each batch among all devices of this
    machine, "multiworker" among the processes that TF_CONFIG names.
    """

    head_epochs: int = 1
    epochs: int = 29
    batch_size: int = 128
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    head_learning_rate: float = 3e-3
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    momentum: float = 0.9
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    fine_tune_layers: int = 0
    class_weights: bool = True
    label_smoothing: float = 0.05
    patience: int = 0
    batchnorm_momentum: float = 0.9
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    warmup_epochs: float = 0.0
    focal_gamma: float = 0.0
    first_layer_rate: float = 1.0
    cache_features: bool = True
    stop_at: float = 0.0
    seed: int = 0
    deterministic: bool = False
    strategy: Literal["one", "mirrored", "multiworker"] = "one"

    def __post_init__(self) -> None:
        _between("train.head_epochs", self.head_epochs, 0, 1000)
        _between("train.epochs", self.epochs, 0, 10_000)
        if self.head_epochs + self.epochs == 0:
            raise ConfigError(
                "train.head_epochs and train.epochs are both 0; at least 1 epoch is needed"
            )
        _between("train.batch_size", self.batch_size, 0, 8192)
        for name in ("head_learning_rate", "learning_rate"):
            _between(f"train.{name}", getattr(self, name), 1e-8, 10.0)
        _between("train.weight_decay", self.weight_decay, 0.0, 1.0)
        _between("train.momentum", self.momentum, 0.0, 0.9999)
        _between("train.fine_tune_layers", self.fine_tune_layers, 0, 10_000)
        _between("train.label_smoothing", self.label_smoothing, 0.0, 0.5)
        _between("train.patience", self.patience, 0, 10_000)
        _between("train.batchnorm_momentum", self.batchnorm_momentum, 0.0, 0.999)
        _between("train.mixup", self.mixup, 0.0, 10.0)
        _between("train.cutmix", self.cutmix, 0.0, 10.0)
        _between("train.ema", self.ema, 0.0, 0.99999)
        _between("train.warmup_epochs", self.warmup_epochs, 0.0, 1000.0)
        _between("train.focal_gamma", self.focal_gamma, 0.0, 10.0)
        _between("train.first_layer_rate", self.first_layer_rate, 0.001, 1.0)
        _between("train.stop_at", self.stop_at, 0.0, 1.0)
        if self.warmup_epochs and self.schedule != "cosine":
            raise ConfigError(
                f"train.warmup_epochs is {self.warmup_epochs} with the schedule {self.schedule};"
                " allowed: 0, or --schedule cosine"
            )
        _between("train.seed", self.seed, 0, MAX_SEED)
        if self.strategy != "one" and self.batch_size == 0:
            raise ConfigError(
                f"train.batch_size is auto, which measures one device, with the strategy"
                f" {self.strategy}; give the batch of all devices together, such as --batch-size 256"
            )


@dataclass(frozen=True)
class TeacherConfig:
    """Knowledge distillation: trained runs or .keras files whose mean answer is learnt from.

    ``distillation`` is the share of the loss that follows them, at ``temperature``; with ``tta``
    they answer for the eight symmetries of each image (eight times the work).
    """

    runs: tuple[str, ...] = ()
    distillation: float = 0.7
    temperature: float = 2.0
    tta: bool = False

    def __post_init__(self) -> None:
        _between("teacher.distillation", self.distillation, 0.0, 1.0)
        _between("teacher.temperature", self.temperature, 0.1, 100.0)


@dataclass(frozen=True)
class QuantizeConfig:
    """Which files to make, and from how many training images the int8 ranges are measured.

    ``search`` tries post-training methods for int8 and keeps the best on val; without ``split_channels``
    not those that carry channels twice. ``keep_float`` leaves the worst layers in float, a file of the
    precision mixed: "none", a number, or "auto". ``resize_in_graph`` adds to each file one that takes
    images of the data set's own, smaller size.
    """

    precisions: tuple[str, ...] = ("float16", "int8")
    input_type: InputType = "uint8"
    calibration_images: int = 512
    seed: int = 0
    search: bool = False
    split_channels: bool = True
    keep_float: str = "none"
    resize_in_graph: bool = False

    def __post_init__(self) -> None:
        if self.keep_float not in ("none", "auto") and not (
            self.keep_float.isdecimal() and int(self.keep_float) > 0
        ):
            raise ConfigError(
                f"quantize.keep_float is '{self.keep_float}'; allowed: none, auto, or a number of"
                " layers from 1"
            )
        if not self.precisions:
            raise ConfigError(f"no precision asked for; allowed: {', '.join(PRECISIONS)}")
        for precision in self.precisions:
            _one_of("quantize.precisions", precision, PRECISIONS)
            if self.precisions.count(precision) > 1:
                raise ConfigError(f"quantize.precisions names {precision} twice; once is enough")
        _between("quantize.calibration_images", self.calibration_images, 8, 100_000)
        _between("quantize.seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class TuningConfig:
    """A short training of the float model towards what it is converted to.

    ``distillation`` is the share of the loss that asks for the float model's own probabilities
    instead of the labels, at ``temperature``. Images are faded into one another, up to a share of
    ``mixup``. The last ``freeze_batchnorm_epochs`` epochs use BatchNorm's and the ranges' stored
    statistics and leave them alone; at least ``epochs`` means all.
    """

    epochs: int = 8
    learning_rate: float = 1e-4
    batch_size: int = 128
    distillation: float = 1.0
    temperature: float = 2.0
    mixup: float = 0.0
    freeze_batchnorm_epochs: int = 10_000
    seed: int = 0

    def _check(self, table: str) -> None:
        _between(f"{table}.epochs", self.epochs, 1, 10_000)
        _between(f"{table}.learning_rate", self.learning_rate, 1e-8, 1.0)
        _between(f"{table}.batch_size", self.batch_size, 1, 8192)
        _between(f"{table}.distillation", self.distillation, 0.0, 1.0)
        _between(f"{table}.temperature", self.temperature, 0.1, 100.0)
        _between(f"{table}.mixup", self.mixup, 0.0, 1.0)
        _between(f"{table}.freeze_batchnorm_epochs", self.freeze_batchnorm_epochs, 0, 10_000)
        _between(f"{table}.seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class QatConfig(TuningConfig):
    """Quantization-aware training: fine-tuning with int8 rounding in the model."""

    enabled: bool = False

    def __post_init__(self) -> None:
        self._check("qat")


@dataclass(frozen=True)
class PruneConfig(TuningConfig):
    """Pruning: the share ``sparsity`` of each kernel that becomes zero; 0 for none."""

    learning_rate: float = 1e-3
    freeze_batchnorm_epochs: int = 2
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        self._check("prune")
        _between("prune.sparsity", self.sparsity, 0.0, 0.99)


@dataclass(frozen=True)
class ClusterConfig(TuningConfig):
    """Weight clustering: how many ``clusters``, that is values, each kernel is left; 0 for no limit."""

    learning_rate: float = 3e-4
    freeze_batchnorm_epochs: int = 2
    clusters: int = 0

    def __post_init__(self) -> None:
        self._check("cluster")
        if self.clusters:
            _between("cluster.clusters", self.clusters, 3, 256)


@dataclass(frozen=True)
class VerifyConfig:
    """Budgets of the parity gate, as fractions; a drop is reference minus converted.

    ``margin`` and ``alpha`` are those of the equivalence test, ``split`` the images it looks at. Where an
    image can have several labels the AUC budgets hold, and the margin is the mean AUC's. ``class_margin``
    is one for the recall, or AUC, of every class; 0: not asked.
    """

    max_accuracy_drop: float = 0.005
    max_f1_drop: float = 0.02
    margin: float = 0.005
    alpha: float = 0.05
    split: Literal["val", "val+test", "test"] = "val"
    require_equivalence: bool = False
    max_auc_drop: float = 0.005
    max_label_auc_drop: float = 0.02
    class_margin: float = 0.0

    def __post_init__(self) -> None:
        _between("verify.class_margin", self.class_margin, 0.0, 1.0)
        _between("verify.max_accuracy_drop", self.max_accuracy_drop, 0.0, 1.0)
        _between("verify.max_auc_drop", self.max_auc_drop, 0.0, 1.0)
        _between("verify.max_label_auc_drop", self.max_label_auc_drop, 0.0, 1.0)
        _between("verify.max_f1_drop", self.max_f1_drop, 0.0, 1.0)
        _between("verify.margin", self.margin, 0.0001, 0.5)
        _between("verify.alpha", self.alpha, 0.001, 0.4)


@dataclass(frozen=True)
class ConfidenceConfig:
    """What is promised of a file's confidence, each with probability ``certainty`` or in the mean.

    ``target_accuracy``: of the answers above the abstention threshold, with ``certainty``;
    ``coverage``: how often a conformal set holds the right class. ``sensitivity``: where an image can have
    several labels, the share of the images with a label that its threshold finds.
    """

    target_accuracy: float = 0.99
    certainty: float = 0.95
    coverage: float = 0.99
    sensitivity: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        _between("confidence.target_accuracy", self.target_accuracy, 0.5, 0.9999)
        _between("confidence.certainty", self.certainty, 0.5, 0.9999)
        _between("confidence.coverage", self.coverage, 0.5, 0.9999)
        _between("confidence.sensitivity", self.sensitivity, 0.5, 0.9999)
        _between("confidence.seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class RobustnessConfig:
    """Which corruptions, each at five strengths, on how many images of the split (0: all)."""

    corruptions: tuple[str, ...] = CORRUPTIONS
    images: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.corruptions:
            raise ConfigError(f"no corruption asked for; allowed: {', '.join(CORRUPTIONS)}")
        for corruption in self.corruptions:
            _one_of("robustness.corruptions", corruption, CORRUPTIONS)
            if self.corruptions.count(corruption) > 1:
                raise ConfigError(
                    f"robustness.corruptions names {corruption} twice; once is enough"
                )
        _between("robustness.images", self.images, 0, 10_000_000)
        _between("robustness.seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class BenchConfig:
    """How long to measure each model and thread count, and with what.

    ``runs`` and ``seconds`` are minima: ``stop`` "both" goes on until both are reached, "either" until
    one is. ``cooldown`` seconds of rest come before each turn of a model. ``delegate`` "none" runs the
    built-in kernels; ``profile`` adds the time of each operator.
    """

    runs: int = 1024
    seconds: float = 20.0
    warmup_runs: int = 20
    stop: Literal["both", "either"] = "both"
    cooldown: float = 0.0
    delegate: Literal["xnnpack", "none"] = "xnnpack"
    profile: bool = False

    def __post_init__(self) -> None:
        _between("bench.runs", self.runs, 10, 1_000_000)
        _between("bench.seconds", self.seconds, 0.0, 3600.0)
        _between("bench.warmup_runs", self.warmup_runs, 1, 100_000)
        _between("bench.cooldown", self.cooldown, 0.0, 600.0)


BENCH_PACES: dict[str, dict[str, Any]] = {
    "quick": {"runs": 128, "seconds": 6.0, "stop": "either", "cooldown": 0.0},
    "full": {"runs": 1024, "seconds": 60.0, "stop": "both", "cooldown": 1.0},
}
"""Settings of ``bench`` with a name of their own, beside the default."""


@dataclass(frozen=True)
class Config:
    """Everything a run is made from; ``expected`` is a recipe's promise and changes nothing."""

    name: str = "run"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    quantize: QuantizeConfig = field(default_factory=QuantizeConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    qat: QatConfig = field(default_factory=QatConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    bench: BenchConfig = field(default_factory=BenchConfig)
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    robustness: RobustnessConfig = field(default_factory=RobustnessConfig)
    expected: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            not self.name
            or any(c in self.name for c in '/\\\0<>:"|?*')
            or self.name.startswith(".")
        ):
            raise ConfigError(
                f"name {self.name!r} cannot be a folder name; use letters, digits, - and _"
            )
        if self.model.weights == "none" and self.train.fine_tune_layers:
            raise ConfigError(
                f"train.fine_tune_layers is {self.train.fine_tune_layers} without pretrained weights:"
                " the frozen layers would stay random; allowed: 0, or weights to start from"
            )


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; allowed: {low} to {high}")


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{name} is {value}; allowed: {', '.join(map(str, allowed))}{hint}")
