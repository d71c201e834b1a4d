"""What all figures share: colours, canvas, saving."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgecell.disk import atomic_write_bytes
from edgecell.fonts import families

# Okabe and Ito's palette: distinguishable with the common colour-vision deficiencies
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
INK, MUTED, GRID = "#1f2933", "#616e7c", "#e4e7eb"

rcParams["font.family"] = families()  # a text takes it when it is made, so no figure can carry it

DPI = 130
WIDTH = 6.8  # inches; with DPI about 880 px: sharp at half the width of the report's column


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty white figure of a size in inches, bound to the Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "") -> None:
    """House look: no box, quiet grid behind the data, left-aligned title."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    if grid in ("x", "y", "both"):
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    if title:
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=10)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)


def headed(figure: Figure, title: str) -> None:
    """A title over all axes, at the left."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)


def legend_below(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """What ``axes`` has labels for, in one legend under the figure."""
    entries = axes.get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def short(name: str, limit: int = 26) -> str:
    """A name that fits an axis. `$` is escaped: matplotlib would read mathematics."""
    clipped = name if len(name) <= limit else name[: limit - 1].rstrip() + "…"
    return clipped.replace("$", r"\$")


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG atomically and return its path; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write_bytes(path, buffer.getvalue())
    return path
