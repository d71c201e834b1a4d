"""The errors a user can act on, each with its exit code.

A message is one line: what is wrong, the numbers, what is allowed, and what to type next.
"""

from __future__ import annotations


class EdgecellError(Exception):
    """Root of every error that edgecell raises on purpose."""

    exit_code = 1


class ConfigError(EdgecellError):
    """A flag, recipe key or value that is not allowed."""

    exit_code = 2


class DivergedError(ConfigError):
    """A training whose loss is no longer finite."""


class DataError(EdgecellError):
    """Images, labels or splits that cannot be used as they are."""

    exit_code = 3


class NoDataError(DataError):
    """Nothing at the path, and no data set of the name, that images are looked for under."""


class ConvertError(EdgecellError):
    """A model that cannot be converted, or a converted file that is not what its name says."""

    exit_code = 4


class ParityError(EdgecellError):
    """A converted model that does not do what its reference does."""

    exit_code = 5


class RegressionError(EdgecellError):
    """A model that is worse than the one it was to be compared with."""

    exit_code = 5


class UnmetError(EdgecellError):
    """No model that keeps the limits it was to be chosen under."""

    exit_code = 5


class ArtifactError(EdgecellError):
    """A file on disk (model, record, run directory) that is missing, corrupt or altered."""

    exit_code = 6


class WorkerError(EdgecellError):
    """Another process of a training on several machines that ended or cannot be reached."""

    exit_code = 6


class BusyError(ArtifactError):
    """A stage of a run that another process is writing."""
