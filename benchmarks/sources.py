"""What a comparison is made of: benches and evaluations, read from the files they left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.host import BUSY_LIMIT
from edgecell.disk import read_json
from edgecell.errors import ArtifactError, ConfigError
from edgecell.record import MISSHAPEN
from edgecell.rundir import RunDir

TAKES = "a run, a folder of 'edgecell bench', its bench.json, or a record.json of bench or evaluate"
_BENCH = "edgecell/bench-result"
_EVALUATION = "edgecell/evaluation"
_PLAIN = ("bench", "bench.json", "record.json")


@dataclass(frozen=True)
class Source:
    """One bench, or the evaluations of one run.

    ``models`` are as in bench.json; those of an evaluation have no footprint, operators or latency.
    ``host`` are the facts of the machine that was timed, None where nothing was; ``quiet`` says that other
    programs are known to have done little meanwhile.
    """

    label: str
    kind: Literal["bench", "evaluation"]
    models: list[dict[str, Any]]
    host: dict[str, Any] | None = None
    quiet: bool = False


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """What lies at each of ``paths``, in their order; a run's bench, or its evaluations without one.

    Raises:
        ConfigError: no path, or one given twice. ArtifactError: nothing there, or nothing of this kind.
    """
    if not paths:
        raise ConfigError(f"nothing to compare; give {TAKES}")
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        twice = next(
            path for path, whole in zip(paths, resolved, strict=True) if resolved.count(whole) > 1
        )
        raise ConfigError(f"{twice} is given twice; name each once")
    found = []
    for path, label in zip(paths, _labels(resolved), strict=True):
        found += list(_read(path, label))
    return found


def read_bench(path: Path) -> Source:
    """The one bench at ``path``: what a regression is measured against.

    Raises:
        ArtifactError: nothing there, or no bench.
    """
    benches = [source for source in _read(path, path.resolve().stem) if source.kind == "bench"]
    if len(benches) != 1:
        raise ArtifactError(
            f"{path} holds {len(benches)} benches and --against takes one; give a bench.json"
        )
    return benches[0]


def _read(path: Path, label: str) -> Iterator[Source]:
    if not path.exists():
        raise ArtifactError(f"nothing at {path}; compare takes {TAKES}")
    if path.is_file():
        yield _source([read_json(path)], path, label)
    elif (path / "config.toml").is_file() or _is_output(RunDir(path)):
        yield from _of_run(RunDir(path), label)
    else:
        files = [path / name for name in ("record.json", "bench.json") if (path / name).is_file()]
        if not files:
            raise ArtifactError(
                f"{path} is no run and has neither record.json nor bench.json; compare takes {TAKES}"
            )
        yield _source([read_json(files[0])], files[0], label)


def _is_output(folder: RunDir) -> bool:
    """Whether this is what --output of bench or evaluate named: their stages lie in it, as in a run."""
    return folder.has("bench") or bool(_below(folder, "bench") or _below(folder, "evaluate"))


def _of_run(run: RunDir, label: str) -> Iterator[Source]:
    benches = [verb for verb in ("bench", *_below(run, "bench")) if run.has(verb)]
    for verb in benches:
        named = label if verb == "bench" else f"{label} {verb.removeprefix('bench/')}"
        yield _source([run.read_record(verb)], run.stage(verb) / "record.json", named)
    if not benches:
        records = [run.read_record(verb) for verb in _below(run, "evaluate")]
        on_test = [record for record in records if record["results"].get("split") == "test"]
        if not records:
            raise ArtifactError(
                f"{run.path} has neither a bench nor an evaluation; run 'edgecell bench' or"
                f" 'edgecell evaluate {run.path} --split test' first"
            )
        yield _source(on_test or records, run.path, label)


def _below(run: RunDir, verb: str) -> list[str]:
    folder = run.stage(verb)
    names = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    return [f"{verb}/{name}" for name in names if run.has(f"{verb}/{name}")]


def _source(found: list[Any], path: Path, label: str) -> Source:
    """A source of one bench, or of evaluations; of records or of the results alone."""
    results = [
        data["results"] if isinstance(data, dict) and "results" in data else data for data in found
    ]
    try:
        if all(each["schema"] == _EVALUATION for each in results):
            return Source(label, "evaluation", [_evaluated(each) for each in results])
        (bench,) = results
        if bench["schema"] == _BENCH:
            return of_results(label, bench)
    except MISSHAPEN as error:
        raise ArtifactError(
            f"{path} is no bench that can be compared ({type(error).__name__}: {error});"
            " run 'edgecell bench' again"
        ) from error
    raise ArtifactError(f"{path} is of schema {bench['schema']!r}; compare takes {TAKES}")


def of_results(label: str, bench: dict[str, Any]) -> Source:
    """A bench as in bench.json; KeyError where it lacks a part that is compared."""
    _check(bench)
    others = [entry["others"] for entry in bench["background"]]
    quiet = bool(others) and all(other.get("value", 1.0) <= BUSY_LIMIT for other in others)
    device = bench.get("device", {"kind": "host"})["kind"]  # schema 2 of 0.1 knew the host only
    host = bench["host"] | {"device": device}
    return Source(label, "bench", bench["models"], host, quiet)


def _check(bench: dict[str, Any]) -> None:
    """KeyError unless every model has the parts that are compared."""
    for model in bench["models"]:
        for key in ("name", "precision", "sha256", "quality", "footprint", "latency", "operators"):
            model[key]
        model["quality"]["accuracy"], model["footprint"]["size"]


def _evaluated(results: dict[str, Any]) -> dict[str, Any]:
    """An evaluation in the place of a benched model."""
    path = Path(results["model"])
    results["accuracy"], results["classes"]
    return {
        "name": f"{path.stem} on {results['split']}",
        "precision": "evaluated file" if path.suffix == ".tflite" else "trained model",
        "images": results.get("images"),
        "quality": results,
        **{key: results[key] for key in ("groups",) if key in results},
    }


def _labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each path, with as many folders as tell them apart."""
    parts = [_telling(path) for path in paths]
    for depth in range(1, max(len(each) for each in parts) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(path.parts[-3:]) for path in paths]


def _telling(path: Path) -> tuple[str, ...]:
    """The parts of a path without the names that all benches have."""
    parts = [part for part in path.parts if part != path.anchor]
    while len(parts) > 1 and parts[-1] in _PLAIN:
        parts.pop()
    return (*parts[:-1], Path(parts[-1]).stem if parts[-1].endswith(".json") else parts[-1])
