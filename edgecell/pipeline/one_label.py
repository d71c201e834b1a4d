"""Verbs that are about the one class of an image refuse data sets where several labels can hold."""

from __future__ import annotations

from edgecell.data import Dataset
from edgecell.errors import ConfigError
from edgecell.tasks import task_named


def only_one_label(dataset: Dataset, why: str, instead: str) -> None:
    """Refuse a data set of several labels to an image.

    ``why``: what the verb is about; ``instead``: what to do now.

    Raises:
        ConfigError: several labels can hold for an image.
    """
    if task_named(dataset.task).multi_label:
        raise ConfigError(
            f"'{dataset.name}' has several labels to an image ({len(dataset.class_names)} of them), and"
            f" {why}; allowed: data sets of one label to an image. {instead}"
        )
