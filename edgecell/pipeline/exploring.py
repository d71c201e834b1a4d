"""``edgecell data eda``: what a data set holds, in numbers, pictures and one page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from edgecell import plots
from edgecell.config import DataConfig
from edgecell.csv_cells import path_cell, text_cell
from edgecell.data import Dataset, load_dataset
from edgecell.data.eda import Near, explore, find_near
from edgecell.data.explore import Looks, look_at, mean_image
from edgecell.data.types import SPLITS
from edgecell.disk import atomic_write_json, atomic_write_text
from edgecell.pipeline.looking import FOLDER
from edgecell.progress import Progress
from edgecell.report.eda import write_page
from edgecell.tasks import task_named

SAMPLES = 4
"""Images of each class and split on the sheet of samples."""
PAIRS = 24
"""Near-duplicate pairs on their sheet."""
MOST_CLASSES = 40
"""Classes on the sheets of samples and of means; the tables have them all."""
MOST_BARS = 100
"""Classes that are drawn one below the other."""
_LARGEST = 160  # side of an image that is kept for a sheet, pixels


@dataclass(frozen=True)
class Explored:
    """The numbers, and the page that shows them."""

    report: dict[str, Any]
    page: Path


def explore_data(
    config: DataConfig, output: Path | None, near_bits: int, progress: Progress, seed: int = 0
) -> Explored:
    """Explore a data set into ``output`` [default: artifacts/data/<name>-eda].

    Writes ``eda.json``, ``near_duplicates.csv``, the pictures, and last ``index.html``.

    Raises:
        DataError: images that cannot be used. ArtifactError: the folder cannot be written.
    """
    dataset = load_dataset(config, progress=True)
    total = sum(len(dataset.split(name)) for name in SPLITS)
    progress.begin("reading images", total)
    looks = look_at(dataset, progress.advance)
    progress.begin("looking for near-duplicates", total)
    near = find_near(dataset, looks, near_bits)
    progress.advance(total)
    report = explore(dataset, looks, near)
    folder = output or FOLDER / f"{dataset.name}-eda"
    progress.begin("drawing", 1)
    drawn = _draw(folder, dataset, looks, near, report, seed)
    progress.advance(1)
    atomic_write_text(folder / "near_duplicates.csv", _pairs_csv(near.rows(dataset)))
    atomic_write_json(folder / "eda.json", report)
    return Explored(report, write_page(folder, report, drawn))


def _draw(
    folder: Path,
    dataset: Dataset,
    looks: Mapping[str, Looks],
    near: Near,
    report: Mapping[str, Any],
    seed: int,
) -> list[Path]:
    names = dataset.class_names
    extremes = _extremes(report["counts"])
    drawn = [
        plots.save(_distribution(report, extremes), folder / "classes.png"),
        plots.save(_samples(dataset, report, seed), folder / "samples.png"),
        plots.save(plots.channel_histograms(report["histograms"]), folder / "histograms.png"),
    ]
    train = looks["train"].classes
    shown = [label for label in extremes if label in train]
    if shown:
        named = [names[label] for label in shown]
        rows = [report["channels_by_class"]["train"][label] for label in shown]
        strips = plots.channels_by_class(
            named,
            np.stack([train[label].histogram for label in shown]),
            [row["mean"] for row in rows],
            [row["sd"] for row in rows],
        )
        means = [mean_image(train[label]) for label in shown[:MOST_CLASSES]]
        sheet = plots.mean_images(
            named[:MOST_CLASSES], [mean for mean, _ in means], [spread for _, spread in means]
        )
        drawn += [
            plots.save(strips, folder / "channels.png"),
            plots.save(sheet, folder / "means.png"),
        ]
    light = {
        key: {name: getattr(looks[name], key) for name in SPLITS}
        for key in ("brightness", "contrast")
    }
    drawn.append(plots.save(plots.light_and_contrast(light), folder / "light.png"))
    sizes = {name: [(w, h, n) for (w, h), n in looks[name].sizes.items()] for name in SPLITS}
    if len({(w, h) for rows in sizes.values() for w, h, _ in rows}) > 1:
        drawn.append(plots.save(plots.image_sizes(sizes), folder / "sizes.png"))
    wanted = [row for rows in report["outliers"].values() for row in rows]
    sheet = plots.outliers(report["outliers"], _pictures(dataset, wanted))
    drawn.append(plots.save(sheet, folder / "outliers.png"))
    pairs = near.rows(dataset)
    shown_pairs = pairs[:PAIRS]
    pictures = _pictures(dataset, [row[key] for row in shown_pairs for key in "ab"])
    sheet = plots.near_duplicates(shown_pairs, pictures, len(pairs))
    drawn.append(plots.save(sheet, folder / "near_duplicates.png"))
    for stale in set(folder.glob("*.png")) - set(drawn):
        stale.unlink()  # of an earlier exploration, of images that had several sizes
    return drawn


def _extremes(counts: Mapping[str, Any]) -> list[int]:
    """All classes in order, or of more than MOST_BARS half as many of train's largest and smallest."""
    train = counts["train"]
    if len(train) <= MOST_BARS:
        return list(range(len(train)))
    ranked = np.argsort(train, kind="stable").tolist()
    half = MOST_BARS // 2
    return sorted([*ranked[:half], *ranked[-half:]])


def _distribution(report: Mapping[str, Any], kept: list[int]) -> Figure:
    names = report["class_names"]
    some = {split: [each[label] for label in kept] for split, each in report["counts"].items()}
    half = f"{len(kept) // 2} smallest and {len(kept) // 2} largest of {len(names):,} classes"
    images, title = None, "" if len(kept) == len(names) else f"The {half}, shares of these"
    if task_named(report["task"]).multi_label:
        images, title = report["images"], f"The {half}" if title else ""
    return plots.class_distribution([names[label] for label in kept], some, images, title=title)


def _samples(dataset: Dataset, report: Mapping[str, Any], seed: int) -> Any:
    count = min(len(dataset.class_names), MOST_CLASSES)
    pictures: dict[str, list[list[NDArray[np.uint8]]]] = {}
    for number, name in enumerate(SPLITS):
        split = dataset.split(name)
        pictures[name] = []
        for label in range(count):
            random = np.random.default_rng([seed, number, label])
            chosen = np.sort(random.permutation(np.flatnonzero(split.having(label)))[:SAMPLES])
            pictures[name].append([_small(split.source.read(int(row))) for row in chosen])
    return plots.samples(dataset.class_names[:count], report["counts"], pictures)


def _pictures(dataset: Dataset, rows: Iterable[Mapping[str, Any]]) -> dict[Any, NDArray[np.uint8]]:
    return {
        (row["split"], row["row"]): _small(dataset.split(row["split"]).source.read(row["row"]))
        for row in rows
    }


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """No more pixels than a sheet shows."""
    picture = Image.fromarray(image)
    picture.thumbnail((_LARGEST, _LARGEST))
    return np.asarray(picture)


def _pairs_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{key}_{column}" for key in "ab" for column in ("split", "image", "label")]
    writer.writerow([*heads, "bits", "b_is"])
    for row in rows:
        ends = [
            (row[key]["split"], path_cell(row[key]["image"]), text_cell(row[key]["label"]))
            for key in "ab"
        ]
        writer.writerow([*ends[0], *ends[1], row["bits"], row["second"]])
    return out.getvalue()
