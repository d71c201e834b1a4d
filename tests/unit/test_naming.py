"""Names of files where there is little room for them."""

from __future__ import annotations

import pytest

from edgecell.naming import short_names
from edgecell.report.stages import verify_headline


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["cells-float32", "cells-int8"], ["float32", "int8"]),
        (
            ["cells-0.35-float32", "cells-0.35-int8", "cells-0.35-int8-search"],
            ["float32", "int8", "int8-search"],
        ),
        (["a-int8", "b-int8"], ["a-int8", "b-int8"]),
        (["cells-int8"], ["int8"]),
    ],
)
def test_files_are_told_apart_in_as_few_letters(names, short):
    precisions = [next(p for p in ("float32", "int8") if p in name) for name in names]
    assert short_names(precisions, names) == short


def test_the_tile_of_verify_says_which_of_the_int8_files_are_refused():
    models = [
        {"file": f"cells-{name}.tflite", "precision": "int8", "passed": name == "int8"}
        for name in ("int8", "int8-pruned0.5", "int8-qat")
    ]
    assert "refused: int8-pruned0.5, int8-qat<" in str(verify_headline({"models": models}))
