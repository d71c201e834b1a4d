"""A program for a Python that has mediapipe: MODEL FILES.txt → each image's {label: score} as JSON.

``FILES.txt`` names an image file a line.

Imports nothing of edgecell: it is somebody else's client of the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mediapipe
from mediapipe.tasks import python as tasks
from mediapipe.tasks.metadata import metadata_schema_py_generated as theirs
from mediapipe.tasks.metadata import schema_py_generated as models
from mediapipe.tasks.python import vision


def main() -> None:
    model, names = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    base = tasks.BaseOptions(model_asset_path=model)
    rows = []
    with vision.ImageClassifier.create_from_options(
        vision.ImageClassifierOptions(base_options=base)
    ) as classifier:
        for name in names:
            shown = mediapipe.Image.create_from_file(name)
            categories = classifier.classify(shown).classifications[0].categories
            rows.append({each.category_name: each.score for each in categories})
    found = {"scores": rows, "metadata": read(Path(model).read_bytes())}
    print(json.dumps(found | {"version": mediapipe.__version__}))


def read(data: bytes) -> dict:
    """Some fields by the library's own generated reader."""
    root = models.Model.GetRootAs(data, 0)
    [entry] = [
        root.Metadata(i)
        for i in range(root.MetadataLength())
        if root.Metadata(i).Name() == b"TFLITE_METADATA"
    ]
    packed = root.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert theirs.ModelMetadata.ModelMetadataBufferHasIdentifier(packed, 0)
    made = theirs.ModelMetadataT.InitFromPackedBuf(packed, 0)
    graph = made.subgraphMetadata[0]
    entry, leave = graph.inputTensorMetadata[0], graph.outputTensorMetadata[0]
    return {
        "name": made.name.decode(),
        "license": made.license.decode(),
        "input": entry.name.decode(),
        "color_space": entry.content.contentProperties.colorSpace,
        "mean": [float(v) for v in entry.processUnits[0].options.mean],
        "std": [float(v) for v in entry.processUnits[0].options.std],
        "max": [float(v) for v in entry.stats.max],
        "output": leave.name.decode(),
        "range": [leave.content.range.min, leave.content.range.max],
        "files": [[each.name.decode(), each.type] for each in leave.associatedFiles],
    }


if __name__ == "__main__":
    main()
