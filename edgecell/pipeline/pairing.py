"""What is compared with what: converted files, and the Keras model that they must answer as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.lowering import strip_scaling
from converters.scaling import EDGECELL, InputScaling
from edgecell.config import Config
from edgecell.disk import sha256_file
from edgecell.errors import ArtifactError, ConfigError
from edgecell.graph import enlarging_operators
from edgecell.pipeline.lookup import conversion_at, trained_hash
from edgecell.pipeline.targets import Target, resolve, where_to_write
from edgecell.pipeline.vouching import admit, find_run
from edgecell.record import of_our_form
from edgecell.rundir import TRAINED, RunDir
from edgecell.runtime import KerasPredictor, TFLitePredictor

# "mixed" before "int8": it is the rarer word in the name of a file that has both.
_NAMED = ("float32", "float16", "dynamic", "int16x8", "mixed", "int8")


@dataclass(frozen=True)
class Pair:
    """A reference (``subject.model``), the files made from it, and the run to write to.

    ``files`` are the quantize record's entries, each with its ``path``.
    """

    subject: Target
    files: list[dict[str, Any]]
    run: RunDir


def find_pair(path: Path, reference: Path | None, output: Path | None) -> Pair:
    """What to compare: a run's files with its model; one .tflite file, or all that a foreign model was
    converted to, with their reference.

    Raises:
        ConfigError: files without a reference, one that is not the run's model, or nowhere to write.
        ArtifactError: nothing there, nothing quantized yet, or a file that was altered since.
    """
    converted = conversion_at(path)
    if converted is None:
        target = resolve(path)
    else:
        target = Target(converted.path, None, Config(name=path.resolve().name))
        output = output or path
    if target.run is None and converted is None and target.model.suffix != ".tflite":
        raise ConfigError(f"{path} is a Keras model; give a run, or a .tflite with --reference")
    model = _reference(path, target, reference, output)
    if model != target.model and model.exists():
        admit(model, find_run(model))
    # A run's record knows its own scaling; a model from elsewhere says how it scales.
    scaling = strip_scaling(KerasPredictor(model).model)[1] if target.run is None else None
    whole = converted or (target.run if target.model.suffix != ".tflite" else None)
    files = files_of(whole, scaling) if whole else [entry_of_file(target, scaling)]
    return Pair(Target(model, target.run, target.config), files, where_to_write(target, output))


def _reference(path: Path, target: Target, named: Path | None, output: Path | None) -> Path:
    """The model to compare with: the run's own, or ``named``.

    A verdict in a run speaks of the model that the run trained, and a bundle repeats it; so another
    model can judge a single file only, and what comes of it is written elsewhere.

    Raises:
        ConfigError: no model is known, or another than that of the run.
    """
    own = None if target.run is None else target.run.path / TRAINED
    if named is None:
        if own is None:
            raise ConfigError(f"{path} belongs to no run; name the Keras model with --reference")
        if output is None:
            return own
        named = own
    digest = sha256_file(named)
    judged = [RunDir(output)] if output is not None else []
    if target.run is not None and (output is None or target.model.suffix != ".tflite"):
        judged.append(target.run)
    for run in judged:
        trained = trained_hash(run)
        if trained != digest and (trained is not None or run is target.run):
            known = "none" if trained is None else f"sha256 {trained[:12]}…"
            raise ConfigError(
                f"{named} (sha256 {digest[:12]}…) is not the model that {run.path} trained ({known}), and"
                " what is found in a run is about its own; leave --reference out, or compare a single"
                " .tflite with that model and write to a new folder with --output DIR"
            )
    if own is not None and own.is_file() and sha256_file(own) == digest:
        return own
    return named


def files_of(run: RunDir, scaling: InputScaling | None = None) -> list[dict[str, Any]]:
    """The quantize record's entries, each with its ``path``; with ``scaling`` in place of what they say.

    Raises:
        ArtifactError: nothing quantized yet, or a file that was altered since.
    """
    record = run.check_outputs("quantize")
    known = {} if scaling is None else {"scaling": scaling.to_json()}
    with of_our_form(f"{run.path}: the record of quantize"):
        found = [
            entry | {"path": run.stage("quantize") / entry["file"]} | known
            for entry in record["results"]["models"]
        ]
        unknown = [e["file"] for e in found if f"quantize/{e['file']}" not in record["outputs"]]
        if unknown:
            raise ValueError(f"no hash of {unknown[0]}")
        return found


def entry_of_file(target: Target, scaling: InputScaling | None = None) -> dict[str, Any]:
    """The quantize entry of one file: from the record beside it, else from what its name says.

    ``scaling`` is that of its reference, where that is not the model of a run.

    Raises:
        ArtifactError: a name without a precision, or a file that was altered since it was written.
    """
    path = target.model
    home, folder = target.run, path.resolve().parent
    if home is None and folder.name == "quantize":
        home = RunDir(folder.parent)
    if home is not None and home.has("quantize"):
        for entry in files_of(home, scaling):
            if entry["path"].resolve() == path.resolve():
                return entry
    predictor = TFLitePredictor(path)
    entry = {
        "file": path.name,
        "path": path,
        "precision": _precision(path),
        "input_type": predictor.input_dtype.name,
        "scaling": (scaling or EDGECELL).to_json(),
    }
    if enlarging_operators(predictor.file):
        entry["source_size"] = list(predictor.image_size)
    return entry


def _precision(path: Path) -> str:
    """What the name says: the last word of "name-int8-search" that is a precision, else any in it."""
    words = [word for word in path.stem.split("-") if word in _NAMED]
    named = words[-1:] or [p for p in _NAMED if p in path.stem]
    if not named:
        raise ArtifactError(
            f"{path.name} is in no quantize record and its name holds no precision; name it like"
            " 'x-int8.tflite'"
        )
    return named[0]


def source_size_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of the images that a file enlarges by itself; None of one that does not."""
    found = entry.get("source_size")
    return None if found is None else (int(found[0]), int(found[1]))


def chosen_on_val(entry: dict[str, Any]) -> bool:
    """Whether val took part in making the file: a search, a training, or what was left in float.

    Each of them is named by a method; of a file without a record nothing is known.
    """
    return entry.get("method") is not None
