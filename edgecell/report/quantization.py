"""Search, sensitivity, and what was done to files, as parts of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.report.elements import (
    Html,
    Pictures,
    badge,
    element,
    join,
    measurement,
    section,
    table,
)


def search_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """Every method with its figures on val, the kept one marked."""
    results = record["results"]
    # Of several labels to an image.
    ranked = any("auc_drop" in each for each in results["candidates"])
    rows = [
        [
            each["method"],
            badge("kept", True) if each["method"] == results["chosen"] else "",
            f"{each['accuracy']:.4f}",
            f"{each['accuracy_drop']:+.4f}",
            *([f"{each['auc_drop']:+.4f}", _noise(each)] if ranked else ()),
            f"{each['macro_f1_drop']:+.4f}",
            f"{each['agreement']:.4f}",
            each.get("changed", "–"),  # older records judge on val alone
            f"{each['worst_class_f1_drop']:+.4f} ({each['worst_class']})",
            f"{each['size_bytes'] / 1000:,.1f} kB",
        ]
        for each in results["candidates"]
    ]
    skipped = results.get("skipped", {})  # records made before 0.2 have none
    columns = ["Method", "", "Accuracy", "Drop", *(["AUC drop", "Noise"] if ranked else ())]
    columns += ["Macro-F1 drop", "Agreement", "Changed", "Worst class, F1", "Size"]
    rows += [[method, "skipped", *("–",) * (len(columns) - 2)] for method in skipped]
    unseen = results.get("n_unseen", 0)
    beside = (
        f"Changed: answers that differ on val and on {unseen:,} images of train that nothing was "
        "fitted to. "
        if unseen
        else ""
    )
    return section(
        "Search for a better int8",
        "search",
        table(columns, rows, numeric=range(2, len(columns))),
        _figures(record, folder, pictures, "Methods on val: accuracy lost and answers changed"),
        *(element("p", f"Skipped: {method}: {reason}.") for method, reason in skipped.items()),
        element("p", f"Kept: {results['rule']}."),
        lead=f"Post-training methods without training, fitted to train and compared on val "
        f"(n={results['n']}, trained model {results['reference_accuracy']:.4f}). {beside}cle: channels "
        "evened between layers; mse, percentile: how ranges are chosen; gptq: weights rounded so "
        "that errors cancel; bias: means corrected.",
    )


def analyze_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """Every layer, quantized alone, the most expensive first."""
    results = record["results"]
    rows = [
        [
            layer["rank"],
            layer["label"],
            layer["operator"],
            f"{layer['weights']:,}",
            "–" if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f}",
            f"{layer['probability_error']:.2e}",
            f"{layer['agreement_drop']:+.4f}",
            f"{layer['accuracy_drop']:+.4f}",
        ]
        for layer in results["layers"]
    ]
    columns = ["", "Layer", "Operator", "Weights", "SQNR, dB", "Change²", "Agreement drop", "Drop"]
    return section(
        "Sensitivity",
        "analyze",
        _figures(record, folder, pictures, "What each layer costs when it alone is int8"),
        table(columns, rows, numeric=(0, 3, 4, 5, 6, 7)),
        lead=f"Each layer quantized alone, all others in float, on val (n={results['n']}); "
        f"{results['rule']}. SQNR: signal over quantization noise at the layer's own output.",
    )


_TUNINGS = {"prune": "pruning", "cluster": "weight clustering", "qat": "training for int8"}


def tuning_part(models: list[dict[str, Any]]) -> Html:
    """Every fine-tuning that files came from, in the order it was done; or nothing."""
    rows: dict[tuple[str, str], list[object]] = {}
    ranked = False  # several labels to an image: true of all or of none
    for model in models:
        for key, words in _TUNINGS.items():
            if key not in model:
                continue
            # The files of one pruning share it; training for int8 is a file's own.
            name = model["file"] if key == "qat" else model["slim"]["name"]
            facts = model[key]
            rows[key, name] = [
                words,
                name,
                f"{facts['best_epoch']} of {facts['settings']['epochs']}",
                f"{facts['val_agreement']:.4f}",
                f"{facts['val_accuracy_drop']:+.4f}",
                *([f"{facts['val_auc_drop']:+.4f}"] if "val_auc_drop" in facts else ()),
                f"{facts['val_worst_f1_drop']:+.4f}",
            ]
            ranked = "val_auc_drop" in facts
    if not rows:
        return join()
    columns = ["Fine-tuning", "Of", "Epoch kept", "Agreement", "Drop"]
    columns += [*(["AUC drop"] if ranked else ()), "Worst class, F1"]
    return join(
        element("h3", "Fine-tuning"),
        table(columns, list(rows.values()), numeric=range(2, len(columns))),
        element(
            "p",
            "Against the trained model on val, which chose the epoch: of the int8 file after training "
            "for int8, of the float model after pruning and clustering.",
        ),
    )


def slim_part(models: list[dict[str, Any]]) -> Html:
    """What pruned and clustered files have of the zeros and values that were asked for; or nothing."""
    rows = []
    for model in models:
        if "weights" not in model:
            continue
        kernels = model["weights"]["kernels"]
        plain = next(
            (m for m in models if m["precision"] == model["precision"] and "method" not in m), None
        )
        less = "–" if plain is None else f"{1 - model['packed_bytes'] / plain['packed_bytes']:.0%}"
        rows.append(
            [
                model["file"],
                f"{model['size_bytes'] / 1000:,.1f} kB",
                f"{model['packed_bytes'] / 1000:,.1f} kB",
                less,
                f"{kernels['sparsity']:.1%}",
                f"{kernels['least_sparsity']:.1%}",
                kernels["most_values"],
                kernels["most_channel_values"],
            ]
        )
    if not rows:
        return join()
    columns = ["File", "Size", "Packed", "Packed, saved", "Zeros", "Least in a layer"]
    columns += ["Most values in a layer", "in a channel"]
    return join(
        element("h3", "Pruned and clustered"),
        table(columns, rows, numeric=range(1, len(columns))),
        element(
            "p",
            "Counted in the files, in convolutions and dense layers; depthwise kernels are neither "
            "pruned nor clustered. Saved: against the plain file of the same precision. Zeros take as "
            "many bytes as other numbers until the file is packed. In float files batch normalisation "
            "gives each channel a factor of its own, so shared values count per channel there.",
        ),
    )


def mixed_part(models: list[dict[str, Any]]) -> Html:
    """What leaving layers in float costs and brings; or nothing."""
    parts = []
    for model in models:
        if "trade" not in model:
            continue
        rows = [
            [
                row["float_layers"],
                f"{row['size_bytes'] / 1000:,.1f} kB",
                f"{row['accuracy_drop']:+.4f}",
                *([f"{row['auc_drop']:+.4f}"] if "auc_drop" in row else ()),
                f"{row['agreement']:.4f}",
                measurement(row["latency"]) if "latency" in row else "–",
                badge("passed" if row["passed"] else "failed", row["passed"]),
            ]
            for row in model["trade"]["rows"]
        ]
        columns = ["Layers in float", "Size", "Drop", "Agreement", "p50, 1 thread", "Verify, val"]
        if "auc_drop" in model["trade"]["rows"][0]:
            columns.insert(3, "AUC drop")
        parts += [
            element("h3", f"Layers in float: {model['file']}"),
            table(columns, rows, numeric=range(len(columns) - 1)),
            element("p", f"In float: {', '.join(model['float_layers'])}."),
        ]
    return join(*parts)


def _noise(candidate: dict[str, Any]) -> str:
    return f"{candidate['probability_error']:.2%}"


def _figures(record: dict[str, Any], folder: Path, pictures: Pictures, caption: str) -> Html:
    names = [Path(name).name for name in record["outputs"] if name.endswith(".png")]
    return element(
        "div", *(pictures.figure(folder / name, caption) for name in names), cls="figures"
    )
