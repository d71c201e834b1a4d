"""Records as people read them: tables and lines on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecell.cli.terminal import print_line, print_next, print_table
from edgecell.naming import GATE_DROPS
from edgecell.tasks import task_of_record

MOST_CLASSES = 50
"""Classes that a table in the terminal has; of more, those that are worst."""


def trained(record: dict[str, Any], run: Path) -> None:
    """The outcome of a training and what to do next."""
    results = record["results"]
    figures = task_of_record(results["data"]).trained_figures(results)
    told = ", ".join(f"{name} {figure['value']:.4f}" for name, figure in figures)
    print_line(
        f"val {told} (n={figures[0][1]['n']})"
        f" in epoch {results['best_epoch']} of {results['epochs']}, {results['parameters']:,} parameters,"
        f" {results['seconds']:.0f} s on {results['device']}"
    )
    for line in results.get("warnings", ()):
        print_line(f"!! {line}")
    print_line(f"run:    {run}")
    print_line(f"report: {run / 'report.html'}")
    print_next("quantize", run, label="next:   ")


def spread(figure: Any, seeds: list[str], folder: Path) -> None:
    """One row per seed, their mean and standard deviation."""
    rows = [[seed, f"{value:.4f}"] for seed, value in zip(seeds, figure.values, strict=True)]
    # Of several labels alone the first figure is an AUC, and then it is a mean.
    name = figure.name.replace("_", " ").replace("auc", "mean AUC")
    print_table(str(folder), ["seed", name], rows)
    apart = "" if figure.sd is None else f" ± {figure.sd:.4f} (sd of {len(rows)} seeds)"
    print_line(f"mean {figure.mean:.4f}{apart}")


def quantized(
    record: dict[str, Any], folder: Path, to_verify: Sequence[str | Path] | None = None
) -> None:
    """One row per file; ``to_verify`` is what verify takes next, where that is not the run alone."""
    rows = []
    for entry in record["results"]["models"]:
        audit = entry["audit"]
        port = audit["input"]
        scale = "–" if port["scale"] is None else f"{port['scale']:g}, {port['zero_point']}"
        rows.append(
            [
                entry["file"],
                entry["precision"],
                f"{entry['size_bytes']:,}",
                f"{entry['packed_bytes']:,}" if "packed_bytes" in entry else "–",
                port["dtype"],
                scale,
                str(sum(audit["operators"].values())),
            ]
        )
    columns = ["file", "precision", "bytes", "packed", "input", "scale, zero point", "operators"]
    print_table(f"in {folder}", columns, rows, numeric_from=2)
    for line in _calibrated(record["results"], folder):
        print_line(line)
    print_next("verify", *(to_verify or [folder.parent]))


def _calibrated(results: dict[str, Any], folder: Path) -> list[str]:
    """What the files were calibrated on; which of them, where it is not the same for all."""
    newest, lines = results.get("calibration"), []
    if newest is not None:
        lines.append(
            f"calibrated on {newest['count']} images of {newest['split']}, seed {newest['seed']}:"
            f" {folder / 'calibration.json'}"
        )
    for entry in results["models"]:
        facts = entry.get("calibration")
        if facts and (newest is None or facts["images_sha256"] != newest["images_sha256"]):
            where = f": {folder / facts['manifest']}" if "manifest" in facts else ""
            lines.append(
                f"{entry['file']}: calibrated on {facts['count']} images of train, seed"
                f" {facts['seed']}{where}"
            )
    return lines


def verified(record: dict[str, Any]) -> None:
    """Each file's checks; the classes of a file that failed."""
    for entry in record["results"]["models"]:
        rows = [
            [check["name"], _mark(check["passed"]), check["measured"], check["allowed"]]
            for check in entry["checks"]
        ]
        title = f"{entry['file']}: {entry['verdict']}"
        print_table(title, ["check", "", "measured", "allowed"], rows, numeric_from=9)
        if "gate" in entry:
            _gate(entry["gate"])
        for line in entry.get("notes", ()):
            print_line(f"  !! {line}")
        if not entry["passed"] and entry["classes"]:
            _classes(entry)
    for line in record["results"].get("notes", ()):
        print_line(f"!! {line}")


def _gate(gate: dict[str, Any]) -> None:
    for name, key in GATE_DROPS:
        if key in gate:
            print_line(f"  {name} drop {measurement(gate[key])}")
    if "auc_drop" in gate:
        tested, unit = f"DeLong one-sided p = {gate['worse_p']:.3g}", " decisions"
    else:
        tested, unit = f"McNemar exact p = {gate['mcnemar_p']:.3g}", ""
    print_line(
        f"  {tested} ({gate['lost']}{unit} lost, {gate['gained']} gained);"
        f" drop of {gate['margin']:g} or more: p = {gate['non_inferiority_p']:.3g}"
    )
    loud = "" if gate["verdict"] == "equivalent" else "!! "
    print_line(f"  {loud}verdict: {gate['sentence']}")


def _classes(entry: dict[str, Any]) -> None:
    key, score = (
        ("auc", "AUC") if any("auc_drop" in row for row in entry["classes"]) else ("f1", "F1")
    )
    judged = [row for row in entry["classes"] if row.get(f"{key}_drop") is not None]
    rows = [
        [
            row["name"],
            str(row["support"]),
            f"{row[f'reference_{key}']:.4f}",
            f"{row[f'converted_{key}']:.4f}",
            f"{row[f'{key}_drop']:+.4f}",
            _mark(row["passed"]),
        ]
        for row in sorted(judged, key=lambda row: -row[f"{key}_drop"])[:MOST_CLASSES]
    ]
    columns = ["class", "support", f"{score} reference", f"{score} converted", "drop", ""]
    print_table("per class, worst first", columns, rows)


def benched(record: dict[str, Any], folder: Path) -> None:
    """The table of all models, its notes and its files."""
    from benchmarks.report import details, machine_line, rows

    results = record["results"]
    kind = results["device"]["kind"]
    where = "" if kind == "host" else f", {kind}: {results['device']['name']}"
    for title, table in ((f"on test{where}", rows(results)), ("how it ran", details(results))):
        columns = list(table[0])
        print_table(title, columns, [[row[c] for c in columns] for row in table], numeric_from=2)
    print_line(machine_line(results))
    for reason in results["not_measured"]:
        print_line(f"not measured: {reason}")
    for line in (*results["warnings"], *results["notes"]):
        print_line(line)
    print_line(f"files: {folder / 'bench.html'}, {folder / 'bench.md'}, {folder / 'bench.json'}")


def described(facts: dict[str, Any]) -> None:
    """Counts per class and split, pixels, sizes, duplicates."""
    splits = list(facts["counts"])
    rows = [
        [name, *(f"{facts['counts'][split][i]:,}" for split in splits)]
        for i, name in enumerate(facts["class_names"])
    ]
    rows.append(["all", *(f"{facts['images'][split]:,}" for split in splits)])
    several = facts.get("labels_per_image")
    kind = "class" if several is None else "label"
    print_table(f"{facts['name']} ({facts['task']})", [kind, *splits], rows)
    if several is not None:
        for split in splits:
            print_line(
                f"{split}: images with "
                + ", ".join(f"{k} labels {n:,}" for k, n in enumerate(several[split]))
            )
    print_line(f"imbalance of train: {facts['imbalance']:.1f} to 1")
    for split in splits:
        pixels, sizes = facts["pixels"][split], facts["sizes"][split]
        mean, sd = (", ".join(f"{v:.1f}" for v in pixels[key]) for key in ("mean", "sd"))
        print_line(
            f"{split}: pixels {pixels['low']} to {pixels['high']}, RGB mean {mean}, sd {sd}"
            f" ({pixels['sampled']:,} of {pixels['total']:,} images);"
            f" heights {_span(sizes['heights'])}, widths {_span(sizes['widths'])}"
        )
    for line in facts["notes"]:
        print_line(f"note: {line}")


def divided(results: dict[str, Any]) -> None:
    """Images and groups per class and split, of splits that were made."""
    splits, groups = list(results["counts"]), results["groups"]
    total = sum(results["images"].values())

    def cell(split: str, images: int, count: int | None) -> str:
        return f"{images:,}" if count is None else f"{images:,} in {count:,}"

    rows = [
        [
            name,
            *(
                cell(
                    s, results["counts"][s][i], results["groups_by_class"][s][i] if groups else None
                )
                for s in splits
            ),
        ]
        for i, name in enumerate(results["class_names"])
    ]
    images = results["images"]
    rows.append(["all", *(cell(s, images[s], groups[s] if groups else None) for s in splits)])
    rows.append(["share", *(f"{images[s] / total:.1%}" for s in splits)])
    title = f"{results['name']}: images in groups" if groups else f"{results['name']}: images"
    print_table(title, ["class", *splits], rows)
    if groups:
        print_line(
            f"{groups['all']:,} groups, the largest of {groups['largest']:,} images; none is cut"
        )
    for line in results["notes"]:
        print_line(f"note: {line}")


def explored(report: dict[str, Any]) -> None:
    """What a person should look at before training."""
    images = ", ".join(f"{count:,} {split}" for split, count in report["images"].items())
    print_line(f"{report['name']}: {images}, {len(report['class_names'])} classes")
    for split, found in report["channels"].items():
        mean, sd = (", ".join(f"{v:.1f}" for v in found[key]) for key in ("mean", "sd"))
        print_line(f"{split}: RGB mean {mean}, sd {sd}")
    near = report["near_duplicates"]
    pairs = "1 pair" if near["pairs"] == 1 else f"{near['pairs']:,} pairs"
    print_line(
        f"near-duplicates: {pairs} of {near['method']['compared']:,} images,"
        f" {near['method']['most_bits']} bits of 256 at most"
    )
    if near["method"]["images_with_crowded_keys"]:
        print_line(
            f"note: {near['method']['images_with_crowded_keys']} images look like too many others to be"
            " compared with all of them"
        )
    for line in [*report["findings"], *report["notes"]]:
        print_line(f"note: {line}")


def diagnosed(facts: dict[str, Any]) -> None:
    """The machine, a line per fact."""
    print_line(f"Python {facts['python']} on {facts['system']} {facts['machine']}, {facts['cpu']}")
    free = facts["memory_free_bytes"]
    memory = "unknown" if free is None else f"{free / 1e9:.1f} GB"
    print_line(
        f"{facts['cores']} cores, {memory} memory free, {facts['disk_free_bytes'] / 1e9:.1f} GB disk free"
    )
    for name, version in facts["packages"].items():
        print_line(f"  {name:32} {version}")
    print_line(f"TensorFlow sees: {', '.join(facts['devices'])}")
    print_line(f"MedMNIST files: {', '.join(facts['medmnist_files']) or 'none'}")
    for line in facts["missing"]:
        print_line(f"missing: {line}")


def measurement(data: dict[str, Any]) -> str:
    """ "0.9785 [0.9704, 0.9844]", or the reason why there is no value."""
    if "reason" in data:
        return str(data["reason"])
    interval = f" [{data['low']:.4f}, {data['high']:.4f}]" if "low" in data else ""
    return f"{data['value']:.4f}{interval}"


def _mark(passed: bool | None) -> str:
    return {True: "pass", False: "FAIL", None: "–"}[passed]


def _span(ends: list[int] | tuple[int, int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low} to {high}"
