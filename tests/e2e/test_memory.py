"""Training on more images than memory should hold, measured on processes of their own."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.training_memory import peak_of

SIDE = 96
BATCH, STEPS = 64, 3

# Loads a folder and trains a few steps on it. What TensorFlow itself takes for the same steps, on a
# handful of images, is measured before; the peak is this program's own (ru_maxrss counts its parent).
CHILD = f"""
import json, sys
import numpy as np
from benchmarks.footprint_probe import peak_bytes
from edgecell.batches import epoch_batches, prepare
from edgecell.config import AugmentConfig, ModelConfig
from edgecell.config import DataConfig
from edgecell.data import Split, load_dataset
from edgecell.data.sources import ArraySource
from edgecell.models import build_model
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Silent

spec = PreprocessSpec({SIDE}, {SIDE})
model = build_model(ModelConfig(image_size={SIDE}, weights="none"), 2, 0.9)
model.compile("sgd", "categorical_crossentropy")

def steps(split, limit):
    images = prepare(split, spec, 2, class_weights=True, progress=Silent(), memory_limit=limit)
    made = epoch_batches(images, AugmentConfig(), batch_size={BATCH}, seed=0, epoch=0)
    trained = len(model.fit(made.take({STEPS}), verbose=0).history["loss"])
    return images.pixels is not None

toy = np.random.default_rng(0).integers(0, 256, ({BATCH * STEPS}, 20, 20, 3), dtype=np.uint8)
steps(Split("train", ArraySource(toy, "toy"), np.arange(len(toy)) % 2), 0)
before = peak_bytes()
dataset = load_dataset(DataConfig(sys.argv[1]))
limit = None if sys.argv[2] == "default" else int(sys.argv[2])
held = steps(dataset.train, limit)
print(json.dumps({{"images": len(dataset.train), "held": held, "grown": peak_bytes() - before}}))
"""


def png(number: int) -> bytes:
    """A grey 16 × 16 PNG that no other number has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = bytearray(16 * 17)
    pixels[1:5] = struct.pack(">I", number)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(pixels), 1))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def folder_of(root: Path, train: int) -> Path:
    """Three splits of two classes; ``train`` files, by hard links to 1,000 images of different content."""
    first: list[Path] = []
    for split, count in (("train", train), ("val", 100), ("test", 100)):
        for label in ("even", "odd"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count // 2):
                path = folder / f"{i}.png"
                if len(first) < 1000:
                    path.write_bytes(png(len(first)))
                    first.append(path)
                else:
                    path.hardlink_to(first[i % len(first)])
    return root


def grown(folder: Path, limit: int | str, cache: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, folder, str(limit)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"EDGECELL_CACHE": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_hundred_thousand_files_train_without_being_read_into_memory(tmp_path: Path) -> None:
    count = 100_000
    found = grown(folder_of(tmp_path / "cells", count), "default", tmp_path / "cache")
    assert found["images"] == count
    assert not found["held"]
    decoded = count * SIDE * SIDE * 3
    assert decoded > 2.7e9
    # Names, digests and labels of 100,000 files take some 100 MB; the pixels would take 2.8 GB.
    assert found["grown"] < 0.15 * decoded


@pytest.mark.slow
def test_what_is_read_into_memory_is_seen_by_the_measurement(tmp_path: Path) -> None:
    """The partner: the same program, told to hold all images, grows by all of them."""
    count = 20_000  # decoded, far more than what allocators differ by
    folder = folder_of(tmp_path / "cells", count)
    decoded = count * SIDE * SIDE * 3
    held = grown(folder, 10**12, tmp_path / "cache")
    assert held["held"]
    assert held["grown"] > 0.8 * decoded
    streamed = grown(folder, 0, tmp_path / "cache")
    assert not streamed["held"]
    assert streamed["grown"] < 0.4 * decoded


def test_the_peak_of_a_process_is_its_own() -> None:
    here = bytearray(b"1") * 700_000_000  # a parent larger than either
    small = peak_of([sys.executable, "-c", "pass"])
    large = peak_of([sys.executable, "-c", "x = bytearray(b'1') * 600_000_000"])
    assert len(here) > large > 600_000_000
    assert small < 100_000_000


def test_a_process_that_fails_has_no_peak() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        peak_of([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.slow
@pytest.mark.needs_shared
def test_training_on_a_part_of_pbc128_stays_below_three_gigabytes(
    shared: Path, tmp_path: Path
) -> None:
    """A part: its images are 1/40 of all, which add 12,000 × 96 × 96 × 3 bytes = 0.33 GB in memory."""
    command = [sys.executable, "-m", "edgecell", "train", "--data", shared / "data/pbc128"]
    command += ["--image-size", "96", "--weights", "none", "--head-epochs", "0", "--epochs", "1"]
    command += ["--limit", "300", "--output", tmp_path / "run"]
    peak = peak_of([str(part) for part in command])
    record = json.loads((tmp_path / "run/train/record.json").read_text())
    images = record["results"]["images"]
    assert images == {"train": 300, "val": 300, "test": 300}
    rest = (11_959 + 1_712 - 600) * SIDE * SIDE * 3
    assert peak + rest < 3e9
    assert peak > np.prod([300, SIDE, SIDE, 3])
