"""A comparison as one self-contained page, ``compare.html``; and what became worse since a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_text
from edgecell.errors import ArtifactError
from edgecell.report import interactive as parts
from edgecell.report.contenders import Contender, of_bench, of_evaluation
from edgecell.report.elements import (
    Html,
    badge,
    card,
    details,
    element,
    facts,
    join,
    section,
    table,
)
from edgecell.report.page import page
from edgecell.tasks import task_of_record

_VERDICTS = {"better": True, "worse": False}


def write_comparison_page(path: Path, name: str, comparison: Mapping[str, Any]) -> Path:
    """Write the page of a comparison; returns ``path``.

    Raises:
        ArtifactError: the comparison lacks a part, or the file cannot be written.
    """
    atomic_write_text(path, render_comparison(name, comparison))
    return path


def render_comparison(name: str, comparison: Mapping[str, Any]) -> str:
    """The page as one HTML document; ``comparison`` as in compare.json.

    Raises:
        ArtifactError: the comparison lacks a part.
    """
    try:
        return _render(name, comparison)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ArtifactError(
            f"this comparison cannot be shown ({type(error).__name__}: {error});"
            " bench its models again with this edgecell"
        ) from error


def regression_section(found: Mapping[str, Any]) -> Html:
    """Every figure against the baseline, worse ones first."""
    signs = {"ok": True, "regressed": False}
    worse_first = sorted(found["findings"], key=lambda finding: finding["verdict"] != "regressed")
    rows = [
        [
            element("b", finding["model"]),
            finding["quantity"],
            badge(finding["verdict"], signs.get(finding["verdict"])),
            finding["said"],
        ]
        for finding in worse_first
    ]
    return section(
        "Against the baseline",
        "regression",
        table(["Model", "Figure", "", "Change"], rows),
        element("ul", *(element("li", note) for note in found["notes"]), cls="notes"),
        lead=f"{found['regressed']} of {len(found['findings'])} figures are worse than allowed.",
    )


def _render(name: str, comparison: Mapping[str, Any]) -> str:
    contenders = [_contender(model) for model in comparison["models"]]
    links = [("figures-table", "Figures"), ("pairs", "Differences"), ("tradeoff", "Trade-off")]
    confused = any(each.confusion for each in contenders)
    links += [("classes", "Classes"), *([("confusion", "Confusion")] if confused else [])]
    links.append(("machines", "Machines"))
    bodies = [
        section(
            "All figures",
            "figures-table",
            *(element("div", f"Warning: {line}", cls="warning") for line in comparison["warnings"]),
            parts.figures_table(contenders),
            lead="A heading sorts by its column. Times and × float32 hold within the bench they come from.",
        ),
        _pairs_section(comparison),
        parts.chart_section(contenders),
        parts.heat_section(contenders),
        *([parts.confusion_section(contenders)] if confused else []),
        _machines_section(comparison["sources"]),
    ]
    data = parts.embedded(parts.payload(contenders))
    return page(name, "edgecell comparison", _cards(comparison), links, bodies, data=data)


def _contender(model: Mapping[str, Any]) -> Contender:
    make = of_bench if "footprint" in model else of_evaluation
    return make(model, name=model["label"], images=model.get("images"))


def _cards(comparison: Mapping[str, Any]) -> Html:
    tasks = {task_of_record(model["quality"]) for model in comparison["models"]}
    verdicts = [pair["verdict"] for pair in comparison["pairs"]]
    sizes = [model for model in comparison["models"] if "footprint" in model]
    cards = [
        card(
            "Models", str(len(comparison["models"])), f"from {len(comparison['sources'])} sources"
        ),
    ]
    figures = {task.metric for task in tasks}
    if len(figures) == 1:  # an AUC and an accuracy do not compare
        (figure,) = figures
        best = max(comparison["models"], key=lambda model: _value(model, figure))
        title = "Most accurate" if figure == "accuracy" else "Highest mean AUC"
        cards.append(card(title, f"{_value(best, figure):.3f}", best["label"]))
    if sizes:
        least = min(sizes, key=lambda model: model["footprint"]["size"]["value"])
        size = least["footprint"]["size"]["value"]
        cards.append(card("Smallest", f"{size / 1e3:,.1f} kB", least["label"]))
    told = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    cards.append(card("Against the baseline", told, comparison["baseline"]))
    return element("div", *cards, cls="cards")


def _value(model: Mapping[str, Any], figure: str) -> float:
    return float(model["quality"][figure].get("value", -1.0))


def _pairs_section(comparison: Mapping[str, Any]) -> Html:
    # All pairs share the baseline; one that can say several labels is compared by its mean AUC.
    by_labels = all("auc_drop" in pair for pair in comparison["pairs"])
    rows = [
        [
            element("b", pair["model"]),
            badge(pair["verdict"], _VERDICTS.get(pair["verdict"])),
            *([_difference(pair["auc_drop"])] if by_labels else _differences(pair)),
            f"{pair['p_holm']:.3g}" if "p_holm" in pair else "–",
            _times(pair["size_ratio"]),
            join(_times(pair["latency_ratio"]), element("small", pair["latency_how"])),
        ]
        for pair in comparison["pairs"]
    ]
    drops = ["Mean AUC drop"] if by_labels else ["Accuracy drop", "Macro-F1 drop", "Lost / gained"]
    columns = ["Model", "", *drops, "p (Holm)", "× size"]
    lead = "Lost: images that only the baseline gets right; gained: those that only the other does."
    return section(
        f"Differences to {comparison['baseline']}",
        "pairs",
        element(
            "div", table([*columns, "× time"], rows, numeric=range(2, len(columns))), cls="told"
        ),
        element("ul", *(element("li", note) for note in comparison["notes"]), cls="notes"),
        lead="" if by_labels else lead,
    )


def _differences(pair: Mapping[str, Any]) -> list[Html | str]:
    lost = f"{pair['lost']} / {pair['gained']}" if "lost" in pair else "–"
    return [_difference(pair["accuracy_drop"]), _difference(pair["macro_f1_drop"]), lost]


def _difference(data: Mapping[str, Any]) -> Html:
    if "value" not in data:
        return join("–", element("small", data["reason"]))
    shown = f"{data['value']:+.4f}"
    if "low" not in data:  # where no answer differs resampling gives no interval
        return join(shown)
    return join(shown, element("small", f"{data['low']:+.4f} to {data['high']:+.4f}"))


def _times(data: Mapping[str, Any]) -> str:
    if "value" not in data:
        return f"– {data['reason']}"
    ends = f" [{data['low']:.2f}, {data['high']:.2f}]" if "low" in data else ""
    return f"{data['value']:.2f}{ends}"


def _machines_section(sources: list[dict[str, Any]]) -> Html:
    told = [
        details(
            f"{source['label']}: {source['kind']} of {source['models']} models",
            facts(source["host"]) if source["host"] else element("p", "Nothing was timed."),
        )
        for source in sources
    ]
    return section("Machines", "machines", *told)
