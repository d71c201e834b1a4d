"""What ``calibrate`` found, in the terminal, where an image can have several labels."""

from __future__ import annotations

from typing import Any

from edgecell.cli.show import measurement
from edgecell.cli.terminal import print_line, print_table

_KEYS = ("ece", "log_loss", "brier")


def show_label_confidence(entry: dict[str, Any], splits: list[str]) -> None:
    """One file: how honest its probabilities are, and what each label's threshold finds."""
    scaling, wanted = entry["scaling"], entry["sensitivity"]
    kinds = ["reference", "converted", *(["scaled"] if scaling["kept"] != "none" else [])]
    for split in splits:
        found = entry[split]
        scores = found["scores"]
        n = scores["converted"]["ece"]["n"]
        rows = [[kind, *(measurement(scores[kind][key]) for key in _KEYS)] for kind in kinds]
        title = f"{entry['file']} on {split}, n={n}, mean over {len(found['labels'])} labels"
        print_table(title, ["", "ECE", "log loss, nat", "Brier"], rows)
        print_table(
            f"from its threshold on a label is present; wanted sensitivity {wanted['wanted']:g}",
            ["label", "with it", "threshold", "sensitivity", "specificity", "precision"],
            [
                [
                    name,
                    f"{label['positives']:,}",
                    _limit(wanted["labels"][name]),
                    *(_brief(label[key]) for key in ("sensitivity", "specificity", "precision")),
                ]
                for name, label in found["labels"].items()
            ],
        )
    _promises(wanted)
    kept = scaling["kept"]
    print_line(
        f"  temperature {scaling['temperature']['value']:.3f},"
        f" {'kept' if kept == 'temperature' else 'not kept'}:"
        f" gain on other images {measurement(scaling['temperature']['gain'])} nat"
    )
    print_line(
        f"  a slope and an offset for each label, {'kept' if kept == 'labels' else 'not kept'}:"
        f" further gain {measurement(scaling['labels']['gain'])} nat"
    )


def _promises(wanted: dict[str, Any]) -> None:
    labels = wanted["labels"]
    chosen = {name: label for name, label in labels.items() if label["threshold"] is not None}
    if chosen:
        least = min(chosen, key=lambda name: chosen[name]["sensitivity_at_least"])
        print_line(
            f"  sensitivity {wanted['wanted']:g} holds on average over validation sets; with certainty"
            f" {wanted['certainty']:g} it is at least {chosen[least]['sensitivity_at_least']:.3f} for {least}"
            f" ({chosen[least]['positives']:,} images with it in val), and no less for the others"
        )
    always = [name for name, label in chosen.items() if label["threshold"] == 0.0]
    if always:
        print_line(
            f"  called on every image, for the file's output is 0 also where they are: {', '.join(always)};"
            " a file with float outputs may tell more"
        )
    few = [f"{name} ({label['positives']})" for name, label in labels.items() if name not in chosen]
    if few:
        print_line(
            f"  too few images in val to promise {wanted['wanted']:g}, which takes {wanted['fewest']} with the"
            f" label, so still called above 0.5: {', '.join(few)}"
        )


def _limit(label: dict[str, Any]) -> str:
    return "0.5, kept" if label["threshold"] is None else f"{label['threshold']:.4f}"


def _brief(data: dict[str, Any]) -> str:
    if "reason" in data:
        return str(data["reason"])
    return f"{data['value']:.3f} [{data['low']:.3f}, {data['high']:.3f}]"
