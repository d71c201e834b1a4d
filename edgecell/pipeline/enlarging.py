"""``edgecell quantize --resize-in-graph``: files that take images in their own size and enlarge them inside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters import audit
from converters.resizing import Size, check_enlarges, enlarged
from converters.scaling import InputScaling
from edgecell import disk, packing
from edgecell.config import Config, DataConfig
from edgecell.data import Dataset
from edgecell.data.types import SPLITS
from edgecell.errors import ConvertError, DataError
from edgecell.lock import claimed
from edgecell.pipeline import manifests, quantize_record
from edgecell.pipeline.pairing import entry_of_file, source_size_of
from edgecell.pipeline.quantize_settings import CALIBRATED
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import Target, load_data, where_to_write
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.runtime import TFLitePredictor

_SOME = 128
"""Images whose sizes are looked at before all are."""

# What is true of a file and of the same file with a resize in front.
_SHARED = (
    *("precision", "input_type", "scaling", "calibrated", "calibration"),
    *("method", "slim", "float_layers"),
)


def source_size(dataset: Dataset, config: Config, full: Sequence[int], progress: Progress) -> Size:
    """The one (height, width) of all images of the data set, which grow to ``full``.

    Raises:
        DataError: images of several sizes. ConvertError: images that do not only grow, or of which the
            model sees a part.
    """
    height, width = full
    places = [(name, index) for name in SPLITS for index in range(len(dataset.split(name)))]
    if not places:
        raise DataError(f"'{dataset.name}' has no images whose size a file could take")
    progress.begin("sizes of the images", len(places))
    # Some of everywhere first: images that cannot be used need not all be read to know it, and of
    # several sizes it is the mixture that is said, not what is wrong with the first one's.
    rows, columns = _one_size(dataset, places[:: -(-len(places) // _SOME)])
    check_enlarges((rows, columns), (height, width))
    _one_size(dataset, places, progress)
    seen = PreprocessSpec.of(config.model, height, width).seen(rows, columns)
    if seen != (0, 0, rows, columns):
        raise ConvertError(
            f"the model sees {seen[2]}×{seen[3]} pixels in the middle of images of {rows}×{columns} (--fit,"
            " --central-fraction), which a resize inside cannot cut; train with --fit stretch"
            " --central-fraction 1 for such files"
        )
    return rows, columns


def _one_size(
    dataset: Dataset, places: Sequence[tuple[str, int]], progress: Progress | None = None
) -> Size:
    """The one size of the images at ``places``, (split, index) of each; DataError of several sizes."""
    known: tuple[Size, str] | None = None
    for done, (name, index) in enumerate(places, 1):
        source = dataset.split(name).source
        shape = source.read(index).shape
        size = (shape[0], shape[1])
        if known is None:
            known = size, source.name(index)
        elif size != known[0]:
            (first, other), there = known, source.name(index)
            raise DataError(
                f"the images have several sizes: {other} {first[0]}×{first[1]}, {there}"
                f" {size[0]}×{size[1]}; a file with the resize inside takes one"
            )
        if progress is not None and (done % 100 == 0 or done == len(places)):
            progress.advance(done)
    assert known is not None
    return known[0]


def with_resize(
    file: bytes, source: dict[str, Any], size: Size, progress: Progress
) -> tuple[dict[str, Any], bytes]:
    """``file`` with a resize from ``size`` in front: its entry of the record, and its bytes.

    ``source`` is the entry of the file.

    Raises:
        ConvertError: a file that takes no resize, or that is not what it claims with it.
    """
    started = time.monotonic()
    progress.begin("adding the resize", 1)
    data = enlarged(file, size)
    side = f"{size[0]}" if size[0] == size[1] else f"{size[0]}x{size[1]}"
    name = f"{Path(source['file']).stem}-{side}px.tflite"
    report = audit.audit(
        data,
        source["precision"],
        source["input_type"],
        scaling=InputScaling(**source["scaling"]),
        source_size=size,
        name=name,
    )
    audit.require(report, name)
    TFLitePredictor(data, name=name)  # it can be allocated
    progress.advance(1, f"{name} {len(data):,} bytes")
    entry = {
        "file": name,
        "size_bytes": len(data),
        "packed_bytes": packing.deflated_bytes(data),
        "seconds": round(time.monotonic() - started, 1),
        **{key: source[key] for key in _SHARED if key in source},
        "source_size": list(size),
        "made_from": {"file": source["file"], "sha256": disk.sha256_bytes(file)},
        "audit": report.to_json(),
    }
    return entry, data


def resize_target(
    target: Target,
    config: Config,
    data: DataConfig | None,
    output: Path | None,
    progress: Progress,
) -> tuple[dict[str, Any], Path]:
    """The .tflite file ``target`` with the resize inside, beside it; the record and its folder.

    Raises:
        ConfigError: a file without a run, and no ``data`` or ``output``. DataError, ConvertError: as in
            :func:`source_size` and :func:`with_resize`.
    """
    run = where_to_write(target, output)
    entry = entry_of_file(target)
    if source_size_of(entry) is not None:
        raise ConvertError(
            f"{target.model.name} resizes its input already; give the file it was made from"
        )
    entry.setdefault("calibrated", entry["precision"] in CALIBRATED)
    if target.run is not None and target.run.has("quantize"):
        entry = manifests.named(entry, target.run.read_record("quantize"))
    dataset = load_data(target, data, progress=True)
    full = TFLitePredictor(target.model).image_size
    size = source_size(dataset, config, full, progress)
    folder = run.stage("quantize")
    reference = target
    if target.run is not None and output is None:
        reference = replace(target, model=target.run.stage("train") / "model.keras")
    with claimed(run.path, "quantize"):
        run.remove_leftovers("quantize")
        made, resized = with_resize(target.model.read_bytes(), entry, size, progress)
        disk.atomic_write_bytes(folder / made["file"], resized)
        record = quantize_record.write(run, reference, config, [made], None, dataset)
    if target.run is not None and output is None:
        write_report(target.run)
    return record, folder
