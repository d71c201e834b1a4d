"""A bench's results without a bench: what pages and comparisons are tested with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import latency, spread
from benchmarks.run import BenchResult
from edgecell.disk import sha256_bytes
from edgecell.evaluate import evaluate
from edgecell.record import Measurement

NAMES = ["basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte"]
NAMES += ["neutrophil", "<b>platelet</b> & co"]


def predictions(seed: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (1712, 8) and labels (1712,); a higher skill is more often right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, 1712)
    logits = rng.normal(size=(1712, 8))
    logits[np.arange(1712), labels] += skill
    odds = np.exp(1.5 * logits)
    return odds / odds.sum(axis=1, keepdims=True), labels


def result(names: Sequence[str] = NAMES) -> BenchResult:
    """Float32, float16 and a worse int8 on 1,712 images, in the shape that a bench has."""
    rng, models = np.random.default_rng(0), []
    stages = (
        ("float32", 1_650_312, 3.5, 170),
        ("float16", 850_120, 3.5, 172),
        ("int8", 635_104, 3.3, 131),
    )
    for precision, size, skill, microseconds in stages:
        entry = {
            "name": f"pbc-{precision}",
            "file": f"pbc-{precision}.tflite",
            "sha256": sha256_bytes(f"pbc-{precision}".encode()),
            "precision": precision,
            "image_size": [96, 96],
            "operators": {
                "counts": {"CONV_2D": 35, "SOFTMAX": 1},
                "others": {"QUANTIZE": 2} if precision == "int8" else {"MUL": 1, "ADD": 1},
                "stray": {},
                "macs": Measurement(11_000_000, "count").to_json(),
            },
            "quality": evaluate(*predictions(0, skill), names, resamples=100),
            "footprint": {
                "size": Measurement(size, "bytes").to_json(),
                "deflated": Measurement(size * 0.9, "bytes").to_json(),
                "memory": {
                    key: Measurement(5e7, "bytes", n=1).to_json()
                    for key in ("baseline", "one", "ten", "over_baseline")
                },
            },
            "latency": [],
            "throughput": [
                {
                    "threads": 2,
                    "batch": 8,
                    "rate": Measurement(2e6 / microseconds, "images/s", n=51).to_json(),
                }
            ],
        }
        for threads in (1, 2):
            times = (microseconds * 1000 / threads**0.5 * rng.gamma(400, 1 / 400, 5000)).astype(
                np.int64
            )
            opened = latency.Opened(None, (4_200_000,) * 3, (900_000,) * 3)
            entry["latency"].append(
                {
                    "threads": threads,
                    "delegate": {
                        "asked": "XNNPACK",
                        "operators": 67,
                        "taken": 67,
                        "partitions": 1,
                        "left": {},
                        "taken_indices": list(range(67)),
                        "label": "XNNPACK",
                    },
                    **spread.summarize(latency.Timed(times, np.arange(0, 5000, 100))),
                    **spread.summarize_opening(opened.load_ns, opened.first_ns),
                    "ratio": Measurement(microseconds / 170, "1", n=50).to_json(),
                }
            )
        models.append(entry)
    host = {
        "cpu": "Example CPU",
        "board": None,
        "cores": 2,
        "governor": None,
        "system": "Linux x86_64, Python 3.11.2",
        "versions": {"edgecell": "0.1.0", "ai-edge-litert": "2.3.0", "numpy": "2.1.0"},
        "load_average_1min": 2.1,
        "busy_before": 0.4,
    }
    warnings = ["other programs used 40% of the cores before the timing began"]
    device = {"kind": "host", "name": "Example CPU"}
    notes = ("Latency is of this host and is not phone latency.",)
    return BenchResult(
        models, device, host, {"runs": 200}, 1712, list(names), warnings, device_notes=notes
    )
