"""The search for settings as a section of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.report.elements import (
    Html,
    Pictures,
    badge,
    card,
    details,
    element,
    facts,
    join,
    measurement,
    section,
    table,
)

_CAPTIONS = {
    "history": "Trials in their order",
    "epochs": "Trials by epoch",
    "importance": "Which settings mattered",
    "slice": "Each setting alone",
    "parallel": "All settings of the finished trials together",
}


def tune_headline(results: dict[str, Any]) -> list[Html]:
    """The cards of a search: its best figure, how many trials."""
    counts, title = results["counts"], f"Best val {results['metric']}"
    tried = f"{counts['finished']} finished, {counts['given up']} given up"
    cards = [card("Trials", str(counts["finished"] + counts["given up"]), tried)]
    best = results["best"]
    if best is None:
        return [card(title, "none", "no trial has finished"), *cards]
    found = best["score"]
    note = f"trial {best['number']}, n={found['n']:,}; optimistic, being the best of many"
    return [card(title, f"{found['value']:.3f}", note), *cards]


def tune_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """The best settings, what mattered, every trial."""
    results, space = record["results"], record["config"]["space"]
    names = [Path(name) for name in record["outputs"] if name.endswith(".png")]
    names.sort(key=lambda path: list(_CAPTIONS).index(path.stem))
    drawn = [pictures.figure(folder / path.name, _CAPTIONS[path.stem]) for path in names]
    return section(
        "Search for settings",
        "tune",
        _best(results, record["outputs"]),
        element("div", *drawn, cls="figures"),
        _importance(results["importance"], results["metric"]),
        _trials(results, list(space)),
        details("What was searched, and what all trials have in common", facts(record["config"])),
        lead="Each trial is a training with other settings; val alone chooses between them, test was"
        " not looked at. The figure of the best of many trials on the same images is optimistic:"
        " train its recipe with other seeds to learn what it is worth.",
    )


def _best(results: dict[str, Any], outputs: dict[str, str]) -> Html:
    best = results["best"]
    if best is None:
        return element("p", "No trial has finished, so there is no recipe.", cls="warning")
    lines: dict[str, Any] = {"trial": best["number"], f"val {results['metric']}": best["score"]}
    lines |= best["values"]
    recipe = next(name for name in outputs if name.endswith("best.toml"))
    return join(
        element("h3", "The best"),
        facts(lines),
        element("p", "As a recipe: ", element("code", recipe), " for edgecell train --recipe."),
    )


def _importance(found: dict[str, float] | str, metric: str) -> Html:
    if isinstance(found, str):
        return element("p", f"Importance of the settings: none, {found}.")
    rows = [[name, f"{share:.3f}"] for name, share in found.items()]
    return join(
        element("h3", "Which settings mattered"),
        element(
            "p",
            f"Share of the variance of val {metric} that a setting explains alone or with others"
            " (functional ANOVA over a random forest, finished trials only). With few trials it is a"
            " rough guide.",
        ),
        table(["Setting", "Share"], rows, numeric=(1,)),
    )


def _trials(results: dict[str, Any], keys: list[str]) -> Html:
    best = results["best"]["number"] if results["best"] else None
    signs = {"finished": True, "broken off": False}
    rows = []
    for trial in sorted(results["trials"], key=_by_accuracy):
        state = "the best" if trial["number"] == best else trial["state"]
        rows.append(
            [
                trial["number"],
                badge(state, signs.get(trial["state"])),
                measurement(trial["score"], count=False),
                len(trial["epochs"]),
                *(_value(trial["values"].get(key)) for key in keys),
                trial.get("reason", ""),
            ]
        )
    columns = ["Trial", "", f"Val {results['metric']}", "Epochs", *keys, ""]
    return join(
        element("h3", f"All trials, n={results['val_images']:,}"),
        table(columns, rows, numeric=(0, 2, 3, *range(4, 4 + len(keys)))),
    )


def _by_accuracy(trial: dict[str, Any]) -> tuple[bool, float]:
    value = trial["score"].get("value")
    return (trial["state"] != "finished", -value if value is not None else 1.0)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
