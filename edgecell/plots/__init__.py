"""Every figure. Arrays and finished numbers in, a matplotlib Figure out; nothing is computed here.

    plots.save(plots.confusion_matrix(counts, names), path)

Figures use the object-oriented API (no pyplot, no display), colours that stay apart for colour-blind
readers, and sizes that grow with the number of classes. The fonts are matplotlib's global ``font.family``.
"""

from __future__ import annotations

from edgecell.plots.answers import Images, confident_mistakes, examples_by_class
from edgecell.plots.calibration import confidence_histogram, reliability_diagram
from edgecell.plots.classes import per_class_bars, score_drops
from edgecell.plots.confusion import confusion_matrix
from edgecell.plots.curves import learning_curves
from edgecell.plots.eda import (
    channel_histograms,
    channels_by_class,
    class_distribution,
    image_sizes,
    light_and_contrast,
)
from edgecell.plots.fine_tuning import fine_tuning_curves
from edgecell.plots.gate import gate_intervals
from edgecell.plots.heat import heat_by_class, heat_of_mistakes
from edgecell.plots.label_trust import label_reliability, label_sensitivity
from edgecell.plots.labels import label_aucs, label_decisions
from edgecell.plots.layers import search_candidates, sensitivity
from edgecell.plots.pareto import pareto
from edgecell.plots.plane import class_plane, label_planes, purity_bars
from edgecell.plots.sheets import mean_images, near_duplicates, outliers, samples
from edgecell.plots.sizes import file_sizes
from edgecell.plots.style import save
from edgecell.plots.tradeoff import Point, tradeoff
from edgecell.plots.trust import (
    corruption_strip,
    reliability_lines,
    robustness_curves,
    selective_accuracy,
    set_coverage,
)
from edgecell.plots.tuning import (
    tuning_epochs,
    tuning_history,
    tuning_importance,
    tuning_parallel,
    tuning_slices,
)

__all__ = [
    "Images",
    "Point",
    "channel_histograms",
    "channels_by_class",
    "class_distribution",
    "class_plane",
    "confidence_histogram",
    "confident_mistakes",
    "confusion_matrix",
    "corruption_strip",
    "examples_by_class",
    "file_sizes",
    "fine_tuning_curves",
    "gate_intervals",
    "heat_by_class",
    "heat_of_mistakes",
    "image_sizes",
    "label_aucs",
    "label_decisions",
    "label_planes",
    "label_reliability",
    "label_sensitivity",
    "learning_curves",
    "light_and_contrast",
    "mean_images",
    "near_duplicates",
    "outliers",
    "pareto",
    "per_class_bars",
    "purity_bars",
    "reliability_diagram",
    "reliability_lines",
    "robustness_curves",
    "samples",
    "save",
    "score_drops",
    "search_candidates",
    "selective_accuracy",
    "sensitivity",
    "set_coverage",
    "tradeoff",
    "tuning_epochs",
    "tuning_history",
    "tuning_importance",
    "tuning_parallel",
    "tuning_slices",
]
