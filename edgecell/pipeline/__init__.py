"""The composition root: one function per verb, between the command line and the stages.

Import the module of a verb, not this package: each pulls in only what its verb needs.
"""

from __future__ import annotations

from edgecell.pipeline.shadow import check

check()
