"""The gate's verdict, confidence and robustness as parts of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.naming import drop_words, listed
from edgecell.report.elements import (
    Html,
    Pictures,
    badge,
    details,
    element,
    join,
    measurement,
    note_list,
    section,
    table,
    value,
)
from edgecell.report.label_trust import LEAD, label_confidence
from edgecell.tasks import task_of_record

_VERDICTS = {"equivalent": True, "worse": False, "cannot tell": None}
_FALLS = {"falls slower": True, "falls faster": False, "no difference seen": None}
_CAPTIONS = {
    "reliability": "Confidence against the share that is right",
    "abstention": "Accuracy of the answers when the least sure are left out",
    "conformal": "How often the conformal set holds the right class",
    "sensitivity": "What each label's threshold finds",
}


def gate_part(gate: dict[str, Any]) -> Html:
    """The verdict in a sentence, the tests it rests on, and the classes folded away."""
    several = "auc_drop" in gate
    rows = [
        *(_tests_of_labels(gate) if several else _tests_of_classes(gate)),
        [
            f"Against a drop of {gate['margin']:g} or more",
            f"p = {gate['non_inferiority_p']:.3g}, upper bound {gate['upper_bound']:.4f}",
        ],
    ]
    classes = [
        [
            row["name"],
            row["support"],
            *([_drop(row["auc_drop"]), _p(row["auc_p_holm"])] if several else ()),
            _bound(row),
            _drop(row["recall_drop"]),
            _p(row["recall_p_holm"]),
            _drop(row["f1_drop"]),
            _p(row["f1_p_holm"]),
            badge("worse", False) if row["worse"] else "",
        ]
        for row in gate["classes"]
    ]
    columns = ["Class", "Images", *(("AUC drop", "p (Holm)") if several else ())]
    columns += ["Lost at most", "Recall drop", "p (Holm)", "F1 drop", "p (Holm)", ""]
    return join(
        element("p", badge(gate["sentence"], _VERDICTS[gate["verdict"]])),
        table(["Paired test", "Result"], rows),
        details("Classes in the gate", table(columns, classes, numeric=range(1, len(columns) - 1))),
    )


def _bound(row: dict[str, Any]) -> str:
    """What the class's recall, or label's AUC, did not fall by more than; older records have none."""
    bound = row.get("bound")
    return "–" if bound is None else f"{bound:.4f}"


def _tests_of_classes(gate: dict[str, Any]) -> list[list[str]]:
    return [
        ["Accuracy drop, Tango", _drop(gate["accuracy_drop"])],
        ["Accuracy drop, paired bootstrap", _drop(gate["accuracy_drop_bootstrap"])],
        ["Macro-F1 drop, paired bootstrap", _drop(gate["macro_f1_drop"])],
        ["Right only before / only after conversion", f"{gate['lost']} / {gate['gained']}"],
        ["McNemar, exact, two-sided", f"p = {gate['mcnemar_p']:.3g}"],
    ]


def _tests_of_labels(gate: dict[str, Any]) -> list[list[str]]:
    return [
        ["Mean AUC drop, DeLong", _drop(gate["auc_drop"])],
        ["DeLong, one-sided", f"p = {gate['worse_p']:.3g}"],
        ["Label accuracy drop, paired bootstrap", _drop(gate["accuracy_drop"])],
        ["Macro-F1 drop, paired bootstrap", _drop(gate["macro_f1_drop"])],
        [
            "Decisions right only before / only after conversion",
            f"{gate['lost']} / {gate['gained']}",
        ],
    ]


def calibrate_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """Per file: scores of confidence, temperature, threshold, sets; or of several labels their thresholds."""
    results = record["results"]
    parts: list[Html] = []
    several = "task" in results
    for model in results["models"]:
        parts.append(element("h3", model["file"]))
        shown = label_confidence if several else _confidence
        parts += [shown(model, split) for split in results["splits"]]
        stem = Path(model["file"]).stem
        drawn = [
            (folder / f"{stem}-{kind}.png", caption)
            for kind, caption in _CAPTIONS.items()
            if f"calibrate/{stem}-{kind}.png" in record["outputs"]
        ]
        figures = (pictures.figure(path, f"{caption}, {stem}") for path, caption in drawn)
        parts.append(element("div", *figures, cls="figures"))
        above = ("file", "precision", "sha256", *results["splits"])
        rest = {key: entry for key, entry in model.items() if key not in above}
        parts.append(details(f"Thresholds of {model['file']}", value(rest)))
    return section(
        "Confidence",
        "calibrate",
        *parts,
        note_list(results.get("notes", ())),
        lead=LEAD
        if several
        else "All thresholds are fitted on val and apply to the file's own output. A threshold for "
        "abstaining keeps its promise with the certainty it names; a conformal set holds the right "
        "class as often as promised, on average over validation sets like this one, and 'at least' is "
        "what this one promises with certainty. On val, sets are judged by cross-validation.",
    )


def _confidence(model: dict[str, Any], split: str) -> Html:
    found = model[split]
    temperature = model["temperature"]
    names = {"reference": "trained model", "converted": "converted"}
    if temperature["kept"]:
        names["tempered"] = f"converted, temperature {temperature['used']:.2f}"
    scores = [
        [said, *(measurement(found["scores"][key][k]) for k in ("ece", "log_loss", "brier"))]
        for key, said in names.items()
    ]
    abstention, conformal = model["abstention"], model["conformal"]
    threshold, sure = abstention["threshold"], f"At least, with {abstention['certainty']:g}"
    promises = [
        [
            f"Answers right: {abstention['target_accuracy']:g}",
            abstention["reason"] if threshold is None else f"from {threshold:.4f} on",
            measurement(found["answered"]["accuracy"]),
            f"answered {measurement(found['answered']['share'], count=False)}",
            "–" if threshold is None else f"{abstention['accuracy_at_least']:.3f}",
        ]
    ]
    least = conformal_at_least(conformal)
    for key, said in (("sets", "one threshold"), ("sets_by_class", "one per class")):
        promises.append(
            [
                f"Set holds the class: {conformal['coverage']:g}",
                said,
                measurement(found[key]["coverage"]),
                f"{found[key]['mean_size']:.2f} classes on average",
                least[key],
            ]
        )
    return join(
        element("h4", f"On {split}"),
        table(["Model", "ECE", "Log loss", "Brier"], scores, numeric=(1, 2, 3)),
        table(["Promise", "How", f"Kept on {split}", "Cost", sure], promises, numeric=(4,)),
    )


def conformal_at_least(conformal: dict[str, Any]) -> dict[str, str]:
    """The coverage that is promised with certainty, of one threshold and of the class with the least.

    A dash where none is known: in records from before it was told, or with every class in every set.
    """
    if "coverage_at_least" not in conformal:
        return {"sets": "–", "sets_by_class": "–"}
    classes = conformal["class_coverage_at_least"]
    able = [name for name in classes if name not in conformal["always_in"]]
    worst = min(able, key=lambda name: classes[name], default=None)
    return {
        "sets": f"{conformal['coverage_at_least']:.3f}",
        "sets_by_class": "–" if worst is None else f"{classes[worst]:.3f} ({worst})",
    }


def robustness_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """Whether files fall faster, the accuracies, the curves and what the strengths look like."""
    results = record["results"]
    task = task_of_record(results)
    figure = task.metric_name
    falls = [
        [
            fall["model"],
            fall["corruption"],
            _drop(fall["extra_fall"]),
            badge(fall["verdict"], _FALLS[fall["verdict"]]),
        ]
        for fall in results["falls"]
        if fall["corruption"] == "all" or len(results["models"]) == 2
    ]
    scores = [
        [
            condition["corruption"],
            condition["strength"],
            *(measurement(model[task.metric], count=False) for model in condition["models"]),
        ]
        for condition in results["conditions"]
    ]
    numeric = tuple(range(1, 2 + len(results["models"])))
    title = figure[0].upper() + figure[1:]
    blind = "still beats the commonest class"
    correction = "over the corruptions"
    if task.multi_label:
        blind = "is still above chance with 97.5 % confidence"
        correction = "over the corruptions, or over the labels"
    return section(
        "Robustness",
        "robustness",
        table(["File", "Corruption", "Falls further by", "Verdict"], falls, numeric=(2,)),
        element(
            "div",
            pictures.figure(folder / "curves.png", f"{title} by corruption and strength"),
            pictures.figure(folder / "strip.png", "One image at each strength"),
            cls="figures",
        ),
        details(
            f"{title} at each strength",
            table(["Corruption", "Strength", *results["models"]], scores, numeric=numeric),
        ),
        *_labels_apart(results),
        lead=f"{results['n']} of {results['of']} images of {results['split']}, made worse as a "
        "phone's camera would, and shown to the trained model and to each file alike. 'Falls further' "
        f"is the {figure} a file loses beyond what the trained model loses, averaged over the strengths "
        f"at which the trained model {blind}, with a 95 % interval; verdicts at 0.05, with Holm's "
        f"correction {correction}.",
    )


def _labels_apart(results: dict[str, Any]) -> list[Html]:
    """Of several labels: how much further each one's AUC falls."""
    found = results.get("labels", ())
    if not found:
        return []
    rows = [
        [
            fall["model"],
            fall["label"],
            fall["support"],
            _drop(fall["extra_fall"]),
            badge(fall["verdict"], _FALLS[fall["verdict"]]),
        ]
        for fall in sorted(found, key=lambda fall: -fall["extra_fall"]["value"])
    ]
    columns = ["File", "Label", "Images", "AUC falls further by", "Verdict"]
    parts = [details("Each label by itself", table(columns, rows, numeric=(2, 3)))]
    if results["unranked"]:
        few = f"Too few images with the label or without it: {listed(results['unranked'])}."
        parts.append(element("p", few))
    return parts


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3g}"


def _drop(data: dict[str, Any]) -> str:
    """A difference of fractions with its sign and a digit more than a score needs."""
    if "reason" in data:
        return f"none: {data['reason']}"
    return drop_words(data)
