"""Agreement of predictions with labels: point values (`scores`) and their intervals (`intervals`)."""

from __future__ import annotations

from edgecell.metrics.auc_intervals import auc_interval
from edgecell.metrics.chance import calibrated_eces
from edgecell.metrics.f1_intervals import f1_interval, mean_f1_interval
from edgecell.metrics.intervals import (
    Interval,
    auc_resamples,
    bootstrap_confusion,
    bootstrap_interval,
    bootstrap_together,
    percentile_interval,
    wilson_interval,
    with_width,
)
from edgecell.metrics.label_draws import LabelDraws, bootstrap_labels, mean_auc_together
from edgecell.metrics.labels import (
    THRESHOLD,
    average_precisions,
    check_label_inputs,
    decide,
    label_accuracy,
    label_aucs,
    label_eces,
    label_log_loss,
    label_losses,
    label_reliabilities,
    mean_auc,
)
from edgecell.metrics.moved import Moved, find_moved, moved_line
from edgecell.metrics.ordinal import bootstrap_kappa_drop, kappa_interval, quadratic_kappa
from edgecell.metrics.scores import (
    ECE_BINS,
    PerClass,
    Reliability,
    accuracy,
    auc,
    brier,
    check_inputs,
    confidence_histogram,
    confusion_matrix,
    ece,
    log_loss,
    macro_f1,
    margins,
    normalize_rows,
    per_class,
    reliability,
    weighted_f1,
)
