"""``edgecell bundle``: a verified model as a folder and a zip that an app team can ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecell.bundle import golden, manifest, signing, writer
from edgecell.bundle.metadata import metadata
from edgecell.bundle.readme import readme
from edgecell.bundle.targets import Samples, chosen
from edgecell.config import DataConfig
from edgecell.data import Dataset
from edgecell.disk import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    sha256_bytes,
    sha256_file,
)
from edgecell.errors import ArtifactError, ConfigError, ConvertError, ParityError
from edgecell.lock import claimed
from edgecell.machine import environment
from edgecell.pipeline.bundle_subject import subject_of
from edgecell.pipeline.lookup import verdict_on
from edgecell.pipeline.targets import Target, data_hash, load_data, resolve
from edgecell.preprocess import resize
from edgecell.progress import Progress
from edgecell.record import envelope, seal
from edgecell.report import card_text
from edgecell.report.card import card
from edgecell.rundir import RunDir, utc_now, write_bill, write_record
from edgecell.runtime import TFLitePredictor
from edgecell.tflite_file import read_bytes
from edgecell.tflite_metadata import attach


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for.

    ``images`` is "val" for golden images of the data set's val split, "synthetic" for drawn ones;
    ``sign`` is the file of a private key.
    """

    target: str = "all"
    images: str = "val"
    unverified: bool = False
    licence: str | None = None
    intended_use: str | None = None
    sign: Path | None = None


@dataclass(frozen=True)
class Bundled:
    """The folder, the zip and the record of a bundle."""

    folder: Path
    archive: Path
    record: dict[str, Any]


def bundle_model(
    path: Path, wishes: Wishes, data: DataConfig | None, output: Path | None, progress: Progress
) -> Bundled:
    """Write the bundle of one .tflite file, its zip and the record, in this order.

    Raises:
        ConfigError: no .tflite, no labels known, or a folder in the way. DataError: the images cannot be
        used. ParityError: the file failed verify. ArtifactError: it was never verified, or is damaged.
        ConvertError: an input that cannot be stated, or that the target's runtime does not take.
    """
    target = resolve(path)
    if target.model.suffix != ".tflite":
        raise ConfigError(
            f"{target.model} is no .tflite file; bundle takes one converted model,"
            " such as RUN/quantize/X-int8.tflite"
        )
    key = None if wishes.sign is None else signing.private_key(wishes.sign)
    source = read_bytes(target.model)
    digest = sha256_bytes(source)
    verdict = verdict_on(target.judged, digest)
    _refuse(target, digest, verdict, wishes.unverified)
    dataset = None
    if wishes.images == "val":
        dataset = _images(target, data, progress)
    subject = subject_of(
        target, source, verdict, dataset, licence=wishes.licence, intended_use=wishes.intended_use
    )
    model = manifest.model_json(subject, golden.COUNT)
    samples = chosen(wishes.target, model)
    for name, why in samples.left_out.items():
        progress.say(f"note: no sample for {name}: {why}")
    root = _where(target, output)
    name = f"{subject.name}-{wishes.target}"
    folder, archive = root / name, root / f"{name}.zip"
    progress.begin("bundling", 3)
    with claimed(root, "bundle"):
        with writer.fresh_folder(folder) as scratch:
            _write(scratch, subject, model, dataset, samples, progress)
            if key is not None:
                signing.sign_folder(scratch, key)
        progress.advance(2)
        writer.write_zip(folder, archive)
        progress.advance(3)
        signer = None if key is None else signing.fingerprint(key.public_key())
        record = _record(
            root, target, dataset, wishes, subject, samples, (folder, archive), model, signer
        )
    return Bundled(folder, archive, record)


def _where(target: Target, output: Path | None) -> Path:
    if output is not None:
        return output
    if target.run is None:
        raise ConfigError(f"{target.model} belongs to no run; say where to write with --output DIR")
    return target.run.stage("bundle")


def _refuse(target: Target, digest: str, verdict: manifest.Verdict, allowed: bool) -> None:
    if verdict == "passed" or allowed:
        return
    rest = "or add --unverified, which the bundle will say in model.json, README and card"
    if verdict == "failed":
        raise ParityError(
            f"{target.model.name} failed verify against its reference; convert it again, {rest}"
        )
    raise ArtifactError(
        f"{target.model.name} (sha256 {digest[:12]}…) is in no passing verify record;"
        f" run 'edgecell verify' first, {rest}"
    )


def _images(target: Target, data: DataConfig | None, progress: Progress) -> Dataset | None:
    """The data set to take golden images from; None for a file without one."""
    if target.run is None and data is None:
        progress.say("note: no images are known (--data), so the golden images are drawn")
        return None
    return load_data(target, data, progress=True)


def _write(
    scratch: Path,
    subject: manifest.Subject,
    model: dict[str, Any],
    dataset: Dataset | None,
    samples: Samples,
    progress: Progress,
) -> None:
    """All files of the bundle; ``model`` is completed and written last, as model.json."""
    data = attach(subject.source, metadata(subject, model))
    manifest.shipped(model, data)
    atomic_write_bytes(scratch / manifest.MODEL_FILE, data)
    atomic_write_text(scratch / manifest.LABELS_FILE, "\n".join(subject.labels) + "\n")
    predictor = TFLitePredictor(data, name=manifest.MODEL_FILE)
    images = golden.gather(
        predictor,
        subject.spec,
        dataset.val if dataset else None,
        model["decision"]["abstention"]["threshold"],
    )
    _same_answers(subject, predictor, images)
    source = f"{dataset.name}, val" if dataset else "drawn"
    golden.write(
        (scratch / manifest.GOLDEN_FILE).parent,
        images,
        predictor,
        subject.spec,
        subject.labels,
        {
            "model_sha256": model["model"]["sha256"],
            "images": source,
            "made_with": _made_with(predictor),
        },
    )
    progress.advance(1)
    atomic_write_text(scratch / "README.md", readme(model, samples, source))
    known = card(model, subject.records)
    atomic_write_text(scratch / "MODEL_CARD.md", card_text.markdown(known))
    atomic_write_text(scratch / "MODEL_CARD.html", card_text.html(known))
    writer.add_samples(scratch, samples.targets, model)
    model["files"] = writer.file_hashes(scratch)
    model["seal"] = seal(model)
    atomic_write_json(scratch / "model.json", model)


def _same_answers(
    subject: manifest.Subject, predictor: TFLitePredictor, images: list[golden.Golden]
) -> None:
    """ConvertError unless the file with metadata gives the verified file's outputs, bit for bit."""
    pixels = np.stack([resize(image.pixels, subject.spec) for image in images])
    expected, found = subject.predictor.raw(pixels), predictor.raw(pixels)
    if not np.array_equal(expected, found):
        raise ConvertError(
            f"{subject.name} answers otherwise with metadata than without on"
            f" {np.any(expected != found, axis=1).sum()} of {len(images)} images; nothing was written"
        )


def _made_with(predictor: TFLitePredictor) -> dict[str, Any]:
    facts = environment()
    return {
        "ai-edge-litert": facts["packages"]["ai-edge-litert"],
        "machine": facts["machine"],
        "delegate": predictor.delegation().label,
        "threads": predictor.threads,
    }


def _record(
    root: Path,
    target: Target,
    dataset: Dataset | None,
    wishes: Wishes,
    subject: manifest.Subject,
    samples: Samples,
    written: tuple[Path, Path],
    model: dict[str, Any],
    signer: str | None,
) -> dict[str, Any]:
    home = RunDir(target.run.path if target.run and root == target.run.stage("bundle") else root)
    folder, archive = written
    inputs = {home.relative(target.model): sha256_bytes(subject.source)}
    record = envelope(
        "bundle",
        created=utc_now(),
        inputs=inputs | (data_hash(dataset, "val") if dataset else {}),
        outputs={home.relative(p): sha256_file(p) for p in (*written, *write_bill(root))},
        environment=environment(),
        config={
            "target": wishes.target,
            "golden": wishes.images,
            "unverified": wishes.unverified,
            "licence": wishes.licence,
            "intended_use": wishes.intended_use,
        },
        results={
            "name": folder.name,
            "archive": archive.name,
            "targets": list(samples.targets),
            "left_out": samples.left_out,
            "verified": model["verified"]["status"],
            "model_sha256": model["model"]["sha256"],
            "verified_sha256": model["model"]["verified_sha256"],
            "archive_bytes": archive.stat().st_size,
            "files": sum(each.is_file() for each in folder.rglob("*")),
            "signer": signer,
        },
    )
    write_record(root, record)
    return record
