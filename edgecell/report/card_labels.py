"""What a model card says of thresholds where an image can have several labels."""

from __future__ import annotations

from edgecell.metrics import THRESHOLD
from edgecell.report.card_parts import Grid, Part, Record
from edgecell.report.elements import measurement
from edgecell.report.label_trust import DECIDED, at_least, scaling_words, threshold_words

_TITLE = "From which probability on a label is present"


def thresholds_part(entry: Record | None, split: str | None) -> Part:
    """The table of labels, with what their thresholds find on ``split``; ``entry`` None: not calibrated."""
    if entry is None or split is None:
        said = (
            f"It decides every label, at {THRESHOLD:g} for all of them: no label has a threshold of its own."
            " 'edgecell calibrate' finds them for a wanted sensitivity."
        )
        return Part(_TITLE, (said,), missing=True)
    wanted, found = entry["sensitivity"], entry[split]
    rows = tuple(
        (
            name,
            threshold_words(wanted["labels"][name]),
            f"{wanted['labels'][name]['positives']:,}",
            *(measurement(label[key], count=False) for key in DECIDED),
            f"{label['positives']:,}",
            at_least(wanted["labels"][name]),
        )
        for name, label in found["labels"].items()
    )
    columns = (
        *("label", "present from", "images in val that set it"),
        *(f"{key} on {split}" for key in DECIDED),
        *(f"images with it in {split}", f"sensitivity at least, with {wanted['certainty']:g}"),
    )
    scores = tuple(
        (said, measurement(found["scores"]["converted"][key]))
        for key, said in (("ece", "ECE"), ("log_loss", "log loss"), ("brier", "Brier score"))
    )
    text = (
        f"A label's threshold was chosen on val to find {wanted['wanted']:g} of the images that have it, on average"
        " over validation sets like that one and for images like these. Where the people or the devices are"
        " others it does not hold.",
        f"Probabilities are shown {'' if entry['scaling']['kept'] == 'none' else 'with '}"
        f"{scaling_words(entry['scaling'])}; thresholds are for the file's own output.",
    )
    confidence = Grid((f"confidence on {split}", "mean over labels"), scores)
    return Part(_TITLE, text, (Grid(columns, rows), confidence))
