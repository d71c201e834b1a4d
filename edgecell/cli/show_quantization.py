"""What search, analysis and mixed precision found, as tables on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.cli.show import measurement
from edgecell.cli.terminal import print_line, print_next, print_table

MOST_LAYERS = 20


def searched(record: dict[str, Any], folder: Path) -> None:
    """One row per method, the kept one marked."""
    results = record["results"]
    # Of several labels to an image.
    ranked = any("auc_drop" in each for each in results["candidates"])
    rows = [
        [
            each["method"] + (" ← kept" if each["method"] == results["chosen"] else ""),
            f"{each['accuracy']:.4f}",
            f"{each['accuracy_drop']:+.4f}",
            *([f"{each['auc_drop']:+.4f}", _noise(each)] if ranked else ()),
            f"{each['macro_f1_drop']:+.4f}",
            f"{each['agreement']:.4f}",
            str(each.get("changed", "–")),  # older records judge on val alone
            f"{each['worst_class_f1_drop']:+.4f} ({each['worst_class']})",
            f"{each['size_bytes']:,}",
        ]
        for each in results["candidates"]
    ]
    skipped = results.get("skipped", {})  # records made before 0.2 have none
    columns = ["method", "accuracy", "drop", *(["AUC drop", "noise"] if ranked else ())]
    columns += ["F1 drop", "agreement", "changed", "worst class"]
    rows += [[method + " (skipped)", *("–",) * len(columns)] for method in skipped]
    title = f"int8 on val, n={results['n']}, reference {results['reference_accuracy']:.4f}"
    print_table(title, [*columns, "bytes"], rows)
    if results.get("n_unseen"):
        print_line(f"changed: answers on val and on {results['n_unseen']:,} unseen images of train")
    for method, reason in skipped.items():
        print_line(f"skipped: {method}: {reason}")
    print_line(f"kept by: {results['rule']}")
    print_line(f"files: {folder / 'search.json'}, {folder / 'search.png'}")


def analyzed(record: dict[str, Any], folder: Path) -> None:
    """The most expensive layers."""
    results = record["results"]
    rows = [
        [
            layer["label"],
            layer["operator"],
            f"{layer['weights']:,}",
            "–" if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f}",
            f"{layer['probability_error']:.2e}",
            f"{layer['agreement_drop']:+.4f}",
            f"{layer['accuracy_drop']:+.4f}",
        ]
        for layer in results["layers"][:MOST_LAYERS]
    ]
    columns = ["layer", "operator", "weights", "SQNR dB", "change²", "agreement drop", "drop"]
    print_table(
        f"each layer quantized alone, on val, n={results['n']}", columns, rows, numeric_from=2
    )
    hidden = len(results["layers"]) - len(rows)
    if hidden:
        print_line(f"{hidden} more layers cost less: {folder / 'sensitivity.json'}")
    worst = next((layer for layer in results["layers"] if layer["weights"]), None)
    if worst is not None:
        print_next("quantize", folder.parent, "--keep-float", "auto")


def slimmed(record: dict[str, Any]) -> None:
    """What each file has of the zeros and shared values that were asked for."""
    rows = []
    for entry in record["results"]["models"]:
        if "weights" in entry:
            kernels = entry["weights"]["kernels"]
            rows.append(
                [
                    entry["file"],
                    f"{entry['packed_bytes'] / entry['size_bytes']:.0%}",
                    f"{kernels['sparsity']:.3f}",
                    f"{kernels['least_sparsity']:.3f}",
                    str(kernels["most_values"]),
                    str(kernels["most_channel_values"]),
                ]
            )
    if not rows:
        return
    columns = ["file", "packed to", "zeros", "least in a layer", "most values", "in a channel"]
    print_table("weights of convolutions and dense layers", columns, rows, numeric_from=1)
    print_line("packed: DEFLATE, as in zip, gzip and app packages; the layers are in record.json")


def mixed(record: dict[str, Any]) -> None:
    """What leaving layers in float costs and brings."""
    for entry in record["results"]["models"]:
        if "trade" not in entry:
            continue
        trade = entry["trade"]
        rows = [
            [
                str(row["float_layers"]),
                f"{row['size_bytes']:,}",
                f"{row['accuracy_drop']:+.4f}",
                *([f"{row['auc_drop']:+.4f}"] if "auc_drop" in row else ()),
                f"{row['agreement']:.4f}",
                measurement(row["latency"]) if "latency" in row else "–",
                "pass" if row["passed"] else "FAIL",
            ]
            for row in trade["rows"]
        ]
        columns = ["float layers", "bytes", "drop", "agreement", "p50 ms, 1 thread", "verify, val"]
        if "auc_drop" in trade["rows"][0]:
            columns.insert(3, "AUC drop")
        print_table(f"{entry['file']} ({trade['method']})", columns, rows, numeric_from=0)
        print_line(f"in float: {', '.join(entry['float_layers'])}")


def _noise(candidate: dict[str, Any]) -> str:
    return f"{candidate['probability_error']:.2%}"
