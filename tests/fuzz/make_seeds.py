"""Write tests/fuzz/seeds: the toys as files of each kind, small, so that a mutation meets structure."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tf_keras as keras
import toy_bundle
import toys

from converters.tflite import convert
from edgecell.bundle import writer
from edgecell.disk import atomic_write_bytes, atomic_write_json, read_json
from edgecell.record import seal
from edgecell.tflite_metadata import Metadata, attach

SEEDS = Path(__file__).parent / "seeds"


def main() -> None:
    """Make them all."""
    toy = toys.model()
    pixels = toys.images(64, seed=1)[0]
    for precision in ("float32", "float16", "dynamic", "int8"):
        data = convert(toy, precision, calibration=pixels)
        atomic_write_bytes(SEEDS / f"{precision}.tflite", data)
    file = {"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}
    options = {"table": "NormalizationOptions", "mean": [0.0], "std": [1.0]}
    graph = {
        "input_tensor_metadata": [{"process_units": [{"options": options}]}],
        "output_tensor_metadata": [{"associated_files": [file]}],
    }
    labels = {"labels.txt": "\n".join(toys.CLASSES).encode()}
    described = attach(data, Metadata({"name": "toy", "subgraph_metadata": [graph]}, labels))
    atomic_write_bytes(SEEDS / "described.tflite", described)
    toy.save(SEEDS / "toy.keras")
    toy.save(SEEDS / "toy.h5")
    x = inputs = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Conv2D(2, 3, activation="relu", name="conv")(x)
    x = keras.layers.Flatten(name="flat")(x)
    plain = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="head")(x))
    plain.save(SEEDS / "plain.keras")
    plain.save(SEEDS / "plain.h5")
    save_bundle(SEEDS / "toy.zip")


def save_bundle(path: Path) -> None:
    """A bundle as ``edgecell bundle`` zips and seals it, small: of its golden images only their list."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = toy_bundle.make_bundle(Path(scratch) / "toy", ())
        card = read_json(folder / "model.json")
        for image in (folder / "golden").glob("*.png"):
            image.unlink()
            del card["files"][f"golden/{image.name}"]
        atomic_write_json(folder / "model.json", card | {"seal": seal(card)})
        writer.write_zip(folder, path)


if __name__ == "__main__":
    main()
