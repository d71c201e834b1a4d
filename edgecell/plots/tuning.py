"""A search for settings: how it went, which settings mattered, where the good values lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgecell.plots.style import (
    BLUE,
    GRID,
    INK,
    ORANGE,
    SKY,
    VERMILION,
    headed,
    new_figure,
    short,
    tidy,
)

Trial = Mapping[str, Any]
Space = Mapping[str, Mapping[str, Any]]

_COLUMNS = 3
_LOW_TO_HIGH = LinearSegmentedColormap.from_list("accuracy", ["#dbe4ee", SKY, BLUE, "#00243d"])


def tuning_history(trials: Sequence[Trial], name: str) -> Figure:
    """The figure `name` of each trial in the order they were begun, and the best so far.

    `trials`: mappings with number, state, score (a measurement), values and epochs.
    """
    figure = new_figure(3.6)
    axes = figure.subplots()
    for state, color, marker, label in (
        ("finished", BLUE, "o", "finished"),
        ("given up", ORANGE, "x", "given up: its best epoch"),
    ):
        shown = _with_figure(trials, state)
        if shown:
            numbers = [trial["number"] for trial in shown]
            axes.scatter(
                numbers,
                [_figure(t) for t in shown],
                s=30,
                c=color,
                marker=marker,
                label=label,
                zorder=3,
            )
    finished = _with_figure(trials, "finished")
    if finished:
        numbers = [trial["number"] for trial in finished]
        axes.step(
            [*numbers, max(trial["number"] for trial in trials)],
            [
                *np.maximum.accumulate([_figure(trial) for trial in finished]),
                max(map(_figure, finished)),
            ],
            where="post",
            color=VERMILION,
            linewidth=1.4,
            label="best so far",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes, title="Trials in their order", x="trial", y=name, grid="y")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def tuning_epochs(trials: Sequence[Trial], name: str, *, best: int | None) -> Figure:
    """The figure `name` by epoch, a line per trial; `best` is a trial's number."""
    figure = new_figure(3.8)
    axes = figure.subplots()
    looks = {"finished": (SKY, "finished"), "given up": (ORANGE, "given up")}
    labelled: set[str] = set()
    # The best comes last, on top of the others.
    for trial in sorted(trials, key=lambda trial: trial["number"] == best):
        if not trial["epochs"] or trial["state"] not in looks:
            continue
        color, label = looks[trial["state"]]
        width, order = 1.1, 2
        if trial["number"] == best:
            color, label, width, order = VERMILION, f"the best, trial {best}", 2.2, 4
        epochs = sorted(map(int, trial["epochs"]))
        axes.plot(
            epochs,
            [trial["epochs"][str(epoch)] for epoch in epochs],
            color=color,
            linewidth=width,
            marker="x" if trial["state"] == "given up" else ".",
            markevery=[len(epochs) - 1],
            label=None if label in labelled else label,
            zorder=order,
        )
        labelled.add(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes, title=f"{name[0].upper()}{name[1:]} by epoch", x="epoch", y=name, grid="y")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def tuning_importance(importances: Mapping[str, float], name: str) -> Figure:
    """Bars, the setting that explains most on top."""
    keys = sorted(importances, key=lambda key: importances[key])
    figure = new_figure(1.2 + 0.34 * len(keys))
    axes = figure.subplots()
    rows = np.arange(len(keys))
    axes.barh(rows, [importances[key] for key in keys], color=BLUE, height=0.62)
    for row, key in zip(rows, keys, strict=True):
        axes.annotate(
            f"{importances[key]:.2f}",
            (importances[key], row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    axes.set_yticks(rows, [short(key, 34) for key in keys])
    axes.margins(x=0.12)
    tidy(
        axes,
        title="Which settings mattered",
        x=f"share of the variance of {name} (fANOVA, finished trials)",
        grid="x",
    )
    return figure


def tuning_slices(trials: Sequence[Trial], space: Space, name: str, *, best: int) -> Figure:
    """A panel per setting: its value against `name`; those given up as marks at the bottom."""
    columns = min(_COLUMNS, len(space))
    rows = math.ceil(len(space) / columns)
    figure = new_figure(0.7 + 2.35 * rows, width=max(4.2, 2.75 * columns))
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True, squeeze=False)).ravel()
    for axes, (key, kind) in zip(panels, space.items(), strict=False):
        shown = _with_figure(trials, "finished")
        places = [_place(kind, trial["values"][key]) for trial in shown]
        axes.scatter(places, [_figure(t) for t in shown], s=22, c=BLUE, alpha=0.85)
        # Their figures are of earlier epochs: only where they were tried is to be compared.
        given_up = [t for t in trials if t["state"] == "given up" and key in t["values"]]
        axes.scatter(
            [_place(kind, trial["values"][key]) for trial in given_up],
            [0.02] * len(given_up),
            s=22,
            c=ORANGE,
            marker="x",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
        circled = next(trial for trial in shown if trial["number"] == best)
        axes.scatter(
            [_place(kind, circled["values"][key])],
            [_figure(circled)],
            s=90,
            facecolors="none",
            edgecolors=VERMILION,
            linewidths=1.6,
            zorder=4,
        )
        _scale(axes, kind)
        axes.margins(y=0.1)
        tidy(axes, x=short(key, 30), grid="y")
    for axes in panels[len(space) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(name, fontsize=9.5, color=INK)
    headed(figure, "Each setting alone (circle: the best trial; × at the bottom: given up)")
    return figure


def tuning_parallel(trials: Sequence[Trial], space: Space, name: str, *, best: int) -> Figure:
    """A line per finished trial across all settings, coloured by `name`."""
    shown = sorted(_with_figure(trials, "finished"), key=_figure)
    keys = list(space)
    figure = new_figure(3.9, width=max(6.8, 1.45 * len(keys)))
    axes = figure.subplots()
    figures = [_figure(trial) for trial in shown]
    colors = ScalarMappable(Normalize(min(figures), max(figures)), _LOW_TO_HIGH)
    shades = colors.to_rgba(np.array(figures))
    for trial, shade in zip(shown, shades, strict=True):
        heights = [_height(space[key], trial["values"][key]) for key in keys]
        is_best = trial["number"] == best
        axes.plot(
            range(len(keys)),
            heights,
            color=VERMILION if is_best else shade,
            linewidth=2.2 if is_best else 1.2,
            zorder=4 if is_best else 2,
        )
    for place, key in enumerate(keys):
        axes.axvline(place, color=GRID, linewidth=1.2, zorder=1)
        for height, words in _ticks(space[key]):
            axes.annotate(
                words,
                (place, height),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
                zorder=5,
            )
    axes.set_xticks(range(len(keys)), [short(key.replace(".", ".\n", 1), 40) for key in keys])
    axes.set_yticks([])
    axes.margins(x=0.06, y=0.06)
    tidy(axes, title="All settings together (the best trial in red)")
    axes.tick_params(axis="x", labelsize=8.5)
    axes.spines["left"].set_visible(False)
    bar = figure.colorbar(colors, ax=axes, pad=0.02, aspect=28)
    bar.set_label(name, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


def _with_figure(trials: Sequence[Trial], state: str) -> list[Trial]:
    return [t for t in trials if t["state"] == state and "value" in t["score"]]


def _figure(trial: Trial) -> float:
    value: float = trial["score"]["value"]
    return value


def _place(kind: Mapping[str, Any], value: Any) -> float:
    """Where a value stands on its own axis: itself, or the position of its choice."""
    return kind["choices"].index(value) if "choices" in kind else value


def _height(kind: Mapping[str, Any], value: Any) -> float:
    """Where a value stands between 0 and 1 of its range."""
    if "choices" in kind:
        return float(kind["choices"].index(value) / (len(kind["choices"]) - 1))
    low, high, place = kind["low"], kind["high"], value
    if kind["log"]:
        low, high, place = math.log(low), math.log(high), math.log(value)
    return float((place - low) / (high - low))


def _ticks(kind: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Height and words of what is written at an axis: its choices, or both ends."""
    if "choices" in kind:
        return [(_height(kind, value), _words(value)) for value in kind["choices"]]
    return [(0.0, _words(kind["low"])), (1.0, _words(kind["high"]))]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else short(str(value), 14)


def _scale(axes: Axes, kind: Mapping[str, Any]) -> None:
    if "choices" in kind:
        words = [_words(value) for value in kind["choices"]]
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
    elif kind["log"]:
        axes.set_xscale("log")
        axes.set_xlim(kind["low"] * 0.9, kind["high"] * 1.1)
    else:
        margin = 0.05 * (kind["high"] - kind["low"])
        axes.set_xlim(kind["low"] - margin, kind["high"] + margin)
