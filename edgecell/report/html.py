"""The page: headline, one section per finished stage, where everything came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_text
from edgecell.documents import DocumentError
from edgecell.errors import ArtifactError
from edgecell.report import bench, peers, quantization, seeing, stages, sweep, trust, tuning
from edgecell.report.elements import Html, Pictures, card, details, element, facts, join, section
from edgecell.report.page import page
from edgecell.report.records import Records, read_records
from edgecell.rundir import RunDir
from edgecell.toml_document import toml_of, toml_text

Section = Callable[[dict[str, Any], Path, Pictures, dict[str, bool]], Html]

# in the order a reader needs them: what came out, whether to trust it, how it was made
_SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("bench", "Benchmark", bench.bench_section),
    ("peers", "Peers", peers.peers_section),
    ("verify", "Verification", stages.verify_section),
    ("calibrate", "Confidence", trust.calibrate_section),
    ("robustness", "Robustness", trust.robustness_section),
    ("evaluate", "Evaluation", stages.evaluate_section),
    ("explain", "Explanation", seeing.explain_section),
    ("embed", "Embedding", seeing.embed_section),
    ("train", "Training", stages.train_section),
    ("quantize", "Conversion", stages.quantize_section),
    ("search", "Search", quantization.search_section),
    ("analyze", "Sensitivity", quantization.analyze_section),
    ("tune", "Search for settings", tuning.tune_section),
    ("sweep", "Sweep", sweep.sweep_section),
)


def write(run: RunDir) -> Path:
    """Render `run` into its report.html and return the path.

    Raises:
        ArtifactError: a record or picture is damaged, or the file cannot be written.
    """
    path = run.path / "report.html"
    atomic_write_text(path, render(run))
    return path


def render(run: RunDir) -> str:
    """The report of `run` as one HTML document under 5 MB, without scripts or outside links.

    Stages that did not finish are left out; a record that is there must be whole.

    Raises:
        ArtifactError: a record or picture is damaged.
    """
    pictures = Pictures()
    records = read_records(run, [verb for verb, _, _ in _SECTIONS])
    verdicts = _verdicts(records)
    bodies, links = [], []
    for verb, title, build in _SECTIONS:
        for position, (name, record) in enumerate(records.get(verb, [])):
            folder = run.stage(name)
            try:
                bodies.append(build(record, folder, pictures, verdicts))
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                raise ArtifactError(
                    f"{folder / 'record.json'} cannot be shown ({type(error).__name__}: {error}); "
                    f"run 'edgecell {verb}' again"
                ) from error
            if position == 0:
                links.append((name.replace("/", "-"), title))
    bodies += [_config_section(run), _provenance_section(records)]
    links += [("config", "Settings"), ("provenance", "Provenance")]
    return page(run.name, "edgecell run report", _headline(records, verdicts), links, bodies)


def _verdicts(records: Records) -> dict[str, bool]:
    """sha256 of each verified file → whether it passed; a hash in no record stays unverified."""
    found = {}
    for _, record in records.get("verify", []):
        hashes = {Path(name).name: digest for name, digest in record["inputs"].items()}
        for model in record["results"].get("models", []):
            if model.get("file") in hashes:
                found[hashes[model["file"]]] = bool(model.get("passed"))
    return found


def _headline(records: Records, verdicts: dict[str, bool]) -> Html:
    cards: list[Html] = []
    benches = [record["results"] for _, record in records.get("bench", [])]
    here = [results for results in benches if bench.on_host(results)]
    if here:
        cards += bench.headline(here[0], verdicts)
    if "verify" in records:
        cards.append(stages.verify_headline(records["verify"][0][1]["results"]))
    if not here and "train" in records:
        cards.append(stages.train_headline(records["train"][0][1]["results"]))
    if "tune" in records:
        cards += tuning.tune_headline(records["tune"][0][1]["results"])
    if "sweep" in records:
        cards += sweep.sweep_headline(records["sweep"][0][1]["results"])
    if not cards:
        cards.append(card("Stages", "none finished", "run 'edgecell train' first"))
    return element("div", *cards, cls="cards")


def _config_section(run: RunDir) -> Html:
    path = run.path / "config.toml"
    if not path.is_file():
        return section("Settings", "config", element("p", "This run has no config.toml."))
    try:
        config = toml_of(toml_text(path))
    except (OSError, DocumentError) as error:
        raise ArtifactError(f"{path} is not valid TOML: {error}") from error
    plain = {key: entry for key, entry in config.items() if not isinstance(entry, dict)}
    groups = {key: entry for key, entry in config.items() if isinstance(entry, dict)}
    folded = [details(key, facts(entry)) for key, entry in groups.items()]
    return section(
        "Settings",
        "config",
        facts(plain),
        *folded,
        lead="What config.toml holds; it can be run again.",
    )


def _provenance_section(records: Records) -> Html:
    parts = []
    for name, record in sorted(
        (entry for entries in records.values() for entry in entries),
        key=lambda entry: entry[1]["created"],
    ):
        files = {
            kind: element(
                "dl",
                *(
                    join(element("dt", path), element("dd", element("code", digest)))
                    for path, digest in record[kind].items()
                ),
            )
            for kind in ("inputs", "outputs")
        }
        parts.append(
            details(
                f"{name}, {record['created']}",
                element("h3", "Read"),
                files["inputs"],
                element("h3", "Wrote"),
                files["outputs"],
                element("h3", "Environment"),
                facts(record["environment"]),
            )
        )
    return section(
        "Provenance",
        "provenance",
        *parts,
        lead="SHA-256 of everything each stage read and wrote, in the order they ran: what one stage "
        "wrote and the next one read has the same hash.",
    )
