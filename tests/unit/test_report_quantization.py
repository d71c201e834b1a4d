"""Pruned, clustered and mixed files in the report: the figures of the record, and nothing where there are none."""

from __future__ import annotations

from edgecell.report.quantization import mixed_part, slim_part, tuning_part

PLAIN = {
    "file": "x-int8.tflite",
    "precision": "int8",
    "size_bytes": 628_248,
    "packed_bytes": 400_000,
}
SLIM = {
    "file": "x-int8-pruned0.5.tflite",
    "precision": "int8",
    "size_bytes": 628_248,
    "packed_bytes": 300_000,
    "method": "pruned0.5",
    "weights": {
        "kernels": {
            "sparsity": 0.5012,
            "least_sparsity": 0.4987,
            "most_values": 231,
            "most_channel_values": 142,
        }
    },
}
MIXED = {
    "file": "x-mixed<1>.tflite",
    "precision": "mixed",
    "float_layers": ["block_1", "block_2"],
    "trade": {
        "rows": [
            {
                "float_layers": 0,
                "size_bytes": 628_248,
                "accuracy_drop": 0.009,
                "agreement": 0.98,
                "passed": False,
            },
            {
                "float_layers": 2,
                "size_bytes": 629_100,
                "accuracy_drop": 0.001,
                "agreement": 0.995,
                "passed": True,
                "latency": {"value": 0.2, "unit": "ms", "kind": "measured", "n": 200},
            },
        ]
    },
}


def test_a_slim_file_is_held_against_the_plain_one_of_its_precision():
    shown = slim_part([PLAIN, SLIM])
    for words in ("x-int8-pruned0.5.tflite", "300.0 kB", "25%", "50.1%", "49.9%", "231", "142"):
        assert words in shown
    alone = slim_part([SLIM, PLAIN | {"precision": "int16x8"}])
    assert "25%" not in alone and "–" in alone
    # A file that something else was done to is not the plain one.
    assert "25%" not in slim_part([PLAIN | {"method": "qat"}, SLIM])


def test_a_mixed_file_shows_what_each_step_costs():
    shown = mixed_part([PLAIN, MIXED])
    for words in (
        "629.1 kB",
        "+0.0090",
        "0.9950",
        "failed",
        "passed",
        "0.200 ms",
        "block_1, block_2",
    ):
        assert words in shown
    assert "x-mixed&lt;1&gt;.tflite" in shown and "<1>" not in shown


def test_a_fine_tuning_that_files_share_is_one_row():
    figures = {"val_agreement": 0.987, "val_accuracy_drop": 0.004, "val_worst_f1_drop": 0.011}
    facts = figures | {"best_epoch": 7, "settings": {"epochs": 8}}
    of_slim = {"slim": {"name": "pruned0.5", "key": "k"}, "prune": facts}
    files = [
        PLAIN,
        SLIM | of_slim,
        SLIM | of_slim | {"file": "x-float32-pruned0.5.tflite", "precision": "float32"},
        SLIM | of_slim | {"file": "x-int8-pruned0.5-qat.tflite", "qat": facts | {"best_epoch": 3}},
    ]
    shown = tuning_part(files)
    assert shown.count("<tr>") == 3  # the head, one pruning, one training for int8
    for words in ("7 of 8", "3 of 8", "0.9870", "+0.0040", "x-int8-pruned0.5-qat.tflite"):
        assert words in shown
    assert "x-float32" not in shown


def test_other_runs_have_neither():
    assert slim_part([PLAIN, MIXED]) == "" == mixed_part([PLAIN, SLIM])
    assert tuning_part([PLAIN, MIXED]) == ""
