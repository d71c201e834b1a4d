"""The house rules that a reader relies on, read from the source: who may import and call what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("edgecell", "converters", "benchmarks")

# A unit imports from lower tiers and, without a cycle, from its own. A new module must be placed.
TIERS = (
    ("edgecell", "errors"),
    (
        "config",
        "config_file",
        "record",
        "metrics",
        "preprocess",
        "progress",
        "native_log",
        "machine",
        "pixels",
        "tasks",
        "scratch",
        "documents",
        "former",
        "disk",
        "sbom",
        "toml_document",
        "naming",
        "interrupts",
        "csv_cells",
        "fonts",
        "jpeg_scans",
    ),
    (
        *("rundir", "recipes", "data", "models", "runtime", "tflite_file", "keras_file", "plots"),
        *(
            "tflite_check",
            "tflite_tables",
            "tflite_front",
            "keras_check",
            "keras_order",
            "hdf5_heaps",
        ),
        *("augment", "batches", "checkpoint", "device", "confidence", "corruptions", "losses"),
        *("predictions", "examples", "mixing", "averaging", "distillation", "objective"),
        *(
            "stepping",
            "learner",
            "teacher",
            "features",
            "averaged",
            "workbook",
            "explain",
            "anatomy",
        ),
        *("tuning", "delegation", "graph", "embedding", "packing"),
        *("answers", "classifier", "tflite_metadata", "metadata_schema", "inspection"),
        *("custody", "lock"),
        *("share", "distribution", "optimizers", "stage"),
        "label_confidence",
        "evaluate_labels",
        "evaluate",  # knows only labels and probabilities; benchmarks measure quality with it
    ),
    ("train", "autobatch", "report", "converters", "benchmarks", "bundle", "serve", "quarantine"),
    ("pipeline",),
    ("cli", "__main__"),
)
# On the same tier but in separate rooms: they meet through files and through Predictor.
STRANGERS = ("train", "report", "converters", "benchmarks", "bundle", "serve")
WITHOUT_TENSORFLOW = (
    *("edgecell", "errors", "config", "record", "metrics", "preprocess", "progress", "rundir"),
    *("data", "plots", "recipes", "report", "cli", "__main__", "runtime", "tflite_file"),
    *("confidence", "corruptions", "tasks", "tuning", "bundle", "embedding"),
    "label_confidence",
    *("answers", "classifier", "tflite_metadata", "inspection", "serve", "custody", "share"),
    *("lock", "disk", "config_file", "fonts"),
)
HEAVY = ("tensorflow", "tf_keras", "tensorflow_model_optimization")
# Programs that run as a process of their own: their exit is their answer.
PROGRAMS = (
    "benchmarks.footprint_probe",
    "benchmarks.mosaics",
    "benchmarks.time_to_accuracy",
    "benchmarks.devices.on_board",
    "benchmarks.quantization_methods",
    "edgecell.quarantine",
)
# Files for other people's apps: data here, never imported.
SAMPLES = ("edgecell", "bundle", "samples")
# TFLite Micro's interpreter is another one, of a package that is not always there.
MICRO = "benchmarks.devices.tflm_probe"
JUNK_DRAWERS = ("utils", "util", "helpers", "common", "base", "misc")


@dataclass
class Module:
    """A parsed source file: its dotted name, and its unit, the name that TIERS knows it by."""

    name: str
    tree: ast.Module
    unit: str = field(init=False)

    def __post_init__(self) -> None:
        self.unit = unit_of(self.name)


def unit_of(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "edgecell" and len(parts) > 1 else parts[0]


def modules(root: Path) -> list[Module]:
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[: len(SAMPLES)] == SAMPLES:
                continue
            dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Module(dotted, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def imports(tree: ast.AST, known: set[str]) -> Iterator[str]:
    """Dotted names of all imported modules, also of those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: this checker reads absolute ones"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import_time(child)


def violations(root: Path) -> list[str]:
    """Every broken rule under ``root``, one line each."""
    parsed = modules(root)
    known = {module.name for module in parsed}
    rank = {unit: tier for tier, units in enumerate(TIERS) for unit in units}
    out: list[str] = []
    graph: dict[str, set[str]] = {}
    for module in parsed:
        if module.unit not in rank:
            out.append(f"{module.name}: not in the table of tiers")
            continue
        wanted = set(imports(module.tree, known))
        graph[module.name] = {name for name in wanted if name in known and name != module.name}
        out += [f"{module.name}: {text}" for text in _arrows(module, wanted, rank)]
        out += [f"{module.name}: {text}" for text in _libraries(module, wanted)]
        out += [f"{module.name}: {text}" for text in _calls(module)]
        if set(module.name.split(".")) & set(JUNK_DRAWERS):
            out.append(f"{module.name}: a name that says nothing")
    return out + [f"import cycle: {' → '.join(ring)}" for ring in _cycles(graph)]


def _arrows(module: Module, wanted: set[str], rank: dict[str, int]) -> Iterator[str]:
    for name in sorted(wanted):
        if name.split(".")[0] not in PACKAGES:
            continue
        unit = unit_of(name)
        if unit not in rank:
            yield f"imports {name}, which is not in the table of tiers"
        elif rank[unit] > rank[module.unit]:
            yield f"imports {name}, which is on its right"
        elif unit != module.unit and unit in STRANGERS and module.unit in STRANGERS:
            yield f"imports {name}, a stranger"


def _libraries(module: Module, wanted: set[str]) -> Iterator[str]:
    tops = {name.split(".")[0] for name in wanted}
    if "click" in tops and module.unit != "cli":
        yield "imports click"
    if "keras" in tops or any(name.startswith("tensorflow.keras") for name in wanted):
        yield "imports another Keras than tf_keras"
    for node in ast.walk(module.tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        for name in names:
            if name.endswith("lite.Interpreter"):
                yield "names tf.lite.Interpreter"
            elif module.name == MICRO and name.startswith("runtime.Interpreter"):
                continue
            elif name.rsplit(".", 1)[-1] == "Interpreter" and module.unit != "runtime":
                yield "names an Interpreter"
            elif name in ("tf.keras", "tensorflow.keras"):
                yield "names tf.keras"
            elif name.startswith("ai_edge_litert.interpreter") and module.unit != "runtime":
                yield "names ai_edge_litert.interpreter"
    if module.unit in WITHOUT_TENSORFLOW:
        for node in at_import_time(module.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                top = {name.split(".")[0] for name in imports(node, set())}
                for heavy in sorted(top & set(HEAVY)):
                    yield f"imports {heavy} when it is imported"


def _calls(module: Module) -> Iterator[str]:
    if module.unit in ("cli", "__main__") or module.name in PROGRAMS:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "input", "exit", "quit", "sys.exit", "os._exit", "SystemExit"):
                yield f"line {node.lineno}: calls {called}()"
        elif isinstance(node, ast.ExceptHandler):
            caught = "everything" if node.type is None else ast.unparse(node.type)
            if set(caught.strip("()").split(", ")) & {"everything", "Exception", "BaseException"}:
                yield f"line {node.lineno}: catches {caught}"


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> Iterator[list[str]]:
        if name in trail:
            yield [*trail[trail.index(name) :], name]
        elif name not in finished:
            for following in sorted(graph[name] & graph.keys()):
                yield from visit(following, [*trail, name])
            finished.add(name)

    for name in sorted(graph):
        yield from visit(name, [])


def test_the_three_packages_keep_the_rules():
    found = violations(REPOSITORY)
    assert not found, "\n".join(found)


def test_the_checker_reads_all_of_them():
    names = {module.name for module in modules(REPOSITORY)}
    assert {"edgecell", "edgecell.cli.commands", "edgecell.data.types"} <= names
    assert {"converters.tflite", "benchmarks.run"} <= names


@pytest.fixture
def plant(tmp_path):
    """Write a small tree that keeps the rules, plus one file; returns what the checker says."""
    innocent = {
        "edgecell/__init__.py": "",
        "edgecell/errors.py": "class E(Exception): ...",
        "edgecell/config.py": "from edgecell.errors import E",
        "edgecell/runtime.py": "from ai_edge_litert.interpreter import Interpreter",
        "edgecell/train.py": "import tensorflow as tf\nfrom edgecell import config",
        "edgecell/cli/__init__.py": "import click\nimport sys\ndef main():\n    sys.exit(0)",
        "converters/__init__.py": "",
        "converters/tflite.py": "from edgecell.errors import E",
        "benchmarks/__init__.py": "",
    }

    def check(path: str, text: str) -> list[str]:
        for name, content in (innocent | {path: text}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return violations(tmp_path)

    return check


def test_an_innocent_tree_has_no_violation(plant):
    assert plant("edgecell/record.py", "def f():\n    from edgecell import errors") == []


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("edgecell/errors.py", "from edgecell.config import ALPHAS", "on its right"),
        ("edgecell/record.py", "def f():\n    from edgecell import train", "on its right"),
        ("edgecell/rundir.py", "import converters.tflite", "on its right"),
        ("benchmarks/run.py", "from converters import tflite", "a stranger"),
        ("converters/audit.py", "def f():\n    import benchmarks", "a stranger"),
        ("edgecell/novelty.py", "", "not in the table"),
        ("edgecell/pipeline/__init__.py", "def f():\n    import click", "imports click"),
        ("edgecell/models/__init__.py", "import keras", "another Keras"),
        ("edgecell/models/__init__.py", "from tensorflow import keras", "tf.keras"),
        ("edgecell/models/__init__.py", "x = tf.keras.Input", "tf.keras"),
        ("edgecell/runtime.py", "x = tf.lite.Interpreter", "names tf.lite.Interpreter"),
        ("converters/audit.py", "from ai_edge_litert import interpreter", "ai_edge_litert"),
        ("converters/audit.py", "x = litert.Interpreter('f')", "names an Interpreter"),
        ("edgecell/data/__init__.py", "import tensorflow as tf", "imports tensorflow when"),
        ("edgecell/plots.py", "try:\n    import tf_keras\nfinally: ...", "imports tf_keras when"),
        ("edgecell/cli/x.py", "import tensorflow.lite", "imports tensorflow when"),
        ("edgecell/train.py", "print('done')", "line 1: calls print()"),
        ("edgecell/train.py", "import sys\nsys.exit(1)", "line 2: calls sys.exit()"),
        ("edgecell/train.py", "raise SystemExit(1)", "calls SystemExit()"),
        ("edgecell/train.py", "try: f()\nexcept Exception: ...", "catches Exception"),
        ("edgecell/train.py", "try: f()\nexcept (OSError, Exception): ...", "catches (OSError"),
        ("edgecell/train.py", "try: f()\nexcept: ...", "catches everything"),
        ("edgecell/data/utils.py", "", "says nothing"),
        ("edgecell/config.py", "import edgecell.config2", "not in the table"),
    ],
)
def test_each_rule_bites(plant, path, text, said):
    found = plant(path, text)
    assert any(said in line for line in found), found


def test_a_cycle_on_one_tier_is_found(plant, tmp_path):
    plant("edgecell/rundir.py", "def f():\n    from edgecell import data")
    (tmp_path / "edgecell/data.py").write_text("import edgecell.rundir")
    cycles = [line for line in violations(tmp_path) if line.startswith("import cycle")]
    assert cycles == ["import cycle: edgecell.data → edgecell.rundir → edgecell.data"]


def test_the_command_line_starts_without_tensorflow():
    code = (
        "import sys, edgecell.cli, edgecell.data, edgecell.rundir, edgecell.runtime\n"
        f"print(sorted(set(sys.modules) & {set(HEAVY)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
