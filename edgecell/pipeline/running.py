"""``edgecell run``: every stage of a configuration, skipping what is finished and unchanged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecell.config import Config
from edgecell.data import Dataset
from edgecell.errors import ParityError
from edgecell.pipeline import evaluation, train_settings, training
from edgecell.pipeline.benching import bench_in, unverified
from edgecell.pipeline.conversion import quantize_in
from edgecell.pipeline.lookup import verdict_on
from edgecell.pipeline.pairing import files_of
from edgecell.pipeline.quantize_settings import (
    check_settings,
    hashes_behind,
    hashes_of,
    needs_images,
    settings_of,
)
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import Target, data_hash
from edgecell.pipeline.verification import verify_in
from edgecell.progress import Progress
from edgecell.record import of_our_form
from edgecell.rundir import RunDir
from edgecell.runtime import load_predictor


@dataclass(frozen=True)
class Outcome:
    """All records of a run, by verb, and the verify failure, if there is one."""

    run: RunDir
    records: dict[str, dict[str, Any]]
    failure: ParityError | None


def run_all(config: Config, output: Path | None, progress: Progress) -> Outcome:
    """Train → evaluate on val → quantize → verify → bench on test → report.

    A file that fails verify is benched all the same, marked as failed in table and record: the
    comparison is what shows its owner what to do.

    Raises:
        EdgecellError: whatever a stage refuses.
    """
    check_settings(config)
    train_settings.only_alone(config, "a whole run")
    run = training.start_run(config, output)
    config = train_settings.settled(config, run)
    progress.say(f"run: {run.path}")
    with run.not_left_empty():
        dataset = training.load_noted(config, progress)
    records = {"train": training.train_run(config, run, progress, dataset)}
    target = Target(run.stage("train") / "model.keras", run, config)
    records["evaluate"] = evaluate_anew(run, target, dataset, "val", progress)
    records["quantize"] = quantize_anew(run, target, config, dataset, progress)
    files = files_of(run)
    records["verify"], failure = _verify(run, target, config, files, dataset, progress)
    records["bench"] = _bench(run, target, config, files, dataset, progress)
    write_report(run)
    return Outcome(run, records, failure)


def evaluate_anew(
    run: RunDir, target: Target, dataset: Dataset, split: str, progress: Progress
) -> dict[str, Any]:
    """The record of the model's evaluation on a split; one that is there and current is kept."""
    verb = evaluation.verb_of(target, split)
    if run.is_current(
        verb,
        inputs=[target.model],
        config=evaluation.settings_of(target, split),
        input_hashes=data_hash(dataset, split),
    ):
        progress.say("evaluate: unchanged, skipped")
        return run.read_record(verb)
    read = ReadFiles([target.model])
    predictor = load_predictor(target.model, threads=0)
    return evaluation.evaluate_in(run, read, predictor, target, dataset, split, progress)


def quantize_anew(
    run: RunDir, target: Target, config: Config, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """The record of the converted files; files that are there and current are kept."""
    hashes = hashes_of(config, dataset) if needs_images(config) else None
    # Files of earlier calls stay, and the record holds what they were made of too.
    behind = _hashes_behind_files(run) | (hashes or {})
    if run.is_current(
        "quantize", inputs=[target.model], config=settings_of(config), input_hashes=behind
    ):
        progress.say("quantize: unchanged, skipped")
        return run.read_record("quantize")
    return quantize_in(run, target, config, dataset if hashes else None, progress)


def _hashes_behind_files(run: RunDir) -> dict[str, str]:
    if not run.has("quantize"):
        return {}
    record = run.read_record("quantize")
    with of_our_form(f"{run.path}: the record of quantize"):
        return hashes_behind(record["results"]["models"], record)


def is_verified(
    run: RunDir, target: Target, config: Config, files: list[dict[str, Any]], dataset: Dataset
) -> bool:
    """Whether the verdicts in the run are about just these files, images and budgets."""
    return run.is_current(
        "verify",
        inputs=[target.model, *(entry["path"] for entry in files)],
        config=asdict(config.verify),
        input_hashes=data_hash(dataset, config.verify.split),
    )


def _verify(
    run: RunDir,
    target: Target,
    config: Config,
    files: list[dict[str, Any]],
    dataset: Dataset,
    progress: Progress,
) -> tuple[dict[str, Any], ParityError | None]:
    if is_verified(run, target, config, files, dataset):
        record = run.read_record("verify")
        failed = [entry for entry in record["results"]["models"] if not entry["passed"]]
        if not failed:
            progress.say("verify: unchanged, skipped")
            return record, None
    return verify_in(run, target, config, files, dataset, progress)


def _bench(
    run: RunDir,
    target: Target,
    config: Config,
    files: list[dict[str, Any]],
    dataset: Dataset,
    progress: Progress,
) -> dict[str, Any]:
    paths = [entry["path"] for entry in files]
    read = ReadFiles(paths)
    verdicts = {str(path): verdict_on(run, digest) for path, digest in read.digests.items()}
    if run.is_current(
        "bench",
        inputs=paths,
        config=asdict(config.bench) | {"unverified": unverified(verdicts)},
        input_hashes=data_hash(dataset, "test"),
    ):
        progress.say("bench: unchanged, skipped")
        return run.read_record("bench")
    return bench_in(run, target, config, read, verdicts, dataset, progress)
