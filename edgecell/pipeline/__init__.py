"""The composition root: one function per verb, between the command line and the stages."""

from __future__ import annotations

from edgecell.pipeline.shadow import check as _check_packages

_check_packages()  # before anything imports the other two packages

from edgecell.pipeline.benching import bench_models  # noqa: E402
from edgecell.pipeline.conversion import quantize_target  # noqa: E402
from edgecell.pipeline.doctor import diagnose  # noqa: E402
from edgecell.pipeline.evaluation import evaluate_target  # noqa: E402
from edgecell.pipeline.looking import show_data  # noqa: E402
from edgecell.pipeline.reporting import open_run, write_report  # noqa: E402
from edgecell.pipeline.running import run_all  # noqa: E402
from edgecell.pipeline.training import default_name, resume_config, start_run, train_run  # noqa: E402
from edgecell.pipeline.verification import verify_target  # noqa: E402

__all__ = [
    "bench_models",
    "default_name",
    "diagnose",
    "evaluate_target",
    "open_run",
    "quantize_target",
    "resume_config",
    "run_all",
    "show_data",
    "start_run",
    "train_run",
    "verify_target",
    "write_report",
]
